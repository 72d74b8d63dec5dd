"""YAML in, plain data out, with the line of every key; nothing that a spec should not hold gets through.

PyYAML alone keeps the last of two equal keys, reads `1e9` as text and `12:30` as 750, expands aliases
without bound and forgets the lines. A spec is small and plain, so here duplicates, aliases and tags are
refused, and a number is a number only if it looks like one.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llmcost.ground.errors import SpecError

try:
    from yaml import CSafeLoader as _Loader  # the C parser, ten times faster, where PyYAML was built with it
except ImportError:  # pragma: no cover
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

LARGEST_FILE = 1_000_000  # bytes; the largest shipped spec has 5,000
DEEPEST = 20
LONGEST_KEY = 100
Key = str | int
_NUMBER = {"int": re.compile(r"[-+]?\d{1,40}"), "float": re.compile(r"[-+]?(\d{1,40}\.\d*|\.\d+)([eE][-+]?\d{1,3})?")}


class Document(NamedTuple):
    """A file's data, and where in the file each path of keys stands.

    Where the data was made from a file of other keys, `origin` says which key of that file a path comes from, and its
    line.
    """

    file: str
    data: dict[str, Any]
    lines: dict[tuple[Key, ...], int]
    origin: Callable[[tuple[Key, ...]], tuple[str, int]] | None = None

    def error(self, path: tuple[Key, ...], problem: str) -> SpecError:
        """The problem at that path, with the line of its nearest parent that has one."""
        if self.origin is not None:
            key, line = self.origin(path)
            return SpecError(self.file, line, key, problem)
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return SpecError(self.file, self.lines.get(known, 0), ".".join(str(key) for key in path), problem)


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """The text of a small UTF-8 file; SpecError if it is anything else."""
    file = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # nor is a pipe, which would be waited for
            raise SpecError(file, 0, "", "not a file")
        if status.st_size > largest:
            raise SpecError(file, 0, "", f"a spec of {status.st_size:,} bytes: at most {largest:,} are read")
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SpecError(file, 0, "", "no such file") from None
    except UnicodeDecodeError as error:
        raise SpecError(file, 0, "", f"not a text file (byte {error.start} is not UTF-8)") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SpecError(file, 0, "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_yaml(path: Path) -> Document:
    """Read one YAML mapping. Raises SpecError, with the line, for whatever is not one."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, file: str) -> Document:
    """The same from text; `file` is what messages call it."""
    try:
        _refuse_depth(text, file)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        too_deep = "nesting depth" in str(error.problem)  # the parser's own limit, which newer versions have
        problem = (
            f"nested more than {DEEPEST} deep" if too_deep else f"not valid YAML: {error.problem or error.context}"
        )
        raise SpecError(file, line, "", problem) from None
    except yaml.YAMLError as error:
        raise SpecError(file, 0, "", f"not valid YAML: {' '.join(str(error).split())[:120]}") from None
    except ValueError as error:
        raise SpecError(file, 0, "", f"not valid YAML: {error}") from None
    document = Document(file, {}, {})
    if node is None:
        raise SpecError(file, 0, "", "the file is empty")
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(file, node.start_mark.line + 1, "", "expected a mapping of fields to values")
    document.data.update(_construct(document, node, (), set()))
    return document


def _refuse_depth(text: str, file: str) -> None:
    """Before composing, which recurses: 100,000 brackets take the C parser's process down."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise SpecError(file, line, "", f"nested more than {DEEPEST} deep")


def _construct(document: Document, node: Any, path: tuple[Key, ...], seen: set[int]) -> Any:
    if id(node) in seen:
        raise document.error(path, "anchors and aliases are not used in specs: write the value out")
    document.lines.setdefault(path, node.start_mark.line + 1)
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(document, node, path)
    if node.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise document.error(path, f"the tag {node.tag!r} is not used in specs")
    if isinstance(node, yaml.SequenceNode):
        return [_construct(document, item, (*path, position), seen) for position, item in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or not (key and key.isprintable() and len(key) <= LONGEST_KEY):
            raise SpecError(document.file, line, ".".join(map(str, path)), "a key must be a plain word")
        if key in mapping:
            raise SpecError(document.file, line, ".".join(map(str, (*path, key))), "this key stands twice")
        document.lines[(*path, key)] = line
        _scalar(document, key_node, (*path, key))  # refuses a tag
        mapping[key] = _construct(document, value_node, (*path, key), seen)
    return mapping


def _scalar(document: Document, node: Any, path: tuple[Key, ...]) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "str":
        return node.value
    if kind == "null":
        return None
    if kind == "bool" and node.value.lower() in ("true", "false"):
        return node.value.lower() == "true"
    if kind in _NUMBER and _NUMBER[kind].fullmatch(node.value):
        return int(node.value) if kind == "int" else float(node.value)
    if kind in ("bool", "int", "float", "timestamp", "merge", "value"):
        return node.value  # `yes`, `12:30`, `0x10`, `2024-04-18`: text, as written
    raise document.error(path, f"the tag {node.tag!r} is not used in specs")
