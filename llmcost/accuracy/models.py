"""The models that were measured: shipped specs, or shapes told by what sets them apart from one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from llmcost.accuracy.cases import FOLDER
from llmcost.ground.errors import UnknownNameError, shortened
from llmcost.model.spec import ModelSpec
from llmcost.specs.catalog import find, load_model, names
from llmcost.specs.models import model_from
from llmcost.specs.reader import Document, read_yaml
from llmcost.specs.schema import TEXT, mapping, record, validate, whole

OWN = ("name", "title", "aliases", "released", "source", "published", "notes")  # a model's own, never taken over
SHAPE = record({}, {"like": TEXT, "parameters": whole(1, 10**15)}) | {"extra_behavior": "allow"}
HEADS = ("num_key_value_heads", "head_dim", "v_head_dim")  # follow from the number of heads where that is given anew


@lru_cache(maxsize=1)
def shapes() -> dict[str, dict[str, Any]]:
    """The shapes that are no shipped specs, each as its file tells it."""
    document = read_yaml(FOLDER / "models.yaml")
    found = validate(document, mapping(SHAPE, most=1000))
    for name in found:
        chain = [name]  # of shapes, each like the next
        while (base := found[chain[-1]].get("like")) in found:
            if base in chain:
                raise document.error((name, "like"), f"{shortened(name)} is like itself")
            chain.append(base)
        if base is not None and base not in names("models"):
            raise document.error((chain[-1], "like"), f"{shortened(base)!r} is no model that is known")
    return found


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
