"""Two mixers beside each other on the same input, their outputs added (Falcon H1, arXiv 2507.22448)."""

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

from llmcost.model.blocks.builder import Builder
from llmcost.model.operators import Operator


def beside(*kinds: Any) -> Any:
    """The block that runs these kinds on the same input. Its fields are all of theirs."""
    types = {field: kind.__annotations__[field] for kind in kinds for field in kind._fields}
    defaults = {field: value for kind in kinds for field, value in kind._field_defaults.items()}
    fields = sorted(types, key=lambda field: field in defaults)  # those without a default first

    class Beside(namedtuple("Beside", fields, defaults=[defaults[field] for field in fields if field in defaults])):  # type: ignore[misc]  # noqa: PYI024
        __slots__ = ()
        __annotations__ = types

        def operators(self, build: Builder) -> Iterator[Operator]:
            """The kernels of one after those of the other; the residual addition takes their sum."""
            for kind in kinds:
                yield from kind(*(getattr(self, field) for field in kind._fields)).operators(build)

    return Beside
