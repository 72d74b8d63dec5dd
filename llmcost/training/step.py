"""One training step of a model in a layout: its time as expected and at least, its FLOPs, its memory.

`training_step` takes a GPU's spec; `evaluate_step` a setup whose chip is known. step_time.py says how long it takes,
memory.py what it keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, is_one, is_plain, largest
from llmcost.ground.errors import InputError
from llmcost.machine.chip import Chip, chip_of, links_of
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.timing import Bound
from llmcost.model.architecture import Pass
from llmcost.model.counting import PASSES, PassCost, count_pass
from llmcost.model.lora import is_trained
from llmcost.model.operators import Gemm, GroupedGemm
from llmcost.model.sizes import activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.specs.catalog import load_hardware, names
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.activations import closing, computed_again, halved
from llmcost.training.memory import StageMemory, all_stages, fullest, share_recomputed_of_all, trained_part
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import DTYPES, Recipe
from llmcost.training.shares import shares_for
from llmcost.training.step_time import StepSeconds, step_seconds, updated


class StepFlops(NamedTuple):
    """FLOPs of a step of the whole batch.

    `model`: forward and backward, every (query, key) pair, nothing computed again (the numerator of MFU); `causal`:
    the same with the pairs that a mask leaves; `hardware`: `model` with what is computed again, in recomputed layers
    and inside attention's backward kernel (the numerator of HFU).
    """

    model: Number
    causal: Number
    hardware: Number


class Step(NamedTuple):
    """One step: expected seconds by cause, its floors, FLOPs, and memory of the first and the last pipeline stage.

    `between`: of the stages between them, where layers were dealt out one by one; else these hold no more than the two.
    tokens: of the whole batch. peak: FLOP/s of one GPU in the data type of its products.
    """

    seconds: StepSeconds
    bound: Bound
    flops: StepFlops
    tokens: Number
    gpus: Number
    peak: Number
    first: StageMemory
    last: StageMemory
    basis: str  # what the expected seconds rest on
    between: tuple[StageMemory, ...] = ()

    def mfu(self) -> Number:
        """Share of the peak that the model's FLOPs are."""
        return self.flops.model / (self.seconds.total * self.gpus * self.peak)

    def hfu(self) -> Number:
        """Share of the peak that all computed FLOPs are."""
        return self.flops.hardware / (self.seconds.total * self.gpus * self.peak)

    def tokens_per_s(self) -> Number:
        """Tokens a second of all GPUs together."""
        return self.tokens / self.seconds.total

    def memory_bytes(self) -> Number:
        """Bytes in use on the fullest GPU."""
        return largest([stage.total() for stage in self.stages()])

    def stages(self) -> tuple[StageMemory, ...]:
        """Memory of the stages of which one is the fullest."""
        return (self.first, *self.between, self.last)


def training_step(
    model: ModelSpec,
    hardware: HardwareSpec,
    layout: Layout,
    recipe: Recipe = Recipe(),  # noqa: B008
    seq: Number = 8192,
    efficiency: Efficiency | None = None,
) -> Step:
    """A step in a layout that is legal (parallel/rules.py, `check`). Degrees and sizes may be arrays.

    `efficiency`: a profile's, or the defaults of training. Raises InputError where a figure of the GPU is not known.
    """
    reached = shares_for(hardware, recipe) if efficiency is None else efficiency
    return evaluate_step(Setup(model, layout, recipe, seq, training_chip(hardware, recipe, layout), reached))


def evaluate_step(at: Setup) -> Step:
    """A step of a setup, whose chip and efficiency are known. Its sizes may be numbers, arrays or symbols."""
    at = at.resolved()
    a_pass, layout = forward_pass(at), at.layout
    seconds = step_seconds(at, a_pass)
    memory = all_stages(at, a_pass)
    flops = step_flops(at, a_pass)
    return Step(
        seconds=seconds,
        bound=_bound(at, a_pass, flops),
        flops=flops,
        tokens=layout.global_batch * at.seq,
        gpus=layout.gpus(),
        peak=at.chip.peak,
        first=memory[0],
        last=memory[-1],
        basis=at.efficiency.basis,
        between=tuple(memory[1:-1]),
    )


def step_flops(at: Setup, a_pass: Pass) -> StepFlops:
    """FLOPs of all GPUs together: what one computes of a micro-batch, times all that compute so.

    Fused attention computes q·kᵀ again in its backward kernel: one product more for four.
    """
    first, layers, last = (count_pass(ops) for ops in a_pass)
    everything = layers.plus(first).plus(last)
    layout = at.layout
    times = layout.micro_batches() * layout.stage_gpus()
    frozen = _frozen_flops(at, a_pass)
    model = PASSES * everything.flops(causal=False) - frozen
    causal = PASSES * everything.flops(causal=True) - frozen
    scores_again = everything.attention_flops / 2 if at.recipe.attention == "fused" else 0
    hardware = model + scores_again + _flops_again(at, a_pass, layers)
    return StepFlops(times * model, times * causal, times * hardware)


def _frozen_flops(at: Setup, a_pass: Pass) -> Number:
    """FLOPs of gradients that frozen weights do without: as many as their forward products."""
    lora = at.recipe.lora
    if lora is None:
        return 0
    every = [op for ops in a_pass for op in ops]
    products = [op for op in every if isinstance(op, (Gemm, GroupedGemm)) and not is_trained(op, lora)]
    return sum([op.count * op.flops(causal=False) for op in products])


def _flops_again(at: Setup, a_pass: Pass, layers: PassCost) -> Number:
    """FLOPs of a forward pass that the backward pass computes again."""
    layout = at.layout
    share = share_recomputed_of_all(layout, at.model.num_hidden_layers)
    if layout.recompute == "full":
        left_out = closing(a_pass.layers) if at.recipe.early_stop else []
        return share * (layers.flops(causal=False) - sum([op.count * op.flops(causal=False) for op in left_out]))
    if at.recipe.recomputed:
        again = [op for op in a_pass.layers if computed_again(op, at.recipe)]
        return share * sum([op.count * op.flops(causal=False) for op in again])
    if at.recipe.attention == "unfused":
        return share * layers.attention_flops
    return share * sum([op.count * op.flops(causal=False) for op in halved(a_pass.layers)]) / 2


def _bound(at: Setup, a_pass: Pass, flops: StepFlops) -> Bound:
    """Floors of a step in this layout: causal FLOPs at the peak, and the least traffic of an update at full bandwidth.

    Communication is left out.
    """
    trained = fullest(trained_part(a_pass, at.recipe), at.layout, at.model.num_hidden_layers)
    compute = flops.causal / (at.layout.gpus() * at.chip.peak)
    update = updated(at.layout, trained) * at.recipe.least_update_bytes()
    return Bound(compute, update / at.chip.bandwidth)


def training_chip(hardware: HardwareSpec, recipe: Recipe, layout: Layout) -> Chip:
    """The GPU's figures for a recipe, once all that a step depends on are known.

    Products in fp32 without TF32 run on the vector units. Raises InputError for a data type that the GPU lacks, or a
    figure that no source gives.
    """
    plain = activation_dtype(recipe.dtype)
    chip = chip_of(hardware, recipe.dtype, plain)
    for dtype, peak in ((recipe.dtype, chip.peak), (plain, chip.plain_peak)):
        if peak is None:
            known = [each for each in DTYPES if each in hardware.peak]
            legal = ", ".join(known) or "none that training uses"
            raise InputError(f"--dtype {recipe.dtype}: {hardware.name} has no known peak for {dtype}; it has {legal}")
    if chip.bandwidth is None:
        raise InputError(f"{hardware.name}: no source gives its memory bandwidth")
    gpus, links = layout.gpus(), links_of(hardware)
    alone, inside = is_one(gpus), is_plain(gpus) and gpus <= layout.gpus_per_node
    if not alone and links.node_bytes_per_s is None:
        way_out = "a spec of your own may (interconnect)"
        raise InputError(f"{hardware.name}: no source gives the link between GPUs; {way_out}")
    if not inside and links.fabric_bytes_per_s is None:
        systems = ", ".join(name for name in names("hardware/systems") if load_hardware(name).gpu == hardware.name)
        way_out = f"systems do: --hw {systems}" if systems else "a system of `llmcost hardware` may"
        raise InputError(
            f"{hardware.name}: no source gives the network between nodes of {layout.gpus_per_node}; {way_out}"
        )
    return chip
