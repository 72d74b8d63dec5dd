"""Measured single kernels: each as an operator, and its predicted time."""

from __future__ import annotations

from llmcost.accuracy.ask import Figures, gpu_of
from llmcost.accuracy.cases import Case
from llmcost.ground.algebra import Number
from llmcost.ground.units import BITS
from llmcost.machine.chip import chip_of
from llmcost.machine.defaults import Launch
from llmcost.machine.efficiency import from_figures
from llmcost.machine.reached import efficiency_for
from llmcost.machine.timing import kernel_seconds, least_kernel_seconds
from llmcost.model.operators import Attention, Collective, Elementwise, Gemm, Operator, TokenProduct
from llmcost.model.sizes import activation_dtype, bytes_of


def operator_of(case: Case) -> Operator:
    """The operator that a case timed; of a GEMM, `count` products in one kernel. Inputs are in the computing type."""
    of, size = case.settings, bytes_of(BITS[case.settings["compute"]])
    m, n, k = of["m"], of["n"], of["k"]
    match of["op"]:
        case "gemm" if of["count"] in (None, 1):
            outputs = bytes_of(BITS[activation_dtype(of["compute"])])
            return Gemm("gemm", "mlp", 1, 1, m, k, n, False, False, size, outputs)
        case "gemm":
            return TokenProduct("gemm", "attention", 1, of["count"], 1, m, k, n, size)
        case "decode-attention" | "prefill-attention":
            heads, kv, d, dv = of["heads"], of["kv_heads"], of["head_dim"], of["v_head_dim"]
            latent = kv == 1 and dv < d  # it holds its values inside
            cached = d if latent else kv * (d + dv)
            single = of["op"] == "decode-attention"
            tokens = {"b": of["batch"], "s": 1 if single else of["context"], "c": of["context"]}
            sizes = {"a": heads, "d": d, "dv": dv, "cached": cached, "streamed": 0, "w": 0, "Bx": size, "Bkv": size}
            kind = {"span": "all", "sinks": False, "shared": False, "kv_heads": kv, "decode": single, "latent": latent}
            return Attention("attention", "attention", 1, **tokens, **sizes, **kind)
        case "all-reduce":
            return Collective("all_reduce", "mlp", 1, "all_reduce", m, n, of["gpus"], 1, of["gpus"], size)
    reads = 2 * n if of["op"] == "silu-product" else n
    return Elementwise(of["op"], "norm", 1, 1, m, reads, n, 0, size)


def kernel_time(case: Case, profile: str | None, figures: Figures | None) -> tuple[Number, Number]:
    """Expected and least seconds of one execution, launched alone; None where a figure of the GPU is not known."""
    of, hardware, op = case.settings, gpu_of(case.settings["gpu"]), operator_of(case)
    dtype, chip = of["compute"], chip_of(hardware, of["compute"], of["compute"])
    launch: Launch = "stream" if of["op"] == "all-reduce" else "alone"  # collectives were started by PyTorch
    if figures is None:
        efficiency = efficiency_for(hardware, profile, dtype, dtype, launch, alone=True)
    else:
        efficiency = from_figures(figures, hardware, dtype, dtype, launch)
    seconds = kernel_seconds([op], chip, efficiency)
    return None if seconds is None else seconds[0], least_kernel_seconds(op, chip)
