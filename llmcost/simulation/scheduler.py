"""An engine's scheduler, step by step, on one replica.

In a step every decoding request gets a token, and pieces of prompts fill what is left of the engine's budget of tokens
(vLLM's max_num_batched_tokens), first come first served; or, where an engine does not mix them, prompts run alone while
there are any (SGLang). A request starts when it has room among the cache's blocks and fewer than max_num_seqs run;
tokens that blocks still hold are not computed (prefix cache). Blocks are handed out as a sequence grows; where none is
free, the request that started last gives up all of its own and computes them again later (preemption by recomputation),
unless the engine keeps room for all of the output from the start. In a step that preempts, no request starts (vLLM,
vllm/v1/core/sched/scheduler.py).

Decoding requests are counted, not listed: how many, their tokens together, which of them fill a block at which place,
and who is done at which. So a step costs the same however many run. With speculation each of them gets the mean number
of tokens that are accepted, in whole tokens: what is drawn for single requests in a real engine is left out.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from llmcost.parallel.pipeline import FEW
from llmcost.simulation.policy import HeldBack, Mix, NoRoomError, Policy, Running, Served, own_name, spans, to_come
from llmcost.simulation.pool import Pool, Segment
from llmcost.simulation.traffic import Request

HOLDS = ("memory", "max_num_seqs", "chunk")  # what keeps requests from starting


class Scheduler:
    """One replica. `submit` gives it a request, `plan` and `finish` run a step."""

    def __init__(self, policy: Policy, number: int = 0) -> None:
        self.policy, self.number = policy, number
        self.now = 0.0
        self.steps = self.preemptions = self.recomputed = self.asked = self.hits = 0
        self.busy = 0.0
        self.held = dict.fromkeys(HOLDS, 0)  # steps in which a request that could start did not, by what held it back
        self.place, self._part = 0, 0.0  # tokens that decode has given to each request since the start
        self.pool = Pool(policy.blocks, policy.caching, policy.host_blocks if policy.caching else 0)
        self.seen, self.unseen = 0.0, 0  # up to when the host has seen who came, and steps of decode since
        self.prepared = 0.0  # when the step was prepared that is planned
        self.began: deque[float] = deque()  # when the last steps were planned, one more than those that a request waits
        self.loaded = 0  # tokens that came back from the host
        self.waiting: deque[Running] = deque()
        self.prefilling: list[Running] = []  # in the order in which they started
        self.decoding: dict[int, Running] = {}  # by order of arrival, in the order in which they started
        self.tokens = 0  # cached, of all that decode
        self.outputs = self.ends = 0  # of all that decode: tokens of output, and places at which they are done
        self.share = 1.0 if policy.held_back is None else policy.held_back.first  # of outputs to come that is held back
        self.filling = [0] * policy.block  # decoding requests by the place, modulo the block, at which they need one
        self.finishing: list[tuple[int, int]] = []  # (place, order)
        self.lengths: list[tuple[int, int]] = []  # (place less cached tokens, order), the longest sequence first

    @property
    def works(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.prefilling or self.decoding)

    @property
    def running(self) -> int:
        """Requests that run."""
        return len(self.prefilling) + len(self.decoding)

    def load(self) -> int:
        """How busy the replica is, as vLLM's router between data-parallel ranks counts it: who waits counts fourfold.

        Source: vllm/v1/engine/core_client.py, DPLBAsyncMPClient.
        """
        return 4 * len(self.waiting) + self.running

    def submit(self, request: Request, arrival: float, order: int, sent: Served | None = None) -> None:
        """Take a request in; `sent`: its prompt was computed elsewhere, and its first token is out.

        Raises InputError for a request that has no room even alone.
        """
        self.check(request)
        if self.policy.held_back is not None and not self.works:
            self.share = self.policy.held_back.first
        new = Running(request, arrival, order)
        if sent is not None:
            new.sent, new.arrival = True, sent.arrival
            new.scheduled, new.cached = sent.scheduled, sent.cached
        self.waiting.append(new)

    def found(self, request: Request) -> int:
        """Tokens at the beginning of a prompt that the prefix cache holds now."""
        segments = self.pool.segments
        found = 0
        for name, first, end in spans(request, self.policy.block):
            segment = segments.get(name)
            cached = 0 if segment is None else min(segment.cached, end - first)
            found += cached
            if cached < end - first:
                break
        return found * self.policy.block

    def check(self, request: Request) -> None:
        """Raise InputError for a request that has no room even alone."""
        policy = self.policy
        if policy.blocks is None:
            return
        needed = -(-(request.prompt + request.output) // policy.block) + policy.state_blocks
        if needed > policy.blocks:
            raise NoRoomError(
                f"a request of {request.prompt:,} tokens in and {request.output:,} out takes {needed:,} blocks "
                f"of the cache, which has {policy.blocks:,} of {policy.block:,} tokens (--kv-tokens, or what memory "
                "leaves)",
                request.line,
            )

    def plan(self) -> Mix | None:
        """Who gets a token in the next step, and which pieces of prompts run; None where nothing can."""
        policy = self.policy
        before, loaded = self.preemptions, self.loaded
        self._look()
        self._join()
        alone = not policy.mixed and bool(self.prefilling or self._may_start())
        if not alone and self.decoding:
            self._grow()
        decoding = 0 if alone else len(self.decoding)
        left = 1 << 60 if policy.budget is None else policy.budget - decoding * (1 + policy.speculated)
        pieces = self._pieces(left, before)
        if not pieces and alone:  # nothing of a prompt has room: decode goes on
            self._grow()
            decoding = len(self.decoding)
        prompts, tokens, pairs = len(pieces), 0, 0
        for running, piece in pieces:
            tokens += piece
            pairs += piece * running.computed + piece * (piece + 1) // 2
        if not prompts and not decoding:
            if not self.decoding:  # requests that wait on the host
                ready = self._ready(self.waiting[0]) if self.waiting else self.now  # the host takes them in order
                self.now = max(self.now, ready)
            return None
        each = tokens / prompts if prompts else 0
        keys = pairs / tokens + (each - 1) / 2 if tokens else 0
        mean = self.tokens / decoding if decoding else 0
        longest = self._longest() if decoding else 0
        if prompts:
            self.unseen = policy.looks  # it looks again behind them
        return Mix(decoding, mean, prompts, each, keys, longest, pieces, self.loaded - loaded)

    def finish(self, mix: Mix, seconds: float) -> list[Served]:
        """The step is done: who has its last token."""
        start = self.now
        self.now += seconds
        self.busy += seconds
        self.steps += 1
        held = self.policy.held_back
        if held is not None and mix.decoding:
            self.share = max(held.least, self.share - (held.first - held.least) / held.steps)
        done = self._decoded() if mix.decoding else []
        return done + self._computed(mix.pieces, start)

    def _may_start(self) -> bool:
        waiting = self.waiting
        return bool(waiting) and not waiting[0].sent and self._ready(waiting[0]) <= self.seen

    def _ready(self, waiting: Running) -> float:
        """When the host is done with a request, so that it can start."""
        return waiting.arrival + self.policy.host_seconds(waiting.request.prompt)

    def _look(self) -> None:
        """See who has come: up to now where nothing runs, else up to the step during which this one was prepared.

        After prompts the host looks again at once, else when so many steps of decode have passed.
        """
        policy, began = self.policy, self.began
        if not self.running:
            began.clear()
        began.append(self.now)
        if len(began) > policy.lag + 1:
            began.popleft()
        self.prepared = began[0] if self.running else self.now
        if not self.running:
            self.seen, self.unseen = self.now, 0
        elif self.unseen + 1 >= (policy.looks if self.running + len(self.waiting) >= FEW.value else policy.looks_few):
            self.seen, self.unseen = max(self.seen, self.prepared), 0
        else:
            self.unseen += 1

    def _ticks(self) -> int:
        """Tokens that each decoding request gets in this step."""
        accepted = self.policy.accepted
        return 1 if accepted == 1 else int(self._part + accepted)

    def _grow(self) -> None:
        """Give a block to each decoding request whose next token begins one; others lose theirs where none is free."""
        if self.policy.reserve:
            return
        slots = [(self.place + tick) % self.policy.block for tick in range(self._ticks())]
        while not self.pool.take(sum([self.filling[slot] for slot in slots])):
            self._preempt()

    def _preempt(self) -> None:
        """Take all blocks from the request that started last; it computes its tokens again before all that wait."""
        if self.prefilling:
            last = self.prefilling.pop()
            computed = last.computed
        else:
            _, last = self.decoding.popitem()
            computed = self._cached(last)
            self.tokens -= computed
            self._leaves(last)
            self._settle(last, computed)
            last.target = computed + 1  # the last token that came out has no entry yet
        self._release(last, keep=computed // self.policy.block - last.pinned)
        last.computed = 0
        last.done_at = -1
        self.preemptions += 1
        self.waiting.appendleft(last)
        if self.policy.held_back is not None:
            had = self.outputs - (self.ends - self.place * len(self.decoding))
            more = self.policy.held_back.again * len(self.decoding)
            self.share = min(1.0, (had + more) / (self.outputs + 1))

    def _leaves(self, running: Running) -> None:
        """A request no longer decodes."""
        self.filling[running.joined] -= 1
        self.outputs -= running.request.output
        self.ends -= running.done_at

    def _release(self, running: Running, keep: int = 0) -> None:
        """Free what a request holds; the first `keep` of its own blocks are found again if it comes back."""
        pool = self.pool
        keep = max(0, min(keep, running.own))
        pool.give(running.own - keep)
        pool.copy(own_name(running, running.pinned), keep)
        running.kept = pool.keep((running, running.pinned), keep)
        while running.using:
            pool.leave(running.using.pop())
        running.own = running.pinned = 0

    def _cached(self, running: Running) -> int:
        """Tokens that a decoding request has in the cache."""
        out = running.request.output - (running.done_at - self.place)
        return running.request.prompt + out - 1

    def _longest(self) -> int:
        """Cached tokens of the longest sequence that decodes; 0 where none does."""
        lengths, decoding = self.lengths, self.decoding
        while lengths:
            began, order = lengths[0]
            running = decoding.get(order)
            if running is not None and self._cached(running) == self.place - began:
                return self.place - began
            heappop(lengths)  # it is done, or was preempted
        return 0

    def _settle(self, running: Running, cached: int) -> None:
        """Count the blocks that a decoding request has been given as its own."""
        if not self.policy.reserve:
            running.own = -(-cached // self.policy.block) + self.policy.state_blocks - running.pinned

    def _pieces(self, left: int, before: int) -> list[tuple[Running, int]]:
        """Pieces of prompts that run in this step: first of those that have begun, then of those that wait.

        `before`: preemptions before this step; after one no request starts.
        """
        pieces: list[tuple[Running, int]] = []
        for running in [*self.prefilling]:
            piece = min(left, running.target - running.computed)
            if piece <= 0:
                break
            while not self._room(running, running.computed + piece):
                self._preempt()
                if running not in self.prefilling:
                    break
            if running not in self.prefilling:
                break
            pieces.append((running, piece))
            left -= piece
        policy = self.policy
        now, start = self.running, self.preemptions == before
        while start and left > 0 and self._may_start() and (policy.most is None or now < policy.most):
            running = self.waiting[0]
            piece = self._begin(running, left)
            if not piece:
                break
            self.waiting.popleft()
            self.prefilling.append(running)
            now += 1
            pieces.append((running, piece))
            left -= piece
        if self.waiting and self._may_start():
            full = policy.most is not None and now >= policy.most
            self.held["max_num_seqs" if full else "chunk" if start and left <= 0 else "memory"] += 1
        return pieces

    def _join(self) -> None:
        """Start requests whose prompts have come from elsewhere, as far as they have room."""
        most = self.policy.most
        while self._sent() and (most is None or self.running < most):
            running = self.waiting[0]
            if not self._room(running, running.target):
                break
            self.waiting.popleft()
            running.sent = False
            running.first = self.now
            self._decode(running, running.target)

    def _sent(self) -> bool:
        """Whether the next request's prompt has come from elsewhere, and the host has prepared a step with it."""
        return bool(self.waiting) and self.waiting[0].sent and self.waiting[0].came <= self.prepared

    def _begin(self, running: Running, left: int) -> int:
        """Start a request with the tokens that are still cached: how many tokens of it run; 0 where it has no room."""
        policy, pool, block = self.policy, self.pool, self.policy.block
        hits, using, back, loaded = self._found(running) if pool.caching else (0, [], 0, 0)
        computed = (hits + back + loaded) * block
        piece = min(left, running.target - computed)
        tokens = self._tokens(running, computed + piece)
        enough = running.target if policy.whole_prompts else tokens
        needed = -(-max(tokens, enough) // block) + policy.state_blocks - hits - back
        unused = sum(segment.cached for segment in using if not segment.users) + back
        if pool.free is not None and needed + unused > pool.free:
            return 0
        if pool.free is not None and policy.held_back is not None and self.running:
            wanted = running.target - computed + min(to_come(running), policy.held_back.most) + block
            if wanted >= (pool.free - unused) * block - self._promised(policy.held_back):
                return 0
        for segment in using:
            pool.use(segment)
        running.using, running.pinned = using, hits
        if back and running.kept is not None:
            taken = pool.take_back(running.kept)
            pool.give(taken - back)
            running.own = back
        running.kept = None
        self.loaded += loaded * block
        running.computed = computed
        if running.scheduled < 0:
            running.cached = computed
            self.asked += running.request.prompt
            self.hits += computed
        else:
            self.recomputed += running.target - computed
        self._room(running, computed + piece)
        return piece

    def _promised(self, held: HeldBack) -> float:
        """Tokens of room that are held back: a share of outputs to come, and all of those whose prompts run."""
        block, many = self.policy.block, len(self.decoding)
        decoding = min(self.ends - self.place * many, held.most * many) * self.share
        taken = ((each.own + each.pinned - self.policy.state_blocks) * block for each in self.prefilling)
        starting = (
            max(0, each.target - room) + min(to_come(each), held.most)
            for each, room in zip(self.prefilling, taken, strict=True)
        )
        return decoding + sum(starting)

    def _found(self, running: Running) -> tuple[int, list[Segment], int, int]:
        """Blocks of a request that starts: shared ones, their segments, its own from before, and those on the host."""
        pool, block = self.pool, self.policy.block
        hits, using, back, loaded = 0, [], 0, 0
        most = (running.target - 1) // block  # the last token is always computed
        for name, first, end in spans(running.request, block):
            segment = pool.segments.get(name)
            if segment is None or not segment.cached:
                break
            hits = min(most, first + min(segment.cached, end - first))
            using.append(segment)
            if segment.cached < end - first:
                break
        if running.kept is not None and running.kept.name == (running, hits):  # its own blocks follow those
            back = min(running.kept.cached, most - hits)
        if pool.host_blocks:
            loaded = max(0, self._on_host(running, hits, most) - back)
        return hits, using, back, loaded

    def _on_host(self, running: Running, hits: int, most: int) -> int:
        """Blocks behind `hits` of them that the host has, up to `most` in all: of shared beginnings, or its own."""
        at = hits
        for name, first, end in spans(running.request, self.policy.block):
            if first <= at < end:
                at = max(at, min(most, first + min(end - first, self.pool.on_host(name))))
        return max(at - hits, min(most - hits, self.pool.on_host(own_name(running, hits))))

    def _tokens(self, running: Running, tokens: int) -> int:
        """Tokens that a request needs room for to have so many computed."""
        return running.request.prompt + running.request.output if self.policy.reserve else tokens

    def _room(self, running: Running, tokens: int) -> bool:
        """Take the blocks that a request needs for so many tokens, if they are free."""
        policy = self.policy
        needed = -(-self._tokens(running, tokens) // policy.block) + policy.state_blocks
        needed -= running.own + running.pinned
        if needed > 0:
            if not self.pool.take(needed):
                return False
            running.own += needed
        if running.request.prefix and policy.caching:
            self._share(running, tokens)
        return True

    def _share(self, running: Running, tokens: int) -> None:
        """Let others find the blocks of a shared prefix that this request is about to compute."""
        pool, block = self.pool, self.policy.block
        for place, (name, first, end) in enumerate(spans(running.request, block)):
            full = min(end, tokens // block) - first
            if full <= 0:
                break
            if place < len(running.using):
                segment = running.using[place]
            else:
                segment = pool.shared(name)
                if segment.cached or segment.users:  # others have it: these blocks hold the same once more
                    break
                running.using.append(segment)
                segment.users = 1
            grown = full - segment.cached
            if grown > 0 and running.own >= grown and running.pinned == first + segment.cached:
                segment.cached = full
                pool.copy(name, full)
                running.own -= grown
                running.pinned += grown
            if running.pinned < first + full:
                break

    def _decoded(self) -> list[Served]:
        """Each decoding request has one token more, or several; those that have all are answered."""
        ticks = self._ticks()
        if self.policy.accepted != 1:
            self._part += self.policy.accepted - ticks
        self.place += ticks
        self.tokens += ticks * len(self.decoding)
        done = []
        while self.finishing and self.finishing[0][0] <= self.place:
            at, order = heappop(self.finishing)
            running = self.decoding.get(order)
            if running is None or running.done_at != at:
                continue  # it was preempted meanwhile
            del self.decoding[order]
            cached = running.request.prompt + running.request.output - 1
            self.tokens -= cached + self.place - at
            self._leaves(running)
            self._settle(running, cached + self.place - at)
            self._release(running)
            done.append(self._answered(running))
        return done

    def _computed(self, pieces: list[tuple[Running, int]], start: float) -> list[Served]:
        """Pieces have run: prompts that are complete give a token and decode from now on."""
        done = []
        for running, piece in pieces:
            if running.scheduled < 0:
                running.scheduled = start
            running.computed += piece
            if running.computed < running.target:
                continue
            self.prefilling.remove(running)
            if running.first < 0:
                running.first = self.now
            if running.target == running.request.prompt + running.request.output - 1:
                self._release(running)
                done.append(self._answered(running))
            else:
                self._decode(running, running.target)
        return done

    def _decode(self, running: Running, cached: int) -> None:
        """A request decodes from now on, with so many tokens in the cache."""
        block = self.policy.block
        left = running.request.prompt + running.request.output - 1 - cached  # tokens still to come
        running.done_at = self.place + left
        running.joined = (self.place + (-cached) % block) % block
        self.filling[running.joined] += 1
        self.tokens += cached
        self.outputs += running.request.output
        self.ends += running.done_at
        self.decoding[running.order] = running
        heappush(self.finishing, (running.done_at, running.order))
        heappush(self.lengths, (self.place - cached, running.order))

    def _answered(self, running: Running) -> Served:
        return Served(
            *(running.request, running.arrival, running.scheduled, running.first, self.now),
            *(running.cached, self.number, running.order, self.policy.host_seconds(running.request.prompt)),
        )
