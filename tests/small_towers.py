"""Small multimodal models of every family whose towers are read, and the reference implementation of each."""

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoModelForMultimodalLM

from llmcost.model.towers import Tower, TowerOperator
from llmcost.specs.importer.towers import FAMILIES as EVERY_FAMILY
from llmcost.specs.importer.towers import towers_of

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "max_position_embeddings": 512, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OWN_TEXT = {
    "mllama": {"cross_attention_layers": [1]},
    "kimi_k25": {"num_key_value_heads": 4, "head_dim": 8, "q_lora_rank": 20, "kv_lora_rank": 28, "n_routed_experts": 8},
    "lfm2_vl": {"layer_types": ["conv", "full_attention"]},
    "lfm3_vl": {"layer_types": ["conv", "full_attention"]},
    "deepseek_vl_hybrid": {"num_key_value_heads": 4},
    "hunyuan_vl": {"head_dim": 16},
    "glm5_next": {"num_key_value_heads": 4},
    "inkling2": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "unpadded_vocab_size": 320,
        "n_layers_per_attn_res_block": 1,
    },
    "inkling2_loop": {
        "unpadded_vocab_size": 320,
        "n_layers_per_attn_res_block": 1,
        "num_hidden_layers": 3,
        "loop_layer_index_start": 1,
        "loop_layer_index_end": 2,
    },
    "cosmos3_edge": {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]}},
}
# A small tower of each family, which runs in milliseconds.
QWEN = {
    "depth": 3,
    "num_heads": 4,
    "patch_size": 4,
    "in_channels": 3,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
}
SIGLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_channels": 3,
}  # fmt: skip
GLM = {**QWEN, "hidden_size": 32, "intermediate_size": 40, "out_hidden_size": 64, "image_size": 32}
QWEN3 = {
    **QWEN, "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "num_position_embeddings": 16,
}  # fmt: skip
GEMMA4 = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 8,
}  # fmt: skip
MINICPM = {**SIGLIP, "image_size": 32, "patch_size": 4}
CLIP = {**SIGLIP, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 4}
PIXTRAL = {**SIGLIP, "model_type": "pixtral", "head_dim": 8, "image_size": 32, "patch_size": 4}
BLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 4,
}
QFORMER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "encoder_hidden_size": 32,
    "max_position_embeddings": 16,
}
SAM = {
    "hidden_size": 32, "num_hidden_layers": 4, "mlp_dim": 48, "num_attention_heads": 4, "image_size": 128,
    "patch_size": 16, "output_channels": 24, "window_size": 3, "global_attn_indexes": [1, 3],
}  # fmt: skip
SMALL = {
    "aria": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "deepseek_vl_hybrid": {**SIGLIP, "image_size": 64, "patch_size": 16},
    "glmga": GLM,
    "got_ocr2": SAM,
    "hunyuan_vl": {**SIGLIP, "patch_size": 4, "max_image_size": 32, "text_hidden_size": 64},
    "janus": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 4,
        "projection_dim": 64,
    },
    "molmo2": {**SIGLIP, "num_key_value_heads": 4, "head_dim": 8, "image_size": [32, 32], "patch_size": 4},
    "pp_chart2table": SAM,
    "video_llava": CLIP,
    "qwen2_vl": {**QWEN, "embed_dim": 32, "mlp_ratio": 2, "hidden_size": 64},
    "qwen2_5_vl": {
        **QWEN, "hidden_size": 32, "intermediate_size": 48, "window_size": 16, "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {**QWEN3, "deepstack_visual_indexes": [0, 1]},
    "qwen3_vl_moe": {**QWEN3, "deepstack_visual_indexes": [0, 1]},
    "qwen3_5": QWEN3,
    "qwen3_5_moe": QWEN3,
    "qwen4_exp": QWEN3,
    "gemma3": {
        **SIGLIP, "model_type": "siglip_vision_model", "image_size": 64, "patch_size": 4, "vision_use_head": False,
    },
    "paligemma": {**SIGLIP, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 4},
    "gemma4": {**GEMMA4, "patch_size": 4, "position_embedding_size": 30},
    "gemma4_unified": {"patch_size": 4, "mm_embed_dim": 40, "output_proj_dims": 40, "mm_posemb_size": 30},
    "llava": CLIP,
    "mllama": {
        "hidden_size": 32, "attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_global_layers": 2,
        "image_size": 32, "patch_size": 4, "intermediate_layers_indices": [0, 1], "vision_output_dim": 96,
        "max_num_tiles": 4, "num_channels": 3,
    },
    "llama4": {
        **SIGLIP, "intermediate_size": 128, "image_size": 32, "patch_size": 4, "projector_input_dim": 56,
        "projector_output_dim": 56, "vision_output_dim": 56,
    },
    "idefics3": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "smolvlm": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "mistral3": PIXTRAL,
    "mistral_large4": PIXTRAL,
    "internvl": {**SIGLIP, "image_size": [32, 32], "patch_size": [4, 4]},
    "glm4v": GLM,
    "glm4v_moe": GLM,
    "glm46v": GLM,
    "kimi_k25": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 4,
        "pos_emb_height": 8, "pos_emb_width": 8, "merge_kernel_size": [2, 2],
    },
    "lfm2_vl": {
        **SIGLIP, "model_type": "siglip2_vision_model", "patch_size": 4, "num_patches": 64, "vision_use_head": False,
    },
    "voxtral": {
        "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_mel_bins": 16,
    },
    "minicpmv4_6": MINICPM,
    "minicpmv4_7": MINICPM,
    "minicpm_ocr": MINICPM,
    "lfm3_vl": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "patch_size": 4,
    },
    "glmasr": {
        "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "num_mel_bins": 16,
    },
    "granite_speech": {
        "hidden_dim": 32, "num_layers": 2, "num_heads": 4, "dim_head": 8, "context_size": 20, "max_pos_emb": 24,
        "output_dim": 6, "input_dim": 12,
    },
    "qwen3_asr": {
        "d_model": 32, "encoder_ffn_dim": 48, "encoder_layers": 2, "encoder_attention_heads": 4, "num_mel_bins": 16,
        "output_dim": 64, "downsample_hidden_size": 24,
    },
    "aya_vision": {**SIGLIP, "image_size": 32, "patch_size": 4, "vision_use_head": False},
    "blip-2": BLIP,
    "cohere2_vision": {**SIGLIP, "image_size": 32, "patch_size": 4, "vision_use_head": False},
    "cosmos3_omni": {**QWEN3, "deepstack_visual_indexes": [0, 1]},
    "exaone4_5": {
        **QWEN, "hidden_size": 32, "intermediate_size": 48, "window_size": 16, "out_hidden_size": 64,
        "fullatt_block_indexes": [1], "num_key_value_heads": 2,
    },
    "glm_ocr": GLM,
    "hyperclovax_vision_v2": {
        **QWEN, "hidden_size": 32, "intermediate_size": 48, "window_size": 16, "out_hidden_size": 40,
        "fullatt_block_indexes": [1],
    },
    "idefics2": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "instructblip": BLIP,
    "instructblipvideo": BLIP,
    "minimax_m3_vl": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "ovis2": {**SIGLIP, "image_size": 32, "patch_size": 4, "vocab_size": 40},
    "paddleocr_vl": {**SIGLIP, "image_size": 32, "patch_size": 4},
    "qianfan_ocr": {**SIGLIP, "image_size": [32, 32], "patch_size": [4, 4]},
    "step3p7": {**SIGLIP, "image_size": 32, "patch_size": 4, "mlp_ratio": 1.5},
    "video_llama_3": {**SIGLIP, "patch_size": 4},
    "deepseek_vl": {**SIGLIP, "image_size": 32, "patch_size": 4, "vision_use_head": False},
    "lighton_ocr": PIXTRAL,
    "llava_next": CLIP,
    "llava_next_video": CLIP,
    "llava_onevision": {**SIGLIP, "image_size": 32, "patch_size": 4, "vision_use_head": False},
    "vipllava": {**CLIP, "num_hidden_layers": 12},
    "glm5_next": {**GLM, "projection_intermediate_size": 80},
    "cosmos3_edge": {**SIGLIP, "patch_size": 4, "num_patches": 64},
    "inkling2": {**SIGLIP, "patch_size": 4, "posemb_grid_size": 4, "projection_hidden_dim": 40, "text_hidden_size": 64},
    "inkling2_loop": {
        **SIGLIP, "patch_size": 4, "posemb_grid_size": 4, "projection_hidden_dim": 40, "text_hidden_size": 64,
    },
    "qwen2_audio": {
        "d_model": 32, "encoder_ffn_dim": 48, "encoder_layers": 2, "encoder_attention_heads": 4, "num_mel_bins": 16,
    },
}  # fmt: skip
WHOLE = {
    "cosmos3_edge": {"projector_hidden_size": 72},
    "deepseek_vl_hybrid": {"high_res_vision_config": SAM},
    "janus": {
        "vq_config": {"projection_dim": 64, "image_token_embed_dim": 64, "base_channels": 32, "num_embeddings": 50},
    },
    "molmo2": {
        "adapter_config": {
            "text_hidden_size": 64,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "intermediate_size": 40,
            "vision_feature_layer": [1, 0],
        },
    },
    "kimi_k25": {"projection_hidden_size": 32},
    "gemma3": {"mm_tokens_per_image": 16},
    "minicpmv4_6": {"insert_layer_id": 0},
    "minicpmv4_7": {"insert_layer_id": 0},
    "minicpm_ocr": {"insert_layer_id": 0},
    "lfm3_vl": {"projector_hidden_size": 40},
    "paligemma": {"projection_dim": 64},
    "blip-2": {"qformer_config": QFORMER},
    "granite_speech": {"projector_config": {**QFORMER, "model_type": "blip_2_qformer"}},
    "instructblip": {"qformer_config": QFORMER},
    "instructblipvideo": {"qformer_config": QFORMER},
    "idefics2": {
        "perceiver_config": {
            "hidden_size": 64,
            "resampler_n_latents": 6,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
    },
    "cohere2_vision": {"alignment_intermediate_size": 60},
    "minimax_m3_vl": {"projector_hidden_size": 40},
    "ovis2": {"hidden_size": 64},
    "llava_next": {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
    "llava_next_video": {"image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
    "llava_onevision": {"image_grid_pinpoints": [[32, 32], [32, 64], [64, 32], [64, 96]]},
}
HEARS = ("voxtral", "qwen2_audio", "glmasr", "granite_speech", "qwen3_asr")
OF_TWO = ("qwen2_5_omni", "qwen2_5_omni_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker")
OF_OWN_CODE = (
    "deepseek_vl_v2",
    "internvl_chat",
    "kimi_vl",
    "minicpmv",
    "minicpmo",
    "minimax_vl_01",
)  # which the reference does not have
AT_THE_TOP = ("git", "phi4_multimodal")  # whose text model is no part of the config: test_families.py has them
BESIDE_AN_ENCODER = ("t5gemma2",)  # Gemma 3's tower: test_encoder_decoders.py has it
PARTS_OF_PARTS = ("deepseek_ocr2", "ernie4_5_vl_moe", "florence2")  # test_more_towers.py has them
WITH_EARS = ("audioflamingo3", "granite_speech_plus", "musicflamingo")  # test_towers_that_hear.py has them
WITH_VOICES = ("csm", "moshi")  # test_speaking.py has them
OF_WHOLE_IMAGES = ("fuyu", "inkling_mm_model")  # test_towers_of_whole_images.py has them
OF_TIMM = ("fast_vlm",)  # whose encoder another library builds: test_towers_that_see.py has it
ELSEWHERE = (
    *OF_TWO,
    *OF_OWN_CODE,
    *AT_THE_TOP,
    *BESIDE_AN_ENCODER,
    *PARTS_OF_PARTS,
    *OF_TIMM,
    *OF_WHOLE_IMAGES,
    *WITH_EARS,
    *WITH_VOICES,
    "gemma3n",
)
FAMILIES = [kind for kind in EVERY_FAMILY if kind not in ELSEWHERE]


def part_of(kind):
    """The key of a config that a tower's sizes stand under."""
    return "encoder_config" if kind == "granite_speech" else "audio_config" if kind in HEARS else "vision_config"


def config_of(kind, tower=(), whole=()):
    """The configuration of a small model of a type, with other keys of its tower or of the whole."""
    part = part_of(kind)
    text = AutoConfig.for_model(kind).get_text_config().to_dict()
    given = {key: size for key, size in TEXT.items() if text.get(key) is not None}
    given |= {"model_type": text["model_type"]} | ({"layer_types": None} if text.get("layer_types") else {})
    given |= OWN_TEXT.get(kind, {})
    keys = {"text_config": given, part: SMALL[kind] | dict(tower)} | WHOLE.get(kind, {}) | dict(whole)
    return AutoConfig.for_model(kind, **keys)


def reference(config, device="meta"):
    kinds = (AutoModelForImageTextToText, AutoModelForMultimodalLM)
    with torch.device(device):
        found = next(each for each in kinds if type(config) in each._model_mapping)
        return found.from_config(config, attn_implementation="eager").eval()


def parameters(model, *, towers=False):
    """Those of a model, each once; of `towers`, all but the text model's."""
    named = [(name, each) for name, each in model.named_parameters() if not (towers and is_text(name))]
    return sum(each.numel() for each in {id(each): each for _, each in named}.values())


def is_text(name):
    return any(part in name for part in ("language_model", "text_model", "lm_head"))


def towers(config):
    found = towers_of(config.to_dict(), config.get_text_config().hidden_size)
    return [Tower(**each | {"operators": tuple(TowerOperator(**op) for op in each["operators"])}) for each in found]


def ours(config):
    return sum(tower.params() for tower in towers(config))


AUDIO = {
    "d_model": 32, "encoder_ffn_dim": 48, "encoder_layers": 2, "encoder_attention_heads": 4, "num_mel_bins": 16,
    "output_dim": 64,
}  # fmt: skip
OMNI = {
    "qwen2_5_omni_thinker": {"vision_config": SMALL["qwen2_5_vl"], "audio_config": AUDIO},
    "qwen3_omni_moe_thinker": {
        "vision_config": SMALL["qwen3_vl"], "audio_config": {**AUDIO, "downsample_hidden_size": 24},
    },
}  # fmt: skip


def omni(kind, **changed):
    text = AutoConfig.for_model(kind).get_text_config().to_dict()
    given = {key: size for key, size in TEXT.items() if text.get(key) is not None}
    parts = {part: keys | changed.get(part, {}) for part, keys in OMNI[kind].items()}
    given |= {"layer_types": None} if text.get("layer_types") else {}
    return AutoConfig.for_model(kind, text_config=given, **parts)
