"""Several simulations: each as it is alone, wherever it runs."""

import json

import pytest

from llmcost.ground.errors import InputError
from llmcost.ground.together import Together
from llmcost.report.simulate_charts import simulations_panels
from llmcost.search.fit import Precision
from llmcost.search.fit_rate import fit_rate
from llmcost.search.simulations import Asked, Simulations, runs_of
from llmcost.serving.options import Options
from llmcost.simulation.histograms import HISTOGRAMS
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.run import simulate
from llmcost.specs.catalog import load_hardware, load_model

LLAMA = load_model("llama3.1-8b")
CHIPS = [load_hardware("h100"), load_hardware("l40s")]
OPTIONS, CHOSEN = Options(requests=40), SimulationOptions(log_normal=0.5, seed=3)
VARIED = {"rate": (2.0, 8.0), "tp": (1, 3)}  # 8 KV heads are not divided by 3


def one_by_one():
    return list(runs_of(LLAMA, CHIPS, OPTIONS, CHOSEN, VARIED, {}, Together(jobs=1)))


def test_each_run_is_what_it_is_alone_and_what_cannot_be_says_why():
    runs = one_by_one()
    assert [(each.hardware, each.chosen["rate"], each.chosen["tp"]) for each in runs] == [
        (chip.name, rate, tp) for chip in CHIPS for rate in (2.0, 8.0) for tp in (1, 3)
    ]
    alone = simulate(LLAMA, CHIPS[1], OPTIONS._replace(rate=8.0, tp=1), CHOSEN)
    assert runs[6].found == alone._replace(timeline=())
    assert all("--tp 3" in each.why_not for each in runs[1::2])
    assert all(each.found is None for each in runs[1::2])


def test_on_two_cores_runs_are_the_same():
    pytest.importorskip("joblib")
    assert list(runs_of(LLAMA, CHIPS, OPTIONS, CHOSEN, VARIED, {}, Together(jobs=2))) == one_by_one()


@pytest.mark.filterwarnings("ignore")  # what a cluster says of ports and of how it ends
def test_on_a_dask_cluster_runs_are_the_same():
    pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = Together(cluster=f"dask:{cluster.scheduler_address}")
        assert list(runs_of(LLAMA, CHIPS, OPTIONS, CHOSEN, VARIED, {}, there)) == one_by_one()


def test_set_ups_for_a_rate_are_the_same_on_two_cores_and_with_published_lengths():
    pytest.importorskip("joblib")
    limited = SimulationOptions(ttft=500.0, tpot=40.0, lengths="sharegpt", seed=3)
    asked = (LLAMA, CHIPS, Options(rate=20.0, requests=100), limited, "p90", (1,), [Precision("bf16", "bf16")])
    found = fit_rate(*asked)
    assert [each.hardware for each in found.offers] == ["h100-sxm", "l40s"]
    assert (found.prompt, found.output) == HISTOGRAMS["sharegpt"].mean()
    assert fit_rate(*asked, together=Together(jobs=2)) == found


def test_what_contradicts_itself_for_every_set_up_is_no_answer_but_an_error():
    chosen = SimulationOptions(ttft=500.0, lengths="sharegpt")
    with pytest.raises(InputError, match="it draws the lengths, --prompt and --output too"):
        fit_rate(LLAMA, CHIPS, Options(rate=2.0, prompt=100), chosen)


@pytest.mark.parametrize("option", [("--jobs", "2"), ("--lengths", "sharegpt"), ("--seed", "2")])
def test_without_limits_fit_simulates_nothing_and_says_so(cli, option):
    answer = cli("fit", "llama3.1-8b", "--hw", "h100", "--rate", "2", "--output", "10", *option)
    assert (answer.code, answer.out) == (2, "")
    assert f"{option[0]}: of requests that are simulated" in answer.err


def test_lists_give_a_row_a_run_and_every_form_has_it(cli):
    asked = ("simulate", "llama3.1-8b", "--hw", "h100", "--rate", "2,8", "--requests", "40", "--ttft", "500")
    document = json.loads(cli(*asked, "--json").out)
    assert (document["schema"], document["varied"]) == ("llmcost.simulations/1", ["rate"])
    assert [each["rate"] for each in document["runs"]] == [2, 8]
    assert document["runs"][0]["schema"] == "llmcost.simulate/1"
    assert (
        cli(*asked, "--csv").out.splitlines()[0].startswith("hw,rate,gpus,requests_per_s,output_tokens_per_s,goodput")
    )
    assert "goodput" in cli(*asked).out


def test_several_runs_are_drawn_as_throughput_against_the_slowest_times_a_line_a_gpu():
    runs = tuple(
        Asked(chip.name, {"rate": rate}, simulate(LLAMA, chip, Options(rate=rate, requests=20), SimulationOptions()))
        for chip in CHIPS
        for rate in (2.0, 8.0)
    )
    ttft, tpot, latency = simulations_panels(Simulations(LLAMA.name, ("rate",), runs))
    assert [line.label for line in ttft.lines] == [chip.name for chip in CHIPS]
    assert tpot.lines[0].y == [each.found.output_tokens_per_s for each in runs[:2]]
    assert latency.lines[0].x == [each.found.latency_seconds.p99 for each in runs[:2]]


def test_a_picture_of_several_runs_is_written_and_a_report_refused(cli, tmp_path):
    asked = ("simulate", "llama3.1-8b", "--hw", "h100", "--rate", "2,8", "--requests", "20")
    assert cli(*asked, "--plot", str(tmp_path / "runs.svg")).code == 0
    assert "Throughput against TTFT" in (tmp_path / "runs.svg").read_text()
    assert "--html: of one run" in cli(*asked, "--html", str(tmp_path / "runs.html")).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rate", "2,8", "--timeline", "--json"), "--timeline: of one run"),
        (("--rate", "2,8", "--launch", "--engine", "vllm"), "--launch: of one run"),
        (("--rate", "2", "--jobs", "1"), "--jobs 1: of several runs, and this is one"),
        (("--rate", "2,8", "--cluster", "slurm"), "--cluster slurm: dask:tcp://HOST:8786, ray, or ray:ADDRESS"),
        (("--rate", "2,8", "--cluster", "dask"), "--cluster dask: dask:tcp://HOST:8786"),
        (("--rate", "2,8", "--tp", "3"), "--tp 3"),
        (("--rate", "1..200", "--prompt", "1..100"), "20,000 runs, above 10,000"),
    ],
)
def test_what_is_of_one_run_or_of_no_cluster_is_refused(cli, options, said):
    answer = cli("simulate", "llama3.1-8b", "--hw", "h100", *options)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
