"""The `quantization_config` of a Hugging Face config: the format of the weights, and which layers keep their 16 bits.

A checkpoint names the layers that are not quantised (or, rarely, those that are) by module names, wildcards or regular
expressions. They are matched against the names that modules have in transformers. A config is refused if only a part of
what is one operator here is quantised, or if it names a module that is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from llmcost.ground.algebra import Number
from llmcost.ground.errors import SpecError, shortened
from llmcost.model.blocks import MIXERS, MLPS, Builder
from llmcost.model.formats import FORMATS
from llmcost.model.operators import Gemm, GroupedGemm, Operator
from llmcost.model.sizes import ElementBytes, Load
from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.module_names import NEVER, OF_LAYER, PARENTS, Linear, ModuleNames, Packed, is_plain
from llmcost.specs.importer.weight_formats import METHODS, WHY_NOT, format_named, format_of_group, scheme_groups

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
    "exl3": frozenset({"head_bits", "calibration", "out_scales", "codebook", "tensor_storage"}),
    "quanto": frozenset({"weights", "activations"}),
    "eetq": frozenset({"weights"}),
    "bitnet": frozenset({"linear_class", "quantization_mode", "use_rms_norm", "rms_norm_eps"}),
    "vptq": frozenset({"config_for_layers", "shared_layer_config", "enable_proxy_error"}),
    "hqq": frozenset({"quant_config", "skip_modules"}),
    "torchao": frozenset({"quant_type", "quant_type_kwargs", "include_input_output_embeddings"}),
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
# Where ModelOpt's mixed precision, AutoRound, GPTQ and Quark set formats by names.
NAMED = ("quantized_layers", "extra_config", "dynamic", "layer_quant_config")


def quantization(keys: Keys, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The model's fields of its weight format; each layer gets the names of what is not quantised in it."""
    said = keys.get("quantization_config")
    keys.asked.add("expert_dtype")
    if not isinstance(said, dict):
        raise keys.error("quantization_config", "expected an object")
    said = _with_method(said)
    _check(keys, said)
    said = _without_experts(keys, said)
    parts = _packed_all(layers)
    linear = _linear_of(parts)
    name, said, formats = _by_names(keys, said, parts, linear)
    if not {*name.split("+", 1)} <= FORMATS.keys():
        raise _not_understood(keys, said)
    expert_dtype = said.get("expert_dtype") or keys.get("expert_dtype")
    if expert_dtype not in (None, *OF_EXPERTS):
        raise keys.error("expert_dtype", f"{str(expert_dtype)[:40]!r} is not understood")
    name += OF_EXPERTS.get(str(expert_dtype), "")
    alone, only = _left_alone(keys, said, len(layers), linear), _only(keys, said, linear)
    for position, layer in enumerate(layers):
        if found := _in_layer(keys, position, parts[position], alone, only):
            layer["unquantized"] = found
    if said["quant_method"] == "vptq":
        from llmcost.specs.importer import vptq

        formats = vptq.formats_of(keys, said, parts)
    for layer, own in zip(layers, formats, strict=False):
        if own:
            layer["formats"] = own
    whole = said["quant_method"] in ("compressed-tensors", "modelopt") and only is None and not alone.names("lm_head")
    tied = keys.get("tie_word_embeddings")
    head = bool(said.get("lm_head", whole)) and not tied
    return {"weight_format": name, "quantized_lm_head": head or None, "table_formats": _tables(keys, said, tied=tied)}


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


def _tables(keys: Keys, said: dict[str, Any], *, tied: bool) -> list[str] | None:
    """The LM head's own format, which EXL3 gives it; of a tied one it keeps a second copy, which is refused."""
    if said["quant_method"] != "exl3":
        return None
    if tied:
        problem = "EXL3 keeps the embedding once more as the LM head, in bits of its own: this is not counted"
        raise keys.error("quantization_config", problem)
    head = f"exl3-{said.get('head_bits', said.get('bits'))}bit"
    if head not in FORMATS:
        raise keys.error("quantization_config.head_bits", f"expected whole bits, got {str(said.get('head_bits'))[:40]}")
    return [f"lm_head={head}"]


def _with_method(said: dict[str, Any]) -> dict[str, Any]:
    """With the method that wrote it, which ModelOpt and MLX leave out."""
    if "quant_method" not in said and ("quant_algo" in said or "producer" in said):
        return {"quant_method": "modelopt", **said}
    if "quant_method" not in said and {"bits", "group_size"} <= said.keys():
        return {"quant_method": "mlx", **said}
    return said


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
        if said.get(key) not in (True, False, None):
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
    key = next((key for key in NAMED if said.get(key)), None)
    rules = said[key] if key else {}
    if not isinstance(rules, dict):
        raise keys.error(f"quantization_config.{key}", "expected an object of objects, one a module")
    if (
        key == "dynamic"
    ):  # GPTQ's rules are regular expressions; those that begin with -: leave as it is (`_left_alone`)
        rules = {f"re:{rule.removeprefix('+:')}": own for rule, own in rules.items() if not rule.startswith("-:")}
    if said.get("quant_method") == "mlx":
        rules = {name: own for name, own in said.items() if isinstance(own, dict) or own is False}
        rules = {name: own or {"bits": 16} for name, own in rules.items()}
    if not rules:
        return None
    if {*map(type, rules.values())} != {dict}:
        raise keys.error(f"quantization_config.{key}", "expected an object of objects, one a module")
    for name, own in _of_one_expert(keys, key, rules).items():
        bits = own.get("bits")
        named.setdefault("" if isinstance(bits, int) and bits >= 16 else format_named({**said, **own}), []).append(name)
    return "" if key == "quantized_layers" else format_named(said), named


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
    keys: Keys, said: dict[str, Any], parts: list[dict[str, Packed]], linear: Linear
) -> tuple[str, dict[str, Any], list[list[str]]]:
    """The format of the weights, the config with what names leave alone, and what has a format of its own, by layer.

    Where routed experts have one format and all else another, the two are the model's; of more, the most frequent is.
    """
    found = _named(keys, said)
    if found is None:
        return format_named(said), said, []
    usual, named = found
    if any(NEVER.search(name) for form, names in named.items() if form != usual for name in names if is_plain(name)):
        strange = next(name for names in named.values() for name in names if is_plain(name) and NEVER.search(name))
        if _is_table(strange) and said["quant_method"] == "mlx":
            raise keys.error("quantization_config", f"a format of its own for {strange[:60]!r} is not understood")
    patterns = {form: ModuleNames(keys, names, linear) for form, names in named.items()}
    forms = [_forms(keys, position, modules, patterns, usual) for position, modules in enumerate(parts)]
    used: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}  # of routed experts, and of all else
    for layer in forms:
        for (module, _), form in layer.items():
            used[module == "experts"][form] += bool(form)
    experts, others = +used[True], +used[False]
    quantized = [name for form, names in named.items() if form for name in names]
    groups = {"config_groups": {"named": {"targets": quantized}}} if not usual and not scheme_groups(said) else {}
    said = said | groups | {"ignored_layers": [*_list(keys, said, "ignored_layers"), *named.get("", [])]}
    if len(experts) <= 1 and len(others) == 1:
        (other,) = others
        return "+".join([other, *(form for form in experts if form != other)]), said, []
    base = max((experts + others).items(), key=lambda each: each[::-1], default=("", 0))[0]
    unknown = next((form for form in experts + others if form not in FORMATS), None)
    if unknown is not None:
        return unknown, said, []
    own = [
        sorted(f"{operator}={form}" for (_, operator), form in layer.items() if form not in ("", base))
        for layer in forms
    ]
    return base, said, own


def _is_table(name: str) -> bool:
    """Whether a module is the embedding or the LM head."""
    return "embed" in name or "lm_head" in name


def _forms(
    keys: Keys, position: int, modules: dict[str, Packed], patterns: dict[str, ModuleNames], usual: str
) -> dict[tuple[str, str], str]:
    """The format of every operator of a layer, by its module and name. Raises SpecError for one that has two."""
    found = {}
    for module, operators in modules.items():
        wholes = {form: _whole(keys, operators, names.named(module, position)) for form, names in patterns.items()}
        for operator in operators:
            own = [form for form, whole in wholes.items() if operator in whole]
            if len(own) > 1:
                raise keys.error("quantization_config", f"gives {operator} of layer {position} more than one format")
            found[module, operator] = own[0] if own else usual
    return found


def notes_of(said: Any) -> list[str]:
    """Notes for the spec: what the checkpoint asks for that a weight format does not say."""
    asks = isinstance(said, dict) and bool(said.get("kv_cache_scheme") or said.get("kv_cache_quant_algo"))
    return ["The checkpoint asks for a KV cache of 8 bits: choose it with --kv-dtype fp8."] if asks else []


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


def _in_layer(
    keys: Keys, position: int, parts: dict[str, Packed], alone: ModuleNames, only: ModuleNames | None
) -> list[str]:
    """What is left alone in one layer: a whole module, or the operators of which all linear layers are."""
    found = []
    for module, operators in parts.items():
        named = alone.named(module, position)
        if only is not None:
            whole = _whole(keys, operators, only.named(module, position))
            named |= _linear({name: lines for name, lines in operators.items() if name not in whole})
        plain = {name for name, lines in operators.items() if any(set(line.split()) <= named for line in lines)}
        torn = [name for name, lines in operators.items() if name not in plain and named & set(" ".join(lines).split())]
        if torn:
            raise keys.error(
                "quantization_config",
                f"leaves a part of {torn[0]} of layer {position} as it is, which is not understood",
            )
        found += [module] if plain == set(operators) else sorted(plain)
    return found


def _whole(keys: Keys, operators: Packed, named: frozenset[str]) -> set[str]:
    """The operators of which all linear layers are named, by any of their namings; one named in part is refused."""
    whole = {name for name, lines in operators.items() if any(set(line.split()) <= named for line in lines)}
    torn = next(
        (name for name, lines in operators.items() if name not in whole and named & _linear({name: lines})), None
    )
    if torn:
        raise keys.error("quantization_config", f"names a part of {torn} alone, which is not understood")
    return whole


def packed(layer: dict[str, Any]) -> dict[str, Packed]:
    """For each module of a layer, its operators and the linear layers packed in each of them, by each naming."""
    found: dict[str, Packed] = {}
    for kinds, place, usual in ((MIXERS, "mixer", "attention"), (MLPS, "mlp", "gated")):
        for op in kernels_of(kinds[layer.get(place, usual)], layer):
            if op.facts.modules:
                found.setdefault(op.facts.module(op.part), {})[op.name] = op.facts.modules
    return found


def _packed_all(layers: list[dict[str, Any]]) -> list[dict[str, Packed]]:
    """The same of every layer; most are as the one before."""
    parts: list[dict[str, Packed]] = []
    for position, layer in enumerate(layers):
        as_before = position > 0 and layer == layers[position - 1]
        parts.append(parts[-1] if as_before else packed(layer))
    return parts


def linear_layers(layer: dict[str, Any]) -> frozenset[str]:
    """The names of all linear layers of a layer, routers and experts included, in a prompt and in a decode step."""
    kinds = (MIXERS[layer.get("mixer", "attention")], MLPS[layer.get("mlp", "gated")])
    return frozenset(op.name for kind in kinds for op in kernels_of(kind, layer) if isinstance(op, Gemm | GroupedGemm))


def kernels_of(kind: Any, layer: dict[str, Any]) -> Iterator[Operator]:
    """The kernels of a block, in a prompt and in a decode step. All sizes are 1: which kernels run is structure."""
    types, defaults = kind.__annotations__, kind._field_defaults
    given = {field: defaults.get(field, 1) if layer.get(field) is None else layer[field] for field in kind._fields}
    block = kind(**{field: _one_of(value) if types[field] is Number else value for field, value in given.items()})
    for decode in (False, True):
        load = Load(1, 1, 1, decode)
        yield from block.operators(Builder(1, 1, rotary=True, norm="rms", load=load, bytes=ElementBytes(1, 1, 1)))


def _one_of(size: Any) -> Any:
    """1 for a size, or what there is none of; also for what is no size, which is refused where the spec is read."""
    return min(1, size) if isinstance(size, int | float) else 1


def _linear_of(parts: list[dict[str, Packed]]) -> Linear:
    found: Linear = {}
    for operators_of in parts:
        for module, operators in operators_of.items():
            found[module] = found.get(module, frozenset()) | _linear(operators)
    return found


def _linear(operators: Packed) -> frozenset[str]:
    return frozenset(name for lines in operators.values() for line in lines for name in line.split())


def _shown(said: dict[str, Any]) -> str:
    kinds = ("quant_method", "quant_algo", "format", "bits", "group_size", "weight_block_size", "bnb_4bit_quant_type")
    return (
        ", ".join(f"{key} {shortened(str(said[key]))}" for key in kinds if said.get(key) is not None)
        or "no quant_method"
    )
