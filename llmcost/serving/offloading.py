"""Layers or experts on the host's CPU: what may be asked, what it is reached by, and what it amounts to."""

from __future__ import annotations

from llmcost.ground.algebra import Number, divide, is_one
from llmcost.ground.errors import InputError
from llmcost.machine.chip import Chip, HostSide, chip_of, has_the_hosts_memory
from llmcost.machine.defaults import Launch
from llmcost.machine.host import copies_to_host, host_named
from llmcost.machine.reached import efficiency_for
from llmcost.model.counting import kept_bytes, stored_bytes
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.offload import EXPERTS, LAYERS, Offload, on_host
from llmcost.parallel.pipeline import Server, schedule
from llmcost.serving.options import Options, Workload
from llmcost.serving.phases import DecodeStep
from llmcost.serving.results import Offloaded
from llmcost.specs.catalog import load_hardware, named_engine
from llmcost.specs.engine import EngineSpec
from llmcost.specs.hardware import HardwareSpec


def check_offload(model: ModelSpec, hardware: HardwareSpec | None, options: Options, layout: Layout) -> None:
    """Raise InputError for an offload that cannot be, or of which a figure is missing."""
    if options.offload is None and options.host is None:
        return
    if options.offload is None:
        raise InputError(f"--host {options.host}: what is on it? --offload experts, or layers:20")
    told = f"--offload {options.offload}"
    host_named(told, options.host)
    if hardware is not None and has_the_hosts_memory(hardware):
        raise InputError(f"{told}: {hardware.title} has no memory apart from its host's")
    if not is_one(layout.gpus()):
        raise InputError(f"{told}: it is counted beside one GPU alone, not {layout.gpus()}")
    _check_part(told, model, options.offload)
    engine = named_engine(options.engine)
    if engine is not None and not engine.cpus:
        raise InputError(f"{told}: nothing is known here of {engine.title} on CPUs; --engine llama.cpp runs on them")
    if hardware is not None:
        copies_to_host(told, hardware, options.link, "--link")


def _check_part(told: str, model: ModelSpec, asked: str) -> None:
    """Raise InputError for experts of a model that has none, for no layers, or for all of them."""
    part, _, count = asked.partition(":")
    if part == EXPERTS and not model.has_experts():
        raise InputError(f"{told}: {model.name} has no experts; --offload layers:N leaves layers to the host")
    most = model.expert_layers() if part == EXPERTS else model.num_hidden_layers - 1
    if count and not 1 <= int(count) <= most:
        whole = f"{model.name} has {most} layers with experts"
        if part == LAYERS:
            whole = f"{model.name} has {most + 1} layers, and all of them on a CPU is --hw epyc-9654"
        raise InputError(f"{told}: 1 to {most}: {whole}")


def host_side(hardware: HardwareSpec, w: Workload, engine: EngineSpec | None, launch: Launch) -> HostSide:
    """What the host of a workload does, in the types that it computes in; `launch`: how kernels are started."""
    host = load_hardware(w.host)
    dtype = w.dtype if host.peak_of(w.dtype) is not None else next(iter(host.peak))
    chip = chip_of(host, dtype, w.kv_dtype)
    reached = efficiency_for(host, None, dtype, w.weight_dtype, launch, engine, w.kv_dtype)
    return HostSide(chip, reached, copies_to_host(f"--offload {w.offload}", hardware, w.link, "--link"))


def offload_of(model: ModelSpec, chip: Chip, w: Workload) -> Offload | None:
    """What a workload leaves to the host; None: nothing."""
    if w.offload is None or chip.beside is None:
        return None
    engine = named_engine(w.engine)
    streams_from = None if engine is None else engine.copies_from
    part, _, count = w.offload.partition(":")
    layers = model.expert_layers() if part == EXPERTS else model.num_hidden_layers
    share = 1 if not count or int(count) == layers else int(count) / layers
    return Offload(part, share, chip.beside, streams_from)


def offloaded(server: Server, w: Workload, step: DecodeStep) -> Offloaded:
    """What the host's part amounts to."""
    assert server.offload is not None
    there, usable = on_host(step.share.layers), server.offload.host.chip.usable
    weights, cache = stored_bytes(there), kept_bytes(there)
    return Offloaded(
        host=load_hardware(w.host).title,
        weights_bytes=weights,
        kv_cache_bytes=cache,
        usable_bytes=usable,
        fits=weights + cache <= usable,
        read_bytes=step.cost.host_weight_bytes + step.cost.host_cache_bytes,
        sent_bytes_per_step=server.over_the_link(step.load) if server.model.generates else None,
        sent_bytes_of_prefill=_sent_for_prompts(server, w),
        link_bytes_per_s=server.offload.host.copies,
    )


def _sent_for_prompts(server: Server, w: Workload) -> Number:
    """Bytes over the link for all prompts; None where a time is not known."""
    groups, chunks, _ = schedule(w.batch, w.prompt, w.chunk, 1)
    piece = divide(w.prompt, chunks)
    sent = server.over_the_link(Load(divide(w.batch, groups), piece, piece * (chunks + 1) / 2))
    return None if sent is None else sent * groups * chunks
