"""The rules of the two source documents, a function or a constant each.

*Slides*: 典型大语言模型架构 (Tsinghua, 大模型计算 course team). *Walk*: "LLM 结构:从 nanogpt 源码谈起" (2024-04-14).
"""

from __future__ import annotations

from llmcost.ground.algebra import Number
from llmcost.ground.units import YEAR

FORWARD_FLOPS_PER_PARAM = 2  # walk: (24bsh²L + 2bshv) / ((12h²L + hv)·bs) ≈ 2; slides: 简易算法
TRAINING_FLOPS_PER_PARAM = 6  # walk: the backward pass is twice the forward one
GRADIENT_FLOPS_PER_PARAM = 2  # of these, the gradient of the weight itself, which a frozen one does without
RECOMPUTE_FLOPS_PER_PARAM = 8  # walk: one more forward pass when activations are recomputed
TRAINING_BYTES_PER_PARAM = 2 + 2 + 12  # walk: fp16 weights and gradients, fp32 weights and Adam's two moments
INFERENCE_OVERHEAD = 1.2  # walk: other memory is about 20 % of the weights
GEMM_MFU = 0.9  # slides: what a matrix product reaches
END_TO_END_MFU = 0.5  # slides: what a well optimised training run reaches


def prefill_seconds(flops: Number, peak: Number, mfu: Number) -> Number:
    """Slides, 预填充吞吐量: the FLOPs of every token at full context, over an assumed share of the peak."""
    return flops / (peak * mfu)


def decode_seconds(weight_bytes: Number, cache_bytes: Number, bandwidth: Number) -> Number:
    """Slides, 访存量: linear layers, LM head and KV cache at full bandwidth; norms and embedding left out."""
    return (weight_bytes + cache_bytes) / bandwidth


def training_tokens_per_s(prefill_tokens_per_s: Number) -> Number:
    """Slides, 训练吞吐量: a third of the rate of prefill, as the backward pass costs two forward ones."""
    return prefill_tokens_per_s / 3


def gpu_years(tokens: Number, tokens_per_s: Number) -> Number:
    """Slides, 卡*年: the years of 365 days that one GPU takes for so many tokens."""
    return tokens / tokens_per_s / YEAR


def training_seconds(
    params: Number, tokens: Number, gpus: Number, peak: Number, mfu: Number, flops_per_param: Number
) -> Number:
    """Walk: flops_per_param·N·D, for N parameters and D tokens, over an assumed share of all GPUs' peaks."""
    return flops_per_param * params * tokens / (gpus * peak * mfu)


def training_bytes(params: Number) -> Number:
    """Walk, 显存占用: bytes of weights, gradients and Adam's state; activations are left out."""
    return TRAINING_BYTES_PER_PARAM * params


def inference_bytes(weight_bytes: Number) -> Number:
    """Walk, 推理: bytes of the weights, and a fifth more for all else."""
    return weight_bytes * INFERENCE_OVERHEAD
