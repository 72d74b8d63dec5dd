"""Names and options that make no sense are refused by name, with what would."""

import json

import pytest
from refusals import refused, refused_usage


def test_an_unknown_model_lists_the_nearest_names(cli):
    refused(cli("estimate", "lama3-8b"), "unknown model 'lama3-8b'", "nearest: llama3-8b")


def test_an_unknown_gpu_lists_the_nearest_names(cli):
    refused(cli("estimate", "gpt2", "--hw", "rtx4091"), "unknown hardware 'rtx4091'", "nearest: rtx4090")
    refused(
        cli("estimate", "gpt2", "--hw", "H20-141GB"), "H20-141GB: no public source gives its bandwidth and its peaks"
    )


@pytest.mark.parametrize(
    "name", ["", "zzzzzz", "a" * 300, "a/" + "b" * 5000, "../llama3-8b", "models", "a\0b", "\udcff", "llama3-8b\n"]
)
def test_names_of_any_kind_are_unknown_and_nothing_worse(cli, name):
    answer = cli("estimate", "gpt2", "--hw", name)
    assert (answer.code, answer.out) == (2, "")
    assert any(said in answer.err for said in ("unknown hardware", "no such file or folder", "a value is missing"))
    assert cli("estimate", name).code == 2 or name == "llama3-8b\n"


@pytest.mark.parametrize("command", ["explain", "ops", "models"])
def test_every_command_that_takes_a_model_refuses_an_unknown_one(cli, command):
    refused(cli(command, "lama3-8b"), "nearest: llama3-8b")


@pytest.mark.parametrize(
    "arguments", [("import", "./nope"), ("estimate", "/nowhere/at/all"), ("estimate", "llama3-8b", "--hw", "../nope")]
)
def test_a_path_that_leads_nowhere_is_no_name(cli, arguments):
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"llmcost: {arguments[-1]}: no such file or folder\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch", "0"], "--batch 0: at least 1"),
        (["--batch", 10**12], "at most 1,000,000,000"),
        (["--context", "0"], "--context 0"),
        (["--context", "100", "--prompt", "101"], "--prompt 101: at least 1 and at most the context of 100"),
        (["--prompt", "0"], "--prompt 0"),
        (["--mfu", "0"], "--mfu 0: a share of 1, above 0"),
        (["--mfu", "1.5"], "--mfu 1.5"),
        (["--mfu", "-0.5"], "--mfu -0.5"),
        (["--mfu", "nan"], "--mfu nan"),
        (["--mfu", "inf"], "--mfu inf"),
        (["--memory-utilization", "0"], "--memory-utilization 0"),
        (["--memory-utilization", "nan"], "--memory-utilization nan"),
        (["--memory-utilization", "1.01"], "--memory-utilization 1.01"),
        (["--tokens", "0"], "--tokens 0: at least 1"),
        (["--dtype", "nonsense"], "--dtype nonsense: one of bf16, fp16"),
        (["--weight-dtype", "fp7"], "--weight-dtype fp7: one of"),
        (["--kv-dtype", "BF17"], "--kv-dtype BF17: one of"),
        (["--json", "--csv"], "--json and --csv: choose one"),
        (["--json", "--csv", "--markdown"], "--json and --csv and --markdown: choose one"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(cli, options, words):
    refused(cli("estimate", "llama3-8b", "--hw", "rtx4090", *options), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tokens", "1.5x"], "expected a number such as 8192, 8k or 15T, got '1.5x'"),
        (["--tokens", "-5"], "got '-5'"),
        (["--batch", "-1"], "got '-1'"),
        (["--tokens", "1.5"], "expected a whole number"),
        (["--tokens", "9" * 31], "expected a number"),
        (["--context", "٣"], "expected a number"),  # a digit, but not one of ours
        (["--context", "8kk"], "got '8kk'"),
        (["--batch", "many"], "many"),
        (["--batch", "9" * 5000], "--batch"),
        (["--mfu", "half"], "half"),
        (["--batch", "1,2,4"], "--batch 1,2,4: one value here; lists are for llmcost sweep"),
        (["--batch", "1..4"], "--batch 1..4: one value here; lists are for llmcost sweep"),
        (["--gpus", "8,16"], "--gpus 8,16: one value here; lists are for llmcost fit and llmcost sweep"),
        (["--tokens", "1,5T"], "--tokens 1,5T: one value here"),
        (["--dtype", "bf16,fp8"], "--dtype bf16,fp8: one value here; lists are for llmcost fit and llmcost sweep"),
        (["--profile", "/nope"], "--profile /nope: it says what a GPU does; give the GPU too, with --hw"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_by_name(cli, options, words):
    refused(cli("estimate", "llama3-8b", *options), words)


@pytest.mark.parametrize("words", [["--nonsense"], ["--batch"], ["second"]])
def test_what_is_no_option_or_has_no_value_is_refused_with_the_usage(cli, words):
    refused_usage(cli("estimate", "llama3-8b", *words), *words)


def test_a_missing_model_and_an_unknown_command_are_usage_errors(cli):
    refused_usage(cli("estimate"), "MODEL")
    refused_usage(cli("check"), "PATH")
    refused_usage(cli("nonsense"), "nonsense")


def test_an_unknown_phase_lists_the_known_ones(cli):
    refused(cli("ops", "gpt2", "--phase", "backward"), "--phase backward: one of prefill, decode, train")


def test_an_unknown_quantity_lists_the_nearest(cli):
    refused(cli("explain", "gpt2", "kv_cahce.bytes"), "nearest: kv_cache.bytes")
    for nothing in ("", " ", "."):
        refused(cli("explain", "gpt2", nothing), "no figure")


def test_a_quantity_that_needs_a_gpu_says_so(cli):
    refused(cli("explain", "gpt2", "decode.limit.tokens_per_s"), "give a GPU with --hw")
    refused(
        cli("explain", "gpt2", "prefill.limit.tokens_per_s", "--hw", "jetson-orin-nano-8gb"),
        "its peak or bandwidth is not known",
    )


def test_a_peak_that_is_not_known_leaves_times_unknown_and_is_no_error(cli):
    answer = cli("estimate", "llama3-8b", "--hw", "jetson-orin-nano-8gb", "--json")  # no source has its rate of bf16
    assert answer.code == 0
    result = json.loads(answer.out)
    assert result["hardware"]["peak_flops_per_s"] is None
    assert [result["prefill"][basis]["seconds"] for basis in ("textbook", "limit", "expected")] == [None] * 3
    assert [result["training"][basis]["gpu_years"] for basis in ("textbook", "limit", "expected")] == [None] * 3
    assert result["decode"]["expected"]["tokens_per_s"] is None
    assert result["decode"]["limit"]["tokens_per_s"] > 0  # the bandwidth is known, and bounds it alone
    page = cli("estimate", "llama3-8b", "--hw", "jetson-orin-nano-8gb")
    assert page.code == 0
    assert "not known" in page.out


def test_a_data_type_that_the_gpu_lacks_is_refused_with_those_that_it_has(cli):
    refused(
        cli("estimate", "llama3-8b", "--hw", "a100-80gb-sxm", "--dtype", "fp8"),
        "--dtype fp8",
        "NVIDIA A100 80GB",
        "bf16, fp16, int8",
    )
    assert (
        cli("estimate", "llama3-8b", "--hw", "a100-80gb-sxm", "--weight-dtype", "fp8").code == 0
    )  # kept in it, computed in bf16


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (
            "llama3-8b",
            ["--tp", 3],
            "--tp 3 does not divide the 32 attention heads of llama3-8b; nearest: 2 or 4",
        ),
        ("llama3-8b", ["--tp", 64], "nearest: 32"),
        ("falcon-7b", ["--tp", 2], "--tp 2 does not divide the 71 attention heads of falcon-7b; nearest: 1"),
        (
            "phi-4",
            ["--tp", 4],
            "--tp 4 neither divides the 10 KV heads of phi-4 nor is a multiple of them; nearest: 2 or 5",
        ),
        (
            "llama3-8b",
            ["--pp", 33],
            "--pp 33 is more than the 32 layers of llama3-8b; nearest: 32",
        ),
        ("llama3-8b", ["--ep", 2], "--ep 2: llama3-8b has no experts"),
        (
            "mixtral-8x7b",
            ["--ep", 3],
            "--ep 3 does not divide the 8 experts of mixtral-8x7b; nearest: 2 or 4",
        ),
        ("mixtral-8x7b", ["--ep", 8, "--dp", 4], "--ep 8 does not divide the 4 GPUs of a pipeline stage; nearest: 4"),
        ("llama3-8b", ["--gpus", 8, "--tp", 3], "--gpus 8: not a multiple of 3, the product of the other degrees"),
        ("llama3-8b", ["--gpus", 8, "--tp", 2, "--pp", 2], "--gpus 8: tp·pp·dp = 2·2·1 is 4"),
        (
            "llama3-8b",
            ["--gpus", 320],
            (
                "--gpus 320 is --tp 8 --pp 40; --pp 40 is more than the 32 layers of llama3-8b; "
                "legal on as many GPUs: --dp 320"
            ),
        ),
        (
            "qwen2.5-7b",
            ["--gpus", 120],
            "--gpus 120 is --tp 8 --pp 15; --tp 8 does not divide the 28 attention heads of qwen2.5-7b",
        ),
        ("llama3-8b", ["--tp", 0], "--tp 0: at least 1"),
        ("llama3-8b", ["--gpus", 10**9], "--gpus 1000000000: at least 1 and at most 1,000,000"),
        ("llama3-8b", ["--gpus-per-node", 0], "--gpus-per-node 0"),
        ("llama3-8b", ["--chunk", 0], "--chunk 0: at least 1"),
        (
            "llama3-8b",
            ["--concurrency", 4],
            "--concurrency 4: a mix of requests needs the tokens that each gives, --output",
        ),
        ("llama3-8b", ["--concurrency", 0, "--output", 4], "--concurrency 0: at least 1"),
        ("llama3-8b", ["--output", 0], "--output 0: at least 1"),
        (
            "llama3-8b",
            ["--output", "8k"],
            "--output 8192: no room for a prompt in the context of 8,192; give --prompt, or a longer --context",
        ),
        ("gpt2", ["--context", "1025"], "--context 1025: gpt2 takes 1 to 1,024 positions"),  # a table of 1,024 rows
        ("gpt2", ["--prompt", "1k", "--output", 1], "--context 1025: gpt2 takes 1 to 1,024 positions"),
        (
            "llama3-8b",
            ["--prompt", 100, "-c", 150, "--output", 51],
            "--prompt 100: at least 1 and at most the context of 150 less",
        ),
    ],
)
def test_a_layout_or_length_that_makes_no_sense_is_refused_with_the_rule(cli, model, options, words):
    refused(cli("estimate", model, "--hw", "h100", *options), words)
    refused(cli("explain", model, "--hw", "h100", *options), words)


def test_a_batch_that_cannot_fit_is_an_answer(cli):
    result = json.loads(cli("estimate", "llama3-8b", "--hw", "h100", "--tp", 8, "--batch", 10**6, "--json").out)
    assert (result["memory"]["fits"], result["decode"]["limited_by"]) == (False, "capacity")
    assert 0 < result["memory"]["max_batch"] < 10**6
