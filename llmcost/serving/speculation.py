"""Tokens that are guessed and verified in one step: how many a step gives, what guessing takes, what it holds.

A layer of the model's own (multi-token prediction), the text so far or a small model guesses K tokens, and the model
verifies them beside its next one (arXiv 2211.17192). Each guess is right with probability A if all before it are, so
that a step gives a = 1 + A + A² + … + Aᴷ tokens on average.

Left out: that guesses are more often right in some texts than in others, trees of guesses, and what is drawn for single
requests.
"""

from __future__ import annotations

from typing import NamedTuple

from llmcost.ground.algebra import Number, named, present
from llmcost.model.counting import cache_bytes_per_token
from llmcost.model.sizes import Load
from llmcost.parallel.pipeline import Server
from llmcost.serving.loading import loaded_bytes

WAYS = ("mtp", "ngram")  # of guessing that need no other model


class Speculation(NamedTuple):
    """So many `tokens` are guessed in a step, which gives `accepted` on average.

    `draft`: what guesses: "mtp" (a layer of the model's own with the LM head, run once a token), "ngram" (the text so
    far, in no time), or the server of a small model, whose weights are in the format `weights`: one pass a token, or
    one for all of them and the token before, where the model guesses them together.
    """

    tokens: int = 0
    accepted: Number = 1
    draft: str | Server = "ngram"
    weights: str = ""

    @property
    def new(self) -> int:
        """Tokens of a sequence that a step computes."""
        return 1 + self.tokens

    def seconds(self, server: Server, sequences: Number, context: Number, passes: Number = 1) -> Number:
        """Seconds in which the tokens of a step are guessed, for sequences with so many keys; None: not known.

        `passes`: in which the sequences go through the stages of a pipeline.
        """
        if not self.tokens or self.draft == "ngram":
            return 0
        if isinstance(self.draft, Server):
            together = self.draft.model.drafts_together()
            load = Load(sequences, self.new, context) if together else Load(sequences, 1, context, decode=True)
            stages = self.draft.times(self.draft.share(load), load)
            if stages is None:
                return None
            return (1 if together else self.tokens) * self.draft.with_host(stages.through(), sequences, "draft")
        load = Load(sequences / passes, 1, context, decode=True)
        own = server.times(server.share(load), load)
        if own is None:
            return None
        return self.tokens * (own.first + own.layers / server.model.num_hidden_layers + own.last)

    def weights_bytes(self, server: Server, of_model: Number) -> Number:
        """Bytes of weights of what guesses on a GPU that holds `of_model` bytes of the model's own."""
        if isinstance(self.draft, Server):
            return loaded_bytes(self.draft, self.draft.share(Load(1, 1, 1, decode=True)), self.weights)
        return of_model / server.model.num_hidden_layers if self.tokens and self.draft == "mtp" else 0

    def held_bytes(self, server: Server, of_model: Number) -> Number:
        """The same as a figure of an answer; None where nothing with weights guesses."""
        if not self.tokens or self.draft == "ngram":
            return None
        return named("serving.draft_bytes", self.weights_bytes(server, of_model))

    def position_bytes(self, server: Server, of_model: Number) -> Number:
        """Bytes that a token takes in the cache of what guesses, where it takes `of_model` in the model's own."""
        if isinstance(self.draft, Server):
            return cache_bytes_per_token(self.draft.share(Load(1, 1, 1, decode=True)).layers)
        if self.tokens and self.draft == "mtp" and present(of_model):
            return of_model / server.model.num_hidden_layers
        return 0


def accepted_tokens(tokens: int, share: Number) -> Number:
    """Tokens that a step gives on average: 1 + A + A² + … + Aᴷ."""
    found: Number = 1
    for _ in range(tokens):
        found = 1 + share * found
    return found
