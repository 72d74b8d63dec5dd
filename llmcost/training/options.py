"""What may be chosen of a training run.

Each option is declared here once, and nowhere else: `llmcost.ground.options` says what comes of it.
"""

from functools import partial
from typing import Annotated, NamedTuple

from llmcost.ground.algebra import Number
from llmcost.ground.errors import check_word, shortened
from llmcost.ground.options import Option, count, flag, length, number, parse_name, share, word
from llmcost.ground.units import parse_count, parse_decimal
from llmcost.machine.textbook import END_TO_END_MFU
from llmcost.model.lora import parse_targets
from llmcost.model.training_kernels import CONTEXTS, KERNELS, MODULES, SCHEDULES
from llmcost.parallel.layout import RECOMPUTE, Layout
from llmcost.parallel.stages import ACCOUNT_FOR, parse_stages
from llmcost.serving.options import MOST_TOKENS, All2all, GpusPerNode, Host, Mfu, Pp, Pue, Tp
from llmcost.specs.hardware import PCIE
from llmcost.training.interruptions import CHECKPOINT_BYTES_PER_S, GPU_MTBF_HOURS, RESTART_MINUTES
from llmcost.training.recipe import (
    DISPATCHES,
    DTYPES,
    OPTIMIZERS,
    PRODUCTION,
    Imbalance,
    Overlap,
    imbalance_of,
    overlap_typed,
)


def parse_drives(text: str) -> tuple[float, float]:
    """GB/s that drives read and write, of `25/14`, or `25` for both. Raises ValueError."""
    read, _, write = text.partition("/")
    found = float(parse_decimal(read)), float(parse_decimal(write or read))
    if not all(0 < each < 1e6 for each in found):
        raise ValueError("GB/s above 0, as in 25, or 25/14 for reading and writing")
    return found


def parse_modules(text: str) -> tuple[str, ...]:
    """Modules that are recomputed, by Megatron-Core's names. Raises ValueError."""
    found = tuple(name.strip() for name in text.split(","))
    for name in found:
        if name not in MODULES:
            raise ValueError(f"{shortened(name)} is none of {', '.join(MODULES)}")
    if len({*found}) < len(found):
        raise ValueError("a module comes twice")
    return found


STAGES = ("0", "1", "2", "3")


class Options(NamedTuple):
    """What the user may choose; None stands for the default beside it."""

    engine: Annotated[
        str | None,
        Option(
            "The program that trains: a shipped name (llmcost engines) or a YAML spec.",
            parse_name,
            default="the usual one: megatron-core, torchtitan with --zero 3, hf-trainer for adapters or PCIe, maxtext",
        ),
    ] = None
    gpus: Annotated[Number, count("GPUs in all.", default="the product of the degrees")] = None
    tokens: Annotated[
        Number,
        count(
            "Length of the training run.",
            "TOKENS",
            MOST_TOKENS,
            default="15T, or 15.36M of adapters",
            letter="D",
            meaning="training tokens",
        ),
    ] = None
    seq: Annotated[
        Number,
        length(
            "Tokens of a sequence.",
            default="as the model was trained, or its maximum or 8192",
            letter="s",
            meaning="tokens of a sequence",
        ),
    ] = None
    micro_batch: Annotated[
        Number,
        count(
            "Sequences that a model replica runs at a time.",
            "SEQUENCES",
            default="1",
            letter="b",
            meaning="sequences of a micro-batch",
        ),
    ] = None
    global_batch: Annotated[
        Number,
        count(
            "Sequences of a step.",
            "SEQUENCES",
            default="as many tokens as the model was trained with, where that is known, or about 4M",
            letter="B",
            meaning="sequences of a step",
        ),
    ] = None
    tp: Tp = None
    pp: Pp = None
    vp: Annotated[
        Number,
        count(
            "Chunks of layers a stage (interleaved pipeline).",
            default="1",
            letter="vp",
            meaning="chunks of layers a stage",
        ),
    ] = None
    stages: Annotated[
        tuple[int, ...] | None,
        Option(
            "Layers of each pipeline stage, as 15,16*2,13 or 15+16*2+13; the first and last may have none.",
            parse_stages,
            "N,N,…",
            default="as even as can be",
        ),
    ] = None
    first_stage_layers: Annotated[
        Number,
        count(
            "Layers of the first stage (Megatron's --decoder-first-pipeline-num-layers).", least=0, default="as others"
        ),
    ] = None
    last_stage_layers: Annotated[
        Number,
        count(
            "Layers of the last stage (Megatron's --decoder-last-pipeline-num-layers).", least=0, default="as others"
        ),
    ] = None
    account_for: Annotated[
        str | None,
        word(
            "What counts as a layer when they are dealt out to stages (Megatron's --account-for-…-in-pipeline-split).",
            tuple(ACCOUNT_FOR),
            default="layers alone",
        ),
    ] = None
    cp: Annotated[
        Number,
        count(
            "Context parallelism: GPUs that split every sequence.",
            "DEGREE",
            default="1, or what makes a long sequence fit",
            letter="cp",
            meaning="GPUs that a sequence is split over",
        ),
    ] = None
    ep: Annotated[
        Number,
        count(
            "Expert parallelism: GPUs that share experts.",
            "DEGREE",
            default="1",
            letter="ep",
            meaning="GPUs that experts are spread over",
        ),
    ] = None
    etp: Annotated[Number, count("GPUs that split an expert.", "DEGREE", default="--tp, or what --ep leaves of it")] = (
        None
    )
    dp: Annotated[
        Number,
        count(
            "Data parallelism: ranks, each with its sequences.",
            "DEGREE",
            default="what the other degrees leave",
            letter="dp",
            meaning="data-parallel ranks, each with its sequences",
        ),
    ] = None
    zero: Annotated[
        int | None,
        Option(
            "Divided over replicas: 1 optimizer, 2 gradients too, 3 weights too (FSDP).",
            parse_count,
            "|".join(STAGES),
            partial(check_word, known=STAGES),
            default="what is fastest and fits",
        ),
    ] = None
    reshard: Annotated[
        bool | None, flag("With --zero 3: free the weights after the forward pass, or keep them.", default="free")
    ] = None
    shard: Annotated[Number, count("Replicas that states are divided over (hybrid sharding).", default="all")] = None
    recompute: Annotated[
        str | None, word("What the backward pass recomputes.", RECOMPUTE, default="what is fastest and fits")
    ] = None
    recompute_layers: Annotated[Number, count("Layers a stage that are recomputed.", default="all")] = None
    recompute_modules: Annotated[
        tuple[str, ...] | None,
        Option(
            f"With --recompute selective: what, as Megatron-Core names it: {', '.join(MODULES)}.",
            parse_modules,
            "NAME,…",
            default="the engine's",
        ),
    ] = None
    sequence_parallel: Annotated[bool | None, flag("Split tokens between the split layers of --tp.", default="yes")] = (
        None
    )
    schedule: Annotated[str | None, word("Schedule of the pipeline.", SCHEDULES, default="the engine's")] = None
    context_parallel: Annotated[
        str | None, word("How --cp communicates keys and values.", CONTEXTS, default="the engine's")
    ] = None
    optimizer: Annotated[str, word("What updates the weights.", tuple(OPTIMIZERS), "NAME")] = "adam"
    dtype: Annotated[
        str | None,
        word(
            "Data type of computing and activations.",
            DTYPES,
            default="as the model was trained, or bf16, or fp16 where the GPU lacks it",
        ),
    ] = None
    unfused_attention: Annotated[bool, flag("Write scores to memory, as without FlashAttention.")] = False
    cuda_graphs: Annotated[bool, flag("Kernels are replayed from CUDA graphs: no layer waits for the host.")] = False
    drop_tokens: Annotated[bool, flag("Tokens beyond an expert's capacity are dropped: the host counts none.")] = False
    all2all: All2all = None
    dispatch_dtype: Annotated[
        str | None,
        word(
            "Data type in which tokens are sent to experts; they come back in 16 bits.",
            tuple(DISPATCHES),
            default="the engine's: of megatron-core fp8 with --dtype fp8 and fp4",
        ),
    ] = None
    kernels: Annotated[
        str | None,
        word("Compiled by PyTorch, Transformer Engine's, or plain PyTorch's.", KERNELS, default="the engine's"),
    ] = None
    overlap: Annotated[
        Overlap | str | None,
        Option(
            f"Shares of communication that cost no time: {', '.join(Overlap._fields)}.",
            overlap_typed,
            "NAME=SHARE,…",
            default="the engine's",
        ),
    ] = None
    mtp_layers: Annotated[
        Number,
        count(
            "Modules trained to predict further tokens (Megatron's --mtp-num-layers).",
            most=16,
            least=0,
            default="as the model was trained, or 0",
        ),
    ] = None
    imbalance: Annotated[
        Imbalance | None,
        Option(
            "How many times the mean the fullest rank has to do, for which others wait: expert, of tokens for its "
            "experts; context, of attention where 131,072 tokens are packed from documents. 1: none, as in benchmarks.",
            imbalance_of,
            "NAME=FACTOR,…",
            default=f"expert={PRODUCTION.expert:g},context={PRODUCTION.context:g}",
        ),
    ] = None
    gpus_per_node: GpusPerNode = None
    offload: Annotated[
        str | None,
        word(
            "What leaves the GPU for its host: the optimizer's states, with --zero 3 weights too, with --recompute "
            "full inputs of layers (activations); needs --host.",
            ("optimizer", "weights", "activations"),
            default="nothing",
        ),
    ] = None
    host: Host = None
    host_link: Annotated[
        str | None,
        word("With --offload: what joins a GPU to its host.", tuple(PCIE), default="the GPU's own link, if PCIe"),
    ] = None
    offload_to: Annotated[
        str | None,
        word("With --offload: the host's memory, or its drives (ZeRO-Infinity).", ("host", "nvme"), default="host"),
    ] = None
    nvme_gb_per_s: Annotated[
        tuple[float, float] | None,
        Option(
            "With --offload-to nvme: what the drives of a node read and write, as 25/14.",
            parse_drives,
            "READ/WRITE",
            default="as the system's spec says",
        ),
    ] = None
    nvme_tb: Annotated[
        Number, number("With --offload-to nvme: what the drives of a node hold.", "TB", default="as the spec says")
    ] = None
    offload_share: Annotated[
        Number,
        share("Of the optimizer's states, those that leave the GPU (Megatron's --optimizer-offload-fraction)."),
    ] = 1
    offload_overlap: Annotated[
        bool,
        flag(
            "Copies, drives and the CPU's update at the same time (Megatron's --overlap-cpu-optimizer-d2h-h2d, "
            "DeepSpeed's pipeline_read and pipeline_write)."
        ),
    ] = False
    price: Annotated[Number, number("Dollars a GPU-hour.", "DOLLARS", letter="price", meaning="dollars a GPU-hour")] = (
        None
    )
    profile: Annotated[
        str | None,
        Option(
            "A profile measured by llmcost bench.", metavar="FILE", default="on one GPU, its shipped one, if there is"
        ),
    ] = None
    lora_rank: Annotated[Number, count("Train adapters of this rank; all else is frozen.")] = None
    lora_targets: Annotated[
        tuple[str, ...] | None,
        Option("Linear layers with an adapter, or all-linear.", parse_targets, "NAME,…", default="q_proj,v_proj"),
    ] = None
    qlora: Annotated[bool, flag("Frozen weights of the layers in 4 bits (NF4).")] = False
    mtbf_hours: Annotated[
        Number, number("GPU-hours between failures.", "HOURS", default=f"{GPU_MTBF_HOURS.value:,.0f}, Llama 3's")
    ] = None
    restart_minutes: Annotated[
        Number, number("Minutes from a failure to the next step.", "MINUTES", default=f"{RESTART_MINUTES.value:g}")
    ] = None
    checkpoint_minutes: Annotated[
        Number, number("Minutes between checkpoints.", "MINUTES", default="what loses the least")
    ] = None
    checkpoint_gb_per_s: Annotated[
        Number,
        number(
            "Rate at which one GPU writes a checkpoint.",
            "GB/S",
            default=f"{CHECKPOINT_BYTES_PER_S.value / 1e9:.3f}, Megatron-LM's",
        ),
    ] = None
    power_share: Annotated[
        Number, share("A GPU's mean draw, of its TDP.", default="as such steps were measured to draw, else 1")
    ] = None
    pue: Pue = 1
    carbon: Annotated[Number, number("Grams of CO2 that the grid emits a kWh.", "GRAMS")] = None
    mfu: Mfu = END_TO_END_MFU


LAYOUT = tuple(name for name in Options._fields if name in Layout._fields)  # options that are fields of a layout
