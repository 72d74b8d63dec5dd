"""The towers that a multimodal config describes, as lists of operators: exact, or left out with the reason.

One function reads the towers of a family, named by the config's `model_type`, as the reference builds them
(github.com/huggingface/transformers, src/transformers/models/…, v5). Keys that a config leaves out are the reference's
own (defaults.json). A key that is not understood and is not at that value leaves the towers out, and the answer
says so: nothing is guessed.
"""

from __future__ import annotations

from typing import Any

from llmcost.specs.importer.names import WITH_WEIGHTS
from llmcost.specs.importer.towers import (
    conformers,
    convolutions,
    davit,
    inkling,
    janus,
    llava,
    minicpm,
    native,
    queries,
    qwen,
    sam,
    sound,
    speaking,
    tiles,
)
from llmcost.specs.importer.towers.parts import Families, LeftOutError, Towers

FAMILIES: Families = {
    kind: family
    for room in (
        qwen,
        native,
        tiles,
        llava,
        queries,
        minicpm,
        sam,
        janus,
        davit,
        sound,
        speaking,
        conformers,
        convolutions,
        inkling,
    )
    for kind, family in room.FAMILIES.items()
}


def _weighted(part: Any) -> str | None:
    """An activation with weights that a part of a config names; None where there is none."""
    if isinstance(part, dict):
        return next((word for each in part.values() if (word := _weighted(each)) is not None), None)
    return part if isinstance(part, str) and part in WITH_WEIGHTS else None


def towers_of(config: dict[str, Any], hidden: int) -> Towers:
    """The towers of a whole config whose text model is `hidden` wide. Raises LeftOutError with the reason."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise LeftOutError(f"towers of {str(kind)[:40]} are not known" if kind else "of which type is not told")
    beside = {key: part for key, part in config.items() if key not in ("text_config", "quantization_config")}
    if (word := _weighted(beside)) is not None:
        raise LeftOutError(f"its activation {word} has weights of its own")
    try:
        return family(config, hidden)
    except (ZeroDivisionError, OverflowError) as error:
        raise LeftOutError("its sizes contradict each other") from error
