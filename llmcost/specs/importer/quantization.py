"""The `quantization_config` of a Hugging Face config: the format of the weights, and which layers keep their 16 bits.

A checkpoint names the layers that are not quantised (or, rarely, those that are) by module names, wildcards or regular
expressions. They are matched against the names that modules have in transformers. A config is refused if only a part of
what is one operator here is quantised, or if it names a module that is not known.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from llmcost.ground.errors import SpecError, shortened
from llmcost.model.formats import FORMATS, format_of
from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.layer_kernels import (
    SIXTEEN_BITS,
    Linear,
    Packed,
    linear_of,
    mix_of,
    naming_of,
    packed_all,
    widths_of,
)
from llmcost.specs.importer.module_names import NEVER, OF_LAYER, PARENTS, ModuleNames, is_plain
from llmcost.specs.importer.weight_formats import (
    METHODS,
    WHY_NOT,
    format_named,
    format_of_group,
    scheme_groups,
    with_names,
)

# Keys that say nothing of the bytes of weights.
HARMLESS = frozenset(
    """
    act_group_aware activation_scheme amp autoround_version backend batch_size bnb_4bit_compute_dtype
    bnb_4bit_quant_storage block_name_to_quantize cache_block_outputs checkpoint_format damp_auto_increment
    damp_percent data_type dataset dequantize desc_act do_fuse enable_quanted_input exllama_config fmt fuse_max_seq_len
    global_compression_ratio gradient_accumulate_steps hadamard is_marlin_format iters kv_cache_quant_algo
    kv_cache_scheme llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight llm_int8_threshold low_gpu_mem_usage
    lr max_input_length meta minmax_lr model_file_base_name model_name_or_path model_seqlen modules_to_fuse nsamples
    pack_dtype packing_format pad_token_id producer quant_method quantization_status scale_fmt seqlen static_groups
    super_bits super_group_size tokenizer transform_config true_sequential use_cuda_fp16 use_exllama version
    activation_scale_ub train_bs enable_minmax_tuning enable_norm_bias_tuning act_bits act_data_type act_dynamic
    act_group_size act_sym act_per_tensor weight_per_tensor
    """.split()  # noqa: SIM905
)
UNDERSTOOD = frozenset(
    """
    bits group_size sym zero_point lm_head dynamic format config_groups quant_algo weight_block_size load_in_4bit
    load_in_8bit _load_in_4bit _load_in_8bit expert_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant sparsity_config
    quantized_layers extra_config modules_to_not_convert ignored_layers ignore exclude_modules has_zero_point
    pre_quant_scale llm_int8_skip_modules
    """.split()  # noqa: SIM905
)
OF_METHOD = {  # keys that mean this in one method alone
    "mlx": frozenset({"mode"}),
    "aqlm": frozenset(
        {"in_group_size", "out_group_size", "num_codebooks", "nbits_per_codebook", "linear_weights_not_to_quantize"}
    ),
    "higgs": frozenset({"p", "hadamard_size", "tune_metadata"}),
    "exl2": frozenset({"head_bits", "calibration"}),
    "exl3": frozenset(
        {
            "head_bits",
            "calibration",
            "out_scales",
            "codebook",
            "tensor_storage",
            "mtp_bits",
            "original_quantization_config",
        }
    ),
    "quanto": frozenset({"weights", "activations"}),
    "eetq": frozenset({"weights"}),
    "bitnet": frozenset({"linear_class", "quantization_mode", "use_rms_norm", "rms_norm_eps"}),
    "vptq": frozenset({"config_for_layers", "shared_layer_config", "enable_proxy_error"}),
    "hqq": frozenset({"quant_config", "skip_modules"}),
    "torchao": frozenset(
        {"quant_type", "quant_type_kwargs", "include_input_output_embeddings", "by_name", "untie_embedding_weights"}
    ),
    "fp8": frozenset({"moe_quant_algo"}),
    "quark": frozenset(
        """global_quant_config layer_quant_config layer_type_quant_config kv_cache_quant_config kv_cache_group exclude
        algo_config export quant_mode softmax_quant_spec kv_cache_post_rope min_kv_scale""".split()  # noqa: SIM905
    ),
}
FLAGS = ("sym", "zero_point", "lm_head", "load_in_4bit", "load_in_8bit", "bnb_4bit_use_double_quant")
LEFT_ALONE = (
    "exclude",
    "skip_modules",
    "modules_to_not_convert",
    "ignored_layers",
    "ignore",
    "exclude_modules",
    "llm_int8_skip_modules",
    "linear_weights_not_to_quantize",
)
# Formats of routed experts, whatever the others are in: of DeepSeek-V4, fp4 is MXFP4.
OF_EXPERTS = {"fp4": "+mxfp4", "fp8": "", "NVFP4": "+nvfp4"}
# Where ModelOpt's mixed precision, AutoRound, GPTQ, Quark and torchao (`_with_method`) set formats by names.
NAMED = ("quantized_layers", "extra_config", "dynamic", "layer_quant_config", "by_name")
WITH_TABLES = ("mlx", "torchao")  # set the formats of the embedding and the LM head by names too
LAYER_BY_LAYER = ("vptq", "exl2", "exl3")  # give every layer a format of its own


def quantization(keys: Keys, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The model's fields of its weight format; each layer gets the names of what is not quantised in it."""
    said = keys.get("quantization_config")
    keys.asked.add("expert_dtype")
    if not isinstance(said, dict):
        raise keys.error("quantization_config", "expected an object")
    said = _with_method(said)
    _check(keys, said)
    said = _without_experts(keys, said)
    parts = packed_all(layers)
    linear = linear_of(parts)
    name, said, formats = _by_names(keys, said, layers, parts)
    if not {*name.split("+", 1)} <= FORMATS.keys():
        raise _not_understood(keys, said)
    expert_dtype = said.get("expert_dtype") or keys.get("expert_dtype")
    if expert_dtype not in (None, *OF_EXPERTS):
        raise keys.error("expert_dtype", f"{str(expert_dtype)[:40]!r} is not understood")
    name += OF_EXPERTS.get(str(expert_dtype), "")
    alone, only = _left_alone(keys, said, len(layers), linear), _only(keys, said, linear)
    torn: list[list[str]] = []  # of each layer, operators of which a part keeps its 16 bits
    for position, layer in enumerate(layers):
        rules = Rules(position, alone, only, name, formats[position])
        plain, mixed = _in_layer(keys, layer, parts[position], rules)
        torn.append(mixed)
        if plain:
            layer["unquantized"] = plain
    if said["quant_method"] in LAYER_BY_LAYER:
        from llmcost.specs.importer import exl, vptq

        formats = (vptq if said["quant_method"] == "vptq" else exl).formats_of(keys, said, parts)
    for layer, own, mixed in zip(layers, formats, torn, strict=True):
        if own or mixed:
            layer["formats"] = sorted([*own, *mixed])
    whole = said["quant_method"] in ("compressed-tensors", "modelopt") and only is None and not alone.names("lm_head")
    tied = bool(keys.get("tie_word_embeddings")) and not _unties(said)
    head = bool(said.get("lm_head", whole)) and not tied
    found = {"weight_format": name, "quantized_lm_head": head or None, "table_formats": _tables(keys, said)}
    return found if tied or not keys.get("tie_word_embeddings") else found | {"tie_word_embeddings": False}


def _without_experts(keys: Keys, said: dict[str, Any]) -> dict[str, Any]:
    """FP8 as of all but routed experts, which `moe_quant_algo` puts in NVFP4, and most other keys are about.

    nvidia/DeepSeek-V4-Flash-NVFP4 and -Pro-NVFP4 (vLLM: vllm/models/deepseek_v4/quant_config.py).
    """
    form = said.get("moe_quant_algo")
    if form is None:
        return said
    if form != "NVFP4":
        raise keys.error("quantization_config.moe_quant_algo", f"expected NVFP4, got {str(form)[:40]!r}")
    of_experts = ("config_groups", "quantized_layers", "ignore", "exclude_modules", "quant_algo", "group_size")
    return {key: value for key, value in said.items() if key not in of_experts} | {"expert_dtype": form}


def _not_understood(keys: Keys, said: dict[str, Any]) -> SpecError:
    """The error about a kind of quantisation that is not read, with the reason where one is known."""
    why = WHY_NOT.get(str(said.get("quant_method")), "")
    problem = f"this kind of quantisation ({_shown(said)}) is not understood"
    return keys.error("quantization_config", f"{problem}: {why}" if why else problem)


def _unties(said: dict[str, Any]) -> bool:
    """Whether the LM head of a tied model is kept once more, in a format of its own, beside the embedding."""
    return said["quant_method"] in ("exl2", "exl3") or bool(said.get("untie_embedding_weights"))


def _tables(keys: Keys, said: dict[str, Any]) -> list[str] | None:
    """The formats of the embedding and the LM head where these have one of their own: of EXL, MLX and torchao."""
    if said["quant_method"] in ("exl2", "exl3"):
        from llmcost.specs.importer import exl

        return [exl.head_of(keys, said)]
    if said["quant_method"] not in WITH_TABLES:
        return None
    found = {}
    for name, own in _rules(keys, said)[1].items():
        if is_plain(name) and (table := _table(name)):
            form = "bf16" if _bits(own) >= 16 else format_named({**said, **own})
            if format_of(form) is None:
                raise keys.error("quantization_config", f"the format of {name[:60]!r} is not understood")
            found[table] = f"{table}={form}"
    return list(found.values()) or None


def _table(name: str) -> str | None:
    """Which of the two tables a module is: the embedding, or the LM head."""
    return "lm_head" if "lm_head" in name else "token_embedding" if "embed" in name else None


def _bits(own: dict[str, Any]) -> int:
    """The bits that a rule sets; 0 where it sets none."""
    bits = own.get("bits")
    return bits if isinstance(bits, int) else 0


def _with_method(said: dict[str, Any]) -> dict[str, Any]:
    """With the method that wrote it, which ModelOpt and MLX leave out, and torchao's configs by names as `by_name`."""
    if "quant_method" not in said and ("quant_algo" in said or "producer" in said):
        return {"quant_method": "modelopt", **said}
    if "quant_method" not in said and {"bits", "group_size"} <= said.keys():
        return {"quant_method": "mlx", **said}
    return with_names(said) if said.get("quant_method") == "torchao" else said


def _check(keys: Keys, said: dict[str, Any]) -> None:
    """Refuse a key that is not understood, and a flag that is neither true nor false."""
    if str(said.get("quant_method")) in WHY_NOT.keys() - METHODS.keys():
        raise _not_understood(keys, said)
    known = HARMLESS | UNDERSTOOD | OF_METHOD.get(str(said.get("quant_method")), frozenset())
    by_module = said.get("quant_method") == "mlx"  # whose other keys are modules
    for key, own in said.items():
        if key not in known and not (by_module and isinstance(own, dict | bool)):
            keys.leave_out(f"quantization_config.{key}", "not understood: it might change the bytes of weights")
    for key in FLAGS:
        if said.get(key) not in (True, False, None) and not (by_module and isinstance(said[key], dict)):
            raise keys.error(f"quantization_config.{key}", "expected true or false")


def _named(keys: Keys, said: dict[str, Any]) -> tuple[str, dict[str, list[str]]] | None:
    """The format of what is not named, and the names that each other format is set for; "" is 16 bits.

    None where formats are not set by names.
    """
    named: dict[str, list[str]] = {}
    groups = [each for each in scheme_groups(said) if isinstance(each.get("weights"), dict)]
    forms = [format_of_group(each["weights"]) for each in groups]
    if len(set(forms)) > 1:
        usual = ""
        for form, group in zip(forms, groups, strict=True):
            targets = _list(keys, group, "targets")
            usual = form if "Linear" in targets else usual
            named.setdefault(form, []).extend(each for each in targets if each != "Linear")
        return usual, named
    key, rules = _rules(keys, said)
    if not rules:
        return None
    for name, own in _of_one_expert(keys, key, rules).items():
        if not (is_plain(name) and _table(name) and said["quant_method"] in WITH_TABLES):
            named.setdefault("" if _bits(own) >= 16 else format_named({**said, **own}), []).append(name)
    return "" if key == "quantized_layers" else format_named(said), named


def _rules(keys: Keys, said: dict[str, Any]) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """What is set by names of modules, and the key that it stands under; none where nothing is."""
    key = next((key for key in NAMED if said.get(key)), None)
    rules = said[key] if key else {}
    if not isinstance(rules, dict):
        raise keys.error(f"quantization_config.{key}", "expected an object of objects, one a module")
    if key == "dynamic":  # regular expressions; those that begin with -: leave as it is (`_left_alone`)
        rules = {f"re:{rule.removeprefix('+:')}": own for rule, own in rules.items() if not rule.startswith("-:")}
    if said["quant_method"] == "mlx":
        rules = {name: own for name, own in said.items() if isinstance(own, dict) or own is False}
        rules = {name: own or {"bits": 16} for name, own in rules.items()}
    if {*map(type, rules.values())} - {dict}:
        raise keys.error(f"quantization_config.{key}", "expected an object of objects, one a module")
    return key, rules


def _of_one_expert(keys: Keys, key: str | None, rules: dict[str, Any]) -> dict[str, Any]:
    """Rules by names without those of other experts than the first, which must say what the first's do."""
    found = {}
    for name, own in rules.items():  # of which a checkpoint may have a hundred thousand
        before, cut, after = name.partition(".experts.")
        number, dot, inside = after.partition(".")
        if not cut or number == "0" or not number.isdecimal() or "*" in name or name[:3] == "re:":
            found[name] = own
        elif rules.get(f"{before}.experts.0{dot}{inside}") != own:
            problem = f"gives {name[:80]!r} another format than the first expert, which stands for all here"
            raise keys.error(f"quantization_config.{key}" if key else "quantization_config", problem)
    return found


def _by_names(
    keys: Keys, said: dict[str, Any], layers: list[dict[str, Any]], parts: list[dict[str, Packed]]
) -> tuple[str, dict[str, Any], list[list[str]]]:
    """The format of the weights, the config with what names leave alone, and what has a format of its own, by layer.

    Where routed experts have one format and all else another, the two are the model's; of more, the most frequent is.
    """
    found = _named(keys, said)
    if found is None:
        return format_named(said), said, [[] for _ in layers]
    usual, named = found
    patterns = {form: ModuleNames(keys, names, linear_of(parts)) for form, names in named.items()}
    forms = [
        _forms(keys, layer, modules, {form: (names, position) for form, names in patterns.items()}, usual)
        for position, (layer, modules) in enumerate(zip(layers, parts, strict=True))
    ]
    used: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}  # of routed experts, and of all else
    for layer in forms:
        for (module, _), form in layer.items():
            used[module == "experts"][form] += bool(form)
    experts, others = +used[True], +used[False]
    quantized = [name for form, names in named.items() if form for name in names]
    groups = {"config_groups": {"named": {"targets": quantized}}} if not usual and not scheme_groups(said) else {}
    said = said | groups | {"ignored_layers": [*_list(keys, said, "ignored_layers"), *named.get("", [])]}
    plain = {form for form in experts + others if "*" not in form}  # of one kind alone
    if len(experts) <= 1 and len(others) == 1 and plain >= {*experts, *others}:
        (other,) = others
        return "+".join([other, *(form for form in experts if form != other)]), said, [[] for _ in layers]
    whole = ((form, count) for form, count in (experts + others).items() if form in plain)
    base = max(whole, key=lambda each: each[::-1], default=(usual or next(filter(None, named), ""), 0))[0]
    unknown = next((form for form in plain if form not in FORMATS), None)
    if unknown is not None:
        return unknown, said, [[] for _ in layers]
    own = [
        sorted(f"{operator}={form}" for (_, operator), form in layer.items() if form not in ("", base))
        for layer in forms
    ]
    return base, said, own


def _forms(
    keys: Keys,
    layer: dict[str, Any],
    modules: dict[str, Packed],
    patterns: dict[str, tuple[ModuleNames, int]],
    usual: str,
) -> dict[tuple[str, str], str]:
    """The format of every operator of a layer, by its module and name. Raises SpecError for one that has two."""
    found = {}
    for module, operators in modules.items():
        named = {form: names.named(module, position) for form, (names, position) in patterns.items()}
        for operator, namings in operators.items():
            found[module, operator] = _form_of(keys, (layer, module, operator), namings, named, usual)
    return found


def _form_of(
    keys: Keys,
    place: tuple[dict[str, Any], str, str],
    namings: tuple[str, ...],
    named: dict[str, frozenset[str]],
    usual: str,
) -> str:
    """The format of one operator: that for which all its linear layers are named, the usual one, or a mix."""
    naming = naming_of(namings, frozenset().union(*named.values()))
    forms = {name: [form for form, names in named.items() if name in names] for name in naming}
    if any(len(each) > 1 for each in forms.values()):
        raise keys.error("quantization_config", f"gives {place[2]} or a part of it more than one format")
    of_each = {name: each[0] if each else usual for name, each in forms.items()}
    return of_each[naming[0]] if len({*of_each.values()}) == 1 else _mixed(keys, place, of_each)


def _mixed(keys: Keys, place: tuple[dict[str, Any], str, str], forms: dict[str, str]) -> str:
    """One format for an operator whose linear layers, by its first naming, are kept in several; "" is 16 bits.

    Raises SpecError where it cannot be said: of a scale for every output channel, or of names of another naming.
    """
    widths, shares = widths_of(*place), Counter[str]()
    for name, form in forms.items():
        shares[form or SIXTEEN_BITS] += widths.get(name, 0)
    mix = mix_of(shares)
    if len(shares) < 2 or 0 in shares.values() or format_of(mix) is None:
        raise keys.error("quantization_config", f"names a part of {place[2]} alone, which is not understood")
    return mix


def notes_of(said: Any) -> list[str]:
    """Notes for the spec: what the checkpoint asks for that a weight format does not say."""
    if not isinstance(said, dict):
        return []
    asks = bool(said.get("kv_cache_scheme") or said.get("kv_cache_quant_algo"))
    notes = ["The checkpoint asks for a KV cache of 8 bits: choose it with --kv-dtype fp8."] if asks else []
    if said.get("quant_method") in ("exl2", "exl3"):
        from llmcost.specs.importer import exl

        notes += exl.notes_of(said)
    return notes


def _left_alone(keys: Keys, said: dict[str, Any], depth: int, linear: Linear) -> ModuleNames:
    """What is named as not quantised, without what never is; GPTQ may say it by `dynamic` rules that begin with -:."""
    rules = said.get("dynamic") or {}
    left = [f"re:{rule[2:]}" for rule in rules if str(rule).startswith("-:")]
    named = [name for key in LEFT_ALONE for name in _list(keys, said, key)] + left
    kept = [name for name in dict.fromkeys(named) if name == "lm_head" or not (is_plain(name) and NEVER.search(name))]
    exact = said["quant_method"] == "compressed-tensors"  # whose names are whole (compressed_tensors/utils/match.py)
    found = ModuleNames(keys, kept, linear, alone=exact)
    understood: dict[str, bool] = {}  # names inside a layer, or without one, that name a linear layer of some layer
    for name in kept:
        layer = OF_LAYER.fullmatch(name)
        position = int(layer[1]) if layer else 0
        if name == "lm_head" or not is_plain(name) or position >= depth:  # those of draft layers come last
            continue
        inside = (layer[2] or "*") if layer else name
        if inside not in understood:
            alone = ModuleNames(keys, [name], linear)
            understood[inside] = any(alone.named(module, position) for module in PARENTS)
        if not understood[inside]:
            raise keys.error("quantization_config", f"leaves {name[:80]!r} as it is, which is not understood")
    return found


def _only(keys: Keys, said: dict[str, Any], linear: Linear) -> ModuleNames | None:
    """The linear layers that are quantised, where not all are: by their names, or the experts of GPT-OSS."""
    if said["quant_method"] == "mxfp4":
        return ModuleNames(keys, [r"re:.*\bexperts\b"], linear)
    targets = [name for each in scheme_groups(said) for name in _list(keys, each, "targets")]
    return None if "Linear" in targets or not targets else ModuleNames(keys, targets, linear)


def _list(keys: Keys, said: dict[str, Any], key: str) -> list[str]:
    names = said.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise keys.error(f"quantization_config.{key}", "expected a list of names")
    return names


class Rules(NamedTuple):
    """What a config says of one layer: the names that it leaves alone, those that alone it quantises, and formats."""

    position: int
    alone: ModuleNames
    only: ModuleNames | None
    form: str
    own: list[str]

    def form_of(self, module: str, operator: str) -> str:
        """The format of an operator that is quantised whole."""
        own = [each.partition("=")[2] for each in self.own if each.startswith(f"{operator}=")]
        others, _, experts = self.form.partition("+")
        return own[0] if own else experts if experts and module == "experts" else others


def _in_layer(keys: Keys, layer: dict[str, Any], parts: dict[str, Packed], rules: Rules) -> tuple[list[str], list[str]]:
    """What is left alone in one layer: whole modules and operators; and the formats of operators of which a part is."""
    found, mixed = [], []
    for module, operators in parts.items():
        alone = rules.alone.named(module, rules.position)
        only = rules.only.named(module, rules.position) if rules.only else frozenset()
        plain = set()
        for operator, namings in operators.items():
            naming = naming_of(namings, alone | only if rules.only else alone)
            quantized = {name for name in naming if name not in alone and (name in only or not rules.only)}
            form = rules.form_of(module, operator)
            if not quantized:
                plain.add(operator)
            elif len(quantized) < len(naming) and "*" not in form:
                forms = {name: form if name in quantized else "" for name in naming}
                mixed.append(f"{operator}={_mixed(keys, (layer, module, operator), forms)}")
        found += [module] if plain == set(operators) else sorted(plain)
    return found, mixed


def _shown(said: dict[str, Any]) -> str:
    kinds = ("quant_method", "quant_algo", "format", "bits", "group_size", "weight_block_size", "bnb_4bit_quant_type")
    return (
        ", ".join(f"{key} {shortened(str(said[key]))}" for key in kinds if said.get(key) is not None)
        or "no quant_method"
    )
