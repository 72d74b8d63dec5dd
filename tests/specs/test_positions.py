"""How long a context may be: as the config scales its positions, and beyond that with a note instead of a refusal."""

import json

import pytest

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H100 = load_hardware("h100-sxm")


def positions(kind="llama", longest=4096, **scaling):
    config = {"model_type": kind, "max_position_embeddings": longest, "rope_scaling": scaling}
    return model_from(document_of(config, "config.json", "model")).max_position_embeddings


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"type": "linear", "factor": 8.0}, 8 * 4096),
        ({"rope_type": "dynamic", "factor": 2.5}, 10_240),  # 2.5 x 4096
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, 4 * 4096),
        ({"rope_type": "yarn", "factor": 4.0}, 4 * 4096),  # of no original maximum, the config's own is taken
        ({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 2048}, 4096),  # has it already
        ({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1024}, 4096),  # never less
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 2048}, 4096),
        ({"type": "longrope", "factor": 8.0}, 4096),
        ({"type": "su", "factor": 8.0}, 4096),
        ({"rope_type": "default"}, 4096),
        ({"type": "linear", "factor": "8"}, 4096),
    ],
)
def test_positions_are_scaled_as_vllm_scales_them(scaling, longest):
    assert positions(**scaling) == longest


def test_gemma_3_says_the_longer_maximum_already():
    assert positions("gemma3_text", 131_072, rope_type="linear", factor=8.0) == 131_072


def test_a_table_of_learned_positions_is_not_made_longer_by_a_scaling():
    assert positions("bert", 512, rope_type="linear", factor=2.0) == 512


def test_a_context_beyond_the_positions_costs_what_it_costs():
    """Llama 3 8B keeps 32 layers of 2·8·128 bf16 elements a token: 131,072 B, at 20,000 tokens as at 8,192."""
    answer = estimate(load_model("llama3-8b"), H100, Options(context=20_000))
    assert answer.kv_cache.bytes == 20_000 * 131_072
    assert answer.model.max_position_embeddings == 8192
    assert answer.memory.fits
    assert answer.memory.max_context == 20_000  # as far as was asked


def test_a_table_of_positions_has_no_row_beyond_its_last():
    with pytest.raises(InputError, match="gpt2 takes 1 to 1,024 positions"):
        estimate(load_model("gpt2"), None, Options(context=1025))


@pytest.mark.parametrize(
    "arguments",
    [
        ("estimate", "llama3-70b", "-c", "32k"),
        ("estimate", "llama3-70b", "--prompt", "31k", "--output", "1k"),
        ("explain", "llama3-70b", "kv_cache.bytes", "-c", "32k"),
        ("ops", "llama3-70b", "-c", "32k"),
        ("fit", "llama3-70b", "-c", "32k", "--hw", "h200"),
        ("compare", "llama3-70b", "-c", "32k", "--hw", "h200"),
        ("sweep", "llama3-70b", "-c", "8k..32k:x2", "--hw", "h200"),
        ("train", "llama3-70b", "--hw", "h200", "--gpus", "64", "--seq", "32k"),
        ("mfu", "llama3-70b", "--hw", "h200", "--tokens-per-s", "400", "--seq", "32k"),
    ],
)
def test_every_command_notes_it_and_names_the_model_that_was_made_for_it(cli, arguments):
    answer = cli(*arguments, *["--json"] * (arguments[0] != "sweep"))
    assert answer.code == 0
    assert "llama3-70b: 32,768 tokens are beyond the 8,192 positions" in answer.err
    assert "llama3.1-70b and llama3.3-70b, of the same sizes, were" in answer.err
    other = cli("estimate", "llama2-7b", "-c", 9000)  # Mistral 7B is as wide and deep, and no longer version of it
    assert "mistral" not in other.err
    assert cli("estimate", "llama3-70b", "-c", "8k").err == ""


TOWER = {"vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "new_layers": 2}}


def test_what_is_left_out_of_a_multimodal_config_is_said_by_every_command(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}} | TOWER), "utf-8")
    said = "counted is the text model alone, without the vision encoder (its key new_layers is not understood)"
    for command, *options in (
        ("estimate", "--hw", "h100"),
        ("explain", "kv_cache.bytes"),
        ("ops",),
        ("fit", "--hw", "h100"),
        ("sweep", "--hw", "h100"),
        ("compare", "--hw", "h100"),
        ("train", "--hw", "h100", "--gpus", "8"),
        ("plan", "--hw", "h100", "--gpus", "8"),
        ("mfu", "--hw", "h100", "--tokens-per-s", "1"),
    ):
        answer = cli(command, file, *options)
        assert answer.code == 0, answer.err
        assert said in answer.err
    for command, *options in (("estimate",), ("train", "--hw", "h100", "--gpus", "8")):
        answer = cli(command, file, *options, "--json")
        assert json.loads(answer.out)["model"]["counted"] == said.removeprefix("counted is ")
    assert "without the vision encoder" in cli("estimate", file).out
    assert "without the vision encoder" in cli("import", file).out
    assert json.loads(cli("estimate", "llama3-8b", "--json").out)["model"]["counted"] == "all"
