"""What `plan --plot` draws: the front of serving, and the maps of the best by tp and pp."""

import pytest

from llmcost.report.plan_charts import serving_panels, training_panels
from llmcost.search.pareto import points
from llmcost.search.plan_serving import plan_serving
from llmcost.search.plan_training import plan
from llmcost.search.question import ask, ask_serving
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options as TrainingOptions

LLAMA, H100 = load_model("llama3-70b"), load_hardware("h100")


def asked(**limits):
    return ask_serving(LLAMA, H100, 8, Options(prompt=1024, output=256), **limits)


def test_no_point_beats_one_of_the_front_and_each_other_one_is_beaten_or_equalled():
    tried = points(asked())
    front = [each for each in tried if each.front]
    assert 2 <= len(front) < len(tried)

    def beats(one, other):
        rates = ("tokens_per_s_per_gpu", "tokens_per_s_per_user")
        return one != other and all(getattr(one, rate) >= getattr(other, rate) for rate in rates)

    for each in tried:
        assert any(beats(other, each) for other in front) != each.front


def test_the_front_reaches_as_far_as_the_plan_without_limits():
    """The plan tries every load; the front those at half octaves: it comes near, and never above."""
    best = plan_serving(asked(), top=1).best[0].tokens_per_s_per_gpu
    most = max(each.tokens_per_s_per_gpu for each in points(asked()))
    assert 0.85 * best < most <= best * 1.0001


def test_points_beyond_a_limit_are_told_apart():
    tried = points(asked(tpot_ms=30))
    assert {each.allowed for each in tried} == {True, False}
    assert all(each.allowed == (1 / each.tokens_per_s_per_user <= 0.030) for each in tried)
    front, best = serving_panels(plan_serving(asked(tpot_ms=30), top=10**6), tried)
    assert {line.label for line in front.lines} == {"front", "within the limits", "beyond a limit"}
    assert sum(len(line.x) for line in front.lines) == len(tried)
    assert {float(cell.shade) for cell in best.cells} >= {1.0}


def test_fields_of_the_map_are_those_of_the_plan_and_its_best_is_the_darkest():
    found = plan(ask(LLAMA, H100, TrainingOptions(gpus=16, global_batch=64)), 3)
    field, layouts, _ = training_panels(found)
    known = {(cell.tp, cell.pp): cell for cell in found.grid}
    assert len(field.cells) == len(known)
    for cell in field.cells:
        of = known[int(field.rows[cell.row]), int(field.groups[cell.column])]
        assert (cell.shade is None) == (of.step_seconds is None)
        assert cell.text.startswith("+") == (of.step_seconds is None)
    darkest = max(field.cells, key=lambda cell: cell.shade or 0)
    first = found.best[0]
    place = (int(field.rows[darkest.row]), int(field.groups[darkest.column]))
    assert (darkest.shade, place) == (1, (first.layout.tp, first.layout.pp))
    assert layouts.bars[0].heights == [each.step_seconds for each in found.best]
    assert len(set(layouts.groups)) == len(layouts.groups)


@pytest.mark.parametrize(
    "given",
    [("--global-batch", "64"), ("--serve",), ("--serve", "--tpot", "0.01")],
)
def test_a_plan_is_drawn_or_it_is_said_that_there_is_nothing_to_draw(cli, tmp_path, given):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plan.svg"
    answer = cli("plan", "llama3-70b", "--hw", "h100", "--gpus", "16", *given, "--plot", path)
    assert answer.code == int("--tpot" in given)
    assert "prefers-color-scheme:dark" in path.read_text("utf-8")


def test_a_plan_without_a_layout_draws_nothing_and_says_so(cli, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plan.svg"
    answer = cli("plan", "llama3-70b", "--hw", "4090", "--gpus", "1", "--serve", "--plot", path)
    assert answer.code == 1
    assert f"--plot {path}: nothing to draw" in answer.err
    assert not path.exists()
