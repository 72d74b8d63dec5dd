"""When a prompt's turn comes: how many run in a step with it, and how long it waits for the others before it.

at a rate     Requests come at random times: a queue with one server and equal services (M/D/1).
in a loop     A request comes when another one has ended. The first ones come all at once. Later those that began
              together end within some steps: by which their lengths differ, times the root of how often they began.
              Before they can start, the engine's host takes some time, in which more of them end; those wait for each
              other whose prompts take longer than they are apart.
              Where prompts run beside decode (`Joining`), those that end in one step begin together again.
              Where prompts run alone (`Alone`), decode stands still meanwhile: none ends but those that the host has.
"""

from __future__ import annotations

from math import ceil, pi
from typing import NamedTuple

from llmcost.ground.algebra import Number, maximum, minimum, sum_of
from llmcost.ground.constants import Constant
from llmcost.serving.options import Workload

SATURATED = 1e-9  # least denominator: where requests arrive faster than any number is answered
BRIDGE = (
    2 * pi
) ** 0.5 / 4  # a Brownian bridge's mean height over its lowest point: of N random arrivals, a queue / √N
REQUESTS_A_SLOT = Constant(
    10, "InferenceMAX's benchmarks ask for ten times as many requests as are in flight (--num-prompts)", "requests"
)
SPREAD = Constant(
    0.7,
    "of a length, where nothing tells it: of 0.2 (benchmarks draw from 80 to 100 %), 0.3, 0.5, 0.7 and 1, on 499 runs "
    "of three engines that do not tell it (silicon-2026.yaml)",
)


SHORTEST = round(1 - SPREAD.value, 3)  # of the longest length, where nothing tells how they differ


def longest_length(mean: int) -> int:
    """The longest of lengths that differ by SPREAD about a mean: of whole tokens, the nearest, as a mean of 1 is 1."""
    most = round(mean / (1 - SPREAD.value / 2))
    return min((most, most - 1), key=lambda each: abs(ceil(each * SHORTEST) + each - 2 * mean))


def longest_request(w: Workload, positions: int) -> int:
    """Tokens of the longest request that is known, of a model that takes so many `positions`.

    A context that was said, or prompt and output. Of a mix whose lengths nothing tells, these are means, and the
    longest is what an answer takes it to be.
    """
    alike = not w.is_mix() or w.range_ratio is not None or w.context != w.prompt + w.output
    if alike:
        return int(w.context)
    return max(int(w.context), min(positions, longest_length(w.prompt) + longest_length(w.output)))


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


def by_chance_before(there: Number, busy: Number) -> Number:
    """Prompts that stand before the mean one by chance, where so many come that keep a server `busy`."""
    return minimum(BRIDGE * there**0.5, minimum(1, busy) / (2 * maximum(SATURATED, 1 - busy)))


class Rounds(NamedTuple):
    """What each round of a loop has: the first one, and each later one. `share`: of requests, that the first has."""

    share: Number
    first: Number
    later: list[Number]

    def mean(self) -> Number:
        """What the mean request has, of all rounds."""
        return self.share * self.first + (1 - self.share) * sum_of(self.later) / len(self.later)

    def of_a_step(self) -> Number:
        """The mean of steps, where each round says how many requests share one."""
        return 1 / Rounds(self.share, 1 / self.first, [1 / each for each in self.later]).mean()


def ending_within(w: Workload, steps: Number) -> list[Number]:
    """Steps within which requests of so many end that began together, in each round of a loop after its first one."""
    return [spread_of(w) * steps * place**0.5 for place in range(1, int(REQUESTS_A_SLOT.value))]


class Joining(NamedTuple):
    """Prompts of a loop that join a step of decode; `others` are in flight, up to `most` prompts run in a step.

    `first`: the share of requests that come all at once. `windows`: steps within which those that began together end,
    of each later round of the loop. `step`: of decode, `host`: before a request can start, `each`: what a prompt adds
    to a step, all in seconds.
    """

    others: Number
    most: Number
    first: Number
    windows: list[Number]
    step: Number
    host: Number
    each: Number

    @classmethod
    def of(cls, w: Workload, running: Number, most: Number, steps: Number) -> Joining:
        """The loop of so many requests, of so many `steps` each, whose times are not known yet.

        Groups of `most` are a step apart at least.
        """
        windows = [maximum(running / most, each) for each in ending_within(w, steps)]
        return cls(maximum(0, running - 1), most, 1 / requests_a_slot(w), windows, 1, 0, 0)

    def together(self) -> Rounds:
        """Prompts in a step with the mean one."""
        later = []
        for window in self.windows:
            seconds = window * self.step
            there = self.others * minimum(1, self.host / seconds)
            by_chance = minimum(there / 2, by_chance_before(there, self.others * self.each / seconds))
            later.append(minimum(self.most, 1 + maximum(self.others / maximum(1, window), by_chance)))
        return Rounds(self.first, minimum(self.most, 1 + self.others), later)

    def queue_seconds(self, host: Number, step: Number, each: Number) -> Number:
        """Mean seconds behind others: `host` before a request can start, a `step` of decode, `each` prompt's share."""
        later = []
        for window in self.windows:
            seconds = window * step
            gathered = self.others * minimum(1, host / seconds)
            longer = maximum(0, each - seconds / maximum(1, self.others))
            later.append(maximum(0, gathered + 1 - self.most) / 2 * longer)
        return Rounds(self.first, maximum(0, self.others + 1 - self.most) / 2 * each, later).mean()


def half_a_step(busy: Number, longer: Number, shorter: Number, mean: Number) -> Number:
    """Mean seconds that are left of the step under way at a random time: long steps are met more often.

    `busy`: the share of steps that are `longer`.
    """
    return (busy * longer * longer + (1 - busy) * shorter * shorter) / mean / 2


class Alone(NamedTuple):
    """Prompts of a loop that run while decode stands still; `others` are in flight, up to `most` prompts run in a step.

    `first`: the share of requests that come all at once. `windows`: seconds of decode within which those that began
    together end, of each later round of the loop. `step`: of decode, `look`: from one look at new requests to the next
    where no prompt runs, `host`: before a request can start, `each`: of a prompt among others, all in seconds.
    """

    others: Number
    most: Number
    first: Number
    windows: list[Number]
    step: Number
    look: Number
    host: Number
    each: Number

    @classmethod
    def of(cls, w: Workload, running: Number, of_decode: Number, step: Number, looks: Number, host: Number) -> Alone:
        """The loop of so many requests, of so many steps of decode each, with one prompt at a time that takes none.

        `looks`: steps from one look at new requests to the next.
        """
        windows = [maximum(1, each) * step for each in ending_within(w, of_decode)]
        return cls(maximum(0, running - 1), 1, 1 / requests_a_slot(w), windows, step, looks * step, host, 0)

    def together(self) -> Rounds:
        """Prompts in a step with the mean one."""
        later = [
            minimum(self.most, 1 + maximum(self._of_a_step(window), self._before(window))) for window in self.windows
        ]
        return Rounds(self.first, minimum(self.most, 1 + self.others), later)

    def queue_seconds(self) -> Number:
        """Mean seconds until a request has its turn, what is left until the next look included."""
        later = []
        for window, mine in zip(self.windows, self.together().later, strict=True):
            behind = maximum(0, 2 * self._before(window) + 1 - mine) / 2 * self.each
            alone = self.step * (1 - minimum(1, self.step / window))  # those that end in one step do not wait for it
            waits = minimum(1, self.others) * maximum(alone, self.look - self.step) / 2
            later.append(behind + (1 - minimum(1, self._busy(window))) * waits)
        return Rounds(self.first, maximum(0, self.others + 1 - self.most) / 2 * self.each, later).mean()

    def _of_a_step(self, window: Number) -> Number:
        """Others that end between the same two looks."""
        return self.others * minimum(1, self.look / window)

    def _busy(self, window: Number) -> Number:
        """Seconds that prompts take, over those in which their requests end."""
        return self.others * self.each / window

    def _before(self, window: Number) -> Number:
        """Prompts that are ready before the mean one and have not run.

        The host has as many as end in its time, which prompts stretch where they leave room for decode. Half of those
        stand before the mean one if they come faster than they run, and by chance a few if they do not.
        """
        busy = self._busy(window)
        stretched = window * (1 + busy * maximum(0, 1 - busy))
        there = self.others * minimum(1, maximum(self.host, self.step) / stretched)
        by_chance = by_chance_before(there, busy)
        faster = there / 2 * maximum(0, 1 - 1 / maximum(SATURATED, busy))
        return maximum(self._of_a_step(window) / 2, minimum(there / 2, faster + by_chance))
