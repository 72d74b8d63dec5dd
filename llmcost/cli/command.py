"""From a function with declared parameters to a command of the command line.

A parameter of a command is annotated with what it is: an `Argument`, an `Option` (llmcost/ground/options.py), or
`Takes`, which stands for many options that a named tuple declares. Typer is told only names, and hands over the text
behind each. Help is written and values are read here, from what was declared. So typer need not work out types, which
takes it 2 ms an option from 0.29 on, and help looks the same under every version of typer.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from os.path import lexists
from typing import Annotated, Any, NamedTuple, TypeAlias, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, declared
from llmcost.report.words import speak

COMMANDS = {  # command -> its module, in the order of the help
    **dict.fromkeys(("estimate", "explain", "ops"), "answers"),
    "fit": "fit",
    "sweep": "sweep",
    "compare": "compare",
    "simulate": "simulate",
    "train": "training",
    "rl": "rl",
    "plan": "plan",
    "budget": "budget",
    "mfu": "mfu",
    "accuracy": "accuracy",
    "calibrate": "calibrate",
    "bench": "bench",
    "gap": "gap",
    "web": "web",
    **dict.fromkeys(("models", "hardware", "engines", "import", "check"), "catalog"),
    "completion": "completion",
}

ASKS = "_LLMCOST_COMPLETE"  # in the environment, where a shell asks what may be typed (completion.py)
MOST_VALUES = 1000  # that an option lists, where all of them are tried

Given: TypeAlias = dict[str, Any]  # options that stand on the command line, by name
Text: TypeAlias = str | list[str] | bool | None  # as typer hands it over


class Argument(NamedTuple):
    """What is typed without a name. `default`: in words. `name` and `required` are filled in from the parameter."""

    metavar: str
    help: str
    several: bool = False
    default: str = ""
    name: str = ""
    required: bool = True

    def usage(self) -> str:
        """How the line of usage shows it: in brackets where it may be left out."""
        return self.metavar if self.required else f"[{self.metavar}]"


class Takes(NamedTuple):
    """Options of a named tuple that a command takes: all, `only` some, or all but some (`without`).

    `lists`: those that take several values here. `changed`: fields of an `Option` that differ here. A parameter of type
    `Given` gets only the values that were typed, an `Axis` or `Names` for a list; any other gets the named tuple.
    """

    of: type
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    changed: Mapping[str, dict[str, Any]] = {}

    def options(self) -> Iterator[Option]:
        """These options, as this command takes them."""
        every = declared(self.of)
        for name in every if self.only is None else self.only:
            if name not in self.without:
                yield every[name]._replace(**self.changed.get(name, {}))


class Parameter(NamedTuple):
    """One argument or option of a command: its declaration, whether it takes a list here, whether it is required."""

    what: Argument | Option
    a_list: bool = False
    required: bool = False

    def for_typer(self) -> inspect.Parameter:
        """Its declaration to typer: its names, and that it is text."""
        what = self.what
        kind: Any
        info: Any
        if isinstance(what, Argument):
            kind, info = list[str] if what.several else str, typer.Argument(metavar=what.metavar)
        else:
            kind = bool if what.read is None else list[str] if self.a_list or what.repeated else str
            info = typer.Option(*[name for name in (what.short, what.flag) if name])
        required = self.required and what.name != "gpus"  # which may stand in --hw
        default, text = (inspect.Parameter.empty, kind) if required else (None, kind | None)
        return inspect.Parameter(
            what.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[text, info]
        )

    def help(self) -> tuple[str, str]:
        """The line of the help: what to type, and what it means, with its default."""
        what = self.what
        if isinstance(what, Argument):
            return what.metavar, what.help + f"  [default: {what.default}]" * bool(what.default)
        names = ", ".join(name for name in (what.short, what.flag) if name).replace("/", " / ")
        metavar = "LIST" if self.a_list and what.read is not None else what.metavar
        default = "required" if self.required else f"default: {what.shown_default()}"
        notes = f"  [{default}]" if self.required or what.shown_default() else ""
        return f"{names} {metavar}".strip(), what.help + notes

    def is_given(self, text: Text) -> bool:
        """Whether it was typed. Some versions of typer hand over False for a flag that was not."""
        no = isinstance(self.what, Option) and self.what.value is False and text is False
        return not no and text not in (None, [], ())

    def value(self, text: Text) -> Any:
        """The value that a text means. Raises InputError where it has none, or several and one is wanted."""
        what = self.what
        if isinstance(what, Argument):
            return text
        if "" in (text, *(text if isinstance(text, list) else ())):
            raise InputError(f"{what.flag} '': a value is missing")
        if what.read is None:  # a flag, which a list of options has as its only value
            from llmcost.ground.ranges import Names

            return Names(what.flag, (text,)) if self.a_list else text
        if self.a_list:
            assert isinstance(text, list)
            if len(text) > 1:
                raise InputError(
                    f"{what.flag} is given {len(text)} times: give it once, with a list ({what.flag} {','.join(text)})"
                )
            return what.several(text[0])
        if isinstance(text, list):
            return [what.one(each) for each in text]
        assert isinstance(text, str)
        try:
            return what.one(text)
        except InputError:
            if not _is_list(what, text):
                raise
            takers = " and ".join(f"llmcost {name}" for name in takers_of_lists(what.name))
            where = f"; lists are for {takers}" if takers else ""
            raise InputError(f"{what.flag} {text}: one value here{where}") from None


def _is_list(option: Option, text: str) -> bool:
    if "=" in text:  # a value that has commas of its own, as tensor=0.5,expert=1
        return False
    try:
        return option.several(text).size() > 1
    except (InputError, ValueError):
        return False


def takers_of_lists(name: str) -> list[str]:
    """The commands in which an option takes several values."""
    return [command for command in COMMANDS if (found := parameters(function_of(command)).get(name)) and found.a_list]


def _takes_several_gpus(command: str) -> bool:
    hw = parameters(function_of(command)).get("hw")
    return hw is not None and isinstance(hw.what, Option) and hw.what.repeated


def function_of(command: str) -> Callable[..., None]:
    """The function behind a command."""
    module = import_module(f"llmcost.cli.{COMMANDS[command]}")
    function: Callable[..., None] = getattr(module, "import_" if command == "import" else command)
    return function


@cache
def parameters(function: Callable[..., None]) -> dict[str, Parameter]:
    """Every argument and option of a command, by name, in the order of its help."""
    found = []
    for name, each in inspect.signature(function).parameters.items():
        declaration = each.annotation.__metadata__[0]
        required = each.default is inspect.Parameter.empty
        if isinstance(declaration, Takes):
            found += [Parameter(option, option.name in declaration.lists) for option in declaration.options()]
        elif isinstance(declaration, Argument):
            found.append(Parameter(declaration._replace(name=name, required=required), required=required))
        else:
            value = None if required else each.default
            found.append(Parameter(declaration._replace(name=name, value=value), required=required))
    return {each.what.name: each for each in found}


def call(function: Callable[..., None], texts: Mapping[str, Text]) -> None:
    """Call a command with what was typed. Raises InputError."""
    known = parameters(function)
    texts = {name: text for name, text in texts.items() if known[name].is_given(text)}
    if isinstance(texts.get("hw"), str) and "," in str(texts["hw"]) and not lexists(str(texts["hw"])):
        several = [command for command in COMMANDS if _takes_several_gpus(command)]
        raise InputError(f"--hw {texts['hw']}: one GPU here; several are for llmcost {', '.join(several)}")
    texts = _with_counted_gpus(texts, known) if "hw" in texts else texts
    values = {name: known[name].value(text) for name, text in texts.items()}
    if "gpus" in known and known["gpus"].required and "gpus" not in values:
        raise InputError("--gpus: how many? this option is required")
    arguments: dict[str, Any] = {}
    for name, each in inspect.signature(function).parameters.items():
        declaration = each.annotation.__metadata__[0]
        if isinstance(declaration, Takes):
            given = {option.name: values[option.name] for option in declaration.options() if option.name in values}
            arguments[name] = given if get_origin(each.annotation.__origin__) is dict else declaration.of(**given)
            if hasattr(arguments[name], "check"):
                arguments[name].check()
        elif name in values:
            arguments[name] = values[name]
    function(**arguments)


def _with_counted_gpus(texts: Mapping[str, Text], known: Mapping[str, Parameter]) -> Mapping[str, Text]:
    """`--hw 8xh100` as `--hw h100 --gpus 8`. Raises InputError where --gpus says something else, or is not taken."""
    from llmcost.specs.catalog import split_gpus

    hw = texts["hw"]
    assert isinstance(hw, str | list)
    written = [hw] if isinstance(hw, str) else [name.strip() for text in hw for name in text.split(",")]
    names, counts = zip(*map(split_gpus, written), strict=True)
    counted = next((count for count in counts if count is not None), None)
    if counted is None:
        return texts
    if "gpus" not in known:
        raise InputError(
            f"--hw {','.join(written)}: the name of a GPU alone; how many there are makes no difference here"
        )
    if {*counts} != {counted} or texts.get("gpus", counted) not in (counted, [counted]):
        raise InputError(f"--hw {','.join(written)}: one number of GPUs for all; say it with --gpus")
    gpus = [counted] if known["gpus"].a_list else counted
    return {**texts, "hw": names[0] if isinstance(hw, str) else list(names), "gpus": gpus}


def add(app: typer.Typer, name: str, function: Callable[..., None]) -> None:
    """Add a command to the program."""
    known = parameters(function)

    class Command(TyperCommand):
        """A command whose usage and help are written from its declarations."""

        def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
            return _with_text_as_it_is(super().get_params(ctx))

        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
            _, _, given = self.make_parser(ctx).parse_args(args=[*args])
            _refuse_twice([known[each.name] for each in given if each.name in known])
            return super().parse_args(ctx, args)

        def collect_usage_pieces(self, _: typer.Context) -> list[str]:  # type: ignore[override]
            return ["[OPTIONS]", *(each.what.usage() for each in known.values() if isinstance(each.what, Argument))]

        def format_options(self, _: typer.Context, formatter: Any) -> None:  # type: ignore[override]
            of_arguments = [each.help() for each in known.values() if isinstance(each.what, Argument)]
            of_options = [each.help() for each in known.values() if isinstance(each.what, Option)]
            of_options.append(("-h, --help", "Show this message and exit."))
            for title, lines in (("Arguments", of_arguments), ("Options", of_options)):
                if lines:
                    with formatter.section(title):
                        formatter.write_dl(lines)

    def run(**texts: Text) -> None:
        if "lang" in known:  # before any option is read: what is wrong with one is said in this language
            language = texts.get("lang")
            speak(language if isinstance(language, str) else None)
        call(function, texts)

    run.__signature__ = inspect.Signature([each.for_typer() for each in known.values()])  # type: ignore[attr-defined]
    run.__doc__ = function.__doc__
    app.command(name, cls=Command)(run)


def _refuse_twice(given: Iterable[Parameter]) -> None:
    """Raise InputError for an option of one value that is given again: which of them is meant, nobody can tell."""
    seen: set[str] = set()
    for each in given:
        what = each.what
        if isinstance(what, Argument) or what.repeated or (each.a_list and what.read is not None):
            continue
        if what.name in seen:
            raise InputError(f"{what.flag} is given twice: give it once")
        seen.add(what.name)


class Commands(TyperGroup):
    """The program, whose usage is the same under every version of typer."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        """The options of the program itself: --version and --help."""
        return _with_text_as_it_is(super().get_params(ctx))

    def collect_usage_pieces(self, _: typer.Context) -> list[str]:  # type: ignore[override]
        """What usage shows behind the program's name."""
        return ["[OPTIONS]", "COMMAND", "[ARGS]..."]

    def format_commands(self, _: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Every command with what it answers, in whole sentences."""
        with formatter.section("Commands"):
            told = {name: (each.help or "").partition("\n\n")[0] for name, each in self.commands.items()}
            formatter.write_dl([(name, " ".join(text.split())) for name, text in told.items()])


def _with_text_as_it_is(params: list[Any]) -> list[Any]:
    """Typer's parameters, whose texts are handed over as they are, without typer's conversion."""
    for each in params:
        if "process_value" not in vars(each):
            each.process_value = partial(_process_value, each, each.process_value)
    return params


def _process_value(parameter: Any, typers: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if isinstance(value, str | list):
        return value
    if isinstance(value, tuple) and value:  # of an argument that takes several, from typer 0.29 on
        return [*value]
    if value is None and not parameter.required:
        return () if getattr(parameter, "multiple", False) else None  # typer below 0.26 counts what is repeated
    return typers(context, value)


def spelled_out(lists: Given, of: type, most: int = MOST_VALUES) -> dict[str, tuple[Any, ...]]:
    """Lists of options of a named tuple as their values. Raises InputError for a wrong value, or for too many."""
    found = {}
    for name, each in lists.items():
        option = declared(of)[name]
        if each.size() > most:
            raise InputError(f"{option.flag}: {each.size():,} values, above {most:,}: choose fewer")
        found[name] = tuple(each.values())
        for value in found[name]:
            option.check(option.flag, value)
    return found
