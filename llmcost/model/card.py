"""A model as data: its row in the list of models, and all of its spec with the exact parameter count."""

from __future__ import annotations

from typing import Any

from llmcost.model.architecture import operators
from llmcost.model.blocks import MIXERS, MLPS, Block
from llmcost.model.counting import count_params
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import Layer, ModelSpec


def params_of(model: ModelSpec) -> int:
    """The number of parameters that a model stores."""
    total: int = count_params(operators(model, element_bytes("bf16", "bf16", "bf16"), Load(1, 1, 1))).total
    return total


def model_row(m: ModelSpec) -> dict[str, object]:
    """One model as a row of the slides' table of structures.

    A size that differs between layers is told as 8/16, one that no block has as None.
    """
    return {
        "name": m.name,
        "params": params_of(m),
        "layers": m.num_hidden_layers,
        "hidden": m.hidden_size,
        "heads": _each(m, "num_attention_heads"),
        "kv_heads": _each(m, "num_key_value_heads"),
        "ffn": _each(m, "moe_intermediate_size", "intermediate_size"),
        "max_seq": m.max_position_embeddings,
        "vocab": m.vocab_size,
        "released": m.released or None,
    }


def _each(model: ModelSpec, *fields: str) -> int | str | None:
    """The value that all kinds of layers share, or each of them; None where no block has it."""
    blocks = [block for layer in model.layers for block in (layer.mixer, layer.mlp)]
    distinct = list(
        dict.fromkeys(getattr(block, field) for block in blocks for field in fields if hasattr(block, field))
    )
    return distinct[0] if len(distinct) == 1 else "/".join(str(value) for value in distinct) or None


def model_document(m: ModelSpec) -> dict[str, Any]:
    """One model spec as plain data: its own fields, and each kind of layer with those of its blocks."""
    own = m._asdict()
    for chosen in ("routing", "seen"):  # which a workload chooses
        del own[chosen]
    encoder = own.pop("encoder")
    own |= {} if encoder is None else {"encoder": _encoder_document(encoder)}
    return own | {
        "params": params_of(m),
        "num_hidden_layers": m.num_hidden_layers,
        "layers": [_layer_document(layer) for layer in m.layers],
        "published": [each._asdict() for each in m.published],
    }


def _encoder_document(encoder: ModelSpec) -> dict[str, Any]:
    """The encoder of a model as plain data: its sizes, how it begins, and its layers."""
    names = ("hidden_size", "max_position_embeddings", "position_embedding", "position_offset", "norm", "mel_bins")
    own = {name: getattr(encoder, name) for name in names}
    own |= {name: value for name in ("vocab_size", "own_tokens") if (value := getattr(encoder, name))}
    layers = [_layer_document(layer) for layer in encoder.layers]
    return own | {"num_hidden_layers": encoder.num_hidden_layers, "layers": layers}


def _layer_document(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {"count": layer.count, "norms": layer.norms}
    found |= {name: getattr(layer, name) for name in ("unquantized", "formats") if getattr(layer, name)}
    blocks = {"mixer": _block_document(layer.mixer), "mlp": _block_document(layer.mlp)}
    crossed = layer.cross_attention
    return found | blocks | ({} if crossed is None else {"cross_attention": crossed._asdict()})


def _block_document(block: Block) -> dict[str, object]:
    """A block as plain data: its kind, its sizes and flags."""
    kinds = {kind: name for registry in (MIXERS, MLPS) for name, kind in registry.items()}
    return {"kind": kinds[type(block)]} | block._asdict()
