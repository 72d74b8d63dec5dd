"""Draft models: their parameters are those of released checkpoints, and a step of theirs stands beside the target's.

The sums are by hand, from the modules of eagle/model/cnets.py and cnets1.py, and of dflash/model.py.
"""

import json

import pytest

from llmcost.ground.errors import SpecError
from llmcost.model.sizes import Load
from llmcost.serving.estimate import Options, estimate, workload_of
from llmcost.serving.server import speculation_of
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H, I, KV, V, D = 4096, 14336, 1024, 128256, 32000  # of Llama 3.1 8B, and EAGLE-3's vocabulary
LLAMA = {
    "model_type": "llama", "hidden_size": H, "intermediate_size": I, "num_attention_heads": 32,
    "num_key_value_heads": 8, "num_hidden_layers": 1, "vocab_size": V, "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}  # fmt: skip
EAGLE = LLAMA | {"architectures": ["LlamaForCausalLMEagle"]}
EAGLE3 = LLAMA | {"architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": D}
DFLASH = {
    "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": H, "intermediate_size": 12288,
    "num_hidden_layers": 5, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "block_size": 16, "num_target_layers": 36, "tie_word_embeddings": False,
    "dflash_config": {"mask_token_id": 151669, "target_layer_ids": [1, 9, 17, 25, 33]},
}  # fmt: skip
H100 = load_hardware("h100-sxm")


def read(config):
    return model_from(document_of(config, "config.json", "draft"))


def parameters(config):
    return estimate(read(config), None, Options(context=64)).model.params.total


def test_eagle_3_has_a_wide_layer_a_projection_of_three_states_and_a_small_head():
    """The embedding is its target's. The file is 850 MB of fp16, with two lists of tokens that are no weights.

    huggingface.co/yuhuili/EAGLE3-LLaMA3.1-Instruct-8B/tree/main
    """
    layer = 2 * H * (H + 2 * KV) + H * H + 3 * H * I + 3 * H
    assert parameters(EAGLE3) == 3 * H * H + layer + H + H * D == 424_689_664
    one = estimate(read(EAGLE3), H100, Options(context=2048))
    assert one.model.counted == "the draft model alone, which reads its target's embedding"
    assert one.kv_cache.bytes_per_token == 2 * KV * 2  # keys and values of one layer, in bf16
    assert one.memory.weights_bytes == 2 * 424_689_664
    assert 0 < one.decode.limit.seconds_per_step < one.decode.expected.seconds_per_step


@pytest.mark.parametrize("named", ["Eagle3Speculator", "Eagle3DraftModel"])
def test_eagle_3_as_speculators_writes_it_is_read_as_it_is_elsewhere(named):
    """RedHatAI/Qwen3-8B-speculator.eagle3 and RedHatAI/gpt-oss-20b-speculator.eagle3 have these classes."""
    layer = {key: said for key, said in LLAMA.items() if key != "tie_word_embeddings"}
    config = {"architectures": [named], "speculators_model_type": "eagle3", "transformer_layer_config": layer}
    config |= {"draft_vocab_size": D, "norm_before_residual": True, "target_hidden_size": None}
    config |= {"speculators_config": {"algorithm": "eagle3"}, "eagle_aux_hidden_state_layer_ids": None}
    assert parameters(config) == parameters(EAGLE3)
    assert read(config).counted == read(EAGLE3).counted


def test_a_wider_target_makes_the_projection_wider():
    assert parameters(EAGLE3 | {"target_hidden_size": 5120}) - parameters(EAGLE3) == 3 * (5120 - H) * H


def test_eagle_3_drafts_keep_keys_of_their_targets_and_may_norm_each_state():
    """github.com/sgl-project/SpecForge, configs/: windows and experts that no class of a draft looks at."""
    left = {"max_window_layers": 36, "use_sliding_window": False, "sliding_window": None, "decoder_sparse_step": 1}
    assert parameters(EAGLE3 | left) == parameters(EAGLE3)
    assert parameters(EAGLE3 | {"fc_norm": True, "norm_output": True}) == parameters(EAGLE3) + 3 * H


@pytest.mark.parametrize("named", ["PEagleDraftModel", "DSparkDraftModel", "Qwen3DSparkModel"])
def test_another_draft_is_not_read_as_the_model_whose_type_it_says(named):
    with pytest.raises(SpecError, match=f"architectures: {named} is a draft of another model"):
        read(LLAMA | {"architectures": [named]})


@pytest.mark.parametrize("bias", [True, False])
def test_eagle_has_no_norm_before_its_layer_nor_behind_and_a_copy_of_the_embedding(bias):
    layer = H * (H + 2 * KV) + H * H + 3 * H * I + H
    assert parameters(EAGLE | {"bias": bias}) == V * H + 2 * H * H + bias * H + layer


def test_dflash_projects_states_of_some_layers_and_has_no_tables():
    layer = 2 * H * 4096 + 2 * H * KV + 3 * H * 12288 + 2 * H + 2 * 128
    assert parameters(DFLASH) == 5 * H * H + H + 5 * layer + H
    assert read(DFLASH).counted == "the draft model alone, which reads its target's tables"
    assert parameters(DFLASH | {"dflash_config": {}}) == parameters(
        DFLASH
    )  # one layer of the target for each of its own


def test_weights_of_a_draft_stand_beside_its_targets_and_those_of_ngrams_are_none(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(EAGLE3), "utf-8")
    mix = ("estimate", "llama3.1-8b", "--hw", "h100", "--prompt", 1000, "--output", 200, "--concurrency", 4)
    with_draft = (*mix, "--speculate", 3, "--draft", file)
    assert json.loads(cli(*with_draft, "--json").out)["serving"]["draft_bytes"] == 2 * 424_689_664
    assert "draft                                849 MB   weights of what guesses (--draft)" in cli(*with_draft).out
    for more in ((), ("--speculate", 3, "--draft", "ngram")):
        assert json.loads(cli(*mix, *more, "--json").out)["serving"]["draft_bytes"] is None
        assert "weights of what guesses" not in cli(*mix, *more).out
    layer = json.loads(cli(*mix, "--speculate", 1, "--json").out)  # a layer of the model's own, of 32
    assert layer["serving"]["draft_bytes"] == layer["memory"]["weights_bytes"] / 32
    refused = cli("explain", "llama3.1-8b", "serving.draft_bytes", *mix[2:])
    assert "give --speculate" in refused.err


def test_a_draft_guesses_for_its_target_in_a_simulation(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(EAGLE3), "utf-8")
    options = ("--hw", "h100", "--concurrency", 1, "--prompt", 512, "--output", 128, "--requests", 8, "--json")
    alone = json.loads(cli("simulate", "llama3.1-8b", *options).out)
    drafted = ("--speculate", 3, "--accept", 0.7, "--draft", file)
    guessed = json.loads(cli("simulate", "llama3.1-8b", *options, *drafted).out)
    assert guessed["tpot_seconds"]["mean"] < alone["tpot_seconds"]["mean"]


@pytest.mark.parametrize(("config", "together"), [(EAGLE3, False), (DFLASH, True)])
def test_eagle_guesses_one_token_a_pass_and_dflash_all_of_them_in_one(tmp_path, config, together):
    """Of EAGLE-3 so many steps of decode beside the target's; of DFlash one pass of the tokens and the one before."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config), "utf-8")
    target = load_model("qwen3-8b")
    for tokens in (1, 15):
        w = workload_of(target, H100, Options(speculate=tokens, draft=str(file), context=2048))
        guess = speculation_of(H100, w)
        load = Load(4, tokens + 1, 2048) if together else Load(4, 1, 2048, decode=True)
        seconds = guess.draft.times(guess.draft.share(load), load).through()
        assert guess.seconds(None, 4, 2048) == pytest.approx((1 if together else tokens) * seconds)


@pytest.mark.parametrize("key", ["hidden_size", "target_hidden_size", "draft_vocab_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", ["x", [], {}, -1, 0, True, 1.5])
def test_sizes_that_are_none_are_refused_in_one_message(cli, tmp_path, key, value):
    file = tmp_path / "config.json"
    for config in (EAGLE3, EAGLE, DFLASH):
        file.write_text(json.dumps(config | {key: value}), "utf-8")
        answer = cli("estimate", file)
        assert answer.code in (0, 2)
        assert answer.err.count("llmcost:") <= 2
        assert "Traceback" not in answer.err
