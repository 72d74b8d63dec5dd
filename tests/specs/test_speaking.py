"""Qwen's omni models with the part that speaks: their parameters are those of the reference's whole class."""

import json

import pytest
import torch
import transformers
from transformers import AutoConfig

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

SOUNDS = {"output_dim": 64, "encoder_layers": 1, "encoder_ffn_dim": 48, "d_model": 32, "encoder_attention_heads": 4}
PICTURES = {"out_hidden_size": 64, "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4}
TEXT = {
    "hidden_size": 64, "head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1,
    "intermediate_size": 32, "vocab_size": 99,
}  # fmt: skip
THINKER = {"text_config": TEXT, "audio_config": SOUNDS, "vision_config": PICTURES, "pad_token_id": 0}
TALKER_2 = TEXT | {"embedding_size": 64, "num_hidden_layers": 2}
TALKER_3 = {
    "spatial_merge_size": 2, "thinker_hidden_size": 64,
    "text_config": TEXT | {"shared_expert_intermediate_size": 24, "moe_intermediate_size": 8, "num_experts": 3},
    "code_predictor_config": TEXT | {"num_code_groups": 5},
}  # fmt: skip
WHOLES = {
    "qwen2_5_omni": ("Qwen2_5OmniForConditionalGeneration", TALKER_2),
    "qwen3_omni_moe": ("Qwen3OmniMoeForConditionalGeneration", TALKER_3),
}


def whole(kind, **changed):
    """The keys of a small model, and the parameters of the reference's class."""
    named, talker = WHOLES[kind]
    config = AutoConfig.for_model(kind, thinker_config=THINKER, talker_config=talker | changed)
    with torch.device("meta"):
        parameters = {id(each): each.numel() for each in getattr(transformers, named)(config).parameters()}
    return json.loads(json.dumps(config.to_dict(), default=str)) | {"architectures": [named]}, sum(parameters.values())


def read(keys):
    return model_from(document_of(keys, "config.json", "omni"))


@pytest.mark.parametrize(("kind", "changed"), [("qwen2_5_omni", {}), ("qwen2_5_omni", {"num_key_value_heads": 4}),
                                               ("qwen3_omni_moe", {})])  # fmt: skip
def test_an_omni_model_that_speaks_has_the_parameters_of_the_reference(kind, changed):
    keys, expected = whole(kind, **changed)
    model = read(keys)
    assert [tower.name for tower in model.towers] == ["vision_tower", "audio_tower", "talker"]
    assert estimate(model, None, Options(context=16)).model.params.total == expected


def test_a_talker_neither_sees_nor_hears_and_one_turned_off_is_not_there():
    keys, _ = whole("qwen2_5_omni")
    speaking, silent = read(keys), read(keys | {"enable_audio_output": False})
    asked = Options(context=512, images=1, image_size="300x200", audio=2)
    assert estimate(speaking, None, asked).encoding == estimate(silent, None, asked).encoding
    assert [tower.name for tower in silent.towers] == ["vision_tower", "audio_tower"]
    assert "speaks" not in silent.counted


@pytest.mark.parametrize("part", ["dit_config", "bigvgan_config"])
def test_waves_of_other_sizes_than_the_class_has_leave_the_part_that_speaks_out_and_that_is_said(part):
    keys, _ = whole("qwen2_5_omni")
    keys["token2wav_config"][part]["mel_dim"] = 81
    model = read(keys)
    assert [tower.name for tower in model.towers] == ["vision_tower", "audio_tower"]
    assert model.counted.endswith("without the part that speaks")


def test_a_talker_alone_is_asked_for_no_image():
    keys, _ = whole("qwen2_5_omni")
    model = read(keys)._replace(towers=read(keys).towers[2:])
    with pytest.raises(InputError, match="has no tower for it"):
        estimate(model, None, Options(context=512, images=1))


MODELS_OF_SPEECH = [
    ("csm", "CsmForConditionalGeneration", {}, 1_632_100_161),
    ("csm", "CsmForConditionalGeneration", {"tie_codebooks_embeddings": False}, None),
    ("moshi", "MoshiForConditionalGeneration", {"audio_vocab_size": 2048}, 7_767_037_761),
    ("moshi", "MoshiForCausalLM", {"audio_vocab_size": 2048}, 6_839_083_008),
]


@pytest.mark.parametrize(("kind", "named", "changed", "known"), MODELS_OF_SPEECH)
def test_a_model_of_speech_has_the_parameters_of_the_reference_with_its_codes_and_its_codec(
    kind, named, changed, known
):
    config = AutoConfig.for_model(kind, **changed)
    with torch.device("meta"):
        parameters = {id(each): each.numel() for each in getattr(transformers, named)(config).parameters()}
    assert known in (None, sum(parameters.values()))
    model = read(json.loads(json.dumps(config.to_dict(), default=str)) | {"architectures": [named]})
    assert estimate(model, None, Options(context=16)).model.params.total == sum(parameters.values())
    assert [tower.name for tower in model.towers] == ([] if "CausalLM" in named else ["talker"])


def test_moshis_decoder_of_a_frame_has_the_words_of_the_whole_whatever_its_own_part_says():
    keys = json.loads(json.dumps(AutoConfig.for_model("moshi", audio_vocab_size=2048).to_dict(), default=str))
    keys |= {"vocab_size": 64000}
    assert keys["depth_decoder_config"]["vocab_size"] == 32000
    model = read(keys | {"architectures": ["MoshiForConditionalGeneration"]})
    with torch.device("meta"):  # from the file, as from_pretrained does
        config = AutoConfig.for_model("moshi", **{name: said for name, said in keys.items() if name != "model_type"})
        parameters = transformers.MoshiForConditionalGeneration(config).parameters()
        expected = sum({id(each): each.numel() for each in parameters}.values())
    assert estimate(model, None, Options(context=16)).model.params.total == expected


def test_a_model_of_speech_whose_codec_has_other_sizes_is_its_text_model_alone():
    keys = json.loads(json.dumps(AutoConfig.for_model("csm").to_dict(), default=str))
    keys["codec_config"]["hidden_size"] = 256
    model = read(keys | {"architectures": ["CsmForConditionalGeneration"]})
    assert not model.towers
    assert "hidden_size is not understood" in model.counted
