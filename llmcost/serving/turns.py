"""When a prompt's turn comes: how many run in a step with it, and how long it waits for the others before it.

at a rate     Requests come at random times: a queue with one server and equal services (M/D/1).
in a loop     A request comes when another one has ended. The first ones come all at once. Later those that began
              together end within some steps: by which their lengths differ, times the root of how often they began.
              Where prompts run beside decode (`Joining`), those that end in one step begin together again. Before they
              can start, the engine's host takes some time; in it more end, as fast as decode alone goes, and those wait
              for each other whose prompts take longer than that.
              Where prompts run alone (`ready_with`), no request ends while they do.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, maximum, minimum, sum_of
from llmcost.ground.constants import Constant
from llmcost.serving.options import Workload

BRIDGE = (2 * 3.141592653589793) ** 0.5 / 4
SATURATED = 1e-9  # least denominator: where requests arrive faster than any number is answered
REQUESTS_A_SLOT = Constant(
    10, "InferenceMAX's benchmarks ask for ten times as many requests as are in flight (--num-prompts)", "requests"
)
SPREAD = Constant(
    0.5,
    "of a length, where nothing tells it: of 0.2 (benchmarks draw from 80 to 100 %), 0.5 and 1, on 499 runs of three "
    "engines that do not tell it (silicon-2026.yaml)",
)
GATHERED = Constant(0.05, "of 0, 20, 50, 100 and 200 ms, on 403 runs of SGLang (silicon-2026.yaml)", "seconds")


def spread_of(w: Workload) -> Number:
    """The share by which lengths differ."""
    return SPREAD.value if w.range_ratio is None else 1 - w.range_ratio


def requests_a_slot(w: Workload) -> Number:
    """Requests of a closed loop, over those in flight."""
    return REQUESTS_A_SLOT.value if w.requests is None else maximum(1, w.requests / w.concurrency)


def share_of_queue(w: Workload, of_room: Number) -> Number:
    """The share of a loop's queue that its mean request waits for, where `of_room` is the share of those that run.

    The first ones find room, and those behind them wait for half of what all that follow do.
    """
    return 1 - (1 + of_room) / (2 * requests_a_slot(w))


def behind_at_random(others: Number, busy: Number, each: Number) -> Number:
    """Mean seconds behind prompts of `each` seconds that keep a server `busy`; half of all others are before, at most.

    Source: M/D/1's mean queue (Pollaczek–Khinchine).
    """
    return minimum(others / 2, busy / (2 * maximum(SATURATED, 1 - busy))) * each


class Joining(NamedTuple):
    """Prompts of a loop that join a step of decode; `others` are in flight, up to `most` prompts run in a step.

    `first`: the share of requests that come all at once. `windows`: steps within which those that began together end,
    of each later round of the loop.
    """

    others: Number
    most: Number
    first: Number
    windows: list[Number]

    @classmethod
    def of(cls, w: Workload, running: Number, most: Number, steps: Number) -> Joining:
        """The loop of so many requests, of so many `steps` each. Groups of `most` are a step apart at least."""
        rounds = range(1, int(REQUESTS_A_SLOT.value))
        windows = [maximum(running / most, spread_of(w) * steps * place**0.5) for place in rounds]
        return cls(maximum(0, running - 1), most, 1 / requests_a_slot(w), windows)

    def mean(self, first: Number, later: list[Number]) -> Number:
        """The mean over rounds of what the first has, and each later one."""
        return self.first * first + (1 - self.first) * sum_of(later) / len(later)

    def together(self) -> tuple[Number, list[Number]]:
        """Prompts in a step with the mean one, in the first round and in each later one."""
        later = [minimum(self.most, 1 + self.others / maximum(1, window)) for window in self.windows]
        return minimum(self.most, 1 + self.others), later

    def of_a_step(self) -> Number:
        """Prompts of a step that has any: as many steps have some as the rounds have in all."""
        first, later = self.together()
        return 1 / self.mean(1 / first, [1 / each for each in later])

    def of_mine(self) -> Number:
        """Prompts of the step that a prompt is in."""
        return self.mean(*self.together())

    def queue_seconds(self, host: Number, step: Number, each: Number) -> Number:
        """Mean seconds behind others: `host` before a request can start, a `step` of decode, `each` prompt's share."""
        later = []
        for window in self.windows:
            seconds = window * step
            gathered = self.others * minimum(1, host / seconds)
            longer = maximum(0, each - seconds / maximum(1, self.others))
            later.append(maximum(0, gathered + 1 - self.most) / 2 * longer)
        return self.mean(maximum(0, self.others + 1 - self.most) / 2 * each, later)


def half_a_step(busy: Number, longer: Number, shorter: Number, mean: Number) -> Number:
    """Mean seconds that are left of the step under way at a random time: long steps are met more often.

    `busy`: the share of steps that are `longer`.
    """
    return (busy * longer * longer + (1 - busy) * shorter * shorter) / mean / 2


class Alone(NamedTuple):
    """Prompts of a loop that run while decode waits; `others` are in flight, up to `most` prompts run in a step.

    `first`: the share of requests that come all at once. `windows`: seconds of decode within which those that began
    together end, of each later round of the loop; `step`: of one step of it. `host`: before a request can start.
    `each`: of a prompt among others.
    """

    others: Number
    most: Number
    first: Number
    windows: list[Number]
    step: Number
    host: Number
    each: Number

    def mean(self, first: Number, later: list[Number]) -> Number:
        """The mean over rounds of what the first has, and each later one."""
        return self.first * first + (1 - self.first) * sum_of(later) / len(later)

    def before(self, window: Number) -> Number:
        """Prompts that are ready before the mean one and have not run."""
        together = self.others * minimum(1, self.step / window)
        busy = self.others * self.each / window
        behind = self.others * minimum(1, maximum(self.host, self.step) / (window * (1 + busy * maximum(0, 1 - busy))))
        longer = maximum(0, 1 - 1 / maximum(SATURATED, busy))
        by_chance = minimum(minimum(behind / 2, BRIDGE * behind**0.5), minimum(1, busy) / (2 * maximum(SATURATED, 1 - busy)))
        return maximum(together / 2, minimum(behind / 2, behind / 2 * longer + by_chance))

    def together(self) -> tuple[Number, list[Number]]:
        """Prompts in a step with the mean one, in the first round and in each later one."""
        later = []
        for window in self.windows:
            ending = self.others * minimum(1, self.step / window)
            later.append(minimum(self.most, 1 + maximum(ending, self.before(window))))
        return minimum(self.most, 1 + self.others), later

    def of_a_step(self) -> Number:
        first, later = self.together()
        return 1 / self.mean(1 / first, [1 / each for each in later])

    def of_mine(self) -> Number:
        return self.mean(*self.together())

    def queue_seconds(self, own: Number) -> Number:
        _, together = self.together()
        later = []
        for window, mine in zip(self.windows, together, strict=True):
            busy = minimum(1, self.others * self.each / window)
            left = (minimum(1, self.others) - minimum(1, self.others)*minimum(1, self.step / window)) * (1 - busy) * self.step / 2
            later.append(maximum(0, 2 * self.before(window) + 1 - mine) / 2 * self.each + left)
        return self.mean(maximum(0, self.others + 1 - self.most) / 2 * self.each, later)


def ready_with(w: Workload, running: Number, of_decode: Number, step: Number) -> Number:
    """Other prompts of a closed loop that are ready when a prompt is, on average, where prompts run alone.

    No request ends while prompts run. The first ones come all at once. Requests that began together end within a share
    of their decode steps, of `step` seconds each, by which lengths differ; the time over which they end grows with the
    root of how often they have begun. Those that end in the same step, or within GATHERED of the first of them, begin
    together again: where all lengths are alike, everyone always does.
    """
    window = spread_of(w) * (1 + of_decode) * step
    gathered = step + GATHERED.value
    rounds = [gathered / maximum(gathered, window * k**0.5) for k in range(int(REQUESTS_A_SLOT.value))]
    return maximum(0, running - 1) * sum_of(rounds) / len(rounds)


def behind_ready(running: Number, step: Number, ready: Number, begin: Number, own: Number) -> Number:
    """Mean seconds in which a request waits for its turn where prompts run alone, `begin` of them in `own` seconds.

    It waits for half of those that are `ready` with it, which run before; alone, for half of a step.
    """
    others = maximum(0, running - 1)
    alone = minimum(1, others) * (1 - ready / maximum(1, others))
    return alone * step / 2 + maximum(0, 1 + ready - begin) / 2 * own / begin
