"""What stands behind the layers, by the class that `architectures` names; and models that give no tokens.

Parameters are those of the reference classes of transformers, built on torch's meta device.
"""

import json

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from llmcost.ground.errors import InputError
from llmcost.serving.estimate import Options, estimate
from llmcost.specs.catalog import load_hardware
from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from

H100 = load_hardware("h100-sxm")
ENCODERS = [kind for kind in all_types() if architecture(kind).get("encoder")]
DECODERS = ["llama", "qwen3", "gpt2", "gemma2", "falcon", "bloom", "opt", "mixtral"]
CLASSES = (
    modeling_auto.MODEL_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
)
NAMED = [(kind, each[kind]) for kind in [*ENCODERS, *DECODERS] for each in CLASSES if kind in each]


def read(kind, name=None, **keys):
    config = {"model_type": kind} | keys | ({"architectures": [name]} if name else {})
    return model_from(document_of(config, "config.json", kind, None, json.dumps(config)))


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_a_named_class_counts_as_the_reference(kind, name):
    labels = 2 if name.endswith("QuestionAnswering") else 3  # where an answer begins and ends
    config = AutoConfig.for_model(kind, num_labels=labels)
    with torch.device("meta"):
        reference = getattr(transformers, name)(config)
    theirs = sum(each.numel() for each in {id(each): each for each in reference.parameters()}.values())
    spec = model_from(document_of(config.to_dict() | {"architectures": [name]}, "config.json", kind))
    assert estimate(spec, None, Options(context=8)).model.params.total == theirs
    assert not spec.generates


DEBERTA = {
    "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "position_buckets": 16, "relative_attention": True, "position_biased_input": False, "pos_att_type": "p2c|c2p",
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "max_relative_positions": -1, "type_vocab_size": 0,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"share_att_key": False},
        {"share_att_key": False, "pos_att_type": ["c2p"], "norm_rel_ebd": "none"},
        {"share_att_key": False, "pos_att_type": None},
        {"position_buckets": -1},
        {"position_buckets": -1, "max_relative_positions": 24},
        {"conv_kernel_size": 3, "conv_act": "gelu"},
        {"position_biased_input": True, "type_vocab_size": 2},
    ],
)
@pytest.mark.parametrize("ending", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"])
def test_deberta_counts_as_the_reference_whichever_way_it_scores_positions(changes, ending):
    """As v3 and v2 were released: shared projections of positions or their own, a convolution or none."""
    name, config = f"DebertaV2{ending}", AutoConfig.for_model("deberta-v2", num_labels=3, **DEBERTA | changes)
    with torch.device("meta"):
        reference = getattr(transformers, name)(config)
    spec = model_from(document_of(config.to_dict() | {"architectures": [name]}, "config.json", "deberta"))
    theirs = sum(each.numel() for each in {id(each): each for each in reference.parameters()}.values())
    assert estimate(spec, None, Options(context=8)).model.params.total == theirs


@pytest.mark.parametrize(
    "changes",
    [
        {"pos_att_type": "c2p|p2c"},
        {"pos_att_type": ["c2p"], "position_biased_input": True},
        {"pos_att_type": ["p2c"], "max_relative_positions": 24, "type_vocab_size": 2},
        {"pos_att_type": None, "legacy": False},
        {"pos_att_type": None, "relative_attention": False},
    ],
)
@pytest.mark.parametrize("ending", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering"])
def test_the_first_deberta_counts_as_the_reference(changes, ending):
    """It projects positions by layers of their own, and neither its keys nor their positions have a bias."""
    sizes = {key: DEBERTA[key] for key in DEBERTA if key not in ("position_buckets", "share_att_key", "norm_rel_ebd")}
    name, config = f"Deberta{ending}", AutoConfig.for_model("deberta", num_labels=2, **sizes | changes)
    with torch.device("meta"):
        reference = getattr(transformers, name)(config)
    spec = model_from(document_of(config.to_dict() | {"architectures": [name]}, "config.json", "deberta"))
    theirs = sum(each.numel() for each in {id(each): each for each in reference.parameters()}.values())
    assert estimate(spec, None, Options(context=8)).model.params.total == theirs
    if ending == "Model":
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            transformers.DebertaModel(config).eval().requires_grad_(requires_grad=False)(torch.full((2, 32), 3))
        assert estimate(spec, None, Options(batch=2, context=32)).flops.forward.full == counted.get_total_flops()


@pytest.mark.parametrize("changes", [{}, {"share_att_key": False}, {"conv_kernel_size": 3}])
def test_the_flops_of_deberta_are_those_that_torch_counts(changes):
    """Beside attention's: each layer projects 2·16 positions twice a batch, and scores them twice for every token."""
    config = AutoConfig.for_model("deberta-v2", num_labels=3, **DEBERTA | changes)
    spec = model_from(document_of(config.to_dict() | {"architectures": ["DebertaV2Model"]}, "config.json", "deberta"))
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        transformers.DebertaV2Model(config).eval()(torch.full((2, 32), 3))
    assert estimate(spec, None, Options(batch=2, context=32)).flops.forward.full == counted.get_total_flops()


def test_a_token_of_deberta_takes_no_share_of_the_positions_that_a_layer_projects_once_a_batch():
    """12 layers of v3-base, 512 tokens: 2·(4h² + 2·4h²) and two scores of 512 positions; 2·2·512·h² a batch."""
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    longer = {"position_buckets": 256, "max_position_embeddings": 512}
    spec = read("deberta-v2", "DebertaV2Model", **DEBERTA | base | longer)
    flops = estimate(spec, None, Options(context=512)).flops
    assert flops.per_token.linear == 12 * (24 * 768**2 + 2 * 2 * 512 * 768)
    assert flops.forward.full == 512 * flops.per_token.total + 12 * 2 * 2 * 512 * 768**2


def test_a_token_of_bigbird_sees_eight_blocks_as_an_encoder_and_all_before_it_as_a_decoder():
    """3 blocks of 64 around it, 3 at random, the first and the last, whose 128 tokens see all."""
    n = 4096
    encoder, decoder = (
        estimate(read("big_bird", name, **keys), None, Options(context=n)).flops
        for name, keys in (("BigBirdModel", {}), ("BigBirdForCausalLM", {"is_decoder": True}))
    )
    attended = 12 * 4 * 768 * ((n - 128) * 512 + 128 * n)
    products = 12 * n * 2 * 12 * 768**2 + 2 * 768**2  # and the pooler's
    assert encoder.forward.full == attended + products
    assert decoder.per_token.attention == 12 * 4 * 768 * n


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_an_encoder_has_no_cache_and_no_decode(kind):
    """BERT's 604 MB of cache at a batch of 32 were none of it: 0 bytes, and no rate of decode."""
    answer = estimate(read(kind), H100, Options(batch=32))
    assert (answer.kv_cache.bytes, answer.kv_cache.bytes_per_token, answer.memory.kv_cache_bytes) == (0, 0, 0)
    assert answer.decode.limit.tokens_per_s is answer.decode.expected.tokens_per_s is None
    assert answer.traffic.decode.total_bytes is None
    assert answer.flops.prefill.causal == answer.flops.prefill.full  # a token sees those after it too
    expected = answer.prefill.expected
    assert expected.sequences_per_s == pytest.approx(32 / expected.seconds)
    assert answer.prefill.limit.sequences_per_s >= expected.sequences_per_s > 0
    assert answer.memory.fits


def test_the_flops_of_an_encoder_are_those_of_its_products():
    """BERT base, 512 tokens: 12 layers of 2·(4h² + 2·4h²) a token, 4·s²·h of attention, a pooler of 2h² a sequence."""
    h, s, b = 768, 512, 4
    answer = estimate(read("bert", "BertModel"), None, Options(batch=b))
    assert answer.flops.forward.full == b * (12 * (2 * s * 12 * h * h + 4 * s * s * h) + 2 * h * h)


def test_a_batch_of_an_encoder_runs_at_once_and_is_limited_by_its_activations():
    """A token's worst kernel is the activation: 4h in and out of bf16, beside the residual stream."""
    one, many = (estimate(read("bert"), H100, Options(batch=b)).memory for b in (1, 64))
    assert many.activation_bytes == 64 * one.activation_bytes
    full = estimate(read("bert"), H100, Options(batch=many.max_batch)).memory
    assert full.fits
    assert full.total_bytes > 0.99 * full.usable_bytes


def test_a_bare_decoder_embeds_without_a_head_and_sees_what_came_before():
    bare, whole = (estimate(read("qwen3", name), H100, Options()) for name in ("Qwen3Model", "Qwen3ForCausalLM"))
    assert bare.model.params.lm_head == 0
    assert bare.model.params.total == whole.model.params.total - whole.model.params.lm_head
    assert bare.flops.prefill.causal < bare.flops.prefill.full
    assert bare.kv_cache.bytes == 0


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("bart", "BartModel", "behind its layers is not understood"),
        ("bert", "BertForNextSentencePrediction", "behind its layers is not understood"),
        ("llama", "LlamaForRewardModel", "what LlamaForRewardModel has behind its layers is not understood"),
        ("llama", 7, "architectures: expected a list of names"),
        ("bailing_hybrid", "BailingMoeV2_5ForCausalLM", "is another model than bailing_hybrid"),
    ],
)
def test_what_cannot_be_counted_exactly_is_refused(kind, name, words):
    with pytest.raises(InputError) as refused:
        read(kind, name)
    assert words in str(refused.value)


def test_the_decoder_of_an_encoder_decoder_is_counted_by_its_own_class():
    assert read("bart", "BartForCausalLM").generates
    assert read("bert", "BertLMHeadModel", is_decoder=True).generates
    assert read("chatglm", "ChatGLMModel", **CHATGLM).generates  # whose bare model has the LM head


CHATGLM = {
    "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4, "padded_vocab_size": 99, "ffn_hidden_size": 64,
    "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 16, "seq_length": 64,
    "add_bias_linear": False, "add_qkv_bias": True, "rmsnorm": True, "post_layer_norm": True,
}  # fmt: skip


@pytest.mark.parametrize("option", [("--output", 5), ("--concurrency", 2), ("--chunk", 64)])
def test_options_of_generation_are_refused(cli, tmp_path, option):
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "bert"}', "utf-8")
    answer = cli("estimate", file, "--hw", "h100", *option)
    assert (answer.code, answer.out) == (2, "")
    assert "gives no tokens" in answer.err
    planned = cli("plan", file, "--hw", "h100", "--gpus", 1, "--serve")
    assert planned.code == 2
    assert "gives no tokens" in planned.err


def test_the_page_of_an_encoder_has_sequences_and_neither_cache_nor_decode(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "bert", "architectures": ["BertModel"]}', "utf-8")
    page = cli("estimate", file, "--hw", "h100", "-b", 32)
    assert page.code == 0
    assert "sequences/s" in page.out
    assert not any(word in page.out.lower() for word in ("decode", "kv cache", "prefill"))
    for command in (("fit",), ("compare",), ("sweep",), ("ops",), ("train", "--gpus", 8), ("explain",)):
        answer = cli(command[0], file, "--hw", "h100", *command[1:])
        assert answer.code == 0
        assert ("none" in answer.out) >= (command[0] in ("fit", "compare"))  # of decode


@pytest.mark.parametrize(
    ("outside", "inside", "head"),
    [
        ("LlavaForConditionalGeneration", "LlamaForCausalLM", "lm"),
        ("LlavaForSequenceClassification", "LlamaForCausalLM", "sequence"),
        ("LlavaModel", None, "none"),
        ("LlavaModel", "LlamaForCausalLM", "lm"),
        ("InternVLChatModel", None, "lm"),
    ],
)
def test_the_head_of_a_text_model_is_the_wrappers_unless_a_part_alone_names_one(outside, inside, head):
    text = {"model_type": "llama", "architectures": inside and [inside]}
    config = {"model_type": "of_no_library", "architectures": [outside], "text_config": text}
    assert model_from(document_of(config, "config.json", "model")).head == head


def test_what_is_counted_names_the_other_parts_of_every_wrapper():
    inside = {"audio_config": {"layers": 1}, "text_config": {"model_type": "llama"}}
    spec = model_from(document_of({"vision_config": {"layers": 1}, "thinker_config": inside}, "config.json", "model"))
    without = "the text model alone, without the vision encoder and the audio encoder"
    assert spec.counted == f"{without} (of which type is not told)"


QWEN2 = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip


@pytest.mark.parametrize(("name", "labels"), [("Qwen2ForRewardModel", 1), ("Qwen2ForProcessRewardModel", 2)])
def test_a_reward_model_has_a_layer_of_its_width_before_its_labels(name, labels):
    """score of modeling_qwen2_rm.py: a linear layer of h x h, one of h x labels, both with biases; no LM head."""
    h = QWEN2["hidden_size"]
    bare, whole = (estimate(read("qwen2", each, **QWEN2), None, Options(context=64)) for each in ("Qwen2Model", name))
    added = h * h + h + h * labels + labels
    assert whole.model.params.total - bare.model.params.total == added
    places = 64 if labels == 2 else 1  # a step's reward stands at its end, anywhere in the sequence
    assert whole.flops.prefill.causal - bare.flops.prefill.causal == 2 * places * (h * h + h * labels)


LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip


def test_rewards_for_several_objectives_are_weighed_by_an_mlp():
    """RLHFlow/ArmoRM-Llama3-8B-v0.1: 19 rewards, their matrix, 4096 to 1024, twice 1024 to 1024, to 19; a scale."""
    name, keys = "LlamaForRewardModelWithGating", {"num_objectives": 19, "gating_temperature": 10}
    bare = estimate(read("llama", "LlamaModel", **LLAMA_8B), None, Options(context=64))
    whole = estimate(read("llama", name, **LLAMA_8B, **keys), None, Options(context=64))
    products = 4096 * 19 + 19 * 19 + 4096 * 1024 + 2 * 1024**2 + 1024 * 19
    assert whole.model.params.total - bare.model.params.total == products + 3 * 1024 + 19 + 1
    assert whole.flops.prefill.causal - bare.flops.prefill.causal == 2 * products
    one = estimate(read("llama", name, **LLAMA_8B, **keys, gating_n_hidden=1), None, Options(context=64))
    assert whole.model.params.total - one.model.params.total == 2 * (1024**2 + 1024)
    for wrong, message in (({}, "num_objectives: this key is missing"), ({"num_objectives": 0}, "above 0, got 0")):
        with pytest.raises(InputError, match=message):
            read("llama", name, **LLAMA_8B, **wrong)


def test_a_reranker_compares_what_two_layers_without_biases_make_of_a_state():
    """jinaai/jina-reranker-v3: Qwen3 0.6B and 1024 to 512 to 512; 596,836,352 by the hub's count of its tensors."""
    qwen = {
        "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
    }  # fmt: skip
    spec = read("qwen3", "JinaForRanking", **qwen)
    assert estimate(spec, None, Options(context=64)).model.params.total == 596_836_352
    assert not spec.generates


def test_adapters_of_tasks_are_stored_with_an_embedder():
    """jinaai/jina-embeddings-v3, five tasks of rank 4: 572,310,396 by the hub's count; 559,364,096 without them."""
    jina = {
        "vocab_size": 250002, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "intermediate_size": 4096, "max_position_embeddings": 8194, "type_vocab_size": 1, "pad_token_id": 1,
        "position_embedding_type": "rotary", "lora_rank": 4, "lora_alpha": 1, "use_reg_tokens": False,
    }  # fmt: skip
    tasks = ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"]
    for adapters, total in ((tasks, 572_310_396), (None, 559_364_096)):
        spec = read("xlm-roberta", "XLMRobertaModel", **jina, lora_adaptations=adapters)
        assert estimate(spec, None, Options(context=64)).model.params.total == total
        assert not spec.has_position_table
    with pytest.raises(InputError, match="lora_adaptations: adapters of tasks are counted in the bare model"):
        read("xlm-roberta", "XLMRobertaForMaskedLM", **jina, lora_adaptations=tasks)


def test_released_embedders_and_rerankers_have_the_parameters_of_their_sizes():
    """gte-multilingual-base and its reranker, jina-embeddings-v2-base-en, embeddinggemma-300m without dense layers.

    Added up by hand from their configs; the first has 305M by its card (huggingface.co/Alibaba-NLP).
    """
    h, i = 768, 3072
    layer = 4 * (h * h + h) + 2 * h * i + (i * h + h) + 4 * h  # attention, gate and up without biases, down, two norms
    pooler, gte = h * h + h, 250_048 * h + h + 2 * h + 12 * layer
    of_gemma = 2 * h * h + 2 * h * 256 + 3 * h * 1152 + 4 * h + 2 * 256  # one KV head of 256, four norms, two of heads
    new = {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
        "vocab_size": 250048, "max_position_embeddings": 8192, "type_vocab_size": 1, "pack_qkv": True,
        "position_embedding_type": "rope", "layer_norm_type": "layer_norm", "unpad_inputs": False,
    }  # fmt: skip
    one = {"id2label": {"0": "LABEL_0"}}
    jina = {"vocab_size": 30528, "position_embedding_type": "alibi", "feed_forward_type": "geglu"}
    gemma = {
        "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 24, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144, "use_bidirectional_attention": True,
        "sliding_window": 512,
    }  # fmt: skip
    listed = {
        gte: read("new", "NewModel", **new),
        gte - h: read("new", "NewModel", **new | {"type_vocab_size": 0}),  # as gte-base-en-v1.5 has it
        gte + pooler + h + 1: read("new", "NewForSequenceClassification", **new, **one),
        (30_528 + 2) * h + 2 * h + 12 * layer + pooler: read("bert", "JinaBertModel", **jina),
        262_144 * h + h + 24 * of_gemma: read("gemma3_text", "Gemma3TextModel", **gemma),
    }
    for total, model in listed.items():
        assert estimate(model, None, Options(context=64)).model.params.total == total
        assert not model.generates


QWEN3_EMBEDDING = {  # Qwen/Qwen3-Embedding-0.6B: 595,776,512 parameters by its listing
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151669, "max_position_embeddings": 32768, "tie_word_embeddings": True,
}  # fmt: skip


def test_an_embedder_whose_config_names_a_head_is_told_by_what_lies_beside_it_or_by_an_option(cli, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(QWEN3_EMBEDDING), "utf-8")
    said = [cli("estimate", str(file), "--as", "embedder", "--json")]
    (tmp_path / "modules.json").write_text("[]", "utf-8")
    said += [cli("estimate", str(tmp_path), "--json"), cli("estimate", str(tmp_path), "--as", "qwen3", "--json")]
    answers = [json.loads(each.out) for each in said]
    assert [each["model"]["params"]["total"] for each in answers] == [595_776_512] * 3
    assert [each["kv_cache"]["bytes"] > 0 for each in answers] == [False, False, True]
    assert [each["model"]["params"]["lm_head"] for each in answers][:2] == [0, 0]
    assert "its bare model is counted, without what Qwen3ForCausalLM has" in said[0].err
    for named, words in (
        (["Qwen3ForSequenceClassification"], "is no embedder's"),
        (None, "without what its class has"),
    ):
        file.write_text(json.dumps(QWEN3_EMBEDDING | {"architectures": named}), "utf-8")
        assert words in cli("estimate", str(file), "--as", "embedder").err


@pytest.mark.parametrize(
    ("dense", "words"),  # 1,025·256 parameters with a bias
    [
        ({"in_features": 1024, "out_features": 256, "bias": True}, "its 262,400 parameters are not counted"),
        ({"in_features": 1024, "out_features": 256, "bias": False}, "its 262,144 parameters are not counted"),
        ({"in_features": "many"}, "(2_Dense): not counted"),
        (None, "(2_Dense): not counted"),
    ],
)
def test_what_sentence_transformers_puts_behind_an_embedder_is_said_to_be_left_out(cli, tmp_path, dense, words):
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_EMBEDDING), "utf-8")
    (tmp_path / "modules.json").write_text(json.dumps(listed), "utf-8")
    if dense is not None:
        (tmp_path / "2_Dense").mkdir()
        (tmp_path / "2_Dense" / "config.json").write_text(json.dumps(dense), "utf-8")
    answer = cli("estimate", str(tmp_path))
    assert answer.code == 0
    assert words in " ".join(answer.err.split())
    assert "Pooling" not in answer.err
    for wrong in ("{}", "[1]", "["):
        (tmp_path / "modules.json").write_text(wrong, "utf-8")
        refused = cli("estimate", str(tmp_path))
        assert (refused.code, refused.out) == (2, "")
        assert "modules.json" in refused.err


def test_a_bare_decoder_whose_config_says_that_it_is_not_causal_sees_both_ways():
    """Alibaba-NLP/gte-Qwen2-7B-instruct."""
    whole, part = (estimate(read("qwen2", "Qwen2Model", is_causal=said), H100, Options()) for said in (False, True))
    assert whole.flops.prefill.causal == whole.flops.prefill.full > part.flops.prefill.causal


def test_a_token_of_embedding_gemma_sees_half_a_window_on_either_side():
    """sliding_window 512 becomes 257 tokens on one side, itself included: 513 in all."""
    both, before = (read("gemma3_text", "Gemma3TextModel", use_bidirectional_attention=each) for each in (True, False))
    assert both.bidirectional
    assert not before.bidirectional
    windows = [{layer.mixer.sliding_window for layer in model.layers} for model in (both, before)]
    assert 4096 // 2 * 2 + 1 in windows[0]
    assert 4096 in windows[1]


def test_nv_embed_looks_at_learned_vectors_behind_a_mistral_that_sees_both_ways():
    """nvidia/NV-Embed-v2's config.json and modeling_nvembed.py; its card has 7.85B parameters."""
    h, n, heads = 4096, 512, 8
    text = {
        "model_type": "bidir_mistral", "architectures": ["MistralModel"], "hidden_size": h, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "sliding_window": 4096, "vocab_size": 32000,
    }  # fmt: skip
    outside = {"hidden_size": h, "latent_attention_config": {"model_type": "latent_attention"}, "text_config": text}
    spec = read("nvembed", "NVEmbedModel", **outside, mask_type="b", padding_side="right", add_eos=True)
    inner = heads * h
    attention, mlp, norms = 4 * h * inner, 8 * h * h + 8 * h + 4 * h * h + h, 3 * 2 * h
    bare = estimate(read("mistral", "MistralModel", **text | {"model_type": "mistral"}), None, Options(context=64))
    found = estimate(spec, H100, Options(batch=4, context=64))
    assert found.model.params.total == bare.model.params.total + n * h + attention + mlp + norms == 7_851_016_192
    assert spec.bidirectional
    assert found.kv_cache.bytes == 0
    tokens = 4 * 64
    products = 2 * tokens * (2 * h * inner + 12 * h * h) + 2 * n * 2 * h * inner  # vectors are projected once a batch
    bare_batch = tokens * 2 * 32 * (2 * h * h + 2 * h * 1024 + 3 * h * 14336) + 32 * 4 * 4 * 64 * 64 * h
    assert found.flops.forward.full == bare_batch + products + 4 * tokens * n * inner


def test_what_is_the_same_for_any_batch_takes_no_memory_a_token():
    """DeBERTa v3 base: the activation of an MLP is the worst kernel, 2·3072 elements a token, and the stream of 768."""
    v3 = DEBERTA | {"vocab_size": 128_100, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    spec = read("deberta-v2", "DebertaV2Model", **v3 | {"intermediate_size": 3072, "position_buckets": 256})
    memory = estimate(spec, H100, Options(batch=32, context=64)).memory
    assert memory.activation_bytes == 32 * 64 * 2 * (2 * 3072 + 768)
