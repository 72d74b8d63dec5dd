"""`llmcost sweep`: a sweep that is the loop, rows in every format, charts, and what is refused."""

import csv
import io
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import llmcost
from llmcost.ground.errors import InputError
from llmcost.ground.ranges import parse_axis
from llmcost.ground.units import parse_decimal
from llmcost.report.sweep import csv_pieces, json_pieces, rows_of
from llmcost.search.sweep import Sweep
from llmcost.search.sweep_rows import METRICS
from llmcost.serving.estimate import Options, estimate
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model

LLAMA, H100 = load_model("llama3-8b"), load_hardware("h100")
EXACT = 2**53  # the integers that a float64 holds
# Dense, experts, windows with sinks, latent attention, windows with shared sizes, linear attention with experts,
# state space.
NAMES = (
    "llama3-8b",
    "mixtral-8x7b",
    "gpt-oss-20b",
    "deepseek-v3",
    "gemma3-27b",
    "qwen3-next-80b-a3b",
    "jamba-1.5-mini",
)
MODELS = {name: load_model(name) for name in NAMES}
CHIPS = {name: load_hardware(name) for name in ("h100-sxm", "a100-80gb-sxm", "rtx4090")}

# -- the sweep is the loop --------------------------------------------------------------------------


@st.composite
def sweeps(draw):
    """Some GPUs, data types and sizes for one of the models."""
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    longest = model.max_position_embeddings

    def several(values, most=3):
        return draw(st.lists(values, min_size=1, max_size=most, unique=True))

    def sizes(largest):  # 1 is often a case of its own
        return st.integers(1, 3) | st.integers(1, largest)

    given = {
        "batch": several(sizes(5000)),
        "context": several(st.integers(longest // 4 + 1, longest)),
        "prompt": several(sizes(min(longest // 4, 4096)), 2),
        "output": several(sizes(min(longest // 4, 4096) - 1), 2),
        "chunk": several(sizes(8192), 2),
        "concurrency": several(sizes(2000), 2),
        "tp": several(st.sampled_from([1, 2, 4, 8]), 2),
        "pp": several(st.sampled_from([1, 2, 4]), 2),
        "dp": several(st.sampled_from([1, 2]), 2),
        "ep": several(st.sampled_from([1, 2]), 2),
        "dtype": several(st.sampled_from(["bf16", "fp8"]), 2),
        "kv_dtype": several(st.sampled_from(["bf16", "fp8"]), 2),
        "mfu": several(st.sampled_from([0.3, 0.5]), 2),
        "memory_utilization": several(st.sampled_from([0.8, 0.9]), 2),
        "tokens": several(st.integers(1, 10**14), 2),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(given)), max_size=5))
    chosen |= {"output"} if "concurrency" in chosen else set()
    chips = [CHIPS[name] for name in several(st.sampled_from(sorted(CHIPS)), 2)]
    try:
        return Sweep(model, chips, {name: given[name] for name in chosen}), chosen
    except InputError:  # a model of another shape: no experts, an odd number of layers
        reject()


@settings(deadline=None, max_examples=40)
@given(sweeps(), st.data())
def test_every_figure_of_a_sweep_is_that_of_the_estimate_at_the_point(drawn, data):
    sweep, chosen = drawn
    rows = [row for _, block in sweep.blocks(sweep.figures) for row in rows_of(sweep.figures, block)]
    assert len(rows) == sweep.legal()
    for row in data.draw(st.lists(st.sampled_from(rows), max_size=12)):
        figures = dict(zip(sweep.figures, row, strict=True))
        options = Options(**{name: figures[f"workload.{name}"] for name in chosen})
        for path, value in leaves(estimate(sweep.model, CHIPS[figures["hardware.name"]], options)):
            if isinstance(value, float) or (isinstance(value, int) and value >= EXACT):
                rel = (
                    1e-9 if path == "serving.expected.tpot_seconds" else 5e-15
                )  # a small difference of large times; some last places
                assert figures[path] == pytest.approx(value, rel=rel), path
            else:
                assert figures[path] == value, path


@settings(deadline=None, max_examples=40)
@given(sweeps(), st.data())
def test_points_anywhere_are_those_of_the_blocks(drawn, data):
    sweep, _ = drawn
    paths = [*METRICS, "hardware.name", "workload.batch"]
    rows = [row for _, block in sweep.blocks(paths) for row in rows_of(paths, block)]
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20))
    points = sweep.select()[places]
    assert [row for block in sweep.at(points, paths) for row in rows_of(paths, block)] == [
        rows[place] for place in places
    ]


def test_the_rows_stand_in_the_order_of_nested_loops(monkeypatch):
    """Whatever the size of the blocks."""
    given = {"batch": range(1, 6), "context": range(100, 104), "mfu": [0.3, 0.5], "dtype": ["bf16", "fp8"]}
    paths = ["hardware.name", "workload.dtype", "workload.batch", "workload.context", "workload.mfu"]
    chips = ("h100-sxm", "rtx4090")
    loops = [
        (chip, dtype, batch, context, mfu)
        for chip in chips
        for dtype in given["dtype"]
        for batch in given["batch"]
        for context in given["context"]
        for mfu in given["mfu"]
    ]  # fmt: skip
    for block in (1, 3, 7, 16, 1000):
        monkeypatch.setattr("llmcost.search.sweep.BLOCK", block)
        sweep = Sweep(MODELS["llama3-8b"], [CHIPS[chip] for chip in chips], given)
        blocks = list(sweep.blocks(paths))
        assert [row for _, each in blocks for row in rows_of(paths, each)] == loops
        assert [number for numbers, _ in blocks for number in numbers] == list(range(len(loops)))
        assert max(len(numbers) for numbers, _ in blocks) <= max(block, 1)


def test_prompts_longer_than_their_context_are_left_out_and_counted():
    sweep = Sweep(
        MODELS["llama3-8b"],
        [CHIPS["h100-sxm"]],
        {"batch": [1, 2], "context": [4096, 1024], "prompt": [512, 1024, 2048, 8192]},
    )
    kept = [
        row
        for _, block in sweep.blocks(["workload.context", "workload.prompt"])
        for row in rows_of(("workload.context", "workload.prompt"), block)
    ]
    assert kept == 2 * [(4096, 512), (4096, 1024), (4096, 2048), (1024, 512), (1024, 1024)]
    assert sweep.left_out() == {"the context has no room for prompt and output": 16 - len(kept)}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("top", [None, 1, 7, 1000])
def test_select_sorts_as_python_does(descending, top, monkeypatch):
    monkeypatch.setattr("llmcost.search.sweep.BLOCK", 16)
    path = "decode.expected.tokens_per_s"
    chips = [CHIPS["h100-sxm"], load_hardware("jetson-orin-nano-8gb"), CHIPS["rtx4090"]]
    sweep = Sweep(
        MODELS["mixtral-8x7b"], chips, {"batch": range(1, 20), "context": [512, 8192], "kv_dtype": ["bf16", "fp8"]}
    )
    values = [value for _, block in sweep.blocks([path]) for (value,) in rows_of([path], block)]
    assert None in values  # no source gives an Orin Nano a peak of bf16
    known = [point for point, value in enumerate(values) if value is not None]
    known.sort(key=lambda point: -values[point] if descending else values[point])
    unknown = [point for point, value in enumerate(values) if value is None]
    assert sweep.select(path, descending=descending, top=top).tolist() == [*known, *unknown][:top]


def test_select_leaves_out_what_does_not_fit():
    sweep = Sweep(MODELS["llama3-8b"], [CHIPS["rtx4090"]], {"batch": range(1, 11)})
    largest = estimate(sweep.model, CHIPS["rtx4090"]).memory.max_batch
    assert sweep.select(only_fitting=True).tolist() == list(range(largest))


# -- rows -------------------------------------------------------------------------------------------

SMALL = ("sweep", "llama3-8b", "--hw", "h100,4090", "--batch", "1..16:x4", "--context", "1k,8k", "--dtype", "bf16,fp8")


def test_the_table(cli, snapshot):
    snapshot("sweep.txt", cli(*SMALL).out)


def test_the_terminals_table(process, snapshot):
    snapshot(
        "sweep-top.txt", process(*SMALL, "--sort", "decode.expected.tokens_per_s:desc", "--top", 3, "--markdown").out
    )


# JSON and CSV of results refuse what is not finite (tests/cli/test_safe_output.py).
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = FINITE | st.integers(-(2**70), 2**70).map(float) | st.sampled_from([0.0, -0.0, 1e16, 2.0**63, 5e-324])
WORDS = st.none() | NUMBERS | st.text('a,"%é\n')


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, WORDS, st.booleans()), max_size=9))
def test_rows_are_written_as_pythons_own_writers_write_them(values):
    """Whatever is in the columns: quotes, commas, what is not known or not a number, whole numbers past 64 bits."""
    numbers, words, flags = zip(*values, strict=True) if values else ((), (), ())
    block = {"a": np.array(numbers, float), "b": np.array([*words, None], object)[:-1], "c": np.array(flags, bool)}
    rows = list(rows_of(block, block))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(block), *rows])
    headings = {path: path for path in block}
    assert "".join(csv_pieces(headings, [block])) == text.getvalue()
    written = "".join(json_pieces({"schema": "x"}, headings, [block, block]))
    assert repr(json.loads(written)["rows"]) == repr([dict(zip(block, row, strict=True)) for row in rows] * 2)


def test_csv_json_and_parquet_hold_the_same(cli, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli(*SMALL, "--parquet", tmp_path / "rows.parquet") == (0, "", "")
    rows = json.loads(cli(*SMALL, "--json").out)["rows"]
    assert len(rows) == 2 * 2 * 3 * 2
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    text = list(csv.DictReader(io.StringIO(cli(*SMALL, "--csv").out)))
    assert text == [{name: str(value) for name, value in row.items()} for row in rows]


def test_a_row_is_the_estimate(cli):
    (row,) = json.loads(cli("sweep", "llama3-8b", "--hw", "4090", "--batch", 4, "--context", "4k", "--json").out)[
        "rows"
    ]
    e = json.loads(cli("estimate", "llama3-8b", "--hw", "4090", "--batch", 4, "--context", "4k", "--json").out)
    assert (row["hw"], row["batch"], row["context"]) == ("rtx4090", 4, 4096)
    assert row["decode.expected.tokens_per_s"] == e["decode"]["expected"]["tokens_per_s"]
    assert row["memory.total_bytes"] == e["memory"]["total_bytes"]
    assert row["decode.limited_by"] == e["decode"]["limited_by"] == "memory bandwidth"


def test_metrics_are_found_by_their_ends(cli):
    answer = cli("sweep", "gpt2", "--hw", "4090", "--metric", "max_batch,model.params.total", "--csv")
    assert answer.out.splitlines()[0] == "hw,batch,context,memory.max_batch,model.params.total"
    assert answer.out.splitlines()[1].endswith(",124439808")


@pytest.mark.parametrize(
    "options, last",
    [
        ([], "decode.limited_by"),
        (["--output", "16"], "request.expected.output_tokens_per_s"),
        (["--output", "16", "--concurrency", "1,2"], "serving.expected.tpot_seconds"),
    ],
)
def test_what_requests_take_is_shown_where_requests_are_asked_for(cli, options, last):
    assert cli("sweep", "gpt2", "--hw", "4090", *options, "--csv").out.splitlines()[0].split(",")[-1] == last


@pytest.mark.parametrize(
    "ending, start",
    [
        ("csv", "hw,dtype,batch,context"),
        ("json", "{\n"),
        ("md", "**Llama"),
        ("txt", "Llama 3 8B under an optimised engine: 24"),
    ],
)
def test_a_file_is_what_its_name_says(cli, tmp_path, ending, start):
    assert cli(*SMALL, "-o", tmp_path / f"rows.{ending}") == (0, "", "")
    assert (tmp_path / f"rows.{ending}").read_text("utf-8").startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [f"rows.{ending}"]


def test_combinations_left_out_are_said_on_stderr(cli):
    answer = cli("sweep", "gpt2", "--hw", "4090", "--context", "256,1k", "--prompt", "512", "--csv")
    assert (answer.code, len(answer.out.splitlines())) == (0, 2)
    assert answer.err == "llmcost: 1 of 2 combinations left out: the context has no room for prompt and output\n"


def test_layouts_and_types_that_cannot_be_are_left_out_with_their_reasons(cli):
    answer = cli(
        "sweep", "llama3-8b", "--hw", "h100,a100", "--tp", "1..4", "--dtype", "bf16,fp8", "--metric", "fits", "--csv"
    )
    rows = [(row["hw"], row["dtype"], row["tp"]) for row in csv.DictReader(io.StringIO(answer.out))]
    legal = [
        ("h100-sxm", "bf16"),
        ("h100-sxm", "fp8"),
        ("a100-80gb-sxm", "bf16"),
    ]  # Ampere has no fp8, 32 heads no third
    assert rows == [(hw, dtype, tp) for hw, dtype in legal for tp in "124"]
    reasons = answer.err.splitlines()
    assert len(reasons) == 2
    assert "4 of 16 combinations left out: --tp 3 does not divide" in reasons[0]
    assert "3 of 16 combinations left out: --dtype fp8: " in reasons[1]


def test_reasons_beyond_the_first_few_are_added_up(cli):
    lines = cli("sweep", "gpt2", "--hw", "h100", "--tp", "1..12", "--metric", "fits", "--csv").err.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "llmcost: and 2 for 2 other reasons"  # 12 heads: 5, 7, 8, 9, 10 and 11 do not divide them


def test_where_nothing_fits_the_answer_is_no(cli):
    answer = cli("sweep", "llama3-70b", "--hw", "4090", "--batch", "1..8", "--fits")
    assert answer == (1, "", "llmcost: none of 8 combinations fits\n")


@pytest.mark.parametrize(
    "options, batches",
    [(["--sort", "memory.total_bytes", "--top", "3"], 2000), (["--csv", "-o", os.devnull], 200)],
    ids=["sorted", "CSV"],
)
def test_many_rows_take_no_memory(options, batches):
    """Two million points, or 200,000 rows written, need a few blocks and a table of batches more than a thousand."""
    code = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2] / 'benchmarks')!r})\n"
        "from fuzz import most_memory\nfrom llmcost.cli import main\n"
        "sys.argv = ['llmcost', 'sweep', 'gpt2', '--hw', 'h100', '--batch', '1..' + sys.argv[1],"
        f" '--context', '1..1000', *{options}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(most_memory() // 1024, file=sys.stderr)"
    )
    peaks = [
        int(
            subprocess.run([sys.executable, "-c", code, str(number)], capture_output=True, text=True, check=True).stderr
        )
        for number in (1, batches)
    ]
    assert peaks[1] - peaks[0] < 40_000  # KiB; as rows of Python numbers they would take some hundred bytes each


# -- charts -----------------------------------------------------------------------------------------

PNG, SVG = b"\x89PNG\r\n", b"<svg"


@pytest.mark.parametrize("ending, start", [("png", PNG), ("svg", SVG)])
def test_a_sweep_is_drawn(cli, tmp_path, ending, start):
    pytest.importorskip("matplotlib")
    assert cli(*SMALL, "--plot", tmp_path / f"chart.{ending}") == (0, "", "")
    assert (tmp_path / f"chart.{ending}").read_bytes().startswith(start)


def test_the_chart_says_what_it_shows(cli, tmp_path):
    pytest.importorskip("matplotlib")
    cli("sweep", "llama3-8b", "--hw", "h100,4090", "--batch", "1..64:x4", "--plot", tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text("utf-8")
    for words in (
        "Llama 3 8B, context 8,192",
        "h100-sxm",
        "rtx4090",
        "Throughput against latency",
        "Time against batch",
        "Roofline",
    ):
        assert words in text


def test_a_chart_of_requests_in_flight_has_what_they_see(cli, tmp_path):
    pytest.importorskip("matplotlib")
    load = ("--concurrency", "1,8", "--prompt", "1k", "--output", "64")
    assert cli("sweep", "llama3-8b", "--hw", "h100,a100", *load, "--plot", tmp_path / "x.svg") == (0, "", "")
    text = (tmp_path / "x.svg").read_text("utf-8")
    for words in ("Output against TPOT, under load", "TTFT against concurrency", "h100-sxm", "a100-80gb-sxm"):
        assert words in text
    assert "Roofline" not in text


def test_a_sweep_becomes_a_table_of_pandas(monkeypatch):
    made = SimpleNamespace(DataFrame=lambda rows, columns: (list(rows), columns))
    monkeypatch.setitem(sys.modules, "pandas", made)
    found = llmcost.sweep("llama3-8b", "h100", batch=[1, 2])
    rows, columns = found.to_pandas()
    assert rows == found.rows()
    assert columns == list(rows[0])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(llmcost.InputError, match="pip install pandas"):
        found.to_pandas()


# -- bad input --------------------------------------------------------------------------------------

BASE = ("sweep", "llama3-8b", "--hw", "h100")
REFUSED = {
    ("--batch", "64..1"): "--batch 64..1: '64..1' is empty: it starts above its end",
    ("--batch", "1..8:0"): "--batch 1..8:0: '1..8:0': a step is above 0",
    ("--batch", "1..8:x1"): "a factor is a whole number from 2 on",
    ("--batch", "0..8:x2"): "what it multiplies is not 0",
    ("--batch", "4:2"): "'4:2': a step needs a range, as in 1..64:8",
    ("--batch", "1,,2"): "an item of the list is empty",
    ("--batch", "1...8"): "expected a number such as 8192, 8k or 15T, got '.8'",
    ("--batch", "a"): "--batch a: expected a number such as 8192, 8k or 15T, got 'a'",
    ("--batch", "1,2,1"): "--batch: 1 comes twice",
    ("--batch", "0..4"): "--batch 0: at least 1",
    ("--batch", "1", "--batch", "2"): "--batch is given 2 times: give it once, with a list (--batch 1,2)",
    ("--context", "1k", "--prompt", "2k..4k"): "--prompt 2048: at least 1 and at most the context of 1,024",
    ("--mfu", "0.5,1.5"): "--mfu 1.5: a share of 1, above 0",
    ("--mfu", "high"): "expected a number such as 0.9, got 'high'",
    ("--dtype", "bf16,bf17"): "--dtype bf17: one of bf16",
    ("--dtype", "bf16,bf16"): "--dtype: bf16 comes twice",
    ("--dtype", "fp4"): "--dtype fp4: no source gives NVIDIA H100 SXM5 80GB a peak for it",
    ("--tp", "3,5"): "--tp 3 does not divide the 32 attention heads of llama3-8b",
    (
        "--output",
        "8k",
    ): "--output 8192: no room for a prompt in the context of 8,192; give --prompt, or a longer --context",
    ("--metric", "decode.tokens"): "no figure 'decode.tokens'; nearest: ",
    ("--metric", "tokens_per_s"): "'tokens_per_s' could be prefill.textbook.tokens_per_s, prefill.limit.tokens_per_s",
    ("--metric", "fits,memory.fits"): "--metric: memory.fits comes twice",
    ("--sort", "decode.limited_by"): "decode.limited_by is not a number: nothing to sort by",
    ("--sort", "max_batch:down"): "--sort max_batch:down: FIGURE, FIGURE:asc or FIGURE:desc",
    ("--top", "5"): "--top 5: in which order? add --sort FIGURE",
    (
        "--batch",
        "1..1000000000",
    ): "1,000,000,000 combinations, above 10,000,000: choose fewer values, or go on with --yes",
    ("--batch", "1..5000", "--context", "1..5000"): "25,000,000 combinations",
    ("--batch", "1..20000"): "20,000 rows are too many for a table: --csv, --json, --parquet FILE",
    ("--batch", "1..20000", "--plot", "x.png"): "--plot: 20,000 points, of which 10,000 can be drawn",
    (
        "--batch",
        "1..8",
        "--context",
        "1..40",
        "--plot",
        "x.png",
    ): "--plot: 40 lines (context), of which 24 can be told apart",
    ("--plot", "x.bmp"): "--plot x.bmp: the name ends in one of .png, .svg",
    ("-o", "/no/such/folder/x.csv"): "/no/such/folder/x.csv: cannot be written: No such file or directory",
    ("--parquet", "/no/such/folder/x.parquet"): "/no/such/folder/x.parquet: cannot be written",
    ("--plot", "/no/such/folder/x.png"): "/no/such/folder/x.png: cannot be written",
    ("-o", "."): ".: is a folder",
    ("--json", "--csv"): "--json and --csv: choose one",
}


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_a_sweep_that_makes_no_sense_is_refused(cli, arguments):
    answer = cli(*BASE, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert REFUSED[arguments] in answer.err


def test_one_gpu_under_two_names_is_one_too_many(cli):
    answer = cli("sweep", "llama3-8b", "--hw", "h100,h100-sxm")
    assert (answer.code, answer.err) == (2, "llmcost: --hw: h100-sxm comes twice\n")


def test_a_large_sweep_goes_on_with_yes(cli, monkeypatch):
    monkeypatch.setattr(sys.modules["llmcost.cli.sweep"], "MOST", 10)  # `llmcost.cli.sweep` by itself is the command
    assert cli(*BASE, "--batch", "1..20").code == 2
    assert cli(*BASE, "--batch", "1..20", "--yes").code == 0


def test_a_refused_sweep_leaves_the_file_as_it_was(cli, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("before", "utf-8")
    assert cli(*BASE, "--batch", "0..4", "-o", path).code == 2
    assert cli(*BASE, "--sort", "decode.limited_by", "-o", path).code == 2
    assert [each.read_text("utf-8") for each in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("package, option", [("matplotlib", "--plot=x.png"), ("pyarrow", "--parquet=x.parquet")])
def test_a_package_that_is_missing_is_named(cli, package, option, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    answer = cli(*BASE, option)
    assert (answer.code, answer.err) == (2, f"llmcost: {option.split('=')[0]} needs {package}: pip install {package}\n")
    assert list(tmp_path.iterdir()) == []


def test_layouts_are_refused_by_the_million_before_one_is_tried(cli):
    answer = cli("sweep", "llama3-8b", "--hw", "h100", "--tp", "1..3000", "--pp", "1..3000", "--csv")
    assert answer.code == 2
    assert answer.err.startswith("llmcost: 9,000,000 combinations of GPUs, data types and layouts, above 20,000")


def test_a_billion_points_begin_to_come_at_once_and_take_no_memory():
    """As floats they would take 8 GB. Any of them can be asked for, and is what it is in a small sweep."""
    most = 10**9
    grid = Sweep(LLAMA, [H100], {"batch": range(1, most + 1)})
    assert len(grid) == grid.legal() == most
    tracemalloc.start()
    _, columns = next(grid.blocks(["workload.batch", "memory.total_bytes"]))
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()
    assert columns["workload.batch"][:3].tolist() == [1, 2, 3]
    (last,) = grid.at(np.array([most - 1]), ["workload.batch", "memory.total_bytes"])
    (alone,) = Sweep(LLAMA, [H100], {"batch": [most]}).at(np.array([0]), ["memory.total_bytes"])
    assert last["workload.batch"].tolist() == [most]
    assert last["memory.total_bytes"] == alone["memory.total_bytes"]


def test_what_has_to_be_spelled_out_has_a_bound():
    with pytest.raises(InputError, match="--mfu: 80,000,001 values; above 1,000,000"):
        parse_axis("--mfu", "0.1..0.9:0.00000001", parse_decimal).values()
