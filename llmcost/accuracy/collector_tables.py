"""Tables of measured kernels, read by their kinds: which kinds are understood, and the rows of a table in groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmcost.accuracy.collector import (
    Arrays,
    Group,
    Readers,
    Table,
    context_groups,
    decode_groups,
    exchange_groups,
    expert_groups,
    numbers,
    opened,
    prefill_groups,
    product_groups,
    rows_of,
)
from llmcost.accuracy.collector_blocks import (
    absorbed_groups,
    choice_groups,
    chosen_groups,
    compressed_groups,
    recurrence_groups,
    score_groups,
)
from llmcost.accuracy.collector_modules import module_groups, stream_groups
from llmcost.accuracy.collector_spread import sent_groups, spread_groups
from llmcost.ground.errors import SpecError
from llmcost.specs.catalog import load_hardware

# Whole modules, and how attention is fitted where it was not measured alone: as sparse, as a latent's, or not.
MODULES = {
    "mla_context_module": "latent",
    "mla_generation_module": "",
    "wideep_context_mla": "",
    "wideep_generation_mla": "",
    "dsa_context_module": "sparse",
    "dsa_generation_module": "sparse",
    "dsv4_csa_context_module": "sparse",
    "dsv4_csa_generation_module": "sparse",
    "dsv4_hca_context_module": "sparse",
    "dsv4_hca_generation_module": "sparse",
    "msa_context_module": "sparse",
    "msa_generation_module": "sparse",
    "mhc_module": "",
}
NO_NUMBERS = "a column holds no numbers"
SENT = ("wideep_deepep_ll", "wideep_deepep_normal")  # which have a time for each way
# Tables and their engine and GPU (empty: any) -> why none of our operators is what they measured.
LEFT_OUT: dict[tuple[str, str, str], str] = {
    ("computescale", "", ""): "what a token's own scale adds to quantising, which products' numbers hold",
    ("dsv4_megamoe_module", "", ""): "experts and both exchanges in one kernel, which no engine here runs",
    ("trtllm_alltoall", "", ""): "an exchange over NVLink that no library here stands for",
    ("msa_context_module", "trtllm", ""): "block-sparse attention without a kernel of its own",
    ("msa_generation_module", "trtllm", ""): "block-sparse attention without a kernel of its own",
    **{
        (f"dsv4_{name}", "sglang", "rtx-pro-6000"): "compressed attention without a kernel of its own"
        for name in ("csa_generation_module", "hca_context_module", "hca_generation_module")
    },
}
READERS: dict[str, Readers] = {
    "gemm": product_groups,
    "moe": expert_groups,
    "context_attention": context_groups,
    "generation_attention": decode_groups,
    "context_mla": lambda hardware, table: prefill_groups(hardware, table, latent=True),
    "generation_mla": lambda hardware, table: decode_groups(hardware, table, latent=True),
    "custom_allreduce": exchange_groups,
    "nccl": exchange_groups,
    "mla_bmm": absorbed_groups,
    "gdn": recurrence_groups,
    "kda": recurrence_groups,
    "mamba2": recurrence_groups,
    "glm5_dsa_attn_module": chosen_groups,
    "dsv4_hca_attn_module": compressed_groups,
    "glm5_mqa_logits_module": score_groups,
    "dsv4_paged_mqa_logits_module": score_groups,
    "glm5_topk_module": choice_groups,
    **dict.fromkeys(MODULES, module_groups) | {"mhc_module": stream_groups},
    **dict.fromkeys(("wideep_moe", "wideep_context_moe", "wideep_generation_moe"), spread_groups),
    **dict.fromkeys(SENT, sent_groups),
}


def left_out(table: Table) -> str:
    """Why no operator of ours is what a table measured; empty for all others."""
    found = (LEFT_OUT.get((table.kind, *of)) for of in (("", ""), (table.engine, ""), (table.engine, table.gpu)))
    return next((reason for reason in found if reason), "")


def columns_of(table: Table) -> Arrays:
    """The columns of a table as arrays. Raises SpecError, also for a row of a known table without a time above 0."""
    with opened(table) as file:
        read = file.read()
    twice = next((name for name in read.column_names if read.column_names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(str(table.path), 0, twice, "this column stands twice")
    columns = {name: read.column(name).to_numpy(zero_copy_only=False) for name in read.column_names}
    if table.kind in READERS and table.kind not in SENT:
        _check_times(table, columns)
    return columns


def _check_times(table: Table, columns: Arrays) -> None:
    """Raise SpecError where a row has no time above 0."""
    if "latency" not in columns:
        raise SpecError(str(table.path), 0, "latency", "this column is missing")
    try:
        times = numbers(columns, "latency")[0]
    except (TypeError, ValueError) as error:
        raise SpecError(str(table.path), 0, "latency", f"{NO_NUMBERS}: {error}") from None
    wrong = np.flatnonzero(~((times > 0) & np.isfinite(times)))
    if len(wrong):
        row = int(wrong[0])
        raise SpecError(
            str(table.path), 0, "latency", f"row {row + 1}: {times[row]:g} ms is no time that a kernel takes"
        )


def read_groups(table: Table, gpu: str) -> Iterator[Group]:
    """The rows of a table on a GPU that have a form, by their variants. Raises as `columns_of` does."""
    columns, hardware = columns_of(table), load_hardware(gpu)
    if not rows_of(table):
        return
    try:
        yield from READERS[table.kind](hardware, columns)
    except KeyError as error:
        raise SpecError(str(table.path), 0, str(error.args[0]), "this column is missing") from None
    except (TypeError, ValueError) as error:
        raise SpecError(str(table.path), 0, "", f"{NO_NUMBERS}: {error}") from None
