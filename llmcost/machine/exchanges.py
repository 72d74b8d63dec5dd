"""Exchanges between GPUs by a library of their own (specs/library.py): tokens to experts and back, sums in switches."""

from __future__ import annotations

from llmcost.ground.algebra import Number, is_one, largest, minimum, more_than, present
from llmcost.ground.errors import InputError
from llmcost.machine.chip import Links
from llmcost.machine.efficiency import Kernel
from llmcost.model.operators import Collective, ExpertTraffic
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.library import Library, Way


def check_reach(library: Library, hardware: HardwareSpec) -> None:
    """Raise InputError where GPUs of this kind are joined by nothing that the library runs over."""
    if not library.runs_over(hardware):
        joined = hardware.interconnect_kind or "no link that a source tells"
        asked = f"--all2all {library.name}"
        raise InputError(f"{asked} runs over NVLink, and GPUs of {hardware.title} have {joined}")


def experts_seconds(library: Library, op: ExpertTraffic, links: Links, node: Kernel, fabric: Kernel) -> Number:
    """Seconds of tokens on their way to their experts or back; None where a link that they need is not known.

    `node`, `fabric`: what other exchanges take to start.
    """
    *small, rest = library.ways
    seconds = _way_seconds(rest, op, links, node, fabric)
    for way in reversed(small):
        found = _way_seconds(way, op, links, node, fabric)
        if found is None or seconds is None:
            return None
        taken: Number = 1
        if way.tokens is not None:
            taken = taken - more_than(op.rows, way.tokens)
        if way.inside:
            taken = taken * (1 - more_than(op.among(), op.near()))
        seconds = taken * found + (1 - taken) * seconds
    return seconds


def _way_seconds(way: Way, op: ExpertTraffic, links: Links, node: Kernel, fabric: Kernel) -> Number:
    start: Number = 0
    sending: list[Number] = []
    for sent, any_sent, link, share, other in zip(
        _sent(way, op),
        op.levels(),
        (links.node_bytes_per_s, links.fabric_bytes_per_s),
        (way.node, way.fabric or fabric.memory),
        (node, fabric),
        strict=True,
    ):
        if present(sent):
            if link is None:
                return None
            start = start + other.launch_seconds * any_sent
            sending.append(sent / (link * share))
    if not sending:
        return 0
    start = (start if way.start is None else way.start) + way.expert * op.experts
    if way.peer:
        start = start + way.peer * (op.among() - 1)
    longest = largest(sending)
    both = start + longest if way.ramp == 1 else (start**way.ramp + longest**way.ramp) ** (1 / way.ramp)
    return both + way.token * op.rows


def _sent(way: Way, op: ExpertTraffic) -> tuple[Number, Number]:
    """Bytes that a GPU sends to others in its node, and to other nodes."""
    if way.copies == "gpu":
        return op.wire_bytes()
    gpus, near = op.among(), op.near()
    copies = op.rows * op.active * op.etp * op.width * op.Bx / gpus  # for each GPU, if experts are drawn alike
    return copies * (near - 1), copies * (gpus - near)


def reduced_seconds(library: Library, op: Collective, links: Links, otherwise: Number) -> Number:
    """Seconds of an all-reduce inside a node whose switches can add it up; `otherwise` where they are not taken."""
    seconds = otherwise
    for way in library.ways:
        payload, start = op.payload_bytes(), way.start or 0
        taken = 1 - more_than(way.bytes, payload)
        taken = taken * (1 - more_than(way.gpus, op.ranks)) * (1 - more_than(op.stride * op.ranks, op.node))
        switched = minimum(seconds, start + payload / (links.node_bytes_per_s * way.node))
        seconds = switched if is_one(taken) else seconds + taken * (switched - seconds)
    return seconds
