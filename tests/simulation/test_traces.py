"""Traces in every format that is read, and what is said of those that cannot be."""

import json
from random import Random

import pytest

from llmcost.ground.errors import InputError, SpecError
from llmcost.simulation.histograms import HISTOGRAMS, QUANTILES
from llmcost.simulation.traces import read_trace


def read(tmp_path, text, name="trace.csv", timed=True):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [(each.arrival, each.prompt, each.output, each.prefix) for each in read_trace(path, timed)]


def test_our_own_format_in_csv_and_json_lines(tmp_path):
    csv = "input_tokens,output_tokens,arrival_s,prefix_id,shared_tokens\n10,2,0.5,a,8\n20,3,1,,\n"
    expected = [(0.5, 10, 2, (("a", 8),)), (1.0, 20, 3, ())]
    assert read(tmp_path, csv) == expected
    rows = [
        {"input_tokens": 10, "output_tokens": 2, "arrival_s": 0.5, "prefix_id": "a", "shared_tokens": 8},
        {"input_tokens": 20, "output_tokens": 3, "arrival_s": 1},
    ]
    assert read(tmp_path, "\n".join(map(json.dumps, rows)), "trace.jsonl") == expected


def test_a_mark_of_byte_order_and_windows_line_ends_make_no_difference(tmp_path):
    csv = "\ufeffinput_tokens,output_tokens,arrival_s\r\n10,2,0.5\r\n"
    row = '\ufeff{"input_tokens": 10, "output_tokens": 2, "arrival_s": 0.5}\r\n'
    assert read(tmp_path, csv) == read(tmp_path, row, "trace.jsonl") == [(0.5, 10, 2, ())]


def test_a_line_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("llmcost.simulation.traces.LONGEST_LINE", 1000)
    with pytest.raises(SpecError, match="a line of more than 1,000 characters"):
        read(tmp_path, "input_tokens,output_tokens,arrival_s\n" + "1" * 1001)


def test_azures_traces_count_from_their_first_request(tmp_path):
    head = "TIMESTAMP,ContextTokens,GeneratedTokens"
    text = f"{head}\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    (first, *_), (second, *_) = found = read(tmp_path, text)
    assert [each[1:3] for each in found] == [(374, 44), (396, 109)]
    assert (first, second) == (0.0, pytest.approx(4.314579, abs=1e-6))


def test_mooncakes_hashes_are_blocks_of_512_tokens_and_its_times_milliseconds(tmp_path):
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 48]},
        {"timestamp": 3052, "input_length": 600, "output_length": 26, "hash_ids": [46, 49]},
    ]
    assert read(tmp_path, "\n".join(map(json.dumps, rows)), "m.jsonl") == [
        (0.0, 1100, 52, ((46, 512), (47, 512), (48, 76))),
        (3.052, 600, 26, ((46, 512), (49, 88))),
    ]


def test_results_of_engines_benchmarks_are_read_with_their_times_where_they_have_them(tmp_path):
    vllm = {"input_lens": [10, 20, 30], "output_lens": [1, 2, 0], "start_times": [105.0, 103.5, 104.0], "ttfts": []}
    assert read(tmp_path, json.dumps(vllm, indent=1), "r.json") == [(0.0, 20, 2, ()), (1.5, 10, 1, ())]
    sglang = {"input_lens": [10], "output_lens": [4], "itls": [[]]}
    lines = f"{json.dumps(sglang)}\n{json.dumps(sglang)}\n"
    assert read(tmp_path, lines, "r.jsonl", timed=False) == 2 * [(0.0, 10, 4, ())]
    with pytest.raises(InputError, match="no times of arrival; give --rate or --concurrency too"):
        read(tmp_path, lines, "r.jsonl")


def test_several_runs_of_a_benchmark_have_no_times_in_common(tmp_path):
    run = json.dumps({"input_lens": [10, 20], "output_lens": [4, 5], "start_times": [1.0, 2.0]})
    with pytest.raises(SpecError, match="one of 2 runs, each with times of its own") as wrong:
        read(tmp_path, f"{run}\n{run}\n", "r.jsonl")
    assert (wrong.value.line, wrong.value.field) == (2, "start_times")
    assert len(read(tmp_path, f"{run}\n{run}\n", "r.jsonl", timed=False)) == 4


def test_results_without_their_requests_name_the_option_that_saves_them(tmp_path):
    with pytest.raises(SpecError, match="--save-detailed or --output-details save it"):
        read(tmp_path, '{"completed": 3, "total_input_tokens": 2400}', "r.json")


def test_sharegpts_conversations_are_those_that_benchmarks_take(tmp_path):
    def talk(*sizes):
        return {"id": "x", "conversations": [{"from": "human", "value": "a" * size} for size in sizes]}

    talks = [talk(400, 800), talk(400), talk(8, 800), talk(5000, 800), talk(4000, 4800), talk(100, 100, 100)]
    text = json.dumps(talks)
    kept = [(0.0, 100, 200, ()), (0.0, 25, 25, ())]
    assert read(tmp_path, text, "s.json", timed=False) == kept
    assert read(tmp_path, "\n".join(map(json.dumps, talks)), "s.jsonl", timed=False) == kept
    named = text.replace("conversations", "messages").replace("value", "content")
    assert read(tmp_path, named, "m.json", timed=False) == kept


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("input_tokens,output_tokens\n1,2\n", 2, "arrival_s"),
        ("a,b\n1,2\n", 1, "input_tokens"),
        ("input_tokens,output_tokens,arrival_s\n1,2,0\n1,2,-1\n", 3, "arrival_s"),
        ("input_tokens,output_tokens,arrival_s\n1,2,nan\n", 2, "arrival_s"),
        ("input_tokens,output_tokens,arrival_s\n1,2,inf\n", 2, "arrival_s"),
        ("input_tokens,output_tokens,arrival_s\n1,2,0\n1,2,1e300\n", 3, "arrival_s"),
        ("input_tokens,output_tokens,arrival_s\n1,2,2\n1,2,1\n", 3, "arrival_s"),
        ("input_tokens,output_tokens,arrival_s\n0,2,0\n", 2, "input_tokens"),
        ("input_tokens,output_tokens,arrival_s\n1.5,2,0\n", 2, "input_tokens"),
        ("input_tokens,output_tokens,arrival_s\n1,x,0\n", 2, "output_tokens"),
        ("input_tokens,output_tokens,arrival_s,prefix_id,shared_tokens\n5,2,0,a,6\n", 2, "shared_tokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", 2, "TIMESTAMP"),
        ('{"input_length": 5, "output_length": 1, "timestamp": 0, "hash_ids": "x"}\n', 1, "hash_ids"),
        ('{"input_length": 5, "output_length": 1, "timestamp": 0}\n{"input_length": 5', 2, ""),
        ('{"input_lens": [1, 2], "output_lens": [1]}', 1, "output_lens"),
        ('{"input_lens": [1, 2], "output_lens": 3}', 1, "output_lens"),
        ('[{"conversations": [1, 2]}]', 0, "[0].conversations"),
        ('[{"nothing": 1}]', 0, "[0].conversations"),
        ("[1, 2", 1, ""),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(tmp_path, text, line, field):
    timed = "lens" not in text and text[0] != "["
    with pytest.raises(SpecError) as wrong:
        read(tmp_path, text, timed=timed)
    assert (wrong.value.line, wrong.value.field) == (line, field)


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        list(read_trace(tmp_path / "none.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        list(read_trace(tmp_path / "bytes.csv"))


@pytest.mark.parametrize(
    ("name", "prompt", "output"),
    [
        ("sharegpt", 218.9, 200.8),
        ("azure-conv", 1154.7, 211.1),
        ("azure-code", 2047.8, 27.9),
        ("mooncake-conv", 12035.1, 342.6),
    ],
)
def test_histograms_have_the_means_of_the_traces_that_they_come_from(name, prompt, output):
    """The means are those of all requests of the traces; between quantiles the sizes are taken as even."""
    found = HISTOGRAMS[name].mean()
    assert found[0] == pytest.approx(prompt, rel=0.04)
    assert found[1] == pytest.approx(output, rel=0.3 if name == "azure-code" else 0.04)


@pytest.mark.parametrize("found", HISTOGRAMS.values(), ids=HISTOGRAMS)
def test_lengths_are_drawn_with_the_quantiles_of_their_histogram(found):
    drawn = Random(1)
    for values, seen in zip(found[2:], zip(*[found.draw(drawn) for _ in range(20_000)], strict=True), strict=True):
        ordered = sorted(seen)
        for share in (0.1, 0.5, 0.9):
            lower, upper = (values[QUANTILES.index(share) + step] for step in (-1, 1))
            assert lower <= ordered[int(share * len(ordered))] <= upper
        assert max(1, values[0]) <= ordered[0] <= ordered[-1] <= values[-1]
