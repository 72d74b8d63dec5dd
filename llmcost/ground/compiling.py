"""A recorded program as a Python function of plain numbers: the engine's run without the engine.

The function does to its arguments, one after the other, what the run did to its sizes. Whole numbers stay whole
numbers, so the answer is that of the run. It is 10 to 40 times as fast; making it takes as long as some 25 runs
(benchmarks/speed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from math import expm1, isfinite
from typing import Any

from llmcost.ground.algebra import divide
from llmcost.ground.recording import Recorded, Tape

# What each operation of a tape is in Python; {0} and {1} are names or numbers.
CODE = {
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
    "/": "{0} / {1}",
    "divide": "divide({0}, {1})",
    "floor_div": "int({0} // {1})",  # a count
    "**": "{0} ** {1}",
    "expm1": "expm1({0})",
    "max": "{1} if {1} > {0} else {0}",
    "min": "{1} if {1} < {0} else {0}",
    "<=": "{0} <= {1}",
}


def compiled(tape: Tape, arguments: Sequence[str], answer: Any) -> Callable[..., Any]:
    """What gives the answer, a tree of tuples that holds recorded values, with numbers in their place.

    `arguments`: the tape's inputs by name, in the order in which the function takes them; it may have more.
    """
    program = tape.program(list(_recorded(answer)))
    bound: dict[str, Any] = {"divide": divide, "expm1": expm1, "new": tuple.__new__}
    names = dict(program.inputs)
    names |= {place: _constant(value, bound) for place, value in program.constants.items()}
    lines: list[str] = []
    free: list[str] = []  # variables whose value nothing needs any more
    fresh = (f"v{number}" for number in count())
    variables: dict[int, str] = {}
    for function, operands, place, done in program.operations:
        code = CODE[function] if isinstance(function, str) else _call(function, len(operands), bound)
        action = code.format(*[names[each] for each in operands])
        free += [variables[each] for each in done if each in variables]
        names[place] = variables[place] = free.pop() if free else next(fresh)
        lines.append(f"    {names[place]} = {action}\n")
    head = f"def function({', '.join(arguments)}):\n"
    exec(f"{head}{''.join(lines)}    return {_tree(answer, names, bound)}\n", bound)  # noqa: S102 - made here, of numbers
    made: Callable[..., Any] = bound["function"]
    return made


def _recorded(answer: Any) -> Iterator[Recorded]:
    """The recorded values in a tree of tuples."""
    if isinstance(answer, Recorded):
        yield answer
    elif isinstance(answer, tuple):
        for each in answer:
            yield from _recorded(each)


def _tree(answer: Any, names: dict[int, str], bound: dict[str, Any]) -> str:
    """The code that makes the tree; parts that hold no recorded value are shared by all answers."""
    if isinstance(answer, Recorded):
        return names[answer.place]
    if not list(_recorded(answer)):
        return _constant(answer, bound)
    parts = "".join(f"{_tree(each, names, bound)}, " for each in answer)
    return f"new({_constant(type(answer), bound)}, ({parts}))"


def _constant(value: Any, bound: dict[str, Any]) -> str:
    """A constant in code: a number as it is written, all else by a name that is bound to it."""
    if type(value) in (int, float) and isfinite(value) and value >= 0:
        return repr(value)
    name = f"c{len(bound)}"
    bound[name] = value
    return name


def _call(function: Callable[..., Any], operands: int, bound: dict[str, Any]) -> str:
    return f"{_constant(function, bound)}({', '.join(f'{{{place}}}' for place in range(operands))})"
