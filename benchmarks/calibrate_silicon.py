"""How much a few runs of one's own help: `calibrate_silicon.py [--runs 1,3,10] [--draws 10] [--by weights|model|gpu]`.

The runs are the published ones of vLLM, SGLang and TensorRT-LLM of 2025 and 2026, accuracy/published/silicon-2026.yaml.
Those of one engine, GPU, model and format of weights are one set-up (`--by model`: whatever the format; `--by gpu`:
whatever the model). Of each set-up so many runs are drawn, as a user would have them, `llmcost calibrate` fits the
engine to these, and the others are predicted before and after. For each set-up, and for all of them, it prints the
errors of a token's time and of the first token's on the runs that were not drawn (means over the draws of the medians),
how often the error is halved or below 5 %, and how often, and by how much, it is larger than before.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from llmcost.accuracy.ask import gpu_of, options_of
from llmcost.accuracy.calibrate import OTHER_NOISE, Design, Question, base_numbers, choose, design_of, load_of
from llmcost.accuracy.cases import FOLDER, Case, engine_of, engines, source_cases
from llmcost.accuracy.models import spec_of
from llmcost.accuracy.result_files import Run
from llmcost.ground.errors import InputError
from llmcost.serving.estimate import workload_of
from llmcost.specs.catalog import find
from llmcost.specs.engine import engine_from
from llmcost.specs.reader import read_yaml

KEYS = {
    "weights": ("engine", "gpu", "model", "weights"),
    "model": ("engine", "gpu", "model"),
    "gpu": ("engine", "gpu"),
}
REST = 4  # runs that are left to predict, at least
ENOUGH = 0.05
NAMES = {"token_seconds": "tpot_seconds", "first_token_seconds": "ttft_seconds"}


class Draw(NamedTuple):
    """Errors of the runs that were not drawn, median and mean, before and after: of tokens, of first tokens."""

    of: tuple[str, ...]
    before: Any  # (2 quantities, 2: median and mean)
    after: Any
    numbers: int


def question_of(case: Case) -> Question | None:
    """A case as `calibrate` asks about a run; None where it cannot be predicted."""
    options, model = options_of(case), spec_of(case.settings["model"])
    if options is None or model is None:
        return None
    hardware = gpu_of(case.settings["gpu"])
    measured = {NAMES[name]: value for name, value in case.measured.items() if name in NAMES}
    try:
        workload_of(model, hardware, options)
    except InputError:
        return None
    return Question(Run(case.source.name, case.row, "mix", {}, measured), model, hardware, options)


def setups(by: str) -> Iterator[tuple[tuple[str, ...], str, list[Question]]]:
    """Each set-up: its key, its engine's name, its runs."""
    found: dict[tuple[str, ...], list[Question]] = defaultdict(list)
    names: dict[tuple[str, ...], str] = {}
    for case in source_cases(FOLDER / "silicon-2026.yaml"):
        key = tuple(str(case.settings[name]) for name in KEYS[by])
        asked = question_of(case)
        if asked is not None:
            found[key].append(asked)
            names[key] = engines()[engine_of(case)]["spec"]
    for key, questions in sorted(found.items()):
        yield key, names[key], questions


def part_of(design: Design, runs: Any) -> Design:
    """The times of some runs, which are numbered anew."""
    rows = design.rows(np.isin(design.of, runs))
    kept, of = np.unique(rows.of, return_inverse=True)
    return rows._replace(of=of, close=design.close[np.ix_(kept, kept)])


def errors(seconds: Any, design: Design) -> Any:
    """Median and mean of |predicted / measured - 1|, of tokens and of first tokens."""
    off = np.abs(seconds / design.measured - 1)
    first = design.noise != OTHER_NOISE
    return np.array(
        [[f(off[rows]) if rows.any() else np.nan for f in (np.median, np.mean)] for rows in (~first, first)]
    )


def draws_of(key: tuple[str, ...], design: Design, base: Any, runs: int, draws: int) -> Iterator[Draw]:
    """What comes of so many draws from one set-up."""
    drawn = np.random.default_rng(0)
    count = int(design.of.max()) + 1
    for _ in range(draws):
        order = drawn.permutation(count)
        mine, others = part_of(design, order[:runs]), part_of(design, order[runs:])
        chosen = choose(mine, base, mine.seconds)
        near = design.close[np.ix_(np.sort(order[runs:])[others.of], np.sort(order[:runs]))]
        after = others.predicted(chosen.numbers) * chosen.rests.factors(near, others.first())
        yield Draw(key, errors(others.seconds, others), errors(after, others), len(chosen.names))


def line(words: str, found: list[Draw]) -> str:
    """Errors of some draws as a line: per cent before and after, halved or below 5 %, worse, by more than a point."""
    before, after = (np.array([getattr(each, name) for each in found]) for name in ("before", "after"))
    cells = [f"{words:52} {len(found):5} {np.mean([each.numbers for each in found]):4.1f}"]
    for quantity in (0, 1):
        median, later = before[:, quantity, 0], after[:, quantity, 0]
        worse = later > median + 1e-9
        good = (later <= median / 2) | (later < ENOUGH)
        shares = (good.mean(), worse.mean(), (later > median + 0.01).mean())
        cells.append(f"{100 * median.mean():5.1f} {100 * later.mean():5.1f}")
        cells.append(" ".join(f"{100 * share:4.0f}%" for share in shares))
        cells.append(f"{100 * (later - median)[worse].mean() if worse.any() else 0:5.1f} |")
    return " ".join(cells)


def main() -> None:
    """Read the command line, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", default="1,3,10", help="how many runs are drawn")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--by", choices=list(KEYS), default="weights")
    asked = parser.parse_args()
    made = []
    for key, name, questions in setups(asked.by):
        document = read_yaml(find("engines", name))
        base = base_numbers(engine_from(document))
        loads = [load_of(asked, name) for asked in questions]
        made.append((key, design_of(questions, document, base, loads), base))
    print("set-up, draws, numbers fitted; then of a token's time, and of the first token's: error before, after in %,")
    print("draws with the error halved or below 5 %, worse than before, worse by a point, by how many points if worse")
    for runs in map(int, asked.runs.split(",")):
        every: list[Draw] = []
        print(f"\n{runs} runs")
        for key, design, base in made:
            if int(design.of.max()) + 1 >= max(14, runs + REST):
                found = list(draws_of(key, design, base, runs, asked.draws))
                every += found
                print(line(" ".join(key), found), flush=True)
        print(line("all", every))


if __name__ == "__main__":
    main()
