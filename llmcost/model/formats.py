"""Formats in which weights are kept: their bits, and the scales and zero points that come with them.

A format is data: the bits of a weight by itself, what a group of weights shares, what an output channel shares. One
scale for a whole matrix is not counted (a few bytes), nor are GPTQ's order of channels (4 bytes an input channel) and
padding.
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from llmcost.ground.units import BITS


class Format(NamedTuple):
    """Bits of a weight; bits that `group` weights share (scale, zero point); bits that an output channel shares.

    `everywhere`: the embedding and the LM head are kept in it too, as in GGUF files. `square`: a group is a square.
    `padded`: engines pad what they load to whole groups, or groups run on from one row to the next.
    `inputs`: bits that an input channel of a matrix shares. `matrix`: bits that a whole matrix has (codebooks).
    `table`: bits of the embedding, `head`: of the LM head, and of an embedding that is the LM head too, where they are
    others (0: as the linear layers).
    """

    bits: float
    group: int = 1
    shared: float = 0
    channel: int = 0
    everywhere: bool = False
    square: bool = False
    padded: bool = False
    inputs: int = 0
    matrix: int = 0
    table: float = 0
    head: float = 0

    @property
    def block(self) -> int:
        """Weights along the input (of a square along the output too) that share a scale and must not be torn apart."""
        return 1 if self.padded else math.isqrt(self.group) if self.square else self.group

    @property
    def bits_a_weight(self) -> float:
        """Bits of a weight with its part of the group's."""
        return self.bits + self.shared / self.group


def _gguf(block: int, weights: int = 256) -> Format:
    """A format of llama.cpp's: blocks of so many bytes for so many weights, scales and minima included."""
    return Format(8 * block / weights, everywhere=True)


# Parameters of Llama 3.1 8B: all of them, and those of its embedding and of its LM head each.
_PARAMS, _TABLE = 8_030_261_248, 525_336_576


def _gguf_mix(of_file: float, table: Format, head: Format) -> Format:
    """A mix of llama.cpp's types: bits of a weight on average over the file of Llama 3.1 8B, of both tables apart.

    Its LM head, and the embedding of a model that has no LM head of its own, are kept in a larger type, so that files
    of models with large shared tables have more bits (llama_tensor_get_type_impl in src/llama-quant.cpp).
    """
    of_tables = _TABLE * (table.bits_a_weight + head.bits_a_weight)
    layers = (of_file * _PARAMS - of_tables) / (_PARAMS - 2 * _TABLE)
    return Format(layers, everywhere=True, table=table.bits_a_weight, head=head.bits_a_weight)


# Scales alone ("sym" in GPTQ's and compressed-tensors' configs), or with zero points ("-zp", of the weights' bits):
# fp16 or bf16 scales, for groups along the input (GPTQ, arXiv 2210.17323; AWQ, arXiv 2306.00978) or for a whole
# output channel.
_INTEGERS = {
    f"int{bits}-g{group}{suffix}": Format(bits, group, cost)
    for bits in (2, 3, 4, 8)
    for group in (16, 32, 64, 128, 256, 1024)
    for suffix, cost in (("", 16), ("-zp", 16 + bits))
}
_INTEGERS |= {
    f"int{bits}-channel{suffix}": Format(bits, channel=cost)
    for bits in (2, 3, 4, 8)
    for suffix, cost in (("", 16), ("-zp", 16 + bits))
}
FORMATS: dict[str, Format] = {
    "fp8": Format(8),
    "int8": Format(8),
    "int4": Format(4),
    "fp4": Format(4),
    "int2": Format(2),
    # An fp32 scale a block, mostly of 128 by 128 (DeepSeek-V3, arXiv 2412.19437, section 3.3.2).
    **{f"fp8-block{side}": Format(8, side * side, 32, square=True) for side in (128, 32, 64, 256)},
    "fp8-channel": Format(8, channel=16),  # compressed-tensors: a scale in the model's 16-bit type
    "fp8-channel-fp32": Format(8, channel=32),  # fbgemm: an fp32 scale
    "mxfp8": Format(8, 32, 8),  # an 8-bit exponent for 32 weights (OCP Microscaling Formats 1.0)
    "mxfp4": Format(4, 32, 8, padded=True),
    "nvfp4": Format(4, 16, 8),  # an fp8 scale for 16 weights (NVIDIA Blackwell architecture brief)
    # bitsandbytes: an fp32 scale for 64 weights; double quantisation keeps it in 8 bits, with one in fp32 for 256 of
    # them (QLoRA, arXiv 2305.14314, section 3); int8 has an fp32 scale an output channel (LLM.int8(), arXiv
    # 2208.07339).
    **{kind: Format(4, 64, 32, padded=True) for kind in ("nf4", "bnb-fp4")},
    **{f"{kind}-dq": Format(4, 64, 8 + 32 / 256, padded=True) for kind in ("nf4", "bnb-fp4")},
    "int8-channel-fp32": Format(8, channel=32),
    # Scale and zero point (or bias) in 16 bits each: torchao's tinygemm, HQQ, and MLX, whose files have the embedding
    # and the LM head in them too (ml-explore.github.io/mlx, mlx.core.quantize: 4.5 bits a weight for groups of 64).
    **{
        f"int{bits}-g{group}-bf16-zp": Format(bits, group, 16 + 16)
        for bits in (2, 3, 4, 8)
        for group in (32, 64, 128, 256)
    },
    **{
        f"mlx-{bits}bit-g{group}": Format(bits, group, 16 + 16, everywhere=True)
        for bits in (2, 3, 4, 5, 6, 8)
        for group in (32, 64, 128)
    },
    "mlx-mxfp4": Format(4, 32, 8, everywhere=True),
    "mlx-mxfp8": Format(8, 32, 8, everywhere=True),
    "mlx-nvfp4": Format(4, 16, 8, everywhere=True),
    # ModelOpt's INT4 of AWQ: scales in fp32 (modelopt/torch/export/quant_utils.py).
    **{f"int4-g{group}-fp32": Format(4, group, 32) for group in (64, 128)},
    # AQLM (arXiv 2401.06118): a code for each vector of g weights and codebook, in 8 or 16 bits; a codebook of 2^bits
    # such vectors a matrix, and a scale an output channel, all in 16 bits (aqlm/inference.py of the package aqlm).
    **{
        f"aqlm-{books}x{bits}-g{group}": Format(
            books * (8 if bits <= 8 else 16) / group, channel=16, matrix=16 * books * 2**bits * group
        )
        for books in (1, 2, 3, 4, 8)
        for bits in (8, 12, 16)
        for group in (4, 8, 16, 32)
    },
    # HIGGS (arXiv 2411.17525): a 16-bit scale a group; a table of 2^bits numbers and one of pairs a matrix.
    **{
        f"higgs-{bits}bit-g{group}": Format(bits, group, 16, matrix=16 * (2**bits + 2 * 4**bits))
        for bits in (2, 3, 4)
        for group in (64, 128, 256)
    },
    # EXL3 (after QTIP, arXiv 2406.11235): whole bits a weight, a 16-bit scale an input channel and an output channel.
    **{f"exl3-{bits}bit": Format(bits, channel=16, inputs=16) for bits in range(1, 9)},
    # EXL2 of one width, scales included (exllamav2/conversion/optimize.py).
    **{f"exl2-{bits}bit": Format(bits) for bits in range(2, 9)},
    # MLC's q4f16: a scale alone (llm.mlc.ai/docs/compilation/configure_quantization.html).
    "mlc-q4": Format(4, 32, 16, everywhere=True),
    **_INTEGERS,
    # GGUF, blocks of one type: ggml/src/ggml-common.h of llama.cpp.
    **{f"q{bits}_{k}": _gguf(bits * 4 + 2 + 2 * k, 32) for bits in (4, 5) for k in (0, 1)},
    "q8_0": _gguf(34, 32),
    "q2_k": _gguf(84), "q3_k": _gguf(110), "q4_k": _gguf(144), "q5_k": _gguf(176), "q6_k": _gguf(210),
    "iq4_nl": _gguf(18, 32), "iq4_xs": _gguf(136), "iq3_s": _gguf(110), "iq3_xxs": _gguf(98), "iq2_s": _gguf(82),
    "iq2_xs": _gguf(74), "iq2_xxs": _gguf(66), "iq1_m": _gguf(56), "iq1_s": _gguf(50),
    "tq1_0": _gguf(54), "tq2_0": _gguf(66), "q1_0": _gguf(18, 128),
    "gguf-mxfp4": _gguf(17, 32), "gguf-nvfp4": _gguf(36, 64),
}  # fmt: skip
# GGUF, mixes of types: the average over the file of Llama 3.1 8B, measured (tools/quantize/README.md of llama.cpp).
_MIXES = {
    "q5_k_m": (5.7036, "q5_k", "q6_k"),
    "q5_k_s": (5.5704, "q5_k", "q6_k"),
    "q4_k_m": (4.8944, "q4_k", "q6_k"),
    "q4_k_s": (4.6672, "q4_k", "q6_k"),
    "q3_k_l": (4.2979, "q3_k", "q6_k"),
    "q3_k_s": (3.6429, "q3_k", "q6_k"),
    "q2_k_s": (2.9697, "q2_k", "q6_k"),
    "iq3_m": (3.7628, "iq3_s", "q6_k"),
    "iq3_xs": (3.4977, "iq3_s", "q6_k"),
    "iq2_m": (2.9294, "iq3_s", "q5_k"),
}
FORMATS |= {name: _gguf_mix(bits, FORMATS[table], FORMATS[head]) for name, (bits, table, head) in _MIXES.items()}
# Formats of KV caches beside these. fp8_ds_mla: an fp32 scale for 128 elements of a latent, its rotary part in bf16;
# 656 bytes a token of 512 + 64 (FlashMLA's README; vLLM, v1/attention/backends/mla/flashmla_sparse.py).
# Per token and head: an fp32 scale for each head's key, and for its value, of a token (vLLM, v1/kv_cache_interface.py).
_PER_HEAD = {f"{kind}_per_token_head": Format(bits) for kind, bits in (("fp8", 8), ("int8", 8), ("int4", 4))}
CACHES = {"fp8_ds_mla": Format(8, 128, 32), **_PER_HEAD}
CACHE_SCALE = dict.fromkeys(_PER_HEAD, 4)  # bytes of a token's scale for one head
ROTARY_PART = {"fp8_ds_mla": 2}  # bytes an element of the rotary part, where it is kept by itself

_PART_OF_A_MIX = re.compile(r"(?:(\d{1,15})\*)?([a-z][a-z0-9_-]{0,30})")
_BITS_OF_WEIGHTS = re.compile(r"(\d{1,18})/(\d{1,18})bit")
MOST_PARTS = 8  # formats in one matrix


@lru_cache(maxsize=4096)
def format_of(name: str) -> Format | None:
    """The format of that name; of a mix, such as 5*q4_k+q6_k, the average of its parts; None for what is none.

    A plain type is one too, and so are bits of so many weights together, 19/8bit. Parts of a mix, so many of each,
    share one operator, as the projections to queries, keys and values do: their bits with scales are averaged. What an
    output channel has is not known of a mix.
    """
    if found := _plain(name):
        return found
    if whole := _BITS_OF_WEIGHTS.fullmatch(name):
        return Format(int(whole[1]) / int(whole[2])) if int(whole[2]) else None
    matches = [_PART_OF_A_MIX.fullmatch(part) for part in name.split("+", MOST_PARTS)]
    parts = [(int(match[1] or 1), _plain(match[2])) for match in matches if match]
    kept = [(share, form) for share, form in parts if form is not None and share]
    if not 1 < len(matches) == len(kept) or any(form.channel or form.matrix for _, form in kept):
        return None
    return Format(sum(share * form.bits_a_weight for share, form in kept) / sum(share for share, _ in kept))


def _plain(name: str) -> Format | None:
    """The format of that name, or that of a plain type."""
    return FORMATS.get(name) or (Format(BITS[name]) if name in BITS else None)
