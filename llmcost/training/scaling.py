"""Published scaling laws: how many parameters and tokens a budget of FLOPs is best spent on, and what others are worth.

Each law says how the best tokens D grow with the budget C of training FLOPs, D = A·C^b; the parameters are C/(6D), as
all of them count. Outside the budgets that a law was fitted on it is stretched, which is said.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.units import HOUR
from llmcost.machine.chip import chip_of
from llmcost.machine.textbook import END_TO_END_MFU, TRAINING_FLOPS_PER_PARAM
from llmcost.specs.hardware import HardwareSpec

SCHEMA = "llmcost.budget/1"
MOST_FLOPS = 1e40


class Law(NamedTuple):
    """One law: D = tokens·(C/at)^exponent, the point `at` which it is anchored being one that its authors print.

    `least`, `most`: FLOPs of the smallest and the largest run that it was fitted on.
    """

    name: str
    tokens: float
    at: float
    exponent: float
    least: float
    most: float
    source: str
    note: str = ""


class Surface(NamedTuple):
    """Loss of N parameters on D tokens, E + A/N^alpha + B/D^beta."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, params: float, tokens: float) -> float:
        """Nats a token."""
        nats: float = self.e + self.a / params**self.alpha + self.b / tokens**self.beta
        return nats

    def tokens_for(self, flops: float) -> float:
        """The tokens of least loss: the minimum on 6ND = C, as the paper has it (arXiv 2203.15556, equation 4)."""
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        params: float = ratio * (flops / TRAINING_FLOPS_PER_PARAM) ** (self.beta / (self.alpha + self.beta))
        return flops / (TRAINING_FLOPS_PER_PARAM * params)


CORRECTED = Surface(1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al., arXiv 2404.10102
HOFFMANN = "Hoffmann et al., arXiv 2203.15556"
CHINCHILLA = (6e18, 3e21)  # FLOPs of its IsoFLOP profiles (section 3.2)
_ANCHOR = 5.76e23  # FLOPs of 67B parameters, the row of its tables that is nearest to Chinchilla itself
LAWS = (
    Law("chinchilla-1", 1.5e12, _ANCHOR, 0.50, *CHINCHILLA, f"{HOFFMANN}, section 3.1 and table 3", "loss envelopes"),
    Law("chinchilla-2", 1.7e12, 6.88e23, 0.51, *CHINCHILLA, f"{HOFFMANN}, section 3.2 and table A3", "IsoFLOPs"),
    Law(
        "chinchilla-3",
        CORRECTED.tokens_for(_ANCHOR),
        _ANCHOR,
        CORRECTED.alpha / (CORRECTED.alpha + CORRECTED.beta),
        *CHINCHILLA,
        "Besiroglu et al., arXiv 2404.10102",
        "parametric loss, fitted again; for 67B the paper's own fit asks for 4.1T tokens, the others for 1.5T and 1.7T",
    ),
    Law(
        "llama-3",
        16.55e12,
        3.8e25,
        0.537,
        6e18,
        1e22,
        "Llama 3, arXiv 2407.21783, section 3.2.1 and figure 3",
        "anchored at its 16.55T tokens, which the text's rounded 0.29·C^0.53 falls short of by a third",
    ),
    Law(
        "deepseek",
        5.8316 * 1e20**0.4757,
        1e20,
        0.4757,
        1e17,
        3e20,
        "DeepSeek LLM, arXiv 2401.02954, equation 4",
        "counts FLOPs of attention in place of 6 a parameter",
    ),
)


class Optimum(NamedTuple):
    """What one law says of a budget; `stretched`: by how many times the budget is beyond what the law was fitted on."""

    law: str
    params: float
    tokens: float
    tokens_per_param: float
    loss: float  # by the corrected surface
    stretched: float
    fitted_from_flops: float
    fitted_to_flops: float
    source: str
    note: str


class Worth(NamedTuple):
    """What a given model on given tokens is worth: its FLOPs and loss, and the least FLOPs that reach that loss."""

    params: float
    tokens: float
    flops: float
    loss: float
    least_flops: float


class Budget(NamedTuple):
    """The answer of `llmcost budget`."""

    schema: str
    flops: float
    gpu_hours: float | None
    dollars: float | None
    mfu: float | None
    hardware: str | None
    laws: tuple[Optimum, ...]
    worth: Worth | None


def optimum(law: Law, flops: float) -> Optimum:
    """The parameters and tokens that a law calls best for a budget of FLOPs."""
    tokens = law.tokens * (flops / law.at) ** law.exponent
    params = flops / (TRAINING_FLOPS_PER_PARAM * tokens)
    loss, stretched = CORRECTED.loss(params, tokens), max(1.0, flops / law.most, law.least / flops)
    return Optimum(
        law.name, params, tokens, tokens / params, loss, stretched, law.least, law.most, law.source, law.note
    )


def worth_of(params: float, tokens: float) -> Worth:
    """A model's loss by the corrected surface, and the smallest budget whose best split reaches it."""
    loss = CORRECTED.loss(params, tokens)
    low, high = 1.0, TRAINING_FLOPS_PER_PARAM * params * tokens
    flops = high
    for _ in range(200):  # bisection of the logarithm
        middle = (low * high) ** 0.5
        best = CORRECTED.tokens_for(middle)
        enough = CORRECTED.loss(middle / (TRAINING_FLOPS_PER_PARAM * best), best) <= loss
        low, high = (low, middle) if enough else (middle, high)
    return Worth(params, tokens, flops, loss, high)


def budget(
    flops: float | None = None,
    gpu_hours: float | None = None,
    dollars: float | None = None,
    hardware: HardwareSpec | None = None,
    price: float | None = None,
    mfu: float = END_TO_END_MFU,
    model: tuple[float, float] | None = None,
) -> Budget:
    """What a budget is best spent on by every law. `model`: parameters and tokens that are compared with it.

    Hours become FLOPs at `mfu` of the GPU's peak in bf16, dollars hours at a `price` of one. Raises InputError for none
    of the three budgets or several, and for what they need beside.
    """
    given = {"FLOPS": flops, "--gpu-hours": gpu_hours, "--dollars": dollars}
    name, _ = one_budget(given)
    if dollars is not None:
        if not price:
            raise InputError("--dollars: needs --price, the dollars of a GPU-hour")
        gpu_hours = dollars / price
    if gpu_hours is not None:
        peak = None if hardware is None else chip_of(hardware, "bf16", "bf16").peak
        if hardware is None or peak is None:
            raise InputError(f"{name}: needs --hw, a GPU whose peak in bf16 is known")
        flops = gpu_hours * HOUR * peak * mfu
        dollars = gpu_hours * price if price else None
    assert flops is not None
    return Budget(
        SCHEMA,
        flops,
        gpu_hours,
        dollars,
        None if gpu_hours is None else mfu,
        None if hardware is None else hardware.name,
        tuple(optimum(law, flops) for law in LAWS),
        None if model is None else worth_of(*model),
    )


def one_budget(given: dict[str, float | None]) -> tuple[str, float]:
    """The one of some budgets that is given, with its name. Raises InputError for none, several, or one of nothing."""
    known = {name: value for name, value in given.items() if value is not None}
    if len(known) != 1:
        raise InputError(f"one budget, of {', '.join(given)}; given: {', '.join(known) or 'none'}")
    ((name, value),) = known.items()
    if not 0 < value < MOST_FLOPS:
        raise InputError(f"{name} {value:g}: above 0, and below {MOST_FLOPS:g}")
    return name, value


def rows_of(answer: Budget) -> list[dict[str, Any]]:
    """A row for each law."""
    return [each._asdict() for each in answer.laws]
