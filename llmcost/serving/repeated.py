"""Questions that are asked over and over with other sizes: once it pays, a function is made that answers them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

WORTH = 32  # times that a question is asked before a function is made of it, which takes about as long
MOST = 64  # questions that are remembered; a function of a large model takes half a megabyte


class Question:
    """One that was asked: how often, of what, and the function that answers it, once there is one."""

    __slots__ = ("function", "of", "times")

    def __init__(self, of: tuple[Any, ...]) -> None:
        self.times, self.of = 0, of
        self.function: Callable[..., Any] | None = None


class Repeated:
    """The questions asked last, each with its function of sizes where it was asked often."""

    def __init__(self) -> None:
        self.questions: dict[Hashable, Question] = {}

    def function(
        self, of: tuple[Any, ...], kind: Hashable, make: Callable[[], Callable[..., Any]]
    ) -> Callable[..., Any] | None:
        """The function that answers a kind of question of these objects, or None while it is not worth making.

        Objects are the same if they are one: those of a question are kept, so that no other can take their place.
        """
        key = (*map(id, of), kind)
        question = self.questions.get(key)
        if question is None:
            if len(self.questions) >= MOST:
                self.questions.pop(next(iter(self.questions)), None)  # the oldest
            question = self.questions[key] = Question(of)
        if question.function is None:
            question.times += 1
            if question.times > WORTH:
                question.function = make()
        return question.function
