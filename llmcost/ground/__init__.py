"""What everything else stands on: the arithmetic of sizes, and how input is read and refused.

A size may be a number, an array, a symbol or a recorded value (algebra, symbols, recording). Figures have units, and
options take lists and ranges (units, ranges). Bad input is refused in one message (errors). Files are written whole
(files).
"""

__version__ = "0.1.0"
