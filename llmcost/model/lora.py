"""Fine-tuning with adapters: what LoRA trains, target by target, and the kernels that adapters add to a pass.

LoRA (arXiv 2106.09685, section 4.1): beside a frozen weight of (k, n) stand A of (k, r) and B of (r, n). Only these
are trained. A frozen weight has no gradient, no moments and no master copy; its backward pass computes the gradient
of the input alone. QLoRA (arXiv 2305.14314, section 3) keeps frozen weights in 4 bits and expands them to bf16
wherever they are used.

Beside a frozen product run A, B and a sum. All adapters of one product share one kernel for their A's: A is
(k, ranks), B is (rank, n). Beside a product split by columns, B is split by columns; beside one split by rows, A is
split by rows, as its input is (NVIDIA NeMo, collections/nlp/modules/common/megatron/adapters). The rest is the same on
every GPU of a tensor-parallel group.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number, floor_div
from llmcost.ground.errors import InputError
from llmcost.model.operators import OWN, Elementwise, Facts, Gemm, GroupedGemm, Operator
from llmcost.model.operators.facts import Expert, Split

# Bits a weight of 4-bit NormalFloat with its scales: one of 32 bits for 64 weights, itself in 8 bits with one of 32
# for 256 scales (arXiv 2305.14314, section 3, "Double Quantization": 0.127 bits a weight).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
ALL_LINEAR = "all-linear"
ATTENTION_TARGETS = ("q_proj", "v_proj")  # LoRA's own choice (arXiv 2106.09685, section 7.1), and peft's for Llama
PREFIXES = {"": "", "routed": "experts_", "shared": "shared_"}  # before the names of their modules


class Lora(NamedTuple):
    """Rank and targets of the adapters.

    `frozen_bits`: bits in which a frozen linear weight is stored; None: those in which it computes.
    """

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
        """Parameters of A and B in all layers."""
        return self.count * self.groups * self.rank * (self.k + self.n)


# -- what is trained


def modules(op: Operator) -> tuple[str, ...]:
    """The names under which frameworks adapt the parts of a product: one, or several packed in one."""
    facts = op.facts
    packed = facts.modules[0].split() if facts.modules else []
    return tuple(f"{PREFIXES[facts.expert]}{name}" for name in packed) if len(packed) > 1 else (op.name,)


def adapters(layers: Iterable[Operator], lora: Lora) -> list[Adapter]:
    """Every adapter of some layers' operators.

    A fused product that is a target by its own name has one adapter (Megatron's linear_qkv).
    """
    return [each for op in layers for each in beside(op, lora)]


def beside(op: Operator, lora: Lora) -> list[Adapter]:
    """The adapters of one operator: none unless it is a product with a target in it."""
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


def is_trained(op: Operator, lora: Lora | None) -> bool:
    """Whether an operator's weights are trained: without adapters all are."""
    return lora is None or op.facts.role == "adapter"


def is_quantised(op: Operator, lora: Lora | None) -> bool:
    """Whether an operator's weights are kept in few bits: all products of the layers but adapters and routers."""
    if lora is None or lora.frozen_bits is None or not isinstance(op, (Gemm, GroupedGemm)):
        return False
    return op.facts.role not in ("adapter", "router") and op.part in ("attention", "mlp")


# -- what a user asks for


def parse_targets(text: str) -> tuple[str, ...]:
    """`q_proj,v_proj` as names. Raises ValueError where one is empty."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError("an item of the list is empty")
    return names


def lora_of(rank: int | None, targets: tuple[str, ...] | None, *, qlora: bool) -> Lora | None:
    """The adapters that a user asks for; None without a rank: all weights are trained.

    Raises InputError for other options of adapters without a rank.
    """
    if rank is None:
        for option, given in (("--qlora", qlora), ("--lora-targets", targets is not None)):
            if given:
                raise InputError(f"{option}: the rank of the adapters is wanted too (--lora-rank)")
        return None
    return Lora(rank, targets or ATTENTION_TARGETS, NF4_BITS if qlora else None)


def check_lora(layers: Iterable[Operator], lora: Lora) -> None:
    """Raise InputError for a rank below 1 or a target that the model does not have."""
    if not lora.rank >= 1:
        raise InputError(f"--lora-rank {lora.rank}: at least 1")
    products = [op for op in layers if isinstance(op, (Gemm, GroupedGemm))]
    known = dict.fromkeys([ALL_LINEAR, *[name for op in products for name in (*modules(op), op.name)]])
    for target in lora.targets:
        if target not in known:
            raise InputError(f"--lora-targets {target}: one of {', '.join(known)}")


# -- kernels


def with_adapters(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Layers with the adapters' kernels, each behind the product that it stands beside."""
    return [each for op in layers for each in (op, *_adapter_kernels(op, lora))]


def _adapter_kernels(op: Any, lora: Lora) -> Iterator[Operator]:
    """A, B and the sum beside one product; beside routed experts the sum over experts adds them too."""
    found = beside(op, lora)
    if not found:
        return
    ranks, n = sum([each.rank for each in found]), sum([each.n for each in found])
    if op.facts.expert == "routed":
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
    """How GPUs divide A, B and the sum, by how they divide the product beside them."""
    if split == "rows":
        return "rows", "tokens", "tokens"
    return ("tokens", split, "heads") if split in ("columns", "heads") else ("tokens", "tokens", "tokens")


def with_expansion(layers: list[Operator], lora: Lora) -> list[Operator]:
    """Layers with a kernel before each quantised product that expands its weight, forward and backward anew."""
    if lora.frozen_bits is None:
        return layers
    found: list[Operator] = []
    for op in layers:
        if is_quantised(op, lora):
            found.append(_expansion(op, lora.frozen_bits))
        found.append(op)
    return found


def _expansion(op: Any, bits: Number) -> Operator:
    """The kernel that reads a product's quantised weight and writes it in the type in which it computes."""
    weights = op.k * op.n * (op.groups if isinstance(op, GroupedGemm) else 1)
    expert: Expert = "routed" if op.facts.expert == "routed" else ""
    facts = Facts("heads", saves="nothing", expert=expert, role="expansion")
    name = "experts_dequantize" if expert else "dequantize"
    return Elementwise(name, op.part, op.count, 1, 1, weights * bits / 8 / op.Bx, weights, 0, op.Bx, facts)
