"""The scheduler: nothing is lost or served twice, and what a plain loop over lists would do comes out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.simulate.scheduler import Policy, Scheduler
from llmcost.simulate.traffic import Request


def step_seconds(decoding, context, prompts, tokens, keys):
    """Seconds that any step of these sizes takes: a base, and shares of what is in it."""
    return 0.01 + 1e-4 * decoding + 1e-7 * decoding * context + 1e-5 * prompts * tokens + 1e-8 * prompts * tokens * keys


def run(requests, policy):
    scheduler = Scheduler(step_seconds, policy)
    return list(scheduler.served(iter(requests))), scheduler


class PlainReplica:
    """The same rules on lists, one request and one token at a time: what the scheduler is checked against."""

    def __init__(self, policy):
        self.policy, self.now, self.done = policy, 0.0, {}

    def held(self):
        return sum(each["blocks"] for each in self.running)

    def room(self, each, tokens):
        policy = self.policy
        if policy.blocks is None:
            return True
        needed = -(-tokens // policy.block) + policy.state_blocks
        if self.held() - each["blocks"] + needed > policy.blocks:
            return False
        each["blocks"] = max(each["blocks"], needed)
        return True

    def serve(self, requests):
        policy, coming = self.policy, list(enumerate(requests))
        self.running, waiting = [], []
        while coming or waiting or self.running:
            if not (waiting or self.running) and coming:
                self.now = max(self.now, coming[0][1].arrival)
            while coming and coming[0][1].arrival <= self.now:
                number, request = coming.pop(0)
                waiting.append(
                    {"n": number, "r": request, "computed": 0, "target": request.prompt, "out": 0, "blocks": 0}
                )
            decoding = [each for each in self.running if each["computed"] >= each["target"]]
            for each in decoding:
                while each in self.running and not self.room(each, each["computed"] + 1):
                    last = max(self.running, key=lambda one: one["n"])
                    self.running.remove(last)
                    last.update(target=last["r"].prompt + last["out"], computed=0, blocks=0)
                    waiting.insert(0, last)
            decoding = [each for each in decoding if each in self.running]
            left = math.inf if policy.budget is None else policy.budget - len(decoding)
            pieces = []
            for each in [one for one in self.running if one["computed"] < one["target"]]:
                piece = min(left, each["target"] - each["computed"])
                if piece <= 0 or not self.room(each, each["computed"] + piece):
                    break
                pieces.append((each, piece))
                left -= piece
            while waiting and left > 0 and (policy.most is None or len(self.running) < policy.most):
                each = waiting[0]
                piece = min(left, each["target"])
                if not self.room(each, piece):
                    break
                self.running.append(waiting.pop(0))
                pieces.append((each, piece))
                left -= piece
            context = sum(each["computed"] for each in decoding)
            tokens = sum(piece for _, piece in pieces)
            pairs = sum(piece * each["computed"] + piece * (piece + 1) // 2 for each, piece in pieces)
            mean = tokens / len(pieces) if pieces else 0
            keys = pairs / tokens + (mean - 1) / 2 if tokens else 0
            self.now += step_seconds(len(decoding), context / len(decoding) if decoding else 0, len(pieces), mean, keys)
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
                self.done[each["n"]] = (each["first"], self.now)
        return self.done


requests_ = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=25).map(
    lambda rows: [Request(*row, line=n) for n, row in enumerate(sorted(rows))]
)


@settings(deadline=None, max_examples=150)
@given(requests_, st.sampled_from([None, 20, 64]), st.sampled_from([None, 3]), st.sampled_from([None, 12, 40]))
def test_the_counting_scheduler_does_what_a_plain_loop_over_lists_does(requests, budget, most, blocks):
    policy = Policy(budget, most, blocks, block=16)
    if most is None and budget is not None:
        policy = policy._replace(most=budget)  # every request that decodes has its token in the budget
    done, scheduler = run(requests, policy)
    plain = PlainReplica(policy).serve(requests)
    assert len(done) == len(requests) == len(plain)
    if scheduler.preemptions == 0:
        for each in done:
            assert (each.first, each.last) == pytest.approx(plain[each.request.line], abs=1e-9)
    else:  # who is preempted may differ where several need a block in one step; what is done must not
        assert scheduler.now == pytest.approx(max(last for _, last in plain.values()), rel=0.5)


@settings(deadline=None, max_examples=150)
@given(requests_, st.sampled_from([None, 20, 64]), st.sampled_from([None, 12, 40]), st.booleans(), st.booleans())
def test_no_request_is_lost_or_served_twice_and_the_pool_is_whole_again(requests, budget, blocks, mixed, reserve):
    policy = Policy(budget, 16, blocks, mixed=mixed, reserve=reserve)
    done, scheduler = run(requests, policy)
    assert sorted(each.request.line for each in done) == list(range(len(requests)))
    assert scheduler.free == blocks
    assert not scheduler.filling or set(scheduler.filling) == {0}
    assert scheduler.tokens == 0
    assert blocks is None or scheduler.most_blocks <= blocks
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
    assert done.latency == pytest.approx(prompt + step_seconds(1, 100, 0, 0, 0) + step_seconds(1, 101, 0, 0, 0))
    assert scheduler.step == 4


def test_engines_that_do_not_mix_let_decode_wait_for_prompts():
    first, second = Request(0.0, 10, 50), Request(0.1, 400, 2)
    (one, *_), apart = run([first, second], Policy(100, None, None, mixed=False))
    assert one.request == second
    assert apart.step == 1 + 4 + 49  # a prompt; four pieces of the other, alone; decode, of both together at first


def test_a_request_that_never_has_room_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"line 7: a request of 100 tokens in and 100 out takes 13 blocks .* has 12"):
        run([Request(0.0, 100, 100, line=7)], Policy(64, None, 12))


def test_requests_of_a_closed_loop_come_when_others_are_answered():
    requests = [Request(0.0, 10, 5), Request(0.0, 10, 5), Request(None, 10, 5), Request(None, 10, 5)]
    done, _ = run(requests, Policy(64, None, None))
    assert sorted(each.arrival for each in done)[2:] == [done[0].last, done[1].last]


def test_the_host_delays_the_start_of_a_request():
    (alone,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None))
    (late,), _ = run([Request(0.0, 10, 2)], Policy(64, None, None, request_seconds=0.25))
    assert late.ttft == pytest.approx(alone.ttft + 0.25)
