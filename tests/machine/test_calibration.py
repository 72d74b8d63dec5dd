"""Profiles put to use: kernels of a GPU that was measured."""

import json

from bench_setup import SHIPPED

from llmcost.machine.calibration import efficiency_of
from llmcost.machine.defaults import ENGINE, ENGINE_ERROR
from llmcost.machine.efficiency import default_for
from llmcost.machine.reached import efficiency_for
from llmcost.specs.catalog import load_hardware, shipped
from llmcost.specs.profile import load_profile, profile_text


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
    assert expected["error"] == ENGINE_ERROR
    h200 = load_hardware("h200")
    alone, engine = (efficiency_for(h200, None, "bf16", "bf16", alone=alone) for alone in (True, False))
    assert (
        alone.kernels == efficiency_of(profile, "bf16", default_for(h200)).kernels
    )  # what `bench` compares its own passes with
    assert engine.kernels["gemm"].memory == ENGINE.value * alone.kernels["gemm"].memory
    assert engine.kernels["gemm"].launch_seconds == alone.kernels["gemm"].launch_seconds / ENGINE.value
    for kind in ("node", "fabric", "scan"):  # not among the kernels that were measured: the defaults are an engine's
        assert engine.kernels[kind] == alone.kernels[kind] == default_for(h200).kernels[kind]
    other = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", "--json").out)["decode"]["expected"]
    assert other["basis"] == "defaults"
    answer = cli("estimate", "llama3-8b", "--hw", "h100", "--profile", shipped("hardware") / "profiles" / "h200.json")
    assert answer.code == 2
    assert "measured on h200, not on h100-sxm" in answer.err


def test_a_contended_profile_is_used_with_a_warning(cli, tmp_path):
    profile = load_profile(shipped("hardware") / "profiles" / "h200.json")
    busy = profile._replace(state=profile.state | {"contended": "busy 40 % of the time with the work of others"})
    (tmp_path / "busy.json").write_text(profile_text(busy), "utf-8")
    assert busy.cautions() == ["of a GPU in use"]
    assert (
        "2026-11-24, of a GPU in use)"
        in cli("estimate", "gpt2", "--hw", "h200", "--profile", tmp_path / "busy.json").out
    )
    assert (
        "likely busy 40 % of the time" not in cli("bench", "--show", tmp_path / "busy.json").out
    )  # it was as fast as it should be
