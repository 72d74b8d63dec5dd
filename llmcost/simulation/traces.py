"""Files of requests, in our own format and in published ones. Which it is, is told by the names of its fields.

own         CSV or JSON lines: input_tokens, output_tokens, arrival_s (seconds), and if wanted prefix_id and
            shared_tokens: what its prompt begins with, and how many tokens of it.
Azure       CSV: TIMESTAMP, ContextTokens, GeneratedTokens
            (https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md).
Mooncake    JSON lines: timestamp (milliseconds), input_length, output_length, hash_ids of blocks of 512 tokens
            (https://github.com/kvcache-ai/Mooncake, FAST25-release/traces).
results     of `vllm bench serve --save-detailed` and `sglang.bench_serving --output-details`: input_lens and
            output_lens in JSON or JSON lines, start_times where they have them.
ShareGPT    conversations, a JSON list or one a line, each a list of turns with a `value` or `content`: as in the
            engines' benchmarks the first turn is the prompt and the second the answer, and those too short or long for
            these are left out (vllm/benchmarks/datasets.py, is_valid_sequence). A token is counted as four characters.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from llmcost.ground.errors import InputError, SpecError, shortened
from llmcost.simulation.traffic import Request
from llmcost.specs.json_text import loaded

LONGEST_LINE = 10**7  # characters of a line of a trace that are read
MOST_TOKENS = 10**9  # of a request
LATEST = 1e10  # seconds of an arrival: of a date three centuries on; floats keep microseconds that far
HASHED = 512  # tokens of a hash
CHARACTERS = 4  # of a token of English text (https://help.openai.com/en/articles/4936856)
SHORTEST, LONGEST_PROMPT, LONGEST = 4, 1024, 2048  # tokens of conversations that benchmarks take


class Format(NamedTuple):
    """Names of the fields of one format: tokens in, tokens out, arrival; `times`: how its times are read."""

    prompt: str
    output: str
    arrival: str
    times: Callable[[Any], float]

    def fields(self) -> tuple[str, str, str]:
        """The fields that each request has."""
        return self.prompt, self.output, self.arrival


def _date(text: Any) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


OWN = Format("input_tokens", "output_tokens", "arrival_s", float)
AZURE = Format("ContextTokens", "GeneratedTokens", "TIMESTAMP", _date)
MOONCAKE = Format("input_length", "output_length", "timestamp", lambda text: float(text) / 1000)
FORMATS = (OWN, AZURE, MOONCAKE)
RESULTS = {"input_lens", "total_input_tokens"}  # of an engine's benchmark: with and without its requests
WHOLE_DATE = 1e9  # seconds: a time that counts from a date, not from the first request


def read_trace(path: Path, timed: bool = True) -> Iterator[Request]:
    """The requests of a file, in the order of arrival; `timed`: their times are needed.

    Raises SpecError with line and field, InputError for a file that cannot be read, or that has no times.
    """
    try:
        file = path.open(encoding="utf-8-sig", newline="")  # -sig: without the mark that Windows begins files with
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        try:
            yield from _requests(path, file, timed)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: no text in UTF-8 ({error.reason})") from None


def _requests(path: Path, file: TextIO, timed: bool) -> Iterator[Request]:
    start = file.read(1)
    while start and start.isspace():
        start = file.read(1)
    file.seek(0)
    if start == "[":
        document = _document(path, file.read())
        if not document:
            raise InputError(f"{path}: an empty list: it has no requests")
        _need_times(path, timed)
        yield from _conversations(path, document)
        return
    if start == "{":
        line = file.readline(LONGEST_LINE)
        row = _json_or_none(line)
        text = line + file.read() if row is None else ""
        whole = _document(path, text) if text else row
        if isinstance(whole, dict) and RESULTS & whole.keys():
            results = [(1, whole)] if text else [(1, whole), *_json_rows(path, file, 2)]
            if timed and whole.get("start_times") and len(results) > 1:
                several = f"one of {len(results)} runs, each with times of its own; keep one, or give --rate"
                raise SpecError(str(path), results[1][0], "start_times", several)
            for number, result in results:
                yield from _results(path, number, result, timed)
            return
        if text:
            raise SpecError(str(path), 1, "", _unknown(()))
        file.seek(0)
        if isinstance(row, dict) and _turns(row) is not None:
            _need_times(path, timed)
            yield from _conversations(path, (each for _, each in _json_rows(path, file, 1)))
            return
        yield from _rows(path, _json_rows(path, file, 1), timed)
        return
    yield from _rows(path, _csv_rows(path, file), timed)


def _need_times(path: Path, timed: bool) -> None:
    if timed:
        raise InputError(f"{path}: it has no times of arrival; give --rate or --concurrency too")


def _unknown(found: Any) -> str:
    known = "; ".join(", ".join(each.fields()) for each in FORMATS)
    has = f", this has {shortened(', '.join(map(str, found)))}" if found else ""
    return f"no format of a trace that is known: {known}{has}"


def _rows(path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]], timed: bool) -> Iterator[Request]:
    """Requests of a line each."""
    form, began, last = None, None, 0.0
    for line, row in rows:
        if form is None:
            form = next((each for each in FORMATS if each.prompt in row or each.output in row), None)
            if form is None:
                missing = next((name for name in OWN.fields() if name not in row), "")
                raise SpecError(str(path), line, missing, f"this field is missing; {_unknown(row)}")
        request = _request(str(path), line, row, form, timed)
        arrival = request.arrival or 0.0
        if began is None:
            began = arrival if form is not OWN or arrival > WHOLE_DATE else 0.0
        arrival -= began
        if arrival < last:
            problem = f"{arrival:g} s comes before the request above it ({last:g} s); sort them by arrival"
            raise SpecError(str(path), line, form.arrival, problem)
        last = arrival
        yield request._replace(arrival=arrival)


def _csv_rows(path: Path, file: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(_lines(path, file))
    names = [name or "" for name in reader.fieldnames or ()]
    if not any(each.prompt in names or each.output in names for each in FORMATS):
        missing = next((name for name in OWN.fields() if name not in names), "")
        raise SpecError(str(path), 1, missing, f"this column is missing; {_unknown(names)}")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise SpecError(str(path), reader.line_num + 1, "", str(error)) from None


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file. Raises SpecError for one that does not end."""
    number = 1
    while text := file.readline(LONGEST_LINE):
        if len(text) == LONGEST_LINE:
            raise SpecError(str(path), number, "", f"a line of more than {LONGEST_LINE:,} characters")
        yield text
        number += 1


def _json_rows(path: Path, file: TextIO, number: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Objects of JSON, one a line; `number`: of the first."""
    while text := file.readline(LONGEST_LINE):
        if text.strip():
            try:
                row = loaded(text)
            except ValueError as error:
                raise SpecError(str(path), number, "", f"no JSON: {error}") from None
            if not isinstance(row, dict):
                raise SpecError(str(path), number, "", "expected a JSON object a line")
            yield number, row
        number += 1


def _json_or_none(text: str) -> Any:
    try:
        return loaded(text)
    except ValueError:
        return None


def _document(path: Path, text: str) -> Any:
    try:
        return loaded(text)
    except json.JSONDecodeError as error:
        raise SpecError(str(path), error.lineno, "", f"no JSON: {error.msg}") from None
    except ValueError as error:
        raise SpecError(str(path), 1, "", f"no JSON that can be read: {error}") from None


def _request(file: str, line: int, row: Mapping[str, Any], form: Format, timed: bool) -> Request:
    def number(name: str, read: Callable[[Any], Any], least: float, most: float = MOST_TOKENS) -> Any:
        if row.get(name) is None:
            raise SpecError(file, line, name, f"this field is missing; a trace has {', '.join(form.fields())}")
        value = _number(row[name], read)
        if not least <= value < most:
            told = shortened(str(row[name]))
            below = f" and below {most:g}" if value >= most else ""
            raise SpecError(file, line, name, f"cannot be {told!r}: a number of {least:g} or more{below}")
        return value

    arrival = None
    if timed or row.get(form.arrival) is not None:
        arrival = number(form.arrival, form.times, 0, LATEST)
    prompt, output = number(form.prompt, _whole, 1), number(form.output, _whole, 1)
    prefix: tuple[tuple[Any, int], ...] = ()
    hashes = row.get("hash_ids")
    if form is MOONCAKE and hashes is not None:
        if not isinstance(hashes, list) or not all(isinstance(each, int | str) for each in hashes):
            raise SpecError(file, line, "hash_ids", "a list of numbers, one a block of 512 tokens of the prompt")
        sizes = [min(HASHED, prompt - at * HASHED) for at in range(len(hashes))]
        prefix = tuple((name, size) for name, size in zip(hashes, sizes, strict=True) if size > 0)
    elif row.get("shared_tokens") not in (None, "") and row.get("prefix_id") not in (None, ""):
        shared = number("shared_tokens", _whole, 0)
        if shared > prompt:
            raise SpecError(file, line, "shared_tokens", f"{shared:,}: more than the prompt's {prompt:,}")
        prefix = ((str(row["prefix_id"]), shared),)
    return Request(arrival, prompt, output, line, prefix)


def _number(text: Any, read: Callable[[Any], Any]) -> Any:
    """The number that a field means; NaN where it means none."""
    try:
        return math.nan if isinstance(text, bool) else read(text)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _whole(text: Any) -> int:
    value = float(text)
    if not value.is_integer():
        raise ValueError
    return int(value)


def _results(path: Path, line: int, result: Mapping[str, Any], timed: bool) -> Iterator[Request]:
    """Requests of one run of an engine's own benchmark. Those that failed gave no tokens, and are left out."""
    times: Any = result.get("start_times") or []
    prompts: Any = result.get("input_lens")
    if not times and prompts:
        _need_times(path, timed)
    outputs: Any = result.get("output_lens")
    for name, values in {"input_lens": prompts, "output_lens": outputs, "start_times": times}.items():
        if not isinstance(values, list):
            raise SpecError(str(path), line, name, "this list is missing: --save-detailed or --output-details save it")
    if len({len(each) for each in (prompts, outputs, times or prompts)}) > 1:
        raise SpecError(str(path), line, "output_lens", "input_lens, output_lens and start_times differ in length")
    found = []
    for place, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        row = {OWN.prompt: prompt, OWN.output: output, OWN.arrival: times[place] if times else 0.0}
        if output != 0:
            found.append(_request(f"{path}, request {place + 1}", line, row, OWN, timed=bool(times)))
    began = min([each.arrival or 0.0 for each in found], default=0.0)
    for each in sorted(found, key=lambda one: one.arrival or 0.0):
        yield each._replace(arrival=(each.arrival or 0.0) - began)


def _turns(talk: Mapping[str, Any]) -> Any:
    """The turns of a conversation, by one of the names that data sets have for them."""
    return next((talk[name] for name in ("conversations", "conversation", "messages") if name in talk), None)


def _conversations(path: Path, document: Any) -> Iterator[Request]:
    """Requests of ShareGPT's conversations, of a length that benchmarks take."""
    for number, each in enumerate(document, start=1):
        turns = _turns(each) if isinstance(each, dict) else None
        if not isinstance(turns, list):
            raise SpecError(str(path), 0, f"[{number - 1}].conversations", "a list of turns is missing")
        if len(turns) < 2:
            continue
        texts = [turn.get("value", turn.get("content")) for turn in turns[:2] if isinstance(turn, dict)]
        tokens = [round(len(text) / CHARACTERS) for text in texts if isinstance(text, str)]
        if len(tokens) < 2:
            raise SpecError(str(path), 0, f"[{number - 1}].conversations", "a turn without text (value)")
        prompt, output = tokens
        if min(prompt, output) >= SHORTEST and prompt <= LONGEST_PROMPT and prompt + output <= LONGEST:
            yield Request(0.0, prompt, output, 0)
