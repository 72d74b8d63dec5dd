"""The page that `llmcost rl` prints."""

from __future__ import annotations

from llmcost.ground.units import counted, scaled, seconds, significant
from llmcost.report.figures import of_tdp
from llmcost.report.tables import Alarm, Table
from llmcost.search.prices import StepCost
from llmcost.training.reinforcement import Rl, Rollout

PHASES = {
    "rollout": "drawing answers",
    "reward": "reward model",
    "teacher": "teacher's logits",
    "reference": "reference's log-probabilities",
    "old": "policy's log-probabilities",
    "values": "critic's values",
    "update": "training the policy",
    "critic_update": "training the critic",
    "transfer": "weights to the engine",
}


def rl_tables(answer: Rl, cost: StepCost | None = None) -> list[Table]:
    """The step by phase and what it costs, how answers are drawn, memory, and what waits."""
    where, answers = f"{answer.model} on {answer.gpus:,} × {answer.hardware}", counted(answer.answers, "answer")
    title = f"{where}: {answer.algorithm}, {answers} a step, {counted(answer.updates, 'update')}"
    drawn = [] if answer.rollout is None else [_rollout(answer.rollout)]
    return [
        Table(title, ("", "", ""), "lrr", [*_phases(answer), *_cost(cost)]),
        *drawn,
        _memory(answer),
        _notes(answer),
    ]


def _phases(answer: Rl) -> list[tuple[str, str, str]]:
    total = answer.step_seconds
    rows = [("Step, expected", seconds(total), "")]
    for name, words in PHASES.items():
        value = getattr(answer.phases, name)
        if value:
            rows.append((f"  {words}", seconds(value), f"{value / total:.1%}"))
    return [*rows, ("Tokens a second and GPU", f"{answer.tokens_per_s_per_gpu:,.0f}", "")]


def _cost(cost: StepCost | None) -> list[tuple[str, str, str]]:
    """Money and energy of a step, as far as they are known."""
    if cost is None:
        return []
    rows = []
    if cost.dollars_per_step is not None and cost.price_per_gpu_hour is not None:
        hour = f"at ${significant(cost.price_per_gpu_hour)} a GPU-hour"
        rows += [
            ("Cost of a step", f"${significant(cost.dollars_per_step)}", hour),
            ("  of a million tokens", f"${significant(cost.dollars_per_million_tokens)}", ""),
        ]
    if cost.joules_per_step is not None:
        energy = scaled(cost.joules_per_step, "J").replace("KJ", "kJ")
        rows.append(("Energy of a step", energy, of_tdp(cost.power_basis, cost.power_share)))
    return rows


def _rollout(r: Rollout) -> Table:
    lengths = f"{r.mean_output:,.0f} tokens on average, {r.longest_output:,} at most"
    done = f"half of them after {seconds(r.half_seconds)}, nine tenths after {seconds(r.tail_seconds)}"
    rows = [
        ("Answers", lengths),
        ("  are whole", done),
        ("  by", f"{counted(r.replicas, 'replica')} on {counted(r.gpus, 'GPU')}, busy {r.busy_share:.0%} of the time"),
        ("  tokens a second and GPU", f"{r.tokens_per_s_per_gpu:,.0f}"),
    ]
    return Table("", ("", ""), "ll", rows)


def _memory(answer: Rl) -> Table:
    m = answer.memory
    verdict = f"of {scaled(m.usable_bytes, 'B')}: {'fits' if m.fits else 'DOES NOT FIT'}"
    rows: list[tuple[str, str, str]] = [
        ("Memory while training", scaled(m.training_bytes, "B"), verdict if m.fits else Alarm(verdict))
    ]
    if m.engine_bytes:
        rows += [
            ("Memory while drawing", scaled(m.drawing_bytes, "B"), ""),
            ("  engine's", scaled(m.engine_bytes, "B"), "weights, KV cache and room, --rollout-memory of the GPU"),
        ]
    rows.append(("  trainer's", scaled(m.trainer_bytes, "B"), "at its peak"))
    if m.frozen_bytes:
        rows.append(("  beside it", scaled(m.frozen_bytes, "B"), "reference, reward model or teacher, critic's states"))
    return Table("", ("", "", ""), "lrl", rows)


def _notes(answer: Rl) -> Table:
    degrees = {name: value for name, value in answer.layout.items() if value not in (1, None)}
    stages = degrees.pop("stages", None)
    words = ", ".join(f"{name} {value}" for name, value in degrees.items())
    words += "" if stages is None else f", stages of {','.join(map(str, stages))} layers"
    notes = [f"Training in {words}."]
    if answer.step_seconds < sum(answer.phases):
        notes.append("Off-policy: drawing runs beside all phases but the transfer.")
    engine, trainer = answer.engine_waits_share, answer.trainer_waits_share
    if engine or trainer:
        notes.append(f"GPUs that draw wait {engine:.0%} of the step, GPUs that train {trainer:.0%}.")
    notes.append(f"{answer.counted[0].upper()}{answer.counted[1:]}.")
    if answer.rollout is not None:
        notes.append(
            "Six published steps of NeMo RL on H100s were predicted 21 to 36 % too fast so (docs/training.md)."
        )
    return Table("", ("",), "l", (), tuple(notes))
