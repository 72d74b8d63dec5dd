"""Judges by machine which keys of a config change no count, and writes them into harmless_keys.yaml.

    python tests/config_keys.py

Every key of every causal type's config class is varied, one at a time, and the reference is built on torch's meta
device at small sizes: a key is harmless if its parameters keep their names and shapes, in every type that has the key,
and with each flag of the type turned over as well. What parameters do not show is FLOPs and caches. So keys are left
out that an architecture reads in any type, and keys whose names say a size or a structure (SIZES_BY_NAME): those stand
in the file by hand, with a reason, or are not understood. It takes a quarter of an hour.
"""

import re
import signal
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from typing import Any

import torch
from small_configs import TYPES, default_config, small_config
from transformers import AutoModelForCausalLM

from llmcost.specs.importer.architectures import FOLDER, HARMLESS_KEYS, all_types, architecture
from llmcost.specs.importer.names import DRAFTS, LAYER_LISTS, SYNONYMS

SECTION = "By machine (tests/config_keys.py), the reference's parameters keep their names and shapes"
SIZES_BY_NAME = re.compile(
    "layers|heads|headdim|cycles|loop|window|local_attention|patch|prompt|prefix|encoder|mem|codebooks|groups|blocks|chunk"
    "|norm$|bias$|emb|ratio|states|top_k|topk|size$|rank|positions|len$|length|dim|multiplier$|distance|rotary|bins|context"
    "|attention$|sink|res_block"
)
LIBRARYS = ("model_type", "transformers_version", "architectures", "torch_dtype", "dtype")
SECONDS = 6  # of computing that building a small model may take
Shapes = dict[str, tuple[int, ...]]


def shapes(kind: str, **changes: Any) -> Shapes | None:
    """Names and shapes of the reference's parameters; None where it cannot be built so."""
    with suppress(Exception):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(small_config(kind, **changes), attn_implementation="eager")
            return {name: tuple(each.shape) for name, each in model.named_parameters()}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def variants(value: Any, others: list[Any]) -> list[Any]:
    """Other values of a key: of its own kind, and those that it has in other types."""
    others = [each for each in others if type(each) is not type(value) or each != value]
    alike = [each for each in others if type(each) is type(value)][:4]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value or 2, *(each for each in alike if each < 4096)]
    if isinstance(value, float):
        return [value + 0.5, 2 * value]
    return others[:4] or [True, 2] if value is None else alike


def verdicts(kind: str, values: dict[str, list[Any]]) -> Iterator[tuple[str, bool]]:
    """Each key of one type that can be varied, with whether the parameters stay the same."""
    with suppress(Exception):
        config, base = small_config(kind).to_dict(), shapes(kind)
        others = {key: variants(value, values[key]) for key, value in config.items() if key not in LIBRARYS}
        same = {}
        for key, each in others.items():
            built = [found for value in each if (found := shapes(kind, **{key: value})) is not None]
            same |= {key: all(found == base for found in built)} if built else {}
        for flag in [key for key, value in config.items() if isinstance(value, bool)]:
            turned = {flag: not config[flag]}
            changed = {key: others[key][0] for key in same if same[key] and key != flag}
            if (other := shapes(kind, **turned)) is None or shapes(kind, **changed, **turned) == other:
                continue
            for key, value in changed.items():
                same[key] = shapes(kind, **{key: value}, **turned) in (None, other)
        yield from same.items()


def harmless() -> list[str]:
    """The keys that are harmless by the verdicts of all types, without those that FLOPs or caches may depend on."""
    configs = {}
    for kind in TYPES:
        with suppress(Exception):
            configs[kind] = default_config(kind).to_dict()
    values: dict[str, list[Any]] = defaultdict(list)
    for config in configs.values():
        for key, value in config.items():
            values[key] += [value] if value is not None and value not in values[key] else []
    judged = defaultdict(list)
    for kind in configs:
        for key, same in verdicts(kind, values):
            judged[key].append(same)
    return [key for key in judged if all(judged[key]) and not SIZES_BY_NAME.search(key) and key not in _read()]


def _read() -> set[str]:
    """Every word in what architectures read, and the names of sizes."""
    texts = " ".join(str({**architecture(kind), "keys": _readers(kind)}) for kind in all_types())
    return {*re.findall(r"\w+", texts), *DRAFTS, *LAYER_LISTS, *(name for names in SYNONYMS.values() for name in names)}


def _readers(kind: str) -> dict[str, Any]:
    keys = architecture(kind).get("keys", {})
    return {rule: said for rule, said in keys.items() if rule not in ("unused", "neutral", "defaults")}


def write(keys: list[str]) -> None:
    """Put the keys that are not listed by hand into their section of the file, which is its last."""
    path = FOLDER / HARMLESS_KEYS
    by_hand = path.read_text("utf-8").partition(f"\n{SECTION}")[0]
    said = by_hand.split()
    words = [key for key in sorted(keys) if not any(fnmatch(key, word) for word in (*said, "*_token_id"))]
    lines = textwrap.fill(" ".join(words), 116, initial_indent="  ", subsequent_indent="  ")
    path.write_text(f"{by_hand}\n{SECTION}: >-\n{lines}\n", "utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, lambda *_: (_ for _ in ()).throw(TimeoutError))
    write(harmless())
