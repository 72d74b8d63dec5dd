"""The weights on the fullest GPU as engines load them: the parameters, copies of some, and padding.

Copies: where a tensor-parallel group has more GPUs than the model has KV heads, each keeps one whole head. Padding: the
kernels for experts in MXFP4 want whole tiles, and their weights are padded to these when they are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmcost.ground.algebra import Number, ceil_div, floor_div, is_one, maximum, minimum
from llmcost.ground.constants import Constant
from llmcost.model.architecture import Pass
from llmcost.model.counting import stored_bytes
from llmcost.model.operators import Attention, Gemm, GroupedGemm, Operator
from llmcost.parallel.offload import on_gpu
from llmcost.parallel.pipeline import Server

TILE = "vLLM's Marlin kernels (vllm/model_executor/layers/quantization/mxfp4.py, create_weights)"
TILE_WIDTH = Constant(128, f"channels of an expert in MXFP4 that a GPU has are padded to: {TILE}", "channels")
TILE_HIDDEN = Constant(256, f"the width of tokens that experts in MXFP4 see is padded to: {TILE}", "channels")


def loaded_bytes(server: Server, share: Pass, weights: str) -> Number:
    """Bytes of weights on the fullest GPU; `share`: one GPU's operators; `weights`: their format.

    With pipeline stages, that of the first with the embedding, the last with the LM head, or one between, which is the
    first to have a layer more than others (vLLM, distributed/utils.py, get_pp_indices). Where the LM head stands apart
    from the embedding whose weights it uses, it keeps a copy of them.
    """
    first, last = stored_bytes(share.first), stored_bytes(share.last)
    here = on_gpu(share.layers) if server.offload is not None else share.layers
    layers = stored_bytes(padded(here, weights)) + copied_heads(share.layers, server.layout.tp)
    if is_one(server.pp):
        return first + layers + last
    copied = sum([op.k * op.n * op.Bw for op in share.last if isinstance(op, Gemm) and op.tied])
    count, pp = server.model.num_hidden_layers, server.pp
    even = floor_div(count, pp)
    first_has_most = floor_div(count - pp * even + 1, pp)
    most, fewest = layers * server.fullest / count, layers * even / count
    on_the_first = first + fewest + first_has_most * (most - fewest)
    apart = minimum(1, pp - 1)  # 1 from two stages on, else 0
    return maximum(most, maximum(on_the_first + (1 - apart) * last, fewest + apart * (last + copied)))


def padded(layers: Iterable[Operator], weights: str) -> list[Operator]:
    """The layers with experts in MXFP4 padded to whole tiles; all others as they are."""
    if weights.rpartition("+")[2] != "mxfp4":
        return list(layers)
    return [_padded(op) if isinstance(op, GroupedGemm) and op.facts.expert == "routed" else op for op in layers]


def _padded(op: GroupedGemm) -> Operator:
    """One product of all experts: of tokens to channels (gate and up side by side), or of channels to tokens."""
    width, hidden = TILE_WIDTH.value, TILE_HIDDEN.value
    if op.facts.split == "rows":
        return op._replace(k=_up_to(op.k, width), n=_up_to(op.n, hidden))
    return op._replace(k=_up_to(op.k, hidden), n=_up_to(op.n, 2 * width))


def _up_to(size: Number, tile: Number) -> Number:
    return tile * ceil_div(size, tile)


def copied_heads(layers: Iterable[Operator], tp: Number) -> Number:
    """Bytes of keys' and values' projections that a GPU has beside its even share, where there are fewer KV heads."""
    if is_one(tp):
        return 0
    found: Number = 0
    packed: Gemm | None = None
    for op in layers:
        if isinstance(op, Gemm) and len(op.facts.widths) > 1 and not op.tied:
            packed = op
        if isinstance(op, Attention) and packed is not None:
            widths, kv_heads = sum(packed.facts.widths[1:]), packed.facts.widths[1] / op.d  # of all GPUs
            beside = widths / minimum(tp, kv_heads) - widths / tp
            found, packed = found + packed.count * packed.k * beside * packed.Bw, None
    return found
