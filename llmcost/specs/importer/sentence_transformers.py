"""What sentence-transformers puts behind a model, by the `modules.json` beside its config.

    [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
     {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]

The model itself is read from its config. Pooling and normalising have no weights; a Dense layer has, which no figure
counts (sbert.net, package_reference/sentence_transformer/models).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmcost.ground.errors import SpecError, shortened
from llmcost.specs.json_text import parse_json
from llmcost.specs.reader import read_text

MODULES = "modules.json"
WEIGHTLESS = frozenset({"Transformer", "Pooling", "Normalize", "Dropout"})  # or counted, as the model itself
LARGEST = 10**6  # bytes of such a file


def notes_beside(config: Path) -> list[str]:
    """What stands behind the model of a config and is not counted. Raises SpecError for a file that is no such list."""
    file = config.with_name(MODULES)
    if not file.is_file():
        return []
    listed = parse_json(f'{{"modules": {read_text(file, LARGEST)}}}', str(file))["modules"]
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise SpecError(str(file), 1, "", "expected a list of modules, as sentence-transformers writes it")
    kinds = [(each, str(each.get("type")).rpartition(".")[2]) for each in listed]
    return [_not_counted(config.parent, each, kind) for each, kind in kinds if kind not in WEIGHTLESS]


def _not_counted(folder: Path, module: dict[str, Any], kind: str) -> str:
    place = str(module.get("path") or module.get("name"))
    told = f"{MODULES} has {shortened(kind)} behind the model ({shortened(place)})"
    parameters = _dense(folder, place) if kind == "Dense" else None
    return f"{told}: not counted" if parameters is None else f"{told}: its {parameters:,} parameters are not counted"


def _dense(folder: Path, place: str) -> int | None:
    """The parameters of a Dense layer by its own config; None where that cannot be read."""
    file = folder / place / "config.json"
    if Path(place).name != place or not file.is_file():
        return None
    try:
        said = parse_json(read_text(file, LARGEST), str(file))
    except SpecError:
        return None
    inputs, outputs = said.get("in_features"), said.get("out_features")
    if type(inputs) is not int or type(outputs) is not int or inputs < 1 or outputs < 1:
        return None
    return inputs * outputs + (outputs if said.get("bias", True) else 0)
