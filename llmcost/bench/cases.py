"""An operator in, its time out: every way to run it is checked, and the fastest right one is timed and named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from llmcost.bench.device import HARD, Device
from llmcost.bench.kernels import Index, KernelCase, Operands, Tensor, UnsupportedError, Way, kind_of
from llmcost.bench.timers import Call, Clock, Timing, soak
from llmcost.model.sizes import computed_in

TOLERANCE = {"fp32": 2e-3, "fp16": 4e-3, "bf16": 2e-2, "fp8": 4e-2}  # relative error; fp32 may be computed as tf32
ROTATION = 5  # times the L2 cache: the least size of all cold operands of one round of calls together
MOST_SETS = 256  # of cold operands
HOPELESS = 2.5  # times the fastest so far: a way whose single call takes longer is timed no further,
ROUGH_SECONDS = 5e-4  # unless the call takes so little that most of it may be the launch
HEAVY = 64  # FLOPs a byte from which on a kernel may draw more power than the chip is allowed
REASON = 160  # letters of why a way did not run
HEAVY_SOAK = 0.15  # seconds of such work before a heavy kernel is timed, so that clocks settle
Cold = tuple[Tensor, ...]


class WrongAnswerError(Exception):
    """A way to run an operator, or every way, gave another answer than float32 arithmetic does."""


class TooLargeError(Exception):
    """The operands do not fit into the memory that is free."""


class Measured(NamedTuple):
    """The fastest way and its time, what the others took (seconds) or why they were not timed, and the cache."""

    way: str
    timing: Timing
    others: dict[str, float | str]
    cache: str


class Bench(NamedTuple):
    """What measuring needs: the machine and its clock.

    In a `quick` run, ways that have to be compiled first are tried only where no other way works.
    """

    device: Device
    clock: Clock
    quick: bool = False

    def measure(self, case: KernelCase, *, spaced: bool = False) -> Measured:
        """Time the fastest right way to run a case; `spaced`: with a pause between calls.

        Raises UnsupportedError, TooLargeError, WrongAnswerError, torch's out of memory.
        """
        kind = kind_of(case.op)
        self._refuse_size(case)
        given = kind.operands(case.op, case.dtype, self.device)
        ways = kind.ways(case, self.device)
        heavy = case.op.flops(causal=True) > HEAVY * case.op.moved_bytes()
        if heavy and self.device.graphs:
            soak(self.device, HEAVY_SOAK)
        colds = rotated(given, self._sets(given))
        trials, others = self._tried(case, ways, given, colds)
        if not trials:
            raise _verdict(others)
        best = min(trials, key=trials.__getitem__)
        others.update((name, seconds) for name, seconds in trials.items() if name != best)
        run = calls(case, ways[best], given.hot, colds)
        timing = self.clock.spaced(run) if spaced and self.device.graphs else self.clock.time(run, settle=heavy)
        return Measured(best, timing, others, self._cache(given, len(colds)))

    def room(self) -> int:
        """Bytes that are free, on the rank that has the fewest."""
        return int(-self.clock.agree(-self.device.free_bytes()))

    def held_back(self, measured: Measured) -> bool:
        """Whether a fault held the device back meanwhile, on any rank: all of them measure again, or none."""
        return self.clock.agree(float(bool(HARD & set(measured.timing.reading.slowdown)))) > 0

    def _tried(
        self, case: KernelCase, ways: dict[str, Way], given: Operands, colds: list[Cold]
    ) -> tuple[dict[str, float], dict[str, float | str]]:
        """Seconds of the ways that are right and not hopelessly slow; and what the other ways took, or why nothing."""
        trials: dict[str, float] = {}
        others: dict[str, float | str] = {}
        hot = tuple(each.clone() for each in given.hot)  # an all-reduce in place adds to them until they overflow
        right = None if case.backward else kind_of(case.op).expected(case.op, given)
        for name, way in sorted(ways.items(), key=lambda named: named[1].last_resort):
            if trials and (way.last_resort or (self.quick and way.compiles)):
                others[name] = "not tried: others work" if way.last_resort else "not tried in a quick run"
                continue
            try:
                if right is not None:
                    _refuse_wrong(case, given, way, right)
                if way.eager:
                    others[name] = self.clock.eager(calls(case, way, hot, colds)).median
                    continue
                rough = self.clock.once(calls(case, way, hot, colds[:1])[0])
                if trials and rough > max(HOPELESS * min(trials.values()), ROUGH_SECONDS):
                    others[name] = rough
                else:
                    trials[name] = self.clock.time(calls(case, way, hot, colds), trial=True).median
            except (UnsupportedError, WrongAnswerError) as refusal:
                others[name] = str(refusal)
            except torch.OutOfMemoryError:
                others[name] = "out of memory"
            except (RuntimeError, TypeError, ValueError, NotImplementedError, AssertionError) as refusal:
                others[name] = _in_short(refusal)  # a shape that it does not take, most often
        return trials, others

    def _refuse_size(self, case: KernelCase) -> None:
        """Raise TooLargeError where the operands, their copies and (backward) their gradients have no room."""
        need, free = 2 * int(case.op.moved_bytes()) * (3 if case.backward else 1), self.room()
        if need > free:
            raise TooLargeError(f"about {need / 1e9:.1f} GB with copies, {free / 1e9:.1f} GB free")

    def _sets(self, given: Operands) -> int:
        """How many sets of cold operands take turns, so that together they are larger than the cache by far."""
        size, wanted = given.bytes(), ROTATION * self.device.l2_bytes
        return 1 if size == 0 or size >= wanted else min(MOST_SETS, -(-wanted // size) + 1)

    def _cache(self, given: Operands, sets: int) -> str:
        """What the cache held of the cold operands, in words."""
        if not given.cold:
            return "as the kernel before left it"
        if not self.device.l2_bytes:
            return "of a size not known"
        size = sets * given.bytes()
        if size >= ROTATION * self.device.l2_bytes:
            return f"cold, {sets} in turn"
        return f"{sets} in turn, {size / 1e6:.0f} MB together"


def rotated(given: Operands, sets: int) -> list[Cold]:
    """So many sets of cold operands: the given ones, and copies of them elsewhere in memory."""
    return [given.cold, *(tuple(each.clone() for each in given.cold) for _ in range(sets - 1))]


def calls(case: KernelCase, way: Way, hot: tuple[Tensor, ...], colds: Iterable[Cold]) -> list[Call]:
    """A call for each set of cold operands, which are stored as the way wants them.

    Of a `backward` case, a call computes the gradients alone.
    """
    make = _backward if case.backward else _forward
    return [make(case, way, (*hot, *way.layout(*cold))) for cold in colds]


def _forward(case: KernelCase, way: Way, given: tuple[Tensor, ...]) -> Call:
    return lambda: way.run(case.op, *given)


def _backward(case: KernelCase, way: Way, given: tuple[Tensor, ...]) -> Call:
    """A call that computes the gradients of all floating operands from random gradients of all outputs.

    The forward pass runs here, before the call, and is not timed.
    """
    given = tuple(each.detach().requires_grad_() if each.is_floating_point() else each for each in given)
    answer = way.run(case.op, *given)
    outputs = answer if isinstance(answer, tuple) else (answer,)
    wanted = [each for each in given if each.requires_grad]
    slopes = [torch.randn_like(each) for each in outputs]
    return lambda: torch.autograd.grad(outputs, wanted, slopes, retain_graph=True)


def _refuse_wrong(case: KernelCase, given: Operands, way: Way, expected: tuple[Index, Tensor]) -> None:
    """Raise WrongAnswerError where a way's answer is further from float32's than TOLERANCE, as a Euclidean norm.

    It gets copies of the activations, in whose place it may write its answer.
    """
    index, right = expected
    answer = way.run(case.op, *(each.clone() for each in given.hot), *way.layout(*given.cold))
    got = (answer[0] if isinstance(answer, tuple) else answer)[index].float()
    error = float((got - right).norm() / right.norm())
    if not error <= TOLERANCE[computed_in(case.dtype)]:  # not a number is wrong too
        raise WrongAnswerError(f"wrong: relative error {error:.1e}")


def _in_short(refusal: Exception) -> str:
    """What a library said of a way that it did not run, in its own words: the first line, cut."""
    lines = str(refusal).strip().splitlines()
    return f"{type(refusal).__name__}: {lines[0]}"[:REASON] if lines else type(refusal).__name__


def _verdict(others: dict[str, float | str]) -> Exception:
    """Why no way works, as the exception that says so."""
    reasons = [str(reason) for reason in others.values()]
    if any(reason.startswith("wrong") for reason in reasons):
        return WrongAnswerError(next(reason for reason in reasons if reason.startswith("wrong")))
    if reasons and all(reason == "out of memory" for reason in reasons):
        return TooLargeError("out of memory in every way")
    return UnsupportedError(
        "; ".join(f"{name}: {reason}" for name, reason in others.items())[:200] or "no way to run it here"
    )
