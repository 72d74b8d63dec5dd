"""The models that were measured: shipped specs, or shapes told by what sets them apart from one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from llmcost.accuracy.cases import FOLDER
from llmcost.ground.errors import UnknownNameError
from llmcost.model.spec import ModelSpec
from llmcost.specs.catalog import find, load_model
from llmcost.specs.models import model_from
from llmcost.specs.reader import Document, read_yaml

OWN = ("name", "title", "aliases", "released", "source", "published", "notes")  # a model's own, never taken over
HEADS = ("num_key_value_heads", "head_dim", "v_head_dim")  # follow from the number of heads where that is given anew


@lru_cache(maxsize=1)
def shapes() -> dict[str, dict[str, Any]]:
    """The shapes that are no shipped specs, each as its file tells it."""
    return read_yaml(FOLDER / "models.yaml").data


@lru_cache(maxsize=256)
def spec_of(name: str) -> ModelSpec | None:
    """The model's spec; None where no source gives its shape."""
    if name not in shapes():
        return load_model(name)
    document = shape_document(name)
    return None if document is None else model_from(document)


def shape_document(name: str) -> Document | None:
    """A shape as the spec file it stands for."""
    shape = dict(shapes()[name])
    base = shape.pop("like", None)
    if base is None:
        return None
    document = shape_document(base) if base in shapes() else read_yaml(find("models", base))
    if document is None:
        raise UnknownNameError("model", base, [])
    left_out = {*OWN, *(HEADS if "num_attention_heads" in shape else ())}
    inherited = {field: value for field, value in document.data.items() if field not in left_out}
    told = {"name": name, "title": name, "source": "published/models.yaml"}
    return Document(str(FOLDER / "models.yaml"), told | inherited | shape, {(): 1})
