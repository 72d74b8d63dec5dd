"""An engine's scheduler, step by step, on one replica.

In a step every decoding request gets a token, and pieces of prompts fill what is left of the engine's budget of tokens
(vLLM's max_num_batched_tokens), first come first served; or, where an engine does not mix them, prompts run alone while
there are any (SGLang). A request starts when its first piece has room among the cache's blocks and fewer than
max_num_seqs run. Blocks are handed out as a sequence grows; where none is free, the request that came last gives up all
of its own and computes them again later (preemption by recomputation), unless the engine keeps room for all of the
output from the start.

Decoding requests are counted, not listed: how many, their tokens together, which of them fill a block in which step,
and who is done in which. So a step costs the same however many run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from llmcost.ground.errors import InputError
from llmcost.simulate.traffic import Request


class Policy(NamedTuple):
    """What an engine's scheduler keeps to.

    budget: tokens of a step, of prompts and decode (None: no bound). most: requests that run at a time.
    blocks: of the cache, None: without end; block: tokens of one; state_blocks: what a request takes besides, at any
    length. mixed: prompts run in the same step as decode. reserve: a request starts only if all its output has room.
    request_seconds: on the host before a request can start.
    """

    budget: int | None
    most: int | None
    blocks: int | None
    block: int = 16
    state_blocks: int = 0
    mixed: bool = True
    reserve: bool = False
    request_seconds: float = 0.0


class Served(NamedTuple):
    """When one request arrived, was first scheduled, had its first and its last token; seconds."""

    request: Request
    arrival: float
    scheduled: float
    first: float
    last: float

    @property
    def ttft(self) -> float:
        """Seconds to the first token."""
        return self.first - self.arrival

    @property
    def tpot(self) -> float:
        """Seconds of each other token, on average; 0 where there is none."""
        return (self.last - self.first) / (self.request.output - 1) if self.request.output > 1 else 0.0

    @property
    def latency(self) -> float:
        """Seconds to the last token."""
        return self.last - self.arrival


class Counters(NamedTuple):
    """What was counted on the way."""

    steps: int
    preemptions: int
    seconds: float  # of all steps
    most_blocks: int  # in use at a time


class _Running:
    """A request that has a place: what of its prompt is computed, and the blocks that it holds."""

    __slots__ = (
        "arrival",
        "blocks",
        "computed",
        "done_at",
        "first",
        "joined",
        "order",
        "request",
        "scheduled",
        "target",
    )

    def __init__(self, request: Request, arrival: float, order: int) -> None:
        self.request, self.arrival, self.order = request, arrival, order
        self.target = request.prompt  # tokens to compute before the next one comes out
        self.computed = self.blocks = 0
        self.scheduled = self.first = -1.0
        self.done_at = self.joined = -1  # turns of decode


class Scheduler:
    """One replica that serves requests; `served` yields each when it is answered."""

    def __init__(self, step_seconds: Callable[..., float], policy: Policy) -> None:
        self.step_seconds, self.policy = step_seconds, policy
        self.now, self.step, self.preemptions, self.busy, self.most_blocks = 0.0, 0, 0, 0.0, 0
        self.turn = 0  # steps that decode ran in
        self.free = policy.blocks
        self.waiting: deque[_Running] = deque()
        self.prefilling: list[_Running] = []  # in the order in which they came
        self.decoding: dict[int, _Running] = {}  # by order
        self.tokens = 0  # cached, of all that decode
        self.filling = [
            0
        ] * policy.block  # decoding requests by the step, modulo the block, in which they need one more
        self.finishing: list[tuple[int, int]] = []  # (step, order)

    def counters(self) -> Counters:
        """What was counted so far."""
        return Counters(self.step, self.preemptions, self.busy, self.most_blocks)

    def served(self, requests: Iterator[Request]) -> Iterator[Served]:
        """Every request when it is answered, in the order of their last tokens.

        Raises InputError for a request that has no room even alone.
        """
        ahead, order = next(requests, None), 0
        answered = 0  # requests of a closed loop that may come now
        while ahead is not None or self.waiting or self.prefilling or self.decoding:
            while ahead is not None:
                if ahead.arrival is None:
                    if not answered:
                        break
                    answered -= 1
                    arrival = self.now
                elif ahead.arrival > self.now and (self.waiting or self.prefilling or self.decoding):
                    break
                else:
                    arrival = ahead.arrival
                    self.now = max(self.now, arrival)
                self._check(ahead)
                self.waiting.append(_Running(ahead, arrival, order))
                order += 1
                ahead = next(requests, None)
            for done in self._run_step():
                answered += 1
                yield done

    def _check(self, request: Request) -> None:
        policy = self.policy
        if policy.blocks is None:
            return
        needed = -(-(request.prompt + request.output) // policy.block) + policy.state_blocks
        if needed > policy.blocks:
            where = f"line {request.line}: " if request.line else ""
            raise InputError(
                f"{where}a request of {request.prompt:,} tokens in and {request.output:,} out takes {needed:,} blocks "
                f"of the cache, which has {policy.blocks:,}"
            )

    def _run_step(self) -> list[Served]:
        """One step: who gets a token, which pieces run, how long it takes, who is done."""
        policy = self.policy
        alone = not policy.mixed and bool(self.prefilling or self._may_start())
        if not alone and self.decoding:
            self._grow()
        decoding = 0 if alone else len(self.decoding)
        left = 1 << 60 if policy.budget is None else policy.budget - decoding
        pieces = self._pieces(left)
        if not pieces and alone:  # nothing of a prompt has room: decode goes on
            self._grow()
            decoding = len(self.decoding)
        prompts, tokens, pairs = len(pieces), 0, 0
        for running, piece in pieces:
            tokens += piece
            pairs += piece * running.computed + piece * (piece + 1) // 2
        if not prompts and not decoding:
            # Requests that wait on the host, or that find no room while nothing runs.
            ready = min((each.arrival + policy.request_seconds for each in self.waiting), default=self.now)
            self.now = max(self.now, ready)
            return []
        each = tokens / prompts if prompts else 0
        keys = pairs / tokens + (each - 1) / 2 if tokens else 0
        context = self.tokens / decoding if decoding else 0
        took = self.step_seconds(decoding, context, prompts, each, keys)
        start = self.now
        self.now += took
        self.busy += took
        self.step += 1
        done = self._decoded() if decoding else []
        done += self._computed(pieces, start)
        return done

    def _may_start(self) -> bool:
        waiting = self.waiting
        return bool(waiting) and waiting[0].arrival + self.policy.request_seconds <= self.now

    def _take(self, blocks: int) -> bool:
        if self.free is None:
            return True
        if blocks > self.free:
            return False
        self.free -= blocks
        in_use = (self.policy.blocks or 0) - self.free
        self.most_blocks = max(self.most_blocks, in_use)
        return True

    def _grow(self) -> None:
        """Give a block to each decoding request whose next token begins one; others lose theirs where none is free."""
        if self.policy.reserve:
            return
        slot = self.turn % self.policy.block
        while not self._take(self.filling[slot]):
            self._preempt()

    def _preempt(self) -> None:
        """Take all blocks from the request that came last; it computes its tokens again before all that wait."""
        last = self.prefilling[-1] if self.prefilling else None
        order = next(reversed(self.decoding))
        if last is None or last.order < order:
            last = self.decoding.pop(order)
            cached = self._cached(last)
            self.tokens -= cached
            self.filling[last.joined] -= 1
            last.blocks = self._blocks(last, cached)
            last.target = cached + 1  # the last token that came out has no entry yet
        else:
            self.prefilling.pop()
        self.free = (self.free or 0) + last.blocks
        last.blocks = last.computed = 0
        last.done_at = -1
        self.preemptions += 1
        self.waiting.appendleft(last)

    def _cached(self, running: _Running) -> int:
        """Tokens that a decoding request has in the cache."""
        out = running.request.output - (running.done_at - self.turn)
        return running.request.prompt + out - 1

    def _blocks(self, running: _Running, cached: int) -> int:
        """Blocks that a request holds with so many tokens in the cache."""
        if self.policy.reserve:
            return running.blocks
        return -(-cached // self.policy.block) + self.policy.state_blocks

    def _pieces(self, left: int) -> list[tuple[_Running, int]]:
        """Pieces of prompts that run in this step: first of those that have begun, then of those that wait."""
        policy, pieces = self.policy, []
        for running in self.prefilling:
            piece = min(left, running.target - running.computed)
            if piece <= 0:
                break
            if not self._room(running, running.computed + piece):
                break
            pieces.append((running, piece))
            left -= piece
        running_now = len(self.prefilling) + len(self.decoding)
        while left > 0 and self._may_start() and (policy.most is None or running_now < policy.most):
            running = self.waiting[0]
            piece = min(left, running.target)
            if not self._room(running, piece):
                break
            self.waiting.popleft()
            self.prefilling.append(running)
            running_now += 1
            pieces.append((running, piece))
            left -= piece
        return pieces

    def _room(self, running: _Running, tokens: int) -> bool:
        """Take the blocks that a request needs for so many tokens, if they are free."""
        policy = self.policy
        if policy.reserve:
            tokens = running.request.prompt + running.request.output
        needed = -(-tokens // policy.block) + policy.state_blocks - running.blocks
        if needed <= 0:
            return True
        if not self._take(needed):
            return False
        running.blocks += needed
        return True

    def _decoded(self) -> list[Served]:
        """Each decoding request has one token more; those that have all are answered."""
        self.turn += 1
        self.tokens += len(self.decoding)
        done = []
        while self.finishing and self.finishing[0][0] <= self.turn:
            at, order = heappop(self.finishing)
            running = self.decoding.get(order)
            if running is None or running.done_at != at:
                continue  # it was preempted meanwhile
            del self.decoding[order]
            cached = running.request.prompt + running.request.output - 1
            self.tokens -= cached
            self.filling[running.joined] -= 1
            if self.free is not None:
                self.free += self._blocks(running, cached)
            done.append(self._answered(running))
        return done

    def _computed(self, pieces: list[tuple[_Running, int]], start: float) -> list[Served]:
        """Pieces have run: prompts that are complete give a token and decode from now on."""
        done, block = [], self.policy.block
        for running, piece in pieces:
            if running.scheduled < 0:
                running.scheduled = start
            running.computed += piece
            if running.computed < running.target:
                continue
            self.prefilling.remove(running)
            request, cached = running.request, running.target
            if running.first < 0:
                running.first = self.now
            left = request.prompt + request.output - 1 - cached  # tokens still to come
            if left == 0:
                if self.free is not None:
                    self.free += running.blocks
                done.append(self._answered(running))
                continue
            running.done_at = self.turn + left
            running.joined = (self.turn + (-cached) % block) % block
            self.filling[running.joined] += 1
            self.tokens += cached
            self.decoding[running.order] = running
            heappush(self.finishing, (running.done_at, running.order))
        return done

    def _answered(self, running: _Running) -> Served:
        return Served(running.request, running.arrival, running.scheduled, running.first, self.now)
