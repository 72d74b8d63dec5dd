"""Files beside a config that say how its weights are kept, where the config itself does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from llmcost.specs.json_text import parse_json
from llmcost.specs.reader import read_text

LARGEST = 100_000_000  # bytes: EXL3's list of a checkpoint's tensors
STORED = "quantization_config.json"  # EXL3 (exllamav3/conversion/quant_config.py)
AWQ = {"w_bit": "bits", "q_group_size": "group_size"}  # what AutoAWQ calls otherwise there


class Beside(NamedTuple):
    """A file that the quantisation comes from: its name, its text, and the keys under which it stands there."""

    file: str
    text: str
    place: tuple[str, ...] = ()


def quantization_beside(config: Path, said: dict[str, Any]) -> tuple[Any, Beside] | None:
    """The `quantization_config` that a file beside a config has or adds to; None where none does. Raises SpecError.

    ModelOpt's hf_quant_config.json, AutoGPTQ's quantize_config.json and AutoAWQ's quant_config.json, of which vLLM
    reads the same (vllm/model_executor/layers/quantization, get_config_filenames); EXL3's list of tensors.
    """
    quantized = said.get("quantization_config")
    if isinstance(quantized, dict):
        if quantized.get("quant_method") != "exl3" or "tensor_storage" in quantized:
            return None
        found = _read(config.with_name(STORED))
        return found and (quantized | {"tensor_storage": found[0].get("tensor_storage")}, found[1])
    if quantized is not None or "quantization" in said:
        return None
    if found := _read(config.with_name("hf_quant_config.json")):
        inside = found[0].get("quantization")
        whole = {"quant_method": "modelopt", **inside} if isinstance(inside, dict) else inside
        return whole, found[1]._replace(place=("quantization",))
    if (found := _read(config.with_name("quantize_config.json"))) and "bits" in found[0]:
        return {"quant_method": "gptq", **found[0]}, found[1]
    if (found := _read(config.with_name("quant_config.json"))) and "w_bit" in found[0]:
        return {"quant_method": "awq", **{AWQ.get(key, key): value for key, value in found[0].items()}}, found[1]
    return None


def _read(path: Path) -> tuple[dict[str, Any], Beside] | None:
    """The object in a JSON file; None where there is no such file. Raises SpecError."""
    if not path.is_file():
        return None
    beside = Beside(str(path), read_text(path, LARGEST))
    return parse_json(beside.text, beside.file), beside
