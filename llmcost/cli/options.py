"""The parameters that several commands have and no calculation: names of models and GPUs, forms of output."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from llmcost.cli.command import Argument
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, flag, word
from llmcost.report.words import LANGUAGES, VARIABLE, speak

if TYPE_CHECKING:
    from llmcost.model.spec import ModelSpec
    from llmcost.report.charts import Chart
    from llmcost.report.page import Reported
    from llmcost.report.tables import Table
    from llmcost.serving.options import Workload
    from llmcost.specs.hardware import HardwareSpec

MODEL = Argument("MODEL", "A shipped name (llmcost models), a YAML spec, a config.json, a GGUF file, or a hub id.")
ModelName = Annotated[str, MODEL]
OptionalModel = Annotated[str | None, MODEL]
ReadAs = Annotated[
    str | None,
    Option(
        "Read a config.json as this model_type, e.g. llama, whatever it says; embedder: its model without a head.",
        metavar="TYPE",
        long="--as",
    ),
]
AllowUnknown = Annotated[
    Sequence[str],
    Option(
        "A key of a config.json that may be left out where it is not understood; may be repeated.",
        metavar="KEY",
        repeated=True,
    ),
]
OptionalHardware = Annotated[str | None, Option("A GPU: shipped name, alias, or a path to a YAML spec.", metavar="HW")]
Hardware = Annotated[
    str, Option("A GPU or a system of them: shipped name, alias, or a path to a YAML spec.", metavar="HW")
]
SeveralHardware = Annotated[
    list[str], Option("GPUs: shipped names, aliases, or paths to YAML specs.", metavar="HW,...", repeated=True)
]


class Files(NamedTuple):
    """Files that an answer is written to beside what is printed."""

    plot: Annotated[
        str | None, Option("Draw charts: .png, .svg, .pdf or .html (needs matplotlib).", metavar="FILE")
    ] = None
    html: Annotated[
        str | None,
        Option("Write a report: charts, tables, assumptions, sources, errors (needs matplotlib).", metavar="FILE"),
    ] = None
    theme: Annotated[
        str | None,
        word(
            "The paper of a .png or .pdf; .svg and .html take what their reader prefers.",
            ("light", "dark"),
            default="light",
        ),
    ] = None

    def places(self) -> dict[str, str]:
        """The files by the option that asks for each."""
        named = {"--plot": self.plot, "--html": self.html}
        return {option: path for option, path in named.items() if path is not None}

    def ready(self, *inputs: str) -> None:
        """Raise InputError, before anything is computed, for files that cannot be written, or are `inputs`."""
        if self.theme is not None and not (self.plot or "").lower().endswith((".png", ".pdf")):
            raise InputError(f"--theme {self.theme}: of a picture in .png or .pdf (--plot)")
        if not self.places():
            return
        from pathlib import Path

        from llmcost.ground.files import check_place, refuse_input
        from llmcost.report import saving

        if self.plot is not None:
            saving.check(Path(self.plot))
        if self.html is not None:
            if Path(self.html).suffix.lower() not in (".html", ".htm"):
                raise InputError(f"--html {self.html}: the name ends in .html")
            saving.require_matplotlib("--html")
        given = [Path(each) for each in self.places().values()]
        for path in given:
            refuse_input(path, *inputs)
            check_place(path)
        if len({path.resolve() for path in given}) < len(given):
            raise InputError(f"--plot {self.plot} and --html {self.html}: choose two files")

    def write(
        self,
        chart: Callable[[], "Chart"],
        tables: Callable[[], Iterable["Table"]] = tuple,
        sections: Callable[[], Iterable["Table"]] = tuple,
    ) -> None:
        """Write the files that are asked for; the report has the tables of the answer, then `sections`."""
        if not self.places():
            return
        from pathlib import Path

        from llmcost.ground.files import write_file
        from llmcost.report import saving

        drawn = chart()
        if self.plot is not None and not drawn.panels:
            from llmcost.cli.output import say

            say(f"--plot {self.plot}: nothing to draw")
        elif self.plot is not None:
            saving.save(Path(self.plot), drawn, self.theme or "light")
        if self.html is not None:
            from llmcost.report.page import page

            write_file(Path(self.html), page(drawn, tables(), sections()))

    def write_report(self, of: Callable[[], "Reported"], tables: Callable[[], Iterable["Table"]]) -> None:
        """Write the files that are asked for of an answer on one kind of GPU."""
        if self.places():
            found = of()
            self.write(found.chart, tables, found.sections)


DRAWN = ("plot", "theme")  # of Files: those of commands that write no report


class Form(NamedTuple):
    """How an answer is printed: as tables, unless one of these is chosen."""

    json: Annotated[bool, flag("One JSON document in base units.")] = False
    csv: Annotated[bool, flag("Comma-separated values in base units.")] = False
    markdown: Annotated[bool, flag("Markdown tables.")] = False
    lang: Annotated[
        str | None,
        word(
            "The language of tables and explanations; JSON and CSV are English.",
            LANGUAGES,
            default=f"${VARIABLE}, else en",
        ),
    ] = None

    def check(self) -> None:
        """Choose the language. Raise InputError for more than one form, or a language that it does not have."""
        speak(self.lang)
        asked = [f"--{name}" for name, chosen in self._asdict().items() if chosen is True]
        if len(asked) > 1:
            raise InputError(f"{' and '.join(asked)}: choose one")
        if self.lang is not None and (self.json or self.csv):
            raise InputError(f"--lang {self.lang}: {asked[0]} is for programs, and English")

    def show(
        self,
        document: Callable[[], Any],
        rows: Callable[[], tuple[Sequence[str], Iterable[Sequence[Any]]]],
        tables: Callable[[], Iterable["Table"]],
        unknown: Sequence[str] = (),
    ) -> None:
        """Print the answer: its JSON document, its CSV as headings and rows, or its tables, whichever is asked for.

        `unknown`: keys of the model's config that were left out, which every form warns of.
        """
        from llmcost.cli.output import show_json, show_tables, write

        if self.json:
            show_json(document(), unknown)
        elif self.csv:
            from llmcost.report.tables import to_csv

            write(to_csv(*rows()), unknown)
        else:
            show_tables(tables(), self.markdown, unknown)


def load_model(
    name: str,
    kind: str | None = None,
    options: Any = None,
    allow_unknown: Sequence[str] = (),
    *,
    text_alone: bool = False,
) -> "ModelSpec":
    """The model of a command; what its figures leave out, or go beyond, is said on stderr.

    `options`: those of the command that has lengths, or the values given on its command line. `allow_unknown`: keys of
    a config that are left out where they are not understood, which the answer warns of (Form.show). `text_alone`:
    without towers, for commands that train.
    """
    from llmcost.specs import catalog

    whole = catalog.load_model(name, kind, allow_unknown)
    spec = whole.text_alone() if text_alone else whole
    given = options._asdict() if hasattr(options, "_asdict") else options or {}
    tokens = _longest(given)
    notes = [f"counted is {spec.counted}"] if spec.counted else []
    if spec.source.endswith((".json", catalog.GGUF)) and not spec.source.startswith("http"):  # a file of the user's own
        notes += spec.notes
    if differs := catalog.beside(whole):
        notes += [differs]
    if spec.unread and given.get("weight_dtype"):
        notes.append(f"weights are in --weight-dtype, as its quantisation is not understood: {spec.unread}")
    if tokens > spec.longest and not spec.has_position_table:
        longer = catalog.of_the_same_sizes(spec, tokens)
        were = "were" if len(longer) > 1 else "was"
        others = f"; {' and '.join(longer)}, of the same sizes, {were}" if longer else ""
        notes.append(
            f"{tokens:,} tokens are beyond the {spec.longest:,} positions that it was made for "
            f"(max_position_embeddings){others}"
        )
    for note in notes:
        from llmcost.cli.output import say

        say(f"note: {spec.name}: {note}")
    draft = given.get("draft")
    return with_keys_left_out_of(spec, *getattr(draft, "names", (draft,)))


def with_keys_left_out_of(spec: "ModelSpec", *others: str | None) -> "ModelSpec":
    """The model, whose answers also warn of what was left out of the files of `others` beside it."""
    from llmcost.specs.catalog import load_beside

    files = [name for name in others if name is not None and name.endswith(".yaml")]
    left_out = [f"{name}: {key}" for name in files for key in load_beside(name).unknown_keys]
    return spec._replace(unknown_keys=(*spec.unknown_keys, *left_out)) if left_out else spec


def load_models(
    names: Sequence[str], kind: str | None, options: Mapping[str, Any], allow_unknown: Sequence[str]
) -> "list[ModelSpec]":
    """The models of a command that takes several: a key is left out of those whose configs have it.

    Raises InputError for a key that none has.
    """
    from llmcost.ground.errors import NoSuchKeyError

    had: set[str] = set()

    def loaded(name: str, keys: Sequence[str]) -> "ModelSpec":
        try:
            spec = load_model(name, kind, options, keys)
        except NoSuchKeyError as none:
            return loaded(name, [key for key in keys if key not in none.keys])
        had.update(keys)
        return spec

    found = [loaded(name, allow_unknown) for name in names]
    if nowhere := [key for key in allow_unknown if key not in had]:
        raise NoSuchKeyError(nowhere, "no config.json of these models has such a key")
    return found


def note_torn(spec: "ModelSpec", w: "Workload") -> None:
    """Say on stderr what a layout tears apart of quantised weights that the model was not released in."""
    from llmcost.cli.output import say
    from llmcost.parallel.layout import Layout
    from llmcost.parallel.rules import torn

    if w.weight_dtype != spec.weight_format and w.tp > 1:
        layout = Layout(w.tp, w.pp, w.dp, w.ep, gpus_per_node=w.gpus_per_node, sequence_parallel=False)
        if note := torn(spec, w.weight_dtype, layout):
            say(f"note: {note}")


def _longest(given: Mapping[str, Any]) -> int:
    """The most tokens of a sequence that are asked about; 0 where no length is given."""

    def most(name: str) -> int:
        value = given.get(name) or 0
        return int(max(item.last for item in value.items)) if hasattr(value, "items") else value

    return max(most("context"), most("seq"), most("prompt") + most("output"))


def load_chips(given: Sequence[str]) -> "list[HardwareSpec]":
    """The GPUs of --hw, which may be repeated. Raises InputError where one comes twice, under whatever name."""
    from llmcost.ground.ranges import distinct, parse_names
    from llmcost.specs.catalog import load_hardware

    chips = [load_hardware(name) for name in parse_names("--hw", ",".join(given)).names]
    distinct("--hw", [chip.name for chip in chips])
    return chips
