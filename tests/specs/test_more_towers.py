"""Towers whose parts stand elsewhere than under vision_config, and how wrappers tie embeddings: as the reference."""

import itertools
import json

import pytest
import torch
import transformers
from small_towers import SAM, SMALL, TEXT, config_of, part_of, reference, towers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from llmcost.ground.errors import InputError
from llmcost.model.counting import count_pass
from llmcost.model.token_places import NotTakenError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

BART = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 80, "decoder_ffn_dim": 96,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "vocab_size": 200,
}  # fmt: skip
DAVIT = {
    "embed_dim": [16, 32, 48, 64], "num_heads": [2, 4, 4, 4], "num_groups": [2, 4, 8, 4], "depths": [1, 2, 1, 1],
    "projection_dim": 64,
}  # fmt: skip
EXPERTS = {key: size for key, size in TEXT.items() if key != "head_dim"} | {"num_hidden_layers": 3}
OCR2 = {
    "text_config": EXPERTS | {
        "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "mlp_layer_types": ["dense", "sparse", "sparse"],
    },
    "vision_config": {
        "sam_config": SAM | {"downsample_channels": [20, 36]},
        "encoder_config": {
            "hidden_size": 36, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 6,
            "num_key_value_heads": 2,
        },
    },
}  # fmt: skip
ERNIE = {
    "text_config": EXPERTS | {
        "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": [24, 16],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [3, 3, 2]},
    },
    "vision_config": {"hidden_size": 32, "depth": 2, "intermediate_size": 48, "num_heads": 4, "patch_size": 4},
}  # fmt: skip
WHOLES = {
    "florence2": {"text_config": BART, "vision_config": DAVIT},
    "deepseek_ocr2": OCR2,
    "ernie4_5_vl_moe": ERNIE,
}
CHANGED = [
    ("florence2", "vision_config", {"depths": [2, 1, 1, 2], "patch_prenorm": [True, False, True, False]}),
    ("florence2", "vision_config", {"mlp_ratio": 2.5, "qkv_bias": False, "max_position_embeddings": 20}),
    ("florence2", "text_config", {"tie_word_embeddings": False}),
    ("florence2", None, {"tie_word_embeddings": False}),
    ("ernie4_5_vl_moe", "text_config", {"moe_intermediate_size": [32, 8], "moe_num_shared_experts": 0}),
    ("ernie4_5_vl_moe", "text_config", {"mlp_layer_types": ["sparse", "dense", "sparse"], "use_bias": True}),
    ("ernie4_5_vl_moe", "vision_config", {"temporal_merge_size": 3, "in_channels": 2}),
    ("deepseek_ocr2", "text_config", {"n_shared_experts": 1, "mlp_bias": True}),
    ("deepseek_ocr2", None, {"tie_word_embeddings": True}),
]


def whole(kind, keys):
    """The configuration that the reference makes of some keys, its class, and its parameters."""
    config = AutoConfig.for_model(kind, **json.loads(json.dumps(keys)))
    named = {"florence2": "Florence2", "deepseek_ocr2": "DeepseekOcr2", "ernie4_5_vl_moe": "Ernie4_5_VLMoe"}[kind]
    with torch.device("meta"):
        model = getattr(transformers, f"{named}ForConditionalGeneration")(config)
    return config, f"{named}ForConditionalGeneration", total_of(model)


def total_of(model):
    return sum(each.numel() for each in {id(each): each for each in model.parameters()}.values())


def read(keys, kind, named):
    given = {"model_type": kind, "architectures": [named]} | json.loads(json.dumps(keys, default=str))
    return model_from(document_of(given, "config.json", kind))


def counted(model):
    return estimate(model, None, Options(context=16)).model.params.total


@pytest.mark.parametrize(("kind", "part", "changed"), [*((kind, None, {}) for kind in WHOLES), *CHANGED], ids=str)
def test_a_whole_model_with_parts_of_its_own_has_the_parameters_of_the_reference(kind, part, changed):
    keys = json.loads(json.dumps(WHOLES[kind]))
    (keys[part] if part else keys).update(changed)
    config, named, expected = whole(kind, keys)
    for given in (keys, config.to_dict()):  # as it is written by hand, and as it is saved
        model = read(given, kind, named)
        assert model.towers
        assert counted(model) == expected


def test_ernie_4_5_vl_28b_is_counted_whole_at_its_own_sizes():
    config, named, expected = whole("ernie4_5_vl_moe", {})
    assert counted(read(config.to_dict(), "ernie4_5_vl_moe", named)) == expected == 29_399_294_336


TIES = (
    "blip-2", "hunyuan_vl", "instructblip", "llama4", "mllama", "molmo2", "ovis2", "paddleocr_vl", "qwen2_audio",
    "step3p7", "voxtral", "llava", "gemma3", "qwen3_vl",
)  # fmt: skip


@pytest.mark.parametrize("kind", TIES)
def test_embeddings_of_a_wrapped_text_model_are_tied_as_the_reference_ties_them(kind):
    """Whatever the wrapper and the text model say: nothing, true or false."""
    for outside, inside in itertools.product((None, True, False), repeat=2):
        keys = config_of(kind).to_dict()
        parts = {key: keys[key] for key in ("text_config", part_of(kind)) if key in keys}
        for said, place in ((outside, keys), (inside, parts["text_config"])):
            place.pop("tie_word_embeddings", None)
            if said is not None:
                place["tie_word_embeddings"] = said
        config = AutoConfig.for_model(kind, **{name: each for name, each in keys.items() if name != "model_type"})
        model = reference(config)
        try:
            found = read(keys, kind, type(model).__name__)
        except InputError as refused:
            assert kind == "ovis2", refused
            assert outside is False
            continue
        assert counted(found) == total_of(model), (outside, inside)


# -- code that comes with the model -----------------------------------------------------------------------

OCR_TEXT = {
    "model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_size": 1280, "intermediate_size": 6848,
    "kv_lora_rank": None, "lm_head": True, "max_position_embeddings": 8192, "moe_intermediate_size": 896, "n_group": 1,
    "n_routed_experts": 64, "n_shared_experts": 2, "num_attention_heads": 10, "num_experts_per_tok": 6,
    "num_hidden_layers": 12, "num_key_value_heads": 10, "q_lora_rank": None, "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0, "rm_head": False, "topk_group": 1, "topk_method": "greedy", "use_mla": False,
    "v_head_dim": 0, "vocab_size": 129280,
}  # fmt: skip
OCR = {
    "tile_tag": "2D", "global_view_pos": "head", "language_config": OCR_TEXT,
    "projector_config": {"input_dim": 2048, "model_type": "mlp_projector", "n_embed": 1280, "projector_type": "linear"},
    "vision_config": {
        "image_size": 1024, "mlp_ratio": 3.7362, "model_name": "deeplip_b_l", "model_type": "vision",
        "width": {
            "clip-l-14-224": {"heads": 16, "image_size": 224, "layers": 24, "patch_size": 14, "width": 1024},
            "sam_vit_b": {
                "downsample_channels": [512, 1024], "global_attn_indexes": [2, 5, 8, 11], "heads": 12, "layers": 12,
                "width": 768,
            },
        },
    },
}  # fmt: skip
CLIP_PATCHES = 3 * 14 * 14 * 1024  # which DeepSeek-OCR's checkpoint has and the reference's class of its kin leaves out


def test_deepseek_ocr_has_the_parameters_and_the_flops_of_its_kin_in_the_reference():
    """Unlimited-OCR (arXiv 2606.23050) has the same encoders and the same text model, which sees a window besides."""
    config = AutoConfig.for_model("unlimited_ocr")
    with torch.device("meta"):
        kin = transformers.UnlimitedOcrForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    model = read(OCR, "deepseek_vl_v2", "DeepseekOCRForCausalLM")
    assert counted(model) == total_of(kin) + CLIP_PATCHES == 3_336_106_240
    flops = {}
    for side in (1024, 640):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            kin.model.vision_tower(torch.zeros(1, 3, side, side, device="meta"))
        flops[side] = counter.get_total_flops()
    (tower,) = model.towers
    for size, tiles in (((600, 600), 0), ((1700, 2200), 6)):
        tokens = tower.tokens(size)
        assert tokens.prompt == 16 * 17 + 1 + (30 * 21 if tiles else 0)  # of tiles two across and three down
        kernels = [each for each in tower.running(1, tokens, 2) if not each.name.endswith(".projector")]
        expected = flops[1024] + tiles * flops[640]
        # tables of positions are counted as long as those of the whole image, where tiles use fewer rows
        assert count_pass(kernels).flops(causal=False) == pytest.approx(expected, rel=0.001 if tiles else 1e-12)


@pytest.mark.parametrize("changed", [{"width": 3}, {"image_size": 640}, {"mlp_ratio": 4}, {"width": {"sam_vit_b": []}}])
def test_deepseek_ocr_of_other_sizes_than_its_code_builds_is_left_out(changed):
    model = read(OCR | {"vision_config": OCR["vision_config"] | changed}, "deepseek_vl_v2", "DeepseekOCRForCausalLM")
    assert not model.towers
    assert "says more than what its code builds" in model.counted


def test_what_minicpm_o_hears_is_whispers_encoder_and_its_projector():
    whisper = {"model_type": "whisper", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4}
    whisper |= {"encoder_ffn_dim": 128, "decoder_layers": 7, "max_length": 448}
    tower = {"hidden_size": 32, "image_size": 56, "intermediate_size": 48, "model_type": "siglip", "patch_size": 14}
    tower |= {"num_attention_heads": 4, "num_hidden_layers": 2}
    text = {"hidden_size": 256, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "vocab_size": 200, "max_position_embeddings": 64}
    keys = {"version": "2.6", "vision_config": tower, "audio_config": whisper, "tts_config": {"llm_dim": 256}} | text
    model = read(keys, "minicpmo", "MiniCPMO")
    _, ears = model.towers
    with torch.device("meta"):
        encoder = WhisperEncoder(WhisperConfig(**whisper))
    assert ears.params() == total_of(encoder) + 32 * 256 + 256 + 256 * 256 + 256
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 80, 3000, device="meta"))
    projected = 2 * 1500 * (32 * 256 + 256 * 256)  # each position, of which two are a token
    ours = count_pass(ears.running(1, ears.tokens((30.0,)), 2)).flops(causal=False)
    assert ours == counter.get_total_flops() + projected
    assert [ears.tokens((seconds,)).prompt for seconds in (1.01, 30.0, 70.0)] == [25, 750, 1750]
    assert ears.tokens((70.0,)).layers == (3, 1500)  # pieces of 30 seconds, the last one padded
    with pytest.raises(NotTakenError, match="shorter than one token"):
        ears.tokens((0.02,))
    strange = read(keys | {"audio_pool_step": 0}, "minicpmo", "MiniCPMO")
    assert "its audio_pool_step is not understood" in strange.counted
    assert model.counted.endswith("without the part that speaks")
    quiet = read(keys | {"init_tts": False}, "minicpmo", "MiniCPMO")
    assert "speaks" not in quiet.counted


@pytest.mark.parametrize("window", [3])
def test_got_ocr_sees_padded_windows_and_tables_of_positions_with_the_flops_of_the_reference(window):
    config = config_of("got_ocr2", {"window_size": window})
    (tower,) = towers(config)
    model = reference(config, "cpu")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = model.get_image_features(pixel_values=torch.zeros(1, 3, 128, 128))
    tokens = tower.tokens((500, 300))
    assert tokens.prompt == found.pooler_output.shape[1] == 4  # 8 patches a side, halved twice
    assert count_pass(tower.running(1, tokens, 2)).flops(causal=False) == counter.get_total_flops()
    assert SMALL["got_ocr2"]["window_size"] == 3
