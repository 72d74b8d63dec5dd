"""`llmcost gap`: a profiler's trace of an engine's steps beside the prediction, operator by operator."""

from pathlib import Path
from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.answers import BEYOND_A_PASS
from llmcost.cli.command import Argument, Takes
from llmcost.ground.options import word
from llmcost.serving.options import Options

TRACED = ("decode", "prefill")


def gap(
    trace: Annotated[
        str, Argument("TRACE", "A Chrome trace of torch's profiler (.json, .json.gz), or nsys's .sqlite or .csv.")
    ],
    model: o.ModelName,
    *,
    hw: o.Hardware,
    phase: Annotated[str, word("What the trace has steps of.", TRACED)] = TRACED[0],
    options: Annotated[Options, Takes(Options, without=BEYOND_A_PASS)],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Where a measured step and the predicted one differ: kernels of a trace beside the model's operators.

    Example: llmcost gap trace.json.gz llama3-8b --hw h100 --engine vllm -b 16 -c 2k
    """
    from llmcost.bench.gap import gap as compare
    from llmcost.bench.traces import read_trace
    from llmcost.report.gap import COLUMNS, document, flat, gap_panels, gap_tables
    from llmcost.specs.catalog import load_hardware

    files.ready(trace, model, hw)
    spec, chip = o.load_model(model, kind, options, allow_unknown), load_hardware(hw)
    found = compare(read_trace(Path(trace)), spec, chip, options, phase)
    form.show(lambda: document(found), lambda: (COLUMNS, flat(found)), lambda: gap_tables(found), spec.unknown_keys)
    if files.places():
        from llmcost.ground.errors import printable
        from llmcost.report.charts import Chart

        files.write(
            lambda: Chart(
                f"{spec.title} on {chip.title}", gap_panels(found), [f"Measured: {printable(Path(trace).name)}"]
            )
        )
