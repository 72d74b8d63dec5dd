"""Shared by the tests of training: a GPT as the papers have it, and a step's parts."""

from llmcost.model.blocks import GroupedAttention, PlainMlp
from llmcost.model.spec import Layer, ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.specs.catalog import load_hardware
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.recipe import Recipe
from llmcost.training.shares import shares_for
from llmcost.training.step import training_chip

A100 = load_hardware("a100-80gb-sxm")
PAPER = Recipe(attention="unfused", dropout=True)  # before FlashAttention, with dropout
ZERO_PAPER = Recipe(grad_bytes=2, reduce_bytes=2)


def gpt(h=1024, heads=16, layers=8, vocab=51200, positions=2048):
    """A GPT with biases, LayerNorm, learned positions, an MLP of 4h and a tied head."""
    attention = GroupedAttention(heads, heads, h // heads, h // heads, attention_bias=True, attention_output_bias=True)
    layer = Layer(layers, attention, PlainMlp(4 * h, mlp_bias=True))
    return ModelSpec(
        "gpt", "GPT", "the papers", h, vocab, positions, True, (layer,), position_embedding="learned", norm="layer"
    )


def setup(model, layout=Layout(), recipe=Recipe(), seq=2048, hardware=A100):  # noqa: B008
    return Setup(model, layout, recipe, seq, training_chip(hardware, recipe, layout), shares_for(hardware, recipe))


def passes(*arguments, **named):
    at = setup(*arguments, **named)
    return at, forward_pass(at)
