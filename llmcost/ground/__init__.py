"""What a size may be, how it is read, and how bad input is refused: arithmetic, symbols, recordings, units, lists, files, errors."""

__version__ = "0.1.0"
