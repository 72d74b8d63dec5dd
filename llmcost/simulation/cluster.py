"""Replicas side by side: who serves which request, and what happens when.

unit        What steps by itself: one replica, or data-parallel ranks that share experts. Those begin every step
            together, and each waits for the one that has most (a rank without requests runs along, as in vLLM's
            docs/serving/data_parallel_deployment.md).
router      Chooses the replica of a request when it arrives.
prefill and decode apart    A request's prompt runs on a replica of one pool; its keys and values are sent to one of the
            other pool, which streams all tokens, the first one too (SGLang, docs/advanced_features/pd_disaggregation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain, count
from typing import NamedTuple

from llmcost.simulation.policy import Mix, Served
from llmcost.simulation.scheduler import Scheduler
from llmcost.simulation.traffic import Request

ROUTERS = ("round-robin", "least-loaded", "prefix-aware")
# SGLang's router: by prefix where so much of the prompt is cached, unless loads differ by more than that many requests
# and that factor (cache_threshold, balance_abs_threshold, balance_rel_threshold; docs/router/router.md).
LEAST_FOUND, MOST_APART, MOST_TIMES = 0.5, 32, 1.1
MOST_REPLICAS = 4096  # that are simulated one by one
INFINITY = float("inf")


class Unit:
    """Replicas that step together: `step_seconds` takes what is in the step, and how full the ranks are on average.

    That is the mean of their tokens over those of the rank whose step it is; only ranks that share experts take it.
    """

    def __init__(self, ranks: Sequence[Scheduler], step_seconds: Callable[..., float]) -> None:
        self.ranks, self.step_seconds = ranks, step_seconds
        self.now = 0.0
        self.record: Callable[[Scheduler, Mix, float], None] | None = None  # called with each step and its seconds

    @property
    def works(self) -> bool:
        """Whether any of the ranks has something to do."""
        return any(rank.works for rank in self.ranks)

    def step(self) -> list[Served]:
        """One step: who has the last token."""
        for rank in self.ranks:
            rank.now = max(rank.now, self.now)
        planned = [(rank, rank.plan()) for rank in self.ranks]
        mixes = [(rank, mix) for rank, mix in planned if mix is not None]
        if not mixes:
            self.now = min([rank.now for rank in self.ranks if rank.works])
            return []
        took = self._seconds([mix for _, mix in mixes])
        took += max([rank.policy.load_seconds * mix.loaded for rank, mix in mixes])
        done = []
        for rank, mix in mixes:
            if self.record is not None:
                self.record(rank, mix, took)
            rank.now = self.now
            done += rank.finish(mix, took)
        self.now += took
        return done

    def _seconds(self, mixes: Sequence[Mix]) -> float:
        """Seconds of a step in which ranks have these mixes; the other ranks have nothing."""
        if len(self.ranks) == 1:
            return self.step_seconds(*mixes[0][:6])
        mean = sum([mix.load() for mix in mixes]) / len(self.ranks)
        return max([self.step_seconds(*mix[:6], mean / mix.load()) for mix in mixes])


class Router:
    """Chooses among replicas. Of equal ones the first that follows the one before is taken."""

    def __init__(self, replicas: Sequence[Scheduler], kind: str = ROUTERS[0]) -> None:
        self.replicas, self.kind, self._turn = replicas, kind, count()

    def choose(self, request: Request) -> Scheduler:
        """The replica that serves a request."""
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0]
        turn = next(self._turn) % len(replicas)
        if self.kind == "round-robin":
            return replicas[turn]
        if self.kind == "prefix-aware" and request.prefix:
            in_turn = [*replicas[turn:], *replicas[:turn]]
            waiting = [len(each.waiting) + each.running for each in replicas]
            if max(waiting) <= MOST_APART + min(waiting) or max(waiting) <= MOST_TIMES * min(waiting):
                found, best = max([(each.found(request), -place) for place, each in enumerate(in_turn)])
                if found > LEAST_FOUND * request.prompt:
                    return in_turn[-best]
        return self._least_loaded(turn)

    def _least_loaded(self, turn: int) -> Scheduler:
        """The replica with the least load, of equal ones the first from `turn` on; one that is idle ends the search."""
        found = self.replicas[turn]
        least = found.load()
        for place in chain(range(turn + 1, len(self.replicas)), range(turn)):
            if not least:
                break
            load = self.replicas[place].load()
            if load < least:
                found, least = self.replicas[place], load
        return found


class Pool(NamedTuple):
    """Units and the router in front of them."""

    units: Sequence[Unit]
    router: Router


class Cluster:
    """Everything that serves. `decode`: a second pool, to which `transfer` (seconds, by tokens) sends prompts.

    `watch`: called before each step with its time.
    """

    def __init__(self, pool: Pool, decode: Pool | None = None, transfer: Callable[[int], float] | None = None) -> None:
        self.pool, self.decode, self.transfer = pool, decode, transfer
        self.units = [*pool.units, *(decode.units if decode else ())]
        self.watch: Callable[[float], None] | None = None
        self._place_of = {rank.number: place for place, unit in enumerate(self.units) for rank in unit.ranks}
        self._busy: list[tuple[float, int]] = []  # units with something to do: the time of the next step, and its place
        self._whole: dict[int, Request] = {}  # requests whose prompts run in the first pool

    def replicas(self) -> list[Scheduler]:
        """All replicas of both pools."""
        return [rank for unit in self.units for rank in unit.ranks]

    def served(self, requests: Iterator[Request]) -> Iterator[Served]:
        """Every request when it is answered. Raises InputError for one that has no room even alone."""
        ahead, orders = next(requests, None), count()
        coming: list[tuple[float, int, Request, Served | None]] = []  # requests of a closed loop, and prompts sent
        while True:
            now = self._busy[0][0] if self._busy else INFINITY
            at = INFINITY if ahead is None or ahead.arrival is None else ahead.arrival
            if coming and coming[0][0] <= min(now, at):
                when, order, request, sent = heappop(coming)
                self._submit(request, when, order, sent)
            elif ahead is not None and at < INFINITY and at <= now:
                self._submit(ahead, at, next(orders), None)
                ahead = next(requests, None)
            elif not self._busy:
                return
            else:
                if self.watch is not None:
                    self.watch(now)
                for done in self._step():
                    if done.order in self._whole and self.transfer is not None:
                        whole = self._whole.pop(done.order)
                        if whole.output > 1:
                            arrives = done.last + self.transfer(whole.prompt)
                            heappush(coming, (arrives, done.order, whole, done))
                            continue
                    if ahead is not None and ahead.arrival is None:
                        heappush(coming, (done.last, next(orders), ahead, None))
                        ahead = next(requests, None)
                    yield done

    def _step(self) -> list[Served]:
        """The next step of the unit whose turn it is: who has the last token."""
        _, place = heappop(self._busy)
        unit = self.units[place]
        done = unit.step()
        if unit.works:
            heappush(self._busy, (unit.now, place))
        return done

    def _submit(self, request: Request, at: float, order: int, sent: Served | None) -> None:
        """Hand a request to a replica. `sent`: its prompt was computed there."""
        if sent is not None and self.decode is not None:
            replica = self.decode.router.choose(request)
        else:
            replica = self.pool.router.choose(request)
            if self.decode is not None:
                self.decode.router.replicas[0].check(request)
                self._whole[order] = request
                request = request._replace(output=1)
        place = self._place_of[replica.number]
        unit, idle = self.units[place], not self.units[place].works
        replica.submit(request, at, order, sent)
        if idle:
            unit.now = max(unit.now, at)
            heappush(self._busy, (unit.now, place))
