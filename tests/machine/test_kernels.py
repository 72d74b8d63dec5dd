"""The forms of kernel times, and the numbers that ship for them."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import SpecError, UnknownNameError
from llmcost.ground.symbols import symbol
from llmcost.machine import forms_attention, forms_products, kernels
from llmcost.machine.forms_attention import Decode, Exchange, Prefill
from llmcost.machine.forms_products import WIDTHS, Experts, Figures, Product
from llmcost.specs.catalog import load_hardware, shipped

FILES = sorted((shipped("hardware") / "kernels").glob("*/*.json"))
# 100 SMs of 1e12 FLOP/s each, 1e12 bytes/s.
F = Figures(peak=1e14, bandwidth=1e12, sms=100)
PRODUCT = Product(
    launch=2e-6, compute=0.5, memory=0.8, overlap=1, draw=1e11, tile=1e-6, split=3e-6, tiles=((100, 100),)
)
EXPERTS = Experts(
    launch=1e-5, compute=0.5, memory=0.8, overlap=1, draw=1e11, tile=0, tiles=((16, 100),), moved=1,
    scattered=0, expert=0, token=0, spread=1,
)  # fmt: skip
DECODE = Decode(
    launch=5e-6, memory=0.8, overlap=1, start=1e-6, draw=1e10, key=0, head=1e-8, split=2e-6, heads=64, keys=64, parts=8
)
PREFILL = Prefill(launch=5e-6, compute=0.5, pair=0, memory=0.8, overlap=1, tile=0, store=0, token=0, queries=64)
EXCHANGE = Exchange(launch=5e-6, peer=1e-6, link=0.5, pair=0, overlap=1, change=10e-6, small=0.1)
BF16 = WIDTHS["bf16"]


def test_a_product_is_its_launch_its_tiles_in_whole_waves_and_its_bytes():
    # 11 × 10 tiles of 100 × 100 on 100 SMs: two waves. A tile takes 2·100·100·1000 FLOPs at half of an SM's 1e12, which
    # is 40 µs, 200 rows and columns of 1000 elements of 2 bytes at 1e11, which is 4 µs, and 1 µs besides. Bytes:
    # (1000·1000 + 1100·1000 + 1100·1000) of 2 bytes at 0.8e12. With the exponent 1 both are added.
    seconds = forms_products.product_seconds(PRODUCT, F, 1100, 1000, 1000, BF16)
    assert seconds == pytest.approx(2e-6 + 2 * 45e-6 + 6.4e6 / 0.8e12)


def test_few_tiles_are_split_along_k_where_that_is_faster():
    # One tile: 16 parts of 44 / 16 µs and 1 µs besides, 3 µs to add them up, instead of 45 µs.
    moved = 2 * (100 * 1000 + 100 * 1000 + 100 * 100) / 0.8e12
    seconds = forms_products.product_seconds(PRODUCT, F, 100, 100, 1000, BF16)
    assert seconds == pytest.approx(2e-6 + 44e-6 / 16 + 1e-6 + 3e-6 + moved)


def test_quantising_activations_is_a_kernel_with_bytes_of_its_own():
    quantising = PRODUCT._replace(quantise=1e-6, quantise_memory=0.5, quantise_row=1e-7)
    plain = forms_products.product_seconds(PRODUCT, F, 1100, 1000, 1000, WIDTHS["fp8"])
    # 16 bits in, 8 bits out; a short row takes 0.1 µs of an SM however short it is
    assert forms_products.product_seconds(quantising, F, 1100, 1000, 1000, WIDTHS["fp8"]) == pytest.approx(
        plain + 1e-6 + 1100 * 1000 * 3 / 0.5e12
    )
    short = forms_products.quantise_seconds(quantising, F, 1100, 10, WIDTHS["fp8"])
    assert short == pytest.approx(1e-6 + 1100 * 1e-7 / 100)


def test_experts_pad_their_tokens_to_tiles():
    def time(tokens):
        return forms_products.experts_seconds(EXPERTS, F, tokens, 8, 2, 1000, 100, BF16)

    # 32 tokens of 2 experts each are 8 for each of 8 experts, and 16 are 4: both are one tile of 16 rows an expert.
    # The first product has 200 columns and 1000 inputs, 16 tiles in one wave; the second 1000 and 100, 80 tiles.
    tile = 2 * 16 * 100 / 0.5e12 + 116 * 2 / 1e11

    def bytes_of(rows):
        first = 8 * 200 * 1000 + rows * (1000 + 200)
        return 2 * (first + 8 * 1000 * 100 + rows * (100 + 1000))

    for tokens, rows in ((32, 64), (16, 32)):
        around = rows * (2 * 1000 + 3 * 100) * 2 / 1e12
        assert time(tokens) == pytest.approx(1e-5 + (1000 + 100) * tile + bytes_of(rows) / 0.8e12 + around)


def test_the_fullest_of_several_gpus_gets_more_than_the_mean():
    def time(fullest):
        return forms_products.experts_seconds(EXPERTS, F, 10**6, 64, 4, 1000, 100, BF16, parts=16, fullest=fullest)

    # Twice the rows: what does not grow with them is small beside a million tokens.
    assert time(2) / time(0) == pytest.approx(2, rel=0.01)


def test_where_whole_tokens_are_computed_a_gpu_has_all_choices_of_those_that_chose_an_expert_of_it():
    def time(whole, parts):
        there = EXPERTS._replace(whole=whole, launch=0)
        return forms_products.experts_seconds(there, F, 10**6, 64, 4, 1000, 100, BF16, parts=parts)

    # Of 4 even choices 1 is on each of 4 GPUs: all tokens are there, with 4 rows each as on one GPU. On 16 a
    # quarter is.
    assert time(1, 4) == pytest.approx(time(0, 1), rel=0.01)
    assert time(1, 16) == pytest.approx(time(0, 4), rel=0.01)


def test_rows_of_other_gpus_experts_are_passed_over():
    def time(**numbers):
        return forms_products.experts_seconds(EXPERTS._replace(**numbers), F, 100, 8, 2, 1000, 100, BF16, parts=4)

    # Of 200 choices 50 are of this GPU's 2 experts. The others' 150, and 10 rows more of each of 6 experts, are written
    # as zeros: 200 columns of the first product, 1000 of the second, 2 bytes each, at a half of 1e12 bytes/s.
    assert time(passed=2.0, padded=10.0) - time() == pytest.approx((150 + 6 * 10) * 1200 * 2 * 2 / 1e12)
    assert time(passed=0.0, padded=10.0) == time()


def test_rows_that_are_laid_out_have_one_tile_whatever_a_kernel_chooses_by_tokens():
    def time(by_tokens):
        there = EXPERTS._replace(by_tokens=by_tokens)
        return forms_products.expert_product_seconds(there, F, 100, 200, 8, 1000, 100, 100, BF16, padded=128)

    assert time(1.0) == time(0.0) > 0


def test_the_fullest_gpu_has_a_row_however_many_gpus_there_are():
    def time(tokens, parts, topk):
        return forms_products.experts_seconds(EXPERTS, F, tokens, 256, topk, 1000, 100, BF16, parts=parts)

    assert time(1, 256, 1) == pytest.approx(time(1, 1, 1))
    assert time(0, 256, 8) == pytest.approx(EXPERTS.launch)


def test_unevenly_routed_rows_fill_a_tile_an_expert_at_least_and_half_a_tile_more_than_their_rows():
    """The bytes of a product are far fewer than its tiles' time here, so that the time goes as the tiles do."""
    slow = EXPERTS._replace(compute=0.001, memory=1, draw=1e15, moved=0, launch=0, spread=100, tiles=((160, 100),))

    def tiles(rows):
        return forms_products.expert_product_seconds(slow, F, rows, rows, 8, 100 * 1000, 1000, 0, BF16)

    one = tiles(8 * 8)  # so many rows that all 8 experts are touched
    assert tiles(8 * 16) == pytest.approx(one, rel=0.02)
    assert tiles(8 * 1600) == pytest.approx(10.5 * one, rel=0.02)


def test_uneven_routing_leaves_experts_untouched():
    """With a spread of 1 a row an expert in the mean leaves a half of them without any; of an even one none."""
    f = F._replace(peak=1e30)
    bytes_alone = EXPERTS._replace(launch=0, draw=1e30, memory=1, moved=0)
    rows = 8 * (1000 + 100) * 2
    uneven = forms_products.expert_product_seconds(bytes_alone, f, 8, 8, 8, 100, 1000, 0, BF16)
    assert uneven == pytest.approx((4 * 1000 * 100 * 2 + rows) / 1e12)
    steady = forms_products.experts_seconds(bytes_alone, f, 8, 8, 1, 1000, 100, BF16, products=2)
    assert steady == pytest.approx(2 * (8 * 1000 * 100 * 2 + rows) / 1e12)


def test_of_few_tokens_the_fullest_gpu_gets_what_it_gets_at_least():
    def time(tokens, fewest):
        few = EXPERTS._replace(fewest=fewest)
        return forms_products.experts_seconds(few, F, tokens, 64, 4, 1000, 100, BF16, parts=16, fullest=2)

    assert time(1, 4.0) == time(1, 40.0) > time(1, 1.0)  # of 4 choices no more than 4
    assert time(10_000, 40.0) == time(10_000, 1.0)


def test_attention_over_a_cache_splits_the_keys_of_few_sequences():
    # One block; 1000 keys are 16 steps of 64 keys of 512 bytes, 3.2768 µs each at 1e10 bytes/s. In 8 parts two steps
    # each, and 2 µs to add them up.
    seconds = forms_attention.decode_seconds(DECODE, F, 1, 1000, 8, 1, 256)
    assert seconds == pytest.approx(5e-6 + 1000 * 512 / 0.8e12 + 1e-6 + 2 * 3.2768e-6 + 2e-6 + 8e-8 / 100)


def test_attention_over_a_window_reads_no_more_keys_than_the_window_has():
    whole = forms_attention.decode_seconds(DECODE, F, 8, 128, 8, 1, 256)
    assert forms_attention.decode_seconds(DECODE, F, 8, 5000, 8, 1, 256, 128) == pytest.approx(whole)


def test_attention_of_prompts_computes_whole_tiles_of_queries():
    # 64 queries over 64 keys: half of the pairs and half a tile of them more; 16 heads on 100 SMs.
    pairs = 64 * 65 / 2 + 64 * 64 / 2
    pair = 4 * 128 / 0.5e12
    moved = 2 * 64 * (2 * 16 * 128 + 2 * 16 * 128)
    seconds = forms_attention.prefill_seconds(PREFILL, F, 1, 64, 64, 16, 16, 128, 128)
    longest = 64 * (64 + 64) * pair
    assert seconds == pytest.approx(5e-6 + 16 * pairs * pair / 100 + longest + moved / 0.8e12)
    one = forms_attention.prefill_seconds(PREFILL, F, 1, 1, 1, 16, 16, 128, 128)
    assert one == pytest.approx(seconds - (moved - moved / 64) / 0.8e12 - 64 * 63 * pair, rel=1e-6)


def test_a_collective_is_an_empty_one_and_its_bytes():
    # 3/4 of 1 MB: at half of 1e11 bytes/s after 10 µs more, or of 10 kB at a tenth of it at once
    assert forms_attention.collective_seconds(EXCHANGE, 1e11, 1e6, 4) == pytest.approx(5e-6 + 2e-6 + 10e-6 + 15e-6)
    assert forms_attention.collective_seconds(EXCHANGE, 1e11, 1e4, 4) == pytest.approx(5e-6 + 2e-6 + 0.75e-6)


def test_a_gpu_alone_exchanges_nothing():
    assert forms_attention.collective_seconds(EXCHANGE, 1e11, 1e6, 1) == 0


def test_forms_take_arrays_and_symbols_as_they_take_numbers():
    m = np.array([1.0, 77.0, 4096.0])
    arrays = forms_products.product_seconds(PRODUCT, F, m, 1000, 1000, BF16)
    assert arrays == pytest.approx([forms_products.product_seconds(PRODUCT, F, each, 1000, 1000, BF16) for each in m])
    s = symbol("s", 64, "tokens")
    for written in (
        forms_products.product_seconds(PRODUCT, F, s, 1000, 1000, BF16),
        forms_products.experts_seconds(EXPERTS, F, s, 8, 2, 1000, 100, BF16),
        forms_attention.decode_seconds(DECODE, F, 1, s, 8, 1, 256),
        forms_attention.prefill_seconds(PREFILL, F, 1, s, s, 16, 16, 128, 128),
    ):
        assert "s" in str(written)


SIZE = st.integers(1, 20000)


@settings(deadline=None, max_examples=200)
@given(m=SIZE, n=SIZE, k=SIZE, more=st.integers(1, 500), which=st.sampled_from("mnk"))
def test_a_larger_product_never_takes_less(m, n, k, more, which):
    sizes = {"m": m, "n": n, "k": k}
    large = sizes | {which: sizes[which] + more}
    assert forms_products.product_seconds(PRODUCT, F, **large, width=BF16) >= forms_products.product_seconds(
        PRODUCT, F, **sizes, width=BF16
    ) * (1 - 1e-12)


@settings(deadline=None, max_examples=200)
@given(batch=st.integers(1, 500), keys=SIZE, more=st.integers(1, 500), which=st.sampled_from(["batch", "keys"]))
def test_more_sequences_or_keys_never_take_less(batch, keys, more, which):
    sizes = {"batch": batch, "keys": keys}
    large = sizes | {which: sizes[which] + more}
    rest = {"heads": 8, "kv_heads": 2, "cached": 256}
    least = forms_attention.decode_seconds(DECODE, F, **sizes, **rest) * (1 - 1e-12)
    assert forms_attention.decode_seconds(DECODE, F, **large, **rest) >= least


@settings(deadline=None, max_examples=200)
@given(tokens=SIZE, more=st.integers(1, 500), fullest=st.sampled_from([0, 1]))
def test_more_tokens_never_take_experts_less(tokens, more, fullest):
    def time(tokens):
        return forms_products.experts_seconds(EXPERTS, F, tokens, 64, 4, 1000, 100, BF16, fullest=fullest)

    assert time(tokens + more) >= time(tokens) * (1 - 1e-12)


@settings(deadline=None, max_examples=200)
@given(batch=st.integers(1, 64), queries=SIZE, more=st.integers(1, 500), window=st.sampled_from([0, 1024]))
def test_longer_prompts_never_take_less(batch, queries, more, window):
    def time(queries):
        return forms_attention.prefill_seconds(PREFILL, F, batch, queries, queries, 8, 2, 128, 128, window)

    assert time(queries + more) >= time(queries) * (1 - 1e-12)


FAMILIES = ("hopper", "blackwell")
FAMILIES_ALONE = ("spread", "sparse", "scores", "choice", "recurrence", "module")


def all_fits(*forms):
    for path in FILES:
        known = kernels.read_kernels(path)
        for form in forms:
            for variant, fit in known.fits.get(form, {}).items():
                yield path, variant, fit


def hardware_of(path):
    families = {"hopper": "h100-sxm", "blackwell": "b200"}
    return load_hardware(families.get(path.stem, path.stem))


def test_no_shipped_product_is_faster_than_its_gpu():
    m = np.array([1.0, 7, 64, 500, 4096, 32768])
    for path, variant, fit in all_fits("product"):
        width = WIDTHS[variant.partition("/")[0]]
        f = kernels.figures_of(hardware_of(path), width.compute)
        for n, k in ((1024, 4096), (28672, 8192)):
            least = np.maximum(2 * m * n * k / f.peak, k * n * width.weight / f.bandwidth) + fit.numbers.launch
            assert np.all(forms_products.product_seconds(fit.numbers, f, m, n, k, width) >= least), (path, variant)


def test_no_shipped_attention_is_faster_than_its_gpu():
    batch, keys = np.meshgrid([1.0, 16, 256], [16.0, 1000, 30000])
    for path, variant, fit in all_fits("decode"):
        bytes_each = {"bf16": 2, "fp8": 1}[variant.split("/")[1]]
        f = kernels.figures_of(hardware_of(path), "bf16")
        least = batch * keys * 8 * 256 * bytes_each / f.bandwidth + fit.numbers.launch
        seconds = forms_attention.decode_seconds(fit.numbers, f, batch, keys, 32, 8, 256, cache_bytes=bytes_each)
        assert np.all(seconds >= least), (path, variant)
    for path, variant, fit in all_fits("prefill"):
        dtype = variant.split("/")[0]
        f = kernels.figures_of(hardware_of(path), dtype)
        least = batch * 32 * keys * (keys + 1) / 2 * 4 * 128 / f.peak + fit.numbers.launch
        seconds = forms_attention.prefill_seconds(fit.numbers, f, batch, keys, keys, 32, 8, 128, 128)
        assert np.all(seconds >= least), (path, variant)


def test_every_shipped_fit_states_its_rows_and_its_errors_on_unseen_ones():
    assert FILES
    for path, variant, fit in all_fits(*kernels.FORMS):
        assert fit.rows >= 25, (path, variant)
        assert 0 < fit.median < 1, (path, variant)
        assert fit.mean > 0, (path, variant)


def test_all_numbers_together_stay_below_400_kb():
    assert sum(path.stat().st_size for path in FILES) < 400_000


def test_the_page_of_kernels_shows_the_errors_that_the_files_state():
    place = Path(__file__).parents[2] / "benchmarks" / "kernel_fits.py"
    spec = importlib.util.spec_from_file_location("kernel_fits", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    page = (Path(__file__).parents[2] / "docs" / "kernels.md").read_text("utf-8")
    assert page.endswith(module.errors())


ASKED = {"product": (0.08, 0.13), "decode": (0.10, 0.15), "prefill": (0.10, 0.15), "experts": (0.12, math.inf)}
ASKED |= {"collective": (0.12, math.inf), "spread": (0.12, math.inf)}
ASKED |= dict.fromkeys(("sparse", "scores", "recurrence", "module"), (0.15, 0.25)) | {"choice": (0.15, 0.25)}


@pytest.mark.parametrize("form", kernels.FORMS)
def test_errors_on_unseen_rows_stay_within_what_was_asked(form):
    """Of all engines and GPUs, weighted by rows: the median and the mean of |predicted / measured - 1|."""
    median, mean = ASKED[form]
    known = list(all_fits(form))
    fits = [fit for path, _, fit in known if path.stem not in FAMILIES]
    if form in FAMILIES_ALONE:
        fits = [fit for _, _, fit in known]
    rows = sum(fit.rows for fit in fits)
    assert sum(fit.median * fit.rows for fit in fits) / rows < median
    assert sum(fit.mean * fit.rows for fit in fits) / rows < mean


def test_a_gpu_without_tables_takes_its_familys_numbers():
    assert kernels.load_kernels("vllm", "h100-sxm").of == "h100-sxm"
    assert kernels.load_kernels("vllm", "h20").of == "hopper"
    assert kernels.load_kernels("vllm", "gb300").of == "blackwell"
    assert kernels.load_kernels("vllm", "rtx3090").of == "rtx-pro-6000"
    assert kernels.load_kernels("vllm", "a100-40gb-pcie").of == "a100-80gb-sxm"
    assert kernels.load_kernels("vllm", "mi300x") is None
    assert kernels.load_kernels("no-such-engine", "h100-sxm") is None
    with pytest.raises(UnknownNameError):
        kernels.load_kernels("vllm", "no-such-gpu")


def test_families_of_several_gpus_state_the_error_on_gpus_left_out():
    hopper = kernels.load_kernels("vllm", "h20").find("product", "bf16")
    assert 0 < hopper.other_gpu < 0.2
    assert kernels.load_kernels("vllm", "h100-sxm").find("product", "bf16").other_gpu is None


def test_a_familys_numbers_stand_in_kernel_by_kernel_but_experts_format_by_format():
    own, family = (
        kernels.read_kernels(shipped("hardware") / "kernels" / "vllm" / f"{name}.json")
        for name in ("b200", "blackwell")
    )
    both = own.beside(family)
    assert both.fits["product"]["bf16"] is own.fits["product"]["bf16"]
    assert both.fits["product"]["bf16/absorb_key"] is family.fits["product"]["bf16/absorb_key"]
    formats = {name.partition("/")[0] for name in own.fits["experts"]}
    added = set(both.fits["experts"]) - set(own.fits["experts"])
    assert not any(name.partition("/")[0] in formats for name in added)


def test_an_indexers_kernels_are_taken_from_the_engine_that_runs_the_same_ones():
    vllm, sglang = kernels.load_kernels("vllm", "h200"), kernels.load_kernels("sglang", "h200")
    assert vllm.find("choice", "top") is None
    assert vllm.without_host(sglang).find("choice", "top") is sglang.find("choice", "top")
    assert vllm.without_host(sglang).find("scores", "paged") is vllm.find("scores", "paged")


def test_the_first_known_of_several_variants_is_found():
    known = kernels.load_kernels("vllm", "h100-sxm")
    assert known.find("product", "nvfp4", "bf16") is known.fits["product"]["bf16"]
    assert known.find("product", "nvfp4") is None


WRONG = [
    (("engine",), None, "engine", "missing"),
    (("fits", "product", "bf16", "memory"), 1.2, "fits.product.bf16.memory", "from 0 to 1"),
    (("fits", "product", "bf16", "overlap"), 0.5, "fits.product.bf16.overlap", "from 1 to 100"),
    (("fits", "product", "bf16", "speed"), 1, "fits.product.bf16.speed", "not a field"),
    (("fits", "product", "bf16", "tiles"), [[64]], "fits.product.bf16.tiles.0", ""),
    (("fits", "decode", "bf16/bf16", "keys"), 0, "fits.decode.bf16/bf16.keys", "at least 1"),
    (("fits", "magic"), {}, "fits.magic", "not a field"),
    (("schema",), "llmcost.kernels/9", "schema", "llmcost.kernels/1"),
]


@pytest.mark.parametrize(("path", "value", "field", "says"), WRONG, ids=lambda each: str(each)[:40])
def test_a_wrong_file_is_refused_with_line_and_field(tmp_path: Path, path, value, field, says):
    data = json.loads((shipped("hardware") / "kernels" / "vllm" / "h100-sxm.json").read_text("utf-8"))
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    file = tmp_path / "own.json"
    file.write_text(json.dumps(data, indent=1), "utf-8")
    with pytest.raises(SpecError) as error:
        kernels.read_kernels(file)
    assert field in str(error.value)
    assert says in str(error.value)
    assert str(file) in str(error.value)


def test_kernels_whose_launch_only_a_host_explains_are_named():
    known = kernels.load_kernels("vllm", "h100-sxm")
    assert known.find("product", "fp8-block128").by_host()
    assert not known.find("product", "bf16").by_host()


def test_the_host_launches_kernels_while_they_run():
    """A product of no size takes the host's time, a large one its own, and none less than either."""
    known = kernels.load_kernels("vllm", "b200").find("product", "fp8-block128").numbers
    f, width = kernels.figures_of(load_hardware("b200"), "fp8"), WIDTHS["fp8-block128"]
    device = known._replace(host=0.0)
    for m in (1, 512, 65536):
        both = forms_products.product_seconds(known, f, m, 4096, 4096, width)
        alone = forms_products.product_seconds(device, f, m, 4096, 4096, width)
        assert both >= max(alone, known.host)
    assert forms_products.product_seconds(known, f, 1, 128, 128, width) == pytest.approx(known.host, rel=0.01)
    assert both == pytest.approx(alone, rel=0.05)
