"""How a training program computes and what it keeps: data types, optimizer, kernels, what runs beside what.

Bytes a parameter, as published: ZeRO counts 2 of weights, 2 of gradients and 12 of optimizer (arXiv 1910.02054,
section 3.1); Megatron-LM keeps gradients in fp32, 18 in all, or 6 + 12/n with its distributed optimizer
(theoretical_memory_usage.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.units import BITS
from llmcost.model.lora import Lora
from llmcost.model.sizes import activation_dtype, bytes_of

DTYPES = ("bf16", "fp16", "fp8", "fp32")
KERNELS = ("fused", "vendor", "eager")


class Optimizer(NamedTuple):
    """What an optimizer keeps and moves: moments of a parameter, their bytes (None: those of the weights it updates).

    `passes`: reads and writes of its state as multiples of doing it once (an unfused one runs a kernel a formula).
    """

    moments: int
    moment_bytes: Number | None = None
    passes: Number = 1


# Unfused ("foreach"), torch runs about ten kernels over the state (torch/optim/adam.py, _multi_tensor_adam), four
# times the traffic of one. 8-bit: moments of a byte, a scale of 4 bytes for 256 (arXiv 2110.02861; blocks as
# bitsandbytes has them). Muon: one momentum; the products of its Newton-Schulz iterations are counted in step.py.
OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(2),
    "adam-unfused": Optimizer(2, passes=4),
    "adam-8bit": Optimizer(2, moment_bytes=1 + 4 / 256),
    "muon": Optimizer(1),
    "sgd": Optimizer(1),
}


class Loss(NamedTuple):
    """How cross-entropy runs: bytes a logit that it moves forward, and that are alive beside the logits themselves.

    Its backward pass counts as twice the traffic, like every elementwise kernel's. `source`: what the bytes are of.
    """

    moved_bytes: Number
    alive_bytes: Number
    source: str


LOSSES = {
    "plain": Loss(
        12,
        4 + 4 + 4 - 2,
        "torch's cross_entropy of bf16 logits: a copy in fp32 (2 read, 4 written), log-softmax (4 and 4), backward a "
        "gradient of zeros (4), log-softmax's (8 and 4), a copy in bf16 (4 and 2), 36 in all; alive are log-softmax of "
        "the copy and two gradients in fp32, the logits themselves let go",
    ),
    "in-place": Loss(
        12,
        4,
        "moves as plain; the fp32 copy, over which all else is written (Megatron-LM, "
        "core/tensor_parallel/cross_entropy.py)",
    ),
    "compiled": Loss(2, 2, "logits read twice, gradients written once, in the logits' type"),
    "fused": Loss(2, 0, "as compiled, gradients written over the logits"),
}


class Overlap(NamedTuple):
    """What share of each kind of communication runs beside computation at no cost.

    0: none of it; 1: all that there is time for.
    """

    tensor: Number = 0.0
    context: Number = 0.5
    expert: Number = 0.0
    pipeline: Number = 0.0
    data: Number = 0.5


class Recipe(NamedTuple):
    """Structure, apart from `overlap`'s shares and the byte counts.

    `master_weights`: an fp32 copy beside the weights that compute. `grad_bytes`: of a gradient that is added up;
    `reduce_bytes`: of one on its way to other GPUs. `attention`: "fused" keeps scores on the chip, "unfused" writes
    them to memory. `kernels`:

    "fused" as a compiler or engine runs PyTorch's, "vendor" as one does with its vendor's libraries (Transformer
    Engine), "eager" as plain PyTorch does. `loss`: "fused" reads logits in their own type, the others make an fp32
    copy, or three, of them. `grad_buffer`: gradients have their memory from the start, not from the first backward
    pass on. `clip`: gradients are read once more for their norm. `lora`: what is trained beside frozen weights; None:
    all of them.
    """

    dtype: str = "bf16"
    optimizer: str = "adam"
    master_weights: bool = True
    grad_bytes: Number = 4
    reduce_bytes: Number = 4
    attention: Literal["fused", "unfused"] = "fused"
    kernels: str = "fused"
    loss: Literal["plain", "in-place", "compiled", "fused"] = "in-place"
    dropout: bool = False
    grad_buffer: bool = True
    clip: bool = True
    overlap: Overlap = Overlap()
    lora: Lora | None = None

    def param_bytes(self) -> Number:
        """Of a weight that computes; fp8 recipes keep it in bf16 (NVIDIA Transformer Engine) and cast as they go."""
        return bytes_of(BITS[activation_dtype(self.dtype)])

    def master_bytes(self) -> Number:
        """Of its fp32 copy."""
        return 4 if self.master_weights and self.param_bytes() < 4 else 0

    def moment_bytes(self) -> Number:
        """Of the moments of a parameter: of the type of the weights that the optimizer updates, as torch keeps them."""
        each = OPTIMIZERS[self.optimizer]
        own = max(self.master_bytes(), self.param_bytes()) if each.moment_bytes is None else each.moment_bytes
        return each.moments * own

    def optimizer_bytes(self) -> Number:
        """Moments and master weight of a parameter."""
        return self.moment_bytes() + self.master_bytes()

    def input_bytes(self) -> Number:
        """Of an element of a product's input that is kept for the gradient of its weight."""
        return bytes_of(BITS[self.dtype])

    def update_bytes(self) -> Number:
        """Moved to update a parameter: gradient read, moments and master read and written, weight written; once more to clip."""
        master = 2 * self.master_bytes() if self.master_bytes() else self.param_bytes()
        once = self.grad_bytes + 2 * self.moment_bytes() + master
        return OPTIMIZERS[self.optimizer].passes * once + self.param_bytes() + (self.grad_bytes if self.clip else 0)


def overlap_of(text: str) -> Overlap:
    """`tensor=0.8,expert=1` as shares; what is not named keeps its default. Raises InputError."""
    shares: dict[str, float] = {}
    for each in text.split(","):
        name, _, share = each.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise InputError(f"--overlap {text}: expected shares such as tensor=0.8,expert=1") from None
        if name not in Overlap._fields:
            raise InputError(f"--overlap {name}: one of {', '.join(Overlap._fields)}")
        if not 0 <= shares[name] <= 1:
            raise InputError(f"--overlap {name}={share}: a share from 0 to 1")
    return Overlap()._replace(**shares)


def check_recipe(recipe: Recipe) -> None:
    """Raise InputError for a choice that is not known."""
    for name, value, known in (
        ("dtype", recipe.dtype, DTYPES),
        ("optimizer", recipe.optimizer, tuple(OPTIMIZERS)),
        ("kernels", recipe.kernels, KERNELS),
    ):
        if value not in known:
            raise InputError(f"--{name} {value}: one of {', '.join(known)}")
