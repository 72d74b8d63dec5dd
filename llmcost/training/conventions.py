"""MFU and HFU: a share of the peak, under the convention of whoever prints it.

MFU (PaLM, arXiv 2204.02311, appendix B) counts the FLOPs that the model needs. HFU counts those that the hardware runs:
recomputed activations are among them. Both are F·(tokens a second of a GPU)/peak. Conventions differ in F, the FLOPs of
a token, and in the peak. F is six FLOPs for each of some parameters, or three forward passes of the matrix products
themselves. To these it adds attention with no (query, key) pairs, with all of them, with half, or with those of the
causal mask. Every part comes from the operator list, so that a share printed under one convention converts into any
other.
"""

from collections.abc import Callable
from typing import NamedTuple

from llmcost.ground.algebra import Number, minimum
from llmcost.ground.constants import Constant
from llmcost.ground.errors import InputError
from llmcost.model.architecture import operators
from llmcost.model.counting import PASSES, Params, count_params, count_pass
from llmcost.model.sizes import ElementBytes, Load
from llmcost.model.spec import ModelSpec

HALF_PRECISION = ElementBytes(2, 2, 2)  # counts of FLOPs and parameters do not depend on it
A100_PEAK = Constant(312e12, "bf16, dense: NVIDIA A100 data sheet", "FLOP/s")


class Counts(NamedTuple):
    """What conventions are made of: FLOPs of the forward pass of one token by part, and parameters by role."""

    linear: Number  # products below the LM head
    pairs: Number  # attention, every (query, key) pair
    causal: Number  # attention, the pairs that a causal mask leaves
    head: Number  # the LM head
    params: Params
    tied: bool  # whether the embedding is the LM head too
    positions: Number  # parameters of the table of learned positions
    reached: Number  # those of them that the sequence reaches


def counts_of(model: ModelSpec, seq: Number) -> Counts:
    """What conventions are made of, for a model and sequences of `seq` tokens, with logits at every token."""
    found = operators(model.text_alone(), HALF_PRECISION, Load(1, seq, seq), seq)
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
OWN = "llmcost"  # the convention of this program


class Convention(NamedTuple):
    """How a source counts FLOPs.

    `parameters` says which parameters stand for six FLOPs each. Where it is None, the products themselves count, the LM
    head included, the embedding not. `selective`: how many forward passes of attention selective recomputation adds to
    HFU. `kernel`: how many of them attention's backward kernel itself repeats. `peak`: the denominator in FLOP/s, where
    it is not the peak of the data type that the products compute in.
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
        """FLOPs of one token's forward pass: of weights, of attention, and of the LM head if not among the weights."""
        attention = PAIRS[self.pairs](k)
        if self.parameters is None:
            return k.linear, attention, k.head
        return 2 * PARAMETERS[self.parameters](k), attention, 0

    def model_flops(self, k: Counts, *, frozen: bool = False) -> Number:
        """FLOPs of a token that the model needs, forward and backward; frozen weights need no gradients of weights."""
        weights, attention, top = self.forward(k)
        return (PASSES - frozen) * (weights + top) + PASSES * attention

    def hardware_flops(self, k: Counts, recompute: str, share: Number = 1, *, frozen: bool = False) -> Number:
        """FLOPs of a token that the hardware runs.

        `recompute` is "none", "selective" (attention is computed again) or "full" (whole layers are), for a `share` of
        the layers. The LM head's product is not computed again, unless parameters stand for it.
        """
        weights, attention, _ = self.forward(k)
        again = {"none": 0, "selective": self.selective * attention, "full": weights + attention}[recompute]
        return self.model_flops(k, frozen=frozen) + share * again + self.kernel * attention


CONVENTIONS: dict[str, Convention] = {
    each.name: each
    for each in (
        Convention(OWN, "llmcost train", "docs/mfu.md", None, "all", kernel=0.5),
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
            peak=A100_PEAK.value,
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
    """A convention by its name. Raises InputError, which lists those that are known."""
    if name not in CONVENTIONS:
        raise InputError(f"--convention {name}: one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


class Utilization(NamedTuple):
    """Model and hardware FLOPs utilization (MFU, HFU) under one convention, as shares of 1, and their parts."""

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
    """The MFU and HFU that a source with this convention prints for a throughput.

    `peak` is that of the data type computed in, FLOP/s; a convention may have another. `recompute`, `share` and
    `frozen` are as in `hardware_flops`.
    """
    full = peak if convention.peak is None else convention.peak
    model = convention.model_flops(k, frozen=frozen)
    hardware = convention.hardware_flops(k, recompute, share, frozen=frozen)
    return Utilization(
        convention=convention.name,
        model_flops_per_token=model,
        hardware_flops_per_token=hardware,
        peak_flops_per_s=full,
        mfu=model * tokens_per_s_per_gpu / full,
        hfu=hardware * tokens_per_s_per_gpu / full,
    )


def tokens_per_s(mfu: Number, convention: Convention, k: Counts, peak: Number, *, frozen: bool = False) -> Number:
    """The tokens a second of a GPU behind an MFU that was printed under this convention.

    From them the MFU under any other convention follows.
    """
    return mfu * (peak if convention.peak is None else convention.peak) / convention.model_flops(k, frozen=frozen)
