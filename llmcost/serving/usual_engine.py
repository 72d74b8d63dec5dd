"""The engine that an answer is of where none is named: the one that a user of that chip would expect.

The rule is data, `RULES`: the first one that holds names the engine, and where none does, or where that engine refuses
what is asked (a format, a layout, a chip, a library of exchanges, an offload), it is OPTIMISED. So an answer is never
refused for an engine that nobody named. A mix of requests is served by a program, scheduler and host included; a batch
asks what kernels reach, which the answer without a program tells as well, with errors that are known.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from llmcost.machine.efficiency import family_of
from llmcost.model.operators.routing import LAWS
from llmcost.model.spec import ModelSpec
from llmcost.serving.options import COMPUTE_DTYPES, Options
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.optimised import OPTIMISED

GGUF = ("q*", "iq*", "tq*", "gguf-*")  # formats of llama.cpp's files
EXL2 = ("exl2-*",)
OF_ONE_PROGRAM = (*GGUF, *EXL2, "exl3-*", "mlx-*", "mlc-*")  # formats that vLLM has no kernels for


class Rule(NamedTuple):
    """An engine, what it is the usual one for, and why.

    `weights`: patterns of formats, one of which any part of the weights is in; none: any format. `but`: patterns of
    formats that it is not for. `vendor`: of the chip; "": any. `mix`: of a mix of requests, or of a batch; None: both.
    `decoders`: of models alone that give tokens and have no encoder. `measured_law`: only where no law of routing is
    asked for, as the times of its experts' kernels are of the one that they were measured with.
    """

    engine: str
    why: str
    weights: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    vendor: str = ""
    mix: bool | None = None
    decoders: bool = True
    measured_law: bool = False

    def holds(self, model: ModelSpec, hardware: HardwareSpec, options: Options, *, mix: bool) -> bool:
        """Whether it is said of such a question."""
        weights = _weights(model, options)
        return (
            self.mix in (None, mix)
            and self.vendor in ("", hardware.vendor)
            and (not self.decoders or (model.generates and model.encoder is None))
            and (not self.weights or _in_one_of(weights, self.weights))
            and not _in_one_of(weights, self.but)
            and not (self.measured_law and options.routing != LAWS[0])
        )


RULES = (
    Rule("llama.cpp", "its own files", weights=GGUF, decoders=False),
    Rule("exllamav2", "its own files", weights=EXL2),
    # docs/accuracy.md, MLX's published runs: of prompts and of decode
    Rule("mlx", "2 and 5 % off on Apple's chips, OPTIMISED 8 and 11 %", vendor="Apple", mix=False),
    # 1,569 published runs of vLLM, SGLang and TensorRT-LLM of 2025 and 2026 (silicon-2026): TPOT and TTFT, means
    Rule(
        "vllm",
        "servers are 8 and 33 % off by their own engine, 21 and 87 % by OPTIMISED",
        but=OF_ONE_PROGRAM,
        mix=True,
        measured_law=True,
    ),
)


# Data-centre GPUs, by the family that they share figures with, and the engines that people run there.
SERVERS = {
    **dict.fromkeys(("A100", "Ada", "Hopper", "B200"), ("vllm", "sglang", "trtllm")),
    **dict.fromkeys(("CDNA 2", "CDNA 3"), ("vllm", "sglang")),
}
NEXT = {"vllm": ("sglang",), "mlx": ("llama.cpp",), "llama.cpp": ("vllm",)}  # that a user would ask about then


class Usual(NamedTuple):
    """The engine that was taken as none was named, and others that may be asked for there."""

    engine: str
    others: tuple[str, ...]


def usual_of(engine: str, hardware: HardwareSpec) -> Usual:
    """What there is to say of an engine that nobody named."""
    known = SERVERS.get(family_of(hardware), ()) if engine == OPTIMISED else NEXT.get(engine, ())
    return Usual(engine, known)


def usual_engine(model: ModelSpec, hardware: HardwareSpec, options: Options, *, mix: bool | None = None) -> str:
    """The engine of the first rule that holds, whether or not it takes what is asked; OPTIMISED where none does.

    `mix`: whether it is a mix of requests, in place of what the options say. By a profile of the user's own it is what
    the GPU's kernels reached there.
    """
    if options.profile is not None:
        return OPTIMISED
    asked = options.is_mix() if mix is None else mix
    return next((rule.engine for rule in RULES if rule.holds(model, hardware, options, mix=asked)), OPTIMISED)


def _weights(model: ModelSpec, options: Options) -> str:
    """The format of the weights; "" where it is the type of computing, whichever that is."""
    of_dtype = options.dtype if options.dtype not in (None, *COMPUTE_DTYPES) else None
    return options.weight_dtype or of_dtype or model.weight_format or ""


def _in_one_of(weights: str, patterns: tuple[str, ...]) -> bool:
    """Whether a part of the weights is in a format of these; of a mix within a matrix (5*q4_k+q6_k), without counts."""
    parts = [part.rpartition("*")[2] for part in weights.split("+")]
    return any(fnmatchcase(part, pattern) for part in parts for pattern in patterns)
