"""What would make a model fit that does not: fewer tokens, smaller data types, a host, more GPUs; the cheapest first.

Each changes one thing of what was asked, by the least that suffices. What costs nothing stands first: a larger share of
the memory where the engine's own rule is careful, a batch or a context that is not much smaller, then smaller weights
and a smaller cache, which cost quality, then a part of the model on a host, which costs time, then GPUs, which cost
money, then what changes the question: a batch or a context of less than half. Where no smaller weights suffice, the
smallest are taken together with a host or more GPUs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.machine.chip import has_the_hosts_memory
from llmcost.model.spec import ModelSpec
from llmcost.parallel.offload import EXPERTS, LAYERS
from llmcost.search.fit import bytes_of_a_weight, usual_precisions
from llmcost.serving.estimate import estimate
from llmcost.serving.options import COMPUTE_DTYPES, DEGREES, Options
from llmcost.serving.results import Estimate
from llmcost.specs.catalog import load_hardware, named_engine, names
from llmcost.specs.hardware import HardwareSpec

DOUBLINGS = 10  # of the number of GPUs, at most
SMALLER_CACHE = "fp8"  # what engines keep a cache in that should be small
WITH_TABLES = "q4_k_m"  # a format that the embedding and the LM head have too
NOTABLY = 0.9  # share of a format's bytes below which another is worth naming
LARGER_SHARES = (0.88, 0.9, 0.92, 0.94)  # of the memory; above it CUDA graphs and activations have no room
MUCH_LESS = 0.5  # share of a context or batch below which it is another question


class Remedy(NamedTuple):
    """What changes, in words, and the options that ask for it."""

    what: str
    options: Options


def remedies(model: ModelSpec, chip: HardwareSpec, options: Options, e: Estimate) -> list[Remedy]:
    """What makes it fit, the cheapest first; `e` is the estimate of the options, which does not."""
    fewer = list(_fewer(options, e))
    near = [remedy for kept, remedy in fewer if kept >= MUCH_LESS]
    far = [remedy for kept, remedy in fewer if kept < MUCH_LESS]
    usual, with_tables = _smaller_weights(model, options, e)
    smaller = _first(model, chip, [*usual, *with_tables])
    cache = _first(model, chip, [Remedy(f"the KV cache in {SMALLER_CACHE}", options._replace(kv_dtype=SMALLER_CACHE))])
    found = [_first(model, chip, _larger_shares(options, e)), *near, smaller, cache]
    as_asked, smallest = Remedy("", options), None if smaller is not None else [*usual, *with_tables][-1:]
    if not any(found):
        found.append(_beside_a_host(model, chip, smallest[-1] if smallest else as_asked))
    if not has_the_hosts_memory(chip):
        found.append(_first(model, chip, _more_gpus(usual[-1], e)) if smallest and usual else None)
        found.append(_first(model, chip, _more_gpus(as_asked, e)))
    elif smallest:
        shorter = estimate(model, chip, smallest[-1].options)
        found += [_and(smallest[-1], each) for _, each in _fewer(smallest[-1].options, shorter)]
    return [each for each in (*found, *far) if each is not None and _fits(model, chip, each.options)]


def _larger_shares(options: Options, e: Estimate) -> Iterator[Remedy]:
    """Larger shares of the memory for weights and cache, where a rule of the engine gives the one that is too small."""
    own = e.memory.mem_fraction_static
    for share in LARGER_SHARES if own is not None and options.mem_fraction_static is None else ():
        if share > own:
            yield Remedy(f"{share:g} of the memory for weights and cache", options._replace(mem_fraction_static=share))


def _smaller_weights(model: ModelSpec, options: Options, e: Estimate) -> tuple[list[Remedy], list[Remedy]]:
    """Formats of weights that are smaller than those asked about, the largest first; and one for files of one GPU."""
    plain = options if options.dtype in COMPUTE_DTYPES else options._replace(dtype=None)
    asked = bytes_of_a_weight(e.workload.weight_dtype)
    kinds = [each.weight_dtype for each in usual_precisions(model, options.engine)]
    more = [WITH_TABLES] if named_engine(options.engine) is None else []
    usual, with_tables = (
        [
            Remedy(f"weights in {each}", plain._replace(weight_dtype=each))
            for each in some
            if each and bytes_of_a_weight(each) < NOTABLY * asked
        ]
        for some in (kinds, more)
    )
    return usual, with_tables


def _beside_a_host(model: ModelSpec, chip: HardwareSpec, changed: Remedy) -> Remedy | None:
    """A change, and no more than has to be on a host: the one that was asked about, or the smallest that has room."""
    part, _, count = (changed.options.offload or "").partition(":")
    parts = [part] if part else [EXPERTS, LAYERS]
    hosts = [changed.options.host] if changed.options.host else _hosts_by_memory()
    for host in hosts:
        for each in parts:
            most = model.expert_layers() if each == EXPERTS else model.num_hidden_layers - 1
            found = _least(model, chip, changed, host, each, range(int(count or 0) + 1, most + 1))
            if found is not None:
                return found
    return None


def _hosts_by_memory() -> list[str]:
    """The shipped CPUs, that with the least memory first."""
    return sorted(names("hardware/cpus"), key=lambda name: load_hardware(name).memory.value)


def _least(model: ModelSpec, chip: HardwareSpec, changed: Remedy, host: str, part: str, counts: range) -> Remedy | None:
    """The fewest layers, or layers' experts, on a host with which it fits."""

    def there(count: int) -> Remedy:
        what = f"{count} layers" if part == LAYERS else f"the experts of {count} layers"
        options = changed.options._replace(offload=f"{part}:{count}", host=host)
        return _and(changed, Remedy(f"{what} on a host ({load_hardware(host).title})", options))

    at = bisect_left(counts, True, key=lambda count: _fits(model, chip, there(count).options))
    return there(counts[at]) if at < len(counts) else None


def _and(first: Remedy, second: Remedy) -> Remedy:
    """Both changes, the options being those of the second."""
    return Remedy(" and ".join(filter(None, (first.what, second.what))), second.options)


def _fewer(options: Options, e: Estimate) -> Iterator[tuple[float, Remedy]]:
    """A smaller batch and a shorter context that fit, each with the share that it keeps of what was asked."""
    w, m = e.workload, e.memory
    if m.max_batch and w.batch > 1:
        yield m.max_batch / w.batch, Remedy(f"a batch of {m.max_batch:,}", options._replace(batch=m.max_batch))
    if m.max_context and options.prompt is None and options.output is None:
        shorter = options._replace(context=m.max_context)
        yield m.max_context / w.context, Remedy(f"a context of {m.max_context:,}", shorter)


def _more_gpus(changed: Remedy, e: Estimate) -> Iterator[Remedy]:
    """A change, and twice as many GPUs of the kind, four times as many, and so on, laid out as `--gpus` does."""
    free: dict[str, Any] = dict.fromkeys(DEGREES)
    for doubling in range(1, DOUBLINGS + 1):
        gpus = e.workload.gpus * 2**doubling
        what = f"{changed.what} on {gpus:,} GPUs".removeprefix(" on ")
        yield Remedy(what, changed.options._replace(**free, gpus=gpus))


def _first(model: ModelSpec, chip: HardwareSpec, tried: Iterable[Remedy]) -> Remedy | None:
    """The first that fits."""
    return next((each for each in tried if _fits(model, chip, each.options)), None)


def _fits(model: ModelSpec, chip: HardwareSpec, options: Options) -> bool:
    """Whether the options are legal, and what they ask for fits."""
    try:
        return bool(estimate(model, chip, options).memory.fits)
    except InputError:
        return False
