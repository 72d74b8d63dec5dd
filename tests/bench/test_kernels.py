"""Kernels: their operands, their answers, and where torch may be imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmcost.bench.device import find_device
from llmcost.bench.kernels import kind_of
from llmcost.model.operators import GroupedGemm
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
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    rows = load_profile(tmp_path / "p.json").rows
    assert [row.name for row in rows[::2]] == ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
    assert {(row.status, row.way) for row in rows} == {("ok", "gloo")}
    assert done.stdout.count("all_reduce, bus bandwidth") == 1  # one process reports for all


def test_experts_rows_are_those_of_the_routing():
    from llmcost.bench.kernels.grouped import routing

    assert sum(routing(100, 8, 2)) == 200
    assert routing(5, 3, 3) == (5, 5, 5)
    op = GroupedGemm("experts", "mlp", 1, 100, 1, 16, 16, 8, 2, False, 4, 4)
    assert kind_of(op).operands(op, "fp32", find_device("cpu")).hot[0].shape == (200, 16)
