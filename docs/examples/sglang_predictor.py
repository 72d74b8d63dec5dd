"""llmcost's step times in SGLang's simulator: a predictor for its `InferTimePredictor` interface.

The interface: sgl-project/sglang, tools/sglang-simulator/src/sglang_simulator/time_predictor/base.py (merged with
https://github.com/sgl-project/sglang/pull/33824). SGLang's own scheduler and radix cache decide what runs; this says
how long it takes.
"""

from __future__ import annotations

from typing import Any

from sglang_simulator.time_predictor.base import InferTimePredictor, ScheduleBatch

import llmcost


class LlmcostPredictor(InferTimePredictor):
    """Seconds of each batch from `llmcost.StepTime`. `llm`, `gpu`: names or specs; more keywords are its options."""

    def __init__(self, model: Any, hw: Any, config: Any, llm: str, gpu: str, **options: Any) -> None:
        super().__init__(model, hw, config)
        self.seconds = llmcost.StepTime(llm, gpu, **({"engine": "sglang"} | options))

    def predict_infer_time(self, batch: ScheduleBatch) -> float:
        """Seconds of a batch, whose requests have tokens to compute (`extend_length`) and cached ones before them."""
        decoding = [each for each in batch.reqs if each.extend_length == 1]
        prompts = [each for each in batch.reqs if each.extend_length > 1]
        cached = sum(each.past_kv_length for each in decoding)
        tokens = sum(each.extend_length for each in prompts)
        if not prompts:
            return self.seconds(len(decoding), cached / len(decoding)) if decoding else 0.0
        pairs = sum(each.extend_length * (each.past_kv_length + (each.extend_length + 1) / 2) for each in prompts)
        piece = tokens / len(prompts)
        keys = pairs / tokens + (piece - 1) / 2
        return self.seconds(len(decoding), cached / max(1, len(decoding)), len(prompts), piece, keys)
