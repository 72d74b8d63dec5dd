"""What a program does first that is to heed signals, as it would from a terminal.

Tests may run under nohup or behind a shell's &, which have some signals ignored, and programs inherit that.
"""

HEEDED = (
    "import signal\n"
    "for ending in (signal.SIGTERM, signal.SIGHUP):\n    signal.signal(ending, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)
