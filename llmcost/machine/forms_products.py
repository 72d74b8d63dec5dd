"""Forms of time of matrix products, plain and of a mixture's experts; kernels.py says what each is made of."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import (
    Number,
    ceil_div,
    expm1,
    floor_div,
    least,
    maximum,
    minimum,
    more_than,
    present,
    sum_of,
)
from llmcost.ground.constants import Constant

MOST_PARTS = 16  # into how many parts a product is split along k
LATER = 32  # rows from which on engines take another kernel for products in fp8 with scales of blocks
CORRECTED = Constant(
    1.5,
    "`spread` of models whose routers have a correction bias: of 1.5, 2, 3, 4 and 8, on 244 runs of five such models "
    "in three engines. On 207 runs with prompts apart, which had no part in it, the time between tokens is 10.7 % off "
    "in the median, and 11.4 % by the spread of each kernel's tables",
)
LEAST_TOUCHED = 1e-9  # experts: of no tokens none are touched, and nothing is divided by them


class Width(NamedTuple):
    """What a product of this format reads and computes in: bytes a weight, bytes an activation, and the peak's type."""

    weight: float
    activation: float
    compute: str


# Formats of the tables. Types of 4 bits have a scale of 8 bits for 16 or 32 weights; a weight-only one keeps
# activations, and so the product, in 16 bits.
WIDTHS = {
    "bf16": Width(2, 2, "bf16"),
    "fp8": Width(1, 1, "fp8"),
    "fp8-block128": Width(1, 1, "fp8"),
    "nvfp4": Width(0.5625, 0.5625, "fp4"),
    "int8": Width(1, 1, "int8"),
    "int8-weights": Width(1, 2, "bf16"),
    "int4-weights": Width(0.53125, 2, "bf16"),
    "mxfp4-weights": Width(0.53125, 2, "bf16"),
    "mxfp4-fp8": Width(0.53125, 1, "fp8"),
}


class Figures(NamedTuple):
    """The figures of a GPU that these forms take."""

    peak: Number  # FLOP/s of the type that is computed in
    bandwidth: Number  # bytes/s
    sms: Number  # streaming multiprocessors


class Product(NamedTuple):
    """The numbers of matrix products. `quantise_memory` is 0 where activations are not quantised on the way."""

    launch: float  # seconds of an empty product
    compute: float  # share of the peak that a tile reaches with its operands at hand
    memory: float  # share of the bandwidth
    overlap: float  # exponent of the smooth maximum of tiles and memory
    draw: float  # bytes/s at which one SM draws the operands of a tile
    tile: float  # seconds of a tile besides: filling the pipeline, writing the result
    split: float  # seconds of adding up the parts, where k is split
    tiles: tuple[tuple[int, int], ...]  # sizes of tiles, (rows, columns), of which the fastest is taken
    quantise: float = 0.0  # seconds of an empty quantising kernel
    quantise_memory: float = 0.0  # share of the bandwidth at which activations are quantised
    quantise_row: float = 0.0  # seconds that an SM takes for a row, however short
    later: float = 0.0  # seconds more from `LATER` rows on, where another kernel takes over
    host: float = 0.0  # seconds in which the host launches its kernels, where these were not in a CUDA graph


class Experts(NamedTuple):
    """The numbers of a mixture's experts: both products, what is done around them."""

    launch: float  # seconds of the empty kernels: sorting tokens, two products, adding up
    compute: float
    memory: float
    overlap: float
    draw: float
    tile: float
    tiles: tuple[tuple[int, int], ...]
    moved: float  # times that the rows of this GPU are moved around the products, at full bandwidth
    scattered: float  # times that the rows of all GPUs' experts are passed over
    expert: float  # seconds an expert of the whole layer: counting and sorting
    token: float  # seconds of an SM a token
    spread: float  # an expert that gets r rows in the mean gets none with (1 + r / spread)^-spread: small if uneven
    passed: float = 0.0  # times that outputs of rows for other GPUs' experts are written, as zeros
    padded: float = 0.0  # rows more, so written, of each of their experts that is touched
    fewest: float = 0.0  # rows that the fullest GPU gets at least, of as many choices, with power-law routing
    by_tokens: float = (
        0.0  # 1: the first size of tiles up to a token an expert of the GPU, the second beyond; 0: fastest
    )
    whole: float = 0.0  # 1: a token that chose an expert of this GPU has all of its choices computed here; 0: its own


def overlapped(times: tuple[Number, ...], exponent: float) -> Number:
    """The smooth maximum of times: never below the longest."""
    return sum_of(time**exponent for time in times) ** (1 / exponent)


def _waves(
    x: Product | Experts, f: Figures, many: Number, tile: tuple[int, int], k: Number, width: Width
) -> tuple[Number, Number]:
    """Seconds of so many tiles on all SMs, in whole waves; and those of one tile without what it takes besides."""
    rows, columns = tile
    at_hand = 2 * rows * columns * f.sms / (f.peak * x.compute)
    drawn = (rows * width.activation + columns * width.weight) / x.draw
    once = k * (at_hand + drawn)
    return ceil_div(many, f.sms) * (once + x.tile), once


def _tiled(x: Product, f: Figures, m: Number, n: Number, k: Number, width: Width, groups: Number) -> Number:
    """Seconds of a product's tiles, by the fastest size of tile, whole or split along k until the SMs are busy."""
    ways: list[Number] = []
    for tile in x.tiles:
        many = groups * ceil_div(m, tile[0]) * ceil_div(n, tile[1])
        whole_k, once = _waves(x, f, many, tile, k, width)
        parts = minimum(MOST_PARTS, maximum(1, floor_div(f.sms, maximum(1, many))))
        ways += [whole_k, ceil_div(many * parts, f.sms) * (once / parts + x.tile) + x.split]
    return least(ways)


def product_seconds(
    x: Product, f: Figures, m: Number, n: Number, k: Number, width: Width, groups: Number = 1
) -> Number:
    """Seconds of y = x·W with m rows, k inputs and n outputs, its activations quantised first where `x` says so.

    `groups`: so many such products in one kernel, each with activations and weights of its own.
    """
    moved = groups * (k * n * width.weight + m * k * width.activation + 2 * m * n)
    time = x.launch + overlapped((_tiled(x, f, m, n, k, width, groups), moved / (f.bandwidth * x.memory)), x.overlap)
    if x.later:
        time = time + x.later * minimum(1, floor_div(m, LATER))
    if x.quantise_memory:
        time = time + quantise_seconds(x, f, groups * m, k, width)
    return overlapped((time, x.host), x.overlap) if x.host else time  # the host goes on while kernels run


def quantise_seconds(x: Product, f: Figures, m: Number, k: Number, width: Width) -> Number:
    """Seconds of quantising (m, k) activations of 16 bits: by their bytes, or by rows where these are short."""
    moved = m * k * (2 + width.activation) / (f.bandwidth * x.quantise_memory)
    return x.quantise + maximum(moved, m * x.quantise_row / f.sms)


def experts_seconds(
    x: Experts,
    f: Figures,
    tokens: Number,
    experts: Number,
    topk: Number,
    hidden: Number,
    inter: Number,
    width: Width,
    *,
    parts: Number = 1,
    products: int = 3,
    fullest: Number = 0,
) -> Number:
    """Seconds of the experts of one layer on one GPU, from its sorted tokens to their weighted sum.

    `tokens` are those of all `parts` GPUs that the experts are spread over, `inter` is this GPU's share of the width,
    `products` are 3 where a gate is among them, else 2. `fullest`: how often the mean's rows the fullest GPU has, whose
    time it is; 0 for routing that gives each expert as much.
    """
    own, choices = experts / parts, tokens * topk
    even = not present(fullest)
    rows = choices / parts * (1 if even else fullest)
    rows = maximum(rows, minimum(choices, 1 if even else maximum(1, x.fewest)))
    rows = minimum(rows, tokens * minimum(topk, own))
    touched = minimum(own, rows) if even else _touched(own, rows, x.spread)
    if x.whole:
        rows = topk * (minimum(tokens, rows) if even else tokens * (1 - (1 - rows / choices) ** topk))
    many = more_than(tokens, own)
    first = _expert_product(x, f, touched, rows, (products - 1) * inter, hidden, width, many=many, even=even)
    second = _expert_product(x, f, touched, rows, hidden, inter, width, many=many, even=even)
    others = maximum(0, choices - rows)
    zeros = others + x.padded * minimum(experts - own, others)
    passed = zeros * ((products - 1) * inter + hidden) * 2 * x.passed / f.bandwidth
    return first + second + passed + _beside(x, f, tokens, choices, experts, hidden)


def expert_product_seconds(
    x: Experts,
    f: Figures,
    tokens: Number,
    rows: Number,
    own: Number,
    n: Number,
    k: Number,
    hidden: Number,
    width: Width,
    *,
    padded: float = 0,
    corrected: bool = False,
) -> Number:
    """Seconds of one of the two products of a GPU's experts, with its half of all that is done around them.

    `rows` of all tokens' choices are of this GPU's `own` experts, which power-law routing spreads them over. Rows of
    other GPUs' experts do not reach it. `padded`: as of `_expert_product`; then all experts are touched. `corrected`:
    a bias keeps the experts even.
    """
    touched = own if padded else _touched(own, rows, CORRECTED.value if corrected else x.spread)
    many = more_than(tokens, own)
    product = _expert_product(x, f, touched, rows, n, k, width, padded, many=many, even=False)
    return product + _beside(x, f, tokens, rows, own, hidden) / 2


def _touched(own: Number, rows: Number, spread: float) -> Number:
    """How many of a GPU's experts get any of its rows: a negative binomial, the more even the larger `spread` is."""
    return own * (1 - (1 + rows / (own * spread)) ** -spread)


def _beside(x: Experts, f: Figures, tokens: Number, rows: Number, experts: Number, hidden: Number) -> Number:
    """Seconds of what is done once around both products: launches, counting, sorting, passing over all rows."""
    scattered = rows * hidden * 2 * x.scattered / f.bandwidth
    return x.launch + scattered + experts * x.expert + tokens * x.token / f.sms


def _expert_product(
    x: Experts,
    f: Figures,
    touched: Number,
    rows: Number,
    n: Number,
    k: Number,
    width: Width,
    padded: float = 0,
    *,
    many: Number,
    even: bool,
) -> Number:
    """Seconds of a product of each touched expert: its rows padded to tiles, moved in and out, its weight read once.

    `even`: all touched experts have as many rows. Else their rows fall off geometrically about the mean: an expert of
    few rows has one tile all the same, one of many has half a tile more than its rows fill. `padded`: the rows of all
    experts stand one behind the other in an array with room for each to begin at a multiple of so many, and the kernel
    goes through all of it, empty rows too (DeepGEMM's contiguous layout). 0: it does not. `many`: 1 for more tokens
    than the GPU has experts, else 0.
    """
    ways: list[Number] = []
    laid = rows + touched * (padded - 1) if padded else rows
    for tile in ((int(padded), int(padded)),) if padded else x.tiles:
        if padded:
            high = ceil_div(laid, tile[0])
        elif even:
            high = touched * ceil_div(rows, maximum(LEAST_TOUCHED, touched) * tile[0])
        else:
            high = touched / maximum(LEAST_TOUCHED, -expm1(-tile[0] * touched / maximum(LEAST_TOUCHED, rows)))
        ways.append(_waves(x, f, high * ceil_div(n, tile[1]), tile, k, width)[0])
    if x.by_tokens and not padded:  # whose tile is one
        ways = [ways[0] + many * (ways[1] - ways[0])]
    moved = touched * k * n * width.weight + laid * (k * width.activation + 2 * n)
    around = rows * (k + n) * 2 * x.moved / f.bandwidth
    return overlapped((least(ways), moved / (f.bandwidth * x.memory)), x.overlap) + around
