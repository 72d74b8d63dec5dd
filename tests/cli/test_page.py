"""The page of `llmcost web` without a browser: it is answered as the command line is, and gives out nothing else."""

import http.client
import json
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pydantic_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.cli import page_build
from llmcost.cli.page import FILES, LANGUAGES, answer, controls, reply, setup, words
from llmcost.cli.page_build import build_page
from llmcost.cli.page_server import Server
from llmcost.ground.errors import InputError

SCRIPTS = "".join(path.read_text("utf-8") for path in sorted(FILES.glob("*.js")))
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "hidden_act": "silu",
}  # fmt: skip


def typed(options):
    model = options["model"]
    rest = {name: value for name, value in options.items() if name != "model"}
    return [model, *(word for name, value in rest.items() for word in (f"--{name.replace('_', '-')}", value))]


# -- the same answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"model": "llama3-8b"},
        {"model": "llama3-70b", "hw": "h100", "batch": "4", "prompt": "1k", "output": "200"},
        {
            "model": "deepseek-v3",
            "hw": "8xh200",
            "engine": "vllm",
            "concurrency": "64",
            "prompt": "2k",
            "output": "500",
        },
        {"model": "mixtral-8x7b", "hw": "mi300x", "tp": "2", "ep": "2", "weight_dtype": "fp8", "kv_dtype": "fp8"},
        {"model": "llama3-8b", "hw": "jetson-orin-nano-8gb"},  # whose peak is not known
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_the_page_is_answered_with_what_the_command_line_prints(options, cli):
    for ask, more in (("estimate", {}), ("ops", {"phase": "decode"}), ("explain", {"quantity": "memory.used_bytes"})):
        known = {"concurrency", "output"} if ask == "ops" else set()  # which no single pass depends on
        kept = {name: value for name, value in options.items() if name not in known}
        quantity = [more["quantity"]] if "quantity" in more else []
        phase = ["--phase", more["phase"]] if "phase" in more else []
        model, *rest = typed(kept)
        printed = cli(ask, model, *quantity, *rest, *phase, "--json")
        assert answer({"ask": ask, "options": options, **more})["documents"] == [json.loads(printed.out)], printed.err


def test_a_model_file_is_answered_as_the_command_line_answers_it(tmp_path, cli):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(LLAMA), "utf-8")
    file = {"name": "mine.json", "text": json.dumps(LLAMA)}
    [document] = answer({"ask": "estimate", "options": {"hw": "h100"}, "file": file})["documents"]
    assert document == json.loads(cli("estimate", path, "--hw", "h100", "--json").out)
    assert document["model"]["name"] == "mine"


def test_one_option_varies_along_a_curve():
    question = {"ask": "estimate", "options": {"model": "llama3-8b", "hw": "h100"}}
    curve = answer(question | {"vary": ["batch", ["1", "8"]]})["documents"]
    assert [each["workload"]["batch"] for each in curve] == [1, 8]
    assert curve[1] == answer({"ask": "estimate", "options": question["options"] | {"batch": "8"}})["documents"][0]


def test_what_does_not_fit_comes_with_what_would():
    [document] = answer({"ask": "estimate", "options": {"model": "llama3-70b", "hw": "h100"}})["documents"]
    for each in document["remedies"]:
        pairs = zip(each["options"][::2], each["options"][1::2], strict=True)
        more = {flag.removeprefix("--").replace("-", "_"): value for flag, value in pairs}
        [mended] = answer({"ask": "estimate", "options": {"model": "llama3-70b", "hw": "h100"} | more})["documents"]
        assert mended["memory"]["fits"]
        assert "remedies" not in mended


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "control"),
    [
        ({"model": "nothing"}, "model"),
        ({"model": ""}, "model"),
        ({"hw": "h1000"}, "hw"),
        ({"engine": "vlm"}, "engine"),
        ({"batch": "many"}, "batch"),
        ({"batch": "1..4"}, "batch"),
        ({"context": "-1"}, "context"),
        ({"tp": "3"}, "tp"),
        ({"dtype": "fp3"}, "dtype"),
        ({"hw": "h100,h200"}, "hw"),
        ({"concurrency": "8"}, "concurrency"),
        ({"memory_utilization": "7"}, "memory_utilization"),
        ({"gpus": "0"}, "gpus"),
    ],
    ids=str,
)
def test_a_message_is_the_command_lines_and_stands_at_the_control_that_caused_it(wrong, control, cli):
    options = {"model": "llama3-8b", "hw": "h100"} | wrong
    found = answer({"ask": "estimate", "options": options})
    assert found["control"] == control
    assert "\n" not in found["error"]
    if options["model"] and control != "hw":  # the page takes no path, and says so in its own words
        done = cli("estimate", *typed(options))
        assert done.code == 2
        assert done.err == f"llmcost: {found['error']}\n"


@pytest.mark.parametrize("path", ["/etc/passwd", "models/llama3-8b.yaml", "../x", ".", "meta-llama/Llama-3.1-8B-nope"])
@pytest.mark.parametrize("control", ["model", "hw", "engine"])
def test_the_page_opens_no_file_by_its_path(control, path):
    found = answer({"ask": "estimate", "options": {"model": "llama3-8b", "hw": "h100"} | {control: path}})
    assert found["control"] == control
    assert found["error"].startswith("unknown ")


def test_a_broken_model_file_is_named_as_it_was_given_with_its_line():
    for name, text in (
        ("my.yaml", "name: x\nhidden_size: many\n"),
        ("my.json", "{"),
        ("my.yaml", "\x00"),
        ("..", "[]"),
    ):
        found = answer({"ask": "estimate", "options": {}, "file": {"name": name, "text": text}})
        assert found["control"] == "model"
        assert "/tmp" not in found["error"]
        assert name in found["error"] or name == ".."


@pytest.mark.parametrize(
    "name", ["模" * 195 + ".json", "\ud800.json", "a/b.json", "x\ny\0.json", "", ".json", "con fig.json"]
)
def test_a_file_of_any_name_is_read(name):
    file = {"name": name, "text": json.dumps(LLAMA)}
    found = json.loads(reply(json.dumps({"ask": "estimate", "options": {"hw": "l4"}, "file": file})))
    assert "documents" in found
    file["text"] = "\ud800"
    assert "control" in json.loads(reply(json.dumps({"ask": "estimate", "options": {"hw": "l4"}, "file": file})))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = st.dictionaries(st.sampled_from([*words()["labels"]]), st.text(max_size=8) | ANYTHING, max_size=4)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"ask": st.sampled_from(["estimate", "ops", "explain"]) | ANYTHING},
        optional={"options": OPTIONS | ANYTHING, "vary": ANYTHING, "file": ANYTHING, "quantity": ANYTHING,
                  "phase": ANYTHING},
    ) | ANYTHING
)  # fmt: skip
def test_any_question_has_an_answer_or_an_error_in_one_line(question):
    found = answer(question)
    assert "documents" in found or "\n" not in found["error"]


# -- the page itself --------------------------------------------------------------------------------


def test_every_word_of_the_page_is_there_and_used():
    used = set(re.findall(r"\bwords\.([a-z_]+)", SCRIPTS))
    assert used | {"lang", "model_help"} == words().keys()
    named = [name for group in words()["groups"] for name in group["controls"]]
    assert sorted(named) == sorted(words()["labels"]) == sorted(controls())
    assert all(about["help"] for about in setup()["controls"].values())


def texts_of(part, path=""):
    """Every text of the page's words by its path."""
    if isinstance(part, dict | list):
        each = part.items() if isinstance(part, dict) else enumerate(part)
        return {name: text for key, value in each for name, text in texts_of(value, f"{path}.{key}").items()}
    return {path: part}


def test_every_word_of_the_page_is_said_in_chinese():
    """What is alike in both is a name, a unit or a place for figures; English help is the command line's."""
    english, chinese = (texts_of(words(each)) for each in LANGUAGES)
    own = {at for at in chinese if at.startswith((".help.", ".defaults."))}
    assert chinese.keys() - own == english.keys()
    assert words("zh")["help"].keys() == controls().keys()
    for at, text in english.items():
        assert sorted(re.findall(r"{\d}", text)) == sorted(re.findall(r"{\d}", chinese[at])), at
    alike = {text for at, text in english.items() if chinese[at] == text and ".controls." not in at}
    assert alike == {
        "GPU", "TTFT", "TPOT", "tokens/s", "PUE", "MFU", "MLP", "LM head", "FLOP/s", "tp {0}, dp {1}",
        "tp {0}, pp {1}, cp {2}, dp {3}, ep {4}, ZeRO-{5}, {6}",
    }  # fmt: skip
    assert all(re.search(r"[\u4e00-\u9fff]", text) for text in words("zh")["help"].values())


def test_prose_of_documents_is_chinese_where_the_page_is_and_figures_stay():
    question = {"ask": "estimate", "options": {"model": "llama3-70b", "hw": "h100"}}
    [english], [chinese] = (answer(question | {"lang": each})["documents"] for each in LANGUAGES)
    assert (english["decode"]["limited_by"], chinese["decode"]["limited_by"]) == ("capacity", "显存容量")
    assert chinese["memory"] == english["memory"]
    assert [each["options"] for each in chinese["remedies"]] == [each["options"] for each in english["remedies"]]
    assert all(re.search(r"[\u4e00-\u9fff]", each["what"]) for each in chinese["remedies"])


def test_training_is_answered_as_the_command_line_answers_it(cli):
    options = {"model": "llama3-8b", "hw": "h100", "gpus": "8", "tokens": "1T", "price": "2.5", "kwh": "0.1"}
    [document] = answer({"ask": "train", "options": options | {"batch": "3"}})["documents"]
    typed = [text for name, value in options.items() if name != "model" for text in (f"--{name}", value)]
    assert document == json.loads(cli("train", "llama3-8b", *typed, "--json").out)
    assert document["dollars"] > 0


@pytest.mark.parametrize("price", ["prices.yaml", "/etc/passwd=2", "../h100.yaml=2", "a.yml", "nothing=2"])
def test_a_price_opens_no_file(price):
    found = answer({"ask": "estimate", "options": {"model": "gpt2", "hw": "h100", "price": price}})
    assert found["control"] == "price"
    assert found["error"].startswith("--price ")


def test_texts_never_become_markup():
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert way not in SCRIPTS


def test_nothing_is_fetched_from_elsewhere():
    everything = SCRIPTS + "".join((FILES / name).read_text("utf-8") for name in ("index.html", "page.css"))
    assert set(re.findall(r"https?://[^\s\"']+", everything)) == {"http://www.w3.org/2000/svg"}  # a name, no address
    assert "@import" not in everything


# -- the server -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with Server(0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def request(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read()


QUESTION = json.dumps({"ask": "estimate", "options": {"model": "llama3-8b", "hw": "h100"}})
JSON = {"Content_Type": "application/json"}


def test_the_server_gives_the_page_and_its_answers_to_this_machine(server):
    status, headers, page = request(server, "GET", "/")
    assert (status, page) == (200, (FILES / "index.html").read_bytes())
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    status, _, found = request(server, "POST", "/ask", QUESTION, **JSON)
    assert (status, json.loads(found)) == (200, answer(json.loads(QUESTION)))


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (404, "GET", "/../page.py", None, {}),
        (404, "GET", "/etc/passwd", None, {}),
        (403, "GET", "/", None, {"Host": "evil.example"}),
        (403, "POST", "/ask", QUESTION, JSON | {"Host": "evil.example:8017"}),
        (403, "POST", "/ask", QUESTION, JSON | {"Origin": "http://evil.example"}),
        (403, "POST", "/ask", QUESTION, JSON | {"Origin": "null"}),
        (415, "POST", "/ask", QUESTION, {"Content_Type": "text/plain"}),
        (404, "POST", "/other", QUESTION, JSON),
        (400, "POST", "/ask", "{", JSON),
        (400, "POST", "/ask", "[" * 100_000, JSON),
        (400, "POST", "/ask", b"\xff", JSON),
        (411, "POST", "/ask", None, JSON | {"Content_Length": "x"}),
        (413, "POST", "/ask", None, JSON | {"Content_Length": "99999999"}),
        (413, "POST", "/ask", None, JSON | {"Content_Length": "9" * 30}),
        (501, "PUT", "/", None, {}),
    ],
)
def test_the_server_refuses_all_else(server, status, method, path, body, headers):
    found, _, said = request(server, method, path, body, **headers)
    assert found == status
    assert b"Traceback" not in said


@pytest.mark.parametrize(
    ("error", "told"), [(BrokenPipeError(), False), (TimeoutError(), False), (ZeroDivisionError(), True)]
)
def test_a_browser_that_goes_away_is_no_failure(server, capsys, error, told):
    try:
        raise error
    except type(error):
        server.handle_error(None, ("127.0.0.1", 1))
    assert ("Traceback" in capsys.readouterr().err) == told


def test_a_port_that_is_taken_is_said(server, cli):
    done = cli("web", "--no-open", "--port", server.server_port)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"llmcost: --port {server.server_port}: Address already in use; --port 0 takes a free one\n"


def test_parts_are_of_a_build(cli):
    assert cli("web", "--parts", "x").err == "llmcost: --parts: is for --build\n"
    assert "--port and --no-open are of the server" in cli("web", "--build", "x", "--no-open").err


# -- plain files ------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Stand-ins for what npm and pip fetch: Pyodide's files, empty; as the wheel, this machine's own pydantic_core."""
    monkeypatch.setattr(page_build, "_prepare", lambda _: None)  # which runs Pyodide
    folder = tmp_path / "parts"
    (folder / "package").mkdir(parents=True)
    for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip"):
        (folder / "package" / name).touch()
    about = {"info": {"python": "3.14.2", "abi_version": "2026_0", "arch": "wasm32"}}
    (folder / "package" / "pyodide-lock.json").write_text(json.dumps(about), "utf-8")
    with tarfile.open(folder / "pyodide-314.0.0.tgz", "w:gz") as package:
        package.add(folder / "package", "package")
    wheel = folder / "pydantic_core-2.0.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        source = Path(pydantic_core.__file__).parent
        for each in source.rglob("*"):
            archive.write(each, each.relative_to(source.parent))
    return folder


ALONE = """
import sys
sys.path[:0] = [sys.argv[1]]
sys.modules["numpy"] = None  # which browsers do not have
from llmcost.cli.page import reply
for question in sys.stdin:
    print(reply(question))
print([name for name in ("typing_extensions", "yaml", "typer") if sys.argv[1] not in sys.modules[name].__file__])
"""


def test_the_files_hold_all_that_answering_needs(parts, tmp_path):
    page = tmp_path / "page"
    files, size = build_page(page, parts)
    assert files == len([each for each in page.rglob("*") if each.is_file()])
    assert size < 10e6  # beside Pyodide's 13 MB
    with zipfile.ZipFile(page / "python.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    options = {"model": "llama3-8b", "hw": "h100"}
    questions = [
        {"ask": "estimate", "options": options},
        {"ask": "estimate", "options": {"model": "qwen3-235b-a22b", "hw": "8xh200", "engine": "sglang", "rate": "3",
                                        "prompt": "1k", "output": "200"}},
        {"ask": "ops", "options": options, "phase": "prefill"},
        {"ask": "explain", "options": options, "quantity": "decode.expected.seconds_per_step"},
        {"ask": "estimate", "options": {"hw": "h100"}, "file": {"name": "my.json", "text": json.dumps(LLAMA)}},
        {"ask": "estimate", "options": options | {"batch": "1..4"}},  # names the commands that take a list
        {"ask": "estimate", "options": options | {"hw": "h100,h200"}},
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path / "unpacked")],
        input="\n".join(map(json.dumps, questions)),
        capture_output=True,
        text=True,
        check=True,
    )
    *answers, foreign = done.stdout.splitlines()
    assert [json.loads(each) for each in answers] == [answer(each) for each in questions]
    assert foreign == "[]"  # none of the packages that are installed here


def test_the_files_say_what_a_browser_may_load(parts, tmp_path):
    build_page(tmp_path / "page", parts)
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert '<meta name="answers" content="browser">' in page
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert json.loads((tmp_path / "page" / "setup.json").read_text("utf-8")) == json.loads(json.dumps(setup()))


def test_an_earlier_page_is_written_anew_and_nothing_else_is_touched(parts, tmp_path):
    page = tmp_path / "page"
    build_page(page, parts)
    first = (page / "python.zip").read_bytes()
    (page / "stale").touch()
    build_page(page, parts)
    assert not (page / "stale").exists()
    assert (page / "python.zip").read_bytes() == first
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        build_page(other, parts)
    assert [each.name for each in other.iterdir()] == ["thesis.txt"]
    (parts / "pyodide-314.0.0.tgz").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"pyodide-314.0.0.tgz"):
        build_page(page, parts)
    assert (page / "python.zip").read_bytes() == first


def test_without_npm_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="npm, which fetches Pyodide, is not installed"):
        build_page(tmp_path / "page", None)
    assert [*tmp_path.iterdir()] == []
