"""What each figure of `llmcost train` is: its unit, in a line what it counts, and the source of its formula.

Keys are the paths of the JSON. A test holds that every figure has an entry here, and every entry a figure.
"""

from __future__ import annotations

from llmcost.formulas.quantities import ROOFLINE, WALK, Quantity

DOCS = "docs/conventions.md, Training"
NARAYANAN = "arXiv 2104.04473, section 2.2"
KORTHIKANTI = "arXiv 2205.05198, section 4"
DALY = "Daly, Future Generation Computer Systems 22(3), 2006"
LLAMA3 = "Llama 3, arXiv 2407.21783, section 3.3.4"
ZERO = "ZeRO, arXiv 1910.02054, section 5"


def _basis(path: str, what: str, source: str) -> dict[str, Quantity]:
    """The figures of a run on one basis; an empty path is the answer itself."""
    prefix, told = (f"{path}.", f", {what}") if path else ("", "")
    return {
        f"{prefix}step_seconds": Quantity("s", f"a training step{told}", source, "iteration 每步时间"),
        f"{prefix}tokens_per_s": Quantity("tokens/s", f"of all GPUs{told}", source, "throughput 训练吞吐量"),
        f"{prefix}tokens_per_s_per_gpu": Quantity("tokens/s", f"of one GPU{told}", source, "throughput 训练吞吐量"),
        f"{prefix}days": Quantity("days", f"the whole run{told}", source, "训练时间"),
        f"{prefix}gpu_hours": Quantity("GPU-hours", f"the whole run{told}", source, "卡时"),
        f"{prefix}dollars": Quantity("$", f"GPU-hours at the price{told}", "--price", "cost money 费用"),
    }


QUANTITIES: dict[str, Quantity] = {
    **_basis("", "", DOCS),
    "mfu": Quantity(
        "",
        "forward and backward FLOPs of every (query, key) pair, over the peak",
        "PaLM, arXiv 2204.02311, appendix B",
        "utilization 利用率",
    ),
    "hfu": Quantity(
        "",
        "the same with what is computed again, in layers and in attention's backward kernel",
        "arXiv 2205.05198, section 6.3",
        "utilization 利用率",
    ),
    **_basis("textbook", "textbook: 6 FLOPs a parameter and token over an assumed share of the peak", f"{WALK}: 训练"),
    **_basis("textbook_recompute", "textbook with recomputation: 8 FLOPs a parameter and token", f"{WALK}: 训练"),
    **_basis("limit", "limit: causal FLOPs at the peak, all traffic beside them", ROOFLINE),
    **_basis("expected", "expected", DOCS),
    "expected.days_low": Quantity("days", "the whole run, less the error that this basis has shown", DOCS),
    "expected.days_high": Quantity("days", "the whole run, and that error more", DOCS),
    "breakdown.total": Quantity("s", "a step: the sum of its causes", DOCS),
    "breakdown.compute": Quantity(
        "s", "matrix products forward and backward, of all micro-batches on the fullest stage", DOCS, "gemm matmul 计算"
    ),
    "breakdown.memory": Quantity(
        "s", "elementwise kernels: norms, activations, the loss, gradients added up", DOCS, "norms activations 逐元素"
    ),
    "breakdown.recompute": Quantity(
        "s", "forward work done again in the backward pass", KORTHIKANTI, "checkpointing 重计算"
    ),
    "breakdown.exposed.tensor": Quantity(
        "s", "communication of tensor parallelism that nothing hides", KORTHIKANTI, "all-reduce 张量并行 通信"
    ),
    "breakdown.exposed.context": Quantity(
        "s",
        "communication between parts of a sequence that nothing hides",
        "arXiv 2310.01889, section 3",
        "ring 上下文并行 通信",
    ),
    "breakdown.exposed.expert": Quantity(
        "s", "tokens sent to experts and back", "GShard, arXiv 2006.16668", "all-to-all moe 专家并行 通信"
    ),
    "breakdown.exposed.pipeline": Quantity(
        "s", "activations and gradients sent between stages", NARAYANAN, "send receive 流水线并行 通信"
    ),
    "breakdown.exposed.data": Quantity(
        "s", "gradients and weights between replicas that nothing hides", ZERO, "fsdp zero all-gather 数据并行 通信"
    ),
    "breakdown.bubble": Quantity(
        "s",
        "stages that wait: (p-1)/(vm) of the micro-batches' time where stages are equal",
        NARAYANAN,
        "pipeline 流水线 气泡",
    ),
    "breakdown.optimizer": Quantity("s", "the update, by what it moves", DOCS, "adam update 优化器"),
    "breakdown.host": Quantity("s", "kernels that wait for the program that starts them", DOCS, "cpu launch 启动"),
    "breakdown.micro_batch": Quantity("s", "one micro-batch on the fullest stage, forward and backward", DOCS),
    "flops.model": Quantity(
        "FLOP", "a step of the whole batch, every (query, key) pair, nothing computed again", DOCS, "compute 计算量"
    ),
    "flops.causal": Quantity("FLOP", "the same with the pairs that a causal mask leaves", DOCS, "compute 计算量"),
    "flops.hardware": Quantity("FLOP", "the same as `model` with what is computed again", DOCS, "compute 计算量"),
    "memory.params_bytes": Quantity(
        "B", "weights of the fullest GPU; with ZeRO-3 those in fp32", ZERO, "vram weights 显存 权重"
    ),
    "memory.grads_bytes": Quantity("B", "gradients at its peak", ZERO, "vram gradients 显存 梯度"),
    "memory.optimizer_bytes": Quantity(
        "B", "moments, and without ZeRO-3 master weights", ZERO, "vram adam states 显存 优化器"
    ),
    "memory.activation_bytes": Quantity(
        "B", "kept for the backward pass at the peak, of all micro-batches in flight", KORTHIKANTI, "vram 显存 激活"
    ),
    "memory.logits_bytes": Quantity("B", "logits and what the loss makes of them", DOCS, "vram loss 显存"),
    "memory.gathered_bytes": Quantity(
        "B", "weights and gradients that are whole for a while (ZeRO-3)", ZERO, "vram fsdp 显存"
    ),
    "memory.working_bytes": Quantity(
        "B", "gradients of activations and what kernels need at the peak", DOCS, "vram workspace 显存"
    ),
    "memory.overhead_bytes": Quantity("B", "context, communicators, fragments", DOCS, "vram cuda nccl 显存"),
    "memory.host_bytes": Quantity("B", "in the host's memory, of one GPU's part (--offload)", DOCS, "offload 卸载"),
    "memory.host_usable_bytes": Quantity(
        "B", "of the host's memory, what one GPU has the use of", DOCS, "offload 卸载"
    ),
    "memory.total_bytes": Quantity("B", "all of it, of the fuller of the first and last stage", DOCS, "vram 显存 总计"),
    "memory.allocated_bytes": Quantity("B", "what the program's allocator hands out", DOCS),
    "memory.capacity_bytes": Quantity("B", "the GPU's memory as its vendor calls it", "hardware spec"),
    "memory.usable_bytes": Quantity(
        "B", "the GPU's memory as its driver reports it, where that is known", "hardware spec"
    ),
    "memory.fits": Quantity("", "whether the total fits", DOCS, "vram oom 放得下"),
    "with_interruptions.steps": Quantity("steps", "of the whole run, the last one whole", DOCS),
    "with_interruptions.training_seconds": Quantity("s", "its steps alone", DOCS),
    "with_interruptions.wall_seconds": Quantity("s", "the same with checkpoints, failures and restarts", DALY),
    "with_interruptions.days": Quantity(
        "days", "the run on the calendar, with checkpoints, failures and restarts", DALY, "calendar wall 训练时间"
    ),
    "with_interruptions.gpu_hours": Quantity("GPU-hours", "the run with checkpoints, failures and restarts", DALY),
    "with_interruptions.energy_joules": Quantity(
        "J",
        "TDP times its share drawn, times the data centre's factor",
        "docs/runs.md",
        "kwh electricity power 能耗 电",
    ),
    "with_interruptions.power_share": Quantity(
        "", "share of its TDP that a GPU draws: as given, as measured, or 1", "docs/runs.md", "power tdp 功耗"
    ),
    "with_interruptions.dollars": Quantity("$", "its GPU-hours at the price", "--price", "cost money 费用"),
    "with_interruptions.carbon_grams": Quantity("g", "CO2: the energy at the grid's factor", "--carbon", "co2 碳"),
    "with_interruptions.interruptions.job_mtbf_seconds": Quantity("s", "between failures of the job", LLAMA3),
    "with_interruptions.interruptions.failures": Quantity("failures", "expected in the run", DALY, "mtbf 故障"),
    "with_interruptions.interruptions.checkpoint_bytes": Quantity(
        "B", "weights and optimizer state of what is trained", "docs/runs.md", "检查点"
    ),
    "with_interruptions.interruptions.checkpoint_seconds": Quantity(
        "s", "to write it", "arXiv 2104.04473, section 5.10"
    ),
    "with_interruptions.interruptions.interval_seconds": Quantity(
        "s", "of progress between checkpoints", "Young, CACM 17(9), 1974"
    ),
    "with_interruptions.interruptions.goodput.progress": Quantity("", "share of the time that is progress", DALY),
    "with_interruptions.interruptions.goodput.checkpoints": Quantity(
        "", "share of the time that checkpoints take", DALY
    ),
    "with_interruptions.interruptions.goodput.restarts": Quantity("", "share of the time that restarts take", DALY),
    "with_interruptions.interruptions.goodput.lost": Quantity("", "share of the time whose work is done again", DALY),
}
"""Every figure of `llmcost train` by its path, in the order of the JSON."""
