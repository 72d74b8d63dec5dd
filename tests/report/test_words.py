"""Tables and explanations in Chinese: every English word that they can show has one, and nothing else changes."""

import ast
import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest
from commands_shown import SHOWN, shown

import llmcost.report
from llmcost.formulas import quantities, training_quantities
from llmcost.ground.options import declared
from llmcost.report.phrases import untold
from llmcost.report.tables import Table, to_markdown, to_text
from llmcost.report.words import speak, told
from llmcost.report.wrapping import wide
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.training.options import TrainingOptions

FOLDER = Path(llmcost.report.__file__).parent
DATA = json.loads((FOLDER / "words.zh.json").read_text("utf-8"))
# Charts and pages draw their own text, files of data have none.
DRAWN = re.compile(r"charts|plots|html|figures|palette|words|phrases|wrapping")
HOW = "add it to llmcost/report/words.zh.json: its English phrase, {} for a figure, and the Chinese one"


@pytest.fixture
def in_chinese():
    speak("zh")
    yield
    speak("en")


def written(path):
    """The texts that a file writes, {} where something is put in: sentences, and words that begin with a capital."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if id(node) in inside | said:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        text = re.sub(r"(?<=[A-Za-z])\{\}|\{\}(?=[A-Za-z])", "", text).replace("{}", "7")
        if " " in text.strip() or text[:1].isupper():
            yield text


@pytest.mark.parametrize(
    "path", [each for each in sorted(FOLDER.glob("*.py")) if not DRAWN.search(each.stem)], ids=lambda path: path.stem
)
def test_every_sentence_that_a_report_writes_has_a_chinese_one(path):
    assert {text: words for text in written(path) if (words := untold(text, "zh"))} == {}, HOW


@pytest.mark.parametrize("known", [quantities.QUANTITIES, training_quantities.QUANTITIES], ids=["estimate", "train"])
def test_what_every_figure_counts_is_said_in_chinese(known):
    assert {each.what: words for each in known.values() if (words := untold(each.what, "zh"))} == {}, HOW


@pytest.mark.parametrize("options", [Options, TrainingOptions])
def test_what_every_letter_of_an_option_means_is_said_in_chinese(options):
    meanings = [each.meaning for each in declared(options).values() if each.meaning]
    assert meanings
    assert {text: words for text in meanings if (words := untold(text, "zh"))} == {}, HOW
