"""Finding specs by what a user writes: a shipped name, an alias, a path to a file of the user's own, a hub id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from os import listdir
from os.path import isdir, lexists
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmcost.ground import titles
from llmcost.ground.errors import InputError, NoSuchKeyError, SpecError, UnknownNameError
from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import HardwareSpec, hardware_from, system_from
from llmcost.specs.models import model_from
from llmcost.specs.optimised import OPTIMISED
from llmcost.specs.reader import Document, read_yaml
from llmcost.specs.schema import shown

if TYPE_CHECKING:
    from llmcost.specs.engine import EngineSpec
    from llmcost.specs.library import Library
    from llmcost.specs.training_engine import TrainingEngine

Made = TypeVar("Made")
GGUF = ".gguf"
SERVES = frozenset({"launch", "like"})  # fields that tell an engine that serves from one that trains
LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = {
    "models": ("models",),
    "hardware": ("hardware", "hardware/systems", "hardware/cpus"),
    "engines": ("hardware/engines",),
    "training engines": ("hardware/engines/training",),
}


def shipped(kind: str) -> Path:
    """The folder of the shipped `models`, `hardware` or `hardware/systems`.

    An installed wheel has it inside the package, a checkout beside it.
    """
    installed = PACKAGE / "shipped" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


def _kept(path: Path, made_by: Callable[[Document], Made]) -> Made:
    """What a reader makes of a file, read again only when the file has changed: a loop names the same one each time."""
    made: Made = _made(path, path.stat().st_mtime_ns if path.is_file() else 0, made_by)
    return made


@lru_cache(maxsize=512)
def _made(path: Path, changed: int, made_by: Callable[[Document], Any]) -> Any:  # noqa: ARG001 - a key of the cache
    return made_by(read_yaml(path))


def load_model(name: str, kind: str | None = None, allow_unknown: Sequence[str] = ()) -> ModelSpec:
    """The model of that name, alias, path or hub id.

    `kind`: the model_type as which a Hugging Face config is read, in place of its own. `allow_unknown`: keys of the
    config that are left out where they are not understood. Raises UnknownNameError for a name that is none, SpecError
    for a file that cannot be used.
    """
    path = find("models", name)
    if kind is None and not allow_unknown and path.parent == shipped("models"):
        model = _kept(path, model_from)
    else:
        model = model_from(read_model(path, kind, allow_unknown, strict=False))
    titles.keep(model.title)
    return model


def load_beside(name: str) -> ModelSpec:
    """A model that an option names beside the one asked about, or that is run: a draft, a critic, a teacher.

    Keys of its config that are not understood can be left out by importing it, which the message says.
    """
    try:
        return load_model(name)
    except SpecError as wrong:
        if "--allow-unknown" not in wrong.problem:
            raise
        problem = f"{wrong.problem}, in llmcost import {name} -o FILE.yaml: give that file"
        raise SpecError(wrong.file, wrong.line, wrong.field, problem) from None


def read_model(
    path: Path, kind: str | None = None, allow_unknown: Sequence[str] = (), *, strict: bool = True
) -> Document:
    """The document of a model: of a YAML file, a config.json, a GGUF file, or the folder that holds one of these.

    `strict`: a quantisation that is not understood is refused too, which the spec otherwise says is unread. Raises
    SpecError.
    """
    path = gguf_in(path)
    if path.suffix == GGUF:
        if kind is not None:
            raise InputError(f"--as {kind}: says how to read a config.json, and {path.name} says its architecture")
        from llmcost.specs.importer.gguf import read_gguf

        return read_gguf(path, allow_unknown)
    if isdir(path) or path.suffix == ".json":
        # Every architecture, of which a YAML spec needs none.
        from llmcost.specs.importer.huggingface import read_config

        return read_config(path, kind, allow_unknown, strict=strict)
    if kind is not None:
        raise InputError(f"--as {kind}: says how to read a config.json, and {path.name} is a spec already")
    if allow_unknown:
        raise NoSuchKeyError(allow_unknown, f"says how to read a config.json, and {path.name} is a spec already")
    return read_yaml(path)


def beside(model: ModelSpec) -> str:
    """How the files of weights beside the config of a user's own differ from what is counted; "" where they do not."""
    if not model.source.endswith(".json") or model.source.startswith("http"):
        return ""
    from llmcost.specs.checkpoint import compared

    found = compared(Path(model.source), model)
    if found is None or isinstance(found, str):
        return found or ""
    return "" if found.equal else found.said


def gguf_in(path: Path) -> Path:
    """The one GGUF file, or the first part of one, of a folder without a config; else the path as it is."""
    if not isdir(path) or lexists(path / "config.json"):
        return path
    found = sorted(each for each in path.glob(f"*{GGUF}") if not LATER_PART.search(each.name))
    models = [each for each in found if not each.name.startswith("mmproj")]
    if len(models) > 1:
        raise InputError(
            f"{path}: which of its {len(models)} GGUF files? {', '.join(each.name for each in models[:3])}…"
        )
    return models[0] if models else path


def load_hardware(name: str) -> HardwareSpec:
    """The GPU, or the GPU in the system, of that name, alias or path. Raises UnknownNameError or SpecError."""
    path = find("hardware", name)
    known = path.parent in (shipped("hardware"), shipped("hardware/cpus"))
    hardware = _kept(path, hardware_from) if known else hardware_of(read_yaml(path))
    titles.keep(hardware.title, *(source["title"] for source in hardware.sources.values()))
    return hardware


def hardware_of(document: Document) -> HardwareSpec:
    """What a document describes: a GPU, or the GPU that it names as it stands in a system. Raises SpecError."""
    if "gpu" not in document.data:
        return hardware_from(document)
    try:
        gpu = read_yaml(find("hardware", str(document.data["gpu"])))
        if "gpu" in gpu.data:
            raise document.error(("gpu",), f"{shown(document.data['gpu'])} is a system too; name the GPU in it")
        return system_from(document, hardware_from(gpu))
    except UnknownNameError as error:
        raise document.error(("gpu",), str(error)) from None


def load_engine(name: str, *, files: bool = True) -> EngineSpec:
    """The engine of that name or alias, with `files` also of that path. Raises UnknownNameError or SpecError."""
    trains = "trains: it is for llmcost train and plan"
    return _kept(_engine(name, "engines", "training engines", trains, files=files), engine_of)


def named_engine(name: str | None) -> EngineSpec | None:
    """The engine of that name, alias or path; None where none is named, and for OPTIMISED, which is no program."""
    return None if name in (None, OPTIMISED) else load_engine(str(name))


def engine_of(document: Document) -> EngineSpec:
    """The engine that a document describes, with what the shipped one that it is like says beside. Raises SpecError."""
    from llmcost.specs.engine import engine_from  # an answer without an engine needs no schema of one

    return engine_from(document, partial(load_engine, files=False))  # of a path, one might be like itself


def _engine(name: str, kind: str, others: str, what: str, *, files: bool = True) -> Path:
    """The file of an engine. Raises UnknownNameError, or InputError: for OPTIMISED, and for the other kind.

    `what`: in words, what one of the other kind is for.
    """
    if name == OPTIMISED:
        if kind == "engines":
            raise InputError(f"--engine {name}: it is no program that could be started or timed; name one, as vllm")
        raise InputError(f"--engine {name}: this engine {what} (all of them: llmcost engines)")
    try:
        return find(kind, name, files=files)
    except UnknownNameError:
        if plain(name) not in _aliases(others):
            raise
        raise InputError(f"--engine {name}: this engine {what} (all of them: llmcost engines)") from None


def known_values(kind: str, field: str) -> set[str]:
    """What shipped specs have in a field, of those that have it."""
    return {data[field] for _, data in _documents(kind) if field in data}


def engines_for(hardware: HardwareSpec) -> list[str]:
    """The names of the shipped engines that run on GPUs of this vendor."""
    return [name for name in names("hardware/engines") if load_engine(name).runs_on(hardware)]


def load_library(name: str) -> Library:
    """The shipped library of that name that GPUs exchange data by."""
    from llmcost.specs.library import library_from

    return _kept(shipped("hardware") / "collectives" / f"{name}.yaml", library_from)


def trains(name: str) -> bool:
    """Whether an engine of that name or alias trains and none of that name serves; a path is asked for its figures."""
    if name.endswith((".yaml", ".yml")):
        return SERVES.isdisjoint(read_yaml(Path(name)).data)
    if plain(name) in _aliases("engines"):
        return False
    return plain(name) in _aliases("training engines")


def load_training_engine(name: str) -> TrainingEngine:
    """The training engine of that name, alias or path. Raises UnknownNameError or SpecError."""
    from llmcost.specs.training_engine import training_engine_from

    what = "serves: it is for llmcost estimate, fit, compare, sweep, simulate and plan --serve"
    return _kept(_engine(name, "training engines", "engines", what), training_engine_from)


@lru_cache(maxsize=64)  # an estimate in a loop asks each time
def find_profile(hardware: str) -> Path | None:
    """The profile that ships for a GPU, by the name of its spec; None where none was measured."""
    path = shipped("hardware") / "profiles" / f"{hardware}.json"
    return path if path.is_file() else None


def find(kind: str, name: str, *, files: bool = True) -> Path:
    """The spec file that a user means by `name`; the case and the separators - _ . of a name do not matter.

    `files`: it may also be a path or a hub id, else a shipped name alone. Raises UnknownNameError, which lists similar
    names, or InputError for a path that leads nowhere.
    """
    is_path = name.endswith((".yaml", ".yml", ".json", GGUF)) or (("/" in name or "\\" in name) and lexists(name))
    if files and is_path:
        return Path(name)
    for folder in FOLDERS[kind]:
        if f"{name}.yaml" in listdir(shipped(folder)):  # noqa: PTH208 - a path for each takes a millisecond
            return shipped(folder) / f"{name}.yaml"
    known = _aliases(kind)
    if plain(name) in known:
        return known[plain(name)]
    if files and kind == "models" and lexists(f"{name}/config.json"):
        return Path(name)
    if plain(name) in (derived := _derived(kind)):
        return derived[plain(name)]
    if files and name.startswith(("/", "./", "../", "~")):
        raise InputError(f"{name}: no such file or folder")
    if files and kind == "models" and "/" in name:
        from llmcost.specs.hub import find_config

        if config := find_config(name):
            return config
    refuse_what_no_source_describes(kind, name)
    raise UnknownNameError(kind.removesuffix("s"), name, _nearest(name, kind, known))


# Chips that people name and that no page was found of with memory, bandwidth and dense peaks, or of which pages
# contradict each other: NVIDIA's H20 of 141 GB, AMD's MI308X, Hygon's Z100 and plain K100, Cambricon's MLU590.
UNSOURCED = (
    "h20141gb", "h20141g", "h203e", "nvidiah203e", "mi308x", "mi308", "amdinstinctmi308x", "hygonz100", "z100",
    "hygonk100", "k100", "dcuk100", "mlu590", "cambriconmlu590",
)  # fmt: skip


def refuse_what_no_source_describes(kind: str, name: str) -> None:
    """Say why a chip that people name has no spec."""
    if kind == "hardware" and plain(name) in UNSOURCED:
        raise InputError(
            f"{name}: no public source gives its bandwidth and its peaks, so it has no spec here; "
            "one of your own is read from a file"
        )


def of_the_same_sizes(model: ModelSpec, positions: int) -> list[str]:
    """Shipped models that have the sizes of this one and were made for so many positions: its longer versions."""
    mine = (model.hidden_size, model.num_hidden_layers, model.vocab_size)
    alike = [
        path
        for path, data in _documents("models")
        if tuple(data.get(size) for size in ("hidden_size", "num_hidden_layers", "vocab_size")) == mine
        and data["max_position_embeddings"] >= positions
    ]
    found = [_kept(path, model_from) for path in alike]
    return [each.name for each in found if _block_sizes(each) == _block_sizes(model)]


def _block_sizes(model: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Sizes by which models of one width, depth and vocabulary may still differ: heads, MLPs, experts."""
    fields = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size")
    return tuple(model.block_sizes(field) for field in fields)


def split_gpus(name: str) -> tuple[str, str | None]:
    """`8xh100` and `h100:8` as the GPU's name and how many there are; any other name (7900xtx), as it is, and None."""
    match = re.fullmatch(r"(?P<first>\d{1,7}) ?[x×] ?(?P<a>\D.*)|(?P<b>.+):(?P<last>\d{1,7})", name, re.ASCII)
    if match is None or plain(name) in _aliases("hardware"):
        return name, None
    return match["a"] or match["b"], match["first"] or match["last"]


def _nearest(name: str, kind: str, known: dict[str, Path]) -> list[str]:
    """The names of at most four specs that are like one that is unknown: those that begin with it come first.

    Of these, those in which a size follows: of llama3, llama3-8b before llama3.1-8b.
    """
    from difflib import get_close_matches

    stems = [path.stem for path in dict.fromkeys(known.values())]
    begin = [stem for stem in stems if plain(name) and plain(stem).startswith(plain(name))]
    begin.sort(key=lambda stem: not stem.startswith(f"{name.lower()}-"))
    close = get_close_matches(plain(name), known, n=8, cutoff=0.5)
    machines = _in_machines(name) if kind == "hardware" else ()
    return list(dict.fromkeys([*machines, *begin, *(known[alias].stem for alias in close)]))[:4]


def _in_machines(name: str) -> Iterator[str]:
    """The chips of a machine that is known by its own name: of a Mac Apple's, the newest first; of a CPU the CPUs."""
    found = reversed(_documents("hardware"))
    if plain(name).startswith(("mac", "imac")):
        yield from (data["name"] for _, data in found if data.get("vendor") == "Apple")
    elif plain(name) == "cpu":
        yield from (data["name"] for _, data in found if data.get("device") == "cpu")


def names(kind: str) -> list[str]:
    """The names of every shipped spec of a folder, sorted as a person would (7b before 13b)."""

    def natural(stem: str) -> list[tuple[int, str]]:
        return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", stem)]

    return sorted((path.stem for path in shipped(kind).glob("*.yaml")), key=natural)


def plain(name: str) -> str:
    """A name as names are compared: `Llama-3.1-8B`, `llama3.1:8b` and `llama_31_8B` are one."""
    return "".join(name.lower().translate({ord(c): None for c in "-_.: "}))


@lru_cache(maxsize=2)
def _documents(kind: str) -> list[tuple[Path, dict[str, Any]]]:
    """Every shipped spec's file and data."""
    return [(path, read_yaml(path).data) for path in _paths(kind)]


def _paths(kind: str) -> list[Path]:
    return [shipped(folder) / f"{name}.yaml" for folder in FOLDERS[kind] for name in names(folder)]


@lru_cache(maxsize=3)
def _aliases(kind: str) -> dict[str, Path]:
    """The spec file of every name and alias, as names are compared; the first file of an alias has it.

    Shipped specs have their aliases in one line, which is found in a tenth of the time that reading them all takes.
    """
    table: dict[str, Path] = {}
    for path in _paths(kind):
        found = re.search(r"^aliases: \[(.*)\]$", path.read_text("utf-8"), re.MULTILINE)
        for alias in (path.stem, *(found[1].split(",") if found else ())):
            table.setdefault(plain(alias.strip(" \"'")), path)
    return table


@lru_cache(maxsize=3)
def _derived(kind: str) -> dict[str, Path]:
    """The spec file of what else names it: its title, the repository it was read from, a hub id without its owner."""
    table: dict[str, Path] = {}
    for path, data in _documents(kind):
        source = re.match(r"https://huggingface\.co/([^/]+/[^/]+)", str(data.get("source", "")))
        ids = [*data.get("aliases", ()), *([source[1]] if source else [])]
        for name in (data["title"], *ids, *(each.rpartition("/")[2] for each in ids)):
            table.setdefault(plain(name), path)
    return table
