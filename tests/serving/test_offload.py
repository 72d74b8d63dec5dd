"""Layers and experts on the host: bytes by hand, bounds, the two ways to compute what is there, and what is refused."""

import json

import pytest

import llmcost
from llmcost.formulas.serving import symbolic_estimate
from llmcost.ground.errors import InputError
from llmcost.ground.symbols import evaluate as value_of
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model

MIXTURE, DENSE = load_model("qwen3-30b-a3b"), load_model("llama3-8b")
CARD, HOST = load_hardware("rtx4090"), load_hardware("epyc-9654")
SHARE = 0.545  # of PCIe's rate
ASKED = Options(host="epyc-9654", weight_dtype="q8_0", context=4096)
EXPERT = 3 * 2048 * 768 * 34 // 32  # bytes: 34 for 32 weights


def of(part, model=MIXTURE, **others):
    return estimate(model, CARD, ASKED._replace(offload=part, **others))


def test_experts_leave_the_gpu_and_stand_on_the_host():
    whole, split = estimate(MIXTURE, CARD, ASKED._replace(host=None)), of("experts")
    scales = split.offload.weights_bytes / (48 * 128 * EXPERT)
    assert scales == 1
    assert split.memory.weights_bytes + split.offload.weights_bytes == pytest.approx(whole.memory.weights_bytes)
    assert split.memory.kv_cache_bytes == whole.memory.kv_cache_bytes
    assert split.offload.kv_cache_bytes == 0
    assert split.memory.fits
    assert not whole.memory.fits


def test_a_token_reads_its_own_experts_from_the_host_and_goes_there_and_back():
    split = of("experts")
    assert split.offload.read_bytes == pytest.approx(48 * 8 * EXPERT, rel=0.01)
    assert split.offload.sent_bytes_per_step == 48 * 2 * 2048 * 2


def test_layers_take_their_keys_along():
    whole, split = estimate(MIXTURE, CARD, ASKED._replace(host=None)), of("layers:12")
    assert split.offload.kv_cache_bytes == pytest.approx(whole.kv_cache.bytes / 4)
    assert split.memory.kv_cache_bytes == pytest.approx(whole.memory.kv_cache_bytes * 3 / 4)
    assert split.memory.weights_bytes + split.offload.weights_bytes == pytest.approx(whole.memory.weights_bytes)


@pytest.mark.parametrize("part", ["experts", "experts:20", "layers:20"])
@pytest.mark.parametrize("engine", [None, "llama.cpp"])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_no_limit_is_slower_than_what_is_expected(part, engine, batch):
    e = of(part, engine=engine, batch=batch)
    for phase in (e.prefill, e.decode):
        assert phase.limit.tokens_per_s >= phase.expected.tokens_per_s
    assert e.decode.expected.seconds_per_step >= e.decode.bound.host_seconds > 0


def test_the_host_bounds_the_step_by_its_own_bandwidth():
    e = of("experts")
    assert e.decode.bound.host_seconds == pytest.approx(e.offload.read_bytes / HOST.bandwidth.value)
    assert e.decode.limited_by == "the host's memory"


@pytest.mark.parametrize("part", ["experts", "layers"])
def test_the_more_is_on_the_host_the_longer_a_step_takes_and_the_less_the_gpu_holds(part):
    found = [of(f"{part}:{count}") for count in (1, 10, 20, 40, 47)]
    steps = [e.decode.expected.seconds_per_step for e in found]
    held = [e.memory.used_bytes for e in found]
    assert steps == sorted(steps)
    assert held == sorted(held, reverse=True)


def test_experts_of_all_layers_are_all_experts():
    assert of("experts:48").decode == of("experts").decode


def test_prompts_are_computed_by_the_gpu_where_copies_are_quicker():
    e = of("experts", engine="llama.cpp", prompt=2048, context=2049, chunk=2048)
    copied = e.offload.weights_bytes / (CARD.interconnect.value / 2 * SHARE)
    assert e.offload.sent_bytes_of_prefill == pytest.approx(e.offload.weights_bytes)
    assert copied < e.prefill.expected.seconds < 1.5 * copied
    slow = of("experts", engine="llama.cpp", prompt=2048, context=2049, chunk=2048, link="pcie3")
    assert slow.prefill.expected.seconds > e.prefill.expected.seconds + 0.9 * copied


def test_llama_cpp_copies_from_32_tokens_on():
    few, many = (of("experts", engine="llama.cpp", batch=batch).offload for batch in (31, 32))
    touched = 48 * 128 * (1 - (1 - 8 / 128) ** 32) * EXPERT
    assert few.sent_bytes_per_step == 31 * 48 * 2 * 2048 * 2
    assert many.sent_bytes_per_step == pytest.approx(many.read_bytes) == pytest.approx(touched, rel=0.01)


def test_without_an_engine_it_is_whichever_is_quicker():
    for batch in (1, 8, 32, 256):
        best, llama = (of("experts", batch=batch, engine=engine) for engine in ("ideal", "llama.cpp"))
        assert best.decode.expected.seconds_per_step <= llama.decode.expected.seconds_per_step
    assert (
        of("experts", prompt=40, context=41, batch=1, engine="optimised").offload.sent_bytes_of_prefill
        < 40 * 48 * 2 * 2048 * 2 + 1
    )


def test_what_the_host_has_no_room_for_does_not_fit():
    small = "ryzen-9-9950x"
    assert of("layers:30", DENSE, host=small, context=8192, batch=1).memory.fits
    e = of("layers:30", DENSE, host=small, context=8192, batch=500)
    assert not e.memory.fits
    assert not e.offload.fits
    assert e.memory.max_batch < 500
    again = of("layers:30", DENSE, host=small, context=8192, batch=e.memory.max_batch)
    assert again.memory.fits
    assert not of("layers:30", DENSE, host=small, context=8192, batch=e.memory.max_batch + 1).memory.fits


def test_a_longer_context_fits_as_far_as_is_said():
    e = of("layers:30", DENSE, batch=64)
    longest = e.memory.max_context
    assert of("layers:30", DENSE, batch=64, context=longest).memory.fits
    assert not of("layers:30", DENSE, batch=64, context=longest + 16).memory.fits or longest == 8192


@pytest.mark.parametrize("part", ["experts", "experts:20", "layers:20"])
@pytest.mark.parametrize("engine", [None, "llama.cpp"])
def test_formulas_and_recordings_give_the_same(part, engine):
    options = ASKED._replace(offload=part, engine=engine, output=200, concurrency=4, batch=2)
    numbers = dict(leaves(estimate(MIXTURE, CARD, options)))
    again = dict(leaves(estimate(MIXTURE, CARD, options._replace(batch=2))))  # compiled by now
    for path, formula in leaves(symbolic_estimate(MIXTURE, CARD, options)):
        number = numbers[path]
        if path == "hardware.cache_bytes":
            continue  # which formulas need not tell
        if isinstance(number, int | float) and formula is not None:
            assert value_of(formula) == pytest.approx(number), path
            assert again[path] == pytest.approx(number), path


def test_a_sweep_gives_what_estimates_give():
    rows = llmcost.sweep("qwen3-30b-a3b", "rtx4090", offload="experts", host="epyc-9654", batch=[1, 8, 64])
    for row in rows:
        alone = estimate(MIXTURE, CARD, Options(offload="experts", host="epyc-9654", batch=row["batch"]))
        assert row["decode.expected.tokens_per_s"] == pytest.approx(alone.decode.expected.tokens_per_s)
        assert row["memory.fits"] == alone.memory.fits


def test_training_is_not_concerned():
    assert of("experts").training == estimate(MIXTURE, CARD, ASKED._replace(host=None)).training


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"host": None}, "on which CPU"),
        ({"offload": None}, "what is on it"),
        ({"host": "h100"}, "a host is a CPU"),
        ({"tp": 2}, "beside one GPU alone"),
        ({"offload": "layers:0"}, "1 to 47"),
        ({"offload": "layers:48"}, "has 48 layers"),
        ({"offload": "experts:49"}, "1 to 48"),
        ({"engine": "vllm"}, "llama.cpp runs on them"),
    ],
)
def test_what_cannot_be_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        estimate(MIXTURE, CARD, ASKED._replace(**({"offload": "experts"} | asked)))


@pytest.mark.parametrize(
    ("hardware", "said"),
    [("h100", "--link pcie5"), ("epyc-9654", "no memory apart"), ("dgx-spark", "no memory apart")],
)
def test_what_has_no_link_or_memory_of_its_own_is_refused(hardware, said):
    with pytest.raises(InputError, match=said):
        estimate(MIXTURE, load_hardware(hardware), ASKED._replace(offload="experts"))


def test_a_dense_model_has_no_experts_to_leave():
    with pytest.raises(InputError, match="has no experts"):
        of("experts", DENSE)


def test_the_page_has_both_memories_and_knows_no_error(cli):
    typed = ("estimate", "qwen3-30b-a3b", "--hw", "rtx4090", "--offload", "experts", "--host", "epyc-9654")
    page = cli(*typed).out
    assert "In the host's memory" in page
    assert "routed experts on AMD EPYC 9654" in page
    assert "of a model that is partly on the host" in page
    answer = json.loads(cli(*typed, "--json").out)
    assert answer["offload"]["fits"] is True
    assert answer["accuracy"]["decode"]["mean_error"] is None


def test_fit_and_other_commands_take_it(cli):
    typed = ("qwen3-30b-a3b", "--hw", "rtx4090", "--offload", "experts", "--host", "epyc-9654")
    assert "1 × rtx4090" in cli("fit", *typed).out
    assert cli("ops", *typed).code == 0
    assert cli("compare", *typed).code == 0
    assert cli("estimate", *typed[:1], *typed[3:]).code == 2


def test_copies_over_the_link_are_named_where_they_take_most_of_the_time(cli):
    """27.1 GB of experts, four times in chunks of 2,048 tokens, at 17.4 GB/s: 6.2 of 8.3 s. A step copies none."""
    asked = ("estimate", "mixtral-8x7b", "--hw", "rtx4090", "--dtype", "q4_k_m", "--offload", "experts")
    asked += ("--host", "epyc-9654", "--engine", "optimised")
    assert "Binds   prefill, PCIe (6.20 s of copies from the host); decode, the host's memory\n" in cli(*asked).out
    assert "PCIe (" not in cli(*asked, "--prompt", "64", "--output", "64").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tp", "2"], "--tp 2: Intel Xeon Platinum 8480+"),
        (["--gpus", "2"], "--gpus 2: Intel Xeon Platinum 8480+"),
        (["--tp", "2", "--dp", "2"], "--tp 2, --dp 2: Intel Xeon Platinum 8480+"),
        (["--offload", "layers:2", "--host", "foo"], "--host: unknown hardware 'foo'"),
    ],
)
@pytest.mark.parametrize("command", ["estimate", "compare"])
def test_what_a_cpu_does_not_do_names_the_option_that_was_typed(cli, command, arguments, words):
    answer = cli(command, "llama3-8b", "--hw", "xeon-8480+", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
