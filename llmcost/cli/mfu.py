"""`llmcost mfu`: a throughput or a log as everyone's MFU, and anyone's MFU as a throughput."""

from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Given, Takes
from llmcost.cli.money import Money
from llmcost.ground.options import Option, number, share, word
from llmcost.parallel.layout import RECOMPUTE
from llmcost.serving.options import Options as ServingOptions
from llmcost.training.options import Options

TOLD = (  # no step is known
    *("price_per_gpu_hour", "dollars_per_million_tokens", "joules_per_million_tokens", "power_share", "power_basis"),
)


def mfu(
    model: o.ModelName,
    *,
    hw: o.Hardware,
    length: Annotated[
        Given,
        Takes(
            Options,
            only=("seq", "gpus"),
            changed={"gpus": {"help": "GPUs of the run of --log.", "default": "what the log says"}},
        ),
    ],
    tokens_per_s: Annotated[float | None, number("Tokens a second of one GPU.", "RATE")] = None,
    printed: Annotated[float | None, share("Instead: an MFU as printed, e.g. 0.4125.", long="--mfu")] = None,
    tflops: Annotated[
        float | None, number("Instead: TFLOPS of one GPU as a program logs them, e.g. 420.", "TFLOPS")
    ] = None,
    convention: Annotated[str | None, Option("The convention by which --mfu or --tflops was counted.")] = None,
    log: Annotated[
        str | None,
        Option("Instead: the log of torchtitan, Megatron, MaxText, nanoGPT or the HF Trainer.", metavar="FILE"),
    ] = None,
    recompute: Annotated[str, word("What the backward pass recomputes; selective: attention.", RECOMPUTE)] = RECOMPUTE[
        0
    ],
    kind_of_number: Annotated[Given, Takes(ServingOptions, only=("dtype",))],
    money: Annotated[Money, Takes(Money)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """MFU and HFU of a training throughput under every convention in use.

    Example: llmcost mfu llama3-8b --hw h100 --tokens-per-s 9000
    """
    from llmcost.report.mfu import utilization_table
    from llmcost.search.prices import cost_of_step
    from llmcost.serving.results import to_dict
    from llmcost.specs.catalog import load_hardware
    from llmcost.training.conventions import Utilization
    from llmcost.training.utilization import utilizations

    spec = o.load_model(model, kind, length, allow_unknown, text_alone=True)
    chip = load_hardware(hw)
    answer = utilizations(
        spec, chip, length.get("seq"), tokens_per_s, printed, convention, recompute,
        kind_of_number.get("dtype"), tflops, log, length.get("gpus"),
    )  # fmt: skip
    cost = None
    if money.asked():
        drawn = answer.power_share(chip)
        price = money.price_of(chip, drawn)
        cost = cost_of_step(chip, 1, 1, answer.tokens_per_s_per_gpu, price, money.pue, drawn)
    form.show(
        lambda: to_dict(answer) | ({} if cost is None else {"cost": {name: getattr(cost, name) for name in TOLD}}),
        lambda: (Utilization._fields, answer.conventions),
        lambda: [utilization_table(spec, chip, answer, cost)],
        spec.unknown_keys,
    )
