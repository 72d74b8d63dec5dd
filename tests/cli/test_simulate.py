"""`llmcost simulate`, and `llmcost fit` at a rate: what comes out, in every form, and what is refused."""

import csv
import io
import json

import pytest

QUICK = ("simulate", "llama3.1-8b", "--hw", "h100", "--rate", "20", "--requests", "40", "--output", "32")


def test_json_table_and_csv_tell_of_the_same_run(cli):
    document = json.loads(cli(*QUICK, "--json", "--ttft", "500").out)
    assert (document["schema"], document["requests"], document["goodput"]) == ("llmcost.simulate/1", 40, 1)
    assert "timeline" not in document
    rows = list(csv.DictReader(io.StringIO(cli(*QUICK, "--csv").out)))
    assert len(rows) == 40
    mean = sum(float(row["ttft_seconds"]) for row in rows) / 40
    assert mean == pytest.approx(document["ttft_seconds"]["mean"])
    table = cli(*QUICK, "--ttft", "500", "--price", "2").out
    for said in ("first token (TTFT)", "Goodput: 100.0%", "A million output tokens, with their prompts: $"):
        assert said in table


def test_the_timeline_comes_where_it_is_asked_for(cli):
    moments = json.loads(cli(*QUICK, "--json", "--timeline").out)["timeline"]
    assert [moment["seconds"] for moment in moments] == sorted(moment["seconds"] for moment in moments)
    assert {"waiting", "running", "kv_used", "hit_tokens", "preemptions", "answered"} < set(moments[0])


def test_a_trace_and_charts_are_written(cli, tmp_path):
    trace, plot = tmp_path / "trace.json", tmp_path / "plot.svg"
    assert cli(*QUICK, "--trace-out", trace, "--plot", plot).code == 0
    assert {event["ph"] for event in json.loads(trace.read_text("utf-8"))} == {"M", "X", "C", "b", "e"}
    drawn = plot.read_text("utf-8")
    for said in ("Requests over time", "KV cache over time", "How long requests take"):
        assert said in drawn


def test_ctrl_c_gives_what_is_done_so_far(cli, monkeypatch):
    from llmcost.simulation.cluster import Unit

    step, steps = Unit.step, iter(range(60))

    def interrupted(unit):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(unit)

    monkeypatch.setattr(Unit, "step", interrupted)
    answer = cli(*QUICK, "--json")
    document = json.loads(answer.out)
    assert (answer.code, document["interrupted"]) == (130, True)
    assert 0 < document["requests"] < 40


def test_overload_is_said(cli):
    out = cli("simulate", "llama3.1-8b", "--hw", "h100", "--rate", "300", "--requests", "1500").out
    assert "Overloaded: more requests arrive than are answered" in out


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("input_tokens,output_tokens,arrival_s\n1,2,-1\n", ":2: arrival_s: cannot be '-1'"),
        ("input_tokens,output_tokens,arrival_s\n1,2,0\n1,2,1e300\n", ":3: arrival_s: cannot be '1e300': a number"),
        ("[]\n", ": an empty list: it has no requests"),
        ("input_tokens,output_tokens\n1,2\n", ":2: arrival_s: this field is missing"),
        ("input_tokens,output_tokens,arrival_s\n1,200000,0\n", ":2: a request of 1 token in and 200,000 out"),
    ],
)
def test_a_trace_that_cannot_be_used_is_refused_with_its_line(cli, tmp_path, text, place):
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    answer = cli("simulate", "llama3.1-8b", "--hw", "h100", "--trace", path)
    assert (answer.code, answer.out) == (2, "")
    assert f"{path}{place}" in answer.err


def test_a_trace_without_requests_is_refused(cli, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("input_tokens,output_tokens,arrival_s\n", encoding="utf-8")
    answer = cli("simulate", "llama3.1-8b", "--hw", "h100", "--trace", path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"llmcost: {path}: it has no requests\n"


FIT = ("fit", "llama3.1-8b", "--hw", "h100,l40s", "--weight-dtype", "fp8", "--gpus", "1", "--rate", "30")
LENGTHS = ("--prompt", "1k", "--output", "128", "--requests", "500", "--tpot", "40")


def test_fit_at_a_rate_takes_the_fewest_replicas_that_keep_the_limits(cli):
    found = json.loads(cli(*FIT, *LENGTHS, "--price", "h100=2", "--price", "l40s=1", "--json").out)
    assert found["schema"] == "llmcost.fit_rate/1"
    prices = [offer["price_per_hour"] for offer in found["offers"]]
    assert len(prices) == 2
    assert prices == sorted(prices)
    for offer in found["offers"]:
        price = 2 if offer["hardware"] == "h100-sxm" else 1
        assert offer["gpus"] == offer["replicas"]
        assert offer["price_per_hour"] == price * offer["gpus"]
        assert offer["tpot_seconds"] <= 0.04
        if offer["replicas"] > 1:
            fewer = json.loads(
                cli(
                    *("simulate", "llama3.1-8b", "--hw", offer["hardware"], "--weight-dtype", "fp8", "--rate", "30"),
                    *LENGTHS[:6],
                    *("--dp", offer["replicas"] - 1, "--json"),
                ).out
            )
            assert fewer["overloaded"] or fewer["tpot_seconds"]["p99"] > 0.04


def test_fit_with_prompts_apart_takes_the_fewest_replicas_of_both_kinds(cli):
    """Prompts of 4,096 tokens in 300 ms, 12 a second: what is taken away from either pool breaks a limit."""
    limits = ("--ttft", "300", "--tpot", "12")
    asked = ("llama3.1-8b", "--hw", "h100", "--rate", "12", "--prompt", "4k", "--output", "128", "--requests", "300")
    found = json.loads(cli("fit", *asked, "--gpus", "1", "--weight-dtype", "fp8", *limits, "--apart", "--json").out)
    (apart,) = [each for each in found["offers"] if each["prompt_replicas"]]
    pools = [apart["prompt_replicas"], apart["replicas"]]
    assert apart["gpus"] == sum(pools)

    def run(prompts, decode):
        gpus = ("--prefill-gpus", prompts, "--decode-gpus", decode, "--prefill-tp", "1", "--tp", "1")
        return json.loads(cli("simulate", *asked, "--weight-dtype", "fp8", *gpus, "--json").out)

    def keeps(answer):
        within = answer["ttft_seconds"]["p99"] <= 0.3 and answer["tpot_seconds"]["p99"] <= 0.012
        return within and not answer["overloaded"]

    whole = run(*pools)
    assert (whole["ttft_seconds"]["p99"], whole["tpot_seconds"]["p99"]) == (
        apart["ttft_seconds"],
        apart["tpot_seconds"],
    )
    assert keeps(whole)
    for place in (0, 1):
        fewer = [number - (at == place) for at, number in enumerate(pools)]
        assert min(fewer) == 0 or not keeps(run(*fewer))


def test_fit_at_a_rate_says_why_where_nothing_keeps_the_limits(cli):
    answer = cli(*FIT, *LENGTHS[:-1], "1", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["offers"]) == (1, [])
    assert all("not keep the limits: p99 TTFT" in each["why"] for each in found["left_out"])
    assert found["left_out"][0]["why"] in cli(*FIT, *LENGTHS[:-1], "1").out  # on the screen too


def test_fit_at_a_rate_says_on_the_screen_that_an_engine_does_not_run_there(cli):
    asked = (
        "fit",
        "llama3.1-8b",
        "--hw",
        "mi300x",
        "--engine",
        "trtllm",
        "--rate",
        "5",
        "--output",
        "9",
        "--ttft",
        "500",
    )
    answer = cli(*asked)
    assert answer.code == 1
    assert "No set-up keeps TTFT 500 ms for p99 of 5 requests a second." in answer.out
    assert "--engine trtllm: TensorRT-LLM runs on GPUs of NVIDIA, not on AMD Instinct MI300X" in answer.out


def test_more_replicas_than_can_be_simulated_are_refused_at_once(cli):
    asked = ("llama3.1-8b", "--hw", "h100", "--output", "9", "--rate")
    found = cli("fit", *asked, "1e6", "--ttft", "500")
    assert found.code == 1
    assert "more than the 1,024 replicas that are simulated would be needed for 1e+06 requests a second" in found.out
    many = cli("simulate", *asked, "5", "--dp", 1_000_000)
    assert (many.code, many.out) == (2, "")
    assert "1,000,000 replicas: at most 4,096 are simulated" in many.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--rate", "5", "--router", "round-robin"),
            "--router round-robin: it chooses among replicas, and there is one",
        ),
        (
            ("--concurrency", "5", "--burstiness", "2"),
            "--burstiness 2: the shape of the gaps at a rate; give --rate too",
        ),
        (("--concurrency", "5", "--timeline"), "--timeline: it is part of the JSON document; give --json too"),
        (("--rate", "5", "--accept", "0.5"), "--accept 0.5: it changes nothing alone; give --speculate too"),
        (("--rate", "5", "--lengths", "azure-conv", "--range-ratio", "0.5"), "--range-ratio 0.5: of --prompt and"),
        (("--trace", "nowhere.csv", "--output", "5"), "--trace and --output: the trace says what requests have"),
        (("--rate", "5", "--price", "-1"), "--price -1: dollars a GPU-hour, from 0 on"),
        (("--rate", "5", "--dtype", "bf16,fp16"), "one value here; lists are for llmcost"),
        (("--rate", "5", "--engine", "torchtitan"), "--engine torchtitan: this engine trains: it is for llmcost train"),
    ],
)
def test_an_option_that_would_change_nothing_says_what_it_needs(cli, options, said):
    answer = cli("simulate", "llama3.1-8b", "--hw", "h100", *options)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_time_on_the_engines_host_is_not_time_in_the_queue(cli):
    """vLLM's host takes 10 ms and 5 µs a token before a request can start; a lone one then waits for nobody."""
    alone = (*QUICK[:4], "--engine", "vllm", "--rate", "1", "--requests", "1", "--output", "9")
    found = json.loads(cli(*alone, "--json").out)
    host = 0.010 + 1024 * 5e-6
    assert found["host_seconds"] == pytest.approx(host)
    assert found["queue_seconds"]["mean"] == 0
    assert found["ttft_seconds"]["mean"] > host
    shown = cli(*alone).out
    assert "of which in the queue         0 s " in shown
    assert "First token and latency include 15.1 ms on the engine's host, the queue not." in shown
    assert "\n1 request, 1,024 tokens in and 9 out, in " in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ttft", "500"), "give --rate too"),
        (("--rate", "3", "--output", "5", "--tpot", "9", "--at", "p98"), "--at p98"),
        (("--rate", "3", "--output", "5", "--at", "p50"), "--at p50: of how many requests keep a limit"),
        (("--apart",), "--apart: of requests that are simulated; give --rate, and --ttft or --tpot too"),
        (
            ("--rate", "3", "--output", "1", "--tpot", "9", "--apart"),
            "--output 1: nothing is decoded; leave --apart away",
        ),
        (("--at", "p50"), "--at p50: of how many requests keep a limit; give --ttft or --tpot too"),
    ],
)
def test_fit_at_a_rate_refuses_what_makes_no_sense(cli, options, said):
    answer = cli("fit", "llama3.1-8b", "--hw", "h100", *options)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_fit_at_a_rate_wants_gpus_named(cli):
    answer = cli("fit", "llama3.1-8b", "--rate", "3", "--output", "5", "--tpot", "9")
    assert (answer.code, answer.out) == (2, "")
    assert "name some with --hw" in answer.err


def test_a_trace_that_is_read_is_not_written_over(cli, tmp_path):
    (trace := tmp_path / "own.csv").write_text("input_tokens,output_tokens,arrival_s\n10,2,0\n")
    answer = cli("simulate", "llama3.1-8b", "--hw", "h100", "--trace", str(trace), "--trace-out", str(trace))
    assert (answer.code, answer.out) == (2, "")
    assert "own.csv: is what is read here" in answer.err
    assert trace.read_text().startswith("input_tokens")
