"""Fine-tuning with adapters: LoRA's trainable parameters and products, by target, from the operator list.

LoRA (arXiv 2106.09685, section 4.1): beside a frozen weight of (k, n) stand A of (k, r) and B of (r, n), which alone
are trained. Frozen weights have no gradients, no moments and no master copy; of their backward products the gradient
of the input is left. QLoRA (arXiv 2305.14314, section 3) keeps them in 4 bits and expands them to bf16 wherever they
are used.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from llmcost.ground.algebra import Number, floor_div
from llmcost.ground.errors import InputError
from llmcost.model.operators import Gemm, GroupedGemm, Operator

# Bits a weight of 4-bit NormalFloat with its scales: one of 32 bits for 64 weights, itself in 8 bits with one of 32
# for 256 scales (arXiv 2305.14314, section 3, "Double Quantization": 0.127 bits a weight).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
ALL_LINEAR = "all-linear"
ATTENTION_TARGETS = ("q_proj", "v_proj")  # LoRA's own choice (arXiv 2106.09685, section 7.1), and peft's for Llama
PREFIXES = {"": "", "routed": "experts_", "shared": "shared_"}  # before the names of their modules


class Lora(NamedTuple):
    """Rank and targets of the adapters. `frozen_bits`: bits a frozen linear weight is stored in; None: those that compute."""

    rank: Number
    targets: tuple[str, ...]
    frozen_bits: Number | None = None


class Adapter(NamedTuple):
    """One adapter beside a frozen product of (k, n), `groups` of them where it has a weight for each expert."""

    operator: str
    module: str
    count: Number
    groups: Number
    k: Number
    n: Number
    rank: Number

    def params(self) -> Number:
        """A and B of all layers."""
        return self.count * self.groups * self.rank * (self.k + self.n)


def modules(op: Operator) -> tuple[str, ...]:
    """The names under which frameworks adapt this product's parts: it is one, or several packed in one."""
    facts = op.facts
    packed = facts.modules[0].split() if facts.modules else []
    return tuple(f"{PREFIXES[facts.expert]}{name}" for name in packed) if len(packed) > 1 else (op.name,)


def adapters(layers: Iterable[Operator], lora: Lora) -> list[Adapter]:
    """Every adapter of some layers' operators. A fused product as a target of its own has one adapter (Megatron's linear_qkv)."""
    return [each for op in layers for each in beside(op, lora)]


def beside(op: Operator, lora: Lora) -> list[Adapter]:
    """The adapters of one operator, of which there are some if it is a product."""
    if not isinstance(op, (Gemm, GroupedGemm)):
        return []
    groups = op.groups if isinstance(op, GroupedGemm) else 1
    return [Adapter(op.name, module, op.count, groups, op.k, n, lora.rank) for module, n in _targeted(op, lora.targets)]


def _targeted(op: Gemm | GroupedGemm, targets: tuple[str, ...]) -> Iterator[tuple[str, Number]]:
    """Adapted parts of a product, with their outputs. "all-linear" means all of the layers but routers."""
    names = modules(op)
    if op.name in targets:
        yield op.name, op.n
        return
    every = ALL_LINEAR in targets and op.facts.role != "router"
    equal = op.n if len(names) == 1 else floor_div(op.n, len(names))
    for module, n in zip(names, op.facts.widths or (equal,) * len(names), strict=True):
        if every or module in targets:
            yield module, n


def trainable_params(layers: Sequence[Operator], lora: Lora) -> Number:
    """Parameters that are trained; all others are frozen."""
    return sum([each.params() for each in adapters(layers, lora)])


def parse_targets(text: str) -> tuple[str, ...]:
    """`q_proj,v_proj` as names. Raises ValueError where one is empty."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError("an item of the list is empty")
    return names


def lora_of(rank: int | None, targets: tuple[str, ...] | None, *, qlora: bool) -> Lora | None:
    """What a user says of adapters: without a rank all weights are trained. Raises InputError for other options of adapters without it."""
    if rank is None:
        for option, given in (("--qlora", qlora), ("--lora-targets", targets is not None)):
            if given:
                raise InputError(f"{option}: the rank of the adapters is wanted too (--lora-rank)")
        return None
    return Lora(rank, targets or ATTENTION_TARGETS, NF4_BITS if qlora else None)


def is_trained(op: Operator, lora: Lora | None) -> bool:
    """Whether an operator's weights are trained: without adapters all are."""
    return lora is None or op.facts.role == "adapter"


def is_quantised(op: Operator, lora: Lora | None) -> bool:
    """Whether an operator's weights are kept in few bits: those of the layers' products, adapters and routers apart."""
    if lora is None or lora.frozen_bits is None or not isinstance(op, (Gemm, GroupedGemm)):
        return False
    return op.facts.role not in ("adapter", "router") and op.part in ("attention", "mlp")


def check_lora(layers: Iterable[Operator], lora: Lora) -> None:
    """Raise InputError for a rank below 1 or a target that the model does not have."""
    if not lora.rank >= 1:
        raise InputError(f"--lora-rank {lora.rank}: at least 1")
    products = [op for op in layers if isinstance(op, (Gemm, GroupedGemm))]
    known = dict.fromkeys([ALL_LINEAR, *[name for op in products for name in (*modules(op), op.name)]])
    for target in lora.targets:
        if target not in known:
            raise InputError(f"--lora-targets {target}: one of {', '.join(known)}")
