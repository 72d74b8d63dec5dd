"""Janus: an encoder that reads images, and a second one with a decoder that draws them, token by token.

What draws is stored and counted; what it computes is not: prompts are read without it.
"""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.towers.parts import (
    LARGEST,
    VISION,
    Families,
    LeftOutError,
    Part,
    Towers,
    encoder,
    linear,
    norm,
    table,
    tower,
)

GROUPS = 32  # of the group norms of what draws: channels must divide by it


def _janus(config: dict[str, Any], hidden: int) -> Towers:
    v = Part(config.get("vision_config"), "janus_vision_model")
    h, patch, heads, depth = (
        v.size(key) for key in ("hidden_size", "patch_size", "num_attention_heads", "num_hidden_layers")
    )
    ratio, out, more = v.get("mlp_ratio"), v.out("projection_dim", hidden), v.size("depth") - 1
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio < 100 or not int(h * ratio):
        raise LeftOutError("its mlp_ratio is no number")
    v.read.update(("num_image_tokens", "hidden_dropout_rate"))
    biases = "out up down" + " qkv" * v.flag("attention_bias")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        table("position_embedding", v.side() ** 2 * h),
        *encoder(h, heads, int(h * ratio), depth, biases=biases, scales=4 * h * v.flag("use_qk_norm")),
        norm("final_norm", h),
        linear("projector", h, out, "merged", bias=True),
        linear("later_projectors", out, out, "merged", bias=True, count=more),
        *(table(f"drawing_{name}", weights) for name, weights in _drawing(config.get("vq_config"), hidden)),
    ]
    sizes = {"patch_size": patch, "image_size": v.size("image_size")}
    v.refuse_what_is_left()
    return [tower(VISION, "square", found, **sizes)]


def _drawing(config: Any, hidden: int) -> list[tuple[str, int]]:
    """Weights of what draws: a VQGAN's encoder, its codes and its decoder, and what joins them to the text model."""
    q = Part(config, "janus_vqgan")
    base, blocks, codes, width = (
        q.size(key) for key in ("base_channels", "num_res_blocks", "num_embeddings", "embed_dim")
    )
    latent, out, inner = q.size("latent_channels"), q.size("projection_dim"), q.size("image_token_embed_dim")
    times = q.get("channel_multiplier")
    if (
        not isinstance(times, list | tuple)
        or not 0 < len(times) < 20
        or any(not isinstance(by, int) or isinstance(by, bool) or not 0 < by < 1000 for by in times)
    ):
        raise LeftOutError("its channel_multiplier is no list of whole numbers")
    if base % GROUPS or out != hidden or inner != hidden:
        raise LeftOutError("the sizes of what draws contradict each other")
    channels = [base * by for by in times]
    widest, read = channels[-1], latent * (2 if q.flag("double_latent") else 1)
    q.read.update(("num_patches", "dropout"))
    down = _conv(q.size("in_channels"), base) + _middle(widest) + 2 * widest + _conv(widest, read)
    before = base
    for level, after in enumerate(channels):
        last = level == len(channels) - 1
        down += _block(before, after) + (blocks - 1) * _block(after, after)
        down += blocks * _attention(after) if last else _conv(after, after)
        before = after
    up = _conv(latent, widest) + _middle(widest)
    before = widest
    for level, after in reversed(list(enumerate(channels))):
        up += _block(before, after) + blocks * _block(after, after)
        up += (blocks + 1) * _attention(after) if level == len(channels) - 1 else 0
        up += _conv(after, after) if level else 0
        before = after
    up += 2 * before + _conv(before, q.size("out_channels"))
    aligned = width * out + out + (q.size("num_hidden_layers") - 1) * (out * out + out)
    q.refuse_what_is_left()
    found = [
        ("encoder", down),
        ("decoder", up),
        ("codes", 2 * codes * width + latent * width + width + width * latent + latent),
        ("aligner", aligned),
        ("head", inner * out + out + out * codes + codes),
    ]
    if any(not 0 <= weights <= LARGEST for _, weights in found):
        raise LeftOutError("its sizes are beyond what is read")
    return found


def _conv(before: int, after: int, side: int = 3) -> int:
    return before * after * side * side + after


def _block(before: int, after: int) -> int:
    """Two convolutions with a norm before each, and one of a pixel beside them where the channels change."""
    return (
        2 * before
        + _conv(before, after)
        + 2 * after
        + _conv(after, after)
        + (_conv(before, after, 1) if before != after else 0)
    )


def _attention(channels: int) -> int:
    return 2 * channels + 4 * _conv(channels, channels, 1)


def _middle(channels: int) -> int:
    return 2 * _block(channels, channels) + _attention(channels)


FAMILIES: Families = {"janus": _janus}
