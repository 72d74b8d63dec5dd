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

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.machine.efficiency import family_of
from llmcost.machine.forms_attention import (
    Decode,
    Exchange,
    Prefill,
    collective_seconds,
    decode_seconds,
    prefill_seconds,
)
from llmcost.machine.forms_products import Experts, Figures, Product, experts_seconds, product_seconds
from llmcost.machine.forms_sequence import (
    Choice,
    Module,
    Recurrence,
    Scores,
    Sparse,
    choice_seconds,
    module_seconds,
    recurrence_seconds,
    scores_seconds,
    sparse_seconds,
)
from llmcost.machine.loading import loaded_by_sms
from llmcost.machine.power import paid_for
from llmcost.specs.catalog import load_hardware, shipped
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.json_text import document_of
from llmcost.specs.reader import Document, read_text
from llmcost.specs.schema import TEXT, WORDS, Schema, choice, mapping, number, record, several, validate, whole

FORMAT = "llmcost.kernels/1"
HOST = 40e-6  # seconds of an empty product or attention that only the launching host can be the reason of

FORMS: dict[str, type[Any]] = {
    "product": Product,
    "experts": Experts,
    "spread": Experts,
    "prefill": Prefill,
    "decode": Decode,
    "collective": Exchange,
    "sparse": Sparse,
    "scores": Scores,
    "choice": Choice,
    "recurrence": Recurrence,
    "module": Module,
}
SECONDS: dict[str, Callable[..., Number]] = {
    "product": product_seconds,
    "experts": experts_seconds,
    "spread": experts_seconds,
    "prefill": prefill_seconds,
    "decode": decode_seconds,
    "collective": collective_seconds,
    "sparse": sparse_seconds,
    "scores": scores_seconds,
    "choice": choice_seconds,
    "recurrence": recurrence_seconds,
    "module": module_seconds,
}


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
        if isinstance(self.numbers, Sparse):
            launched = max(launched, self.numbers.start)  # of a block, however many keys it has
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
        """The same, with the family's numbers for kernels that this GPU has none of; of experts', for other formats.

        Of experts' kernels in a format the fastest is taken, and another GPU's may not run here.
        """
        fits = family.fits | {form: family.fits.get(form, {}) | variants for form, variants in self.fits.items()}
        own = self.fits.get("experts", {})
        formats = {name.partition("/")[0] for name in own}
        others = family.fits.get("experts", {})
        more = {name: fit for name, fit in others.items() if name.partition("/")[0] not in formats}
        fits["experts"] = {**more, **own}
        return self._replace(fits=fits)

    def without_host(self, others: Kernels) -> Kernels:
        """The same, with another engine's numbers in place of those that hold the host's launches, or are missing.

        Missing ones are taken of what both have from one library: an indexer's kernels, and attention by its choice.
        """
        fits = {
            form: {
                variant: _from(others.fits.get(form, {}).get(variant), fit) if fit.by_host() else fit
                for variant, fit in variants.items()
            }
            for form, variants in self.fits.items()
        }
        for form in SHARED:
            fits[form] = others.fits.get(form, {}) | fits.get(form, {})
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


def _from(other: Fitted | None, fit: Fitted) -> Fitted:
    """Another engine's numbers in place of those that hold the host's launches; of attention its launch alone.

    Long prompts and large caches take a kernel's own time, whoever launched it.
    """
    if other is None or other.by_host():
        return fit
    if isinstance(fit.numbers, (Prefill, Decode)):
        return fit._replace(numbers=fit.numbers._replace(launch=other.numbers.launch))
    return other


FAMILY_FILES = {  # family of efficiency.py -> file of its GPUs' common numbers, or of the one GPU with tables
    "A100": "a100-80gb-sxm",
    "Hopper": "hopper",
    "B200": "blackwell",
    "Blackwell GDDR": "rtx-pro-6000",
    **dict.fromkeys(("Ada", "Ada Lovelace GDDR"), "rtx-pro-6000"),
    "Ampere GDDR": "rtx-pro-6000",
}
_SHARES = ("compute", "memory", "quantise_memory", "link", "small", "outside", "by_tokens", "whole", "absent")
SHARED = ("scores", "choice", "sparse")  # forms of kernels that engines take from the same libraries
_AMOUNT = number(0, 1e15)
ERRORS = ("rows", "median", "mean", "other_gpu")  # of a Fitted, in the order in which `errors` of a file has them
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
    errors = {"errors": several(_AMOUNT, len(ERRORS)) | {"min_length": len(ERRORS) - 1}}
    also = {"left_out": whole(0, 10**9)}
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
    values = {name: value for name, value in fit.items() if name != "errors"}
    values |= dict(zip(ERRORS, fit["errors"], strict=False))  # only families have the last
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
