"""What runs a workload: the chip's figures, the shares that kernels reach, the layout; and what guesses tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcost.ground.algebra import named
from llmcost.machine.chip import Chip, chip_of
from llmcost.machine.defaults import Launch
from llmcost.machine.efficiency import Efficiency
from llmcost.machine.reached import efficiency_for
from llmcost.model.operators.routing import routing_of
from llmcost.model.sizes import ElementBytes, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.pipeline import Server, filled, rank_share
from llmcost.serving.caches import page_of
from llmcost.serving.encoding import states_of
from llmcost.serving.offloading import host_side, offload_of
from llmcost.serving.options import GATHER, Workload
from llmcost.serving.speculation import WAYS, Speculation, accepted_tokens
from llmcost.specs.catalog import load_beside, load_library, named_engine
from llmcost.specs.hardware import HardwareSpec, joined_by

if TYPE_CHECKING:
    from llmcost.specs.engine import EngineSpec
    from llmcost.specs.library import Library


def machine_of(hardware: HardwareSpec | None, w: Workload) -> tuple[ElementBytes, Chip, Efficiency]:
    """What times rest on besides the model and the sizes: bytes of elements, the chip's figures, shares reached.

    Raises SpecError or InputError for a profile that cannot be used.
    """
    engine = named_engine(w.engine)
    if hardware is not None:
        hardware = joined_by(hardware, w.link)
    chip = chip_of(hardware, w.dtype, w.kv_dtype, w.attention_dtype, w.weight_dtype)
    if hardware is not None and w.offload is not None:
        chip = chip._replace(beside=host_side(hardware, w, engine, started(w)))
    reached = efficiency_for(hardware, w.profile, w.dtype, w.weight_dtype, started(w), engine, w.kv_dtype)
    return (
        element_bytes(w.weight_dtype, w.dtype, w.kv_dtype, w.head_dtype),
        chip,
        reached._replace(libraries=libraries_of(hardware, engine, w.all2all)),
    )


def libraries_of(hardware: HardwareSpec | None, engine: EngineSpec | None, all2all: str | None) -> dict[str, Library]:
    """The libraries that GPUs exchange data by: what was asked for, and what an engine sums by in switches.

    Times of engines with kernel tables hold what switches add up.
    """
    found = {}
    if all2all not in (None, GATHER):
        library = load_library(all2all)
        found["experts"] = library if hardware is None else library.on(hardware)
    if engine is None or hardware is None or engine.kernels:
        return found
    from llmcost.specs.engine import OWN_COLLECTIVES  # an answer without an engine needs none

    for name in engine.collectives.get("all_reduce", ()):
        if name not in OWN_COLLECTIVES and (library := load_library(name)).runs_over(hardware):
            found["all_reduce"] = library
    return found


def started(w: Workload) -> Launch:
    """How the engine starts kernels, in the word of their shares and gaps."""
    return "graph" if w.cuda_graphs else "stream"


def server_of(model: ModelSpec, size: ElementBytes, chip: Chip, efficiency: Efficiency, w: Workload) -> Server:
    """What runs the passes of a workload, in its layout, with its batch spread over the data-parallel ranks."""
    if w.weight_dtype != model.weight_format:
        model = model.without_formats()
    layout = Layout(w.tp, w.pp, w.dp, w.ep, gpus_per_node=w.gpus_per_node, sequence_parallel=False)
    if efficiency.own is not None:
        efficiency = efficiency._replace(own=efficiency.own.on(w.tp, w.ep))
    if efficiency.nearby is not None:
        sizes = (w.prompt, w.output, w.tp, w.pp, w.dp, w.ep, w.speculate or 0)
        efficiency = efficiency._replace(nearby=efficiency.nearby.of(model.name, w.weight_dtype, *sizes))
    share = filled(w.batch, rank_share(w.batch, w.dp), layout)
    model = model._replace(routing=routing_of(w.routing), seen=states_of(model, w))
    offload, gathers = offload_of(model, chip, w), w.all2all == GATHER
    return Server(model, size, chip, efficiency, layout, share, w.logits == "all", offload, gathers, page_of(w.engine))


def speculation_of(hardware: HardwareSpec | None, w: Workload) -> Speculation:
    """What a workload guesses in a step. A small model runs in the layout of the large one, without its stages.

    Its weights are in its own format, whatever the model's are in.
    """
    if not w.speculate:
        return Speculation()
    accepted = named("tokens_a_step", accepted_tokens(w.speculate, w.accept))
    if w.draft in WAYS:
        return Speculation(w.speculate, accepted, w.draft)
    model = load_beside(w.draft)
    weights = model.weight_format or w.dtype
    w = w._replace(
        weight_dtype=weights,
        head_dtype=None,
        offload=None,
        host=None,
        gpus=w.tp,
        pp=1,
        dp=1,
        ep=1,
        batch=1,
        prompt=1,
    )
    server = server_of(model, *machine_of(hardware, w), w)
    return Speculation(int(w.speculate), accepted, server._replace(filled=1), weights)
