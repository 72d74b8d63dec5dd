"""What laws are held against: any model, GPU and workload, drawn by hypothesis."""

from hypothesis import settings
from hypothesis import strategies as st

from llmcost.model.blocks import Experts, GatedMlp, GroupedAttention, PlainMlp
from llmcost.model.sizes import element_bytes
from llmcost.model.spec import Layer, ModelSpec
from llmcost.serving.estimate import Options
from llmcost.specs.hardware import Figure, HardwareSpec

laws = settings(deadline=None, max_examples=60)


BASES = ("textbook", "limit", "expected")


@st.composite
def models(draw):
    """Any decoder that a spec can describe, up to a few hundred billion parameters."""
    kv_heads, head_dim, mlp = (
        draw(st.integers(1, 16)),
        draw(st.integers(1, 256)),
        draw(st.sampled_from([GatedMlp, PlainMlp])),
    )
    bias = draw(st.booleans())
    attention = GroupedAttention(
        num_attention_heads=kv_heads * draw(st.integers(1, 8)),
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=head_dim,
        attention_bias=bias,
        attention_output_bias=bias,
    )
    layer = Layer(draw(st.integers(1, 130)), attention, mlp(draw(st.integers(1, 50000)), draw(st.booleans())))
    return ModelSpec(
        name="drawn",
        title="Drawn",
        source="a test",
        hidden_size=draw(st.integers(1, 16384)),
        vocab_size=draw(st.integers(1, 200_000)),
        max_position_embeddings=draw(st.integers(8, 131_072)),
        tie_word_embeddings=draw(st.booleans()),
        layers=(layer,),
        position_embedding=draw(st.sampled_from(["rotary", "learned"])),
        norm=draw(st.sampled_from(["rms", "layer"])),
    )


@st.composite
def chips(draw):
    """Any GPU with known peaks, no lower in narrower types: to 10 TB, 20 TB/s and 10 PFLOPS."""

    def figure(low, high):
        return Figure(draw(st.integers(low, high)), "drawn", "a test")

    peaks = sorted((figure(10**11, 10**16) for _ in range(3)), key=lambda peak: peak.value)
    return HardwareSpec(
        name="drawn",
        title="Drawn",
        vendor="a test",
        memory=figure(10**9, 10**13),
        sources={"a test": {"title": "a test"}},
        bandwidth=figure(10**9, 2 * 10**13),
        peak=dict(zip(("fp32", "bf16", "fp8"), peaks, strict=True)),
    )


@st.composite
def options(draw, model, prompt=True):
    """Any workload that the model takes."""
    context = draw(st.integers(1, model.max_position_embeddings))
    return Options(
        batch=draw(st.integers(1, 1000)),
        context=context,
        prompt=draw(st.none() | st.integers(1, context)) if prompt else None,
        dtype=draw(st.sampled_from(["bf16", "fp8", "fp32"])),
        weight_dtype=draw(st.sampled_from([None, "int4", "int8", "bf16"])),
        kv_dtype=draw(st.sampled_from([None, "fp4", "fp8", "bf16"])),
        mfu=draw(st.sampled_from([0.3, 0.5, 1.0])),
        memory_utilization=draw(st.sampled_from([0.5, 0.9, 1.0])),
    )


@st.composite
def cases(draw, prompt=True):
    """A model, a GPU and a workload."""
    model = draw(models())
    return model, draw(chips()), draw(options(model, prompt=prompt))


@st.composite
def spread_cases(draw):
    """The same with experts, on several GPUs: as any layout divides them, with a batch that it need not divide."""
    model, chip, chosen = draw(cases())
    (layer,) = model.layers
    tp, pp = draw(st.sampled_from([1, layer.mixer.num_key_value_heads])), draw(st.sampled_from([1, layer.count]))
    dp, link = draw(st.integers(1, 9)), Figure(10**11, "drawn", "a test")
    stage = tp * dp  # of whose GPUs as many as hold all experts once must divide it
    ep = draw(st.sampled_from([n for n in range(1, stage + 1) if stage % n == 0 and (n >= dp or dp % n == 0)]))
    number, width = ep * draw(st.integers(1, 8)), min(tp, stage // ep) * draw(st.integers(1, 1000))
    experts = Experts(number, draw(st.integers(1, number)), width)
    chosen = chosen._replace(tp=tp, pp=pp, dp=dp, ep=ep, chunk=draw(st.none() | st.integers(1, 10_000)))
    return model._replace(layers=(layer._replace(mlp=experts),)), chip._replace(interconnect=link, fabric=link), chosen


def bytes_of(w):
    """The element sizes of a workload."""
    return element_bytes(w.weight_dtype, w.dtype, w.kv_dtype)
