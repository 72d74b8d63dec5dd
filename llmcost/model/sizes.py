"""What a pass depends on besides the model: bytes an element of each kind of tensor, and the tokens."""

from typing import NamedTuple

from llmcost.ground.algebra import Number, present
from llmcost.ground.units import BITS
from llmcost.model.formats import CACHE_SCALE, CACHES, FORMATS, ROTARY_PART, Format


class ElementBytes(NamedTuple):
    """Bytes an element of each kind of tensor.

    Bw: weights of linear layers. Bx: activations, and all other weights. Bkv: the KV cache. Bc: what each output
    channel of a linear layer has for its scale. Bt: the embedding and the LM head, where the weights' format holds for
    them (0: as activations). Be: weights of routed experts, where they have a format of their own (0: as the other
    weights). Bh: the LM head, where its format was given (0: as the embedding). Bd: activations on their way to
    experts, in the type that linear layers compute in, with scales. Bm: elements of that type alone (both 0: as
    activations). Br: the rotary part of a latent in the cache (0: as the cache). Bs: what each head's key or value of a
    token has for its scale. Bq: codebooks of a matrix, all together. Bi: what each of its input channels has. Bo: the
    LM head, and an embedding that is the LM head too, where the weights' format has another one for them (0: as Bt).
    """

    Bw: Number
    Bx: Number
    Bkv: Number
    Bc: Number = 0
    Bt: Number = 0
    Be: Number = 0
    Bh: Number = 0
    Bd: Number = 0
    Bm: Number = 0
    Br: Number = 0
    Bs: Number = 0
    Bq: Number = 0
    Bi: Number = 0
    Bo: Number = 0

    def table(self, *, tied: bool = False) -> Number:
        """Bytes an element of the embedding; `tied`: which is the LM head too."""
        if tied and present(self.Bo):
            return self.Bo
        return self.Bt if present(self.Bt) else self.Bx

    def head(self) -> Number:
        """Bytes an element of the LM head, where nothing says a format of its own."""
        return self.table(tied=True)


# Engines that compute in 8 or 4 bits quantise tokens before they are sent to experts: fp8 with an fp32 scale for 128
# (DeepEP, tests/test_internode.py), int8 with one a token, fp4 as nvfp4 (TensorRT-LLM).
DISPATCHED = {"fp8": Format(8, 128, 32), "int8": Format(8), "fp4": FORMATS["nvfp4"]}


class Load(NamedTuple):
    """One forward pass: b sequences of s new tokens, the last of which sees c keys.

    Decode is s = 1; a whole prompt is s = c; a chunk of one lies between. `decode` says that a kernel made
    for a single new token may be used, where there is one (latent attention). `cached`: keys and values are kept for
    tokens that come later; in training, and where a model gives no tokens, none come. `over`: the passes of s tokens
    each that this one is the mean of, as the keys before the first of them and how many they are; None: of none but
    itself. `memory`: of a model with an encoder, the tokens whose states its decoder looks at: in decode those of the
    prompt. Of other models it changes nothing.
    """

    b: Number
    s: Number
    c: Number
    decode: bool = False
    cached: bool = True
    over: tuple[Number, Number] | None = None
    memory: Number = 0


def bytes_of(bits: float) -> int | float:
    """Bytes an element: an int for whole bytes, so that counts stay exact."""
    return int(bits) // 8 if bits % 8 == 0 else bits / 8


def computed_in(dtype: str) -> str:
    """The type that products compute in: fp8 also where scales come in blocks."""
    return dtype.partition("-")[0]


def activation_dtype(dtype: str) -> str:
    """What activations and weights that are never quantised are kept in, where linear layers compute in `dtype`.

    Engines that compute in 8 or 4 bits quantise the inputs of linear layers on the way in and keep bf16 between them.
    """
    return dtype if BITS[dtype] >= 16 else "bf16"


def dispatched_bytes(compute: str) -> tuple[Number, Number]:
    """Bd and Bm of `ElementBytes` where linear layers compute in `compute`."""
    sent = DISPATCHED.get(compute)
    return (bytes_of(sent.bits_a_weight), bytes_of(sent.bits)) if sent else (0, 0)


def element_bytes(weight: str, compute: str, kv: str, head: str | None = None) -> ElementBytes:
    """The element sizes of a workload, from its data types and the format of its weights.

    `weight`: the format of linear layers, and after a "+" that of routed experts. `head`: the format of the LM head,
    where it is not that of the embedding.
    """
    linear, _, experts = weight.partition("+")
    kept = FORMATS.get(linear) or Format(BITS[linear])
    w, x = bytes_of(kept.bits_a_weight), bytes_of(BITS[activation_dtype(compute)])
    e = bytes_of((FORMATS.get(experts) or Format(BITS[experts])).bits_a_weight) if experts else 0
    of_head = (FORMATS.get(head) or Format(BITS[head])) if head else Format(0)
    h = bytes_of(of_head.head or of_head.bits_a_weight) if head else 0
    cached = bytes_of((FORMATS.get(kv) or CACHES.get(kv) or Format(BITS[kv])).bits_a_weight)
    table, rotary, scale = (
        bytes_of(kept.table) if kept.table else w if kept.everywhere else 0,
        ROTARY_PART.get(kv, 0),
        CACHE_SCALE.get(kv, 0),
    )
    return ElementBytes(
        *(w, x, cached, bytes_of(kept.channel), table, e, h, *dispatched_bytes(compute)),
        Br=rotary,
        Bs=scale,
        Bq=bytes_of(kept.matrix),
        Bi=bytes_of(kept.inputs),
        Bo=bytes_of(kept.head) if kept.head else 0,
    )
