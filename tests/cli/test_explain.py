"""`ops` and `explain`: operators that sum to the answer, figures that are found by words, each with its formula."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from answered import MISSING, ROOT, answer_of, at

import llmcost
from llmcost.formulas.folding import _short
from llmcost.formulas.quantities import QUANTITIES
from llmcost.ground.symbols import Expression, evaluate

# -- ops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt2", "llama3-8b"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "train"])
def test_operators_sum_to_the_total_and_the_total_is_that_of_the_estimate(cli, model, phase):
    options = [model, "--hw", "rtx4090", "--batch", 3, "--context", 700]
    result = answer_of(cli, "ops", *options, "--phase", phase)
    assert (result["schema"], result["model"], result["phase"]) == ("llmcost.ops/1", model, phase)
    rows, estimate = result["operators"], answer_of(cli, "estimate", *options, "--chunk", 10**6)  # prompts in one piece

    for figure in ("flops", "params", "bytes"):
        assert sum(row[figure] for row in rows) == result["total"][figure]
    assert all(row["flops"] == row["executions"] * row["flops_each"] for row in rows)
    assert all(row["params"] == row["executions"] * row["params_each"] for row in rows)
    assert sum(row["share"] for row in rows) == pytest.approx(1)

    assert result["total"]["params"] == estimate["model"]["params"]["total"]
    flops = {
        "prefill": estimate["flops"]["prefill"]["full"],
        "decode": 3 * estimate["flops"]["per_token"]["total"],  # a token of each of 3 sequences
        "train": estimate["flops"]["forward"]["full"],
    }
    assert result["total"]["flops"] == flops[phase]
    times = {
        "prefill": estimate["prefill"]["expected"]["seconds"],
        "decode": estimate["decode"]["expected"]["seconds_per_step"],
        "train": 3 * 700 / estimate["training"]["expected"]["tokens_per_s"],
    }
    assert sum(row["seconds"] for row in rows) == pytest.approx(times[phase])


def test_operators_without_a_gpu_have_no_times(cli):
    rows = answer_of(cli, "ops", "gpt2")["operators"]
    assert {(row["seconds"], row["share"]) for row in rows} == {(None, None)}


def test_operators_name_their_shapes_in_letters_and_in_numbers(cli):
    rows = {row["operator"]: row for row in answer_of(cli, "ops", "gpt2", "--batch", 2, "--context", 512)["operators"]}
    assert rows["up_proj"]["shape"] == "(b, s, h) × (h, i) → (b, s, i)"
    assert rows["up_proj"]["sizes"] == "(2, 512, 768) × (768, 3072) → (2, 512, 3072)"
    assert rows["up_proj"]["flops_formula"] == "2·b·s·h·i"
    assert rows["up_proj"]["executions"] == 12  # layers


def test_operators_as_csv_and_markdown_have_the_rows_of_the_json(cli):
    rows = answer_of(cli, "ops", "gpt2")["operators"]
    header, *lines = csv.reader(io.StringIO(cli("ops", "gpt2", "--csv").out))
    assert header == list(rows[0])
    assert [line[0] for line in lines] == [row["operator"] for row in rows]
    markdown = cli("ops", "gpt2", "--markdown").out
    assert [row["operator"] for row in rows if f"| {row['operator']} |" not in markdown] == []


# -- explain ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["kv_cache.bytes", "params"])
def test_the_first_line_of_an_explanation_names_the_engine(cli, asked):
    """In the words of estimate; a figure asked for by its path, and a list of several."""
    chosen = ["explain", "llama3-8b", asked, "--hw", "rtx4090"]
    assert " under vllm: " in cli(*chosen, "--engine", "vllm").out.splitlines()[0]
    assert " under an optimised engine: " in cli(*chosen).out.splitlines()[0]
    assert " under " not in cli("explain", "llama3-8b", asked).out.splitlines()[0]
    assert answer_of(cli, *chosen, "--engine", "vllm")["engine"] == "vllm"


OF_OTHERS = ("memory.mem_fraction_static", "memory.sampler_bytes", "serving.draft_bytes")  # engines, guesses


def test_explaining_everything_gives_every_figure_with_the_value_of_the_estimate(cli):
    arguments = ["llama3-8b", "--hw", "rtx4090", "--output", 64, "--concurrency", 4, "--engine", "optimised"]
    result = answer_of(cli, "explain", *arguments)
    assert (result["schema"], result["model"]) == ("llmcost.explain/1", "llama3-8b")
    assert [each["quantity"] for each in result["explanations"]] == [
        path for path in QUANTITIES if not path.startswith(("encoding.", "offload.")) and path not in OF_OTHERS
    ]
    estimate = answer_of(cli, "estimate", *arguments)
    for each in result["explanations"]:
        assert each["value"] == pytest.approx(at(estimate, each["quantity"])), each["quantity"]
        assert all(each[key] for key in ("what", "letters", "sizes", "source")), each["quantity"]
        assert each["unit"] == QUANTITIES[each["quantity"]].unit


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "llama.cpp", "sglang", "sglang-0.5.23"])
def test_explaining_everything_under_an_engine_gives_its_figures(cli, engine):
    """Its kernels have forms of time of their own, and vLLM a sampler."""
    arguments = ["llama3.1-8b", "--hw", "h100", "--engine", engine]
    estimate = answer_of(cli, "estimate", *arguments)
    explained = {each["quantity"]: each["value"] for each in answer_of(cli, "explain", *arguments)["explanations"]}
    assert explained == {path: pytest.approx(at(estimate, path)) for path in explained}
    assert explained.keys() >= {"prefill.expected.seconds", "decode.expected.seconds_per_step"}
    assert ("memory.sampler_bytes" in explained) is (engine == "vllm")
    assert ("memory.mem_fraction_static" in explained) is engine.startswith("sglang")


def test_explaining_without_a_gpu_gives_the_figures_that_need_none(cli):
    found = {each["quantity"] for each in answer_of(cli, "explain", "gpt2")["explanations"]}
    estimate = answer_of(cli, "estimate", "gpt2")
    assert found == {path for path in QUANTITIES if at(estimate, path) not in (None, MISSING)}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("kv_cache.bytes", ["kv_cache.bytes"]),
        ("flops.prefill", ["flops.prefill.full", "flops.prefill.causal"]),
        ("bytes_per_token", ["kv_cache.bytes_per_token"]),
    ],
)
def test_a_quantity_is_asked_for_by_its_path_the_head_or_the_tail_of_it(cli, asked, found):
    assert [each["quantity"] for each in answer_of(cli, "explain", "gpt2", asked)["explanations"]] == found


def test_an_explanation_reads_formula_sizes_value_source_and_letters(cli):
    answer = cli("explain", "gpt2", "kv_cache.bytes")
    assert (answer.code, answer.err) == (0, "")
    assert "= 2·L·b·c·h·Bkv\n" in answer.out
    assert "= 2·12·1·1,024·768·2\n" in answer.out
    assert "= 37,748,736 B (37.7 MB)\n" in answer.out  # 2·12·1024·768·2
    assert "source: slides" in answer.out
    assert "L = 12: layers" in answer.out


def test_an_explanation_gives_every_letter_of_its_formula_and_none_of_another_figures(cli):
    shown = cli("explain", "llama3-8b", "decode.expected.tokens_per_s", "--hw", "h100").out
    assert "  = b / decode.expected.seconds_per_step\n" in shown
    assert shown.partition("\nwhere\n")[2] == "  b = 1: batch: sequences\n"
    assert "with " not in shown
    assert "where" not in cli("explain", "llama3-8b", "memory.total_bytes", "--hw", "h100").out  # it has no letters


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "llama3-8b", "running", "--hw", "h100", "--output", 64, "--concurrency", 4),
        ("train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--explain", "expected.step_seconds"),
        ("train", "llama3-8b", "--hw", "h100", "--gpus", 8, "--explain", "with_interruptions.wall_seconds"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_figure_is_explained_by_its_own_name(cli, arguments):
    each = answer_of(cli, *arguments)["explanations"][0]
    assert not each["quantity"].endswith(each["letters"])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["kv"], "kv_cache.bytes_per_token"),
        (["weights"], "memory.weights_bytes"),
        (["权重"], "memory.weights_bytes"),
        (["vram"], "memory.used_bytes"),
        (["显存"], "memory.total_bytes"),
        (["ffn"], "model.params.mlp"),
        (["计算量"], "flops.per_token.total"),
        (["kv", "cache", "per", "token"], "kv_cache.bytes_per_token"),
        (["roofline", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["屋顶线", "--hw", "h100"], "decode.bound.compute_seconds"),
        (["首字延迟", "--hw", "h100"], "prefill.expected.seconds"),
        (["ITL", "--hw", "h100", "--output", 9, "--concurrency", 2], "serving.expected.tpot_seconds"),
        (["吞吐量", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["Adam"], "training.state_bytes"),
        (["time to first token", "--hw", "h100"], "prefill.expected.seconds"),
        (["latency", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["latency", "--hw", "h100", "--output", 9], "request.expected.latency_seconds"),
        (["inter-token latency", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["decode speed", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["推理速度", "--hw", "h100"], "decode.expected.tokens_per_s"),
        (["解码延迟", "--hw", "h100"], "decode.expected.seconds_per_step"),
        (["arithmetic intensity", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["算术强度", "--hw", "h100"], "decode.bound.memory_seconds"),
        (["MFU", "--hw", "h100"], "prefill.textbook.seconds"),
        (["how many users", "--hw", "h100"], "memory.max_batch"),
        (["显存占用", "--hw", "h100"], "memory.used_bytes"),
        (["量化"], "memory.weights_bytes"),
    ],
    ids=lambda words: words[0],
)
def test_a_quantity_is_found_by_words_in_english_and_chinese(cli, words, found):
    answer = cli("explain", "llama3-8b", *words)
    assert (answer.code, answer.err) == (0, "")
    assert re.search(rf"^{re.escape(found)}(?: |:)", answer.out, re.MULTILINE), answer.out


def test_a_chinese_word_finds_what_the_english_one_does(cli):
    english, chinese = (answer_of(cli, "explain", "llama3-8b", words) for words in ("KV cache", "KV缓存"))
    assert [each["quantity"] for each in english["explanations"]] == [
        each["quantity"] for each in chinese["explanations"]
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("serving.running", "give --output, and --concurrency, --rate or --requests"),
        ("request", "give --output"),
        ("offload.read_bytes", "give --offload and --host"),
        ("price", "estimate --price answers that"),
        ("HFU", "llmcost mfu answers that"),
    ],
)
def test_what_has_no_value_here_says_what_would_give_it(cli, words, why):
    answer = cli("explain", "llama3-8b", words, "--hw", "h100")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert why in answer.err


def test_words_of_one_figure_explain_it_and_words_of_several_list_them(cli):
    alone = cli("explain", "llama3-8b", "参数量").out
    assert alone == cli("explain", "llama3-8b", "model.params.total").out
    listed = cli("explain", "llama3-8b", "weights").out
    assert listed.startswith("weights: ")
    assert "= " not in listed
    assert len(answer_of(cli, "explain", "llama3-8b", "weights")["explanations"]) == listed.count("\n") - 2
    said = [line.split()[0] for line in cli("explain", "llama3-8b", "flops").out.splitlines() if line[:6] == "flops."]
    assert "flops.prefill.full" in "\n".join(said)


def test_a_ceiling_is_written_as_one(cli):
    """Pages of 16 tokens: 8,192 of them are 512 pages, 8,193 one more."""
    shown = cli("explain", "llama3-8b", "memory.kv_cache_bytes").out
    assert "·⌈c / 16⌉\n" in shown
    assert "⌊" not in shown
    (page,) = answer_of(cli, "explain", "llama3.1-8b", "memory.kv_cache_bytes", "-c", 8193)["explanations"]
    assert page["value"] == 513 * 16 * page["legend"]["L"]["value"] * 2 * 8 * 128 * 2


@pytest.mark.parametrize(
    "quantity", ["decode.expected.seconds_per_step", "prefill.expected.seconds", "serving.expected.tpot_seconds"]
)
def test_parts_of_a_long_time_sum_to_it(cli, quantity):
    asked = ["deepseek-v3", quantity, "--hw", "h200", "--tp", 8, "--output", 99, "--concurrency", 9]
    (each,) = answer_of(cli, "explain", *asked)["explanations"]
    sums = {quantity: each["value"]} | {entry["name"]: entry["value"] for entry in each["where"]}
    assert each["parts"]
    for name, parts in each["parts"].items():
        assert sum(part["value"] for part in parts) == pytest.approx(sums[name]), name
        assert all(part["letters"] for part in parts)
    shown = cli("explain", *asked).out
    joined = re.sub(r"[\s│]+", "", shown)  # lines end within names, too
    for name, parts in each["parts"].items():
        if f"{name}=" in joined:  # all but those that a value stands for
            assert all(part["name"].replace(" ", "") in joined for part in parts), name
    assert max(map(len, shown.splitlines())) <= 110


def test_every_formula_is_latex_that_can_be_set(cli):
    """By matplotlib's own reader of LaTeX's mathematics, an independent one; it knows no \\,."""
    from matplotlib.mathtext import MathTextParser

    reader = MathTextParser("path")
    for asked in (["llama3-8b", "--hw", "rtx4090"], ["gpt2", "--hw", "h100", "--tp", 2, "--output", 9, "-b", 3]):
        page = cli("explain", *asked, "--latex").out
        formulas = re.findall(r"^\\\[\n(.*?)\n\\\]$", page, re.MULTILINE | re.DOTALL)
        assert len(formulas) >= len(answer_of(cli, "explain", *asked)["explanations"])
        said = sorted({" ".join(each.split()) for each in formulas if len(each) < 1500}, key=len)
        for formula in [*said[: len(said) // 2], said[-1]]:  # the reader takes its time
            reader.parse(f"${formula}$")
    assert r"\mathrm{kv\_cache.bytes} = 2 \, L \, b \, c \, h \, B_{\mathrm{kv}}" in page


def test_one_form_is_chosen_for_an_explanation(cli, tmp_path):
    for forms, words in (
        (["--latex", "--json"], "--latex and --json"),
        (["--html", tmp_path / "x.html", "--latex"], "--latex and --html"),
    ):
        answer = cli("explain", "gpt2", "kv_cache.bytes", *forms)
        assert (answer.code, answer.out, answer.err) == (2, "", f"llmcost: {words}: choose one\n")
    assert not any(tmp_path.iterdir())


class Page(HTMLParser):
    """The places that a page has, and those that its links lead to."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, _, attrs):
        self.places += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("quantity", ["decode.expected.tokens_per_s", "serving.expected.tpot_seconds", "memory"])
def test_each_name_on_a_page_leads_to_what_it_is(cli, tmp_path, quantity):
    file = tmp_path / "page.html"
    asked = ["llama3-8b", quantity, "--hw", "h100", "--tp", 2, "--output", 99, "--concurrency", 9]
    answer = cli("explain", *asked, "--html", file)
    assert (answer.code, answer.out, answer.err) == (0, "", f"llmcost: wrote {file}\n")
    page = Page(file.read_text("utf-8"))
    assert len(set(page.places)) == len(page.places)
    assert {link.removeprefix("#") for link in page.links} <= set(page.places)
    for each in answer_of(cli, "explain", *asked)["explanations"]:
        figure, inner = each["quantity"], {entry["name"] for entry in each["where"]}
        assert {figure, *(letter.replace(" ", "_") for letter in each["legend"])} <= set(page.places)
        assert {f"{figure}:{name}".replace(" ", "_") for name in inner - set(page.places)} <= set(page.places)
    assert "used in" in page.text


def test_nothing_of_a_model_reaches_a_page_unescaped(cli, tmp_path):
    spec = (ROOT / "models" / "gpt2.yaml").read_text("utf-8")
    file, page = tmp_path / "my.yaml", tmp_path / "page.html"
    file.write_text(re.sub("^title: .*", "title: <script>x</script>", spec, flags=re.MULTILINE), "utf-8")
    assert cli("explain", file, "kv_cache.bytes", "--html", page).code == 0
    assert "<script" not in page.read_text("utf-8")
    assert "&lt;script&gt;" in page.read_text("utf-8")


def test_all_figures_are_drawn_where_none_is_asked_about(cli, tmp_path):
    """Figures that are 0 or no numbers have no bars, and no panel."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "all.svg"
    assert cli("explain", "llama3-8b", "--hw", "h100", "--plot", path).code == 0
    assert "</svg>" in path.read_text("utf-8")


# -- long formulas ----------------------------------------------------------------------------------

MIX = ("llama3-8b", "serving.expected.ttft_seconds", "--hw", "h100", "--engine", "vllm", "--concurrency", 8)
MIX = (*MIX, "--prompt", 1024, "--output", 100)


def test_a_long_formula_is_told_in_a_few_lines_and_its_document_has_all_of_it(cli):
    """What is long in it stands as its value."""
    told = cli("explain", *MIX).out
    assert len(told.splitlines()) < 130
    left_out = r"products without effect that are left out: \d+"
    assert re.search(rf"‹…›: the value of a longer formula; {left_out}; --json has all of it", told)
    [whole] = answer_of(cli, "explain", *MIX)["explanations"]
    assert "‹" not in str(whole)
    assert f"({1000 * whole['value']:.1f} ms)" in told
    assert "‹" not in cli("explain", "llama3-8b", "decode.limit.seconds_per_step", "--hw", "h100").out


def test_a_folded_formula_has_the_value_of_the_whole_and_names_only_what_is_told():
    [each] = llmcost.explain(
        "llama3-8b", "serving.expected.ttft_seconds", "h100", engine="vllm", concurrency=8, prompt=1024, output=100
    ).explanations
    short = each.folded()
    for name in short.formulas:
        assert evaluate(_short(each.formulas[name])) == pytest.approx(evaluate(each.formulas[name]), rel=1e-6), name
    for letters, _ in short.formulas.values():
        named = re.findall(r"(?:B|kernel)\[[^\]]+\]", letters)
        assert [name for name in named if name not in short.formulas] == []


@pytest.mark.parametrize("model", ["llama3-8b", "mixtral-8x7b", "gpt-oss-20b"])
def test_a_name_stands_for_one_intermediate_result_alone(model):
    """An operator has other bytes in a step of decode than in one with prompts."""
    asked = {"hw": "h100", "prompt": 1000, "output": 100, "concurrency": 8}
    for each in llmcost.explain(model, "serving", **asked).explanations:
        values = {name: value for name, _, _, value in each.where}
        for formula in each.formulas.values():
            for atom in formula.atoms():
                if isinstance(atom.value, Expression):
                    assert float(atom.evaluate()) == pytest.approx(float(values[atom.letter])), atom.letter


def test_what_is_long_stands_once_so_that_no_formula_outgrows_its_page():
    """Written out, SGLang's had more letters than memory holds."""
    asked = {"engine": "sglang", "concurrency": 8, "prompt": 1024, "output": 100}
    for each in llmcost.explain("llama3-8b", "serving.expected", "h100", **asked).explanations:
        assert sum(len(letters) for _, letters, _, _ in each.where) < 200_000, each.quantity
        names = [name for name, *_ in each.where]
        assert len(names) == len(set(names))
        assert any(name.startswith("term[") for name in names)


def test_each_operator_of_a_step_has_its_own_part_with_its_kernels(cli):
    [whole] = answer_of(cli, "explain", *MIX)["explanations"]
    parts = {each["name"]: each for each in whole["parts"]["step_of_decode"]}
    assert parts["gate_up_proj"]["named"] == ["kernel[gate_up_proj]"]
    assert {"qkv_proj", "attention", "down_proj", "lm_head"} <= parts.keys()
    assert parts["others"]["value"] < 1e-4  # the host's seconds
