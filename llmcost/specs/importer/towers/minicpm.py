"""Towers of MiniCPM-V: SigLIP on slices of an image, whose patches are merged twice, or resampled to a fixed number.

The first is in transformers (src/transformers/models/minicpmv4_6, v5), the second the code of openbmb/MiniCPM-V-2_6
(resampler.py, image_processing_minicpmv.py), which vLLM has too (vllm/model_executor/layers/resampler.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.specs.importer.towers.encoders import siglip
from llmcost.specs.importer.towers.parts import (
    AUDIO,
    VISION,
    Families,
    LeftOutError,
    Operators,
    Part,
    Towers,
    encoder,
    linear,
    norm,
    projector,
    table,
    tower,
)
from llmcost.specs.importer.towers.sound import whisper

SLICE, SLICES = 448, 9  # pixels a side that a slice has about, and the most slices (image_processing_minicpmv4_6.py)
CHANNELS_A_HEAD = 128  # of the resampler's attention (modeling_minicpmv.py, init_resampler)


def merged_twice(config: dict[str, Any], hidden: int, kind: str = "minicpmv4_6") -> Towers:
    """MiniCPM-V 4.6 and 4.7, MiniCPM-OCR: windows of 2 × 2 patches are merged behind some layers, and behind all."""
    v, whole = Part(config.get("vision_config"), f"{kind}_vision"), Part(config, kind)
    if not v.size("window_kernel_size") == whole.size("merge_kernel_size") == 2:
        raise LeftOutError("what it merges is no window of 2 x 2 patches")
    v.read.add("insert_layer_id")  # the whole's counts
    h, patch, middle = v.size("hidden_size"), v.size("patch_size"), v.size("intermediate_size")
    heads, depth = v.size("num_attention_heads"), v.size("num_hidden_layers")
    merges, inserted = whole.size("merger_times"), whole.get("insert_layer_id")
    known = merges == 1 and whole.get("downsample_mode") == "16x"
    known = known and isinstance(inserted, int) and 0 <= inserted < depth
    before = inserted + 1 if known else depth
    side, wide = v.size("image_size") // patch, 4 * h
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", side * side * h),
        *encoder(h, heads, middle, before),
        *_merger(h, heads, middle),
        *(encoder(h, heads, middle, depth - before, at="half", prefix="later_") if depth > before else []),
        norm("final_norm", h, "half"),
        *(op for _ in range(merges - 1) for op in _projection(wide, h)),
        *_projection(wide, hidden),
    ]
    v.refuse_what_is_left()
    if not known:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "slices", found, patch_size=patch, image_size=SLICE, merge=4, most=SLICES)]


def _merger(h: int, heads: int, middle: int) -> Operators:
    """Attention inside windows of 2 × 2 patches, and an MLP on all four of them at once."""
    return [
        norm("merger_attention_norm", h),
        linear("merger_qkv_proj", h, 3 * h, bias=True, split="columns"),
        {"name": "merger_attention", "at": "windows", "heads": heads, "head_dim": h // heads},
        linear("merger_o_proj", h, h, bias=True, split="rows"),
        norm("merger_norm", 4 * h, "half"),
        *projector("merger", 4 * h, 4 * middle, h, at="half"),
    ]


def _projection(wide: int, out: int) -> Operators:
    return [norm("projector_norm", wide, "quarter"), *projector("projector", wide, wide, out, at="quarter")]


def resampled(config: dict[str, Any], hidden: int) -> Towers:
    """MiniCPM-V 2.6, 4.0 and 4.5: queries that are stored see a slice's patches, and are its tokens."""
    v = Part(config.get("vision_config"), "siglip_vision_model")
    if v.given.get("model_type") not in ("siglip", "siglip_vision_model"):
        raise LeftOutError("its vision_config is not understood")
    last, queries = config.get("drop_vision_last_layer", True), config.get("query_num", 64)
    cut = config.get("slice_config") or {}
    slices = cut.get("max_slice_nums", SLICES) if isinstance(cut, dict) else None
    if not isinstance(last, bool) or hidden % CHANNELS_A_HEAD:
        raise LeftOutError("its drop_vision_last_layer or its hidden size is not understood")
    if any(not isinstance(size, int) or not 0 < size < 10**4 for size in (queries, slices)):
        raise LeftOutError("its query_num or slice_config is not understood")
    if last:
        v.given = v.given | {"num_hidden_layers": v.size("num_hidden_layers", least=2) - 1}
    h, patch, heads = v.size("hidden_size"), v.size("patch_size"), hidden // CHANNELS_A_HEAD
    found = [
        *siglip(v, pools=False).operators,
        table("queries", queries * hidden),
        linear("kv_projection", h, hidden, split="columns"),
        norm("resampler_norm", hidden),
        linear("resampler_kv_proj", hidden, 2 * hidden, bias=True, split="columns"),
        norm("resampler_query_norm", hidden, "merged"),
        linear("resampler_q_proj", hidden, hidden, "merged", bias=True, split="columns"),
        {
            "name": "resampler_attention", "at": "merged", "sees": "keys", "heads": heads,
            "head_dim": CHANNELS_A_HEAD,
        },
        linear("resampler_o_proj", hidden, hidden, "merged", bias=True, split="rows"),
        norm("resampler_last_norm", hidden, "merged"),
        linear("projector", hidden, hidden, "merged"),
    ]  # fmt: skip
    v.refuse_what_is_left()
    sizes = {"patch_size": patch, "image_size": SLICE, "most": slices, "out": queries}
    return [tower(VISION, "slices", found, **sizes)]


def hearing(config: dict[str, Any], hidden: int) -> Towers:
    """MiniCPM-o 2.6 and 4.5: Whisper's encoder beside the eyes, and a projector, of which so many tokens are averaged.

    modeling_minicpmo.py of openbmb/MiniCPM-o-2_6, which vLLM has too (vllm/model_executor/models/minicpmo.py). Of the
    keys that positions see all are counted, those too that come a second and more later, which it masks.
    """
    if config.get("init_vision", True) is not True:
        raise LeftOutError("its init_vision is not understood")
    if config.get("init_audio", True) is not True:
        return resampled(config, hidden)
    v = Part(config.get("audio_config"), "whisper")
    v.must_be("model_type", "whisper")
    h, wide = v.size("d_model"), v.size("encoder_ffn_dim")
    if wide // 4 != h:
        raise LeftOutError("its projector is not as wide as its encoder")
    averaged = config.get("audio_pool_step", 2)
    if type(averaged) is not int or not 0 < averaged < MOST_AVERAGED:
        raise LeftOutError("its audio_pool_step is not understood")
    found = [
        *whisper(v, h, v.size("encoder_attention_heads"), wide, v.size("encoder_layers")),
        *projector("projector", h, hidden, hidden, at="layers"),
    ]
    v.read.update(key for key in v.given if key.startswith("decoder_"))
    v.read.update(OF_WHISPER)
    v.refuse_what_is_left()
    return [*resampled(config, hidden), tower(AUDIO, "whisper-as-long", found, image_size=1500, merge=averaged)]


MOST_AVERAGED = 100  # positions of a token that are believed
# Keys of Whisper's whole model, which its encoder does not read.
OF_WHISPER = (
    "max_target_positions", "max_length", "num_hidden_layers", "vocab_size", "use_weighted_layer_sum",
    "median_filter_width", "classifier_proj_size", "apply_spec_augment", "begin_suppress_tokens", "suppress_tokens",
    "tie_word_embeddings",
)  # fmt: skip


FAMILIES: Families = {
    "minicpmv": resampled,
    "minicpmo": hearing,
    "minicpm_ocr": partial(merged_twice, kind="minicpm_ocr"),
    "minicpmv4_6": merged_twice,
    "minicpmv4_7": merged_twice,
}
