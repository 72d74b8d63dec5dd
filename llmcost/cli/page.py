"""What the page of `llmcost web` asks, answered by the commands themselves: it shows what `--json` prints.

A question names a command and gives its options as they would be typed. The same functions answer it behind the local
server and, without one, in the browser's own Python.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, NamedTuple

from llmcost.cli.command import call, function_of, parameters
from llmcost.ground.errors import InputError, SpecError, UnknownNameError, shortened
from llmcost.ground.options import Option

FILES = Path(__file__).resolve().parent.parent / "report" / "web"
ASKS = ("estimate", "ops", "explain", "train")
LANGUAGES = {"en": "words.json", "zh": "words.zh.json"}
FIRST = {"model": "llama3.1-8b", "hw": "h100-sxm", "batch": "16"}  # asked where the address says nothing
TOLD = ("what", "meaning", "limited_by", "of", "basis")  # keys of documents whose texts are prose
PRICES = re.compile(r"[\w.,=-]*", re.ASCII)  # dollars, and names of GPUs
NAMED = {"model": "models", "hw": "hardware", "engine": "engines"}  # controls that name a spec, which is a shipped one
LARGEST_TEXT = 200  # characters of an option
LARGEST_STEM = 60  # characters of the name of a model's file: each at most 4 of the 255 bytes that systems allow
LARGEST_FILE = 500_000  # characters of a model's file
VARIED = ("batch", "concurrency")  # what a curve is drawn along
MOST_VALUES = 40  # of it
POLICY = (  # what the page may load: files of its own, and no script or style within a document
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
PRINTING = Lock()  # what a command prints is caught, which one thread can do at a time


@cache
def words(language: str = "en") -> dict[str, Any]:
    """The page's words and its controls by group, in a language."""
    found: dict[str, Any] = json.loads((FILES / LANGUAGES[language]).read_text("utf-8"))
    return found


@cache
def controls() -> dict[str, Option | None]:
    """The options that the page has, by name: those of `words`, as their commands declare them; None for MODEL."""
    known = {name: each.what for command in ("train", "estimate") for name, each in _known(command).items()}
    names = [name for group in words()["groups"] for name in group["controls"]]
    return {name: what if isinstance(what := known[name], Option) else None for name in names}


def _known(command: str) -> Mapping[str, Any]:
    return parameters(function_of(command))


def setup() -> dict[str, Any]:
    """What the page is drawn from before anything is asked: words, controls, and names of what ships."""
    from llmcost.ground import __version__
    from llmcost.specs.catalog import names
    from llmcost.specs.optimised import OPTIMISED

    listed = {
        "model": names("models"),
        "hw": [*names("hardware"), *names("hardware/systems")],
        "engine": [OPTIMISED, *names("hardware/engines")],
    }

    def values(name: str, option: Option | None) -> list[str]:
        known = getattr(option.check, "keywords", {}).get("known", ()) if option else ()  # of a word of several
        return listed.get(name, [*known])

    return {
        "version": __version__,
        "first": FIRST,
        "words": {language: words(language) for language in LANGUAGES},
        "controls": {
            name: {
                "help": option.help if option else words()["model_help"],
                "default": option.shown_default() if option else "",
                "values": values(name, option),
            }
            for name, option in controls().items()
        },
    }


def as_json(document: Any) -> bytes:
    """A document as it is sent; half a letter, which a question can hold, is a question mark."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def reply(question: str | bytes) -> str:
    """The answer to a question, both as JSON. Raises ValueError or RecursionError where the question is none."""
    return as_json(answer(json.loads(question))).decode()


def answer(question: Any) -> dict[str, Any]:
    """The documents of a question, and what the command says beside them; or its error and the control that caused it.

    A question: `ask`, a command of `ASKS`; `options`, a text by name; `vary`, one of `VARIED` and a list of its values,
    each of which is answered; `file`, a name and the text of a model's config.json or YAML spec; `quantity` and
    `phase`, what `explain` and `ops` are asked for; `lang`, the language of prose in the documents, by default English.
    """
    try:
        documents, notes = _answers(question)
    except InputError as error:
        return {"error": _said_in(_language(question), str(error)), "control": _control_of(error)}
    if _language(question) == "zh":
        documents, notes = _told(documents, False), [_said_in("zh", each) for each in notes]
    return {"documents": documents, "notes": notes}


def _language(question: Any) -> str:
    asked = question.get("lang") if isinstance(question, dict) else None
    return "zh" if asked == "zh" else "en"


def _said_in(language: str, message: str) -> str:
    from llmcost.report.messages import told_message

    return told_message(message, language)


def _told(part: Any, is_prose: bool) -> Any:
    """A part of a document with its prose in Chinese."""
    if isinstance(part, dict):
        return {name: _told(each, name in TOLD) for name, each in part.items()}
    if isinstance(part, list):
        return [_told(each, is_prose) for each in part]
    if not (is_prose and isinstance(part, str)):
        return part
    from llmcost.report.phrases import translated

    return translated(part, "zh")


class Question(NamedTuple):
    """A question whose form is as `answer` says. `vary`: an option and its values; one of no name is none."""

    command: str
    options: Mapping[str, Any]
    vary: tuple[str, Sequence[str]]
    file: tuple[str, str] | None


def _answers(question: Any) -> tuple[list[Any], list[str]]:
    """Raises InputError also for a question that the page does not ask."""
    command, options, (name, values), file = _checked(question)
    documents, notes = [], ""
    with TemporaryDirectory() as folder:
        place = _written(Path(folder), file)
        texts = {**options, "json": True} | ({} if place is None else {"model": str(place)})
        for value in values:
            try:
                printed, notes = _printed(command, texts | ({name: value} if name else {}))
            except InputError as error:
                raise _said_of(error, place, file) from None
            documents.append(json.loads(printed))
    said = [line.removeprefix("llmcost: ") for line in notes.splitlines()]
    return documents, said


def _checked(question: Any) -> Question:
    """A question's parts. Raises InputError where one is not as `answer` says."""
    asked = question if isinstance(question, dict) else {}
    command = asked.get("ask")
    if command not in ASKS:
        raise InputError(f"a question asks one of {', '.join(ASKS)}")
    known = _known(command)
    options = {name: text for name, text in _options(asked.get("options", {})).items() if name in known}
    repeated = {name for name in options if (option := controls()[name]) is not None and option.repeated}
    file = _file(asked.get("file"))
    if file is None and "model" not in options:
        raise InputError("MODEL: which one?")
    for each, kind in NAMED.items():
        if each in options and not (each == "model" and file):
            _refuse_unknown(each, kind, options[each])
    for part in filter(None, options.get("price", "").split(",")):
        _refuse_file(part)
    more = {each: _text(each, asked[each]) for each in ("quantity", "phase") if each in asked and each in known}
    beside: dict[str, Any] = {each: [text] if each == "quantity" else text for each, text in more.items()}
    given = {name: [text] if name in repeated else text for name, text in options.items()}
    return Question(command, given | beside, _varied(asked.get("vary")), file)


def _options(given: Any) -> dict[str, str]:
    """Options as texts, without those that are empty. Raises InputError for one that the page has not."""
    if not isinstance(given, dict):
        raise InputError("options are texts by name")
    for name in given:
        if name not in controls():
            raise InputError(f"no control {shortened(str(name))!r}")
    texts = {name: _text(name, text).strip() for name, text in given.items()}
    return {name: text for name, text in texts.items() if text}


def _text(name: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > LARGEST_TEXT:
        raise InputError(f"--{name.replace('_', '-')}: a text of at most {LARGEST_TEXT} characters")
    return text


def _varied(given: Any) -> tuple[str, Sequence[str]]:
    if given is None:
        return "", ("",)
    if not (isinstance(given, list) and len(given) == 2 and isinstance(given[1], list) and given[0] in VARIED):
        raise InputError(f"what varies is one of {', '.join(VARIED)}, and a list of its values")
    name, values = given
    if len(values) > MOST_VALUES:
        raise InputError(f"--{name}: at most {MOST_VALUES} values")
    return name, [_text(name, value) for value in values]


def _file(given: Any) -> tuple[str, str] | None:
    if given is None:
        return None
    name, text = (given.get(each) for each in ("name", "text")) if isinstance(given, dict) else (None, None)
    if not isinstance(text, str) or len(text) > LARGEST_FILE:
        raise InputError(f"MODEL: a file of at most {LARGEST_FILE:,} characters")
    return _text("model", name), text


def _refuse_unknown(control: str, kind: str, text: str) -> None:
    """Raise UnknownNameError for a name that is not shipped: the page opens no file."""
    from llmcost.specs.catalog import find, split_gpus
    from llmcost.specs.optimised import OPTIMISED

    if control == "engine" and text == OPTIMISED:
        return
    find(kind, split_gpus(text)[0] if control == "hw" else text, files=False)


def _refuse_file(price: str) -> None:
    """Raise InputError for a price that is a file, or of a GPU that is not shipped: the page opens no file."""
    name, mark, _ = price.strip().rpartition("=")
    if not PRICES.fullmatch(price.strip()) or price.endswith((".yaml", ".yml")):
        raise InputError(f"--price {shortened(price)}: dollars a GPU-hour, as in 2.5 or h100=2.5")
    if mark:
        try:
            _refuse_unknown("hw", "hardware", name)
        except UnknownNameError as error:
            raise InputError(f"--price {shortened(price)}: {error}") from None


def _written(folder: Path, file: tuple[str, str] | None) -> Path | None:
    """Where the model's file now stands, in a folder that is called as the file was; None without one."""
    if file is None:
        return None
    name, text = file
    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(name).stem).strip(".")[:LARGEST_STEM]
    place = folder / (stem if stem not in ("", "config") else "model") / "config.json"
    if name.endswith((".yaml", ".yml")):
        place = place.with_name("model.yaml")
    place.parent.mkdir()
    place.write_text(text, "utf-8", errors="replace")
    return place


def _said_of(error: InputError, place: Path | None, file: tuple[str, str] | None) -> InputError:
    """An error as the page says it: a file by the name that it was given."""
    if place is None or file is None:
        return error
    if isinstance(error, SpecError):
        return SpecError(error.file.replace(str(place), file[0]), error.line, error.field, error.problem)
    return InputError(str(error).replace(str(place), file[0]).replace(str(place.parent), file[0]))


def _printed(command: str, texts: Mapping[str, Any]) -> tuple[str, str]:
    """What a command prints on stdout and on stderr. Raises InputError."""
    out, said = io.StringIO(), io.StringIO()
    with PRINTING, redirect_stdout(out), redirect_stderr(said):
        call(function_of(command), texts)
    return out.getvalue(), said.getvalue()


def _control_of(error: InputError) -> str:
    """The control whose option the message names first; "" where it names none."""
    if isinstance(error, UnknownNameError):
        named = {"model": "model", "hardware": "hw", "engine": "engine", "training engine": "engine"}
        return next((control for kind, control in named.items() if str(error).startswith(f"unknown {kind} ")), "")
    if isinstance(error, SpecError) or str(error).startswith("MODEL"):
        return "model"
    flags = (name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]*)", str(error)))
    return next((name for name in flags if name in controls()), "")
