"""A real engine on this machine's GPU: the model with random weights, timed through the engine's own interface.

An engine generates some tokens for a batch of prompts, once one token and once several. The first takes as long as the
prompts; the difference is the decode steps between. Both are beside what `estimate --engine` says of the same work.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from llmcost.bench import NoDeviceError
from llmcost.bench.device import DTYPES, Device
from llmcost.bench.session import spec_of
from llmcost.bench.suites import StepPoint
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_model
from llmcost.specs.engine import EngineSpec
from llmcost.specs.importer.inverse import config_of

STEPS = 32  # decode steps that are timed together
ROUNDS = 3  # of which the median counts, after one that is not counted
Generate = Callable[[int], object]  # generates so many tokens for each prompt of the batch


class EngineRun(NamedTuple):
    """What an engine took for a batch: seconds of all prompts, and of a decode step; its version."""

    version: str
    prefill_seconds: float
    step_seconds: float


class Compared(NamedTuple):
    """What an engine took beside what is predicted of it; predictions are None for a device without a spec."""

    engine: str
    device: str
    asked: StepPoint
    run: EngineRun
    predicted_prefill_seconds: float | None
    predicted_step_seconds: float | None
    basis: str | None


def compared(engine: EngineSpec, name: str, asked: StepPoint, hardware: str | None, device: Device) -> Compared:
    """Time an engine on prompts of as many tokens as are asked for, and predict the same by its spec."""
    run = time_engine(engine, asked.model, asked.b, asked.c, asked.dtype, device)
    gpu = spec_of(device, hardware)
    if gpu is None:
        return Compared(engine.name, device.name, asked, run, None, None, None)
    options = Options(batch=asked.b, prompt=asked.c, output=1 + STEPS, dtype=asked.dtype, engine=name)
    guess = estimate(load_model(asked.model), gpu, options)
    times = guess.request.expected if guess.request else None
    return Compared(
        engine.name, device.name, asked, run, times and times.ttft_seconds, times and times.tpot_seconds,
        guess.prefill.expected.basis,
    )  # fmt: skip


def time_engine(engine: EngineSpec, model: str, batch: int, prompt: int, dtype: str, device: Device) -> EngineRun:
    """Time a batch of prompts and the decode steps after them, on an engine that is installed here.

    Raises NoDeviceError, which says what to install, and InputError for an engine that has no interface here.
    """
    library = next((name for name in STARTERS if engine.name.startswith(name)), None)
    if library is None:
        raise InputError(f"--engine {engine.name}: of the engines, {', '.join(STARTERS)} can be timed here")
    if find_spec(library) is None:
        raise NoDeviceError(f"--engine {engine.name}: {library} is not installed here")
    with TemporaryDirectory() as folder:
        _write_config(model, Path(folder))
        generate = STARTERS[library](Path(folder), engine, batch, prompt, dtype, device)
        first = _seconds(lambda: generate(1), device)
        several = _seconds(lambda: generate(1 + STEPS), device)
    gc.collect()
    return EngineRun(_version(library), first, max(several - first, 0.0) / STEPS)


def _write_config(model: str, folder: Path) -> None:
    """The model's config.json, by which an engine makes it with random weights; of a type that transformers has.

    vLLM and SGLang have types through transformers too.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    config = config_of(model, {kind for kind in CAUSAL if "multimodal" not in kind})
    config.setdefault("architectures", [CAUSAL[config["model_type"]]])
    config |= dict.fromkeys(
        ("bos_token_id", "eos_token_id", "pad_token_id")
    )  # a class's own may lie beyond the vocabulary
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def _seconds(run: Callable[[], object], device: Device) -> float:
    """The median of some runs, each until the device has done all of it, after one that compiles what there is to."""
    run()
    found = []
    for _ in range(ROUNDS):
        device.synchronize()
        start = time.perf_counter()
        run()
        device.synchronize()
        found.append(time.perf_counter() - start)
    return median(found)


def _version(library: str) -> str:
    from importlib.metadata import version

    return f"{library} {version(library)}"


def _transformers(folder: Path, engine: EngineSpec, batch: int, prompt: int, dtype: str, device: Device) -> Generate:
    """`generate` of transformers, greedy; compiled over a static cache where the engine replays graphs."""
    import transformers

    quiet: Any = transformers.logging
    quiet.set_verbosity_error()
    config: Any = transformers.AutoConfig.from_pretrained(folder)
    make: Any = transformers.AutoModelForCausalLM
    with torch.device(device.kind):
        model = make.from_config(config, dtype=DTYPES[dtype]).eval()
    given = torch.randint(config.vocab_size, (batch, prompt), device=device.kind)
    more = {"cache_implementation": "static"} if engine.launch == "graph" else {}

    @torch.inference_mode()
    def generate(tokens: int) -> Any:
        return model.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=False, eos_token_id=None, pad_token_id=0, **more,
        )  # fmt: skip

    return generate


def _vllm(folder: Path, _engine: EngineSpec, batch: int, prompt: int, dtype: str, _device: Device) -> Generate:
    """`LLM.generate` of vLLM with dummy weights, tokens in and tokens out, without its prefix cache."""
    import vllm

    model = vllm.LLM(
        str(folder), load_format="dummy", skip_tokenizer_init=True, dtype=str(DTYPES[dtype]).removeprefix("torch."),
        enable_prefix_caching=False, max_model_len=prompt + STEPS + 1, max_num_seqs=batch, disable_log_stats=True,
    )  # fmt: skip
    given = [{"prompt_token_ids": [7 + (31 * row + place) % 997 for place in range(prompt)]} for row in range(batch)]

    def generate(tokens: int) -> Any:
        sampled = vllm.SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        return model.generate(given, sampled, use_tqdm=False)

    return generate


def _sglang(folder: Path, _engine: EngineSpec, batch: int, prompt: int, dtype: str, _device: Device) -> Generate:
    """The offline engine of SGLang with dummy weights, tokens in and tokens out, without its prefix cache."""
    import sglang

    model = sglang.Engine(
        model_path=str(folder), load_format="dummy", skip_tokenizer_init=True, disable_radix_cache=True,
        dtype=str(DTYPES[dtype]).removeprefix("torch."), context_length=prompt + STEPS + 1, max_running_requests=batch,
    )  # fmt: skip
    given = [[7 + (31 * row + place) % 997 for place in range(prompt)] for row in range(batch)]

    def generate(tokens: int) -> Any:
        sampled = {"temperature": 0.0, "max_new_tokens": tokens, "ignore_eos": True}
        return model.generate(input_ids=given, sampling_params=sampled)

    return generate


STARTERS: dict[str, Callable[..., Generate]] = {"transformers": _transformers, "vllm": _vllm, "sglang": _sglang}
