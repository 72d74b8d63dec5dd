"""How far predictions were off on published runs like the one that is asked about.

bands.json is made by `python -m llmcost.accuracy.bands` from the scoreboard's runs, of those alone that no share was
fitted to. A row is one kind of case: what the prediction rests on, the engine (or class of engines), the family of
GPUs, dense or experts, and the phase that was measured; then how many figures there are, the mean and the median of
|predicted / published - 1|, and how many sources published them. It is read when an answer on a GPU first needs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from llmcost.machine.efficiency import Band, Efficiency, family_of
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.optimised import OPTIMISED

FILE = Path(__file__).with_name("bands.json")
FEWEST = 4  # figures of a kind from which on their mean says something about the next one
TRAINING = "training"  # with OPTIMISED, the classes of engines that predictions stand for
UNDER_LOAD = ("throughput", "ttft", "tpot")  # figures of requests under load
PROMPTS = ("prefill", "ttft")  # phases that the rate of products decides
SERVING = ("prefill", "decode", *UNDER_LOAD)  # phases
TRAINED_ON = ("trained on one GPU", "trained in one node", "trained on many nodes")  # phases of training

Kind = tuple[str, str, str, str, str]  # basis, engine, family, dense or experts, phase


def kind_of(basis: str, engine: str, hardware: HardwareSpec, *, experts: bool, phase: str) -> Kind:
    """The kind of a case. `basis`: in the words of an `Efficiency`, the first of which tells bases apart."""
    family = family_of(hardware).replace("Ada Lovelace GDDR", "Ada") or hardware.architecture  # too few of each
    if family == "Apple" and phase in PROMPTS and "fp16" in hardware.peak:
        family = hardware.architecture  # prompts run on matrix units there, which no Mac before it had
    return basis.partition(" ")[0], engine, family, "experts" if experts else "dense", phase


def trained_on(gpus: int, node: int) -> str:
    """The phase of a training run: on one GPU, in one node, or on many."""
    return TRAINED_ON[0 if gpus == 1 else 1 if gpus <= node else 2]


def bands_for(
    efficiency: Efficiency, hardware: HardwareSpec, *, experts: bool, phases: tuple[str, ...], engine: str = OPTIMISED
) -> dict[str, Band]:
    """The band of each phase for predictions that rest on `efficiency`; without an error where there are too few."""
    kinds = {phase: kind_of(efficiency.basis, engine, hardware, experts=experts, phase=phase) for phase in phases}
    return {phase: band_of(kind, *_known().get(kind, (0, None, None, 0))) for phase, kind in kinds.items()}


def band_of(kind: Kind, figures: int, mean: float | None, median: float | None, sources: int) -> Band:
    """A band with its kind in words; with fewer figures than FEWEST their errors are left out."""
    *_, family, body, phase = kind
    models = "dense models" if body == "dense" else "models with experts"
    of = f"{models} {phase}, {family}" if phase in TRAINED_ON else f"{models} on {family}"
    return Band(mean, median, figures, sources, of) if figures >= FEWEST else Band(None, None, figures, sources, of)


def error_of_engine(engine: str) -> float | None:
    """Mean error of a token's time under an engine, over all its scored runs; None where there are too few."""
    found = [
        (figures, mean)
        for (_, name, _, _, phase), (figures, mean, *_) in _known().items()
        if name == engine and phase in ("tpot", "decode")
    ]
    total = sum(figures for figures, _ in found)
    return None if total < FEWEST else sum(figures * mean for figures, mean in found) / total


@lru_cache(maxsize=1)
def _known() -> Mapping[Kind, tuple[int, float, float, int]]:
    """Every kind that has figures: how many, their mean and median error, and how many sources they have."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["bands"]
    return {(basis, engine, family, body, phase): (*rest,) for basis, engine, family, body, phase, *rest in rows}
