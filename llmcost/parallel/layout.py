"""How a model that serves lies across GPUs: degrees from what was asked for, and a refusal of those that do not
divide it.

Degrees that are not given follow from the others: `ep` without `dp` is data-parallel attention with the experts
spread over all; a number of GPUs alone is tensor parallelism inside a node and pipeline stages across nodes. Training
has a layout with more in it and rules of its own, which work on arrays: training/layout.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from llmcost.ground.errors import InputError, check_count
from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import USUAL_NODE, HardwareSpec

MOST = 10**6  # GPUs
DEGREES = ("tp", "pp", "dp", "ep")
# Fields that tensor parallelism divides (Megatron-LM, arXiv 1909.08053, section 3). Vocabularies are padded, as
# engines do.
DIVIDED = {
    "num_attention_heads": "attention heads, the same number for every GPU",
    "num_key_value_heads": "KV heads, of which a GPU has the same number or a copy of one",
    "mamba_n_heads": "heads of a state space, the same number for every GPU",
    "linear_num_heads": "heads of linear attention, the same number for every GPU",
    "linear_num_key_heads": "key heads of linear attention, the same number for every GPU",
    "linear_num_value_heads": "value heads of linear attention, the same number for every GPU",
    "intermediate_size": "columns of an MLP, the same number for every GPU",
    "shared_expert_intermediate_size": "columns of shared experts, the same number for every GPU",
}


class Layout(NamedTuple):
    """To serve: degrees of tensor, pipeline, data and expert parallelism, and the GPUs that share a node's links."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    gpus_per_node: int = USUAL_NODE

    def gpus(self) -> int:
        """GPUs in all: experts lie on the tp·dp GPUs of a stage."""
        return self.tp * self.pp * self.dp


def layout_of(
    model: ModelSpec,
    hardware: HardwareSpec | None,
    gpus: int | None,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    gpus_per_node: int | None,
) -> Layout:
    """The layout that was asked for, None being what follows from the rest. Raises InputError where it divides nothing."""
    node = gpus_per_node or (hardware.gpus_in_a_node() if hardware else USUAL_NODE)
    if gpus is tp is pp is dp is ep is gpus_per_node is None:
        return Layout(gpus_per_node=node)
    given = {"--gpus": gpus, "--tp": tp, "--pp": pp, "--dp": dp, "--ep": ep, "--gpus-per-node": gpus_per_node}
    for option, degree in given.items():
        if degree is not None:
            check_count(option, degree, MOST)
    dp = dp or max(1, (ep or 1) // (tp or 1))
    if gpus is not None:
        tp, pp = _filled(gpus, tp, pp, dp, node)
    layout = Layout(tp or 1, pp or 1, dp, ep or 1, node)
    if gpus not in (None, layout.gpus()):
        raise InputError(f"--gpus {gpus}: tp·pp·dp = {layout.tp}·{layout.pp}·{layout.dp} is {layout.gpus():,}")
    derived = (
        f"--gpus {gpus} is --tp {layout.tp} --pp {layout.pp}; " if given["--tp"] is None and gpus is not None else ""
    )
    for problem in problems(model, layout):
        raise InputError(derived + problem)
    return layout


def _filled(gpus: int, tp: int | None, pp: int | None, dp: int, node: int) -> tuple[int, int]:
    """Tensor and pipeline parallelism of so many GPUs: inside a node and across nodes, where one of them is not given."""
    known = (tp or 1) * (pp or 1) * dp
    if gpus % known:
        raise InputError(f"--gpus {gpus}: not a multiple of {known:,}, the product of the other degrees")
    rest = gpus // known
    if tp is None and pp is None:
        tp = max(n for n in range(1, min(rest, node) + 1) if rest % n == 0)
        return tp, rest // tp
    return (tp or rest, pp or (1 if tp is None else rest))


def problems(model: ModelSpec, layout: Layout) -> Iterator[str]:
    """Why GPUs cannot divide the model so, each with the nearest degrees that can."""
    tp, pp, _, ep, _ = layout
    sizes = {field: sorted(model.block_sizes(field)) for field in DIVIDED}
    experts, depth, place = sorted(model.block_sizes("num_experts")), model.num_hidden_layers, layout.tp * layout.dp

    def splits(degree: int, field: str) -> bool:
        copied = field == "num_key_value_heads"
        return all(size % degree == 0 or (copied and degree % size == 0) for size in sizes[field])

    for field, what in DIVIDED.items():
        if not splits(tp, field):
            legal = _nearest(tp, lambda degree: all(splits(degree, each) for each in DIVIDED))
            yield f"--tp {tp}: {model.name} has {_list(sizes[field])} {what}; {legal}"
            break
    if depth % pp:
        yield f"--pp {pp}: {model.name} has {depth:,} layers, the same number for every stage; {_nearest(pp, lambda n: depth % n == 0)}"
    if ep > 1 and not experts:
        yield f"--ep {ep}: {model.name} has no experts"
    elif place % ep:
        yield f"--ep {ep}: must divide the tp·dp = {place:,} GPUs of a stage; {_nearest(ep, lambda n: place % n == 0)}"
    elif any(count % ep for count in experts):
        legal = _nearest(ep, lambda n: not any(count % n for count in experts))
        yield f"--ep {ep}: {model.name} has {_list(experts)} experts, the same number for every GPU; {legal}"


def _nearest(degree: int, legal: Callable[[int], bool]) -> str:
    below = next((n for n in range(degree - 1, 0, -1) if legal(n)), None)
    above = next((n for n in range(degree + 1, min(4 * degree, 4096) + 1) if legal(n)), None)
    return f"nearest: {_list(n for n in (below, above) if n)}"


def _list(numbers: Iterable[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)
