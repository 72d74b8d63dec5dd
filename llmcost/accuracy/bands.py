"""How far predictions are off by kind of case: what answers state beside their figures (machine/bands.py).

    python -m llmcost.accuracy.bands

writes llmcost/machine/bands.json. Only figures count that had no part in a share (`scored`), and each measurement
once: of a throughput in several units the first is taken. Not counted are memory, single kernels, throughput at a rate
of arrival that the GPUs keep up with, which is that rate whatever they reach, and rows remarked as outliers of their
source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import fmean, median
from typing import NamedTuple

from llmcost.accuracy.ask import asked, gpu_of, options_of
from llmcost.accuracy.cases import Case, class_of, file_of, load_cases
from llmcost.accuracy.fit_defaults import role_of
from llmcost.accuracy.models import spec_of
from llmcost.accuracy.runs import step_of
from llmcost.accuracy.score import Check, check
from llmcost.machine.bands import FILE, TRAINING, Kind, kind_of, trained_on
from llmcost.specs.optimised import OPTIMISED

NO_TIMES = (
    "memory_bytes",
    "reserved_bytes",
    "state_bytes",
    "gpu_seconds",
)  # memory, and totals of runs of unknown layout
DIGITS = 2  # of the errors
OUTLIER = "outlier"  # the remark on a row that its source's other rows contradict
RATES = ("output_tokens_per_s", "latency_seconds", "requests_per_s", "total_tokens_per_s")  # one measurement each


class KindErrors(NamedTuple):
    """The figures of one kind of case: how many, mean and median of |predicted / published - 1|, how many sources."""

    of: Kind
    figures: int
    mean_error: float
    median_error: float
    sources: int


def by_kind(checks: Iterable[Check]) -> list[KindErrors]:
    """The errors of all scored figures by the kind of their case, in the order of the kinds."""
    found: dict[Kind, list[tuple[float, str]]] = {}
    for each in checks:
        kind = None if each.error is None or role_of(each.case) != "scored" else kind_of_check(each)
        if kind is not None and each.error is not None:
            found.setdefault(kind, []).append((each.error, each.case.source.name))
    summed = []
    for kind, pairs in sorted(found.items()):
        off, sources = zip(*pairs, strict=True)
        mean, middle = round(fmean(off), DIGITS), round(median(off), DIGITS)
        summed.append(KindErrors(kind, len(off), mean, middle, len({*sources})))
    return summed


def kind_of_check(each: Check) -> Kind | None:
    """The kind of a figure's case; None where no answer of the program states an error for it."""
    case, engine = each.case, class_of(each.case)
    if case.source.kind == "micro" or each.answer.quantity in NO_TIMES or case.settings["remark"] == OUTLIER:
        return None
    if case.settings["prefill_gpus"] is not None:  # two pools, of whose answers no error is stated
        return None
    if engine == TRAINING:
        step = step_of(case)
        assert step is not None
        phase, basis = trained_on(case.settings["gpus"], gpu_of(case.settings["gpu"]).gpus_in_a_node()), step.basis
    else:
        answer = asked(case, options_of(case))
        assert answer is not None
        phase, basis = _phase(case, each.answer.quantity), answer.decode.expected.basis
        engine = _asked_about(case)
        if phase == "throughput" and answer.serving is not None and answer.serving.limited_by == "rate":
            return None
    model = spec_of(case.settings["model"])
    if not phase or model is None:
        return None
    return kind_of(basis, engine, gpu_of(case.settings["gpu"]), experts=model.has_experts(), phase=phase)


def _asked_about(case: Case) -> str:
    """The engine that an answer names which such a case scores; for the class that no name stands for, its own."""
    return file_of(case) or (OPTIMISED if class_of(case) == OPTIMISED else case.engine)


def with_nameless(checks: Iterable[Check]) -> list[Check]:
    """Checks, and those of the same runs of optimised engines with no engine named: such answers speak for them too."""
    found = list(checks)
    named = {each.case.name: each.case for each in found if file_of(each.case) and class_of(each.case) == OPTIMISED}
    return found + check(case._replace(nameless=True) for case in named.values())


def _phase(case: Case, quantity: str) -> str:
    """What a figure of inference measures; "" for one that repeats another of its case in other units.

    A whole request counts as the phase that takes more of its predicted time.
    """
    if quantity in RATES and quantity != next(name for name in RATES if name in case.measured):
        return ""
    if case.settings["phase"] in ("offline", "online"):
        return {"first_token_seconds": "ttft", "token_seconds": "tpot"}.get(quantity, "throughput")
    if quantity == "first_token_seconds" or case.settings["phase"] == "prefill":
        return "prefill"
    if quantity in RATES:
        answer = asked(case, options_of(case))
        assert answer is not None
        assert answer.request is not None
        prompt, whole = answer.request.expected.ttft_seconds, answer.request.expected.latency_seconds
        return "prefill" if 2 * prompt > whole else "decode"
    return "decode"


def text() -> str:
    """The file bands.json, a row a line."""
    kinds = by_kind(with_nameless(check(load_cases())))
    rows = ",\n".join(json.dumps([*each.of, *each[1:]]) for each in kinds)
    return f'{{"made by": "python -m llmcost.accuracy.bands",\n"bands": [\n{rows}\n]}}\n'


def main() -> None:
    """Write the file; an empty one first, as answers read it, and a broken one would stand in the way."""
    FILE.write_text('{"bands": []}', encoding="utf-8")
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
