"""What each layer of a Hugging Face config is made of.

A layer's word (`layer_types`) says which traits of the family hold for it, and `per_layer_config` may set keys for it
alone.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from llmcost.ground.algebra import ceil_div
from llmcost.ground.errors import SpecError
from llmcost.model.blocks import MIXERS, Experts
from llmcost.specs.importer.keys import LARGEST, LAYER_LISTS, SYNONYMS, Keys
from llmcost.specs.importer.patterns import keys_of, picks


def layers_of(keys: Keys, depth: int) -> list[dict[str, Any]]:
    """Every layer's fields."""
    look_around(keys, depth)
    overrides = keys.get("per_layer_config") or {}
    if not isinstance(overrides, dict) or not all(isinstance(each, dict) for each in overrides.values()):
        raise keys.error("per_layer_config", "expected an object of objects, one a layer")
    named = {int(key): each for key, each in overrides.items() if str(key).isdecimal()}
    if len(named) < len(overrides):
        raise keys.error("per_layer_config", "expected the numbers of layers as keys")
    layers: list[dict[str, Any]] = []
    earlier: Counter[str] = Counter()
    for position, listed in enumerate(words_of(keys, depth)):
        keys.own = named.get(position, {})
        for word in keys.family.get("expands", {}).get(listed, [listed]):
            layers.append(LayerReading(keys, position, depth, word, earlier[word]).fields())
            earlier[word] += 1
        keys.refuse_what_is_left(keys.own)
    keys.own = {}
    return layers


def look_around(keys: Keys, depth: int) -> None:
    """Look at the keys of every kind of layer that this type may have, so that they are known where this model has none."""
    for rule in (keys.family.get("pattern", ""), keys.family.get("experts", "")):
        keys.asked.update(keys_of(rule))
    for name in ("num_key_value_heads", "intermediate_size", "sliding_window"):
        keys.field(name)
    for word in {*kinds_of(keys), *keys.family.get("words", {})}:
        layer = LayerReading(keys, 0, depth, word)
        looks = [layer.mixer, layer.dense, *([layer.experts] if "experts" in layer.traits else [])]
        for look in looks:
            with suppress(SpecError):  # of a layer that this model may not have
                look()


def kinds_of(keys: Keys) -> tuple[str, str]:
    """The word of the plain layers, and of the others."""
    plain, other = keys.family.get("kinds", ("full_attention", "sliding_attention"))
    return str(plain), str(other)


def words_of(keys: Keys, depth: int) -> list[str]:
    """The word of each layer: as the config lists them, or as the family's rule has it."""
    plain, other = kinds_of(keys)
    switch, rule = keys.family.get("window_if"), keys.family.get("pattern", "all")
    listed = keys.listed(LAYER_LISTS[0], depth)
    if switch and not keys.get(switch):
        return [plain] * depth
    if listed is None and "order" in keys.family:
        first, cycle = keys.family["order"]
        listed = [first[at] if at < len(first) else cycle[(at - len(first)) % len(cycle)] for at in range(depth)]
    if listed is None:
        listed = [plain if picked(keys, rule, position, depth) else other for position in range(depth)]
    if keys.family.get("last_full"):
        listed[-1] = plain
    known = {plain, other, "sliding_attention", "chunked_attention", *keys.family.get("words", {})}
    strange = next((word for word in listed if word not in known), None)
    if strange is not None:
        raise keys.error(LAYER_LISTS[0], f"{str(strange)[:40]!r} is not understood for {keys.type}")
    return listed


def picked(keys: Keys, rule: str, position: int, depth: int) -> bool:
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
        self.traits: dict[str, Any] = keys.family | keys.family.get("words", {}).get(word, {})

    def trait(self, name: str, plain: Any = None) -> Any:
        """What the family says of this layer."""
        value = self.keys.value(self.traits.get(name, plain))
        return self.own(name, value) if isinstance(value, list) else value

    def own(self, name: str, values: list[Any]) -> Any:
        """The entry of a list that is this layer's."""
        if len(values) < self.depth:
            raise self.keys.error(
                self.keys.origin((name,))[0], f"a list of {len(values)} entries for {self.depth} layers"
            )
        return values[self.position]

    def fields(self) -> dict[str, Any]:
        """All of its fields, as a spec has them."""
        fields = {"norms": self.trait("norms", "pre")} | self.mixer()
        if "reused_after" in self.traits and self.earlier >= self.trait("reused_after"):
            fields["reuses_weights"] = True
        crossed = self.trait("cross_attention")
        if crossed:
            fields["cross_attention_size"] = self.keys.field("hidden_size") if crossed is True else crossed
        if self.trait("mlp") == "none":
            fields["mlp"] = "none"
        else:
            fields |= self.experts() if self.is_sparse() else self.dense()
        return {name: value for name, value in fields.items() if value is not None}

    def mixer(self) -> dict[str, Any]:
        """The fields of its mixer: as the family says, or as they are plainly read."""
        kind = self.trait("mixer", "attention")
        if "kv_lora_rank" in MIXERS[kind]._fields:
            self.keys.asked.update(("num_key_value_heads", "head_dim", "qk_head_dim"))
        fields = {"mixer": kind}
        for name in MIXERS[kind]._fields:
            said = self.trait(name)
            if name == "attention_output_bias" and said == "last":
                said = self.position == self.depth - 1
            fields[name] = (
                _there(said) if said is not None else self.plain(name, latent="kv_lora_rank" in MIXERS[kind]._fields)
            )
        if "whole_heads" in self.traits:
            heads, hidden = self.keys.number("num_attention_heads"), self.keys.number("hidden_size")
            if not isinstance(fields["head_dim"], int) or heads * fields["head_dim"] != hidden:
                raise self.keys.error(
                    "hidden_size", f"{heads} heads of {fields['head_dim']} do not fill it, which this type needs"
                )
        if "keys_and_values" in fields and self.shares():
            fields["keys_and_values"] = "shared"
        return fields

    def plain(self, name: str, *, latent: bool) -> Any:
        """A mixer's field of which the family says nothing."""
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
        get = self.keys.get
        sizes = {name: get(name) for name in ("index_topk", "index_n_heads", "index_head_dim")}
        pattern, kinds = get("index_topk_pattern"), get("indexer_types")
        period = self.keys.whole("index_topk_freq") or self.traits.get("index_topk_freq", 1)
        shared = max(self.position + 1 - self.keys.whole("index_skip_topk_offset", 2), 0) % period != 0
        if isinstance(kinds or pattern, list | str) and self.position < len(kinds or pattern):
            shared = (kinds or pattern)[self.position] in ("shared", "S")
        return {"index_topk": sizes["index_topk"]} if shared else sizes

    def shares(self) -> bool:
        """Whether it uses an earlier layer's keys and values."""
        return "kv_shared" in self.traits and self.position >= self.depth - self.keys.whole(self.traits["kv_shared"])

    def dense(self) -> dict[str, Any]:
        """The fields of a dense MLP."""
        names = ("mlp_bias", "activation_weights", "num_adapters", "adapter_size", "mlp_adapter_rank")
        said = {name: _there(self.trait(name)) for name in names}
        return {"mlp": self.trait("mlp", "gated"), "intermediate_size": self.dense_size(), **said}

    def dense_size(self) -> Any:
        """A dense MLP's size."""
        if self.traits.get("intermediate_size") == "two thirds":
            return self.two_thirds(self.keys.number("intermediate_size"))
        size = (
            self.trait("intermediate_size")
            if "intermediate_size" in self.traits
            else self.keys.field("intermediate_size")
        )
        if isinstance(size, list):
            size = self.own("intermediate_size", size)
        elif size is None:
            expansion = self.trait("expansion", 4)
            if not isinstance(expansion, int):
                raise self.keys.error(self.keys.origin(("expansion",))[0], "expected a whole number")
            size = self.keys.number("hidden_size") * expansion
        return 2 * size if self.shares() and self.trait("double_when_shared") else size

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
        """The fields of experts."""
        size = self.keys.get(self.traits.get("expert_size", "moe_intermediate_size"))
        said = {name: _there(self.trait(name)) for name in Experts._fields if name in self.traits}
        counts = {name: said.get(name) or self.keys.field(name) for name in ("num_experts", "num_experts_per_tok")}
        counts = {name: self.own(name, value) if isinstance(value, list) else value for name, value in counts.items()}
        return said | {
            "mlp": "experts",
            **counts,
            "moe_intermediate_size": size,
            "shared_expert_intermediate_size": self.shared_size(size) or None,
        }

    def shared_size(self, size: Any) -> Any:
        """The size of the experts that every token takes, together."""
        shared = self.traits.get("shared")
        if shared is None or shared == "dense":
            return shared and self.dense_size()
        count = self.keys.get(shared.removeprefix("size:"))
        if shared.startswith("size:"):
            return count
        return count * size if isinstance(count, int) and isinstance(size, int) else None

    def is_sparse(self) -> bool:
        """Whether it has experts."""
        rule = self.traits.get("experts")
        if rule is None:
            return False
        kinds = self.keys.listed("mlp_layer_types", self.depth)
        if kinds is not None:
            return kinds[self.position] in ("sparse", "moe", "hash_moe")
        if rule.startswith("step") and not self.keys.field("num_experts"):
            return False
        if "one_is_dense" in self.traits and self.keys.number("num_experts") == 1:
            return False
        return picked(self.keys, rule, self.position, self.depth)
