"""The figures of an answer that an engine's command and its log are made of (FIGURES, LOGGED of specs)."""

from __future__ import annotations

import re
from math import ceil, floor
from os.path import isdir
from pathlib import Path
from typing import Any, NamedTuple

from llmcost.model.architecture import operators
from llmcost.model.counting import count_params, stored_bytes
from llmcost.model.sizes import Load, activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.parallel.offload import EXPERTS, LAYERS, on_host
from llmcost.serving.apart import plain_pools, prompts_workload
from llmcost.serving.caches import allocation, page_of
from llmcost.serving.estimate import estimate
from llmcost.serving.options import Workload
from llmcost.serving.phases import decode_step
from llmcost.serving.results import Memory
from llmcost.serving.server import machine_of, server_of
from llmcost.serving.speculation import WAYS
from llmcost.specs.catalog import GGUF, gguf_in, load_engine, load_model
from llmcost.specs.engine_command import Command
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.hub import HUB_ID

GIB, MIB, BITS = 2**30, 2**20, 8
ON_A_HUB = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)")
PLAIN = ("bf16", "fp16", "fp32")  # between which an engine casts while it loads
ALL = "all"  # layers, where none is on the host
FILL_IN = "/path/to/"  # begins a place that only the user knows
PART = re.compile(r"-\d{5}-of-(?=\d{5}\.gguf$)")
RANK, ADDRESS = "$NODE_RANK", "$HEAD_ADDRESS"  # variables of the shell that the user sets on each node


class Asked(NamedTuple):
    """What is launched: a workload and its memory, what the user calls the model, how many such servers there are.

    `kv_tokens`: that the cache of a rank is held to; None: what the memory leaves. `prefix_caching`: None: as it is.
    """

    model: ModelSpec
    hardware: HardwareSpec
    workload: Workload
    memory: Memory
    name: str
    servers: int = 1
    kv_tokens: int | None = None
    prefix_caching: bool | None = None
    role: str | None = None  # prefill or decode, where prompts run apart


def figures_of(command: Command, asked: Asked) -> dict[str, Any]:
    """The figures that arguments are made of; None for what is not there, or is as the engine has it anyway."""
    model, w, m = asked.model, asked.workload, asked.memory
    experts, sharing, ranks = spread_of(command, model, w)
    gpus, page = w.tp * w.pp * ranks, page_of(w.engine)
    nodes = ceil(gpus / w.gpus_per_node)
    slots, most = running_of(w), None if w.max_num_seqs is None else slots_of(w)
    own, guessed, engine = activation_dtype(w.dtype), bool(w.speculate), load_engine(w.engine)
    drafted = guessed and w.draft not in WAYS
    return {
        "model": place_of(command, asked),
        "tp": w.tp,
        "pp": w.pp,
        "dp": ranks,
        "own_ranks": ranks // sharing,
        "ep": w.ep,
        "experts": experts,
        "all2all": w.all2all and w.all2all + (" for prompts" if asked.role == "prefill" else ""),
        "sharing_ranks": sharing,
        "stage_gpus": w.tp * sharing,
        **placed(model, asked.hardware, w),
        "split": "layers" if w.pp > 1 and w.tp == 1 else "both" if w.pp > 1 else "tensors" if w.tp > 1 else None,
        "context": w.context,
        "decoded": decoded_of(model, w),
        "all_context": w.context * slots,
        "all_pages": ceil(w.context / page) * page * slots,
        "max_num_seqs": most,
        "all_sequences": most and most * sharing,
        "slots": slots,
        "chunk": w.chunk,
        "all_chunk": None if w.chunk is None else w.chunk * sharing,
        "pooled": None if model.generates else True,
        "chunked": True if w.chunk is not None and w.prompt > w.chunk else None,
        "memory_utilization": w.memory_utilization,
        "free_memory_fraction": w.free_memory_fraction,
        "mem_fraction_static": static_fraction_of(w, m),
        "activations": None if own == model.dtype else own,
        "kv_dtype": None if w.kv_dtype == (engine.cache_of(w.weight_dtype) or own) else w.kv_dtype,
        "quantised": w.weight_dtype if _is_quantised_by(command, w) and not _are_stored(model, w) else None,
        "cuda_graphs": w.cuda_graphs or w.offload is not None,  # with a part on the host nobody asks for them
        "draft": None if not guessed else "model" if drafted else w.draft,
        "draft_model": name_on_a_hub(load_model(w.draft)) or w.draft if drafted else None,
        "speculate": w.speculate or None,
        "verified": w.speculate + 1 if guessed else None,
        "kv_tokens": asked.kv_tokens,
        "kv_blocks": None if asked.kv_tokens is None else asked.kv_tokens // page,
        "looks": server_of(model, *machine_of(asked.hardware, w), w).looks(w.concurrency) if not asked.role else None,
        "prefix_caching": True if asked.prefix_caching is None and w.prefix_hit else asked.prefix_caching,
        "gpus": gpus,
        "nodes": nodes,
        "gpus_per_node": w.gpus_per_node if nodes > 1 else None,
        "node_rank": RANK if nodes > 1 else None,
        "head_address": ADDRESS if nodes > 1 else None,
        "other_node": True if nodes > 1 else None,
        "role": asked.role,
    }


def static_fraction_of(w: Workload, m: Memory) -> float | None:
    """The share for weights and cache that an engine has to be told; None where it finds the same one by itself."""
    if w.mem_fraction_static is not None:
        return float(w.mem_fraction_static)
    if m.mem_fraction_static is not None:
        return None
    left = m.usable_bytes - m.runtime_bytes
    return float(floor((left - m.set_aside_bytes - m.activation_bytes) / left * 1000) / 1000)


def pools_asked(asked: Asked) -> list[Asked]:
    """The servers that run prompts and those that decode, of a workload whose prompts run apart."""
    w = asked.workload
    together, wp = plain_pools(w), prompts_workload(w)
    running = None if w.concurrency is None else ceil(w.concurrency * w.gpus / w.decode_gpus)
    prompts = plain_pools(wp)._replace(speculate=None, draft=Workload._field_defaults["draft"], concurrency=None)
    found = estimate(asked.model, asked.hardware, prompts.without_mix()).memory
    return [
        asked._replace(workload=prompts, memory=found, servers=w.prefill_gpus // wp.gpus, role="prefill"),
        asked._replace(workload=together._replace(concurrency=running), servers=w.decode_gpus // w.gpus, role="decode"),
    ]


def placed(model: ModelSpec, hardware: HardwareSpec, w: Workload) -> dict[str, Any]:
    """What is on GPUs and what on the host (FIGURES).

    llama.cpp counts the layers of the GPUs from the last, the output's being one (`load_tensors`), and those whose
    experts are on the host from the first.
    """
    part, _, count = (w.offload or "").partition(":")
    layers = int(count) if part == LAYERS else 0
    whole = part == EXPERTS and (not count or int(count) == model.expert_layers())
    on_gpus = None if hardware.is_cpu() else model.num_hidden_layers + 1 - layers
    return {
        "gpu_layers": on_gpus if layers else on_gpus and ALL,
        "layers_on_gpus": on_gpus,
        "host_experts": int(count) if part == EXPERTS and not whole else None,
        "all_host_experts": whole or None,
        "no_gpu": hardware.is_cpu() or None,
    }


def decoded_of(model: ModelSpec, w: Workload) -> int:
    """Tokens that a request's decoder may hold: all of its positions, unless an output or a longer context is said."""
    if model.encoder is None:
        return int(w.context)
    asked = w.output or w.context - w.prompt
    return int(asked or model.max_position_embeddings)


def spread_of(command: Command, model: ModelSpec, w: Workload) -> tuple[str, int, int]:
    """Where experts are (FIGURES), data-parallel ranks that share them, and ranks that one server has.

    Ranks that share no experts need not be one server: where an engine cannot hold them, each is a server of its own.
    """
    layout = Layout(w.tp, w.pp, w.dp, w.ep)
    sharing = int(layout.expert_ranks())
    if model.has_experts() and w.ep > 1:
        return "partly" if layout.expert_tp() > 1 else "spread", sharing, sharing
    experts = "copied" if model.has_experts() and w.dp > 1 else "whole"
    told = [each for each in command.arguments if each.figure == "experts"]
    if not {"dp", "own_ranks"} & command.uses() or any(experts not in each.words for each in told):
        return "whole", 1, 1
    return experts, 1, w.dp


def _are_stored(model: ModelSpec, w: Workload) -> bool:
    """Whether the checkpoint has its weights in this format; plain types are cast while they are loaded."""
    own = model.weight_format or model.dtype
    return w.weight_dtype == own or (own in PLAIN and w.weight_dtype in PLAIN)


def _is_quantised_by(command: Command, w: Workload) -> bool:
    """Whether the engine brings a checkpoint's weights to this format itself."""
    return any(w.weight_dtype in each.words for each in command.arguments if each.figure == "quantised")


def place_of(command: Command, asked: Asked) -> str:
    """What is typed for the model: a hub id, a folder of the user's, or a place that the user has to fill in."""
    model, w, name = asked.model, asked.workload, asked.name
    as_stored = _are_stored(model, w) or _is_quantised_by(command, w)
    file = gguf_in(Path(name))
    if command.weights_file == GGUF == file.suffix and w.weight_dtype == model.weight_format and file.is_file():
        return _first_part(file)
    if command.weights_file:
        return f"{FILL_IN}{model.name}-{w.weight_dtype}{command.weights_file}"
    if not as_stored:
        return f"{FILL_IN}{model.name}-{w.weight_dtype}"
    if isdir(name):
        return f"./{name}" if name.startswith("-") else name
    if name.endswith("config.json"):
        return name.removesuffix("config.json").rstrip("/") or "."
    if found := name_on_a_hub(model):
        return found
    return name if HUB_ID.fullmatch(name) else f"{FILL_IN}{model.name}"


def _first_part(file: Path) -> str:
    """A GGUF file, of a split one the first, as a shell takes it for no flag."""
    place = str(file.with_name(PART.sub("-00001-of-", file.name)))
    return f"./{place}" if place.startswith("-") else place


def name_on_a_hub(model: ModelSpec) -> str | None:
    """The hub id of the repository that the model was read from."""
    found = ON_A_HUB.match(model.source)
    return found and found[1]


def logged(asked: Asked) -> dict[str, Any]:
    """The figures that lines of the log are made of: those of a GPU on the fullest pipeline stage."""
    model, m, w = asked.model, asked.memory, asked.workload
    server = server_of(model, *machine_of(asked.hardware, w), w)
    step = decode_step(server, w, w.context)
    caches = allocation(step.share.layers, w.prompt if w.chunk is None else min(w.prompt, w.chunk), server.page)
    caches = caches.scaled(server.stage_share())
    room = m.usable_bytes - m.overhead_bytes - m.weights_bytes - m.activation_bytes
    position = caches.growing + sum(each.position for each in caches.windows)
    block = caches.page * position + caches.states
    tokens = int(room // block * caches.page) if block else 0
    longest = caches.sequence(w.context) + caches.prompt(w.context)
    fitting = room / longest if longest else 0
    slots = running_of(w)
    weights = m.weights_bytes * w.tp * w.pp + stored_bytes(on_host(step.share.layers))
    params = count_params(operators(model, server.size, Load(1, 1, 1))).total
    return {
        "weights_gib": m.weights_bytes / GIB,
        "weights_mib": m.weights_bytes / MIB,
        "model_gib": weights / GIB,
        "bits_a_weight": weights * BITS / params,
        "layers_on_gpus": placed(model, asked.hardware, w)["layers_on_gpus"],
        "all_layers": model.num_hidden_layers + 1,
        "room_gib": room / GIB,
        "kv_tokens": tokens,
        "kv_blocks": tokens // server.page,
        "block_mib": int(server.page * position // MIB),
        "mem_fraction_static": m.mem_fraction_static or static_fraction_of(w, m),
        "kv_gib": tokens * position / GIB,
        "half_gib": tokens * position / 2 / GIB,
        "fitting": fitting,
        "fitting_tokens": int(fitting * w.context),
        "all_context_mib": w.context * slots * position * w.tp * w.pp / MIB,
        "context": w.context,
        "all_context": w.context * slots,
        "chunk": w.chunk or w.prompt,
        "slots": slots,
    }


def slots_of(w: Workload) -> int:
    """Requests that a rank runs at a time: as many as it may, or as are asked about; a batch alone has to find room."""
    asked: int = ceil((w.concurrency or w.batch) / w.dp)
    if w.max_num_seqs is None or (asked > w.max_num_seqs and not w.is_mix()):
        return asked
    return int(w.max_num_seqs)


def running_of(w: Workload) -> int:
    """Requests that a rank runs at a time: as many as are asked about, of a mix at most as many as it may."""
    asked: int = ceil((w.concurrency or w.batch) / w.dp)
    return slots_of(w) if w.is_mix() else asked
