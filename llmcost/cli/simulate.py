"""`llmcost simulate`: what single requests see, by an engine's scheduler on real or drawn traffic."""

from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Takes
from llmcost.serving.options import Options
from llmcost.simulate.options import SimulationOptions

# What does not depend on traffic, or depends on it here.
WITHOUT = ("batch", "context", "images", "image_size", "audio", "mfu", "tokens", "logits", "batch_prompts")


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
                "requests": {"help": "How many requests.", "default": "10 times --concurrency, or 1000"},
                "concurrency": {"help": "A closed loop with so many requests in flight."},
                "rate": {"help": "Requests a second that arrive at random times."},
            },
        ),
    ],
    simulation: Annotated[SimulationOptions, Takes(SimulationOptions)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """TTFT, TPOT and latency of every request, with percentiles: traffic through an engine's scheduler, step by step.

    Example: llmcost simulate llama3.1-8b --hw h100 --engine vllm --rate 12 --prompt 1k --output 256 --ttft 500
    """
    from llmcost.report.simulate import REQUEST_COLUMNS, request_row, simulation_tables
    from llmcost.simulate.run import Times, limits_of, result, served
    from llmcost.specs.catalog import load_hardware

    spec, chip = o.load_model(model, kind, options, allow_unknown), load_hardware(hw)
    answered, scheduler = served(spec, chip, options, simulation)
    if form.csv:
        form.show(dict, lambda: (REQUEST_COLUMNS, map(request_row, answered)), list, spec.unknown_keys)
        return
    times = Times(limits_of(simulation))
    for done in answered:
        times.add(done)
    found = result(spec, chip, options, times, scheduler)
    form.show(
        found.to_dict,
        lambda: (REQUEST_COLUMNS, ()),
        lambda: simulation_tables(spec.title, chip.title, found, times.limits),
        spec.unknown_keys,
    )
