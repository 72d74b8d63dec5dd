"""What may be chosen of a training run as flat keywords, named as the command line names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcost.model.lora import lora_of
from llmcost.training.interruptions import reliability_of
from llmcost.training.recipe import Overlap, Recipe, overlap_of
from llmcost.training.train import Options

LAYOUT = {  # keyword -> field of the layout
    **{name: name for name in ("tp", "pp", "vp", "cp", "ep", "etp", "dp", "zero", "reshard", "shard", "micro_batch")},
    **{name: name for name in ("recompute", "recompute_layers", "sequence_parallel", "schedule")},
    "context_parallel": "context",
    "gpus_per_node": "node",
}
RELIABILITY = ("mtbf_hours", "restart_minutes", "checkpoint_minutes", "checkpoint_gb_per_s")
LORA = ("lora_rank", "lora_targets", "qlora")
RECIPE = ("dtype", "optimizer", "kernels", "unfused_attention", "overlap")
PLAIN = tuple(name for name in Options._fields if name not in ("layout", "recipe", "reliability"))
KEYWORDS = (*PLAIN, *LAYOUT, *RECIPE, *LORA, *RELIABILITY)


def options_of(dtype: str, chosen: Mapping[str, Any]) -> Options:
    """The options of a run. Raises InputError for overlaps, adapters or failures that make no sense."""
    overlap, kernels, targets = chosen.get("overlap"), chosen.get("kernels", "fused"), chosen.get("lora_targets")
    joined = targets if targets is None or isinstance(targets, str) else ",".join(targets)
    recipe = Recipe(
        dtype=dtype,
        optimizer=chosen.get("optimizer", "adam"),
        attention="unfused" if chosen.get("unfused_attention") else "fused",
        kernels=kernels,
        loss="plain" if kernels == "eager" else "in-place",
        overlap=overlap_of(overlap) if isinstance(overlap, str) else overlap or Overlap(),
        lora=lora_of(chosen.get("lora_rank"), joined, qlora=chosen.get("qlora", False)),
    )
    return Options(
        **{name: chosen[name] for name in PLAIN if name in chosen},
        layout={field: chosen[name] for name, field in LAYOUT.items() if name in chosen},
        recipe=recipe,
        reliability=reliability_of(*(chosen.get(name) for name in RELIABILITY)),
    )
