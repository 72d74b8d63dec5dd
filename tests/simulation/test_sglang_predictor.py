"""The example of a predictor for SGLang's simulator, against the interface that it publishes.

The classes below have the names, fields and signatures of sgl-project/sglang,
tools/sglang-simulator/src/sglang_simulator/time_predictor/base.py.
"""

import runpy
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

import llmcost

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "sglang_predictor.py"


@dataclass
class ScheduleRequest:
    extend_length: int = 0
    past_kv_length: int = 0


@dataclass
class ScheduleBatch:
    reqs: list[ScheduleRequest] = field(default_factory=list)
    forward_mode: str | None = None


class InferTimePredictor(ABC):
    def __init__(self, model, hw, config, *args, **kwargs):  # noqa: ARG002 - the published signature
        self.model, self.hw, self.config = model, hw, config

    @abstractmethod
    def predict_infer_time(self, batch: ScheduleBatch) -> float: ...


@pytest.fixture
def predictor(monkeypatch):
    base = ModuleType("sglang_simulator.time_predictor.base")
    base.InferTimePredictor, base.ScheduleBatch = InferTimePredictor, ScheduleBatch
    for name in ("sglang_simulator", "sglang_simulator.time_predictor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "sglang_simulator.time_predictor.base", base)
    return runpy.run_path(str(EXAMPLE))["LlmcostPredictor"](None, None, None, llm="llama3.1-8b", gpu="h100")


def batch(*requests):
    return ScheduleBatch([ScheduleRequest(*each) for each in requests])


def test_a_batch_takes_what_the_step_of_its_mix_takes(predictor):
    seconds = llmcost.StepTime("llama3.1-8b", "h100", engine="sglang")
    assert predictor.predict_infer_time(batch((1, 1000), (1, 2000))) == seconds(2, 1500)
    assert predictor.predict_infer_time(batch((512, 0))) == pytest.approx(seconds(prompts=1, tokens=512, keys=512))
    mixed = predictor.predict_infer_time(batch((1, 1000), (512, 1024), (100, 0)))
    assert mixed > predictor.predict_infer_time(batch((512, 1024), (100, 0)))
    assert predictor.predict_infer_time(batch()) == 0


def test_cached_tokens_are_read_but_not_computed(predictor):
    whole, rest = predictor.predict_infer_time(batch((2048, 0))), predictor.predict_infer_time(batch((1024, 1024)))
    assert predictor.predict_infer_time(batch((1024, 0))) < rest < whole


def test_an_engine_in_the_place_of_options_is_told_where_it_goes():
    with pytest.raises(llmcost.InputError, match="an engine is given by its name, engine='vllm'"):
        llmcost.StepTime("llama3.1-8b", "h100", "vllm")
