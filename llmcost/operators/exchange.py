"""Exchanges between GPUs: collectives, and activations sent from one pipeline stage to the next."""

from typing import Literal, NamedTuple

from llmcost.algebra import Number, floor_div, maximum, minimum
from llmcost.operators.base import Part, Shape

Exchange = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]


class Collective(NamedTuple):
    """`rows` times `width` elements exchanged among `ranks` GPUs, `stride` apart, of nodes of `node` GPUs each.

    The payload is the whole array: what each GPU holds before an all-reduce, reduce-scatter or all-to-all and after
    an all-gather (nccl-tests, doc/PERFORMANCE.md). It moves in two levels, as NCCL and its like do it: each GPU
    exchanges inside its node, then with its peers in other nodes what is left to exchange there.
    """

    name: str
    part: Part
    count: Number
    exchange: Exchange
    rows: Number
    width: Number
    ranks: Number
    stride: Number
    node: Number
    Bx: Number

    def payload_bytes(self) -> Number:
        """The whole array."""
        return self.rows * self.width * self.Bx

    def near(self) -> Number:
        """How many of the ranks share a node."""
        return minimum(self.ranks, maximum(1, floor_div(self.node, self.stride)))

    def far(self) -> Number:
        """Over how many nodes the ranks spread."""
        return self.ranks / self.near()

    def wire_bytes(self, *, reduced_on_the_way: bool = False) -> tuple[Number, Number]:
        """Bytes that each GPU sends to others in its node, and to other nodes.

        An all-reduce sends the array twice in parts, once to be added up and once to be spread, or once to
        switches that add it up themselves (NVLink SHARP: stas00/ml-engineering, network/README.md, "SHARP").
        """
        near, far, payload = self.near(), self.far(), self.payload_bytes()
        if self.exchange == "send":  # to one peer: in the node where there is more than one rank in it
            outside = minimum(1, far - 1)
            return payload * (1 - outside), payload * outside
        if self.exchange == "all_to_all":
            return payload * (near - 1) / self.ranks, payload * (far - 1) / far
        rounds = 2 if self.exchange == "all_reduce" and not reduced_on_the_way else 1
        return rounds * payload * (near - 1) / near, rounds * payload * (far - 1) / (far * near)

    def params(self) -> Number:
        return 0

    def active_params(self) -> Number:
        return 0

    def flops(self, causal: bool) -> Number:
        return 0

    def stored_bytes(self) -> Number:
        return 0

    def weight_bytes(self) -> Number:
        return 0

    def cache_bytes(self) -> Number:
        return 0

    def io_bytes(self) -> Number:
        return 0

    def moved_bytes(self) -> Number:
        return 0

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        return []
