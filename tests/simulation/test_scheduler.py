"""The scheduler: nothing is lost or served twice, and what a plain loop over lists would do comes out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.simulation.cluster import Cluster, Pool, Router, Unit
from llmcost.simulation.policy import HeldBack, NoRoomError, Policy
from llmcost.simulation.scheduler import Scheduler
from llmcost.simulation.traffic import Request


def step_seconds(decoding, context, prompts, tokens, keys, longest=0):
    """Seconds that any step of these sizes takes: a base, and shares of what is in it."""
    decode = 1e-4 * decoding + 1e-7 * decoding * context + 1e-6 * longest
    return 0.01 + decode + 1e-5 * prompts * tokens + 1e-8 * prompts * tokens * keys


def run(requests, policy):
    rank = Scheduler(policy)
    unit = Unit([rank], step_seconds)
    return list(Cluster(Pool([unit], Router([rank]))).served(iter(requests))), rank


class PlainReplica:
    """The same rules on lists, one request, one token and one block at a time, after vLLM's source.

    A block has a number and, when it is full, the tokens from the start of its sequence up to its end. Free blocks are
    taken from the front of a list and given back to its end.
    """

    def __init__(self, policy):
        self.policy, self.now, self.done, self.preemptions, self.hits = policy, 0.0, {}, 0, 0
        self.free = list(range(policy.blocks or 0))
        self.content, self.users = {}, dict.fromkeys(self.free, 0)
        self.share = policy.held_back.first if policy.held_back else 0

    def tokens(self, each):
        """What stands at each place of a request's sequence; prompts with a prefix in common begin alike."""
        request, found = each["r"], []
        for name, tokens in request.prefix:
            found += [(name, place) for place in range(tokens)]
        return found + [(each["n"], place) for place in range(len(found), request.prompt + request.output)]

    def block_of(self, each, place):
        return tuple(self.tokens(each)[: (place + 1) * self.policy.block])

    def cached(self, each):
        """Blocks that hold the beginning of a request, of which the last token is always computed."""
        found = []
        for place in range((each["target"] - 1) // self.policy.block if self.policy.caching else 0):
            block = next((b for b, what in self.content.items() if what == self.block_of(each, place)), None)
            if block is None:
                break
            found.append(block)
        return found

    def room(self, each, tokens, hits=(), whole=0):
        policy = self.policy
        if policy.blocks is None:
            return True
        needed = -(-tokens // policy.block) + policy.state_blocks - len(each["blocks"]) - len(hits)
        enough = -(-max(tokens, whole) // policy.block) + policy.state_blocks - len(each["blocks"]) - len(hits)
        if enough > len(self.free) - sum(block in self.free for block in hits):
            return False
        for block in hits:
            if block in self.free:
                self.free.remove(block)
            self.users[block] += 1
            each["blocks"].append(block)
        for _ in range(needed):
            block = self.free.pop(0)
            self.content.pop(block, None)
            self.users[block] = 1
            each["blocks"].append(block)
        if policy.caching:
            for place in range(tokens // policy.block):
                self.content.setdefault(each["blocks"][place], self.block_of(each, place))
        return True

    def release(self, each):
        for block in reversed(each["blocks"]):
            self.users[block] -= 1
            if not self.users[block]:
                self.free.append(block)
        each["blocks"] = []

    def preempt(self, waiting):
        last = self.running.pop()
        self.release(last)
        last.update(target=last["r"].prompt + last["out"], computed=0)
        waiting.insert(0, last)
        self.preemptions += 1
        if held := self.policy.held_back:
            decoding = [each for each in self.running if each["computed"] >= each["target"]]
            had = sum(each["out"] + held.again for each in decoding)
            self.share = min(1, had / (sum(each["r"].output for each in decoding) + 1))

    def holds_back(self, new, computed, hits):
        """Whether a request would take room that others are promised."""
        held, block = self.policy.held_back, self.policy.block
        if not held or not self.running or self.policy.blocks is None:
            return False

        def to_come(each):
            return min(each["r"].prompt + each["r"].output - each["target"], held.most)

        promised = 0
        for each in self.running:
            if each["computed"] < each["target"]:
                promised += max(0, each["target"] - len(each["blocks"]) * block) + to_come(each)
            else:
                promised += min(each["r"].output - each["out"], held.most) * self.share
        free = len(self.free) - sum(hit in self.free for hit in hits)
        return new["target"] - computed + to_come(new) + block >= free * block - promised

    def serve(self, requests):
        policy, coming = self.policy, list(enumerate(requests))
        self.running, waiting = [], []
        while coming or waiting or self.running:
            if not (waiting or self.running) and coming:
                self.now = max(self.now, coming[0][1].arrival)
                self.share = policy.held_back.first if policy.held_back else 0
            while coming and coming[0][1].arrival <= self.now:
                number, request = coming.pop(0)
                waiting.append(
                    {"n": number, "r": request, "computed": 0, "target": request.prompt, "out": 0, "blocks": []}
                )
            decoding = [each for each in self.running if each["computed"] >= each["target"]]
            before = self.preemptions
            for each in decoding:
                while each in self.running and not self.room(each, each["computed"] + 1):
                    self.preempt(waiting)
            decoding = [each for each in decoding if each in self.running]
            left = math.inf if policy.budget is None else policy.budget - len(decoding)
            pieces = []
            for each in [one for one in self.running if one["computed"] < one["target"]]:
                piece = min(left, each["target"] - each["computed"])
                while piece > 0 and each in self.running and not self.room(each, each["computed"] + piece):
                    self.preempt(waiting)
                if piece <= 0 or each not in self.running:
                    break
                pieces.append((each, piece))
                left -= piece
            start = self.preemptions == before
            while start and waiting and left > 0 and (policy.most is None or len(self.running) < policy.most):
                each = waiting[0]
                hits = self.cached(each)
                computed = len(hits) * policy.block
                piece = min(left, each["target"] - computed)
                if self.holds_back(each, computed, hits):
                    break
                if not self.room(each, computed + piece, hits, each["target"] * policy.whole_prompts):
                    break
                self.hits += 0 if "begun" in each else computed
                each["begun"] = True
                each["computed"] = computed
                self.running.append(waiting.pop(0))
                pieces.append((each, piece))
                left -= piece
            contexts = [each["computed"] for each in decoding]
            mean_context = sum(contexts) / len(contexts) if contexts else 0
            tokens = sum(piece for _, piece in pieces)
            pairs = sum(piece * each["computed"] + piece * (piece + 1) // 2 for each, piece in pieces)
            mean = tokens / len(pieces) if pieces else 0
            keys = pairs / tokens + (mean - 1) / 2 if tokens else 0
            sizes = (len(decoding), mean_context, len(pieces), mean, keys, max(contexts, default=0))
            self.now += step_seconds(*sizes)
            if decoding and (held := policy.held_back):
                self.share = max(held.least, self.share - (held.first - held.least) / held.steps)
            for each in decoding:
                each["computed"] += 1
                each["target"] += 1
                each["out"] += 1
            for each, piece in pieces:
                each["computed"] += piece
                if each["computed"] == each["target"]:
                    each["out"] += 1
                    each.setdefault("first", self.now)
            for each in [one for one in self.running if one["out"] == one["r"].output]:
                self.running.remove(each)
                self.release(each)
                self.done[each["n"]] = (each["first"], self.now)
        return self.done


requests_ = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=25).map(
    lambda rows: [Request(*row, line=n) for n, row in enumerate(sorted(rows))]
)


@settings(deadline=None, max_examples=60)
@given(
    requests_,
    st.sampled_from([None, 20, 64]),
    st.sampled_from([None, 3]),
    st.sampled_from([None, 12, 40]),
    st.booleans(),
)
def test_the_counting_scheduler_does_what_a_plain_loop_over_lists_does(requests, budget, most, blocks, whole):
    policy = Policy(budget, most, blocks, block=16, whole_prompts=whole)
    if most is None and budget is not None:
        policy = policy._replace(most=budget)  # every request that decodes has its token in the budget
    done, scheduler = run(requests, policy)
    plain = PlainReplica(policy)
    plain.serve(requests)
    for each in done:
        assert (each.first, each.last) == pytest.approx(plain.done[each.request.line], abs=1e-9)
    assert len(done) == len(requests)
    assert scheduler.preemptions == plain.preemptions


@settings(deadline=None, max_examples=60)
@given(requests_, st.sampled_from([20, 64]), st.sampled_from([12, 40]), st.sampled_from([0.0, 0.3, 1.0]))
def test_room_is_held_back_for_output_to_come_as_on_lists(requests, budget, blocks, first):
    held = HeldBack(first, first if first == 1 else first * 0.14, 20, 20, 10**6)
    policy = Policy(budget, 20, blocks, block=16, whole_prompts=True, held_back=held)
    done, scheduler = run(requests, policy)
    plain = PlainReplica(policy)
    plain.serve(requests)
    assert scheduler.preemptions == plain.preemptions
    assert len(done) == len(requests)
    for each in done:
        assert (each.first, each.last) == pytest.approx(plain.done[each.request.line], abs=1e-9)


def test_fewer_start_at_first_where_room_is_held_back():
    """Of 20 requests of 16 + 64 tokens in 400: all have room for their prompts, four where outputs are promised."""
    requests = [Request(0.0, 16, 64, line=number) for number in range(20)]
    started = {}
    for name, held in (("all", None), ("held", HeldBack(1.0, 0.14, 600, 20, 4096))):
        scheduler = Scheduler(Policy(1024, 64, 400, block=1, mixed=False, whole_prompts=True, held_back=held))
        for request in requests:
            scheduler.submit(request, 0.0, request.line)
        mix = scheduler.plan()
        started[name] = mix.prompts
    assert started == {
        "all": 20,
        "held": 4,
    }  # 20 · 16 of 400; then 16 + 64 + 1 a request, the fifth would want 81 of 80


def with_prefix(rows):
    return [
        Request(at, prompt, output, number, ((name, shared),) if 0 < shared <= prompt else ())
        for number, (at, prompt, output, name, shared) in enumerate(sorted(rows))
    ]


prefixed = st.lists(
    st.tuples(
        st.floats(0, 2),
        st.integers(1, 90),
        st.integers(1, 60),
        st.sampled_from("ab"),
        st.sampled_from([0, 40]),
    ),
    min_size=1,
    max_size=20,
).map(with_prefix)


@settings(deadline=None, max_examples=60)
@given(prefixed, st.sampled_from([20, 64]), st.sampled_from([12, 40]))
def test_the_prefix_cache_holds_what_single_blocks_with_their_tokens_hold(requests, budget, blocks):
    policy = Policy(budget, 16, blocks, caching=True, whole_prompts=True)
    done, scheduler = run(requests, policy)
    plain = PlainReplica(policy)
    plain.serve(requests)
    assert (scheduler.hits, scheduler.preemptions) == (plain.hits, plain.preemptions)
    assert [each.last for each in sorted(done, key=lambda each: each.order)] == pytest.approx(
        [plain.done[number][1] for number in sorted(plain.done)]
    )


@settings(deadline=None, max_examples=150)
@given(requests_, st.sampled_from([None, 20, 64]), st.sampled_from([None, 12, 40]), st.booleans(), st.booleans())
def test_no_request_is_lost_or_served_twice_and_the_pool_is_whole_again(requests, budget, blocks, mixed, reserve):
    policy = Policy(budget, 16, blocks, mixed=mixed, reserve=reserve)
    done, scheduler = run(requests, policy)
    assert sorted(each.request.line for each in done) == list(range(len(requests)))
    assert scheduler.pool.free == blocks
    assert not scheduler.filling or set(scheduler.filling) == {0}
    assert scheduler.tokens == 0
    assert blocks is None or scheduler.pool.most_used <= blocks
    assert all(each.arrival <= each.scheduled <= each.first <= each.last for each in done)
    assert not reserve or scheduler.preemptions == 0


@settings(deadline=None, max_examples=80)
@given(requests_, st.sampled_from([20, 64]))
def test_prompts_start_in_the_order_in_which_requests_come(requests, budget):
    done, _ = run(requests, Policy(budget, 8, None))
    starts = [each.scheduled for each in sorted(done, key=lambda each: each.request.line)]
    assert starts == sorted(starts)


@settings(deadline=None, max_examples=80)
@given(requests_)
def test_littles_law_holds_over_a_run(requests):
    """Requests in the system, summed over time, are the seconds that all of them stayed."""
    done, _ = run(requests, Policy(64, 8, None))
    events = sorted([(each.arrival, 1) for each in done] + [(each.last, -1) for each in done])
    inside, area, before = 0, 0.0, events[0][0]
    for at, change in events:
        area += inside * (at - before)
        inside, before = inside + change, at
    assert area == pytest.approx(sum(each.latency for each in done))


def test_one_request_takes_its_prompts_steps_and_a_step_a_token():
    (done,), scheduler = run([Request(0.5, 100, 3)], Policy(64, None, None))
    prompt = step_seconds(0, 0, 1, 64, 64) + step_seconds(0, 0, 1, 36, 100)
    assert done.ttft == pytest.approx(prompt)
    assert done.latency == pytest.approx(
        prompt + step_seconds(1, 100, 0, 0, 0, 100) + step_seconds(1, 101, 0, 0, 0, 101)
    )
    assert scheduler.steps == 4


def test_engines_that_do_not_mix_let_decode_wait_for_prompts():
    first, second = Request(0.0, 10, 50), Request(0.1, 400, 2)
    (one, *_), apart = run([first, second], Policy(100, None, None, mixed=False))
    assert one.request == second
    assert apart.steps == 1 + 4 + 49  # a prompt; four pieces of the other, alone; decode, of both together at first


def test_a_request_that_never_has_room_is_refused_with_its_line():
    with pytest.raises(NoRoomError, match=r"a request of 100 tokens in and 100 out takes 13 blocks .* has 12") as wrong:
        run([Request(0.0, 100, 100, line=7)], Policy(64, None, 12))
    assert wrong.value.line == 7


def test_requests_of_a_closed_loop_come_when_others_are_answered():
    requests = [Request(0.0, 10, 5), Request(0.0, 10, 5), Request(None, 10, 5), Request(None, 10, 5)]
    done, _ = run(requests, Policy(64, None, None))
    assert sorted(each.arrival for each in done)[2:] == [done[0].last, done[1].last]


def test_the_host_delays_the_start_of_a_request():
    (alone,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None))
    (late,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None, request_seconds=0.25))
    assert late.ttft == pytest.approx(alone.ttft + 0.25)


def test_a_request_waits_for_steps_that_the_host_has_prepared():
    """Steps of about 10 ms: who comes within the third is in the fourth, or two later; alone it is in the first."""
    long, short = Request(0.0, 10, 50), Request(0.025, 10, 2)
    for lag in (0, 2):
        (early, late), _ = run([long, short], Policy(64, None, None, lag=lag))
        assert late.scheduled == 0
        assert early.scheduled == pytest.approx(0.03 + 0.01 * lag, abs=0.002)
    (alone,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None, lag=2))
    assert alone.scheduled == 0


def test_a_request_waits_for_the_next_look():
    """Looks behind the first prompt, then after 8 steps of decode: who comes in the third is seen after the eighth."""
    first, second = Request(0.0, 10, 50), Request(0.035, 10, 2)
    for looks, seen in ((1, 0.04), (8, 0.09)):
        (early, _), _ = run([first, second], Policy(64, None, None, mixed=False, looks=30, looks_few=looks))
        assert early.scheduled == pytest.approx(seen, abs=0.003)


def test_the_host_cuts_longer_prompts_into_tokens_for_longer():
    policy = Policy(64, None, None, request_seconds=0.25, token_seconds=0.01)
    (alone,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None))
    (late,), _ = run([Request(0.0, 10, 2)], policy)
    assert late.ttft == pytest.approx(alone.ttft + 0.25 + 10 * 0.01)
    assert late.queue == pytest.approx(0)
