"""What a kind of kernel is: its operands, the right answer, and the ways in which installed software can run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

from llmcost.bench.device import Device
from llmcost.model.operators import Operator

Tensor = torch.Tensor
Index: TypeAlias = tuple[slice, ...]


class KernelCase(NamedTuple):
    """One operator to time, of whole sizes and computed in `dtype`.

    `backward`: its gradients are timed, without its forward pass. `every`: ways that are first compiled for this very
    shape, which takes seconds each, are tried too.
    """

    op: Operator
    dtype: str
    backward: bool = False
    every: bool = False


class Operands(NamedTuple):
    """The tensors that a kernel reads.

    `hot` are activations, which stay where the kernel before left them. `cold` are weights and caches, which come from
    memory.
    """

    hot: tuple[Tensor, ...]
    cold: tuple[Tensor, ...]

    def bytes(self) -> int:
        """Bytes of the cold operands."""
        return sum(each.numel() * each.element_size() for each in self.cold)


class Way(NamedTuple):
    """One way to run an operator: run(op, *hot, *cold) gives the answer, a tensor or several.

    `layout` stores the cold operands as `run` wants them; it is called once and not timed. `compiles`: the first call
    takes seconds, and a quick run tries such a way only where none before it has worked. `eager`: it is started by the
    host each time, outside of a graph, and its time stands beside that of the others. `last_resort`: it never wins
    where another way works, and is not tried there.
    """

    run: Callable[..., Any]
    layout: Callable[..., tuple[Tensor, ...]] = lambda *cold: cold
    compiles: bool = False
    eager: bool = False
    last_resort: bool = False


class Kind(NamedTuple):
    """What is needed to run one kind of operator.

    `operands` makes the tensors of a case. `expected` computes a part of the answer in float32, and says which part.
    `ways` names the ways to run a case, the likely winners first: what is far slower is then not timed at length.
    """

    operands: Callable[[Any, str, Device], Operands]
    expected: Callable[[Any, Operands], tuple[Index, Tensor]]
    ways: Callable[[KernelCase, Device], dict[str, Way]]


class UnsupportedError(Exception):
    """There is no kernel here for such an operator. The reason goes into its row."""
