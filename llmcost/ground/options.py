"""What an option is: declared once, on the field that holds its value.

    class Options(NamedTuple):
        batch: Annotated[Number, count("Sequences at a time.", short="-b", letter="b")] = 1

From this come its flag, help and default on the command line, the lists that some commands make of it, the check of
its value wherever that comes from, and its letter in formulas.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable, Mapping
from functools import cache, partial
from numbers import Real
from os import PathLike, fspath
from os.path import lexists
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from llmcost.ground.errors import InputError, check_count, check_number, check_share, check_word, shortened
from llmcost.ground.units import parse_count, parse_decimal, parse_length, parse_milliseconds, parse_share

if TYPE_CHECKING:
    from llmcost.ground.ranges import Axis, Names

Word: TypeAlias = Any  # a name, or None where a default stands for it: as Number, of one type to what computes with it
MOST = 10**9  # of anything that is counted, unless its option says otherwise
# Readers that ranges are made with.
NUMBERS = (parse_count, parse_length, parse_decimal, parse_share, parse_milliseconds)
# What engines and checkpoints call a word of an option. AWQ and GPTQ: the usual 4 bits with groups of 128, zero points
# kept (as AutoAWQ and AutoGPTQ write them).
SYNONYMS = {
    "float32": "fp32", "f32": "fp32", "float16": "fp16", "half": "fp16", "f16": "fp16", "bfloat16": "bf16",
    "float8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8_e4m3fn": "fp8",
    "awq": "int4-g128-zp", "gptq": "int4-g128-zp",
    "adamw": "adam", "adamw-8bit": "adam-8bit",
}  # fmt: skip


def parse_word(text: str, known: tuple[str, ...] = ()) -> str:
    """A name, in small letters where so it is one of the known words, and by its usual name where it has several.

    Parts joined by + are read each. Raises ValueError for a list.
    """
    if "," in text:
        raise ValueError("one name, without a comma")
    return "+".join(_as_known(part, known) for part in text.split("+"))


def parse_name(text: str) -> str:
    """A name of a spec, or a path to one. Raises ValueError for a list, which is none."""
    if "," in text and not lexists(text):
        raise ValueError("one name, without a comma")
    return text


def _as_known(name: str, known: tuple[str, ...]) -> str:
    written = name.lower()
    return next((word for word in (written, SYNONYMS.get(written)) if word in known), name)


def _anything(option: str, value: Any) -> None:
    """No check: what uses the value checks it."""


class Option(NamedTuple):
    """What a user may choose.

    `read` makes a value of text and raises ValueError in words; None: a flag, which takes no text. `check` raises
    InputError for a value that makes no sense whatever the model. `default`: in words, where None stands for what
    depends on other things. `letter`, `meaning`: in formulas, of a size; what has no letter is structure.
    `repeated`: may stand several times. `name` and `value` are the field's own name and default (see `declared`).
    """

    help: str
    read: Callable[[str], Any] | None = str
    metavar: str = "NAME"
    check: Callable[[str, Any], None] = _anything
    short: str = ""
    long: str = ""  # --name, unless it is called something else
    default: str = ""
    letter: str = ""
    meaning: str = ""
    repeated: bool = False
    name: str = ""
    value: Any = None

    @property
    def flag(self) -> str:
        """The long form on the command line; of a flag that may be denied too, --name/--no-name."""
        name = self.name.replace("_", "-")
        deniable = self.read is None and self.value is not False
        return self.long or (f"--{name}/--no-{name}" if deniable else f"--{name}")

    def typed(self, value: Any) -> str:
        """How a value is typed on the command line, flag and all."""
        if self.read is None:
            return self.flag.split("/")[not value]
        return f"{self.flag} {value}"

    def one(self, text: str) -> Any:
        """The value that `text` means, checked; a decimal as a float. Raises InputError."""
        assert self.read is not None
        try:
            value = self.read(text)
        except ValueError as error:
            raise InputError(f"{self.flag} {shortened(text)}: {error}") from None
        value = float(value) if hasattr(value, "numerator") and not isinstance(value, int) else value
        self.check(self.flag, value)
        return value

    def given(self, value: Any) -> Any:
        """A value from Python: None is the default, and text is read as on the command line ("8k").

        Raises InputError for a type that makes no such value.
        """
        if value is None:
            return self.value
        if isinstance(value, str | PathLike) and self.read is not None:
            return self.one(fspath(value))
        number = isinstance(value, Real) and not isinstance(value, bool)
        if self.read in (parse_count, parse_length):
            expected = "" if number and value % 1 == 0 else "a whole number"
            value = value if expected else int(value)
        elif self.read in NUMBERS:
            expected = "" if number else "a number"
            value = value if expected or isinstance(value, int) else float(value)
        elif self.read is None:
            expected = "" if isinstance(value, bool) else "True or False"
        else:
            expected = "" if isinstance(value, Hashable) and not number else "text"
        if expected:
            raise InputError(f"{self.flag}: expected {expected}, got {reprlib.repr(value)}")
        return value

    def several(self, text: str) -> Axis | Names:
        """The values that a list means, not spelled out yet. Raises InputError."""
        from llmcost.ground.ranges import parse_axis, parse_names

        if self.read in NUMBERS:
            return parse_axis(self.flag, text, self.read)
        names = parse_names(self.flag, text)
        return names if self.read is None else names._replace(names=tuple(map(self.read, names.names)))

    def shown_default(self) -> str:
        """The default as help shows it; "" where there is none to show."""
        if self.default or self.value in (None, (), False):
            return self.default
        if self.read is None:  # a flag that is on
            return self.flag.partition("/")[0]
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)


@cache
def declared(options: Any) -> dict[str, Option]:
    """The options that a named tuple's fields declare, by name, in order."""
    defaults = options._field_defaults
    found = {name: getattr(kind, "__metadata__", (None,))[0] for name, kind in options.__annotations__.items()}
    return {
        name: option._replace(name=name, value=defaults.get(name))
        for name, option in found.items()
        if isinstance(option, Option)
    }


def given(kind: Any, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Values from Python for the options that `kind` declares. Raises TypeError for a name that is none of them."""
    known = declared(kind)
    for name in chosen:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise TypeError(f"no option {name!r}; nearest: {', '.join(near)}")
    return {name: known[name].given(value) for name, value in chosen.items()}


def as_typed(options: Any) -> list[str]:
    """What to type for a named tuple of options: those that are not at their default."""
    words = []
    for name, option in declared(options.__class__).items():
        value = getattr(options, name)
        if value == option.value:
            continue
        yes, _, no = option.flag.partition("/")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        words += [yes if value else no] if option.read is None else [yes, str(value)]
    return words


def check_options(options: Any) -> None:
    """Raise InputError for a value of a named tuple of options that makes no sense by itself; None is none."""
    for name, option in declared(options.__class__).items():
        value = getattr(options, name)
        if value is not None:
            option.check(option.flag, value)


def count(help: str, metavar: str = "N", most: int = MOST, least: int = 1, **more: Any) -> Option:  # noqa: A002
    """An option that counts something: 8192, 8k (8,000), 15T."""
    return Option(help, parse_count, metavar, partial(check_count, most=most, least=least), **more)


def length(help: str, **more: Any) -> Option:  # noqa: A002
    """An option that counts tokens of a sequence: 8k is 8,192."""
    return Option(help, parse_length, "TOKENS", partial(check_count, most=MOST), **more)


def share(help: str, **more: Any) -> Option:  # noqa: A002
    """An option that is a share of 1, above 0."""
    return Option(help, parse_share, "SHARE", check_share, **more)


def number(help: str, metavar: str, read: Callable[[str], Any] = parse_decimal, **more: Any) -> Option:  # noqa: A002
    """An option that is any number from 0 on, a decimal too."""
    return Option(help, read, metavar, **{"check": check_number} | more)


def word(help: str, known: tuple[str, ...], metavar: str = "", parts: int = 1, **more: Any) -> Option:  # noqa: A002
    """An option that is one of some words, or up to so many `parts` of them joined by +."""
    check = partial(check_word, known=known, parts=parts)
    return Option(help, partial(parse_word, known=known), metavar or "|".join(known), check, **more)


def flag(help: str, **more: Any) -> Option:  # noqa: A002
    """An option that is given or not."""
    return Option(help, None, "", **more)
