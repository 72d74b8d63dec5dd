"""Timing real kernels: the operators that the rest of the program counts, run on this machine's GPU.

This is the only folder that imports torch. suites.py lists what is measured, cases.py and step.py time it by way of
kernels/ and timers.py, runner.py and session.py make rows and a profile of it, fit_profile.py fits the profile, and
summary.py says what it shows.
"""

import os
from importlib.util import find_spec

from llmcost.ground.errors import InputError

# Read when torch is imported, whose warnings would break into the lines of progress.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

SUITES = ("gemm", "ceiling", "prefill", "decode", "memory", "elementwise", "grouped", "launch", "collectives", "step")
PHASES = ("decode", "prefill", "train")  # of a whole pass of a model


class NoDeviceError(InputError):
    """There is no device here to time kernels on, or no torch to time them with. The command line exits with 3."""

    exit_code = 3


def require_torch(*, plan: bool = False) -> None:
    """Raise NoDeviceError, which says how to install it, where torch is missing; `plan`: also what a plan asks it."""
    if find_spec("torch") is None:
        asked = "--plan asks torch which GPU is here, what of its memory is free and which data types it computes in"
        needs = asked if plan else "timing kernels needs torch"
        raise NoDeviceError(f"{needs}: pip install torch (--show FILE prints a profile without)")
