"""Encoders of images that many models share, by the `model_type` of their config: CLIP, SigLIP and Pixtral."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llmcost.specs.importer.towers.parts import LeftOutError, Operators, Part, encoder, linear, norm, table


class Encoder(NamedTuple):
    """An encoder of images: its config, its layers as operators, and how many tokens it has before the patches."""

    part: Part
    operators: Operators
    extra: int = 0

    @property
    def width(self) -> int:
        """Channels of its states."""
        return self.part.size("hidden_size")

    @property
    def patches(self) -> int:
        """Patches of an image that is scaled to its size."""
        return self.part.side() ** 2

    def sizes(self) -> dict[str, int]:
        """Pixels a side of a patch and of an image, and the tokens before the patches, as a tower has them."""
        v = self.part
        return {"patch_size": v.size("patch_size"), "image_size": v.size("image_size"), "extra": self.extra}


def encoder_of(config: Any, usual: str, *allowed: str) -> Encoder:
    """The encoder of a `vision_config`; `usual`: its type where it names none. Raises LeftOutError.

    `allowed`: the types that it may have; all that are known where none is said.
    """
    said = config.get("model_type") if isinstance(config, dict) else None
    kind = usual if said is None else FORMER.get(str(said), said)
    if not isinstance(kind, str) or kind not in (allowed or ENCODERS):
        raise LeftOutError(f"its vision_config of type {str(kind)[:40]} is not understood")
    v = Part(config, kind)
    v.read.update(("projection_dim", "vocab_size"))  # of a text model beside it
    return ENCODERS[kind](v)


def _layers(v: Part) -> Operators:
    sizes = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    h, heads, middle, depth = (v.size(key) for key in sizes)
    return encoder(h, heads, middle, depth)


def clip(v: Part, *, last: str = "none") -> Encoder:
    """CLIP: patches, one token for a class, a norm before the layers. Of the class alone is the norm behind them."""
    h, patch = v.size("hidden_size"), v.size("patch_size")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        table("class_and_positions", (v.side() ** 2 + 2) * h),
        norm("first_norm", h),
        *_layers(v),
        norm("final_norm", h, last),
    ]
    return Encoder(v, found, 1)


def siglip(v: Part, *, pools: bool | None = None, placed: bool = True) -> Encoder:
    """SigLIP: patches, learned positions, layers, a norm, and a head that pools, which no language model runs.

    `pools`: whether it has that head; None: as the config says. `placed`: whether it learns positions.
    """
    h, patch, middle = v.size("hidden_size"), v.size("patch_size"), v.size("intermediate_size")
    if pools is None:
        pools = v.flag("vision_use_head")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", bias=True, split="columns"),
        *([table("position_embedding", v.side() ** 2 * h)] if placed else []),
        *_layers(v),
        norm("final_norm", h),
        *([table("pooling_head", pooling_head(h, middle))] if pools else []),
    ]
    return Encoder(v, found)


def pooling_head(h: int, middle: int) -> int:
    """Weights of SigLIP's head: one query, attention, a norm, and an MLP."""
    return h + 4 * h * h + 4 * h + 2 * h + 2 * h * middle + middle + h


def pixtral(v: Part) -> Encoder:
    """Pixtral: patches of an image in its own shape, gated MLPs, no bias anywhere."""
    v.must_be("model_type", "pixtral")
    v.read.add("image_size")  # of the rule that says how many patches there are
    h, patch = v.size("hidden_size"), v.size("patch_size")
    heads, d = v.size("num_attention_heads"), v.size("head_dim") if "head_dim" in v.given else 0
    if d and d * heads != h:
        raise LeftOutError("its head_dim is not that of its channels")
    middle, depth = v.size("intermediate_size"), v.size("num_hidden_layers")
    found = [
        linear("patch_embedding", v.size("num_channels") * patch * patch, h, "patches", split="columns"),
        norm("first_norm", h, affine=1),
        *encoder(h, heads, middle, depth, affine=1, biases="", gated=True),
    ]
    return Encoder(v, found)


def _headless(v: Part) -> Encoder:
    # keys that released configs have and the reference does not use
    v.read.update(("size", "max_image_size", "use_base_siglip", "tie_word_embeddings"))
    return siglip(v, pools=False)


FORMER = {"idefics3": "idefics3_vision", "smolvlm": "smolvlm_vision"}  # names that released configs have
ENCODERS: dict[str, Callable[[Part], Encoder]] = {
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
    "pixtral": pixtral,
    "idefics2_vision": _headless,
    "idefics3_vision": _headless,
    "smolvlm_vision": _headless,
}
