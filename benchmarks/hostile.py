"""Inputs of benchmarks/fuzz.py: files of real facts after a few accidents, and lines of words in no order.

An input follows from a seed and its number. `KINDS` has a function for each kind.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]

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


@cache
def engines() -> list[Any]:
    """The files of engines that serve and of those that train, each with whether it trains."""
    folder = ROOT / "hardware" / "engines"
    return [(yaml.safe_load(path.read_text("utf-8")), path.parent != folder) for path in sorted(folder.rglob("*.yaml"))]


def of_engines(draw: random.Random) -> Input:
    """The file of an engine, after accidents."""
    data, trains = draw.choice(engines())
    text = yaml.safe_dump(changed(draw, data, entries(draw, [other for other, _ in engines()])), sort_keys=False)
    served = [
        ["estimate", "llama3-8b", "--hw", "h100", "--engine", "e.yaml", "--json"],
        ["estimate", "mixtral-8x7b", "--hw", "h100", "--engine", "e.yaml", "--tp", "4", "--ep", "4", "--launch"],
        ["estimate", "gpt2", "--hw", "a100", "--engine", "e.yaml", "--prompt", "99", "--output", "9", "--rate", "4"],
        ["estimate", "gpt2", "--hw", "a100", "--engine", "e.yaml", "--log"],
        ["simulate", "gpt2", "--hw", "h100", "--engine", "e.yaml", "--rate", "4", "--requests", "5", "--json"],
    ]
    trained = [
        ["train", "gpt2", "--hw", "h100", "--gpus", "8", "--seq", "128", "--engine", "e.yaml", "--json"],
        ["train", "mixtral-8x7b", "--hw", "h100", "--gpus", "64", "--ep", "8", "--engine", "e.yaml"],
    ]
    known = [["engines", "e.yaml"], ["engines", "e.yaml", "--json"], ["check", "e.yaml"]]
    return Input("e.yaml", garbled(draw, text), draw.choice([*known, *(trained if trains else served)]))


def of_traffic(draw: random.Random) -> Input:
    """A file of requests in one of the formats that `simulate` reads, after accidents."""
    rows = draw.randint(1, 6)
    own = [{"input_tokens": 9 * i + 1, "output_tokens": 5, "arrival_s": i / 4} for i in range(rows)]
    azure = [
        {"TIMESTAMP": f"2023-11-16 18:15:{i:02}.68", "ContextTokens": 80, "GeneratedTokens": 9} for i in range(rows)
    ]
    hashed = [{"timestamp": 9 * i, "input_length": 900, "output_length": 5, "hash_ids": [0, i]} for i in range(rows)]
    shared = [{**row, "prefix_id": draw.choice(["a", "b", 0]), "shared_tokens": 4} for row in own]
    results = {"input_lens": [5] * rows, "output_lens": [7] * rows, "start_times": [i / 2 for i in range(rows)]}
    talks = [{"conversations": [{"value": "word " * 40}, {"value": "word " * 90}]} for _ in range(rows)]
    data = changed(draw, draw.choice([own, azure, hashed, shared, results, talks]), entries(draw, [own, azure, hashed]))
    form = "whole" if isinstance(data, dict) else draw.choice(["whole", "lines", "lines", "table", "table"])
    if form == "whole":
        text = json.dumps(data)
    elif form == "lines":
        text = "\n".join(json.dumps(row) for row in data)
    else:
        names = [*next((row for row in data if isinstance(row, dict)), {})]
        cells = [[row.get(name) if isinstance(row, dict) else row for name in names] for row in data]
        text = "\n".join(",".join(map(str, line)) for line in [names, *cells])
    more = draw.choice([[], ["--json"], ["--rate", "3"], ["--concurrency", "2"], ["--timeline", "--json"]])
    return Input("t.jsonl", garbled(draw, text), ["simulate", "gpt2", "--hw", "h100", "--trace", "t.jsonl", *more])


@cache
def results() -> list[tuple[str, str]]:
    """Results of benchmarks that `calibrate` reads: the name of each file, and its text."""
    folder = ROOT / "tests" / "accuracy" / "results"
    return [(path.name, path.read_text("utf-8")) for path in sorted(folder.iterdir())]


def of_runs(draw: random.Random) -> Input:
    """What others' programs write, after accidents: results of a benchmark, a profiler's trace, a log, prices."""
    what = draw.choice(["results", "results", "trace", "log", "prices"])
    if what == "results":
        name, text = draw.choice(results())
        if name.endswith(".json"):
            data = json.loads(text)
            text = json.dumps(changed(draw, data, entries(draw, [data])))
        more = draw.choice([["--model", "llama3-8b", "--hw", "h100"], ["--engine", "vllm"], ["--json"], []])
        return Input(name, _shuffled(draw, text), ["calibrate", name, *more, "-o", "out.yaml"])
    if what == "trace":
        data = changed(draw, few_kernels(), entries(draw, [few_kernels()]))
        more = draw.choice([["--json"], ["--csv"], ["--phase", "prefill"], ["-b", "4", "-c", "1k"]])
        return Input("t.json", garbled(draw, json.dumps(data)), ["gap", "t.json", "gpt2", "--hw", "h100", *more])
    if what == "log":
        lines = draw.choice(LOGS) * 3
        return Input("l.log", _shuffled(draw, lines), ["mfu", "gpt2", "--hw", "h100", "--log", "l.log", "--json"])
    prices = {"prices": {"h100": {"dollars": 2.5, "date": "2026-11-01", "source": "https://example.com"}}}
    text = yaml.safe_dump(changed(draw, prices, entries(draw, [prices])))
    return Input("p.yaml", garbled(draw, text), ["estimate", "gpt2", "--hw", "h100", "--price", "p.yaml"])


LOGS = [  # a line of each program, as docs/mfu.md shows them
    "step:  1  loss: 12.2  grad_norm:  1.5  memory: 49.66GiB(52.2%)  tps: 6,092  tflops: 352.8  mfu: 35.67%\n",
    " iteration 2/ 100 | elapsed time per iteration (ms): 10000.0 | throughput per GPU (TFLOP/s/GPU): 337.4 |\n",
    "completed step: 3, seconds: 10.0, TFLOP/s/device: 337.4, Tokens/s/device: 6553.6, total_weights: 9, loss: 9.0\n",
    "iter 10: loss 9.1, time 250.00ms, mfu 31.50%\n",
    "{'train_runtime': 100.0, 'train_samples_per_second': 9.0, 'train_steps_per_second': 1.5, 'epoch': 1.0}\n",
]


@cache
def few_kernels() -> Any:
    """The trace of a step of decode with a few of its kernels."""
    path = ROOT / "tests" / "bench" / "traces" / "compiled-decode.json.gz"
    data = json.loads(gzip.decompress(path.read_bytes()))
    return data | {"traceEvents": data["traceEvents"][:8] + data["traceEvents"][-12:]}


def _shuffled(draw: random.Random, text: str) -> str:
    """A text in which, at times, words of one line stand in another."""
    lines = garbled(draw, text).splitlines(keepends=True)
    for _ in range(draw.choice([0, 1, 1, 2])):
        at = draw.randrange(len(lines)) if lines else 0
        numbers = list(re.finditer(r"[\d.,]+", lines[at])) if lines else []
        if numbers:
            one = draw.choice(numbers)
            lines[at] = lines[at][: one.start()] + str(draw.choice(JUNK)) + lines[at][one.end() :]
    return "".join(lines)


KINDS: dict[str, Callable[[random.Random], Input]] = {
    "configs": of_configs,
    "specs": of_specs,
    "gpus": of_gpus,
    "profiles": of_profiles,
    "published": of_published,
    "engines": of_engines,
    "traffic": of_traffic,
    "runs": of_runs,
    "lines": of_lines,
}


def made(seed: int, number: int, kind: str | None) -> tuple[str, Input]:
    """The input of a number, and its kind: each in turn, unless one is asked for."""
    kind = kind or list(KINDS)[number % len(KINDS)]
    return kind, KINDS[kind](random.Random(f"{seed}/{number}/{kind}"))  # noqa: S311 - no secret
