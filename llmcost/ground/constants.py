"""Constants that were measured or that a vendor chose, as records: value, unit, spread, source.

Each is written once, by the code that it belongs to. Constants of definition (an hour has 3,600 seconds) are plain
numbers.
"""

from typing import NamedTuple


class Constant(NamedTuple):
    """One such constant, in base units.

    source: the measurements or pages that it rests on. unit: "" for a share. spread: what others have found; "" where
    nobody else's figure is known.
    """

    value: float
    source: str
    unit: str = ""
    spread: str = ""
