"""Adapters among the operators of a forward pass: what runs beside an adapted product, and before a quantised one.

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
from llmcost.model.operators import OWN, Elementwise, Facts, GroupedGemm, Operator
from llmcost.model.operators.facts import Expert, Split


def with_adapters(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Layers with the adapters' operators, each behind the product that it stands beside."""
    return [each for op in layers for each in (op, *_beside(op, lora))]


def _beside(op: Any, lora: Lora) -> Iterator[Operator]:
    """The operators of an operator's adapters; none where it is not adapted."""
    found = beside(op, lora)
    if not found:
        return
    ranks, n = sum([each.rank for each in found]), sum([each.n for each in found])
    if op.facts.expert == "routed":  # of whose sums the products are made themselves
        of_expert = Facts("tokens", op.facts.reads, expert="routed", role="adapter")
        yield op._replace(name="experts_lora_a", n=ranks, bias=False, facts=of_expert)
        yield op._replace(name="experts_lora_b", k=lora.rank, n=n, bias=False, facts=of_expert._replace(reads=OWN))
        return
    first, second, total = _splits(op.facts.split)
    down, up = Facts(first, op.facts.reads, role="adapter"), Facts(second, OWN, role="adapter")
    yield op._replace(name="lora_a", n=ranks, bias=False, facts=down)
    yield op._replace(name="lora_b", k=lora.rank, n=n, bias=False, facts=up)
    yield Elementwise("lora_sum", op.part, op.count, op.b, op.s, 2 * n, n, 0, op.Bx, Facts(total, saves="nothing"))


def _splits(split: Split) -> tuple[Split, Split, Split]:
    """How A, B and the sum are split beside a product that is split so."""
    if split == "rows":
        return "rows", "tokens", "tokens"
    return ("tokens", split, "heads") if split in ("columns", "heads") else ("tokens", "tokens", "tokens")


def with_expansion(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Layers with a kernel before each quantised product that reads its weight and writes it in the type that computes.

    It runs in the forward pass, and again in the backward pass.
    """
    if lora.frozen_bits is None:
        return layers
    return [
        each for op in layers for each in ((_expansion(op, lora.frozen_bits), op) if is_quantised(op, lora) else (op,))
    ]


def _expansion(op: Any, bits: Number) -> Operator:
    """The kernel that reads a product's weight in so many bits and writes it in the type that computes."""
    weights = op.k * op.n * (op.groups if isinstance(op, GroupedGemm) else 1)
    expert: Expert = "routed" if op.facts.expert == "routed" else ""
    facts = Facts("heads", saves="nothing", expert=expert, role="expansion")
    name = "experts_dequantize" if expert else "dequantize"
    return Elementwise(name, op.part, op.count, 1, 1, weights * bits / 8 / op.Bx, weights, 0, op.Bx, facts)
