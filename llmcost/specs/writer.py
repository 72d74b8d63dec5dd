"""Writing specs: a document as YAML that reads back as the same document."""

from __future__ import annotations

import yaml

from llmcost.specs.reader import Document


def spec_text(document: Document) -> str:
    """The text of a spec file with the document's data, its fields in the order in which they came."""
    return yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True, width=120)
