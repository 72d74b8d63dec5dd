"""Seconds of one step of an engine, by what is in it: the operators of `llmcost estimate`, compiled.

Another simulator can call this in place of its own predictor:

    step = StepTime(load_model("llama3.1-8b"), load_hardware("h100"), Options(engine="vllm", tp=2))
    step(decoding=64, context=1500)                     # 64 sequences decode, 1,500 cached tokens each on average
    step(decoding=64, context=1500, prompts=1, tokens=512, keys=512)    # and a prompt's first 512 tokens run beside
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmcost.ground.algebra import Number
from llmcost.ground.compiling import compiled
from llmcost.ground.errors import InputError
from llmcost.ground.recording import Tape
from llmcost.model.architecture import Pass
from llmcost.model.sizes import Load
from llmcost.model.spec import ModelSpec
from llmcost.parallel.pipeline import Server, in_flight
from llmcost.serving.batching import join
from llmcost.serving.estimate import workload_of
from llmcost.serving.options import Options, Workload
from llmcost.serving.server import machine_of, server_of, speculation_of
from llmcost.specs.hardware import HardwareSpec

DECODE, PROMPTS = ("decoding", "context"), ("prompts", "tokens", "keys")


class StepTime:
    """Seconds of a step of one replica, on all of its GPUs, under the engine and in the layout of some options.

    With `--dp`, a replica is a data-parallel rank. With `--speculate`, each decoding sequence has guessed tokens
    verified beside its next one; the time in which they are guessed is part of the step.

    Raises InputError where the options contradict the model, or a figure of the GPU is not known.
    """

    def __init__(
        self,
        model: ModelSpec,
        hardware: HardwareSpec,
        options: Options = Options(),  # noqa: B008
    ) -> None:
        options.refuse_alone()
        self.workload: Workload = workload_of(model, hardware, options, mix=True)
        server = server_of(model, *machine_of(hardware, self.workload), self.workload)
        self.server: Server = server._replace(filled=1)
        self.ranks: int = server.layout.expert_ranks()  # that share experts, and step together
        self.guess = speculation_of(hardware, self.workload)
        kernels, decode = self.server.efficiency.own, self.server.share(Load(1, 1, 2, decode=True))
        self.longest_seconds: Number = 0 if kernels is None else kernels.longest_seconds(decode.layers)
        self._functions: dict[tuple[str, ...], Callable[..., float]] = {}
        if self._seconds({"decoding": 1, "context": 1}) is None:
            raise InputError(f"{hardware.title}: no source gives all figures that a step's time takes")

    def __call__(
        self,
        decoding: float = 0,
        context: float = 0,
        prompts: float = 0,
        tokens: float = 0,
        keys: float = 0,
        longest: float = 0,
        filled: float = 1,
    ) -> float:
        """Seconds of a step in which `decoding` sequences get a token, each with `context` cached tokens on average.

        Beside them `prompts` pieces of prompts run, of `tokens` tokens each, whose last token sees `keys` keys, itself
        included. `keys` of several pieces is the number that gives all of them together as many (query, key) pairs.
        `longest`: cached tokens of the longest sequence, for which a step of decode alone waits under some engines.
        `filled`: tokens of the ranks that share experts, on average, over those of this one, the fullest.
        """
        names, values = (("filled",), (filled,)) if self.ranks > 1 else ((), ())
        if prompts:
            if decoding:
                function = self._function((*DECODE, *PROMPTS, *names))
                return function(decoding, context, prompts, tokens, keys, *values)
            return self._function((*PROMPTS, *names))(prompts, tokens, keys, *values)
        if not decoding:
            return 0.0
        seconds = self._function((*DECODE, *names))(decoding, context, *values)
        return seconds + self.longest_seconds * (longest - context) if longest > context else seconds

    def _of_the_prompt(self) -> Number:
        """The share of a request's context that its prompt has on average, which an encoder reads."""
        w = self.workload
        return w.prompt / (w.prompt + (w.output or 0) / 2)

    def _function(self, sizes: tuple[str, ...]) -> Callable[..., float]:
        """The function of these sizes, made when it is first needed."""
        if sizes not in self._functions:
            tape = Tape()
            self._functions[sizes] = compiled(tape, sizes, self._seconds({name: tape.input(name) for name in sizes}))
        return self._functions[sizes]

    def _seconds(self, sizes: dict[str, Any]) -> Number:
        """Seconds of a step, of sizes that may be numbers or recorded; None where a figure is not known."""
        server, decoding = self.server, sizes.get("decoding", 0)
        if "filled" in sizes:
            server = server._replace(filled=sizes["filled"])
        passes = 1 if "decoding" not in sizes else in_flight(decoding, server.pp)
        parts: list[tuple[Pass, Load]] = []
        guessing: Number = 0
        if "decoding" in sizes:
            new = self.guess.new
            read = 0 if server.model.encoder is None else sizes["context"] * self._of_the_prompt()
            load = Load(decoding / passes, new, sizes["context"] + new, decode=True, memory=read)
            parts.append((server.whole(load), load))
            guessing = self.guess.seconds(server, decoding, sizes["context"] + 1, passes)
        if "prompts" in sizes:
            load = Load(sizes["prompts"] / passes, sizes["tokens"], sizes["keys"])
            parts.append((server.whole(load), load))
        (whole, load), *others = parts
        for other, beside in others:
            whole = Pass(*[list(join(ours, theirs)) for ours, theirs in zip(whole, other, strict=True)])
            load = Load(load.b * load.s + beside.b * beside.s, 1, load.c, decode=True)
        stages = server.times(server.divided(whole), load)
        if stages is None or guessing is None:
            return None
        sequences = decoding + sizes.get("prompts", 0)
        seconds = server.with_host(stages.round(passes), sequences)
        if "decoding" in sizes:
            seconds = seconds * server.of_near_runs(sequences)
        return seconds + guessing if self.guess.tokens else seconds
