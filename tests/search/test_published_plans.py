"""Layouts that NVIDIA tuned by hand and published are near the best of the plan."""

import statistics

from llmcost.accuracy.cases import load_cases
from llmcost.accuracy.models import spec_of
from llmcost.search.plan_training import plan
from llmcost.search.question import ask
from llmcost.specs.catalog import load_hardware
from llmcost.training.options import Options


def seconds(case, held):
    """The best step of a case's run, its published degrees held or not."""
    of = case.settings
    asked = {"gpus": of["gpus"], "global_batch": of["global_batch"], "seq": of["seq"], "dtype": of["compute"]}
    options = Options(**asked, engine="nemo")
    return plan(ask(spec_of(of["model"]), load_hardware(of["gpu"]), options, held), top=1).best[0].step_seconds


def test_nemos_layouts_are_near_the_best():
    """Nine pretraining runs of 7B to 340B on 8 to 512 H100s, of which tp, pp, vp, cp and micro-batch were tuned."""
    ratios = []
    for case in load_cases("training"):
        of = case.settings
        if case.source.name == "nemo-24.07" and of["task"] == "pretrain" and spec_of(of["model"]) is not None:
            degrees = {"tp": of["tp"], "pp": of["pp"], "vp": of["vp"], "cp": of["cp"], "micro_batch": of["micro_batch"]}
            held = {axis: (value,) for axis, value in degrees.items() if value is not None}
            ratios.append(seconds(case, held) / seconds(case, {}))
    assert len(ratios) == 9
    assert statistics.median(ratios) < 1.05
    assert max(ratios) < 1.25
