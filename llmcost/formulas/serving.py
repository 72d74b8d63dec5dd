"""How a figure of `llmcost estimate` comes about: the engine of serving, run on symbols instead of numbers.

No formula is written a second time: what is printed is what `evaluate` computes when it is given letters.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from llmcost.formulas.finding import elsewhere, wanted
from llmcost.formulas.folding import Folded, folded
from llmcost.formulas.naming import with_names
from llmcost.formulas.parts import Part, parts_of
from llmcost.formulas.quantities import QUANTITIES, Quantity
from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError, UnknownFigureError
from llmcost.ground.options import declared
from llmcost.ground.symbols import Atom, Expression, lift, show, symbol
from llmcost.ground.symbols import evaluate as value_of
from llmcost.machine.chip import Chip, HostSide, Links
from llmcost.machine.efficiency import UNQUANTISED, Efficiency, Kernel
from llmcost.model.blocks import sizes_of
from llmcost.model.letters import letter_of
from llmcost.model.sizes import ElementBytes
from llmcost.model.spec import Layer, ModelSpec, Published
from llmcost.serving.estimate import check_mix, evaluate, prompt_is_context, training_reached, workload_of
from llmcost.serving.options import DEGREES, Options, Workload
from llmcost.serving.results import Estimate, leaves
from llmcost.serving.server import machine_of
from llmcost.specs.hardware import HardwareSpec


class Explanation(NamedTuple):
    """One figure explained: its formula in letters and with sizes, value and unit, source, and what documents print.

    `where` has the intermediate results that the formula names, each with its formula and value; `legend` has the value
    and the meaning of every letter. `parts`: what a long sum consists of, by the name of the figure or intermediate
    result that is the sum. `formulas`: the figure's own, then those of the intermediate results.
    """

    quantity: str
    what: str
    letters: str
    sizes: str
    value: Any
    unit: str
    source: str
    where: list[tuple[str, str, str, Any]]  # name, letters, sizes, value of each intermediate result
    legend: dict[str, tuple[Any, str]]  # letter -> value, meaning
    published: list[Published]
    parts: dict[str, list[Part]]
    formulas: dict[str, Expression]

    def latex(self) -> list[str]:
        """The formula as LaTeX, then those of the intermediate results."""
        from llmcost.formulas.latex import latex_of_figure  # needed by few

        return [latex_of_figure(name, formula) for name, formula in self.formulas.items()]

    def folded(self) -> Folded:
        """The formula and those of the intermediate results in a few lines each, and the letters that these name."""
        return folded(self.formulas, self.parts, QUANTITIES)


def symbolic_model(model: ModelSpec, of: str = "") -> ModelSpec:
    """A model with letters for its sizes; where kinds of layers differ in a size, its letter has the kind's number.

    `of`: what ends each letter, of an encoder beside a decoder.
    """
    sizes = {field: _letter(model, field, value, of) for field, value in sizes_of(model).items()}
    if model.encoder is not None:
        model = model._replace(encoder=symbolic_model(model.encoder, "e"))
    for field in ("embedding_size", "hidden_size"):
        if model.head_size and getattr(model, field) == model.head_size:
            sizes["head_size"] = sizes[field]
    layers = tuple(_symbolic_layer(model, kind, sizes["hidden_size"], of) for kind in range(len(model.layers)))
    streams = tuple(
        each._replace(**{name: _letter(each, name, value) for name, value in sizes_of(each).items()})
        for each in model.streams
    )
    return model._replace(**sizes, layers=layers, streams=streams)


def _symbolic_layer(model: ModelSpec, kind: int, h: Number, of: str) -> Layer:
    layer = model.layers[kind]
    blocks: dict[str, Any] = {}
    for place in ("mixer", "mlp", "cross_attention"):
        block = getattr(layer, place)
        if block is None:
            continue
        sizes = sizes_of(block)
        numbers = {field: _number(model, kind, place, field) + of for field in sizes}
        letters = {field: _letter(block, field, value, numbers[field]) for field, value in sizes.items()}
        blocks[place] = block._replace(**_as_in_the_documents(sizes, letters, model.hidden_size, h))
    counts_differ = len({each.count for each in model.layers}) > 1
    count = _letter(layer, "count", layer.count, (str(kind + 1) if counts_differ else "") + of)
    return layer._replace(count=count, **blocks)


def _as_in_the_documents(
    sizes: dict[str, int], letters: dict[str, Number], hidden: int, h: Number
) -> dict[str, Number]:
    """Letters as the documents use them: g is a and d is h/a where every head has its own keys; dv is d where equal."""
    a, g, d = (sizes.get(field) for field in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    if a and d and a == (g or a) and a * d == hidden:
        letters["head_dim"] = h / letters["num_attention_heads"]
        if g:
            letters["num_key_value_heads"] = letters["num_attention_heads"]
    if d and sizes.get("v_head_dim") == d:
        letters["v_head_dim"] = letters["head_dim"]
    if sizes.get("cross_attention_size") == hidden:
        letters["cross_attention_size"] = h
    return letters


def _number(model: ModelSpec, kind: int, place: str, field: str) -> str:
    """The kind's number, which ends a letter, if the kinds of layers that have this size differ in it; otherwise ""."""
    values = {getattr(getattr(layer, place), field, 0) for layer in model.layers} - {0}
    return str(kind + 1) if len(values) > 1 else ""


def _letter(owner: Any, field: str, value: int, number: str = "") -> Number:
    """The symbol of a size of a block, a model or a layer."""
    letter, meaning = letter_of(owner, field)
    return symbol(letter + number, value, meaning)


def symbolic_bytes(size: ElementBytes) -> ElementBytes:
    """Bytes of elements as letters; what a format does not have stays 0."""
    meanings = (
        "bytes a weight of a linear layer",
        "bytes an activation or other weight",
        "bytes an element of the KV cache",
        "bytes of an output channel's scale",
        "bytes an element of the embedding and the LM head",
        "bytes a weight of a routed expert",
        "bytes an element of the LM head",
        "bytes an element of a token on its way to experts",
        "bytes an element of the type that linear layers compute in",
        "bytes an element of a latent's rotary part in the KV cache",
        "bytes of a scale in the KV cache",
        "bytes of a matrix's codebooks",
        "bytes of an input channel's scale",
        "bytes an element of the LM head, also where it is the embedding",
    )
    letters = zip(size._fields, size, meanings, strict=True)
    return ElementBytes(*(value and symbol(letter, value, meaning) for letter, value, meaning in letters))


def symbolic_estimate(model: ModelSpec, hardware: HardwareSpec | None, options: Options) -> Estimate:
    """An estimate with a formula in place of every number. Raises InputError as `estimate` does."""
    w = workload_of(model, hardware, options)
    if w.rate is not None:
        raise InputError(
            f"--rate {w.rate:g}: how many requests are in flight is found step by step, not by a formula; "
            "explain --concurrency with the number that estimate says run at a time; where estimate simulates, its "
            "times differ: that formula is rough there"
        )
    size, chip, efficiency = machine_of(hardware, w)
    if not _weights_stay(evaluate(model, hardware, size, w, chip, efficiency, prompt_is_context(options)), chip):
        chip = chip._replace(on_chip=0)  # which formulas then need not tell
    sizes = symbolic_bytes(size)
    if size.Bw == size.Bx and efficiency.kernels["gemm"] != efficiency.kernels[UNQUANTISED]:
        sizes = sizes._replace(Bw=sizes.Bx)  # nothing is quantised, though the linear layers might be
    letters = (sizes, symbolic_workload(w), symbolic_chip(chip), symbolic_efficiency(efficiency))
    trained = symbolic_efficiency(training_reached(hardware, w), "training")
    return evaluate(symbolic_model(model), hardware, *letters, prompt_is_context(options), trained)


def _weights_stay(answer: Estimate, chip: Chip) -> bool:
    """Whether caches on the chip may hold all weights that a pass touches: a decode step, which touches the fewest."""
    touched = answer.traffic.decode.weight_bytes
    return touched is None or bool(touched <= answer.workload.pp * chip.on_chip)  # None: there is no decode


def explain(
    model: ModelSpec,
    hardware: HardwareSpec | None = None,
    options: Options = Options(),  # noqa: B008
    quantity: str | None = None,
) -> list[Explanation]:
    """How one figure comes about, or each figure of a group or that has some words, or all that are known.

    What documents print is told for their case alone, which is that of the default options. Raises InputError for a
    figure that does not exist, or that cannot be had without a GPU.
    """
    if options.prefill_gpus is not None:
        raise InputError(
            f"--prefill-gpus {options.prefill_gpus}: what two pools settle on is found in rounds, and no formula of it "
            "can be read; leave it out"
        )
    check_mix(model, options)
    asked = [*QUANTITIES] if quantity is None else wanted(quantity, QUANTITIES)
    if quantity is not None and not asked:
        more = f"{elsewhere(quantity)} (all of them: llmcost explain {model.name})"
        raise UnknownFigureError(quantity, QUANTITIES, more)
    known = dict(leaves(symbolic_estimate(model, hardware, options)))
    of_this_gpu = (None, hardware and hardware.name)
    printed = [each for each in model.published if options == Options() and each.hardware in of_this_gpu]
    answered = [path for path in asked if known.get(path) is not None]
    found = [explanation_of(path, known[path], _quantity(model, path), printed) for path in answered]
    if not found:
        raise InputError(f"{quantity} cannot be had here: {_missing(asked, hardware)}")
    return found


NEEDS = {  # where figures begin so, what has to be given too
    "request.": "give --output",
    "serving.draft": "give --speculate, of a mix, and what guesses: not ngram",
    "serving.": "give --output, and --concurrency, --rate or --requests",
    "offload.": "give --offload and --host",
    "encoding.": "give --images or --audio, of a model that takes them",
    "model.params.t": "the model has no towers beside its text model",
    "memory.mem_fraction": "give an engine that sets it: --engine sglang",
    "memory.sampler": "give an engine that has a sampler of its own: --engine vllm",
}


def _missing(asked: list[str], hardware: HardwareSpec | None) -> str:
    """Why none of the figures that are asked for has a value."""
    needs = [next((need for path, need in NEEDS.items() if each.startswith(path)), None) for each in asked]
    if None not in needs:
        return "; or ".join(dict.fromkeys(map(str, needs)))
    if hardware is None:
        return "give a GPU with --hw"
    return "its peak or bandwidth is not known, or the model does not do this"


OF_MIXERS = ("kv_cache.", "flops.per_token.attention", "memory.kv_cache_bytes", "traffic.decode.kv_cache_bytes")


def _quantity(model: ModelSpec, path: str) -> Quantity:
    """What a figure is; of caches, states and attention with the sources of the mixers that the model has."""
    quantity = QUANTITIES[path]
    if not path.startswith(OF_MIXERS):
        return quantity
    sources = [layer.mixer.source() if hasattr(layer.mixer, "source") else quantity.source for layer in model.layers]
    return quantity._replace(source="; ".join(dict.fromkeys(sources)))


def explanation_of(path: str, figure: Any, quantity: Quantity, printed: list[Published]) -> Explanation:
    """How one figure comes about, from what it is (`quantity`) and what it was computed as (`figure`)."""
    formula = with_names(_opened(lift(figure), path), QUANTITIES)
    unit, what, source = quantity[:3]
    where: dict[str, Expression] = {}
    legend: dict[str, tuple[Any, str]] = {}
    _collect(formula, where, legend, set())
    formulas = {path: formula} | where
    return Explanation(
        quantity=path,
        what=what,
        letters=show(formula, sizes=False),
        sizes=show(formula, sizes=True),
        value=_plain(value_of(formula)),
        unit=unit,
        source=source,
        where=[
            (name, show(inner, sizes=False), show(inner, sizes=True), _plain(value_of(inner)))
            for name, inner in where.items()
        ],
        legend=legend,
        published=[each for each in printed if each.quantity == path],
        parts={name: parts for name, each in formulas.items() if (parts := parts_of(each))},
        formulas=formulas,
    )


def _opened(formula: Expression, path: str) -> Expression:
    """The formula behind a figure's own name: a figure is not explained by itself."""
    atom = formula.atom()
    own = atom is not None and isinstance(atom.value, Expression) and f".{path}".endswith(f".{atom.letter}")
    return atom.value if own and atom else formula


def _collect(
    formula: Expression, where: dict[str, Expression], legend: dict[str, tuple[Any, str]], opened: set[Atom]
) -> None:
    """Collect the intermediate results that a formula names, each before those inside it, and the letters of all.

    A figure that has an explanation of its own is named, and not opened here.
    """
    for atom in formula.atoms():
        if isinstance(atom.value, Expression):
            where.setdefault(atom.letter, atom.value)
            if atom.letter not in QUANTITIES and atom not in opened:
                opened.add(atom)
                _collect(atom.value, where, legend, opened)
        else:
            legend.setdefault(atom.letter, (atom.value, atom.meaning))


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def symbolic_workload(w: Workload) -> Workload:
    """A workload in letters. Options that were not given, and degrees of 1, stay as they are."""
    letters: Workload = symbolic_options(w)
    return letters._replace(gpus=1 if w.gpus == 1 else letters.tp * letters.pp * letters.dp)


def symbolic_options(options: Any) -> Any:
    """Options with the letters that they declare in place of sizes: degrees above 1, and other sizes that are given."""
    sizes = {name: (getattr(options, name), option) for name, option in declared(options.__class__).items()}
    return options._replace(
        **{
            name: symbol(option.letter, value, option.meaning)
            for name, (value, option) in sizes.items()
            if option.letter and value and not (value == 1 and name in DEGREES)
        }
    )


LINKS = ("node", "fabric")  # kinds of kernels whose letters are always their own
PEAKS = (
    ("P", "peak FLOP/s of linear layers"),
    ("Px", "peak FLOP/s of the LM head"),
    ("Pa", "peak FLOP/s of attention"),
)


def symbolic_chip(chip: Chip, of: str = "") -> Chip:
    """A chip in letters, a single one for all peaks where they are equal; `of`: whose they are, if not the GPU's."""

    def letter(value: Number, name: str, meaning: str) -> Number:
        return _figure(value, f"{name}[{of}]" if of else name, f"{meaning} ({of})" if of else meaning)

    values = (chip.peak, chip.plain_peak, chip.attention_peak)
    if len(set(values)) == 1:
        peaks = [letter(chip.peak, "P", "peak FLOP/s")] * 3
    else:
        peaks = [letter(value, *text) for value, text in zip(values, PEAKS, strict=True)]
    bandwidth = letter(chip.bandwidth, "BW", "memory bandwidth, bytes/s")
    capacity = letter(chip.capacity, "M", "bytes of memory")
    links = chip.links and Links(
        _figure(chip.links.node_bytes_per_s, "link", "bytes/s to other GPUs of the node, one direction"),
        _figure(chip.links.fabric_bytes_per_s, "fabric", "bytes/s to other nodes, of one GPU"),
        chip.links.over_pcie,
    )
    usable = capacity
    if chip.usable != chip.capacity:
        usable = letter(chip.usable, "Mu", "bytes of memory, as the driver reports it")
    cached = letter(chip.cached_peak, "Pkv", "peak FLOP/s of the cache's data type")
    on_chip = letter(chip.on_chip, "L2", "bytes that the chip's caches hold")
    half_sums = letter(chip.half_sums, "Ph", "peak FLOP/s of fp16 products that are added up in fp16")
    least = letter(chip.least_peak, "P4", "peak FLOP/s of the fastest data type that holds weights of fp4")
    beside = chip.beside and HostSide(
        symbolic_chip(chip.beside.chip, "host"),
        symbolic_efficiency(chip.beside.efficiency, "host"),
        _figure(chip.beside.copies, "copies", "bytes/s from the host's memory to the GPU's"),
    )
    first, second, third = peaks
    return Chip(
        *(first, second, third, bandwidth, capacity, links, usable, cached, on_chip, half_sums, least, beside),
        vendor=chip.vendor,
    )


def _figure(value: Number, letter: str, meaning: str) -> Number:
    return value and symbol(letter, value, meaning)


def symbolic_efficiency(efficiency: Efficiency, of: str = "") -> Efficiency:
    """Shares and launch costs as letters, followed by the kind of kernel where kinds differ; `of`: by another word."""
    meanings = {
        "compute": ("e_c", "share of the peak that a kernel reaches"),
        "memory": ("e_m", "share of the bandwidth (or link) that a kernel (or collective) reaches"),
        "launch_seconds": ("t0", "seconds to launch a kernel, or of an empty collective"),
        "half": ("s_half", "tokens at which half of it is reached"),
        "overlap": ("p", "how far computing and moving bytes overlap: 1, one after the other"),
    }
    compute = [kernel for kind, kernel in efficiency.kernels.items() if kind not in LINKS]
    alike = {field for field in Kernel._fields if len({getattr(kernel, field) for kernel in compute}) == 1}

    def letters(kind: str, kernel: Kernel) -> Kernel:
        found: dict[str, Any] = {}
        for field, (letter, meaning) in meanings.items():
            value = getattr(kernel, field)
            if value == Kernel._field_defaults.get(field):
                continue  # nothing was said of it: it stays a number
            kinds = [] if field in alike and kind not in LINKS else [kind]
            words = ", ".join([*kinds, *([of] if of else [])])
            found[field] = symbol(f"{letter}[{words}]" if words else letter, value, meaning)
        return kernel._replace(**found)

    told = dict(efficiency.kernels)
    if told.get(UNQUANTISED) == told["gemm"]:
        del told[UNQUANTISED]  # nothing to tell apart
    return efficiency._replace(kernels={kind: letters(kind, kernel) for kind, kernel in told.items()})
