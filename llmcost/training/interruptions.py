"""A training run with checkpoints and failures on the way: from steps to days, GPU-hours, energy and money.

Failures come at random, one in so many GPU-hours on average, and may strike at any time (a Poisson process). After a
restart, what was done since the last checkpoint is done again. Let M be the seconds between failures of the job, τ
those of progress between checkpoints, w those to write one and R those to restart. Then a segment, from one checkpoint
to the next, takes M·e^(R/M)·(e^((τ+w)/M) - 1) on average (Daly, Future Generation Computer Systems 22(3), 2006). Of
these, τ are progress; their share is the goodput. It is best at about τ = √(2wM) (Young, CACM 17(9), 1974).
"""

from typing import NamedTuple

from llmcost.ground.algebra import Number, ceil_div, expm1, is_plain, named
from llmcost.ground.constants import Constant
from llmcost.ground.errors import InputError, check_share
from llmcost.ground.units import DAY, HOUR
from llmcost.serving.options import MOST_PUE

GPU_MTBF_HOURS = Constant(
    16_384 * 54 * 24 / 419,
    "419 unexpected interruptions in 54 days on 16,384 H100s (Llama 3, arXiv 2407.21783, section 3.3.4)",
    "GPU-hours between failures",
    "29,500 and 82,000 on two clusters of A100s (arXiv 2410.21680), 43,000 for BLOOM",
)
RESTART_MINUTES = Constant(
    10, "detection and diagnosis take less on more than 10,000 GPUs (MegaScale, arXiv 2402.15627, section 6)", "minutes"
)
CHECKPOINT_BYTES_PER_S = Constant(
    273e9 / 3072,
    "into a shared file system, 273 GB/s of 3,072 GPUs (arXiv 2104.04473, section 5.10)",
    "bytes/s of one GPU",
    "0.15 GB/s for BLOOM",
)


class Reliability(NamedTuple):
    """How often a GPU stops the job, what that costs, and how fast one GPU writes its share of a checkpoint.

    `interval_seconds`: progress between checkpoints; None: what loses the least.
    """

    gpu_mtbf_seconds: Number = GPU_MTBF_HOURS.value * HOUR
    restart_seconds: Number = RESTART_MINUTES.value * 60
    checkpoint_bytes_per_s: Number = CHECKPOINT_BYTES_PER_S.value
    interval_seconds: Number | None = None


class Terms(NamedTuple):
    """What GPU-hours cost in money and energy; None where it is not known.

    `power_share`: the mean draw over the TDP; `power_basis`: what it rests on. Where nothing is known it is 1, as
    Llama's model cards reckon their energy, and the most that a GPU draws for long. `pue`: the energy of the data
    centre over that of the GPUs; 1 is that of the GPUs alone.
    `grams_per_kwh`: of CO2, as the grid has it.
    """

    dollars_per_gpu_hour: Number | None = None
    tdp_watts: Number | None = None
    power_share: Number = 1
    pue: Number = 1
    grams_per_kwh: Number | None = None
    power_basis: str = ""


class Goodput(NamedTuple):
    """What the time on the wall clock goes into, as shares that add up to 1."""

    progress: Number
    checkpoints: Number
    restarts: Number
    lost: Number  # done since the last checkpoint, and done again


class Interruptions(NamedTuple):
    """Failures of the whole job, its checkpoints, and the shares of the time that these leave and take."""

    job_mtbf_seconds: Number
    failures: Number  # expected in the run
    checkpoint_bytes: Number
    checkpoint_seconds: Number
    interval_seconds: Number
    goodput: Goodput


class InterruptedRun(NamedTuple):
    """A whole run. `training_seconds`: its steps alone; everything else has checkpoints and failures in it."""

    steps: Number
    training_seconds: Number
    wall_seconds: Number
    days: Number
    gpu_hours: Number
    energy_joules: Number | None
    dollars: Number | None
    carbon_grams: Number | None
    interruptions: Interruptions
    power_share: Number = 1
    power_basis: str = ""


def run_of(
    tokens: Number,
    tokens_per_step: Number,
    step_seconds: Number,
    gpus: Number,
    checkpoint_bytes: Number,
    reliability: Reliability = Reliability(),  # noqa: B008
    terms: Terms = Terms(),  # noqa: B008
) -> InterruptedRun:
    """What a run of so many tokens takes, with checkpoints and failures; its last step is a whole one.

    `checkpoint_bytes` are those of all GPUs together. None of them is checked: see `check_terms`.
    """
    steps = named("steps", ceil_div(tokens, tokens_per_step))
    training = steps * named("step_seconds", step_seconds)
    mtbf = named("job_mtbf_seconds", reliability.gpu_mtbf_seconds / gpus)
    write = named("checkpoint_seconds", checkpoint_bytes / (reliability.checkpoint_bytes_per_s * gpus))
    interval = best_interval(write, mtbf) if reliability.interval_seconds is None else reliability.interval_seconds
    good = goodput(named("interval_seconds", interval), write, reliability.restart_seconds, mtbf)
    wall = named("wall_seconds", training / named("progress", good.progress))
    hours = gpus * wall / HOUR
    watts = None if terms.tdp_watts is None else terms.tdp_watts * terms.power_share * terms.pue
    joules = None if watts is None else watts * gpus * wall
    carbon = None if joules is None or terms.grams_per_kwh is None else joules / KWH * terms.grams_per_kwh
    return InterruptedRun(
        steps=steps,
        training_seconds=training,
        wall_seconds=wall,
        days=wall / DAY,
        gpu_hours=hours,
        energy_joules=joules,
        dollars=None if terms.dollars_per_gpu_hour is None else terms.dollars_per_gpu_hour * hours,
        carbon_grams=carbon,
        interruptions=Interruptions(mtbf, wall / mtbf, checkpoint_bytes, write, interval, good),
        power_share=terms.power_share,
        power_basis=terms.power_basis,
    )


def best_interval(write_seconds: Number, mtbf_seconds: Number) -> Number:
    """The seconds of progress between checkpoints that lose the least time: √(2wM) (Young 1974)."""
    return (2 * write_seconds * mtbf_seconds) ** 0.5


def goodput(interval: Number, write: Number, restart: Number, mtbf: Number) -> Goodput:
    """The shares of the time of a segment: its progress, its checkpoint, and what failures in it take (Daly 2006).

    A failure may strike a restart too, so restarts take 1 - e^(-R/M) of all time.
    """
    wall = mtbf * (1 + expm1(restart / mtbf)) * expm1((interval + write) / mtbf)
    progress, checkpoints, restarts = interval / wall, write / wall, -expm1(-restart / mtbf)
    return Goodput(progress, checkpoints, restarts, 1 - progress - checkpoints - restarts)


KWH = 3.6e6  # joules
LARGEST = 1e18  # of any term, in seconds or bytes a second
MOST_DOLLARS = 10**6
HOPELESS = 30  # times the mean between failures: there a segment takes 10¹³ such times


def check_terms(gpus: int, checkpoint_bytes: float, reliability: Reliability, terms: Terms) -> None:
    """Raise InputError for terms that make no sense, and for a job that fails so often that it gets nowhere."""
    given = (
        ("--mtbf-hours", reliability.gpu_mtbf_seconds, "s"),
        ("--checkpoint-gb-per-s", reliability.checkpoint_bytes_per_s, "B/s"),
        ("--checkpoint-minutes", reliability.interval_seconds, "s"),
    )
    for option, value, unit in given:
        if value is not None and not 0 < value <= LARGEST:
            raise InputError(f"{option}: above 0 and at most {LARGEST:.0e} {unit}")
    dollars = terms.dollars_per_gpu_hour
    if dollars is not None and not 0 <= dollars < MOST_DOLLARS:
        raise InputError(f"--price {dollars:g}: dollars a GPU-hour, as in 2.5")
    if not reliability.restart_seconds >= 0:
        raise InputError("--restart-minutes: not below 0")
    if is_plain(terms.power_share):
        check_share("--power-share", terms.power_share)
    if not 1 <= terms.pue <= MOST_PUE:
        raise InputError(f"--pue {terms.pue:g}: the data centre's energy over its GPUs', from 1 to {MOST_PUE}")
    mtbf = reliability.gpu_mtbf_seconds / gpus
    write = checkpoint_bytes / (reliability.checkpoint_bytes_per_s * gpus)
    interval = reliability.interval_seconds or best_interval(write, mtbf)
    segment = interval + write + reliability.restart_seconds
    if segment / mtbf > HOPELESS:
        raise InputError(
            f"the job fails every {mtbf:,.0f} s and takes {segment:,.0f} s "
            "from one checkpoint to the next: it gets nowhere (--mtbf-hours, --checkpoint-minutes, --restart-minutes)"
        )
