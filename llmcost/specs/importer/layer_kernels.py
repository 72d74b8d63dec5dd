"""The kernels of a layer as a checkpoint's names and formats see them: which linear layers are packed in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import gcd
from typing import Any

from llmcost.ground.algebra import Number
from llmcost.model.blocks import MIXERS, MLPS, Builder
from llmcost.model.operators import Gemm, GroupedGemm, Operator
from llmcost.model.sizes import ElementBytes, Load

Packed = dict[str, tuple[str, ...]]  # operators of a module -> the linear layers packed in each, by each naming
Linear = dict[str, frozenset[str]]  # modules -> the names of all linear layers that they have in some layer
PLACES = ((MIXERS, "mixer", "attention"), (MLPS, "mlp", "gated"))
SIXTEEN_BITS = "bf16"


def packed(layer: dict[str, Any]) -> dict[str, Packed]:
    """For each module of a layer, its operators and the linear layers packed in each of them, by each naming."""
    found: dict[str, Packed] = {}
    for kinds, place, usual in PLACES:
        for op in kernels_of(kinds[layer.get(place, usual)], layer):
            if op.facts.modules:
                found.setdefault(op.facts.module(op.part), {})[op.name] = op.facts.modules
    return found


def packed_all(layers: list[dict[str, Any]]) -> list[dict[str, Packed]]:
    """The same of every layer; most are as the one before."""
    parts: list[dict[str, Packed]] = []
    for position, layer in enumerate(layers):
        as_before = position > 0 and layer == layers[position - 1]
        parts.append(parts[-1] if as_before else packed(layer))
    return parts


def linear_layers(layer: dict[str, Any]) -> frozenset[str]:
    """The names of all linear layers of a layer, routers and experts included, in a prompt and in a decode step."""
    kinds = (MIXERS[layer.get("mixer", "attention")], MLPS[layer.get("mlp", "gated")])
    return frozenset(op.name for kind in kinds for op in kernels_of(kind, layer) if isinstance(op, Gemm | GroupedGemm))


def widths_of(layer: dict[str, Any], module: str, operator: str) -> dict[str, int]:
    """The outputs of each linear layer that is packed in an operator, by its first naming; of equal ones 1 each."""
    layer = {"v_head_dim": layer.get("head_dim"), **layer}  # as where a spec is read
    for kinds, place, usual in PLACES:
        for op in kernels_of(kinds[layer.get(place, usual)], layer, as_large=True):
            if op.name == operator and op.facts.modules and op.facts.module(op.part) == module:
                names = op.facts.modules[0].split()
                return dict(zip(names, map(int, op.facts.widths or [1] * len(names)), strict=True))
    return {}


def mix_of(shares: Counter[str]) -> str:
    """One format, or parts of several in their smallest whole numbers, as 5*q4_k+q6_k."""
    if len(shares) == 1:
        return next(iter(shares))
    divisor = gcd(*shares.values())
    parts = [(count // divisor, form) for form, count in sorted(shares.items())]
    return "+".join(form if count == 1 else f"{count}*{form}" for count, form in parts)


def kernels_of(kind: Any, layer: dict[str, Any], *, as_large: bool = False) -> Iterator[Operator]:
    """The kernels of a block, in a prompt and in a decode step.

    All sizes are 1, since which kernels run is structure; `as_large`: those of the layer.
    """
    types, defaults = kind.__annotations__, kind._field_defaults
    given = {field: defaults.get(field, 1) if layer.get(field) is None else layer[field] for field in kind._fields}
    size_of = _whole_of if as_large else _one_of
    block = kind(**{field: size_of(value) if types[field] is Number else value for field, value in given.items()})
    for decode in (False, True):
        load = Load(1, 1, 1, decode)
        yield from block.operators(Builder(1, 1, rotary=True, norm="rms", load=load, bytes=ElementBytes(1, 1, 1)))


def _whole_of(size: Any) -> Any:
    """A size, and 1 for what is none."""
    return size if isinstance(size, int | float) else 1


def _one_of(size: Any) -> Any:
    """1 for a size, or what there is none of; also for what is no size, which is refused where the spec is read."""
    return min(1, size) if isinstance(size, int | float) else 1


def naming_of(namings: tuple[str, ...], named: frozenset[str]) -> list[str]:
    """The linear layers of an operator by the first of its namings of which one is named; by the first where none is.

    A pattern for v_proj names qkv_proj too, which is what other checkpoints have in the place of three.
    """
    lines = [naming.split() for naming in namings]
    return next((line for line in lines if named.intersection(line)), lines[0])


def linear_of(parts: list[dict[str, Packed]]) -> Linear:
    """The names of all linear layers that a module has in some layer."""
    found: Linear = {}
    for operators_of in parts:
        for module, operators in operators_of.items():
            found[module] = found.get(module, frozenset()) | linear_in(operators)
    return found


def linear_in(operators: Packed) -> frozenset[str]:
    """The names of all linear layers in operators, by any naming."""
    return frozenset(name for lines in operators.values() for line in lines for name in line.split())
