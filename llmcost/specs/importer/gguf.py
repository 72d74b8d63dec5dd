"""A GGUF file as a model spec: sizes by its metadata, formats of weights by its list of tensors.

The metadata are put under the names that Hugging Face's configs have for them (gguf.yaml), and read as such a config.
Every weight keeps the format that the file has it in, layer by layer. A file whose tensors have another number of
parameters than the spec that comes of it, or other bytes, is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import NoSuchKeyError, SpecError, shortened
from llmcost.model.architecture import operators
from llmcost.model.counting import count_params, stored_bytes
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.gguf import Header, Tensor, Texts, read_header
from llmcost.specs.importer.architectures import architecture
from llmcost.specs.importer.huggingface import DTYPE, document_of
from llmcost.specs.importer.keys import class_defaults
from llmcost.specs.importer.names import SYNONYMS
from llmcost.specs.importer.values import NotWholeError, evaluate
from llmcost.specs.models import model_from
from llmcost.specs.reader import Document, read_yaml

TYPES = Path(__file__).with_name("gguf.yaml")
BLOCK = re.compile(r"blk\.(\d{1,6})\.(.+?)(?:\.(weight|bias))?")
# What a file has beside parameters: factors of the rotary angles, and scales of whole matrices.
NO_PARAMETERS = re.compile(r"rope_(freqs|factors_\w+)\.weight|blk\.\d+\.(rope_|attn_rot_embd).*|.*\.(input_)?scale")
CORRECTION = re.compile(r"blk\.\d+\.exp_probs_b\.bias")  # a buffer in most types, a parameter in some
NO_MODEL = {"clip": "encoders of images or sound (mmproj)", "imatrix": "what a quantiser measured (imatrix)"}
TABLES = {"token_embd.weight": "token_embedding", "output.weight": "lm_head"}
PLAIN = {"absent": None, "zero": 0}
MOST_LAYERS = 10_000
NEEDED = ("block_count", "embedding_length", "context_length", "attention.head_count")


class Stored(NamedTuple):
    """The weights of a file, as a spec has them.

    `parameters`, `bytes`: of the text model, and with what stands beside the parameters. `drafts`: of layers that draft
    further tokens, which are left out of both. `corrections`: numbers that correct the choice of experts, which are
    parameters in some types only; they count among the bytes.
    """

    blocks: dict[int, list[tuple[str, str, Tensor]]]  # name, weight or bias, tensor
    outside: list[Tensor]
    beside: int  # bytes of what are no parameters
    parameters: int
    bytes: int
    drafts: int
    corrections: int


@lru_cache(maxsize=1)
def _types() -> dict[str, Any]:
    """What gguf.yaml says."""
    return read_yaml(TYPES).data


def read_gguf(path: Path, allow_unknown: Sequence[str] = ()) -> Document:
    """The spec that a GGUF file describes. Raises SpecError."""
    header = read_header(path)
    if allow_unknown:
        raise NoSuchKeyError(allow_unknown, "says how to read a config.json, not a GGUF file")
    said = _architecture(header)
    config = _config(header, said)
    stored = _stored(header, config.depth)
    name = re.sub(r"-00001-of-\d{5}$", "", Path(header.file).stem)
    try:
        document = document_of(config.keys, header.file, name, weights=lambda layers: _formats(header, stored, layers))
    except SpecError as error:
        field = config.origin.get(error.field.split(".")[0], error.field)
        raise SpecError(header.file, 0, field, error.problem.partition("; --allow-unknown")[0]) from None
    title = header.metadata.get("general.name")
    if isinstance(title, str) and title.strip() and title.isprintable():
        document.data["title"] = shortened(title.strip())
    document.data["notes"] = [*document.data.get("notes", ()), *_notes(header, stored)]
    _check(document, stored)
    return document


def _architecture(header: Header) -> dict[str, Any]:
    """What gguf.yaml says of the file's architecture."""
    named = header.metadata.get("general.architecture")
    if not isinstance(named, str):
        raise SpecError(header.file, 0, "general.architecture", "this key is missing")
    if named in NO_MODEL:
        raise SpecError(header.file, 0, "general.architecture", f"{named!r}: {NO_MODEL[named]}, no language model")
    if not header.tensors:
        raise SpecError(header.file, 0, "", "it has no tensors: a vocabulary alone")
    types = _types()["types"]
    if named not in types:
        problem = f"{shortened(named)!r} is not understood; known are {', '.join(types)}"
        raise SpecError(header.file, 0, "general.architecture", problem)
    return {name: value for name, value in (_types()["common"] | types[named]).items() if value is not None}


class Metadata:
    """The metadata of a model while they are looked up, by keys without the architecture's name before them."""

    def __init__(self, header: Header) -> None:
        self.header, self.arch = header, header.metadata["general.architecture"]
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the tensors that blocks have, by name.weight or name.bias
        for tensor in header.tensors:
            if match := BLOCK.fullmatch(tensor.name):
                self.shapes.setdefault(f"{match[2]}.{match[3]}", tensor.shape)

    def error(self, key: str, problem: str) -> SpecError:
        """The error that names a key in full."""
        return SpecError(self.header.file, 0, f"{self.arch}.{key}", problem)

    def get(self, key: str) -> Any:
        """The value of a key: of a list of equal ones, that of each layer. And tensors, outputs, most, least."""
        kind, _, name = key.partition(".")
        if kind == "tensors":
            return name in self.shapes
        if kind == "outputs":
            return self.shapes.get(f"{name}.weight", (0, 0))[1]
        if kind in ("most", "least"):
            value = self.of_each(name)
            some = [each for each in value if each] if isinstance(value, list) else [value]
            return (max if kind == "most" else min)(some, default=0)
        value = self._value(key)
        if not isinstance(value, list):
            return value
        if len({*value}) != 1:
            raise self.error(key, "differs from layer to layer, which is not understood here")
        return value[0]

    def _value(self, key: str) -> Any:
        """A value as it stands. Raises SpecError for texts, of which the number alone is known."""
        value = self.header.metadata.get(f"{self.arch}.{key}")
        if isinstance(value, Texts):
            raise self.error(key, "expected a number, or one for every layer; it is a list of texts")
        return value

    def of_each(self, key: str) -> Any:
        """The list of a key, one number a layer, or what stands in its place."""
        value = self._value(key)
        if isinstance(value, list) and not (value and all(isinstance(each, int) and each >= 0 for each in value)):
            raise self.error(key, "expected a whole number for every layer")
        return value

    def by_layer(self, said: dict[str, Any]) -> list[str | None] | None:
        """One word for every layer, by whether a list has a number there or 0; None where there is no list."""
        value, others = self.of_each(said["each"]), said["else"]
        if not isinstance(value, list):
            return None
        words = self.by_layer(others) if isinstance(others, dict) else [others] * len(value)
        return [said["then"] if each else word for each, word in zip(value, words or [None] * len(value), strict=False)]

    def refuse_what_is_missing(self) -> None:
        """Refuse a model without the sizes that every one has."""
        for key in NEEDED:
            value = self.get(key)
            if value is None:
                raise self.error(key, "this key is missing")
            if type(value) is not int or value < 1:
                raise self.error(key, f"expected a whole number above 0, got {shortened(str(value))}")


class Config(NamedTuple):
    """Metadata as a Hugging Face config: its keys, the key of the metadata that each comes from, how many layers."""

    keys: dict[str, Any]
    origin: dict[str, str]
    depth: int


def _config(header: Header, said: dict[str, Any]) -> Config:
    """The metadata of a file as a config. Raises SpecError."""
    metadata = Metadata(header)
    metadata.refuse_what_is_missing()
    try:
        kind = str(evaluate(said["type"], metadata.get))
        names = _names_of(kind)
        values = {names.get(key, key): _evaluated(value, metadata) for key, value in said.items() if key != "type"}
    except NotWholeError as wrong:
        raise metadata.error(wrong.key, wrong.problem) from None
    depth = values[names["num_hidden_layers"]]
    if not 0 < depth <= MOST_LAYERS:
        raise metadata.error("block_count", f"{depth:,} layers: at least 1 and at most {MOST_LAYERS:,}")
    rows, tied = _tables(header)
    keys = {"model_type": kind, names["vocab_size"]: rows, "tie_word_embeddings": tied}
    for key, value in values.items():
        if isinstance(value, str) and value in PLAIN:
            keys[key] = PLAIN[value]
        elif value not in (None, 0) or value is False:
            keys[key] = value
    looked_up = {names.get(key, key): _key_of(value) for key, value in said.items()}
    origin = {key: f"{metadata.arch}.{found}" for key, found in looked_up.items() if found}
    return Config(keys | _scaling(metadata), origin, depth)


def _evaluated(value: Any, metadata: Metadata) -> Any:
    """What gguf.yaml says of one key: a value, or one for every layer."""
    each = isinstance(value, dict) and "each" in value
    return metadata.by_layer(value) if each else evaluate(value, metadata.get)


def _names_of(kind: str) -> dict[str, str]:
    """The key of a type's config for each of a spec's fields that has several."""
    family, defaults = architecture(kind) or {}, class_defaults(kind)
    own = family.get("keys", {}).get("names", {})
    found = {field: own.get(field, names) for field, names in SYNONYMS.items()}
    return {
        field: next((name for name in names if defaults.get(name) is not None), names[0])
        for field, names in found.items()
    }


def _key_of(value: Any) -> str:
    """The key of the metadata that a value is looked up in first."""
    return next(iter(re.findall(r"=([\w.]+)", str(value))), "")


def _tables(header: Header) -> tuple[int, bool]:
    """Rows of the embedding, and whether the LM head is the embedding: where it has no tensor of its own."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise SpecError(header.file, 0, "token_embd.weight", "this tensor is missing, or no table")
    return embedding[1], "output.weight" not in shapes


def _scaling(metadata: Metadata) -> dict[str, Any]:
    """How the rotary angles are scaled, which may make the longest context longer."""
    kind, factor, before = (
        metadata.get(f"rope.scaling.{key}") for key in ("type", "factor", "original_context_length")
    )
    if kind not in ("linear", "yarn") or not isinstance(before, int):
        return {}
    return {"rope_scaling": {"type": kind, "factor": factor, "original_max_position_embeddings": before}}


def _stored(header: Header, depth: int) -> Stored:
    """The tensors by the block that they are in, without those of layers that draft."""
    blocks: dict[int, list[tuple[str, str, Tensor]]] = {}
    outside: list[Tensor] = []
    parameters = beside = drafts = whole = corrections = 0
    for tensor in header.tensors:
        match = BLOCK.fullmatch(tensor.name)
        if match and int(match[1]) >= depth:
            drafts += tensor.elements
            continue
        whole += tensor.bytes
        if NO_PARAMETERS.fullmatch(tensor.name):
            beside += tensor.bytes
            continue
        if CORRECTION.fullmatch(tensor.name):
            corrections += tensor.elements
            continue
        parameters += tensor.elements
        if match:
            blocks.setdefault(int(match[1]), []).append((match[2], match[3] or "", tensor))
        else:
            outside.append(tensor)
    return Stored(blocks, outside, beside, parameters, whole, drafts, corrections)


def _formats(header: Header, stored: Stored, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a spec that say what weights are kept in; every layer gets its own `formats`.

    The most frequent format of linear layers is the model's; those that differ from it are named, and so are the
    embedding and the LM head.
    """
    from llmcost.specs.importer.layer_kernels import linear_layers, mix_of

    found: list[dict[str, Counter[str]]] = []
    plain = [tensor for tensor in stored.outside if tensor.name not in TABLES]
    for position, layer in enumerate(layers):
        known = linear_layers(layer)
        kept: dict[str, Counter[str]] = {}
        for name, kind, tensor in stored.blocks.get(position, ()):
            of_tensor = _operators(name, known) if kind == "weight" else []
            for operator in of_tensor:
                kept.setdefault(operator, Counter())[tensor.format] += tensor.elements
            if not of_tensor:
                plain.append(tensor)
        found.append(kept)
    usual = Counter[str]()
    for kept in found:
        for formats in kept.values():
            usual.update(formats)
    base = max(usual, key=lambda form: usual[form], default="fp32")
    for layer, kept in zip(layers, found, strict=True):
        mixes = {operator: mix_of(formats) for operator, formats in kept.items()}
        if own := sorted(f"{operator}={mix}" for operator, mix in mixes.items() if mix != base):
            layer["formats"] = own
    tables = [f"{TABLES[tensor.name]}={tensor.format}" for tensor in stored.outside if tensor.name in TABLES]
    return {
        "dtype": base if base in DTYPE.values() else "bf16",
        "weight_format": base,
        "table_formats": tables,
        "wider_bytes": (stored.beside + sum(_wider(header, tensor) for tensor in plain)) or None,
    }


def _operators(name: str, known: frozenset[str]) -> list[str]:
    """The kernels of a layer that a tensor's weights are in; none of a norm's."""
    for words in _types()["operators"].get(name, ()):
        if found := [operator for operator in words.split() if operator in known]:
            return found
    return []


def _wider(header: Header, tensor: Tensor) -> int:
    """Bytes of a tensor beyond two an element. Raises SpecError for weights that no kernel here has."""
    beyond = tensor.bytes - 2 * tensor.elements
    if beyond < 0:
        problem = f"no linear layer is known that these weights in {tensor.format} are of"
        raise SpecError(header.file, 0, shortened(tensor.name), problem)
    return beyond


def _notes(header: Header, stored: Stored) -> list[str]:
    """What the file has, for the spec."""
    kinds = Counter[str]()
    for tensor in header.tensors:
        kinds[tensor.format] += tensor.elements
    whole = sum(kinds.values())
    shares = ", ".join(f"{form} {count / whole:.1%}" for form, count in kinds.most_common())
    found = [f"Weights as the file has them: {stored.bytes:,} bytes of tensors; of the parameters {shares}."]
    if stored.drafts:
        found.append(f"Layers that draft further tokens are left out: {stored.drafts:,} parameters.")
    return found


def _check(document: Document, stored: Stored) -> None:
    """Refuse a file whose tensors are not those of the spec: in number of parameters, or in bytes."""
    model = model_from(document)
    dtype = model.dtype if model.dtype != "fp32" else "bf16"
    counted = operators(model, element_bytes(model.weight_format, dtype, "bf16"), Load(1, 1, 1))
    parameters, found = count_params(counted).total, stored_bytes(counted)
    if parameters not in (stored.parameters, stored.parameters + stored.corrections):
        difference = stored.parameters - parameters
        problem = f"its tensors have {stored.parameters:,} parameters, {abs(difference):,} "
        problem += f"{'more' if difference > 0 else 'fewer'} than a {model.name} of these sizes: it is not understood"
        raise document.error((), problem)
    if round(found) != stored.bytes:
        problem = f"its tensors have {stored.bytes:,} bytes, and {round(found):,} are counted: it is not understood"
        raise document.error((), problem)
