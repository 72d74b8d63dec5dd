"""Wrong and hostile input without end: each is answered, or refused in one message, within bounds.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--kind KIND] [--show NUMBER]

An input is a file of real facts after a few accidents (a config.json, the spec of a model or of a GPU, a profile,
published measurements) with a command that reads it, or a command line of words that stand in no order. It follows
from the seed and its number, so `--show NUMBER` makes it again, prints it and runs it. Inputs run a thousand to a
process, whose memory is limited. A fault is: an exception, an exit code that is none of ours, NaN or Infinity on
stdout, characters that steer a terminal, a refusal that is not one line, 10 s of computing, more than a gigabyte.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10  # of computing that one input may take
BYTES = 10**9  # of memory that a process of inputs may take
WAIT = 200  # seconds without a sign of life after which a process is ended
EACH = 1000  # inputs of one process
QUOTED = re.compile(r"""(["'])[^"'\n]*\1""")
NO_NUMBER = re.compile(r"(?<![\w.-])(nan|NaN|-?inf|-?Infinity(?! [A-Z]))(?![\w-])")  # AMD has an Infinity Cache
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

PATTERNS = ["re:(a*)*b", "re:" + "[a-z._0-9]?" * 60 + "!", "*a*b*c*", "re:.*", "re:(", "model.layers.0.mlp"]
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 128, 10**9, 10**12, 10**18, 10**30, -(10**30), 1.5, -0.0, 1e300, 1e-300),
    *(float("nan"), float("inf"), "", "x", "true", "1e9", "24 GB", "0 B", "1008 GB/s", "165 TFLOPS", "0x10", "1_0"),
    *("١٢٣", "\x1b]0;mine\x07", "\u202egnp", "=1+1", "$x^{$", "<script>", "a" * 500, "bf16", "fp8", "float16", "rms"),
    *("full_attention", "sliding_attention", "llama3", "yarn", "all", "none", "auto", "gelu", "/", "../x", "a\nb"),
    *([], [1], [[1]], [None], ["full_attention"], ["x"] * 50, [0] * 2000, {}, {"a": 1}, {"": {}}, {"0": {"a": []}}),
    *([[[[[[[[1]]]]]]]], {"a": {"b": {"c": {"d": {}}}}}, PATTERNS),
]
QUANTIZED = [
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "modules_to_not_convert": ["re:.*mlp.*"]},
    {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head", "re:.*self_attn.*"],
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
        },
    },
]
SCALED = [
    {"type": "linear", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096},
    {"rope_type": "dynamic", "factor": 2.0},
]
WORDS = (
    *("0", "1", "2", "3", "8", "64", "8k", "15T", "1e4", "0.5", "-1", "1,2,4", "1..64", "1..64:x2", "1..1e9", "1,024"),
    *(
        "50%",
        "2s",
        "300ms",
        "64 GB",
        "nan",
        "inf",
        "1e308",
        "9" * 40,
        "١٢٣",
        "1_0",
        "",
        " ",
        "x",
        "a=b",
        "=1",
        "-",
        "--",
    ),
    *(
        "bf16",
        "fp8",
        "int4-g128",
        "mxfp4",
        "fp8+mxfp4",
        "q4_k_m",
        "awq",
        "h100",
        "8xh100",
        "h100:8",
        "a100",
        "m2-ultra",
    ),
    *("dgx-h100", "gpt2", "llama3-8b", "mixtral-8x7b", "llama3", "vllm", "selective", "full", "adam", "tensor=0.5"),
    *("decode.expected.tokens_per_s", "kv_cache.bytes", "\x1b[2J", "\udcff", "a" * 300, "no/such", "1..3", "h100=2.5"),
)
PLACES = ("out.json", "out.csv", "out.md", "out.txt", "out.yaml", "no/out", "", ".", "a" * 250)  # that may be written


class Input(NamedTuple):
    """A file, its text, and the words behind `llmcost`; without a file only these."""

    file: str
    text: str
    words: list[str]


def changed(draw: random.Random, data: Any, others: dict[str, Any]) -> Any:
    """A copy after one to three accidents, half of them gentle: what another file has there, a number near by.

    `others` has values of other files by their keys, which may be put in.
    """
    data = copy.deepcopy(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        paths = list(paths_in(data))
        if not paths:
            break
        *parents, last = draw.choice(paths)
        target = value_at(data, tuple(parents))
        key, value = draw.choice(list(others.items()))
        accident = draw.choice(["gentle"] * 6 + ["drop", "rename", "add", "move", "retype", "retype"])
        if accident == "gentle":
            _gently(draw, target, last, key, value, others)
        elif accident == "drop":
            del target[last]
        elif accident == "rename" and isinstance(target, dict):
            target[key] = target.pop(last)
        elif accident == "add" and isinstance(target, dict):
            target[key] = copy.deepcopy(draw.choice(JUNK))
        elif accident == "move":
            target[last] = copy.deepcopy(value_at(data, draw.choice(paths)))
        else:
            target[last] = copy.deepcopy(draw.choice(JUNK))
    return data


def _gently(draw: random.Random, target: Any, last: Any, key: str, value: Any, others: dict[str, Any]) -> None:
    """Change one entry to what it might well be, or put one in that another file has."""
    now = target[last]
    if isinstance(now, bool):
        target[last] = not now
    elif isinstance(now, int | float):
        target[last] = type(now)(now * draw.choice([0, 1, 1, 2, 3, 64])) + draw.choice([0, 0, 1, -1])
    elif isinstance(target, dict) and draw.randrange(2):
        target[key] = copy.deepcopy(value)
    elif last in others and others[last] is not None:
        target[last] = copy.deepcopy(others[last])
    elif isinstance(now, list) and now:
        target[last] = draw.choice([now[:-1], now * 2, [*reversed(now)], now[:1]])
    elif isinstance(now, str) and (number := re.search(r"\d+", now)):
        target[last] = now.replace(number[0], draw.choice(["0", "1", "7", "1000000", number[0] + "0"]), 1)


def paths_in(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry of nested mappings and lists; of a long list those of its first entries."""
    entries = data.items() if isinstance(data, dict) else enumerate(data[:20]) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths_in(value, (*path, key))


def value_at(data: Any, path: tuple[Any, ...]) -> Any:
    """The entry at a path; None where an accident has taken it."""
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def garbled(draw: random.Random, text: str) -> str:
    """In one text of sixteen, characters lost, doubled or put in."""
    if draw.randrange(16):
        return text
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text) + 1)
        end = min(at + draw.choice([1, 1, 5, 80]), len(text))
        text = text[:at] + draw.choice(["", text[at:end] * 2, draw.choice('{}[]",:\n\0\t&*!é9-')]) + text[end:]
    return text


# -- kinds of inputs -----------------------------------------------------------------------------------------


@cache
def defaults() -> dict[str, dict[str, Any]]:
    """The default config of every type, as the importer's own table has it."""
    from llmcost.specs.importer.keys import DEFAULTS

    table = json.loads(DEFAULTS.read_text("utf-8"))
    return {
        kind: {"model_type": kind} | {key: value for key, value in found.items() if key != "attribute_map"}
        for kind, found in table.items()
    }


def entries(draw: random.Random, files: list[Any]) -> dict[str, Any]:
    """The entries of one of the files, and of what it holds, by their keys."""
    data = draw.choice(files)
    return {str(path[-1]): value_at(data, path) for path in paths_in(data) if isinstance(path[-1], str)} or {"a": 1}


def of_configs(draw: random.Random) -> Input:
    """A config.json: the defaults of a type, now and then quantised or of longer positions, after accidents."""
    data, others = dict(draw.choice(types := list(defaults().values()))), entries(draw, types)
    if not draw.randrange(3):
        data["quantization_config"] = draw.choice(QUANTIZED)
    if not draw.randrange(4):
        data["rope_scaling"] = draw.choice(SCALED)
    return Input(
        "config.json", garbled(draw, json.dumps(changed(draw, data, others))), about_model(draw, "config.json")
    )


def about_model(draw: random.Random, file: str) -> list[str]:
    """A question about a model's file; those that take long are asked less often."""
    h100 = ["--hw", draw.choice(["h100", "rtx4090", "mi300x", "m2-ultra"])]
    often = [
        ["estimate", file],
        ["estimate", file, *h100, "--json"],
        ["estimate", file, *h100, "-b", "4", "--prompt", "100", "--output", "20", "--concurrency", "8"],
        ["estimate", file, *h100, "--tp", "2", "--csv"],
        ["import", file],
        ["check", file],
        ["models", file, "--json"],
        ["ops", file, "--phase", draw.choice(["prefill", "decode", "train"]), *h100],
        ["compare", file, "gpt2", "--hw", "h100,a100"],
        ["mfu", file, *h100, "--tokens-per-s", "9000"],
    ]
    seldom = [
        ["explain", file, *h100],
        ["fit", file, "--hw", "h100", "--gpus", "1,8"],
        ["sweep", file, *h100, "--batch", "1,8", "--csv"],
        ["train", file, *h100, "--gpus", "8", "--seq", "128", "--json"],
        ["plan", file, *h100, "--gpus", "4", "--seq", "128", "--global-batch", "4"],
        ["plan", file, *h100, "--gpus", "2", "--serve"],
    ]
    return draw.choice(seldom if not draw.randrange(20) else often)


@cache
def specs(pattern: str) -> list[Any]:
    """The data of all YAML files of a pattern."""
    return [yaml.safe_load(path.read_text("utf-8")) for path in sorted(ROOT.glob(pattern))]


def of_specs(draw: random.Random) -> Input:
    """The spec of a model in YAML, after accidents."""
    files = specs("models/*.yaml")
    text = yaml.safe_dump(changed(draw, draw.choice(files), entries(draw, files)), sort_keys=False)
    return Input("m.yaml", garbled(draw, text), about_model(draw, "m.yaml"))


def of_gpus(draw: random.Random) -> Input:
    """The spec of a GPU or of a system of them, after accidents."""
    files = specs(draw.choice(["hardware/*.yaml", "hardware/*.yaml", "hardware/systems/*.yaml"]))
    text = yaml.safe_dump(changed(draw, draw.choice(files), entries(draw, files)), sort_keys=False)
    words = draw.choice(
        [
            ["hardware", "g.yaml", "--json"],
            ["hardware", "g.yaml"],
            ["check", "g.yaml"],
            ["estimate", "gpt2", "--hw", "g.yaml", "--json"],
            ["estimate", "llama3-8b", "--hw", "g.yaml", "--gpus", "8"],
            ["estimate", "gpt2", "--hw", "g.yaml", "--prompt", "99", "--output", "9", "--concurrency", "4", "--csv"],
            ["compare", "gpt2", "--hw", "h100,g.yaml", "--markdown"],
            ["mfu", "gpt2", "--hw", "g.yaml", "--tokens-per-s", "1e4"],
            ["train", "gpt2", "--hw", "g.yaml", "--gpus", "16", "--seq", "128"],
            ["sweep", "gpt2", "--hw", "g.yaml", "--batch", "1,2", "--json"],
        ]
    )
    return Input("g.yaml", garbled(draw, text), words)


@cache
def profiles() -> list[Any]:
    """Shipped profiles, each with a row of every operator and a pass of every phase."""
    found = []
    for path in sorted((ROOT / "hardware" / "profiles").glob("*.json")):
        data = json.loads(path.read_text("utf-8"))
        rows = {row.get("operator"): row for row in data["rows"]} | {row["suite"]: row for row in data["rows"]}
        few = {"rows": list(rows.values()), "steps": list({step["phase"]: step for step in data["steps"]}.values())}
        found.append(data | few)
    return found


def of_profiles(draw: random.Random) -> Input:
    """A profile, after accidents."""
    data = draw.choice(profiles())
    others = entries(draw, profiles())
    words = draw.choice(
        [
            ["bench", "--show", "p.json"],
            ["bench", "--show", "p.json", "--rows"],
            ["bench", "--show", "p.json", "--csv"],
            ["bench", "--show", "p.json", "--json"],
            ["bench", "--show", "p.json", "-o", "out.json"],
            ["bench", "--show", "p.json", "--compare", str(ROOT / "hardware" / "profiles" / f"{data['name']}.json")],
            ["estimate", "llama3-8b", "--hw", data["name"], "--profile", "p.json", "--json"],
            ["ops", "mixtral-8x7b", "--hw", data["name"], "--profile", "p.json"],
        ]
    )
    return Input("p.json", garbled(draw, json.dumps(changed(draw, data, others))), words)


@cache
def sources() -> list[Any]:
    """Published measurements, each with a few rows, split into cells."""
    from llmcost.accuracy.cases import BESIDE, FOLDER

    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        if path.stem not in BESIDE and isinstance(data.get("rows"), str):
            head, *rows = data["rows"].splitlines()
            found.append(data | {"rows": [line.split(",") for line in (head, *rows[:2])]})
    return found


def of_published(draw: random.Random) -> Input:
    """A file of published measurements, after accidents."""
    data = changed(draw, draw.choice(sources()), entries(draw, sources()))
    if isinstance(rows := data.get("rows"), list) and all(isinstance(row, list) for row in rows):
        data["rows"] = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in rows)
    return Input(
        "published/s.yaml",
        garbled(draw, yaml.safe_dump(data, sort_keys=False)),
        ["accuracy", "--source", "s", "--json"],
    )


def of_lines(draw: random.Random) -> Input:
    """A command with options of its own and values of any kind, now and then of another command's."""
    from llmcost.cli.command import COMMANDS, Argument, function_of, parameters

    command = draw.choice([name for name in COMMANDS if name != "web"])  # which serves until it is told to end
    known = list(parameters(function_of(command)).values())
    words = [command]
    for each in known:
        what = each.what
        if isinstance(what, Argument):
            usual = {"NAME": [], "PATH": ["config.json"], "PATH...": ["config.json"]}.get(what.metavar, ["gpt2"])
            words += usual if draw.randrange(6) else [draw.choice(WORDS)]
        elif each.required:
            words += [what.flag, "8" if what.flag == "--gpus" else draw.choice(["h100", "h100", draw.choice(WORDS)])]
    if command == "bench":  # what is measured takes longer than any input may
        words = ["bench", "--show", str(ROOT / "hardware" / "profiles" / "h200.json")]
    words += ["--hw", "h100"] if command == "fit" else []  # all GPUs take half a second
    for _ in range(draw.randint(0, 4)):
        what = draw.choice(known).what
        if isinstance(what, Argument):
            continue
        words.append(draw.choice([*what.flag.split("/"), *([what.short] if what.short else [])]))
        if what.metavar in ("FILE", "FOLDER", "OLD") and what.name not in ("profile", "show", "resume", "compare"):
            words.append(draw.choice(PLACES))
        elif what.read is not None:
            likely = what.metavar.split("|") if "|" in what.metavar else WORDS
            words.append(draw.choice(likely if draw.randrange(2) else WORDS))
    return Input("config.json", json.dumps(defaults()["llama"]), words)


KINDS: dict[str, Callable[[random.Random], Input]] = {
    "configs": of_configs,
    "specs": of_specs,
    "gpus": of_gpus,
    "profiles": of_profiles,
    "published": of_published,
    "lines": of_lines,
}


def made(seed: int, number: int, kind: str | None) -> tuple[str, Input]:
    """The input of a number, and its kind: each in turn, unless one is asked for."""
    kind = kind or list(KINDS)[number % len(KINDS)]
    return kind, KINDS[kind](random.Random(f"{seed}/{number}/{kind}"))  # noqa: S311 - no secret


# -- running them ---------------------------------------------------------------------------------------------


class TooLongError(BaseException):
    """An input has computed for longer than it may; no handler of the program takes it for one of its own."""


def fault_of(given: Input) -> str:
    """What is wrong with the answer to an input, with a traceback where there is one; "" where nothing is."""
    from llmcost.accuracy import cases
    from llmcost.cli import main

    Path(given.file).write_text(given.text, "utf-8", errors="surrogatepass")
    cases.source_cases.cache_clear()
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["llmcost", *given.words]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except TooLongError:
        return f"more than {SECONDS} s\n{''.join(traceback.format_exc()[-1500:])}"
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return fault_in(code, out.getvalue(), err.getvalue())


def fault_in(code: int, out: str, err: str) -> str:
    """What is wrong with an exit code and with what was printed."""
    lines = err.rstrip("\n").split("\n")
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    out = QUOTED.sub("", out)  # what `check` repeats of a file
    if (found := NO_NUMBER.search(out)) and "no number" not in out:
        return f"not a number: {out[max(found.start() - 80, 0) : found.end() + 20]!r}"
    if found := STEERS.search(out + err):
        return f"steers a terminal: {(out + err)[max(found.start() - 80, 0) : found.end() + 20]!r}"
    if code == 2 and not (lines[-1].startswith("Error: ") or (lines[-1].startswith("llmcost: ") and not out)):
        return f"no refusal in one line: {err[:300]!r}, after {out[:100]!r}"
    if code == 2 and len(lines[-1]) > 2000:
        return f"a message of {len(lines[-1])} characters: {lines[-1][:300]!r}"
    return ""


def most_memory() -> int:
    """The most bytes of memory that this process has had; of the one that started it, which Linux adds, nothing."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def run_child(seed: int, first: int, last: int, kind: str | None) -> None:
    """Run inputs in this process, in a folder of its own; a line of JSON on stdout for each that begins, and fault."""

    def too_long(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, too_long)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    from llmcost.accuracy import cases, models, score

    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("published").mkdir()
        for beside in cases.BESIDE:
            shutil.copy(cases.FOLDER / f"{beside}.yaml", "published")
        sources(), specs("models/*.yaml"), profiles()  # before the folder is another one
        for module in (cases, models, score):
            module.FOLDER = Path(folder, "published")
        for number in range(first, last):
            print(json.dumps({"number": number}), file=told, flush=True)
            kind_of, given = made(seed, number, kind)
            began = time.process_time()
            fault = fault_of(given)
            most = most_memory()
            if most > BYTES:
                fault = fault or f"{most / 1e6:,.0f} MB of memory"
            if fault:
                said = {"number": number, "kind": kind_of, "words": given.words, "fault": fault}
                print(json.dumps(said | {"seconds": time.process_time() - began}), file=told, flush=True)
            if most > BYTES:
                break
        print(json.dumps({"number": number + 1, "bytes": most}), file=told, flush=True)
        os.chdir("/")


def faults(seed: int, inputs: int, kind: str | None = None, first: int = 0) -> Iterator[dict[str, Any]]:
    """Every fault among so many inputs, as it is found. Processes of a thousand run one after another."""
    number, end = first, first + inputs
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "100",
    }  # fmt: skip
    while number < end:
        span = f"{number}:{min(number + EACH, end)}"
        command = [sys.executable, __file__, "--seed", str(seed), "--child", span, *(["--kind", kind] if kind else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:  # noqa: S603 - this file
            assert child.stdout is not None
            began, waiting = number, True
            while waiting:
                if not select.select([child.stdout], [], [], WAIT)[0]:
                    child.kill()
                    yield {"number": number, "kind": kind, "fault": f"no sign of life in {WAIT} s"}
                    break
                line = child.stdout.readline()
                waiting = bool(line)
                if line:
                    said = json.loads(line)
                    number = said["number"]
                    if "fault" in said:
                        yield said
            child.wait()
            if child.returncode:
                ended = (child.stderr.read() if child.stderr else b"").decode("utf-8", "replace")[-1500:]
                if waiting is False:
                    yield {"number": number, "kind": kind, "fault": f"the process ended ({child.returncode}): {ended}"}
                number += 1
            assert number > began, "no input was run"


def show(seed: int, number: int, kind: str | None) -> None:
    """Print the input of a number and what comes of it."""
    _, given = made(seed, number, kind)
    print(f"{given.file}:\n{given.text[:20000]}\n\nllmcost {' '.join(given.words)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("published").mkdir()
        print(fault_of(given) or "no fault")
        os.chdir("/")


def main() -> int:
    """Run the inputs asked for; list the faults by what they are. Exit code 1 where there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS))
    parser.add_argument("--show", type=int, help="only the input of this number")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        first, last = map(int, asked.child.split(":"))
        run_child(asked.seed, first, last, asked.kind)
        return 0
    if asked.show is not None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        show(asked.seed, asked.show, asked.kind)
        return 0
    began, seen = time.monotonic(), Counter[str]()
    for each in faults(asked.seed, asked.inputs, asked.kind, asked.first):
        last = each["fault"].rstrip().splitlines()
        where = [line.strip() for line in last if line.startswith("  File") and "llmcost" in line][-1:]
        cause = " ".join([*(where or last[:1]), last[-1]])[:300]
        seen[cause] += 1
        if seen[cause] <= 3:
            words = " ".join(each.get("words", []))[:200]
            print(f"{each['number']} {each.get('kind')}: llmcost {words}\n    {cause}", flush=True)
    print(
        f"{asked.inputs:,} inputs, {sum(seen.values())} faults of {len(seen)} kinds, {time.monotonic() - began:.0f} s"
    )
    for cause, times in seen.most_common():
        print(f"{times:6} {cause}")
    return int(bool(seen))


if __name__ == "__main__":
    sys.exit(main())
