"""`llmcost simulate`: what single requests see, by an engine's scheduler on real or drawn traffic."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcost.cli import launching
from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.cli.launching import LaunchAlone
from llmcost.cli.money import Money
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option
from llmcost.serving.options import Options
from llmcost.simulation.options import SimulationOptions

if TYPE_CHECKING:
    from llmcost.model.spec import ModelSpec
    from llmcost.serving.launch_figures import Asked
    from llmcost.simulation.run import Run
    from llmcost.specs.hardware import HardwareSpec

# What does not depend on traffic, or depends on it here.
WITHOUT = ("batch", "context", "images", "image_size", "audio", "mfu", "tokens", "logits", "batch_prompts")
INTERRUPTED = 130  # exit code


def simulate(
    model: o.ModelName,
    *,
    hw: o.Hardware,
    options: Annotated[
        Options,
        Takes(
            Options,
            without=WITHOUT,
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
    kind: o.ReadAs = None,
    trace_out: Annotated[str | None, Option("Write every step as a trace for Perfetto.", metavar="FILE")] = None,
    plot: o.Plot = None,
    launch: LaunchAlone = False,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """TTFT, TPOT and latency of every request, with percentiles: traffic through an engine's scheduler, step by step.

    Ctrl-C ends a run early, with what is done so far.

    Example: llmcost simulate llama3.1-8b --hw h100 --engine vllm --rate 12 --prompt 1k --output 256 --ttft 500
    """
    from llmcost.cli.output import waiting
    from llmcost.ground.files import check_place
    from llmcost.report import charts
    from llmcost.report.simulate import REQUEST_COLUMNS, request_row, simulation_tables
    from llmcost.report.simulate_charts import NAMES, SHARES, simulation_panels
    from llmcost.simulation.run import Run
    from llmcost.specs.catalog import load_hardware

    if simulation.timeline and not form.json:
        raise InputError("--timeline: it is part of the JSON document; give --json too")
    spec, chip = o.load_model(model, kind, options, allow_unknown), load_hardware(hw)
    simulation = simulation._replace(price=money.price_of(chip), pue=money.pue)
    if plot is not None:
        charts.check(Path(plot))
    if trace_out is not None:
        check_place(Path(trace_out))
    launching.check(wanted=["--launch"] * launch, engine=options.engine)
    more: dict[str, Any] = {}
    run = Run(spec, chip, options, simulation)
    if options.engine is not None and simulation.prefill_gpus is None and (launch or form.json):
        asked = _asked(spec, chip, options, simulation, model)
        if launch:
            launching.show(form, asked, ["--launch"])
            return
        more = launching.launch_document(asked)
    if launch:
        raise InputError("--launch: lines for prompts that run apart from decode (--prefill-gpus) are left out")
    rows: list[tuple[float, ...]] = []
    interrupted = False
    with waiting("simulating", lambda: f": {run.times.requests:,} requests answered"), _traced(run, trace_out):
        try:
            rows.extend(request_row(done) for done in run.served() if form.csv)
        except KeyboardInterrupt:
            interrupted = True
    found = run.result(interrupted)
    if plot is not None:
        spread = {name: run.times.below(name, SHARES) for name in NAMES}
        charts.save(Path(plot), f"{spec.title} on {chip.title}: what requests see", simulation_panels(found, spread))
    found = found if simulation.timeline else found._replace(timeline=())
    form.show(
        lambda: found.to_dict() | more,
        lambda: (REQUEST_COLUMNS, rows),
        lambda: simulation_tables(spec.title, chip.title, found, run.times.limits),
        spec.unknown_keys,
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _asked(
    spec: "ModelSpec", chip: "HardwareSpec", options: Options, simulation: SimulationOptions, name: str
) -> "Asked":
    """What is launched so that it serves as simulated."""
    from llmcost.serving.estimate import estimate
    from llmcost.serving.launch_figures import Asked
    from llmcost.simulation.run import lengths_of

    prompt, output = lengths_of(spec, options)
    found = estimate(spec, chip, options.without_mix()._replace(prompt=prompt, output=output))
    w = found.workload._replace(speculate=options.speculate, draft=options.draft)
    drawn = simulation.trace is None and simulation.lengths is None
    if not drawn:  # requests may be as long as the model takes
        w = w._replace(context=spec.max_position_embeddings)
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
