"""`llmcost sweep`: every combination of some options, one row each."""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from llmcost.cli import options as o
from llmcost.cli.command import Given, Takes
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, count, flag
from llmcost.serving.options import Options

if TYPE_CHECKING:
    from llmcost.ground.ranges import Axis, Names
    from llmcost.model.spec import ModelSpec
    from llmcost.report.sweep import Blocks
    from llmcost.search.sweep import Sweep
    from llmcost.specs.hardware import HardwareSpec

Rows: TypeAlias = "Callable[[Collection[str]], Blocks]"

MOST = 10**7  # points without --yes: seconds to compute, a gigabyte of CSV
PICTURES = (".png", ".svg", ".pdf", ".html")  # names of files that rows are not written to
MOST_ROWS = 10**4  # of a table, which has to be laid out as a whole
MOST_REASONS = 4  # why combinations are left out, each a line


def sweep(
    model: o.ModelName,
    *,
    hw: o.SeveralHardware,
    given: Annotated[Given, Takes(Options, lists=Options._fields)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    metric: Annotated[
        Sequence[str],
        Option(
            "Figures to show, by JSON path or its end (llmcost explain MODEL lists them).",
            metavar="NAME,...",
            repeated=True,
        ),
    ] = (),
    sort: Annotated[
        str | None,
        Option("Order rows by a figure, smallest first; FIGURE:desc, largest first.", metavar="FIGURE"),
    ] = None,
    top: Annotated[int | None, count("Only the first N rows of that order.")] = None,
    fits: Annotated[bool, flag("Only rows that fit the memory.")] = False,
    file: Annotated[
        str | None, Option("Where to write the rows; .csv, .json or .md says in which form.", metavar="FILE", long="-o")
    ] = None,
    parquet: Annotated[str | None, Option("Write a Parquet file (needs pyarrow).", metavar="FILE")] = None,
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    money: Annotated[Money, Takes(Money)],
    yes: Annotated[bool, flag(f"Go on with more than {MOST:,} combinations.")] = False,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Every combination of the options given, one row each.

    \b
    A LIST is one or more of these, with commas between them
    (1,024 would be 1 and 024, and is refused: type 1024):
      8k           a value, as other commands take it
      1..64        every whole number from 1 to 64
      1..64:8      in steps of 8: 1, 9, 17, ...
      1..256:x2    each twice the one before: 1, 2, 4, ...

    Example: llmcost sweep llama3-8b --hw h100,a100 --batch 1..256:x4 --dtype bf16,fp8
    """  # noqa: D301 - \b keeps the lines of a paragraph as they are
    from llmcost.ground.files import draft_of, refuse_input
    from llmcost.report.sweep import write_parquet
    from llmcost.search.sweep_rows import axes_of, engine_told

    named = form.csv or form.json or form.markdown
    if file is not None and Path(file).suffix == ".parquet" and not named:
        if parquet is not None:
            raise InputError(f"-o {file} and --parquet {parquet}: one Parquet file is written")
        file, parquet = None, file
    places = [path for path in (file, parquet, files.plot) if path is not None]
    for number, path in enumerate(places):
        refuse_input(Path(path), model, *hw)
        if Path(path) in map(Path, places[:number]):
            raise InputError(f"{path}: is written to twice; choose another file for one of them")
    if file is not None and not named and Path(file).suffix in PICTURES:
        raise InputError(f"-o {file}: rows are written in text; for a chart give --plot {file}")
    files.ready()
    grid = _grid(o.load_model(model, kind, given, allow_unknown), o.load_chips(hw), given, money, yes)
    axes = axes_of(given)
    columns = axes | engine_told(grid, axes) | {path: path for path in _metrics(grid, metric)}
    rows, number = _rows(grid, sort, top, fits)
    if parquet is not None:
        with draft_of(Path(parquet)) as draft:
            write_parquet(draft, columns, rows(columns.values()))
    if files.places():
        _draw(files, grid, axes, rows, number)
    forms = {".csv": form.csv, ".json": form.json, ".md": form.markdown}
    ending = next((each for each, chosen in forms.items() if chosen), Path(file).suffix if file else None)
    if file or ending or not (parquet or files.places()):
        _write(grid, columns, rows, number, ending, Path(file) if file else None)


def _write(
    grid: "Sweep", columns: Mapping[str, str], rows: Rows, number: int, form: str | None, file: Path | None
) -> None:
    """Write the rows in the form that the ending `form` stands for, by default as a table. Raises InputError."""
    from llmcost.cli.output import show_tables, warnings_of, write, write_pieces
    from llmcost.ground.files import write_file
    from llmcost.report.sweep import csv_pieces, json_pieces, table_of
    from llmcost.report.tables import to_markdown, to_text, under
    from llmcost.search.sweep_rows import head_of

    blocks, unknown = rows(columns.values()), grid.model.unknown_keys
    if form in (".csv", ".json") or file is not None:
        write("", unknown)
    if form == ".csv":
        write_pieces(csv_pieces(columns, blocks), file)
    elif form == ".json":
        head = head_of(grid, number)
        if unknown:
            head |= {"unknown_keys": [*unknown], "warnings": warnings_of(unknown)}
        write_pieces(json_pieces(head, columns, blocks), file)
    elif number > MOST_ROWS:
        others = "--csv, --json, --parquet FILE, or fewer with --sort and --top"
        raise InputError(f"{number:,} rows are too many for a table: {others}")
    else:
        title = f"{grid.model.title}{under(*(each.options.engine for each in grid.structures))}"
        tables = [table_of(f"{title}: {number:,} combination{'s' * (number != 1)}", columns, blocks)]
        if file is None:
            show_tables(tables, markdown=form == ".md", unknown=unknown)
        else:
            write_file(file, to_markdown(tables) if form == ".md" else to_text(tables))


def _grid(
    model: "ModelSpec", chips: "list[HardwareSpec]", given: "Mapping[str, Axis | Names]", money: Money, yes: bool
) -> "Sweep":
    """The sweep. Raises InputError where it is too large, before anything of it is computed, unless `yes`."""
    from llmcost.cli.output import say, waiting
    from llmcost.search.sweep import Priced, Sweep

    combinations = len(chips) * prod(each.size() for each in given.values())
    if combinations > MOST and not yes:
        raise InputError(f"{combinations:,} combinations, above {MOST:,}: choose fewer values, or go on with --yes")
    priced = Priced(money.prices(chips), money.pue) if money.asked() else None
    with waiting("trying layouts"):
        grid = Sweep(model, chips, {name: each.values() for name, each in given.items()}, priced)
        left_out = list(grid.left_out().items())
    for reason, number in left_out[:MOST_REASONS]:
        say(f"{number:,} of {combinations:,} combinations left out: {reason}")
    if others := left_out[MOST_REASONS:]:
        number = sum(number for _, number in others)
        say(f"and {number:,} for {len(others):,} other reasons")
    return grid


def _metrics(grid: "Sweep", asked: Sequence[str]) -> Sequence[str]:
    """The figures to show, by their paths."""
    from llmcost.ground.ranges import distinct, parse_names
    from llmcost.search.sweep_rows import metrics_of

    if asked:
        return distinct("--metric", metrics_of(grid, parse_names("--metric", ",".join(asked)).names))
    return metrics_of(grid, None)


def _rows(grid: "Sweep", sort: str | None, top: int | None, fits: bool) -> tuple[Rows, int]:
    """A function that computes the rows asked for, with the figures it is given the paths of; and how many rows.

    Raises InputError for an order that makes no sense, and exits with 1 where nothing fits.
    """
    from llmcost.cli.output import say, waiting

    if top is not None and sort is None:
        raise InputError(f"--top {top}: in which order? add --sort FIGURE or --sort FIGURE:desc")
    if sort is None and not fits:
        return (lambda paths: (columns for _, columns in grid.blocks(paths))), grid.legal()
    name, _, order = (sort or "").partition(":")
    if order not in ("", "asc", "desc"):
        raise InputError(f"--sort {sort}: FIGURE, FIGURE:asc or FIGURE:desc")
    with waiting("ordering rows" if name else "finding what fits"):
        points = grid.select(grid.find(name) if name else None, descending=order == "desc", top=top, only_fitting=fits)
    if not len(points):
        say(f"none of {len(grid):,} combinations fits")
        raise typer.Exit(1)
    return (lambda paths: grid.at(points, paths)), len(points)


def _draw(files: o.Files, grid: "Sweep", axes: Mapping[str, str], rows: Rows, number: int) -> None:
    """Draw the charts of a sweep. Raises InputError for too many points."""
    from llmcost.report.charts import Chart
    from llmcost.report.sources import caption_of_several
    from llmcost.report.sweep import rows_of
    from llmcost.report.sweep_charts import MOST_POINTS, OUTPUT, PATHS, SERVED, chart_title, sweep_panels

    if number > MOST_POINTS:
        raise InputError(f"--plot: {number:,} points, of which {MOST_POINTS:,} can be drawn: choose fewer values")
    basis = "decode.expected.basis"
    more = SERVED if OUTPUT in grid.figures else ()
    paths = list(dict.fromkeys([*axes.values(), *PATHS, *more, *([basis] if basis in grid.figures else [])]))
    points = [dict(zip(paths, row, strict=True)) for block in rows(paths) for row in rows_of(paths, block)]
    bases = list(dict.fromkeys(str(point[basis]) for point in points if basis in point))
    chips = {structure.hardware.name: structure.hardware for structure in grid.structures}
    below = caption_of_several([grid.model], [*chips.values()], bases)
    files.write(lambda: Chart(chart_title(grid.model.title, axes, points), sweep_panels(axes, points), below))
