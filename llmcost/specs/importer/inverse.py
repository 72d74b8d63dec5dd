"""The other way round: a model as the config.json of a type that the reference library has.

A spec names its sizes as Hugging Face does, so most of a config stands there already. What is missing is the type.
Types are tried in turn, those first whose name begins as the model's and whose config knows the most of its fields.
The importer judges: the config that it reads back as the very operators of the spec is right.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Any

from llmcost.ground.errors import InputError
from llmcost.model.architecture import operators
from llmcost.model.operators import UNSAID, Operator
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.specs.catalog import find, plain
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS
from llmcost.specs.json_text import parse_json
from llmcost.specs.models import model_from
from llmcost.specs.reader import read_text, read_yaml

EVERYWHERE = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "vocab_size", "max_position_embeddings", "tie_word_embeddings",
)  # fmt: skip
PLAIN = ("llama", "qwen2", "qwen3", "mistral")  # tried before the others whose name is not like the model's
ALIKE = 4  # letters with which a type's name and the model's begin, where they are of one family


def config_of(name: str, kinds: Collection[str]) -> dict[str, Any]:
    """A config.json for a model: a shipped one, a spec of the user's own, or a config.json itself.

    `kinds`: the types to choose from, those that an engine knows. Raises InputError where no type's config says what
    the spec says.
    """
    path = find("models", name)
    file = path / "config.json" if path.is_dir() else path
    if file.suffix == ".json":
        found: dict[str, Any] = parse_json(read_text(file, 2**24), str(file), from_python=True)
        return found
    document = read_yaml(path)
    wanted = _work(model_from(document))
    for config in _guesses(document.data, kinds):
        if _reads_as(config, wanted):
            return config
    raise InputError(f"{name}: no config of a released type says what this spec does; give the model's config.json")


def _guesses(data: dict[str, Any], kinds: Collection[str]) -> Iterator[dict[str, Any]]:
    """The spec's fields as configs of the types, the likely ones first."""
    known, name = _known(), plain(str(data["name"]))
    said = {kind: {key: data[key] for key in data if key in keys or key in EVERYWHERE} for kind, keys in known.items()}

    def unlikely(kind: str) -> tuple[int, bool, int, int]:
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(plain(kind), name, strict=False)))
        return -alike if alike >= ALIKE else 0, kind not in PLAIN, -len(said[kind]), len(kind)

    for kind in sorted(said.keys() & set(kinds), key=unlikely):
        yield said[kind] | {"model_type": kind}


@lru_cache(maxsize=1)
def _known() -> dict[str, Any]:
    """The keys of each type's config class."""
    found: dict[str, Any] = json.loads(DEFAULTS.read_text("utf-8"))
    return {kind: keys for kind, keys in found.items() if isinstance(keys, dict)}


def _reads_as(config: dict[str, Any], wanted: list[Operator]) -> bool:
    try:
        return _work(model_from(document_of(config, "config.json", "model"))) == wanted
    except InputError:
        return False


def _work(model: ModelSpec) -> list[Operator]:
    """The operators of a decode step without their names: two models for which they are equal cost the same."""
    each = operators(model, element_bytes("bf16", "bf16", "bf16"), Load(2, 1, 4096, decode=True))
    bare = {"name": "", "facts": UNSAID}
    return [op._replace(**{key: value for key, value in bare.items() if key in op._fields}) for op in each]
