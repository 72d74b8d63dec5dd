"""`llmcost compare`: models and GPUs side by side."""

from typing import Annotated

from llmcost.cli import options as o
from llmcost.cli.command import Argument, Given, Takes, spelled_out
from llmcost.cli.money import Money
from llmcost.serving.options import Options


def compare(
    models: Annotated[
        list[str],
        Argument("MODEL...", "Shipped names, YAML specs, config.json or GGUF files, or hub ids.", several=True),
    ],
    *,
    hw: o.SeveralHardware,
    given: Annotated[Given, Takes(Options, lists=("engine",), changed={"engine": {"help": "Engines that serve."}})],
    kind: o.ReadAs = None,
    allow_unknown: o.AllowUnknown = (),
    money: Annotated[Money, Takes(Money)],
    files: Annotated[o.Files, Takes(o.Files, only=o.DRAWN)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Every MODEL on every GPU, and under every engine, side by side at the same batch and context.

    Example: llmcost compare llama3-8b qwen3-8b --hw h100,mi300x --batch 16 --price h100=2.5 --price mi300x=2
    """
    from llmcost.ground.ranges import distinct
    from llmcost.report.compare import comparison_panels, comparison_rows, comparison_tables
    from llmcost.search.compare import compare as compute
    from llmcost.serving.estimate import refuse_idle_link

    money.refuse_lone_pue()
    files.ready(*models, *hw)
    specs, chips = o.load_models(models, kind, given, allow_unknown), o.load_chips(hw)
    distinct("MODEL", [spec.name for spec in specs])
    engines = spelled_out({"engine": given.pop("engine")}, Options)["engine"] if "engine" in given else ()
    refuse_idle_link(Options(**given))
    found = compute(specs, chips, Options(**given), money.prices(chips), engines)
    if files.places():
        from llmcost.report.charts import Chart
        from llmcost.report.sources import caption_of_several

        bases = list(dict.fromkeys(entry.estimate.prefill.expected.basis for entry in found.entries))
        below = caption_of_several(specs, chips, bases)
        files.write(lambda: Chart("Models and GPUs compared", comparison_panels(found.entries, money.asked()), below))
        if not any(form):
            return
    form.show(
        found.to_dict,
        lambda: comparison_rows(found.entries),
        lambda: comparison_tables(found.entries, money.asked()),
        [f"{spec.name}: {key}" for spec in specs for key in spec.unknown_keys],
    )
