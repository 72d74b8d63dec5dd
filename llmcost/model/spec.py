"""What a model is: the sizes and the kinds of its blocks, under Hugging Face's names."""

from typing import NamedTuple

from llmcost.ground.algebra import Number
from llmcost.model.blocks import Block, Streams
from llmcost.model.operators import UNIFORM, Routing
from llmcost.model.towers import Tower


class Published(NamedTuple):
    """A figure that a document prints and that is not what our engine computes, with the reason."""

    quantity: str
    printed: str
    document: str
    why: str
    hardware: str | None = None


class Trained(NamedTuple):
    """How a model was trained by those who made it: tokens of a sequence and of a step for most of the run.

    `dtype`: of its matrix products; None: not told, or the usual one. `mtp`: modules that predicted further tokens.
    """

    seq: int
    batch_tokens: int
    source: str
    dtype: str | None = None
    mtp: int = 0


class Layer(NamedTuple):
    """One kind of layer, and how many of it.

    `norms`: before mixer and MLP (pre), the MLP alone (mlp), after both (post), before and after (sandwich), one for
    the two (parallel), or none. `residual_scales`: learned vectors as wide as the hidden size at each addition to it.
    `unquantized`: linear layers that are not in the model's `weight_format`: attention, mlp, experts, shared_experts,
    or single operators as `llmcost ops` names them. `formats`: those that have a format of their own, such as
    o_proj=int8-channel, where weights are kept in the model's own format. `reuses_weights`: those of an earlier layer
    of the kind, but for adapters.
    """

    count: Number
    mixer: Block
    mlp: Block
    norms: str = "pre"
    residual_scales: Number = 0
    cross_attention: Block | None = None
    unquantized: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    reuses_weights: bool = False


class ModelSpec(NamedTuple):
    """A decoder-only or encoder-only model: embedding, layers (kinds of them, each with its count), final norm, head.

    `norm`: rms has a weight a channel, layer a weight and a bias. `weight_format`: what the weights of linear layers
    are kept in, where that is not `dtype` (and, after a "+", those of routed experts); with `quantized_lm_head` the
    LM head's too.

    `embedding_size`: the width of the embedding, if another than the hidden size; a projection of the tokens alone
    (no bias), or of the sum with positions and token types (with a bias), makes up for it. `input_only_tokens`: rows
    of the embedding that the LM head has no output for. `position_offset`: rows of the position table before the
    first position. `rotary_table`: the angles are stored. `embedding_scales`: vectors as wide as the hidden size by
    which what enters the layers is scaled and shifted, or that begin a state beside it. `target_embedding`: a draft
    model's table of tokens is its target's, read and not stored. `head_size`: a linear layer of
    so many outputs stands before the LM head, with an activation, a norm and a bias if `head_transform` (none if
    `head_without_bias`).
    `pooler`: a linear layer as wide as the hidden size, which runs on the first token, or on each token that has
    labels; with a `pooler_size` it is as wide as that, without a bias. `idle_pooler`: one is stored that nothing runs.
    `bidirectional`: every token sees all others. `head`: logits of the vocabulary (lm), of `num_labels` for each
    sequence or each token, with a bias where `label_bias`, or none.
    `counted`: what of the model the spec holds, in words, where that is not all of it.
    `towers`: encoders of images and sound beside it, which run in prefill where there are any.
    `encoder`: what reads the prompt, whose states the layers look at by cross-attention; the model itself then begins
    with one token, and its cache with what it generates. An encoder has no head, and its tokens' embedding is the
    model's own, unless it has a `vocab_size`; with `mel_bins` it reads frames of sound instead, two for a position, by
    two convolutions. `own_tokens`: learned ones that an encoder puts beside those of every prompt.
    `unread`: why the format of the weights is not known, of a checkpoint whose quantisation is not understood.
    `routing`: the law by which its routers send tokens to experts, which a workload chooses and no spec has.
    `seen`: states of images that a workload has its layers look at by cross-attention.
    `unknown_keys`: those of the config that are not understood and were left out all the same: counts may be wrong.
    `table_formats`: what the embedding and the LM head are kept in, as token_embedding=q4_k, where each has a format of
    its own beside `weight_format`. `wider_bytes`: what norms, biases and all else without a format take beyond the
    bytes of activations, in a checkpoint that keeps them in 32 bits.
    `trained`: how its makers trained it, where they published that.
    Where a field may be left out of a spec, the default is the Llama family's.
    """

    name: str
    title: str
    source: str
    hidden_size: Number
    vocab_size: Number
    max_position_embeddings: Number
    tie_word_embeddings: bool
    layers: tuple[Layer, ...]
    streams: tuple[Streams, ...] = ()
    towers: tuple[Tower, ...] = ()
    encoder: "ModelSpec | None" = None
    mel_bins: Number = 0
    own_tokens: Number = 0
    aliases: tuple[str, ...] = ()
    released: str = ""
    dtype: str = "bf16"
    position_embedding: str = "rotary"
    norm: str = "rms"
    embedding_norm: bool = False
    embedding_size: Number = 0
    embedding_projection: str = "none"
    input_only_tokens: Number = 0
    type_vocab_size: Number = 0
    position_offset: Number = 0
    rotary_table: bool = False
    embedding_scales: Number = 0
    target_embedding: bool = False
    final_norm: bool = True
    head_size: Number = 0
    head_transform: bool = False
    head_without_bias: bool = False
    pooler: bool = False
    pooler_size: Number = 0
    idle_pooler: bool = False
    bidirectional: bool = False
    head: str = "lm"
    num_labels: Number = 0
    label_bias: bool = False
    lm_head_bias: bool = False
    weight_format: str = ""
    quantized_lm_head: bool = False
    table_formats: tuple[str, ...] = ()
    wider_bytes: Number = 0
    routing: Routing = UNIFORM
    seen: Number = 0
    notes: tuple[str, ...] = ()
    counted: str = ""
    unread: str = ""
    unknown_keys: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    trained: Trained | None = None

    def without_formats(self) -> "ModelSpec":
        """The same, all linear layers in one format: what is chosen for them in place of the model's own."""
        if not self.has_own_formats() and not self.wider_bytes:
            return self
        layers = tuple(layer._replace(formats=()) for layer in self.layers)
        return self._replace(layers=layers, table_formats=(), wider_bytes=0)

    def has_own_formats(self) -> bool:
        """Whether some linear layers, the embedding or the LM head have a format of their own."""
        return bool(self.table_formats) or any(layer.formats for layer in self.layers)

    def text_alone(self) -> "ModelSpec":
        """The text model without towers: what training counts, where these are mostly frozen."""
        if not self.towers:
            return self
        names = " and ".join(tower.title for tower in self.towers)
        return self._replace(towers=(), counted=f"the text model alone, without the {names}")

    @property
    def generates(self) -> bool:
        """Whether it gives tokens one by one, from a cache of those before; if not, it runs whole sequences once."""
        return self.head == "lm" and not self.bidirectional

    @property
    def has_position_table(self) -> bool:
        """Whether a row is stored for every position: beyond the last one the model cannot run at all."""
        return self.position_embedding == "learned" or self.rotary_table

    @property
    def longest(self) -> Number:
        """The most positions of a request: with an encoder, those of both."""
        return self.max_position_embeddings + (0 if self.encoder is None else self.encoder.max_position_embeddings)

    @property
    def num_hidden_layers(self) -> Number:
        """How many layers there are, of all kinds together."""
        return sum(layer.count for layer in self.layers)

    def looks_at_images(self) -> bool:
        """Whether layers of its own look at images, which then are no tokens of the prompt."""
        return any(hasattr(layer.mixer, "image_mlp_size") for layer in self.layers)

    def drafts_together(self) -> bool:
        """Whether it is a draft model that guesses all tokens of a step in one pass."""
        return any(getattr(stream, "drafts_together", False) for stream in self.streams)

    def has_experts(self) -> bool:
        """Whether some of its MLPs are routed experts: structure, whatever the sizes are."""
        return any(hasattr(layer.mlp, "num_experts") for layer in self.layers)

    def expert_layers(self) -> Number:
        """How many of its layers have routed experts."""
        return sum([layer.count for layer in self.layers if hasattr(layer.mlp, "num_experts")])

    def block_sizes(self, *fields: str) -> tuple[int, ...]:
        """The values that these fields have in the blocks of all kinds of layers, each once; 0 is none."""
        blocks = (block for layer in self.layers for block in (layer.mixer, layer.mlp))
        found = (getattr(block, field, 0) for block in blocks for field in fields)
        return tuple(dict.fromkeys(size for size in found if size))
