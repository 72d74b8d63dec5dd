"""What is printed steers no terminal, spreadsheet or browser; the process ends quietly in every case."""

import csv
import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from heeded import HEEDED

import llmcost
from llmcost.cli import output
from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.ground.units import scaled, seconds, significant
from llmcost.report import charts, saving
from llmcost.report.tables import Table, to_csv, to_markdown
from llmcost.specs import hub

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "models" / "llama3-8b.yaml").read_text(encoding="utf-8")
CHIP = (ROOT / "hardware" / "rtx4090.yaml").read_text(encoding="utf-8")
SYSTEM = ROOT / "hardware" / "systems" / "dgx-h100.yaml"
LLMCOST = (sys.executable, "-m", "llmcost")


def shell(line, **environment):
    """A line of a shell, in which $LLMCOST is the program."""
    given = os.environ | {"LLMCOST": " ".join(LLMCOST)} | environment
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=given, check=False)


# -- text of specs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\\e]0;mine\\a", "\\x9b2J", "\\u202eevil", "a\\tb", "\\r"])
def test_a_text_that_steers_a_terminal_is_refused_with_line_and_field(cli, tmp_path, text):
    path = tmp_path / "m.yaml"
    path.write_text(MODEL.replace("title: Llama 3 8B", f'title: "{text}"'), "utf-8")
    answer = cli("estimate", path)
    assert (answer.code, answer.out) == (2, "")
    assert f"{path}:2: title: this text holds characters that cannot be printed" in answer.err


def test_a_key_of_any_kind_is_shown_escaped_and_short(cli, tmp_path):
    path = tmp_path / "config.json"
    for key, shown in (("\\u001b]0;mine\\u0007", "\\x1b]0;mine\\x07"), ("x" * 500, "x" * 79 + "…")):
        path.write_text(f'{{"model_type": "llama", "{key}": 1, "hidden_size": 64}}', "utf-8")
        answer = cli("estimate", path)
        assert answer.code == 2
        assert answer.err.rstrip("\n").isprintable()
        assert shown in answer.err or "hidden_size" in answer.err
    assert str(InputError("a\x1b[2Jb\nc")) == "a\\x1b[2Jb\\nc"


def test_text_that_a_spreadsheet_would_compute_is_text_and_numbers_stay_numbers():
    cells = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "-1.5", "+3 %", "-7", -1.5, "a=b", None]
    (row,) = csv.reader(io.StringIO(to_csv([str(n) for n in range(10)], [cells]).split("\n", 1)[1]))
    assert row == ["'=1+1", "'+1+1", "'-1+1", "'@SUM(A1)", "-1.5", "+3 %", "-7", "-1.5", "a=b", ""]


def test_a_title_that_is_a_formula_is_text_in_every_csv(cli, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MODEL.replace("name: llama3-8b", 'name: "=cmd"').replace("title: Llama 3 8B", 'title: "=cmd"'))
    for command in (["models", path], ["compare", path, "gpt2", "--hw", "h100"], ["sweep", path, "--hw", "h100"]):
        out = cli(*command, "--csv").out
        assert out
        assert not [cell for row in csv.reader(io.StringIO(out)) for cell in row if cell.startswith("=")]


def test_markdown_and_html_show_a_tag_as_text():
    bad = "<script>x</script> &lt; a < b & c"
    shown = "&lt;script>x&lt;/script> &amp;lt; a < b & c"
    assert to_markdown([Table(bad, ("a",), "l", [(bad,)], (bad,))]).count(shown) == 3
    assert "<script" not in html_table(f"<{bad}>", [{bad: bad}])


def test_a_dollar_in_a_title_is_a_dollar(tmp_path):
    path = tmp_path / "x.svg"
    pytest.importorskip("matplotlib")
    panel = charts.Panel("$a^{", "x", "y", [charts.Line("$b$", 0, [1, 2], [1, 2])])
    saving.save(path, charts.Chart("$x$ $\\frac{", [panel]))
    assert "$x$ $\\frac{" in path.read_text("utf-8")


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_is_never_printed(value):
    for write in (significant, seconds, lambda v: scaled(v, "B"), lambda v: to_csv(["a"], [[v]])):
        with pytest.raises(InputError, match="too large to be printed"):
            write(value)


@pytest.mark.parametrize("value", [1e308, float("inf"), float("nan"), -1.0])
def test_a_rate_out_of_reach_is_refused(value):
    with pytest.raises(InputError, match="--tokens-per-s"):
        llmcost.mfu("llama3-8b", "h100", tokens_per_s=value)


@pytest.mark.parametrize("option", [["plan", "--gpus", "8", "--serve", "--tpot"], ["mfu", "--tokens-per-s"]])
@pytest.mark.parametrize("value", ["inf", "nan", "1e308", "9" * 30])
def test_an_option_out_of_reach_is_refused(cli, option, value):
    command, *rest = option
    answer = cli(command, "llama3-8b", "--hw", "h100", *rest, value)
    assert (answer.code, answer.out) == (2, "")
    assert option[-1] in answer.err


# -- files ------------------------------------------------------------------------------------------


def test_a_config_is_not_overwritten_by_its_own_spec(cli, tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{}", "utf-8")
    path = tmp_path / "m.yaml"
    path.write_text(MODEL, "utf-8")
    for command in (
        ["import", path, "-o", path],
        ["sweep", path, "--hw", "h100", "-o", path],
        ["sweep", path, "--hw", "h100", "--csv", "-o", tmp_path / "." / "m.yaml"],
    ):
        answer = cli(*command)
        assert answer.code == 2
        assert "is what is read here" in answer.err
    assert path.read_text("utf-8") == MODEL


def test_a_sweep_into_a_parquet_file_is_one(cli, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    assert cli("sweep", "gpt2", "--hw", "h100", "--batch", "1,2", "-o", path).code == 0
    assert parquet.read_table(path).num_rows == 2


# -- ends of the process ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["models", "--help", "estimate gpt2", "sweep gpt2 --hw h100 --csv"])
def test_a_closed_stdout_is_one_message(command):
    done = shell(f"$LLMCOST {command} >&-")
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 1
    assert "Traceback" not in done.stderr


def test_a_closed_stderr_changes_nothing():
    assert shell("$LLMCOST estimate gpt2 2>&-").stdout == shell("$LLMCOST estimate gpt2").stdout
    assert (shell("$LLMCOST estimate gpt0 2>&-").returncode, shell("$LLMCOST estimate gpt0 2>&-").stdout) == (2, "")


@pytest.mark.parametrize("while_loading", ["typer", "yaml", "pydantic_core", "llmcost.cli.answers"])
def test_ctrl_c_while_modules_are_loaded_is_quiet(while_loading):
    code = HEEDED + (
        "import os, signal, sys\nclass Stop:\n    def find_spec(self, name, *_):\n"
        f"        if name == {while_loading!r}:\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\nsys.argv = ['llmcost', 'estimate', 'llama3-8b']\n"
        "from llmcost.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize("columns", ["0", "1", "-5", "x"])
def test_a_terminal_of_no_width_is_written_to(columns):
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [*LLMCOST, "estimate", "gpt2", "--hw", "h200"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": columns, "NO_COLOR": "1"},
    ) as run:
        os.close(writer)
        shown = b""
        try:
            while piece := os.read(reader, 4096):
                shown += piece
        except OSError:  # its end, on Linux
            pass
        errors = run.stderr.read()
    assert (run.returncode, errors) == (0, b"")
    assert b"124" in shown


def test_without_a_home_a_hub_id_is_looked_for_all_the_same(monkeypatch):
    for name in ("HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where there is no entry of the user's either
    monkeypatch.setattr(hub, "_fetched", lambda _: None)
    assert hub.find_config("no/such") is None


def test_a_hub_that_does_not_answer_is_said_in_time(cli, monkeypatch):
    client = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    monkeypatch.setattr(client, "hf_hub_download", lambda *_: time.sleep(5))
    began = time.monotonic()
    answer = cli("estimate", "no/such")
    assert answer.code == 2
    assert "no/such: not in the hub's cache, and the network failed" in answer.err
    assert time.monotonic() - began < 5


def test_a_system_whose_gpu_is_a_system_is_one_message(cli, tmp_path):
    path = tmp_path / "self.yaml"
    for gpu in (path, "dgx-h100"):
        lines = SYSTEM.read_text("utf-8").splitlines()
        path.write_text("\n".join(f"gpu: {gpu}" if line.startswith("gpu:") else line for line in lines), "utf-8")
        answer = cli("estimate", "gpt2", "--hw", path)
        assert answer.code == 2
        assert "is a system too" in answer.err
        assert answer.err.count("\n") == 1


# -- a sign of life ---------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self):
        return True


def test_what_takes_long_says_so_on_a_terminal_and_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(output, "SILENT", 0.05)
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with output.waiting("trying layouts"):
            time.sleep(0.3)
        assert ("llmcost: trying layouts, " in stream.getvalue()) is told
        assert stream.getvalue().endswith("\r\x1b[K") is told


def test_what_is_quick_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with output.waiting("trying layouts"):
        pass
    assert sys.stderr.getvalue() == ""


# -- messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["estimate", "gpt2", "--batch", "9" * 500],
        ["estimate", "gpt2", "--dtype", "a" * 500],
        ["sweep", "gpt2", "--hw", "h100", "--batch", "9" * 500],
        ["sweep", "gpt2", "--hw", "h100", "--sort", "a" * 500],
        ["explain", "gpt2", "a" * 500],
        ["train", "gpt2", "--hw", "h100", "--gpus", "8", "--overlap", "a" * 500],
    ],
)
def test_a_value_is_cut_at_80_characters(cli, arguments):
    answer = cli(*arguments)
    assert answer.code == 2
    assert "a" * 80 not in answer.err
    assert "9" * 80 not in answer.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"quantization": {\n"quant_algo": "W9A9"}}', ":1: quantization: this kind of quantisation"),
        (
            '{"quantization": {"quant_algo": "FP8",\n"exclude_modules": 1}}',
            ":2: quantization.exclude_modules: expected",
        ),
        ('{\n"quantization": [1]}', ":2: quantization: expected an object"),
        ('{"quantization": {\n\n"group_size": NaN}}', ":3: not usable: NaN is no number"),
        ('{"quantization": ', ":1: not valid JSON"),
    ],
)
def test_an_error_of_a_file_beside_the_config_names_that_file_and_line(cli, tmp_path, text, said):
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}', "utf-8"
    )
    (tmp_path / "hf_quant_config.json").write_text(text, "utf-8")
    answer = cli("estimate", tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert f"{tmp_path}/hf_quant_config.json{said}" in answer.err
