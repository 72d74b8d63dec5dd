"""`llmcost train` as a user meets it: its JSON contract, its page, its explanations, its refusals."""

import csv
import io
import json

import pytest

from llmcost.formulas.training import symbolic_train
from llmcost.formulas.training_quantities import QUANTITIES
from llmcost.ground.symbols import evaluate, lift
from llmcost.serving.results import leaves
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.train import Options, train

RUN = (
    "train",
    "llama3.1-70b",
    "--hw",
    "h100",
    "--gpus",
    "64",
    "--tp",
    "8",
    "--pp",
    "4",
    "--zero",
    "1",
    "--recompute",
    "none",
)
CONTRACT = {
    "step_seconds": float, "tokens_per_s": float, "tokens_per_s_per_gpu": float, "mfu": float, "hfu": float,
    "days": float, "gpu_hours": float,
    "memory.params_bytes": int, "memory.grads_bytes": int, "memory.optimizer_bytes": int,
    "memory.activation_bytes": int, "memory.total_bytes": float, "memory.fits": bool,
    "textbook.step_seconds": float, "limit.step_seconds": float, "expected.step_seconds": float, "expected.basis": str,
    "expected.error": float,
}  # fmt: skip


def document(cli, *arguments):
    answer = cli(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    return json.loads(answer.out)


def test_the_layout_says_how_many_gpus_split_an_expert_where_there_are_experts(cli):
    layout = ("--hw", "h100", "--gpus", "8", "--tp", "2", "--pp", "1", "--ep", "1")
    dense, mixture = (document(cli, "train", name, *layout)["layout"] for name in ("llama3-8b", "mixtral-8x7b"))
    assert (dense["tp"], dense["etp"]) == (2, 1)
    assert (mixture["tp"], mixture["etp"]) == (2, 2)


def test_the_keys_that_scripts_rely_on(cli):
    found = document(cli, *RUN)
    assert found["schema"] == "llmcost.train/1"
    for path, kind in CONTRACT.items():
        value = found
        for key in path.split("."):
            value = value[key]
        assert isinstance(value, kind | int), path
    assert found["tokens_per_s"] == pytest.approx(found["run"]["tokens_per_step"] / found["step_seconds"])
    assert found["days"] * 24 * 64 == pytest.approx(found["gpu_hours"])
    assert found["step_seconds"] == found["expected"]["step_seconds"]
    assert found["limit"]["step_seconds"] < found["step_seconds"]


def test_the_page(cli, snapshot):
    snapshot("train-llama3.1-70b-h100.txt", cli(*RUN, "--price", "2.5").out)


def test_what_is_hidden_is_taken_from_the_step(cli):
    hidden = document(cli, *RUN, "--overlap", "tensor=1,pipeline=1")["breakdown"]
    shown = document(cli, *RUN)["breakdown"]
    layers = shown["exposed"]["tensor"] - hidden["exposed"]["tensor"]  # the embedding has nothing to hide behind
    assert hidden["exposed"]["tensor"] < 0.05 * shown["exposed"]["tensor"]
    assert hidden["exposed"]["pipeline"] == 0
    assert hidden["total"] < shown["total"] - 0.99 * layers


def test_other_formats(cli):
    rows = dict(csv.reader(io.StringIO(cli(*RUN, "--csv").out)))
    assert float(rows["step_seconds"]) == pytest.approx(document(cli, *RUN)["step_seconds"])
    assert cli(*RUN, "--markdown").out.startswith("**Llama 3.1 70B on 64 × ")
    found = document(cli, *RUN, "--breakdown")
    assert {row["where"] for row in found["operators"]} == {"layers", "embedding", "head"}
    per_micro_batch = sum(row["forward_seconds"] + row["backward_seconds"] for row in found["operators"])
    assert per_micro_batch > found["breakdown"]["micro_batch"]  # of all stages, and one of them
    assert "One micro-batch on one GPU, all layers" in cli(*RUN, "--breakdown").out


def test_every_figure_has_a_quantity_and_every_quantity_a_figure():
    answer = train(load_model("llama3-8b"), load_hardware("h100"), Options(gpus=8, price=2, carbon=400))
    parts = ("model", "hardware", "run", "layout", "accuracy")
    figures = {path for path, value in leaves(answer) if not path.startswith(parts) and isinstance(value, int | float)}
    assert figures - {"expected.error"} == set(QUANTITIES)


@pytest.mark.parametrize(
    "model, options",
    [
        ("llama3-8b", Options(gpus=8, price=2)),
        ("llama3.1-70b", Options(gpus=64, tp=4, pp=4, vp=2, zero=1, recompute="selective")),
        (
            "mixtral-8x7b",
            Options(gpus=16, seq=4096, tp=2, pp=1, ep=8, zero=3, recompute="full"),
        ),
        (
            "llama3-8b",
            Options(gpus=8, seq=8192, global_batch=64, tp=1, cp=4, pp=1, zero=1, recompute="none"),
        ),
    ],
)
def test_formulas_give_the_figures(model, options):
    spec, chip = load_model(model), load_hardware("h100")
    answer, letters = dict(leaves(train(spec, chip, options))), dict(leaves(symbolic_train(spec, chip, options)))
    apart = {"memory.peak"} | {
        f"memory.{part}_bytes" for part in ("grads", "activation", "logits", "gathered", "working", "overhead")
    }
    for path in QUANTITIES:  # parts of memory are those of the peak, which letters do not know; its total is
        if path not in apart and answer[path] is not None:
            assert evaluate(lift(letters[path])) == pytest.approx(answer[path]), path


def test_an_explanation(cli):
    told = cli(*RUN, "--explain", "memory.optimizer_bytes").out
    assert told.startswith(
        "memory.optimizer_bytes: moments, and without ZeRO-3 master weights\n  = 24·layers_a_stage·h / dp + "
    )
    assert "with layers_a_stage = ⌈L / pp⌉ = 20" in told
    days = cli(*RUN, "--explain", "days").out
    assert "= D·step_seconds / (86,400·B·s)" in days
    days = " ".join(days.split())
    listed = cli(*RUN, "--explain", "通信").out
    assert "breakdown.exposed.tensor " in listed
    assert "= " not in listed
    causes = ("compute", "memory", "exposed", "bubble", "optimizer")
    assert f"step_seconds = {' + '.join(f'breakdown.{cause}' for cause in causes)}" in days


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--gpus", "8", "--tp", "3"), "--tp 3 is 3 GPUs a replica, which do not divide --gpus 8; nearest: 9"),
        (
            ("--gpus", "8", "--tp", "2", "--dp", "2"),
            "--tp 2 times --dp 2 is 4 GPUs, and --gpus is 8; with these the nearest --dp is 4",
        ),
        (("--gpus", "8", "--tokens", "0"), "--tokens 0: at least 1"),
        (("--gpus", "8", "--drop-tokens"), "--drop-tokens: of experts, and llama3-8b has none"),
        (("--gpus", "0"), "--gpus 0: at least 1"),
        (("--gpus", "8", "--seq", "0"), "--seq 0: at least 1"),
        (("--gpus", "8", "--dtype", "fp4"), "--dtype fp4: h100-sxm has no known peak for fp4; it has bf16, fp16, fp8"),
        (("--gpus", "8", "--optimizer", "lion"), "--optimizer lion: one of adam"),
        (("--gpus", "8", "--kernels", "own"), "--kernels own: one of fused, vendor, eager"),
        (("--gpus", "8", "--overlap", "tensor"), "--overlap tensor: expected shares such as tensor=0.8,expert=1"),
        (("--gpus", "8", "--overlap", "all=1"), "--overlap all: one of tensor, context, expert, pipeline, data"),
        (("--gpus", "8", "--overlap", "data=2"), "--overlap data=2: a share from 0 to 1"),
        (("--gpus", "8", "--mfu", "1.5"), "--mfu 1.5: a share of 1"),
        (("--gpus", "8", "--price", "-1"), "--price -1: dollars a GPU-hour, from 0 on, as in 2.5"),
        (("--gpus", "8", "--recompute", "some"), "--recompute some: one of none, selective, full"),
        (("--gpus", "8", "--zero", "7"), "--zero 7: one of 0, 1, 2, 3"),
        (("--gpus", "8", "--schedule", "gpipe"), "--schedule gpipe: one of 1f1b, zero-bubble"),
        (("--gpus", "8", "--context-parallel", "star"), "--context-parallel star: one of ring"),
        (("--gpus", "8", "--pp", "2", "--zero", "3"), "--no-reshard keeps them gathered"),
        (("--gpus", "8", "--tp", "1", "--pp", "1", "--global-batch", "9"), "--global-batch 9 is not a multiple of"),
        (("--gpus", "8", "--explain", "stepseconds"), "no figure 'stepseconds'; nearest: "),
        (("--gpus", "8", "--explain", "qqq"), "no figure 'qqq'\n"),
        (("--gpus", "8", "--explain", "mfu", "--csv"), "--explain: as text, or with --json"),
        (("--gpus", "8", "--price", "inf"), "--price inf: dollars a GPU-hour, from 0 on, as in 2.5"),
        (("--gpus", "8", "--price", "1000000"), "--price 1000000: dollars a GPU-hour, from 0 on, as in 2.5"),
        (("--gpus", "8", "--mtbf-hours", "inf"), "--mtbf-hours inf: expected a number"),
        (("--gpus", "8", "--mtbf-hours", "0"), "--mtbf-hours: above 0 and at most 1e+18 s"),
        (("--gpus", "8", "--checkpoint-gb-per-s", "9" * 12), "--checkpoint-gb-per-s: above 0 and at most 1e+18 B/s"),
        (("--gpus", "8", "--pue", "101"), "--pue 101: the data centre's energy over its GPUs', from 1 to 100"),
        (("--gpus", "8", "--shard", "0"), "--shard 0: at least 1"),
        (
            ("--gpus", "8", "--tp", "1", "--pp", "1", "--shard", "5"),
            "--shard 5 does not divide the 8 replicas; nearest: 4 or 8",
        ),
        (("--gpus", "8", "--etp", "2"), "--etp 2: llama3-8b has no experts; nearest: 1"),
        (
            ("--gpus", "8", "--recompute", "none", "--recompute-layers", "5"),
            "--recompute-layers 5: with --recompute selective or full",
        ),
        (
            ("--gpus", "8", "--lora-targets", "q_proj"),
            "--lora-targets: the rank of the adapters is wanted too (--lora-rank)",
        ),
        (("--gpus", "8", "--explain", "dollars"), "dollars cannot be had here: give --price"),
        (("--gpus", "8", "--json", "--csv"), "--json and --csv: choose one"),
    ],
)
def test_bad_input_is_one_message(cli, arguments, words):
    answer = cli("train", "llama3-8b", "--hw", "h100", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert words in answer.err


def test_the_gpus_of_an_expert_are_named_where_they_do_not_divide(cli):
    asked = ("train", "mixtral-8x7b", "--hw", "h100", "--gpus", "64", "--tp", "1", "--pp", "1", "--ep", "8")
    assert (
        "--etp 5 does not divide the 14,336 channels of an expert of mixtral-8x7b; nearest: 4 or 7"
        in cli(*asked, "--etp", "5").err
    )
    assert (
        "--etp 16 times --ep 8 does not divide the 64 GPUs of a pipeline stage; nearest: 8"
        in cli(*asked, "--etp", "16").err
    )


def test_what_does_not_fit_is_not_sent_beyond_the_links_that_are_known(cli):
    answer = cli("train", "yi-34b", "--hw", "v100", "--gpus", "2", "--seq", "512", "--global-batch", "2")
    assert answer.code == 0
    assert "DOES NOT FIT" in answer.out
    assert "--gpus" not in answer.out


def test_an_explanation_as_json_is_one_document(cli):
    answer = cli("train", "llama3-8b", "--hw", "h100", "--gpus", "1", "--price", "2", "--explain", "dollars", "--json")
    assert [each["quantity"] for each in json.loads(answer.out)["explanations"]] == [
        "dollars",
        *(f"{basis}.dollars" for basis in ("textbook", "textbook_recompute", "limit", "expected")),
        "with_interruptions.dollars",
    ]


def test_a_gpu_without_the_type_or_the_figure(cli):
    assert (
        "a100-80gb-sxm has no known peak for fp8; it has bf16, fp16"
        in cli("train", "llama3-8b", "--hw", "a100", "--dtype", "fp8").err
    )
    assert (
        "no source gives the network between nodes of 8" in cli("train", "llama3-8b", "--hw", "h20", "--gpus", "16").err
    )
    assert cli("train", "llama3-8b", "--hw", "dgx-2", "--gpus", "64").out.count("fp16") == 1  # what a V100 trains in


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_run_is_drawn_by_cause_and_by_stage(cli, tmp_path, ending):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"run.{ending}"
    assert cli("train", "llama3-8b", "--hw", "h100", "--gpus", "16", "--pp", "4", "--plot", path).code == 0
    drawn = path.read_bytes()
    assert drawn[:4] == b"\x89PNG" if ending == "png" else b"Memory of a GPU by part" in drawn and b"bubble" in drawn


def test_a_chart_of_an_unknown_kind_is_refused(cli, tmp_path):
    answer = cli("train", "llama3-8b", "--hw", "h100", "--gpus", "8", "--plot", tmp_path / "run.gif")
    assert (answer.code, answer.out) == (2, "")
    assert "the name ends in one of .png, .svg, .pdf" in answer.err


def test_a_breakdown_says_where_each_operator_stands(cli):
    """The pass's three parts: the embedding before the layers, the LM head and the loss after them."""
    document = json.loads(cli("train", "llama3-8b", "--hw", "h100", "--gpus", "8", "--breakdown", "--json").out)
    where = {each["name"]: each["where"] for each in document["operators"]}
    assert (where["token_embedding"], where["qkv_proj"], where["lm_head"], where["loss"]) == (
        "embedding",
        "layers",
        "head",
        "head",
    )


def test_zero_3_alone_is_data_parallelism(cli):
    """What DeepSpeed does with --zero 3 on 4 GPUs: weights are divided over 4 replicas. With tp 4 there is only one."""
    command = ("train", "llama2-7b", "--hw", "a100-80gb-sxm", "--gpus", 4, "--seq", 2048, "--global-batch", 4)
    answer = json.loads(cli(*command, "--zero", 3, "--json").out)
    parts = {name: answer["layout"][name] for name in ("tp", "pp", "dp", "zero")}
    assert parts == {"tp": 1, "pp": 1, "dp": 4, "zero": 3}
    asked = json.loads(cli(*command, "--zero", 3, "--tp", 2, "--json").out)
    assert (asked["layout"]["tp"], asked["layout"]["dp"]) == (2, 2)
