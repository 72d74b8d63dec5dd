"""When each stage of a pipeline runs what: the timeline ends when the prediction of a step says."""

from itertools import pairwise

import pytest

from llmcost import train
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.breakdown import micro_batch_rows
from llmcost.training.options import Options
from llmcost.training.setup import setup_of
from llmcost.training.timeline import timeline, unfold


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


@pytest.mark.parametrize("given", [{"pp": 1}, {"pp": 4, "schedule": "zero-bubble"}])
def test_without_a_pipeline_or_under_another_schedule_there_is_none(given):
    answer = train("llama3-8b", "h100", gpus=8, **given)
    assert timeline(answer, ()) == []
