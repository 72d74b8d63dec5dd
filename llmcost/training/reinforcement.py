"""A step of training on answers (GRPO, PPO, DPO, distillation): they are drawn, judged, trained on; weights go back.

Composed of what is counted elsewhere: the engine's scheduler draws the answers (simulation/), every judging model is
one forward pass over all sequences (forward_only.py), an update is a training step (step.py) of sequences of the mean
length. Left out: what the program does between the phases (moving and packing samples, starting and stopping engines),
rewards by rules, and the squares of unequal lengths in attention.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from math import ceil, inf
from typing import Any, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.ground.options import check_options
from llmcost.ground.units import seconds
from llmcost.machine.power import drawn_by
from llmcost.machine.timing import collective_seconds
from llmcost.model.operators import Collective
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout, telling_stages
from llmcost.parallel.rules import broken, check, shape_of
from llmcost.serving.options import Options as ServingOptions
from llmcost.serving.results import to_dict
from llmcost.simulation.means import at_the_means, power_share
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.results import Times
from llmcost.simulation.run import cluster_of
from llmcost.simulation.traffic import Request
from llmcost.specs.catalog import load_beside, load_engine
from llmcost.specs.hardware import HardwareSpec
from llmcost.training.forward_only import forward_seconds
from llmcost.training.memory import StageMemory, fullest, stage_memory
from llmcost.training.options import Options
from llmcost.training.passes import Setup, forward_pass
from llmcost.training.rl_options import RlOptions
from llmcost.training.setup import layout_given, refuse_unused, setup_of
from llmcost.training.step import Step, evaluate_step
from llmcost.training.train import share_of_step

SCHEMA = "llmcost.rl/1"
USUAL_OUTPUT = 1024  # tokens of an answer on average, where --output is not given
CUT_AT = 4  # times the mean length, where --longest is not given
BISECTIONS = 60
MOST_ANSWERS = 10**6  # of a step, drawn one by one
LAYOUT = ("tp", "cp", "pp", "ep", "dp", "zero", "recompute", "stages")  # what is told of it
RATIOS = ("grpo", "ppo")  # algorithms whose loss compares the policy with the one that drew the answers
SAMPLES = {"grpo": 16, "ppo": 16, "dpo": 2, "distill": 1}


class Rollout(NamedTuple):
    """How answers are drawn. `half_seconds`, `tail_seconds`: until half and nine tenths of them are whole."""

    gpus: int
    replicas: int
    seconds: float
    output_tokens: int
    tokens_per_s_per_gpu: float
    mean_output: float
    longest_output: int
    half_seconds: float
    tail_seconds: float
    busy_share: float  # of the time, on average over replicas
    power_share: float  # of its TDP that a GPU draws meanwhile


class Phases(NamedTuple):
    """Seconds of a step by phase.

    old: log-probabilities of the policy that drew the answers. update: all training passes of the policy.
    critic_update: those of the critic. transfer: new weights on their way to the engine.
    """

    rollout: Number
    reward: Number
    teacher: Number
    reference: Number
    old: Number
    values: Number
    update: Number
    critic_update: Number
    transfer: Number

    def training(self) -> Number:
        """All phases of the GPUs that train, without the transfer."""
        return sum(self) - self.rollout - self.transfer


class RlMemory(NamedTuple):
    """Bytes on one GPU while answers are drawn and while it trains; apart, each on its own GPU."""

    engine_bytes: Number
    trainer_bytes: Number
    frozen_bytes: Number  # of reference, reward model and critic's states, in both
    drawing_bytes: Number
    training_bytes: Number
    usable_bytes: Number
    fits: bool


class Rl(NamedTuple):
    """Everything `llmcost rl` answers. tokens: of all sequences of a step, prompts too.

    `rollout`: None where answers are given. `trainer_waits_share`, `engine_waits_share`: of the step, apart.
    `power_share`: of its TDP that a GPU draws on average, those that wait included.
    """

    schema: str
    model: str
    hardware: str
    algorithm: str
    gpus: int
    answers: int
    updates: int
    tokens: float
    step_seconds: Number
    tokens_per_s_per_gpu: Number
    rollout: Rollout | None
    phases: Phases
    trainer_waits_share: Number
    engine_waits_share: Number
    layout: dict[str, Any]
    memory: RlMemory
    power_share: Number = 1
    counted: str = "not counted: moving samples, starting and stopping engines, rewards by rules"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost rl --json`."""
        document: dict[str, Any] = to_dict(self)
        return document

    def rows(self) -> list[dict[str, Any]]:
        """A row for the step and for each of its phases, in seconds."""
        return [
            {"phase": phase, "seconds": value}
            for phase, value in (("step", self.step_seconds), *self.phases._asdict().items())
        ]

    def __repr__(self) -> str:
        """In one line: what, where, whether it fits, the expected time of a step."""
        fits = "fits" if self.memory.fits else "does not fit"
        where = f"{self.model} on {self.gpus:,} × {self.hardware}"
        return f"<{self.algorithm.upper()} of {where}: {fits}, {seconds(self.step_seconds)} a step>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


def rl(
    model: ModelSpec,
    hardware: HardwareSpec,
    options: Options = Options(),  # noqa: B008
    chosen: RlOptions = RlOptions(),  # noqa: B008
) -> Rl:
    """A step of the loop. Raises InputError where options contradict each other, the model or the GPU."""
    check_options(chosen)
    _refuse(chosen)
    algorithm = chosen.algorithm
    room = model.max_position_embeddings - chosen.prompt
    chosen = chosen._replace(
        samples=chosen.samples or SAMPLES[algorithm],
        output=chosen.output or max(1, min(USUAL_OUTPUT, (chosen.longest or room) // 2)),
    )
    answers = chosen.prompts * chosen.samples
    if answers > MOST_ANSWERS:
        raise InputError(f"--prompts times --samples: {answers:,} answers; at most {MOST_ANSWERS:,} are drawn")
    each = chosen.train_batch or answers
    if answers % each:
        nearest = min((n for n in range(1, answers + 1) if answers % n == 0), key=lambda n: abs(n - each))
        says = f"--train-batch {each}: does not divide the {answers:,} answers of a step"
        raise InputError(f"{says}; nearest: {nearest}")
    lengths = drawn_lengths(model, chosen)
    draws = algorithm != "dpo"
    if draws and chosen.rollout_tp is None:
        gpus = chosen.rollout_gpus or _trainers(hardware, options)
        chosen = chosen._replace(rollout_tp=fewest_that_hold(model, hardware, chosen, gpus) or _powers(gpus)[-1])
    mean = chosen.prompt + sum(lengths) / answers

    parts = 2 * (options.tp or 1) * (options.cp or 1)  # that a sequence is cut into: its last tokens are padded
    asked = options._replace(seq=ceil(mean / parts) * parts, global_batch=each)
    others = others_of(model, chosen)
    at, _ = setup_of(model, hardware, asked, None, partial(bytes_needed, chosen=chosen, others=others))
    refuse_unused(model, options, at.layout)
    for one in (model, *others):
        if one is not None:
            check(at.layout, shape_of(one), at.seq)
    judged, updates = _whole(at, answers), chosen.epochs * answers // each
    critic, rewarding, teacher = (None if one is None else at._replace(model=one) for one in others)

    trainers = at.layout.gpus()
    rollout = _rollout(model, hardware, chosen, lengths, chosen.rollout_gpus or trainers) if draws else None
    forward, policy = forward_seconds(judged), evaluate_step(at)
    phases = Phases(
        rollout=0 if rollout is None else rollout.seconds,
        reward=0 if rewarding is None else forward_seconds(_whole(rewarding, answers)),
        teacher=0 if teacher is None else forward_seconds(_whole(teacher, answers)),
        reference=forward if has_reference(chosen) else 0,
        old=forward if algorithm in RATIOS else 0,
        values=0 if critic is None else forward_seconds(_whole(critic, answers)),
        update=updates * policy.seconds.total,
        critic_update=0 if critic is None else updates * evaluate_step(critic).seconds.total,
        transfer=_transfer(at, chosen, trainers) if draws else 0,
    )
    apart, busy = chosen.rollout_gpus is not None, phases.training() + phases.transfer
    step = max(phases.rollout, phases.training()) + phases.transfer if chosen.off_policy else sum(phases)
    gpus = trainers + (chosen.rollout_gpus or 0)
    return Rl(
        schema=SCHEMA,
        model=model.name,
        hardware=hardware.name,
        algorithm=algorithm,
        gpus=gpus,
        answers=answers,
        updates=updates,
        tokens=mean * answers,
        step_seconds=step,
        tokens_per_s_per_gpu=mean * answers / step / gpus,
        rollout=rollout,
        phases=phases,
        trainer_waits_share=1 - busy / step if apart else 0,
        engine_waits_share=1 - (phases.rollout + phases.transfer) / step if apart else 0,
        layout={name: getattr(at.layout, name) for name in LAYOUT},
        memory=_memory(at, chosen, others),
        power_share=_power_share(hardware, policy, rollout, phases, step, trainers=trainers, gpus=gpus),
    )


def _refuse(chosen: RlOptions) -> None:
    """Raise InputError for options that change nothing alone."""
    if chosen.off_policy and chosen.rollout_gpus is None:
        raise InputError("--off-policy: shared GPUs do one thing at a time; give --rollout-gpus too")
    if chosen.rollout_gpus is not None and not (chosen.sleep and chosen.park):
        raise InputError("--no-sleep and --no-park are of shared GPUs; leave --rollout-gpus out")
    algorithm = chosen.algorithm
    for name, value, of in (
        ("critic", chosen.critic, ("ppo",)),
        ("reward", chosen.reward, RATIOS),
        ("teacher", chosen.teacher, ("distill",)),
        *((f"rollout-{name}", value, ("grpo", "ppo", "distill")) for name, value in _of_rollout(chosen)),
    ):
        if value is not None and algorithm not in of:
            raise InputError(f"--{name} {value}: {algorithm} has none; it is of --algorithm {' and '.join(of)}")
    if algorithm == "distill" and chosen.teacher is None:
        raise InputError("--algorithm distill: from which model? give --teacher")
    if algorithm == "dpo" and chosen.samples not in (None, 2):
        raise InputError(f"--samples {chosen.samples}: dpo has 2, the better and the worse one")
    if algorithm == "dpo" and not chosen.reference:
        raise InputError("--no-reference: dpo has a reference in its loss")


def _of_rollout(chosen: RlOptions) -> list[tuple[str, Any]]:
    """What is asked of drawing answers that is not so by default."""
    asked = {name: getattr(chosen, f"rollout_{name}") for name in ("gpus", "tp", "engine", "memory")}
    usual = RlOptions()
    return [(name, value) for name, value in asked.items() if value != getattr(usual, f"rollout_{name}")]


def has_reference(chosen: RlOptions) -> bool:
    """Whether a frozen copy of the policy judges the answers; a teacher stands in its place."""
    return chosen.reference and chosen.algorithm != "distill"


def _power_share(
    hardware: HardwareSpec,
    update: Step,
    rollout: Rollout | None,
    phases: Phases,
    seconds: Number,
    *,
    trainers: int,
    gpus: int,
) -> Number:
    """The mean draw of all GPUs in a step of so many seconds, as a share of their TDP.

    Passes that judge answers draw as the update does; GPUs that wait, and the transfer of weights, as idle ones.
    """
    draw = drawn_by(hardware)
    if draw is None:
        return 1
    above = trainers * phases.training() * (share_of_step(draw, update) - draw.idle)
    if rollout is not None:
        above = above + rollout.gpus * rollout.seconds * (rollout.power_share - draw.idle)
    return draw.idle + above / (gpus * seconds)


class Others(NamedTuple):
    """The models beside the policy: a critic that is trained too, and what is frozen. None: there is none."""

    critic: ModelSpec | None
    reward: ModelSpec | None
    teacher: ModelSpec | None


def others_of(policy: ModelSpec, chosen: RlOptions) -> Others:
    """The models beside the policy, each like it where no other one is named. Raises InputError for an unknown one."""

    def loaded(name: str | None) -> ModelSpec:
        return policy.text_alone() if name is None else load_beside(name).text_alone()

    ppo, distill = chosen.algorithm == "ppo", chosen.algorithm == "distill"
    return Others(
        critic=loaded(chosen.critic) if ppo else None,
        reward=loaded(chosen.reward) if ppo or chosen.reward is not None else None,
        teacher=loaded(chosen.teacher) if distill else None,
    )


def bytes_needed(at: Setup, chosen: RlOptions, others: Others) -> Number:
    """Bytes that a GPU needs at the worst in a layout; infinitely many where one of the other models cannot have it."""
    if any(one is not None and broken(at.layout, shape_of(one), at.seq) for one in others):
        return inf
    memory = _memory(at, chosen, others)
    return max(memory.drawing_bytes, memory.training_bytes)


def _whole(at: Setup, answers: int) -> Setup:
    """The setup with all answers of a step as its batch."""
    return at._replace(layout=at.layout._replace(global_batch=answers))


def drawn_lengths(model: ModelSpec, chosen: RlOptions) -> list[int]:
    """Tokens of each answer: of a gamma distribution, cut off at the longest, with the mean that is asked for.

    A spread of 1 is the exponential distribution. Raises InputError for a mean that the cut does not let through.
    """
    most = model.max_position_embeddings - chosen.prompt
    longest = min(CUT_AT * chosen.output, most) if chosen.longest is None else chosen.longest
    if longest > most:
        raise InputError(f"--longest {longest:,}: with the prompt more than {model.name} takes; at most {most:,}")
    if chosen.output >= longest:
        raise InputError(f"--output {chosen.output:,}: the mean; must be below --longest ({longest:,})")
    drawn = random.Random(chosen.seed)  # noqa: S311 - lengths, no secrets
    shape = 1 / chosen.spread**2
    raw = [drawn.gammavariate(shape, 1 / shape) for _ in range(chosen.prompts * chosen.samples)]

    def cut(scale: float) -> list[int]:
        return [min(longest, max(1, ceil(scale * each))) for each in raw]

    low, high = 0.0, longest / max(min(raw), 1e-9)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(cut(middle)) < chosen.output * len(raw) else (low, middle)
    return cut(high)


def _trainers(hardware: HardwareSpec, options: Options) -> int:
    """GPUs that train: as many as are given, or what the degrees multiply to."""
    asked = Layout(gpus_per_node=hardware.gpus_in_a_node())._replace(**layout_given(options))
    return int(options.gpus or asked.gpus())


def _powers(gpus: int) -> list[int]:
    """The powers of two that divide so many GPUs."""
    return [1 << power for power in range(gpus.bit_length()) if gpus % (1 << power) == 0]


def fewest_that_hold(model: ModelSpec, hardware: HardwareSpec, chosen: RlOptions, gpus: int) -> int | None:
    """The fewest GPUs of a replica, a power of two that divides them all, on which the engine has room for answers."""
    for tp in _powers(gpus):
        try:
            cluster_of(model, hardware, _serving(chosen._replace(rollout_tp=tp), chosen.output), SimulationOptions())
        except InputError:
            continue
        return tp
    return None


def _rollout(model: ModelSpec, hardware: HardwareSpec, chosen: RlOptions, lengths: list[int], gpus: int) -> Rollout:
    """All answers through the engine's scheduler: they arrive at once; answers to one prompt share its cache."""
    tp = chosen.rollout_tp
    if gpus % tp:
        divisor = min((one for one in range(1, gpus + 1) if gpus % one == 0), key=lambda one: abs(one - tp))
        raise InputError(f"--rollout-tp {tp}: does not divide the {gpus} GPUs that draw answers; nearest: {divisor}")
    serving = _serving(chosen, round(sum(lengths) / len(lengths)))._replace(dp=gpus // tp)
    try:
        _, cluster = cluster_of(model, hardware, serving, SimulationOptions())
    except InputError as error:
        where = f"with --rollout-tp {tp} and --rollout-memory {chosen.rollout_memory:g}"
        holds = fewest_that_hold(model, hardware, chosen, gpus)
        nearest = "" if holds is None else f"; nearest: --rollout-tp {holds}"
        raise InputError(f"drawing answers {where}: {error}{nearest}") from None
    times, ends = Times({}), []
    for done in cluster.served(_requests(chosen, lengths)):
        times.add(done)
        ends.append(done.last)
    replicas = cluster.replicas()
    ends.sort()
    return Rollout(
        gpus=gpus,
        replicas=len(replicas),
        seconds=times.last,
        output_tokens=times.output,
        tokens_per_s_per_gpu=times.output / times.last / gpus,
        mean_output=times.output / times.requests,
        longest_output=max(lengths),
        half_seconds=ends[(len(ends) - 1) // 2],
        tail_seconds=ends[(len(ends) - 1) * 9 // 10],
        busy_share=sum(each.busy for each in replicas) / (times.last * len(replicas)),
        power_share=power_share(hardware, cluster, times, at_the_means(model, hardware, cluster, times)[1], gpus),
    )


def _requests(chosen: RlOptions, lengths: list[int]) -> Iterator[Request]:
    """A request for each answer; the samples of a prompt begin alike."""
    for number, output in enumerate(lengths):
        shared = ((number // chosen.samples, chosen.prompt),)
        yield Request(0.0, chosen.prompt, output, 0, shared)


def _serving(chosen: RlOptions, output: int) -> ServingOptions:
    """What the engine serves; of one that shares what the model leaves, that share is the one it takes."""
    of_free = load_engine(chosen.rollout_engine).free_memory_fraction is not None
    share: dict[str, Any] = {"free_memory_fraction" if of_free else "memory_utilization": chosen.rollout_memory}
    return ServingOptions(
        engine=chosen.rollout_engine,
        tp=chosen.rollout_tp,
        prompt=chosen.prompt,
        output=output,
        **share,
    )


def _transfer(at: Setup, chosen: RlOptions, trainers: int) -> Number:
    """Seconds in which every GPU of the engine gets its part of the new weights.

    On shared GPUs those of one copy of the model gather it among them; apart, each GPU of the engine receives its part
    over the network, or inside a node where all are in one.
    """
    layout, a_pass = at.layout, forward_pass(at)
    held = fullest(a_pass, Layout(), at.model.num_hidden_layers)
    whole = (held.dense * layout.tp + held.experts * layout.ep * layout.expert_tp()) * layout.pp
    size, node = at.recipe.param_bytes(), layout.gpus_per_node
    part = whole / layout.pp / chosen.rollout_tp
    if chosen.rollout_gpus is not None:
        stride = 1 if trainers + chosen.rollout_gpus <= node else node
        sent = Collective("weights", "mlp", 1, "send", part, 1, 2, stride, node, size)
    else:
        ranks = trainers if layout.zero else layout.tp * layout.pp
        if ranks == 1:
            return 2 * part * size / at.chip.bandwidth
        sent = Collective("weights", "mlp", 1, "all_gather", part, 1, ranks, 1, node, size)
    seconds = collective_seconds(sent, at.chip.links, at.efficiency)
    if seconds is None:
        raise InputError("no source gives the speed of the links that weights are sent over")
    return seconds


def _memory(at: Setup, chosen: RlOptions, others: Others) -> RlMemory:
    """Memory of both worlds. The engine takes its share; what trains is its peak, or at rest its states alone."""
    engine, usable = 0 if chosen.algorithm == "dpo" else chosen.rollout_memory * at.chip.usable, at.chip.usable
    trainer = _stage(at)
    frozen: Number = 0
    own = has_reference(chosen) and at.recipe.lora is None  # beside adapters it is the policy without them
    for other in [*([at.model] if own else []), others.reward, others.teacher]:
        if other is not None:
            frozen = frozen + _stage(at._replace(model=other)).params
    if others.critic is not None:
        critic = _stage(at._replace(model=others.critic))
        frozen = frozen + critic.params + critic.optimizer
    resting = trainer.params + trainer.optimizer + frozen
    apart = chosen.rollout_gpus is not None
    drawing = engine + (0 if apart or chosen.park else resting)
    training = trainer.total() + frozen + (0 if apart or chosen.sleep else engine)
    return RlMemory(engine, trainer.total(), frozen, drawing, training, usable, fits=max(drawing, training) <= usable)


def _stage(at: Setup) -> StageMemory:
    """The fullest stage."""
    a_pass = forward_pass(at)
    stages = (stage_memory(at, a_pass, index) for index in telling_stages(at.layout))
    return max(stages, key=lambda each: each.total())
