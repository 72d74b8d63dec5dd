"""NVIDIA's Nemotron models whose layers an architecture search chose (Puzzle, arXiv 2411.19146), as lists of layers.

`block_configs` says of each layer whether it has attention, with how many query heads a key head, and how wide its MLP
is. It becomes what other types have: `layer_types`, and the keys of each layer.
"""

from __future__ import annotations

from typing import Any

from llmcost.ground.algebra import ceil_div

WORDS = {  # of attention and MLP: whether they are there
    (True, True): "full_attention",
    (True, False): "attention_alone",
    (False, True): "mlp_alone",
    (False, False): "nothing",
}
MULTIPLE = 256  # of which an MLP's size is one
WIDEST = 100  # hidden sizes
OTHERS = ("replace_with_linear", "sparsify", "window_length")  # of a block: not understood


def as_lists(config: dict[str, Any]) -> dict[str, Any]:
    """The config without `block_configs`. Raises ValueError, in words, for blocks that are not understood."""
    blocks, heads, hidden = config["block_configs"], config.get("num_attention_heads"), config.get("hidden_size")
    if not isinstance(blocks, list) or not isinstance(heads, int) or not isinstance(hidden, int):
        raise ValueError("expected a list, and whole numbers of heads and hidden size beside it")  # noqa: TRY004
    layers = [_layer(position, block, heads, hidden) for position, block in enumerate(blocks)]
    rest = {key: value for key, value in config.items() if key != "block_configs"}
    own = {str(position): keys for position, (_, keys) in enumerate(layers)}
    return rest | {"layer_types": [word for word, _ in layers], "per_layer_config": own}


def _layer(position: int, block: Any, heads: int, hidden: int) -> tuple[str, dict[str, int]]:
    """The word of a layer, and the keys that hold for it alone."""
    match block:
        case {"attention": dict(attention), "ffn": dict(mlp)} if not _has_others(attention, mlp):
            has_attention, has_mlp = not attention.get("no_op"), not mlp.get("no_op")
        case _:
            raise ValueError(f"layer {position}: expected attention and ffn, without {', '.join(OTHERS)}")
    keys = {}
    if has_attention:
        group = attention.get("n_heads_in_group")
        if not isinstance(group, int) or not 0 < group <= heads:
            raise ValueError(f"layer {position}: n_heads_in_group: expected a whole number, at most {heads}")
        keys["num_key_value_heads"] = heads // group
    if has_mlp:
        factor = mlp.get("ffn_mult")
        if not isinstance(factor, int | float) or not 0 < factor < WIDEST:
            raise ValueError(f"layer {position}: ffn_mult: expected a number above 0")
        keys["intermediate_size"] = int(ceil_div(int(2 * factor * hidden / 3), MULTIPLE) * MULTIPLE)
    return WORDS[has_attention, has_mlp], keys


def _has_others(*parts: dict[str, Any]) -> bool:
    """Whether a part of a block is something that is not understood."""
    return any(part.get(key) for part in parts for key in OTHERS)
