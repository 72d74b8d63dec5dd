"""GPUs are ranked on one basis: within a family, one whose every figure is as good is never expected to be slower."""

from itertools import permutations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmcost import Options, compare, estimate, load_hardware, load_model
from llmcost.machine.chip import chip_of
from llmcost.machine.efficiency import family_of
from llmcost.specs.catalog import names

CHIPS = [load_hardware(name) for name in names("hardware")]
TYPES = (("bf16", "bf16"), ("fp8", "fp8"), ("bf16", "int4-g128"))


def figures(hardware, dtype):
    chip = chip_of(hardware, dtype, "bf16")
    return (chip.peak, chip.plain_peak, chip.attention_peak, chip.bandwidth)


def as_good(one, other, dtype):
    """Whether every figure of `one` that times on one GPU rest on is known and at least that of `other`; power too."""
    ours, theirs = ((*figures(each, dtype), each.tdp and each.tdp.value) for each in (one, other))
    return None not in (*ours, *theirs) and all(a >= b for a, b in zip(ours, theirs, strict=True))


PAIRS = [
    (one, other, dtype, weights)
    for one, other in permutations(CHIPS, 2)
    for dtype, weights in TYPES
    if family_of(one) and family_of(one) == family_of(other) and as_good(one, other, dtype)
]


@settings(max_examples=80)
@given(
    pair=st.sampled_from(PAIRS),
    model=st.sampled_from(["gpt2", "llama3-8b", "mixtral-8x7b", "deepseek-v3"]),
    batch=st.sampled_from([1, 16, 200]),
    context=st.sampled_from([32, 1000]),
)
@example((load_hardware("h200"), load_hardware("h100-sxm"), "bf16", "bf16"), "llama3-8b", 16, 1000)
@example((load_hardware("h100-sxm"), load_hardware("h100-pcie"), "fp8", "fp8"), "deepseek-v3", 16, 1000)
def test_a_better_gpu_of_the_family_is_never_slower(pair, model, batch, context):
    better, other, dtype, weights = pair
    # chunks are of a GPU's memory, which is not compared
    options = Options(batch=batch, context=context, dtype=dtype, weight_dtype=weights, chunk=2048)
    fast, slow = (estimate(load_model(model), chip, options) for chip in (better, other))
    least = 1 - 1e-9
    assert fast.prefill.expected.tokens_per_s >= least * slow.prefill.expected.tokens_per_s
    assert fast.decode.expected.tokens_per_s >= least * slow.decode.expected.tokens_per_s
    if better.architecture == other.architecture:  # recipes of training on Blackwell Ultra reach a larger share
        assert fast.training.expected.tokens_per_s >= least * slow.training.expected.tokens_per_s


def test_the_families_with_pairs_are_those_of_several_gpus():
    found = {family_of(one) for one, *_ in PAIRS}
    assert {"Hopper", "A100", "Ada", "B200", "Ampere GDDR", "Blackwell GDDR", "CDNA 3"} <= found


@pytest.mark.parametrize("command", ["compare", "fit"])
def test_each_table_says_what_its_figures_rest_on(cli, command):
    shown = cli(command, "llama3-8b", "--hw", "a100,h100,h200").out
    kinds = [line for line in shown.splitlines() if line.startswith("Expected by")]
    assert len(kinds) == 2
    assert any("defaults" in kind and "a100-80gb-sxm" in kind for kind in kinds)
    assert any("profile h200" in kind and "h100-sxm" in kind and "h200" in kind for kind in kinds)


def test_an_h200_is_faster_than_an_h100_by_no_more_than_its_memory_is():
    """The same die, and 4.8 for 3.352 TB/s: 1.43 times as fast at most, in whatever is bound by memory."""
    h100, h200 = compare("llama3-8b", ["h100", "h200"], batch=16, context=8192).entries
    for phase in ("prefill", "decode", "training"):
        rates = [getattr(each.estimate, phase).expected.tokens_per_s for each in (h100, h200)]
        assert 1 <= rates[1] / rates[0] <= 4.8 / 3.352
