"""The answer of `llmcost train`, in base units. Field names are the keys of `--json`.

Figures of a step or run that name no basis are the expected ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.html import html_table
from llmcost.ground.units import seconds, significant
from llmcost.machine.efficiency import Band
from llmcost.model.lora import Lora
from llmcost.serving.results import Hardware, Model, leaves, to_dict
from llmcost.training.conventions import Utilization
from llmcost.training.interruptions import InterruptedRun
from llmcost.training.step import StepFlops
from llmcost.training.step_time import StepSeconds


class Spread(NamedTuple):
    """The layout that was computed: fields of Layout, and what follows from them.

    `chosen`: whether some of it was chosen for the user. `stages`: layers of each, where they were dealt out otherwise
    than as evenly as can be.
    """

    tp: Number
    cp: Number
    pp: Number
    vp: Number
    dp: Number
    ep: Number
    etp: Number
    zero: int
    reshard: bool
    sequence_parallel: bool
    recompute: str
    recompute_layers: Number | None
    schedule: str
    micro_batch: Number
    global_batch: Number
    micro_batches: Number
    gpus_per_node: Number
    chosen: bool
    stages: tuple[int, ...] | None = None


class TrainingWorkload(NamedTuple):
    """What is trained: the run, its engine, data type and optimizer, and the parameters that are trained."""

    gpus: Number
    seq: Number
    tokens: Number
    tokens_per_step: Number
    steps: Number
    dtype: str
    optimizer: str
    trained_params: Number
    lora: Lora | None
    engine: str
    all2all: str | None  # what sends tokens to experts; None: nothing in particular
    dispatch_dtype: str | None  # in which they are sent; None: as the engine does
    mfu_assumed: Number  # share of the peak that the textbook bases assume


class Rates(NamedTuple):
    """A run on one basis: time of a step, tokens a second of all GPUs and of one, what the run takes and costs.

    None: no price was given.
    """

    step_seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    days: Number
    gpu_hours: Number
    dollars: Number | None


class ExpectedRates(NamedTuple):
    """The same as expected; what the expectation rests on, the mean error that runs of this kind have shown.

    `days_low`, `days_high`: with that error either way; None where too few were published.
    """

    step_seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    days: Number
    gpu_hours: Number
    dollars: Number | None
    basis: str
    error: float | None
    days_low: Number
    days_high: Number


class StageBytes(NamedTuple):
    """Memory of one GPU of a pipeline stage at its peak; the parts add up to the total."""

    stage: Number
    layers: Number
    params_bytes: Number
    grads_bytes: Number
    optimizer_bytes: Number
    activation_bytes: Number
    logits_bytes: Number
    gathered_bytes: Number
    working_bytes: Number
    overhead_bytes: Number
    total_bytes: Number
    peak: str


class TrainMemory(NamedTuple):
    """Memory of the fullest GPU at its peak (activation_bytes: kept for backward), and of every stage that differs.

    `usable_bytes`: what the driver reports, where that is known. `host_bytes`: in the host's memory, of this GPU's
    part; `host_usable_bytes`: of the host's memory or drives (`host_place`), what a GPU has the use of, 0 where nothing
    stands there, or where it is not known.
    """

    params_bytes: Number
    grads_bytes: Number
    optimizer_bytes: Number
    activation_bytes: Number
    logits_bytes: Number
    gathered_bytes: Number
    working_bytes: Number
    overhead_bytes: Number
    total_bytes: Number
    allocated_bytes: Number
    capacity_bytes: Number
    usable_bytes: Number
    fits: Number
    peak: str
    stages: tuple[StageBytes, ...]
    host_bytes: Number = 0
    host_usable_bytes: Number = 0
    host_place: str = ""


class Train(NamedTuple):
    """Everything `llmcost train` answers. `textbook`: 6 FLOPs a parameter that a token uses; `textbook_recompute`: 8.

    MFU and HFU count every (query, key) pair, as the convention "llmcost" does; `conventions` has them as others
    count. `with_interruptions`: the run with failures and checkpoints, energy and money; all else is without.
    `change`: the cheapest single one that makes it fit; "" if none does. `accuracy`: how far off published runs of this
    kind were.
    """

    schema: str
    model: Model
    hardware: Hardware
    run: TrainingWorkload
    layout: Spread
    step_seconds: Number
    tokens_per_s: Number
    tokens_per_s_per_gpu: Number
    mfu: Number
    hfu: Number
    days: Number
    gpu_hours: Number
    dollars: Number | None
    textbook: Rates
    textbook_recompute: Rates
    limit: Rates
    expected: ExpectedRates
    breakdown: StepSeconds
    flops: StepFlops
    memory: TrainMemory
    change: str | None
    conventions: tuple[Utilization, ...]
    with_interruptions: InterruptedRun
    accuracy: Band

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost train --json`."""
        document: dict[str, Any] = to_dict(self)
        return document

    def rows(self) -> list[dict[str, Any]]:
        """A row a figure: its path in the JSON and its value, in base units."""
        return [{"quantity": path, "value": value} for path, value in leaves(self) if not isinstance(value, tuple)]

    def __repr__(self) -> str:
        """In one line: what, where, whether it fits, the expected time of a step and of the run."""
        fits = "fits" if self.memory.fits else "does not fit"
        speed = f"{seconds(self.step_seconds)} a step, MFU {self.mfu:.1%}, {significant(self.days)} days"
        where = f"{self.model.name} on {self.run.gpus:,} × {self.hardware.name}"
        return f"<Training {where}: {fits}, {speed}>"

    def _repr_html_(self) -> str:
        bases = {name: getattr(self, name) for name in ("textbook", "textbook_recompute", "limit", "expected")}
        figures = ("step_seconds", "tokens_per_s_per_gpu", "days", "gpu_hours", "dollars")
        rows = [{"": figure} | {name: getattr(basis, figure) for name, basis in bases.items()} for figure in figures]
        return html_table(repr(self), rows)
