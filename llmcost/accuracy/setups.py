"""How a case ran: its model on its chip, in its data types, divided as it was; and how long a pass through it takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

from llmcost.accuracy.cases import Case, engine_of, engines
from llmcost.accuracy.models import spec_of
from llmcost.ground.algebra import Number
from llmcost.machine import chip as machine_chip
from llmcost.machine import reached
from llmcost.machine.chip import Chip
from llmcost.machine.defaults import Launch
from llmcost.machine.efficiency import FIGURES, Efficiency, from_figures
from llmcost.machine.process import SERVING_COMMUNICATORS, SERVING_CONTEXT
from llmcost.machine.timing import bound
from llmcost.model.architecture import Pass
from llmcost.model.counting import count_pass, kept_bytes, stored_bytes
from llmcost.model.operators import Attention
from llmcost.model.sizes import Load, element_bytes
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server
from llmcost.serving.batching import Mix, joined
from llmcost.serving.memory import stage_bytes, step_peak
from llmcost.specs.catalog import load_hardware
from llmcost.specs.hardware import Figure, HardwareSpec

# What a GPU reaches with layers computed in one type on weights in another, in an engine that starts its kernels in
# such a way.
Reach: TypeAlias = Callable[[HardwareSpec, str, str, Launch], Efficiency]
by_default: Reach = partial(from_figures, FIGURES)

REPORTED = (
    2**30 / 10**9
)  # where no source has a driver's figure: they report GiB, or nearly so, for what vendors call GB
PCIE = Figure(64 * 10**9, "64 GB/s", "")  # both ways, where the cards were joined by nothing faster


class Seconds(NamedTuple):
    """Seconds of one pass through the model: as expected, and at least."""

    expected: float
    limit: float

    def times(self, count: float) -> Seconds:
        """So many of them, one after the other."""
        return Seconds(count * self.expected, count * self.limit)

    def plus(self, other: Seconds) -> Seconds:
        """The one and then the other."""
        return Seconds(self.expected + other.expected, self.limit + other.limit)


class Setup(NamedTuple):
    """A model as a case ran it: on which chip, in which types, how divided. `head_bytes`: an element of the LM head."""

    server: Server
    head_bytes: Number

    def share(self, load: Load, positions: Number = 1) -> Pass:
        """One GPU's operators of a pass through all stages, logits at so many positions a sequence."""
        return self._with_head(self.server.divided(self.server.whole(load, positions)))

    def _with_head(self, share: Pass) -> Pass:
        return share._replace(
            last=[op._replace(Bw=self.head_bytes) if op.name == "lm_head" else op for op in share.last]
        )

    def step(self, batch: Number, context: Number) -> Seconds | None:
        """One decode step."""
        return self._through(Load(batch, 1, context, decode=True))

    def prompt(self, batch: Number, length: Number, positions: Number = 1) -> Seconds | None:
        """A whole prompt of every sequence."""
        return self._through(Load(batch, length, length), positions)

    def _through(self, load: Load, positions: Number = 1) -> Seconds | None:
        share = self.share(load, positions)
        stages = self.server.times(share, load)
        least = bound(self.server.cost(share, load), self.server.chip, "", "").seconds()
        return None if stages is None or least is None else Seconds(stages.through(), least)

    def mixed(self, batch: Number, prompt: float, output: float) -> Seconds | None:
        """One iteration of continuous batching: a token of each sequence, and the prompts of those that take the
        place of finished ones.

        In a pipeline, whose stages work on as many such iterations at a time, the slowest stage sets the pace.
        """
        stages = self.server.pp
        share, load = joined(self.server, Mix(batch, prompt + output / 2, batch / output, prompt))
        share = self._with_head(share)
        times = self.server.times(share, load)
        head = [op._replace(count=op.count * stages) for op in share.last]
        least = bound(count_pass([*share.layers, *head]), self.server.chip, "", "").seconds()
        return None if times is None or least is None else Seconds(stages * times.slowest(), least)

    def concurrency(self, tokens: float, share: float) -> float:
        """Sequences of so many tokens whose cache takes this share of what the weights leave, on the GPUs that share the model."""
        step = self.share(Load(1, 1, 1, decode=True)).operators()
        cache: float = sum(op.count * op.cache_bytes_per_token() for op in step if isinstance(op, Attention))
        room: float = share * (self.server.chip.usable * self.server.pp - stored_bytes(step))
        return room / (cache * tokens)

    def memory(self, batch: int, prompt: int, context: int, process: bool) -> float:
        """Bytes on all GPUs of a pipeline: weights, cache at the end, activations of the prompts of the whole batch.

        `process`: and what a process has beside these that has set up exchanges.
        """
        step = self.share(Load(batch, 1, context, decode=True)).operators()
        beside: float = self._alive(batch, prompt) + (
            SERVING_CONTEXT.value + SERVING_COMMUNICATORS.value if process else 0
        )
        return stored_bytes(step) + kept_bytes(step) + self.server.pp * beside  # type: ignore[no-any-return]

    def fits(self, batch: int, prompt: int, context: int, gpus: int) -> bool:
        """Whether all this fits each GPU beside what its process has; layers and cache spread evenly over the stages."""
        step, stages = self.share(Load(batch, 1, context, decode=True)), self.server.pp
        need: float = (
            stage_bytes(step, stages)
            + kept_bytes(step.layers) / stages
            + self._alive(batch, prompt)
            + SERVING_CONTEXT.value
            + SERVING_COMMUNICATORS.value * (gpus > 1)
        )
        usable: float = self.server.chip.usable
        return need <= usable

    def _alive(self, batch: int, prompt: int) -> float:
        """Activations at the worst kernel."""
        tokens = max(prompt, 1)
        step, prompts = self.share(Load(batch, 1, tokens, decode=True)), self.share(Load(batch, tokens, tokens))
        alive: float = max(
            step_peak(step, 0).head,
            step_peak(prompts, batch * tokens * self.server.model.hidden_size * self.server.size.Bx).layers,
        )
        return alive


Placed: TypeAlias = tuple[Setup, HardwareSpec]


def setup_of(case: Case, reach: Reach = by_default, tp: int | None = None) -> Setup | None:
    """How a case ran; None where its model's shape is not known, or how it was divided and `tp` does not say it."""
    of = case.settings
    tp, pp = tp or of["tp"], 1 if tp else of["pp"]
    if spec_of(of["model"]) is None or tp is None or pp is None:
        return None
    degrees = (tp, pp, of["dp"], of["ep"])
    types = (of["weights"], of["compute"], of["kv"])
    setup, hardware = _setup(of["model"], of["gpu"], types, degrees, engine_of(case), of["link"])
    if reach is by_default:
        return setup
    return setup._replace(
        server=setup.server._replace(efficiency=reach(hardware, of["compute"], of["weights"], launch_of(case)))
    )


def by_profile(profile: str) -> Reach:
    """The same by a profile of that GPU; of single kernels, which are timed alone, without an engine."""

    def reach(hardware: HardwareSpec, compute: str, weights: str, launch: Launch) -> Efficiency:
        return reached.efficiency_for(hardware, profile, compute, weights, launch, engine=launch != "alone")

    return reach


def launch_of(case: Case) -> Launch:
    """How the engine of a case starts its kernels; single kernels were timed as they run, exchanges as PyTorch starts them."""
    if case.source.kind == "micro":
        return "stream" if case.settings["op"] == "all-reduce" else "alone"
    launch: Launch = engines()[engine_of(case)]["launch"]
    return launch


@lru_cache(maxsize=512)
def _setup(
    name: str, gpu: str, types: tuple[str, str, str], degrees: tuple[int, int, int, int], engine: str, link: str | None
) -> Placed:
    (weights, compute, kv), (tp, pp, dp, ep) = types, degrees
    model, hardware = spec_of(name), gpu_of(gpu)
    assert model is not None
    if link == "pcie":
        hardware = hardware._replace(interconnect=PCIE, interconnect_kind="PCIe 4.0 x16")
    size = element_bytes(weights, compute, kv)
    whole = engines()[engine].get("head", False)
    launch: Launch = engines()[engine]["launch"]
    server = Server(
        model=model,
        size=size,
        chip=chip_of(hardware, compute, kv),
        efficiency=by_default(hardware, compute, weights, launch),
        layout=Layout(tp, pp, dp, ep, node=max(tp * dp, hardware.gpus_in_a_node()), sequence_parallel=False),
    )
    return Setup(server, size.Bw if whole else size.table()), hardware


@lru_cache(maxsize=128)
def gpu_of(name: str) -> HardwareSpec:
    """A GPU's spec, read once."""
    return load_hardware(name)


def chip_of(hardware: HardwareSpec, compute: str, kv: str) -> Chip:
    """The GPU's figures for these types; where its matrix units lack one, the rate outside them."""
    everywhere = hardware._replace(peak=hardware.vector_peak | hardware.peak)
    return machine_chip.chip_of(everywhere, compute, kv)._replace(usable=usable_bytes(hardware))


def usable_bytes(hardware: HardwareSpec) -> float:
    """The memory that a GPU's driver reports."""
    return hardware.usable_memory.value if hardware.usable_memory else hardware.memory.value * REPORTED
