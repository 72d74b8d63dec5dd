"""Encoders with decoders: parameters, FLOPs and caches are those of the reference implementation, or they are refused.

Default configurations and small ones are built on torch's meta device; small ones run on the CPU.
"""

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq
from transformers.modeling_outputs import MoeModelOutputWithPast

from llmcost.ground.errors import InputError
from llmcost.model.architecture import forward
from llmcost.model.counting import count_params, count_pass, kept_bytes
from llmcost.model.operators import Attention
from llmcost.model.sizes import Load, element_bytes
from llmcost.serving.batching import join
from llmcost.serving.estimate import Options, estimate
from llmcost.serving.launch import launch_of
from llmcost.serving.launch_figures import Asked
from llmcost.specs.catalog import load_engine, load_hardware
from llmcost.specs.importer.architectures import all_types, architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.models import model_from
from llmcost.training.options import Options as TrainingOptions
from llmcost.training.train import train

# Florence-2's text model has no type of its own in the reference: test_more_towers.py has it inside its whole.
INSIDE = ("florence2_language",)
KINDS = sorted(kind for kind in all_types() if "encoder_stack" in architecture(kind) and kind not in INSIDE)
BART = {
    "d_model": 64, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 8,
    "encoder_ffn_dim": 96, "decoder_ffn_dim": 80, "vocab_size": 160, "max_position_embeddings": 64,
}  # fmt: skip
T5 = {
    "d_model": 64, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 24, "d_ff": 96, "vocab_size": 160,
}  # fmt: skip
WHISPER = {
    **{key: size for key, size in BART.items() if key != "max_position_embeddings"},
    "max_source_positions": 32, "max_target_positions": 20, "num_mel_bins": 12,
}  # fmt: skip
SWITCH = T5 | {"num_layers": 4, "num_decoder_layers": 6, "num_experts": 8, "expert_capacity": 64}
LED = {**BART, "max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 64, "attention_window": 8}
del LED["max_position_embeddings"]
FSMT = {
    **{key: size for key, size in BART.items() if key != "vocab_size"},
    "src_vocab_size": 120,
    "tgt_vocab_size": 160,
}
GEMMA = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
    "vocab_size": 160, "max_position_embeddings": 64, "sliding_window": 64, "num_hidden_layers": 2,
}  # fmt: skip
BLOCKS = {**BART, "block_size": 4}
SIZES = {
    "whisper": WHISPER, "switch_transformers": SWITCH, "led": LED, "fsmt": FSMT, "t5gemma": GEMMA, "t5gemma2": GEMMA,
    "pegasus_x": BLOCKS | {"num_global_tokens": 6, "stagger_local_blocks": False},
    "bigbird_pegasus": BLOCKS | {"num_random_blocks": 1}, "longt5": T5 | {"local_radius": 3},
}  # fmt: skip
# Whose encoders see a neighbourhood alone: pairs that the reference computes beyond ours. Of 32 tokens LED scores 7
# chunks of 8 by 8 and weighs 8 of 4 by 12 where 9 keys a token count; LongT5 has 3 blocks of 4 where 7 do; BigBird's
# second block and the last but one see a block of 4 less than the others.
LOCAL = {
    "led": (7 * 8 * 8 + 8 * 4 * 12) / 2 - 32 * 9, "longt5": 32 * (3 * 4 - 7), "bigbird_pegasus": -2 * 4 * 4,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 2}
PROMPT, BATCH = 32, 2


def small(kind, **changes):
    sizes = sizes_of(kind) | SPECIAL | changes
    if kind == "t5gemma":  # whose encoder may be of another width
        wider = sizes | {"hidden_size": 2 * sizes["hidden_size"], "num_hidden_layers": 3}
        return AutoConfig.for_model(kind, encoder=wider, decoder=sizes)
    if kind == "t5gemma2":
        vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        encoder = {"text_config": sizes, "vision_config": vision | {"image_size": 56, "patch_size": 14}}
        return AutoConfig.for_model(kind, encoder=encoder | {"mm_tokens_per_image": 4}, decoder=sizes, **SPECIAL)
    return AutoConfig.for_model(kind, **sizes)


def sizes_of(kind):
    return SIZES.get(kind, T5 if "t5" in kind else BART)


def reference(config, device="meta"):
    of = AutoModelForSpeechSeq2Seq if config.model_type == "whisper" else AutoModelForSeq2SeqLM
    with torch.device(device):
        return of.from_config(config, attn_implementation="eager").eval()


def parameters(model):
    return sum(each.numel() for each in {id(each): each for each in model.parameters()}.values())


def imported(config, **keys):
    return model_from(document_of(config.to_dict() | keys, "config.json", "tested"))


def total(spec):
    return estimate(spec, None, Options(prompt=16, output=4)).model.params.total


def test_these_types_are_counted_with_their_encoders():
    assert {"t5", "mt5", "umt5", "bart", "mbart", "marian", "m2m_100", "pegasus", "whisper"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_configuration_counts_as_the_reference(kind):
    config = AutoConfig.for_model(kind)
    model = reference(config)
    assert total(imported(config, architectures=[type(model).__name__])) == parameters(model)
    assert total(model_from(document_of({"model_type": kind}, "config.json", "no key"))) == parameters(model)


ONE_BY_ONE = ("bart", "umt5", "whisper", "led", "switch_transformers")  # the others differ from these by their keys


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_configuration_with_any_size_changed_counts_as_the_reference(kind):
    sizes = sizes_of(kind)
    doubled = {key: 2 * size for key, size in sizes.items() if not isinstance(size, bool)}
    one_by_one = [{key: size} for key, size in doubled.items()] if kind in ONE_BY_ONE else []
    for changes in (doubled, *one_by_one):
        config = small(kind, **changes)
        assert total(imported(config)) == parameters(reference(config)), changes


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "gated-gelu", "gated-silu"])
def test_the_mlp_of_t5_is_gated_as_its_key_begins(kind, activation):
    config = small(kind, feed_forward_proj=activation)
    assert total(imported(config)) == parameters(reference(config))


def inputs(kind):
    if kind == "whisper":
        return {"input_features": torch.zeros(BATCH, 12, 2 * PROMPT)}
    return {"input_ids": torch.full((BATCH, PROMPT), 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_the_first_steps_and_the_cache_are_those_of_the_reference(kind):
    """A prompt is the encoder's; the decoder begins with one token, and each step is a token more."""
    config = small(kind)
    model, spec = reference(config, "cpu"), imported(config)
    token = torch.full((BATCH, 1), 3)
    with FlopCounterMode(display=False) as prompts, torch.no_grad():
        read = model.get_encoder()(**inputs(kind))
        found = model(encoder_outputs=read, decoder_input_ids=token, use_cache=True)
    cache = found.cache if "cache" in found else found.past_key_values
    sides = (cache.self_attention_cache, cache.cross_attention_cache)
    kept = sum(each.numel() * 4 for side in sides for layer in side.layers for each in (layer.keys, layer.values))
    ours = estimate(spec, None, Options(batch=BATCH, prompt=PROMPT, context=PROMPT, dtype="fp32"))
    inner = 4 * (24 if kind == "longt5" else 16)  # heads by their width
    more = 3 * BATCH * 2 * 2 * inner * LOCAL.get(kind, 0)  # in 3 layers, a score and a weighted value
    assert ours.flops.prefill.full + more == prompts.get_total_flops()
    assert ours.kv_cache.bytes == kept
    states = {"encoder_outputs": MoeModelOutputWithPast(found.encoder_last_hidden_state)}
    for generated in (1, 2):
        with FlopCounterMode(display=False) as step, torch.no_grad():
            model(**states, decoder_input_ids=token, cache=cache, use_cache=True)
        later = estimate(spec, None, Options(batch=BATCH, prompt=PROMPT, context=PROMPT + generated))
        assert later.flops.per_token.total * BATCH == step.get_total_flops()


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5"])
def test_the_encoder_of_t5_alone_embeds_without_a_cache(kind):
    """As text encoders of image models and embedding models are released: T5EncoderModel."""
    config = small(kind)
    name = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}[kind]
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    spec = imported(config, architectures=[name])
    answer = estimate(spec, None, Options(context=16))
    assert answer.model.params.total == parameters(model)
    assert (spec.generates, spec.encoder, answer.kv_cache.bytes) == (False, None, 0)


# Configs as they were released, keys that change no count left out.
RELEASED = {
    # https://huggingface.co/google/flan-t5-xl/blob/main/config.json
    "flan-t5-xl": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 5120, "d_kv": 64,
        "d_model": 2048, "feed_forward_proj": "gated-gelu", "n_positions": 512, "num_decoder_layers": 24,
        "num_heads": 32, "num_layers": 24, "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32, "tie_word_embeddings": False, "vocab_size": 32128,
    },
    # https://huggingface.co/google-t5/t5-base/blob/main/config.json
    "t5-base": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_ff": 3072, "d_kv": 64,
        "d_model": 768, "n_positions": 512, "num_heads": 12, "num_layers": 12, "output_past": True,
        "relative_attention_num_buckets": 32, "vocab_size": 32128,
    },
    # https://huggingface.co/openai/whisper-large-v3/blob/main/config.json
    "whisper-large-v3": {
        "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "d_model": 1280,
        "decoder_attention_heads": 20, "decoder_ffn_dim": 5120, "decoder_layers": 32,
        "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "encoder_layers": 32, "num_hidden_layers": 32,
        "num_mel_bins": 128, "vocab_size": 51866,
    },
    # https://huggingface.co/facebook/nllb-200-distilled-600M/blob/main/config.json
    "nllb-200-distilled-600M": {
        "model_type": "m2m_100", "architectures": ["M2M100ForConditionalGeneration"], "d_model": 1024,
        "max_position_embeddings": 1024, "num_hidden_layers": 12, "vocab_size": 256206,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_config_counts_as_the_reference_and_its_head_where_that_is_a_tensor_of_its_own(name):
    """The reference ties T5's embedding and head, whatever the config says; checkpoints that say so have both."""
    config = RELEASED[name]
    built = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "architectures"})
    own_head = config["vocab_size"] * config["d_model"] if config.get("tie_word_embeddings") is False else 0
    assert total(model_from(document_of(config, "config.json", name))) == parameters(reference(built)) + own_head


@pytest.mark.parametrize("kind", KINDS)
def test_two_gpus_hold_and_move_what_one_does_once(kind):
    spec = imported(small(kind))
    one, two = (estimate(spec, load_hardware("h100"), Options(prompt=16, output=4, tp=tp)) for tp in (1, 2))
    assert two.model.params == one.model.params
    assert one.memory.weights_bytes / 2 <= two.memory.weights_bytes <= one.memory.weights_bytes
    assert two.memory.kv_cache_least_bytes == one.memory.kv_cache_least_bytes / 2


def test_weights_that_a_decode_step_does_not_read_are_the_encoders_and_those_of_keys_and_values():
    spec = imported(small("bart"))
    size = element_bytes("bf16", "bf16", "bf16")
    prompt = forward(spec, size, Load(1, PROMPT, PROMPT)).operators()
    step = forward(spec, size, Load(1, 1, PROMPT + 1, decode=True, memory=PROMPT)).operators()
    read, encoder = count_pass(step).weight_bytes, [op for op in prompt if op.name.startswith("encoder.")]
    keys_and_values = [op for op in prompt if op.name == "cross_kv_proj"]
    embedded = 2 * 64 * 2  # rows of the tables of tokens and positions
    idle = [op for op in (*encoder, *keys_and_values) if not op.name.endswith("_embedding")]
    tables = 2 * (160 + 66) * 64  # of the decoder, of which a step looks up rows
    stored = sum(op.count * op.stored_bytes() for op in prompt)
    positions = 2 * 66 * 64  # of the encoder
    expected = stored - sum(op.count * op.stored_bytes() for op in idle) - positions - tables + embedded
    assert read == expected + 2 * 160 * 64  # the head is the embedding, read whole
    assert kept_bytes(step) == 2 * 2 * 2 * 64 * (PROMPT + 2)  # two layers, keys and values, prompt and two tokens


REFUSED = {
    "audio": ("whisper", Options(audio=31), "pieces of 30 seconds, each a sequence of its own"),
    "padding": ("whisper", Options(audio=30, prompt=16), "sound is padded to 30 seconds, 32 positions"),
    "chunk": ("bart", Options(prompt=16, chunk=8), "sees a whole prompt at once"),
    "prompt": ("bart", Options(prompt=65), "takes 1 to 64 positions"),
    "output": ("bart", Options(prompt=16, output=65), "takes 1 to 64 positions"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_an_encoder_cannot_do_is_refused(what):
    kind, options, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        estimate(imported(small(kind)), None, options)


def test_sound_of_30_seconds_is_whispers_whole_prompt():
    spec = imported(small("whisper"))
    assert estimate(spec, None, Options(audio=30)) == estimate(spec, None, Options())._replace(
        workload=estimate(spec, None, Options(audio=30)).workload
    )
    assert estimate(spec, None, Options(audio=12, output=5)).workload.prompt == 32


@pytest.mark.parametrize(
    ("options", "prompt", "generated"),
    [
        ({}, 32, 0),
        ({"output": 20}, 32, 20),
        ({"context": 52}, 32, 20),
        ({"context": 40, "output": 5}, 32, 8),
        ({"context": 30}, 30, 0),
        ({"prompt": 16, "output": 4}, 16, 4),
        ({"prompt": 16, "context": 36}, 16, 20),
    ],
)
def test_whisper_reads_up_to_its_encoders_positions_and_the_rest_of_a_context_is_its_decoders(
    options, prompt, generated
):
    w = estimate(imported(small("whisper")), None, Options(**options)).workload
    assert (w.prompt, w.context - w.prompt) == (prompt, generated)


def launched(kind, **options):
    spec, gpu = imported(small(kind)), load_hardware("h100")
    found = estimate(spec, gpu, Options(engine="vllm", **options))
    return launch_of(load_engine("vllm"), Asked(spec, gpu, found.workload, found.memory, "hub/model"))


def test_vllm_starts_whisper_with_the_decoders_length_and_no_encoder_of_text():
    assert "--max-model-len 20 " in launched("whisper").command
    assert "--max-model-len 5 " in launched("whisper", output=5).command
    assert "--max-model-len 12 " in launched("whisper", prompt=30, context=42).command
    assert "not known that it serves an encoder of text" in launched("t5").missing


def test_errors_of_other_models_do_not_stand_for_encoders_with_decoders():
    found = estimate(imported(small("t5")), load_hardware("h100"), Options())
    assert {(band.of, band.mean_error) for band in (found.accuracy.prefill, found.accuracy.decode)} == {
        ("encoders with decoders", None)
    }


def test_of_long_prompts_local_attention_grows_with_the_tokens_and_full_attention_with_their_square():
    """Each of n tokens sees 2r + 1 keys, and with summaries n/16 besides."""

    def attended(changes, tokens):
        spec = imported(small("longt5", local_radius=127, **changes))
        prompt = forward(spec, element_bytes("bf16", "bf16", "bf16"), Load(1, tokens, tokens)).operators()
        read = [op for op in prompt if isinstance(op, Attention) and op.name.startswith("encoder.")]
        return sum(op.count * op.pairs(causal=False) for op in read)

    n = 16_384
    assert attended({"encoder_attention_type": "local"}, n) == 3 * n * 255
    assert attended({"encoder_attention_type": "transient-global"}, n) == 3 * n * (255 + n // 16)


def test_an_encoder_and_a_decoder_of_merged_attention_have_one_width():
    config = small("t5gemma2").to_dict()
    config["encoder"]["text_config"]["hidden_size"] = 128
    with pytest.raises(InputError, match="hidden_size: the decoder's is 64"):
        model_from(document_of(config, "config.json", "tested"))


def test_training_and_another_head_are_refused():
    with pytest.raises(InputError, match="whose training is not counted"):
        train(imported(small("t5")), load_hardware("h100"), TrainingOptions(seq=16))
    with pytest.raises(InputError, match="BartForSequenceClassification has behind its layers is not understood"):
        imported(small("bart"), architectures=["BartForSequenceClassification"])


@pytest.mark.parametrize("kind", ["bart", "t5", "whisper"])
def test_a_step_of_a_mix_computes_what_its_prompts_and_its_tokens_do_apart(kind):
    """Kernels that both run are one; what decode only stores runs for the prompts."""
    spec, size = imported(small(kind)), element_bytes("bf16", "bf16", "bf16")
    prompts = forward(spec, size, Load(3, PROMPT, PROMPT)).operators()
    step = forward(spec, size, Load(5, 1, PROMPT + 4, decode=True, memory=PROMPT)).operators()
    both = list(join(step, prompts))
    apart, together = (count_pass(prompts), count_pass(step)), count_pass(both)
    assert together.flops(causal=False) == sum(each.flops(causal=False) for each in apart)
    assert together.cache_bytes == sum(each.cache_bytes for each in apart)
    assert count_params(both).total == count_params(prompts).total == count_params(step).total
