"""What the kernels of one engine take on one GPU: five forms of time, by sizes, and the numbers fitted to measurements.

Each form has a few numbers of a plain meaning, all in seconds, bytes/s a streaming multiprocessor (SM), or shares of
the GPU's peak, bandwidth or link. Shares are at most 1, and the smooth maximum of times that are each a limit is never
below any of them: no time is faster than the GPU's peak and bandwidth allow.

product     tiles of the output over the SMs, in whole waves; each tile draws its operands at so many bytes/s; few tiles
            are split along k; all bytes once over the bandwidth; quantising activations as a kernel of its own
experts     two such products over the experts that tokens touch, padded to tiles; rows that are moved around them, and
            those of other GPUs' experts, which are passed over
prefill     tiles of queries over the SMs, (query, key) pairs at a share of the peak and at the rate of exponentials
decode      one block of threads a sequence and KV head, split along the keys until the SMs are busy; padded keys
collective  an empty one, more for each further GPU, and bytes over the link: the faster of a way for small arrays and
            one for large ones, which starts later and reaches more of the link

`load_kernels` reads the numbers of an engine on a GPU from hardware/kernels, which benchmarks/kernel_fits.py writes
from public tables of measured kernels. A GPU without tables takes its family's numbers: shares of its own figures.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

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
from llmcost.machine.efficiency import family_of
from llmcost.machine.loading import loaded_by_sms
from llmcost.machine.power import paid_for
from llmcost.model.operators.sequence import causal_pairs
from llmcost.specs.catalog import load_hardware, shipped
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.json_text import document_of
from llmcost.specs.reader import Document, read_text
from llmcost.specs.schema import TEXT, WORDS, Schema, choice, mapping, number, record, several, validate, whole

FORMAT = "llmcost.kernels/1"
MOST_PARTS = 16  # into how many parts a product is split along k
LATER = 32  # rows from which on engines take another kernel for products in fp8 with scales of blocks
LEAST_STEPS = 2  # steps along the keys that are not divided any further
CORRECTED = Constant(
    1.5,
    "`spread` of models whose routers have a correction bias: of 1.5, 2, 3, 4 and 8, on 244 runs of five such models "
    "in three engines. On 207 runs with prompts apart, which had no part in it, the time between tokens is 10.7 % off "
    "in the median, and 11.4 % by the spread of each kernel's tables",
)
LEAST_TOUCHED = 1e-9  # experts: of no tokens none are touched, and nothing is divided by them
HOST = 40e-6  # seconds of an empty product or attention that only the launching host can be the reason of


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


class Prefill(NamedTuple):
    """The numbers of attention of prompts."""

    launch: float
    compute: float  # share of the peak
    pair: float  # seconds that an SM takes for a (query, key) pair besides its FLOPs: exponentials
    memory: float
    overlap: float
    tile: float  # seconds of a tile of queries besides
    store: float  # times that new keys and values are written to the cache, at the share `memory` of the bandwidth
    token: float  # seconds of an SM a token
    queries: int  # queries in a tile
    outside: float = 0.0  # share of the pairs outside of the window that is computed all the same


class Decode(NamedTuple):
    """The numbers of attention of one new token a sequence over a cache."""

    launch: float
    memory: float
    overlap: float
    start: float  # seconds of a block of threads besides its keys
    draw: float  # bytes/s at which one block reads keys and values
    key: float  # seconds of a block a key, however narrow
    head: float  # seconds of an SM a query head: reading, writing
    split: float  # seconds of adding up the parts, where keys are split
    heads: int  # query heads of a KV head in one block
    keys: int  # keys in a block's step
    parts: int  # into how many parts the keys are split at most
    outside: float = 0.0  # share of the keys outside of the window that is read all the same


class Exchange(NamedTuple):
    """The numbers of a collective inside a node."""

    launch: float  # seconds of an empty one between two GPUs
    peer: float  # seconds more for each further GPU
    link: float  # share of the link's bandwidth, between many GPUs
    pair: float  # 0 where two GPUs reach that share too, 1 where they reach half of it
    overlap: float
    change: float  # seconds more that an empty one takes in the way that reaches that share
    small: float  # share of the link's bandwidth in the way that small arrays are sent


FORMS: dict[str, type[Any]] = {
    "product": Product,
    "experts": Experts,
    "prefill": Prefill,
    "decode": Decode,
    "collective": Exchange,
}


def _overlapped(times: tuple[Number, ...], exponent: float) -> Number:
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


def _tiled(x: Product, f: Figures, m: Number, n: Number, k: Number, width: Width) -> Number:
    """Seconds of a product's tiles, by the fastest size of tile, whole or split along k until the SMs are busy."""
    ways: list[Number] = []
    for tile in x.tiles:
        many = ceil_div(m, tile[0]) * ceil_div(n, tile[1])
        whole_k, once = _waves(x, f, many, tile, k, width)
        parts = minimum(MOST_PARTS, maximum(1, floor_div(f.sms, maximum(1, many))))
        ways += [whole_k, ceil_div(many * parts, f.sms) * (once / parts + x.tile) + x.split]
    return least(ways)


def product_seconds(x: Product, f: Figures, m: Number, n: Number, k: Number, width: Width) -> Number:
    """Seconds of y = x·W with m rows, k inputs and n outputs, its activations quantised first where `x` says so."""
    moved = k * n * width.weight + m * k * width.activation + 2 * m * n
    time = x.launch + _overlapped((_tiled(x, f, m, n, k, width), moved / (f.bandwidth * x.memory)), x.overlap)
    if x.later:
        time = time + x.later * minimum(1, floor_div(m, LATER))
    if x.quantise_memory:
        time = time + quantise_seconds(x, f, m, k, width)
    return _overlapped((time, x.host), x.overlap) if x.host else time  # the host goes on while kernels run


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
    return _overlapped((least(ways), moved / (f.bandwidth * x.memory)), x.overlap) + around


def prefill_seconds(
    x: Prefill,
    f: Figures,
    batch: Number,
    queries: Number,
    keys: Number,
    heads: Number,
    kv_heads: Number,
    d: Number,
    dv: Number,
    window: Number = 0,
    *,
    cache_bytes: float = 2,
) -> Number:
    """Seconds of causal attention of the last `queries` of `keys` tokens of each sequence; `window` 0: all keys.

    `d` and `dv` are the sizes of a key and of a value, `cache_bytes` those of an element of the cache.
    """
    padded = ceil_div(queries, x.queries) * x.queries
    last = keys - queries + padded
    pairs = causal_pairs(padded, last) + padded * x.queries / 2
    if present(window):
        inside = causal_pairs(padded, last, window) + padded * x.queries / 2
        pairs = inside + x.outside * maximum(0, pairs - inside)
        seen = minimum(keys, window) + x.outside * (keys - minimum(keys, window))
    else:
        seen = keys
    pair = 2 * (d + dv) * f.sms / (f.peak * x.compute) + x.pair
    waves = ceil_div(batch * heads * ceil_div(queries, x.queries), f.sms) * x.tile
    computed = batch * heads * pairs * pair / f.sms + waves
    longest = x.queries * (seen + x.queries) * pair + waves
    fresh = queries * kv_heads * (d + dv)
    moved = batch * (2 * queries * heads * (d + dv) + 2 * fresh + (keys - queries) * kv_heads * (d + dv) * cache_bytes)
    rate = f.bandwidth * x.memory
    stored = batch * fresh * (2 + cache_bytes) * x.store / rate + batch * queries * x.token / f.sms
    return x.launch + _overlapped((computed, longest, moved / rate), x.overlap) + stored


def decode_seconds(
    x: Decode,
    f: Figures,
    batch: Number,
    keys: Number,
    heads: Number,
    kv_heads: Number,
    cached: Number,
    window: Number = 0,
    *,
    cache_bytes: float = 2,
) -> Number:
    """Seconds of attention of one new token of each sequence over `keys` tokens; `window` 0: all of them.

    `cached` are the elements that a KV head keeps of a token: d + dv, or those of a latent.
    """
    inside = minimum(keys, window) if present(window) else keys
    outside = keys - inside
    read = inside + x.outside * outside
    key_bytes = cached * cache_bytes
    blocks = batch * kv_heads * ceil_div(heads, kv_heads * x.heads)
    steps = ceil_div(read, x.keys)
    step = x.keys * (key_bytes / x.draw + x.key)
    waves = ceil_div(blocks, f.sms)
    parts = minimum(x.parts, maximum(1, floor_div(f.sms, maximum(1, blocks))))
    in_parts = maximum(steps / parts, minimum(steps, LEAST_STEPS))
    computed = least((waves * (x.start + steps * step), waves * (x.start + in_parts * step) + x.split))
    moved = batch * kv_heads * inside * key_bytes / (f.bandwidth * x.memory)
    return x.launch + _overlapped((moved, computed), x.overlap) + batch * heads * x.head / f.sms


def collective_seconds(x: Exchange, link: Number, payload: Number, gpus: Number) -> Number:
    """Seconds of a collective of `payload` bytes, the whole array, among GPUs that each send `link` bytes/s.

    Each sends (gpus - 1) / gpus of the array, and reaches a share of the link that grows with them. A single GPU: 0.
    """
    sent = payload * (gpus - 1 + x.pair) / (gpus * link)
    start = x.launch + x.peer * maximum(0, gpus - 2)
    small = _overlapped((start, sent / x.small), x.overlap)
    large = _overlapped((start + x.change, sent / x.link), x.overlap)
    return minimum(1, gpus - 1) * minimum(small, large)


class Fitted(NamedTuple):
    """One form's numbers, how many rows they rest on, and the errors on rows that the fit did not see.

    `median` and `mean` are of |predicted / measured - 1| on the third of the rows that was set aside; `other_gpu` is
    the median on whole GPUs that were left out, each in turn, and is known of a family alone. `left_out` rows are
    faster than the GPU's bandwidth or peak allow.
    """

    numbers: Any
    rows: int
    median: float
    mean: float
    left_out: int = 0
    other_gpu: float | None = None

    def by_host(self) -> bool:
        """Whether the host's launches were timed, not the kernels: in a CUDA graph such a kernel is faster."""
        launched = max(self.numbers.launch, getattr(self.numbers, "host", 0))
        return bool(launched > HOST) and not isinstance(self.numbers, Experts)


class Kernels(NamedTuple):
    """The kernels of one engine on one GPU, or on the GPUs of a family: form, then variant, then numbers.

    A product's variant is its format (`fp8-block128/unaligned`: sizes that are no multiples of a block). Attention's is
    `<queries>/<cache>`, then `/latent`, or `/wide` over a cache of which more than 32 query heads share a key, or
    `/window`, or the size of heads that is not 128, or these two; `/one` are prompts of one token. Experts' is the
    format, `/ungated` without a gate, or `/<kernel>` of those kernels that an engine takes less often. A collective's
    is its kind.
    """

    engine: str
    version: str
    of: str  # the GPU, or the family
    source: str
    fits: dict[str, dict[str, Fitted]]

    def beside(self, family: Kernels) -> Kernels:
        """The same, with the family's numbers for forms that this GPU has none of."""
        return self._replace(fits=family.fits | self.fits)

    def without_host(self, others: Kernels) -> Kernels:
        """The same, with another engine's numbers in place of those that hold the host's launches."""
        fits = {
            form: {
                variant: others.fits.get(form, {}).get(variant, fit) if fit.by_host() else fit
                for variant, fit in variants.items()
            }
            for form, variants in self.fits.items()
        }
        return self._replace(fits=fits)

    def find(self, form: str, *variants: str) -> Fitted | None:
        """The first of these variants of a form that there are numbers of; None where there are none."""
        known = self.fits.get(form, {})
        return next((known[variant] for variant in variants if variant in known), None)

    def kernels_of(self, form: str, variant: str, only: str = "") -> list[Fitted]:
        """All kernels that the engine has for a variant: of experts, those of a format that are gated.

        `only`: those with that in their name, if there are any.
        """
        known = self.fits.get(form, {}).items()
        gated = [(name, fit) for name, fit in known if not name.endswith("/ungated")]
        found = [(name, fit) for name, fit in gated if name.partition("/")[0] == variant]
        return [fit for name, fit in found if only in name] or [fit for _, fit in found]


FAMILY_FILES = {  # family of efficiency.py -> file of its GPUs' common numbers, or of the one GPU with tables
    "A100": "a100-80gb-sxm",
    "Hopper": "hopper",
    "B200": "blackwell",
    "Blackwell GDDR": "rtx-pro-6000",
    **dict.fromkeys(("Ada", "Ada Lovelace GDDR"), "rtx-pro-6000"),
    "Ampere GDDR": "rtx-pro-6000",
}
_SHARES = ("compute", "memory", "quantise_memory", "link", "small", "outside", "by_tokens", "whole")
_AMOUNT = number(0, 1e15)
_TILES = {
    "type": "list",
    "items_schema": several(whole(1, 4096), 2) | {"min_length": 2},
    "strict": True,
    "min_length": 1,
}


def _schema_of(form: type[Any]) -> Schema:
    """The schema of a fit: shares up to 1, exponents from 1, sizes whole, all else from 0."""
    special: dict[str, Schema] = {"tiles": _TILES, "overlap": number(1, 100)}
    special |= {share: number(0, 1) for share in _SHARES}
    special |= {name: whole(1, 10**6) for name in ("queries", "heads", "keys", "parts")}
    fields = {name: special.get(name, _AMOUNT) for name in form._fields}
    defaults = form._field_defaults
    errors = {"rows": whole(1, 10**9), "median": _AMOUNT, "mean": _AMOUNT}
    also = {"left_out": whole(0, 10**9), "other_gpu": _AMOUNT}
    return record(
        required={name: schema for name, schema in fields.items() if name not in defaults} | errors,
        optional={name: fields[name] for name in defaults} | also,
    )


def _schema() -> Schema:
    return record(
        required={
            "schema": choice(FORMAT),
            "engine": TEXT,
            "version": WORDS,
            "of": TEXT,
            "source": TEXT,
            "fits": record(required={}, optional={name: mapping(_schema_of(form)) for name, form in FORMS.items()}),
        },
        optional={},
    )


def load_kernels(engine: str, gpu: str) -> Kernels | None:
    """The kernels of an engine on a GPU, with its family's where it has none of a form; None where neither was fitted.

    Raises UnknownNameError for a GPU that is none, SpecError for a file that cannot be used.
    """
    hardware = load_hardware(gpu)
    found: Kernels | None = None
    for name in (hardware.gpu or hardware.name, FAMILY_FILES.get(family_of(hardware), "")):
        path = shipped("hardware") / "kernels" / engine / f"{name}.json"
        if name and path.is_file():
            known = _shipped_kernels(path, path.stat().st_mtime_ns)
            found = known if found is None or found is known else found.beside(known)
    return found


@lru_cache(maxsize=64)
def _shipped_kernels(path: Path, changed: int) -> Kernels:  # noqa: ARG001 - a key of the cache
    return read_kernels(path)


def read_kernels(path: Path) -> Kernels:
    """The numbers in a file. Raises SpecError, with line and field, for anything that is not such a file."""
    return kernels_from(document_of(read_text(path), str(path)))


def kernels_from(document: Document) -> Kernels:
    """The numbers that a document holds. Raises SpecError about the first that cannot be."""
    data = validate(document, _schema())
    fits = {
        form: {variant: fitted(FORMS[form], fit) for variant, fit in variants.items()}
        for form, variants in data["fits"].items()
    }
    return Kernels(data["engine"], data["version"], data["of"], data["source"], fits)


def fitted(form: type[Any], fit: dict[str, Any]) -> Fitted:
    """The numbers and errors of one entry of a file."""
    values = dict(fit)
    numbers = {name: values.pop(name) for name in form._fields if name in fit}
    if "tiles" in numbers:
        numbers["tiles"] = tuple(tuple(tile) for tile in numbers["tiles"])
    return Fitted(form(**numbers), **values)


def figures_of(hardware: HardwareSpec, width: str) -> Figures | None:
    """A GPU's figures for products in a type (bf16, fp8, …); in bf16 where it has no rate for it; None if unknown.

    The peak is as much of it as the TDP pays for, the bandwidth as much as the SMs can draw. The SMs of a GPU whose
    count no source gives cannot be guessed: None too.
    """
    peak = hardware.peak_of(width) or hardware.peak_of("bf16")
    if peak is None or hardware.bandwidth is None or hardware.sm_count is None:
        return None
    bandwidth = hardware.bandwidth.value * loaded_by_sms(hardware)
    return Figures(peak.value * paid_for(hardware), bandwidth, hardware.sm_count.value)
