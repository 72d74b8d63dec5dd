"""A result in a notebook: a line and a small table, without anything to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from llmcost.ground.units import significant

MOST_ROWS = 30  # of a table; how many more there are is said below it


def html_table(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Rows that have the same keys, under a title (a result's `repr`)."""
    text = f"<p>{escape(title.strip('<>'))}</p>"
    if not rows:
        return text
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in rows[:MOST_ROWS])
    more = f"<p>and {len(rows) - MOST_ROWS:,} more</p>" if len(rows) > MOST_ROWS else ""
    return f"{text}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool | str):
        return f'<td style="text-align: left">{escape(str(value))}</td>'
    shown = f"{value:,}" if isinstance(value, int) else significant(value) if isinstance(value, float) else str(value)
    return f'<td style="text-align: right">{escape(shown)}</td>'
