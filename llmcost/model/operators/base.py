"""What every operator answers."""

from typing import Any, Literal, Protocol, TypeAlias

from llmcost.ground.algebra import Number

Part: TypeAlias = Literal["embedding", "attention", "mlp", "norm", "lm_head"]
PARTS: tuple[Part, ...] = ("embedding", "attention", "mlp", "norm", "lm_head")
Shape: TypeAlias = tuple[Number, ...]
Span: TypeAlias = Literal["all", "window", "chunk", "top"]


class Operator(Protocol):
    """What every operator answers. All figures are of one execution, `count` apart."""

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
    def _replace(self) -> Any:
        """A method that gives the same kernel with some sizes changed: operators are named tuples."""

    def params(self) -> Number:
        """Parameters it stores: 0 when it uses another operator's."""

    def active_params(self) -> Number:
        """Of those, the ones that one token's computation can touch."""

    def flops(self, causal: bool) -> Number:
        """FLOPs. `causal` counts the (query, key) pairs that a causal mask leaves; else every pair."""

    def stored_bytes(self) -> Number:
        """Bytes of the parameters it stores."""

    def weight_bytes(self) -> Number:
        """Bytes of parameters that one execution reads."""

    def cache_bytes(self) -> Number:
        """Bytes of KV cache or state that one execution reads, every key and value once."""

    def io_bytes(self) -> Number:
        """Bytes of activations that it reads and writes."""

    def moved_bytes(self) -> Number:
        """All bytes that one execution moves: weights, cache, activations in and out."""

    def shapes(self) -> list[tuple[str, Shape, Shape, Shape]]:
        """Its matrix products as (name, input, other operand, output); empty if it has none."""
