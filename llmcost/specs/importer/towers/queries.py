"""Towers whose tokens are queries that are stored and look at patches: BLIP-2, InstructBLIP, Idefics 2."""

from __future__ import annotations

from functools import partial
from typing import Any

from llmcost.specs.importer.towers.encoders import encoder_of
from llmcost.specs.importer.towers.parts import (
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


def qformer(q: Part, wide: int, at: str = "merged", sees: str = "layers", *, text: bool = False) -> Operators:
    """The Q-Former (arXiv 2301.12597): BERT's layers on the queries, which look at states `wide` wide in some of them.

    `text`: its layers have a second MLP for words, which never runs where it has none; its embeddings stand elsewhere.
    """
    h, heads, middle, depth = (
        q.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    if h % heads:
        raise LeftOutError(f"{h} channels do not divide into {heads} heads")
    looks = -(-depth // q.size("cross_attention_frequency"))
    q.must_be("encoder_hidden_size", wide)
    every: dict[str, Any] = {"at": at, "count": depth}
    some: dict[str, Any] = {"at": at, "count": looks}
    q.read.update(("vocab_size", "max_position_embeddings", "use_qformer_text_input"))
    return [
        norm("query_norm", h, at),
        linear("query_qkv_proj", h, 3 * h, bias=True, split="columns", **every),
        {"name": "query_attention", **every, "heads": heads, "head_dim": h // heads},
        linear("query_o_proj", h, h, bias=True, split="rows", **every),
        norm("query_attention_norm", h, **every),
        linear("query_q_proj", h, h, bias=True, split="columns", **some),
        linear("seen_kv_proj", wide, 2 * h, sees, bias=True, split="columns", count=looks),
        {"name": "query_cross_attention", **some, "sees": sees, "heads": heads, "head_dim": h // heads},
        linear("query_cross_o_proj", h, h, bias=True, split="rows", **some),
        norm("query_cross_norm", h, **some),
        *projector("query_mlp", h, middle, h, at=at, count=depth),
        norm("query_mlp_norm", h, **every),
        *([table("words_mlp", depth * (2 * h * middle + middle + 3 * h))] if text else []),
    ]


def _blip2(config: dict[str, Any], hidden: int, kind: str = "blip_2") -> Towers:
    """BLIP-2 and InstructBLIP. The words of an instruction, which InstructBLIP's queries see too, are not counted."""
    v, q = (
        Part(config.get("vision_config"), f"{kind}_vision_model"),
        Part(config.get("qformer_config"), f"{kind}_qformer"),
    )
    h, heads, middle, depth = (
        v.size(key) for key in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    )
    patch, queries = v.size("patch_size"), Part(config, "blip-2").size("num_query_tokens")
    text, width = kind != "blip_2" or q.flag("use_qformer_text_input"), q.size("hidden_size")
    words = (q.size("vocab_size") + q.size("max_position_embeddings")) * width
    found = [
        linear("patch_embedding", 3 * patch * patch, h, "patches", bias=True, split="columns"),
        table("class_and_positions", (v.side() ** 2 + 2) * h),
        *encoder(h, heads, middle, depth, biases="out up down" + " qkv" * v.flag("qkv_bias")),
        norm("final_norm", h),
        table("queries", queries * width),
        *([table("words", words)] if kind != "blip_2" else []),
        *qformer(q, h, text=text),
        linear("projector", width, hidden, "merged", bias=True),
    ]
    v.refuse_what_is_left()
    q.refuse_what_is_left()
    sizes = {"patch_size": patch, "image_size": v.size("image_size"), "extra": 1, "out": queries}
    return [tower(VISION, "square", found, **sizes)]


def _idefics2(config: dict[str, Any], hidden: int) -> Towers:
    """A gated projector of each patch, and layers of queries that see the patches and each other at once."""
    eye, p = (
        encoder_of(config.get("vision_config"), "idefics2_vision", "idefics2_vision"),
        Part(config.get("perceiver_config"), "idefics2_perceiver"),
    )
    text = config.get("text_config")
    middle = text.get("intermediate_size", MISTRAL_MLP) if isinstance(text, dict) else MISTRAL_MLP
    if not isinstance(middle, int) or not 0 < middle < 10**7:
        raise LeftOutError("the MLP of its projector is not understood")
    h, d, heads, kv = (
        p.out("hidden_size", hidden),
        *(p.size(key) for key in ("resampler_head_dim", "resampler_n_heads", "num_key_value_heads")),
    )
    depth, queries = p.size("resampler_depth"), p.size("resampler_n_latents")
    each: dict[str, Any] = {"at": "merged", "count": depth}
    found = [
        *eye.operators,
        linear("projector_gate_up", eye.width, 2 * middle, split="columns"),
        linear("projector_down", middle, h, split="rows"),
        table("queries", queries * h),
        norm("query_norm", h, affine=1, **each),
        norm("seen_norm", h, affine=1, count=depth),
        linear("query_q_proj", h, heads * d, split="columns", **each),
        linear("seen_kv_proj", h, 2 * kv * d, "keys", split="columns", count=depth),
        {"name": "query_attention", **each, "sees": "keys", "heads": heads, "head_dim": d},
        linear("query_o_proj", heads * d, h, split="rows", **each),
        norm("query_mlp_norm", h, affine=1, **each),
        linear("query_gate_up_proj", h, 8 * h, split="columns", **each),
        linear("query_down_proj", 4 * h, h, split="rows", **each),
        norm("last_norm", h, "merged", affine=1),
    ]
    eye.part.refuse_what_is_left()
    p.refuse_what_is_left()
    sizes = {"patch_size": eye.part.size("patch_size"), "out": queries}
    return [tower(VISION, "resampled", found, **sizes, least=SHORTEST, most=LONGEST)]


MISTRAL_MLP = 14_336  # of Mistral, where the text model says none
SHORTEST, LONGEST = 378, 980  # pixels of an image's sides (image_processing_idefics2.py)


# Names of keys in the released configs of Molmo 2 (allenai/Molmo2-8B), and those of the reference.
VIT_NAMES = {"image_default_input_size": "image_size", "image_patch_size": "patch_size"}
VIT_NAMES |= {"image_num_pos": "num_position_embeddings"}
ADAPTER_NAMES = {"vit_layers": "vision_feature_layer"}


def _released(part: Any, names: dict[str, str]) -> Any:
    """A part of a config with its keys under the reference's names; one that names another model is refused later."""
    if not isinstance(part, dict):
        return part
    found = {names.get(key, key): said for key, said in part.items() if key != "model_type"}
    if "vision_feature_layer" in names.values():
        found.setdefault("vision_feature_layer", [24, 18])
    elif "num_position_embeddings" not in found:
        side = found.get("image_size") or [378, 378]
        patch = found.get("patch_size", 14)
        if isinstance(side, list | tuple) and len(side) == 2 and all(type(each) is int for each in (*side, patch)):
            found["num_position_embeddings"] = (side[0] // patch) * (side[1] // patch) if patch else 0
    return found


# -- Aria, Molmo 2 ----------------------------------------------------------------------------------------

ARIA_QUERIES = {"1225": 128, "4900": 256}  # patches of an image -> its queries (configuration_aria.py)
ARIA_SIDE = 980  # pixels that an image's longer side is scaled to (image_processing_aria.py)


def _aria(config: dict[str, Any], hidden: int) -> Towers:
    """Queries that look at the patches once, of which an image of so many patches has so many."""
    eye, whole = encoder_of(config.get("vision_config"), "idefics3_vision", "idefics3_vision"), Part(config, "aria")
    h, heads = eye.width, eye.part.size("num_attention_heads")
    taken = whole.get("projector_patch_to_query_dict") or ARIA_QUERIES
    sizes = list(taken.items()) if isinstance(taken, dict) else []
    if not sizes or not all(
        str(patches).isdigit() and type(some) is int and 0 < some < 10**6 for patches, some in sizes
    ):
        raise LeftOutError("its projector_patch_to_query_dict is not understood")
    whole.must_be("vision_feature_layer", -1)
    most = max(some for _, some in sizes)
    if most != whole.given.get("max_value_projector_patch_to_query_dict", most):
        raise LeftOutError("its max_value_projector_patch_to_query_dict is not the largest of its projector")
    found = [
        *eye.operators,
        table("queries", most * h),
        norm("query_norm", h, "merged"),
        norm("seen_norm", h),
        linear("query_q_proj", h, h, "merged", split="columns"),
        linear("seen_kv_proj", h, 2 * h, split="columns"),
        linear("query_second_q_proj", h, h, "merged", bias=True, split="columns"),
        linear("seen_second_kv_proj", h, 2 * h, bias=True, split="columns"),
        {"name": "query_attention", "at": "merged", "sees": "layers", "heads": heads, "head_dim": h // heads},
        linear("query_o_proj", h, h, "merged", bias=True),
        linear("query_second_o_proj", h, h, "merged", bias=True),
        norm("query_mlp_norm", h, "merged"),
        *projector("query_mlp", h, hidden, hidden, bias=False),
    ]
    patch = eye.part.size("patch_size")
    eye.part.refuse_what_is_left()
    out = {str(patches): some for patches, some in sizes}.get(str((ARIA_SIDE // patch) ** 2))
    if out is None:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "square", found, patch_size=patch, image_size=ARIA_SIDE, out=out)]


def _molmo2(config: dict[str, Any], hidden: int) -> Towers:
    """Molmo 2: states of some layers beside each other; each window of patches becomes one by attention to its mean."""
    v, a = (
        Part(_released(config.get("vision_config"), VIT_NAMES), "molmo2_vision"),
        Part(_released(config.get("adapter_config"), ADAPTER_NAMES), "molmo2_adapter"),
    )
    h, heads, middle, d, kv, patch = (
        v.size(key)
        for key in (
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "head_dim",
            "num_key_value_heads",
            "patch_size",
        )
    )
    depth, width, out = v.size("num_hidden_layers"), a.size("hidden_size"), a.out("text_hidden_size", hidden)
    layers, bias = a.get("vision_feature_layer"), a.flag("attention_bias")
    if not isinstance(layers, list | tuple) or not layers or any(type(at) is not int for at in layers):
        raise LeftOutError("its vision_feature_layer is no list of layers")
    if any(not -depth <= at <= depth for at in layers) or width != h:
        raise LeftOutError("its vision_feature_layer or the width of its adapter is not that of its layers")
    rows = v.get("num_position_embeddings")
    if not isinstance(rows, int) or isinstance(rows, bool) or not 0 < rows < 10**7:
        raise LeftOutError("its num_position_embeddings is no whole number")
    wide, q, k, inner = (
        width * len(layers),
        a.size("num_attention_heads") * a.size("head_dim"),
        a.size("num_key_value_heads") * a.size("head_dim"),
        a.size("intermediate_size"),
    )
    v.read.add("image_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", rows * h),
        *encoder(
            h, heads, middle, depth, biases="up down" + " qkv out" * v.flag("attention_bias"), head_dim=d, kv_heads=kv
        ),
        linear("pooling_q_proj", wide, q, "merged", bias=bias, split="columns"),
        linear("pooling_kv_proj", wide, 2 * k, "keys", bias=bias, split="columns"),
        {
            "name": "pooling_attention", "at": "windows", "sees": "keys", "heads": a.size("num_attention_heads"),
            "head_dim": a.size("head_dim"),
        },
        linear("pooling_o_proj", q, width, "merged", bias=bias, split="rows"),
        linear("projector_gate_up", width, 2 * inner, "merged", bias=a.flag("mlp_bias"), split="columns"),
        linear("projector_down", inner, out, "merged", split="rows"),
    ]  # fmt: skip
    side = v.get("image_size")
    v.refuse_what_is_left()
    a.refuse_what_is_left()
    if side not in (list(CROP), CROP, CROP[0]) or patch != PATCH:
        return [tower(VISION, "unknown", found)]
    return [tower(VISION, "crops-that-overlap", found, patch_size=patch, image_size=CROP[0], most=CROPS)]


CROP, PATCH, CROPS = (378, 378), 14, 8  # image_processing_molmo2.py: size, patch_size, max_crops


FAMILIES: Families = {
    "aria": _aria,
    "molmo2": _molmo2,
    "blip-2": _blip2,
    "idefics2": _idefics2,
    "instructblip": partial(_blip2, kind="instructblip"),
    "instructblipvideo": partial(_blip2, kind="instructblipvideo"),
}
