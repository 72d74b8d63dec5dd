"""What a checkpoint's files beside a config list, and whether it is what is counted: bytes, tensor by tensor.

`model.safetensors.index.json` has the bytes of all tensors and the file of each; the header of a safetensors file has
their types and shapes (huggingface.co/docs/safetensors, Format). Nothing else of the files is read. A list that cannot
be read is no reason to refuse the config: what is wrong with it is said.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.model.architecture import operators
from llmcost.model.counting import stored_bytes
from llmcost.model.sizes import Load, element_bytes
from llmcost.model.spec import ModelSpec
from llmcost.specs.json_text import loaded

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
LARGEST_INDEX = 100_000_000  # bytes; Kimi K2's has 20 million
LARGEST_HEADER = 100_000_000  # the library's own limit
MOST_FILES = 2_000
POINTER = b"version https://git-lfs"  # what stands in the place of a large file that was not fetched
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d{1,6})\.")
DRAFT = re.compile(r"(?:^|\.)(mtp|nextn|mtp_layers|eh_proj)\b")
ENCODER = re.compile(r"vis|audio|multi_modal|projector|merger|image_newline|speech")
BUFFER = re.compile(
    r"inv_freq|masked_bias|\.attn\.bias$|\.attention\.bias$|num_batches_tracked|\.weight_format$|_absmax$"
)
SCALE = re.compile(r"scale|scales|zeros|absmax|quant|SCB|g_idx")


class Listed(NamedTuple):
    """One tensor of a listing: its bytes, elements and bits an element; None where only its name is known."""

    bytes: int | None = None
    elements: int | None = None
    bits: int | None = None


class Listing(NamedTuple):
    """The tensors that a checkpoint's files list, and the bytes of all, None where no file says them."""

    file: str
    bytes: int | None
    tensors: dict[str, Listed]


class Comparison(NamedTuple):
    """A count of a checkpoint's bytes beside those that its files list; `said`: in words, with what explains them."""

    counted_bytes: int
    listed_bytes: int
    listing: str
    said: str

    @property
    def equal(self) -> bool:
        """Whether they are the same to the last byte."""
        return self.counted_bytes == self.listed_bytes


def compared(config: Path, model: ModelSpec) -> Comparison | str | None:
    """The bytes of a model beside those that files next to its config list.

    None where there are no such files, or the format of the weights is not known; words where they cannot be read.
    """
    if model.unread:
        return None
    try:
        found = listing_beside(config)
        if found is None or found.bytes is None:
            return None
        dtype = model.dtype
        whole = operators(model, element_bytes(model.weight_format or dtype, dtype, dtype), Load(1, 1, 1))
        counted = round(stored_bytes(whole))
        if counted != found.bytes:
            found = with_headers(config, found)
    except (SpecError, OSError) as error:
        return f"cannot be compared with the checkpoint's files: {error}"
    return Comparison(counted, found.bytes or 0, found.file, _in_words(model, counted, found))


def listing_beside(config: Path) -> Listing | None:
    """What the files beside a config list; None where there are none that can be read. Raises SpecError."""
    index, single = config.with_name(INDEX), config.with_name(SINGLE)
    if _is_there(index):
        return _of_index(index)
    if _is_there(single):
        return _whole(single.name, [single])
    return None


def with_headers(config: Path, listing: Listing) -> Listing:
    """The listing with the bytes of each tensor, where all the files that it names are there. Raises SpecError."""
    if listing.file != INDEX:
        return listing
    files = sorted({config.with_name(name) for name in _files_of(config.with_name(INDEX))})
    if len(files) > MOST_FILES or not all(map(_is_there, files)):
        return listing
    return _whole(listing.file, files)._replace(bytes=listing.bytes)


def _is_there(path: Path) -> bool:
    """Whether a file is there, and not the pointer that stands for one that was not fetched."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(POINTER)) != POINTER
    except (OSError, ValueError):
        return False


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    """The JSON object of a file or of its header. Raises SpecError."""
    try:
        found = loaded(text)
    except ValueError as error:
        raise SpecError(str(path), 0, "", f"not usable: {shortened(str(error))}") from None
    if not isinstance(found, dict):
        raise SpecError(str(path), 0, "", "expected an object of keys and values")
    return found


def _index(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_INDEX:
        raise SpecError(str(path), 0, "", f"{path.stat().st_size:,} bytes: at most {LARGEST_INDEX:,} are read")
    return _parsed(path, path.read_bytes())


def _files_of(path: Path) -> set[str]:
    """The files that an index names, in its own folder."""
    named = _index(path).get("weight_map")
    files = {name for name in named.values() if isinstance(name, str)} if isinstance(named, dict) else set()
    return {name for name in files if re.fullmatch(r"[\w.-]{1,200}", name)}


def _of_index(path: Path) -> Listing:
    """The listing of an index: its total, and the names of tensors."""
    data = _index(path)
    metadata, named = data.get("metadata"), data.get("weight_map")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():  # some libraries write one so
        total = int(total)
    if total is not None and (type(total) is not int or not 0 <= total < 2**60):
        raise SpecError(str(path), 0, "metadata.total_size", f"expected bytes, got {shortened(str(total))}")
    if not isinstance(named, dict):
        raise SpecError(str(path), 0, "weight_map", "expected an object with the file of every tensor")
    return Listing(INDEX, total or None, dict.fromkeys(map(str, named), Listed()))


def _whole(name: str, files: Iterable[Path]) -> Listing:
    """The listing that the headers of files are together."""
    tensors: dict[str, Listed] = {}
    for file in files:
        tensors |= header_of(file)
    return Listing(name, sum(each.bytes or 0 for each in tensors.values()), tensors)


def header_of(path: Path) -> dict[str, Listed]:
    """The tensors of one safetensors file. Raises SpecError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER, size - 8):
            problem = f"a header of {length:,} bytes in a file of {size:,}: at most {LARGEST_HEADER:,} are read"
            raise SpecError(str(path), 0, "", problem)
        header = _parsed(path, file.read(length))
    return {name: _tensor(path, name, said) for name, said in header.items() if name != "__metadata__"}


def _tensor(path: Path, name: str, said: Any) -> Listed:
    """One entry of a header: its type, shape and place have to go together."""
    given: dict[str, Any] = said if isinstance(said, dict) else {}
    kind, shape, place = given.get("dtype"), given.get("shape"), given.get("data_offsets")
    sizes = isinstance(shape, list) and all(type(each) is int and 0 <= each < 2**50 for each in shape)
    placed = isinstance(place, list) and len(place) == 2 and all(type(each) is int for each in place)
    if (
        not isinstance(kind, str)
        or kind not in BITS
        or not isinstance(shape, list)
        or not isinstance(place, list)
        or not (sizes and placed)
    ):
        raise SpecError(str(path), 0, shortened(name), "expected a dtype that is known, a shape and two data_offsets")
    elements = prod(shape)
    found = Listed(place[1] - place[0], elements, BITS[kind])
    if found.bytes != -(-elements * BITS[kind] // 8):
        raise SpecError(str(path), 0, shortened(name), f"{found.bytes:,} bytes for {elements:,} elements of {kind}")
    return found


def _in_words(model: ModelSpec, counted: int, found: Listing) -> str:
    """Whether the listing is what is counted, or by what it differs."""
    listed = found.bytes or 0
    if listed == counted:
        return f"{found.file} lists {listed:,} bytes, as counted"
    more = listed - counted
    said = f"{found.file} lists {listed:,} bytes, {abs(more):,} {'more' if more > 0 else 'fewer'} than the {counted:,}"
    causes = _causes(model, found)
    explained = sum(size for _, size in causes.values())
    parts = [
        f"{what}, {names[0]} and the like ({len(names):,} tensors{f', {size:,} bytes' if size else ''})"
        for what, (names, size) in causes.items()
    ]
    left = more - explained
    if parts and explained and left:
        parts.append(f"{abs(left):,} bytes {'more' if left > 0 else 'fewer'} that nothing here explains")
    return f"{said} counted" + (f": {'; '.join(parts)}" if parts else "")


def _causes(model: ModelSpec, found: Listing) -> dict[str, tuple[list[str], int]]:
    """Tensors of a listing that are not counted, or wider than counted, by the reason; bytes beyond the count."""
    wide = 32 if model.dtype != "fp32" else 64
    causes: dict[str, tuple[list[str], int]] = {}
    for name, tensor in found.tensors.items():
        layer = LAYER.search(name)
        encoder = ENCODER.search(name)
        size = tensor.bytes or 0
        if DRAFT.search(name) or (layer and not encoder and int(layer[1]) >= model.num_hidden_layers):
            what = "layers that draft further tokens"
        elif encoder and not model.towers:
            what = "encoders, which are left out"
        elif model.tie_word_embeddings and name.endswith("lm_head.weight"):
            what = "an LM head that is the embedding once more"
        elif BUFFER.search(name):
            what = "buffers, which are no parameters"
        elif tensor.bits == wide and not SCALE.search(name) and tensor.elements:
            what, size = f"weights in {wide} bits", tensor.elements * wide // 16
        else:
            continue
        names, so_far = causes.get(what, ([], 0))
        causes[what] = ([*names, name] if len(names) < 100_000 else names, so_far + size)
    return causes
