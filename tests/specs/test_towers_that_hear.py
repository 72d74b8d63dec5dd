"""Towers of sound beside text models that came later: their parameters are the reference's, to the last one."""

import pytest
import torch
import transformers
from small_towers import QFORMER
from transformers import AutoConfig

from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

TEXT = {
    "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 99,
    "intermediate_size": 32, "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FLAMINGO = {
    "model_type": "audioflamingo3_encoder", "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48,
    "num_hidden_layers": 2,
}  # fmt: skip
CONFORMER = {"hidden_dim": 32, "num_layers": 4, "num_heads": 4, "dim_head": 8, "cat_hidden_layers": [1]}
SMALL = {
    "audioflamingo3": ("AudioFlamingo3", {"audio_config": FLAMINGO}),
    "musicflamingo": ("MusicFlamingo", {"audio_config": FLAMINGO, "projector_bias": False}),
    "granite_speech_plus": (
        "GraniteSpeechPlus",
        {
            "encoder_config": CONFORMER,
            "projector_config": QFORMER | {"encoder_hidden_size": 64, "model_type": "blip_2_qformer"},
        },
    ),
}
TOKENS = {"audioflamingo3": 25, "musicflamingo": 25, "granite_speech_plus": 12}  # of a second


@pytest.mark.parametrize("kind", SMALL)
def test_a_model_that_hears_has_the_parameters_of_the_reference(kind):
    named, parts = SMALL[kind]
    config = AutoConfig.for_model(kind, text_config=TEXT, **parts)
    with torch.device("meta"):
        parameters = getattr(transformers, f"{named}ForConditionalGeneration")._from_config(config).parameters()
    expected = sum({id(each): each.numel() for each in parameters}.values())
    keys = config.to_dict() | {"architectures": [f"{named}ForConditionalGeneration"]}
    model = model_from(document_of(keys, "config.json", kind))
    assert [tower.name for tower in model.towers] == ["audio_tower"]
    found = estimate(model, None, Options(context=1000, audio=1))
    assert found.model.params.total == expected
    assert found.encoding.prompt_tokens == TOKENS[kind]


PHI = {"input_size": 160}, {"time_reduction": 16}, {"downsample_rate": 2}, {"nemo_final_size": 20}, {"kernel_size": 6}


@pytest.mark.parametrize("changed", PHI, ids=str)
def test_phi_4_hears_with_the_parameters_of_the_reference_whatever_the_sizes_before_its_layers(changed):
    config = AutoConfig.for_model("phi4_multimodal", num_hidden_layers=1, audio_config={"num_blocks": 1} | changed)
    with torch.device("meta"):
        parameters = transformers.Phi4MultimodalForCausalLM._from_config(config).parameters()
    expected = sum({id(each): each.numel() for each in parameters}.values())
    model = model_from(document_of(config.to_dict(), "config.json", "phi"))
    assert estimate(model, None, Options(context=16)).model.params.total == expected
    known = next(iter(changed)) in ("kernel_size", "input_size")  # the others are not those of what is heard
    assert (model.towers[1].rule == "unknown") is not known
