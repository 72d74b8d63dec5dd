"""The sequences of a step where nobody says how many: one default, whichever command asks."""

import json

import pytest

from llmcost.specs.catalog import load_model
from llmcost.training.setup import batch_of_a_layout, usual_batch


@pytest.mark.parametrize(
    ("model", "seq", "gpus", "sequences"),
    [
        ("deepseek-v3", 4096, 2048, 15_360),  # as trained: 15·1,024, which 1,024 share; of 2,048 7 % would be left away
        ("deepseek-v3", 4096, 24, 15_360),
        ("llama3-8b", 8192, 12, 504),  # 512 of 8,192 tokens are 4M; 42 each
        ("llama3-8b", 8192, 2048, 512),  # no more than there are
        ("llama3-8b", 8192, 7, 511),
    ],
)
def test_the_gpus_share_the_usual_tokens_where_few_are_left_away(model, seq, gpus, sequences):
    assert usual_batch(load_model(model), seq, gpus) == sequences


def test_a_layout_has_the_most_of_the_usual_ones_that_it_can_run():
    assert [batch_of_a_layout(504, at_once) for at_once in (1, 12, 36, 50, 600)] == [504, 504, 504, 500, 600]


@pytest.mark.parametrize(("model", "gpus"), [("deepseek-v3", 2048), ("llama3-8b", 12), ("llama3-8b", 64)])
def test_plan_and_train_take_the_same(cli, model, gpus):
    asked = [model, "--hw", "h100", "--gpus", gpus]
    plan = cli("plan", *asked, "--pp", 4, "--tp", 1, "--vp", 1, "--top", 1, "--recompute", "full").out.splitlines()[0]
    layout = json.loads(cli("train", *asked, "--json").out)["layout"]
    assert f"{layout['global_batch']:,} sequences" in plan
