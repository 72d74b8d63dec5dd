"""What readers of towers share: the config of a tower, whose keys are all accounted for, and its usual operators."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llmcost.specs.importer.keys import is_harmless

DEFAULTS = Path(__file__).with_name("defaults.json")  # model_type of a tower's config -> the keys it has
LARGEST = 10**9
VISION, AUDIO = "vision_tower", "audio_tower"
# Keys of towers that change no parameter and no product.
HARMLESS = frozenset(
    {
        "architectures", "attention_dropout", "attention_probs_dropout_prob", "attn_implementation",
        "_attn_implementation", "_attn_implementation_autoset", "_name_or_path", "auto_map",
        "chunk_size_feed_forward", "drop_path_rate", "dropout", "dtype", "activation_dropout",
        "activation_function", "encoder_layerdrop", "layerdrop", "hidden_act", "hidden_dropout_prob",
        "initializer_factor", "initializer_range", "is_encoder_decoder", "layer_norm_eps", "model_type",
        "norm_eps", "output_attentions", "output_hidden_states", "problem_type", "projection_dropout",
        "projector_dropout", "return_dict", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
        "tokens_per_second", "torch_dtype", "transformers_version", "use_cache", "use_flash_attn",
        "use_bfloat16", "id2label", "label2id", "scale_embedding", "add_cross_attention", "is_composition",
        "tie_encoder_decoder", "_flash_attn_2_enabled",
    }
)  # fmt: skip
# Keys that released configs have, by the type of a tower, and that the reference's class of it has not.
UNUSED = {
    "gemma3n_audio": "conf_positional_bias_size",
    "gemma4_vision": "global_head_dim",
    "intern_vit_6b": "tie_word_embeddings",
    "minimax_m3_vl_vision": "projection_dim vision_segment_max_frames vocab_size",
    "qwen2_5_omni_vision_encoder": "embed_dim mlp_ratio",
    "qwen3_omni_moe_vision_encoder": "apply_vit_abs_pos_embed image_size in_chans spatial_patch_size",
    "siglip_vision_model": "num_positions",
}
# Of other keys that the reference's class has not: names that say that they are no size of its layers, and names that
# say that a weight may be there without them: what is turned off under any other name changes none.
NO_SIZE = re.compile(
    "dropout|init|_token_id|_token_index|image_tokens|soft_tokens|seq_length|_act$|activation|eps$|pixels|rope"
    "|flash|attn_impl|checkpointing|loss|temperature|tie_word_embeddings"
)
OF_WEIGHTS = re.compile("bias|norm|pos|embed|use_cls|head")
Operators = list[dict[str, Any]]
Towers = list[dict[str, Any]]
Families = dict[str, Callable[[dict[str, Any], int], Towers]]  # model_type of a whole config -> what reads its towers


class LeftOutError(Exception):
    """Why the towers of a config are not counted."""


class Part:
    """The config of one tower: which of its keys were read, and the reference's values for those that it leaves out."""

    def __init__(self, config: Any, kind: str) -> None:
        if not isinstance(config, dict):
            raise LeftOutError("its config is not there")
        self.given = config
        self.defaults = _defaults(kind)
        self.read: set[str] = set(UNUSED.get(kind, "").split())

    def get(self, key: str) -> Any:
        """The value of a key, or the reference's."""
        self.read.add(key)
        value = self.given.get(key)
        return self.defaults.get(key) if value is None else value

    def size(self, key: str, least: int = 1) -> int:
        """A whole number. Raises LeftOutError for anything else."""
        value = self.get(key)
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
            raise LeftOutError(f"its {key} is no whole number: {json.dumps(value)[:40]}")
        return value

    def side(self) -> int:
        """Patches a side of an image that is scaled to one size. Raises LeftOutError where it has none."""
        side = self.size("image_size") // self.size("patch_size")
        if not side:
            raise LeftOutError("its image_size is less than its patch_size")
        return side

    def flag(self, key: str) -> bool:
        """True or false. Raises LeftOutError for anything else."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise LeftOutError(f"its {key} is neither true nor false")
        return value

    def must_be(self, key: str, expected: Any) -> None:
        """Raise LeftOutError where a key has another value than the one that is understood."""
        value = self.get(key)
        if value != expected:
            raise LeftOutError(f"its {key} is {json.dumps(value)[:40]}, and only {json.dumps(expected)} is understood")

    def out(self, key: str, hidden: int) -> int:
        """The width of what it hands on, which must be that of the text model."""
        if self.size(key) != hidden:
            raise LeftOutError(f"its {key} of {self.size(key)} is not the text model's hidden size, {hidden}")
        return hidden

    def refuse_what_is_left(self) -> None:
        """Raise LeftOutError for a key that might change a count and that nothing looked at."""
        for key, value in self.given.items():
            known = key in self.read or key in HARMLESS or is_harmless(key)
            known = known or value is None or value == self.defaults.get(key)
            if not known and self.defaults and key not in self.defaults:
                known = bool(NO_SIZE.search(key)) or (value is False and not OF_WEIGHTS.search(key))
            if not known:
                raise LeftOutError(f"its key {key[:60]} is not understood")


def _defaults(kind: str) -> dict[str, Any]:
    text = DEFAULTS.read_text("utf-8")
    _, found, rest = text.partition(f"\n {json.dumps(kind)}: ")
    defaults: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0] if found else {}
    return defaults


def linear(name: str, k: int, n: int, at: str = "layers", *, bias: bool = False, **more: Any) -> dict[str, Any]:
    """One linear layer, or `count` of them."""
    return {"name": name, "at": at, "k": k, "n": n, **({"bias": True} if bias else {}), **more}


def norm(name: str, width: int, at: str = "layers", *, affine: int = 2, **more: Any) -> dict[str, Any]:
    """A norm, with a weight a channel, and a bias where `affine` is 2."""
    return {"name": name, "at": at, "width": width, "weights": affine * width, **more}


def table(name: str, weights: int) -> dict[str, Any]:
    """Parameters that no product uses: positions, tokens of a class."""
    return {"name": name, "at": "none", "weights": weights}


def encoder(
    hidden: int,
    heads: int,
    intermediate: int,
    count: int,
    *,
    affine: int = 2,
    biases: str = "qkv out up down",
    gated: bool = False,
    scales: int = 0,
    windows: int = 0,
    at: str = "layers",
    head_dim: int = 0,
    kv_heads: int = 0,
    prefix: str = "",
) -> Operators:
    """`count` layers of attention and an MLP, of which `windows` see windows alone.

    `biases`: which linear layers have one; qv: queries and values alone, as in Whisper. `affine`: parameters a channel
    of each of the two norms. `scales`: weights a layer beside those, as scales of residual branches. `kv_heads`: heads
    of keys and values, where they are fewer.
    """
    if hidden % heads and not head_dim:
        raise LeftOutError(f"{hidden} channels do not divide into {heads} heads")
    d, have = head_dim or hidden // heads, biases.split()
    inner, qkv_width = heads * d, (heads + 2 * (kv_heads or heads)) * d
    each: dict[str, Any] = {"at": at, "count": count}
    if "qv" in have:
        qkv = [
            linear(f"{prefix}qv_proj", hidden, 2 * inner, bias=True, split="columns", **each),
            linear(f"{prefix}k_proj", hidden, inner, split="columns", **each),
        ]
    else:
        qkv = [linear(f"{prefix}qkv_proj", hidden, qkv_width, bias="qkv" in have, split="columns", **each)]
    seen = [(windows, "windows"), (count - windows, at)]
    attention = [
        {"name": f"{prefix}attention", "at": place, "count": some, "heads": heads, "head_dim": d}
        for some, place in seen
        if some
    ]
    up = (2 if gated else 1) * intermediate
    return [
        norm(f"{prefix}attention_norm", hidden, affine=affine, **each),
        *qkv,
        *attention,
        linear(f"{prefix}o_proj", inner, hidden, bias="out" in have, split="rows", **each),
        norm(f"{prefix}mlp_norm", hidden, affine=affine, **each),
        linear(
            f"{prefix}gate_up_proj" if gated else f"{prefix}up_proj",
            hidden,
            up,
            bias="up" in have,
            split="columns",
            **each,
        ),
        {"name": f"{prefix}activation", **each, "width": intermediate, "weights": 0},
        linear(f"{prefix}down_proj", intermediate, hidden, bias="down" in have, split="rows", **each),
        *([{"name": f"{prefix}scales", **each, "width": hidden, "weights": scales}] if scales else []),
    ]


def projector(
    name: str, k: int, middle: int, out: int, *, bias: bool = True, at: str = "merged", **more: Any
) -> Operators:
    """Two linear layers with an activation between them."""
    return [
        linear(f"{name}_up", k, middle, at, bias=bias, split="columns", **more),
        linear(f"{name}_down", middle, out, at, bias=bias, split="rows", **more),
    ]


def tower(name: str, rule: str, operators: Iterable[dict[str, Any]], **sizes: Any) -> dict[str, Any]:
    """A tower in the form of a spec; sizes of 0 and operators that do not exist are left out."""
    some = [op for op in operators if op.get("count", 1)]
    if any(isinstance(value, int) and value > LARGEST for op in some for value in op.values()):
        raise LeftOutError("its sizes are beyond what is read")
    kept = [{key: value for key, value in op.items() if value not in (0, False)} for op in some]
    return {"name": name, "rule": rule, **{key: size for key, size in sizes.items() if size}, "operators": kept}
