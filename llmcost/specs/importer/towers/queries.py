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


FAMILIES: Families = {
    "blip-2": _blip2,
    "idefics2": _idefics2,
    "instructblip": partial(_blip2, kind="instructblip"),
    "instructblipvideo": partial(_blip2, kind="instructblipvideo"),
}
