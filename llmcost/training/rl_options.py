"""What may be chosen of reinforcement learning, beside the layout and the engine of its training."""

from typing import Annotated, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, count, flag, length, number, parse_name, share, word
from llmcost.specs.optimised import parse_engine

ALGORITHMS = ("grpo", "ppo", "dpo", "distill")


def _above_zero(option: str, value: float) -> None:
    if not 0 < value <= 4:
        raise InputError(f"{option} {value:g}: a number above 0, at most 4")


class RlOptions(NamedTuple):
    """The loop: what is drawn, who judges it, where it runs."""

    algorithm: Annotated[
        str,
        word(
            "grpo: rewards by rules; ppo: also a critic and a reward model; dpo: pairs of answers that are given; "
            "distill: a teacher's logits of answers that the policy draws.",
            ALGORITHMS,
        ),
    ] = ALGORITHMS[0]
    prompts: Annotated[Number, count("Prompts of a step.")] = 64
    samples: Annotated[
        Number, count("Answers that are drawn to each prompt.", most=10**6, default="16; 2 with dpo; 1 with distill")
    ] = None
    prompt: Annotated[Number, length("Tokens of a prompt.")] = 256
    output: Annotated[
        Number, length("Tokens of an answer, on average.", default="1024, or half of what the model has room for")
    ] = None
    longest: Annotated[
        Number, length("Tokens at which an answer is cut off.", default="4 times --output, as far as the model goes")
    ] = None
    spread: Annotated[
        float,
        number(
            "Spread of the lengths over their mean, before they are cut; 1: each token may be the last alike.",
            "SHARE",
            check=_above_zero,
        ),
    ] = 1.0
    train_batch: Annotated[Number, count("Answers of an update.", "SEQUENCES", default="all")] = None
    epochs: Annotated[Number, count("How often each answer is trained on.")] = 1
    reference: Annotated[bool, flag("A frozen model, from which the policy must not go far (KL).")] = True
    critic: Annotated[
        str | None, Option("With ppo: the model that estimates values.", parse_name, default="as the policy")
    ] = None
    reward: Annotated[
        str | None, Option("A model that rewards.", parse_name, default="rules; with ppo one as the policy")
    ] = None
    teacher: Annotated[str | None, Option("With distill: the model that is learnt from.", parse_name)] = None
    rollout_gpus: Annotated[
        Number, count("GPUs that draw answers apart from those that train.", default="the same GPUs")
    ] = None
    rollout_tp: Annotated[
        Number, count("GPUs of a replica that draws answers.", "DEGREE", default="the fewest that hold the model")
    ] = None
    rollout_engine: Annotated[str, Option("The engine that draws answers.", parse_engine)] = "vllm"
    rollout_memory: Annotated[float, share("Share of the memory that this engine takes.")] = 0.6
    off_policy: Annotated[bool, flag("With --rollout-gpus: draw the next answers while training.")] = False
    sleep: Annotated[bool, flag("On shared GPUs: the engine gives its memory back while others work.")] = True
    park: Annotated[bool, flag("On shared GPUs: what trains waits in the host's memory while answers are drawn.")] = (
        True
    )
    seed: Annotated[int, count("Seed of what is drawn.", least=0)] = 0
