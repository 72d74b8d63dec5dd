"""What an engine leaves of the memory beside weights and KV cache by a rule of its own, as data: SGLang's.

SGLang sizes its cache so that weights and cache take a share of the memory, `mem_fraction_static`. Unless told
otherwise it computes that share from what activations, CUDA graphs and GPUs that work together may need: a sum of terms
(`reserve`), then factors for some GPUs and models (`times`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llmcost.ground.units import parse_quantity
from llmcost.specs.reader import Document
from llmcost.specs.schema import FLAG, SIZE, TEXT, Schema, choice, number, record, several

EACH = {
    "chunk": "tokens of prompts that run at a time, on all ranks that share experts",
    "captures": "the largest batch that CUDA graphs are captured for",
    "prompt_captures": "lengths of prompts that CUDA graphs are captured for",
    "server_gpus": "GPUs of one server",
    "sharing_ranks": "data-parallel ranks that share experts",
}
WHEN = {
    "sharing": "data-parallel ranks share experts",
    "graphs": "CUDA graphs are used",
    "one stage": "there is one pipeline stage",
    "latents": "the cache keeps latents (MLA)",
    "no latents": "it keeps keys and values",
    "deepep": "tokens go to experts by DeepEP",
    "mtp": "a layer of the model's own guesses tokens",
    "draft model": "another model guesses tokens",
    "tower": "the model has a tower that sees",
    **{vendor: f"the GPU is of {vendor}" for vendor in ("NVIDIA", "AMD", "Intel")},
}

_IF = {"when": several(choice(*WHEN)), "note": TEXT}
_TERM = record(
    required={"value": TEXT, "source": TEXT},
    optional={
        **_IF,
        "each": several(choice(*EACH)),
        "least": SIZE,
        "above": SIZE,
        "memory_above": TEXT,
        "floor": FLAG,
    },
)
_TOWER = record(
    required={
        **dict.fromkeys(("layers", "hidden_size"), SIZE),
        **dict.fromkeys(("slope", "least", "most"), number(0, 10)),
    },
    optional={},
)
_FACTOR = record(
    required={"value": number(0, 1, above=True), "source": TEXT},
    optional={**_IF, "context_above": SIZE, "tower": _TOWER},
)
_CAPTURED = record(
    required={"value": several(several(SIZE, most=3) | {"min_length": 2}), "source": TEXT}, optional={"note": TEXT}
)
RESERVE: Schema = record(
    required={"reserve": several(_TERM) | {"min_length": 1}},
    optional={
        "times": several(_FACTOR),
        "prompt_captures": _CAPTURED,
        "captures_running": record(required={"value": FLAG, "source": TEXT}, optional={"note": TEXT}),
    },
)


class Term(NamedTuple):
    """Bytes of the reserve, `each` time so many as the product of these (EACH) says, where all of WHEN hold.

    `least`: tokens of a chunk that count at least. `above`: largest batches of captured graphs above which it counts.
    `memory_above`: bytes of a GPU's memory above which it counts. `floor`: the terms before it are at least so many.
    """

    bytes: float
    each: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    least: int = 0
    above: int = 0
    memory_above: float = 0
    floor: bool = False


class TowerFactor(NamedTuple):
    """A factor that falls by `slope` for every tower of this size (layers times the square of the width) beyond one.

    Between `least` and `most`.
    """

    layers: int
    hidden_size: int
    slope: float
    least: float
    most: float


class Factor(NamedTuple):
    """What the share is multiplied by where all of WHEN hold and requests may be longer than `context_above` tokens."""

    value: float
    when: tuple[str, ...] = ()
    context_above: int = 0
    tower: TowerFactor | None = None


class StaticShare(NamedTuple):
    """The rule by which an engine finds the share of the memory that weights and cache take.

    `prompt_captures`: lengths of prompts that graphs are captured for, from, to and in steps of so many tokens; the
    last without an end. `captures_running`: graphs are captured for no more requests than may run at a time.
    """

    reserve: tuple[Term, ...]
    times: tuple[Factor, ...] = ()
    prompt_captures: tuple[tuple[int, ...], ...] = ()
    captures_running: bool = False


Taken = Callable[[tuple[Any, ...], dict[str, Any]], Any]  # notes a figure with its source and gives it back


def static_share_from(document: Document, fields: dict[str, Any] | None, taken: Taken) -> StaticShare | None:
    """The rule that validated fields describe. Raises SpecError for another unit, and what `taken` raises."""
    if fields is None:
        return None
    name = "mem_fraction_static"

    def quantity(path: tuple[Any, ...], text: str) -> float:
        try:
            return float(parse_quantity(text, "B"))
        except ValueError as error:
            raise document.error(path, str(error)) from None

    terms = []
    for at, each in enumerate(fields["reserve"]):
        path = (name, "reserve", at)
        taken(path, each)
        above = quantity((*path, "memory_above"), each["memory_above"]) if "memory_above" in each else 0.0
        terms.append(
            Term(
                quantity((*path, "value"), each["value"]),
                each=tuple(each.get("each", ())),
                when=tuple(each.get("when", ())),
                least=each.get("least", 0),
                above=each.get("above", 0),
                memory_above=above,
                floor=each.get("floor", False),
            )
        )
    factors = []
    for at, each in enumerate(fields.get("times", ())):
        tower = TowerFactor(**each["tower"]) if "tower" in each else None
        value = taken((name, "times", at), each)
        when = {*each.get("when", ()), *(("tower",) if tower else ())}  # without a tower there is no size of one
        factors.append(Factor(value, tuple(sorted(when)), each.get("context_above", 0), tower))
    captured: list[list[int]] = []
    if "prompt_captures" in fields:
        captured = taken((name, "prompt_captures"), fields["prompt_captures"])
    of_running = "captures_running" in fields and taken((name, "captures_running"), fields["captures_running"])
    return StaticShare(tuple(terms), tuple(factors), tuple(map(tuple, captured)), of_running)
