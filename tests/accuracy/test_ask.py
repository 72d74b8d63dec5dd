"""The scoreboard's predictions are what a user is answered: in Python and on the command line.

Where the answer is simulated, the scoreboard is of the formula, which is quicker.
"""

import json

import pytest

from llmcost import estimate, load_hardware, load_model
from llmcost.accuracy.ask import asked, options_of
from llmcost.accuracy.cases import Case, load_cases
from llmcost.accuracy.models import shapes, spec_of
from llmcost.accuracy.predict import ANSWERS, answers
from llmcost.ground.options import declared
from llmcost.machine.chip import chip_of
from llmcost.machine.timing import kernel_seconds
from llmcost.model.operators import Gemm
from llmcost.serving.estimate import Options
from llmcost.serving.estimate import estimate as formula

CASES = load_cases("inference")
PARTS = 8  # of every ninth case, so that several processes share them
JSON = {  # a quantity -> where it stands in the answer's JSON
    "prefill": {
        "first_token_seconds": "prefill.expected.seconds",
        "latency_seconds": "prefill.expected.seconds",
        "prefill_tokens_per_s": "prefill.expected.tokens_per_s",
    },
    "request": {
        "latency_seconds": "request.expected.latency_seconds",
        "first_token_seconds": "request.expected.ttft_seconds",
        "token_seconds": "request.expected.tpot_seconds",
        "output_tokens_per_s": "request.expected.output_tokens_per_s",
    },
    "offline": {"output_tokens_per_s": "serving.expected.output_tokens_per_s"},
    "online": {
        "output_tokens_per_s": "serving.expected.output_tokens_per_s",
        "total_tokens_per_s": "serving.expected.total_tokens_per_s",
        "requests_per_s": "serving.expected.requests_per_s",
        "token_seconds": "serving.expected.tpot_seconds",
        "first_token_seconds": "serving.expected.ttft_seconds",
    },
}


def at(document, path):
    for key in path.split("."):
        document = document[key] if isinstance(document, dict) else getattr(document, key)
    return document


def figure(case: Case, quantity: str, answer):
    """A case's figure in an answer, by its JSON path; while decoding, the batch's tokens over a token's time."""
    if case.settings["phase"] == "decode":
        return case.settings["batch"] / at(answer, "request.expected.tpot_seconds")
    return at(answer, JSON[case.settings["phase"]][quantity])


def told(options: Options) -> dict:
    """The options that are not the defaults."""
    return {name: value for name, value in options._asdict().items() if value != Options._field_defaults[name]}


def test_places_are_told_for_every_figure():
    assert {phase: set(of) for phase, of in JSON.items()} | {"decode": {"decode_tokens_per_s"}} == {
        phase: set(of) for phase, of in ANSWERS.items()
    }


def predicted(case):
    """Its figures that there is a prediction for; memory aside."""
    return [each for each in answers(case) if each.expected is not None and each.quantity != "memory_bytes"]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_scoreboard_says_what_estimate_answers(part):
    compared = 0
    for case in CASES[9 * part :: 9 * PARTS]:
        figures = predicted(case)
        if not figures:
            continue
        options = options_of(case)
        model, length = spec_of(case.settings["model"]), options.prompt + (options.output or 0)
        longer = model._replace(max_position_embeddings=max(length, model.max_position_embeddings))
        answer = estimate(longer, load_hardware(case.settings["gpu"]), Options(**told(options)))
        if answer.serving and answer.serving.simulated:
            answer = formula(longer, load_hardware(case.settings["gpu"]), Options(**told(options)))
        assert [each.expected for each in figures] == [figure(case, each.quantity, answer) for each in figures], (
            case.name
        )
        compared += 1
    assert compared > 20


def few(phase):
    """Some cases of shipped models whose lengths the models take, each of another source or GPU."""
    seen, found = set(), []
    for case in CASES:
        of, options = case.settings, options_of(case)
        if of["phase"] != phase or of["model"] in shapes() or options is None:
            continue
        length = options.prompt + (options.output or 0)
        where = (case.source.name, of["gpu"], options.head_dtype, options.dp)
        if where in seen or length > load_model(of["model"]).max_position_embeddings:
            continue
        if predicted(case):
            seen.add(where)
            found.append(case)
    return found[:: max(1, len(found) // 4)]


@pytest.mark.parametrize("phase", ["decode", "prefill", "request", "offline", "online"])
def test_the_command_line_answers_the_same(cli, phase):
    cases = few(phase)
    assert cases
    for case in cases:
        flags = []
        for name, value in told(options_of(case)).items():
            flags += declared(Options)[name].typed(value).split()
        shown = cli("estimate", case.settings["model"], "--hw", case.settings["gpu"], *flags, "--json")
        assert shown.code == 0, shown.err
        document = json.loads(shown.out)
        simulated = (document.get("serving") or {}).get("simulated")  # the scoreboard is of the formula there
        for each in () if simulated else answers(case):
            if each.quantity != "memory_bytes":
                assert figure(case, each.quantity, document) == pytest.approx(each.expected, rel=1e-12), case.name
        workload = document["workload"]
        assert all(workload[name] == value for name, value in told(options_of(case)).items() if name in workload)


def test_an_engine_brings_the_options_that_are_facts_of_it():
    """engines.yaml: TensorRT-LLM starts kernels one by one, fills 9/10 of what is free, keeps room for all output."""
    (case, *_) = [case for case in CASES if case.source.name == "trtllm-0.17"]
    options = options_of(case)
    assert (options.cuda_graphs, options.free_memory_fraction, options.reserve_output) == (False, 0.9, True)
    (case, *_) = [case for case in CASES if case.source.name == "gpt-fast" and case.settings["weights"] == "int8"]
    assert (options_of(case).cuda_graphs, options_of(case).head_dtype) == (True, "int8")
    (case, *_) = [case for case in CASES if case.source.name == "mlc-perf-bench" and case.settings["tp"] == 2]
    assert options_of(case).link == "pcie4"


def test_layouts_that_engines_ran_are_not_refused():
    """Stages of uneven length among them: 126 layers on eight GPUs, 80 on six, 80 on three, 32 on six."""
    asks = [(case, options_of(case)) for case in CASES]
    uneven = [(case, options) for case, options in asks if options is not None and options.pp in (3, 6)]
    assert {(case.settings["model"], options.pp) for case, options in uneven} >= {("qwen2.5-72b", 3), ("llama3-70b", 6)}
    assert [case.name for case, options in asks if options is not None and asked(case, options) is None] == []


def test_a_kernels_prediction_is_the_kernel_timers():
    """4096 tokens by 4096 by 12288 on an A100: any such row of vidur, with launch counted apart."""
    from llmcost.machine.efficiency import default_for

    case = next(case for case in load_cases("micro") if case.source.name == "vidur" and case.settings["op"] == "gemm")
    of, gpu = case.settings, load_hardware(case.settings["gpu"])
    op = Gemm("gemm", "mlp", 1, 1, of["m"], of["k"], of["n"], False, False, 2, 2)
    (answer,) = answers(case)
    (seconds,) = kernel_seconds(
        [op], chip_of(gpu, of["compute"], of["compute"]), default_for(gpu, of["compute"], of["compute"], "alone")
    )
    assert answer.expected == seconds
    moved, flops = of["k"] * of["n"] * 2, 2 * of["m"] * of["k"] * of["n"]
    assert answer.limit == pytest.approx(max(flops / gpu.peak[of["compute"]].value, moved / gpu.bandwidth.value))
