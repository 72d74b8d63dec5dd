"""A model and a load in, the list of operators out.

This list is what the whole project is about. It is counted, timed, printed as formulas and run on a GPU; nothing else
knows what a transformer looks like. It lists the kernels that a good engine runs: one GEMM for q, k and v, one for gate
and up, fused attention, residual addition and norm in one.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmcost.ground.algebra import Number, divide, present
from llmcost.model import verify
from llmcost.model.blocks import Builder, NoBlock
from llmcost.model.blocks.builder import (
    NORM_OF_INPUT,
    NORM_WEIGHTS,
    ON_EVERY_GPU,
    RESIDUAL_NORM,
    TOKENS,
    own_format,
)
from llmcost.model.operators import EVERYWHERE, OWN, Elementwise, Facts, Gemm, Lookup, Operator, Stored, Wider
from llmcost.model.sizes import ElementBytes, Load, bytes_of
from llmcost.model.spec import Layer, ModelSpec

HEADS = Facts("heads")
VOCABULARY, POSITIONS = Facts("table"), Facts("tokens", role="positions")
LOGITS = Facts("columns", OWN)


class Pass(NamedTuple):
    """One forward pass, in the order in which it runs: kernels before the layers, in the layers, and after them."""

    first: list[Operator]
    layers: list[Operator]
    last: list[Operator]

    def operators(self) -> list[Operator]:
        """Every operator of the pass, in order."""
        return [*self.first, *self.layers, *self.last]


def forward(model: ModelSpec, size: ElementBytes, load: Load, logits: Number = 1) -> Pass:
    """One forward pass, with the logits of so many positions of each sequence.

    The sizes in `model`, `size` and `load` may be ints, arrays or symbols (formulas.serving.symbolic_model). Branches
    depend on structure alone: which blocks, biases or none, tied or not. Layers of one kind stand together, wherever in
    the model they are.
    """
    if model.encoder is not None:
        found = _with_encoder(model, model.encoder, size, load)
    else:
        found = _stack(model, size, load._replace(memory=model.seen), logits)
    if verify.ON:
        verify.forward_pass(found.operators())
    return found


def _stack(model: ModelSpec, size: ElementBytes, load: Load, logits: Number) -> Pass:
    """One stack of layers, with what stands before and behind it."""
    layers: list[Operator] = []
    if not model.generates:  # every position is computed to the end, and none is kept
        load, logits = load._replace(cached=False), load.s
    for layer in model.layers:
        layers += layer_operators(model, layer, size, load)
    first = [*embedding(model, size, load), *(op for tower in model.towers for op in tower.stored(size.Bx))]
    if present(model.wider_bytes):
        first.append(Wider("wider_weights", "norm", 1, model.wider_bytes, 1))
    return Pass(first, layers, head(model, size, load.b, logits))


def _with_encoder(model: ModelSpec, encoder: ModelSpec, size: ElementBytes, load: Load) -> Pass:
    """A pass of an encoder and a decoder.

    A prompt is the encoder's: it runs once, and the decoder on the token that begins its answer. A decode step is the
    decoder's alone, after the tokens of the prompt, `load.memory`; of its context those are the encoder's, and it sees
    its own first token beside the others.
    """
    if load.decode:
        memory, own = load.memory, load._replace(c=load.c - load.memory + 1)
    else:
        memory, own = load.s, load._replace(s=1, c=1)
    tokens = memory + encoder.own_tokens
    read = _stack(encoder, size, load._replace(s=tokens, c=tokens, decode=False, over=None), 1).operators()
    if present(encoder.own_tokens):
        weights = encoder.own_tokens * encoder.hidden_size
        read.insert(0, Stored("own_tokens", "embedding", 1, weights, size.table(), EVERYWHERE))
    read = [op._replace(name=f"encoder.{op.name}") for op in read]
    if load.decode:
        read = [_idle(op) for op in read]
    found = _stack(model, size, own._replace(memory=memory), own.s)
    return found._replace(first=[*read, *found.first])


def _idle(op: Operator) -> Operator:
    """The weights of a kernel that a pass does not run."""
    params, each = op.params(), getattr(op, "Bw", op.Bx)
    if getattr(op, "bias", False):  # which is in the activations' type
        each = divide(op.stored_bytes(), params)
    facts = EVERYWHERE if op.facts.split in ("tokens", "table") else HEADS
    return Stored(op.name, op.part, op.count, params, each, facts)


def operators(model: ModelSpec, size: ElementBytes, load: Load, logits: Number = 1) -> list[Operator]:
    """Every operator of one forward pass."""
    return forward(model, size, load, logits).operators()


def embedding(model: ModelSpec, size: ElementBytes, load: Load) -> Iterator[Operator]:
    """Tables of tokens, token types and positions, and a norm and a projection where the model has them."""
    width = model.embedding_size if present(model.embedding_size) else model.hidden_size
    build = _builder(model, 1, size, load)
    if present(model.mel_bins):
        yield from _of_sound(model, build)
        return
    projection = build.gemm("embedding_projection", "embedding", width, model.hidden_size, ON_EVERY_GPU)
    rows = 0 if model.target_embedding else model.vocab_size + model.input_only_tokens
    embedded = _table("token_embedding", rows, width, size, load, VOCABULARY)
    yield embedded._replace(Bx=_table_bytes(model, "token_embedding", size))
    if model.embedding_projection == "tokens":
        yield projection
        width = model.hidden_size
    if present(model.type_vocab_size):
        yield _table("token_type_embedding", model.type_vocab_size, width, size, load, EVERYWHERE)
    if model.position_embedding == "learned":
        positions = model.max_position_embeddings + model.position_offset
        yield _table("position_embedding", positions, width, size, load, POSITIONS)
    if model.rotary_table:
        width_of_head = model.layers[0].mixer._asdict()["head_dim"]
        yield _table("rotary_table", model.max_position_embeddings, width_of_head, size, load, EVERYWHERE)
    if model.embedding_norm:
        yield _norm("embedding_norm", model, width, size, load.b, load.s)
    if model.embedding_projection == "sum":
        yield projection._replace(bias=True)
    if present(model.embedding_scales):
        h = model.hidden_size
        yield build.elementwise("embedding_scales", "norm", h, h, TOKENS, weights=model.embedding_scales * h)
    for streams in model.streams:
        yield from streams.before(build, model.num_hidden_layers)


def _of_sound(model: ModelSpec, build: Builder) -> Iterator[Operator]:
    """Two convolutions of three frames each over mel bins, the second of stride 2, and positions (Whisper)."""
    h, load = model.hidden_size, build.load
    frames = build._replace(load=load._replace(s=2 * load.s))
    yield frames.gemm("first_convolution", "embedding", 3 * model.mel_bins, h, ON_EVERY_GPU, bias=True)
    yield frames.elementwise("first_activation", "embedding", h, h, TOKENS)
    yield build.gemm("second_convolution", "embedding", 3 * h, h, ON_EVERY_GPU, bias=True)
    yield build.elementwise("second_activation", "embedding", h, h, TOKENS)
    yield _table("position_embedding", model.max_position_embeddings, h, build.bytes, load, POSITIONS)


def layer_operators(model: ModelSpec, layer: Layer, size: ElementBytes, load: Load) -> Iterator[Operator]:
    """Mixer and MLP of one kind of layer, with the norms around them."""
    build = _builder(model, layer.count, size, load)._replace(
        unquantized=layer.unquantized, formats=layer.formats, reused=layer.reuses_weights
    )
    for name, block in (("attention", layer.mixer), ("mlp", layer.mlp)):
        if isinstance(block, NoBlock):
            continue
        # Parallel blocks share the first norm.
        has_norm = name not in {"parallel": ("mlp",), "mlp": ("attention",), "none": (name,)}.get(layer.norms, ())
        normed = has_norm or layer.norms == "parallel"
        if has_norm:
            yield build.layer_norm(f"{name}_norm", NORM_OF_INPUT, scales=layer.residual_scales)
        yield from block.operators(build) if normed else _opened(block.operators(build))
        if layer.norms == "sandwich":
            yield build.layer_norm(f"post_{name}_norm", RESIDUAL_NORM)
        if name == "attention" and layer.cross_attention is not None:
            yield from layer.cross_attention.operators(build)
    for streams in model.streams:
        yield from streams.inside(build)


def predictors(model: ModelSpec, depth: int, size: ElementBytes, load: Load) -> list[Operator]:
    """Modules that are trained to predict further tokens, `depth` of them (DeepSeek-V3, arXiv 2412.19437, section 2.2).

    Each has norms, a projection of the token's embedding and the hidden state before it to one, a layer like the
    model's last, and the LM head, whose weights are the model's.
    """
    build = _builder(model, depth, size, load)
    h, last = model.hidden_size, model.layers[-1]._replace(count=depth)
    joined = build.gemm("mtp_projection", "mlp", 2 * h, h, ON_EVERY_GPU)
    norms = [build.layer_norm(f"mtp_{of}_norm", RESIDUAL_NORM) for of in ("embedding", "hidden")]
    return [*norms, joined, *layer_operators(model, last, size, load)]


def head(model: ModelSpec, size: ElementBytes, b: Number, positions: Number) -> list[Operator]:
    """From the final norm to the LM head, at so many positions of each of b sequences.

    Of a model that sorts whole sequences, pooler and labels run on one position of each.
    """
    h, v = model.hidden_size, model.vocab_size
    t = model.head_size if present(model.head_size) else h
    build = _builder(model, 1, size, Load(b, positions, positions))
    found: list[Operator] = [op for streams in model.streams for op in streams.after(build)]
    if model.final_norm:
        found.append(_norm("final_norm", model, h, size, b, positions))
    if model.idle_pooler:
        found.append(Stored("idle_pooler", "lm_head", 1, h * h + h, size.Bw))
    if model.head != "lm":
        return [*found, *_labels(model, build)]
    if present(model.head_size):
        bias = model.head_transform and not model.head_without_bias
        found.append(build.gemm("head_projection", "lm_head", h, t, ON_EVERY_GPU, bias=bias))
    if model.head_transform:  # with the activation
        weights = NORM_WEIGHTS[model.norm] * t
        found.append(Elementwise("head_norm", "norm", 1, b, positions, t, t, weights, size.Bx, TOKENS))
    tied = model.tie_word_embeddings
    Bw = build.weight("lm_head", "lm_head", t, v, LOGITS) if model.quantized_lm_head else size.head()
    if tied and model.table_formats:
        Bw = _table_bytes(model, "token_embedding", size)
    elif own_format(model.table_formats, "lm_head"):
        Bw = build._replace(formats=model.table_formats).weight("lm_head", "lm_head", t, v, LOGITS)
    if present(size.Bh):
        Bw = size.Bh
    return [*found, Gemm("lm_head", "lm_head", 1, b, positions, t, v, model.lm_head_bias, tied, Bw, size.Bx, LOGITS)]


def _labels(model: ModelSpec, build: Builder) -> Iterator[Operator]:
    """The pooler and the projection to labels, where a model has them: on one position, or where each has labels."""
    h, first = model.hidden_size, build._replace(load=build.load._replace(s=1))
    where = build if model.head == "token" else first
    width = model.pooler_size if present(model.pooler_size) else h
    if model.pooler or present(model.pooler_size):
        yield where.gemm("pooler", "lm_head", h, width, ON_EVERY_GPU, bias=not present(model.pooler_size))
    if model.head != "none":
        yield where.gemm("label_head", "lm_head", width, model.num_labels, ON_EVERY_GPU, bias=model.label_bias)


def _opened(kernels: Iterator[Operator]) -> Iterator[Operator]:
    """The kernels of a block without a norm before it: the first one reads a tensor that is new to the block."""
    for place, op in enumerate(kernels):
        new = place == 0 and "facts" in op._fields
        yield op._replace(facts=op.facts._replace(opens=True)) if new else op


def _builder(model: ModelSpec, count: Number, size: ElementBytes, load: Load) -> Builder:
    rotary, both_ways = model.position_embedding == "rotary", model.bidirectional
    return Builder(count, model.hidden_size, rotary, model.norm, load, size, both_ways=both_ways, routing=model.routing)


def _table(name: str, rows: Number, width: Number, size: ElementBytes, load: Load, facts: Facts) -> Operator:
    return Lookup(name, "embedding", 1, load.b, load.s, rows, width, size.table(), facts)


def _table_bytes(model: ModelSpec, name: str, size: ElementBytes) -> Number:
    """Bytes an element of the embedding or the LM head, of a model that has formats of their own for them."""
    kept = own_format(model.table_formats, name)
    if kept is None:
        return size.table(tied=model.tie_word_embeddings)
    width = model.embedding_size if present(model.embedding_size) else model.hidden_size
    return bytes_of(kept.bits_a_weight + kept.channel / width) if kept.channel else bytes_of(kept.bits_a_weight)


def _norm(name: str, model: ModelSpec, width: Number, size: ElementBytes, b: Number, s: Number) -> Operator:
    weights = NORM_WEIGHTS[model.norm] * width
    return Elementwise(name, "norm", 1, b, s, 2 * width, 2 * width, weights, size.Bx, RESIDUAL_NORM)
