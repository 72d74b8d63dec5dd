"""Result files of serving benchmarks: each run that they hold, how it was run and what was measured, in base units.

vLLM        bench serve, JSON or appended lines of it: model_id, num_prompts, request_rate, max_concurrency, completed,
            total_input_tokens, total_output_tokens, mean_ttft_ms, mean_tpot_ms, output_throughput
            (vllm/benchmarks/serve.py); bench latency: avg_latency, latencies (latency.py); bench throughput:
            elapsed_time, num_requests, total_num_tokens, requests_per_second (throughput.py); of
            https://github.com/vllm-project/vllm. The last two do not tell lengths.
SGLang      bench_serving, lines: as above, with max_concurrency, mean_e2e_latency_ms, accept_length
            (python/sglang/bench_serving.py); bench_one_batch, lines: batch_size, input_len, output_len,
            prefill_latency, median_decode_latency (bench_one_batch.py); of https://github.com/sgl-project/sglang.
TensorRT-LLM  trtllm-bench's report: engine, machine, world_info, request_info, performance, streaming_metrics
            (tensorrt_llm/bench/dataclasses/reporting.py, https://github.com/NVIDIA/TensorRT-LLM).
llama.cpp   llama-bench, JSON, JSON lines, CSV: model_filename, model_type, gpu_info, n_prompt, n_gen, n_depth, avg_ts;
            Markdown: model, test (pp512, tg128 @ d512), t/s (tools/llama-bench/README.md of
            https://github.com/ggml-org/llama.cpp).
GenAI-Perf, AIPerf  JSON: time_to_first_token, inter_token_latency, input_sequence_length, … each with unit and avg, and
            input_config (docs/reference/json-export-schema.md of https://github.com/ai-dynamo/aiperf; schema 1).
own         CSV, one run a line: the columns COLUMNS; or one request a line: input_tokens, output_tokens, arrival_s,
            first_token_s, last_token_s.

Which one it is, is told by the names of its fields. What a file does not tell is asked for by options.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.model.formats import FORMATS
from llmcost.specs.json_text import loaded
from llmcost.specs.reader import read_text

LARGEST = 500_000_000  # bytes of a result file that are read
LEAST, MOST = 1e-9, 1e12  # of anything that is counted or timed
WORDS = ("model", "hw", "engine", "dtype", "weight_dtype", "kv_dtype")
DEGREES = ("tp", "pp", "dp", "ep", "gpus")
LOADS = ("batch", "concurrency", "rate", "requests")
LENGTHS = ("input_tokens", "output_tokens")
MEASURED = ("ttft_seconds", "tpot_seconds", "latency_seconds", "output_tokens_per_s", "requests_per_s")
COLUMNS = (*WORDS, *DEGREES, *LOADS, *LENGTHS, *MEASURED, "date")
REQUEST = ("input_tokens", "output_tokens", "arrival_s", "first_token_s", "last_token_s")
PART = 20  # requests of a trace that are looked at together, at least
MOST_PARTS = 10
MOST_FAILED = 0.05  # share of the requests that may fail in a run
MOST_APART = 0.05  # share by which a rate may differ from its total over the duration
AIPERF_SCHEMA = "1"
ALL_LAYERS = 90  # llama-bench's usual 99 or -1 mean all layers; of fewer nobody can say
KNOWN = (
    "vLLM's bench serve, latency and throughput, SGLang's bench_serving and bench_one_batch, trtllm-bench's report, "
    "llama-bench, GenAI-Perf, AIPerf, and CSV with input_tokens and output_tokens"
)


class Run(NamedTuple):
    """One measured run.

    `told`: what the file says of how it was run (`model`, `hw`, `engine`, degrees, data types; `prompt`, `output`; one
    of `batch`, `concurrency`, `rate`, `requests`). `measured`: seconds and rates by name. `phase`: "mix" for requests
    under continuous batching, "batch" for one that starts together, "prompt" and "decode" for one of the two alone;
    "trace" for requests of a file, from `part` to `part`, in the order in which they arrive.
    """

    file: str
    line: int
    phase: str
    told: Mapping[str, Any]
    measured: Mapping[str, float]
    date: str = ""
    part: tuple[int, int] = (0, 0)

    def wrong(self, field: str, problem: str) -> SpecError:
        """A problem of this run, as an error with its place."""
        return SpecError(self.file, self.line, field, problem)


class _Entry(NamedTuple):
    """An object of JSON, or a line of a table, that is one run, and where it stands."""

    file: str
    line: int
    data: Mapping[str, Any]

    def wrong(self, field: str, problem: str) -> SpecError:
        return SpecError(self.file, self.line, field, problem)

    def find(self, path: str) -> Any:
        """What stands at a path of keys joined by points; None where nothing does."""
        value: Any = self.data
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def number(self, path: str) -> float:
        """The number above 0 at a path. Raises SpecError where there is none."""
        value = self.find(path)
        if value is None or value == "":
            raise self.wrong(path, "this field is missing")
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not LEAST < found < MOST:
            raise self.wrong(path, f"cannot be {shortened(str(value))!r}: a number above {LEAST:g} and below {MOST:g}")
        return found

    def some(self, path: str) -> float | None:
        """As `number`; None where the field is missing, or null."""
        return None if self.find(path) in (None, "") else self.number(path)

    def whole(self, path: str) -> int:
        """As `number`, a whole one."""
        found = self.number(path)
        if found % 1:
            raise self.wrong(path, f"cannot be {found:g}: a whole number")
        return int(found)

    def degree(self, path: str) -> int | None:
        """A whole number above 0; None where the field is missing, null or -1, by which programs mean that too."""
        return None if self.find(path) in (None, "", -1) else self.whole(path)

    def text(self, path: str) -> str:
        """The text at a path; "" where there is none."""
        value = self.find(path)
        return value.strip() if isinstance(value, str) else ""

    def run(self, phase: str, told: dict[str, Any], measured: dict[str, float | None], date: str = "") -> Run:
        """The run, without what is not told. Raises SpecError where nothing was measured."""
        known = {name: value for name, value in measured.items() if value is not None}
        if not known:
            raise self.wrong("", f"no time and no rate in it: one of {', '.join(measured)}")
        said = {name: value for name, value in told.items() if value not in (None, "")}
        return Run(self.file, self.line, phase, said, known, date)


def read_runs(path: Path) -> list[Run]:
    """The runs of a file. Raises SpecError, with line and field, for a file that is none of a known benchmark."""
    text, file = read_text(path, LARGEST), str(path)
    first = text.lstrip()[:1]
    if not first:
        raise SpecError(file, 0, "", "the file is empty")
    if first in "{[":
        entries = _json_entries(text, file)
        return [run for entry in entries for run in _reader_of(entry)(entry)]
    if first == "|" or re.search(r"^\|.*\bt/s\b", text, re.MULTILINE):
        return list(_markdown_runs(text, file))
    return list(_csv_runs(text, file))


# ------------------------------------------------------------------------------------------------------------ JSON


def _json_entries(text: str, file: str) -> list[_Entry]:
    """The objects of a JSON document, of a list of them, or of lines with one each."""
    try:
        whole = loaded(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise SpecError(file, error.lineno, "", f"not valid JSON: {error.msg}") from None
        return list(_lines_of_json(text, file))
    except ValueError as error:
        raise SpecError(file, 1, "", f"no JSON that can be read: {error}") from None
    listed = whole if isinstance(whole, list) else [whole]
    for number, each in enumerate(listed):
        if not isinstance(each, dict):
            raise SpecError(file, 1, f"[{number}]", "expected an object of keys and values")
    if not listed:
        raise SpecError(file, 1, "", "no run in it")
    if isinstance(whole, dict):
        return [_Entry(file, 1, whole)]
    return [_Entry(f"{file}, entry {number + 1}", 0, each) for number, each in enumerate(listed)]


def _lines_of_json(text: str, file: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = loaded(line)
        except ValueError as error:
            raise SpecError(file, number, "", f"not valid JSON: {error}") from None
        if not isinstance(data, dict):
            raise SpecError(file, number, "", "expected an object of keys and values")
        yield _Entry(file, number, data)


Reader = Callable[[_Entry], list[Run]]


def _reader_of(entry: _Entry) -> Reader:
    """The reader of an object, by the fields that only its benchmark has. Raises SpecError where none knows it."""
    for fields, reader in READERS.items():
        if all(name in entry.data for name in fields):
            return reader
    has = shortened(", ".join(map(str, entry.data))) or "nothing"
    raise entry.wrong(
        "", f"no result of a benchmark that is known, or of a version that is: it has {has}; known: {KNOWN}"
    )


def _refuse_guesses(entry: _Entry, *paths: str) -> None:
    """Raise SpecError for a run in which tokens were guessed: its times are not those of one token a step."""
    for path in paths:
        value = entry.find(path)
        if value is not None and not (isinstance(value, int | float) and value <= 1):
            raise entry.wrong(path, "tokens were guessed in this run (speculative decoding), which hides a step's time")


def _load(entry: _Entry, rate: Any, concurrency: float | None, requests: float | None) -> dict[str, Any]:
    """How requests came: in a closed loop, at a rate, or all at once."""
    endless = rate in (None, "", "inf", "Infinity") or rate == math.inf
    if endless:
        loop = {} if concurrency is None else {"concurrency": int(concurrency)}
        if requests is None and not loop:
            raise entry.wrong("num_prompts", "this field is missing, and no concurrency is told")
        return loop | ({} if requests is None else {"requests": int(requests)})
    if concurrency is not None:
        raise entry.wrong(
            "max_concurrency", "requests came at a rate and were held back too: one of the two can be predicted"
        )
    return {"rate": entry.number("request_rate"), "requests": int(requests or 0) or None}


def _mean_lengths(entry: _Entry) -> dict[str, float]:
    """Mean tokens in and out of the requests that were answered. Raises SpecError where none was, or few were."""
    if entry.find("completed") == 0:
        raise entry.wrong("completed", "no request was answered in this run")
    _check_totals(entry)
    completed = entry.number("completed")
    return {
        "prompt": entry.number("total_input_tokens") / completed,
        "output": entry.number("total_output_tokens") / completed,
    }


def _check_totals(entry: _Entry) -> None:
    """Raise SpecError for a run of which many requests failed, or whose rates are not its totals over its duration."""
    answered, failed = entry.number("completed"), entry.find("failed")
    if failed not in (None, "", 0):
        lost = entry.whole("failed")
        if lost > MOST_FAILED * (answered + lost):
            problem = (
                f"{lost:,} of {answered + lost:,.0f} requests failed: what is left is no run of the load that was asked"
            )
            raise entry.wrong("failed", problem)
    duration = entry.some("duration")
    for rate, total in (("request_throughput", "completed"), ("output_throughput", "total_output_tokens")):
        said = entry.some(rate)
        if duration is None or said is None:
            continue
        found = entry.number(total) / duration
        if abs(said / found - 1) > MOST_APART:
            problem = f"{said:g}, and {total} over duration is {found:.4g}: which of them is wrong?"
            raise entry.wrong(rate, problem)


def _milliseconds(entry: _Entry, path: str) -> float | None:
    found = entry.some(path)
    return None if found is None else found / 1e3


SERVERS = {  # what clients call the server that they ask -> our name of it; of another one --engine says it
    **dict.fromkeys(("vllm", "vllm-chat", "openai", "openai-chat", "openai-comp"), "vllm"),
    **dict.fromkeys(("sglang", "sglang-native", "sglang-oai", "sglang-oai-chat"), "sglang"),
    **dict.fromkeys(("trt", "tensorrt-llm"), "trtllm"),
}


def _vllm_serve(entry: _Entry) -> list[Run]:
    _refuse_guesses(entry, "spec_decode_acceptance_length")
    server = entry.text("endpoint_type") or entry.text("backend") or "vllm"
    told = {"model": entry.text("model_id"), "engine": SERVERS.get(server), **_mean_lengths(entry)}
    load = _load(entry, entry.find("request_rate"), entry.some("max_concurrency"), entry.some("num_prompts"))
    measured = {
        "ttft_seconds": _milliseconds(entry, "mean_ttft_ms"),
        "tpot_seconds": _milliseconds(entry, "mean_tpot_ms"),
        "output_tokens_per_s": entry.some("output_throughput"),
    }
    day = re.sub(r"^(\d{4})(\d\d)(\d\d).*", r"\1-\2-\3", entry.text("date"))
    return [entry.run("mix", told | load, measured, day)]


def _vllm_latency(entry: _Entry) -> list[Run]:
    return [entry.run("batch", {"engine": "vllm"}, {"latency_seconds": entry.number("avg_latency")})]


def _vllm_throughput(entry: _Entry) -> list[Run]:
    requests = entry.whole("num_requests")
    told = {"engine": "vllm", "requests": requests, "tokens": entry.number("total_num_tokens") / requests}
    return [entry.run("mix", told, {"requests_per_s": entry.number("requests_per_second")})]


def _sglang_serving(entry: _Entry) -> list[Run]:
    _refuse_guesses(entry, "accept_length")
    info = "server_info"
    told = {
        "model": entry.text(f"{info}.model_path") or entry.text("model"),
        "engine": SERVERS.get(entry.text("backend")),
        "tp": entry.degree(f"{info}.tp_size"),
        **_mean_lengths(entry),
    }
    load = _load(entry, entry.find("request_rate"), entry.some("max_concurrency"), entry.number("completed"))
    measured = {
        "ttft_seconds": _milliseconds(entry, "mean_ttft_ms"),
        "tpot_seconds": _milliseconds(entry, "mean_tpot_ms"),
        "output_tokens_per_s": entry.some("output_throughput"),
    }
    return [entry.run("mix", told | load, measured)]


def _sglang_batch(entry: _Entry) -> list[Run]:
    told = {
        "engine": "sglang",
        "batch": entry.whole("batch_size"),
        "prompt": entry.number("input_len"),
        "output": entry.number("output_len"),
    }
    measured = {
        "prefill_seconds": entry.number("prefill_latency"),
        "tpot_seconds": entry.some("median_decode_latency"),
    }
    return [entry.run("batch", told, measured)]


TRTLLM_WEIGHTS = {"FP8": "fp8", "FP8_BLOCK_SCALES": "fp8-block128", "NVFP4": "nvfp4"}  # quantisation -> weights


def _trtllm(entry: _Entry) -> list[Run]:
    _refuse_guesses(entry, "decoding_stats")
    world, algorithm = "world_info", entry.text("engine.quantization")
    if algorithm and algorithm not in TRTLLM_WEIGHTS:
        raise entry.wrong("engine.quantization", f"{algorithm!r} is not understood: {', '.join(TRTLLM_WEIGHTS)}")
    told = {
        "model": entry.text("engine.model"),
        "hw": entry.text("machine.name"),
        "engine": "trtllm",
        "tp": entry.degree(f"{world}.tp_size"),
        "pp": entry.degree(f"{world}.pp_size"),
        "ep": ranks if (ranks := entry.degree(f"{world}.ep_size")) != 1 else None,
        "quantised": TRTLLM_WEIGHTS.get(algorithm),
        "mean_concurrency": entry.number("request_info.avg_num_concurrent_requests"),
        "requests": entry.whole("request_info.num_requests"),
        "prompt": entry.number("request_info.avg_input_length"),
        "output": entry.number("request_info.avg_output_length"),
        "chunk": entry.degree(f"{world}.max_num_tokens"),
        "max_num_seqs": entry.degree(f"{world}.max_batch_size"),
    }
    measured = {
        "ttft_seconds": _milliseconds(entry, "streaming_metrics.avg_ttft_ms"),
        "tpot_seconds": _milliseconds(entry, "streaming_metrics.avg_tpot_ms"),
        "latency_seconds": _milliseconds(entry, "performance.avg_request_latency_ms"),
        "output_tokens_per_s": entry.some("performance.system_output_throughput_tok_s"),
    }
    return [entry.run("mix", told, measured)]


def _perf(entry: _Entry) -> list[Run]:
    """GenAI-Perf's and AIPerf's: each metric is an object with its unit and its average."""
    version = str(entry.find("schema_version") or AIPERF_SCHEMA)
    if version.partition(".")[0] != AIPERF_SCHEMA:
        raise entry.wrong("schema_version", f"{shortened(version)!r} is not understood: {AIPERF_SCHEMA}.x is")

    def average(name: str) -> float | None:
        if entry.find(name) is None:
            return None
        unit = entry.text(f"{name}.unit")
        scale = {"ms": 1e-3, "sec": 1.0, "s": 1.0, "us": 1e-6, "ns": 1e-9}.get(unit, 1.0)
        if name.endswith(("latency", "token")) and unit not in ("ms", "sec", "s", "us", "ns"):
            raise entry.wrong(f"{name}.unit", f"{unit!r} is no unit of time that is understood")
        return entry.number(f"{name}.avg") * scale

    config = entry.find("input_config")
    prompt, output = average("input_sequence_length"), average("output_sequence_length")
    for name, value in (("input_sequence_length", prompt), ("output_sequence_length", output)):
        if value is None:
            raise entry.wrong(name, "this field is missing")
    told = {"model": _one_of(entry, config, "model_names", "models", "model"), "prompt": prompt, "output": output}
    requests = average("request_count")
    load = {"concurrency": _one_of(entry, config, "concurrency"), "requests": requests and int(requests)}
    if load["concurrency"] is None:
        load["rate"] = _one_of(entry, config, "request_rate")
    measured = {
        "ttft_seconds": average("time_to_first_token"),
        "tpot_seconds": average("inter_token_latency"),
        "latency_seconds": average("request_latency"),
        "output_tokens_per_s": average("output_token_throughput"),
    }
    return [entry.run("mix", told | load, measured, entry.text("start_time")[:10])]


def _one_of(entry: _Entry, config: Any, *names: str) -> Any:
    """The one value that keys of these names have, anywhere inside a configuration. Raises SpecError for several."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, each in value.items():
                while key in names and isinstance(each, list) and len(each) == 1:
                    each = each[0]  # noqa: PLW2901
                if key in names and isinstance(each, str | int | float) and not isinstance(each, bool):
                    found.append(each)
                else:
                    look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(config)
    values = list(dict.fromkeys(found))
    if len(values) > 1:
        raise entry.wrong(
            f"input_config …{names[0]}", f"several values, {shortened(', '.join(map(str, values)))}: one run"
        )
    return values[0] if values else None


def _llama_bench(entry: _Entry) -> list[Run]:
    """llama-bench: prompts of n_prompt tokens, or n_gen tokens behind n_depth."""
    told: dict[str, Any] = {
        "model_type": entry.text("model_type"),
        "hw": entry.text("gpu_info"),
        "engine": "llama.cpp",
        "quantised": _gguf_type(entry.text("model_type")),
    }
    prompt, generated, depth = (
        0 if str(entry.find(name)) in ("0", "None", "") else entry.whole(name)
        for name in ("n_prompt", "n_gen", "n_depth")
    )
    layers = str(entry.find("n_gpu_layers"))
    if layers.isdigit() and int(layers) < ALL_LAYERS:
        raise entry.wrong("n_gpu_layers", f"{layers}: layers may have stayed on the CPU, which is not predicted")
    return [_llama_test(entry, told, prompt, generated, depth, entry.number("avg_ts"))]


def _llama_test(entry: _Entry, told: dict[str, Any], prompt: int, generated: int, depth: int, speed: float) -> Run:
    """One test of llama-bench, by its tokens and its tokens a second."""
    if bool(prompt) == bool(generated):
        raise entry.wrong("n_prompt", "either a prompt or tokens that are generated: tests of both are not understood")
    date = entry.text("test_time")[:10]
    if prompt:
        if depth:
            raise entry.wrong("n_depth", "a prompt behind others' keys (d) is not predicted")
        return entry.run("prompt", told | {"prompt": prompt, "batch": 1}, {"prefill_seconds": prompt / speed}, date)
    lengths = {"prompt": max(1, depth), "output": generated, "batch": 1}
    return entry.run("decode", told | lengths, {"tpot_seconds": 1 / speed}, date)


def _gguf_type(model_type: str) -> str | None:
    """Our name of the weights' type in llama-bench's name of a model; None where it has none that is known."""
    words = model_type.lower().replace("mostly ", "").replace(" - ", "_")
    names = {"medium": "m", "small": "s", "large": "l"}
    for word in (re.sub(r"_[\d.]+$", "", each) for each in words.split()):
        base, _, size = word.partition("_medium") if "_medium" in word else (word, "", "")
        stem, _, last = base.rpartition("_")
        short = f"{stem}_{names[last]}" if last in names else base
        for known in (f"{short}_m" if "_medium" in word else short, short, size):
            if known in FORMATS or known in ("f32", "f16", "bf16"):
                return {"f16": "fp16", "f32": "fp32"}.get(known, known)
    return None


READERS: dict[tuple[str, ...], Reader] = {
    ("request_info", "performance", "world_info"): _trtllm,
    ("elapsed_time", "num_requests", "requests_per_second"): _vllm_throughput,
    ("avg_latency", "latencies"): _vllm_latency,
    ("prefill_latency", "batch_size", "input_len"): _sglang_batch,
    ("avg_ts", "n_prompt", "n_gen"): _llama_bench,
    ("input_config", "request_latency"): _perf,
    ("input_config", "time_to_first_token"): _perf,
    ("dataset_name", "backend", "completed"): _sglang_serving,
    ("model_id", "completed"): _vllm_serve,
}


# ----------------------------------------------------------------------------------------------------------- tables


def _markdown_runs(text: str, file: str) -> Iterator[Run]:
    """The rows of llama-bench's tables."""
    columns: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|") or all(set(cell) <= {"-", ":", " "} for cell in cells):
            continue
        if "t/s" in cells:
            columns = cells
            missing = next((name for name in ("model", "test") if name not in cells), None)
            if missing:
                raise SpecError(file, number, missing, "this column of llama-bench's table is missing")
            continue
        if len(cells) != len(columns):
            raise SpecError(file, number, "", f"{len(cells)} cells for {len(columns)} columns")
        entry = _Entry(file, number, dict(zip(columns, cells, strict=True)))
        test = re.fullmatch(r"(pp|tg) ?(\d+)(?: ?@ ?d(\d+))?", entry.text("test"))
        if test is None:
            raise entry.wrong("test", f"{shortened(entry.text('test'))!r} is not understood: pp512, or tg128 @ d512")
        speed = _Entry(file, number, {"t/s": entry.text("t/s").partition("±")[0].strip()}).number("t/s")
        tokens = int(test[2])
        told = {"model_type": entry.text("model"), "engine": "llama.cpp", "quantised": _gguf_type(entry.text("model"))}
        sizes = (tokens, 0) if test[1] == "pp" else (0, tokens)
        yield _llama_test(entry, told, *sizes, int(test[3] or 0), speed)
    if not columns:
        raise SpecError(file, 0, "", "no table of llama-bench in it: columns model, test, t/s")


def _csv_runs(text: str, file: str) -> Iterator[Run]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        rows = [_Entry(file, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise SpecError(file, reader.line_num, "", f"not valid CSV: {error}") from None
    if "avg_ts" in names and "n_prompt" in names:
        runs = [_llama_bench(row)[0] for row in rows]
    elif all(name in names for name in REQUEST):
        runs = list(_trace_runs(file, rows))
    elif all(name in names for name in LENGTHS):
        for name in names:
            if name not in COLUMNS:
                raise SpecError(file, 1, name, f"not a column that is understood: {', '.join(COLUMNS)}")
        runs = [_own_run(row) for row in rows]
    elif any(name in names for name in (*LENGTHS, *MEASURED, *LOADS)):
        missing = next(name for name in LENGTHS if name not in names)
        raise SpecError(file, 1, missing, "this column is missing")
    else:
        raise SpecError(file, 1, "", f"no result of a benchmark that is known; known: {KNOWN}")
    if not runs:
        raise SpecError(file, 0, "", "no run in it")
    yield from runs


def _own_run(row: _Entry) -> Run:
    """One line of a CSV of the user's own."""
    if None in row.data or None in row.data.values():
        raise row.wrong("", "this line has not as many cells as there are columns")
    told: dict[str, Any] = {name: row.text(name) for name in WORDS}
    told |= {name: row.whole(name) for name in DEGREES if row.text(name)}
    told |= {"prompt": row.number("input_tokens"), "output": row.number("output_tokens")}
    loads = [name for name in LOADS if row.text(name)]
    told |= {name: row.number(name) if name == "rate" else row.whole(name) for name in loads}
    ways = [name for name in loads if name != "requests"] or loads
    if len(ways) != 1:
        problem = f"{' and '.join(ways)} in one line" if ways else "this is missing"
        raise row.wrong(ways[0] if ways else "concurrency", f"{problem}: one of {', '.join(LOADS)}")
    if "batch" in loads and len(loads) > 1:
        raise row.wrong("requests", "a batch that starts together has no other requests")
    measured = {name: row.some(name) for name in MEASURED}
    return row.run("batch" if ways[0] == "batch" else "mix", told, measured, row.text("date"))


def _trace_runs(file: str, rows: list[_Entry]) -> Iterator[Run]:
    """Requests one by one, cut into parts of some that arrived one after the other: each is as a run of its own."""
    times = [_request(row) for row in rows]
    for row, (before, after) in zip(rows[1:], pairwise(times), strict=True):
        if after[0] < before[0]:
            raise row.wrong("arrival_s", "comes before the request above it: sort them by arrival")
    parts = max(1, min(MOST_PARTS, len(rows) // PART))
    for number in range(parts):
        start, stop = len(rows) * number // parts, len(rows) * (number + 1) // parts
        members = times[start:stop]
        answered = [last - first for _, first, last, tokens in members if tokens > 1]
        tokens = [tokens - 1 for *_, tokens in members if tokens > 1]
        tpot = [each / count for each, count in zip(answered, tokens, strict=True)]
        measured = {"ttft_seconds": sum(first - arrival for arrival, first, *_ in members) / len(members)}
        measured |= {"tpot_seconds": sum(tpot) / len(tpot)} if tpot else {}
        yield Run(file, rows[start].line, "trace", {}, measured, part=(start, stop))


def _request(row: _Entry) -> tuple[float, float, float, int]:
    """Arrival, first and last token, and tokens out of one request."""
    row.whole("input_tokens")
    times = []
    for name in ("arrival_s", "first_token_s", "last_token_s"):
        text = row.text(name)
        value = 0.0 if text and text.strip("0.") == "" else row.number(name)
        times.append(value)
    arrival, first, last = times
    if not arrival < first <= last:
        raise row.wrong("first_token_s", "a request arrives, has its first token and then its last one")
    return arrival, first, last, row.whole("output_tokens")
