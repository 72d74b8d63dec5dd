"""`--launch` and `--log` as a user types them."""

import json

import pytest


def lines(cli, arguments):
    answer = cli(*arguments.split())
    assert (answer.code, answer.err) == (0, ""), answer.err
    return answer.out.splitlines()


def test_launch_prints_the_lines_alone(cli):
    found = lines(cli, "estimate llama3.1-8b --hw h100 --engine vllm --launch")
    assert found[0] == "vllm serve meta-llama/Llama-3.1-8B \\"
    assert all(line.startswith("  --") for line in found[1:])
    assert [line.endswith(" \\") for line in found] == [True] * (len(found) - 1) + [False]


def test_the_document_has_the_command_and_the_log_and_only_under_an_engine(cli):
    with_engine = json.loads("\n".join(lines(cli, "estimate llama3.1-8b --hw h100 --engine sglang --json")))
    launch = with_engine["launch"]
    assert (launch["engine"], launch["version"], launch["missing"]) == ("sglang", "0.5.9", None)
    assert launch["command"].startswith("python -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B --")
    assert [*launch["arguments"][0]] == ["flag", "value", "why", "source"]
    assert launch["lines"] == lines(cli, "estimate llama3.1-8b --hw h100 --engine sglang --launch")
    printed = lines(cli, "estimate llama3.1-8b --hw h100 --engine sglang --log")
    assert [each["line"] for each in with_engine["log"]] == printed
    alone = json.loads("\n".join(lines(cli, "estimate llama3.1-8b --hw h100 --engine vllm --launch --json")))
    assert [*alone] == ["schema", "model", "hardware", "launch", "log"]
    for without in ("--engine vllm", "--hw h100"):
        document = json.loads("\n".join(lines(cli, f"estimate llama3.1-8b {without} --json")))
        assert not document.keys() & {"launch", "log"}


def test_lines_and_log_together_are_one_script(cli):
    found = lines(cli, "estimate llama3.1-8b --hw h100 --engine vllm --launch --log")
    assert [line for line in found if "KV cache" in line] == [line for line in found if line.startswith("# ")][1:3]


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        ("fit llama3.1-70b --hw h100,h200 --engine vllm", "# 1 × NVIDIA H200 SXM 141GB"),
        (
            "plan llama3.1-8b --hw h100 --gpus 8 --tp 1 --pp 1 --serve --engine sglang",
            "# 8 such servers, each on a GPU of its own.",
        ),
        ("simulate llama3.1-8b --hw h100 --rate 5 --engine trtllm", "trtllm-serve meta-llama/Llama-3.1-8B \\"),
    ],
)
def test_other_commands_print_the_lines_of_what_they_chose(cli, arguments, first):
    found = lines(cli, f"{arguments} --launch")
    assert found[0] == first
    document = json.loads("\n".join(lines(cli, f"{arguments}{few_requests(arguments)} --json")))
    command = document["launch"]["command"]
    flags = " ".join(line.removesuffix(" \\").strip() for line in found if not line.startswith("#"))
    assert command == flags


def few_requests(arguments):
    """Where a document is of a run."""
    return " --requests 20" * arguments.startswith("simulate")


def test_a_plan_is_launched_with_the_requests_that_keep_its_limits(cli):
    arguments = "plan llama3.1-8b --hw h100 --gpus 1 --serve --engine vllm --tpot 10"
    best = json.loads("\n".join(lines(cli, f"{arguments} --json")))["best"][0]
    assert f"  --max-num-seqs {best['concurrency']} \\" in lines(cli, f"{arguments} --launch")


MIX = "--hw h100 --engine vllm --prompt 2000 --output 500"


@pytest.mark.parametrize(
    ("arguments", "longest"),
    [
        (f"estimate llama3.1-8b {MIX} --batch 8", 2500),  # all alike
        # Of a mix these are means, of lengths from 0.3 of the longest on, if nothing says how they differ: 2,500/0.65.
        (f"estimate llama3.1-8b {MIX} --concurrency 8", 3846),
        (f"estimate llama3.1-8b {MIX} --concurrency 8 --range-ratio 0.5", 2500),  # which are the longest there
        (f"estimate llama3.1-8b {MIX} --concurrency 8 --context 9000", 9000),  # said by the user
        (f"simulate llama3.1-8b {MIX} --concurrency 8", 2500),
        ("simulate llama3.1-8b --hw h100 --engine vllm --concurrency 8 --lengths sharegpt", 2880),  # its last bins
        (f"simulate llama3.1-8b {MIX} --rate 1 --log-normal 0.5", 131072),  # without an end: the model's
        ("simulate llama3.1-8b --hw h100 --engine vllm --concurrency 8 --trace {trace}", 777),
    ],
)
def test_the_longest_request_that_is_known_is_told(cli, tmp_path, arguments, longest):
    trace = tmp_path / "trace.csv"
    trace.write_text("input_tokens,output_tokens\n100,50\n700,77\n300,400\n", encoding="utf-8")
    found = lines(cli, f"{arguments} --launch".replace("{trace}", str(trace)))
    assert f"--max-model-len {longest}" in [line.removesuffix(" \\").strip() for line in found]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            "estimate gpt2 --hw h100 --launch",
            2,
            "--launch: of which engine? name one with --engine: vllm, sglang, trtllm, exllamav2, llama.cpp,",
        ),
        ("estimate gpt2 --hw ascend-910b --launch", 2, "--launch: no engine is known that is started on Huawei Ascend"),
        ("estimate gpt2 --engine vllm --launch", 2, "--launch: on which GPU? name one with --hw"),
        ("estimate gpt2 --hw h100 --engine ideal --log", 2, "--log: no line of ideal's log is known"),
        (
            "estimate gpt2 --hw h100 --engine gpt-fast --launch",
            2,
            "--launch: of gpt-fast no command is known that starts a server: generate.py answers the prompts that it",
        ),
        (
            "estimate gpt2 --hw h100 --engine vllm --launch --breakdown",
            2,
            "--launch prints lines alone: leave --breakdown",
        ),
        (
            "estimate llama3.1-405b --hw h100 --engine vllm --launch",
            1,
            "--launch: llama3.1-405b does not fit on NVIDIA H100",
        ),
        (
            "fit gpt2 --hw h100 --engine vllm --rate 1 --output 9 --ttft 9 --launch",
            2,
            "--launch prints lines alone: leave --ttft away",
        ),
        ("plan gpt2 --hw h100 --gpus 1 --engine megatron-core --launch", 2, "--launch: of serving; give --serve too"),
        (
            "plan llama3-8b --hw m4-max --gpus 1 --serve --launch",
            2,
            "--launch: of which engine? name one with --engine: llama.cpp, llama.cpp-b2900, mlc-llm, mlx\n",
        ),
        ("simulate gpt2 --hw m4-max --rate 1 --launch", 2, "--launch: of which engine?"),
        ("estimate gpt2 --hw h100 --launch stream", 2, "unexpected extra argument"),
        (
            "estimate gpt2 --hw m4-max --engine mlx --log",
            2,
            "--log: MLX prints nothing of memory when it starts: mlx_lm",
        ),
    ],
)
def test_what_has_no_lines_is_refused_in_one_message(cli, arguments, code, message):
    answer = cli(*arguments.split())
    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err.replace("Got unexpected", "unexpected")
    assert answer.err.startswith("llmcost: ") is (len(answer.err.splitlines()) == 1)
