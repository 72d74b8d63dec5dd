"""`llmcost calibrate`: an engine's file from runs of one's own; scores of an engine's kernels on measured tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from llmcost.cli import options as o
from llmcost.cli.command import Argument, Given, Takes
from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, flag
from llmcost.serving.options import Options
from llmcost.simulation.options import SimulationOptions
from llmcost.training.options import Options as TrainingOptions

if TYPE_CHECKING:
    from llmcost.accuracy.calibrate import Calibration
    from llmcost.model.spec import ModelSpec
    from llmcost.specs.reader import Document

SHARED = ("engine", "tp", "pp", "dp", "ep", "gpus", "gpus_per_node", "dtype")  # options that training has too
OF_TRAINING = (
    *("seq", "micro_batch", "global_batch", "vp", "stages", "first_stage_layers", "last_stage_layers", "cp", "etp"),
    *("zero", "reshard", "shard", "recompute", "recompute_layers", "sequence_parallel", "schedule", "context_parallel"),
    *("optimizer", "unfused_attention", "kernels", "overlap", "lora_rank", "lora_targets", "qlora"),
)
OPTIONS = (
    *("engine", "tp", "pp", "dp", "ep", "gpus", "gpus_per_node", "link", "dtype", "weight_dtype", "kv_dtype"),
    *("batch", "prompt", "output", "concurrency", "rate", "requests", "chunk", "max_num_seqs", "memory_utilization"),
    *("cuda_graphs", "routing", "profile"),
)


def calibrate(
    files: Annotated[
        list[str],
        Argument("FILES...", "Result files of serving benchmarks; with --score, a folder of tables.", several=True),
    ],
    *,
    out: Annotated[
        str | None, Option("Where to write the engine's file, for --engine.", metavar="FILE", long="-o")
    ] = None,
    train: Annotated[
        bool, flag("The files are logs of training programs; FILE@tp=2,pp=4 is said of one alone.")
    ] = False,
    score: Annotated[bool, flag("Print how far an engine's kernels are from tables of measured ones.")] = False,
    model: Annotated[str | None, Option("The model that ran.", metavar="MODEL", default="what the files tell")] = None,
    allow_unknown: o.AllowUnknown = (),
    hw: Annotated[
        str | None, Option("The GPU that it ran on.", metavar="HW", default="what the files or folders tell")
    ] = None,
    given: Annotated[
        Given,
        Takes(
            Options,
            only=OPTIONS,
            changed={
                "engine": {
                    "help": "The engine that ran: a shipped name or a YAML spec.",
                    "default": "what the files or tables tell",
                },
                "batch": {"help": "Sequences of a batch that starts together.", "value": None},
                "prompt": {"help": "Tokens of a prompt, where files do not tell them.", "default": ""},
                "output": {"help": "Tokens of an answer, where files do not tell them."},
                "concurrency": {"help": "Requests in flight, where files do not tell them."},
                "rate": {"help": "Requests a second, where files do not tell them."},
                "requests": {"help": "Requests in all, where files do not tell them."},
                "profile": {"help": "With --score: by a profile of llmcost bench.", "default": ""},
            },
        ),
    ],
    room: Annotated[
        Given,
        Takes(
            SimulationOptions,
            only=("kv_tokens",),
            changed={
                "kv_tokens": {"help": "Tokens that the KV cache has room for, of files with requests one by one."}
            },
        ),
    ],
    training: Annotated[Given, Takes(TrainingOptions, only=OF_TRAINING)],
    form: Annotated[o.Form, Takes(o.Form)],
) -> None:
    """Fit an engine to runs of your own: a file for --engine, with the error that it has on runs left out.

    Reads results of vLLM, SGLang, TensorRT-LLM, llama-bench, GenAI-Perf, AIPerf, and CSV; with --train, logs of
    torchtitan, Megatron, MaxText, nanoGPT and the HF Trainer (docs/calibrate.md).

    Example: llmcost calibrate run1.json run2.json run3.json --hw h100 --tp 2 -o my-vllm.yaml
    """
    given = {**given, **room}
    if train:
        _train(files, out, model, hw, given, training, allow_unknown, form, score=score)
        return
    if training:
        raise InputError(f"--{next(iter(training)).replace('_', '-')}: of training; give --train too")
    if score:
        if allow_unknown:
            raise InputError(f"--allow-unknown {', '.join(allow_unknown)}: it changes nothing about --score")
        _score(files, out, model, hw, given, form)
        return
    if "profile" in given:
        raise InputError(f"--profile {given['profile']}: for --score; runs are fitted to an engine's own numbers")
    if model is None and allow_unknown:
        raise InputError(f"--allow-unknown {', '.join(allow_unknown)}: of which model? say --model")
    spec = None if model is None else o.load_model(model, None, None, allow_unknown)
    found, document = _fitted(files, out, model, spec, hw, given)
    if out is not None:
        from llmcost.ground.files import write_file
        from llmcost.specs.catalog import engine_of
        from llmcost.specs.reader import parse_yaml
        from llmcost.specs.writer import spec_text

        text = spec_text(document)
        engine_of(parse_yaml(text, out))  # what is written can be read
        write_file(Path(out), text)
    from llmcost.report.calibrate import calibration_document, calibration_rows, calibration_tables

    form.show(
        lambda: calibration_document(found, out),
        lambda: calibration_rows(found),
        lambda: calibration_tables(found),
        () if spec is None else spec.unknown_keys,
    )


def _fitted(
    files: Sequence[str],
    output: str | None,
    model: str | None,
    spec: "ModelSpec | None",
    hw: str | None,
    given: Given,
) -> "tuple[Calibration, Document]":
    """The calibration, and the document of the engine's file. Raises InputError before anything is written."""
    from llmcost.accuracy.calibrate import calibrate as fit
    from llmcost.accuracy.calibrated_engine import calibrated
    from llmcost.accuracy.own_runs import engine_of, questions_of
    from llmcost.accuracy.result_files import read_runs
    from llmcost.cli.output import waiting
    from llmcost.ground.files import check_place, refuse_input
    from llmcost.specs.catalog import find, load_hardware
    from llmcost.specs.reader import read_yaml

    chosen: dict[str, Any] = dict(given)
    chip = None if hw is None else load_hardware(hw)
    if len({Path(name).resolve() for name in files}) < len(files):
        raise InputError("a file is given twice: its runs would count twice")
    runs = [run for name in files for run in read_runs(Path(name))]
    base = find("engines", engine_of(runs, chosen.pop("engine", None)))
    if output is not None:
        refuse_input(Path(output), base, *files, model, hw)
        check_place(Path(output))
    document = read_yaml(base)
    with waiting("fitting to runs"):
        found = fit(questions_of(runs, chosen, spec, chip), document)
    return found, calibrated(found, document, files, output)


def _train(
    files: Sequence[str],
    out: str | None,
    model: str | None,
    hw: str | None,
    given: Given,
    training: Given,
    allow_unknown: Sequence[str],
    form: o.Form,
    *,
    score: bool,
) -> None:
    """Fit a training engine to logs, write its file, and print what came of it."""
    from llmcost.accuracy.calibrate_training import calibrate_training, calibrated_training
    from llmcost.accuracy.training_runs import engine_of_logs, runs_of, split_settings
    from llmcost.cli.output import waiting
    from llmcost.ground.files import check_place, refuse_input, write_file
    from llmcost.report.calibrate_training import training_document, training_rows, training_tables
    from llmcost.specs.catalog import find, load_hardware, load_training_engine
    from llmcost.specs.reader import parse_yaml, read_yaml
    from llmcost.specs.training_engine import training_engine_from
    from llmcost.specs.writer import spec_text

    if score:
        raise InputError("--score: of an engine that serves; leave --train out")
    for name in given:
        if name not in SHARED:
            raise InputError(f"--{name.replace('_', '-')}: of serving; it says nothing of --train")
    if model is None or hw is None:
        raise InputError(f"--{'model' if model is None else 'hw'}: logs of training do not tell it; say it")
    paths = [split_settings(text)[0].resolve() for text in files]
    if len(set(paths)) < len(paths):
        raise InputError("a file is given twice: its run would count twice")
    chosen = {name: value for name, value in (given | training).items() if name != "engine"}
    spec, chip = o.load_model(model, None, None, allow_unknown, text_alone=True), load_hardware(hw)
    named = engine_of_logs(files, given.get("engine"))
    engine, base = load_training_engine(named), find("training engines", named)
    if out is not None:
        refuse_input(Path(out), base, *map(str, paths), model, hw)
        check_place(Path(out))
    runs = runs_of(files, chosen, spec, chip, named)
    with waiting("fitting to logs"):
        found = calibrate_training(runs, engine, chip)
    if out is not None:
        text = spec_text(calibrated_training(found, read_yaml(base), [str(path) for path in paths], out))
        training_engine_from(parse_yaml(text, out))  # what is written can be read
        write_file(Path(out), text)
    form.show(
        lambda: training_document(found, out),
        lambda: training_rows(found),
        lambda: training_tables(found),
        spec.unknown_keys,
    )


def _score(
    files: Sequence[str], output: str | None, model: str | None, hw: str | None, given: Given, form: o.Form
) -> None:
    """Print the scores of a folder of tables."""
    from llmcost.accuracy.kernel_scores import score_tables
    from llmcost.cli.output import waiting
    from llmcost.report.calibrate import score_rows, score_tables_of

    extra = {"-o": output, "--model": model} | {f"--{name}": 1 for name in given if name not in ("engine", "profile")}
    for name, value in extra.items():
        if value is not None:
            raise InputError(f"{name.replace('_', '-')}: it changes nothing about --score")
    if len(files) != 1:
        raise InputError("--score: one folder of tables")
    with waiting("scoring tables of kernels"):
        found = score_tables(Path(files[0]), given.get("engine"), hw, given.get("profile"))
    form.show(found.to_dict, lambda: score_rows(found), lambda: score_tables_of(found))
