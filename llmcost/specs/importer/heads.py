"""What stands behind a model's layers, by the class that a config names: an LM head, labels, or nothing."""

from __future__ import annotations

import re
from typing import Any

from llmcost.specs.importer.keys import Keys

# What the name of a class says of what stands behind the layers: logits of the vocabulary, or one of the other heads.
GENERATES = ("CausalLM", "LMHead", "ConditionalGeneration", "ChatModel")  # InternVLChatModel
HEADS = {
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
    "ForQuestionAnswering": "token",
    "Model": "none",
}
# Classes of code that comes with reward models: labels of a sequence or of each token, how many, whether they have a
# bias, and a linear layer of the hidden size before them. Qwen/Qwen2.5-Math-RM-72B and Qwen2.5-Math-PRM-7B,
# modeling_qwen2_rm.py (vLLM: vllm/model_executor/models/qwen2_rm.py); internlm/internlm2-7b-reward
# (github.com/sgl-project/sglang, python/sglang/srt/models/internlm2_reward.py).
REWARDS = {
    "Qwen2ForRewardModel": {"head": "sequence", "num_labels": 1, "label_bias": True, "pooler": True},
    "Qwen2ForProcessRewardModel": {"head": "token", "num_labels": 2, "label_bias": True, "pooler": True},
    "InternLM2ForRewardModel": {"head": "sequence", "num_labels": 1, "label_bias": False, "pooler": None},
}
DRAFT = re.compile("Draft|Eagle|Medusa|Specul|MTP|DFlash|DSpark")  # of classes that guess for another model
RERANKED_SIZE = 512  # of what JinaForRanking compares (huggingface.co/jinaai/jina-reranker-v3, modeling.py)


def head_of(keys: Keys, named: Any) -> dict[str, Any]:
    """What stands behind the layers, and whether tokens see those after them, by the class that `architectures` names.

    Without one, an encoder has the head that its training fills masked words with, and all else an LM head. Raises
    SpecError for a class whose head is not known.
    """
    said = (named[0] if isinstance(named, list) and named else None) or ""
    encoder, is_decoder = bool(keys.family.get("encoder")), bool(keys.given.get("is_decoder"))
    if not isinstance(said, str):
        raise keys.error("architectures", "expected a list of names")
    if said in keys.family.get("other_classes", ()):
        raise keys.error("architectures", f"{said} is another model than {keys.type}, and is not understood")
    if DRAFT.search(said) and not keys.family.get("target_states_size"):
        raise keys.error("architectures", f"{said[:60]} is a draft of another model, of a kind that is not understood")
    both_ways = keys.trait("bidirectional") or None
    if said in REWARDS or said in OWN_CODE:
        head = REWARDS[said] if said in REWARDS else OWN_CODE[said](keys)
        return head | {"tie_word_embeddings": False, "bidirectional": None}
    if keys.get("lora_adaptations") and not (said.endswith("Model") and keys.family.get("task_adapters")):
        raise keys.error("lora_adaptations", "adapters of tasks are counted in the bare model of Jina 3 alone")
    # ChatGLM's bare model has the LM head.
    named_so = said.startswith("ChatGLM") or any(word in said for word in GENERATES)
    generates = named_so or (said == keys.family.get("reference") and not said.endswith("ForMaskedLM"))
    if keys.family.get("encoder_decoder") and "CausalLM" not in said:
        return of_both(keys, said)
    if generates or not said or (encoder and said.endswith("ForMaskedLM")):
        return {"bidirectional": (encoder and not is_decoder and not generates) or both_ways}
    sees_all = keys.get("is_causal") is False  # GTE-Qwen2 and its kin
    return with_labels(keys, said, encoder=encoder, both_ways=encoder or both_ways or sees_all or None)


def with_labels(keys: Keys, said: str, *, encoder: bool, both_ways: Any) -> dict[str, Any]:
    """What stands behind the layers of a class that has labels, or nothing. Raises SpecError if it is not known."""
    bare = not re.search("For[A-Z]", said)  # *ForRewardModel has a head
    ending = next((each for each in HEADS if said.endswith(each) and (bare or each != "Model")), None)
    if ending is None or (encoder and keys.given.get("is_decoder")):
        classes = f"*ForCausalLM, {'*ForMaskedLM, ' * encoder}{', '.join(f'*{each}' for each in HEADS)}"
        raise keys.error("architectures", f"what {said[:60]} has behind its layers is not understood, unlike {classes}")
    kind = HEADS[ending]
    transform = keys.family.get("label_transform") and kind != "none"
    if transform and (not encoder or keys.get("norm_bias") or keys.get("classifier_bias")):
        raise keys.error("architectures", f"{said[:60]} has a transform before its labels, which is not counted")
    found = {"bidirectional": both_ways, "head": kind, "pooler": None, "tie_word_embeddings": False}
    found |= {"head_size": None, "head_transform": None, "lm_head_bias": None}
    if encoder:  # a dense layer on the first token, before labels of sequences as in the bare model
        pools = kind == "sequence" or (kind == "none" and bool(keys.family.get("pools")))
        found["pooler"] = pools or bool(transform) or None
    if kind == "none":
        return found | {"idle_pooler": None}
    if ending == "ForQuestionAnswering" and keys.trait("idle_pooler"):  # BigBird's, without a pooler
        found |= {"idle_pooler": None, "answer_mlp_size": keys.number("intermediate_size"), "num_labels": 2}
        return found | {"label_bias": True}
    return found | {"num_labels": _labels(keys, ending, encoder=encoder), "label_bias": encoder or kind == "token"}


def _gated_rewards(keys: Keys) -> dict[str, Any]:
    """ArmoRM's rewards, one an objective, and the MLP that weighs them, by the keys of its own code."""
    objectives, width, depth = (
        _above_0(keys, name, usual)
        for name, usual in (("num_objectives", None), ("gating_hidden_dim", 1024), ("gating_n_hidden", 3))
    )
    keys.get("gating_temperature")
    gates = {"reward_objectives": objectives, "gate_hidden_size": width, "gate_inner_layers": depth - 1 or None}
    return gates | {"head": "sequence", "num_labels": objectives, "pooler": None}


def _above_0(keys: Keys, name: str, usual: int | None) -> int:
    value = keys.get(name) if name in keys.given else usual
    if value is None:
        raise keys.error(name, "this key is missing")
    if type(value) is not int or value < 1:
        raise keys.error(name, f"expected a whole number above 0, got {str(value)[:40]}")
    return value


def _reranked(keys: Keys) -> dict[str, Any]:
    """Jina 3's reranker: two linear layers without biases on what stands for a document."""
    size = keys.number("hidden_size") // 2
    return {"head": "sequence", "pooler": None, "pooler_size": size, "num_labels": RERANKED_SIZE}


# Classes of code that comes with models, whose head depends on the config.
OWN_CODE = {"LlamaForRewardModelWithGating": _gated_rewards, "JinaForRanking": _reranked}


def _labels(keys: Keys, ending: str, *, encoder: bool) -> Any:
    """How many labels: as the config says, two where it says nothing."""
    if ending == "ForQuestionAnswering" and not encoder:
        return 2  # where an answer begins, and where it ends
    names = keys.given.get("id2label")
    return keys.given.get("num_labels", len(names) if isinstance(names, dict) else 2)


def of_both(keys: Keys, said: str) -> dict[str, Any]:
    """What stands behind the layers of an encoder-decoder: an LM head. Raises SpecError for a class with another."""
    if said and not any(word in said for word in ("ConditionalGeneration", "MTModel")):  # MarianMTModel
        known = "*ForConditionalGeneration and *ForCausalLM"
        raise keys.error("architectures", f"what {said[:60]} has behind its layers is not understood, unlike {known}")
    return {}
