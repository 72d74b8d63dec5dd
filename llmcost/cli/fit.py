"""`llmcost fit`: which GPUs hold a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Given, Takes, spelled_out
from llmcost.cli.launching import LaunchAlone
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, declared, flag, number, word
from llmcost.ground.together import Together
from llmcost.ground.units import parse_milliseconds
from llmcost.serving.options import BASES, OF_POOLS, Options
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Spread

if TYPE_CHECKING:
    from llmcost.model.spec import ModelSpec
    from llmcost.search.fit import Offer, Precision
    from llmcost.serving.launch_figures import Asked
    from llmcost.specs.hardware import HardwareSpec

LISTS = ("gpus", "dtype", "weight_dtype")
CHOSEN = ("tp", "pp", "dp", "ep")  # degrees, as the GPUs and the model have it
TRAFFIC = ("lengths", "log_normal", "burstiness", "seed")  # of requests that are simulated
TAKEN = ("gpus", *CHOSEN, "dtype", "weight_dtype", "kv_dtype", "engine")  # what an offer says of its options


def fit(
    model: o.ModelName,
    *,
    hw: Annotated[
        Sequence[str],
        Option("GPUs: shipped names, aliases, or paths.", metavar="HW,...", default="all", repeated=True),
    ] = (),
    given: Annotated[
        Given,
        Takes(
            Options,
            without=(*CHOSEN, *OF_POOLS, "tokens"),
            lists=LISTS,
            changed={
                "gpus": {"help": "Numbers of GPUs.", "default": "1,2,4,8"},
                "dtype": {"default": "the weights' where the GPU has it, or bf16"},
                "weight_dtype": {"default": "the model's own, and fp8 and int4-g128 where smaller"},
            },
        ),
    ],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    money: Annotated[Money, Takes(Money)],
    basis: Annotated[str, word("Which rates are shown and priced.", BASES)] = "expected",
    ttft: Annotated[
        float | None, number("With --rate: the longest TTFT; GPUs that keep it are found.", "MS", parse_milliseconds)
    ] = None,
    tpot: Annotated[float | None, number("With --rate: the longest TPOT, likewise.", "MS", parse_milliseconds)] = None,
    at: Annotated[
        str | None, word("With --ttft or --tpot: of how many of the requests that is.", Spread._fields, default="p99")
    ] = None,
    apart: Annotated[
        bool, flag("With --ttft or --tpot: also set-ups that run prompts apart from decode, in replicas of their own.")
    ] = False,
    traffic: Annotated[Given, Takes(SimulationOptions, only=TRAFFIC)],
    together: Annotated[Together, Takes(Together)],
    launch: LaunchAlone = False,
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Which GPUs hold MODEL: how many, at which precision, how large a batch and context, how fast, at what price.

    With --rate and --ttft or --tpot: the cheapest set-ups whose slowest requests keep these limits, by simulation on
    all cores (needs joblib) or a cluster; then --gpus are those of a replica.

    Without --hw, --gpus or --weight-dtype the table has the fewest GPUs of each kind that hold it, at the widest
    precision that these hold; JSON and CSV have all. Exit code 1 if none holds it.

    Example: llmcost fit llama3-70b --hw h100,l40s --price h100=2.5 --price l40s=1
    """
    from llmcost.cli.output import waiting
    from llmcost.report.fit import fit_table
    from llmcost.report.tables import under
    from llmcost.search.fit import GPUS, Offer, best, precisions_of, ranked
    from llmcost.search.fit import fit as compute
    from llmcost.specs.catalog import load_hardware, names

    spec = o.load_model(model, kind, given, allow_unknown)
    lists = spelled_out({name: given.pop(name) for name in LISTS if name in given}, Options)
    options, counts = Options(**given), lists.get("gpus", GPUS)
    limits = ["--ttft"] * (ttft is not None) + ["--tpot"] * (tpot is not None)
    if not limits:
        _refuse_simulated(traffic, together, apart=apart)
    limited = SimulationOptions(ttft=ttft, tpot=tpot, **traffic)
    precisions = precisions_of(spec, _with_lengths(spec, options, limited), *map(lists.get, LISTS[1:]))
    chips = o.load_chips(hw) if hw else [load_hardware(name) for name in names("hardware")]
    prices = money.prices(chips)
    if basis != "textbook" and options.mfu != Options().mfu:
        raise InputError(f"--mfu {options.mfu:g}: of the textbook's rates; give --basis textbook too")
    wanted = ["--launch"] * launch
    launching.check(wanted=wanted, others=limits)
    if at is not None and not limits:
        raise InputError(f"--at {at}: of how many requests keep a limit; give --ttft or --tpot too")
    if limits:
        if not hw:
            raise InputError("--ttft and --tpot: every GPU would be simulated; name some with --hw")
        money.refuse_lone_pue()
        _fit_rate(spec, chips, options, limited, at or "p99", counts, precisions, prices, together, form, apart=apart)
        return
    with waiting("trying GPUs"):
        found = compute(spec, chips, options, counts, precisions, prices, basis, money.pue)
    holding = found.holding()
    more: dict[str, Any] = {}
    if holding and launching.is_program(holding[0].engine, _chip(chips, holding[0]), wanted):
        first = _asked(spec, chips, options, holding[0], model)
        if launch:
            launching.show(form, first, wanted, f"{holding[0].gpus} × {holding[0].title}")
            return
        more = launching.launch_document(first) if form.json else {}
    shown = holding if hw or lists.keys() - {"gpus"} or counts != GPUS else ranked(best(found.offers))
    title = (
        f"{spec.title}{under(*(each.engine for each in shown))}: "
        f"GPUs that hold it at batch {found.batch:,}, context {found.context:,}"
    )
    form.show(
        lambda: found.to_dict() | more,
        lambda: (Offer._fields, found.offers),
        lambda: [fit_table(title, found, shown, priced=money.asked())],
        spec.unknown_keys,
    )
    if not holding:
        raise typer.Exit(1)


def _chip(chips: "list[HardwareSpec]", offer: "Offer") -> "HardwareSpec":
    return next(each for each in chips if each.name == offer.hardware)


def _asked(spec: "ModelSpec", chips: "list[HardwareSpec]", options: Options, offer: "Offer", name: str) -> "Asked":
    """What is launched where an offer is taken."""
    from llmcost.serving.estimate import estimate
    from llmcost.serving.launch_figures import Asked

    chip = _chip(chips, offer)
    found = estimate(spec, chip, options._replace(**{each: getattr(offer, each) for each in TAKEN}))
    return Asked(spec, chip, found.workload, found.memory, name)


def _with_lengths(spec: "ModelSpec", options: Options, limited: SimulationOptions) -> Options:
    """The options with the lengths of the mean request, where requests come at a rate and are simulated."""
    if options.rate is None or limited.ttft is limited.tpot is None:
        return options
    from llmcost.simulation.run import mean_lengths

    prompt, output = mean_lengths(spec, options, limited)
    return options._replace(prompt=prompt, output=output)


def _refuse_simulated(traffic: Given, together: Together, *, apart: bool) -> None:
    """Raise InputError for an option of what is simulated, where nothing is."""
    named = [declared(SimulationOptions)[name].flag for name in traffic]
    asked = {"--apart": apart, "--jobs": together.jobs is not None, "--cluster": together.cluster is not None}
    named += [flag for flag, given in asked.items() if given]
    if named:
        raise InputError(f"{named[0]}: of requests that are simulated; give --rate, and --ttft or --tpot too")


def _fit_rate(
    spec: "ModelSpec",
    chips: "list[HardwareSpec]",
    options: Options,
    limited: SimulationOptions,
    at: str,
    counts: Sequence[int],
    precisions: "Sequence[Precision]",
    prices: dict[str, float],
    together: Together,
    form: o.Form,
    *,
    apart: bool,
) -> None:
    """Print the cheapest set-ups that keep limits at a rate."""
    from llmcost.cli.output import waiting
    from llmcost.report.fit_rate import fit_rate_table
    from llmcost.report.tables import under
    from llmcost.search.fit_rate import fit_rate
    from llmcost.search.rate_offers import RateOffer

    tried = [""]
    with waiting("simulating", lambda: f" {tried[-1]}"):
        asked = (spec, chips, options, limited, at, counts, precisions, prices, together, tried.append)
        found = fit_rate(*asked, apart=apart)
    drawn = f"{limited.lengths}'s lengths, on average " if limited.lengths else ""
    title = (
        f"{spec.title}{under(*(each.engine for each in found.offers))}: GPUs for {found.rate:g} requests/s of "
        f"{drawn}{found.prompt:,} tokens in, {found.output:,} out"
    )
    form.show(
        found.to_dict,
        lambda: (RateOffer._fields, found.offers),
        lambda: [fit_rate_table(title, found)],
        spec.unknown_keys,
    )
    if not found.offers:
        raise typer.Exit(1)
