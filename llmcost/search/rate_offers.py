"""Set-ups that are tried at a rate: what is asked of each, a run of it, and the offer that comes of it."""

from __future__ import annotations

from typing import NamedTuple

from llmcost.model.spec import ModelSpec
from llmcost.search.prices import price_per_million_tokens
from llmcost.serving.estimate import under_usual
from llmcost.serving.options import Options
from llmcost.simulation.cluster import Cluster
from llmcost.simulation.options import SimulationOptions
from llmcost.simulation.run import Replicas, Run, limits_of, mean_lengths
from llmcost.specs.hardware import HardwareSpec

SECONDS, LEAST, MOST = 60, 1000, 10000  # requests that are simulated: those of a minute, at least and at most so many
TIMES_GUESSED = 4  # replicas that are tried, over those of the steady state


class RateOffer(NamedTuple):
    """A set-up that holds the limits. Times are seconds, of the share of requests asked for (`at`).

    `prompt_replicas`, with degrees of their own, run prompts apart from the `replicas` that decode; None: these run
    prompts too.
    """

    hardware: str
    title: str
    gpus: int
    replicas: int
    tp: int
    pp: int
    dtype: str
    weight_dtype: str
    ttft_seconds: float | None
    tpot_seconds: float | None
    requests_per_s: float
    output_tokens_per_s: float
    busy_share: float
    price_per_hour: float | None
    price_per_million_tokens: float | None
    engine: str | None  # whose times these are
    prompt_replicas: int | None = None
    prompt_tp: int | None = None
    prompt_pp: int | None = None


class Asked(NamedTuple):
    """What is asked of a kind of replica: to serve the rate of `options` within the limits of `chosen`.

    `options.gpus`: GPUs of a replica. `at`: of how many requests limits hold. `price`: dollars a GPU-hour.
    """

    model: ModelSpec
    chip: HardwareSpec
    options: Options
    chosen: SimulationOptions
    at: str
    price: float | None

    def of_means(self) -> Options:
        """The options with the lengths of the mean request, however many come."""
        prompt, output = mean_lengths(self.model, self.options, self.chosen)
        return self.options._replace(prompt=prompt, output=output, rate=None, concurrency=None, requests=None)

    def under_usual(self) -> Options:
        """The options with the engine named that serves. Raises InputError as `estimate` does."""
        return self.options._replace(engine=under_usual(self.model, self.chip, self.of_means(), mix=True).engine)

    def simulated(self, gpus: int, cluster: Cluster) -> Run:
        """A run of the traffic on so many GPUs."""
        requests = self.options.requests or max(LEAST, min(MOST, round(SECONDS * self.options.rate)))
        options = self.options._replace(requests=requests)
        run = Run(self.model, self.chip, options, self.chosen, (gpus, cluster))
        for _ in run.served():
            pass
        return run

    def time(self, run: Run, name: str) -> float | None:
        """A time of the share of requests that limits hold for, in seconds; None where no request has it."""
        return getattr(run.times.spread(name), self.at)  # type: ignore[no-any-return]

    def beyond(self, run: Run) -> list[str]:
        """Times that are longer than their limits."""
        times = {name: self.time(run, name) for name in limits_of(self.chosen)}
        return [name for name, limit in limits_of(self.chosen).items() if (times[name] or 0) > limit]

    def keeps(self, run: Run) -> bool:
        """Whether a run keeps all limits, and answers as many as come."""
        return not run.timeline.overloaded() and not self.beyond(run)

    def told(self, run: Run) -> str:
        """The times of a run in words."""
        times = {name: self.time(run, name) for name in ("ttft", "tpot")}
        return ", ".join(f"{self.at} {name.upper()} {1000 * (time or 0):,.0f} ms" for name, time in times.items())

    def offer(self, run: Run, decode: Replicas, prompts: Replicas | None = None) -> RateOffer:
        """The offer that a run is of."""
        w, found = decode.kind.step.workload, run.result()
        an_hour = None if self.price is None else self.price * found.gpus
        apart = prompts and prompts.kind.step.workload
        return RateOffer(
            *(self.chip.name, self.chip.title, found.gpus, decode.number, w.tp, w.pp, w.dtype, w.weight_dtype),
            *(self.time(run, "ttft"), self.time(run, "tpot")),
            *(found.requests_per_s, found.output_tokens_per_s, found.busy_share),
            *(an_hour, price_per_million_tokens(an_hour, found.output_tokens_per_s), w.engine),
            *((prompts.number, apart.tp, apart.pp) if prompts and apart else ()),
        )
