"""Replicas side by side: nothing is lost, routers keep to their rules, ranks that share experts wait for each other."""

import itertools
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.simulation.cluster import ROUTERS, Cluster, Pool, Router, Unit
from llmcost.simulation.policy import Policy
from llmcost.simulation.scheduler import Scheduler
from llmcost.simulation.traffic import Request


def step_seconds(decoding, context, prompts, tokens, keys, longest=0, filled=1):
    """Seconds that a step of these sizes takes; experts' part grows with the tokens of all ranks."""
    load = decoding + prompts * tokens
    return (
        0.01 + 1e-5 * load + 1e-5 * load * filled + 1e-8 * decoding * context + 1e-8 * longest + 1e-9 * prompts * keys
    )


def pool(ranks, policy, router=ROUTERS[1], together=1, numbers=None):
    numbers = numbers or count()
    replicas = [Scheduler(policy, next(numbers)) for _ in range(ranks)]
    units = [Unit(replicas[at : at + together], step_seconds) for at in range(0, ranks, together)]
    return Pool(units, Router(replicas, router))


def serve(cluster, requests):
    return list(cluster.served(iter(requests)))


requests_ = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=25).map(
    lambda rows: [Request(*row, line=n) for n, row in enumerate(sorted(rows))]
)


@settings(deadline=None, max_examples=60)
@given(requests_, st.sampled_from(ROUTERS), st.sampled_from([1, 2, 4]), st.sampled_from([1.0, 2.5]), st.booleans())
def test_no_request_is_lost_and_every_pool_is_whole_again(requests, router, together, accepted, caching):
    policy = Policy(64, 8, 20, caching=caching, speculated=3 if accepted > 1 else 0, accepted=accepted)
    cluster = Cluster(pool(4, policy, router, together))
    done = serve(cluster, requests)
    assert sorted(each.request.line for each in done) == list(range(len(requests)))
    assert all(each.arrival <= each.scheduled <= each.first <= each.last for each in done)
    for rank in cluster.replicas():
        assert rank.pool.free == 20
        assert rank.pool.most_used <= 20
        assert (rank.tokens, set(rank.filling)) == (0, {0})


@settings(deadline=None, max_examples=60)
@given(requests_, st.sampled_from([12, 40]))
def test_prefill_and_decode_apart_lose_nothing_and_send_what_has_more_than_a_token(requests, blocks):
    numbers, sent = count(), []

    def transfer(tokens):
        sent.append(tokens)
        return 0.25

    policy = Policy(64, 8, blocks, caching=True)
    cluster = Cluster(pool(2, policy, numbers=numbers), pool(2, policy, numbers=numbers), transfer)
    done = serve(cluster, requests)
    assert sorted(each.request.line for each in done) == list(range(len(requests)))
    assert sorted(sent) == sorted(each.prompt for each in requests if each.output > 1)
    for each in done:
        alone = step_seconds(0, 0, 1, min(64, each.request.prompt), 0)  # one piece at least
        assert each.first >= each.arrival + alone + (0.25 if each.request.output > 1 else 0)
        assert each.replica in ((2, 3) if each.request.output > 1 else (0, 1))
    assert all(rank.pool.free == blocks for rank in cluster.replicas())


def test_a_request_alone_costs_its_prompt_its_transfer_and_its_steps_where_they_run_apart():
    numbers = count()
    policy = Policy(64, None, None)
    cluster = Cluster(pool(1, policy, numbers=numbers), pool(1, policy, numbers=numbers), lambda tokens: tokens / 100)
    (done,) = serve(cluster, [Request(0.0, 50, 3)])
    assert done.ttft == pytest.approx(step_seconds(0, 0, 1, 50, 50) + 0.5)
    assert done.latency == pytest.approx(
        done.ttft + step_seconds(1, 50, 0, 0, 0, 50) + step_seconds(1, 51, 0, 0, 0, 51)
    )


def test_ranks_that_share_experts_step_together_and_wait_for_the_fullest():
    alone = serve(Cluster(pool(1, Policy(64, None, None))), [Request(0.0, 60, 2)])
    together = serve(Cluster(pool(2, Policy(64, None, None), "round-robin", 2)), [Request(0, 60, 2), Request(0, 5, 2)])
    filled = (60 + 5) / 2 / 60
    assert alone[0].ttft == pytest.approx(step_seconds(0, 0, 1, 60, 60))
    assert [each.ttft for each in together] == 2 * [pytest.approx(step_seconds(0, 0, 1, 60, 60, 0, filled))]


def test_round_robin_takes_turns_and_least_loaded_avoids_the_busy_replica():
    requests = [Request(0.0, 10, 500), *[Request(1.0 + n, 10, 2) for n in range(4)]]
    by_turns = serve(Cluster(pool(2, Policy(64, None, None), "round-robin")), requests)
    assert [each.replica for each in sorted(by_turns, key=lambda each: each.order)] == [0, 1, 0, 1, 0]
    by_load = serve(Cluster(pool(2, Policy(64, None, None), "least-loaded")), requests)
    assert [each.replica for each in sorted(by_load, key=lambda each: each.order)] == [0, 1, 1, 1, 1]


def test_the_prefix_aware_router_sends_a_known_beginning_to_where_it_is_cached():
    def asked(at, name):
        return Request(at, 100, 2, 0, ((name, 96),))

    requests = [asked(0.0, "a"), asked(0.0, "b"), *[asked(2.0 + n, "ab"[n % 3 == 0]) for n in range(6)]]
    policy = Policy(128, None, 100, caching=True)
    hits = {}
    for router in ROUTERS:
        cluster = Cluster(pool(2, policy, router))
        done = serve(cluster, requests)
        hits[router] = sum(each.cached for each in done)
    assert hits["prefix-aware"] == 6 * 96  # all but the first of each
    assert hits["round-robin"] < hits["prefix-aware"]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_a_bigger_pool_is_no_slower_on_average(seed):
    import random

    drawn = random.Random(seed)
    requests = [Request(0.0, drawn.randint(1, 90), drawn.randint(1, 60), n) for n in range(60)]
    means = []
    for blocks in (12, 24, 400):
        done = serve(Cluster(pool(1, Policy(64, 32, blocks, caching=True))), requests)
        means.append(sum(each.latency for each in done) / len(done))
    assert means[0] >= 0.98 * means[1] >= 0.96 * means[2]  # single runs may turn by a step


def test_speculation_gives_the_tokens_that_are_accepted_on_average():
    plain = serve(Cluster(pool(1, Policy(64, None, None))), [Request(0.0, 10, 1001)])
    cluster = Cluster(pool(1, Policy(64, None, None, speculated=3, accepted=2.5)))
    (fast,) = serve(cluster, [Request(0.0, 10, 1001)])
    assert cluster.replicas()[0].steps == 1 + 400  # a prompt, and 1,000 tokens at 2.5 a step
    assert fast.last < plain[0].last


def test_a_shared_beginning_is_computed_once():
    requests = [Request(0.0, 100, 2, 0, (("a", 64),)), Request(5.0, 100, 2, 0, (("a", 64),))]
    first, second = serve(Cluster(pool(1, Policy(None, None, 50, caching=True))), requests)
    assert (first.cached, second.cached) == (0, 64)
    assert second.ttft == pytest.approx(step_seconds(0, 0, 1, 36, 100))


def test_what_was_least_recently_used_is_lost_first():
    def asked(at, name):
        return Request(at, 64, 1, 0, ((name, 64),))

    policy = Policy(None, None, 8, caching=True)  # room for two beginnings
    done = serve(Cluster(pool(1, policy)), [asked(n, name) for n, name in enumerate("abacab")])
    assert [each.cached for each in done] == [0, 0, 48, 0, 48, 0]  # the last block's last token is computed again


def test_what_the_gpu_has_lost_comes_back_from_the_host_in_the_time_of_its_link():
    def asked(at, name):
        return Request(at, 64, 1, 0, ((name, 64),))

    policy = Policy(None, None, 8, caching=True, host_blocks=12, load_seconds=0.001)  # room for three beginnings
    cluster = Cluster(pool(1, policy))
    done = serve(cluster, [asked(n, name) for n, name in enumerate("abcabcd")])
    assert [each.cached for each in done] == [0, 0, 0, 48, 48, 48, 0]
    assert cluster.replicas()[0].loaded == 3 * 48
    assert done[3].ttft == pytest.approx(step_seconds(0, 0, 1, 16, 64) + 48 * 0.001)
    assert cluster.replicas()[0].pool.hosted_blocks == 12


@settings(deadline=None, max_examples=60)
@given(requests_, st.integers(0, 30), st.booleans())
def test_with_a_host_nothing_is_lost_and_it_never_holds_more_than_it_may(requests, host_blocks, shared):
    names = itertools.cycle("ab")
    if shared:
        requests = [each._replace(prefix=((next(names), each.prompt // 2),)) for each in requests]
    cluster = Cluster(pool(2, Policy(64, 8, 20, caching=True, host_blocks=host_blocks, load_seconds=1e-4)))
    done = serve(cluster, requests)
    assert sorted(each.request.line for each in done) == list(range(len(requests)))
    for rank in cluster.replicas():
        assert rank.pool.free == 20
        assert 0 <= rank.pool.hosted_blocks <= host_blocks


def test_the_next_step_is_that_of_the_unit_that_is_least_far_of_equal_ones_the_first():
    """Steps of 1 and 3 seconds: at 3 both begin one, and the first unit comes first."""
    order = []
    units = [Unit([Scheduler(Policy(None, None, None), number)], lambda *_, t=t: t) for number, t in enumerate((1, 3))]
    for unit in units:
        unit.record = lambda rank, _mix, _seconds: order.append((rank.number, rank.now))
    cluster = Cluster(Pool(units, Router([unit.ranks[0] for unit in units])))
    assert len(list(cluster.served(iter([Request(0.0, 8, 4), Request(0.0, 8, 2)])))) == 2
    assert order == [(0, 0.0), (1, 0.0), (0, 1.0), (0, 2.0), (0, 3.0), (1, 3.0)]


def test_a_router_takes_the_idle_one_that_follows_and_else_the_least_loaded():
    ranks = [Scheduler(Policy(None, None, None), number) for number in range(3)]
    router = Router(ranks, "least-loaded")
    chosen = []
    for order in range(4):
        rank = router.choose(Request(0.0, 8, 4))
        rank.submit(Request(0.0, 8, 4), 0.0, order)
        chosen.append(rank.number)
    assert chosen == [0, 1, 2, 0]  # all idle in turn, then equally loaded: the turn decides
    assert min([*ranks[1:], *ranks[:1]], key=Scheduler.load) is router.choose(Request(0.0, 8, 4))
