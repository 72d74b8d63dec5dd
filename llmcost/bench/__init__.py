"""Timing real kernels: the very operators that the rest counts, run on this machine's GPU. Nothing else imports torch."""

import os
from importlib.util import find_spec

from llmcost.ground.errors import InputError

os.environ.setdefault(
    "TORCH_CPP_LOG_LEVEL", "ERROR"
)  # read when torch is imported: its warnings would break into the progress


class NoDeviceError(InputError):
    """Nothing here that kernels could be timed on, or nothing to time them with."""

    exit_code = 3


def require_torch() -> None:
    """Raise NoDeviceError where torch is not installed."""
    if find_spec("torch") is None:
        raise NoDeviceError(
            "timing kernels needs torch: pip install 'llmcost-calculator[bench]' (--show FILE prints a profile without)"
        )
