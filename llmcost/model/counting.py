"""Sums over lists of operators: parameters, FLOPs and bytes are added up here and nowhere else."""

from collections.abc import Iterable
from typing import NamedTuple

from llmcost.ground.algebra import Number, is_one, present
from llmcost.model.operators import PARTS, Communication, Operator

PASSES = 3  # FLOPs of forward and backward in forward passes: gradients of inputs and weights cost one each


class Params(NamedTuple):
    """Numbers of parameters by part. A tied LM head has none of its own.

    `text`, `towers`: those of the text model and of the towers beside it. `active` is the text model's.
    """

    total: Number
    active: Number
    embedding: Number
    attention: Number
    mlp: Number
    norm: Number
    lm_head: Number
    text: Number
    towers: Number


class TokenFlops(NamedTuple):
    """FLOPs of one token: linear layers (attention projections and MLP), attention or scan, LM head."""

    linear: Number
    attention: Number
    lm_head: Number
    total: Number


class Traffic(NamedTuple):
    """Bytes that a pass must move: every weight once that tokens are expected to touch, every cached key and value."""

    weight_bytes: Number
    kv_cache_bytes: Number
    total_bytes: Number


class PassCost(NamedTuple):
    """What a forward pass, or a part of one, computes and must move: FLOPs and bytes."""

    linear_flops: Number
    attention_flops: Number  # every (query, key) pair
    causal_flops: Number  # of attention: the pairs that a causal mask leaves
    head_flops: Number
    linear_bytes: Number  # weights of attention, MLP and LM head: what the slides count
    weight_bytes: Number  # of experts, those that the tokens are expected to touch
    cache_bytes: Number
    node_bytes: Number  # at least so many go from each GPU to others in its node
    fabric_bytes: Number  # and to other nodes
    spared_bytes: Number = 0  # of the weights, what is not read where all tokens choose the same experts
    host_weight_bytes: Number = 0  # of the weights, those in the host's memory
    host_cache_bytes: Number = 0  # and of the cache
    host_spared_bytes: Number = 0  # and of what is spared

    def plus(self, other: "PassCost") -> "PassCost":
        """FLOPs and bytes of two parts together."""
        return PassCost(*[ours + theirs for ours, theirs in zip(self, other, strict=True)])

    def over(self, shares: Number) -> "PassCost":
        """FLOPs and bytes of one of so many equal shares."""
        return self if is_one(shares) else PassCost(*[amount / shares for amount in self])

    def mean_with(self, other: "PassCost", passes: Number) -> "PassCost":
        """The mean of so many passes, of which one is this and all others are `other`; what neither has stays 0."""
        pairs = zip(self, other, strict=True)
        return PassCost(
            *[(one + (passes - 1) * each) / passes if present(one) or present(each) else 0 for one, each in pairs]
        )

    def flops(self, *, causal: bool) -> Number:
        """All FLOPs: attention's with the pairs that a causal mask leaves, or with every (query, key) pair."""
        return self.linear_flops + (self.causal_flops if causal else self.attention_flops) + self.head_flops

    def token_flops(self, batch: Number) -> TokenFlops:
        """FLOPs of one token by part, if this is a decode step of `batch` tokens."""
        linear, attention, head = self.linear_flops / batch, self.attention_flops / batch, self.head_flops / batch
        return TokenFlops(linear, attention, head, linear + attention + head)

    def least_bytes(self) -> Number:
        """The bytes of memory that it moves at least, whatever experts tokens choose."""
        moved = self.weight_bytes + self.cache_bytes
        return moved - self.spared_bytes if present(self.spared_bytes) else moved

    def on_host(self) -> "PassCost":
        """The same with the bytes of the host's memory alone."""
        there = (self.host_weight_bytes, self.host_cache_bytes, self.host_spared_bytes)
        return self._replace(weight_bytes=there[0], cache_bytes=there[1], spared_bytes=there[2])

    def on_gpu(self) -> "PassCost":
        """The same with the bytes of the GPU's own memory alone."""
        return self._replace(
            weight_bytes=self.weight_bytes - self.host_weight_bytes,
            cache_bytes=self.cache_bytes - self.host_cache_bytes,
            spared_bytes=self.spared_bytes - self.host_spared_bytes,
        )

    def traffic(self) -> Traffic:
        """The bytes that it must move; of the embedding, the rows that are looked up."""
        return Traffic(self.weight_bytes, self.cache_bytes, self.weight_bytes + self.cache_bytes)


def count_params(operators: Iterable[Operator]) -> Params:
    """Numbers of parameters by part, none left out: weights, biases, norms, learned positions.

    `active`: those that the computation of one token can touch: of experts, the ones it takes; the whole embedding.
    """
    by_part: dict[str, Number] = dict.fromkeys(PARTS, 0)
    active: Number = 0
    for op in operators:
        by_part[op.part] = by_part[op.part] + op.count * op.params()
        active = active + op.count * op.active_params()
    towers = by_part.pop("tower")
    text = sum(by_part.values())
    total = text + towers if present(towers) else text
    return Params(total, active, **by_part, text=text, towers=towers)


def count_pass(operators: Iterable[Operator]) -> PassCost:
    """FLOPs by part, and the bytes that a pass must move."""
    linear = attention = causal = head = linear_bytes = weights = cache = near = far = spared = 0
    on_host: list[Number] = [0, 0, 0]
    for op in operators:
        count, part = op.count, op.part
        if isinstance(op, Communication):
            inside, outside = op.least_bytes()
            near, far = near + count * inside, far + count * outside
            continue
        weight = count * op.weight_bytes()
        weights, unread = weights + weight, op.spared_bytes()
        spared = spared + count * unread if present(unread) else spared
        cache = cache + count * op.cache_bytes()
        if op.facts.host is not None:
            away = op.facts.host.share
            host = (weight, count * op.cache_bytes(), count * unread if present(unread) else 0)
            on_host = [before + away * each for before, each in zip(on_host, host, strict=True)]
        if op.scope == "sequence":
            attention = attention + count * op.flops(causal=False)
            causal = causal + count * op.flops(causal=True)
        elif part == "lm_head":
            head = head + count * op.flops(causal=False)
            linear_bytes = linear_bytes + weight
        else:
            linear = linear + count * op.flops(causal=False)
            linear_bytes = linear_bytes + weight if part in ("attention", "mlp") else linear_bytes
    return PassCost(linear, attention, causal, head, linear_bytes, weights, cache, near, far, spared, *on_host)


def stored_bytes(operators: Iterable[Operator]) -> Number:
    """Bytes of all parameters, each in its own data type."""
    return _total((op.count, op.stored_bytes()) for op in operators)


def state_bytes(operators: Iterable[Operator]) -> Number:
    """Bytes that are kept of every sequence and do not grow with it: states of scans, last inputs of convolutions."""
    return _total((op.count, op.state_bytes()) for op in operators)


def kept_bytes(operators: Iterable[Operator]) -> Number:
    """Bytes of KV cache that the sequences occupy; a pass may read less (`cache_bytes`), or another layer's again."""
    return _total((op.count, op.kept_bytes()) for op in operators)


def cache_bytes_per_token(operators: Iterable[Operator]) -> Number:
    """Bytes of KV cache that one token of one sequence adds; states do not grow."""
    return _total((op.count, op.cache_bytes_per_token()) for op in operators)


def _total(amounts: Iterable[tuple[Number, Number]]) -> Number:
    """The sum of amounts, each so many times; a plain 0 where no operator has any."""
    return sum([count * amount for count, amount in amounts if present(amount)])
