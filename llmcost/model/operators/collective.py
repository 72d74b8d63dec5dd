"""Communication between GPUs: collectives, and activations sent from one pipeline stage to the next."""

from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number, floor_div, maximum, minimum
from llmcost.model.operators.base import Again, Kind, Operator, Part
from llmcost.model.operators.facts import EVERYWHERE, Facts

CollectiveKind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]


class _Collective(NamedTuple):
    name: str
    part: Part
    count: Number
    exchange: CollectiveKind
    rows: Number
    width: Number
    ranks: Number
    stride: Number
    node: Number
    Bx: Number


class Collective(_Collective, Operator):
    """A collective, or a send, of `rows` times `width` elements among `ranks` GPUs.

    The GPUs are numbered `stride` apart, and a node has `node` GPUs. The payload is the whole array: what each GPU
    holds before an all-reduce, reduce-scatter or all-to-all, and after an all-gather (nccl-tests, doc/PERFORMANCE.md).
    """

    __slots__ = ()
    facts: Facts = EVERYWHERE
    kind: Kind = "node"
    again: Again = "always"

    def payload_bytes(self) -> Number:
        """Bytes of the whole array."""
        return self.rows * self.width * self.Bx

    def near(self) -> Number:
        """How many of the ranks share a node."""
        return minimum(self.ranks, maximum(1, floor_div(self.node, self.stride)))

    def far(self) -> Number:
        """How many nodes the ranks are spread over."""
        return self.ranks / self.near()

    def levels(self) -> tuple[Number, Number]:
        """Whether anything goes to others in the node (1 or 0), and to other nodes.

        A send has a single peer: in another node, where the ranks are spread over several.
        """
        inside, outside = minimum(1, self.near() - 1), minimum(1, self.far() - 1)
        return (inside * (1 - outside), outside) if self.exchange == "send" else (inside, outside)

    def wire_bytes(self) -> tuple[Number, Number]:
        """Bytes that each GPU sends to others in its node, and to other nodes, in NCCL's rings.

        A ring runs through every GPU and leaves each node once; as many rings as a node has GPUs share the array.
        """
        near, payload = self.near(), self.payload_bytes()
        if self.exchange == "all_to_all":
            far = self.far()
            return payload * (near - 1) / self.ranks, payload * (far - 1) / far
        inside, outside = self.levels()
        if self.exchange == "send":
            return payload * inside, payload * outside
        rounds = 2 if self.exchange == "all_reduce" else 1
        sent = rounds * payload * (self.ranks - 1) / self.ranks
        return sent * inside, sent * outside / near

    def least_bytes(self) -> tuple[Number, Number]:
        """The same, by the best algorithm: nodes send each other only what they lack, and no part of it twice.

        An all-reduce sends the array once where switches add it up (NVLink SHARP, stas00/ml-engineering,
        network/README.md).
        """
        if self.exchange in ("send", "all_to_all"):
            return self.wire_bytes()
        near, payload = self.near(), self.payload_bytes()
        far = self.ranks / near
        return payload * (near - 1) / near, payload * (far - 1) / (far * near)

    def output_bytes(self) -> Number:
        return self.payload_bytes()

    def saved_bytes(self) -> tuple[Number, Number]:
        return 0, 0

    def backward(self, *, frozen: bool = False) -> Number:
        """As much again: the gradient of an all-gather is a reduce-scatter, and the other way round."""
        return 1
