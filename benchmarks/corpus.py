"""What the program answers to a wide set of questions, recorded; two recordings held against each other.

    python benchmarks/corpus.py record FILE [--configs FOLDER]
    python benchmarks/corpus.py compare BEFORE AFTER

Before a change that should change no answer (walls that are moved, a faster way to the same figure), record; after
it, record again and compare: what differs is listed by command and field, with both values. Without `--configs`,
those of the causal types of transformers are made, as its classes declare them.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain, islice
from pathlib import Path
from typing import Any

GPUS = ("rtx4090", "a100-80gb-sxm", "h100-sxm", "h200", "b200", "mi300x")
SOME = ("llama3-8b", "llama3-70b", "gemma-2-9b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "nemotron-h-8b", "gpt2")
LOADS = (
    "",
    "-b 16 -c 4096",
    "-b 64 --prompt 1024 --output 256 --dtype fp8",
    "-b 4 --weight-dtype int4-g128 --kv-dtype fp8 --chunk 512",
    "--prompt 1k --output 200 --concurrency 64",
    "--prompt 1k --output 200 --concurrency 64 --chunk 2048 --gpus 8",
    "--tp 2 --pp 2 -b 8",
    "--dp 8 --ep 8 -b 64",
    "--tp 4 --dp 2 -b 9 --concurrency 40 --prompt 500 --output 100",
    "--gpus 16",
    "--mfu 0.4 --memory-utilization 0.8 --tokens 1T -b 2",
)
RUNS = (
    "--gpus 8",
    "--gpus 64 --tp 8 --pp 2 --zero 1",
    "--gpus 64 --tp 4 --pp 4 --vp 2 --micro-batch 1 --global-batch 256 --recompute full",
    "--gpus 32 --zero 3 --recompute selective --tp 1 --pp 1",
    "--gpus 16 --cp 2 --seq 4096 --tp 2 --no-sequence-parallel",
    "--gpus 16 --cp 4 --context-parallel ulysses --tp 1 --pp 1 --zero 2 --recompute none",
    "--gpus 8 --lora-rank 16 --lora-targets all-linear --tokens 1B",
    "--gpus 1 --qlora --lora-rank 8 --tokens 10M --micro-batch 1 --global-batch 8",
    "--gpus 8 --kernels eager --unfused-attention --optimizer adam-unfused --tp 2 --recompute selective",
    "--gpus 128 --kernels vendor --dtype fp8 --price 2 --overlap tensor=0.5,data=1 --schedule zero-bubble --pp 4",
    "--gpus 64 --ep 8 --tp 2 --etp 1 --pp 2 --recompute full --recompute-layers 3",
)


def questions(configs: Path) -> Iterator[str]:
    """Command lines, in the order in which they are asked."""
    from llmcost.specs.catalog import names

    models = names("models")
    for model in models:
        yield from (f"estimate {model} --hw {gpu} --json" for gpu in GPUS)
        yield f"estimate {model} --json"
        yield f"models {model} --json"
        yield f"ops {model} --phase train --batch 2 -c 512 --hw h100-sxm --json"
        yield f"explain {model} --hw h100-sxm --json"
        yield f"train {model} --hw h100-sxm --gpus 64 --seq 1024 --json"
    yield from (f"hardware {name} --json" for name in names("hardware"))
    for model in SOME:
        for load in LOADS:
            yield f"estimate {model} --hw h100-sxm {load} --json"
            yield f"estimate {model} --hw h200 {load} --breakdown --json"
            yield f"explain {model} --hw h100-sxm {load} --json"
        yield from (
            f"ops {model} --phase {phase} --hw a100-80gb-sxm --tp 2 -c 2048 --json" for phase in ("prefill", "decode")
        )
        for run in RUNS:
            layout = run if "--seq" in run else f"--seq 2048 {run}"
            yield f"train {model} --hw h100-sxm {layout} --json"
            yield f"train {model} --hw a100-80gb-sxm {layout} --breakdown --json"
        yield f"train {model} --hw h100-sxm --seq 2048 --gpus 8 --explain breakdown --json"
        yield f"train {model} --hw h100-sxm --seq 2048 --gpus 8 --explain memory --json"
        yield f"mfu {model} --hw h100-sxm --tokens-per-s 5000 --json"
        yield f"fit {model} --json --price 2"
        yield f"fit {model} --hw h100,a100,rtx4090 --gpus 1,2,4 -b 4 -c 2048 --json"
        yield f"plan {model} --hw h100-sxm --gpus 64 --seq 2048 --global-batch 256 --json"
        yield f"plan {model} --hw a100-80gb-sxm --gpus 8 --seq 1024 --lora-rank 8 --recompute none,full --json"
        yield f"plan {model} --hw h200 --gpus 8 --serve --prompt 1024 --output 200 --tpot 50 --json"
        yield f"sweep {model} --hw h100,a100 --batch 1..64:x4 --context 1k,2k --dtype bf16,fp16 --json"
        mixes = "--prompt 512 --output 100 --concurrency 8,64"
        yield f"sweep {model} --hw h200 --batch 1..16:3 --gpus 1,2,8 {mixes} --json"
        yield f"sweep {model} --hw h100 --batch 1,8 --context 1000,2000 --tp 1..4 --dp 1,2 --csv"
    yield "compare llama3-8b qwen3-8b gemma-2-9b --hw h100,mi300x,h200 --batch 16 --price h100=2.5 --json"
    yield "compare llama3-70b mixtral-8x7b --hw h100,b200 --gpus 8 --batch 16 --json"
    for source in ("vidur", "trtllm-1.0-dense", "megatron-sc21", "llama.cpp-gaming-apple", "torchtitan-llama-3.1"):
        yield f"accuracy --source {source} --json"
    for path in sorted(configs.iterdir()):
        yield f"import {path}"
        yield f"estimate {path} --hw h100-sxm -c 512 --json"
        yield f"train {path} --hw h100-sxm --gpus 8 --seq 256 --recompute selective --json"
    yield from (
        f"{command} llama3-8b --hw rtx4090"
        for command in ("estimate", "ops", "fit", "compare", "train --gpus 8 --seq 2048")
    )
    yield from (f"estimate {model} --hw h200 --markdown" for model in SOME)


def make_configs(folder: Path) -> None:
    """A config.json of every causal type that transformers knows, as its class has it by default."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            written = AutoConfig.for_model(kind).to_json_string(use_diff=False)
        except Exception as error:  # noqa: BLE001 - a class that cannot make its own default is left out
            print(f"{kind}: {error}", file=sys.stderr)
            continue
        (folder / f"{kind}.json").write_text(written, "utf-8")


def answer(line: str) -> dict[str, Any]:
    """What the program prints for one command line, and its exit code."""
    from llmcost.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["llmcost", *line.split()]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as fault:  # noqa: BLE001 - a traceback is an answer too, and should not come to stay
            return {"code": -1, "out": "", "err": f"{type(fault).__name__}: {fault}"}
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def record(file: Path, configs: Path | None, every: int) -> None:
    """All answers, or those to each so many-th question, a line each."""
    with tempfile.TemporaryDirectory() as made:
        if configs is None:
            make_configs(Path(made))
        with file.open("w", encoding="utf-8") as kept:
            for line in islice(questions(configs or Path(made)), 0, None, every):
                kept.write(
                    json.dumps({"line": line.replace(made, "CONFIGS")} | answer(line), ensure_ascii=False) + "\n"
                )


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every field of two documents that is not the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys(chain(before, after)):
            yield from differences(before.get(key, "(absent)"), after.get(key, "(absent)"), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif before != after:
        numbers = isinstance(before, (int, float)) and isinstance(after, (int, float))
        if not (numbers and math.isclose(before, after, rel_tol=1e-12)):  # another order of the same sum
            yield path, before, after


def parsed(text: str) -> Any:
    """Text as the document that it is, if it is one."""
    try:
        return json.loads(text)
    except ValueError:
        return text.splitlines()


def compare(before: Path, after: Path, most: int) -> int:
    """Print what differs; return how many answers do."""
    recordings = [
        {each["line"]: each for each in map(json.loads, path.read_text("utf-8").splitlines())}
        for path in (before, after)
    ]
    fields: Counter[str] = Counter()
    different = missing = 0
    for line in dict.fromkeys(chain(*recordings)):
        one, other = (recording.get(line) for recording in recordings)
        if one is None or other is None:
            missing += 1
            continue
        found = [
            each
            for part in ("code", "out", "err")
            for each in differences(
                *(parsed(answer[part]) if part != "code" else answer[part] for answer in (one, other)), part
            )
        ]
        different += bool(found)
        fields.update(path for path, _, _ in found)
        if found and different <= most:
            print(f"{line}: {len(found)} fields")
            for path, was, now in found[:4]:
                print(f"    {path}: {str(was)[:120]} -> {str(now)[:120]}")
    print(f"{different} of {len(recordings[0])} answers differ, {missing} stand in one recording alone")
    for path, number in fields.most_common(30):
        print(f"    {number:6} {path}")
    return different


def main() -> None:
    """Record the program's answers, or compare two recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only each N-th question, for a quick look")
    parser.add_argument("--most", type=int, default=40, help="answers that differ, shown in full")
    chosen = parser.parse_args()
    os.environ["COLUMNS"] = "100"
    if chosen.action == "record":
        record(chosen.files[0], chosen.configs, chosen.every)
    else:
        raise SystemExit(min(compare(*chosen.files, chosen.most), 1))


if __name__ == "__main__":
    main()
