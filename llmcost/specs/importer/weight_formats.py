"""The format of a checkpoint's weights by what its `quantization_config` says, one function for each method.

A name of model/formats.py is a format that the config and the method's own code determine to the byte. Any other text,
mostly an empty one, is refused; WHY_NOT says why, where a method can never be read so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODELOPT = {
    "FP8": "fp8",
    "FP8_PB_WO": "fp8-block128",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A8_NVFP4_FP8": "nvfp4",
    "MXFP4": "mxfp4",
    "W4A8_MXFP4_FP8": "mxfp4",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel-fp32",
    "W8A16": "int8-channel-fp32",
    "W8A8_SQ_PER_CHANNEL": "int8-channel-fp32",
}
# Methods of which a config does not say what is stored, and why.
WHY_NOT = {
    "spqr": "SpQR keeps as many outliers apart as the weights have",
    "fp_quant": "FP-Quant may keep its transforms, or the weights themselves, beside what it quantises",
    "sinq": "SINQ has scales of rows and of columns, whose types the config does not say",
    "fouroversix": "FourOverSix says nothing of the bytes of its scales",
}


def format_named(said: dict[str, Any]) -> str:
    """The name of the format of the linear layers; of one that is not known, any other text."""
    method = str(said.get("quant_method"))
    if method in ("gptq", "awq"):
        return _integers(said.get("bits"), said.get("group_size"), zero_point=True)
    if method in ("auto-round", "intel/auto-round"):
        return _auto_round(said)
    if method == "fp8":
        return _blocks(said.get("weight_block_size"))
    if method in ("fbgemm_fp8", "mxfp4", "mxfp8"):
        return "fp8-channel-fp32" if method == "fbgemm_fp8" else method
    if method == "bitsandbytes":
        if said.get("load_in_8bit") or said.get("_load_in_8bit"):
            return "int8-channel-fp32"
        kind = {"nf4": "nf4", "fp4": "bnb-fp4"}.get(str(said.get("bnb_4bit_quant_type", "fp4")), "")
        return kind + ("-dq" if said.get("bnb_4bit_use_double_quant") else "")
    if method == "modelopt" and said.get("quant_algo") is not None:
        return _modelopt(said)
    if method == "mlc":
        return "mlc-q4" if said["format"] in ("q4f16_0", "q4f16_1", "q4bf16_0", "q4bf16_1") else ""
    if method in METHODS:
        return METHODS[method](said)
    return _scheme(said) if method in ("compressed-tensors", "modelopt") else ""


def _auto_round(said: dict[str, Any]) -> str:
    """AutoRound: integers with zero points, also of symmetric ones; MXFP, NVFP4; FP8 with scales in the model's type.

    auto_round_extension/torch/qlinear_torch.py; auto_round/export/export_to_autoround/qlinear_fp.py, export_to_fp8.py.
    """
    kind, bits, group = str(said.get("data_type", "int")), said.get("bits"), said.get("group_size")
    if kind.startswith("int"):
        return _integers(bits, group, zero_point=True)
    if kind.startswith("mx_fp") and group == 32:
        return {4: "mxfp4", 8: "mxfp8"}.get(bits if isinstance(bits, int) else 0, "")
    if kind.startswith("nv_fp"):
        return "nvfp4" if (bits, group) == (4, 16) else ""
    if not kind.startswith("fp") or bits != 8:
        return ""
    if isinstance(group, list):
        return _blocks(group)
    return "fp8-channel" if group == -1 else "" if group else "fp8"


def _blocks(size: Any) -> str:
    """FP8 with a scale for a whole matrix, or for each block of it: DeepSeek's squares, or the 32 weights of MXFP8."""
    if size is None:
        return "fp8"
    if size == [1, 32]:
        return "mxfp8"
    square = isinstance(size, list) and len(size) == 2 and size[0] == size[1]
    return f"fp8-block{size[0]}" if square else ""


def _modelopt(said: dict[str, Any]) -> str:
    """NVIDIA's ModelOpt: scales of integers in fp32 (modelopt/torch/export/quant_utils.py, get_scaling_factor)."""
    algorithm = str(said["quant_algo"])
    if algorithm in ("W4A16_AWQ", "W4A8_AWQ"):
        return "" if said.get("has_zero_point") else f"int4-g{said.get('group_size')}-fp32"
    return MODELOPT.get(algorithm, "")


def _aqlm(said: dict[str, Any]) -> str:
    """AQLM: codes of vectors, a codebook of them a matrix, a scale an output channel (aqlm/inference.py)."""
    inputs, outputs, books, bits = (
        said.get(key, usual)
        for key, usual in (
            ("in_group_size", 8),
            ("out_group_size", 1),
            ("num_codebooks", 1),
            ("nbits_per_codebook", 16),
        )
    )
    return f"aqlm-{books}x{bits}-g{inputs}" if outputs == 1 else ""


def _higgs(said: dict[str, Any]) -> str:
    """HIGGS: a scale a group, tables a matrix (transformers, integrations/higgs.py); padding is not counted."""
    return f"higgs-{said.get('bits', 4)}bit-g{said.get('group_size', 256)}"


def _exl(said: dict[str, Any]) -> str:
    """EXL2 and EXL3: the whole bits nearest to the average; importer/exl.py has those of each layer."""
    from llmcost.specs.importer.exl import base_of

    return base_of(said)


def _quanto(said: dict[str, Any]) -> str:
    """Quanto: 8 bits a channel; fewer in groups of 128 with scale and shift (optimum/quanto/nn/qmodule.py)."""
    kinds = {"int8": "int8-channel", "float8": "fp8-channel", "int4": "int4-g128-bf16-zp", "int2": "int2-g128-bf16-zp"}
    return kinds.get(str(said.get("weights", "int8")), "")


def _eetq(said: dict[str, Any]) -> str:
    """EETQ: int8, an fp16 scale a channel (transformers, integrations/eetq.py)."""
    return "int8-channel" if said.get("weights", "int8") == "int8" else ""


def _bitnet(said: dict[str, Any]) -> str:
    """BitNet: four weights in a byte (transformers, integrations/bitnet.py), unless it quantises while it runs."""
    return "int2" if said.get("quantization_mode", "offline") == "offline" else ""


def _metal(said: dict[str, Any]) -> str:
    """Metal: scale and bias in 16 bits for each group (transformers, integrations/metal_quantization.py)."""
    return f"int{said.get('bits', 4)}-g{said.get('group_size', 64)}-bf16-zp"


def _vptq(said: dict[str, Any]) -> str:
    """VPTQ: what the layers have stands by their names (importer/vptq.py); here the bits of most, rounded."""
    from llmcost.specs.importer.vptq import usual_bits

    return usual_bits(said)


def _mlx(said: dict[str, Any]) -> str:
    mode = said.get("mode", "affine")
    return f"mlx-{said.get('bits')}bit-g{said.get('group_size')}" if mode == "affine" else f"mlx-{mode}"


def _hqq(said: dict[str, Any]) -> str:
    """HQQ's scale and zero point in 16 bits each; quantised ones are not known here."""
    config = said.get("quant_config")
    weights = config.get("weight_quant_params") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(weights, dict):
        return ""
    plain = not config.get("scale_quant_params") and not config.get("zero_quant_params")
    return f"int{weights.get('nbits')}-g{weights.get('group_size')}-bf16-zp" if plain else ""


def with_names(said: dict[str, Any]) -> dict[str, Any]:
    """Torchao's config with what it sets by names of modules under `by_name`; "_default" is what all else has.

    torchao/quantization/quant_api.py, FqnToConfig, which was ModuleFqnToConfig.
    """
    kind, more = _torchao_config(said)
    if kind not in ("ModuleFqnToConfig", "FqnToConfig"):
        return said
    named = more.get("fqn_to_config") or more.get("module_fqn_to_config")
    if not isinstance(named, dict):
        return said
    rules = {name: {"quant_type": {"default": own}} if own else {"bits": 16} for name, own in named.items()}
    usual = rules.pop("_default", {"quant_type": {"default": {}}})
    return said | {"include_input_output_embeddings": False} | usual | {"by_name": rules}


def _torchao_config(said: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class of torchao's config, and its fields; a config of older versions has a name and what is given to it."""
    kind, more = said.get("quant_type"), said.get("quant_type_kwargs") or {}
    if isinstance(kind, dict):
        whole = kind.get("default") if kind.keys() == {"default"} else None
        kind, more = (whole.get("_type"), whole.get("_data") or {}) if isinstance(whole, dict) else (None, {})
    return str(kind), more if isinstance(more, dict) else {}


def _torchao(said: dict[str, Any]) -> str:
    """The format of torchao: by a name, or by the class of a config with its fields."""
    kind, more = _torchao_config(said)
    if said.get("include_input_output_embeddings"):
        return ""
    name = kind.removesuffix("Config").replace("_", "").lower()
    if name == "int4weightonly":
        return f"int4-g{more.get('group_size', 128)}-bf16-zp"
    if name in ("float8weightonly", "float8dynamicactivationfloat8weight"):
        return _float8(str(more.get("granularity")), by_row=name == "float8weightonly")
    if name in ("intxweightonly", "int8dynamicactivationintxweight"):
        return _unpacked(more)
    if name.startswith("nvfp4"):
        return "nvfp4"
    return {"int8weightonly": "int8-channel", "int8dynamicactivationint8weight": "int8-channel"}.get(name, "")


def _unpacked(more: dict[str, Any]) -> str:
    """Integers of torchao that are kept one a byte, whatever their bits, with a scale and a zero point in 8 bits.

    torchao/quantization/quantize_/workflows/intx/intx_unpacked_to_int8_tensor.py; packed for a CPU they are refused.
    """
    packing = str(more.get("intx_packing_format", more.get("packing_format", "UNPACKED_TO_INT8"))).upper()
    grain = more.get("weight_granularity") or more.get("granularity")
    kind, data = (grain.get("_type"), grain.get("_data") or {}) if isinstance(grain, dict) else (None, {})
    if "UNPACKED" not in packing or more.get("weight_scale_dtype") or more.get("scale_dtype"):
        return ""
    if kind == "PerGroup" and isinstance(data, dict):
        return f"int8-g{data.get('group_size')}-zp"
    return "int8-channel-zp" if kind == "PerAxis" else ""


def _float8(granularity: str, *, by_row: bool) -> str:
    """Float8 of torchao: an fp32 scale a row, or one a matrix; `by_row`: which it is where nothing is said.

    torchao/quantization/quant_api.py, Float8WeightOnlyConfig and Float8DynamicActivationFloat8WeightConfig.
    """
    if "PerGroup" in granularity or "PerBlock" in granularity:
        return ""
    rows = "PerRow" in granularity or (by_row and "PerTensor" not in granularity)
    return "fp8-channel-fp32" if rows else "fp8"


def _quark(said: dict[str, Any]) -> str:
    """Quark's weights: of all layers, or those that an entry of `layer_quant_config` sets."""
    config = said if isinstance(said.get("weight"), dict) else said.get("global_quant_config")
    weights = config.get("weight") if isinstance(config, dict) else None
    if not isinstance(weights, dict) or said.get("layer_type_quant_config"):
        return ""
    kind, scheme, group = (str(weights.get(key)) for key in ("dtype", "qscheme", "group_size"))
    if kind == "fp4" and (scheme, group) == ("per_group", "32"):
        return "mxfp4"
    if kind == "fp8_e4m3":
        return {"per_tensor": "fp8", "per_channel": "fp8-channel-fp32"}.get(scheme, "")
    if not kind.startswith("int"):
        return ""
    return _integers(kind[3:], group if scheme == "per_group" else -1, zero_point=weights.get("symmetric") is False)


def _scheme(said: dict[str, Any]) -> str:
    """Of the groups of compressed-tensors' schemes: the one that all have."""
    weights = [each.get("weights") for each in scheme_groups(said)]
    names = {format_of_group(each) if isinstance(each, dict) else "" for each in weights}
    sparse = said.get("sparsity_config")
    if len(names) != 1 or (isinstance(sparse, dict) and sparse.get("format", "dense") != "dense"):
        return ""
    return names.pop()


def scheme_groups(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of layers that compressed-tensors' `config_groups` describes."""
    groups = said.get("config_groups")
    return [each for each in groups.values() if isinstance(each, dict)] if isinstance(groups, dict) else []


def format_of_group(weights: dict[str, Any]) -> str:
    """The format of one group of layers, from what its scheme says of weights."""
    bits, kind, group = weights.get("num_bits"), weights.get("type", "int"), weights.get("group_size")
    strategy = str(weights.get("strategy") or ("group" if isinstance(group, int) and group > 0 else "tensor"))
    if kind == "float" and "group" in strategy:
        return {"4, 16": "nvfp4", "4, 32": "mxfp4", "8, 32": "mxfp8"}.get(f"{bits}, {group}", "")
    if kind == "float" or strategy == "tensor":
        squares = strategy == "block" and weights.get("block_structure") == [128, 128]
        name = f"{'fp' if kind == 'float' else 'int'}{bits}"
        return name + {"tensor": "", "channel": "-channel", "block": "-block128" if squares else "?"}.get(strategy, "?")
    if kind != "int" or strategy not in ("group", "channel"):
        return ""
    return _integers(bits, group if strategy == "group" else -1, zero_point=weights.get("symmetric") is False)


def _integers(bits: Any, group: Any, *, zero_point: bool) -> str:
    """The name of a format of integers; a group of -1 is a whole output channel."""
    return f"int{bits}-{'channel' if group == -1 else f'g{group}'}{'-zp' if zero_point else ''}"


METHODS: dict[str, Callable[[dict[str, Any]], str]] = {
    "mlx": _mlx,
    "hqq": _hqq,
    "torchao": _torchao,
    "quark": _quark,
    "aqlm": _aqlm,
    "higgs": _higgs,
    "exl2": _exl,
    "exl3": _exl,
    "quanto": _quanto,
    "eetq": _eetq,
    "bitnet": _bitnet,
    "metal": _metal,
    "vptq": _vptq,
}
