"""The house: floors one above the other, imports that run one way, no circles, and a tree that fits a glance."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "llmcost"

# Each floor may import those before it. `api` is the package's own face, llmcost/__init__.py.
ORDER = (
    "ground",
    "model",
    "specs",
    "machine",
    "parallel",
    "serving",
    "simulation",
    "training",
    "formulas",
    "search",
    "accuracy",
    "bench",
    "report",
)
ORDER = (*ORDER, "__init__", "cli", "__main__")


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") or "__init__"


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path, modules=FILES):
    """The modules of this package that a file imports, anywhere in it, functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module and node.module.split(".")[0] == "llmcost":
                for alias in node.names:
                    inner = ".".join([*node.module.split(".")[1:], alias.name])
                    yield inner if inner in modules else ".".join(node.module.split(".")[1:]) or "__init__"
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("llmcost.") for alias in node.names if alias.name.startswith("llmcost"))


def floor_of(module):
    return ORDER.index(module.split(".")[0])


def circles(graph):
    """Modules that import each other, directly or by way of others: what is left when all leaves are taken away."""
    graph = {name: set(used) & graph.keys() - {name} for name, used in graph.items()}
    while leaves := [name for name, used in graph.items() if not used & graph.keys()]:
        for name in leaves:
            del graph[name]
    return sorted(graph)


def test_the_package_has_at_most_14_entries():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    assert len(entries) <= 14, sorted(entries)


def test_imports_run_one_way_between_floors():
    back_up = [
        (name, used) for name, path in FILES.items() for used in imports_of(path) if floor_of(used) > floor_of(name)
    ]
    assert back_up == []


def test_no_circle_stands_inside_a_floor():
    assert circles({name: list(imports_of(path)) for name, path in FILES.items()}) == []


@pytest.mark.parametrize("folder", ORDER[:-3])
def test_every_floor_says_what_it_answers(folder):
    words = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8")))
    assert words is not None
    assert len(words.split()) > 4


def test_imports_are_found_wherever_they_stand(tmp_path):
    """That the tests above can fail."""
    path = tmp_path / "some.py"
    path.write_text(
        "from llmcost.specs import catalog\ndef f():\n    from llmcost import __version__\n    import llmcost.cli\n",
        encoding="utf-8",
    )
    assert list(imports_of(path)) == ["specs.catalog", "__init__", "cli"]
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["a", "b", "c"]
