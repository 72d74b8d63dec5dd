"""What `estimate --plot` and `ops --plot` draw is what the JSON document says."""

import json

import pytest

from llmcost import estimate
from llmcost.formulas.operators import phase_operators
from llmcost.report.charts import Chart
from llmcost.report.estimate_charts import estimate_panels, operator_panels
from llmcost.report.page import page
from llmcost.report.saving import save
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model

H100 = load_hardware("h100")


def phases(model, options=Options()):  # noqa: B008 - it is only read
    return {phase: phase_operators(load_model(model), H100, options, phase) for phase in ("prefill", "decode")}


def test_the_stack_of_memory_ends_at_the_total_of_the_document_and_stands_against_what_is_usable(cli):
    memory = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", "-b", "8", "--json").out)["memory"]
    panel, *_ = estimate_panels(estimate("llama3-8b", "h100", batch=8), {})
    assert panel.stacked
    assert sum(bars.heights[0] for bars in panel.bars) * 1e9 == pytest.approx(memory["total_bytes"])
    assert panel.limit[1] * 1e9 == memory["usable_bytes"]


def test_a_model_that_does_not_fit_is_said_not_to():
    panel, *_ = estimate_panels(estimate("llama3-70b", "h100"), {})
    assert "DOES NOT FIT" in panel.note
    assert sum(bars.heights[0] for bars in panel.bars) > panel.limit[1]


@pytest.mark.parametrize("model", ["llama3-8b", "deepseek-v3"])  # the second has more operators than bars
def test_bars_of_operators_add_up_to_the_time_of_all_of_them(model):
    found = phases(model)
    _, *panels = estimate_panels(estimate(model, "h100"), found)
    assert len(panels) == 2
    for panel, each in zip(panels, found.values(), strict=True):
        assert sum(height or 0 for bars in panel.bars for height in bars.heights) == pytest.approx(
            1e3 * each.total.seconds
        )
        assert len(panel.groups) <= 13


def test_a_part_of_the_model_has_one_colour_in_both_phases():
    _, prefill, decode = estimate_panels(estimate("llama3-8b", "h100"), phases("llama3-8b"))
    assert prefill.labels() == decode.labels()


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_every_operator_that_computes_stands_under_the_roof(phase):
    found = phases("llama3-8b")[phase]
    peak, bandwidth = 989.4e12, 3.352e12
    roofline, _ = operator_panels(found, peak, bandwidth, "bf16")
    points = [(x, y) for line in roofline.lines if not line.joined for x, y in zip(line.x, line.y, strict=True)]
    assert len(points) == len([row for row in found.operators if row.flops_per_s])
    assert all(y * 1e12 <= min(peak, x * bandwidth) * 1.001 for x, y in points)
    names = {note for line in roofline.lines for note in line.notes}
    assert {"qkv_proj", "attention", "gate_up_proj", "down_proj", "o_proj"} <= names


@pytest.mark.parametrize("command", ["estimate", "ops"])
def test_a_picture_is_written_and_needs_a_gpu(cli, tmp_path, command):
    pytest.importorskip("matplotlib")
    path = tmp_path / "chart.svg"
    assert cli(command, "llama3-8b", "--hw", "h100", "--plot", path).code == 0
    drawn = path.read_text("utf-8")
    assert "prefers-color-scheme:dark" in drawn
    assert "Meta-Llama-3-8B/blob/main/config.json" in drawn  # the model's source
    answer = cli(command, "llama3-8b", "--plot", path)
    assert (answer.code, answer.out) == (2, "")
    assert "give it too, with --hw" in answer.err


def test_a_title_with_markup_stays_text_in_pictures_and_pages(tmp_path):
    pytest.importorskip("matplotlib")
    title = "<script>alert(1)</script>--><b>&amp;\"'</title></style>"
    panel, *_ = estimate_panels(estimate("gpt2", "h100"), {})
    chart = Chart(title, [panel._replace(title=title, note=title, groups=[title])], [title])
    path = tmp_path / "chart.svg"
    save(path, chart)
    for drawn in (path.read_text("utf-8"), page(chart)):
        assert "<script" not in drawn
        assert "<b>" not in drawn
        assert "&lt;script&gt;" in drawn
