"""Convolutional encoders of images as timm builds them: Gemma 3n's MobileNet V5 and FastVLM's FastViT.

github.com/huggingface/pytorch-image-models, timm 1.0.31: create_model("mobilenetv5_300m_enc"), and "fastvit_mci3" with
inference_mode, without labels. Sides are halved from place to place; norms and factors beside the convolutions are
stored, and what they compute is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.specs.importer.towers.parts import (
    VISION,
    Families,
    LeftOutError,
    Operators,
    Part,
    Towers,
    linear,
    projector,
    table,
    tower,
)


class Network(NamedTuple):
    """An encoder: pixels a side, channels that it hands on, tokens a side, and what it computes.

    `rows`: how many convolutions, where, inputs (of one of the kernel's groups, times its places), outputs, bias.
    `attention`: how many layers, where, what they see, heads, and how wide these are. `others`: weights beside.
    """

    side: int
    channels: int
    tokens: int
    rows: tuple[tuple[int, str, int, int, int], ...]
    attention: tuple[tuple[int, str, str, int, int], ...]
    others: int

    def operators(self) -> Operators:
        """Its convolutions, its attention, and its other weights."""
        found = [
            linear(f"convolution_{index}", k, n, at, bias=bool(bias), count=count)
            for index, (count, at, k, n, bias) in enumerate(self.rows)
        ]
        attention: Operators = [
            {"name": f"{at}_attention", "at": at, "count": count, "sees": sees, "heads": heads, "head_dim": d}
            for count, at, sees, heads, d in self.attention
        ]
        return [*found, *attention, table("norms_and_factors", self.others)]


MOBILE_ROWS = (
    (1, "patches", 27, 64, 1), (1, "half", 576, 256, 0), (1, "half", 256, 128, 0), (2, "half", 1152, 512, 0),
    (2, "half", 512, 128, 0), (1, "half", 9, 128, 0), (1, "half", 128, 768, 0), (1, "quarter", 25, 768, 0),
    (1, "quarter", 768, 256, 0), (3, "quarter", 25, 256, 0), (4, "quarter", 256, 1024, 0),
    (4, "quarter", 1024, 256, 0), (2, "quarter", 9, 256, 0), (1, "quarter", 256, 1536, 0),
    (1, "eighth", 25, 1536, 0), (1, "eighth", 1536, 640, 0), (8, "eighth", 25, 640, 0),
    (7, "eighth", 640, 2560, 0), (7, "eighth", 2560, 640, 0), (2, "eighth", 640, 640, 0),
    (14, "eighth", 640, 768, 0), (28, "keys", 9, 640, 0), (28, "keys", 640, 64, 0),
    (14, "eighth", 768, 640, 0), (14, "eighth", 640, 1280, 0), (14, "eighth", 1280, 640, 0),
    (1, "eighth", 640, 3840, 0), (1, "keys", 25, 3840, 0), (1, "keys", 3840, 1280, 0),
    (19, "keys", 1280, 1536, 0), (38, "keys", 1280, 96, 0), (19, "keys", 1536, 1280, 0),
    (19, "keys", 1280, 2560, 0), (19, "keys", 2560, 1280, 0), (1, "eighth", 1920, 3840, 0),
    (1, "eighth", 3840, 2048, 0),
)  # fmt: skip
FAST_ROWS = (
    (1, "patches", 27, 96, 1), (3, "half", 9, 96, 1), (1, "half", 96, 96, 1), (2, "half", 49, 96, 0),
    (2, "half", 96, 384, 1), (2, "half", 384, 96, 1), (1, "quarter", 49, 192, 1), (1, "quarter", 192, 192, 1),
    (12, "quarter", 9, 192, 1), (12, "quarter", 49, 192, 0), (12, "quarter", 192, 768, 1),
    (12, "quarter", 768, 192, 1), (1, "eighth", 49, 384, 1), (1, "eighth", 384, 384, 1),
    (24, "eighth", 9, 384, 1), (24, "eighth", 49, 384, 0), (24, "eighth", 384, 1536, 1),
    (24, "eighth", 1536, 384, 1), (2, "keys", 49, 768, 1), (5, "keys", 768, 768, 1), (4, "keys", 768, 2304, 0),
    (4, "keys", 49, 768, 0), (4, "keys", 768, 3072, 1), (4, "keys", 3072, 768, 1), (2, "merged", 49, 1536, 1),
    (3, "merged", 1536, 1536, 1), (2, "merged", 1536, 4608, 0), (2, "merged", 49, 1536, 0),
    (2, "merged", 1536, 6144, 1), (2, "merged", 6144, 1536, 1), (1, "merged", 9, 3072, 1),
    (1, "windows", 3072, 192, 1), (1, "windows", 192, 3072, 1),
)  # fmt: skip
MOBILE_NET = Network(
    768, 2048, 16, MOBILE_ROWS, ((14, "eighth", "keys", 12, 64), (19, "keys", "keys", 16, 96)), 285_376
)
FAST_VIT = Network(1024, 3072, 16, FAST_ROWS, ((4, "keys", "keys", 24, 32), (2, "merged", "merged", 48, 32)), 72_000)
NETWORKS = {"mobilenetv5_300m_enc": MOBILE_NET, "fastvit_mci3": FAST_VIT}


def network_of(v: Part, *known: str) -> Network:
    """The encoder that a timm_wrapper's config names, one of `known`. Raises LeftOutError for another."""
    name = v.get("architecture")
    if not isinstance(name, str) or name not in known:
        raise LeftOutError(f"its architecture {str(name)[:40]} is not understood")
    found = NETWORKS[name]
    v.must_be("hidden_size", found.channels)
    v.read.update(("do_pooling", "label_names", "num_classes", "global_pool"))
    return found


def seen_by(found: Network, operators: Operators) -> dict[str, Any]:
    """The tower of an encoder with what is behind it."""
    sizes = {"patch_size": 1, "image_size": found.side, "out": found.tokens**2}
    return tower(VISION, "halved-five-times", [*found.operators(), *operators], **sizes)


def _fast_vlm(config: dict[str, Any], hidden: int) -> Towers:
    v, whole = Part(config.get("vision_config") or FAST_VLM, "timm_wrapper"), Part(config, "fast_vlm")
    found = network_of(v, "fastvit_mci3")
    v.must_be("model_args", {"inference_mode": True})
    whole.must_be("vision_feature_layer", -1)
    whole.must_be("vision_feature_select_strategy", "full")
    bias = whole.flag("multimodal_projector_bias")
    v.refuse_what_is_left()
    return [seen_by(found, projector("projector", found.channels, hidden, hidden, bias=bias))]


# What its class has where a config says nothing of its encoder (configuration_fast_vlm.py).
FAST_VLM = {"architecture": "fastvit_mci3", "hidden_size": 3072, "model_args": {"inference_mode": True}}

FAMILIES: Families = {"fast_vlm": _fast_vlm}
