"""A block and a class of operators that the package has never seen: all of it works on them, none of it was changed.

What stands here is what CONTRIBUTING asks of a new kind of block: a named tuple of sizes with its kernels, their facts,
and where no class of operators fits, one more.
"""

from typing import NamedTuple

import numpy as np
import pytest

from llmcost.formulas.operators import PHASES, operator_rows
from llmcost.formulas.serving import explain, symbolic_estimate
from llmcost.ground.algebra import Number
from llmcost.ground.symbols import evaluate as value_of
from llmcost.model.architecture import operators
from llmcost.model.blocks import Builder, Experts, GatedMlp
from llmcost.model.blocks.builder import CHANNELS, COLUMNS_OF_INPUT, ROWS, TOKENS
from llmcost.model.counting import count_params, count_pass
from llmcost.model.lora import ALL_LINEAR, NF4_BITS, Lora, adapters
from llmcost.model.operators import INPUT, OWN, UNSAID, Collective, Facts, Gemm, Operator
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import Layer, ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.split import shard
from llmcost.search.sweep import Sweep
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware
from llmcost.training.activations import kept
from llmcost.training.breakdown import micro_batch_rows as training_rows
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import Recipe
from llmcost.training.shares import shares_for
from llmcost.training.step import training_chip, training_step

H, A, D, R, L, I, V = 512, 8, 64, 32, 4, 1024, 1000
H100 = load_hardware("h100-sxm")
BF16 = element_bytes("bf16", "bf16", "bf16")


class _FourierMix(NamedTuple):
    name: str
    part: str
    count: Number
    b: Number
    s: Number
    heads: Number
    width: Number
    Bx: Number
    facts: Facts = UNSAID


class FourierMix(_FourierMix, Operator):
    """A made-up kernel: each head multiplies its window of 16 tokens with a learned matrix of 16 by 16."""

    __slots__ = ()

    @property
    def kind(self):
        return "scan"

    @property
    def scope(self):
        return "sequence"

    def params(self):
        return 256 * self.heads

    def flops(self, causal):
        return 2 * 16 * self.b * self.s * self.heads * self.width / (2 if causal else 1)

    def stored_bytes(self):
        return self.params() * self.Bx

    def state_bytes(self):
        return 15 * self.b * self.heads * self.width * self.Bx

    def cache_bytes(self):
        return self.state_bytes()

    def io_bytes(self):
        return 2 * self.output_bytes()

    def output_bytes(self):
        return self.b * self.s * self.output_width() * self.Bx

    def output_width(self):
        return self.heads * self.width

    def saved_bytes(self):
        return 0, self.output_bytes()  # its input, as large as its output

    def heads_divided(self, parts):
        return self._shared(parts, "heads")


IN = Facts("columns", INPUT, modules=("in_x in_gate",))
OUT = ROWS._replace(modules=("out_x",))


class Fourier(NamedTuple):
    """Projection to channels and a gate, the mixing, the gate, a low-rank addition, output projection."""

    fourier_heads: Number
    fourier_width: Number
    fourier_rank: Number
    gated: bool = True

    @classmethod
    def letters(cls):
        return {"fourier_heads": ("aF", "heads of the mixing"), "fourier_width": ("dF", "channels of a head")}

    def operators(self, build: Builder):
        channels = self.fourier_heads * self.fourier_width
        b, s, Bx = build.load.b, build.load.s, build.bytes.Bx
        yield build.gemm("fourier_in", "attention", build.hidden, 2 * channels, IN._replace(widths=(channels,) * 2))
        yield build.gemm("fourier_low", "attention", build.hidden, self.fourier_rank, Facts("tokens", INPUT))
        yield build.gemm("fourier_high", "attention", self.fourier_rank, channels, Facts("columns", OWN))
        heads, width = self.fourier_heads, self.fourier_width
        yield FourierMix("fourier", "attention", build.count, b, s, heads, width, Bx, CHANNELS)
        yield build.elementwise("fourier_gate", "attention", 3 * channels, channels, CHANNELS)
        yield build.gemm("fourier_out", "attention", channels, build.hidden, OUT)


def model(mlp=GatedMlp(I), **layer):  # noqa: B008
    kind = Layer(L, Fourier(A, D, R), mlp, **layer)
    return ModelSpec("fourier", "Fourier", "a test", H, V, 4096, False, (kind,))


C = A * D
PARAMS = 2 * V * H + H + L * (2 * H + H * 2 * C + H * R + R * C + 256 * A + C * H + 3 * H * I)


def test_it_is_counted():
    load = Load(2, 64, 64)
    ops = operators(model(), BF16, load, 64)
    assert count_params(ops).total == PARAMS
    cost = count_pass(ops)
    assert cost.attention_flops == L * 2 * 16 * 2 * 64 * C  # what looks at the sequence is booked as attention's
    assert cost.linear_flops == 2 * 2 * 64 * L * (2 * H * C + H * R + R * C + C * H + 3 * H * I)
    assert estimate(model(), H100).kv_cache.bytes_per_token == 0  # a state does not grow
    assert estimate(model(), H100).memory.kv_cache_bytes == L * 15 * C * 2


def test_it_is_explained_in_letters_of_its_own():
    (flops,) = explain(model(), H100, quantity="flops.prefill.full")
    assert {"aF", "dF", "fourier_rank"} <= flops.legend.keys()  # a size without a letter goes by its name
    assert flops.legend["aF"] == (A, "heads of the mixing")
    assert flops.legend["fourier_rank"] == (R, "fourier rank")
    numbers, letters = (dict(leaves(each(model(), H100, Options()))) for each in (estimate, symbolic_estimate))
    for path, number in numbers.items():
        if isinstance(number, (int, float)) and letters[path] is not None:
            assert value_of(letters[path]) == pytest.approx(number), path


def test_it_is_swept_on_arrays_and_timed():
    batches = [1, 3, 16, 200]
    path = "decode.expected.seconds_per_step"
    ((_, columns),) = Sweep(model(), [H100], {"batch": batches}).blocks([path])
    for batch, seconds in zip(batches, columns[path], strict=True):
        alone = estimate(model(), H100, Options(batch=batch)).decode.expected.seconds_per_step
        assert seconds == pytest.approx(alone, rel=1e-12)
    sizes = np.array([1.0, 2.0])
    assert (count_pass(operators(model(), BF16, Load(sizes, 8, 8))).attention_flops == L * 2 * 16 * 8 * C * sizes).all()
    for phase in PHASES:
        (row,) = [row for row in operator_rows(model(), H100, Options(), phase) if row.operator == "fourier"]
        assert row.seconds > 0


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_it_is_split_over_gpus(sequence_parallel):
    tp, ops = 4, operators(model(), BF16, Load(2, 64, 64))
    share = shard(ops, Layout(tp=tp, sequence_parallel=sequence_parallel, gpus_per_node=8))
    whole, one = count_pass(ops), count_pass(share)
    low = L * 2 * 2 * 64 * H * R  # on every GPU; with sequence parallelism each has its tokens of it
    once = 0 if sequence_parallel else low
    assert (one.linear_flops - once) * tp == pytest.approx(whole.linear_flops - once)
    assert one.attention_flops * tp == whole.attention_flops
    behind = {"reduce_scatter", "all_gather"} if sequence_parallel else {"all_reduce"}
    sums = [op for op in share if isinstance(op, Collective) and op.name.startswith("fourier")]
    assert {op.exchange for op in sums} == behind
    assert {op.payload_bytes() for op in sums} == {2 * 64 * H * 2}


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize(
    "layout", [Layout(), Layout(tp=2, dp=2, global_batch=4), Layout(tp=2, sequence_parallel=False)]
)
@pytest.mark.parametrize("recipe", [Recipe(), Recipe(kernels="eager", attention="unfused"), Recipe(dtype="fp8")])
def test_it_trains(recompute, layout, recipe):
    step = training_step(model(), H100, layout._replace(recompute=recompute), recipe, 1024)
    assert step.memory_bytes() > 0
    assert step.flops.hardware >= step.flops.model


def test_its_layer_keeps_what_its_kernels_say():
    layout = Layout()
    at = Setup(model(), layout, Recipe(), 1024, training_chip(H100, Recipe(), layout), shares_for(H100, Recipe()))
    layers = forward_pass(at).layers
    named = dict(zip([op.name for op in layers], kept(layers, layout, at.recipe), strict=True))
    tokens = 1024 * 2  # in bf16
    assert named["fourier_in"] == tokens * H
    assert named["fourier_low"] == 0  # the same input
    assert named["fourier"] == named["fourier_out"] == tokens * C
    assert [row.name for row in training_rows(at)][:3] == ["token_embedding", "attention_norm", "fourier_in"]


def test_it_gets_adapters():
    layers = [op for op in operators(model(), BF16, Load(1, 8, 8)) if op.count == L]
    found = {each.module: each for each in adapters(layers, Lora(8, (ALL_LINEAR,)))}
    assert {"in_x", "in_gate", "fourier_low", "fourier_high", "fourier_out"} <= found.keys()
    assert found["in_x"].params() == L * 8 * (H + C)
    lora = Recipe(lora=Lora(8, ("in_gate",), NF4_BITS))
    for layout in (Layout(), Layout(tp=2, global_batch=1)):
        assert training_step(model(), H100, layout, lora, 256).memory_bytes() > 0


def test_it_is_quantised_and_parts_of_it_are_not():
    def bytes_of(**layer):
        return estimate(model(**layer)._replace(weight_format="fp8"), None).memory.weights_bytes

    one, gemms = bytes_of(), L * (2 * H * C + H * R + R * C + C * H)
    assert one == 2 * PARAMS - gemms - L * 3 * H * I
    assert bytes_of(unquantized=("attention",)) == one + gemms
    assert bytes_of(unquantized=("fourier_out",)) == one + L * C * H


def test_it_stands_beside_experts():
    spec = model(mlp=Experts(8, 2, 128))
    assert training_step(spec, H100, Layout(dp=2, ep=2, global_batch=2), Recipe(), 256).memory_bytes() > 0


def test_what_nothing_was_said_of_is_refused_at_once():
    class Silent(Fourier):
        def operators(self, build):
            yield build.gemm("silent", "attention", H, H)

    with pytest.raises(TypeError, match="facts"):
        operators(model()._replace(layers=(Layer(1, Silent(A, D, R), GatedMlp(I)),)), BF16, Load(1, 8, 8))

    class Bare(_FourierMix, Operator):
        __slots__ = ()

    bare = Bare("bare", "attention", 1, 1, 8, A, D, 2, TOKENS)
    with pytest.raises(NotImplementedError, match="Bare does not say what kind"):
        _ = bare.kind
    with pytest.raises(NotImplementedError, match="Bare does not say what its backward pass needs"):
        bare.saved_bytes()
    assert isinstance(Gemm("g", "mlp", 1, 1, 1, 8, 8, False, False, 2, 2).facts, Facts)
    assert COLUMNS_OF_INPUT.split == "columns"
