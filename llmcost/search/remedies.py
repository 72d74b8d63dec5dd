"""What would make a model fit that does not: fewer tokens, smaller data types, more GPUs; the cheapest first.

Each changes one thing of what was asked, by the least that suffices. What costs nothing stands first: a batch or a
context that is not much smaller, then smaller weights and a smaller cache, which cost quality, then GPUs, which cost
money, then what changes the question: a batch or a context of less than half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.model.spec import ModelSpec
from llmcost.search.fit import usual_precisions
from llmcost.serving.estimate import estimate
from llmcost.serving.options import DEGREES, Options
from llmcost.serving.results import Estimate
from llmcost.specs.hardware import HardwareSpec

DOUBLINGS = 10  # of the number of GPUs, at most
SMALLER_CACHE = "fp8"  # what engines keep a cache in that should be small
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
    of_weights = [
        Remedy(f"weights in {each.weight_dtype}", options._replace(weight_dtype=each.weight_dtype))
        for each in usual_precisions(model)
        if each.weight_dtype
    ]
    of_cache = [Remedy(f"the KV cache in {SMALLER_CACHE}", options._replace(kv_dtype=SMALLER_CACHE))]
    fitting = [_first(model, chip, each) for each in (of_weights, of_cache)]
    if of_weights and fitting[0] is None:
        fitting.append(_first(model, chip, _more_gpus(of_weights[-1], e)))
    fitting.append(_first(model, chip, _more_gpus(Remedy("", options), e)))
    found = (*near, *(each for each in fitting if each is not None), *far)
    return [each for each in found if _fits(model, chip, each.options)]


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
