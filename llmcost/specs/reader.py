"""YAML in, plain data out, with the line of every key.

PyYAML alone keeps the last of two equal keys, reads `1e9` as text and `12:30` as 750, expands aliases without bound and
forgets the lines. A spec is small and plain. So here duplicates, aliases and tags are refused, and a number is a number
only if it looks like one.
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
DEEPEST = 20  # mappings and lists inside each other
LONGEST_KEY = 100  # characters
Key = str | int  # of a mapping, or a position in a list
TAGS = "tag:yaml.org,2002:"
_NUMBER = {"int": re.compile(r"[-+]?\d{1,40}"), "float": re.compile(r"[-+]?(\d{1,40}\.\d*|\.\d+)([eE][-+]?\d{1,3})?")}

EXPONENT = re.compile(r"[-+]?\d{1,40}[eE][-+]\d{1,3}$")  # 2e-5: a number in YAML 1.2 and Python, text in PyYAML


class Document(NamedTuple):
    """A file's data, and the line at which each path of keys stands.

    Data may have been made from a file that has other keys, as a spec is from a config.json. Then `origin` gives, for a
    path of the data, the key of that file that it comes from, and its line.
    """

    file: str
    data: dict[str, Any]
    lines: dict[tuple[Key, ...], int]
    origin: Callable[[tuple[Key, ...]], tuple[str, int]] | None = None

    def error(self, path: tuple[Key, ...], problem: str) -> SpecError:
        """A problem at a path, as an error with the line of that path or of its nearest parent that has one."""
        if self.origin is not None:
            key, line = self.origin(path)
            return SpecError(self.file, line, key, problem)
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return SpecError(self.file, self.lines.get(known, 0), ".".join(str(key) for key in path), problem)


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """The text of a UTF-8 file of at most so many bytes, without a mark of byte order, as Windows begins files with.

    Raises SpecError for anything else.
    """
    file = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a folder, or a pipe, which would be waited for
            raise SpecError(file, 0, "", "not a file")
        if status.st_size > largest:
            raise SpecError(file, 0, "", f"a spec of {status.st_size:,} bytes: at most {largest:,} are read")
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise SpecError(file, 0, "", "no such file") from None
    except UnicodeDecodeError as error:
        raise SpecError(file, 0, "", f"not a text file (byte {error.start} is not UTF-8)") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SpecError(file, 0, "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_yaml(path: Path) -> Document:
    """The document of a YAML file that holds one mapping. Raises SpecError, with the line, for anything else."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, file: str) -> Document:
    """The document of a YAML text that holds one mapping; `file` is what messages call it. Raises SpecError."""
    node = _composed(text, file)
    if node is None:
        raise SpecError(file, 0, "", "the file is empty")
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(file, node.start_mark.line + 1, "", "expected a mapping of fields to values")
    document = Document(file, {}, {})
    document.data.update(_construct(document, node, (), set()))
    return document


def _composed(text: str, file: str) -> Any:
    """The tree of nodes that PyYAML makes of a text, in which every node has its line; None for an empty one."""
    try:
        _refuse_depth(text, file)
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = f"not valid YAML: {str(error.problem or error.context)[:120]}"
        if "nesting depth" in str(error.problem):  # the parser's own limit, which newer versions have
            problem = f"nested more than {DEEPEST} deep"
        raise SpecError(file, line, "", problem) from None
    except yaml.YAMLError as error:
        raise SpecError(file, 0, "", f"not valid YAML: {' '.join(str(error).split())[:120]}") from None
    except ValueError as error:
        raise SpecError(file, 0, "", f"not valid YAML: {error}") from None


def _refuse_depth(text: str, file: str) -> None:
    """Refuse a text that is nested too deep before it is composed: composing 100,000 brackets ends the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise SpecError(file, line, "", f"nested more than {DEEPEST} deep")


def _construct(document: Document, node: Any, path: tuple[Key, ...], seen: set[int]) -> Any:
    """The plain data of a node; the lines of it and of everything in it are written into the document.

    `seen` has the nodes that came before: a node that comes again is an alias.
    """
    if id(node) in seen:
        raise document.error(path, "anchors and aliases are not used in specs: write the value out")
    document.lines.setdefault(path, node.start_mark.line + 1)
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(document, node, path)
    if node.tag not in (f"{TAGS}seq", f"{TAGS}map"):
        raise document.error(path, f"the tag {node.tag[:80]!r} is not used in specs")
    if isinstance(node, yaml.SequenceNode):
        return [_construct(document, item, (*path, position), seen) for position, item in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _key(document, key_node, path)
        if key in mapping:
            raise _at(document, key_node, (*path, key), "this key stands twice")
        document.lines[(*path, key)] = key_node.start_mark.line + 1
        _scalar(document, key_node, (*path, key))  # refuses a tag
        mapping[key] = _construct(document, value_node, (*path, key), seen)
    return mapping


def _key(document: Document, node: Any, path: tuple[Key, ...]) -> str:
    """The key of a mapping at a path, a short word. Raises SpecError for anything else."""
    key = node.value
    if not isinstance(node, yaml.ScalarNode) or not (key and key.isprintable() and len(key) <= LONGEST_KEY):
        raise _at(document, node, path, "a key must be a plain word")
    return str(key)


def _at(document: Document, node: Any, path: tuple[Key, ...], problem: str) -> SpecError:
    """A problem at a path, as an error with the line of a node that may stand elsewhere."""
    return SpecError(document.file, node.start_mark.line + 1, ".".join(map(str, path)), problem)


def _scalar(document: Document, node: Any, path: tuple[Key, ...]) -> Any:
    """The value of a scalar: null, true or false, a number that looks like one; anything else is text, as written."""
    kind = node.tag.removeprefix(TAGS)
    if kind == "str":
        exponent = not node.style and EXPONENT.fullmatch(node.value)
        return float(node.value) if exponent else node.value
    if kind == "null":
        return None
    if kind == "bool" and node.value.lower() in ("true", "false"):
        return node.value.lower() == "true"
    if kind in _NUMBER and _NUMBER[kind].fullmatch(node.value):
        return int(node.value) if kind == "int" else float(node.value)
    if kind in ("bool", "int", "float", "timestamp", "merge", "value"):
        return node.value  # `yes`, `12:30`, `0x10`, `2024-04-18`
    raise document.error(path, f"the tag {node.tag[:80]!r} is not used in specs")
