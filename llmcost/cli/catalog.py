"""`llmcost models`, `hardware`, `check`: what is known, and whether a spec of the user's own is sound."""

from collections.abc import Callable, Mapping, Sequence
from os.path import lexists
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

import typer

from llmcost.cli import options as o
from llmcost.cli.command import Argument, Takes
from llmcost.ground.options import Option

Rows: TypeAlias = list[dict[str, object]]

OF_HARDWARE = {"memory", "vendor", "bandwidth", "peak", "gpu"}  # fields by which a spec is told to be one of hardware


def models(
    name: Annotated[
        str | None, Argument("NAME", "One model, in full with its source.", default="a list of all")
    ] = None,
    *,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """The models that are known by name; with a NAME, all fields of one."""
    from llmcost.ground.errors import InputError
    from llmcost.model.card import model_document, model_row
    from llmcost.report.specs import model_table, models_table
    from llmcost.specs.catalog import load_model

    def one_table(model: Any) -> Any:
        return model_table(model_document(model))

    if name is None and allow_unknown:
        raise InputError(f"--allow-unknown {', '.join(allow_unknown)}: of which model? name one")
    lists = {"models": (model_row, models_table)}
    _catalog("models", name, lambda each: load_model(each, None, allow_unknown), one_table, model_document, lists, form)


def hardware(
    name: Annotated[
        str | None, Argument("NAME", "One GPU or system, in full with its sources.", default="a list of all")
    ] = None,
    *,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """The GPUs, CPUs and systems (boxes, clouds, clusters) that are known by name; with a NAME, all of one."""
    from llmcost.report.specs import chip_table, cpus_table, hardware_table, systems_table
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware
    from llmcost.specs.listing import hardware_row, system_row

    lists = {
        "hardware": (hardware_row, hardware_table),
        "hardware/cpus": (hardware_row, cpus_table),
        "hardware/systems": (system_row, systems_table),
    }
    _catalog("hardware", name, load_hardware, chip_table, to_dict, lists, form)


def engines(
    name: Annotated[
        str | None, Argument("NAME", "One engine, in full with its sources.", default="a list of all")
    ] = None,
    *,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """The engines that are known by name, of serving and of training; with a NAME, all of one."""
    from llmcost.machine.bands import error_of_engine
    from llmcost.report.specs import engine_table, engines_table, training_engines_table
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_engine, load_training_engine, trains
    from llmcost.specs.listing import engine_row, optimised_engine, training_engine_row
    from llmcost.specs.optimised import OPTIMISED, parse_engine

    def scored(each: Any) -> dict[str, object]:
        return engine_row(each) | {"error": error_of_engine(each.name)}

    lists: Any = {
        "hardware/engines": (scored, engines_table),
        "hardware/engines/training": (training_engine_row, training_engines_table),
    }
    name = name and parse_engine(name)
    training = name is not None and trains(name)
    kind = "hardware/engines/training" if training else "hardware/engines"

    def load(each: str) -> Any:
        if each == OPTIMISED:
            return optimised_engine()
        return load_training_engine(each) if trains(each) else load_engine(each)

    _catalog(kind, name, load, engine_table, to_dict, lists, form, {"hardware/engines": (OPTIMISED,)})


def _catalog(
    kind: str,
    name: str | None,
    load: Callable[[str], Any],
    one_table: Callable[[Any], Any],
    one_document: Callable[[Any], dict[str, object]],
    lists: Mapping[str, tuple[Callable[[Any], dict[str, object]], Callable[[Rows], Any]]],
    form: o.Form,
    without_files: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Show one spec in full, or the list of each folder in `lists`, which has how to make a row and a table of rows.

    `without_files`: by folder, what its list has that is in no file, first. CSV has the list of the folder `kind`, or
    the row of the one spec.
    """
    from llmcost.specs.catalog import names

    schema = {"schema": f"llmcost.{kind.rpartition('/')[2]}/1"}

    def listed(folder: str) -> list[str]:
        return [*without_files.get(folder, ()), *names(folder)]

    def csv() -> tuple[list[str], list[list[object]]]:
        rows = [lists[kind][0](load(each)) for each in ([name] if name else listed(kind))]
        return list(rows[0]), [list(row.values()) for row in rows]

    def found() -> dict[str, Rows]:
        return {folder: [row_of(load(each)) for each in listed(folder)] for folder, (row_of, _) in lists.items()}

    if name is not None:
        spec = load(name)
        unknown = getattr(spec, "unknown_keys", ())
        form.show(lambda: schema | one_document(spec), csv, lambda: [one_table(spec)], unknown)
        return
    form.show(
        lambda: schema | {folder.rpartition("/")[2]: rows for folder, rows in found().items()},
        csv,
        lambda: [lists[folder][1](rows) for folder, rows in found().items()],
    )


def import_(
    path: Annotated[str, Argument("PATH", "A config.json, the folder that holds it, a GGUF file, or a hub id.")],
    *,
    output: Annotated[
        str | None, Option("Where to write the spec.", metavar="FILE", long="-o", default="stdout")
    ] = None,
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
) -> None:
    """A Hugging Face config as a YAML spec that gives the same numbers, or a refusal that names what is not understood.

    Example: llmcost import ./Qwen3-8B/config.json -o qwen3-8b.yaml
    """
    from llmcost.cli.output import write
    from llmcost.ground.files import refuse_input, write_file
    from llmcost.specs.catalog import find, read_model
    from llmcost.specs.models import model_from
    from llmcost.specs.writer import spec_text

    document = read_model(find("models", path), kind, allow_unknown)
    if output is not None:
        refuse_input(Path(output), document.file)
    spec = model_from(document)  # refuses what contradicts itself before anything is written
    if Path(document.file).suffix == ".json":
        from llmcost.specs.checkpoint import compared

        found = compared(Path(document.file), spec)
        if found is not None:
            document.data["notes"] = [*document.data.get("notes", ()), found if isinstance(found, str) else found.said]
    text = spec_text(document)
    if output is None:
        write(text, spec.unknown_keys)
    else:
        write("", spec.unknown_keys)
        write_file(Path(output), text)


def _weights(found: Any) -> dict[str, Any]:
    """What the files of weights beside a config say, for the answer of `check`."""
    if found is None:
        return {}
    return {"weights": {"said": found} if isinstance(found, str) else found._asdict() | {"equal": found.equal}}


def check(
    paths: Annotated[
        list[str], Argument("PATH...", "Model or hardware specs in YAML, config.json or GGUF files.", several=True)
    ],
    *,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form, only=("json",))],
) -> None:
    """Whether specs of your own can be used. Exit code 1 if one cannot."""
    from llmcost.cli.output import show_json, write
    from llmcost.ground.errors import InputError, SpecError
    from llmcost.machine.engine_names import unknown_names
    from llmcost.model.spec import ModelSpec
    from llmcost.specs.catalog import SERVES, engine_of, hardware_of, read_model
    from llmcost.specs.checkpoint import compared
    from llmcost.specs.models import model_from
    from llmcost.specs.training_engine import training_engine_from

    results: list[dict[str, Any]] = []
    unknown: list[str] = []
    for path in paths:
        if not lexists(path):
            raise InputError(f"{path}: no such file")
        try:
            document = read_model(Path(path), None, allow_unknown)
            kind = "hardware" if not OF_HARDWARE.isdisjoint(document.data) else "model"
            if {"vendors", "like"} & document.data.keys():
                kind = "training engine" if SERVES.isdisjoint(document.data) else "engine"
            spec: Any = {
                "engine": engine_of,
                "training engine": training_engine_from,
                "hardware": hardware_of,
                "model": model_from,
            }[kind](document)
            for field, problem in unknown_names(spec) if kind == "engine" else ():
                raise document.error(field, problem)
            unknown += [f"{path}: {key}" for key in getattr(spec, "unknown_keys", ())]
            found: dict[str, Any] = {"ok": True, "kind": kind, "name": spec.name}
            if isinstance(spec, ModelSpec) and Path(document.file).suffix == ".json":
                found |= _weights(compared(Path(document.file), spec))
        except SpecError as error:
            where = {"line": error.line, "field": error.field, "problem": error.problem}
            found = {"ok": False, **where, "message": str(error)}
        results.append({"path": path, **found})
    if form.json:
        show_json({"schema": "llmcost.check/1", "results": results}, unknown)
    else:
        write("", unknown)
        for each in results:
            sound = each["ok"]
            weights = f"; {each['weights']['said']}" if "weights" in each else ""
            line = f"{each['path']}: {each['kind']} {each['name']}, sound{weights}" if sound else each["message"]
            write(f"{line}\n")
    if not all(each["ok"] for each in results):
        raise typer.Exit(1)
