"""What GPUs draw: laws that were measured, what follows for joules of runs and tokens, and what is said where not."""

import json
from pathlib import Path
from statistics import mean

import pytest

import llmcost
from llmcost.machine.power import DRAWN, basis_of, drawn_by, share_drawn
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options
from llmcost.training.train import train

H100, H200, B200 = (load_hardware(name) for name in ("h100", "h200", "b200"))
STEPS = json.loads((Path(__file__).parents[2] / "hardware/profiles/h200.json").read_text("utf-8"))["steps"]


def run(hardware, **options):
    return train(load_model("llama3-8b"), hardware, Options(gpus=8, tokens=10**9, **options))


def drawn(step):
    """The share of its TDP that an H200 draws in a step of its profile, by the law."""
    of = {"prompt": step["tokens"]} if step["phase"] == "prefill" else {"batch": step["batch"]}
    found = llmcost.estimate(step["model"], "h200", context=step["tokens"], **of)
    seconds, peak, bandwidth = step["median_us"] / 1e6, found.hardware.peak_flops_per_s, H200.bandwidth.value
    if step["phase"] == "prefill":
        flops, moved = found.flops.prefill.causal, found.memory.weights_bytes
    else:
        flops, moved = found.flops.per_token.total * step["batch"], found.traffic.decode.total_bytes
    return share_drawn(DRAWN["h200"], moved / (seconds * bandwidth), flops / (seconds * peak))


def test_measured_steps_of_an_h200_draw_what_the_law_says_and_far_less_than_its_tdp():
    steps = [step for step in STEPS if step["phase"] != "train"][::3]
    measured = [step["watts"] / H200.tdp.value for step in steps]
    off = mean(abs(drawn(step) / share - 1) for step, share in zip(steps, measured, strict=True))
    assert off < 0.20  # 14 % of all steps, each model left out in turn
    assert mean(1 / share - 1 for share in measured) > 2 * off


def test_a_share_never_passes_the_tdp_and_grows_with_use():
    for draw in DRAWN.values():
        shares = [share_drawn(draw, use, use / 2) for use in (0, 0.1, 0.3, 1)]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1] <= 1) == (draw.idle, True)


def test_a_run_s_energy_is_the_measured_share_of_its_tdp_or_all_of_it_or_as_said():
    for hardware in (H100, H200, B200):
        told = run(hardware).with_interruptions
        gpu_seconds = told.gpu_hours * 3600
        assert told.energy_joules == pytest.approx(hardware.tdp.value * told.power_share * gpu_seconds)
    assert run(H100).with_interruptions.power_basis == basis_of(None) == "no draw of this GPU was measured"
    slow = run(B200, kernels="eager", unfused_attention=True).with_interruptions
    assert DRAWN["b200"].idle < slow.power_share < 1
    assert "31% off" in slow.power_basis
    said = run(B200, power_share=0.5).with_interruptions
    assert (said.power_share, said.power_basis) == (0.5, "--power-share")


def test_tokens_of_small_batches_cost_fewer_joules_than_at_the_tdp(cli):
    answers = {
        gpu: json.loads(cli("estimate", "llama3-8b", "--hw", gpu, "--price", 2, "--json").out)["cost"]
        for gpu in ("h100", "h200")
    }
    assert answers["h100"]["power_share"] == 1
    assert 0.3 < answers["h200"]["power_share"] < 0.6
    rate = llmcost.estimate("llama3-8b", "h200").decode.expected.tokens_per_s
    watts = H200.tdp.value * answers["h200"]["power_share"]
    assert answers["h200"]["joules_per_million_output_tokens"] == pytest.approx(watts / rate * 1e6)
    assert "of TDP: measured of whole steps" in cli("estimate", "llama3-8b", "--hw", "h200", "--price", 2).out


def test_a_system_s_gpus_draw_as_their_kind_does():
    assert drawn_by(load_hardware("dgx-h200")) == DRAWN["h200"]


def test_electricity_of_a_run_is_priced_by_what_its_gpus_draw(cli):
    asked = ("train", "llama3-8b", "--hw", "b200", "--gpus", 8, "--kernels", "eager", "--kwh", 0.1, "--json")
    found = json.loads(cli(*asked).out)
    kwh = found["with_interruptions"]["energy_joules"] / 3.6e6
    assert found["with_interruptions"]["dollars"] == pytest.approx(0.1 * kwh, rel=1e-6)


def json_of(cli, *arguments):
    answer = cli(*arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


LONG = ("--prompt", 64, "--output", 1024)  # requests that decode most of the time, which draws little


@pytest.mark.parametrize("apart", [(), ("--apart",)], ids=["together", "apart"])
def test_a_plan_s_joules_are_those_of_the_estimate_of_its_layout(cli, apart):
    asked = ("plan", "llama3-8b", "--hw", "h200", "--gpus", 4, "--serve", *LONG, "--tpot", 6, "--tp", 2, "--pp", 1)
    best = json_of(cli, *asked, *apart, "--price", 3)["best"]
    first = next(each for each in best if (each["prefill_gpus"] is not None) == bool(apart))
    pools = ("--prefill-gpus", 2, "--prefill-tp", 2, "--decode-gpus", 2) if apart else ()
    load = ("--concurrency", first["concurrency"], "--price", 3)
    same = json_of(cli, "estimate", "llama3-8b", "--hw", "h200", "--tp", 2, *pools, *LONG, *load)["cost"]
    assert DRAWN["h200"].idle < same["power_share"] < 1
    close = 0.02 if apart else 1e-6  # apart, the number of requests is a rounded one
    assert first["power_share"] == pytest.approx(same["power_share"], rel=close)
    assert first["joules_per_million_tokens"] == pytest.approx(same["joules_per_million_output_tokens"], rel=close)


def test_offers_and_comparisons_count_what_gpus_draw(cli):
    (offer,) = json_of(cli, "fit", "llama3-8b", "--hw", "h200", "--gpus", 1, "--dtype", "bf16", "--price", 3)["offers"][
        :1
    ]
    watts = H200.tdp.value * offer["power_share"]
    assert offer["joules_per_million_tokens"] == pytest.approx(watts / offer["most_tokens_per_s"] * 1e6)
    entry = json_of(cli, "compare", "llama3-8b", "--hw", "h200")["entries"][0]
    derived, rate = entry["derived"], entry["decode"]["expected"]["tokens_per_s"]
    assert derived["decode_tokens_per_joule"] == pytest.approx(rate / (H200.tdp.value * derived["power_share"]))
    assert DRAWN["h200"].idle < derived["power_share"] < offer["power_share"] < 1  # one sequence, and the most


def test_a_simulated_run_draws_as_the_steady_state_does(cli):
    load = (*LONG, "--concurrency", 16, "--price", 3)
    run = json_of(cli, "simulate", "llama3-8b", "--hw", "h200", *load, "--requests", 64)
    steady = json_of(cli, "estimate", "llama3-8b", "--hw", "h200", *load)["cost"]
    assert run["power_share"] == pytest.approx(steady["power_share"], rel=0.03)
    joules = H200.tdp.value * run["power_share"] * run["duration_seconds"]
    assert run["joules_per_million_output_tokens"] == pytest.approx(joules / run["output_tokens"] * 1e6)


def test_gpus_that_wait_for_answers_draw_as_idle_ones_do(cli):
    """Most of such a step one long answer is drawn, beside GPUs that wait to train on it."""
    asked = (
        "rl",
        "llama3-8b",
        "--hw",
        "h200",
        "--gpus",
        8,
        "--tp",
        8,
        "--prompts",
        4,
        "--samples",
        1,
        "--output",
        1000,
    )
    apart = json_of(cli, *asked, "--rollout-gpus", 8, "--rollout-tp", 8, "--kwh", 0.1)
    assert DRAWN["h200"].idle < apart["power_share"] < 0.5
    cost, step = apart["cost"], apart["step_seconds"]
    assert cost["joules_per_step"] == pytest.approx(16 * H200.tdp.value * apart["power_share"] * step)
    assert cost["dollars_per_step"] == pytest.approx(0.1 * cost["joules_per_step"] / 3.6e6)
    assert json_of(cli, *asked[:3], "h100", *asked[4:], "--kwh", 0.1)["power_share"] == 1  # not measured


def test_a_slow_training_throughput_draws_less_than_the_tdp(cli):
    cost = json_of(cli, "mfu", "llama3-8b", "--hw", "h200", "--tokens-per-s", 2000, "--pue", 1)
    assert "cost" not in cost
    cost = json_of(cli, "mfu", "llama3-8b", "--hw", "h200", "--tokens-per-s", 2000, "--price", 1)["cost"]
    assert DRAWN["h200"].idle < cost["power_share"] < 1
    assert cost["joules_per_million_tokens"] == pytest.approx(H200.tdp.value * cost["power_share"] / 2000 * 1e6)
