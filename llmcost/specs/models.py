"""Reading what a model is: the sizes and the kinds of its blocks, under Hugging Face's names.

The schema of a spec is made from the blocks themselves: a field of a block is a field of the spec.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from llmcost.ground.algebra import Number
from llmcost.model.blocks import MIXERS, MLPS, STREAMS, CrossAttention
from llmcost.model.formats import format_of
from llmcost.model.spec import Layer, ModelSpec, Published, Trained
from llmcost.model.tower_tokens import RULES
from llmcost.model.towers import Tower, TowerOperator
from llmcost.specs.reader import Document, Key, read_yaml
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, mapping, record, several, validate

KINDS = {"mixer": MIXERS, "mlp": MLPS}


def _fields(kinds: Iterable[Any]) -> dict[str, Schema]:
    """The schemas of all fields of some kinds of blocks.

    A choice that several kinds have takes the words of all of them; `_refuse_words` knows those of each kind.
    """
    fields: dict[str, Schema] = {}
    for kind in kinds:
        for name, type_ in kind.__annotations__.items():
            if type_ in (bool, Number):
                fields[name] = FLAG if type_ is bool else SIZE
            else:
                fields[name] = choice(*dict.fromkeys([*fields.get(name, choice())["expected"], *get_args(type_)]))
    return fields


# The fields of a layer that are no block's own.
PLAIN = {
    "norms": choice("pre", "mlp", "post", "sandwich", "parallel", "none"),
    "residual_scales": SIZE,
    "reuses_weights": FLAG,
    "unquantized": several(TEXT),
    "formats": several(TEXT),
}
# The fields of a layer. At the top of a spec they hold for every layer; an entry of `layers` overrides them.
LAYER: dict[str, Schema] = {
    "mixer": choice(*MIXERS),
    "mlp": choice(*MLPS),
    **PLAIN,
    **_fields((*MIXERS.values(), *MLPS.values(), CrossAttention)),
}
MODEL = _fields(STREAMS)  # the fields of a model's streams

TOWER_OPERATOR = _fields([TowerOperator]) | {"name": TEXT}
TOWER = _fields([Tower]) | {
    "name": TEXT,
    "rule": choice(*RULES),
    "grids": several(several(SIZE, 2) | {"min_length": 2}),
    "operators": several(record({"name": TOWER_OPERATOR.pop("name")}, TOWER_OPERATOR)),
}
TOWERS = record({name: TOWER.pop(name) for name in ("name", "rule", "operators")}, TOWER)
PUBLISHED = record(
    required={"quantity": TEXT, "printed": TEXT, "document": TEXT, "why": TEXT},
    optional={"hardware": TEXT},
)
TRAINED = record(
    required={"seq": SIZE, "batch_tokens": SIZE, "source": TEXT},
    optional={"dtype": choice("bf16", "fp16", "fp8"), "mtp": SIZE},
)
SCHEMA = record(
    required={
        "name": TEXT,
        "title": TEXT,
        "source": TEXT,
        "hidden_size": SIZE,
        "num_hidden_layers": SIZE,
        "vocab_size": SIZE,
        "max_position_embeddings": SIZE,
        "tie_word_embeddings": FLAG,
    },
    optional=LAYER
    | MODEL
    | {
        "layers": several(record(required={"count": SIZE}, optional=LAYER)),
        "aliases": several(TEXT),
        "released": TEXT,
        "dtype": choice("fp32", "bf16", "fp16"),
        "position_embedding": choice("rotary", "learned", "alibi", "none"),
        "norm": choice("rms", "layer", "layer-no-bias", "none"),
        "embedding_norm": FLAG,
        "embedding_size": SIZE,
        "embedding_projection": choice("none", "tokens", "sum"),
        "input_only_tokens": SIZE,
        "type_vocab_size": SIZE,
        "position_offset": SIZE,
        "rotary_table": FLAG,
        "embedding_scales": SIZE,
        "target_embedding": FLAG,
        "final_norm": FLAG,
        "head_size": SIZE,
        "head_transform": FLAG,
        "head_without_bias": FLAG,
        "pooler": FLAG,
        "pooler_size": SIZE,
        "idle_pooler": FLAG,
        "bidirectional": FLAG,
        "head": choice("lm", "sequence", "token", "none"),
        "num_labels": SIZE,
        "label_bias": FLAG,
        "lm_head_bias": FLAG,
        "weight_format": TEXT,
        "quantized_lm_head": FLAG,
        "table_formats": several(TEXT),
        "wider_bytes": SIZE,
        "notes": several(TEXT),
        "counted": TEXT,
        "unread": TEXT,
        "towers": several(TOWERS),
        "encoder": mapping({"type": "any"}),
        "mel_bins": SIZE,
        "own_tokens": SIZE,
        "unknown_keys": several(TEXT),
        "published": several(PUBLISHED),
        "trained": TRAINED,
    },
)


def load_model_file(path: Path) -> ModelSpec:
    """Read and check one model spec. Raises SpecError with file, line and field."""
    return model_from(read_yaml(path))


def model_from(document: Document) -> ModelSpec:
    """The model that a document describes, with defaults filled in. Raises SpecError, also for contradictions."""
    fields = validate(document, SCHEMA)
    _refuse_format(document, fields.get("weight_format", "bf16"))
    layers = _layers(document, fields)
    if ("embedding_size" in fields) != (fields.get("embedding_projection", "none") != "none"):
        raise document.error(
            ("embedding_projection",), "an embedding of another size than the hidden size, and only that, needs one"
        )
    lists = {name: tuple(fields.get(name, ())) for name in ("aliases", "notes", "unknown_keys", "table_formats")}
    _refuse_unknown_formats(document, ("table_formats",), lists["table_formats"])
    given = {name: fields.pop(name) for name in MODEL if name in fields}
    streams = tuple(kind(**sizes) for kind in STREAMS if (sizes := _streams(document, kind, given)))
    towers = tuple(_tower(document, *entry) for entry in enumerate(fields.pop("towers", ())))
    encoder = _encoder(document, fields.pop("encoder")) if "encoder" in fields else None
    published = tuple(Published(**entry) for entry in fields.pop("published", ()))
    trained = Trained(**fields.pop("trained")) if "trained" in fields else None
    return ModelSpec(
        **fields | lists,
        layers=layers,
        streams=streams,
        towers=towers,
        encoder=encoder,
        published=published,
        trained=trained,
    )


def _encoder(document: Document, fields: dict[str, Any]) -> ModelSpec:
    """The encoder of a model: a spec of its own, without what a whole model has. Raises SpecError."""
    own = {"name": "encoder", "title": "encoder", "source": document.file, "tie_word_embeddings": False}
    own |= {"bidirectional": True, "head": "none"}
    twice = next((name for name in own if name in fields), None)
    if twice is not None:
        raise document.error(("encoder", twice), "an encoder has none of its own")

    def origin(path: tuple[Key, ...]) -> tuple[str, int]:
        error = document.error(("encoder", *path), "")
        return error.field, error.line

    shares = {} if "vocab_size" in fields else {"vocab_size": document.data["vocab_size"]}
    encoder = model_from(Document(document.file, own | shares | fields, {}, origin))
    return encoder._replace(vocab_size=0) if shares else encoder  # the table is the decoder's


def _tower(document: Document, place: int, fields: dict[str, Any]) -> Tower:
    """A tower, with its operators. Raises SpecError where sizes that belong together are not all there."""
    operators = tuple(TowerOperator(**op) for op in fields["operators"])
    for index, op in enumerate(operators):
        if bool(op.k) != bool(op.n) or bool(op.heads) != bool(op.head_dim):
            problem = "a linear layer has k and n, attention has heads and head_dim"
            raise document.error(("towers", place, "operators", index), problem)
    grids = tuple((rows, columns) for rows, columns in fields.get("grids", ()))
    tower = Tower(**fields | {"operators": operators, "grids": grids})
    missing = next((name for name in RULES[tower.rule][1] if not getattr(tower, name)), None)
    if missing:
        raise document.error(("towers", place, missing), f"this field is missing: the rule {tower.rule} needs it")
    return tower


def _refuse_format(document: Document, weight_format: str) -> None:
    """Refuse a weight format that is not known; after a `+` stands that of routed experts."""
    for name in weight_format.split("+"):
        if format_of(name) is None:
            raise document.error(("weight_format",), f"{name!r} is not a format that is known")


def _refuse_unknown_formats(document: Document, path: tuple[Key, ...], formats: tuple[str, ...]) -> None:
    """Refuse an entry that is not a name and a format, as o_proj=int8-channel."""
    for each in formats:
        if format_of(each.partition("=")[2]) is None:
            raise document.error(path, f"{each[:60]!r}: expected a linear layer and its format, a=int8")


def _layers(document: Document, fields: dict[str, Any]) -> tuple[Layer, ...]:
    """The kinds of layers of a model; what describes them is taken out of `fields`."""
    hidden, depth = fields["hidden_size"], fields.pop("num_hidden_layers")
    everywhere = {name: fields.pop(name) for name in LAYER if name in fields}
    kinds = fields.pop("layers", None)
    if kinds is None:
        return (_layer(document, (), everywhere | {"count": depth}, hidden),)
    layers = [_layer(document, ("layers", k), everywhere | kind, hidden) for k, kind in enumerate(kinds)]
    total = sum(layer.count for layer in layers)
    if total != depth:
        raise document.error(("layers",), f"the counts add up to {total}, num_hidden_layers is {depth}")
    _refuse_unused(document, everywhere, layers)
    return tuple(layers)


def _layer(document: Document, path: tuple[Key, ...], fields: dict[str, Any], hidden: int) -> Layer:
    """One kind of layer, made of the fields of its blocks; a field at `path` that none of them has is refused."""
    kinds: dict[str, Any] = {"mixer": MIXERS[fields.get("mixer", "attention")], "mlp": MLPS[fields.get("mlp", "gated")]}
    if "cross_attention_size" in fields:
        kinds["cross_attention"] = CrossAttention
    if {"num_key_value_heads", "head_dim"} <= set(kinds["mixer"]._fields):
        _fill_heads(document, path, fields, hidden)
    if "attention_bias" in fields:
        fields.setdefault("attention_output_bias", fields["attention_bias"])
    used = {"count", *PLAIN, *kinds, *(field for kind in kinds.values() for field in kind._fields)}
    for name in fields:
        if name not in used and (*path, name) in document.lines and (path or "layers" not in document.data):
            raise document.error((*path, name), f"no use for it in a layer of {' and '.join(_names(kinds))}")
    blocks = {place: _block(document, path, kind, fields) for place, kind in kinds.items()}
    _refuse_contradictions(document, path, fields)
    others = {name: fields[name] for name in ("norms", "residual_scales", "reuses_weights") if name in fields}
    unquantized, formats = (tuple(fields.get(name, ())) for name in ("unquantized", "formats"))
    _refuse_unknown_formats(document, (*path, "formats"), formats)
    return Layer(fields["count"], **blocks, **others, unquantized=unquantized, formats=formats)


def _block(document: Document, path: tuple[Key, ...], kind: Any, fields: dict[str, Any]) -> Any:
    """A block of this kind, out of a layer's fields. Raises SpecError where one that it needs is missing."""
    missing = _missing(kind, fields)
    if missing:
        raise document.error((*path, missing), "this field is missing")
    _refuse_words(document, path, kind, fields)
    return kind(**{field: fields[field] for field in kind._fields if field in fields})


def _missing(kind: Any, fields: dict[str, Any]) -> str | None:
    """The first field that a kind of block needs and that is not given."""
    return next((field for field in kind._fields if field not in fields and field not in kind._field_defaults), None)


def _refuse_contradictions(document: Document, path: tuple[Key, ...], fields: dict[str, Any]) -> None:
    """Refuse more experts a token than there are, and a layer that has both a sliding window and chunks."""
    active = fields.get("num_experts_per_tok", 0)
    if active > fields.get("num_experts", active):
        problem = f"a token cannot take {active} of {fields['num_experts']} experts"
        raise document.error((*path, "num_experts_per_tok"), problem)
    groups, left = fields.get("n_group", 0), fields.get("topk_group", 0)
    if left > groups or groups > fields.get("num_experts", groups):
        problem = f"a token's experts cannot come from {left} of {groups} groups of {fields.get('num_experts')} experts"
        raise document.error((*path, "n_group"), problem)
    if fields.get("sliding_window") and fields.get("attention_chunk_size"):
        raise document.error((*path, "attention_chunk_size"), "a layer has a sliding window or chunks, not both")


def _refuse_words(document: Document, path: tuple[Key, ...], kind: Any, fields: dict[str, Any]) -> None:
    """Refuse a word that another kind of block knows and this one does not."""
    for name in kind._fields:
        words = get_args(kind.__annotations__[name])
        if name in fields and words and fields[name] not in words:
            known = ", ".join(repr(word) for word in words)
            raise document.error((*path, name), f"must be one of {known} here, got {fields[name]!r}")


def _streams(document: Document, kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The given fields of one kind of streams. Raises SpecError where some are given, but not all that it needs."""
    fields = {name: given[name] for name in kind._fields if name in given}
    missing = _missing(kind, fields)
    if fields and missing:
        raise document.error((missing,), f"this field is missing: {next(iter(fields))} needs it")
    return fields


def _fill_heads(document: Document, path: tuple[Key, ...], fields: dict[str, Any], hidden: int) -> None:
    """Fill in the heads of attention that are not given: as many KV heads as query heads, of hidden / heads elements.

    Raises SpecError where they do not divide.
    """
    heads = fields.get("num_attention_heads")
    if heads is None:
        raise document.error((*path, "num_attention_heads"), "this field is missing")
    kv_heads = fields.setdefault("num_key_value_heads", heads)
    if heads % kv_heads:
        problem = f"{heads} attention heads cannot share {kv_heads} KV heads evenly"
        raise document.error((*path, "num_key_value_heads"), problem)
    if "head_dim" not in fields:
        if hidden % heads:
            raise document.error(("hidden_size",), f"{hidden} does not divide into {heads} heads: give head_dim")
        fields["head_dim"] = hidden // heads
    fields.setdefault("v_head_dim", fields["head_dim"])


def _refuse_unused(document: Document, everywhere: dict[str, Any], layers: list[Layer]) -> None:
    """Refuse a field that stands at the top and that no kind of layer has a use for."""
    blocks = [
        block for layer in layers for block in (layer.mixer, layer.mlp, layer.cross_attention) if block is not None
    ]
    used = {*PLAIN, *KINDS, *(field for block in blocks for field in block._asdict())}
    for name in everywhere:
        if name not in used and (name,) in document.lines:
            raise document.error((name,), "no layer has a use for it")


def _names(kinds: dict[str, Any]) -> list[str]:
    """How a spec chooses these kinds of blocks: `mixer: attention`, `mlp: gated`."""
    return [
        f"`{place}: {next(name for name, each in KINDS[place].items() if each is kind)}`"
        for place, kind in kinds.items()
        if place in KINDS
    ]
