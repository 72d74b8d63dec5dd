"""Tables of hashed n-grams: each head has as many rows as the next prime number says (Qwen4-Exp)."""

from __future__ import annotations

from math import isqrt
from typing import Any

from llmcost.specs.importer.keys import Keys

MOST_HEADS = 1_000  # of all layers together
LARGEST_BASE = 10**9


def rows_of(keys: Keys) -> int:
    """Rows of all layers' tables, each with a multiple of `make_ngram_vocab_size_divisible_by`. Raises SpecError.

    Heads are counted through all layers: the n-th has the n-th prime from `ngram_vocab_size_base` on.
    (github.com/huggingface/transformers, src/transformers/models/qwen4_exp/modeling_qwen4_exp.py)
    """
    layers = _layers(keys)
    size, each = _above(keys, "ngram_size", 1), _above(keys, "heads_per_ngram", 0)
    base, multiple = _above(keys, "ngram_vocab_size_base", 0), _above(keys, "make_ngram_vocab_size_divisible_by", 0)
    heads = (size - 1) * each
    width = keys.get("ple_embed_dim") or keys.number("hidden_size")
    if not isinstance(width, int) or width % heads:
        raise keys.error("ple_embed_dim", f"expected a multiple of {heads}, the heads of all n-grams, got {width}")
    if layers * heads > MOST_HEADS or base > LARGEST_BASE:
        raise keys.error("ngram_vocab_size_base", f"{layers * heads:,} tables from {base:,} rows on are too many")
    primes = _primes(base, layers * heads)
    tables = (sum(primes[at : at + heads]) for at in range(0, layers * heads, heads))
    return sum(-(-rows // multiple) * multiple for rows in tables)


def _layers(keys: Keys) -> int:
    """How many layers have tables."""
    listed, depth = keys.get("ple_layer_ids"), keys.number("num_hidden_layers")
    if not isinstance(listed, list) or not all(type(each) is int and 1 <= each <= depth for each in listed):
        raise keys.error("ple_layer_ids", f"expected a list of layers from 1 to {depth}")
    return len(set(listed))


def _above(keys: Keys, key: str, least: int) -> int:
    value: Any = keys.get(key)
    if type(value) is not int or value <= least:
        raise keys.error(key, f"expected a whole number above {least}, got {str(value)[:40]}")
    return int(value)


def _primes(start: int, count: int) -> list[int]:
    """So many prime numbers, from `start` on."""
    found: list[int] = []
    number = start
    while len(found) < count:
        if number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1)):
            found.append(number)
        number += 1
    return found
