"""Operators priced by an engine's own kernels."""

import pytest

from llmcost.machine import forms_attention, forms_products, kernels
from llmcost.machine.forms_products import WIDTHS
from llmcost.machine.kernel_times import engine_kernels, product_formats
from llmcost.machine.kernels import figures_of
from llmcost.model.architecture import operators
from llmcost.model.operators import Attention, Collective, Elementwise, Gemm, GroupedGemm
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_hardware, load_model

H100 = load_hardware("h100-sxm")


def ops_of(model, batch, tokens, *, decode, dtype="bf16"):
    load = Load(batch, 1, tokens, decode=True) if decode else Load(batch, tokens, tokens)
    return operators(load_model(model), element_bytes(dtype, "bf16", dtype), load, 1)


def test_a_decoding_dense_model_is_priced_by_products_and_attention_of_its_sizes():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    f = figures_of(H100, "bf16")
    for op in ops_of("llama3.1-8b", 16, 1000, decode=True):
        if isinstance(op, Gemm):
            fit = known.own.find("product", "bf16")
            assert known.seconds(op) == forms_products.product_seconds(fit.numbers, f, 16, op.n, op.k, WIDTHS["bf16"])
        elif isinstance(op, Attention):
            fit = known.own.find("decode", "bf16/bf16")
            assert known.seconds(op) == forms_attention.decode_seconds(fit.numbers, f, 16, op.c, 32, 8, 256)


def test_a_prompt_takes_the_numbers_of_prompts():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    (attention,) = [op for op in ops_of("llama3.1-8b", 1, 4096, decode=False) if isinstance(op, Attention)]
    fit = known.own.find("prefill", "bf16/bf16")
    expected = forms_attention.prefill_seconds(fit.numbers, figures_of(H100, "bf16"), 1, 4096, 4096, 32, 8, 128, 128)
    assert known.seconds(attention) == expected


def test_elementwise_kernels_are_left_to_the_caller():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    norm = next(op for op in ops_of("llama3.1-8b", 1, 16, decode=False) if isinstance(op, Elementwise))
    assert known.seconds(norm) is None


def test_the_two_products_of_experts_add_up_to_the_experts_of_a_layer():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    up, down = [
        op
        for op in ops_of("qwen3-30b-a3b", 64, 1000, decode=True)
        if isinstance(op, GroupedGemm) and op.facts.expert == "routed"
    ]
    fit = known.own.find("experts", "bf16")
    whole = forms_products.experts_seconds(
        fit.numbers, figures_of(H100, "bf16"), 64, 128, 8, 2048, 768, WIDTHS["bf16"], fullest=1
    )  # a GPU alone has the mean, but uneven routing leaves experts untouched
    assert known.seconds(up) + known.seconds(down) == pytest.approx(whole, rel=1e-9)


def test_of_several_kernels_for_experts_the_fastest_is_taken():
    b200 = load_hardware("b200")
    known = engine_kernels("trtllm", b200, "fp4", "nvfp4", "bf16")
    down = next(
        op
        for op in ops_of("deepseek-r1", 16, 1000, decode=True)
        if isinstance(op, GroupedGemm) and op.facts.expert == "routed" and op.facts.last
    )
    fits = known.own.kernels_of("experts", "nvfp4")
    assert len(fits) == 2  # CUTLASS and that of low latency, and not the one without gates
    f, width = figures_of(b200, "fp4"), WIDTHS["nvfp4"]
    sizes = (16, 16 * 8, 256, 7168, 2048, 7168)
    each = [forms_products.expert_product_seconds(fit.numbers, f, *sizes, width, corrected=True) for fit in fits]
    assert known.seconds(down) == min(each)


def test_experts_that_data_parallel_ranks_share_take_the_usual_kernel_in_decode():
    b200 = load_hardware("b200")
    known = engine_kernels("trtllm", b200, "fp4", "nvfp4", "bf16")._replace(usual=True)

    def down(decode):
        ops = ops_of("deepseek-r1", 16, 1000, decode=decode)
        return next(op for op in ops if isinstance(op, GroupedGemm) and op.facts.expert == "routed" and op.facts.last)

    usual = known.own.find("experts", "nvfp4")
    f, sizes = figures_of(b200, "fp4"), (16, 16 * 8, 256, 7168, 2048, 7168)
    slower = forms_products.expert_product_seconds(usual.numbers, f, *sizes, WIDTHS["nvfp4"], corrected=True)
    fastest, prompts = known.on(8, 8), known.on(1, 8)
    assert known.on(1, 8).seconds(down(True)) == pytest.approx(slower, rel=1e-12)
    assert fastest.seconds(down(True)) == known.seconds(down(True)) < slower
    assert prompts.seconds(down(False)) == known.seconds(down(False))


def test_kernels_before_a_product_quantise_for_it_in_nvfp4_alone():
    b200 = load_hardware("b200")
    f = figures_of(b200, "fp4")
    for weights, compute in (("nvfp4", "fp4"), ("fp8-block128", "fp8")):
        known = engine_kernels("trtllm", b200, compute, weights, "bf16")
        product = next(op for op in ops_of("qwen3-32b", 16, 1000, decode=True) if op.name == "o_proj")
        numbers = known.own.find("product", weights).numbers
        alone = known._replace(quantised=True).seconds(product)
        quantising = forms_products.quantise_seconds(numbers, f, 16, product.k, WIDTHS[weights])
        less = quantising if weights == "nvfp4" else 0
        assert known.seconds(product) - alone == pytest.approx(less, rel=1e-9)
        assert quantising > 1e-6  # a kernel's launch


def test_routers_with_a_correction_bias_leave_fewer_experts_without_a_token():
    h100, sizes = figures_of(H100, "bf16"), (16, 16 * 8, 256, 7168, 2048, 7168)
    numbers = engine_kernels("vllm", H100, "bf16", "bf16", "bf16").own.find("experts", "bf16").numbers
    assert numbers.spread < forms_products.CORRECTED.value
    plain, even = (
        forms_products.expert_product_seconds(numbers, h100, *sizes, WIDTHS["bf16"], corrected=corrected)
        for corrected in (False, True)
    )
    assert plain < even
    routing = {
        model: next(op for op in ops_of(model, 1, 8, decode=True) if op.name == "experts_down_proj").facts.routing
        for model in ("deepseek-v3", "minimax-m2.5", "gpt-oss-120b", "qwen3-30b-a3b")
    }
    assert [each.corrected for each in routing.values()] == [True, True, False, False]


def test_latent_attention_has_kernels_of_its_own():
    known = engine_kernels("sglang", H100, "bf16", "bf16", "bf16")
    for decode, form in ((True, "decode"), (False, "prefill")):
        attention = next(op for op in ops_of("deepseek-v3", 8, 2000, decode=decode) if isinstance(op, Attention))
        fit, _ = known._attention(form, attention, ("/latent",))
        assert fit is known.own.find(form, "bf16/bf16/latent")
        assert known.seconds(attention) > fit.numbers.launch


def test_an_all_reduce_is_the_engines_own_while_it_is_small():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    small = Collective("sum", "mlp", 1, "all_reduce", 16, 4096, 8, 1, 8, 2)
    own = known.own.find("collective", "custom_all_reduce")
    link = 450e9
    assert known.seconds(small) == forms_attention.collective_seconds(own.numbers, link, 16 * 4096 * 2, 8)
    large = small._replace(rows=100_000)
    shared = known.shared.find("collective", "all_reduce")
    assert known.seconds(large) == forms_attention.collective_seconds(shared.numbers, link, 100_000 * 4096 * 2, 8)
    assert known.seconds(small._replace(ranks=16)) is None  # over two nodes


def test_formats_take_the_kernels_that_read_them():
    assert product_formats("bf16", "bf16") == ("bf16",)
    assert product_formats("fp8", "fp8") == ("fp8",)
    assert product_formats("fp8", "fp8-channel") == ("fp8",)
    assert product_formats("fp8", "fp8-block128") == ("fp8-block128",)
    assert product_formats("fp4", "nvfp4") == ("nvfp4",)
    assert product_formats("bf16", "int4-g128") == ("int4-weights",)
    assert product_formats("bf16", "int8-channel") == ("int8-weights",)


def test_an_engine_without_numbers_for_a_gpu_has_no_kernels():
    assert engine_kernels("vllm", load_hardware("mi300x"), "bf16", "bf16", "bf16") is None


def test_products_of_a_latents_queries_and_keys_are_one_kernel():
    """Of DeepSeek's 7,168 inputs and 1,536 and 576 outputs: a kernel of 2,112, of which each has its share."""
    known = engine_kernels("sglang", H100, "bf16", "bf16", "bf16")
    q, kv = [op for op in ops_of("deepseek-v3", 8, 1000, decode=True) if op.name in ("q_a_proj", "kv_a_proj")][:2]
    assert (q.n, kv.n) == (1536, 576)
    alone = [known.seconds(q), known.seconds(kv)]
    both = known.together([q, kv], alone)
    assert sum(both) == pytest.approx(known.seconds(q._replace(n=2112)))
    assert both[0] / both[1] == pytest.approx(1536 / 576)
    assert sum(both) < sum(alone)


def experts_of(batch):
    """A layer's routed and shared experts of DeepSeek V3 with so many tokens."""
    ops = ops_of("deepseek-v3", batch, 1000, decode=True)
    routed = [op for op in ops if op.facts.expert == "routed" and isinstance(op, GroupedGemm)]
    return [*routed, *[op for op in ops if op.facts.expert == "shared" and isinstance(op, Gemm)]]


def test_few_tokens_run_shared_experts_beside_the_routed_ones():
    known = engine_kernels("sglang", H100, "bf16", "bf16", "bf16")._replace(beside=256)
    for batch in (1, 8, 256):
        ops = experts_of(batch)
        alone = [known.seconds(op) for op in ops]
        both = known.together(ops, alone)
        moving = sum(op.moved_bytes() for op in ops) / H100.bandwidth.value
        assert both[:2] == alone[:2]
        assert sum(both) == pytest.approx(min(sum(alone), max(sum(alone[:2]), sum(alone[2:]), moving)))
    ops = experts_of(257)
    alone = [known.seconds(op) for op in ops]
    assert known.together(ops, alone) == pytest.approx(alone)


def test_the_choice_of_experts_follows_the_router():
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")._replace(select=1e-7)
    ops = ops_of("qwen3-30b-a3b", 4, 1000, decode=True)
    found = known.together(ops, [1e-6] * len(ops))
    assert {op.name for op, once in zip(ops, found, strict=True) if once == pytest.approx(1e-6 + 128e-7)} == {"router"}


def test_a_collective_waits_for_its_last_gpu_and_one_gpu_for_nobody():
    patient = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    exchange = Collective("sum", "mlp", 1, "all_reduce", 16, 4096, 8, 1, 8, 2)
    waiting = patient._replace(wait=3e-6)
    assert waiting.seconds(exchange) - patient.seconds(exchange) == pytest.approx(3e-6)
    assert waiting.seconds(exchange._replace(ranks=1)) == patient.seconds(exchange._replace(ranks=1)) == 0


def test_an_all_reduce_takes_the_norm_behind_it_where_an_engine_says_so_and_few_bytes_are_sent():
    """One GPU has no all-reduce, and 2,048 tokens of 4,096 channels are 16 MiB; a norm of heads has no residual."""
    known = engine_kernels("vllm", H100, "bf16", "bf16", "bf16")
    norm = next(op for op in ops_of("llama3.1-8b", 1, 16, decode=False) if op.name == "mlp_norm")
    of_heads = next(op for op in ops_of("qwen3-32b", 1, 16, decode=False) if op.name == "qk_norm")
    summed = Collective("sum", "mlp", 1, "all_reduce", 16, 4096, 8, 1, 8, 2)
    alone = [5.0, 3.0, 2.0]
    assert known.together([summed, norm, of_heads], alone) == alone
    joined = known._replace(normed=True)
    assert joined.together([summed, norm, of_heads], alone) == [5, 0, 2]
    for other in (summed._replace(ranks=1), summed._replace(rows=2048), summed._replace(exchange="all_gather")):
        assert joined.together([other, norm, of_heads], alone) == alone
    assert joined.together([norm, summed], [3.0, 5.0]) == [3, 5]


def test_experts_in_mxfp4_take_marlins_kernels_where_an_engine_does_and_others_the_fastest():
    h200 = load_hardware("h200")
    known = engine_kernels("vllm", h200, "bf16", "bf16+mxfp4", "bf16")
    (up, _) = [op for op in ops_of("gpt-oss-120b", 1, 8192, decode=False) if isinstance(op, GroupedGemm)][:2]
    every = known.own.fits["experts"]
    (marlin,) = [fit for name, fit in every.items() if name.startswith("mxfp4-weights/") and "marlin" in name]
    sizes = (8192, 8192 * 4, 128, up.n, up.k, up.k)
    fits = {"mxfp4-weights": marlin, "int4-weights": every["int4-weights"]}  # in int4 the kernel is Marlin's too
    slow = min(
        forms_products.expert_product_seconds(fit.numbers, figures_of(h200, "bf16"), *sizes, WIDTHS[name])
        for name, fit in fits.items()
    )
    assert known._replace(marlin=True).seconds(up) == pytest.approx(slow)
    assert known.seconds(up) < slow / 1.5
    nvfp4 = engine_kernels("vllm", load_hardware("b200"), "fp4", "nvfp4", "fp8")
    assert nvfp4._replace(marlin=True).seconds(up) == nvfp4.seconds(up)


def test_one_kernel_has_the_attention_of_a_step_with_prompts_where_an_engine_says_so():
    """Sixteen that decode beside a prompt are sixteen prompts of one token: a tile of queries each."""
    known = engine_kernels("vllm", load_hardware("rtx-pro-6000"), "bf16", "bf16", "bf16")
    (decode,) = [op for op in ops_of("llama3.1-8b", 16, 1000, decode=True) if isinstance(op, Attention)]
    (prompt,) = [op for op in ops_of("llama3.1-8b", 1, 512, decode=False) if isinstance(op, Attention)]
    alone = [known.seconds(decode), known.seconds(prompt)]
    assert known.together([decode, prompt], alone) == alone
    joined = known._replace(joined=True)
    assert joined.together([decode, prompt], alone) == [known.seconds(decode._replace(decode=False)), alone[1]]
    assert joined.together([decode], alone[:1]) == alone[:1]


def test_numbers_that_hold_the_hosts_launches_are_those_of_an_engine_with_the_same_kernels():
    vllm = engine_kernels("vllm", H100, "fp8", "fp8-block128", "bf16", "sglang").own
    sglang = kernels.load_kernels("sglang", "h100-sxm")
    assert vllm.find("product", "fp8-block128") == sglang.find("product", "fp8-block128")
    assert vllm.find("product", "bf16") == kernels.load_kernels("vllm", "h100-sxm").find("product", "bf16")
