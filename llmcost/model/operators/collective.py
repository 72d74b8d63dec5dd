"""Communication between GPUs: collectives, tokens on their way to experts, activations sent to a pipeline stage."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from llmcost.ground.algebra import Number, ceil_div, divide, floor_div, maximum, minimum
from llmcost.model.operators.base import Again, Kind, Operator, Part
from llmcost.model.operators.facts import EVERYWHERE, Facts
from llmcost.model.operators.routing import Routing

CollectiveKind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]


class Communication(Operator):
    """What GPUs send each other between kernels. All of it is counted a GPU, inside its node and to other nodes."""

    __slots__ = ()
    facts: Facts = EVERYWHERE
    kind: Kind = "node"
    again: Again = "always"

    if TYPE_CHECKING:

        @property
        def exchange(self) -> CollectiveKind:
            """Which kind of collective it is."""

    def levels(self) -> tuple[Number, Number]:
        """Whether anything goes to others in the node (1 or 0), and to other nodes."""
        raise NotImplementedError

    def wire_bytes(self) -> tuple[Number, Number]:
        """Bytes that each GPU sends to others in its node, and to other nodes, as libraries do it."""
        raise NotImplementedError

    def least_bytes(self) -> tuple[Number, Number]:
        """The same, as the best algorithm does it in the best case."""
        raise NotImplementedError

    def array(self) -> tuple[Number, Number]:
        """Rows and columns of what is sent."""
        raise NotImplementedError

    def among(self) -> Number:
        """How many GPUs take part."""
        raise NotImplementedError

    def saved_bytes(self) -> tuple[Number, Number]:
        return 0, 0

    def backward(self, *, frozen: bool = False) -> Number:
        """As much again: all-gather and reduce-scatter are each other's gradients, so are dispatch and combine."""
        return 1


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


class Collective(_Collective, Communication):
    """A collective, or a send, of `rows` times `width` elements among `ranks` GPUs.

    The GPUs are numbered `stride` apart, and a node has `node` GPUs. The payload is the whole array: what each GPU
    holds before an all-reduce, reduce-scatter or all-to-all, and after an all-gather (nccl-tests, doc/PERFORMANCE.md).
    """

    __slots__ = ()

    def payload_bytes(self) -> Number:
        """Bytes of the whole array."""
        return self.rows * self.width * self.Bx

    def array(self) -> tuple[Number, Number]:
        return self.rows, self.width

    def among(self) -> Number:
        return self.ranks

    def near(self) -> Number:
        """How many of the ranks share a node."""
        return minimum(self.ranks, maximum(1, floor_div(self.node, self.stride)))

    def far(self) -> Number:
        """How many nodes the ranks are spread over."""
        return self.ranks / self.near()

    def levels(self) -> tuple[Number, Number]:
        """A send has a single peer: in another node, where the ranks are spread over several."""
        inside, outside = minimum(1, self.near() - 1), minimum(1, self.far() - 1)
        return (inside * (1 - outside), outside) if self.exchange == "send" else (inside, outside)

    def wire_bytes(self) -> tuple[Number, Number]:
        """In NCCL's rings.

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
        """Nodes send each other only what they lack, and no part of it twice.

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


class AvoidableCollective(Collective):
    """A collective of an engine's that an algorithm can do without.

    Of all logits the next token needs two numbers a GPU, its largest and where that stands, which are not counted; an
    embedding that every GPU holds whole has no partial sums.
    """

    __slots__ = ()

    def least_bytes(self) -> tuple[Number, Number]:
        return 0, 0


class _ExpertTraffic(NamedTuple):
    name: str
    part: Part
    count: Number
    rows: Number
    width: Number
    experts: Number
    active: Number
    ep: Number
    etp: Number
    tp: Number
    node: Number
    Bx: Number
    Bl: Number
    everywhere: bool
    routing: Routing


class ExpertTraffic(_ExpertTraffic, Communication):
    """Tokens on their way to their experts (dispatch), or the partial sums on their way back (combine).

    Each GPU has `rows` tokens of `width` elements, of Bx bytes each, or Bl at least. `ep` sets of GPUs share the
    experts, a set of `etp` GPUs has its experts between them. The `tp` GPUs of a tensor-parallel group all have the
    tokens before, and each sends its part of them.

    A token goes once to each other node that has one of its experts, to the GPU there that has the sender's number, and
    from there over the node's links once to each GPU that has one. Sums come back the same way (DeepEP,
    github.com/deepseek-ai/DeepEP, tests/test_internode.py). That takes GPUs that reach each other's memory. Over PCIe
    engines gather all tokens `everywhere` and add up all sums (TensorRT-LLM, SGLang; vLLM, all2all_backend
    allgather_reducescatter).
    """

    __slots__ = ()
    exchange: CollectiveKind = "all_to_all"

    def array(self) -> tuple[Number, Number]:
        return self.rows, self.width

    def among(self) -> Number:
        return self.ep * self.etp

    def near(self) -> Number:
        """How many of the GPUs share a node."""
        return minimum(self.among(), self.node)

    def beyond(self) -> Number:
        """How many of the GPUs are in nodes that do not have the tokens before."""
        return self.among() - maximum(self.near(), self.tp)

    def forwarded(self) -> Number:
        """Of a GPU's copies of tokens, the share that comes over the links of its node, if tokens go everywhere alike.

        Copies on GPUs that have the token before need none, nor do those on the one GPU of a node where it arrives.
        """
        gpus, near = self.among(), self.near()
        return divide(near * (gpus - self.tp) - self.beyond(), near * gpus)

    def levels(self) -> tuple[Number, Number]:
        several = minimum(1, self.among() - self.tp)
        return minimum(1, self.near() - 1) * several, minimum(1, self.beyond())

    def _nodes(self) -> Number:
        """How many nodes the sets are spread over, each set in one."""
        return minimum(self.ep, divide(self.among(), self.near()))

    def wire_bytes(self) -> tuple[Number, Number]:
        if self.everywhere:
            sent = self.rows * self.width * self.Bx * (self.among() - self.tp)
            inside, outside = self.levels()
            return sent * inside, sent * outside / self.near()
        nodes, gpus = (self.routing.places(sets, self.experts, self.active) for sets in (self._nodes(), self.ep))
        sent = self.rows * self.width * self.Bx
        return sent * gpus * self.etp * self.forwarded(), sent * nodes * divide(self.beyond(), self.among())

    def least_bytes(self) -> tuple[Number, Number]:
        """With all experts of a token where it is, as far as they have room there."""
        sets, nodes = (ceil_div(self.active * places, self.experts) for places in (self.ep, self._nodes()))
        sent, (inside, outside) = self.rows * self.width * self.Bl, self.levels()
        forwarded = maximum(0, sets - maximum(nodes, divide(self.tp, self.etp)))
        at_home = maximum(1, divide(self.tp, self.near()))  # nodes that have the tokens before
        least = sent * forwarded * inside, sent * maximum(0, nodes - at_home) * outside
        near, far = (minimum(fewest, sends) for fewest, sends in zip(least, self.wire_bytes(), strict=True))
        return near, far

    def output_bytes(self) -> Number:
        return self.rows * self.width * self.Bx
