"""Models whose layers are all of one kind, with grouped attention and a dense MLP.

Their sizes, read and changed by name.
"""

from llmcost.model.spec import Layer
from llmcost.specs.catalog import names

# The models of the two documents and their relatives: Llama and GPT-2 blocks, every layer alike.
CLASSIC = [
    name
    for name in names("models")
    if name.startswith(("gpt2", "gpt3", "nanogpt", "llama1", "llama2", "llama3", "slides"))
]


def size(spec, field):
    """A size or flag of the model, of its attention or of its MLP."""
    (layer,) = spec.layers
    for place in (spec, layer.mixer, layer.mlp):
        if hasattr(place, field):
            return getattr(place, field)
    raise AttributeError(field)


def is_gated(spec):
    (layer,) = spec.layers
    return type(layer.mlp).__name__ == "GatedMlp"


def changed(spec, **fields):
    """The same model with other sizes or flags, wherever they stand; attention_bias is that of all four projections."""
    (layer,) = spec.layers
    if "attention_bias" in fields:
        fields.setdefault("attention_output_bias", fields["attention_bias"])
    if "head_dim" in fields:
        fields.setdefault("v_head_dim", fields["head_dim"])
    count = fields.pop("num_hidden_layers", layer.count)
    mixer = layer.mixer._replace(**{field: fields.pop(field) for field in list(fields) if field in layer.mixer._fields})
    mlp = layer.mlp._replace(**{field: fields.pop(field) for field in list(fields) if field in layer.mlp._fields})
    return spec._replace(**fields, layers=(Layer(count, mixer, mlp, layer.norms),))
