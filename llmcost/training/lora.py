"""Adapters among the operators of a forward pass: what runs beside each adapted product, and what quantised weights
cost.

Beside a frozen product run A, B and a sum. All adapters of one product share their A's kernel: A of (k, ranks), B of
(rank, n). Beside a product split by columns B is split by columns, beside one split by rows A is split by rows, as
its input is (NVIDIA NeMo, collections/nlp/modules/common/megatron/adapters). The rest is the same on every GPU of a
tensor-parallel group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmcost.ground.algebra import Number
from llmcost.model.lora import Lora, beside, is_quantised
from llmcost.model.operators import Elementwise, GroupedGemm, Operator
from llmcost.parallel.split import COLUMNS, EXPERTS, ROWS
from llmcost.training.activations import AFTER_ATTENTION, SAME_INPUT


def with_adapters(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Layers with the adapters' operators, each behind the product that it stands beside."""
    return [each for place, op in enumerate(layers) for each in (op, *_beside(op, layers[place:], lora))]


def _beside(op: Any, behind: list[Operator], lora: Lora) -> Iterator[Operator]:
    found = beside(op, behind, lora)
    if not found:
        return
    ranks, n = sum([each.rank for each in found]), sum([each.n for each in found])
    first, second, total = _names(op)
    yield op._replace(name=first, n=ranks, bias=False)
    yield op._replace(name=second, k=lora.rank, n=n, bias=False)
    if total is not None:
        yield Elementwise(total, op.part, op.count, op.b, op.s, 2 * n, n, 0, op.Bx)


def _names(op: Any) -> tuple[str, str, str | None]:
    """By which the sharding and the accounting of activations know A, B and the sum; experts' sums are part of their products."""
    if op.name in EXPERTS:
        return "experts_lora_a", "experts_lora_b", None
    if op.name in ROWS:
        return "lora_output_a" if op.name in AFTER_ATTENTION else "lora_rows_a", "lora_b", "lora_sum"
    first = "lora_same_a" if op.name in SAME_INPUT else "lora_a"
    return (first, "lora_columns_b", "lora_columns_sum") if op.name in COLUMNS else (first, "lora_b", "lora_sum")


def with_expansion(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Before each quantised product a kernel that reads its weight and writes it as it computes, forward and backward anew."""
    if lora.frozen_bits is None:
        return layers
    return [
        each for op in layers for each in ((_expansion(op, lora.frozen_bits), op) if is_quantised(op, lora) else (op,))
    ]


def _expansion(op: Any, bits: Number) -> Operator:
    weights = op.k * op.n * (op.groups if isinstance(op, GroupedGemm) else 1)
    name = "experts_dequantize" if op.name in EXPERTS else "dequantize"
    return Elementwise(name, op.part, op.count, 1, 1, weights * bits / 8 / op.Bx, weights, 0, op.Bx)
