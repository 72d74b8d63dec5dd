"""A recorded run of the engine, played again on arrays."""

import numpy as np

from llmcost.ground.arrays import FUNCTIONS, play
from llmcost.ground.compiling import CODE
from llmcost.ground.recording import Tape


def test_an_operation_that_many_formulas_need_is_done_once_and_one_that_none_needs_never():
    tape = Tape()
    x, y = tape.input("x"), tape.input("y")
    first, second, unused = (2 * x + 1) * y, (2 * x + 1) / y, (x - y) ** 0.5
    program = tape.program([first, second])
    assert len(program.operations) == 4  # 2·x, +1, ·y, /y
    product, quotient = play(program, {"x": np.array([[1.0], [2.0]]), "y": np.array([[3.0, 4.0]])})
    assert product.tolist() == [[9, 12], [15, 20]]
    assert quotient.tolist() == [[1, 0.75], [5 / 3, 1.25]]
    assert len(tape.program([first, second, unused]).operations) == 6


def test_what_is_compiled_can_be_played_on_arrays_too():
    """A sweep takes what an estimate in a loop takes: e^x - 1 of experts under an engine was missing."""
    assert FUNCTIONS.keys() == CODE.keys()
    tape = Tape()
    (found,) = play(tape.program([tape.input("x").apply("expm1", tape.input("x"))]), {"x": np.array([0.0, 1.0])})
    assert found.tolist() == [0, np.expm1(1)]
