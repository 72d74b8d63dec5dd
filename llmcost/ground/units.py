"""Units for people: reading `24 GB` or `15T`, printing 17.1 GB or 19.3 GFLOP.

Inside the program everything is in bytes, FLOPs, seconds and watts. A GB is always 10⁹ bytes, a GiB 2³⁰.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from llmcost.ground.errors import not_finite

if TYPE_CHECKING:
    from fractions import Fraction

DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
HOUR, DAY = 3600, 86_400  # seconds
KILOWATT = 1000  # watts
YEAR = 365 * DAY  # as the source documents reckon GPU-years
# Bits of an element, without scales and zero points, which model/formats.py counts.
BITS: dict[str, float] = {
    "fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp6": 6, "fp4": 4, "int4": 4,
}  # fmt: skip

_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([A-Za-z/]+)", re.ASCII)
_DECIMAL = re.compile(r"\d{0,15}\.?\d{1,18}(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(
    r"((?:0|[1-9]\d*|[1-9]\d{0,2}(?:[,_]\d{3})+)(?:\.\d+)?)(?:e\+?(\d{1,2})|([kmbgt]?))", re.ASCII | re.IGNORECASE
)


def parse_quantity(text: str, unit: str) -> int | float:
    """A figure in base units: `24 GB` in bytes ("B"), `1008 GB/s` ("B/s"), `165 TFLOPS` ("FLOPS"), `450 W` ("W").

    TOPS, as data sheets say of integer formats, means the same as TFLOPS. The result is an int wherever it is whole.
    Raises ValueError in words.
    """
    match = _QUANTITY.fullmatch(text)
    expected = {"B": "24 GB", "B/s": "1008 GB/s", "FLOPS": "165 TFLOPS", "W": "450 W"}[unit]
    problem = f"expected a figure with its unit, as in '{expected}', got {text[:40]!r}"
    if not match:
        raise ValueError(problem)
    figure, written = match.groups()
    if unit == "FLOPS" and not written.endswith("FLOPS"):
        written = re.sub("OPS$", "FLOPS", written)
    prefixes = DECIMAL | BINARY if unit == "B" else DECIMAL
    scale = prefixes.get(written.removesuffix(unit))
    if not written.endswith(unit) or scale is None:
        raise ValueError(problem)
    value, remainder, divisor = _times(figure, scale)
    if value == 0 and remainder == 0:
        raise ValueError(f"must be above 0, got {text[:40]!r}")
    return value if remainder == 0 else value + remainder / divisor


def parse_count(text: str, thousand: int = 1000) -> int:
    """`8192`, `8k`, `15T`, `300B` or `1e4` as an integer.

    k is 1000 for tokens and parameters, 1024 for lengths (`thousand=1024`); m, b (or g) and t are its powers. Commas
    or _ may stand before every three digits (`1,024`), nowhere else: `8,16` is no number. Nor does a number begin with
    0: `024` is what a list makes of the second half of `1,024`. Raises ValueError in words.
    """
    match = _COUNT.fullmatch(text)
    if not match or len(text) > 30:
        raise ValueError(f"expected a number such as 8192, 8k or 15T, got {text[:30]!r}")
    figure, exponent, suffix = re.sub("[,_]", "", match[1]), match[2], match[3] or ""
    power = {"": 0, "k": 1, "m": 2, "b": 3, "g": 3, "t": 4}[suffix.lower()]
    value, remainder, _ = _times(figure, 10 ** int(exponent) if exponent else int(thousand**power))
    if remainder:
        raise ValueError(f"expected a whole number, got {text[:30]!r}")
    return value


def _times(figure: str, scale: int) -> tuple[int, int, int]:
    """A decimal figure times a scale, in integers: the whole part, and the remainder over its divisor.

    1.1 TB is 1,100,000,000,000 bytes, not a float near it.
    """
    whole, _, fraction = figure.partition(".")
    divisor = int(10 ** len(fraction))
    return *divmod(int(whole + fraction) * scale, divisor), divisor


def parse_length(text: str) -> int:
    """Tokens of a sequence: `8k` is 8,192. Raises ValueError in words."""
    return parse_count(text, 1024)


def parse_decimal(text: str) -> Fraction:
    """`0.9`, `2.5` or `1e4`, exactly. Raises ValueError in words."""
    from fractions import Fraction  # 3 ms that most answers do not need

    if not _DECIMAL.fullmatch(text.removeprefix("-")):
        raise ValueError(f"expected a number such as 0.9, got {text[:30]!r}")
    if text.startswith("-"):
        raise ValueError(f"expected a number from 0 on, got {text[:30]!r}")
    return Fraction(text)


def parse_share(text: str) -> Fraction:
    """`0.5` or `50%`, exactly. Raises ValueError in words."""
    return parse_decimal(text[:-1]) / 100 if text.endswith("%") else parse_decimal(text)


def parse_milliseconds(text: str) -> Fraction:
    """`300`, `300ms` or `0.3s` as milliseconds, exactly. Raises ValueError in words."""
    if text.endswith("s") and not text.endswith("ms"):
        return 1000 * parse_decimal(text[:-1].rstrip())
    return parse_decimal(text.removesuffix("ms").rstrip())


def scaled(value: float, unit: str, digits: int = 3) -> str:
    """1.608e10 and "B" as `16.1 GB`: so many figures, a decimal prefix."""
    for prefix in ("E", "P", "T", "G", "M", "K"):
        if abs(_rounded(value, digits)) >= DECIMAL[prefix]:
            return f"{significant(value / DECIMAL[prefix], digits)} {prefix}{unit}"
    return f"{significant(value, digits)} {unit}"


def amount(count: float, digits: int = 3) -> str:
    """8030261248 as `8.03 B`: parameters and tokens, as people count them (K, M, B, T)."""
    return scaled(count, "", digits).rstrip().replace("G", "B")


def significant(value: float, digits: int = 3) -> str:
    """A value to so many significant figures, without an exponent; a larger one is printed whole, as 4,274."""
    if value == 0:
        return "0"
    if not isfinite(value):
        raise not_finite()
    if abs(value) < 10**digits:
        value = _rounded(value, digits)
    whole_figures = len(str(int(abs(value))))
    decimals = digits - whole_figures if abs(value) >= 1 else digits - 1 + _leading_zeros(value)
    return f"{value:,.{max(decimals, 0)}f}"


def counted(number: int, thing: str, several: str = "") -> str:
    """`1 request`, `1,000 requests`; `several`: of more than one, where that is not the word with an s."""
    return f"{number:,} {thing if number == 1 else several or thing + 's'}"


def seconds(value: float) -> str:
    """A duration to three figures, in the unit that a person would use: s, ms, µs or ns."""
    if value == 0:
        return "0 s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if _rounded(value, 3) >= size:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value / 1e-9)} ns"


def _rounded(value: float, digits: int) -> float:
    """To so many figures, which is done before a unit is chosen: 999.96 MB is 1.00 GB, not 1,000 MB."""
    return float(f"{value:.{digits - 1}e}")


def _leading_zeros(value: float) -> int:
    """Of a value below 1: zeros before its first figure, the one before the point included."""
    return -int(f"{value:e}".split("e")[1])
