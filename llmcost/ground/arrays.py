"""A recorded program, done to arrays of any shape."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from llmcost.ground.recording import Program

Array: TypeAlias = npt.NDArray[Any]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "divide": np.divide,
    "floor_div": np.floor_divide,
    "**": operator.pow,  # numpy then takes a square root for a power of a half
    "expm1": np.expm1,
    "max": np.maximum,
    "min": np.minimum,
    "<=": np.less_equal,
}


def play(program: Program, inputs: Mapping[str, Array] | Mapping[str, float]) -> list[Array]:
    """The results on these inputs, which broadcast together: what depends on one axis alone is computed on it alone."""
    values: dict[int, Any] = {place: _as_float(value) for place, value in program.constants.items()}
    values |= {place: inputs[name] for place, name in program.inputs.items()}
    with np.errstate(all="ignore"):  # points that contradict each other are computed too, and left out later
        for function, operands, place, done in program.operations:
            action = FUNCTIONS[function] if isinstance(function, str) else function
            values[place] = action(*[values[each] for each in operands])
            for each in done:
                del values[each]
    return [values[place] for place in program.results]


def _as_float(value: Any) -> Any:
    """A number as the float64 that numpy makes of it beside an array; an int may be larger than its own ints hold."""
    return float(value) if isinstance(value, int | float) else value
