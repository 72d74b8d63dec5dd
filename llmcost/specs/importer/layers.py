"""What each layer of a Hugging Face config is made of.

A layer's word (`layer_types`) says which fields of the architecture hold for it, and `per_layer_config` may set keys
for it alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llmcost.ground.algebra import ceil_div
from llmcost.ground.errors import SpecError
from llmcost.model.blocks import MIXERS, CrossAttention, Experts
from llmcost.specs.importer.keys import LARGEST, MOST_LISTED, Keys
from llmcost.specs.importer.names import LAYER_LISTS, SYNONYMS
from llmcost.specs.importer.patterns import Rule, keys_of, picks

CROSSING = [name for name in CrossAttention._fields if name.startswith("cross_")]


def layers_of(keys: Keys, depth: int) -> list[dict[str, Any]]:
    """Every layer's fields, in order; a layer of theirs may be several of ours."""
    look_around(keys, depth)
    rule = keys.family.get("repeated", {})
    if "to" in rule and (end := repeated(keys).stop) > depth:
        raise keys.error(rule["to"], f"{end} is beyond its {depth} layers")
    own = own_keys(keys)
    described = keys.family.get("layers", {})
    layers: list[dict[str, Any]] = []
    earlier: Counter[str] = Counter()
    for position, listed in enumerate(words_of(keys, depth)):
        keys.own = own.get(position, {})
        for word in described.get(listed, {}).get("consists_of", [listed]):
            fields = LayerReading(keys, position, depth, word, earlier[word]).fields()
            layers += [fields, *[fields | {"reuses_weights": True}] * (runs(keys, position) - 1)]
            earlier[word] += 1
        keys.refuse_what_is_left(keys.own)
    keys.own = {}
    return layers


def runs(keys: Keys, position: int) -> int:
    """How often a layer runs: of those in a row that the config says are repeated, several times."""
    rule = keys.family.get("repeated")
    if rule is None:
        return 1
    times = keys.whole(rule["times"])
    if times * len(found := repeated(keys)) > MOST_LISTED:
        raise keys.error(rule["times"], f"{times * len(found):,} layers: at most {MOST_LISTED:,} are read")
    return times if position in found else 1


def repeated(keys: Keys) -> range:
    """The positions of the layers that run several times; none where the type has no such rule."""
    rule = keys.family.get("repeated")
    if rule is None:
        return range(0)
    first = keys.whole(rule["from"])
    if "to" in rule:
        return range(first, keys.whole(rule["to"]))
    if keys.get(rule["layers"]) is None:
        raise keys.error(rule["layers"], "this key is missing")
    return range(first, first + keys.whole(rule["layers"]))


def own_keys(keys: Keys) -> dict[int, dict[str, Any]]:
    """The keys that hold for one layer alone, by its position."""
    found = keys.get("per_layer_config") or {}
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise keys.error("per_layer_config", "expected an object of objects, one a layer")
    numbered = {int(key): each for key, each in found.items() if key.isascii() and key.isdecimal()}
    if len(numbered) < len(found):
        raise keys.error("per_layer_config", "expected the numbers of layers as keys")
    return numbered


def look_around(keys: Keys, depth: int) -> None:
    """Look at the keys of every kind of layer that this type may have, so that they are known even if it has none."""
    plain, other, rule = kinds_of(keys)
    for each in (rule, keys.family.get("experts", "none")):
        keys.asked.update(keys_of(each))
    for name in ("num_key_value_heads", "intermediate_size", "sliding_window"):
        keys.field(name)
    for word in {plain, other, *keys.family.get("layers", {})}:
        layer = LayerReading(keys, 0, depth, word)
        looks = [layer.mixer, layer.dense, *([layer.experts] if "experts" in layer.traits else [])]
        for look in looks:
            with suppress(SpecError):  # of a layer that this model may not have
                look()


def kinds_of(keys: Keys) -> tuple[str, str, Rule]:
    """The word of the plain layers, that of the others, and the rule that picks the plain ones."""
    types = keys.family.get("layer_types", "all")
    if isinstance(types, str):
        return "full_attention", "sliding_attention", types
    (plain, rule), (other, _) = types.items()
    return plain, other, rule


def words_of(keys: Keys, depth: int) -> list[str]:
    """The word of each layer: as the config lists them, or as the architecture's rule has it."""
    plain, other, rule = kinds_of(keys)
    listed = keys.listed(LAYER_LISTS[0], depth)
    switch = keys.family.get("window_if")
    if switch and not keys.get(switch):
        return [plain] * depth
    if listed is None and "order" in keys.family:
        listed = in_order(depth, **keys.family["order"])
    if listed is None:
        listed = [plain if picked(keys, rule, position, depth) else other for position in range(depth)]
    if keys.family.get("last_full"):
        listed[-1] = plain
    known = {plain, other, "sliding_attention", "chunked_attention", *keys.family.get("layers", {})}
    strange = next((word for word in listed if word not in known), None)
    if strange is not None:
        raise keys.error(LAYER_LISTS[0], f"{str(strange)[:40]!r} is not understood for {keys.type}")
    for key, word in keys.rules.get("positions", {}).items():
        if keys.given.get(key, found := [at for at, each in enumerate(listed) if each == word]) != found:
            raise keys.error(key, f"expected {json.dumps(found)[:60]}, the layers of {word}")
    return listed


def in_order(depth: int, cycle: list[str], begin: Sequence[str] = ()) -> list[str]:
    """So many words: a beginning, and a cycle again and again."""
    return [begin[at] if at < len(begin) else cycle[(at - len(begin)) % len(cycle)] for at in range(depth)]


def picked(keys: Keys, rule: Rule, position: int, depth: int) -> bool:
    """Whether a rule picks a layer; refused with the key that is missing, or that is not what the rule needs."""
    try:
        return picks(rule, position, depth, keys.get)
    except LookupError as missing:
        raise keys.error(str(missing.args[0]), "this key is missing") from None
    except (ValueError, TypeError, ZeroDivisionError) as wrong:
        problem = str(wrong) if isinstance(wrong, ValueError) else "expected a whole number, or a list of them"
        raise keys.error(next(iter(keys_of(rule)), LAYER_LISTS[0]), problem) from None


def _there(value: Any) -> Any:
    """The value, without sizes of 0: those are not there."""
    return None if value == 0 and not isinstance(value, bool) else value


class LayerReading:
    """One layer while it is read."""

    def __init__(self, keys: Keys, position: int, depth: int, word: str, earlier: int = 0) -> None:
        self.keys, self.position, self.depth, self.word = keys, position, depth, word
        self.earlier = earlier  # layers of the same word before it
        first = keys.family.get("first_layer", {}) if position == 0 else {}
        self.traits: dict[str, Any] = keys.family | keys.family.get("layers", {}).get(word, {}) | first

    def trait(self, name: str, plain: Any = None) -> Any:
        """What the architecture says of this layer."""
        said = self.traits.get(name)
        value = self.keys.value(plain if said is None else said)
        return self.own(name, value) if isinstance(value, list) else value

    def own(self, name: str, values: list[Any]) -> Any:
        """The entry of a list that is this layer's."""
        if len(values) < self.depth:
            key, _ = self.keys.origin((name,))
            raise self.keys.error(key, f"a list of {len(values)} entries for {self.depth} layers")
        return values[self.position]

    def fields(self) -> dict[str, Any]:
        """All fields of the layer, as a spec has them."""
        fields = {
            "norms": self.trait("norms", "pre"),
            "residual_scales": _there(self.trait("residual_scales")),
        } | self.mixer()
        if "reused_after" in self.traits and self.earlier >= self.own_weights():
            fields["reuses_weights"] = True
        fields |= {name: self.trait(name) for name in CROSSING}
        if self.trait("mlp") == "none":
            fields["mlp"] = "none"
        else:
            fields |= self.experts() if self.is_sparse() else self.dense()
        return {name: value for name, value in fields.items() if value is not None}

    def own_weights(self) -> int:
        """How many layers of this layer's word have weights of their own."""
        count = self.trait("reused_after")
        if not isinstance(count, int):
            key, _ = self.keys.origin(("reused_after",))
            raise self.keys.error(key, f"expected a whole number, got {str(count)[:40]}")
        return count

    def mixer(self) -> dict[str, Any]:
        """The fields of the layer's mixer: as the architecture says, or else from the usual keys."""
        kind = self.trait("mixer", "attention")
        names = MIXERS[kind]._fields
        latent = "kv_lora_rank" in names
        if latent:
            self.keys.asked.update(("num_key_value_heads", "head_dim", "qk_head_dim"))
        fields = {"mixer": kind}
        for name in names:
            said = self.trait(name)
            said = self.computed(said)
            fields[name] = self.plain(name, latent=latent) if said is None else _there(said)
        if self.traits.get("whole_heads") and "head_dim" in fields:
            self.refuse_partial_heads(fields["head_dim"], wide=2 if fields.get("on_embedding") else 1)
        if "keys_and_values" in fields and self.shares():
            fields["keys_and_values"] = "shared"
        return fields

    def computed(self, said: Any) -> Any:
        """The value that a word of an architecture stands for in this layer; any other value as it is."""
        whole = self.keys.whole
        if said == "last-layer":
            return self.position == self.depth - 1
        if said == "looped":
            return whole("loop_gate_rank") if self.position in repeated(self.keys) else None
        if said == "of-rope-layers":
            return whole("qk_rope_head_dim") if self.turns() else 0
        if said == "all-of-nope-layers":
            return whole("qk_nope_head_dim") + (0 if self.turns() else whole("qk_rope_head_dim"))
        if said == "of-another-source":
            return self.listed("kv_source_layers", self.position) != self.position
        return said

    def turns(self) -> bool:
        """Whether the layer has rotary positions: as the config lists them (1), or all but each `interval`-th."""
        usual = (self.position + 1) % (self.keys.whole("no_rope_layer_interval", 4) or 4) != 0
        return bool(self.listed("no_rope_layers", usual))

    def listed(self, key: str, usual: int) -> int:
        """The entry of a list of numbers that is for this layer, or what is usual where there is none."""
        entries = self.keys.get(key)
        if entries is None:
            return usual
        if not isinstance(entries, list) or len(entries) < self.depth or type(entries[self.position]) is not int:
            raise self.keys.error(key, f"expected a list of {self.depth} whole numbers, one a layer")
        return int(entries[self.position])

    def refuse_partial_heads(self, head_dim: Any, wide: int) -> None:
        """Refuse heads that are not as wide as the block's input together: the reference of such a type does not run.

        `wide`: how many times the hidden size that input is.
        """
        heads, hidden = self.keys.number("num_attention_heads"), self.keys.number("hidden_size")
        if not isinstance(head_dim, int) or heads * head_dim != wide * hidden:
            problem = f"{heads} heads of {head_dim} do not fill it, which this type needs"
            names = (*self.keys.names("num_attention_heads"), *self.keys.names("hidden_size"))
            raise self.keys.error(next((key for key in names if key in self.keys.given), "hidden_size"), problem)

    def plain(self, name: str, *, latent: bool) -> Any:
        """A mixer's field of which the architecture says nothing."""
        if name == "attention_output_bias":
            return self.trait("attention_bias")
        if name == "sliding_window":
            return (self.keys.field(name) or None) if self.word == "sliding_attention" else None
        if name == "attention_chunk_size":
            return self.keys.field(name) if self.word == "chunked_attention" else None
        if name.startswith("index_"):
            return self.indexer().get(name) if self.word == "indexed_attention" else None
        if name == "v_head_dim" and not latent:
            return None
        value = self.keys.field(name) if name in SYNONYMS else None
        if value is None and name in ("head_dim", "v_head_dim"):
            value = self.keys.number("hidden_size") // self.keys.number("num_attention_heads")
        return value

    def indexer(self) -> dict[str, Any]:
        """The sizes of an indexer; a layer that uses an earlier one's choice has no heads."""
        get, whole = self.keys.get, self.keys.whole
        sizes = {name: get(name) for name in ("index_topk", "index_n_heads", "index_head_dim")}
        period, offset = whole("index_topk_freq") or 1, whole("index_skip_topk_offset", 2)
        shared = max(self.position + 1 - offset, 0) % period != 0
        pattern, kinds = get("index_topk_pattern"), get("indexer_types")
        listed = kinds or pattern
        if isinstance(listed, list | str) and self.position < len(listed):
            shared = listed[self.position] in ("shared", "S")
        return {"index_topk": sizes["index_topk"]} if shared else sizes

    def shares(self) -> bool:
        """Whether the layer uses an earlier layer's keys and values."""
        rule = self.traits.get("shared_kv")
        return rule is not None and self.position >= self.depth - self.keys.whole(rule["last"])

    def dense(self) -> dict[str, Any]:
        """The fields of a dense MLP."""
        names = (
            "mlp_bias",
            "down_bias",
            "activation_weights",
            "num_adapters",
            "adapter_size",
            "mlp_adapter_rank",
            "receptance",
        )
        said = {name: _there(self.trait(name)) for name in names}
        return {"mlp": self.trait("mlp", "gated"), "intermediate_size": self.dense_size(), **said}

    def dense_size(self) -> Any:
        """A dense MLP's size: four hidden sizes, where no key says it."""
        if "intermediate_size" in self.traits:
            size = self.trait("intermediate_size")
        else:
            size = self.keys.field("intermediate_size")
        if size == "two-thirds":
            return self.two_thirds(self.keys.number("intermediate_size"))
        if isinstance(size, list):
            size = self.own("intermediate_size", size)
        elif size is None:
            size = 4 * self.keys.number("hidden_size")
        doubles = self.traits.get("shared_kv", {}).get("double_mlp_if")
        return 2 * size if doubles and self.shares() and self.keys.get(doubles) else size

    def two_thirds(self, size: int) -> int:
        """LFM2's MLP size: two thirds of what the config says, times a factor, rounded up to a multiple."""
        adjust, factor = self.keys.get("block_auto_adjust_ff_dim"), self.keys.get("block_ffn_dim_multiplier")
        multiple = self.keys.whole("block_multiple_of", 1) or 1
        if not adjust:
            return size
        size = 2 * size // 3
        if factor is None:
            return size
        if not isinstance(factor, int | float) or not 0 < factor < LARGEST:
            raise self.keys.error("block_ffn_dim_multiplier", f"expected a number above 0, got {str(factor)[:40]}")
        return int(ceil_div(int(factor * size), multiple) * multiple)

    def experts(self) -> dict[str, Any]:
        """The fields of a mixture of experts, with the experts that every token takes."""
        counts, size = ("num_experts", "num_experts_per_tok"), "moe_intermediate_size"
        shared = "shared_expert_intermediate_size"
        names = [name for name in Experts._fields if name in self.traits and name not in (size, shared)]
        return {
            **{name: _there(self.trait(name)) for name in names},
            "mlp": "experts",
            **{name: self.expert_count(name) for name in counts},
            size: self.trait(size, f"={size}"),
            shared: (self.dense_size() if self.traits.get(shared) == "dense" else self.trait(shared)) or None,
            **self.expert_groups(),
        }

    def expert_groups(self) -> dict[str, int]:
        """The groups of experts that a token's are limited to, as DeepSeek-V3's are; nothing where they are not."""
        get = self.keys.get
        groups, left = get("n_group") or get("num_expert_group"), get("topk_group")
        limited = type(groups) is type(left) is int and 0 < left < groups and get("topk_method") != "greedy"
        return {"n_group": groups, "topk_group": left} if limited else {}

    def expert_count(self, name: str) -> Any:
        """How many experts there are, or a token takes."""
        count = self.trait(name) or self.keys.field(name)
        return self.own(name, count) if isinstance(count, list) else count

    def is_sparse(self) -> bool:
        """Whether the layer has experts in the place of a dense MLP."""
        rule = self.traits.get("experts")
        if rule is None:
            return False
        kinds = self.keys.listed("mlp_layer_types", self.depth)
        if kinds is not None:
            return kinds[self.position] in ("sparse", "moe", "hash_moe")
        if "one_expert_is_dense" in self.traits and self.keys.number("num_experts") == 1:
            return False
        return picked(self.keys, rule, self.position, self.depth)
