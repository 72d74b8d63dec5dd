"""What an answer or a message says of what was asked: the nearest words, what was taken, what is left out."""

import json

import pytest

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 99,
    "intermediate_size": 64,
}


def refused(answer, *words):
    assert (answer.code, answer.out) == (2, "")
    for each in words:
        assert each in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("command", ["estimate", "ops", "explain", "train", "plan", "mfu"])
def test_several_gpus_where_one_belongs_name_the_commands_that_take_them(cli, command):
    refused(cli(command, "llama3-8b", "--hw", "h100,h200"), "--hw h100,h200: one GPU here", "fit, sweep, compare")


def test_an_unknown_format_lists_those_that_begin_with_it(cli):
    answer = cli("estimate", "llama3-8b", "--weight-dtype", "int3")
    refused(answer, "one of int3-g", "or another format of docs/conventions.md")
    assert "int8" not in answer.err


def test_a_type_that_a_gpu_lacks_lists_each_that_it_has_once(cli):
    answer = cli("estimate", "llama3-8b", "--hw", "a100", "--dtype", "fp8")
    assert answer.err.count("fp64") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hiden_size": 64}, "did you mean hidden_size?"),
        ({"hidden_size": "2048"}, 'hidden_size: expected a whole number, got "2048"'),
        ({"num_hidden_layers": "2"}, 'num_hidden_layers: expected a whole number, got "2"'),
    ],
)
def test_a_config_that_is_nearly_right_says_what_would_be(cli, tmp_path, more, words):
    file = tmp_path / "config.json"
    given = {key: value for key, value in LLAMA.items() if key != "hidden_size" or "hiden_size" not in more}
    file.write_text(json.dumps(given | more), "utf-8")
    refused(cli("estimate", file), words)


def test_sizes_that_a_config_leaves_out_are_noted(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 2}), "utf-8")
    answer = cli("estimate", file)
    assert answer.code == 0
    assert "Not in the config, so as llama has it by default: hidden_size, vocab_size." in answer.err
    file.write_text(json.dumps(LLAMA), "utf-8")
    assert cli("estimate", file).err == ""


def test_a_figure_without_its_unit_is_shown_how_it_is_written(cli, tmp_path):
    file = tmp_path / "gpu.yaml"
    file.write_text("name: my\ntitle: My\nvendor: I\nmemory: 64 GB\nbandwidth: 960\n", "utf-8")
    answer = cli("check", file)
    assert answer.code == 1
    assert "gpu.yaml:5: bandwidth.value: expected a figure with its unit, as in 24 GB, 1008 GB/s" in answer.out


TRAIN = ("train", "llama3-8b", "--hw", "h100", "--gpus", 8)


def test_a_step_of_more_tokens_than_any_run_had_says_that_sequences_are_counted(cli):
    """4M sequences of 8,192 tokens are 32.8 B tokens; 512 of them, 4.2M."""
    assert "counts sequences: of 8,192 tokens each, 32.8 B tokens a step" in cli(*TRAIN, "--global-batch", "4M").err
    assert cli(*TRAIN, "--global-batch", 512).err == ""


@pytest.mark.parametrize("said", ["--reshard", "--no-reshard"])
def test_letting_go_of_weights_needs_weights_that_are_gathered(cli, said):
    refused(cli(*TRAIN, said), f"{said}: whether weights that --zero 3 gathers are let go; give --zero 3 too")
    refused(cli(*TRAIN, said, "--zero", 1), said)
    assert cli(*TRAIN, said, "--zero", 3).code == 0


def test_adapters_have_a_textbook_and_a_length_of_their_own(cli):
    """4 FLOPs a token of 8,030,261,248 frozen parameters and 6 of 6,815,744 trained ones, at half of 8·989e12."""
    answer = json.loads(cli(*TRAIN, "--lora-rank", 16, "--json").out)
    peak, tokens = 8 * answer["hardware"]["peak_flops_per_s"], answer["run"]["tokens_per_step"]
    flops = (4 * 8_030_261_248 + 6 * 6_815_744) * tokens
    assert answer["textbook"]["step_seconds"] == pytest.approx(flops / (0.5 * peak))
    assert answer["run"]["tokens"] == 1875 * 16 * 512
    assert json.loads(cli(*TRAIN, "--json").out)["run"]["tokens"] == 15 * 10**12


def test_training_writes_no_cache(cli):
    for model in ("gpt2", "llama3-8b", "deepseek-v2-lite"):
        answer = cli("train", model, "--hw", "h100", "--gpus", 8, "--seq", 512, "--breakdown", "--json")
        operators = {each["name"] for each in json.loads(answer.out)["operators"]}
        assert not any("cache" in name for name in operators)
        listed = json.loads(cli("ops", model, "--phase", "train", "--json").out)["operators"]
        assert not any("cache" in each["operator"] for each in listed)


def test_cuda_is_of_nvidia(cli):
    assert "CUDA context" in cli("estimate", "llama3-8b", "--hw", "rtx4090").out
    assert "CUDA" not in cli("estimate", "llama3-8b", "--hw", "m4-max").out


@pytest.mark.parametrize(
    ("model", "source"),
    [
        ("deepseek-v3", "MLA: DeepSeek-V2, arXiv 2405.04434, section 2.1"),
        ("llama3-8b", "KV缓存大小"),
        ("nemotron-h-8b", "Mamba 2, arXiv 2405.21060"),
    ],
)
def test_the_source_of_a_cache_is_that_of_what_keeps_it(cli, model, source):
    (found,) = json.loads(cli("explain", model, "kv_cache.bytes_per_token", "--json").out)["explanations"]
    assert source in found["source"]


def test_rates_of_operators_are_of_the_pairs_that_are_computed(cli):
    """Of 8,192² pairs a causal mask leaves 8,192·8,193/2; the RTX 4090's 165 TFLOPS are not beaten."""
    answer = json.loads(cli("ops", "llama3-8b", "--hw", "rtx4090", "-c", 8192, "--json").out)
    (attention,) = (each for each in answer["operators"] if each["operator"] == "attention")
    assert attention["causal_flops"] / attention["flops"] == 8193 / (2 * 8192)
    assert attention["flops_per_s"] == pytest.approx(attention["causal_flops"] / attention["seconds"])
    assert all((each["flops_per_s"] or 0) < 165e12 for each in answer["operators"])
    text = cli("ops", "llama3-8b", "--weight-dtype", "int4-g128", "--json").out
    assert '"bytes": 5783945216,' in text  # whole numbers have no point
