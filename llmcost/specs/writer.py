"""Writing specs: a document as YAML that reads back as the same document."""

from __future__ import annotations

from typing import Any

import yaml

from llmcost.specs.reader import EXPONENT, TAGS, Document


class OneLine(dict[str, Any]):
    """A mapping that is written in one line: a row of a table."""


class _Writer(yaml.SafeDumper):
    """YAML's own, which knows such rows."""


_Writer.add_representer(
    OneLine, lambda writer, row: writer.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
)
_Writer.add_implicit_resolver(f"{TAGS}float", EXPONENT, list("-+0123456789"))  # so that such a text is quoted


def spec_text(document: Document) -> str:
    """The text of a spec file with the document's data, its fields in the order in which they came."""
    return yaml.dump(document.data, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)
