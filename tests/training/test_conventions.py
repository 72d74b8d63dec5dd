"""MFU and HFU: each convention equals its source's closed form, and every share converts into every other."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcost.model.counting import Params
from llmcost.report.mfu import counted
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.conventions import CONVENTIONS, RECOMPUTE, Counts, counts_of, tokens_per_s, utilization

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mfu.md"
TABLE = re.compile(r"(<!-- conventions -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)
GPT3 = load_model("gpt3-175b")
L, H, V, S = 96, 12288, 50257, 2048  # GPT-3: layers, hidden size, vocabulary, tokens of a sequence


def of(name, model=GPT3, seq=S):
    return CONVENTIONS[name], counts_of(model, seq)


def test_narayanan_equation_3():
    """96BsLh²(1 + s/6h + V/16Lh) FLOPs run a batch of sequences where all layers are computed again."""
    convention, k = of("megatron")
    assert convention.hardware_flops(k, "full") * S == 96 * S * L * H**2 + 16 * L * H * S**2 + 6 * S * H * V


def test_korthikanti_equation_7():
    """72BLsh²(1 + s/6h + V/12hL) FLOPs that the model needs."""
    convention, k = of("megatron")
    assert convention.model_flops(k) * S == 72 * L * S * H**2 + 12 * L * H * S**2 + 6 * S * H * V


@pytest.mark.parametrize(
    "name, attention", [("megatron", 16), ("megatron-printed", 24)]
)  # s/6h is 12: 2s/9h is 16, s/3h is 24
def test_korthikanti_hardware_flops_with_and_without_the_erratum(name, attention):
    convention, k = of(name)
    assert convention.hardware_flops(k, "selective") * S == 72 * L * S * H**2 + attention * L * H * S**2 + 6 * S * H * V


def test_six_and_eight_flops_a_parameter():
    convention, k = of("6n")
    assert convention.model_flops(k) == 6 * 174_604_259_328
    assert convention.hardware_flops(k, "full") == 8 * 174_604_259_328


def test_palm_540b_as_printed():
    """PaLM, section 4.1: 238.3K tokens/s on 6,144 TPU v4 of 275 TFLOPS are 46.2 % with attention, 45.7 % without."""
    layers, heads, size, seq, params = 118, 48, 256, 2048, 540.35e9
    pairs = 4 * layers * heads * size * seq  # forward: two products of 2·H·Q FLOPs a pair
    k = Counts(0, pairs, pairs / 2, 0, Params(params, params, 0, 0, 0, 0, 0, params, 0), True, 0, 0)
    each = 238_300 / 6144
    assert utilization(CONVENTIONS["palm"], k, each, 275e12).mfu == pytest.approx(0.462, abs=5e-4)
    assert utilization(CONVENTIONS["6n"], k, each, 275e12).mfu == pytest.approx(0.457, abs=5e-4)


def test_torchtitan_leaves_out_an_embedding_that_is_only_looked_up():
    untied, tied = counts_of(load_model("llama3-8b"), 8192), counts_of(load_model("llama3.2-1b"), 8192)
    assert untied.params.embedding == 128256 * 4096
    convention = CONVENTIONS["torchtitan"]
    assert convention.forward(untied)[0] == 2 * (untied.params.total - 128256 * 4096)
    assert convention.forward(tied)[0] == 2 * tied.params.total
    assert convention.forward(untied)[1] == 4 * 32 * 32 * 128 * 8192  # 12LHQT, a third of it forward


def test_nanogpt_is_always_of_an_a100():
    found = utilization(*of("nanogpt", load_model("gpt2"), 1024), 50_000, 989.4e12)
    per_token = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024  # positions left out, embedding and LM head in
    assert found.mfu == pytest.approx(50_000 * per_token / 312e12)


def test_experts_count_as_far_as_a_token_takes_them():
    k = counts_of(load_model("mixtral-8x7b"), 4096)
    assert CONVENTIONS["6n"].model_flops(k) == 6 * k.params.active < 6 * k.params.total
    assert CONVENTIONS["megatron-bridge"].model_flops(k) < CONVENTIONS["torchtitan"].model_flops(k)


def test_frozen_weights_take_four_flops_and_attention_still_twelve():
    convention, k = of("megatron")
    assert convention.model_flops(k) - convention.model_flops(k, frozen=True) == k.linear + k.head


SHARES = st.floats(0.01, 0.9)
NAMES = st.sampled_from(sorted(CONVENTIONS))


@given(mfu=SHARES, first=NAMES, second=NAMES, seq=st.integers(1, 65536), peak=st.floats(1e13, 1e16))
def test_a_share_converts_there_and_back(mfu, first, second, seq, peak):
    k = counts_of(load_model("llama3-8b"), seq)
    one, other = CONVENTIONS[first], CONVENTIONS[second]
    there = utilization(other, k, tokens_per_s(mfu, one, k, peak), peak).mfu
    assert utilization(one, k, tokens_per_s(there, other, k, peak), peak).mfu == pytest.approx(mfu)


@pytest.mark.parametrize("model", ["llama3-8b", "deepseek-v3", "gemma3-27b", "granite-4.0-h-small", "gpt2"])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_hardware_runs_at_least_what_the_model_needs_and_more_the_more_is_repeated(model, name):
    convention, k = CONVENTIONS[name], counts_of(load_model(model), 1024)
    needed = convention.model_flops(k)
    ran = [convention.hardware_flops(k, recompute) for recompute in RECOMPUTE]
    assert needed <= ran[0] <= ran[1] <= ran[2] or name == "megatron-printed"  # whose attention is counted thrice
    assert convention.hardware_flops(k, "full", 0.5) == pytest.approx((ran[0] + ran[2]) / 2)


def conventions_table():
    lines = ["| convention | used by | what counts | source |", "|---|---|---|---|"]
    for each in CONVENTIONS.values():
        source = re.sub(r"(https://\S+?)(,|;|$)", r"<\1>\2", each.source)
        lines.append(f"| `{each.name}` | {each.used_by} | {counted(each)} | {source} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_convention_with_its_source(request):
    text = PAGE.read_text("utf-8")
    current = TABLE.sub(lambda match: match[1] + "\n" + conventions_table() + "\n" + match[3], text)
    if request.config.getoption("--update-snapshots") and current != text:
        PAGE.write_text(current, "utf-8")
    else:
        assert current == text


def test_the_command_answers_as_the_functions_do(cli, snapshot):
    shown = cli("mfu", "llama3-8b", "--hw", "h100", "--tokens-per-s", 9000, "--recompute", "full")
    snapshot("mfu.txt", shown.out)
    answer = json.loads(cli("mfu", "llama3-8b", "--hw", "h100", "--mfu", 0.4, "--convention", "palm", "--json").out)
    by_name = {each["convention"]: each for each in answer["conventions"]}
    assert by_name["palm"]["mfu"] == pytest.approx(0.4)
    assert by_name["6n"]["mfu"] < 0.4


def test_tflops_without_a_convention_are_counted_as_ours_and_said_to_be(cli):
    ask = ["mfu", "llama3-8b", "--hw", "h100"]
    answer = json.loads(cli(*ask, "--tflops", 420, "--json").out)
    own = next(each for each in answer["conventions"] if each["convention"] == "llmcost")
    assert own["mfu"] == pytest.approx(420e12 / own["peak_flops_per_s"])
    assert answer["assumed"] == "llmcost"
    assert "TFLOPS taken as llmcost counts them" in cli(*ask, "--tflops", 420).out


def test_tflops_of_a_log_are_the_share_of_the_peak_that_they_are(cli):
    """An H100's peak in bf16 is 989.4 TFLOPS (its data sheet: 1,979 with sparsity)."""
    ask = ["mfu", "llama3-8b", "--hw", "h100", "--json", "--convention"]
    answer = json.loads(cli(*ask, "megatron-bridge", "--tflops", 420).out)
    by_name = {each["convention"]: each for each in answer["conventions"]}
    assert by_name["megatron-bridge"]["mfu"] == pytest.approx(420 / 989.4, rel=1e-3)
    flops = by_name["megatron-bridge"]["model_flops_per_token"]
    assert answer["tokens_per_s_per_gpu"] == pytest.approx(420e12 / flops)
    assert by_name["palm"]["mfu"] > 420 / 989.4  # which counts every pair


def test_a_rate_that_no_gpu_reaches_is_doubted(cli):
    """Causal products are the least that a step computes: more than the peak is several GPUs' rate, or an error."""
    model, chip = load_model("llama3-8b"), load_hardware("h100")
    most = tokens_per_s(1, CONVENTIONS["megatron-bridge"], counts_of(model, 8192), chip.peak["bf16"].value)
    ask = ["mfu", "llama3-8b", "--hw", "h100", "--tokens-per-s"]
    assert "More than the peak of bf16" in cli(*ask, 1.001 * most).out
    assert "More than the peak" not in cli(*ask, 0.999 * most).out


def test_a_gpu_without_a_peak_of_that_type_is_refused(cli):
    assert "known: int8" in cli("mfu", "llama3-8b", "--hw", "jetson-orin-nano-8gb", "--tokens-per-s", 1).err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "either --tokens-per-s, or --mfu or --tflops and its --convention, or --log"),
        (
            ["--tokens-per-s", 1, "--mfu", 0.4, "--convention", "palm"],
            "either --tokens-per-s, or --mfu or --tflops and its --convention, or --log",
        ),
        (["--mfu", 0.4], "either --tokens-per-s, or --mfu or --tflops and its --convention, or --log"),
        (
            ["--tokens-per-s", 1, "--convention", "palm"],
            "either --tokens-per-s, or --mfu or --tflops and its --convention, or --log",
        ),
        (["--mfu", 0.4, "--convention", "palmer"], "--convention palmer: one of llmcost, 6n,"),
        (["--mfu", 1.4, "--convention", "palm"], "--mfu 1.4: a share of 1"),
        (["--tflops", 420, "--mfu", 0.4, "--convention", "palm"], "leave out --tokens-per-s and --mfu"),
        (["--tflops", 0, "--convention", "palm"], "--tflops 0: above 0"),
        (["--tokens-per-s", 0], "--tokens-per-s 0: above 0"),
        (["--tokens-per-s", "nan"], "--tokens-per-s nan: expected a number"),
        (["--tokens-per-s", 1, "--recompute", "some"], "--recompute some: one of none, selective, full"),
        (["--tokens-per-s", 1, "--seq", 0], "--seq 0: at least 1"),
        (["--tokens-per-s", 1, "--dtype", "fp4"], "--dtype fp4: no source gives"),
    ],
)
def test_a_question_that_is_none_is_refused(cli, arguments, message):
    answer = cli("mfu", "llama3-8b", "--hw", "h100", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
