"""Every field of a profile and of published measurements, written wrongly: a message, never a traceback."""

import copy
import itertools
import json
import re
import shutil

import pytest
import yaml
from bench_setup import SHIPPED

from llmcost.accuracy import cases, models, score
from llmcost.ground.errors import SpecError
from llmcost.specs.profile import load_profile

WRONG = (None, "x", [1], -1, 0, 1e300, 10**30, "\x1b]0;title\x07")
NO_NUMBER = re.compile(r"(?<![\w.])(nan|-?inf(inity)?)(?![\w])", re.IGNORECASE)


def paths_in(data, path=()):
    """The path of every entry of nested mappings and lists."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths_in(value, (*path, key))


def _said_before(path):
    """Whether a path is of a column of a table's rows after the first; their sizes are of other operators."""
    return (
        path[0] in ("rows", "steps") and len(path) > 2 and path[1] not in (0, "columns", "first") and path[2] != "sizes"
    )


def written_wrongly(data):
    """The data with one entry left out or replaced by what does not belong there, for each entry."""
    for path in [path for path in paths_in(data) if not _said_before(path)]:
        *parents, last = path
        for wrong in ("left out", *WRONG):
            changed = target = copy.copy(data)
            for key in parents:  # copied on the way alone
                target[key] = copy.copy(target[key])
                target = target[key]
            if wrong == "left out":
                del target[last]
            else:
                target[last] = wrong
            yield f"{'.'.join(map(str, path))} {wrong!r}", changed


def answered(cli, claim, *arguments):
    """Exit code 0, 1 or 2, and nothing that is no number."""
    answer = cli(*arguments)
    assert answer.code in (0, 1, 2), claim
    assert not NO_NUMBER.search(answer.out), (claim, NO_NUMBER.search(answer.out))
    assert "\x1b" not in answer.out + answer.err, claim
    assert answer.code != 2 or answer.err.count("\n") == 1, (claim, answer.err)


def small_profile():
    """A shipped profile with one row for each operator and suite, and one pass of each phase."""
    data = json.loads(SHIPPED[-1].read_text("utf-8"))
    kinds = {(row["suite"], row.get("operator")): row for row in data["rows"]}
    phases = {step["phase"]: step for step in data["steps"]}
    rows = list({row.get("operator"): row for row in kinds.values()}.values())
    return data | {"rows": [*rows, data["rows"][0]][:8], "steps": list(phases.values())}


def test_a_profile_that_is_written_wrongly_is_refused_or_answered(cli, tmp_path):
    data, path = small_profile(), tmp_path / "p.json"
    commands = itertools.cycle(
        (
            ("bench", "--show", path, "--rows"),
            ("bench", "--show", path, "--json"),
            ("estimate", "gpt2", "--hw", "h200", "--json", "--profile", path),
        )
    )
    for claim, changed in written_wrongly(data):
        path.write_text(json.dumps(changed), "utf-8")
        try:
            load_profile(path)
        except SpecError as error:
            assert error.line == 1, claim
            assert error.field, claim
            continue
        answered(cli, claim, *next(commands))


def as_text(data):
    """A source as its file: columns and cells joined again, each as CSV would have it."""
    rows = data.get("rows")
    if isinstance(rows, dict) and all(isinstance(row, list) for row in rows.values()):
        data = data | {
            "rows": "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in rows.values())
        }
    return yaml.safe_dump(data)


@pytest.mark.parametrize("name", ["gpt-fast", "torchtitan-llama-3.1", "infersim-attention"])
def test_measurements_that_are_written_wrongly_are_refused_or_answered(cli, tmp_path, monkeypatch, name):
    for beside in cases.BESIDE:
        shutil.copy(cases.FOLDER / f"{beside}.yaml", tmp_path)
    data = yaml.safe_load((cases.FOLDER / f"{name}.yaml").read_text("utf-8"))
    columns, first, *_ = (line.split(",") for line in data["rows"].splitlines())
    data["rows"] = {"columns": columns, "first": first}
    for module in (cases, models, score):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    path = tmp_path / f"{name}.yaml"
    refused = 0
    for claim, changed in written_wrongly(data):
        path.write_text(as_text(changed), "utf-8")
        cases.source_cases.cache_clear()
        try:
            cases.source_cases(path)
        except SpecError as error:
            refused += 1
            assert error.line, claim
            continue
        answered(cli, claim, "accuracy", "--source", name, "--json")
    assert refused > 50
