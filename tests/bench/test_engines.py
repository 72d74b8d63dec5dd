"""Real engines with random weights: the config that they are given, and what is made of what they took."""

import json
import sys
import types
from importlib.util import find_spec

import pytest

from llmcost.bench import NoDeviceError
from llmcost.bench.device import find_device
from llmcost.bench.engines import STEPS, time_engine
from llmcost.ground.errors import InputError
from llmcost.specs.catalog import load_engine, load_model
from llmcost.specs.importer.inverse import config_of

TYPES = {"llama", "qwen2", "qwen3_moe", "gemma2", "gpt_oss", "deepseek_v3", "qwen3_next", "gpt2", "glm4_moe", "mixtral"}
TINY = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama3-8b", "llama"),
        ("qwen3-30b-a3b", "qwen3_moe"),
        ("gemma-2-9b", "gemma2"),
        ("gpt-oss-120b", "gpt_oss"),
        ("deepseek-v3", "deepseek_v3"),
        ("qwen3-next-80b-a3b", "qwen3_next"),
        ("mixtral-8x7b", "mixtral"),
    ],
)
def test_the_reference_makes_a_model_of_as_many_parameters_from_a_spec(name, kind):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = config_of(name, TYPES)
    assert config["model_type"] == kind
    rest = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **rest))
    import llmcost

    assert (
        sum(each.numel() for each in model.parameters()) == llmcost.estimate(name).to_dict()["model"]["params"]["total"]
    )


def test_a_spec_that_no_type_says_is_refused_and_a_config_is_taken_as_it_is(tmp_path):
    with pytest.raises(InputError, match=r"give the model's config\.json"):
        config_of("gpt-oss-20b", {"llama", "qwen2"})
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    assert config_of(str(tmp_path), set()) == TINY
    assert load_model("gpt-oss-20b").has_experts()


def test_transformers_is_run_and_timed(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    run = time_engine(load_engine("transformers"), str(tmp_path), 2, 16, "fp32", find_device("cpu"))
    assert run.version.startswith("transformers ")
    assert run.prefill_seconds > 0
    assert run.step_seconds >= 0


@pytest.mark.skipif(find_spec("transformers") is None, reason="vLLM and SGLang bring transformers with them")
@pytest.mark.parametrize("library", ["vllm", "sglang"])
def test_other_engines_are_asked_for_so_many_tokens_of_each_prompt(library, tmp_path, monkeypatch):
    """A module in the library's place: it is given the tiny model's config, dummy weights, and prompts of tokens."""
    asked, made = [], {}

    class Engine:
        def __init__(self, model=None, *, model_path=None, **options):
            folder = model or model_path
            made.update(options, config=json.loads((tmp_path.__class__(folder) / "config.json").read_text()))

        def generate(self, prompts=None, sampled=None, *, input_ids=None, sampling_params=None, **_shown):
            rows = input_ids or [prompt["prompt_token_ids"] for prompt in prompts]
            how = sampling_params or sampled
            asked.append((len(rows), {len(row) for row in rows}, how.get("max_tokens", how.get("max_new_tokens"))))

    fake = types.ModuleType(library)
    fake.LLM = fake.Engine = Engine
    fake.SamplingParams = lambda **given: given
    fake.__spec__ = types.SimpleNamespace(name=library)
    monkeypatch.setitem(sys.modules, library, fake)
    monkeypatch.setattr("llmcost.bench.engines.find_spec", lambda name: name == library)
    monkeypatch.setattr("llmcost.bench.engines._version", lambda name: f"{name} 0")
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    run = time_engine(load_engine(library), str(tmp_path), 3, 20, "bf16", find_device("cpu"))
    assert run.version == f"{library} 0"
    assert made["load_format"] == "dummy"
    assert made["dtype"] == "bfloat16"
    assert made["config"]["hidden_size"] == 32
    assert {(rows, *lengths) for rows, lengths, _ in asked} == {(3, 20)}
    assert {tokens for *_, tokens in asked} == {1, 1 + STEPS}


def test_an_engine_that_is_not_here_is_said(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    with pytest.raises(InputError, match="trtllm"):
        time_engine(load_engine("trtllm"), str(tmp_path), 1, 8, "bf16", find_device("cpu"))
    if find_spec("vllm") is None:
        with pytest.raises(NoDeviceError, match="vllm is not installed"):
            time_engine(load_engine("vllm"), str(tmp_path), 1, 8, "bf16", find_device("cpu"))


def test_the_command_shows_measured_beside_predicted_and_refuses_what_it_would_not_use(cli, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    asked = (
        "bench",
        str(tmp_path),
        "--engine",
        "transformers",
        "-b",
        "2",
        "-c",
        "16",
        "--device",
        "cpu",
        "--hw",
        "h200",
    )
    found = json.loads(cli(*asked, "--json").out)
    assert found["schema"] == "llmcost.bench_engine/1"
    assert found["workload"] == {"batch": 2, "prompt": 16, "dtype": "fp32", "decode_steps": STEPS}
    for what in ("prompts", "decode_step"):
        times = found[what]
        assert times["off"] == pytest.approx(times["predicted_seconds"] / times["measured_seconds"] - 1)
    for words, why in (
        (("bench", "--engine", "vllm"), "give the MODEL"),
        ((*asked, "--phase", "decode"), "leave --phase out"),
        ((*asked, "--rows"), "leave --rows out"),
        (("bench", "--show", "hardware/profiles/h200.json", "--engine", "vllm"), "leave --engine out"),
    ):
        refused = cli(*words)
        assert refused.code == 2
        assert why in refused.err
