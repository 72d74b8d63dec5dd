"""MFU and HFU: a share of the peak, under the convention of whoever prints it.

MFU (PaLM, arXiv 2204.02311, appendix B) counts the FLOPs that the model needs, HFU those that the hardware runs,
activations computed again included. Both are F·(tokens a second of a GPU)/peak: conventions differ in F, the FLOPs a
token, and in the peak. F is either six FLOPs for each of some parameters, or three forward passes of the matrix
products themselves; with no, all, half or the causal mask's (query, key) pairs of attention. Every part comes from
the operator list, so that a share printed under one convention converts into any other.
"""

from collections.abc import Callable
from typing import NamedTuple

from llmcost.ground.algebra import Number, minimum
from llmcost.ground.errors import InputError
from llmcost.model.architecture import operators
from llmcost.model.counting import PASSES, Params, count_params, count_pass
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec

HALF_PRECISION = ElementBytes(2, 2, 2)  # counts of FLOPs and parameters do not depend on it
A100_PEAK = 312e12  # FLOP/s in bf16, dense: NVIDIA A100 data sheet


class Counts(NamedTuple):
    """What conventions are made of: FLOPs of one token's forward pass by part, and parameters by role."""

    linear: Number  # products below the LM head
    pairs: Number  # attention, every (query, key) pair
    causal: Number  # attention, the pairs that a causal mask leaves
    head: Number
    params: Params
    tied: bool  # whether the embedding is the LM head too
    positions: Number  # parameters of the table of learned positions
    reached: Number  # of which the sequence reaches so many


def counts_of(model: ModelSpec, seq: Number) -> Counts:
    """The parts for sequences of `seq` tokens, logits at every one."""
    found = operators(model, HALF_PRECISION, Load(1, seq, seq), seq)
    cost = count_pass(found)
    table = sum([op.params() for op in found if op.facts.role == "positions"])
    return Counts(
        linear=cost.linear_flops / seq,
        pairs=cost.attention_flops / seq,
        causal=cost.causal_flops / seq,
        head=cost.head_flops / seq,
        params=count_params(found),
        tied=model.tie_word_embeddings,
        positions=table,
        reached=table * minimum(1, seq / (model.max_position_embeddings + model.position_offset)),
    )


PARAMETERS: dict[str, Callable[[Counts], Number]] = {
    "all": lambda k: k.params.total,
    "active": lambda k: k.params.active,
    "active, positions as far as the sequence": lambda k: k.params.active - k.positions + k.reached,
    "active but positions": lambda k: k.params.active - k.positions,
    "active but lookups": lambda k: k.params.active - (0 if k.tied else k.params.embedding),
    "active but embedding and LM head": lambda k: k.params.active - k.params.embedding - k.params.lm_head,
}
"""Which parameters stand for six FLOPs each."""

PAIRS: dict[str, Callable[[Counts], Number]] = {
    "none": lambda _: 0,
    "all": lambda k: k.pairs,
    "half": lambda k: k.pairs / 2,
    "causal": lambda k: k.causal,
}
"""Which (query, key) pairs of attention count."""


RECOMPUTE = ("none", "selective", "full")


class Convention(NamedTuple):
    """How a source counts.

    `parameters`: which stand for six FLOPs; None: the products themselves count, LM head included, embedding not.
    `selective`: forward passes of attention that selective recomputation adds to HFU. `kernel`: those that the
    backward kernel itself repeats. `peak`: the denominator, where it is not the peak of the data type that the
    products compute in.
    """

    name: str
    used_by: str
    source: str
    parameters: str | None
    pairs: str
    selective: Number = 1
    kernel: Number = 0
    peak: float | None = None

    def forward(self, k: Counts) -> tuple[Number, Number, Number]:
        """FLOPs of one token: weights, attention, and the LM head where weights do not include it."""
        attention = PAIRS[self.pairs](k)
        if self.parameters is None:
            return k.linear, attention, k.head
        return 2 * PARAMETERS[self.parameters](k), attention, 0

    def model_flops(self, k: Counts, *, frozen: bool = False) -> Number:
        """FLOPs a token that the model needs, forward and backward; frozen weights have no gradients of their own."""
        weights, attention, top = self.forward(k)
        return (PASSES - frozen) * (weights + top) + PASSES * attention

    def hardware_flops(self, k: Counts, recompute: str, share: Number = 1, *, frozen: bool = False) -> Number:
        """FLOPs a token that run: with `recompute` "none", "selective" (attention again) or "full" (all layers again).

        `share`: of the layers. The LM head's product is not repeated, unless parameters stand for it.
        """
        weights, attention, _ = self.forward(k)
        again = {"none": 0, "selective": self.selective * attention, "full": weights + attention}[recompute]
        return self.model_flops(k, frozen=frozen) + share * again + self.kernel * attention


CONVENTIONS: dict[str, Convention] = {
    each.name: each
    for each in (
        Convention("llmcost", "llmcost train", "docs/mfu.md", None, "all", kernel=0.5),
        Convention(
            "6n",
            "nanoGPT walk, BigScience's rule",
            "https://github.com/bigscience-workshop/bigscience, math/README.md",
            "active",
            "none",
        ),
        Convention(
            "kaplan",
            "Kaplan et al. 2020",
            "https://arxiv.org/abs/2001.08361, section 2.1",
            "active but embedding and LM head",
            "none",
        ),
        Convention("palm", "PaLM", "https://arxiv.org/abs/2204.02311, appendix B", "active", "all"),
        Convention(
            "nanogpt",
            "nanoGPT",
            "https://github.com/karpathy/nanoGPT, model.py, estimate_mfu",
            "active but positions",
            "all",
            peak=A100_PEAK,
        ),
        Convention(
            "nanochat",
            "nanochat, SimuMax, lit-gpt by torch's FlopCounterMode",
            "https://github.com/karpathy/nanochat, nanochat/gpt.py, estimate_flops",
            None,
            "all",
        ),
        Convention(
            "torchtitan",
            "torchtitan",
            "https://github.com/pytorch/torchtitan, torchtitan/models/utils.py",
            "active but lookups",
            "all",
        ),
        Convention(
            "llm-foundry",
            "MosaicML LLM Foundry",
            "https://github.com/mosaicml/llm-foundry, scripts/train/benchmarking/collect_results.py",
            "active, positions as far as the sequence",
            "all",
        ),
        Convention(
            "megatron",
            "Narayanan 2021, Korthikanti 2022, NeMo until 2025",
            "https://arxiv.org/abs/2205.05198, equation 7; https://arxiv.org/abs/2104.04473, equation 3",
            None,
            "all",
        ),
        Convention(
            "megatron-printed",
            "Korthikanti 2022 as printed",
            "https://arxiv.org/abs/2205.05198, equation 8; https://github.com/NVIDIA/Megatron-LM/issues/523",
            None,
            "all",
            selective=3,
        ),
        Convention(
            "megatron-bridge",
            "Megatron-LM and Megatron-Bridge since 2025",
            "https://github.com/NVIDIA-NeMo/Megatron-Bridge, src/megatron/bridge/training/utils/flop_utils.py",
            None,
            "causal",
        ),
        Convention(
            "maxtext",
            "MaxText since 2025",
            "https://github.com/AI-Hypercomputer/maxtext, src/maxtext/utils/maxtext_utils.py",
            None,
            "half",
        ),
    )
}


def find_convention(name: str) -> Convention:
    """A convention by name. Raises InputError with those that are known."""
    if name not in CONVENTIONS:
        raise InputError(f"--convention {name}: one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


class Utilization(NamedTuple):
    """Model and hardware FLOPs utilization under one convention, and what they are made of."""

    convention: str
    model_flops_per_token: Number
    hardware_flops_per_token: Number
    peak_flops_per_s: Number
    mfu: Number
    hfu: Number


def utilization(
    convention: Convention,
    k: Counts,
    tokens_per_s_per_gpu: Number,
    peak: Number,
    recompute: str = "none",
    share: Number = 1,
    *,
    frozen: bool = False,
) -> Utilization:
    """What a source that counts by this convention prints for this throughput; `peak` is that of the data type computed in."""
    full = peak if convention.peak is None else convention.peak
    model = convention.model_flops(k, frozen=frozen)
    hardware = convention.hardware_flops(k, recompute, share, frozen=frozen)
    return Utilization(
        convention.name,
        model,
        hardware,
        full,
        model * tokens_per_s_per_gpu / full,
        hardware * tokens_per_s_per_gpu / full,
    )


def tokens_per_s(mfu: Number, convention: Convention, k: Counts, peak: Number, *, frozen: bool = False) -> Number:
    """The tokens a second of a GPU behind an MFU that was printed under this convention; by it, any other follows."""
    return mfu * (peak if convention.peak is None else convention.peak) / convention.model_flops(k, frozen=frozen)
