"""Profiles put to use: kernels of a GPU that was measured."""

import json
from statistics import median

import pytest
from bench_setup import SHIPPED

from llmcost.accuracy.cases import FOLDER, source_cases
from llmcost.accuracy.score import check
from llmcost.machine.calibration import efficiency_of
from llmcost.machine.defaults import DEFAULTS, ENGINE, MEASURED
from llmcost.machine.efficiency import default_for, family_of
from llmcost.machine.loading import loaded_by_sms
from llmcost.machine.power import UNBOUND, paid_for, share_paid
from llmcost.machine.reached import efficiency_for
from llmcost.model.architecture import operators
from llmcost.model.sizes import Load, element_bytes
from llmcost.specs.catalog import load_hardware, load_model, names, shipped
from llmcost.specs.profile import load_fits, load_profile, profile_text


def test_norms_of_a_profile_with_few_of_them_take_what_all_that_streams_takes():
    profile = load_profile(SHIPPED[0])
    fits = {kind: by_type for kind, by_type in profile.fit.items() if kind != "norm"}
    kernels = efficiency_of(profile, "bf16").kernels
    assert kernels["norm"] != kernels["elementwise"]
    kernels = efficiency_of(profile._replace(fit=fits), "bf16").kernels
    assert kernels["norm"] == kernels["elementwise"]


def test_estimate_uses_the_profile_of_its_gpu(cli):
    expected = json.loads(cli("estimate", "llama3-8b", "--hw", "h200", "--json").out)["decode"]["expected"]
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    assert expected["basis"] == f"profile h200 ({profile.date}), in an engine"
    h200 = load_hardware("h200")
    alone, engine = (efficiency_for(h200, None, "bf16", "bf16", alone=alone) for alone in (True, False))
    assert (
        alone.kernels == efficiency_of(profile, "bf16", default_for(h200)).kernels
    )  # what `bench` compares its own passes with
    assert engine.kernels["gemm"].memory == ENGINE.value * alone.kernels["gemm"].memory
    assert engine.kernels["gemm"].launch_seconds == alone.kernels["gemm"].launch_seconds / ENGINE.value
    for kind in ("fabric", "scan"):  # not among the kernels that were measured: the defaults are an engine's
        assert engine.kernels[kind] == alone.kernels[kind] == default_for(h200).kernels[kind]
    collective = alone.kernels["node"]  # measured between two GPUs; engines bring collectives of their own
    assert (collective.ranks, collective.beyond) == (2, default_for(h200).kernels["node"])
    assert engine.kernels["node"] == default_for(h200).kernels["node"]
    answer = cli("estimate", "llama3-8b", "--hw", "a100", "--profile", shipped("hardware") / "profiles" / "h200.json")
    assert answer.code == 2
    assert "measured on h200, not on a100-80gb-sxm" in answer.err


def test_gpus_of_a_family_take_the_profile_of_the_one_that_was_measured():
    """An H100, an H800 and an H20 are what is left of an H200's die: the same shares of other peaks.

    Cards with fewer watts for their peak reach less of it, and an H20's few multiprocessors less of its bandwidth.
    """
    measured = efficiency_for(load_hardware("h200"), None, "fp8", "fp8", alone=True)
    for name in names("hardware"):
        chip = load_hardware(name)
        taken = efficiency_for(chip, None, "fp8", "fp8", alone=True)
        alike = [
            taken.kernels[kind].memory in map(pytest.approx, (each.memory, loaded_by_sms(chip)))
            and taken.kernels[kind].compute
            in map(pytest.approx, (each.compute, each.compute * paid_for(chip), share_paid(kind, each.compute, chip)))
            for kind, each in measured.kernels.items()
        ]
        assert all(alike) == (family_of(chip) in MEASURED), name
        assert (taken.basis == measured.basis) == (family_of(chip) in MEASURED), name


@pytest.mark.parametrize(("gpu", "share"), [("h100-nvl", 400 / 1670.5), ("h100-pcie", 350 / 1513)])
def test_cards_of_few_watts_reach_what_these_pay_for(gpu, share):
    """Watts for a TFLOP/s of the peak, over those of an H200, whose power ends before its peak does."""
    assert paid_for(load_hardware(gpu)) == pytest.approx(share / (700 / 1979))


def test_what_keeps_its_watts_and_loses_tensor_cores_runs_these_at_full_clock():
    """FlashAttention 3 on an H20, 400 W for 296 TFLOPS: by an H200's share of its peak 61 % too slow."""
    h20 = load_hardware("h20")
    assert paid_for(h20) == 1
    assert share_paid("attention_prefill", 0.54, h20) == UNBOUND.value
    assert share_paid("attention_decode", 0.2, h20) == 0.2
    prompts = [case for case in source_cases(FOLDER / "infersim-kernels.yaml") if case.settings["gpu"] == "h20"]
    assert median(each.error for each in check([case for case in prompts if case.row % 2 == 0])) < 0.04


def test_attention_on_latents_keeps_the_default_share_of_the_peak():
    """A profile's steps of decode have 1 to 8 heads a key, its share of the peak is theirs; a latent has up to 128."""
    kernels = efficiency_for(load_hardware("h200"), None, "bf16", "bf16").kernels
    assert kernels["attention_decode"].compute < 0.25
    assert kernels["attention_latent"].compute == DEFAULTS["gemm.compute"].value
    size = element_bytes("bf16", "bf16", "bf16")
    for model, kind in (("deepseek-v3", "attention_latent"), ("llama3-8b", "attention_decode")):
        ops = operators(load_model(model), size, Load(2, 1, 100, decode=True))
        assert {op.kind for op in ops if op.name == "attention"} == {kind}


def test_flashmla_on_an_h800_comes_within_a_tenth_by_an_h200s_profile():
    """InferSim's 41 published kernels, many bound by computing: by the share of grouped heads they are 180 % off."""
    cases = [case for case in source_cases(FOLDER / "infersim-attention.yaml") if case.settings["gpu"] == "h800-sxm"]
    assert median(each.error for each in check(cases)) < 0.1


def test_the_head_of_a_profile_has_all_that_predictions_need():
    path = shipped("hardware") / "profiles" / "h200.json"
    assert load_fits(path) == load_profile(path)._replace(rows=(), steps=())
    assert load_fits(path, passes=True) == load_profile(path)._replace(rows=())


def test_a_contended_profile_is_used_with_a_warning(cli, tmp_path):
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    busy = profile._replace(state=profile.state | {"contended": "busy 40 % of the time with the work of others"})
    (tmp_path / "busy.json").write_text(profile_text(busy), "utf-8")
    assert busy.cautions() == ["of a GPU in use"]
    assert (
        "2026-11-29, of a GPU in use)"
        in cli("estimate", "gpt2", "--hw", "h200", "--profile", tmp_path / "busy.json").out
    )
    assert (
        "likely busy 40 % of the time" not in cli("bench", "--show", tmp_path / "busy.json").out
    )  # it was as fast as it should be
