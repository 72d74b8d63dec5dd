"""Fits the default shares and launch costs on some of the published measurements; the others score them.

    python -m llmcost.accuracy.fit_defaults [ENGINE [gpu|model|weights]]

prints each fitted figure, of the defaults and of engines, beside the committed one; of an engine how far off it is on
each GPU, model or format of weights that its fit did not see. Stages run in order, each on cases of its own, the
figures of the stages before it held fixed. A stage moves its figures one at a time, by ever smaller steps, as long as
the mean distance of prediction and measurement shrinks: |log(predicted / measured)|, which outliers move little, first
over the cases of a source and GPU, then over these groups. It starts from round numbers and has no randomness in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from math import log
from statistics import fmean, median
from typing import Any, NamedTuple

from llmcost.accuracy.ask import gpu_of
from llmcost.accuracy.cases import Case, class_of, engine_of, file_of, load_cases
from llmcost.accuracy.predict import answers
from llmcost.machine.efficiency import FIGURES, family_of
from llmcost.machine.reached import figures_of
from llmcost.specs.catalog import load_engine

STEPS = (1.25, 1.1, 1.04, 1.015)
FAR = 0.7  # |log| at which a case counts no more: a factor of two
LARGEST_SHARE = 0.95
SHARES = ("compute", "memory", "share")  # figures that stay below LARGEST_SHARE


class FitStage(NamedTuple):
    """Figures that are fitted together, from where they start, and the cases that they are fitted on."""

    figures: dict[str, float]
    cases: Callable[[Case], bool]
    engine: str = ""  # whose figures they are; "": defaults


def _kernels(source: str, ops: tuple[str, ...], *gpus: str, least_us: float = 0) -> Callable[[Case], bool]:
    def chosen(case: Case) -> bool:
        of = case.settings
        return (
            case.source.name == source
            and of["op"] in ops
            and of["gpu"] in gpus
            and case.measured["seconds"] * 1e6 >= least_us
        )

    return chosen


def _runs(
    source: str, *gpus: str, tp: tuple[int, ...] = (1, 2, 4, 8), pp: tuple[int, ...] = (1,)
) -> Callable[[Case], bool]:
    def chosen(case: Case) -> bool:
        of = case.settings
        return case.source.name == source and of["gpu"] in gpus and of["tp"] in tp and of["pp"] in pp and not of["oom"]

    return chosen


def _half(
    source: str | tuple[str, ...],
    engine: str,
    phase: str,
    *,
    quantised: bool | None = None,
    families: tuple[str, ...] = (),
    apart: tuple[str, ...] = (),
    block: int = 1,
    single: bool = False,
) -> Callable[[Case], bool]:
    """Every other block of an engine's rows, which leaves those between to score it.

    `families`: of GPUs, none meaning all but those that are `apart`. `block`: rows of one configuration. `single`: on
    one GPU.
    """

    def chosen(case: Case) -> bool:
        of = case.settings
        narrow, family = of["weights"] not in ("fp16", "bf16", "fp32"), family_of(gpu_of(of["gpu"]))
        return (
            case.source.name.startswith(source)
            and engine_of(case) == engine
            and of["phase"] == phase
            and (case.row - 1) // block % 2 == 0
            and not of["oom"]
            and of["remark"] is None
            and quantised in (None, narrow)
            and not (single and of["gpus"] > 1)
            and (family in families if families else family not in apart)
        )

    return chosen


def _mlc(engine: str, *families: str) -> Callable[[Case], bool]:
    """Every other block of four rows of MLC's benchmark, in which engines take turns."""

    def chosen(case: Case) -> bool:
        of = case.settings
        ours = case.source.name == "mlc-perf-bench" and of["engine"] == engine and case.row // 4 % 2 == 0
        return ours and (not families or family_of(gpu_of(of["gpu"])) in families)

    return chosen


def _mi300x(model: str) -> Callable[[Case], bool]:
    """One model's batches on eight MI300X; the others score them."""
    return lambda case: case.source.name == "vllm-mi300x" and case.settings["model"] == model


def _llama_cpp(phase: str, *families: str, quantised: bool | None = None) -> Callable[[Case], bool]:
    """Every other configuration that llama.cpp of May 2024 was run in, each of four rows."""
    return _half(
        "llama.cpp",
        "llama.cpp b2900",
        phase,
        quantised=quantised,
        families=families,
        apart=("Apple",),
        block=4,
        single=phase == "prefill",  # several pass a prompt on in pieces, and wait after each batch of them
    )


def _later_llama_cpp(phase: str, *families: str) -> Callable[[Case], bool]:
    """Every other two rows of llama.cpp's builds since July 2024."""
    sources = ("llama.cpp-builds", "llama.cpp-radeon", "mlx-m3-max")
    return _half(sources, "llama.cpp", phase, families=families, apart=("Apple", "RDNA", "RDNA 4", "GCN"), block=2)


STAGES = (
    # Single kernels, timed without the launch.
    FitStage(
        {"gemm.compute": 0.7, "gemm.memory": 0.8, "launch": 5e-6},
        _kernels("vidur", ("gemm",), "a100-80gb-sxm", "h100-sxm", "a40"),
    ),
    FitStage({"gemm.compute@CDNA 2": 0.7}, _kernels("llmcompass", ("gemm",), "mi210", least_us=500)),
    FitStage(
        {"elementwise.memory": 0.6, "launch_small": 3e-6},
        _kernels("vidur", ("rms-norm", "silu-product"), "a100-80gb-sxm", "h100-sxm", "a40"),
    ),
    # Collectives as PyTorch launches them.
    FitStage(
        {"link.share@A100": 0.6, "exchange.stream@A100": 5e-5}, _kernels("vidur", ("all-reduce",), "a100-80gb-sxm")
    ),
    FitStage({"link.share": 0.8, "exchange.stream": 4e-5}, _kernels("vidur", ("all-reduce",), "h100-sxm")),
    # Attention, where a launch from Python is a small part of the time.
    FitStage({"attention.memory": 0.9}, _kernels("infersim-kernels", ("decode-attention",), "h800-sxm", least_us=200)),
    FitStage({"attention.compute": 0.7}, _kernels("infersim-kernels", ("prefill-attention",), "h800-sxm")),
    # Kernels launched one by one: static batches of one C++ engine.
    FitStage({"gap.stream": 3e-6}, _runs("trtllm-0.6.1", "a100-80gb-sxm", tp=(1,))),
    # Types narrower than 16 bits, at full load.
    FitStage({"narrow.compute@Hopper": 0.6}, _runs("trtllm-0.17", "h100-sxm", tp=(1,))),
    FitStage({"narrow.compute@Ada": 0.7}, _runs("trtllm-0.17", "l40s", tp=(1,))),
    FitStage({"link.share@PCIe": 0.6}, _runs("trtllm-0.17", "l40s", tp=(2, 4, 8))),
    FitStage({"narrow.compute@B200": 0.5}, _runs("trtllm-1.0-dense", "b200", tp=(1,))),
    FitStage({"narrow.compute@Blackwell GDDR": 0.6}, _runs("trtllm-1.0-dense", "rtx-pro-6000")),
    # Weights narrower than the type that they are multiplied in.
    FitStage({"narrow.memory@A100": 0.6}, _runs("mlc-perf-bench", "a100-80gb-pcie", tp=(1,), pp=(1, 2, 4, 8))),
    FitStage({"narrow.memory@Ada Lovelace GDDR": 0.8}, _runs("mlc-perf-bench", "rtx4090", tp=(1,))),
    FitStage({"narrow.memory@Ampere GDDR": 0.8}, _runs("mlc-perf-bench", "rtx3090-ti", "a10g", tp=(1,))),
)
ENGINE_STAGES = (
    FitStage(
        {"host.layer": 8e-4, "attention.memory": 0.06}, _half("qwen2.5", "transformers", "decode"), "transformers"
    ),
    FitStage({"host.step": 2e-3, "attention.memory": 0.3}, _half("qwen2.5", "vllm", "decode"), "vllm-0.6"),
    FitStage({"gemm.memory": 0.8, "sm_bandwidth": 8e9}, _llama_cpp("decode", quantised=False), "llama.cpp-b2900"),
    FitStage(
        {"narrow.memory": 0.7, "gap.stream": 2e-6, "attention.memory": 0.5},
        _llama_cpp("decode", quantised=True),
        "llama.cpp-b2900",
    ),
    FitStage(
        {
            "half_sums.compute": 0.9,
            "half_sums.compute@A100": 0.6,
            "half_sums.compute@Hopper": 0.4,
            "flop.joules": 1.9e-12,
            "flop.joules@Ampere GDDR": 3.9e-12,
            "attention.pair_bytes": 24,
        },
        _llama_cpp("prefill"),
        "llama.cpp-b2900",
    ),
    FitStage(
        {"narrow.sm_bandwidth@Apple": 7e9, "gap.stream@Apple": 4e-6, "attention.memory@Apple": 0.3},
        _llama_cpp("decode", "Apple"),
        "llama.cpp-b2900",
    ),
    FitStage({"vector.compute": 0.7, "weight_only.compute": 0.6}, _llama_cpp("prefill", "Apple"), "llama.cpp-b2900"),
    FitStage(
        {"narrow.memory": 0.8, "narrow.sm_bandwidth": 1e10, "attention.memory": 0.8},
        _later_llama_cpp("decode"),
        "llama.cpp",
    ),
    FitStage(
        {"narrow.of_int8": 0.2, "narrow.of_int8@Ada Lovelace GDDR": 0.2}, _later_llama_cpp("prefill"), "llama.cpp"
    ),
    FitStage(
        {"narrow.sm_bandwidth@Apple": 8e9, "gap.graph@Apple": 8e-6, "attention.memory@Apple": 0.7},
        _later_llama_cpp("decode", "Apple"),
        "llama.cpp",
    ),
    FitStage({"weight_only.compute": 0.7}, _later_llama_cpp("prefill", "Apple"), "llama.cpp"),
    FitStage({"narrow.sm_bandwidth@RDNA": 6e9}, _later_llama_cpp("decode", "RDNA"), "llama.cpp"),
    FitStage({"weight_only.compute@RDNA": 0.4}, _later_llama_cpp("prefill", "RDNA"), "llama.cpp"),
    FitStage(
        {"gemm.memory": 0.8, "narrow.memory": 0.8, "attention.memory": 0.8, "gap.stream": 4e-6},
        _half("mlx", "mlx", "decode", block=4),
        "mlx",
    ),
    FitStage({"weight_only.compute": 0.8, "attention.compute": 0.7}, _half("mlx", "mlx", "prefill", block=4), "mlx"),
    FitStage({"exchange.stream": 2e-4, "host.layer": 5e-4}, _mlc("vllm 0.2"), "vllm-0.2"),
    FitStage(
        {"gap.graph@CDNA 3": 2e-6, "link.share@CDNA 3": 0.2, "narrow.memory@CDNA 3": 0.7},
        _mi300x("llama3.1-70b"),
        "vllm-0.10",
    ),
    FitStage({"gemm.memory": 0.8, "narrow.memory": 0.8}, _mlc("mlc"), "mlc-llm"),
    FitStage({"narrow.memory@A100": 0.7}, _mlc("exllamav2", "A100"), "exllamav2"),
    FitStage({"narrow.memory": 0.8}, _mlc("exllamav2", "Ampere GDDR", "Ada Lovelace GDDR"), "exllamav2"),
    FitStage({"exchange.graph": 1e-5, "narrow.memory": 0.7}, _half("gpt-fast", "gpt-fast", "decode"), "gpt-fast"),
    FitStage({"gemm.memory": 0.8, "attention.memory": 0.8}, _half("lmdeploy", "turbomind", "request"), "lmdeploy"),
    FitStage(
        {"vector.compute": 0.8, "attention.pair_bytes": 24},
        _half("neusight-forward", "transformers-eager", "prefill", block=2),
        "transformers-eager",
    ),
)
CLOSED_LOOPS = "silicon-2026"  # every other run of which `host.request` and `host.sequence` of engines were chosen on
ENGINE = _runs("trtllm-0.17", "h100-sxm", pp=(1, 2, 4, 8))  # what the share of kernels in an engine was chosen on


def _h20(case: Case) -> bool:
    """Every other row of attention on an H20: on these, machine/loading.py and machine/power.py chose a number each."""
    return case.source.name.startswith("infersim-") and case.settings["gpu"] == "h20" and case.row % 2 == 1


def _unpacked(case: Case) -> bool:
    """Runs that what vLLM's products reach on weights that they unpack was chosen on (`weight_only.compute`)."""
    of = case.settings
    return case.source.name == "gpustack" and of["gpu"].startswith("a100") and of["weights"] != "bf16"


TRAINING: dict[str, Callable[[Case], bool]] = {  # source -> its runs that training's figures were chosen on
    **dict.fromkeys(
        ("llm-foundry-a100", "llm-foundry-h100", "bigscience-1.3b", "simumax-b200", "nemo-24.07", "llama3-paper"),
        lambda _: True,
    ),
    "megatron-bridge": lambda case: case.settings["gpu"] in ("h100-sxm", "b200"),
    "dgxc-benchmarking": lambda case: case.settings["model"] in ("nemotron-15b", "nemotron-340b"),
    "internevo": lambda case: case.settings["sharding"] == "zero1" and case.settings["tp"] == 1,
    "yafsdp": lambda case: case.engine == "yafsdp",
    "megatron-moe-zoo": lambda case: (case.settings["remark"] or "").endswith(("unbalanced", "again")),
}
TRUSTED = ("optimised", "kernel")  # classes of engines that defaults are fitted on
CHOSEN_ON = (ENGINE, _h20, *(stage.cases for stage in STAGES))


def role_of(case: Case) -> str:
    """Whether a case had a part in a default: `fitted`, else it scores them."""
    if case.source.kind == "training":
        chosen = TRAINING.get(case.source.name)
        return "fitted" if chosen is not None and chosen(case) else "scored"
    if case.source.name == CLOSED_LOOPS:
        return "fitted" if case.row % 2 else "scored"
    of_defaults = class_of(case) in TRUSTED and any(cases(case) for cases in CHOSEN_ON)
    of_engine = not case.nameless and (_unpacked(case) or any(stage.cases(case) for stage in ENGINE_STAGES))
    return "fitted" if of_defaults or of_engine else "scored"


def fitted_engines() -> dict[str, dict[str, float]]:
    """Every fitted figure of every engine, from the cases alone."""
    found: dict[str, dict[str, float]] = {}
    for stage in ENGINE_STAGES:
        of_engine = found.setdefault(stage.engine, {})
        of_engine |= _fitted_stage(stage, of_engine, load_cases("inference"))
    return found


def _fitted_stage(stage: FitStage, before: Mapping[str, float], cases: Iterable[Case]) -> dict[str, float]:
    """The figures of an engine's stage, with those of the stages before it held fixed."""
    start = {**figures_of(load_engine(stage.engine)), **before, **stage.figures}
    moved = _search(start, stage, [case for case in cases if stage.cases(case)])
    return {name: moved[name] for name in stage.figures}


def left_out(engine: str, by: str = "gpu") -> dict[tuple[str, str], list[float]]:
    """Phase and GPU -> predicted over measured of an engine's cases, where its figures were fitted without that GPU.

    `by`: or without each model, or each format of weights. A figure of a family that no other GPU is of is left out
    with a GPU.
    """
    stages = [stage for stage in ENGINE_STAGES if stage.engine == engine]
    cases = [case for case in load_cases("inference") if file_of(case) == engine and not case.settings["remark"]]
    found: dict[tuple[str, str], list[float]] = {}
    for group in sorted({case.settings[by] for case in cases}):
        others = [case for case in cases if case.settings[by] != group]
        of = {family_of(gpu_of(case.settings["gpu"])) for case in others}
        own = {name: value for name, value in figures_of(load_engine(engine)).items() if _holds(name, of)}
        for stage in stages:
            seen = [case for case in others if stage.cases(case)]
            figures = {name: value for name, value in stage.figures.items() if _holds(name, of)}
            if seen and figures:
                moved = _search({**own, **figures}, stage._replace(figures=figures), seen)
                own |= {name: moved[name] for name in figures}
        for case in cases:
            if case.settings[by] == group:
                ratios = [each.ratio for each in answers(case, figures=own) if each.ratio is not None]
                found.setdefault((case.settings["phase"], group), []).extend(ratios)
    return {key: ratios for key, ratios in sorted(found.items()) if ratios}


def _holds(name: str, families: set[str]) -> bool:
    """Whether a figure is of all GPUs, or of a family among these."""
    return name.partition("@")[2] in {"", *families}


def fitted() -> dict[str, float]:
    """Every fitted default, from the cases alone."""
    trusted = [case._replace(nameless=True) for case in load_cases() if case.source.kind != "training"]
    cases = [case for case in trusted if role_of(case) == "fitted"]
    figures = dict(FIGURES)
    for stage in STAGES:
        figures |= stage.figures
    for stage in STAGES:
        figures = _search(figures, stage, [case for case in cases if stage.cases(case)])
    return {name: figures[name] for stage in STAGES for name in stage.figures}


class Distance:
    """How far predictions of some cases are from measurements, as a function of some figures.

    The product answers once, with a recording in place of each figure; what it does to them is played for each try.
    """

    def __init__(self, cases: list[Case], figures: Mapping[str, float], names: Iterable[str]) -> None:
        from llmcost.ground.recording import Tape

        tape = Tape()
        recorded: dict[str, Any] = {name: tape.input(name) for name in names}
        found = [(case, each.ratio) for case in cases for each in answers(case, figures={**figures, **recorded})]
        found = [(case, ratio) for case, ratio in found if ratio is not None]
        self.groups = [(case.source.name, case.settings["gpu"]) for case, _ in found]
        self.program = tape.program([tape.entry(float, tape.place(ratio)) for _, ratio in found])

    def at(self, figures: Mapping[str, float]) -> float:
        """With the figures at these values: the mean over groups of the mean of |log(predicted / measured)|."""
        from llmcost.ground.arrays import play

        groups: dict[tuple[str, str], list[float]] = {}
        for group, ratio in zip(self.groups, play(self.program, figures), strict=True):
            groups.setdefault(group, []).append(min(abs(log(ratio)), FAR))
        return fmean([fmean(group) for group in groups.values()])


def _search(figures: dict[str, float], stage: FitStage, cases: list[Case]) -> dict[str, float]:
    distance = Distance(cases, figures, stage.figures)
    best = distance.at(figures)
    for step in STEPS:
        better = True
        while better:
            better = False
            for name in stage.figures:
                for factor in (step, 1 / step):
                    tried = figures | {name: figures[name] * factor}
                    if name.split("@")[0].endswith(SHARES) and tried[name] > LARGEST_SHARE:
                        continue
                    far = distance.at(tried)
                    if far < best - 1e-6:
                        best, figures, better = far, tried, True
    return figures


def main(engine: str | None = None, by: str = "gpu") -> None:
    """Print fitted figures beside the committed ones, or of an engine the errors on groups that its fit did not see."""
    if engine is not None:
        ratios = left_out(engine, by)
        for (phase, group), each in ratios.items():
            print(f"{phase:8} {group:16} {' '.join(f'{ratio:.2f}' for ratio in each)}")
        for phase in sorted({phase for phase, _ in ratios}):
            errors = [abs(ratio - 1) for (of, _), each in ratios.items() if of == phase for ratio in each]
            print(f"{phase:8} off by {median(errors):.1%} in the median, {fmean(errors):.1%} on average, {len(errors)}")
        return
    for name_of, figures in {"": fitted(), **fitted_engines()}.items():
        committed = load_engine(name_of).figures if name_of else FIGURES
        for name, value in figures.items():
            print(f"{name_of:18} {name:32} {value:10.3g}   committed {committed.get(name, 0):10.3g}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
