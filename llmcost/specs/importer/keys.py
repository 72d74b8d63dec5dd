"""The keys of one Hugging Face config: by which names they are read, and which are left over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from llmcost.ground.errors import SpecError
from llmcost.specs.importer.families import FAMILIES, Family
from llmcost.specs.json_text import line_of
from llmcost.specs.reader import Key

LARGEST = 10**9
DEFAULTS = Path(__file__).with_name("defaults.json")  # model_type -> its config's defaults, for keys left out
# A spec's field -> the names it goes by in configs.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": (
        "num_attention_heads",
        "n_head",
        "n_heads",
        "num_heads",
        "attention_heads",
        "decoder_attention_heads",
    ),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dff", "decoder_ffn_dim"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "model_max_length",
    ),
    "tie_word_embeddings": ("tie_word_embeddings",),
    "sliding_window": ("sliding_window", "window_size", "attention_window_size"),
    "attention_chunk_size": ("attention_chunk_size",),
    "q_lora_rank": ("q_lora_rank",),
    "kv_lora_rank": ("kv_lora_rank",),
    "qk_nope_head_dim": ("qk_nope_head_dim",),
    "qk_rope_head_dim": ("qk_rope_head_dim",),
    "v_head_dim": ("v_head_dim",),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
    "num_experts_per_tok": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "experts_per_token",
        "moe_topk",
        "moe_k",
        "top_k_experts",
    ),
    "moe_intermediate_size": ("moe_intermediate_size",),
}
# Keys that change no count of parameters, FLOPs or bytes.
HARMLESS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _from_model_config _name_or_path _num_labels activation activation_dropout
    activation_function activation_sparsity_pattern afn alibi_bias_max altup_active_idx altup_coef_clip altup_correct_scale
    apply_residual_connection_post_layernorm architectures attention_dropout attention_in_multiplier attention_multiplier
    attention_out_multiplier attention_probs_dropout_prob attention_softmax_in_fp32 attn_impl attn_implementation attn_logit_softcapping
    attn_pdrop attn_scale attn_temperature_tuning attn_uses_sequence_id auto_map aux_loss_alpha bad_words_ids begin_suppress_tokens
    beta_fast beta_slow bias_dropout_fusion block_size bos_index bos_token_id cache_implementation causal chunk_size
    chunk_size_feed_forward classifier_dropout clip_qkv compress_rope_theta cross_attention_hidden_size decoder_layerdrop
    decoder_start_token_id directionality diversity_penalty do_sample dropout dropout_p dtype early_stopping emb_pdrop
    embd_pdrop embed_dropout embed_init_std embedding_dropout embedding_initializer_range embedding_multiplier encoder_layerdrop
    encoder_no_repeat_ngram_size end_n_top eos_index eos_token_id ep_size eps exponential_decay_length_penalty
    final_logit_softcapping final_w_init_variance_scale finetuning_task floor_scale forced_bos_token_id forced_decoder_ids
    forced_eos_token_id from_tf full_attn_alpha_factor full_attn_beta_factor full_attn_mod gelu_activation
    gradient_checkpointing hc_eps hc_sinkhorn_iters hidden_act hidden_activation hidden_dropout hidden_dropout_prob id2label
    id2lang index_share_for_mtp_iteration indexer_rope_interleave init_device init_std initial_context_length initializer_factor
    initializer_range input_jitter_noise is_decoder is_encoder_decoder kda_lower_bound kda_safe_gate key_multiplier label2id lang2id lang_id
    layer_norm_eps layer_norm_epsilon layer_rope_theta layerdrop length_penalty linear_a_log_max linear_a_log_min
    linear_allow_neg_eigval linear_attn_alpha_factor linear_attn_beta_factor linear_dt_init_floor linear_dt_max linear_dt_min
    lm_head_multiplier logit_scale logits_scaling logits_soft_cap mamba_chunk_size mamba_hidden_act mamba_norm_before_gate
    mask_index mask_token_id masked_softmax_fusion max_length max_vocab min_length mlp_alpha_factor mlp_beta_factor
    mlp_hidden_act mlp_multipliers model_max_length model_type moe_renormalize moe_router_activation_func moe_router_dtype
    moe_shared_expert_overlap mscale mscale_all_dim mtp_loss_scaling_factor n_ctx n_group n_special no_repeat_ngram_size
    no_rope_layer_interval no_rope_layers norm_eps norm_topk_prob num_beam_groups num_beams num_expert_group num_labels
    num_logits_to_keep num_return_sequences offset_alibi original_max_position_embeddings output_attentions output_gate_type
    output_hidden_states output_past output_router_logits output_scores pad_index pad_token_id partial_rotary_factor
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type predict_special_tokens
    prefix prefix_lm pretraining_tp problem_type pruned_heads query_pre_attn_scalar remove_invalid_values
    reorder_and_upcast_attn repetition_penalty replacing_rate rescale_embeddings rescale_prenorm_residual resid_dropout
    resid_pdrop residual_dropout residual_in_fp32 residual_multiplier return_dict return_dict_in_generate rms_norm_eps
    rope_interleave rope_local_base_freq rope_parameters rope_scaling rope_theta rotary rotary_base rotary_dim rotary_emb_base
    rotary_pct rotary_scaling_factor routed_scaling_factor router_aux_loss_coef router_dtype router_jitter_noise
    scale_attn_by_inverse_layer_idx scale_attn_weights scale_embedding scoring_func sep_token_id seq_aux skip_bias_add
    skip_bias_add_qkv slow_but_exact softmax_scale ssm_in_multiplier ssm_multipliers ssm_out_multiplier start_n_top
    student_decoder_layers student_encoder_layers summary_activation summary_first_dropout summary_last_dropout
    summary_proj_to_labels summary_type summary_use_proj suppress_tokens swa_rope_theta swiglu_alpha swiglu_limit
    task_specific_params temperature tf_legacy_loss time_step_floor time_step_init_scheme time_step_limit time_step_max
    time_step_min time_step_scale tokenizer_class top_k top_p topk_group topk_method torch_dtype torchscript
    transformers_version type_vocab_size typical_p unk_index unk_token_id use_associative_scan use_bfloat16 use_cache
    use_falcon_mambapy use_grouped_topk use_mamba_kernels use_mambapy use_mrope w_init_variance_scale xla_device
    z_loss_coefficient
    """.split()  # noqa: SIM905 - a hundred words read better than a hundred strings
)
# Keys that change no count at this value.
NEUTRAL: dict[str, Any] = {
    "add_cross_attention": False,
    "norm_bias": True,
    "position_embedding_type": "absolute",
    "rotary": True,
    "attention_method": "MLA",
    "use_bidirectional_attention": "vision",
    "moe_layer_freq": 1,
    "zero_expert_type": "identity",
}
OTHER_PARTS = ("vision_config", "audio_config", "speech_config")
# Layers of multi-token prediction, by any name.
DRAFTS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_layers", "mtp_num_hidden_layers", "num_mtp_modules")
# The keys that may list every layer's type, and words that they were written in before.
LAYER_LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern")
FORMER_WORDS = {
    "mamba": "linear_attention",
    "attention": "full_attention",
    "M": "linear_attention",
    "*": "full_attention",
    "E": "moe",
    "-": "mlp",
    "deepseek_sparse_attention": "indexed_attention",
}


class Keys:
    """One config while it is read: which keys were asked for, which are left over."""

    def __init__(
        self, config: dict[str, Any], file: str, kind: str | None = None, text: str = "", place: tuple[str, ...] = ()
    ) -> None:
        self.file, self.text, self.place = (
            file,
            text,
            place,
        )  # the place of these keys in the text: ("text_config",) or the top
        self.type = kind or config.get("model_type")
        if not isinstance(self.type, str) or self.type not in FAMILIES:
            problem = f"the architecture {self.type!r} is not understood" if self.type else "this key is missing"
            raise self.error("model_type", problem)
        self.family: Family = FAMILIES[self.type]
        self.defaults: dict[str, Any] = json.loads(DEFAULTS.read_text("utf-8"))[self.type] | self.family.get(
            "defaults", {}
        )
        self.given = self._flat(config)
        self.own: dict[str, Any] = {}  # what the config says of the layer that is being read alone
        self.asked: set[str] = {*LAYER_LISTS, "mlp_layer_types", *self.family.get("unused", "").split()}
        for key in self.family.get("never_zero", "").split():
            if self.given.get(key) == 0:
                raise self.error(key, "must be above 0, got 0")

    def error(self, key: str, problem: str) -> SpecError:
        """A problem with one key."""
        return SpecError(self.file, line_of(self.text, (*self.place, *key.split("."))), key, problem)

    def origin(self, path: tuple[Key, ...]) -> tuple[str, int]:
        """The key that a spec's field was read from, and its line."""
        field = next((key for key in reversed(path) if isinstance(key, str)), "")
        said = [traits.get(field) for traits in (self.family, *self.family.get("words", {}).values())]
        named = [word[1:] for word in said if isinstance(word, str) and word.startswith("=")]
        elsewhere = {
            "moe_intermediate_size": "expert_size",
            "shared_expert_intermediate_size": "shared",
        }  # keys of experts' sizes
        named += [
            str(traits[elsewhere[field]]).removeprefix("size:")
            for traits in (self.family,)
            if elsewhere.get(field) in traits
        ]
        names = self.names(field) if field in SYNONYMS else ()
        key = next((key for key in (*named, *names) if key in self.given), field)
        return key, line_of(self.text, (*self.place, key))

    def get(self, key: str) -> Any:
        """The value of a key, or the type's default."""
        outer, _, inner = key.partition(".")
        if inner and outer != self.family.get("inner"):
            value = self.get(outer)
            return value.get(inner) if isinstance(value, dict) else None
        self.asked.add(key)
        value = self.own.get(key, self.given.get(key, self.defaults.get(key)))
        return None if value == "auto" else value

    def names(self, field: str) -> tuple[str, ...]:
        """The keys that may hold a spec's field."""
        names: tuple[str, ...] = self.family.get("names", {}).get(field, SYNONYMS[field])
        return names

    def field(self, name: str) -> Any:
        """A spec's field under whichever name this config has it; the family may say which."""
        keys = self.names(name)
        named = [
            key for key in keys if self.defaults.get(key) is not None
        ]  # where the type has a name, another would go unread
        for place in (self.own, self.given):
            for key in named or keys:
                if key in place:
                    self.asked.update(keys)
                    return place[key]
        return self.get(named[0]) if named else None

    def number(self, name: str) -> int:
        """A whole number that must be there."""
        value = self.field(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problem = (
                "this key is missing" if value is None else f"expected a whole number above 0, got {str(value)[:40]}"
            )
            raise self.error(next((key for key in self.names(name) if key in self.given), self.names(name)[0]), problem)
        return value

    def whole(self, key: str, default: int = 0) -> int:
        """A whole number, or the default where the key is not there."""
        value = self.get(key)
        if value is not None and (not isinstance(value, int) or not 0 <= value < LARGEST):
            raise self.error(key, f"expected a whole number, got {str(value)[:40]}")
        return default if value is None else value

    def trait(self, name: str, plain: Any = None) -> Any:
        """What the family says of a field, with the config looked into where it says so."""
        return self.value(self.family.get(name, plain))

    def value(self, said: Any) -> Any:
        """What an entry of a family's says, with the config looked into."""
        if isinstance(said, tuple):
            test, then, otherwise = said
            key, _, word = test.partition("=")
            return self.value(then if (str(self.get(key)) == word if word else self.get(key)) else otherwise)
        if not isinstance(said, str) or not said.startswith("="):
            return said
        if said.startswith("=#"):
            found = self.get(said[2:])
            return len({str(each) for each in found}) if isinstance(found, list) else None
        return self._computed(said[1:]) if re.search(r"[-*/+]", said) else self.get(said[1:])

    def listed(self, key: str, depth: int | None = None) -> list[Any] | None:
        """A list with an entry a layer, if the config itself has it, under this name or another, by today's words."""
        other, words = self.family.get("lists", {}).get(key, (key, FORMER_WORDS if key == LAYER_LISTS[0] else {}))
        names = LAYER_LISTS if key == LAYER_LISTS[0] else (key,)
        kinds = next((self.given[name] for name in names if self.given.get(name) is not None), None)
        if isinstance(self.given.get(other), list):
            self.asked.add(other)
            kinds = self.given[other] if kinds is None else kinds
        if kinds is None:
            return None
        drafts = next((self.given[key] for key in DRAFTS if isinstance(self.given.get(key), int)), 0)
        if depth and isinstance(kinds, list) and len(kinds) == depth + drafts:
            kinds = kinds[:depth]  # the layers of multi-token prediction come last
        if not isinstance(kinds, list | str) or (depth is not None and len(kinds) != depth):
            raise self.error(key, f"expected a list of {depth} entries, one a layer" if depth else "expected a list")
        return [words.get(each, each) if isinstance(each, str | int) else each for each in kinds]

    def refuse_what_is_left(self, given: dict[str, Any]) -> None:
        """Refuse the first key that might change a count and that nothing here looked at."""
        for key, value in given.items():
            if (
                value is None
                or key in self.asked
                or key in HARMLESS
                or key in DRAFTS
                or key in OTHER_PARTS
                or key.endswith("_token_id")
            ):
                continue
            if (
                _is_default(value, self.defaults.get(key))
                or _is_default(value, NEUTRAL.get(key))
                or self._says_nothing_new(key, value)
            ):
                continue
            if key in self.family.get("same", {}) and _is_all(value, self.field(self.family["same"][key])):
                continue
            if key in self.family.get("neutral", {}) and _is_all(value, self.family["neutral"][key]):
                continue
            raise self.error(
                key, f"not understood for {self.type}: it might change a count (the value is {json.dumps(value)[:60]})"
            )

    def _says_nothing_new(self, key: str, value: Any) -> bool:
        """Whether a key leaves out what its type does not know anyway, or repeats what is known of it."""
        if key in ("attention_bias", "mlp_bias"):
            return bool(self.trait(key, plain=False)) is value
        if key in self.defaults:
            return False
        others = [(field, names) for field, names in SYNONYMS.items() if key in names]
        return not value or any(
            self.asked & set(names) - {key} and self.field(field) == value
            for field, names in others
            if self.names(field)[0] != key
        )

    def _computed(self, said: str) -> int:
        """Whole numbers and keys, with * / + - between them, from left to right."""
        result, sign = 0, "+"
        for name, after in re.findall(r"([^-*/+]+)([-*/+]?)", said):
            number = int(name) if name.isdigit() else self.get(name)
            if not isinstance(number, int) or (sign == "/" and number < 1):
                raise self.error(name, "expected a whole number")
            result = {"+": result + number, "-": result - number, "*": result * number, "/": result // (number or 1)}[
                sign
            ]
            sign = after
        return result

    def _flat(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with the keys of its inner part beside the others, and by the names that are read."""
        key, renamed = self.family.get("inner"), self.family.get("renamed", {})
        inner = config.get(key) if key else None
        if isinstance(inner, dict):
            config = {name: value for name, value in config.items() if name != key}
            config |= {f"{key}.{name}": value for name, value in inner.items()}
        for name, real in self.defaults.get("attribute_map", {}).items():  # transformers reads either
            if name in config and real not in config:
                config = {key: value for key, value in config.items() if key != name} | {real: config[name]}
        others = {name: value for name, value in config.items() if name not in renamed}
        return others | {renamed[name]: config[name] for name in renamed if name in config}


def _is_all(value: Any, neutral: Any) -> bool:
    """Whether a value, or every entry of a list, is the neutral one."""
    return all(each == neutral for each in value) if isinstance(value, list) else bool(value == neutral)


def _is_default(value: Any, default: Any) -> bool:
    """Whether a value is its type's default; of an inner config, every key that might change a count."""
    if isinstance(value, dict) and isinstance(default, dict):
        return all(
            key in HARMLESS or inner is None or _is_default(inner, default.get(key)) for key, inner in value.items()
        )
    return default is not None and bool(value == default)
