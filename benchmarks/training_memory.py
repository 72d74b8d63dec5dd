"""Whole training steps on a GPU: peak memory and time, measured, and beside them what llmcost says.

    python benchmarks/training_memory.py measure FILE [--device cuda] [--only NAME] [--steps 10] [--tiny]
    python benchmarks/training_memory.py compare FILE [--hw h200] [--profile PROFILE]

`measure` needs torch alone; `compare` needs llmcost alone. Models have real widths, few layers and random weights, in
bf16 throughout; a step is forward, cross-entropy, backward and AdamW. Peak: torch.cuda.max_memory_allocated of one
step, after three.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Config(NamedTuple):
    """One model and one way to run it.

    With 0 `experts` it has a dense MLP. Where it is not `gated`, it has a plain MLP with LayerNorm and biases.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    batch: int
    seq: int
    experts: int = 0
    top_k: int = 0
    gated: bool = True
    tied: bool = False
    accumulate: int = 1
    recompute: str = "none"
    compiled: bool = False
    attention: str = "fused"
    fused_adam: bool = True


LLAMA_8B = Config("llama-8b", 4, 4096, 32, 8, 128, 14336, 128256, 2, 4096)
LLAMA_1B = Config("llama-1b", 16, 2048, 32, 8, 64, 8192, 128256, 2, 4096, tied=True)
QWEN_7B = Config("qwen-7b", 4, 3584, 28, 4, 128, 18944, 152064, 1, 8192)
GPT2_XL = Config("gpt2-xl", 12, 1600, 25, 25, 64, 6400, 50257, 8, 1024, gated=False, tied=True)
MIXTRAL = Config("mixtral", 2, 4096, 32, 8, 128, 14336, 32000, 2, 4096, experts=8, top_k=2)
QWEN_30B = Config("qwen-30b-a3b", 4, 2048, 32, 4, 128, 768, 151936, 2, 4096, experts=128, top_k=8)


def configs() -> list[Config]:
    """Dense and experts, recomputed and not, compiled and not, attention fused and not."""

    def named(base: Config, suffix: str, **changes: Any) -> Config:
        return base._replace(name=f"{base.name}{suffix}", **changes)

    return [
        LLAMA_8B,
        named(LLAMA_8B, "-recompute", recompute="full"),
        named(LLAMA_8B, "-scores", attention="unfused", batch=1, seq=2048),
        LLAMA_1B,
        named(LLAMA_1B, "-accumulate", accumulate=2),
        named(LLAMA_1B, "-foreach", fused_adam=False),
        QWEN_7B,
        GPT2_XL,
        named(GPT2_XL, "-recompute", recompute="full"),
        MIXTRAL,
        named(MIXTRAL, "-recompute", recompute="full"),
        QWEN_30B,
        named(LLAMA_8B, "-compiled", compiled=True),
        named(LLAMA_8B, "-compiled-recompute", compiled=True, recompute="full"),
        named(QWEN_30B, "-compiled", compiled=True),
        named(GPT2_XL, "-compiled", compiled=True),
    ]


def tiny(config: Config) -> Config:
    """A config with the same switches, small enough for a CPU."""
    return config._replace(
        layers=2, hidden=64, heads=4, kv_heads=min(config.kv_heads, 2) if config.gated else 4, head_dim=16, mlp=128,
        vocab=512, batch=2, seq=32, experts=min(config.experts, 4), top_k=min(config.top_k, 2),
    )  # fmt: skip


def measured(config: Config, device: str, steps: int) -> dict[str, Any]:
    """Peak memory and times of steps, after three that warm up."""
    import torch
    from training_model import angles, build, loss_of

    torch.manual_seed(0)
    model, loss = build(config, device), loss_of
    if config.compiled:
        for block in model.blocks:
            block.compile(fullgraph=not config.experts)
        loss = torch.compile(loss_of)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=(config.fused_adam and device == "cuda") or None)
    tokens = torch.randint(config.vocab, (config.accumulate, config.batch, config.seq + 1), device=device)
    cos, sin = angles(config, device)

    def step() -> None:
        for each in tokens:
            loss(model(each[:, :-1], cos, sin), each[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    timed(step, 3, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    samples = timed(step, steps, device)
    found = {
        "params": sum(p.numel() for p in model.parameters()),
        "step_seconds": statistics.median(samples),
        "samples": samples,
    }
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        found |= {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
        found |= {"in_use_bytes": total - free, "total_bytes": total}
    return config._asdict() | found


def timed(step: Callable[[], None], times: int, device: str) -> list[float]:
    """Wall seconds of so many steps, each until the device is done."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    samples = []
    for _ in range(times):
        wait()
        start = time.perf_counter()
        step()
        wait()
        samples.append(time.perf_counter() - start)
    return samples


def measure(path: Path, device: str, only: str | None, steps: int, small: bool) -> None:
    """Measure every config and write each as soon as it is there."""
    import gc

    import torch

    context = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "date": time.strftime("%F"),
    }
    rows: list[dict[str, Any]] = []
    for config in configs():
        if only is None or only in config.name:
            try:
                rows.append(measured(tiny(config) if small else config, device, steps))
            except (RuntimeError, torch.OutOfMemoryError) as error:
                rows.append(config._asdict() | {"error": str(error).splitlines()[0]})
            print(
                {k: v for k, v in rows[-1].items() if k in ("name", "params", "peak_bytes", "step_seconds", "error")},
                flush=True,
            )
            path.write_text(
                json.dumps({"schema": "llmcost.training-steps/1", "context": context, "steps": rows}, indent=1) + "\n",
                "utf-8",
            )
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
                torch._dynamo.reset()  # noqa: SLF001 - the only way to let compiled graphs go


def model_of(row: dict[str, Any]) -> Any:
    """The spec of a measured model."""
    from llmcost.model.blocks import Experts, GatedMlp, GroupedAttention, PlainMlp
    from llmcost.model.spec import Layer, ModelSpec

    bias = not row["gated"]
    attention = GroupedAttention(
        row["heads"], row["kv_heads"], row["head_dim"], row["head_dim"], attention_bias=bias, attention_output_bias=bias
    )
    mlp: Any = GatedMlp(row["mlp"]) if row["gated"] else PlainMlp(row["mlp"], mlp_bias=True)
    if row["experts"]:
        mlp = Experts(row["experts"], row["top_k"], row["mlp"])
    return ModelSpec(
        name=row["name"],
        title=row["name"],
        source="benchmarks/training_memory.py",
        hidden_size=row["hidden"],
        vocab_size=row["vocab"],
        max_position_embeddings=row["seq"],
        tie_word_embeddings=row["tied"],
        layers=(Layer(row["layers"], attention, mlp),),
        position_embedding="rotary" if row["gated"] else "learned",
        norm="rms" if row["gated"] else "layer",
    )


def predicted(row: dict[str, Any], hardware: Any, efficiency: Any = None) -> tuple[float, float]:
    """Peak bytes and seconds of a step that llmcost expects."""
    from llmcost.parallel.layout import Layout
    from llmcost.training.recipe import Recipe
    from llmcost.training.step import training_step

    recipe = Recipe(
        master_weights=False,
        grad_bytes=2,
        reduce_bytes=2,
        optimizer="adam" if row["fused_adam"] else "adam-unfused",
        attention=row["attention"],
        kernels="fused" if row["compiled"] else "eager",
        loss="compiled" if row["compiled"] else "plain",
        grad_buffer=False,
        clip=False,
    )
    layout = Layout(
        micro_batch=row["batch"],
        global_batch=row["batch"] * row["accumulate"],
        zero=0,
        sequence_parallel=False,
        recompute=row["recompute"],
    )
    step = training_step(model_of(row), hardware, layout, recipe, row["seq"], efficiency)
    return step.first.allocated(), step.seconds.total


def compare(path: Path, hardware: str) -> None:
    """Print each measurement beside llmcost's prediction."""
    from llmcost.specs.catalog import load_hardware

    document = json.loads(path.read_text("utf-8"))
    chip = load_hardware(hardware)
    print(f"{'step':28} {'peak':>9} {'predicted':>9} {'':>7} {'seconds':>9} {'predicted':>9}")
    for row in document["steps"]:
        if "peak_bytes" not in row:
            print(f"{row['name']:28} {row.get('error', 'no GPU')}")
            continue
        peak, seconds = predicted(row, chip)
        print(
            f"{row['name']:28} "
            f"{row['peak_bytes'] / 1e9:6.2f} GB {peak / 1e9:6.2f} GB {peak / row['peak_bytes'] - 1:+7.1%} "
            f"{row['step_seconds'] * 1e3:6.1f} ms {seconds * 1e3:6.1f} ms {seconds / row['step_seconds'] - 1:+7.1%}"
        )


def main() -> None:
    """Measure the configs, or compare measurements with predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("measure", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--hw", default="h200")
    chosen = parser.parse_args()
    if chosen.task == "measure":
        measure(chosen.file, chosen.device, chosen.only, chosen.steps, chosen.tiny)
    else:
        compare(chosen.file, chosen.hw)


if __name__ == "__main__":
    main()
