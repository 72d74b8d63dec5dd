"""Kernels: their operands, their answers, and where torch may be imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmcost.bench.device import find_device
from llmcost.bench.kernels import KernelCase, UnsupportedError, kind_of
from llmcost.bench.kernels.grouped import routing
from llmcost.model.architecture import operators
from llmcost.model.operators import Attention, CausalConv, GroupedGemm, Scan, Stored
from llmcost.model.operators.routing import routing_of
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_model
from llmcost.specs.profile import load_profile

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not any((Path(place) / "triton").is_dir() for place in sys.path), reason="Triton is not installed")
def test_tritons_kernels_give_the_right_answers_in_its_interpreter():
    code = """
import torch
from llmcost.bench.kernels.split_kv_triton import decode
q, k, v = torch.randn(2, 8, 1, 64), torch.randn(2, 2, 300, 64), torch.randn(2, 2, 300, 64)
right = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
assert (decode(q, k, v) - right).norm() / right.norm() < 2e-3
sinks = torch.randn(8)
scores = (q.view(2, 2, 4, 64) * 64**-0.5 @ k.transpose(2, 3)).view(2, 8, 300)
share = torch.cat([scores, sinks[None, :, None].expand(2, 8, 1)], -1).softmax(-1)[..., :-1]
right = (share.view(2, 2, 4, 300) @ v).view(2, 8, 1, 64)
assert (decode(q, k, v, sinks) - right).norm() / right.norm() < 2e-3
from llmcost.bench.kernels.latent_triton import decode
for a, d, dv in ((16, 72, 64), (5, 64, 64), (40, 48, 32)):
    q, latents, sinks = torch.randn(2, a, 1, d), torch.randn(2, 1, 300, d), torch.randn(a)
    scores = (q[:, :, 0] * d**-0.5 @ latents[:, 0].transpose(1, 2))
    right = (scores.softmax(-1) @ latents[:, 0, :, :dv])[:, :, None]
    assert (decode(q, latents, dv) - right).norm() / right.norm() < 2e-3
    share = torch.cat([scores, sinks[None, :, None].expand(2, a, 1)], -1).softmax(-1)[..., :-1]
    right = (share @ latents[:, 0, :, :dv])[:, :, None]
    assert (decode(q, latents, dv, sinks) - right).norm() / right.norm() < 2e-3
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_nothing_but_bench_imports_torch():
    importing = re.compile(r"^\s*(import|from) torch\b", re.MULTILINE)
    files = [path for path in (ROOT / "llmcost").rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert files
    assert {path.relative_to(ROOT / "llmcost").parts[0] for path in files} == {"bench"}


def test_exchanges_between_two_processes(tmp_path):
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--no-python",
        sys.executable,
        "-m",
        "llmcost",
        "bench",
    ]
    whole = [sys.executable, *command, "--device", "cpu", "-o", str(tmp_path / "p.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=900, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    profile = load_profile(tmp_path / "p.json")
    rows = [row for row in profile.rows if row.suite == "collectives"]
    assert [row.name for row in rows[::2]] == ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
    assert {(row.status, row.way) for row in rows} == {("ok", "gloo")}
    assert done.stdout.count("all_reduce, bus bandwidth") == 1  # one process reports for all
    (step,) = profile.steps
    products = {row.sizes["n"] for row in profile.rows if row.suite == "step" and row.operator == "Gemm"}
    assert (step.model, step.tp, step.status) == ("nanogpt-124m", 2, "ok")
    assert products == {768, 3 * 768 / 2, 4 * 768 / 2, 50304 / 2}  # split by rows, the others by columns
    kinds = {row.sizes["exchange"] for row in profile.rows if row.suite == "step" and row.operator == "Collective"}
    assert kinds == {"all_reduce", "all_gather"}  # of partial sums, and of the logits


def test_experts_rows_are_those_of_the_routing():
    from llmcost.bench.kernels.grouped import routing

    assert sum(routing(100, 8, 2)) == 200
    assert routing(5, 3, 3) == (5, 5, 5)
    op = GroupedGemm("experts", "mlp", 1, 100, 1, 16, 16, 8, 2, False, 4, 4)
    assert kind_of(op).operands(op, "fp32", find_device("cpu")).hot[0].shape == (200, 16)


ATTENTION = Attention("attention", "attention", 1, 2, 1, 40, 4, 8, 8, 32, 0, "all", 0, False, False, 4, 4, 0, 2, True)
PROMPT = ATTENTION._replace(s=40, decode=False)
LATENT = ATTENTION._replace(d=12, dv=8, cached=12, kv_heads=1, latent=True)


@pytest.mark.parametrize(
    "op",
    [
        ATTENTION._replace(sinks=True),
        ATTENTION._replace(sinks=True, span="window", w=16),
        ATTENTION._replace(span="top", w=8),
        ATTENTION._replace(every=4),
        LATENT._replace(span="top", w=8),
        LATENT._replace(sinks=True, span="window", w=16),
        PROMPT._replace(sinks=True),
        PROMPT._replace(span="window", w=16),
        PROMPT._replace(span="chunk", w=16, sinks=True),
    ],
)
def test_attention_with_sinks_windows_and_chosen_keys_is_that_of_a_loop_over_queries(bench, op):
    """The answer, one query and head at a time, from the operands alone; every way was checked against `expected`."""
    kind = kind_of(op)
    given = kind.operands(op, "fp32", bench.device)
    where, answer = kind.expected(op, given)
    others = list(given.hot[1:]) + list(given.cold)
    sinks = others.pop() if op.sinks else None
    rows = others.pop(0) if op.span == "top" else None
    b = op.b - 1
    q = given.hot[0].view(op.b, op.s, -1)[b, :, : op.a * op.d].view(op.s, op.a, op.d)
    if op.latent:
        latent = others[0][b, 0] if rows is None else others[0].reshape(-1, 12)[rows.view(2, -1)[b]]
        k, v = latent[None], latent[None, :, :8]
    elif op.s > 1:
        kv = given.hot[0].view(op.b, op.s, -1)[b, :, op.a * op.d :]
        k, v = (kv[:, part].view(op.s, 2, 8).transpose(0, 1) for part in (slice(16), slice(16, None)))
    elif rows is not None:
        k, v = (each.reshape(-1, 8)[rows.view(2, 2, -1)[b]] for each in others)
    else:
        k, v = (each[b] for each in others)
    for query, got in zip(range(op.s)[where[1]], answer[0], strict=True):
        last = query if op.s > 1 else k.shape[1] - 1
        first = {"window": max(0, last - op.w + 1), "chunk": last // 16 * 16}.get(op.span, 0) if op.s > 1 else 0
        for head in range(op.a):
            group = head * k.shape[0] // op.a
            weight = (k[group, first : last + 1] @ q[query, head] * op.d**-0.5).exp()
            total = weight.sum() + (0 if sinks is None else sinks[head].exp())
            assert ((weight / total) @ v[group, first : last + 1] - got[head]).abs().max() < 1e-4
    measured = bench.measure(KernelCase(op, "fp32"))
    assert not any(str(other).startswith("wrong") for other in measured.others.values())


@pytest.mark.parametrize("law", ["uniform", "balanced", "power-law:1.2"])
def test_tokens_choose_experts_by_a_law_and_none_twice(law):
    counts = routing(64, 128, 8, routing_of(law))
    assert sum(counts) == 64 * 8
    assert max(counts) <= 64
    used = sum(count > 0 for count in counts)
    assert used == pytest.approx(routing_of(law).touched(128, 8, 64), rel=0.05)
    assert (max(counts) == 4) == (law == "balanced")


def test_an_indexers_scores_are_products_of_queries_and_keys(bench):
    op = ATTENTION._replace(dv=0, cached=8, kv_heads=1, latent=True, every=4)
    kind = kind_of(op)
    given = kind.operands(op, "fp32", bench.device)
    _, scores = kind.expected(op, given)
    assert scores.shape == (1, 1, 4, 10)  # of 40 tokens, one key for four
    assert ((given.hot[0][1, :32].view(4, 8) @ given.cold[0][1, 0].T) * 8**-0.5 - scores[0, 0]).abs().max() < 1e-5
    assert bench.measure(KernelCase(op, "fp32")).way == "matmul"


def test_biases_of_experts_and_of_convolutions_are_added(bench):
    experts = GroupedGemm("experts", "mlp", 1, 6, 1, 16, 24, 4, 2, True, 4, 4)
    conv = CausalConv("conv", "attention", 1, 2, 1, 8, 4, True, 4)
    for op in (experts, conv, conv._replace(s=5)):
        given = kind_of(op).operands(op, "fp32", bench.device)
        without = kind_of(op).operands(op._replace(bias=False), "fp32", bench.device)
        assert len(given.cold) == len(without.cold) + 1
        *cold, bias = given.cold
        bare = kind_of(op).expected(op, given._replace(cold=(*cold, bias * 0)))[1]
        with_bias = kind_of(op).expected(op, given)[1]
        added = bias[0] if op is experts else bias[:, None]
        assert (with_bias - bare - added).abs().max() < 1e-5
        assert not any(
            str(other).startswith("wrong") for other in bench.measure(KernelCase(op, "fp32")).others.values()
        )


def test_every_shipped_models_decode_step_has_a_kernel_for_each_operator():
    """No operator of a decode step is refused: what is looked at are the shapes, on torch's meta device."""
    device = find_device("cpu")._replace(kind="meta")
    size = element_bytes("bf16", "bf16", "bf16")
    for name in sorted(path.stem for path in (ROOT / "models").glob("*.yaml")):
        for op in operators(load_model(name), size, Load(2, 1, 4096, decode=True)):
            if not isinstance(op, Stored):
                assert kind_of(op).operands(op, "bf16", device).hot, (name, op)


def test_a_prompts_recurrence_in_chunks_is_that_of_its_tokens(bench):
    op = Scan("scan", "attention", 1, 2, 150, 3, 8, 16, False, 0, 0, 0, 4, 4)  # more than two chunks, and a rest
    measured = bench.measure(KernelCase(op, "fp32"))
    assert measured.way == "chunks"
    with pytest.raises(UnsupportedError, match="flash-linear-attention"):
        kind_of(op).ways(KernelCase(op._replace(delta=True), "fp32"), bench.device)
    with pytest.raises(UnsupportedError, match="decays by itself"):
        kind_of(op).operands(op._replace(dv=1), "fp32", bench.device)


def test_prompts_lack_kernels_for_the_models_that_the_page_names():
    device = find_device("cpu")._replace(kind="meta")
    size, found = element_bytes("bf16", "bf16", "bf16"), {}
    for name in sorted(path.stem for path in (ROOT / "models").glob("*.yaml")):
        for op in operators(load_model(name), size, Load(1, 4096, 4096)):
            if isinstance(op, Stored):
                continue
            try:
                kind_of(op).operands(op, "bf16", device)
            except UnsupportedError as refusal:
                found[name] = str(refusal)
            if isinstance(op, Scan) and op.delta:
                found.setdefault(name, "delta rule")
    page = (ROOT / "docs" / "bench.md").read_text("utf-8")
    missing = [name for name, why in found.items() if why != "delta rule"]
    choosing = ["deepseek-v3.2", "glm-5", "glm-5.1", "glm-5.2"]
    assert sorted(missing) == sorted(
        [*choosing, "deepseek-v4-flash", "deepseek-v4-pro", "jamba-1.5-mini", "minimax-m3"]
    )
    assert all(title in page for title in ("DeepSeek V4 Flash", "DeepSeek V4 Pro", "Jamba 1.5 Mini", "MiniMax-M3"))
    delta = {
        name.rsplit("-", 2)[0] if "next" in name else name.split("-")[0]
        for name, why in found.items()
        if name not in missing
    }
    assert delta == {"qwen3-next", "qwen3.5", "qwen3.6"}
