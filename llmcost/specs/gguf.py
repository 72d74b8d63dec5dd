"""The header of a GGUF file: its metadata, and the name, shape and type of every tensor; the weights are not read.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count and length in it is checked against what the
file has and against a bound of its own before anything is read, so that a hostile file costs little time and memory.
"""

from __future__ import annotations

import mmap
import re
import stat
import struct
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.model.formats import format_of

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 1 had lengths of 32 bits, for some months of 2023
MOST_KEYS, MOST_TENSORS, MOST_STRINGS = 10_000, 200_000, 4_000_000  # Gemma's vocabulary and merges: 800,000 strings
LONGEST_NAME, LONGEST_KEPT = 1_000, 10_000  # bytes of a name; bytes or entries of a value that is kept
MOST_DIMENSIONS, MOST_ELEMENTS = 4, 2**50
ALIGNMENT = 32  # of the tensors' data, where the metadata say no other
STRING, ARRAY = 8, 9
# Types of metadata by number: how struct reads one. 8 is a string and 9 an array.
VALUES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Types of tensors by number: the format, and the weights of a block (enum ggml_type, ggml/include/ggml.h; block sizes
# as in ggml/src/ggml-common.h; both of github.com/ggml-org/llama.cpp).
TENSORS = {
    0: ("fp32", 1), 1: ("fp16", 1), 2: ("q4_0", 32), 3: ("q4_1", 32), 6: ("q5_0", 32), 7: ("q5_1", 32),
    8: ("q8_0", 32), 10: ("q2_k", 256), 11: ("q3_k", 256), 12: ("q4_k", 256), 13: ("q5_k", 256), 14: ("q6_k", 256),
    16: ("iq2_xxs", 256), 17: ("iq2_xs", 256), 18: ("iq3_xxs", 256), 19: ("iq1_s", 256), 20: ("iq4_nl", 32),
    21: ("iq3_s", 256), 22: ("iq2_s", 256), 23: ("iq4_xs", 256), 29: ("iq1_m", 256), 30: ("bf16", 1),
    34: ("tq1_0", 256), 35: ("tq2_0", 256), 39: ("gguf-mxfp4", 32), 40: ("gguf-nvfp4", 64),
    41: ("q1_0", 128),
}  # fmt: skip
SPLIT = re.compile(r"(.*-)(\d{5})-of-(\d{5})\.gguf")


class Texts(int):
    """How many texts a list has, which are not kept."""


class Tensor(NamedTuple):
    """One tensor: its sizes with the innermost first, and the format of its elements."""

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its data, scales and minima of blocks included."""
        form = format_of(self.format)
        assert form is not None
        return int(self.elements * form.bits_a_weight) // 8


class Header(NamedTuple):
    """What stands before the weights, of one file or of all parts of a split one.

    `metadata`: values by key; long texts are left out, long lists are their length. `without_data`: the file ends where
    the weights would begin.
    """

    file: str
    metadata: dict[str, Any]
    tensors: list[Tensor]
    without_data: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of all tensors' data, without padding between them."""
        return sum(tensor.bytes for tensor in self.tensors)


def read_header(path: Path) -> Header:
    """The header of a GGUF file; of one part of a split file, that of all parts. Raises SpecError."""
    first = _read(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return first
    named = SPLIT.fullmatch(path.name)
    if named is None or int(named[3]) != count:
        said = f"one of {count} parts of a model, whose names end in -00001-of-{count:05d}.gguf"
        raise SpecError(str(path), 0, "split.count", said)
    parts = [_part(path.with_name(f"{named[1]}{number:05d}-of-{named[3]}.gguf")) for number in range(1, count + 1)]
    whole = Header(parts[0].file, parts[0].metadata, [tensor for part in parts for tensor in part.tensors])
    said = whole.metadata.get("split.tensors.count", len(whole.tensors))
    if said != len(whole.tensors):
        raise SpecError(whole.file, 0, "split.tensors.count", f"says {said}, and the parts have {len(whole.tensors)}")
    _refuse_twice(whole.file, whole.tensors)
    return whole._replace(without_data=any(part.without_data for part in parts))


def _part(path: Path) -> Header:
    if not path.is_file():
        raise SpecError(str(path), 0, "", "no such file: a part of the model is missing")
    return _read(path)


def _read(path: Path) -> Header:
    """The header of one file."""
    file = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a folder, or a pipe, which would be waited for
            raise SpecError(file, 0, "", "not a file")
        with path.open("rb") as opened:
            if opened.read(len(MAGIC)) != MAGIC:
                raise SpecError(file, 0, "", "no GGUF file: it does not begin with the letters GGUF")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return Reader(file, data).header()
    except FileNotFoundError:
        raise SpecError(file, 0, "", "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SpecError(file, 0, "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _refuse_twice(file: str, tensors: Iterable[Tensor]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise SpecError(file, 0, shortened(tensor.name), "this tensor stands twice")
        seen.add(tensor.name)


class Reader:
    """One file while it is read, from its beginning on."""

    def __init__(self, file: str, data: mmap.mmap) -> None:
        self.file, self.data, self.size, self.place = file, data, len(data), len(MAGIC)
        self.strings = 0

    def header(self) -> Header:
        """Metadata and tensors. Raises SpecError."""
        (version,) = self.numbers("I", 1)
        if version not in VERSIONS:
            other_end = version.to_bytes(4, "big")
            big = int.from_bytes(other_end, "little") in VERSIONS
            problem = "written for big-endian machines" if big else f"version {version} of GGUF"
            raise self.error(f"{problem}; versions 2 and 3 for little-endian ones are read")
        tensors, keys = self.numbers("Q", 2)
        for count, most, what in ((tensors, MOST_TENSORS, "tensors"), (keys, MOST_KEYS, "keys of metadata")):
            if count > most:
                raise self.error(f"says that it has {count:,} {what}; at most {most:,} are read")
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self.name("a key")
            if key in metadata:
                raise self.error("this key stands twice", key)
            metadata[key] = self.value(key)
        infos = [self.tensor() for _ in range(tensors)]
        _refuse_twice(self.file, (tensor for tensor, _ in infos))
        return Header(self.file, metadata, [tensor for tensor, _ in infos], self.without_data(metadata, infos))

    def without_data(self, metadata: dict[str, Any], infos: list[tuple[Tensor, int]]) -> bool:
        """Whether the file ends with its header. Raises SpecError where it ends in the middle of the weights."""
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            raise self.error(f"expected bytes, got {shortened(str(alignment))}", "general.alignment")
        start = -(-self.place // alignment) * alignment
        end = max((start + offset + tensor.bytes for tensor, offset in infos), default=start)
        if start < self.size < end:
            problem = f"cut off: {self.size:,} of {end:,} bytes are there"
            raise self.error(f"{problem} (its first {self.place:,}, the header, can be read as a file of their own)")
        return self.size <= start < end

    def error(self, problem: str, field: str = "") -> SpecError:
        """The error that names the file, and the key or tensor that is wrong."""
        return SpecError(self.file, 0, field, problem)

    def taken(self, size: int, what: str) -> int:
        """Where the next so many bytes begin, which are passed. Raises SpecError where the file ends before."""
        place = self.place
        if size > self.size - place:
            raise self.error(f"cut off: {shortened(what)} of {size:,} bytes at byte {place:,} of {self.size:,}")
        self.place += size
        return place

    def numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        """So many numbers, as struct names their type."""
        form = f"<{count}{kind}"
        return struct.unpack_from(form, self.data, self.taken(struct.calcsize(form), "numbers"))

    def text(self, what: str) -> str | None:
        """A string; None of a long one."""
        (length,) = self.numbers("Q", 1)
        start = self.taken(length, what)
        if length > LONGEST_KEPT:
            return None
        return self.data[start : start + length].decode("utf-8", "replace")

    def name(self, what: str) -> str:
        """The name of a key or a tensor: a short string."""
        found = self.text(what)
        if not found or len(found) > LONGEST_NAME or not found.isprintable():
            raise self.error(f"{what} at byte {self.place:,} has no readable name")
        return found

    def value(self, key: str) -> Any:
        """A value of metadata: a number, a text or a list; of a long text None, of a long list its length."""
        (kind,) = self.numbers("I", 1)
        if kind == ARRAY:
            return self.array(key)
        if kind == STRING:
            return self.text(key)
        if kind not in VALUES:
            raise self.error(f"its value has the type {kind}, which GGUF does not know", shortened(key))
        return self.numbers(VALUES[kind], 1)[0]

    def array(self, key: str) -> Any:
        """A list of numbers or of texts; of a long one, and of all texts, its length."""
        (kind,) = self.numbers("I", 1)
        (count,) = self.numbers("Q", 1)
        if kind == STRING:
            self.pass_strings(count, key)
            return Texts(count)
        if kind not in VALUES:
            raise self.error(f"a list of the type {kind} is not understood", shortened(key))
        start = self.taken(struct.calcsize(f"<{VALUES[kind]}") * count, key)
        if count > LONGEST_KEPT:
            return count
        return list(struct.unpack_from(f"<{count}{VALUES[kind]}", self.data, start))

    def pass_strings(self, count: int, key: str) -> None:
        """Go past so many strings, of which none is read."""
        self.strings += count
        if self.strings > MOST_STRINGS:
            raise self.error(f"says that it has {count:,} texts; at most {MOST_STRINGS:,} are read", shortened(key))
        data, place, last = self.data, self.place, self.size - 8
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if place > last:
                break
            place += 8 + length_of(data, place)[0]
        else:
            last = self.size
        if place > last:
            raise self.error(f"cut off: its texts go beyond byte {self.size:,}, the last", shortened(key))
        self.place = place

    def tensor(self) -> tuple[Tensor, int]:
        """One tensor, and where its data begin behind the header."""
        name = self.name("a tensor")
        (dimensions,) = self.numbers("I", 1)
        if not 0 < dimensions <= MOST_DIMENSIONS:
            raise self.error(f"{dimensions:,} dimensions: at least 1 and at most {MOST_DIMENSIONS}", shortened(name))
        shape = self.numbers("Q", dimensions)
        (kind,) = self.numbers("I", 1)
        (offset,) = self.numbers("Q", 1)
        if not 0 < prod(shape) <= MOST_ELEMENTS:
            raise self.error(f"a size of {'×'.join(map(str, shape))} is out of reach", shortened(name))
        if kind not in TENSORS:
            raise self.error(f"its weights have the type {kind}, which is not known here", shortened(name))
        form, block = TENSORS[kind]
        if shape[0] % block:
            problem = f"rows of {shape[0]:,} do not divide into blocks of {block} weights, as {form} needs"
            raise self.error(problem, shortened(name))
        return Tensor(name, shape, form), offset
