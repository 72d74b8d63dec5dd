"""`llmcost rl`: a step of training on answers: reinforcement learning, preferences, distillation."""

from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.cli.money import Money
from llmcost.training.options import Options
from llmcost.training.rl_options import RlOptions

TRAINED = (
    *("engine", "gpus", "micro_batch", "tp", "pp", "vp", "stages", "first_stage_layers", "last_stage_layers"),
    *("account_for", "cp", "ep", "etp", "zero", "recompute", "schedule"),
    *("recompute_modules", "all2all", "dispatch_dtype", "imbalance", "drop_tokens", "overlap"),
    *("optimizer", "dtype", "gpus_per_node", "lora_rank", "lora_targets", "qlora"),
)


def rl(
    model: o.ModelName,
    *,
    hw: o.Hardware,
    chosen: Annotated[RlOptions, Takes(RlOptions)],
    options: Annotated[Options, Takes(Options, only=TRAINED)],
    money: Annotated[Money, Takes(Money)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """A step of GRPO, PPO, DPO or distillation on MODEL: drawing answers, judging them, training, weights back.

    Degrees and --engine are those of training; the engine that draws has --rollout-... of its own.

    Example: llmcost rl llama3.1-8b --hw h100 --gpus 16 --pp 2 --prompts 64 --samples 32 --output 932
    """
    from llmcost.cli.output import waiting
    from llmcost.report.rl import rl_tables
    from llmcost.search.prices import cost_of_step
    from llmcost.specs.catalog import load_hardware
    from llmcost.training.reinforcement import rl as compute

    spec, chip = o.load_model(model, kind, options, allow_unknown, text_alone=True), load_hardware(hw)
    spec = o.with_keys_left_out_of(spec, chosen.critic, chosen.reward, chosen.teacher)
    with waiting("drawing answers"):
        answer = compute(spec, chip, options, chosen)
    cost = None
    if money.asked():
        price, drawn = money.price_of(chip, float(answer.power_share)), answer.power_share
        cost = cost_of_step(chip, answer.gpus, answer.step_seconds, answer.tokens, price, money.pue, drawn)
    form.show(
        lambda: answer.to_dict() | ({} if cost is None else {"cost": cost._asdict()}),
        lambda: (("phase", "seconds"), [tuple(row.values()) for row in answer.rows()]),
        lambda: rl_tables(answer, cost),
        spec.unknown_keys,
    )
