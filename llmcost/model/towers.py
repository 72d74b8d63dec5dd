"""Towers: the encoders of images and sound beside a text model, with what projects their outputs, as operators.

A tower is a list of kernels, each with its sizes, how often it runs and which of the tower's tokens it runs on. How
many tokens an image or a sound has at each of these places is a rule of its family (`model.tower_tokens`). Nothing of
it runs where no image or sound is asked about: its weights are stored all the same.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from llmcost.ground.algebra import Number
from llmcost.model.operators import OWN, Attention, Elementwise, Facts, Gemm, Operator, Stored
from llmcost.model.sound_tokens import SOUNDS
from llmcost.model.token_places import Tokens
from llmcost.model.tower_tokens import tokens_of

At: TypeAlias = Literal[
    "patches", "layers", "windows", "merged", "frames", "half", "quarter", "eighth", "keys", "positions", "none"
]
TowerSplit: TypeAlias = Literal["columns", "rows", "tokens"]

HEADS = Facts("heads")
WHOLE = Facts("tokens")
READS = {"columns": Facts("columns", OWN), "rows": Facts("rows", OWN), "tokens": Facts("tokens", OWN)}


class TowerOperator(NamedTuple):
    """Kernels of one kind, `count` of them, on the tokens at one place of the tower.

    A linear layer has k inputs and n outputs, and a bias or none; attention has `heads` of `head_dim` elements each,
    all of whose queries see all keys of their sequence, or those at the place `sees`, and where it has `scores` alone,
    no values; what has neither is elementwise and reads and writes `width` elements a token. `weights`: parameters
    beside those of a linear layer: a norm's, a table's. `across`: how often a convolution runs at each place in time,
    over its mel bins. `split`: how tensor parallelism divides a linear layer. `at`: where in the tower; none: it is
    stored and never runs.
    """

    name: str
    at: At = "layers"
    count: Number = 1
    k: Number = 0
    n: Number = 0
    bias: bool = False
    heads: Number = 0
    head_dim: Number = 0
    width: Number = 0
    weights: Number = 0
    across: Number = 1
    sees: At = "none"
    scores: bool = False
    split: TowerSplit = "tokens"

    def params(self) -> Number:
        """Parameters of all `count` of them."""
        return self.count * (self.k * self.n + self.n * self.bias + self.weights)

    def running(self, images: Number, tokens: Tokens, Bx: Number) -> Operator:
        """The kernel that runs on so many images or sounds, with `tokens` at each place of one of them."""
        b, s = getattr(tokens, self.at)
        b = images * b
        if self.k:
            facts = READS[self.split]
            return Gemm(
                self.name, "tower", self.count, b, s * self.across, self.k, self.n, self.bias, False, Bx, Bx, facts
            )
        if self.heads:
            a, d, v = self.heads, self.head_dim, 0 if self.scores else self.head_dim
            keys = getattr(tokens, self.at if self.sees == "none" else self.sees)[1]
            return Attention(
                *(self.name, "tower", self.count, b, s, keys, a, d, v, a * (d + v), 0, "all", 0, False, False, Bx, Bx),
                kv_heads=a,
                caches=False,
                both_ways=True,
                facts=HEADS,
            )
        return Elementwise(self.name, "tower", self.count, b, s, self.width, self.width, self.weights, Bx, WHOLE)


class Tower(NamedTuple):
    """One tower: what it is called, its operators, and the rule by which it makes tokens.

    `patch_size`, `image_size`: pixels. `merge`: patches a side that become one token. `least`, `most`: pixels, tiles or
    patches between which the rule keeps an image. `window`: patches a side that see each other in layers at windows.
    `extra`: tokens that layers have beside the patches. `out`: tokens that an image has in the prompt, where its rule
    says a fixed number. `marks`: tokens beside each tile in the prompt. `grids`: rows and columns of tiles that an
    image may have. Of the rule whisper, `image_size` is the positions of a piece of 30 seconds.
    """

    name: str
    rule: str
    operators: tuple[TowerOperator, ...]
    patch_size: Number = 0
    image_size: Number = 0
    merge: Number = 1
    least: Number = 0
    most: Number = 0
    window: Number = 0
    extra: Number = 0
    out: Number = 0
    marks: Number = 0
    grids: tuple[tuple[int, int], ...] = ()

    @property
    def title(self) -> str:
        """What it is called in words."""
        return self.name.replace("_", " ")

    @property
    def hears(self) -> bool:
        """Whether it takes sound, not images."""
        return self.rule in SOUNDS or self.name.startswith("audio")

    def params(self) -> Number:
        """Parameters of all its operators."""
        return sum(op.params() for op in self.operators)

    def stored(self, Bx: Number) -> Iterator[Operator]:
        """Its weights as they are stored where nothing of it runs: those that a group of GPUs divides, and the others.

        They are kept in the type of activations, whatever format the text model's weights have: so checkpoints of
        quantised models keep them.
        """
        divided = sum(op.count * op.k * op.n for op in self.operators if op.split != "tokens")
        yield Stored(f"{self.name}_layers", "tower", 1, divided, Bx, HEADS)
        yield Stored(f"{self.name}_others", "tower", 1, self.params() - divided, Bx)

    def idle(self, Bx: Number) -> Iterator[Operator]:
        """What is stored and does not run where the tower does: tables, and heads that no language model uses."""
        yield Stored(
            f"{self.name}_tables", "tower", 1, sum(op.params() for op in self.operators if op.at == "none"), Bx
        )

    def tokens(self, size: tuple[float, ...]) -> Tokens:
        """Tokens at each place, of an image of so many pixels (width, height) or a sound of so many seconds."""
        return tokens_of(self, size)

    def running(self, images: Number, tokens: Tokens, Bx: Number) -> list[Operator]:
        """The kernels that run on so many images or sounds alike."""
        kernels = [op.running(images, tokens, Bx) for op in self.operators if op.at != "none"]
        return [op._replace(name=f"{self.name}.{op.name}") for op in kernels]
