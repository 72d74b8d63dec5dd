"""Weights that stand in the host's memory: whole layers, or the routed experts of all.

What is on the host is computed by its CPU, where its weights and keys are; or, with many tokens at a time, its weights
are copied to the GPU first, which then computes (llama.cpp's op offload, github.com/ggml-org/llama.cpp/pull/6083).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, is_one, largest, more_than, named
from llmcost.machine.chip import HostSide
from llmcost.model.architecture import Pass
from llmcost.model.operators import Operator, Stored
from llmcost.model.operators.facts import OnHost
from llmcost.model.sizes import Load

EXPERTS, LAYERS = "experts", "layers"


class Offload(NamedTuple):
    """What is on the host, and how it is reached.

    `share`: of the layers. `streams_from`: tokens at a time from which weights are copied to the GPU; None: whenever
    that is quicker.
    """

    what: str
    share: Number
    host: HostSide
    streams_from: int | None

    def marked(self, whole: Pass, load: Load) -> Pass:
        """The pass, in which the operators that are on the host say so."""
        there = OnHost(self.share, load.b * load.s)
        return whole._replace(
            layers=[
                op._replace(facts=op.facts._replace(host=there))
                if self.what == LAYERS or op.facts.expert == "routed"
                else op
                for op in whole.layers
            ]
        )

    def seconds(self, op: Operator, on_gpu: Number, on_host: Number) -> Number:
        """Expected seconds of an operator, from those that all of it takes on either of the two."""
        there = op.facts.host
        if there is None or isinstance(op, Stored):
            return on_gpu
        streams, hosted, streamed = self._ways(op, there, on_gpu, on_host)
        away = hosted + streams * (streamed - hosted)
        return away if is_one(there.share) else on_gpu + there.share * (away - on_gpu)

    def sent(self, op: Operator, on_gpu: Number, on_host: Number) -> Number:
        """Bytes that go over the link for an operator: weights and keys, or activations there and back."""
        there = op.facts.host
        if there is None or isinstance(op, Stored):
            return 0
        streams, _, _ = self._ways(op, there, on_gpu, on_host)
        crossing = self._crossing(op, there)
        return there.share * (crossing + streams * (_moved(op) - crossing))

    def _ways(self, op: Operator, there: OnHost, on_gpu: Number, on_host: Number) -> tuple[Number, Number, Number]:
        """1 where it is streamed, else 0; its seconds on the host; and those on the GPU behind a copy."""
        hosted = named("on_host", on_host + self._crossing(op, there) / self.host.copies, of=op.name)
        streamed = named("streamed", on_gpu + _moved(op) / self.host.copies, of=op.name)
        if self.streams_from is not None:
            return more_than(there.tokens, self.streams_from - 1), hosted, streamed
        return more_than(hosted, streamed), hosted, streamed

    def _crossing(self, op: Operator, there: OnHost) -> Number:
        """Bytes of activations for an operator on the host: of a mixture's experts, the tokens there and back.

        Booked on the last of their products, whose outputs are as wide as the tokens are. Whole layers stand one behind
        the other, and what leaves the last of them is not counted.
        """
        if self.what == LAYERS or op.kind != "grouped_gemm" or op.facts.split != "rows":
            return 0
        return 2 * op.count * there.tokens * op.n * op.Bx  # type: ignore[attr-defined]


def _moved(op: Operator) -> Number:
    """Bytes of weights and keys that an operator reads, of all its executions."""
    return op.count * (op.weight_bytes() + op.cache_bytes())


def on_gpu(operators: Iterable[Operator]) -> list[Operator]:
    """What stands on the GPU of some operators: as often as it is there."""
    kept: list[Operator] = []
    for op in operators:
        there = op.facts.host
        if there is None:
            kept.append(op)
        elif not is_one(there.share):
            kept.append(op._replace(count=op.count * (1 - there.share)))
    return kept


def on_host(operators: Iterable[Operator]) -> list[Operator]:
    """What stands on the host of some operators: as often as it is there."""
    kept: list[Operator] = []
    for op in operators:
        there = op.facts.host
        if there is not None:
            kept.append(op if is_one(there.share) else op._replace(count=op.count * there.share))
    return kept


def largest_copy(operators: Iterable[Operator]) -> Number:
    """Bytes of the largest tensor that is copied to the GPU: room that is kept there for it.

    Of products that are counted as one, of each.
    """
    sizes = [divide(op.stored_bytes(), max(1, len(op.facts.widths))) for op in operators if op.facts.host is not None]
    return largest(sizes) if sizes else 0
