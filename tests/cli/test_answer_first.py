"""The answer stands above the tables: whether it fits, how fast it is, what binds, what would make it fit."""

import json
import re
import shlex

import pytest
from answered import answer_of, on_a_terminal

MISFITS = [
    ["llama3-70b", "--hw", "rtx4090"],
    ["llama3-70b", "--hw", "h100", "--kv-dtype", "fp16"],
    ["llama3-8b", "--hw", "rtx4090", "-b", 8],
    ["llama3.1-8b", "--hw", "rtx4090", "-c", "60k"],
    ["llama3.1-405b", "--hw", "h100", "--tp", 4],
    ["mixtral-8x7b", "--hw", "l40s", "--prompt", "1k", "--output", 99, "--concurrency", 4],
    ["llama3-8b", "--hw", "m3"],
    ["mixtral-8x7b", "--hw", "rtx4090", "--engine", "llama.cpp", "--dtype", "q4_k_m"],
    ["llama3-70b", "--hw", "rtx4090", "--offload", "layers:20", "--host", "epyc-9654"],
]


def answer_above(page):
    """The lines between the title and the first empty line, by their first words."""
    lines = page.split("\n\n")[0].splitlines()[1:]
    return {line.split("   ")[0]: line for line in lines}


def test_the_answer_stands_above_all_tables(cli):
    """Three lines, whose figures are those of the JSON: memory, batch, times, rate, limits."""
    asked = ["estimate", "llama3-8b", "--hw", "rtx4090"]
    found, said = answer_of(cli, *asked), answer_above(cli(*asked).out)
    assert [*said] == ["Fits", "Speed", "Binds"]
    assert f"{found['memory']['used_bytes'] / 1e9:.1f} GB used of" in said["Fits"]
    assert f"up to batch {found['memory']['max_batch']}" in said["Fits"]
    ttft, step = found["prefill"]["expected"]["seconds"], found["decode"]["expected"]["seconds_per_step"]
    assert f"TTFT {ttft:.2f} s, TPOT {step * 1e3:.1f} ms; {1 / step:.1f} tokens/s" in said["Speed"]
    assert f"prefill, {found['prefill']['limited_by']}; decode, {found['decode']['limited_by']}" in said["Binds"]


def test_the_answer_is_of_the_load_that_was_asked_for(cli):
    asked = ["estimate", "llama3-8b", "--hw", "h100", "--prompt", 1000, "--output", 200, "--concurrency", 32]
    asked += ["--engine", "optimised"]
    mix, said = answer_of(cli, *asked)["serving"], answer_above(cli(*asked).out)
    assert f"room for {mix['max_concurrency']} requests" in said["Fits"]
    times = (mix["expected"][f"{name}_seconds"] * 1e3 for name in ("ttft", "tpot"))
    assert "TTFT {:.1f} ms, TPOT {:.1f} ms".format(*times) in said["Speed"]
    assert f"{mix['expected']['output_tokens_per_s']:,.0f} tokens/s out" in said["Speed"]


@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (["llama3-8b"], ["Weighs"]),
        (["qwen3-0.6b", "--hw", "jetson-orin-nano-8gb"], ["Fits", "Not known"]),  # no source gives its peak
        (["llama3-70b", "--hw", "rtx4090"], ["DOES NOT FIT", "Would fit", "or", "Speed", "Binds"]),
    ],
)
def test_the_answer_says_what_can_be_said(cli, arguments, answers):
    assert [*answer_above(cli("estimate", *arguments).out)] == answers


def test_more_requests_than_are_answered_stand_in_the_answer(cli):
    asked = ("estimate", "llama3-8b", "--hw", "rtx4090", "--prompt", "500", "--output", "100")
    over = cli(*asked, "--rate", "20").out.splitlines()
    answered = json.loads(cli(*asked, "--rate", "20", "--json").out)["serving"]["expected"]["requests_per_s"]
    assert over[2].startswith(f"OVERLOADED   20 requests/s arrive, {answered:.3g} requests/s are answered")
    assert "OVERLOADED" not in cli(*asked, "--rate", str(answered / 2)).out


def test_memory_under_a_load_is_that_of_the_requests_that_run(cli):
    asked = ("estimate", "llama3-8b", "--hw", "h100", "--prompt", "2000", "--output", "500", "--concurrency", "64")
    document = json.loads(cli(*asked, "--json").out)
    pages = 16  # tokens, half of the last of which is empty on average
    mean = (2000 + 500 / 2 + (pages - 1) / 2) * document["kv_cache"]["bytes_per_token"]
    assert document["serving"]["kv_cache_bytes"] == 64 * mean
    m = document["memory"]
    used = m["used_bytes"] - m["kv_cache_bytes"] + 64 * mean
    shown = " ".join(cli(*asked).out.split())
    assert f"Memory used {used / 1e9:.1f} GB" in shown
    assert f"room for {document['serving']['max_concurrency']} requests at a time, each half answered" in shown


def test_training_and_the_textbook_are_for_who_asks(cli):
    asked = ["estimate", "llama3-8b", "--hw", "rtx4090"]
    plain = cli(*asked).out
    assert "raining" not in plain
    assert "textbook" not in plain
    assert "\nTraining " in cli(*asked, "--training").out
    assert "\n  2.0T tokens " in cli(*asked, "--tokens", "2T").out  # who says how long asks
    course = cli(*asked, "--basis", "textbook").out
    assert "\nTraining " in course
    assert "\nFLOPs of prefill         150 TFLOP   1 × 8,192 tokens, all pairs;" in course
    assert ("expected" in course, "limit" in course) == (False, False)
    heads = {each: cli(*asked, *each).out for each in ((), ("--basis", "all"), ("--mfu", "0.4"))}
    columns = {each: re.search(r"^ +(.*)  off by$", page, re.MULTILINE)[1].split() for each, page in heads.items()}
    assert columns[()] == ["limit", "expected"]
    assert columns["--basis", "all"] == columns["--mfu", "0.4"] == ["textbook", "limit", "expected"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--basis", "textbook"], "--basis textbook: times need a GPU"),
        (["--training"], "--training: times need a GPU"),
        (["--hw", "h100", "--training", "--json"], "--training: of the tables"),
        (["--hw", "h100", "--basis", "all", "--csv"], "--basis all: of the tables"),
    ],
)
def test_what_is_of_tables_of_times_is_refused_without_them(cli, more, words):
    answer = cli("estimate", "llama3-8b", *more)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err


pytest.mark.parametrize("arguments", MISFITS, ids=lambda each: " ".join(map(str, each)))


@pytest.mark.parametrize("arguments", MISFITS, ids=lambda each: " ".join(map(str, each)))
def test_each_command_that_would_fit_does_fit_as_it_is_shown(cli, arguments):
    page = cli("estimate", *arguments).out
    commands = re.findall(r"^(?:Would fit|or) +.*?: llmcost (.*)$", page, re.MULTILINE)
    assert commands
    assert [each for each in commands if not answer_of(cli, *shlex.split(each))["memory"]["fits"]] == []


def test_smaller_weights_come_before_more_gpus_and_a_much_shorter_context_last(cli):
    """70 B parameters: 35 GB in 4 bits on cards of 24 GB, 140 GB in 16. 85 of 102 GB are a cache of 64 × 8,192."""
    said = cli("estimate", "llama3-70b", "--hw", "rtx4090").out
    assert "or             weights in int4-g128 on 4 GPUs: " in said
    assert "or             8 GPUs: " in said
    said = cli("estimate", "llama3-8b", "--hw", "rtx4090", "-b", 64).out
    assert [said.index(each) for each in ("8 GPUs: ", "a batch of ", "a context of ")] == sorted(
        said.index(each) for each in ("8 GPUs: ", "a batch of ", "a context of ")
    )
    assert "Would fit      a batch of 5: " in cli("estimate", "llama3-8b", "--hw", "rtx4090", "-b", 7).out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("llama3-70b --hw rtx4090 --dtype q4_k_m", "layers"),
        ("llama3-70b --hw rtx4090 --dtype q4_k_m --offload layers:9 --host epyc-9654", "layers"),
        ("mixtral-8x7b --hw rtx4090 --dtype q4_k_m --engine llama.cpp", "experts"),
    ],
)
def test_no_more_is_left_to_a_host_than_has_to_be(cli, arguments, part):
    page = cli("estimate", *arguments.split()).out
    command = re.search(r": llmcost (estimate .*--offload .*)$", page, re.MULTILINE)[1]
    count = int(re.search(rf"--offload {part}:(\d+)", command)[1])
    assert ("epyc-9654" in command) is ("epyc-9654" in arguments)  # the host that was asked about
    one_less = command.replace(f"{part}:{count}", f"{part}:{count - 1}")
    assert [answer_of(cli, *shlex.split(each))["memory"]["fits"] for each in (command, one_less)] == [True, False]


def test_a_mac_is_not_told_to_be_several_and_another_gpu_is_named_where_nothing_helps(cli):
    assert "Would fit      weights in fp8: " in cli("estimate", "llama3-8b", "--hw", "m3").out
    assert "--gpus" not in cli("estimate", "llama3-8b", "--hw", "m3").out
    assert "Would fit      another GPU: llmcost fit llama3-70b\n" in cli("estimate", "llama3-70b", "--hw", "m1").out


def test_what_does_not_fit_is_red_on_a_terminal():
    page = on_a_terminal(["estimate", "llama3-70b", "--hw", "rtx4090"], columns=80)
    assert "\x1b[1;31mDOES NOT FIT\x1b[0m" in page
    assert "\x1b[1;31m" not in on_a_terminal(["estimate", "llama3-8b", "--hw", "rtx4090"], columns=80)


def test_what_is_not_known_of_a_model_is_null(cli):
    """Latent attention has no KV heads, and no source dates BLOOM's release here; tables show a dash."""
    known = {each["name"]: each for each in json.loads(cli("models", "--json").out)["models"]}
    assert known["deepseek-r1"]["kv_heads"] is None
    assert known["bloom-176b"]["released"] is None
    assert all(value != "" for each in known.values() for value in each.values())


def test_what_8_bit_layers_leave_in_16_bits_is_said(cli):
    assert "linear layers fp8, the rest bf16" in cli("estimate", "llama3-8b", "--hw", "h100", "--dtype", "fp8").out


@pytest.mark.parametrize(("own", "others"), [("--max-num-seqs", []), ("", ["--engine", "vllm-0.6"])])
def test_what_keeps_running_requests_at_an_engines_most_is_said(cli, own, others):
    asked = [own, 256] if own else others
    shown = cli(
        "estimate", "llama3.1-8b", "--hw", "h100", *asked, "--concurrency", 300, "--prompt", "1k", "--output", 256
    )
    assert shown.code == 0
    assert not others or shown.out.startswith("Llama 3.1 8B on NVIDIA H100 SXM5 80GB under vllm-0.6: ")
    assert "256 run at a time, the most that run at a time (--max-num-seqs)" in " ".join(shown.out.split())


def test_layouts_side_by_side_have_an_engines_own_collectives(cli):
    """One of them crosses nodes, another does not: each has the time that it has when asked alone."""
    shown = cli("plan", "llama3.1-8b", "--hw", "h100", "--gpus", 16, "--serve", "--engine", "vllm", "--json")
    assert shown.code == 0, shown.err
    best = json.loads(shown.out)["best"]
    assert len({each["tp"] * each["pp"] for each in best}) > 3
    for each in best:
        layout = ["--tp", each["tp"], "--pp", each["pp"], "--dp", each["dp"], "--concurrency", each["concurrency"]]
        asked = ["--prompt", 1024, "--output", 256, "--engine", "vllm", *layout, "--json"]
        alone = json.loads(cli("estimate", "llama3.1-8b", "--hw", "h100", *asked).out)["serving"]["expected"]
        assert each["tokens_per_s_per_gpu"] == pytest.approx(alone["output_tokens_per_s_per_gpu"], rel=1e-9), layout
