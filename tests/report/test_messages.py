"""Messages of errors in Chinese: what is wrong with the page's controls and with a file, as templates."""

import ast
import json
import re
from pathlib import Path

import pytest

import llmcost.report
from llmcost.cli.page import answer
from llmcost.report.messages import told_message

PACKAGE = Path(llmcost.report.__file__).parent.parent
DATA = json.loads((PACKAGE / "report" / "messages.zh.json").read_text("utf-8"))
RAISED = {"InputError", "SpecError", "ValueError"}
# What reads the page's controls and a model's file, and what refuses a layout, an engine or a GPU.
FILES = (
    "ground/errors", "ground/units", "ground/ranges", "ground/options", "cli/command", "cli/page", "cli/money",
    "cli/launching", "parallel/rules", "serving/estimate", "serving/options", "serving/memory_share", "specs/reader",
    "specs/json_text", "specs/catalog", "training/setup", "training/engine", "training/step",
)  # fmt: skip
HOLE = "7"


def raised(path):
    """The messages that a file raises, 7 where something is put in; of those that are nothing else, none."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args
        ):
            continue
        text = node.args[-1]
        if isinstance(text, ast.JoinedStr):
            said = "".join(each.value if isinstance(each, ast.Constant) else HOLE for each in text.values)
        elif isinstance(text, ast.Constant):
            said = text.value
        else:
            continue
        if re.search(r"[a-z]{2}", re.sub(r"--[\w-]+|MODEL", "", said)):
            yield said


@pytest.mark.parametrize("file", FILES)
def test_every_message_that_a_control_or_a_file_can_cause_has_a_chinese_one(file):
    found = [*raised(PACKAGE / f"{file}.py")]
    # What follows one value, or a table's positions, is said by a template of its own: see below.
    untold = [each for each in found if told_message(each, "zh") == each and "here7" not in each and "s7)" not in each]
    assert untold == [], "add it to llmcost/report/messages.zh.json: the English message, {} for what is put in"


BAD = [
    ({"hw": "h200x"}, "未知的硬件 'h200x'；最接近的："),
    ({"batch": "many"}, "--batch many：应为数字，如 8192、8k 或 15T，得到的是 'many'"),
    ({"batch": "1..4"}, "--batch 1..4：此处只取一个值；列表用于 llmcost sweep"),
    ({"gpus": "0"}, "--gpus 0：至少为 1，至多为 1,000,000"),
    ({"prompt": "100000"}, "--prompt 100000：至少为 1，至多为 上下文 8,192"),
    ({"tp": "3"}, "--tp 3 不能整除 llama3-8b 的 32 个注意力头；最接近的：2 或 4"),
    ({"gpus": "1000"}, "--gpus 1000 即 --tp 8 --pp 125；--pp 125 超过 llama3-8b 的 32 层；同样多的 GPU"),
    ({"engine": "mlx"}, "--engine mlx：MLX 运行于 Apple 的 GPU，不运行于 NVIDIA H100 SXM5 80GB；可用的引擎有 "),
    ({"kv_dtype": "fp8_ds_mla"}, "--kv-dtype fp8_ds_mla：这是潜向量（MLA）的格式，llama3-8b 不缓存潜向量"),
    ({"price": "a.yaml"}, "--price a.yaml：每 GPU 小时的美元数，如 2.5 或 h100=2.5"),
    ({"rate": "3"}, "--rate 3：请求组合需要每个请求输出的 token 数，--output"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), BAD)
def test_the_page_says_in_chinese_what_is_wrong_with_a_control(options, said):
    asked = {"ask": "estimate", "options": {"model": "llama3-8b", "hw": "h100"} | options}
    english, chinese = answer(asked), answer(asked | {"lang": "zh"})
    assert chinese["error"].startswith(said)
    assert re.findall(r"\d+", chinese["error"]) == re.findall(r"\d+", english["error"]) or "32" in said
    assert chinese["control"] == english["control"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "a.json:1：不是有效的 JSON：键名应在双引号内"),
        ("{}", "a.json: model_type：缺少此键"),
        ('{"model_type": "nope"}', "a.json:1: model_type：无法识别架构 'nope'"),
    ],
)
def test_the_page_says_in_chinese_what_is_wrong_with_a_file(text, said):
    asked = {"ask": "estimate", "options": {}, "file": {"name": "a.json", "text": text}, "lang": "zh"}
    assert answer(asked)["error"] == said


def test_a_note_is_said_in_chinese():
    asked = {"ask": "estimate", "options": {"model": "llama3-8b", "context": "16384"}, "lang": "zh"}
    [note] = answer(asked)["notes"]
    assert note.startswith("备注：llama3-8b：16,384 个 token 超出其设计的 8,192 个位置")


def test_the_shell_says_so_too(cli):
    assert cli("estimate", "llama3-8b", "--batch", "0", "--lang", "zh").err == (
        "llmcost: --batch 0：至少为 1，至多为 1,000,000,000\n"
    )


def test_the_longest_message_that_fits_is_said_and_what_is_none_stays():
    assert told_message("--host: 7: no such file", "zh") == "--host: 7：没有此文件"
    assert told_message("an aubergine: of 8 B", "zh") == "an aubergine: of 8 B"
    assert told_message("no such file", "en") == "no such file"


def test_the_chinese_of_a_message_says_each_thing_once():
    wrong = {}
    for part in DATA.values():
        for english, said in part.items():
            holes, places = len(re.findall(r"\{\}|\[\]", english)), re.findall(r"\{(\d*)\}", said)
            if sorted(places) not in ([""] * holes, [*map(str, range(holes))]):
                wrong[english] = said
    assert wrong == {}
