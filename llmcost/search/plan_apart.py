"""Planning to serve with prompts apart from decode: the layouts of both pools, and how the GPUs are split.

Every layout of replicas that run prompts meets every layout of those that decode, with each number of requests on a
rank that decodes. To these belongs the split with the most replicas that decode of which prompts can be computed for
all; what is left of the GPUs runs prompts. Figures are those of serving/apart.py, on arrays.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmcost.ground.algebra import Number, maximum
from llmcost.parallel.layout import Layout
from llmcost.search.serving_layouts import (
    ServingCandidate,
    ServingQuestion,
    candidate_of,
    links_within,
    placed,
    shares_drawn,
)
from llmcost.search.space import Column
from llmcost.serving.apart import Apart, Decoding, Prompts, prompt_pool, sending
from llmcost.serving.room import held, request_bytes, room, steps_of_decode
from llmcost.serving.server import machine_of, speculation_of

OCTAVES, PER_OCTAVE = 12, 16  # requests of a rank: 4,096 at most, so many numbers between one and its double


class OfPrompts(NamedTuple):
    """Layouts that run prompts, of which none is both slower for one prompt and slower for many a GPU than another.

    `pool`: arrays with a figure a layout.
    """

    layouts: list[Layout]
    pool: Prompts


class OfDecode(NamedTuple):
    """Layouts that decode, with figures in arrays of (layouts, numbers of requests a rank).

    seconds: of all steps of a request. room: requests of a rank. fits: whether that many have room, and may run.
    reading: seconds in which a GPU reads once what it holds.
    """

    layouts: list[Layout]
    seconds: Column
    room: Column
    fits: NDArray[np.bool_]
    reading: Column


def plan_apart(question: ServingQuestion, layouts: list[Layout]) -> list[ServingCandidate]:
    """The best split for every pair of layouts that keeps every limit, with the most tokens a second.

    Raises InputError where a figure of the GPU is not known.
    """
    numbers = np.unique(np.round(2 ** np.linspace(0, OCTAVES, PER_OCTAVE * OCTAVES + 1)))
    groups = [group for several in (False, True) if (group := [a for a in layouts if (a.gpus() > 1) is several])]
    decoding = [_of_decode(question, group, numbers) for group in groups]
    found: list[ServingCandidate] = []
    for prompts, decode in product(_fastest([_of_prompts(question, group) for group in groups]), decoding):
        for place, layout in enumerate(prompts.layouts):
            pool = Prompts(*[float(np.ravel(each)[place]) for each in prompts.pool])
            found += _best(question, layout, pool, decode, numbers)
    return found


def _of_prompts(question: ServingQuestion, group: list[Layout]) -> OfPrompts:
    """Layouts that have room to run prompts, and how fast they are."""
    server, w, memory = placed(question, group, np.ones((len(group), 1)))
    pool = prompt_pool(server, w)
    assert pool is not None
    fits = np.broadcast_to(np.asarray(memory.fits), (len(group), 1))[:, 0].astype(bool)
    each = [np.broadcast_to(np.asarray(figure, float), (len(group), 1))[fits, 0] for figure in pool]
    return OfPrompts([layout for layout, good in zip(group, fits, strict=True) if good], Prompts(*each))


def _fastest(groups: list[OfPrompts]) -> list[OfPrompts]:
    """The groups without layouts that another one beats, or equals with fewer GPUs, by one prompt and by many."""
    costs = [
        [
            (float(alone), layout.gpus() * float(each) / layout.dp, layout.gpus())
            for layout, alone, each in zip(group.layouts, group.pool.alone, group.pool.each, strict=True)
        ]
        for group in groups
    ]
    every = [cost for of_group in costs for cost in of_group]

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in every)

    kept = []
    for group, own in zip(groups, costs, strict=True):
        at = [place for place, cost in enumerate(own) if not beaten(cost)]
        kept.append(OfPrompts([group.layouts[place] for place in at], Prompts(*[each[at] for each in group.pool])))
    return kept


def _of_decode(question: ServingQuestion, group: list[Layout], numbers: Column) -> OfDecode:
    """Layouts that decode so many requests a rank."""
    share = np.tile(numbers, (len(group), 1))
    server, w, memory = placed(question, group, share)
    guess = speculation_of(question.hardware, w)
    of_mean_length = request_bytes(server, w.prompt + w.output / 2, w.prompt, guess)
    have_room = np.broadcast_to(
        np.asarray(room(server, w, memory, guess, of_mean_length).beside_activations, float), share.shape
    )
    seconds = Decoding(server._replace(filled=1), w, guess).seconds(share)
    fits = np.broadcast_to(np.asarray(memory.fits, bool), share.shape) & (share <= have_room)
    if w.max_num_seqs is not None:
        fits &= share <= w.max_num_seqs
    cache = held(server, w, guess, share, of_mean_length)
    reading = np.broadcast_to((memory.weights_bytes + cache) / server.chip.bandwidth, share.shape)
    return OfDecode(group, np.broadcast_to(seconds, share.shape), have_room, fits, reading)


def _best(
    question: ServingQuestion, layout: Layout, pool: Prompts, decode: OfDecode, numbers: Column
) -> list[ServingCandidate]:
    """With this layout for prompts, the best split and number of requests of each layout that decodes."""
    gpus, w = question.gpus, question.workload
    guess = speculation_of(question.hardware, w)
    steps = steps_of_decode(w, guess)
    own = np.array([each.gpus() for each in decode.layouts], float)[:, None]
    ranks = np.array([each.dp for each in decode.layouts], float)[:, None]
    of_one = ranks * numbers / decode.seconds  # requests a second of a replica
    prompts_of_one = pool.ranks / pool.each
    replicas = np.clip(
        np.floor(gpus / (own + of_one / prompts_of_one * layout.gpus())),
        1,
        np.maximum(0, (gpus - layout.gpus()) // own),
    )  # that decode
    first = np.floor((gpus - replicas * own) / layout.gpus())
    per_s = replicas * of_one
    good = decode.fits & (replicas >= 1) & (first >= 1) & (per_s <= first * prompts_of_one)
    first = np.maximum(1, first)
    ttft, latency = _times(question, layout, pool._replace(ranks=first * layout.dp), decode, per_s)
    tpot = decode.seconds / steps / guess.accepted
    for limit, figure in ((question.ttft, ttft), (question.tpot, tpot)):
        good &= True if limit is None else figure <= limit
    rated = np.where(good, per_s, -1.0)
    used, lengths = replicas * own + first * layout.gpus(), w.prompt + w.output  # GPUs; tokens of a request
    places = np.argmax(rated, axis=1)
    found = []
    for row, place in enumerate(places):
        at = (row, place)
        if rated[at] < 0:
            continue
        here = decode.layouts[row]
        found.append(
            candidate_of(
                question,
                here,
                concurrency=max(1, round(float(per_s[at] * latency[at]))),
                replicas=int(replicas[at]),
                tokens_per_s=float(per_s[at]) * w.output,
                ttft=float(ttft[at]),
                tpot=float(tpot[at]),
                room=int(decode.room[at] * here.dp),
                bound=_bound(question, decode, numbers, (row, int(place)), ttft, tpot),
                prompts=layout,
                prompt_gpus=int(first[at]) * layout.gpus(),
                power_share=shares_drawn(question, decode.reading[at], tpot[at], float(per_s[at]) * lengths / used[at]),
            )
        )
    return found


def _times(
    question: ServingQuestion, layout: Layout, pool: Prompts, decode: OfDecode, per_s: Column
) -> tuple[Column, Column]:
    """TTFT and latency, where so many requests a second are answered."""
    server, wp, _ = placed(question, [layout], np.ones((1, 1)))
    _, chip, _ = machine_of(question.hardware, wp)
    links = links_within(chip.links, question.gpus, int(question.workload.gpus_per_node))
    server = server._replace(chip=chip._replace(links=links))  # with those to the other pool
    tp, pp = (np.array([getattr(each, axis) for each in decode.layouts], float)[:, None] for axis in ("tp", "pp"))
    w = question.workload
    send = sending(server, wp, w._replace(tp=tp, pp=pp), w.layerwise, question.gpus <= w.gpus_per_node)
    guess = speculation_of(question.hardware, w)
    sent = np.asarray(send(w.prompt))
    step = decode.seconds / steps_of_decode(w, guess)
    ttft: Number = 0
    for _ in range(2):  # the requests in flight follow from the latency, and the wait for a prompt from them
        asked = w._replace(concurrency=maximum(1, per_s * (ttft + decode.seconds)), rate=None)
        ttft = Apart(pool, Decoding(server, asked, guess), sent).first_token_seconds(per_s, step)
    return ttft, ttft + (w.output - 1) * step / guess.accepted


def _bound(
    question: ServingQuestion, decode: OfDecode, numbers: Column, at: tuple[int, int], ttft: Column, tpot: Column
) -> str:
    """What keeps the next number of requests from being as good: a limit, or that prompts take more of the GPUs."""
    after = (at[0], at[1] + 1)
    if after[1] == len(numbers):
        return "requests"
    if not decode.fits[after]:
        return "memory" if numbers[after[1]] > decode.room[after] else "max_num_seqs"
    for name, limit, figure in (("tpot", question.tpot, tpot), ("ttft", question.ttft, ttft)):
        if limit is not None and figure[after] > limit:
            return name
    return "split"
