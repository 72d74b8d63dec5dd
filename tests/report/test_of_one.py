"""One of a thing is not told as several."""

import pytest

from llmcost.report.words import of_one


@pytest.mark.parametrize(
    ("several", "one"),
    [
        ("1 requests, 1 tokens in and 1 out", "1 request, 1 token in and 1 out"),
        ("1 × 1 tokens a step", "1 × 1 token a step"),
        ("  1 tokens", "  1 token"),
        ("1 rows cannot be priced", "1 row cannot be priced"),
        ("Of 1 cases 1 were called right", "Of 1 case 1 was called right"),
        (
            "1 run at a time; of the 1 requests that run, each half answered",
            "1 runs at a time; of the 1 request that runs, each half answered",
        ),
    ],
)
def test_one_of_a_thing_is_told_as_one(several, one):
    assert of_one(several) == one
    assert of_one(one) == one


@pytest.mark.parametrize(
    "text", ["11 tokens", "0.1 tokens", "1,001 tokens", "1 tokens/s", "h1 layers", "1.5 requests", "1 requested"]
)
def test_what_is_not_one_and_a_rates_unit_stay(text):
    assert of_one(text) == text


@pytest.mark.parametrize(
    "command",
    [
        "estimate llama3-8b --hw h100 --concurrency 1 --requests 1 --prompt 1 --output 1",
        "estimate llama3-8b --hw h100 --context 1 --gpus 1",
        "simulate llama3-8b --hw h100 --rate 1 --requests 1 --prompt 1 --output 1",
        "train gpt2 --hw h100 --seq 1 --global-batch 1 --tokens 1",
        "plan gpt2 --hw h100 --gpus 1 --global-batch 1 --seq 1 --top 1",
        "plan gpt2 --serve --hw h100 --gpus 1 --prompt 1 --output 1",
        "fit gpt2 --hw h100 --gpus 1 --context 1",
        "sweep gpt2 --hw h100 --batch 1 --context 1",
        "compare gpt2 --hw h100 --context 1",
        "explain gpt2 flops.prefill --context 1",
    ],
)
def test_no_answer_tells_one_as_several(cli, command):
    answer = cli(*command.split())
    assert answer.code == 0
    for line in (answer.out + answer.err).splitlines():
        assert of_one(line) == line
