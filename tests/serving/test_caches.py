"""Caches as engines allocate them: pages, windows, groups, formats; and how far a GPU can be filled with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.model.architecture import forward
from llmcost.model.sizes import ElementBytes, Load
from llmcost.serving.caches import allocation
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model

H100, H200 = load_hardware("h100-sxm"), load_hardware("h200")
KIB = 2**10


def allocated(name, piece=2048):
    return allocation(forward(load_model(name), ElementBytes(2, 2, 2), Load(1, 1, 4096, decode=True)).layers, piece, 16)


def test_a_sequence_takes_whole_pages_of_16_tokens():
    """32 layers, 8 heads of 128, keys and values, 2 bytes: 131,072 bytes a token."""
    caches = allocated("llama3-8b")
    assert [caches.sequence(context) for context in (1, 16, 17)] == [16 * 131_072, 16 * 131_072, 32 * 131_072]


def test_a_window_keeps_what_stands_before_it_and_the_piece_of_a_prompt():
    """w - 1 + piece tokens in whole pages, and a page, as a window begins anywhere in one (vLLM, SlidingWindowSpec).

    gpt-oss-120b: 18 layers of 2·8·64·2 = 2,048 bytes a token with a window of 128, 18 without one.
    """
    (window,) = allocated("gpt-oss-120b", piece=1000).windows
    assert window == (18 * 2 * KIB, 128 + 16, 1136 + 16)  # 127 + 1,000 tokens are 71 pages
    caches = allocated("gpt-oss-120b", piece=1000)
    assert caches.sequence(5000) == 18 * 2 * KIB * (5008 + 144)
    assert caches.prompt(5000) == 18 * 2 * KIB * (1152 - 144)
    assert caches.prompt(100) == 0  # a context in which no window is full


def test_groups_of_layers_are_filled_up():
    """vLLM's groups have as many layers as the kind with the fewest: 52 windows of gemma-3-27b are six groups of 10.

    40 and 41 layers would be one group of 41 each, as that is less than a quarter more.
    """
    a_layer = 2 * 16 * 128 * 2
    caches = allocated("gemma-3-27b")
    assert (caches.growing, caches.windows[0].position) == (10 * a_layer, 60 * a_layer)

    model = load_model("gemma-3-27b")
    local, far = model.layers
    near = model._replace(layers=(local._replace(count=41), far._replace(count=40)))
    layers = forward(near, ElementBytes(2, 2, 2), Load(1, 1, 4096, decode=True)).layers
    assert allocation(layers, 2048, 16).growing == 41 * a_layer


def test_a_page_has_room_for_a_state():
    """vLLM says "attention block size 544" of Qwen3-Next (vllm-project/vllm, pull request 32492).

    A layer's state is 32·128·128 + 3·8,192 elements of 2 bytes; a token is 2·2·256 elements in one of 12 layers.
    """
    state, token = (32 * 128 * 128 + 3 * 8192) * 2, 2 * 2 * 256 * 2
    caches = allocated("qwen3-next-80b-a3b")
    assert caches.page == 544 == -(-state // (16 * token)) * 16
    assert caches.states == 36 * 544 * token


@pytest.mark.parametrize(
    "model, kv, bytes_a_token",
    [
        ("llama3-8b", "q8_0", 32 * 2048 * 34 / 32),  # ollama/ollama#6276: 2.125 GiB of 32,768 tokens
        ("llama3-8b", "q4_0", 32 * 2048 * 18 / 32),
        ("llama3-8b", "nvfp4", 32 * 2048 * 9 / 16),  # an fp8 scale for 16 elements
        ("llama3-8b", "fp8_per_token_head", 32 * (2048 + 2 * 8 * 4)),
        ("deepseek-v3", "fp8_ds_mla", 61 * 656),  # 512 + 4·4 + 64·2
        ("deepseek-v3.2", "fp8_ds_mla", 61 * (656 + 132)),  # the indexer's 128 and their scale
    ],
)
def test_formats_of_caches_have_their_scales(model, kv, bytes_a_token):
    assert estimate(load_model(model), None, Options(kv_dtype=kv)).kv_cache.bytes_per_token == bytes_a_token


def test_a_format_of_latents_is_refused_where_there_are_none():
    with pytest.raises(InputError, match="fp8_ds_mla: a format of latents"):
        estimate(load_model("llama3-8b"), None, Options(kv_dtype="fp8_ds_mla"))


@pytest.mark.parametrize(
    "name", ["deepseek-v4-flash", "gpt-oss-20b", "gemma-3-12b", "llama4-scout", "qwen3-next-80b-a3b", "nemotron-h-8b"]
)
@settings(deadline=None, max_examples=20)
@given(context=st.integers(1, 20_000), more=st.integers(1, 500))
def test_caches_never_shrink_as_the_context_grows_and_have_room_for_what_is_needed(name, context, more):
    model = load_model(name)._replace(max_position_embeddings=10**6)
    near, far = (
        estimate(model, H200, Options(context=c, prompt=min(c, 3000), weight_dtype="int4")).memory
        for c in (context, context + more)
    )
    assert near.kv_cache_bytes <= far.kv_cache_bytes
    assert near.kv_cache_least_bytes <= near.kv_cache_bytes


@pytest.mark.parametrize(
    "name, batch", [("llama3-8b", 3), ("gpt-oss-120b", 2), ("gemma-3-27b", 4), ("qwen3-8b", 7), ("gemma-2-9b", 9)]
)
@pytest.mark.parametrize("utilization", [0.9, 0.93])
def test_the_largest_context_fits_and_one_token_more_does_not(name, batch, utilization):
    model = load_model(name)._replace(max_position_embeddings=10**7)
    chosen = Options(batch=batch, context=1000, prompt=1000, memory_utilization=utilization)
    longest = estimate(model, H100, chosen).memory.max_context
    assert 1000 < longest < 10**7
    assert estimate(model, H100, chosen._replace(context=longest)).memory.fits
    assert not estimate(model, H100, chosen._replace(context=longest + 1)).memory.fits


@pytest.mark.parametrize("name", ["llama3-8b", "gpt-oss-120b", "gemma-3-27b", "qwen3-0.6b"])
def test_the_largest_batch_fits_and_one_more_does_not(name):
    chosen = Options(context=5000, prompt=5000)
    most = estimate(load_model(name), H100, chosen).memory.max_batch
    assert estimate(load_model(name), H100, chosen._replace(batch=most)).memory.fits
    assert not estimate(load_model(name), H100, chosen._replace(batch=most + 1)).memory.fits


def test_a_page_has_as_many_tokens_as_the_engine_says():
    """One request of 1,001 tokens: whole pages of 16 where nothing is said, of 1, 32 and 64 tokens."""
    a_token = 2 * 32 * 8 * 128 * 2  # bytes: keys and values, layers, heads, width, bf16
    for engine, page in ((None, 16), ("vllm", 16), ("sglang", 1), ("trtllm", 32), ("lmdeploy", 64)):
        held = estimate(load_model("llama3-8b"), H100, Options(engine=engine, context=1001)).memory.kv_cache_bytes
        assert held == -(-1001 // page) * page * a_token, engine
