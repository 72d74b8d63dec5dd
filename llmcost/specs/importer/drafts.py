"""Draft models, whose configs are told by their classes: the type that they are read as, and what their targets give.

EAGLE 1 and 2, EAGLE-3: github.com/SafeAILab/EAGLE, eagle/model/cnets1.py and cnets.py; github.com/sgl-project/sglang,
python/sglang/srt/models/llama_eagle.py and llama_eagle3.py. DFlash: github.com/z-lab/dflash, dflash/model.py.
EAGLE-3 as speculators writes it: github.com/vllm-project/speculators; vllm/transformers_utils/configs/speculators.
"""

from __future__ import annotations

from typing import Any

CLASSES = {
    "LlamaForCausalLMEagle": "eagle",
    "EagleLlamaForCausalLM": "eagle",
    "LlamaForCausalLMEagle3": "eagle3",
    "Eagle3LlamaForCausalLM": "eagle3",
    "Eagle3Speculator": "eagle3",
    "Eagle3DraftModel": "eagle3",
    "DFlashDraftModel": "dflash",
}
LAYER = "transformer_layer_config"  # where speculators' configs have the sizes of a draft's layers
# Keys of such a config besides, which change no count.
OF_SPECULATORS = (
    "speculators_config", "speculators_model_type", "speculators_version", "norm_before_residual", "norm_before_fc",
    "embed_requires_grad", "eagle_aux_hidden_state_layer_ids",
)  # fmt: skip
LAYERS_SEEN = 3  # of the target, by EAGLE-3


def as_draft(config: dict[str, Any]) -> dict[str, Any] | None:
    """The config of a draft model by the type that it is read as; None for any other, and for sizes that are none."""
    named = config.get("architectures")
    kind = CLASSES.get(named[0]) if isinstance(named, list) and named and isinstance(named[0], str) else None
    if kind is None:
        return None
    if isinstance(layer := config.get(LAYER), dict):
        config = layer | {key: said for key, said in config.items() if key not in (LAYER, *OF_SPECULATORS)}
    own = config.get("dflash_config") or {}
    layers = own.get("target_layer_ids", config.get("target_layer_ids")) if isinstance(own, dict) else None
    seen = {
        "eagle": 2,  # its embedding and its last state
        "eagle3": LAYERS_SEEN,
        "dflash": len(layers) if isinstance(layers, list) else config.get("num_hidden_layers"),
    }[kind]
    wide = config.get("target_hidden_size") or config.get("hidden_size")
    if not isinstance(seen, int) or not isinstance(wide, int):
        return None
    given = {"target_states_size": seen * wide, "architectures": [f"{kind.title()}ForCausalLM"]}
    if kind == "eagle3":
        given["draft_vocab_size"] = config.get("draft_vocab_size") or config.get("vocab_size")
    return config | {"model_type": kind} | given
