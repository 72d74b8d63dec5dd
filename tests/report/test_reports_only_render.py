"""Results are data, reports lay them out: report/ takes results and words from other floors, never a calculation."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import llmcost

FOLDER = Path(llmcost.__file__).parent / "report"
WORDS = tuple(f"llmcost.ground.{name}" for name in ("units", "errors", "files", "titles"))  # of text and files
NAMES = {"leaves", "to_dict", "Array", "activation_dtype", "percentile"}  # plain data, a type, a word, ends of a bar
NAMES |= {"__version__"}  # what a page says of itself
ENGINE = {  # methods that calculate: of operators, profiles' rows, steps, sweeps
    *("op", "flops", "params", "moved_bytes", "weight_bytes", "cache_bytes", "shapes", "mfu", "hfu", "total"),
    *("evaluate", "blocks", "at", "select", "legal"),
}


def taken(tree):
    """Module and name of everything that comes from other floors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("llmcost."):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("llmcost"))


def renders(module, name):
    """Whether a name is of report/ itself, a module of words, a result, or a constant."""
    if module.startswith(("llmcost.report", *WORDS)) or name in NAMES or (name and name == name.upper()):
        return True
    return isinstance(found := getattr(import_module(module), name, None), type) and hasattr(found, "_fields")


def calculations(tree):
    """Methods of the engine that are called."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [each.attr for each in calls if isinstance(each, ast.Attribute) and each.attr in ENGINE]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_a_report_takes_results_and_words_from_other_floors(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert [each for each in taken(tree) if not renders(*each)] == []
    assert calculations(tree) == []


@pytest.mark.parametrize(
    "line",
    [
        "from llmcost.serving.estimate import estimate",
        "from llmcost.machine import chip",
        "from llmcost.model.counting import count_params",
        "from llmcost.search.sweep import Sweep",
        "import llmcost.machine.timing",
    ],
)
def test_calculations_are_found(line):
    """That the test above can fail."""
    assert not all(renders(*each) for each in taken(ast.parse(line)))
    assert calculations(ast.parse("row.op().flops(causal=True)")) == ["flops", "op"]
