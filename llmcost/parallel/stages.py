"""Layers of each pipeline stage where they are not as even as can be: as written down, or as Megatron-LM deals them.

Megatron-LM gives the first and the last stage other numbers of layers (--decoder-first-pipeline-num-layers,
--decoder-last-pipeline-num-layers), or counts the embedding, or head and loss, as a layer when it deals layers out
(--account-for-embedding-in-pipeline-split, --account-for-loss-in-pipeline-split), so that their stages have one layer
less: get_num_layers_to_build, megatron/core/transformer/transformer_block.py. A stage without layers has the embedding
alone, or the head and the loss.
"""

from __future__ import annotations

from llmcost.ground.errors import InputError, shortened
from llmcost.ground.units import counted

ACCOUNT_FOR = {"embedding": (1, 0), "loss": (0, 1), "both": (1, 1)}  # layers that the first and the last stage spare


def parse_stages(text: str) -> tuple[int, ...]:
    """Layers of each stage, of `15,16,16,13` or `15+16+16+13`; `8*4` are four of eight. Raises ValueError."""
    found: list[int] = []
    for part in text.replace("+", ",").split(","):
        numbers = part.strip().split("*")
        if len(numbers) > 2 or not all(each.isdecimal() and len(each) <= len("100000") for each in numbers):
            raise ValueError("layers of each stage, as in 15,16,16,13, or 15,16*2,13")
        layers, times = (*map(int, numbers), 1)[:2]
        found += [layers] * times
    return tuple(found)


def in_words(stages: tuple[int, ...]) -> str:
    """Layers of each stage as they are typed."""
    return ",".join(map(str, stages))


def dealt_out(
    layers: int, pp: int, vp: int, first: int | None, last: int | None, account_for: str | None
) -> tuple[int, ...]:
    """Layers of each of `pp` stages of `vp` chunks, as Megatron-LM deals them. Raises InputError where it refuses."""
    if account_for is not None:
        if first is not None or last is not None:
            raise InputError(f"--account-for {account_for}: or --first-stage-layers and --last-stage-layers, not both")
        at_start, at_end = ACCOUNT_FOR[account_for]
        slots = layers + at_start + at_end
        if slots % (pp * vp):
            fits = [n for n in range(2, slots + 1) if slots % (n * vp) == 0]
            raise InputError(
                f"--account-for {account_for}: {slots} layers with what counts as one, which {pp} stages"
                f"{f' of {vp} chunks' if vp > 1 else ''} do not divide{_nearest('--pp', pp, fits)}"
            )
        each = slots // pp
        return (each - at_start, *[each] * (pp - 2), each - at_end)
    given = [(name, n) for name, n in (("--first-stage-layers", first), ("--last-stage-layers", last)) if n is not None]
    left, others = layers - sum(n for _, n in given), pp - len(given)
    name, value = given[-1]
    least = others * vp if pp > 2 else 0  # of two stages one may have the embedding or the head alone
    if left < least or (left % others if others else left):
        step = others or 1
        fits = [n for n in range(layers + 1) if left + value - n >= least and (left + value - n) % step == 0]
        fits = fits if others else [n for n in fits if n == left + value]
        stages = f"{counted(others, 'other stage', 'other stages')} cannot share the {max(left, 0)} layers left evenly"
        raise InputError(f"{name} {value}: {stages}{_nearest(name, value, fits)}")
    between = [left // others] * others if others else []
    return tuple(([] if first is None else [first]) + between + ([] if last is None else [last]))


def check_stages(stages: tuple[int, ...], layers: int, vp: int, name: str) -> None:
    """Raise InputError for stages that do not have a model's layers, or a stage that has fewer than its chunks."""
    typed = shortened(in_words(stages))
    if len(stages) < 2:
        raise InputError(f"--stages {typed}: layers of each stage, of at least two")
    if sum(stages) != layers:
        others = stages[:-1]
        nearest = layers - sum(others)
        says = f"--stages {typed}: have {sum(stages):,} layers, and {name} has {layers:,}"
        raise InputError(says + (f"; nearest: {in_words((*others, nearest))}" if nearest >= 0 else ""))
    for place, each in enumerate(stages):
        least = vp - 1 if place in (0, len(stages) - 1) else vp  # a chunk may have the embedding or the head alone
        if each < least:
            chunks = "no layer" if vp == 1 else f"{each} layers for {vp} chunks (--vp)"
            raise InputError(f"--stages {typed}: stage {place + 1} has {chunks}; nearest: {least}")


def _nearest(option: str, value: int, legal: list[int]) -> str:
    """The legal value that is nearest, in words."""
    if not legal:
        return ""
    return f"; nearest: {option} {min(legal, key=lambda each: abs(each - value))}"
