"""Estimates asked over and over: compiled once that pays, and the same to the last place."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from llmcost.ground.algebra import ceil_div, divide, either, maximum, minimum, name_of_least
from llmcost.ground.compiling import compiled
from llmcost.ground.errors import InputError
from llmcost.ground.recording import Tape
from llmcost.serving import repeated
from llmcost.serving.estimate import Options, estimate, estimate_workload, prompt_is_context, workload_of
from llmcost.serving.repeated import Repeated
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model

# Dense, experts, windows with sinks, latent attention, linear attention with experts, state space, an indexer.
NAMES = (
    "llama3-8b",
    "mixtral-8x7b",
    "gpt-oss-20b",
    "deepseek-v3",
    "qwen3-next-80b-a3b",
    "jamba-1.5-mini",
    "deepseek-v4-flash",
)
BY_SIZE = ("deepseek-v4-flash", "qwen3-next-80b-a3b")  # whose kernels under an engine are others for few tokens
MODELS = {name: load_model(name) for name in NAMES}
CHIPS = {name: load_hardware(name) for name in ("h100-sxm", "rtx4090", "m4-max")} | {"none": None}
LAYOUTS = ({}, {"tp": 2}, {"tp": 4, "pp": 2}, {"dp": 4, "ep": 8, "tp": 2}, {"gpus": 8})


def plain(model, chip, options):
    """The estimate as it is calculated, not compiled."""
    return estimate_workload(model, chip, workload_of(model, chip, options), prompt_is_context(options))


@st.composite
def questions(draw):
    """A model, a chip, and several options of one kind, whose sizes differ."""
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    chip = CHIPS[draw(st.sampled_from(sorted(CHIPS)))]
    quarter = model.max_position_embeddings // 4
    sizes = {
        "batch": st.integers(1, 3) | st.integers(1, 5000),
        "context": st.integers(2 * quarter, 4 * quarter),
        "prompt": st.integers(1, 3) | st.integers(1, quarter),
        "output": st.integers(1, 3) | st.integers(1, quarter),
        "chunk": st.integers(1, 8192),
        "concurrency": st.integers(1, 3) | st.integers(1, 2000),
        "mfu": st.floats(0.1, 1),
        "tokens": st.integers(1, 10**30),
    }
    given = draw(st.sets(st.sampled_from(sorted(sizes))))
    given |= {"output"} if "concurrency" in given else set()
    fixed = draw(st.sampled_from(LAYOUTS)) | {"kv_dtype": draw(st.sampled_from([None, "fp8"]))}
    # Under engines it is told of sizes, and letters have none, whether a pass has compressed keys, or one token alone.
    engines = ["optimised"] if model.name in BY_SIZE else [None, "vllm", "trtllm"]
    fixed |= {"engine": draw(st.sampled_from(engines))}
    drawn = draw(st.lists(st.fixed_dictionaries({name: sizes[name] for name in given}), min_size=2, max_size=5))
    return model, chip, [Options(**fixed, **each) for each in drawn]


@settings(deadline=None, max_examples=60)
@given(questions())
def test_an_estimate_that_was_compiled_is_the_estimate(asked):
    """The first question is the one that is recorded; the others are put to the function that was made of it."""
    model, chip, several = asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeated, "WORTH", 0)
        for options in several:
            try:
                expected = plain(model, chip, options)
            except InputError:  # a model that cannot be divided so
                reject()
            for (path, value), (_, answer) in zip(
                leaves(expected), leaves(estimate(model, chip, options)), strict=True
            ):
                if isinstance(value, float):
                    assert answer == pytest.approx(value, rel=1e-11, abs=0), path
                else:
                    assert (type(answer), answer) == (type(value), value), path


def test_a_question_is_compiled_when_that_pays_and_its_function_kept(monkeypatch):
    monkeypatch.setattr(repeated, "WORTH", 7)
    found, made = Repeated(), []

    def make():
        made.append(1)
        return len

    answers = [found.function((NAMES,), "kind", make) for _ in range(12)]
    assert answers == [None] * 7 + [len] * 5
    assert made == [1]


def test_only_the_last_questions_are_remembered():
    found = Repeated()
    for kind in range(3 * repeated.MOST):
        found.function((NAMES,), kind, lambda: len)
    assert len(found.questions) == repeated.MOST
    assert all(kind >= 2 * repeated.MOST for _, kind in found.questions)


def test_a_model_that_was_changed_is_another(monkeypatch):
    monkeypatch.setattr(repeated, "WORTH", 0)
    model, chip = MODELS["llama3-8b"], CHIPS["h100-sxm"]
    larger = model._replace(vocab_size=2 * model.vocab_size)
    assert [estimate(each, chip).model.params for each in (model, larger, model)] == [
        plain(each, chip, Options()).model.params for each in (model, larger, model)
    ]


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"context": 10**10}, {"prompt": 9000}, {"output": 10**9}, {"mfu": 1.5}, {"tokens": 0}]
)
def test_what_makes_no_sense_is_refused_as_before(monkeypatch, wrong):
    monkeypatch.setattr(repeated, "WORTH", 0)
    model, chip = MODELS["llama3-8b"], CHIPS["h100-sxm"]
    options = Options(batch=2, context=8000, prompt=100, output=50)
    estimate(model, chip, options)
    with pytest.raises(InputError) as refusal:
        workload_of(model, chip, options._replace(**wrong))
    with pytest.raises(InputError, match=re.escape(str(refusal.value))):
        estimate(model, chip, options._replace(**wrong))


def test_a_compiled_function_computes_with_whole_numbers_as_they_are():
    """10¹⁷ + 1 and a third of 3·10¹⁷ are no floats; ties, words, and parts of the answer that do not change."""
    tape = Tape()
    x, y = tape.input("x"), tape.input("y")
    answer = (
        (x + 1, divide(3 * x, 3), divide(x, 3), ceil_div(x, 7), x / 2 - y),
        (maximum(x, y), minimum(3, y), (x * x + 1) ** 0.5),
        (either(x <= y, "under", "over"), name_of_least({"x": x, "y": y})),
        ("as it was", None),
    )  # fmt: skip
    function = compiled(tape, ("x", "unused", "y"), answer)
    large = 10**17
    assert function(large, None, -2.5) == (
        (large + 1, large, large / 3, -(-large // 7), large / 2 + 2.5),
        (large, -2.5, float(large)),
        ("over", "y"),
        ("as it was", None),
    )
    assert type(function(6, None, 1.0)[0][1]) is int
    assert function(5, None, 5)[1:3] == ((5, 3, 26**0.5), ("under", "x"))
    assert function(5, None, 6)[3] is answer[3]


def test_estimates_in_a_loop_load_no_numpy():
    code = (
        "import sys; from llmcost import Options, estimate, load_model\n"
        "model = load_model('gpt2')\n"
        "for batch in range(2, 60): estimate(model, None, Options(batch=batch))\n"
        "print('llmcost.ground.compiling' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
