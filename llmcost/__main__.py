"""The process of `llmcost` and `python -m llmcost`."""

import gc
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line. What was imported lives as long as the process: the collector need not look at it again.

    At the exit alone that takes 13 of 125 ms. It is not for a program that calls the command line and goes on: signals
    end the process, quietly.
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else a shell had it ignored, by &
    if heeded:  # Ctrl-C while modules are loaded: there is nothing to undo
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from llmcost import cli

    gc.freeze()
    for ending in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, ending, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup has one of them ignored
            signal.signal(number, _leave)
    try:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def _leave(number: int, _: FrameType | None) -> None:
    """End as a signal asks for, but by the way of an exception: what is half written is taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
