"""How a training program computes and what it keeps: data types, optimizer, kernels, and what overlaps.

Published bytes of a parameter: ZeRO counts 2 of weights, 2 of gradients and 12 of the optimizer (arXiv 1910.02054,
section 3.1). FSDP keeps fp32 weights, gradients and moments, 16 too, and casts the weights as it gathers them.
Megatron-LM keeps fp32 gradients beside weights of 16 bits, 18 bytes in all, or 6 + 12/n with its distributed optimizer
(theoretical_memory_usage.py).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.constants import Constant
from llmcost.ground.errors import InputError, shortened
from llmcost.ground.units import BITS
from llmcost.model.lora import Lora
from llmcost.model.sizes import activation_dtype, bytes_of, dispatched_bytes
from llmcost.model.training_kernels import KERNELS, USUAL_LOSS, Losses

DTYPES = ("bf16", "fp16", "fp8", "fp4", "fp32")
DISPATCHES: dict[str, Number] = {"bf16": 2, "fp8": dispatched_bytes("fp8")[0]}  # bytes of an element, scales too


class Optimizer(NamedTuple):
    """What an optimizer keeps of a parameter, and how often it moves that.

    `moments`: how many. `moment_bytes`: of each; None: as many as the weight that it updates has. `passes`: how many
    times it reads and writes its state in an update; a fused one does so once, an unfused one in every kernel.
    """

    moments: int
    moment_bytes: Number | None = None
    passes: Number = 1


# Unfused ("foreach"): torch runs about ten kernels over the state (torch/optim/adam.py, _multi_tensor_adam), four times
# the traffic of one. 8-bit: moments of a byte, with a scale of 4 bytes for 256 of them (arXiv 2110.02861; blocks as in
# bitsandbytes). Muon: one momentum; the products of its Newton-Schulz iterations are counted where a step is timed.
OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(2),
    "adam-unfused": Optimizer(2, passes=4),
    "adam-8bit": Optimizer(2, moment_bytes=1 + 4 / 256),
    "muon": Optimizer(1),
    "sgd": Optimizer(1),
}


class Overlap(NamedTuple):
    """The share of each kind of communication that overlaps with computation, and so costs no time.

    0: none of it. 1: as much as there is time for. The kinds are those of parallelism: tensor, context and so on.
    """

    tensor: Number = 0.0
    context: Number = 0.5
    expert: Number = 0.0
    pipeline: Number = 0.0
    data: Number = 0.5


class Imbalance(NamedTuple):
    """What the fullest rank has to do over what ranks have on average: all others wait for it.

    expert: of the tokens that the ranks' experts get. context: of the (query, key) pairs in sequences of PACKED tokens
    that are packed from documents, whose tokens see their own document alone; in shorter ones as much less as these are
    shorter, which is an assumption.
    """

    expert: Number = 1.0
    context: Number = 1.0


MOST_IMBALANCE = 1000
PACKED = 131_072  # tokens of the sequences in which imbalance of packed documents was measured
# Runs on real data. Benchmarks force the routing to balance, and know no documents.
PRODUCTION = Imbalance(
    expert=Constant(
        1.35,
        "geometric mean of two models of which both speeds are known, as the router decides and with balance forced: "
        "Mixtral 8x22B with one expert a rank 1.07 (445 and 465 TFLOP/s), Qwen3 235B with 16 a rank 1.70 to 1.73 at "
        "16,384 to 131,072 tokens (237 and 295 at the first), the difference laid on the experts' share of the step "
        "(Megatron MoE Model Zoo, best_practice)",
        spread="1.07 to 1.73 (the same)",
    ).value,
    context=Constant(
        1.44,
        "Llama 3's training at 131,072 tokens, slowed so by GPUs that have more to do than others, taken of attention "
        "(hao-ai-lab.github.io/blogs/distca, after WLB-LLM, arXiv 2503.17924)",
    ).value,
)


class OnHost(NamedTuple):
    """The host's memory that one GPU has the use of, beside others of its node (training/offload.py).

    `bandwidth`: bytes a second that the CPU's update moves. `copies`: bytes a second over the link, one way. `usable`:
    bytes, of the host's memory or of its drives; None: not known. `weights`: whether weights stand there too, not the
    optimizer's states alone. `drives`: where they stand on drives, the bytes a second that these read and write.
    `share`: of the optimizer's states, those that are not on the GPU. `inputs`: whether those of layers that are
    computed again stand there. `overlap`: whether copies, drives and the CPU
    work at the same time, on other parts of the parameters.
    """

    title: str
    bandwidth: float
    copies: float
    usable: float | None
    weights: bool = False
    drives: tuple[float, float] | None = None
    share: float = 1
    overlap: bool = False
    inputs: bool = False

    def place(self) -> str:
        """Where it stands, in words."""
        return "memory of the host" if self.drives is None else "drives of the host"


class Recipe(NamedTuple):
    """How one training program computes and what it keeps.

    `master_weights`: whether an fp32 copy is kept beside the weights that compute.
    `grad_bytes`, `reduce_bytes`: of a gradient that is added up, and of one on its way to other GPUs.
    `attention`: "fused" keeps scores on the chip, "unfused" writes them to memory.
    `kernels`: "fused" as a compiler makes them of PyTorch's, "vendor" as the vendor's libraries have them (Transformer
    Engine), "eager" as plain PyTorch runs them.
    `loss`: "fused" reads logits in their own type; the others make up to four fp32 copies of them (LOSSES).
    `grad_buffer`: whether gradients have their memory from the start, not from the first backward pass on.
    `clip`: whether gradients are read once more for their norm.
    `overlap`: the communication that costs no time. `imbalance`: how much more than others the fullest rank does.
    `lora`: the adapters that are trained beside frozen weights; None: all weights are trained.
    `recomputed`: what selective recomputation computes again, by kind of operator; (): as torchtitan does.
    `moment_bytes`: of each of the optimizer's moments; None: as OPTIMIZERS says. `dispatch_bytes`: of an activation on
    its way to experts where products compute in fp8; None: as activations have. `dispatch`: the data type that it has
    there whatever products compute in; None: as `dispatch_bytes` says. `narrow_activations`: where products
    compute in fp8, inputs of gated activations are kept in 8 bits too. `host`: where the optimizer's states stand, if
    not on the GPU. `early_stop`: full recomputation ends with the last tensor that a gradient needs, and leaves out an
    MLP's last product, as PyTorch's checkpoints that do not re-enter autograd do (torch.utils.checkpoint). `bucket`,
    `bucket_a_rank`: parameters whose gradients are sent in one collective, at least, and for each of the ranks that
    share it; None and None: those of a layer. `cuda_graphs`: kernels are replayed, and no layer waits for the host.
    `mtp`: modules that predict further tokens.
    `drop_tokens`: experts take as many tokens as they have room for, and the host need not count them.
    `whole_gradients`: with ZeRO-1 and 2 gradients are added up on every rank, in buckets beside them that the backward
    pass waits for, and copied before the update; with ZeRO-3 they have their memory from the start (DeepSpeed).
    `reserved_share`: what the program's allocator holds over what it has handed out; None: as usual (memory.py).

    Formulas branch on all of these but the byte counts and the shares of `overlap`.
    """

    dtype: str = "bf16"
    optimizer: str = "adam"
    master_weights: bool = True
    grad_bytes: Number = 4
    reduce_bytes: Number = 4
    attention: Literal["fused", "unfused"] = "fused"
    kernels: str = "fused"
    loss: Losses = USUAL_LOSS
    dropout: bool = False
    grad_buffer: bool = True
    clip: bool = True
    overlap: Overlap = Overlap()
    imbalance: Imbalance = Imbalance()
    lora: Lora | None = None
    recomputed: tuple[str, ...] = ()
    moment_bytes: Number | None = None
    dispatch_bytes: Number | None = None
    dispatch: str | None = None
    narrow_activations: bool = False
    host: OnHost | None = None
    early_stop: bool = False
    cuda_graphs: bool = False
    drop_tokens: bool = False
    whole_gradients: bool = False
    reserved_share: Number | None = None
    mtp: int = 0
    bucket: Number | None = None
    bucket_a_rank: Number | None = None

    def buckets(self) -> bool:
        """Whether gradients are sent in buckets of a size that is known, and not layer by layer."""
        return (self.bucket, self.bucket_a_rank) != (None, None)

    def param_bytes(self) -> Number:
        """Bytes of a weight that computes; fp8 recipes keep it in bf16 and cast it each time (Transformer Engine)."""
        return bytes_of(BITS[activation_dtype(self.dtype)])

    def master_bytes(self) -> Number:
        """Bytes of the fp32 copy of a weight; 0 where there is none."""
        return 4 if self.master_weights and self.param_bytes() < 4 else 0

    def moments_bytes(self) -> Number:
        """Bytes of all moments of a parameter, in the type of the weight that is updated, as torch keeps them."""
        optimizer = OPTIMIZERS[self.optimizer]
        each = optimizer.moment_bytes if optimizer.moment_bytes is not None else self.moment_bytes
        if each is not None:
            return optimizer.moments * each
        return optimizer.moments * max(self.master_bytes(), self.param_bytes())

    def optimizer_bytes(self) -> Number:
        """Bytes of the moments and the master copy of a parameter."""
        return self.moments_bytes() + self.master_bytes()

    def away_bytes(self) -> Number:
        """Bytes of a parameter's states off the GPU; on drives with its gradient, as fp32.

        DeepSpeed writes it there before the update (deepspeed/runtime/zero/stage3.py, partition_grads).
        """
        gradient = 4 if self.host is not None and self.host.drives is not None else 0
        return self.optimizer_bytes() + gradient

    def input_bytes(self) -> Number:
        """Bytes of an element of a product's input that is kept for the gradient of its weight.

        In fp4 with the scale of 8 bits that 16 of them share (NVFP4, arXiv 2509.25149).
        """
        return bytes_of(BITS[self.dtype] + (8 / 16 if self.dtype == "fp4" else 0))

    def sent_bytes(self) -> Number | None:
        """Bytes of an element of a token on its way to experts; None: as of activations."""
        if self.dispatch is not None:
            return DISPATCHES[self.dispatch]
        return self.dispatch_bytes if self.input_bytes() < self.param_bytes() else None

    def update_bytes(self) -> Number:
        """Bytes moved to update a parameter.

        The gradient is read, moments and master copy are read and written, the weight is written. Without a master copy
        the weight is read as well. To clip, the gradient is read once more.
        """
        clipping = self.grad_bytes if self.clip else 0
        passes = OPTIMIZERS[self.optimizer].passes
        return passes * (self.grad_bytes + self._state_moved()) + self.param_bytes() + clipping

    def least_update_bytes(self) -> Number:
        """Bytes that no implementation can avoid: one pass over the state, gradients used on the chip as they come."""
        return self._state_moved() + self.param_bytes()

    def _state_moved(self) -> Number:
        """Bytes of moments and master copy, or weight, of a parameter, read and written once; a weight is read."""
        master = 2 * self.master_bytes() if self.master_bytes() else self.param_bytes()
        return 2 * self.moments_bytes() + master


def overlap_of(text: str, default: Overlap = Overlap()) -> Overlap:  # noqa: B008
    """`tensor=0.8,expert=1` as shares of communication; kinds that are not named keep their default.

    Raises InputError for a kind that there is not, or a share that is none.
    """
    shares = _named_numbers("--overlap", text, Overlap._fields, "shares such as tensor=0.8,expert=1")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"--overlap {name}={share:g}: a share from 0 to 1")
    return default._replace(**shares)


def _named_numbers(option: str, text: str, known: tuple[str, ...], expected: str) -> dict[str, float]:
    """The numbers of `tensor=0.8,expert=1` by name. Raises InputError."""
    found: dict[str, float] = {}
    for each in text.split(","):
        name, _, number = each.strip().partition("=")
        if name in found:
            raise InputError(f"{option} {shortened(text)}: {name} comes twice")
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError(f"{option} {shortened(text)}: expected {expected}") from None
        if name not in known:
            raise InputError(f"{option} {shortened(name)}: one of {', '.join(known)}")
    return found


def overlap_typed(text: str) -> str:
    """The same text where it tells shares of communication, which are known beside an engine's. Raises InputError."""
    overlap_of(text)
    return text


def imbalance_of(text: str) -> Imbalance:
    """`expert=1.2,context=1` as factors; kinds that are not named are as in PRODUCTION. Raises InputError."""
    factors = _named_numbers("--imbalance", text, Imbalance._fields, "factors such as expert=1.2,context=1")
    for name, factor in factors.items():
        if not 1 <= factor <= MOST_IMBALANCE:
            raise InputError(f"--imbalance {name}={factor:g}: a factor from 1, all alike, to {MOST_IMBALANCE}")
    return PRODUCTION._replace(**factors)


def check_recipe(recipe: Recipe) -> None:
    """Raise InputError for a data type, an optimizer or kernels that are not known."""
    for name, value, known in (
        ("dtype", recipe.dtype, DTYPES),
        ("optimizer", recipe.optimizer, tuple(OPTIMIZERS)),
        ("kernels", recipe.kernels, KERNELS),
    ):
        if value not in known:
            raise InputError(f"--{name} {value}: one of {', '.join(known)}")
