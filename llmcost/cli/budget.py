"""`llmcost budget`: what a budget of training is best spent on."""

from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Argument, Takes
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError, shortened
from llmcost.ground.options import count, number, share
from llmcost.ground.units import parse_count
from llmcost.machine.textbook import END_TO_END_MFU
from llmcost.serving.options import MOST_TOKENS


def budget(
    flops: Annotated[str | None, Argument("FLOPS", "Training FLOPs, e.g. 1e24.")] = None,
    *,
    gpu_hours: Annotated[float | None, number("Instead: GPU-hours, of --hw.", "HOURS", parse_count)] = None,
    dollars: Annotated[float | None, number("Instead: dollars, at --price an hour.", "DOLLARS", parse_count)] = None,
    hw: o.OptionalHardware = None,
    money: Annotated[Money, Takes(Money)],
    mfu: Annotated[float, share("The share of the peak that hours are worth.")] = END_TO_END_MFU,
    params: Annotated[int | None, count("Also what this many parameters are worth, on --tokens.", most=10**15)] = None,
    tokens: Annotated[int | None, count("Tokens that --params are trained on.", "TOKENS", MOST_TOKENS)] = None,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Parameters and tokens that published scaling laws call best for a budget.

    Example: llmcost budget 1e24
    """
    if (params is None) != (tokens is None):
        raise InputError("--params and --tokens: the one needs the other")
    if flops is not None and mfu != END_TO_END_MFU:
        raise InputError(f"--mfu {mfu:g}: what hours are worth; give --gpu-hours or --dollars, not FLOPS")
    model = None if params is None or tokens is None else (float(params), float(tokens))
    show_budget(_read(flops), gpu_hours, dollars, hw, money, mfu, model, form)


def show_budget(
    flops: float | None,
    gpu_hours: float | None,
    dollars: float | None,
    hw: str | None,
    money: Money,
    mfu: float,
    model: tuple[float, float] | None,
    form: o.Form,
) -> None:
    """Print what laws call best for one of three budgets. Raises InputError."""
    from llmcost.report.budget import budget_tables
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware
    from llmcost.training.scaling import Optimum
    from llmcost.training.scaling import budget as compute

    chip = None if hw is None else load_hardware(hw)
    money.refuse_lone_pue()
    if chip is None and money.asked():
        raise InputError("--price and --kwh: of which GPU? give it with --hw")
    price = None if chip is None else money.price_of(chip)
    answer = compute(flops, gpu_hours, dollars, chip, price, mfu, model)
    form.show(
        lambda: to_dict(answer),
        lambda: (Optimum._fields, answer.laws),
        lambda: budget_tables(answer),
    )


def _read(text: str | None) -> float | None:
    """FLOPs as typed. Raises InputError for what is no number."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"FLOPS {shortened(text)}: a number of FLOPs, e.g. 1e24") from None
