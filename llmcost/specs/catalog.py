"""Finding specs: a shipped name, an alias, a path to a YAML file or a config.json of the user's own, a hub id."""

from __future__ import annotations

from functools import lru_cache
from os.path import isdir, lexists
from pathlib import Path

from llmcost.ground.errors import InputError, UnknownNameError
from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import HardwareSpec, hardware_from, system_from
from llmcost.specs.models import model_from
from llmcost.specs.reader import Document, read_yaml

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = {"models": ("models",), "hardware": ("hardware", "hardware/systems")}


def shipped(kind: str) -> Path:
    """The folder of the shipped `models`, `hardware` or `hardware/systems`: inside an installed wheel, beside the package in a checkout."""
    installed = PACKAGE / "shipped" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


def load_model(name: str, kind: str | None = None) -> ModelSpec:
    """The model of that name, alias, path or hub id. Raises UnknownNameError or SpecError.

    `kind` reads a Hugging Face config as one of another model_type.
    """
    return model_from(read_model(find("models", name), kind))


def read_model(path: Path, kind: str | None = None) -> Document:
    """A model's spec from a YAML file, a config.json or the folder that holds one."""
    if isdir(path) or path.suffix == ".json":
        from llmcost.specs.importer.huggingface import (
            read_config,
        )  # a table of every architecture, which a YAML spec needs not

        return read_config(path, kind)
    if kind is not None:
        raise InputError(f"--as {kind}: says how to read a config.json, and {path.name} is a spec already")
    return read_yaml(path)


def load_hardware(name: str) -> HardwareSpec:
    """The GPU, or the GPU in the system, of that name, alias or path. Raises UnknownNameError or SpecError."""
    return hardware_of(read_yaml(find("hardware", name)))


def hardware_of(document: Document) -> HardwareSpec:
    """What a document describes: a GPU, or a system of GPUs that it names."""
    if "gpu" not in document.data:
        return hardware_from(document)
    try:
        return system_from(document, load_hardware(str(document.data["gpu"])))
    except UnknownNameError as error:
        raise document.error(("gpu",), str(error)) from None


@lru_cache(maxsize=64)  # an estimate in a loop asks each time
def find_profile(hardware: str) -> Path | None:
    """The profile that ships for a GPU, if one was measured."""
    path = shipped("hardware") / "profiles" / f"{hardware}.json"
    return path if path.is_file() else None


def find(kind: str, name: str) -> Path:
    """The spec file that a user means by `name`; case and the separators - _ . do not matter."""
    if name.endswith((".yaml", ".yml", ".json")) or (("/" in name or "\\" in name) and lexists(name)):
        return Path(name)
    for folder in FOLDERS[kind]:
        for path in shipped(folder).glob("*.yaml"):
            if path.stem == name:
                return path
    known = _aliases(kind)
    if plain(name) in known:
        return known[plain(name)]
    if kind == "models" and lexists(f"{name}/config.json"):
        return Path(name)
    if name.startswith(("/", "./", "../", "~")):
        raise InputError(f"{name}: no such file or folder")
    if kind == "models" and "/" in name:
        from llmcost.specs.hub import find_config

        if config := find_config(name):
            return config
    from difflib import get_close_matches

    close = get_close_matches(plain(name), known, n=8, cutoff=0.5)
    raise UnknownNameError(
        "model" if kind == "models" else "hardware", name, list(dict.fromkeys(known[c].stem for c in close))[:4]
    )


def names(kind: str) -> list[str]:
    """The plain names of every shipped spec of a folder, sorted as a person would (7b before 13b)."""
    import re

    stems = [path.stem for path in shipped(kind).glob("*.yaml")]
    return sorted(
        stems, key=lambda stem: [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", stem)]
    )


def plain(name: str) -> str:
    """How names are compared: `Llama-3.1-8B`, `llama3.1-8b` and `llama_31_8B` are one."""
    return "".join(name.lower().translate({ord(c): None for c in "-_. "}))


@lru_cache(maxsize=2)
def _aliases(kind: str) -> dict[str, Path]:
    table: dict[str, Path] = {}
    for path in [shipped(folder) / f"{name}.yaml" for folder in FOLDERS[kind] for name in names(folder)]:
        aliases = read_yaml(path).data.get("aliases", [])
        for alias in (path.stem, *(str(each) for each in aliases or ())):
            table.setdefault(plain(alias), path)
    return table
