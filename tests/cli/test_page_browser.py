"""The page in a real browser: figures, charts, links, formulas, keyboard, width of a phone; behind a server and alone.

Needs Playwright (the extra `dev`) and Chromium of the system (Debian: apt-get install chromium); the page that runs
alone needs npm too, once. Where one of them is missing these tests are skipped and say which.
"""

import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from urllib.request import urlopen

import pytest

from llmcost.cli.page import answer, words
from llmcost.cli.page_build import IN_BROWSER, build_page
from llmcost.ground.errors import InputError
from llmcost.ground.units import scaled
from llmcost.ground.units import seconds as seconds_in_words

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := which(name))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.usefixtures("as_users_have_it"),
]
DESK = {"width": 1360, "height": 900}
MIX = "model=mixtral-8x7b&hw=h200&gpus=2&engine=vllm&concurrency=64&prompt=2k&output=500"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address():
    """Of `llmcost web`, as a process of its own."""
    command = [sys.executable, "-m", "llmcost", "web", "--no-open", "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"LLMCOST_VERIFY": ""}
    ) as server:
        assert server.stderr is not None
        yield re.search(r"http://\S+", server.stderr.readline())[0]
        server.terminate()


@pytest.fixture
def visit(browser, address):
    """Opens a page whose answer is there; when the test ends, nothing was complained of and nothing came from afar."""
    opened, wrong = [], []

    def go(state="", base=address, viewport=DESK, **how):
        page = browser.new_page(viewport=viewport, **how)
        opened.append(page)
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.startswith((base, "blob:")) or wrong.append(asked.url))
        page.goto(f"{base}#{state}" if state else base)
        settled(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert wrong == []


def settled(page):
    """Wait until the last question is answered and drawn."""
    page.wait_for_selector("main[aria-busy=false]", timeout=60_000)
    return page


def change(page, control, text):
    page.fill(f"#c-{control}", text)
    settled(page)


def charts(page):
    """Each chart by its title, as it is drawn."""
    return {each.inner_text().split("\n")[0]: each.inner_html() for each in page.query_selector_all("#charts figure")}


# -- the figures ------------------------------------------------------------------------------------


def in_words(path, value):
    """A figure as the command line writes it."""
    if value is None:
        return "not known"
    if path.endswith(("_bytes", "kv_cache.bytes", "bytes_per_token")):
        return scaled(value, "B")
    if path.endswith(("seconds", "seconds_per_step")):
        return seconds_in_words(value)
    if path.startswith("flops."):
        return scaled(value, "FLOP")
    return None


@pytest.mark.parametrize(
    "state",
    [
        MIX, "model=llama3-70b&hw=jetson-orin-nano-8gb&batch=16", "model=qwen3-8b",
        "model=gemma3-27b&hw=m3-ultra&engine=mlx&prompt=1k&output=100",
    ],
)  # fmt: skip
def test_every_figure_is_the_command_lines(state, visit):
    options = dict(pair.split("=") for pair in state.split("&"))
    [document] = answer({"ask": "estimate", "options": options})["documents"]
    shown = [
        (each.get_attribute("data-path"), each.inner_text()) for each in visit(state).query_selector_all(".figure")
    ]
    assert len(shown) > 20 if "hw" in options else len(shown) > 10
    compared = 0
    for path, text in shown:
        value = functools.reduce(lambda found, key: found[key], path.split("."), document)
        expected = in_words(path, value)
        if expected is not None:
            assert text == expected, path
            compared += 1
        else:  # counts and rates
            digits = float(re.sub(r"[^\d.]", "", text.replace("tokens/s", "").replace("/s", "")))
            scale = {"B": 1e9, "M": 1e6, "T": 1e12}.get(text[-1], 1)
            assert digits * scale == pytest.approx(value, rel=0.006), path
    assert compared > 8


def test_the_page_shows_the_notes_and_the_command_that_says_the_same(visit, cli):
    page = visit("model=llama3-8b&hw=h100&context=20k")
    [command] = page.locator("#verdict code").all_inner_texts()
    assert command == "llmcost estimate llama3-8b --hw h100 --context 20k"
    note = cli(*command.split()[1:]).err.removeprefix("llmcost: ").strip()
    assert note in page.inner_text("#verdict")


def test_charts_move_with_the_controls(visit):
    page = visit("model=llama3.2-1b&hw=h100-sxm&batch=16")
    before = charts(page)
    assert list(before) == [
        "Memory of a GPU", "Time by operator", "Roofline", "Throughput against speed for a user",
    ]  # fmt: skip
    change(page, "batch", "4")
    after = charts(page)
    assert [name for name in before if before[name] == after[name]] == []
    change(page, "batch", "16")
    assert charts(page) == before


def test_what_would_make_it_fit_is_one_click_away(visit):
    page = visit("model=llama3-70b&hw=h100")
    assert "Does not fit" in page.inner_text("#verdict")
    page.click("#verdict .ways button:has-text('2 GPUs')")
    settled(page)
    assert page.input_value("#c-gpus") == "2"
    assert "Does not fit" not in page.inner_text("#verdict")


def test_a_link_brings_everything_back(visit):
    page = visit("model=llama3.2-1b&hw=h100")
    change(page, "hw", "l40s")
    change(page, "weight_dtype", "int4-g128")
    again = visit(page.url.partition("#")[2])
    assert again.inner_text("main") == page.inner_text("main")
    assert again.input_value("#c-weight_dtype") == "int4-g128"


def test_a_figure_tells_its_formula_to_pointer_and_keyboard(visit):
    page = visit("model=llama3-8b&hw=h100-sxm")
    said = answer({"ask": "explain", "options": {"model": "llama3-8b", "hw": "h100-sxm"}, "quantity": "kv_cache.bytes"})
    [each] = said["documents"][0]["explanations"]
    figure = page.locator("[data-path='memory.weights_bytes']").first
    figure.hover()
    page.wait_for_selector("#formula:not([hidden])")
    page.keyboard.press("Escape")
    assert page.is_hidden("#formula")
    page.locator("[data-path='kv_cache.bytes']").first.focus()
    page.wait_for_selector("#formula code")
    told = page.inner_text("#formula")
    assert f"= {each['letters']}" in told
    assert f"= {each['sizes']}" in told
    assert each["source"] in told
    page.locator("[data-path='decode.expected.seconds_per_step']").first.focus()
    page.wait_for_selector("#formula details")
    kernels = page.locator("#formula summary code:first-child").all_inner_texts()
    assert {"qkv_proj", "attention", "down_proj"} <= {*kernels}


def test_every_figure_has_a_formula(visit):
    state = "model=llama3.2-1b&hw=h100&engine=vllm&concurrency=8&prompt=1k&output=99"
    page = visit(state)
    options = dict(pair.split("=") for pair in state.split("&"))
    paths = {each.get_attribute("data-path") for each in page.query_selector_all(".figure")}
    [found] = answer({"ask": "explain", "options": options})["documents"]
    assert paths <= {each["quantity"] for each in found["explanations"]}


# -- layouts, training, money, languages ------------------------------------------------------------


def texts_of(part):
    """Every text of the page's words."""
    if isinstance(part, dict | list):
        return [text for each in (part.values() if isinstance(part, dict) else part) for text in texts_of(each)]
    return [part]


def titles(page, chart):
    """What the marks of a chart say under the pointer."""
    return page.eval_on_selector_all(
        "#charts figure", "(all, name) => all.filter((each) => each.querySelector('h2').textContent === name)"
        ".flatMap((each) => [...each.querySelectorAll('title')].map((title) => title.textContent))", chart
    )  # fmt: skip


def test_the_front_over_layouts_has_the_command_lines_figures_and_moves(visit, cli):
    state = "model=llama3-8b&hw=h100&gpus=4&engine=vllm&prompt=1k&output=100&concurrency=16&price=2.5"
    page = visit(state)
    marks = titles(page, "Throughput against speed, by layout")
    for tp, dp in ((1, 4), (2, 2), (4, 1)):
        [mark] = [each for each in marks if each.startswith(f"tp {tp}, dp {dp}, concurrency 16:")]
        typed = [text for pair in state.split("&")[1:] for text in (f"--{pair.split('=')[0]}", pair.split("=")[1])]
        asked = cli("estimate", "llama3-8b", *typed, "--tp", tp, "--dp", dp, "--json")
        found = json.loads(asked.out)
        e = found["serving"]["expected"]
        shown = [float(each.replace(",", "")) for each in mark.partition(": ")[2].split(", ")]
        assert shown == pytest.approx([e["output_tokens_per_s_per_gpu"], 1 / e["tpot_seconds"]], rel=0.006)
        [dear] = [each for each in titles(page, "Dollars a million output tokens") if each.startswith(mark[:27])]
        dollars = found["cost"]["dollars_per_million_output_tokens"]
        assert float(dear.partition(": ")[2].split(", ")[0]) == pytest.approx(dollars, rel=0.006)
    before = charts(page)
    change(page, "price", "5")
    after = charts(page)
    assert [name for name in before if before[name] != after[name]] == ["Dollars a million output tokens"]


def test_a_training_run_and_money_are_the_command_lines_and_an_error_of_theirs_stands_at_its_control(visit, cli):
    page = visit("model=llama3.2-1b&hw=h100&gpus=8&tokens=1T&price=2.5")
    [command] = [each for each in page.locator("code.line").all_inner_texts() if each.startswith("llmcost train")]
    run = json.loads(cli(*command.split()[1:], "--json").out)
    told = page.inner_text("#training")
    for text in (seconds_in_words(run["step_seconds"]), scaled(run["memory"]["total_bytes"], "B"), f"{run['mfu']:.1%}"):
        assert text.replace("%", "") in told
    cost = json.loads(cli("estimate", "llama3.2-1b", "--hw", "h100", "--gpus", 8, "--price", 2.5, "--json").out)["cost"]
    table = page.inner_text("#tables details:has-text('million tokens')")
    assert f"${cost['dollars_per_million_output_tokens']:.3g}" in table
    change(page, "global_batch", "many")
    assert page.inner_text("#e-global_batch").startswith("--global-batch")
    assert "Fits" in page.inner_text("#verdict")


def test_the_page_speaks_chinese_and_the_link_keeps_it(visit):
    page = visit("model=llama3.2-1b&hw=h100&gpus=2&tokens=1T&price=2.5")
    page.click("#language")
    settled(page)
    assert "lang=zh" in page.url
    assert page.get_attribute("html", "lang") == "zh"
    for text in ("放得下", "每卡显存", "屋顶线", "吞吐量与速度，按布局", "训练", "GPU 时", "批大小"):
        assert text in page.inner_text("body")
    shown = page.inner_text("body")
    english = {each for each in texts_of(words("en")) if re.search(r"[a-z]{4}", each)} - {*texts_of(words("zh"))}
    english -= {"attention"}  # an operator's name
    assert len(english) > 100
    assert [text for text in english if re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", shown)] == []
    again = visit(page.url.partition("#")[2])
    assert again.inner_text("main") == page.inner_text("main")
    again.click("#language")
    settled(again)
    assert "Fits" in again.inner_text("#verdict")
    assert "lang" not in again.url
    assert "✓ 放得下" in visit("lang=zh").inner_text("#verdict")  # a language alone: the question of a first visit


# -- bad input --------------------------------------------------------------------------------------


def test_a_message_stands_beside_the_control_that_caused_it_and_goes_away(visit, cli):
    page = visit("model=llama3-8b&hw=h100")
    change(page, "batch", "many")
    said = cli("estimate", "llama3-8b", "--hw", "h100", "--batch", "many").err.removeprefix("llmcost: ").strip()
    assert page.inner_text("#e-batch") == said
    assert page.get_attribute("#c-batch", "aria-invalid") == "true"
    assert page.get_attribute("#charts", "class") == "stale"
    change(page, "batch", "2")
    assert page.inner_text("#e-batch") == ""
    assert page.get_attribute("#charts", "class") == ""
    assert "Fits" in page.inner_text("#verdict")


def test_markup_in_names_titles_and_links_stays_text(visit):
    mark = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    page = visit("model=" + mark.replace(" ", "%20"))
    assert mark in page.inner_text("#e-model")
    spec = Path(__file__).resolve().parents[2] / "models" / "llama3-8b.yaml"
    lines = spec.read_text("utf-8").splitlines()
    text = "\n".join(f"title: '{mark}'" if line.startswith("title:") else line for line in lines)
    page.set_input_files("#file", [{"name": f"{mark}.yaml", "mimeType": "text/yaml", "buffer": text.encode()}])
    page.wait_for_selector("#verdict h2")
    settled(page)
    assert mark in page.inner_text("#verdict h2")
    assert mark in page.inner_text("#controls")
    assert page.locator("main img, main script, form img, form script").count() == 0


def test_a_model_file_is_read_and_kept_in_the_link(visit):
    config = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512,
              "architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-5, "hidden_act": "silu"}  # fmt: skip
    page = visit("hw=l4")
    page.set_input_files(
        "#file", [{"name": "tiny.json", "mimeType": "text/plain", "buffer": json.dumps(config).encode()}]
    )
    page.wait_for_selector("#verdict .status")
    settled(page)
    assert "tiny" in page.inner_text("#verdict h2")
    assert visit(page.url.partition("#")[2]).inner_text("main") == page.inner_text("main")
    page.click("text=Remove the file")
    settled(page)
    assert "MODEL: which one?" in page.inner_text("#e-model")


def test_an_encoder_has_a_pass_and_no_step(visit):
    page = visit("hw=l4")
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 768, "intermediate_size": 3072,
              "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
              "hidden_act": "gelu", "type_vocab_size": 2, "layer_norm_eps": 1e-12,
              "position_embedding_type": "absolute"}  # fmt: skip
    page.set_input_files(
        "#file", [{"name": "bert.json", "mimeType": "text/plain", "buffer": json.dumps(config).encode()}]
    )
    page.wait_for_selector("#verdict .status")
    settled(page)
    assert "Whole batch" in page.inner_text("#verdict")
    assert "TPOT" not in page.inner_text("main")
    assert "decode" not in page.inner_text("#charts")


# -- hands and eyes ---------------------------------------------------------------------------------


def test_the_keyboard_reaches_every_control_and_figure(visit):
    page = visit("model=llama3-8b&hw=h100-sxm")
    page.evaluate(
        "window.reached = []; addEventListener('focusin', ({ target }) => "
        "reached.push(target.id || target.dataset.path || ''))"
    )
    page.focus("#c-model")
    for _ in range(110):
        page.keyboard.press("Tab")
    reached = {*page.evaluate("reached")}
    inputs = {each.get_attribute("id") for each in page.query_selector_all("#controls input")}
    figures = {each.get_attribute("data-path") for each in page.query_selector_all(".figure")}
    assert inputs | figures <= reached
    labels = [each.get_attribute("for") for each in page.query_selector_all("#controls label")]
    assert inputs <= {*labels}


def test_nothing_is_wider_than_the_screen_and_paper_follows_the_theme(visit):
    state = "model=llama3-70b&hw=h100&gpus=4&concurrency=64&prompt=2k&output=500&price=2&tokens=1T"
    page = visit(state, viewport={"width": 390, "height": 844})  # groups of controls are closed on narrow ones
    for width in (390, 320, 1360):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == (scheme == "light")


def test_an_answer_is_there_within_a_second_and_a_half(visit):
    def once():
        began = time.monotonic()
        visit("model=llama3.1-8b&hw=h100-sxm&batch=16").wait_for_selector("#verdict .status")
        return time.monotonic() - began

    assert any(once() < 1.5 for _ in range(8))  # the best of some: another program may take the processor meanwhile


# -- alone ------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """A web server that knows nothing of the page but its policy, which then holds for its worker too."""

    def end_headers(self):
        self.send_header("Content-Security-Policy", IN_BROWSER)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "page"
    try:
        build_page(folder, None)
    except InputError as error:
        if folder.exists() or "fetch" not in str(error):
            raise
        pytest.skip(f"the parts of the page cannot be had: {error}")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


REPLIES = """
async (questions) => {
  const worker = new Worker("worker.js", { type: "module" });
  const replies = new Promise((tell) => {
    const found = [];
    worker.onmessage = ({ data }) => "answer" in data && found.push(data.answer) === questions.length && tell(found);
  });
  questions.forEach((question, number) => worker.postMessage({ number, question }));
  return replies;
}
"""
WATCHED = """
const Usual = Worker;
Worker = class extends Usual {
  constructor(...given) {
    super(...given);
    window.drawnBefore = document.querySelectorAll("#charts figure").length;
  }
};
"""


def test_the_first_answer_of_the_page_alone_is_there_before_python_and_is_what_python_answers(alone, browser):
    pairs = json.loads(urlopen(f"{alone}first.json").read())
    explained = [each for each in pairs if '"explain"' in each[0]]
    some = [each for each in pairs if each not in explained] + explained[::25]
    assert len(some) > 8
    page = browser.new_page()
    page.goto(f"{alone}setup.json")
    assert page.evaluate(REPLIES, [question for question, _ in some]) == [reply for _, reply in some]
    page.close()
    asked = {json.loads(question).get("quantity") for question, _ in explained}
    for lang in ("en", "zh"):
        page = browser.new_page(locale=lang)
        page.add_init_script(WATCHED)
        page.goto(alone)
        # Not `wait_for_function`, which evaluates inside the page what the page's own policy forbids.
        deadline = time.monotonic() + 60
        while (drawn := page.evaluate("window.drawnBefore")) is None and time.monotonic() < deadline:
            page.wait_for_timeout(20)
        assert drawn == 4
        assert {each.get_attribute("data-path") for each in page.query_selector_all(".figure")} <= asked
        page.close()


def test_the_page_alone_answers_within_a_second_and_a_half_and_then_the_last_of_what_was_typed(browser, alone):
    def once():
        page = browser.new_page(viewport=DESK)
        began = time.monotonic()
        page.goto(alone)
        page.wait_for_selector("#verdict .status")
        return time.monotonic() - began, page

    took, page = once()
    assert page.is_visible("#starting")
    for batch in ("1", "2", "4"):
        page.fill("#c-batch", batch)
    page.wait_for_selector("#verdict code:has-text('--batch 4')", timeout=60_000)
    page.wait_for_selector("#starting", state="hidden", timeout=60_000)
    settled(page)
    assert took < 1.5 or any(once()[0] < 1.5 for _ in range(7))  # the best of some, as above


def test_the_page_alone_says_what_the_page_behind_a_server_says(visit, alone):
    state = "model=llama3.2-1b&hw=l4&engine=vllm&concurrency=16&prompt=2k&output=500&tokens=1B&lang=zh"
    page = visit(state, base=alone)
    assert page.inner_text("main") == visit(state).inner_text("main")
    page.locator("[data-path='serving.expected.tpot_seconds']").hover()
    page.wait_for_selector("#formula code", timeout=60_000)
    change(page, "batch", "1..4")
    assert "列表用于" in page.inner_text("#e-batch")
