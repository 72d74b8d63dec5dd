"""A config.json that is not understood is refused with file, line and key; nothing that it names is run."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from llmcost.ground.errors import InputError
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS
from llmcost.specs.models import model_from

CONFIG = """{
  "model_type": "mixtral",
  "hidden_size": 64,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "intermediate_size": 96,
  "num_hidden_layers": 2,
  "num_local_experts": 4,
  "num_experts_per_tok": 2,
  "vocab_size": 160
}
"""


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ('"hidden_size": 64', '"hidden_size": -64', 3, "hidden_size: "),
        ('"hidden_size": 64', '"hidden_size": [64]', 3, "hidden_size: "),
        (
            '"num_attention_heads": 4',
            '"num_attention_heads": 1',
            5,
            "num_key_value_heads: 1 attention heads cannot share 2 KV heads evenly",
        ),
        ('"intermediate_size": 96', '"intermediate_size": "96"', 6, "intermediate_size: "),
        ('"num_hidden_layers": 2', f'"num_hidden_layers": {10**30}', 7, "num_hidden_layers: "),
        (
            '"num_local_experts": 4',
            '"num_local_experts": 1',
            9,
            "num_experts_per_tok: a token cannot take 2 of 1 expert",
        ),
        ('"vocab_size": 160', '"vocab_size": 160,\n  "hidden_size": 64', 11, "hidden_size: this key stands twice"),
        ('"vocab_size": 160', '"vocab_size": 160,\n  "gadget_size": 3', 11, "gadget_size: not understood for mixtral"),
        (
            '"vocab_size": 160',
            '"vocab_size": 160,\n "quantization_config": {\n  "gadget": 3}',
            12,
            "quantization_config.gadget: not understood",
        ),
        ('"model_type": "mixtral"', '"model_type": ["mixtral"]', 2, "model_type: "),
        ('"vocab_size": 160\n}', '"vocab_size": 1', 11, "not valid JSON"),
    ],
)
def test_a_bad_config_is_refused_with_file_line_and_key(cli, tmp_path, before, after, line, key):
    path = tmp_path / "config.json"
    assert before in CONFIG
    path.write_text(CONFIG.replace(before, after), encoding="utf-8")
    refused(cli("estimate", path), f"{path}:{line}: {key}")


def test_the_line_is_that_of_the_text_model(cli, tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 3,\n "text_config":\n' + CONFIG.replace("64", "-64") + "}", encoding="utf-8")
    refused(cli("estimate", path), f"{path}:5: hidden_size: expected a whole number above 0, got -64")


def test_a_mark_of_byte_order_before_a_config_makes_no_difference(cli, tmp_path):
    plain, marked = tmp_path / "plain" / "config.json", tmp_path / "marked" / "config.json"
    for path, text in ((plain, CONFIG), (marked, "\ufeff" + CONFIG.replace("\n", "\r\n"))):
        path.parent.mkdir()
        path.write_bytes(text.encode())
    found = [json.loads(cli("estimate", path, "--json").out)["model"]["params"] for path in (plain, marked)]
    assert found[0] == found[1]


def test_code_that_a_config_names_is_never_run(cli, tmp_path):
    (tmp_path / "modeling_evil.py").write_text("raise SystemExit(99)\n", encoding="utf-8")
    path = tmp_path / "config.json"
    path.write_text(
        CONFIG.replace('"model_type"', '"auto_map": {"AutoConfig": "modeling_evil.Evil"},\n  "model_type"'),
        encoding="utf-8",
    )
    assert cli("estimate", path).code == 0
    path.write_text(path.read_text("utf-8").replace("mixtral", "evil"), encoding="utf-8")
    refused(cli("estimate", path), f"{path}:3: model_type: the architecture 'evil' is not understood")


def test_a_config_that_is_a_loop_of_symbolic_links_is_refused(cli, tmp_path):
    path = tmp_path / "config.json"
    path.symlink_to(path)
    refused(cli("estimate", path), f"{path}: cannot be read: Too many levels of symbolic links")


HOSTILE = st.sampled_from(
    [
        -1,
        0,
        10**30,
        1.5,
        True,
        None,
        "x",
        "",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
        float("inf"),
        10**8,
        "auto",
        ["full_attention"],
    ]
)
DEFAULT_CONFIGS = json.loads(DEFAULTS.read_text("utf-8"))


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(sorted(DEFAULT_CONFIGS)), data=st.data())
def test_a_config_of_any_type_with_wrong_values_gets_a_clean_answer(kind, data):
    """Whatever stands where a number belongs: a spec, or one message; never another exception."""
    config = {"model_type": kind, **DEFAULT_CONFIGS[kind]}
    for _ in range(data.draw(st.integers(1, 3))):
        config[data.draw(st.sampled_from(sorted(config)))] = data.draw(HOSTILE)
    try:
        model_from(document_of(config, "config.json", "hostile"))
    except InputError as error:
        assert "\n" not in str(error)
