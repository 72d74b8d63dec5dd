"""When each stage of a pipeline runs what: the timeline ends when the prediction of a step says."""

from itertools import pairwise

import pytest

from llmcost import train
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.breakdown import micro_batch_rows
from llmcost.training.options import Options
from llmcost.training.setup import setup_of
from llmcost.training.timeline import timeline, unfold, unfold_ready


def by_stage(turns):
    found = {}
    for turn in sorted(turns, key=lambda each: each.start):
        found.setdefault(turn.stage, []).append(turn)
    return found


@pytest.mark.parametrize("stages, chunks, micro_batches", [(2, 1, 2), (4, 1, 4), (4, 1, 11), (4, 2, 8), (3, 4, 9)])
@pytest.mark.parametrize("forward", [1 / 3, 0.5])
def test_equal_stages_wait_as_the_papers_say(stages, chunks, micro_batches, forward):
    """(p-1)(F+B) without chunks (arXiv 2104.04473, section 2.2.1), and 1/v of it with v of them (section 2.2.2)."""
    turns = unfold([1.0 / chunks] * stages, forward, chunks, micro_batches)
    bubble = (stages - 1) / chunks
    assert max(each.end for each in turns) == pytest.approx(micro_batches + bubble)


@pytest.mark.parametrize("stages, chunks, micro_batches", [(4, 1, 11), (4, 2, 8), (3, 4, 9)])
def test_each_stage_does_all_of_its_work_one_after_the_other_and_after_what_it_needs(stages, chunks, micro_batches):
    turns = unfold([1.0] * stages, 0.4, chunks, micro_batches)
    assert len(turns) == 2 * stages * chunks * micro_batches == len({each[:4] for each in turns})
    for own in by_stage(turns).values():
        assert all(before.end <= after.start + 1e-9 for before, after in pairwise(own))
    ends = {(each.forward, each.micro_batch, each.chunk * stages + each.stage): each.end for each in turns}
    for each in turns:
        place = each.chunk * stages + each.stage
        if each.forward and place:
            assert ends[True, each.micro_batch, place - 1] <= each.start + 1e-9
        elif not each.forward:
            needs = (False, place + 1) if place + 1 < stages * chunks else (True, place)
            assert ends[needs[0], each.micro_batch, needs[1]] <= each.start + 1e-9


def test_the_first_stage_holds_as_many_micro_batches_as_there_are_stages():
    """Activations of p - i micro-batches on stage i (arXiv 2104.04473, section 2.2.1)."""
    for stage, own in by_stage(unfold([1.0] * 4, 0.4, 1, 11)).items():
        held = most = 0
        for each in own:
            held += 1 if each.forward else -1
            most = max(most, held)
        assert most == 4 - stage


@pytest.mark.parametrize("vp, recompute", [(1, "none"), (2, "full")])
def test_a_timeline_ends_between_the_micro_batches_alone_and_with_the_bubble_of_the_step(vp, recompute):
    given = {"gpus": 8, "pp": 4, "vp": vp, "tp": 2, "global_batch": 4, "micro_batch": 1, "recompute": recompute}
    answer = train("llama3-8b", "h100", **given)
    rows = micro_batch_rows(setup_of(load_model("llama3-8b"), load_hardware("h100"), Options(**given), None)[0])
    turns = timeline(answer, rows)
    spent = answer.breakdown
    assert max(each.micro_batch for each in turns) == 3
    alone = answer.layout.micro_batches * spent.micro_batch
    assert alone < max(each.end for each in turns) <= alone + spent.bubble


@pytest.mark.parametrize("stages, micro_batches", [(2, 2), (4, 4), (4, 16), (8, 16)])
def test_zero_bubble_waits_as_its_paper_says_where_the_three_parts_are_equal(stages, micro_batches):
    """(p-1)(F + B - W) with the activations of 1F1B, B without W (arXiv 2401.10241, table 2, ZB-H1)."""
    turns = unfold_ready([3.0] * stages, (1 / 3, 1 / 3, 1 / 3), micro_batches, both=False)
    assert max(each.end for each in turns) - 3 * micro_batches == pytest.approx(stages - 1)


@pytest.mark.parametrize("stages, micro_batches", [(2, 8), (4, 8), (8, 16), (8, 32)])
def test_dualpipe_waits_no_longer_than_its_paper_says(stages, micro_batches):
    """(p/2-1)(F&B + B - 3W), where F&B is F + B + W and B has W (arXiv 2412.19437, table 2)."""
    turns = unfold_ready([3.0] * stages, (1 / 3, 1 / 3, 1 / 3), micro_batches, both=True)
    assert max(each.end for each in turns) - 3 * micro_batches <= (stages / 2 - 1) * (3 + 2 - 3) + 1e-9
    assert {each.chunk for each in turns} == {0, 1}


@pytest.mark.parametrize("both", [False, True])
def test_every_part_of_a_micro_batch_runs_once_on_every_gpu_after_what_it_needs(both):
    turns = unfold_ready([1.0, 0.8, 0.8, 0.8], (0.3, 0.45, 0.25), 9, both=both)
    kinds = {(each.stage, each.micro_batch, each.forward, each.weights): each for each in turns}
    assert len(kinds) == len(turns) == 4 * 9 * 3
    for own in by_stage(turns).values():
        assert all(before.end <= after.start + 1e-9 for before, after in pairwise(own))
    for (gpu, number, forward, weights), each in kinds.items():
        place = 3 - gpu if both and number % 2 else gpu
        beside = {k: 3 - k if both and number % 2 else k for k in range(4)}
        if weights:
            needs = kinds[gpu, number, False, False]
        elif forward:
            needs = kinds[beside[place - 1], number, True, False] if place else None
        else:
            needs = kinds[beside[place + 1], number, False, False] if place < 3 else kinds[gpu, number, True, False]
        assert needs is None or needs.end <= each.start + 1e-9


@pytest.mark.parametrize("schedule", ["zero-bubble", "dualpipe"])
def test_a_timeline_of_another_schedule_is_shorter_than_plain_and_has_its_weights_apart(schedule):
    given = {"gpus": 8, "pp": 4, "tp": 2, "vp": 1, "global_batch": 8, "micro_batch": 1}
    ends = {}
    for each in ("1f1b", schedule):
        answer = train("llama3-8b", "h100", **given, schedule=each)
        rows = micro_batch_rows(
            setup_of(load_model("llama3-8b"), load_hardware("h100"), Options(**given, schedule=each), None)[0]
        )
        turns = timeline(answer, rows)
        ends[each] = max(turn.end for turn in turns) / answer.breakdown.micro_batch
        assert any(turn.weights for turn in turns) == (each != "1f1b")
    assert 8 <= ends[schedule] < ends["1f1b"]


def test_without_a_pipeline_there_is_no_timeline():
    assert timeline(train("llama3-8b", "h100", gpus=8, pp=1), ()) == []
