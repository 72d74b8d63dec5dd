"""EXL2 and EXL3: the bits of every layer, by a list of what is stored, or the average that the config has.

The two give each linear layer bits of its own. A config has their average alone; `quantization_config.json`, which
EXL3 puts beside it, lists every tensor (exllamav3/conversion/quant_config.py).
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

from llmcost.model.formats import FORMATS
from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.layer_kernels import Packed
from llmcost.specs.importer.module_names import PARENTS, PREFIXES

FIELD = "quantization_config.tensor_storage"
LAYER = re.compile(r"layers\.(\d{1,6})\.(.+)")
EXPERT = re.compile(r"\bexperts\.\d+\.")
TILE = 256  # weights of a tile of EXL3: 16 inputs by 16 outputs (exllamav3/modules/quant/exl3.py)
LARGEST = 2**50
HEAD_BITS = 6  # what both take where nothing is said
Stored = tuple[int, int]  # bits and weights


def base_of(said: dict[str, Any]) -> str:
    """The format that is nearest to the average; "" for bits that none has."""
    bits = said.get("bits")
    if isinstance(bits, bool) or not isinstance(bits, int | float) or not 1 <= bits <= 8:
        return ""
    return f"{said['quant_method']}-{round(bits)}bit"


def is_average(said: dict[str, Any]) -> bool:
    """Whether the bytes of each layer are known by the average alone."""
    bits = said.get("bits")
    whole = said.get("quant_method") == "exl3" and isinstance(bits, int | float) and bits % 1 == 0
    return not whole and not said.get("tensor_storage")


def notes_of(said: dict[str, Any]) -> list[str]:
    """Notes for the spec: that bytes are those of an average."""
    if not is_average(said):
        return []
    method, bits = said["quant_method"].upper(), said.get("bits")
    return [f"{method} gives each layer bits of its own; what is counted is the average, {bits} bits a weight."]


def formats_of(keys: Keys, said: dict[str, Any], parts: list[dict[str, Packed]]) -> list[list[str]]:
    """Every operator of each layer with its bits: those of what is stored, or the average. Raises SpecError.

    EXL2's average holds for weights with their scales; EXL3's leaves out its scales of inputs and outputs, under 1 %.
    """
    if not said.get("tensor_storage"):
        average = f"{round(1000 * said['bits'])}/1000bit"
        return [[f"{name}={average}" for each in layer.values() for name in each] if is_average(said) else []
                for layer in parts]  # fmt: skip
    known = _by_layer(keys, said)
    parents = PARENTS | keys.family.get("modules", {})
    found: list[list[str]] = []
    for position, modules in enumerate(parts):
        own, stored = [], known.get(position, {})
        for module, operators in modules.items():
            for operator, namings in operators.items():
                kept = _kept(stored, parents[module].split(), namings)
                if kept is None:
                    raise keys.error(FIELD, f"says nothing of a part of {operator} of layer {position}")
                own.append(f"{operator}={kept[0]}/{kept[1]}bit")
        found.append(own)
    return found


def head_of(keys: Keys, said: dict[str, Any]) -> str:
    """The format of the LM head. Raises SpecError."""
    storage = said.get("tensor_storage")
    if storage and isinstance(head := storage.get("lm_head"), dict):
        bits, weights = _stored(keys, "lm_head", head)
        return f"lm_head={bits}/{weights}bit"
    head_bits = said.get("head_bits", HEAD_BITS)
    form = f"{said['quant_method']}-{head_bits if isinstance(head_bits, int) else f'{head_bits:g}'}bit" \
        if isinstance(head_bits, int | float) else ""  # fmt: skip
    if form not in FORMATS:
        raise keys.error("quantization_config.head_bits", f"expected whole bits, got {str(head_bits)[:40]}")
    return f"lm_head={form}"


def _by_layer(keys: Keys, said: dict[str, Any]) -> dict[int, dict[str, Stored]]:
    """What is stored of every module of each layer; that of all experts of a layer together."""
    storage = said["tensor_storage"]
    if not isinstance(storage, dict):
        raise keys.error(FIELD, "expected an object of modules")
    found: dict[int, dict[str, Stored]] = {}
    for name, module in storage.items():
        place = LAYER.fullmatch(next((name.removeprefix(each) for each in PREFIXES if name.startswith(each)), name))
        if place is None or not isinstance(module, dict) or not module.get("stored_tensors"):
            continue
        inside = EXPERT.sub("experts.0.", place[2])
        bits, weights = _stored(keys, name, module)
        before = found.setdefault(int(place[1]), {}).get(inside, (0, 0))
        found[int(place[1])][inside] = (before[0] + bits, before[1] + weights)
    return found


def _kept(stored: dict[str, Stored], parents: list[str], namings: tuple[str, ...]) -> Stored | None:
    """Bits and weights of the linear layers of one operator, by the first naming of which all are there."""
    for naming in namings:
        for parent in parents:
            inside = [stored.get(f"{parent}.{name}") for name in naming.split()]
            if None not in inside:
                return sum(each[0] for each in inside if each), sum(each[1] for each in inside if each)
    return None


def _stored(keys: Keys, name: str, module: dict[str, Any]) -> Stored:
    """Bits and weights of one module, by the tensors that it stores. Raises SpecError."""
    tensors = module.get("stored_tensors")
    listed = tensors.values() if isinstance(tensors, dict) else ()
    sizes: list[Any] = [each.get("n_bytes") if isinstance(each, dict) else None for each in listed]
    shapes: list[Any] = [each.get("shape") if isinstance(each, dict) else None for each in listed]
    whole = all(type(size) is int and 0 <= size < LARGEST for size in sizes)
    even = all(isinstance(shape, list) and all(type(n) is int and 0 <= n < LARGEST for n in shape) for shape in shapes)
    matrices = [shape for shape in shapes if even and shape and len(shape) > 1]
    if not whole or not even or len(matrices) != 1:
        raise keys.error(FIELD, f"{name[:80]}: expected n_bytes and shape of its tensors, of which one is a matrix")
    (shape,) = matrices
    weights = shape[0] * shape[1] * TILE if module.get("quant_format") == "exl3" else prod(shape)
    if not 0 < weights < LARGEST:
        raise keys.error(FIELD, f"{name[:80]}: the shape {shape} is out of reach")
    return 8 * sum(sizes), weights
