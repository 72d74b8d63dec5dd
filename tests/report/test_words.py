"""Tables and explanations in Chinese: every English word that they can show has one, and nothing else changes."""

import ast
import json
import re
from pathlib import Path

import pytest

import llmcost.report
from llmcost.formulas import quantities, training_quantities
from llmcost.ground.options import declared
from llmcost.report.phrases import translated, untold
from llmcost.report.tables import Table, to_markdown, to_text
from llmcost.report.words import speak, told
from llmcost.report.wrapping import wide
from llmcost.serving.options import Options
from llmcost.specs.catalog import load_hardware, load_model, names
from llmcost.training.options import Options as TrainingOptions

FOLDER = Path(llmcost.report.__file__).parent
DATA = json.loads((FOLDER / "words.zh.json").read_text("utf-8"))
# What writes text of its own, formats and names of fonts.
DRAWN = re.compile(r"explain_html|palette|drawing|fonts|svg|saving|words|phrases|wrapping")
HOW = "add it to llmcost/report/words.zh.json: its English phrase, {} for a figure, and the Chinese one"


def written(path):
    """The texts that a file writes, {} where something is put in: sentences, and words that begin with a capital."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inside |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}  # English
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
        text = re.sub(r"(?<=[A-Za-z)])(?:\{\})+|\{\}(?=[A-Za-z])", "", text).replace("{}", "7")
        if text[:1] in ("<", ":"):  # markup
            continue
        if (" " in text.strip() and text[0] != ",") or text[:1].isupper():
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


def test_what_is_said_of_the_documents_slips_is_said_in_chinese():
    said = [
        f"{each.document} {each.printed}: {each.why}" for name in names("models") for each in load_model(name).published
    ]
    assert said
    assert {text: words for text in said if (words := untold(text, "zh"))} == {}, HOW


def test_titles_stay_as_they_are():
    load_hardware("gb200")
    line = "Llama 3 8B on NVIDIA GB200, one of its two GPUs: decode"
    assert translated(line, "zh") == "Llama 3 8B · NVIDIA GB200, one of its two GPUs：解码"


def test_a_command_to_be_typed_stays_as_it_is():
    """`layers:44` was said as 层：44, which no option takes."""
    typed = "llmcost estimate llama3-70b --hw rtx4090 --offload layers:44 --host ryzen-9-9950x"
    assert translated(f"8 GPUs: {typed}", "zh") == f"8 块 GPU: {typed}"


def test_prose_of_specs_stays_whole():
    note = "The layers that draft further tokens are left out, whatever attention says."
    assert translated(note, "zh") == note


def test_a_phrase_is_the_longest_that_fits_and_figures_and_names_go_where_chinese_has_them():
    assert translated("17.9 GB used of 25.3 GB", "zh") == "占用 17.9 GB，共 25.3 GB"
    assert translated("attention", "zh") == "注意力"
    assert translated("attention heads", "zh") == "注意力头数"
    assert [translated(text, "zh") for text in ("Answers", "8 answers")] == ["回答", "8 个回答"]  # ^...$: a whole text
    assert translated("46.7 GB of weights in 84.9 GB a GPU", "zh") == "每卡 84.9 GB 中权重占 46.7 GB"
    touched = "those that uniform routing touches; the limit reads those of one token"
    assert translated(touched, "zh") == "均匀 路由所涉及者；极限只读一个 token 的".replace(" ", "", 1)


def test_what_is_said_of_engines_is_said_in_chinese(cli, monkeypatch):
    monkeypatch.setenv("LLMCOST_LANG", "zh")
    listed = cli("engines").out
    assert "0.0.8 of 2023" in listed  # a version, which was told as 0.0.8 共 2023
    assert "不指定程序：充分优化的引擎" in listed
    assert "vLLM 0.19: profile_run samples min(" in cli("engines", "vllm").out  # a source's title stays whole
    refused = "vLLM runs on GPUs of NVIDIA, AMD, not on Apple M4, for which there are mlx"
    assert translated(refused, "zh") == "vLLM 所支持的 GPU 厂商：NVIDIA, AMD，不能用于 Apple M4，后者可用 mlx"
    assert translated("Llama 3.1 70B on NVIDIA H100 SXM5 80GB under vllm: bf16", "zh").endswith("80GB，引擎 vllm: bf16")


def test_words_stand_below_each_other_as_they_did():
    lines = ["limit     no attention", "expected  no attention", "          no attention"]
    assert {wide(line.partition("不")[0]) for line in (translated(line, "zh") for line in lines)} == {len("expected  ")}


def test_what_is_no_phrase_stays_as_it_is():
    for text in (
        "--memory-utilization 0.9",
        "kv_cache.bytes",
        "h100-sxm",
        "2·b·s·h",
        "https://a.b/attention",
        "8.03 B",
    ):
        assert translated(text, "zh") == text


def test_a_word_without_a_phrase_is_noticed():
    assert untold("  an aubergine of 8.03 B", "zh") == ["an", "aubergine"]
    assert untold("weights of 8,192 tokens", "zh") == []


def test_the_chinese_of_a_phrase_says_each_of_its_figures_once():
    wrong = {}
    for english, said in DATA["phrases"].items():
        figures, places = english.count("{}"), re.findall(r"\{(\d*)\}", said)
        if sorted(places) not in ([""] * figures, [*map(str, range(figures))]):
            wrong[english] = said
    assert wrong == {}


def test_english_is_what_was_written():
    table = Table("weights", ("memory",), "l", [("fits",)], ("expected",))
    english = to_text([table]), to_markdown([table])
    speak("zh")
    chinese = to_text([table]), to_markdown([table])
    speak("en")
    assert (to_text([table]), to_markdown([table])) == english
    assert chinese == ("权重\n显存\n放得下\n预期\n", "**权重**\n\n| 显存 |\n|---|\n| 放得下 |\n\n预期\n")
    assert told("weights") == "weights"


def test_the_terms_are_those_of_the_two_documents():
    """The words that slides and walk print, whichever English word of ours stands for them."""
    terms = {
        "Parameters": "参数量", "FLOPs": "计算量", "memory": "显存", "KV cache": "KV缓存", "embedding": "词嵌入",
        "linear layers": "全连接层", "memory bandwidth": "显存带宽", "capacity": "显存容量", "throughput": "吞吐量",
        "prefill": "预填充", "decode": "解码", "layers": "层数", "activations": "激活值", "gradients": "梯度",
        "recomputation": "重计算", "matrix products": "矩阵乘法", "GPU-years": "卡年", "sequence": "序列",
    }  # fmt: skip
    assert {english: translated(english, "zh") for english in terms} == terms


def test_the_page_of_an_explanation_is_chinese_too(cli, tmp_path):
    page = tmp_path / "a.html"
    assert cli("explain", "llama3-8b", "kv_cache.bytes", "--html", page, "--lang", "zh").code == 0
    text = page.read_text("utf-8")
    assert '<html lang="zh">' in text
    assert "整批在其上下文下的键、值与状态" in text
    assert "字节" in text
    assert "keys" not in text


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_form_for_programs_is_english_and_says_so_where_another_is_asked_for(form, cli, monkeypatch):
    refused = cli("models", "gpt2", form, "--lang", "zh")
    assert (refused.code, refused.out) == (2, "")
    assert f"--lang zh: {form} is for programs, and English" in refused.err
    english = cli("models", "gpt2", form)
    monkeypatch.setenv("LLMCOST_LANG", "zh")
    assert cli("models", "gpt2", form).out == english.out


def test_an_unknown_language_is_refused_and_english_may_be_asked_for_where_the_environment_is_chinese(cli, monkeypatch):
    assert "--lang fr: one of en, zh" in cli("models", "--lang", "fr").err
    english = cli("models").out
    monkeypatch.setenv("LLMCOST_LANG", "zh")
    assert cli("models").out != english
    assert cli("models", "--lang", "en").out == english
    monkeypatch.setenv("LLMCOST_LANG", "klingon")
    refused = cli("models")
    assert (refused.code, refused.err) == (2, "llmcost: LLMCOST_LANG klingon: one of en, zh\n")
