"""What a kind of kernel is: its operands, the right answer, and the ways in which the installed software can run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

from llmcost.bench.device import Device
from llmcost.model.operators import Operator

Tensor = torch.Tensor
Index: TypeAlias = tuple[slice, ...]


class KernelCase(NamedTuple):
    """One operator, its sizes whole numbers, computed in `dtype`; `backward` times its gradients alone.

    `every`: try also the ways that have to be compiled for this shape first, seconds each.
    """

    op: Operator
    dtype: str
    backward: bool = False
    every: bool = False


class Operands(NamedTuple):
    """`hot`: activations, where the kernel before left them. `cold`: weights and caches, which come from memory."""

    hot: tuple[Tensor, ...]
    cold: tuple[Tensor, ...]

    def bytes(self) -> int:
        """Bytes of the cold ones."""
        return sum(each.numel() * each.element_size() for each in self.cold)


class Way(NamedTuple):
    """run(op, *hot, *cold) is the answer, a tensor or several; `layout` stores the cold operands as it wants them,
    once.

    `compiles`: the first call takes seconds. A quick run tries such a way only where none before it has worked.
    """

    run: Callable[..., Any]
    layout: Callable[..., tuple[Tensor, ...]] = lambda *cold: cold
    compiles: bool = False


class Kind(NamedTuple):
    """Everything needed to run one kind of operator.

    `expected` gives the answer in float32 for a part of the output, and says which part that is. `ways` come in the
    order in which they are tried: the likely winners first, for what is far slower is then not timed at length.
    """

    operands: Callable[[Any, str, Device], Operands]
    expected: Callable[[Any, Operands], tuple[Index, Tensor]]
    ways: Callable[[KernelCase, Device], dict[str, Way]]


class UnsupportedError(Exception):
    """No kernel here for such an operator: the reason goes into the row."""
