"""What GPU-hours and tokens cost: prices as typed and from lists, electricity, joules."""

import csv
import io
import json

import pytest

H100_WATTS = 700  # hardware/h100-sxm.yaml
LOAD = ("--prompt", 1000, "--output", 200, "--concurrency", 32)
LIST = """\
prices:
  h100: {dollars: 2.5, date: 2026-11-01, source: https://example.com/prices}
  h200: {dollars: 3.2, date: 2026-11-02, source: a quote}
"""


@pytest.fixture
def prices(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(LIST, "utf-8")
    return file


def json_of(cli, *arguments):
    answer = cli(*arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_tokens_of_a_load_bear_the_gpu_hours_and_their_energy(cli):
    """Dollars an hour over tokens an hour; watts over tokens a second. Two GPUs cost twice."""
    found = json_of(cli, "estimate", "llama3-8b", "--hw", "h100", "--tp", 2, *LOAD, "--price", 2.5)
    mix, cost = found["serving"]["expected"], found["cost"]
    for name, rate in (("output_tokens", mix["output_tokens_per_s"]), ("tokens", mix["total_tokens_per_s"])):
        assert cost[f"dollars_per_million_{name}"] == pytest.approx(2 * 2.5 / 3600 / rate * 1e6)
        assert cost[f"joules_per_million_{name}"] == pytest.approx(2 * H100_WATTS / rate * 1e6)
    assert cost["dollars_per_million_prompt_tokens"] is None


def test_without_a_load_prompts_and_output_are_priced_apart(cli):
    found = json_of(cli, "estimate", "llama3-8b", "--hw", "h100", "-b", 8, "--price", 2)
    cost = found["cost"]
    for name, phase in (("prompt", "prefill"), ("output", "decode")):
        rate = found[phase]["expected"]["tokens_per_s"]
        assert cost[f"dollars_per_million_{name}_tokens"] == pytest.approx(2 / 3600 / rate * 1e6)
    assert cost["dollars_per_million_tokens"] is None


def test_electricity_is_added_to_the_price_of_an_hour(cli):
    """700 W at a PUE of 1.2 draw 0.84 kWh an hour, of 12 cents each."""
    asked = ["estimate", "llama3-8b", "--hw", "h100", *LOAD]
    hour = 0.7 * 1.2 * 0.12
    for price, least in ((["--price", 2.5], 2.5), ([], 0)):
        cost = json_of(cli, *asked, *price, "--kwh", 0.12, "--pue", 1.2)["cost"]
        assert cost["price_per_gpu_hour"] == pytest.approx(least + hour)
    joules = json_of(cli, *asked, "--pue", 1.2)["cost"]
    assert joules["price_per_gpu_hour"] is None
    plain = json_of(cli, *asked, "--price", 1)["cost"]["joules_per_million_output_tokens"]
    assert joules["joules_per_million_output_tokens"] == pytest.approx(1.2 * plain)


def test_no_price_changes_no_answer(cli):
    assert "cost" not in json_of(cli, "estimate", "llama3-8b", "--hw", "h100", *LOAD)
    assert "Cost" not in cli("estimate", "llama3-8b", "--hw", "h100", *LOAD).out
    assert "$" not in cli("fit", "llama3-8b", "--hw", "h100").out


def test_the_cost_stands_in_the_answer_and_in_csv(cli):
    asked = ["estimate", "llama3-8b", "--hw", "h100", *LOAD, "--price", 2.5]
    cost = json_of(cli, *asked)["cost"]
    (line,) = [line for line in cli(*asked).out.splitlines() if line.startswith("Cost ")]
    assert f"${cost['dollars_per_million_output_tokens']:.3f} and " in line
    assert "at $2.50 a GPU-hour" in line
    rows = {path: (value, unit) for path, value, unit in csv.reader(io.StringIO(cli(*asked, "--csv").out))}
    assert rows["cost.dollars_per_million_output_tokens"] == (str(cost["dollars_per_million_output_tokens"]), "$")
    assert "Cost" not in cli("estimate", "llama3-70b", "--hw", "h100", "--price", 2).out  # it does not fit


@pytest.mark.parametrize("typed", [["--price", "h100=2.5,h200=3.2"], ["--price", "h100=2.5", "--price", "h200=3.2"]])
def test_prices_of_several_gpus_are_typed_as_a_list_or_apart(cli, prices, typed):
    asked = ["fit", "llama3-8b", "--hw", "h100,h200", "--gpus", 1, "--weight-dtype", "bf16"]
    offers = json_of(cli, *asked, *typed)["offers"]
    assert {each["hardware"]: each["price_per_gpu_hour"] for each in offers} == {"h100-sxm": 2.5, "h200": 3.2}
    assert json_of(cli, *asked, "--price", prices)["offers"] == offers


def test_a_price_of_a_list_is_said_with_its_date_and_source(cli, prices):
    answer = cli("estimate", "llama3-8b", "--hw", "h200", "--price", prices)
    assert answer.code == 0
    assert answer.err == "llmcost: note: h200: $3.2 a GPU-hour, of 2026-11-02, a quote\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prices:\n  h100: 2.5\n", ":2: prices.h100: expected"),
        ("prices:\n  h100: {dollars: 2.5, date: 2026-11-01}\n", ":2: prices.h100.source: "),
        ("prices:\n  h100: {dollars: 2.5, date: yesterday, source: x}\n", ":2: prices.h100.date: a day, as in"),
        ("prices:\n  h100: {dollars: -1, date: 2026-11-01, source: x}\n", ":2: prices.h100.dollars: "),
        ("prices:\n  h999: {dollars: 1, date: 2026-11-01, source: x}\n", ":2: prices.h999: unknown"),
        ("price: 2\n", "prices.yaml:"),
        (LIST + "  h100-sxm: {dollars: 1, date: 2026-11-01, source: x}\n", "a second price of h100-sxm"),
    ],
)
def test_a_list_that_is_wrong_names_file_line_and_field(cli, tmp_path, text, words):
    file = tmp_path / "prices.yaml"
    file.write_text(text, "utf-8")
    answer = cli("estimate", "llama3-8b", "--hw", "h100", "--price", file)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimate", "llama3-8b", "--price", 2], "of a GPU; give it too, with --hw"),
        (["estimate", "llama3-8b", "--hw", "h100", "--price", "cheap"], "dollars a GPU-hour, from 0 on, as in 2.5"),
        (["estimate", "llama3-8b", "--hw", "h100", "--price", "h200=3"], "h200 is not among the GPUs"),
        (["estimate", "llama3-8b", "--hw", "h100", "--pue", 0.5], "--pue 0.5: the data centre's energy"),
        (["estimate", "llama3-8b", "--hw", "a100-40gb-pcie", "--kwh", 0.1, "--price", "nowhere.yaml"], "no such file"),
        (["estimate", "llama3-8b", "--hw", "m2-ultra", "--kwh", 0.1], "no source gives the power (TDP)"),
        (["compare", "llama3-8b", "--hw", "h100", "--pue", 1.2], "--pue 1.2: the energy that --kwh prices"),
        (["plan", "llama3-8b", "--hw", "h100", "--gpus", 8, "--pue", 1.2], "give --kwh too"),
        (["budget", "1e24", "--price", 2], "of which GPU? give it with --hw"),
    ],
)
def test_money_that_makes_no_sense_is_refused(cli, arguments, words):
    answer = cli(*arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert words in answer.err


def test_every_command_that_has_a_time_takes_a_price_with_electricity(cli, prices):
    """700 W at 10 cents a kWh: 7 cents an hour more than the list's $2.50."""
    money = ["--price", prices, "--kwh", 0.1]
    run = json_of(cli, "train", "llama3-8b", "--hw", "h100", "--gpus", 8, *money)
    assert run["dollars"] == pytest.approx(run["gpu_hours"] * 2.57)
    simulated = json_of(cli, "simulate", "llama3-8b", "--hw", "h100", "--concurrency", 4, "--requests", 8, *money)
    hours = simulated["duration_seconds"] / 3600
    tokens = simulated["output_tokens"] + simulated["input_tokens"]
    assert simulated["dollars_per_million_tokens"] == pytest.approx(2.57 * hours / tokens * 1e6)
    assert simulated["joules_per_million_tokens"] == pytest.approx(H100_WATTS * hours * 3600 / tokens * 1e6)
    served = json_of(cli, "plan", "llama3-8b", "--hw", "h100", "--gpus", 1, "--serve", *money)["best"][0]
    assert served["price_per_million_tokens"] == pytest.approx(2.57 / 3600 / served["tokens_per_s_per_gpu"] * 1e6)
    assert served["joules_per_million_tokens"] == pytest.approx(H100_WATTS / served["tokens_per_s_per_gpu"] * 1e6)
    trained = json_of(cli, "plan", "llama3-8b", "--hw", "h100", "--gpus", 8, *money)["best"][0]
    assert trained["price_per_million_tokens"] == pytest.approx(2.57 / 3600 / trained["tokens_per_s_per_gpu"] * 1e6)
    (entry,) = json_of(cli, "compare", "llama3-8b", "--hw", "h100", *money)["entries"]
    prefill = entry["prefill"]["expected"]["tokens_per_s"]
    assert entry["derived"]["price_per_million_prompt_tokens"] == pytest.approx(2.57 / 3600 / prefill * 1e6)
    budget = json_of(cli, "budget", "--dollars", "1M", "--hw", "h100", *money)
    assert budget["gpu_hours"] == pytest.approx(1e6 / 2.57)
    (offer,) = json_of(cli, "fit", "llama3-8b", "--hw", "h100", "--gpus", 1, "--weight-dtype", "bf16", *money)["offers"]
    assert offer["price_per_gpu_hour"] == pytest.approx(2.57)
    assert offer["joules_per_million_tokens"] == pytest.approx(H100_WATTS / offer["most_tokens_per_s"] * 1e6)


def test_what_a_training_run_draws_is_priced_by_its_share_of_the_tdp(cli):
    asked = ["train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--kwh", 0.1, "--pue", 1.5, "--power-share", 0.8]
    run = json_of(cli, *asked)["with_interruptions"]
    assert run["dollars"] == pytest.approx(run["energy_joules"] / 3.6e6 * 0.1)


@pytest.mark.parametrize("text", ["h100: 2.5", "other: {}"])
def test_a_list_without_prices_is_shown_what_one_is(cli, tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\n", "utf-8")
    answer = cli("estimate", "llama3-8b", "--hw", "h100", "--price", path)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"{path}:1: prices: this field is missing; a list of prices is prices: {{h100: {{dollars: 2.5" in answer.err


@pytest.mark.parametrize("option", ["--price", "--kwh", "--pue", "--mfu", "--memory-utilization"])
def test_a_number_beyond_all_is_one_message(cli, option):
    answer = cli("estimate", "llama3-8b", "--hw", "h100", option, "1e400")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"{option} 1e400" in answer.err


def test_a_load_is_shared_between_input_and_output_by_their_time_and_adds_up_to_the_whole(cli):
    """Prompts take what their prefill alone needs; both shares together are the GPU-hour."""
    found = json_of(cli, "estimate", "llama3-8b", "--hw", "h100", *LOAD, "--price", 2.5)
    mix, cost = found["serving"]["expected"], found["cost"]
    inputs = mix["total_tokens_per_s"] - mix["output_tokens_per_s"]
    assert cost["prompt_share"] == pytest.approx(inputs / found["prefill"]["expected"]["tokens_per_s"])
    for unit, whole in (("dollars", 2.5 / 3600), ("joules", H100_WATTS)):
        parts = [cost[f"{unit}_per_million_{of}_tokens_of_mix"] / 1e6 for of in ("input", "output")]
        assert parts[0] * inputs + parts[1] * mix["output_tokens_per_s"] == pytest.approx(whole)
        assert parts[0] * inputs / whole == pytest.approx(cost["prompt_share"])


def test_a_sweep_prices_each_row_as_estimate_does(cli):
    asked = ["--prompt", 1000, "--output", 200, "--price", "h100=2.5", "--kwh", 0.1]
    rows = json_of(cli, "sweep", "llama3-8b", "--hw", "h100", "--concurrency", "8,32", *asked)["rows"]
    for row in rows:
        one = json_of(cli, "estimate", "llama3-8b", "--hw", "h100", "--concurrency", row["concurrency"], *asked)["cost"]
        told = {key: value for key, value in row.items() if key.startswith("cost.")}
        assert len(told) == 4
        assert told == {key: pytest.approx(one[key.removeprefix("cost.")]) for key in told}


def test_a_sweep_without_money_has_no_figure_of_it(cli):
    refused = cli("sweep", "llama3-8b", "--hw", "h100", "--metric", "cost.dollars_per_million_output_tokens")
    assert refused.code == 2
    assert "cost.dollars_per_million_output_tokens" in refused.err


def test_a_step_of_reinforcement_learning_costs_its_gpus_for_its_time(cli):
    asked = ["rl", "llama3.2-1b", "--hw", "h100", "--gpus", 2, "--prompts", 4, "--samples", 4, "--output", 64]
    found = json_of(cli, *asked, "--price", 3, "--pue", 1.5, "--kwh", 0.1)
    hour, cost = 3 + 0.7 * 1.5 * 0.1, found["cost"]
    assert cost["dollars_per_step"] == pytest.approx(2 * hour * found["step_seconds"] / 3600)
    assert cost["joules_per_step"] == pytest.approx(2 * H100_WATTS * 1.5 * found["step_seconds"])
    assert cost["dollars_per_million_tokens"] == pytest.approx(cost["dollars_per_step"] / found["tokens"] * 1e6)
    assert "Cost of a step" in cli(*asked, "--price", 3).out


def test_a_training_rate_that_was_measured_has_a_price(cli):
    """9,000 tokens a second of one GPU at $3.60 an hour: 0.001 / 9,000 dollars a token."""
    found = json_of(cli, "mfu", "llama3-8b", "--hw", "h100", "--tokens-per-s", 9000, "--price", 3.6)
    assert found["cost"]["dollars_per_million_tokens"] == pytest.approx(1000 / 9000)


def test_a_load_that_decodes_nothing_has_a_price(cli):
    asked = ("--concurrency", 4, "--prompt", 100, "--output", 1, "--price", 2, "--json")
    answer = cli("estimate", "llama3-8b", "--hw", "b200", *asked)
    assert answer.code == 0
    assert json.loads(answer.out)["cost"]["dollars_per_million_output_tokens"] > 0
