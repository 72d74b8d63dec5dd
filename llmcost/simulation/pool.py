"""The blocks of one replica's KV cache: which are free, and what free ones still hold.

As in vLLM (vllm/v1/core/block_pool.py): a freed block goes to the end of a queue and keeps its tokens until it is taken
from the front, the least recently used first. A request that begins with tokens that a block still holds takes that
block and does not compute them. Blocks of one request are freed from its end, so that its last tokens are lost first.

A second level may stand in the host's memory: all that can be found again is copied there as soon as it is computed,
and the least recently used is lost there too. What the GPU has lost comes back from there.

Blocks with the same content are counted together (`Segment`): a prefix that requests share, or what one request had
before it was preempted. As long as one request uses a shared segment, all of its blocks stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Segment:
    """Blocks that hold consecutive tokens, from the first of them on: how many, and how many requests use them now."""

    __slots__ = ("cached", "name", "users")

    def __init__(self, name: Hashable) -> None:
        self.name, self.cached, self.users = name, 0, 0


class Pool:
    """So many blocks (None: without end). `free`: those that no request holds, whatever they contain.

    `host_blocks`: those that the host's memory has room for.
    """

    def __init__(self, blocks: int | None, caching: bool = False, host_blocks: int = 0) -> None:
        self.blocks, self.caching = blocks, caching
        self.free = blocks
        self.most_used = 0
        self.segments: dict[Hashable, Segment] = {}
        self._queue: OrderedDict[Segment | int, int] = OrderedDict()  # free blocks by what they hold; int: nothing
        self._last: int | None = None  # key of the last entry of the queue, where its blocks hold nothing
        self._made = 0
        self.host_blocks, self.hosted_blocks = host_blocks, 0
        self._hosted: OrderedDict[Hashable, int] = OrderedDict()
        if blocks:
            self._append(blocks)

    @property
    def used(self) -> int:
        """Blocks that requests hold."""
        return 0 if self.blocks is None or self.free is None else self.blocks - self.free

    def take(self, blocks: int) -> bool:
        """Take free blocks, least recently used first; False, and none taken, where there are fewer."""
        if self.free is None or blocks == 0:
            return True
        if blocks > self.free:
            return False
        self.free -= blocks
        self.most_used = max(self.most_used, self.used)
        queue = self._queue
        while blocks:
            held, count = next(iter(queue.items()))
            part = min(blocks, count)
            blocks -= part
            if part == count:
                del queue[held]
                if held == self._last:
                    self._last = None
            else:
                queue[held] = count - part
            if held.__class__ is Segment:
                held.cached -= part
                if not held.cached:
                    self.segments.pop(held.name, None)
        return True

    def give(self, blocks: int) -> None:
        """Blocks are free again; what they hold is of no use to anybody."""
        if self.free is not None and blocks:
            self.free += blocks
            self._append(blocks)

    def keep(self, name: Hashable, blocks: int) -> Segment | None:
        """Blocks are free again, and found by this name as long as nobody takes them; None where nothing is kept."""
        if not self.caching or self.free is None or not blocks:
            self.give(blocks)
            return None
        segment = Segment(name)
        segment.cached = blocks
        self.free += blocks
        self._queue[segment] = blocks
        self._last = None
        return segment

    def take_back(self, segment: Segment) -> int:
        """Take what is left of blocks that were kept: how many."""
        assert self.free is not None
        self.free -= segment.cached
        self.most_used = max(self.most_used, self.used)
        self._queue.pop(segment, None)
        return segment.cached

    def use(self, segment: Segment) -> None:
        """One more request uses the blocks of a shared segment, which nobody can take meanwhile."""
        if not segment.users and segment.cached and self.free is not None:
            self.free -= segment.cached
            self.most_used = max(self.most_used, self.used)
            del self._queue[segment]
        segment.users += 1

    def leave(self, segment: Segment) -> None:
        """A request needs a shared segment no longer."""
        segment.users -= 1
        if not segment.users and self.free is not None:
            if segment.cached:
                self.free += segment.cached
                self._queue[segment] = segment.cached
                self._last = None
            else:
                self.segments.pop(segment.name, None)

    def shared(self, name: Hashable) -> Segment:
        """The segment of this name, which is empty where nothing of it is cached."""
        if name not in self.segments:
            self.segments[name] = Segment(name)
        return self.segments[name]

    def copy(self, name: Hashable, blocks: int) -> None:
        """Blocks that are found by this name are on the host from now on, too."""
        if not self.host_blocks or blocks <= self._hosted.get(name, 0):
            return
        self.hosted_blocks += blocks - self._hosted.pop(name, 0)
        self._hosted[name] = blocks
        while self.hosted_blocks > self.host_blocks:
            oldest, held = next(iter(self._hosted.items()))
            part = min(held, self.hosted_blocks - self.host_blocks)
            self.hosted_blocks -= part
            if part == held:
                del self._hosted[oldest]
            else:
                self._hosted[oldest] = held - part

    def on_host(self, name: Hashable) -> int:
        """Blocks of this name that the host has; they are used now."""
        held = self._hosted.get(name, 0)
        if held:
            self._hosted.move_to_end(name)
        return held

    def _append(self, blocks: int) -> None:
        if self._last is None:
            self._made += 1
            self._last = self._made
            self._queue[self._last] = 0
        self._queue[self._last] += blocks
