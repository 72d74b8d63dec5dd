"""A recorded run of the engine, played again on arrays."""

import math

import numpy as np
import pytest

from llmcost.ground import arrays, compiling
from llmcost.ground.algebra import expm1
from llmcost.ground.arrays import play
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


def test_every_operation_that_can_be_compiled_can_be_done_to_arrays():
    """A sweep of experts under vLLM ended in a KeyError: one table had e^x - 1, the other had not."""
    assert arrays.FUNCTIONS.keys() == compiling.CODE.keys()
    tape = Tape()
    answer = expm1(tape.input("x"))
    [found] = arrays.play(tape.program([answer]), {"x": np.array([0.0, 1.0])})
    assert found == pytest.approx([0, math.e - 1])
