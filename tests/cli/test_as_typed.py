"""Names, counts and words as people type them mean what these people mean."""

import json

import pytest

from llmcost.ground.errors import InputError, UnknownNameError
from llmcost.ground.options import SYNONYMS, declared
from llmcost.serving.options import Options
from llmcost.specs.catalog import FOLDERS, load_hardware, load_model, names, shipped, split_gpus
from llmcost.specs.hardware import OWN
from llmcost.specs.reader import parse_yaml, read_yaml
from llmcost.training.options import Options as TrainingOptions


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("mi300", "mi300x"),
        ("rtx 4090", "rtx4090"),
        ("RTX_4090", "rtx4090"),
        ("NVIDIA GeForce RTX 4080", "rtx4080"),
        ("H100 80GB", "h100-sxm"),
    ],
)
def test_a_gpu_is_found_by_what_it_is_called(typed, name):
    assert load_hardware(typed).name == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("llama3.1:8b", "llama3.1-8b"),
        ("Llama-3.1-8B-Instruct", "llama3.1-8b"),
        ("meta-llama/Llama-3.1-8B", "llama3.1-8b"),
        ("qwen3:8b", "qwen3-8b"),
        ("Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
    ],
)
def test_a_model_is_found_by_what_it_is_called(typed, name):
    assert load_model(typed).name == name


@pytest.mark.parametrize("name", names("models"))
def test_a_model_is_found_by_the_repository_it_was_read_from(name):
    data = read_yaml(shipped("models") / f"{name}.yaml").data
    source = str(data["source"])
    if not source.startswith("https://huggingface.co/"):
        pytest.skip("read elsewhere")
    repository = "/".join(source.split("/")[3:5])
    found = load_model(repository)
    sources = read_yaml(shipped("models") / f"{found.name}.yaml").data
    assert repository in source
    assert repository in str(sources["source"]) or repository in sources["aliases"]


def test_a_folder_of_ones_own_comes_before_a_hub_id_without_its_owner(tmp_path, monkeypatch):
    folder = tmp_path / "Llama-3.1-8B-Instruct"
    folder.mkdir()
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 99}))
    monkeypatch.chdir(tmp_path)
    assert load_model("Llama-3.1-8B-Instruct").hidden_size == 64


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("llama3", ["llama3-8b", "llama3-70b"]), ("mixtral", ["mixtral-8x7b", "mixtral-8x22b"])],
)
def test_of_an_unknown_name_those_that_begin_with_it_are_nearest(typed, nearest):
    with pytest.raises(UnknownNameError) as refused:
        load_model(typed)
    assert refused.value.nearest[:2] == nearest


@pytest.mark.parametrize(
    ("typed", "split"),
    [
        ("8xh100", ("h100", "8")),
        ("8 x H100", ("H100", "8")),
        ("h100:8", ("h100", "8")),
        ("dgx-1v", ("dgx-1v", None)),
        ("4090", ("4090", None)),
        ("2x4090", ("2x4090", None)),  # could be a name; 2xrtx4090 is clear
    ],
)
def test_a_number_of_gpus_may_stand_with_their_name(typed, split):
    assert split_gpus(typed) == split


@pytest.mark.parametrize("folder", FOLDERS["hardware"])
def test_no_shipped_name_reads_as_a_number_of_gpus(folder):
    for name in names(folder):
        aliases = read_yaml(shipped(folder) / f"{name}.yaml").data.get("aliases", [])
        assert [split_gpus(each) for each in (name, *aliases)] == [(each, None) for each in (name, *aliases)]


@pytest.mark.parametrize("command", [["estimate"], ["train", "--global-batch", "8"], ["sweep"], ["plan", "--serve"]])
@pytest.mark.parametrize("typed", ["8xh100", "h100:8"])
def test_eight_gpus_in_a_name_are_gpus_8(cli, command, typed):
    command = [command[0], "llama3-8b", *command[1:], "--json", "--hw"]
    answer = cli(*command, typed)
    assert answer == cli(*command, "h100", "--gpus", 8)
    assert answer.code == 0


def test_a_number_of_gpus_in_a_name_is_refused_where_it_contradicts_or_says_nothing(cli):
    assert "say it with --gpus" in cli("estimate", "llama3-8b", "--hw", "8xh100", "--gpus", 4).err
    assert "say it with --gpus" in cli("sweep", "llama3-8b", "--hw", "8xh100,4xh200").err
    assert "a GPU alone" in cli("mfu", "llama3-8b", "--hw", "8xh100", "--tokens-per-s", 9000).err
    assert cli("plan", "llama3-8b", "--hw", "h100").code == 2


@pytest.mark.parametrize(
    ("option", "typed", "value"),
    [
        ("dtype", "float16", "fp16"),
        ("dtype", "bfloat16", "bf16"),
        ("dtype", "BF16", "bf16"),
        ("weight_dtype", "Q4_K_M", "q4_k_m"),
        ("weight_dtype", "awq", "int4-g128-zp"),
        ("weight_dtype", "GPTQ", "int4-g128-zp"),
        ("weight_dtype", "FP8+mxfp4", "fp8+mxfp4"),
        ("kv_dtype", "fp8_e4m3", "fp8"),
        ("mfu", "50%", 0.5),
        ("memory_utilization", "92.5%", 0.925),
        ("batch", "1e4", 10_000),
        ("context", "1e3", 1000),
    ],
)
def test_an_option_reads_what_engines_and_people_call_it(option, typed, value):
    assert declared(Options)[option].one(typed) == value
    assert list(declared(Options)[option].several(typed).values()) == [value]


def test_adamw_is_adam():
    assert declared(TrainingOptions)["optimizer"].one("AdamW") == "adam"


def test_what_is_unknown_is_refused_as_it_was_typed():
    with pytest.raises(InputError, match="--dtype Float12: one of bf16"):
        declared(Options)["dtype"].one("Float12")


def test_every_synonym_is_of_a_word_that_some_option_knows():
    options = [*declared(Options).values(), *declared(TrainingOptions).values()]
    known = {word for option in options for word in getattr(option.check, "keywords", {}).get("known", ())}
    assert {*SYNONYMS.values()} <= known
    assert not {*SYNONYMS} & known


@pytest.mark.parametrize(("ttft", "tpot"), [("2s", "300ms"), ("2 s", "0.3s"), ("2000", "300")])
def test_times_have_their_unit_or_are_milliseconds(cli, ttft, tpot):
    command = ("plan", "llama3-8b", "--serve", "--hw", "h100", "--gpus", 2, "--json")
    question = json.loads(cli(*command, "--ttft", ttft, "--tpot", tpot).out)
    assert (question["ttft_seconds"], question["tpot_seconds"]) == (2, 0.3)


OWN_GPU = """
name: mine
title: Mine
vendor: me
memory: 64 GB
bandwidth: 1000 GB/s
interconnect: 64 GB/s
node_gpus: 2
peak: {bf16: 100 TFLOPS}
"""


def test_a_gpu_of_ones_own_needs_no_sources(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(OWN_GPU)
    gpu = load_hardware(str(file))
    assert (gpu.memory.value, gpu.bandwidth.value, gpu.peak["bf16"].value) == (64e9, 1e12, 1e14)
    assert (gpu.interconnect.value, gpu.node_gpus.value) == (64e9, 2)


def test_every_shipped_figure_has_a_source():
    for name in names("hardware"):
        figures = parse_yaml((shipped("hardware") / f"{name}.yaml").read_text(), name).data
        assert not [key for key in ("memory", "bandwidth") if not isinstance(figures.get(key, {}), dict)]
        assert OWN not in load_hardware(name).sources


@pytest.mark.parametrize(("cache", "bits"), [("q8_0", 8.5), ("q4_0", 4.5), ("Q4_1", 5), ("q5_0", 5.5), ("iq4_nl", 4.5)])
def test_a_cache_of_llama_cpp_has_the_bits_of_its_blocks(cli, cache, bits):
    """32 values in a block, 4 or 8 bits each, and an fp16 scale: 4.5, 8.5. Llama 3.1 8B: 2 × 32 × 8 × 128 a token."""
    answer = cli("estimate", "llama3.1-8b", "-c", 32768, "--kv-dtype", cache, "--json")
    assert json.loads(answer.out)["kv_cache"]["bytes"] == 32768 * 65_536 * bits / 8
