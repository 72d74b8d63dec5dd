"""Steps of GRPO, PPO, DPO and distillation: the parts of each, who waits, memory, and published steps."""

from math import inf
from statistics import median

import pytest

from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.forward_only import forward_seconds
from llmcost.training.options import Options
from llmcost.training.reinforcement import bytes_needed, drawn_lengths, fewest_that_hold, others_of, rl
from llmcost.training.rl_options import RlOptions
from llmcost.training.setup import setup_of
from llmcost.training.step import evaluate_step

SMALL, LARGE, H100 = load_model("llama3.2-1b"), load_model("llama3.1-8b"), load_hardware("h100")
FEW = RlOptions(prompts=8, samples=8, prompt=128, output=256)


def answer(model=SMALL, gpus=8, **chosen):
    return rl(model, H100, Options(gpus=gpus), FEW._replace(**chosen))


# NVIDIA NeMo RL, docs/about/performance-summary.md of v0.4 (first four) and v0.6 (last two): GRPO in bf16 on DGX H100,
# 64 prompts × 32 answers (recipes grpo-*-n8g.yaml). Lengths beyond the mean and the longest are not published: answers
# are drawn as the default has it, prompts have 128 tokens.
# model, GPUs that train, that draw apart, layout, tp of the engine, mean tokens of a sequence, answers an update, s
PUBLISHED = [
    ("llama3.1-8b", 16, None, {"pp": 2, "recompute": "full"}, 1, 1060, 512, 97.7),
    ("llama3.1-8b", 8, 8, {"recompute": "full"}, 1, 1129, 512, 74.6),
    ("qwen3-32b", 32, None, {"tp": 4, "pp": 4}, 4, 3206, 512, 393),
    ("qwen3-32b", 32, 32, {"tp": 4, "pp": 4}, 4, 3207, 512, 215),
    ("qwen3-30b-a3b", 32, None, {"ep": 8}, 2, 3203, 512, 192),
    ("qwen3-30b-a3b", 16, 16, {"ep": 8, "pp": 2}, 2, 3201, 512, 152),
]


def of_published(row):
    model, gpus, apart, layout, tp, mean, update, _ = row
    chosen = RlOptions(
        prompts=64,
        samples=32,
        prompt=128,
        output=mean - 128,
        longest=4096 - 128,
        train_batch=update,
        rollout_gpus=apart,
        rollout_tp=tp,
        rollout_memory=0.6 if apart is None else 0.8,
        off_policy=apart is not None,
    )
    return rl(load_model(model), H100, Options(gpus=gpus, zero=1, **{"recompute": "none"} | layout), chosen)


def test_published_steps_of_nemo_rl_are_predicted_too_fast_by_less_than_40_percent():
    """What stands between the phases is not counted, so none is predicted to take longer than it took."""
    errors = [of_published(row).step_seconds / row[-1] - 1 for row in PUBLISHED]
    assert min(errors) > -0.40
    assert max(errors) < 0
    assert median(errors) > -0.33


def test_phases_of_shared_gpus_add_up():
    found = answer()
    assert found.step_seconds == pytest.approx(sum(found.phases))
    assert found.trainer_waits_share == found.engine_waits_share == 0


def test_apart_one_pool_waits_for_the_other_and_off_policy_for_the_slower_one_alone():
    on, off = answer(rollout_gpus=8), answer(rollout_gpus=8, off_policy=True)
    p = on.phases
    assert on.step_seconds == pytest.approx(sum(p))
    assert off.step_seconds == pytest.approx(max(p.rollout, p.training()) + p.transfer)
    assert on.trainer_waits_share == pytest.approx(p.rollout / on.step_seconds)
    assert min(off.trainer_waits_share, off.engine_waits_share) == pytest.approx(0, abs=1e-9)


def test_ppo_is_grpo_with_a_critic_that_is_trained_and_a_reward_model():
    grpo, ppo = answer().phases, answer(algorithm="ppo").phases
    assert ppo.values == ppo.reward == grpo.reference
    assert ppo.critic_update == grpo.update
    assert sum(ppo) == pytest.approx(sum(grpo) + 2 * grpo.reference + grpo.update)


def test_dpo_is_a_step_of_training_and_one_forward_pass_of_both_answers():
    found = answer(algorithm="dpo", samples=None)
    assert found.rollout is None
    assert found.answers == 2 * FEW.prompts
    assert sum(found.phases) == found.phases.reference + found.phases.update


def test_a_teacher_is_one_forward_pass_of_its_own_size():
    small, large = (answer(algorithm="distill", teacher=name).phases for name in ("llama3.2-1b", "llama3.1-8b"))
    assert small.reference == small.old == 0
    assert 4 < large.teacher / small.teacher < 8  # 8.03 and 1.24 billion parameters, 1.5 with the head


def test_every_epoch_and_batch_is_an_update():
    once, often = answer(), answer(epochs=2, train_batch=16)
    assert (once.updates, often.updates) == (1, 8)
    assert often.phases.update > 2 * once.phases.update  # each update steps the optimizer


def test_a_forward_pass_is_a_third_of_a_step_or_a_bit_less():
    """Backward is twice the forward pass, and attention's computes scores once more."""
    at, _ = setup_of(LARGE, H100, Options(gpus=8, tp=1, pp=1, zero=1, recompute="none", seq=2048), None)
    assert 0.25 < forward_seconds(at) / evaluate_step(at).seconds.total < 1 / 3


@pytest.mark.parametrize("spread", [0.25, 1.0, 2.0])
def test_lengths_have_the_mean_that_was_asked_for_and_are_cut(spread):
    chosen = FEW._replace(prompts=64, samples=32, output=1000, longest=3000, spread=spread)
    lengths = drawn_lengths(LARGE, chosen)
    assert sum(lengths) / len(lengths) == pytest.approx(1000, abs=1)
    assert max(lengths) <= 3000


def test_a_long_tail_makes_drawing_slower_though_tokens_are_as_many():
    even, tail = answer(spread=0.1).rollout, answer(spread=1.5).rollout
    assert even.mean_output == pytest.approx(tail.mean_output, rel=0.1)
    assert tail.seconds > 1.5 * even.seconds
    assert tail.half_seconds < even.half_seconds


def test_an_engine_that_sleeps_not_and_a_trainer_that_parks_not_hold_memory_of_both_worlds():
    both, neither = answer().memory, answer(sleep=False, park=False).memory
    assert neither.training_bytes == both.training_bytes + both.engine_bytes
    assert neither.drawing_bytes > both.drawing_bytes == both.engine_bytes
    assert both.fits


def test_beside_adapters_the_reference_is_the_policy_without_them():
    found = rl(SMALL, H100, Options(gpus=1, lora_rank=8), FEW)
    assert found.memory.frozen_bytes == 0
    assert found.phases.reference > 0


def test_an_engine_too_small_for_the_model_is_refused_by_its_own_options():
    one = FEW._replace(rollout_tp=1)
    with pytest.raises(InputError, match=r"--rollout-tp 1 and --rollout-memory 0\.6: .*nearest: --rollout-tp 4"):
        rl(load_model("llama3.1-70b"), H100, Options(gpus=64), one)


def test_a_replica_has_the_fewest_gpus_that_hold_the_model():
    # 141 GB of weights in bf16 and 0.6 of 85 GB on each: 102 on two, 204 on four
    assert fewest_that_hold(load_model("llama3.1-70b"), H100, FEW, 64) == 4
    assert fewest_that_hold(load_model("llama3.1-70b"), H100, FEW, 2) is None
    assert fewest_that_hold(SMALL, H100, FEW, 6) == 1


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"off_policy": True}, "give --rollout-gpus too"),
        ({"rollout_gpus": 8, "sleep": False}, "are of shared GPUs"),
        ({"critic": "llama3-8b"}, "grpo has none; it is of --algorithm ppo"),
        ({"teacher": "llama3-8b"}, "it is of --algorithm distill"),
        ({"algorithm": "distill"}, "give --teacher"),
        ({"algorithm": "dpo"}, "dpo has 2"),
        ({"algorithm": "dpo", "samples": None, "rollout_gpus": 8}, "--rollout-gpus 8: dpo has none"),
        ({"algorithm": "dpo", "samples": None, "reference": False}, "has a reference in its loss"),
        ({"prompts": 10**6}, "8,000,000 answers; at most 1,000,000"),
        ({"train_batch": 7}, "does not divide the 64 answers of a step; nearest: 8"),
        ({"rollout_tp": 3}, "does not divide the 8 GPUs that draw answers; nearest: 2"),
        ({"algorithm": "dpo", "samples": None, "rollout_engine": "sglang"}, "--rollout-engine sglang: dpo has none"),
        ({"longest": 100}, "must be below --longest"),
        ({"longest": 10**6}, "more than llama3.2-1b takes; at most 130,944"),
        ({"spread": 0.0}, "above 0"),
        ({"algorithm": "sgd"}, "one of"),
    ],
)
def test_what_makes_no_sense_is_refused(chosen, words):
    with pytest.raises(InputError, match=words):
        answer(**chosen)


def test_a_default_answer_is_half_of_what_the_model_has_room_for():
    """GPT-2 has 1,024 positions: behind a prompt of 256 tokens an answer has 384 on average, and 768 at most."""
    found = rl(load_model("gpt2"), load_hardware("h100"), Options(), RlOptions(prompts=8)).rollout
    assert found.mean_output == pytest.approx(384, rel=0.1)
    assert found.longest_output <= 768


def test_the_layout_has_room_for_what_is_frozen_beside_the_policy():
    # 70.6B frozen parameters in bf16 are more than one GPU has: they are divided more than the policy would be
    alone, beside = answer(LARGE, 16, algorithm="grpo"), answer(LARGE, 16, algorithm="distill", teacher="llama3.1-70b")
    degrees = [found.layout["tp"] * found.layout["pp"] for found in (alone, beside)]
    assert degrees[0] < degrees[1]
    assert alone.memory.fits
    assert beside.memory.fits
    assert beside.memory.frozen_bytes == pytest.approx(2 * 70.55e9 / degrees[1], rel=0.1)


def test_a_layout_that_another_model_cannot_have_is_not_chosen():
    # 14 attention heads are not divided by 4, which the policy's 32 are
    chosen, needs = FEW._replace(reward="qwen2.5-0.5b"), []
    for tp in (2, 4):
        at, _ = setup_of(LARGE, H100, Options(gpus=8, tp=tp, pp=1, zero=1, recompute="none", seq=512), None)
        needs.append(bytes_needed(at, chosen, others_of(LARGE, chosen)))
    assert needs[0] < inf == needs[1]


def test_stages_of_a_policy_are_chosen_as_those_of_training():
    layout = {"gpus": 8, "pp": 2, "tp": 1, "zero": 1, "recompute": "none"}

    def phases(**more):
        return rl(SMALL, H100, Options(**layout, **more), FEW)

    even, same, uneven = phases(), phases(stages=(8, 8)), phases(stages=(4, 12))
    assert same.phases.reference <= even.phases.reference  # which counts the head on the fullest stage as well
    assert uneven.phases.reference > same.phases.reference
    assert uneven.phases.update > same.phases.update
    assert uneven.layout["stages"] == (4, 12)
    with pytest.raises(InputError, match=r"have 16 layers, and llama3\.1-8b has 32"):
        rl(SMALL, H100, Options(**layout, stages=(8, 8)), FEW._replace(algorithm="ppo", critic="llama3.1-8b"))
