"""What an engine's scheduler keeps to, and what it knows of requests: while they wait, in a step, and at their end."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.errors import InputError
from llmcost.simulation.pool import Segment
from llmcost.simulation.traffic import Request


class HeldBack(NamedTuple):
    """Room that a request which starts leaves to those that run, for a share of their output to come.

    The share begins at `first`, where nothing ran before, and falls to `least` within so many `steps` of decode. After
    a preemption it is what those that still run have had of their output, with `again` tokens more each. `most`: tokens
    of one request's output that count. The request's own output counts whole when it starts. SGLang's new_token_ratio
    (managers/schedule_policy.py, PrefillAdder; schedule_batch.py, retract_decode).
    """

    first: float
    least: float
    steps: float
    again: float
    most: float


class Policy(NamedTuple):
    """What an engine's scheduler keeps to.

    budget: tokens of a step, of prompts and decode (None: no bound). most: requests that run at a time.
    blocks: of the cache, None: without end; block: tokens of one; state_blocks: what a request takes besides, at any
    length. mixed: prompts run in the same step as decode. reserve: a request starts only if all its output has room.
    whole_prompts: a request starts only if all its prompt has room, not just the first piece.
    request_seconds: on the host before a request can start, token_seconds: besides, for each token of its prompt.
    lag: steps of others that pass before a request starts, as the host works ahead of the GPUs.
    looks: steps of decode from one look at new requests to the next, looks_few: the same with fewer than FEW requests.
    caching: free blocks are found by what they hold.
    host_blocks: of a second level in the host's memory; load_seconds: in which a token comes back from there.
    speculated: tokens that each decoding request has verified in a step beside its next one; accepted: tokens that it
    gets in a step on average, 1 without speculation. held_back: room for output to come that a new request leaves.
    """

    budget: int | None
    most: int | None
    blocks: int | None
    block: int = 16
    state_blocks: int = 0
    mixed: bool = True
    reserve: bool = False
    whole_prompts: bool = False
    request_seconds: float = 0.0
    token_seconds: float = 0.0
    lag: int = 0
    looks: int = 1
    looks_few: int = 1
    caching: bool = False
    speculated: int = 0
    accepted: float = 1.0
    host_blocks: int = 0
    load_seconds: float = 0.0
    held_back: HeldBack | None = None

    def host_seconds(self, prompt: float) -> float:
        """Seconds on the engine's host before a request of so many tokens can start."""
        return self.request_seconds + self.token_seconds * prompt


class Served(NamedTuple):
    """When one request arrived, was first scheduled, had its first and its last token; seconds.

    `host`: what the engine's host took before it could start.
    `cached`: tokens of its prompt that were in the prefix cache. `replica`: which one decoded it.
    """

    request: Request
    arrival: float
    scheduled: float
    first: float
    last: float
    cached: int = 0
    replica: int = 0
    order: int = 0  # of arrival
    host: float = 0.0

    @property
    def queue(self) -> float:
        """Seconds that it could have started and did not; what rounding leaves below 0 is none."""
        return max(0.0, self.scheduled - (self.arrival + self.host))

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


class Mix(NamedTuple):
    """What runs in one step: arguments of a step's time, the pieces of prompts, and tokens that come from the host.

    `longest`: cached tokens of the longest sequence that decodes.
    """

    decoding: int
    context: float
    prompts: int
    tokens: float
    keys: float
    longest: int
    pieces: list[tuple[Running, int]]
    loaded: int = 0

    def load(self) -> float:
        """Tokens that the step computes."""
        return self.decoding + self.prompts * self.tokens


class NoRoomError(InputError):
    """A request that has no room even alone; `line`: of its trace, 0 where it is drawn."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class Running:
    """A request that waits or runs, and what it holds."""

    __slots__ = (
        "arrival",
        "cached",
        "came",
        "computed",
        "done_at",
        "first",
        "joined",
        "kept",
        "order",
        "own",
        "pinned",
        "request",
        "scheduled",
        "sent",
        "target",
        "using",
    )

    def __init__(self, request: Request, arrival: float, order: int) -> None:
        self.request, self.arrival, self.order = request, arrival, order
        self.target = request.prompt  # tokens to compute before the next one comes out
        self.computed = self.own = self.pinned = self.cached = 0  # own and pinned: blocks
        self.using: list[Segment] = []  # shared segments
        self.kept: Segment | None = None  # of its own blocks, when it was preempted
        self.scheduled = self.first = -1.0
        self.done_at = self.joined = -1  # places of decode
        self.came = arrival  # at this replica
        self.sent = False  # its prompt was computed elsewhere


def to_come(running: Running) -> int:
    """Tokens of output that a request still has to come when its prompt is computed, or computed again."""
    return running.request.prompt + running.request.output - running.target


def own_name(running: Running, pinned: int) -> tuple[str, int, int]:
    """What the host knows a request's own blocks by, which stand behind so many shared ones."""
    return "request", running.order, pinned


def spans(request: Request, block: int) -> list[tuple[object, int, int]]:
    """The shared beginning of a prompt: the name of each part, its first block and the block behind it."""
    spans, at = [], 0
    for name, tokens in request.prefix:
        first, at = at // block, at + tokens
        if at // block > first:
            spans.append((name, first, at // block))
    return spans
