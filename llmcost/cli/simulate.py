"""`llmcost simulate`: what single requests see, by an engine's scheduler on real or drawn traffic."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Given, Takes, spelled_out
from llmcost.cli.launching import LaunchAlone
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option
from llmcost.ground.together import Together
from llmcost.serving.options import OF_POOLS, Options
from llmcost.simulation.options import SimulationOptions

if TYPE_CHECKING:
    from llmcost.model.spec import ModelSpec
    from llmcost.report.charts import Chart
    from llmcost.report.page import Reported
    from llmcost.search.simulations import Simulations
    from llmcost.serving.launch_figures import Asked
    from llmcost.simulation.results import Simulation
    from llmcost.simulation.run import Run
    from llmcost.specs.hardware import HardwareSpec

# What does not depend on traffic, or depends on it here.
WITHOUT = ("batch", "context", "images", "image_size", "audio", "mfu", "tokens", "logits", "batch_prompts")
INTERRUPTED = 130  # exit code
# Options that may have several values: then every combination is a run.
LISTS = (
    *("rate", "concurrency", "prompt", "output", "engine", "weight_dtype", "kv_dtype", "max_num_seqs", "chunk"),
    *("gpus", "tp", "pp", "dp", "ep", "prefix_hit", "speculate", "accept"),
)


def simulate(
    model: o.ModelName,
    *,
    hw: o.SeveralHardware,
    given: Annotated[
        Given,
        Takes(
            Options,
            without=WITHOUT,
            lists=LISTS,
            changed={
                "prompt": {"help": "Tokens of a prompt, where they are drawn.", "default": "1024"},
                "output": {"help": "Tokens of an answer, where they are drawn.", "default": "256"},
                "requests": {
                    "help": "How many requests.",
                    "default": "10 times --concurrency, or 1000, or all of --trace",
                },
                "concurrency": {"help": "A closed loop with so many requests in flight."},
                "rate": {"help": "Requests a second that arrive at random times."},
                "dp": {"help": "Data parallelism: replicas behind a router, or ranks that share experts."},
            },
        ),
    ],
    simulation: Annotated[SimulationOptions, Takes(SimulationOptions, without=("price", "pue"))],
    money: Annotated[Money, Takes(Money)],
    together: Annotated[Together, Takes(Together)],
    kind: o.ReadAs = None,
    trace_out: Annotated[str | None, Option("Write every step as a trace for Perfetto.", metavar="FILE")] = None,
    files: Annotated[o.Files, Takes(o.Files)],
    launch: LaunchAlone = False,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """TTFT, TPOT and latency of every request, with percentiles: traffic through an engine's scheduler, step by step.

    Of several GPUs or lists of values every combination is a run; they run on all cores (needs joblib) or a cluster.

    Ctrl-C ends a run early, with what is done so far.

    Example: llmcost simulate llama3.1-8b --hw h100 --engine vllm --rate 12 --prompt 1k --output 256 --ttft 500
    """
    lists = spelled_out({name: given.pop(name) for name in LISTS if name in given}, Options)
    varied = {name: values for name, values in lists.items() if len(values) > 1}
    given |= {name: values[0] for name, values in lists.items() if len(values) == 1}
    options, chips = Options(**given), o.load_chips(hw)
    named, beside = Named(model, kind, allow_unknown), Beside(hw, trace_out, files, launch)
    if varied or len(chips) > 1:
        alone = {"--timeline": simulation.timeline, "--trace-out": trace_out, "--launch": launch}
        alone["--html"] = files.html is not None
        if wrong := next((flag for flag, value in alone.items() if value), None):
            raise InputError(f"{wrong}: of one run; give one GPU, and one value of each option")
        files.ready(*[each for each in (model, *hw, simulation.trace) if each is not None])
        _simulate_many(named, chips, options, simulation, varied, money, together, form, files)
        return
    if together.asked():
        asked = f"--jobs {together.jobs}" if together.jobs is not None else f"--cluster {together.cluster}"
        raise InputError(f"{asked}: of several runs, and this is one; give lists of values, as --rate 4,8,12")
    simulation = simulation._replace(price=money.price_of(chips[0]), pue=money.pue)
    _simulate_one(named, chips[0], options, simulation, beside, form)


class Named(NamedTuple):
    """The model of a command: what the user calls it, as what it is read, keys that may be left out."""

    model: str
    kind: str | None
    allow_unknown: Sequence[str]

    def load(self, options: Options) -> "ModelSpec":
        """The model; what its figures leave out is said."""
        return o.load_model(self.model, self.kind, options, self.allow_unknown)


class Beside(NamedTuple):
    """What one run gives beside its answer, or instead of it; `hw`: what the user calls the GPU."""

    hw: Sequence[str]
    trace_out: str | None
    files: o.Files
    launch: bool


def _simulate_one(
    named: Named,
    chip: "HardwareSpec",
    options: Options,
    simulation: SimulationOptions,
    beside: Beside,
    form: o.Form,
) -> None:
    """Print what the requests of one run see."""
    from llmcost.cli.output import waiting
    from llmcost.ground.files import check_place, refuse_input
    from llmcost.report.engines import usual_engine_note
    from llmcost.report.simulate import REQUEST_COLUMNS, request_row, simulation_tables
    from llmcost.serving.usual_engine import usual_of
    from llmcost.simulation.run import Run

    hw, trace_out, files, launch = beside
    if simulation.timeline and not form.json:
        raise InputError("--timeline: it is part of the JSON document; give --json too")
    spec = named.load(options)
    inputs = [each for each in (named.model, *hw, simulation.trace) if each is not None]
    files.ready(*inputs, *([] if trace_out is None else [trace_out]))
    if trace_out is not None:
        refuse_input(Path(trace_out), *inputs)
        check_place(Path(trace_out))
    wanted = ["--launch"] * launch
    launching.check(wanted=wanted, others=[*files.places()])
    more: dict[str, Any] = {}
    run = Run(spec, chip, options, simulation)
    if launching.is_program(run.options.engine, chip, wanted) and (launch or form.json):
        asked = _asked(spec, chip, run.options, simulation, named.model)
        if launch:
            launching.show(form, asked, wanted)
            return
        more = launching.launch_document(asked)
    rows: list[tuple[float, ...]] = []
    interrupted = False
    with waiting("simulating", lambda: f": {run.times.requests:,} requests answered"), _traced(run, trace_out):
        try:
            rows.extend(request_row(done) for done in run.served() if form.csv)
        except KeyboardInterrupt:
            interrupted = True
    found = run.result(interrupted)
    note = () if options.engine else tuple(usual_engine_note(usual_of(str(found.engine), chip)))
    files.write_report(
        partial(_reported, spec, chip, simulation, run, found),
        partial(simulation_tables, spec.title, chip.title, found, run.times.limits, note),
    )
    found = found if simulation.timeline else found._replace(timeline=())
    form.show(
        lambda: found.to_dict() | more,
        lambda: (REQUEST_COLUMNS, rows),
        lambda: simulation_tables(spec.title, chip.title, found, run.times.limits, note),
        spec.unknown_keys,
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _reported(
    spec: "ModelSpec", chip: "HardwareSpec", simulation: SimulationOptions, run: "Run", found: "Simulation"
) -> "Reported":
    """What a run's picture and report are made of."""
    from llmcost.machine.bands import UNDER_LOAD
    from llmcost.report.page import Reported
    from llmcost.report.simulate_charts import NAMES, SHARES, simulation_panels
    from llmcost.serving.estimate import with_bands, workload_of
    from llmcost.serving.server import machine_of
    from llmcost.simulation.run import lengths_of

    prompt, output = lengths_of(spec, run.options)
    w = workload_of(spec, chip, run.options._replace(prompt=prompt, output=output, rate=None, requests=None))
    _, _, reached = machine_of(chip, w)
    reached = with_bands(reached, spec, chip, w)
    spread = {name: run.times.below(name, SHARES) for name in NAMES}
    return Reported(
        f"{spec.title} on {chip.title}: what requests see",
        simulation_panels(found, spread),
        spec,
        chip,
        reached.basis,
        found.workload._asdict() | simulation._asdict(),
        {phase: reached.band(phase) for phase in UNDER_LOAD},
    )


def _simulate_many(
    named: Named,
    chips: "list[HardwareSpec]",
    options: Options,
    simulation: SimulationOptions,
    varied: Mapping[str, Sequence[Any]],
    money: Money,
    together: Together,
    form: o.Form,
    files: o.Files,
) -> None:
    """Print a row for each GPU with each combination of values."""
    from llmcost.cli.output import waiting
    from llmcost.report.simulations import simulations_table
    from llmcost.report.tables import under
    from llmcost.search.simulations import Asked as Run
    from llmcost.search.simulations import Simulations, runs_of

    spec = named.load(options)
    simulation, prices = simulation._replace(pue=money.pue), money.prices(chips)
    done: list[Run] = []
    interrupted = False
    with waiting("simulating", lambda: f": {len(done):,} runs done"):
        try:
            done.extend(runs_of(spec, chips, options, simulation, varied, prices, together))
        except KeyboardInterrupt:
            interrupted = True
    found = Simulations(spec.name, tuple(varied), tuple(done), interrupted)
    rows = found.rows()
    if not rows:
        raise InputError(done[0].why_not if done else "interrupted before any run was done")
    files.write(lambda: _chart_of(spec, chips, found))
    title = f"{spec.title}{under(*(each.found.engine for each in found.runs if each.found))}: what requests see"
    form.show(
        found.to_dict,
        lambda: (tuple(rows[0]), [tuple(row.values()) for row in rows]),
        lambda: [simulations_table(title, found, priced=bool(prices))],
        spec.unknown_keys,
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _chart_of(spec: "ModelSpec", chips: "list[HardwareSpec]", found: "Simulations") -> "Chart":
    """The picture of several runs."""
    from llmcost.report.charts import Chart
    from llmcost.report.simulate_charts import simulations_panels
    from llmcost.report.sources import caption_of_several

    below = caption_of_several([spec], chips, [])
    return Chart(f"{spec.title}: what requests see", simulations_panels(found), below)


def _asked(
    spec: "ModelSpec", chip: "HardwareSpec", options: Options, simulation: SimulationOptions, name: str
) -> "Asked":
    """What is launched so that it serves as simulated."""
    from llmcost.serving.estimate import estimate
    from llmcost.serving.launch_figures import Asked
    from llmcost.simulation.run import lengths_of, longest_of

    prompt, output = lengths_of(spec, options)
    alone = options.without_mix()._replace(prompt=prompt, output=output)
    if options.prefill_gpus is not None:
        pools = {name: getattr(options, name) for name in OF_POOLS}
        alone = alone._replace(concurrency=options.concurrency or 1, **pools)
    found = estimate(spec, chip, alone)
    w = found.workload._replace(speculate=options.speculate, draft=options.draft)
    # The context is the longest request that is known; a ratio says that no longer one is to be guessed.
    w = w._replace(context=longest_of(spec, options, simulation, otherwise=int(w.context)), range_ratio=1)
    return Asked(
        *(spec, chip, w, found.memory, name),
        kv_tokens=simulation.kv_tokens,
        prefix_caching=simulation.prefix_caching,
    )


@contextmanager
def _traced(run: "Run", path: str | None) -> "Iterator[None]":
    """Write a run to a file for Perfetto, which appears when it is whole."""
    if path is None:
        yield
        return
    from llmcost.ground.files import draft_of
    from llmcost.simulation.chrome_trace import ChromeTrace

    with draft_of(Path(path)) as draft, draft.open("w", encoding="utf-8") as file:
        trace = ChromeTrace(file, run.cluster.units)
        run.told = trace.request
        yield
        trace.close()
