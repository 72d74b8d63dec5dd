"""What every operator answers, and what it answers if its class says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from llmcost.ground.algebra import Number, divide
from llmcost.model.operators.facts import Facts

Part: TypeAlias = Literal["embedding", "attention", "mlp", "norm", "lm_head", "tower"]
PARTS: tuple[Part, ...] = ("embedding", "attention", "mlp", "norm", "lm_head", "tower")
Shape: TypeAlias = tuple[Number, ...]
Span: TypeAlias = Literal["all", "window", "chunk", "top"]
Kind: TypeAlias = Literal[
    "gemm", "grouped_gemm", "attention_prefill", "attention_decode", "attention_latent", "scan", "elementwise", "norm",
    "node", "fabric",
]  # fmt: skip
Scope: TypeAlias = Literal["token", "neighbours", "sequence"]
Again: TypeAlias = Literal["always", "every second", "never"]
NOT_SIZES = ("facts",)  # fields of an operator that measurements of it do not depend on


class Operator:
    """One kernel. All figures are of one execution, `count` apart; those that a class leaves out are 0.

    A class of operators is a named tuple of `name`, `part`, `count`, sizes and, last, `facts`, and derives from this.
    It says at least its `kind`, its `io_bytes`, what its backward pass `saves`, and its output; dividing it over GPUs
    needs `heads_divided` unless it is never split by heads.
    """

    __slots__ = ()

    if TYPE_CHECKING:  # fields of the named tuples

        @property
        def name(self) -> str:
            """What the kernel is called in tables."""

        @property
        def part(self) -> Part:
            """The part of the model that its parameters and FLOPs are booked under."""

        @property
        def count(self) -> Number:
            """How often one forward pass runs it."""

        @property
        def Bx(self) -> Number:
            """Bytes an activation, or a weight that no format is for."""

        @property
        def facts(self) -> Facts:
            """What is true of it beside its sizes."""

        @property
        def _fields(self) -> tuple[str, ...]: ...

        @property
        def _replace(self) -> Any: ...

        @property
        def _asdict(self) -> Any: ...

    @property
    def kind(self) -> Kind:
        """The kind of kernels whose efficiency it has."""
        raise NotImplementedError(f"{type(self).__name__} does not say what kind of kernel it is")

    @property
    def scope(self) -> Scope:
        """What it looks at: each token alone, a few tokens before it too, or the whole sequence.

        FLOPs of what looks at the whole sequence are booked as attention's.
        """
        return "token"

    @property
    def again(self) -> Again:
        """How often selective recomputation beside fused attention runs it again. If never, its output is kept."""
        return "never"

    def params(self) -> Number:
        """Parameters that it stores: none where it uses another operator's."""
        return 0

    def active_params(self) -> Number:
        """Those of its parameters that the computation of one token can touch."""
        return self.params()

    def flops(self, causal: bool) -> Number:
        """FLOPs, of the (query, key) pairs that a causal mask leaves, or else of every pair."""
        return 0

    def stored_bytes(self) -> Number:
        """Bytes of the parameters it stores: as large as activations where its class says nothing else."""
        return self.params() * self.Bx

    def weight_bytes(self) -> Number:
        """Bytes of parameters that one execution reads."""
        return self.stored_bytes()

    def spared_bytes(self) -> Number:
        """Of these, what is not read where all tokens choose the same experts."""
        return 0

    def cache_bytes(self) -> Number:
        """Bytes of KV cache or state that one execution reads, every key and value once."""
        return 0

    def state_bytes(self) -> Number:
        """Bytes that are kept of all sequences and do not grow with them."""
        return 0

    def kept_bytes(self) -> Number:
        """Bytes of cache or state of all sequences that it keeps; an execution may read less, or another layer's."""
        return self.state_bytes()

    def cache_bytes_per_token(self) -> Number:
        """Bytes that one token of one sequence adds to the cache."""
        return 0

    def io_bytes(self) -> Number:
        """Bytes of activations that it reads and writes."""
        return 0

    def moved_bytes(self) -> Number:
        """All bytes that one execution moves: weights, cache (a state is written back), activations in and out."""
        return self.weight_bytes() + self.cache_bytes() + self.state_bytes() + self.io_bytes()

    def output_bytes(self) -> Number:
        """Bytes of activations that it writes."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many bytes it writes")

    def output_width(self) -> Number:
        """Elements of its output that belong to one token."""
        raise NotImplementedError(f"{type(self).__name__} does not say how wide its output is")

    def saved_bytes(self) -> tuple[Number, Number]:
        """Bytes of its inputs that its backward pass needs: of the tensor `facts.reads`, and of others."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its backward pass needs")

    def backward(self, *, frozen: bool = False) -> Number:
        """Its backward pass, in executions of the forward one. A kernel that moves bytes moves about twice as many."""
        return 2

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        """Its matrix products as (name, input, other operand, output); empty if it has none."""
        return []

    def tokens_divided(self, parts: Number) -> Operator:
        """The operator on one of so many equal shares of the tokens."""
        share: Operator = self._replace(s=divide(self.s, parts))  # type: ignore[attr-defined]
        return share

    def heads_divided(self, parts: Number) -> Operator:
        """The operator with one of so many equal shares of its heads or channels."""
        raise self._undivided(parts, "heads or channels")

    def columns_divided(self, parts: Number) -> Operator:
        """The operator with one of so many equal shares of its outputs."""
        raise self._undivided(parts, "outputs")

    def rows_divided(self, parts: Number) -> Operator:
        """The operator with one of so many equal shares of its inputs, or of the rows of its table."""
        raise self._undivided(parts, "inputs")

    def context_divided(self, parts: Number, tokens: Number) -> Operator:
        """The operator on the tokens of one part of a sequence that is cut into equal parts."""
        share: Operator = self._replace(s=tokens) if "s" in self._fields else self
        return share

    def _undivided(self, parts: Number, what: str) -> Exception:
        return NotImplementedError(
            f"{self.name}: {type(self).__name__} does not say how its {what} are divided by {parts}"
        )

    def _shared(self, parts: Number, *fields: str) -> Operator:
        """The operator with some of its sizes divided."""
        share: Operator = self._replace(**{field: divide(getattr(self, field), parts) for field in fields})
        return share


def sizes_of(op: Operator) -> dict[str, Any]:
    """An operator's fields by name, without its facts: all that a measurement of it depends on."""
    return {name: value for name, value in op._asdict().items() if name not in NOT_SIZES}
