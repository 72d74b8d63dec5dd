"""VPTQ (arXiv 2409.17066): the bytes of each linear layer, by the sizes that the config has for it.

What a layer stores: vptq/layers/vqlinear.py of the package vptq.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from llmcost.ground.algebra import ceil_div
from llmcost.specs.importer.keys import Keys

NUMBERS = ("group_num", "group_size", "in_features", "out_features", "outlier_size")
PAIRS = ("vector_lens", "num_centroids", "num_res_centroids")
LARGEST = 2**40
PREFIX = ("model.layers.", "model.language_model.layers.", "layers.")


class NoLayerError(Exception):
    """What is said of a layer is not what VPTQ writes."""


def _sizes(said: Any) -> dict[str, Any]:
    """The sizes of a layer: numbers, and pairs of them for outliers and for all else. Raises NoLayerError."""
    if not isinstance(said, dict):
        raise NoLayerError
    numbers: list[Any] = [said.get(name) for name in NUMBERS]
    pairs: list[Any] = [said.get(name) for name in PAIRS]
    if not all(type(each) is int and 0 <= each < LARGEST for each in numbers):
        raise NoLayerError
    for pair in pairs:
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(type(each) is int and each < LARGEST for each in pair)
        ):
            raise NoLayerError
    if pairs[0][1] < 1 or pairs[1][1] < 1 or not numbers[2] or not numbers[3]:
        raise NoLayerError
    return said


def bits_of_layer(said: Any) -> tuple[int, int]:
    """Bits of a layer's indices, centroids, scales and order of channels; and its weights. Raises NoLayerError."""
    sizes = _sizes(said)
    groups, size, k, n, outliers = (sizes[name] for name in NUMBERS)
    (wide, length), (far, centroids), (_, residual) = (sizes[name] for name in PAIRS)
    index = (centroids - 1).bit_length() + ((residual - 1).bit_length() if residual > 0 else 0)
    bits = groups * ceil_div(n, length) * ceil_div(size * index, 32) * 32  # packed in words of 32
    bits += 16 * groups * length * (centroids + max(0, residual))
    if wide > 1 and far > 0:
        bits += 16 * far * wide + 16 * ceil_div(n, wide) * outliers
    bits += 16 * k * (bool(sizes.get("enable_perm")) + 2 * bool(sizes.get("enable_norm")))
    return int(bits), k * n


def usual_bits(said: dict[str, Any]) -> str:
    """The bits a weight of most layers, in whole ones, as the name of a format; "" where there are none."""
    layers = said.get("config_for_layers")
    found: Counter[int] = Counter()
    for each in layers.values() if isinstance(layers, dict) else ():
        try:
            bits, weights = bits_of_layer(each)
        except NoLayerError:
            return ""
        found[min((2, 3, 4, 8), key=lambda whole: abs(whole - bits / weights))] += weights
    return f"int{found.most_common(1)[0][0]}-channel" if found else ""


def formats_of(keys: Keys, said: dict[str, Any], parts: list[dict[str, dict[str, tuple[str, ...]]]]) -> list[list[str]]:
    """Every operator of each layer with its bits and weights. Raises SpecError where a part of one is not quantised."""
    by_position: dict[str, dict[str, tuple[int, int]]] = {}
    for name, layer in said["config_for_layers"].items():
        number, _, inside = _without_prefix(name).partition(".")
        by_position.setdefault(number, {})[inside.rpartition(".")[2]] = bits_of_layer(layer)
    found: list[list[str]] = []
    for position, modules in enumerate(parts):
        known, own = by_position.get(str(position), {}), []
        for operator, namings in (pair for operators in modules.values() for pair in operators.items()):
            inside_it = [known.get(each) for each in namings[0].split()]
            if None in inside_it or "experts" in modules:
                problem = f"says nothing of a part of {operator} of layer {position}"
                raise keys.error("quantization_config.config_for_layers", problem)
            bits, weights = (sum(each[place] for each in inside_it if each) for place in (0, 1))
            own.append(f"{operator}={bits}/{weights}bit")
        found.append(own)
    return found


def _without_prefix(name: str) -> str:
    """The name of a layer from its number on."""
    return next((name.removeprefix(prefix) for prefix in PREFIX if name.startswith(prefix)), name)
