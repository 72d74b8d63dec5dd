"""An option is declared once: on a field of a named tuple, from which all else that has to do with it follows."""

import json
import re
from pathlib import Path

import pytest

from llmcost.cli.command import COMMANDS, Argument, function_of, parameters
from llmcost.formulas.serving import symbolic_options
from llmcost.ground.errors import InputError
from llmcost.ground.options import declared
from llmcost.ground.symbols import Expression
from llmcost.serving.estimate import estimate, workload_of
from llmcost.serving.options import LAYOUT, Options
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.specs.optimised import OPTIMISED
from llmcost.training.options import LAYOUT as TRAINING_LAYOUT
from llmcost.training.options import Options as TrainingOptions
from llmcost.training.train import train

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")
CONFIG = json.dumps(
    {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 99}
)
LLAMA, H100 = load_model("llama3-8b"), load_hardware("h100")
# What is typed where a command requires it: by what help calls an argument, by the flag of an option.
REQUIRED = {
    "MODEL": "llama3-8b",
    "MODEL...": "llama3-8b",
    "TRACE": str(ROOT / "tests" / "bench" / "traces" / "compiled-decode.json.gz"),
    "PATH": "config.json",
    "PATH...": "config.json",
    "SHELL": "bash",
    "FILES...": str(ROOT / "tests" / "accuracy" / "results" / "own.csv"),
    "--hw": "h100",
    "--gpus": "8",
}
# What a command needs besides before an option of it can be asked about.
BESIDES = {
    "train": ["llama3-8b", "--hw", "h100", "--gpus", "8"],
    "mfu": ["--tokens-per-s", "9000"],
    "bench": ["--device", "cpu", "--plan"],
}
# Options whose text may be anything: a place to write to.
WRITTEN = {
    ("import", "output"),
    ("explain", "html"),
    ("calibrate", "out"),
    ("sweep", "file"),
    ("sweep", "parquet"),
    ("bench", "output"),
    ("bench", "plot"),
}


def needed(command):
    """Words behind a command that make it answer."""
    words = []
    for each in parameters(function_of(command)).values():
        if each.required and isinstance(each.what, Argument):
            words.append(REQUIRED[each.what.metavar])
        elif each.required:
            words += [each.what.flag, REQUIRED[each.what.flag]]
    return words + BESIDES.get(command, [])


def section(command):
    """What docs/commands.md shows of a command's help."""
    return re.search(rf"<!-- output: llmcost {command} --help -->\n```\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.mark.parametrize("name", list(declared(Options)))
def test_an_option_of_estimate_is_everywhere_once_it_is_declared(cli, name):
    option = declared(Options)[name]
    for command in ("estimate", "explain", "sweep", "compare"):
        assert option.flag.replace("/", " / ") in cli(command, "--help").out
        assert option.flag.replace("/", " / ") in section(command)
    assert name in json.loads(cli("estimate", "gpt2", "--json").out)["workload"]
    assert f"workload.{name}" in cli("sweep", "gpt2", "--hw", "h100", "--metric", f"workload.{name}", "--json").out


@pytest.mark.parametrize("of", [Options, TrainingOptions])
def test_every_field_declares_an_option_and_every_size_has_a_letter_and_a_meaning(of):
    assert tuple(declared(of)) == of._fields
    letters = [option.letter for option in declared(of).values() if option.letter]
    assert len(letters) == len(set(letters))
    assert all(bool(option.letter) == bool(option.meaning) for option in declared(of).values())


def test_the_letters_of_a_formula_are_those_that_options_declare():
    asked = Options(batch=3, prompt=500, output=50, chunk=64, concurrency=9, tp=2, pp=2, dp=2, ep=2)
    asked = asked._replace(rate=0.5, requests=99, max_num_seqs=64, free_memory_fraction=0.9, prefix_hit=0.5)
    model, shares = load_model("mixtral-8x7b"), ("memory_utilization", "free_memory_fraction", "mem_fraction_static")
    each = {name: asked._replace(**{shares[1]: None, name: 0.9}) for name in shares}  # of which only one is given
    for name, option in declared(Options).items():
        if option.letter:
            value = getattr(symbolic_options(workload_of(model, H100, each.get(name, asked))), name)
            assert isinstance(value, Expression), name
            assert (value.atom().letter, value.atom().meaning) == (option.letter, option.meaning)


def test_a_workload_is_the_options_with_every_default_filled_in():
    w = workload_of(LLAMA, H100, Options())
    assert {name for name in Options._fields if getattr(w, name) is None} == {
        *("output", "concurrency", "max_num_seqs", "rate", "requests"),  # not asked for
        *("images", "image_size", "audio", "offload", "host", "range_ratio", "all2all"),
        *("free_memory_fraction", "mem_fraction_static", "head_dtype", "link", "prefix_hit", "speculate"),
        *("prefill_gpus", "decode_gpus", "prefill_tp", "prefill_pp", "prefill_ep", "prefill_chunk"),
        "profile",  # the GPU's own
    }
    assert w.engine == OPTIMISED  # of a batch
    assert workload_of(LLAMA, H100, w) == w


def test_options_are_checked_wherever_they_come_from():
    for options, words in (
        (Options(batch=0), "--batch 0: at least 1"),
        (Options(dtype="fp3"), "--dtype fp3: one of"),
        (Options(memory_utilization=2), "--memory-utilization 2: a share of 1"),
        (Options(tp=0), "--tp 0: at least 1"),
    ):
        with pytest.raises(InputError, match=words):
            estimate(LLAMA, H100, options)
    for options, words in (
        (TrainingOptions(gpus=8, optimizer="lion"), "--optimizer lion: one of adam"),
        (TrainingOptions(gpus=8, zero=4), "--zero 4: one of 0, 1, 2, 3"),
        (TrainingOptions(gpus=8, recompute="some"), "--recompute some: one of none"),
    ):
        with pytest.raises(InputError, match=words):
            train(LLAMA, H100, options)


def test_options_of_a_training_layout_are_options():
    assert set(TRAINING_LAYOUT) <= declared(TrainingOptions).keys()
    assert set(LAYOUT) <= declared(Options).keys()


def takers():
    """Every command with every option of it that takes a text, and how it is typed."""
    for command in COMMANDS:
        for name, each in parameters(function_of(command)).items():
            takes_text = not isinstance(each.what, Argument) and each.what.read is not None
            if takes_text and (command, name) not in WRITTEN:
                yield pytest.param(command, each.what.flag, id=f"{command} {name}")


@pytest.mark.parametrize("command, flag", list(takers()))
def test_nonsense_is_refused_by_every_option_of_every_command(cli, command, flag, tmp_path, monkeypatch):
    """No option is ignored: what makes no sense is said, with exit code 2 and one line."""
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(CONFIG, "utf-8")
    more = {"--fail-above": ["--compare", ROOT / "hardware" / "profiles" / "h200.json"]}.get(flag, [])
    answer = cli(command, *needed(command), *more, flag, "n/on.sense")
    assert (answer.code, answer.out) == (2, ""), answer
    assert "n/on.sense" in answer.err or flag.strip("-") in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_with_its_default(cli, command):
    shown = "".join(cli(command, "--help").out.split())  # lines break at spaces and hyphens
    for each in parameters(function_of(command)).values():
        heading, text = each.help()
        assert "".join((heading + text).split()) in shown


# -- lists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1,2,4", "1..4:x2", "1, 2..4:2"])
def test_a_list_is_written_in_one_way_everywhere(cli, text):
    swept = json.loads(cli("sweep", "gpt2", "--hw", "h100", "--dp", text, "--json").out)["rows"]
    assert [row["dp"] for row in swept] == [1, 2, 4]
    offers = json.loads(cli("fit", "llama3-8b", "--hw", "h100", "--gpus", text, "--json").out)["offers"]
    assert {offer["gpus"] for offer in offers} == {1, 2, 4}
    plan = ["plan", "llama3-8b", "--hw", "h100", "--gpus", 8, "--global-batch", 64, "--seq", "1k", "--json"]
    grid = json.loads(cli(*plan, "--tp", text).out)["grid"]
    assert {cell["tp"] for cell in grid} == {1, 2, 4}
    served = json.loads(cli(*plan[:6], "--json", "--serve", "--tp", text, "--top", 99).out)["best"]
    assert {each["tp"] for each in served} == {1, 2, 4}


def test_in_a_list_a_comma_always_separates(cli):
    """1,024 is a number where one is wanted; in a list its second half begins with 0, which no number does."""
    assert json.loads(cli("estimate", "gpt2", "-c", "1,024", "--json").out)["workload"]["context"] == 1024
    answer = cli("sweep", "gpt2", "--hw", "h100", "-c", "1,024")
    assert (answer.code, answer.out) == (2, "")
    assert "got '024'" in answer.err


def test_a_list_of_too_many_values_is_refused_before_they_are_tried(cli):
    answer = cli("fit", "llama3-8b", "--gpus", "1..1000000")
    assert (answer.code, answer.err) == (2, "llmcost: --gpus: 1,000,000 values, above 1,000: choose fewer\n")


# -- what fit, compare and plan gained ----------------------------------------------------------------


def test_fit_prices_requests_in_flight(cli):
    asked = ["fit", "llama3-8b", "--hw", "h100", "--gpus", 1, "--dtype", "bf16", "--weight-dtype", "bf16", "--json"]
    mix = ["--prompt", "1k", "--output", 200, "--concurrency", 16]
    (offer,) = json.loads(cli(*asked, *mix, "--price", 2).out)["offers"]
    options = Options(prompt=1024, output=200, concurrency=16, tp=1)
    rate = estimate(LLAMA, H100, options).serving.expected.output_tokens_per_s
    assert offer["served_tokens_per_s"] == rate
    assert offer["price_per_million_tokens"] == pytest.approx(2 / (rate * 3600) * 10**6)
    (alone,) = json.loads(cli(*asked, "--price", 2).out)["offers"]
    assert alone["served_tokens_per_s"] is None
    assert alone["price_per_million_tokens"] == pytest.approx(2 / (alone["most_tokens_per_s"] * 3600) * 10**6)


def test_fit_holds_a_larger_batch_where_prompts_run_in_pieces(cli):
    asked = ["fit", "llama3-8b", "--hw", "h100", "--gpus", 1, "--weight-dtype", "bf16", "--prompt", "8k", "--json"]
    (whole,), (pieces,) = (json.loads(cli(*asked, *more).out)["offers"] for more in ([], ["--chunk", 512]))
    assert pieces["max_batch"] > whole["max_batch"]  # activations of 512 tokens, not of all prompts


def test_fit_takes_the_share_of_the_peak_that_its_textbook_rates_assume(cli):
    asked = ["fit", "llama3-8b", "--hw", "h100", "--gpus", 1, "--weight-dtype", "bf16", "--basis", "textbook", "--json"]
    (half,), (quarter,) = (json.loads(cli(*asked, "--mfu", mfu).out)["offers"] for mfu in (0.5, 0.25))
    assert half["prefill_tokens_per_s"] == pytest.approx(2 * quarter["prefill_tokens_per_s"])


def test_compare_shows_requests_where_they_are_asked_for(cli):
    asked = ["compare", "llama3-8b", "--hw", "h100", "--prompt", 1000, "--output", 100]
    assert "a request: all of it" in cli(*asked).out
    assert "in flight" not in cli(*asked).out
    (entry,) = json.loads(cli(*asked, "--concurrency", 8, "--json").out)["entries"]
    ours = estimate(LLAMA, H100, Options(prompt=1000, output=100, concurrency=8)).serving.expected
    assert entry["workload"]["context"] == 1100  # prompt and output
    assert entry["serving"]["expected"]["ttft_seconds"] == ours.ttft_seconds
    assert "in flight: output tokens/s" in cli(*asked, "--concurrency", 8).out
    assert "serving.expected.ttft_seconds" in cli(*asked, "--concurrency", 8, "--csv").out


def test_a_plan_says_what_a_million_tokens_cost(cli):
    trained = ["plan", "llama3-8b", "--hw", "h100", "--gpus", 8, "--global-batch", 64, "--seq", "1k", "--price", 2]
    best = json.loads(cli(*trained, "--json").out)["best"][0]
    assert best["price_per_million_tokens"] == pytest.approx(2 / (best["tokens_per_s_per_gpu"] * 3600) * 10**6)
    assert "a million tokens" in cli(*trained).out
    served = ["plan", "llama3-8b", "--hw", "h100", "--gpus", 8, "--serve", "--price", 2]
    best = json.loads(cli(*served, "--json").out)["best"][0]
    assert best["price_per_million_tokens"] == pytest.approx(2 / (best["tokens_per_s_per_gpu"] * 3600) * 10**6)
    assert "a million output tokens" in cli(*served).out


def test_a_profile_is_what_a_plan_and_a_comparison_go_by(cli):
    profile = ["--profile", ROOT / "hardware" / "profiles" / "h200.json"]
    for command in (["compare", "llama3-8b"], ["plan", "llama3-8b", "--gpus", 1, "--serve"], ["fit", "llama3-8b"]):
        assert cli(*command, "--hw", "h200", *profile).code == 0
        wrong = cli(*command, "--hw", "a100", *profile)
        assert (wrong.code, wrong.out) == (2, "")


# -- no option is ignored in silence ------------------------------------------------------------------

H200 = ROOT / "hardware" / "profiles" / "h200.json"
ONE = [pytest.param(*each.values, id=each.id) for each in takers()]


def without(flag, words):
    """Words without an option and its value."""
    at = words.index(flag) if flag in words else len(words)
    return words[:at] + words[at + 2 :]


@pytest.mark.parametrize("command, flag", ONE)
def test_an_option_without_a_value_is_refused(cli, command, flag):
    """As `-o "$FILE"` gives it where FILE is not set: it is not taken as if the option were not there."""
    answer = cli(command, *without(flag, needed(command)), flag, "")
    assert (answer.code, answer.out) == (2, "")
    assert "a value is missing" in answer.err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_takes_one_value_is_given_once(cli, command):
    for each in parameters(function_of(command)).values():
        what = each.what
        if isinstance(what, Argument) or what.repeated:
            continue
        twice = [what.flag.split("/")[0], *(["1"] if what.read else [])] * 2
        answer = cli(command, *without(twice[0], needed(command)), *twice)
        assert (answer.code, answer.out) == (2, ""), what.flag
        assert f"{what.flag} is given" in answer.err or each.a_list


@pytest.mark.parametrize(
    "typed",
    ["--mfu 0.3", "--tokens 1T", "--memory-utilization 0.5", "--no-cuda-graphs", "--cuda-graphs", "--link pcie4"],
)
def test_what_a_gpu_does_is_not_asked_without_one(cli, typed):
    option, *_ = words = typed.split()
    for command in ("estimate", "explain"):
        answer = cli(command, "gpt2", *words)
        assert (answer.code, answer.out) == (2, "")
        assert f"llmcost: {option}" in answer.err
        assert "give the GPU too, with --hw" in answer.err
    gpus = ["--gpus", 2] if option == "--link" else []  # which it joins
    assert cli("estimate", "gpt2", "--hw", "h100", *words, *gpus).code == 0


@pytest.mark.parametrize(
    "plan", [["--output", "x"], ["--rows"], ["--compare", H200], ["--plot", "x"], ["--resume", "x"]]
)
def test_a_plan_of_measurements_refuses_what_is_of_measuring(cli, plan):
    answer = cli("bench", "--device", "cpu", "--plan", *plan)
    assert (answer.code, answer.out) == (2, "")
    assert f"--plan only says what would be measured: leave {plan[0]} out" in answer.err


@pytest.mark.parametrize(
    "measuring",
    ["--suite=gemm", "--full", "--quick", "--plan", "--phase=decode", "--batch=1", "--context=8", "--dtype=bf16",
     "--hw=h200", f"--profile={H200}", "--device=cpu", f"--resume={H200}"],
)  # fmt: skip
def test_a_profile_that_is_shown_refuses_what_is_of_measuring(cli, measuring):
    answer = cli("bench", "--show", H200, measuring)
    assert (answer.code, answer.out) == (2, "")
    assert "measures nothing" in answer.err


def test_a_plan_and_a_comparison_of_bench_come_in_every_form(cli):
    plan = json.loads(cli("bench", "--device", "cpu", "--suite", "gemm", "--plan", "--json").out)
    assert [each["suite"] for each in plan["suites"]] == ["gemm"]
    assert cli("bench", "--device", "cpu", "--suite", "gemm", "--plan", "--csv").out.startswith("suite,cases,")
    found = json.loads(cli("bench", "--show", H200, "--compare", H200, "--json").out)["measurements"]
    assert {each["ratio"] for each in found} == {1.0}
    assert cli("bench", "--show", H200, "--compare", H200, "--csv").out.count("\n") == len(found) + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "gpt2", "--hw", "h100", "--gpus", 8, "--overlap", "tensor=0.5,tensor=0.7"], "tensor comes twice"),
        (["compare", "gpt2", "--hw", "h100", "--price", "h100=2", "--price", "h100=3"], "a second price of h100-sxm"),
        (["compare", "gpt2", "--hw", "h100", "--price", "2", "--price", "3"], "a second price of all GPUs"),
        (["fit", "gpt2", "--hw", "h100", "--mfu", "0.3"], "give --basis textbook too"),
        (["plan", "gpt2", "--hw", "h100", "--gpus", 8, "--serve", "--qlora"], "--qlora: of training"),
        (["plan", "gpt2", "--hw", "h100", "--gpus", 8, "--serve", "--optimizer", "sgd"], "--optimizer: of training"),
        (["plan", "gpt2", "--hw", "h100", "--gpus", 8, "--serve", "--pue", "1.4"], "give --kwh too"),
        (["budget", "1e24", "--mfu", "0.3"], "give --gpu-hours or --dollars"),
        (["estimate", "gpt2", "--hw", "h100", "--routing", "balanced"], "--routing balanced: of tokens to experts"),
        (["estimate", "gpt2", "--hw", "h100", "--max-num-seqs", 4], "--max-num-seqs 4: of a mix of requests"),
        (["fit", "gpt2", "--hw", "h100", "--reserve-output"], "--reserve-output: of a mix of requests"),
        (["explain", "gpt2", "--hw", "h100", "--prefix-hit", "0.5"], "--prefix-hit 0.5: of a mix of requests"),
        (["explain", "gpt2", "--hw", "h100", "--draft", "ngram"], "--draft ngram: it changes nothing alone"),
        (["simulate", "gpt2", "--hw", "h100", "--rate", 4, "--no-prefix-caching"], "no prompts begin alike"),
        (["simulate", "gpt2", "--hw", "h100", "--concurrency", 4, "--seed", 3], "--seed 3: nothing is drawn"),
        (["estimate", "gpt2", "--hw", "h100", "--link", "pcie4"], "--link pcie4: it changes nothing on one GPU"),
        (["compare", "gpt2", "--hw", "h100", "--link", "pcie4", "--gpus", 1], "it changes nothing on one GPU"),
        (["train", "gpt2", "--hw", "h100", "--gpus", 1, "--schedule", "1f1b", "--explain", "mfu"], "where --pp is 1"),
        (["train", "gpt2", "--hw", "h100", "--gpus", 1, "--schedule", "1f1b"], "it changes nothing where --pp is 1"),
        (["train", "gpt2", "--hw", "h100", "--gpus", 1, "--context-parallel", "ring"], "nothing where --cp is 1"),
        (["train", "gpt2", "--hw", "h100", "--gpus", 1, "--sequence-parallel"], "nothing where --tp is 1"),
        (["rl", "gpt2", "--hw", "h100", "--gpus", 1, "--schedule", "1f1b"], "it changes nothing where --pp is 1"),
        (["train", "gpt2", "--hw", "h100", "--gpus", 1, "--imbalance", "expert=2"], "of experts, and gpt2 has none"),
        (["estimate", "llama3-8b", "--as", "zzz"], "--as zzz: says how to read a config.json"),
        (["sweep", "gpt2", "--hw", "h100", "-o", "x.svg"], "for a chart give --plot x.svg"),
        (["sweep", "gpt2", "--hw", "h100", "-o", "x.svg", "--plot", "x.svg"], "x.svg: is written to twice"),
    ],
)
def test_what_would_be_ignored_is_refused(cli, arguments, words):
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_operators_have_the_logits_and_the_type_of_the_head_that_are_asked_for(cli):
    """The head at 8 tokens: logits of the last alone or of all; an int8 head has half the bytes of weights."""

    def head(*options):
        document = json.loads(cli("ops", "llama3-8b", "-c", 8, *options, "--json").out)
        return next(each for each in document["operators"] if each["operator"] == "lm_head")

    assert head("--logits", "all")["flops"] == 8 * head()["flops"]
    weights = 4096 * 128_256
    assert head()["bytes"] - head("--head-dtype", "int8")["bytes"] == pytest.approx(weights, rel=1e-3)
