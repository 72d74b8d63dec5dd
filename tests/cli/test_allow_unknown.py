"""--allow-unknown: taken by every command that reads a config, and every output warns of it."""

import json

import pytest

from llmcost.cli.command import COMMANDS, function_of, parameters

CONFIG = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 99}
CONFIG |= {"intermediate_size": 128, "max_position_embeddings": 64, "strange": 3}
ASKED = {
    "estimate": "--hw h100",
    "explain": "kv_cache.bytes",
    "ops": "",
    "fit": "--hw h100",
    "sweep": "--hw h100 --batch 1,2",
    "compare": "--hw h100",
    "train": "--hw h100 --gpus 1",
    "rl": "--hw h100 --gpus 1 --prompts 2 --samples 2 --prompt 16 --output 8",
    "plan": "--hw h100 --gpus 1",
    "simulate": "--hw h100 --requests 4 --concurrency 2 --prompt 16 --output 8",
    "mfu": "--hw h100 --tokens-per-s 9000",
    "models": "",
    "import": "",
    "check": "",
}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG), "utf-8")
    return str(file)


@pytest.fixture
def run(cli):
    return lambda command, path, *more: cli(command, path, *ASKED[command].split(), *more)


def test_every_command_that_takes_a_model_type_takes_it():
    takers = {name for name in COMMANDS if "kind" in parameters(function_of(name))}
    takers -= {"accuracy", "gap"}  # a kind of measurements; a trace comes before the model
    assert takers | {"models", "check"} == ASKED.keys()


@pytest.mark.parametrize("command", ASKED)
def test_every_command_refuses_or_warns(run, command, path):
    assert run(command, path).code != 0
    answer = run(command, path, "--allow-unknown", "strange")
    assert answer.code == 0, answer.err
    assert "strange: not understood and left out" in answer.out + answer.err


@pytest.mark.parametrize("command", [name for name in ASKED if name not in ("import", "models")])
def test_json_says_which_keys_were_left_out(run, command, path):
    answer = run(command, path, "--allow-unknown", "strange", "--json")
    document = json.loads(answer.out)
    assert [key.rpartition(": ")[2] for key in document["unknown_keys"]] == ["strange"]
    assert "left out" in document["warnings"][0]


def test_a_key_that_is_understood_is_read_and_a_note_says_so(cli, path):
    asked = ["estimate", path, "--json", "--allow-unknown", "strange"]
    answer = cli(*asked, "--allow-unknown", "hidden_size")
    assert "note: " in answer.err
    assert "--allow-unknown hidden_size: it is understood, and read as without that" in answer.err
    assert "it is understood" not in cli(*asked).err
    assert json.loads(answer.out)["model"]["params"] == json.loads(cli(*asked).out)["model"]["params"]


def test_a_spec_that_was_imported_so_still_warns(run, path, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(run("import", path, "--allow-unknown", "strange").out, "utf-8")
    assert "strange: not understood and left out" in run("estimate", str(spec)).out


def test_of_several_models_a_key_is_left_out_of_those_that_have_it(cli, path):
    answer = cli("compare", path, "llama3.2-1b", "--hw", "h100", "--allow-unknown", "strange")
    assert answer.code == 0, answer.err
    assert "strange: not understood and left out" in answer.out
    refused = cli("compare", path, "llama3.2-1b", "--hw", "h100", "--allow-unknown", "strange", "--allow-unknown", "no")
    assert refused.code == 2
    assert "--allow-unknown no: no config.json" in refused.err


def test_a_model_beside_another_is_imported_with_its_keys_left_out_and_the_answer_warns(cli, path, tmp_path):
    given = "--hw h100 --concurrency 2 --prompt 16 --output 8 --speculate 2"
    asked = "estimate", "llama3.2-1b", *given.split()
    assert f"llmcost import {path} -o" in cli(*asked, "--draft", path).err
    spec = tmp_path / "draft.yaml"
    spec.write_text(cli("import", path, "--allow-unknown", "strange").out, "utf-8")
    assert "strange: not understood and left out" in cli(*asked, "--draft", str(spec)).out


def test_calibrate_takes_it_for_its_model(cli, path, tmp_path):
    (tmp_path / "run.json").write_text("{}", "utf-8")
    asked = "calibrate", str(tmp_path / "run.json"), "--hw", "h100", "--model", path
    assert "strange: not understood" in cli(*asked).err
    assert "strange: not understood" not in cli(*asked, "--allow-unknown", "strange").err
