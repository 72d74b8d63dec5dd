"""How GPUs divide a model: one GPU's operators, and the exchanges between them.

Tensor parallelism (Megatron-LM, arXiv 1909.08053, section 3): a layer's first products are split by columns or heads,
its last by rows, whose partial sums an all-reduce adds up. With sequence parallelism (arXiv 2205.05198, section
4.2.2) what lies between is split by tokens, and the all-reduce becomes an all-gather before and a reduce-scatter
after. Expert parallelism (GShard, arXiv 2006.16668): whole experts to a GPU; tokens of other data-parallel ranks
travel there and back.

An operator's name says how it is split: a name that stands in no table here is an error, so that nothing new is
divided by guess. A fused projection of queries, keys and values counts as split evenly even where KV heads are
fewer than GPUs and each keeps a copy of one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from llmcost.ground.algebra import Number, divide, is_one, maximum, minimum
from llmcost.model.operators import Attention, Collective, Operator
from llmcost.parallel.layout import Layout

# First products of a block: outputs split.
COLUMNS = frozenset(
    """
    qkv_proj q_proj k_proj qv_proj q_b_proj q_gate_proj kv_b_proj attention_gate_proj up_proj gate_up_proj shared_up_proj
    shared_gate_up_proj mamba_in_proj delta_in_proj decay_proj gate_proj lightning_in_proj lru_in_proj conv_in_proj lm_head
    cross_q_proj cross_kv_proj adapter_up_proj o_a_proj mamba_dt_proj
    qkv_adapter_up_proj mlp_adapter_up_proj time_mix_proj
    lora_columns_b
    """.split()  # noqa: SIM905 - a table of words
)
# Last products: inputs split, outputs to be added up.
ROWS = frozenset(
    """
    o_proj o_b_proj down_proj shared_down_proj mamba_out_proj delta_out_proj lightning_out_proj lru_out_proj conv_out_proj
    mamba_x_proj cross_o_proj adapter_down_proj time_mix_out_proj
    lora_rows_a lora_output_a
    """.split()  # noqa: SIM905 - a table of words
)
# What lies between them: heads or channels split.
INSIDE = frozenset(
    """
    attention window_attention compressed_attention cross_attention scan mamba_conv delta_conv lru_conv short_conv absorb_key
    absorb_value lru_gates qk_norm rotary_cache_write cache_write attention_gate attention_sub_norm differential_norm activation
    shared_activation mlp_sub_norm shared_mlp_sub_norm mamba_gate delta_gate lightning_gate conv_in_gate conv_out_gate
    adapter_activation lora_columns_sum dequantize
    """.split()  # noqa: SIM905 - a table of words
)
# The same on every GPU; with sequence parallelism each has its share of the tokens.
EVERYWHERE = frozenset(
    """
    attention_norm mlp_norm post_attention_norm post_mlp_norm cross_attention_norm final_norm embedding_norm experts_norm
    branch_norms experts_output_norm router router_scales experts_sum shared_expert_gate q_a_proj q_a_norm kv_a_proj kv_a_norm
    kv_proj kv_norm rotary_key_norm indexer indexer_q_proj indexer_k_weights_proj indexer_weights_proj indexer_qk_proj
    indexer_k_norm indexer_qk_norm indexer_rotary_cache_write compressor_proj compress indexer_compressor_proj indexer_compress
    latent_in_proj latent_out_proj mamba_norm adapter_norm adapters
    embedding_projection token_type_embedding position_embedding rotary_table head_projection head_norm pooler
    attention_input_gate_down attention_input_gate_up attention_input_gate experts_input_gate_down experts_input_gate_up
    experts_input_gate layer_embeddings layer_inputs_proj layer_inputs_norm layer_input_gate layer_input_product layer_input_proj
    layer_input_norm altup_proj altup_router_norm altup_router altup_prediction_coefficients altup_predict laurel_left
    laurel_right laurel_norm altup_output_norm altup_output_router altup_correction_coefficients altup_correct
    altup_unembed_proj altup_mean hc_expand attention_hc_weights attention_hc_sum attention_hc_mix attention_hc_spread
    embedding_concat qkv_adapter_down_proj mlp_adapter_down_proj shared_block_out_proj time_shift channel_shift receptance_proj
    receptance idle_attention idle_mlp idle_norms
    mlp_hc_weights mlp_hc_sum mlp_hc_mix mlp_hc_spread hc_head_weights hc_head_sum
    lora_a lora_same_a lora_b lora_sum
    """.split()  # noqa: SIM905 - a table of words
)
EXPERTS_ADAPTERS = ("experts_lora_a", "experts_lora_b", "experts_dequantize")
EXPERTS = frozenset(
    ("experts_gate_up_proj", "experts_up_proj", "experts_activation", "experts_down_proj", *EXPERTS_ADAPTERS)
)
FIRST_OF_EXPERTS = ("experts_gate_up_proj", "experts_up_proj")
# Sums over a tensor-parallel group: after every product split by rows but the shared experts', which wait for the
# routed ones'.
SUMMED = (ROWS - {"shared_down_proj"}) | {"experts_sum"}


def shard(
    operators: Iterable[Any], layout: Layout, *, gather_logits: bool = True, filled: Number = 1
) -> list[Operator]:
    """One GPU's share of a pass over the batch of its data-parallel rank, with the collectives where they stand.

    Of a loss that is computed on split logits, `gather_logits` is left out. `filled`: sequences that the ranks which
    share experts have, on average, over those of the fullest rank, whose share this is. Raises KeyError for an
    operator that no table here knows.
    """
    if layout.stage_is_one_gpu():
        return list(operators)
    found: list[Operator] = []
    for op in operators:
        found += _experts(op, layout, filled) if op.name in EXPERTS else _split(op, layout)
        found += _sums(op, layout)
        if op.name == "lm_head" and gather_logits:
            found.append(_exchange("logits_all_gather", op, layout, "all_gather", op.n))
    return found


def _split(op: Any, layout: Layout) -> Iterator[Operator]:
    """A dense layer's operator on one GPU of a tensor-parallel group."""
    t, name = layout.tp, op.name
    if name in COLUMNS and hasattr(op, "groups"):
        yield op._replace(groups=divide(op.groups, t), active=divide(op.active, t))
    elif name in COLUMNS:
        yield op._replace(n=divide(op.n, t))
    elif name in ROWS:
        yield op._replace(k=divide(op.k, t))
    elif isinstance(op, Attention) and name in INSIDE:
        yield op._replace(
            a=divide(op.a, t), cached=divide(op.cached, minimum(t, op.kv_heads)), streamed=divide(op.streamed, t)
        )
    elif name in INSIDE:
        split = ("groups", "active", "reads", "writes", "weights", "channels", "heads")
        yield op._replace(**{field: divide(getattr(op, field), t) for field in split if field in op._fields})
    elif name == "token_embedding":  # rows of the table split; each token is looked up where its row is
        yield op._replace(rows=divide(op.rows, t), s=divide(op.s, t))
    elif name in EVERYWHERE:
        yield op._replace(s=divide(op.s, t)) if layout.sequence_parallel and "s" in op._fields else op
    else:
        raise KeyError(f"parallel/split.py does not say how {name!r} is split")


def _experts(op: Any, layout: Layout, filled: Number) -> Iterator[Operator]:
    """Routed experts on one GPU: its share of the experts, and of each, on the tokens of all data-parallel ranks that share them."""
    b = op.b * layout.expert_ranks()
    b = b if is_one(filled) else b * filled
    if "reads" in op._fields:
        parts = layout.expert_group()
        stream = op._replace(reads=divide(op.reads, parts), writes=divide(op.writes, parts))
        yield stream if op.name == "experts_dequantize" else stream._replace(b=b)  # a weight is of no token
        return
    whole = op._replace(b=b, groups=divide(op.groups, layout.ep), active=divide(op.active, layout.ep))
    side = "k" if op.name == "experts_down_proj" else "n"
    yield (
        whole
        if op.name in EXPERTS_ADAPTERS
        else whole._replace(**{side: divide(getattr(whole, side), layout.expert_tp())})
    )


def _sums(op: Any, layout: Layout) -> Iterator[Operator]:
    """The exchanges that an operator's output needs, or its experts' input."""
    name = op.name
    if name in SUMMED or name == "token_embedding":
        width = op.writes if name == "experts_sum" else op.width if name == "token_embedding" else op.n
        if layout.sequence_parallel:  # the all-gather stands before the next block, which begins where this one ends
            yield _exchange(f"{name}_reduce_scatter", op, layout, "reduce_scatter", width)
            yield _exchange(f"{name}_all_gather", op, layout, "all_gather", width)
        else:
            yield _exchange(f"{name}_all_reduce", op, layout, "all_reduce", width)
    if name in FIRST_OF_EXPERTS or name == "experts_down_proj":
        first = name in FIRST_OF_EXPERTS
        rows = divide(op.b * op.s, layout.tp) * op.active
        kind = "experts_dispatch" if first else "experts_combine"
        yield Collective(
            kind,
            op.part,
            op.count,
            "all_to_all",
            rows,
            op.k if first else op.n,
            maximum(layout.expert_ranks(), 1),
            layout.tp,
            layout.node,
            op.Bx,
        )


def _exchange(name: str, op: Any, layout: Layout, exchange: Any, width: Number) -> Collective:
    return Collective(name, op.part, op.count, exchange, op.b * op.s, width, layout.tp, 1, layout.node, op.Bx)
