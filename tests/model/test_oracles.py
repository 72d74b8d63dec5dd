"""Against the reference implementations: transformers' models on the meta device, counted by torch.

Nothing is allocated: meta tensors have shapes only. Both counters are independent of ours: parameters are
those that transformers creates from a configuration, FLOPs those of the kernels that torch sees running.
"""

from functools import lru_cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from uniform import CLASSIC, changed, size

from llmcost.model.architecture import operators
from llmcost.model.counting import count_params
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_model

LAYERS = 2  # of both models where FLOPs are counted: a forward pass of 126 layers takes seconds even without data
LOADS = [(1, 1), (1, 7), (3, 64), (2, 1000)]  # sequences, tokens of each


def llama(spec, layers):
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=spec.hidden_size,
            intermediate_size=size(spec, "intermediate_size"),
            num_hidden_layers=layers,
            num_attention_heads=size(spec, "num_attention_heads"),
            num_key_value_heads=size(spec, "num_key_value_heads"),
            head_dim=size(spec, "head_dim"),
            vocab_size=spec.vocab_size,
            max_position_embeddings=spec.max_position_embeddings,
            tie_word_embeddings=spec.tie_word_embeddings,
            attention_bias=size(spec, "attention_bias"),
            mlp_bias=size(spec, "mlp_bias"),
            attn_implementation="eager",  # two matrix products that the counter sees
        )
    )


def gpt2(spec, layers):
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=spec.hidden_size,
            n_inner=size(spec, "intermediate_size"),
            n_layer=layers,
            n_head=size(spec, "num_attention_heads"),
            vocab_size=spec.vocab_size,
            n_positions=spec.max_position_embeddings,
            tie_word_embeddings=spec.tie_word_embeddings,
            attn_implementation="eager",
        )
    )


@lru_cache
def reference(name, layers):
    """The model as transformers builds it, without data."""
    spec = load_model(name)
    with torch.device("meta"):
        return (llama if spec.position_embedding == "rotary" else gpt2)(spec, layers)


def part_of(parameter):
    """The part of the model that we book a parameter of transformers' under, by its name there."""
    pieces = set(parameter.split("."))
    for part, words in {
        "embedding": {"embed_tokens", "wte", "wpe"},
        "norm": {"input_layernorm", "post_attention_layernorm", "norm", "ln_1", "ln_2", "ln_f"},
        "attention": {"self_attn", "attn"},
        "mlp": {"mlp"},
        "lm_head": {"lm_head"},
    }.items():
        if pieces & words:
            return part
    raise AssertionError(f"{parameter} is in no part")


@pytest.mark.parametrize("name", CLASSIC)
def test_parameters_equal_transformers_part_by_part(name):
    spec = load_model(name)
    theirs = dict.fromkeys(("embedding", "attention", "mlp", "norm", "lm_head"), 0)
    for parameter, tensor in reference(name, spec.num_hidden_layers).named_parameters():  # a tied one comes up once
        theirs[part_of(parameter)] += tensor.numel()
    ours = estimate(spec).model.params
    assert {part: getattr(ours, part) for part in theirs} == theirs
    assert ours.total == sum(theirs.values())


@lru_cache
def counted(name, b, s):
    """What torch counts in a forward pass: linear layers, attention, LM head."""
    model = reference(name, LAYERS)
    tokens = torch.zeros(b, s, dtype=torch.long, device="meta")
    mask = torch.zeros(
        b, 1, s, s, device="meta"
    )  # given, so that transformers does not look into positions that have no data
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(tokens, attention_mask=mask, use_cache=False)
    by_operator = {str(operator): flops for operator, flops in counter.get_flop_counts()["Global"].items()}
    attention = by_operator.get("aten.bmm", 0)
    head = sum(counter.get_flop_counts()[f"{type(model).__name__}.lm_head"].values())
    assert counter.get_total_flops() == sum(by_operator.values())
    return counter.get_total_flops() - attention - head, attention, head


@pytest.mark.parametrize(("b", "s"), LOADS)
@pytest.mark.parametrize("name", CLASSIC)
def test_flops_of_a_forward_pass_equal_torchs(name, b, s):
    spec = changed(load_model(name), num_hidden_layers=LAYERS)
    linear, attention, head = counted(name, b, s)
    ops = operators(spec, element_bytes("fp32", "fp32", "fp32"), Load(b, s, s), logits=s)
    flops = {op.name: op.count * op.flops(causal=False) for op in ops}
    assert flops["attention"] == attention  # every pair: eager attention computes those that the mask then drops
    assert flops["lm_head"] == head
    assert sum(flops.values()) - flops["attention"] - flops["lm_head"] == linear
    assert estimate(spec, None, Options(batch=b, context=s)).flops.forward.full == linear + attention + head


@pytest.mark.parametrize("name", ["gpt2", "llama3-8b"])
def test_every_layer_adds_the_same_so_that_two_stand_for_all(name):
    """Both ours and transformers': the difference from one layer to two is that from two to three."""
    spec = load_model(name)
    theirs = [sum(tensor.numel() for tensor in reference(name, layers).parameters()) for layers in (1, 2, 3)]
    ours = [estimate(changed(spec, num_hidden_layers=layers)) for layers in (1, 2, 3)]
    assert theirs == [each.model.params.total for each in ours]
    assert theirs[1] - theirs[0] == theirs[2] - theirs[1]
    flops = [each.flops.forward.full for each in ours]
    assert flops[1] - flops[0] == flops[2] - flops[1] > 0


def test_a_head_size_that_is_not_hidden_over_heads_agrees_too():
    """6 heads of 48 on a hidden size of 192: head_dim is a field of its own, never hidden / heads."""
    spec = changed(
        load_model("llama3.2-1b"),
        hidden_size=192,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=48,
        num_hidden_layers=LAYERS,
        attention_bias=True,
    )
    with torch.device("meta"):
        model = llama(spec, LAYERS)
    ours = count_params(operators(spec, element_bytes("bf16", "bf16", "bf16"), Load(1, 1, 1)))
    # With attention_bias transformers puts a bias on all four projections, as we do.
    assert ours.total == sum(tensor.numel() for tensor in model.parameters())


def test_torchs_own_attention_kernel_counts_as_ours_does():
    """Scaled dot-product attention without a mask, grouped heads: 4·b·a·d·s·c, the 2 of q·kᵀ and the 2 of p·v."""
    b, a, g, d, s, c = 2, 8, 2, 16, 5, 9
    spec = changed(load_model("llama3-8b"), num_attention_heads=a, num_key_value_heads=g, head_dim=d)
    query, key = torch.empty(b, a, s, d, device="meta"), torch.empty(b, g, c, d, device="meta")
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    (op,) = [
        op for op in operators(spec, element_bytes("bf16", "bf16", "bf16"), Load(b, s, c)) if op.name == "attention"
    ]
    assert op.flops(causal=False) == counter.get_total_flops() == 4 * b * a * d * s * c
