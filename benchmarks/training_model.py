"""Decoders in plain PyTorch, written as reference implementations write them: what training_memory.py measures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class RmsNorm(nn.Module):
    """In fp32, as transformers has it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled to a mean square of one."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * wide.to(x.dtype)


def norm(config: Any) -> nn.Module:
    """The norm that goes with the kind of MLP."""
    return RmsNorm(config) if config.gated else nn.LayerNorm(config.hidden)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys turned by rotary embedding."""
    near, far = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-far, near), dim=-1) * sin


class Attention(nn.Module):
    """Grouped attention, in one kernel or with scores in memory."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        bias, out, kv = not config.gated, config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.config = config
        self.q, self.o = nn.Linear(config.hidden, out, bias=bias), nn.Linear(out, config.hidden, bias=bias)
        self.k, self.v = nn.Linear(config.hidden, kv, bias=bias), nn.Linear(config.hidden, kv, bias=bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Every token sees those before it."""
        config = self.config
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
        out: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """down(silu(gate)·up), or down(gelu(up))."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        bias = not config.gated
        self.up, self.down = (
            nn.Linear(config.hidden, config.mlp, bias=bias),
            nn.Linear(config.mlp, config.hidden, bias=bias),
        )
        self.gate = nn.Linear(config.hidden, config.mlp, bias=False) if config.gated else None

    def forward(self, x: Tensor) -> Tensor:
        """The answer of the MLP or of the experts, for each token."""
        inner = F.gelu(self.up(x), approximate="tanh") if self.gate is None else F.silu(self.gate(x)) * self.up(x)
        out: Tensor = self.down(inner)
        return out


def grouped(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows up to ends[e] and from ends[e-1] on, times weight[e]."""
    if x.is_cuda:
        out: Tensor = torch._grouped_mm(x, weight, offs=ends)  # noqa: SLF001 - torch's only grouped product
        return out
    starts = [0, *ends.tolist()]
    return torch.cat([x[a:b] @ w for a, b, w in zip(starts, starts[1:], weight, strict=False)])


class Experts(nn.Module):
    """A router, and gated MLPs of which each token takes some."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.router = config, nn.Linear(config.hidden, config.experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(config.experts, config.hidden, 2 * config.mlp) * 0.02)
        self.down = nn.Parameter(torch.randn(config.experts, config.mlp, config.hidden) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Rows sorted by expert, grouped products, weighted and added up."""
        config, rows = self.config, x.flatten(0, 1)
        weights, chosen = self.router(rows).float().softmax(-1).topk(config.top_k, dim=-1)
        order = chosen.flatten().argsort(stable=True)
        token = order // config.top_k
        ends = torch.bincount(chosen.flatten(), minlength=config.experts).cumsum(0).to(torch.int32)
        gate, up = grouped(rows[token], self.gate_up, ends).chunk(2, dim=-1)
        out = grouped(F.silu(gate) * up, self.down, ends) * weights.flatten()[order].unsqueeze(-1).to(x.dtype)
        return torch.zeros_like(rows).index_add(0, token, out).view_as(x)


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to the residual stream."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = norm(config), norm(config)
        self.attention, self.mlp = Attention(config), Experts(config) if config.experts else Mlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The residual stream after one layer."""
        x = x + self.attention(self.attention_norm(x), cos, sin)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Decoder(nn.Module):
    """Embedding, layers, final norm, LM head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.embedding = config, nn.Embedding(config.vocab, config.hidden)
        self.positions = None if config.gated else nn.Embedding(config.seq, config.hidden)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm, self.head = norm(config), nn.Linear(config.hidden, config.vocab, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The logits at every position, (b, s, v)."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions.weight
        for block in self.blocks:
            x = (
                checkpoint(block, x, cos, sin, use_reentrant=False)
                if self.config.recompute == "full"
                else block(x, cos, sin)
            )
        out: Tensor = self.head(self.norm(x))
        return out


def build(config: Any, device: str) -> Decoder:
    """The model in bf16 with random weights."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return Decoder(config)
    finally:
        torch.set_default_dtype(torch.float32)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of bf16 logits in fp32."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def angles(config: Any, device: str) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary positions."""
    angle = torch.outer(
        torch.arange(config.seq), 1e4 ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)
    ).repeat(1, 2)
    return angle.cos().to(device, torch.bfloat16), angle.sin().to(device, torch.bfloat16)
