"""The device that kernels run on: what it is, what its driver says while it works, and whether others use it too."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

from llmcost.bench import NoDeviceError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}
CONTENDED_BYTES = 2**31  # in use before the first kernel: a CUDA context takes about half a gigabyte
CONTENDED_PERCENT = 5  # of the time that it is busy before the first kernel
SETTINGS = (
    "CUDA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_TUNABLEOP_ENABLED",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
)
SLOWDOWN = {  # bits of nvmlDeviceGetCurrentClocksEventReasons, nvml.h
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal, by software", 0x40: "thermal, by hardware",
    0x80: "power brake",
}  # fmt: skip
HARD = frozenset(SLOWDOWN.values()) - {"power cap"}  # a power cap is how such GPUs are run; the others are faults


class Device(NamedTuple):
    """One GPU (or the CPU) as torch sees it; what is not known is None, or 0 of `l2_bytes`."""

    kind: str  # cuda (which is ROCm's name too), mps, cpu
    name: str
    backend: str  # cuda, rocm, mps, cpu
    arch: str
    units: int | None  # multiprocessors, or threads of a CPU
    l2_bytes: int
    memory_bytes: int | None
    uuid: str

    @property
    def graphs(self) -> bool:
        """Whether kernels can be captured into a graph."""
        return self.kind == "cuda"

    def free_bytes(self) -> int:
        """Bytes that a case may take: nine tenths of what is free on a GPU, 2 GB elsewhere."""
        if self.kind == "cuda":
            kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return int((torch.cuda.mem_get_info()[0] + kept) * 0.9)
        return 2 * 10**9

    def stream(self) -> AbstractContextManager[Any]:
        """The stream that everything runs in; graphs cannot be captured on the default one."""
        return torch.cuda.stream(torch.cuda.Stream()) if self.kind == "cuda" else nullcontext()  # type: ignore[no-untyped-call]

    def synchronize(self) -> None:
        """Wait until the last kernel has ended."""
        if self.kind == "cuda":
            torch.cuda.synchronize()
        elif self.kind == "mps":
            torch.mps.synchronize()

    def normal(self, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> torch.Tensor:
        """A tensor of normally distributed numbers; on predictable data a power-limited chip would run faster."""
        wide = torch.float16 if dtype == "fp8" else DTYPES[dtype]
        drawn = torch.randn(shape, device=self.kind, dtype=wide)
        return (drawn if scale == 1.0 else drawn.mul_(scale)).to(DTYPES[dtype])


def find_device(asked: str | None) -> Device:
    """The GPU of this machine, or the device asked for. Raises NoDeviceError, which says how to go on without one."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = asked or next((kind for kind in ("cuda", "mps") if found[kind]), None)
    if kind is None or not found[kind]:
        looked = (
            f"--device {asked}: torch {torch.__version__} finds none"
            if asked
            else f"no GPU that torch {torch.__version__} can use"
        )
        raise NoDeviceError(f"{looked} (--device cpu times the CPU; --show FILE prints a profile measured elsewhere)")
    torch.manual_seed(0)
    if kind == "cuda":
        torch.cuda.set_device(_own_gpu())
        p = torch.cuda.get_device_properties(torch.cuda.current_device())
        rocm = torch.version.hip is not None
        arch = getattr(p, "gcnArchName", "") if rocm else f"sm_{p.major}{p.minor}"
        return Device(
            kind,
            p.name,
            "rocm" if rocm else "cuda",
            arch,
            p.multi_processor_count,
            p.L2_cache_size,
            p.total_memory,
            str(getattr(p, "uuid", "")),
        )
    if kind == "mps":
        return Device(kind, f"Apple {platform.machine()}", "mps", platform.machine(), None, 0, None, "")
    return Device(kind, platform.processor() or platform.machine(), "cpu", _isa(), torch.get_num_threads(), 0, None, "")


def _own_gpu() -> int:
    """Which of the visible GPUs this process takes: the first, and under torchrun each process one of its own.

    Raises NoDeviceError where torchrun started more processes than there are GPUs.
    """
    rank, processes = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    visible = torch.cuda.device_count()
    if processes > visible > 1:
        raise NoDeviceError(f"torchrun --nproc-per-node {processes}: this machine has {visible} GPUs")
    if processes > visible:
        raise NoDeviceError(f"torchrun --nproc-per-node {processes}: this machine has 1 GPU, and no process shares it")
    return rank


def _isa() -> str:
    """The vector instructions of this CPU that torch uses, such as avx2."""
    return str(torch.backends.cpu.get_cpu_capability()).lower()


def environment() -> dict[str, Any]:
    """The versions of software and the settings that timings depend on."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
    }
    if torch.cuda.is_available():
        found |= {"cuda": torch.version.cuda or torch.version.hip, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    for library in ("triton", "flash_attn", "flashinfer"):
        found[library] = version_of(library)
    return found | {name: os.environ[name] for name in SETTINGS if name in os.environ}


def version_of(library: str) -> str | None:
    """The version of a library; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library.replace("_", "-"))
    except PackageNotFoundError:
        return None


class Reading(NamedTuple):
    """What the driver says at one moment; None where it says nothing."""

    sm_mhz: int | None = None
    mem_mhz: int | None = None
    watts: float | None = None
    temp_c: int | None = None
    slowdown: tuple[str, ...] = ()


class Sensors:
    """The driver's readings: by NVML where its Python binding is installed, else by nvidia-smi, else none."""

    def __init__(self, device: Device) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        self._smi = device.backend == "cuda"
        self._last = (0.0, Reading())
        if device.backend != "cuda":
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{device.uuid.removeprefix('GPU-')}")
            self._nvml = pynvml
        except Exception:  # noqa: BLE001 - not installed, no such symbol, no right to: all mean that nvidia-smi is asked
            self._handle = None

    def read(self) -> Reading:
        """Clocks, power, temperature and what holds the clocks back at this moment."""
        if self._nvml is not None:
            n, h = self._nvml, self._handle
            bits = n.nvmlDeviceGetCurrentClocksThrottleReasons(h)
            return Reading(
                n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM),
                n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM),
                round(n.nvmlDeviceGetPowerUsage(h) / 1000, 1),
                n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
                tuple(word for bit, word in SLOWDOWN.items() if bits & bit),
            )
        if self._smi and time.monotonic() - self._last[0] > 1:  # a process of its own takes 50 ms
            self._last = (time.monotonic(), self._ask_smi())
        return self._last[1]

    def _ask_smi(self) -> Reading:
        fields = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active"
        try:
            command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
            line = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()[0]  # noqa: S603
            sm, mem, watts, temp, bits = line.split(", ")
            words = tuple(word for bit, word in SLOWDOWN.items() if int(bits, 16) & bit)
            return Reading(int(sm), int(mem), float(watts), int(temp), words)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            self._smi = False
            return Reading()

    def limits(self) -> dict[str, Any]:
        """The power limit in force and the largest clocks; what the driver does not say is left out."""
        if self._nvml is None:
            return {}
        n, h = self._nvml, self._handle
        asked = {
            "driver": n.nvmlSystemGetDriverVersion,
            "power_limit_w": lambda: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
            "default_power_limit_w": lambda: n.nvmlDeviceGetPowerManagementDefaultLimit(h) / 1000,
            "max_sm_mhz": lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM),
            "max_mem_mhz": lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_MEM),
            "ecc": lambda: bool(n.nvmlDeviceGetEccMode(h)[0]),
            "mig": lambda: bool(n.nvmlDeviceGetMigMode(h)[0]),
        }
        found = {}
        for name, ask in asked.items():
            try:
                found[name] = ask()
            except n.NVMLError:
                continue
        return found

    def contention(self) -> str | None:
        """Who else uses the GPU, in words; None if nobody is seen to. To be asked before the first kernel of ours."""
        if self._nvml is None:
            return None
        n, h = self._nvml, self._handle
        used, busy = n.nvmlDeviceGetMemoryInfo(h).used, n.nvmlDeviceGetUtilizationRates(h).gpu
        if used > CONTENDED_BYTES:
            return f"{used / 1e9:.1f} GB of its memory in use by others"
        return f"busy {busy} % of the time with the work of others" if busy > CONTENDED_PERCENT else None
