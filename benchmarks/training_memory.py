"""Whole training steps on a GPU: peak memory and time, measured, and beside them what llmcost says.

    python benchmarks/training_memory.py measure FILE [--device cuda] [--only NAME] [--steps 10] [--tiny]
    python benchmarks/training_memory.py compare FILE [--hw h200] [--profile PROFILE]

`measure` needs torch alone; `compare` needs llmcost alone. Models have real widths, few layers and random weights, in bf16
throughout; a step is forward, cross-entropy, backward and AdamW. Peak: torch.cuda.max_memory_allocated of one step, after three.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple


class Config(NamedTuple):
    """One model and one way to run it. `experts` 0: a dense MLP; `gated` False: a plain one with LayerNorm and biases."""

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
    """The same, small enough for a CPU."""
    return config._replace(
        layers=2, hidden=64, heads=4, kv_heads=min(config.kv_heads, 2) if config.gated else 4, head_dim=16, mlp=128, vocab=512, batch=2,
        seq=32, experts=min(config.experts, 4), top_k=min(config.top_k, 2),
    )  # fmt: skip


def build(config: Config, device: str) -> Any:
    """The model in plain PyTorch, written as reference implementations write it."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.checkpoint import checkpoint

    class RmsNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(config.hidden))

        def forward(self, x: Any) -> Any:
            wide = x.float()
            wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
            return self.weight * wide.to(x.dtype)

    def norm() -> nn.Module:
        return RmsNorm() if config.gated else nn.LayerNorm(config.hidden)

    def turned(x: Any, cos: Any, sin: Any) -> Any:
        near, far = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-far, near), dim=-1) * sin

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            bias, out = not config.gated, config.heads * config.head_dim
            self.q = nn.Linear(config.hidden, out, bias=bias)
            self.k = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=bias)
            self.v = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=bias)
            self.o = nn.Linear(out, config.hidden, bias=bias)

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            q, k, v = (each(x).unflatten(-1, (-1, config.head_dim)).transpose(1, 2) for each in (self.q, self.k, self.v))
            if config.gated:
                q, k = turned(q, cos, sin), turned(k, cos, sin)
            if config.attention == "fused":
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=config.kv_heads != config.heads)
            else:
                k, v = (each.repeat_interleave(config.heads // config.kv_heads, dim=1) for each in (k, v))
                scores = q @ k.transpose(2, 3) * config.head_dim**-0.5
                mask = torch.full(scores.shape[-2:], float("-inf"), device=x.device, dtype=x.dtype).triu(1)
                mixed = F.softmax(scores + mask, dim=-1, dtype=torch.float32).to(q.dtype) @ v
            return self.o(mixed.transpose(1, 2).flatten(2))

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(config.hidden, config.mlp, bias=not config.gated)
            self.down = nn.Linear(config.mlp, config.hidden, bias=not config.gated)
            if config.gated:
                self.gate = nn.Linear(config.hidden, config.mlp, bias=False)

        def forward(self, x: Any) -> Any:
            if not config.gated:
                return self.down(F.gelu(self.up(x), approximate="tanh"))
            return self.down(F.silu(self.gate(x)) * self.up(x))

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(config.hidden, config.experts, bias=False)
            self.gate_up = nn.Parameter(torch.randn(config.experts, config.hidden, 2 * config.mlp) * 0.02)
            self.down = nn.Parameter(torch.randn(config.experts, config.mlp, config.hidden) * 0.02)

        def forward(self, x: Any) -> Any:
            rows = x.flatten(0, 1)
            weights, chosen = self.router(rows).float().softmax(-1).topk(config.top_k, dim=-1)
            order = chosen.flatten().argsort(stable=True)
            token = order // config.top_k
            ends = torch.bincount(chosen.flatten(), minlength=config.experts).cumsum(0).to(torch.int32)
            gate, up = grouped(rows[token], self.gate_up, ends).chunk(2, dim=-1)
            out = grouped(F.silu(gate) * up, self.down, ends) * weights.flatten()[order].unsqueeze(-1).to(x.dtype)
            return torch.zeros_like(rows).index_add(0, token, out).view_as(x)

    def grouped(x: Any, weight: Any, ends: Any) -> Any:
        if x.is_cuda:
            return torch._grouped_mm(x, weight, offs=ends)  # noqa: SLF001 - torch's only grouped product
        starts = [0, *ends.tolist()]
        return torch.cat([x[a:b] @ w for a, b, w in zip(starts, starts[1:], weight, strict=False)])

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention_norm, self.mlp_norm = norm(), norm()
            self.attention, self.mlp = Attention(), Experts() if config.experts else Mlp()

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            x = x + self.attention(self.attention_norm(x), cos, sin)
            return x + self.mlp(self.mlp_norm(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(config.vocab, config.hidden)
            if not config.gated:
                self.positions = nn.Embedding(config.seq, config.hidden)
            self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
            self.norm, self.head = norm(), nn.Linear(config.hidden, config.vocab, bias=False)
            if config.tied:
                self.head.weight = self.embedding.weight

        def forward(self, tokens: Any, cos: Any, sin: Any) -> Any:
            x = self.embedding(tokens)
            if not config.gated:
                x = x + self.positions.weight
            for block in self.blocks:
                x = checkpoint(block, x, cos, sin, use_reentrant=False) if config.recompute == "full" else block(x, cos, sin)
            return self.head(self.norm(x))

    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = Model()
        torch.set_default_dtype(torch.float32)
    return model


def measured(config: Config, device: str, steps: int) -> dict[str, Any]:
    """Peak memory and times of steps, after three that warm up."""
    import torch
    from torch.nn import functional as F

    def loss_of(logits: Any, labels: Any) -> Any:
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())

    torch.manual_seed(0)
    model = build(config, device)
    if config.compiled:
        for block in model.blocks:
            block.compile(fullgraph=not config.experts)
        loss_of = torch.compile(loss_of)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=config.fused_adam and device == "cuda" or None)
    tokens = torch.randint(config.vocab, (config.accumulate, config.batch, config.seq + 1), device=device)
    angle = torch.outer(torch.arange(config.seq), 1e4 ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)).repeat(1, 2)
    cos, sin = angle.cos().to(device, torch.bfloat16), angle.sin().to(device, torch.bfloat16)

    def step() -> None:
        for each in tokens:
            loss_of(model(each[:, :-1], cos, sin), each[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = []
    for number in range(3 + steps):
        if device == "cuda":
            torch.cuda.synchronize()
            if number == 3:
                torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    found = {"params": sum(p.numel() for p in model.parameters()), "step_seconds": statistics.median(times[3:]), "samples": times[3:]}
    if device == "cuda":
        found |= {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
        free, total = torch.cuda.mem_get_info()
        found |= {"in_use_bytes": total - free, "total_bytes": total}
    return config._asdict() | found


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
            print({k: v for k, v in rows[-1].items() if k in ("name", "params", "peak_bytes", "step_seconds", "error")}, flush=True)
            path.write_text(json.dumps({"schema": "llmcost.training-steps/1", "context": context, "steps": rows}, indent=1) + "\n", "utf-8")
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
                torch._dynamo.reset()  # noqa: SLF001 - the only way to let compiled graphs go


def model_of(row: dict[str, Any]) -> Any:
    """The spec of a measured model."""
    from llmcost.blocks import Experts, GatedMlp, GroupedAttention, PlainMlp
    from llmcost.specs.model import Layer, ModelSpec

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
    from llmcost.training.layout import Layout
    from llmcost.training.recipe import Recipe
    from llmcost.training.train import training_step

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
        micro_batch=row["batch"], global_batch=row["batch"] * row["accumulate"], zero=0, sequence_parallel=False, recompute=row["recompute"]
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
            f"{row['name']:28} {row['peak_bytes'] / 1e9:6.2f} GB {peak / 1e9:6.2f} GB {peak / row['peak_bytes'] - 1:+7.1%} "
            f"{row['step_seconds'] * 1e3:6.1f} ms {seconds * 1e3:6.1f} ms {seconds / row['step_seconds'] - 1:+7.1%}"
        )


def main() -> None:
    """Measure or compare."""
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
