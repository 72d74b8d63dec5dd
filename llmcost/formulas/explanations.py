"""The result of `llmcost explain`: explanations of one model's figures."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmcost.formulas.serving import Explanation
from llmcost.ground.html import html_table

SCHEMA = "llmcost.explain/1"
LONGEST = 80  # letters of a formula in a line that tells the value too


class Explanations(NamedTuple):
    """Everything that `llmcost explain` answers: one explanation a figure. `engine`: theirs; None: no GPU."""

    model: str
    explanations: tuple[Explanation, ...]
    engine: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        figures = [_document(each) for each in self.explanations]
        return {"schema": SCHEMA, "model": self.model, "engine": self.engine, "explanations": figures}

    def rows(self) -> list[dict[str, Any]]:
        """A row a figure: formula in letters, with sizes, value, unit, source."""
        columns = ("quantity", "what", "letters", "sizes", "value", "unit", "source")
        return [{name: getattr(each, name) for name in columns} for each in self.explanations]

    def __repr__(self) -> str:
        """The figure, its formula and value in one line; of several figures, how many they are."""
        if len(self.explanations) != 1:
            return f"<{len(self.explanations)} explanations of {self.model}>"
        only = self.explanations[0]
        value = f"{only.value:,.6g}" if isinstance(only.value, float) else f"{only.value:,}"
        formula = f" = {only.letters}" if len(only.letters) <= LONGEST else ""
        return f"<{only.quantity} of {self.model}{formula} = {value} {only.unit}".rstrip() + ">"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def _document(each: Explanation) -> dict[str, Any]:
    where = [dict(zip(("name", "letters", "sizes", "value"), entry, strict=True)) for entry in each.where]
    legend = {letter: {"value": value, "meaning": meaning} for letter, (value, meaning) in each.legend.items()}
    figures = {name: value for name, value in each._asdict().items() if name != "formulas"}
    return figures | {
        "where": where,
        "legend": legend,
        "published": [entry._asdict() for entry in each.published],
        "parts": {name: [part._asdict() for part in parts] for name, parts in each.parts.items()},
    }
