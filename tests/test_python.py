"""The Python interface: names in, results out that are the command's own documents."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import llmcost
from llmcost import InputError, Options, estimate, fit, load_hardware, load_model, ops, plan, sweep, train
from llmcost.ground.html import MOST_ROWS, html_table

PACKAGE = Path(llmcost.__file__).parent
ANSWERS = {  # a command line -> the same from Python
    "estimate llama3-8b --hw rtx4090 --batch 4 --output 64": lambda: estimate(
        "llama3-8b", "rtx4090", batch=4, output=64
    ),
    "estimate llama3-70b": lambda: estimate("llama3-70b"),
    "estimate llama3-8b --hw h100 --engine vllm --batch 4 --launch": lambda: llmcost.launch(
        "llama3-8b", "h100", "vllm", batch=4
    ),
    "ops llama3-8b --hw h100 --phase decode": lambda: ops("llama3-8b", "h100", "decode"),
    "explain llama3-8b kv_cache --hw rtx4090": lambda: llmcost.explain("llama3-8b", "kv_cache", hw="rtx4090"),
    "fit llama3-70b --hw h100,l40s --gpus 2,4 --price h100=2.5": lambda: fit(
        "llama3-70b", ["h100", "l40s"], gpus=[2, 4], price={"h100": 2.5}
    ),
    "sweep llama3-8b --hw h100,4090 --batch 1,2 --dtype bf16,fp8": lambda: sweep(
        "llama3-8b", ["h100", "4090"], batch=[1, 2], dtype=["bf16", "fp8"]
    ),
    "compare llama3-8b qwen3-8b --hw h100 --price 2": lambda: llmcost.compare(
        ["llama3-8b", "qwen3-8b"], "h100", price=2
    ),
    "train llama3-70b --hw h100 --gpus 64 --tp 8 --price 2 --optimizer muon --mtbf-hours 9000": lambda: train(
        "llama3-70b", "h100", gpus=64, tp=8, price=2, optimizer="muon", mtbf_hours=9000
    ),
    "train llama3-8b --hw h100 --gpus 16 --pp 4 --explain breakdown.bubble": lambda: llmcost.explain_train(
        "llama3-8b", "breakdown.bubble", "h100", gpus=16, pp=4
    ),
    "rl llama3-8b --hw h100 --gpus 8 --prompts 8 --samples 4 --algorithm ppo": lambda: llmcost.rl(
        "llama3-8b", "h100", gpus=8, prompts=8, samples=4, algorithm="ppo"
    ),
    "plan llama3-8b --hw h100 --gpus 16 --tp 1,2 --recompute none": lambda: plan(
        "llama3-8b", "h100", 16, tp=[1, 2], recompute="none"
    ),
    "plan llama3-8b --hw h100 --gpus 4 --serve --tpot 20 --tp 1 --engine optimised": lambda: llmcost.plan_serving(
        "llama3-8b", "h100", 4, tpot=20, tp=1, engine="optimised"
    ),
    "mfu llama3-8b --hw h100 --tokens-per-s 9000": lambda: llmcost.mfu("llama3-8b", "h100", 9000),
    "accuracy --source gpt-fast": lambda: llmcost.scoreboard(source="gpt-fast"),
}


@pytest.fixture(params=ANSWERS, ids=lambda line: line.split()[0])
def answered(request):
    return request.param, ANSWERS[request.param]()


def test_the_document_of_a_result_is_the_commands(answered, cli):
    line, result = answered
    assert json.loads(json.dumps(result.to_dict())) == json.loads(cli(*line.split(), "--json").out)


def test_a_result_is_told_in_a_line_that_names_it(answered):
    line, result = answered
    assert "\n" not in repr(result)
    assert len(repr(result)) < 200
    assert line.split()[1].removeprefix("--source") in repr(result) or line.startswith(("compare", "accuracy"))


def test_rows_are_dicts_with_the_same_keys(answered):
    rows = answered[1].rows()
    assert rows
    assert {tuple(row) for row in rows} == {tuple(rows[0])}


def test_a_notebook_gets_a_table(answered):
    line, result = answered
    assert ("<table>" in result._repr_html_()) is (line != "estimate llama3-70b")  # without a GPU no speed is known


def test_names_and_loaded_specs_are_one_question():
    model, chip = load_model("llama3-8b"), load_hardware("rtx4090")
    assert estimate(model, chip, Options(batch=16)) == estimate("llama3-8b", "rtx4090", batch=16)
    assert estimate("llama3-8b", chip, Options(batch=16, context=1024), batch=2) == estimate(
        model, "4090", Options(batch=2, context=1024)
    )
    shipped = PACKAGE.parent / "models" / "llama3-8b.yaml"
    assert estimate(shipped, chip) == estimate(model, chip)


@pytest.mark.parametrize(
    "ask, near",
    [
        (lambda: estimate("llama3-8b", bach=2), "batch"),
        (lambda: train("llama3-8b", "h100", gpu=8), "gpus"),
        (lambda: sweep("llama3-8b", "h100", contexts=[1]), "context"),
        (lambda: plan("llama3-8b", "h100", 8, micro_batches=1), "micro_batch"),
        (lambda: fit("llama3-8b", "h100", kv_dtyp="fp8"), "kv_dtype"),
    ],
)
def test_a_keyword_that_is_no_option_is_refused_with_what_is_near(ask, near):
    with pytest.raises(TypeError, match=f"no option .*; nearest: .*{near}"):
        ask()


@pytest.mark.parametrize(
    "ask, words",
    [
        (lambda: estimate("llama3-8b", batch=0), "--batch 0: at least 1"),
        (lambda: estimate("lama3-8b"), "nearest: llama3-8b"),
        (lambda: ops("llama3-8b", phase="backward"), "--phase backward: one of prefill, decode, train"),
        (lambda: fit("llama3-8b", "h100", gpus=0), "--gpus 0: at least 1"),
        (lambda: fit("llama3-8b", "h100", basis="best"), "--basis best: one of textbook, limit, expected"),
        (lambda: train("llama3-8b", "h100", overlap="all=1"), "--overlap all: one of"),
        (lambda: plan("llama3-8b", "h100", 8, tp=0), "--tp 0: at least 1"),
    ],
)
def test_bad_input_is_refused_in_the_words_of_the_command_line(ask, words):
    with pytest.raises(InputError, match=words):
        ask()


def test_every_name_is_there_and_every_function_says_what_it_does():
    functions = [getattr(llmcost, name) for name in llmcost.__all__ if name != "__version__"]
    assert all(len(each.__doc__.split()) > 10 for each in functions)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        llmcost.nothing  # noqa: B018


FUNCTIONS = [name for name in llmcost.__all__ if getattr(getattr(llmcost, name), "__module__", "") == "llmcost"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(name, monkeypatch):
    lines = inspect.getdoc(getattr(llmcost, name)).splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    assert example or not inspect.signature(getattr(llmcost, name)).parameters
    pandas = SimpleNamespace(DataFrame=lambda rows, **_: list(rows))
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    known = {"pandas": pandas} | {each: getattr(llmcost, each) for each in llmcost.__all__}
    exec(example, known)


def test_importing_the_package_loads_nothing_that_answers():
    code = "import llmcost, sys; print([name for name in sys.modules if name.startswith('llmcost.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['llmcost.ground']"


def test_no_name_is_that_of_a_module_which_would_replace_it():
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert modules & set(llmcost.__all__) == set()


def test_a_long_table_says_how_many_rows_it_leaves_out_and_text_stays_text():
    rows = [{"name": "<b>", "value": number} for number in range(MOST_ROWS + 2)]
    table = html_table("<Rows of a & b>", rows)
    assert table.count("<tr>") == MOST_ROWS + 1
    assert "and 2 more" in table
    assert "<b>" not in table
    assert "Rows of a &amp; b" in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": [1, 2]}, "--batch: expected a whole number, got [1, 2]"),
        ({"batch": 1.5}, "--batch: expected a whole number, got 1.5"),
        ({"batch": True}, "--batch: expected a whole number, got True"),
        ({"mfu": (0.4,)}, "--mfu: expected a number, got (0.4,)"),
        ({"dtype": 8}, "--dtype: expected text, got 8"),
        ({"reserve_output": 1}, "--reserve-output: expected True or False, got 1"),
        ({"context": "8kk"}, "--context 8kk: expected a number such as 8192, 8k or 15T, got '8kk'"),
    ],
)
def test_a_value_of_another_type_is_one_message(options, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        estimate("gpt2", "h100", **options)


@pytest.mark.parametrize(("model", "hw", "what"), [(3, "h100", "model"), ("gpt2", ["h100"], "hw")])
def test_what_is_neither_a_name_nor_a_spec_is_one_message(model, hw, what):
    with pytest.raises(InputError, match=f"^{what}: expected a name, a path or a loaded spec, got "):
        estimate(model, hw)


def test_text_means_what_it_means_on_the_command_line():
    """Lengths in 1,024, counts in 1,000; NumPy's numbers are numbers, a float without a fraction is whole."""
    typed = estimate("gpt2", "h100", context="1k", tokens="15T", mfu="0.4")
    assert typed == estimate("gpt2", "h100", context=1024, tokens=15e12, mfu=0.4)
    assert train("gpt2", "h100", gpus="8", global_batch="1k") == train("gpt2", "h100", gpus=8, global_batch=1000)
    assert fit("gpt2", "h100", gpus="2") == fit("gpt2", "h100", gpus=2)
    swept = sweep("gpt2", "h100", batch=["1k", 2], context="1k").rows()
    assert [row["batch"] for row in swept] == [1000, 2]


def test_none_is_the_default():
    assert estimate("gpt2", "h100", batch=None, context=None) == estimate("gpt2", "h100")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: llmcost.estimate("gpt2", "h100"),
        lambda: llmcost.train("gpt2", "h100", gpus=8),
        lambda: llmcost.fit("gpt2", ["h100"]),
        lambda: llmcost.compare(["gpt2"], ["h100"]),
        lambda: llmcost.mfu("gpt2", "h100", tokens_per_s=100),
        lambda: llmcost.ops("gpt2"),
        lambda: llmcost.plan("gpt2", "h100", 2, global_batch=8),
        lambda: llmcost.plan_serving("gpt2", "h100", 2, prompt=64, output=64),
    ],
)
def test_equal_answers_have_equal_hashes(ask):
    one, other = ask(), ask()
    assert one == other
    assert hash(one) == hash(other)
