"""Types of configs that are refused, that are others in other keys, and the page that lists all of them."""

import json
from pathlib import Path

import pytest
import transformers
from config_defaults import defaults_of, wrappers
from small_configs import (
    COMPARED,
    FAMILIES,
    OTHER_FLOPS,
    OTHER_PARAMETERS,
    TEXT_MODELS,
    TYPES,
    WHY,
    as_saved,
    small_config,
    total,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from llmcost.ground.errors import InputError
from llmcost.specs.importer.architectures import architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS
from llmcost.specs.importer.towers import FAMILIES as TOWERS
from llmcost.specs.importer.wrappers import WRAPPERS
from llmcost.specs.models import model_from


def test_every_type_that_is_refused_has_a_reason():
    assert {kind for kind in TYPES if kind not in FAMILIES} - {*TEXT_MODELS} == WHY.keys()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in FAMILIES])
def test_a_type_that_is_not_understood_is_refused_by_name(kind):
    with pytest.raises(InputError, match=f"model_type: the architecture '{kind}' is not understood"):
        document_of({"model_type": kind, "hidden_size": 64}, "config.json", "refused")


LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 160,
}
# Released with code of their own: what they are in Llama's or another type's keys.
AS_OTHERS = {
    "internlm2": (
        {"bias": True, "num_key_value_heads": 2},
        "llama",
        {"attention_bias": True, "num_key_value_heads": 2},
    ),
    "baichuan": ({"model_max_length": 64, "tie_word_embeddings": False}, "llama", {"tie_word_embeddings": False}),
    "minicpm": ({"scale_emb": 12}, "llama", {"tie_word_embeddings": True}),
    "mimo": (
        {"attention_bias": True, "num_nextn_predict_layers": 1, "num_key_value_heads": 2},
        "qwen2",
        {"num_key_value_heads": 2},
    ),
    "qwen": (
        {"intermediate_size": 192, "kv_channels": 16, "no_bias": True, "seq_length": 64, "tie_word_embeddings": False},
        "qwen2",
        {"tie_word_embeddings": False, "num_key_value_heads": 4},
    ),
    "chatglm": (
        {
            "num_layers": 3,
            "ffn_hidden_size": 96,
            "padded_vocab_size": 160,
            "kv_channels": 16,
            "seq_length": 64,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "add_qkv_bias": True,
            "add_bias_linear": False,
            "rmsnorm": True,
        },
        "qwen2",
        {"tie_word_embeddings": False, "num_key_value_heads": 2},
    ),
}


@pytest.mark.parametrize("kind", AS_OTHERS)
def test_types_with_code_of_their_own_are_what_they_are_in_other_keys(kind):
    keys, other, others = AS_OTHERS[kind]
    ours, theirs = (
        model_from(document_of({"model_type": name, **LLAMA, **given}, "config.json", "x"))
        for name, given in ((kind, keys), (other, others))
    )
    assert ours.layers == theirs.layers
    assert total(ours) == total(theirs)


@pytest.mark.parametrize(
    "more",
    [{"num_local_experts": 8}, {"num_experts_per_tok": 2}, {"kv_lora_rank": 16}, {"q_lora_rank": 8}, {"v_head_dim": 8}],
)
def test_what_a_type_does_not_know_is_refused_and_never_silently_dense(more):
    with pytest.raises(InputError, match=next(iter(more))):
        document_of({"model_type": "llama", **LLAMA, **more}, "config.json", "x")


def test_wrappers_have_the_text_models_and_tie_embeddings_as_transformers_has_it():
    """The table is written by `python tests/config_defaults.py`."""
    assert json.loads(WRAPPERS.read_text("utf-8")) == wrappers()


def is_encoder(kind):
    return bool(architecture(kind).get("encoder"))


def of_both(kind):
    """What is known of a type that has an encoder and a decoder, in words."""
    if kind not in FAMILIES:
        return "refused"
    if "encoder_stack" in architecture(kind):
        return "exact"
    return "its decoder alone, as " + architecture(kind)["reference"]


def architectures_page():
    """docs/architectures.md: every type with what is known of it."""
    rows = []
    for kind in TYPES:
        if kind in TEXT_MODELS:
            status = "exact, the text model inside it" + ", and its towers" * (kind in TOWERS)
        elif kind in OTHER_PARAMETERS:
            status = f"counted otherwise: {OTHER_PARAMETERS[kind]}"
        elif kind in FAMILIES:
            differs = next((what for what, kinds in OTHER_FLOPS.items() if kind in kinds.split()), None)
            status = "exact" + (f"; FLOPs not compared, the reference computes {differs}" if differs else "")
        else:
            status = f"refused: {WHY[kind]}"
        rows.append(f"| {kind} | {status} |")
    both = sorted({*MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES})
    others = sorted(set(FAMILIES) - set(TYPES) - set(both))
    inside = {kind: text for kind, (text, *_) in json.loads(WRAPPERS.read_text("utf-8")).items() if kind not in TYPES}
    return "\n".join(
        [
            "# Architectures",
            "",
            f"Every causal language model type of transformers {transformers.__version__}, and how its `config.json`",
            "is read: *exact*, the parameters of its default configuration are the reference implementation's, to the",
            "last one; *refused*, with a message that names it.",
            f"{len(COMPARED) + len(TEXT_MODELS)} of {len(TYPES)} types are exact.",
            "Generated by `tests/specs/test_types.py`; `tests/specs/test_families.py` compares them.",
            "",
            "Read besides, as text models inside multimodal configs, under other names, or released with code of their",
            f"own: {', '.join(others)}.",
            "",
            "| causal model_type | |",
            "|---|---|",
            *rows,
            "",
            "Encoders are read as their `architectures` says, with a pooler, labels or the head for masked words",
            f"([conventions.md](conventions.md)): {', '.join(kind for kind in sorted(FAMILIES) if is_encoder(kind))}.",
            "",
            "Encoders with decoders ([conventions.md](conventions.md#encoders-with-decoders)): *exact*, the parameters",
            "of both stacks are the reference's; of the others what is read, or that they are refused.",
            "",
            "| encoder-decoder model_type | |",
            "|---|---|",
            *(f"| {kind} | {of_both(kind)} |" for kind in both if kind not in {*inside, *TEXT_MODELS}),
            "",
            "Of these multimodal types the text model inside is read, and counted as that type is. Their towers,",
            "which are encoders with projectors, are counted too ([conventions.md](conventions.md#images-and-sound)),",
            "or left out, which every answer says.",
            "",
            "| multimodal model_type | its text model | towers |",
            "|---|---|---|",
            *(
                f"| {kind} | {inside.get(kind, 'its own')} | {'counted' if kind in TOWERS else 'left out'} |"
                for kind in sorted({*(kind for kind, text in inside.items() if text in FAMILIES), *TOWERS})
            ),
            "",
        ]
    )


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_the_table_of_defaults_is_what_transformers_declares(kind):
    """It is written by `python tests/config_defaults.py`."""
    table = json.loads(DEFAULTS.read_text("utf-8"))
    assert table.keys() == FAMILIES.keys()
    assert table[kind] == json.loads(json.dumps(defaults_of(kind)))


def test_the_page_of_architectures_is_up_to_date(request):
    page = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
    if request.config.getoption("--update-snapshots"):
        page.write_text(architectures_page(), "utf-8")
    assert page.read_text("utf-8") == architectures_page()


@pytest.mark.parametrize("rows", [161, 10**6])
def test_more_rows_of_a_head_than_the_vocabulary_has_are_refused_by_their_key(rows):
    """Inkling 2's vocabulary of 160 has 150 that the head knows."""
    config = as_saved(small_config("inkling2_text"))
    assert config["unpadded_vocab_size"] < config["vocab_size"] == 160
    with pytest.raises(InputError, match=f"unpadded_vocab_size: {rows:,} rows of the head are more than the vocab"):
        document_of(config | {"unpadded_vocab_size": rows}, "config.json", "tested")
