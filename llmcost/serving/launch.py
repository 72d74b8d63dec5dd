"""The command that starts an engine so that it serves what was estimated, and the lines that its log has then.

Both are data of the engine's file (specs/engine_command.py). Here are the figures that they are made of.
"""

from __future__ import annotations

import json
import re
import shlex
from math import ceil, floor
from os.path import isdir
from typing import Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.model.architecture import operators
from llmcost.model.counting import count_params
from llmcost.model.sizes import Load, activation_dtype
from llmcost.model.spec import ModelSpec
from llmcost.parallel.layout import Layout
from llmcost.serving.caches import PAGE, allocation
from llmcost.serving.estimate import machine_of, server_of
from llmcost.serving.options import Workload
from llmcost.serving.phases import decode_step
from llmcost.serving.results import Memory
from llmcost.specs.engine import EngineSpec
from llmcost.specs.engine_command import BRACKETS, FIGURES, Argument, Command, as_word
from llmcost.specs.hardware import HardwareSpec
from llmcost.specs.hub import HUB_ID

SCHEMA = "llmcost.launch/1"
GIB, MIB, BITS = 2**30, 2**20, 8
ON_A_HUB = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)")
PLAIN = ("bf16", "fp16", "fp32")
FILL_IN = "/path/to/"  # begins a place that only the user knows
RANK, ADDRESS = "$NODE_RANK", "$HEAD_ADDRESS"  # variables of the shell that the user sets on each node
# Figures that must reach the engine where they are not these values, by any of the figures named.
REACHED_BY: dict[str, tuple[str, ...]] = {
    "tp": ("tp", "stage_gpus", "split"),
    "pp": ("pp", "split"),
    "sharing_ranks": ("dp", "stage_gpus"),
    "ep": ("experts", "ep"),
    "kv_dtype": ("kv_dtype",),
    "draft": ("draft",),
    "kv_tokens": ("kv_tokens", "kv_blocks"),
    "prefix_caching": ("prefix_caching",),
    "free_memory_fraction": ("free_memory_fraction",),
    "cuda_graphs": ("cuda_graphs",),
    "nodes": ("nodes",),
}


class Speculation(NamedTuple):
    """Tokens that are guessed in a step, and what guesses them: a `way` (mtp, ngram), or the place of a model."""

    tokens: int
    draft: str
    way: bool = True


class Typed(NamedTuple):
    """One argument as it is typed: `flag` is "" where there is none, `value` "" where the flag alone is typed.

    Of a setting, which stands in a file, `flag` is the name of the file.
    """

    flag: str
    value: str
    why: str
    source: str


class Logged(NamedTuple):
    """A line of the log as predicted, without its time and place, and where its wording is from."""

    line: str
    source: str


class Launch(NamedTuple):
    """What starts an engine, and what it prints then.

    `command`: in one line, on the first node; `lines`: all that is typed, with remarks behind #. `missing`: why there
    is no command; None where there is one. `log`: lines that tell of memory.
    """

    model: str
    hardware: str
    engine: str
    version: str
    command: str | None = None
    arguments: tuple[Typed, ...] = ()
    lines: tuple[str, ...] = ()
    missing: str | None = None
    log: tuple[Logged, ...] = ()

    def part(self) -> dict[str, Any]:
        """What the document of another answer has of it: `launch` and `log`."""
        named = {name: getattr(self, name) for name in ("engine", "version", "command", "lines", "missing")}
        launch = named | {"arguments": self.rows()}
        return {"launch": launch, "log": [each._asdict() for each in self.log]}

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `llmcost estimate --launch --json`."""
        return {"schema": SCHEMA, "model": self.model, "hardware": self.hardware} | self.part()

    def rows(self) -> list[dict[str, Any]]:
        """A row an argument."""
        return [each._asdict() for each in self.arguments]

    def __repr__(self) -> str:
        """In one line."""
        what = f"{self.model} on {self.hardware} by {self.engine} {self.version}"
        return f"<Launch of {what}: {self.missing or self.command}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.rows())


class Asked(NamedTuple):
    """What is launched: a workload and its memory, what the user calls the model, how many such servers there are.

    `kv_tokens`: that the cache of a rank is held to; None: what the memory leaves. `prefix_caching`: None: as it is.
    """

    model: ModelSpec
    hardware: HardwareSpec
    workload: Workload
    memory: Memory
    name: str
    speculation: Speculation | None = None
    servers: int = 1
    kv_tokens: int | None = None
    prefix_caching: bool | None = None


def launch_of(engine: EngineSpec, asked: Asked) -> Launch:
    """The command that starts the engine; where there is none, why."""
    version = engine.version if engine.command is None else engine.command.version
    found = Launch(asked.model.name, asked.hardware.name, engine.name, version, log=log_of(engine, asked))
    try:
        return _with_command(found, engine, asked)
    except InputError as error:
        return found._replace(missing=str(error))


def _with_command(found: Launch, engine: EngineSpec, asked: Asked) -> Launch:
    """The same with the command. Raises InputError where there is none, or it cannot say what was asked."""
    command = engine.command
    if command is None:
        raise InputError(f"{engine.title} has no command that starts a server")
    if asked.memory.fits is not True:
        raise InputError(f"{asked.model.name} does not fit on {asked.hardware.title} in this layout")
    figures = figures_of(command, asked)
    _refuse_unreached(engine, command, figures)
    texts = [(each, text) for each in command.arguments if (text := _text(engine, each, figures)) is not None]
    flags = [(each, text) for each, text in texts if not each.setting]
    settings = [f"{each.setting}: {text}" for each, text in texts if each.setting]
    lines = _remarks(command, asked, figures)
    if settings:
        lines.append(f"printf '%s\\n' {shlex.join(settings)} > {shlex.quote(command.file)}")
        flags.append((Argument("model", command.source, flag=command.file_flag), command.file))
    start = command.start
    if figures["nodes"] > 1:
        start = f"{_filled(command.across_nodes, figures)} {command.start}".strip()
    first = [(each, "0" if each.figure == "node_rank" else text) for each, text in flags if each.figure != "other_node"]
    if figures["nodes"] > 1 and not command.across_nodes:
        lines += ["# On node 0:", *_wrapped(start, first)]
        lines += [f"# On every other node, NODE_RANK being 1 to {figures['nodes'] - 1}:", *_wrapped(start, flags)]
    else:
        lines += _wrapped(start, first)
    one_line = " ".join([start, *(_words(each, text) for each, text in first)])
    typed = tuple(_typed(engine, command, each, text) for each, text in texts)
    return found._replace(command=one_line, arguments=typed, lines=tuple(lines))


def _typed(engine: EngineSpec, command: Command, argument: Argument, text: str) -> Typed:
    """What is said of an argument beside the lines."""
    why, source = FIGURES[argument.figure], _url(engine, argument.source)
    if argument.setting:
        return Typed(command.file, f"{argument.setting}: {text}", why, source)
    return Typed(argument.flag, text, why, source)


def _url(engine: EngineSpec, source: str) -> str:
    return engine.sources[source].get("url", engine.sources[source]["title"])


def _wrapped(start: str, arguments: list[tuple[Argument, str]]) -> list[str]:
    """A command on several lines: what has no flag stands on the first, every flag on one of its own."""
    bare = [_words(each, text) for each, text in arguments if not each.flag]
    flags = [_words(each, text) for each, text in arguments if each.flag]
    lines = [" ".join([start, *bare]), *(f"  {words}" for words in flags)]
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _words(argument: Argument, text: str) -> str:
    """An argument for a shell. Variables that the user sets stay variables."""
    if argument.figure in ("node_rank", "head_address") and text.startswith("$"):
        return f'{argument.flag} "{text}"'
    return " ".join(filter(None, (argument.flag, shlex.quote(text) if text else "")))


def _remarks(command: Command, asked: Asked, figures: dict[str, Any]) -> list[str]:
    """What has to be said before the command, in lines that a shell skips."""
    place, w, remarks = figures["model"], asked.workload, []
    if figures["nodes"] > 1 and not command.across_nodes:
        remarks.append("HEAD_ADDRESS: the address of node 0.")
    servers = asked.servers * w.dp // figures["dp"]
    if servers > 1:
        each = "a GPU" if figures["gpus"] == 1 else f"{figures['gpus']:,} GPUs"
        remarks.append(f"{servers:,} such servers, each on {each} of its own.")
    if place.startswith(FILL_IN):
        remarks.append(f"{place}: where the weights of {asked.model.title} in {w.weight_dtype} are.")
    return [f"# {' '.join(remark.split())}" for remark in remarks]


def _refuse_unreached(engine: EngineSpec, command: Command, figures: dict[str, Any]) -> None:
    """Raise InputError for what was asked for and no argument of the command can tell the engine."""
    plain = {
        "prefix_caching": True,
        "tp": 1,
        "pp": 1,
        "sharing_ranks": 1,
        "ep": 1,
        "nodes": 1,
        "cuda_graphs": engine.launch == "graph",
    }
    used = command.uses()
    for name, ways in REACHED_BY.items():
        if figures[name] in (None, plain.get(name)) or used & set(ways) or (name == "nodes" and command.across_nodes):
            continue
        raise InputError(
            f"the command of {engine.title} {command.version} cannot say: {FIGURES[name]} ({figures[name]})"
        )


def _text(engine: EngineSpec, argument: Argument, figures: dict[str, Any]) -> str | None:
    """What is typed for an argument behind its flag, "" for nothing; None where it is left away.

    Raises InputError for a figure that the engine has no word for.
    """
    assert engine.command is not None
    value = figures[argument.figure]
    if value is None or as_word(value) == argument.unless:
        return None
    if argument.words:
        word = argument.words.get(as_word(value))
        if word is None:
            flag, known = argument.flag or argument.setting, ", ".join(argument.words)
            what = FIGURES[argument.figure].partition(":")[0]
            raise InputError(
                f"{engine.title} {engine.command.version} has no {flag} for {what} {value}: there is {known}"
            )
        if isinstance(word, bool):
            return "" if word else None
        return _filled(word, figures)
    if argument.bare:
        return ""
    return f"{value:g}" if isinstance(value, float) else _filled(argument.value or f"<{argument.figure}>", figures)


def _filled(text: str, figures: dict[str, Any]) -> str:
    """A text with figures in place of their names in angle brackets; inside quotes, as JSON and YAML write a text."""

    def figure(match: re.Match[str]) -> str:
        value = figures[match[1]]
        quoted = isinstance(value, str) and f'"{match[0]}"' in text
        return json.dumps(value, ensure_ascii=False)[1:-1] if quoted else format(value, match[2] or "")

    return BRACKETS.sub(figure, text)


def figures_of(command: Command, asked: Asked) -> dict[str, Any]:
    """The figures that arguments are made of; None for what is not there, or is as the engine has it anyway."""
    model, w, m = asked.model, asked.workload, asked.memory
    experts, sharing, ranks = spread_of(command, model, w)
    gpus = w.tp * w.pp * ranks
    nodes = ceil(gpus / w.gpus_per_node)
    slots, most = slots_of(w), None if w.max_num_seqs is None else slots_of(w)
    own, guess = activation_dtype(w.dtype), asked.speculation
    shared_fraction = (m.usable_bytes - m.set_aside_bytes - m.runtime_bytes - m.activation_bytes) / (
        m.usable_bytes - m.runtime_bytes
    )
    return {
        "model": place_of(command, asked),
        "tp": w.tp,
        "pp": w.pp,
        "dp": ranks,
        "ep": w.ep,
        "experts": experts,
        "sharing_ranks": sharing,
        "stage_gpus": w.tp * sharing,
        "layers": model.num_hidden_layers,
        "split": "layers" if w.pp > 1 and w.tp == 1 else "both" if w.pp > 1 else "tensors" if w.tp > 1 else None,
        "context": w.context,
        "all_context": w.context * slots,
        "max_num_seqs": most,
        "all_sequences": most and most * sharing,
        "slots": slots,
        "chunk": w.chunk,
        "all_chunk": None if w.chunk is None else w.chunk * sharing,
        "chunked": True if w.chunk is not None and w.prompt > w.chunk else None,
        "memory_utilization": w.memory_utilization,
        "free_memory_fraction": w.free_memory_fraction,
        "static_fraction": floor(shared_fraction * 1000) / 1000,
        "activations": None if own == model.dtype else own,
        "kv_dtype": None if w.kv_dtype == own else w.kv_dtype,
        "quantised": w.weight_dtype if _is_quantised_by(command, w) and not _are_stored(model, w) else None,
        "cuda_graphs": w.cuda_graphs,
        "draft": None if guess is None else guess.draft if guess.way else "model",
        "draft_model": None if guess is None or guess.way else guess.draft,
        "speculate": None if guess is None else guess.tokens,
        "verified": None if guess is None else guess.tokens + 1,
        "kv_tokens": asked.kv_tokens,
        "kv_blocks": None if asked.kv_tokens is None else asked.kv_tokens // int(PAGE.value),
        "prefix_caching": asked.prefix_caching,
        "gpus": gpus,
        "nodes": nodes,
        "gpus_per_node": w.gpus_per_node if nodes > 1 else None,
        "node_rank": RANK if nodes > 1 else None,
        "head_address": ADDRESS if nodes > 1 else None,
        "other_node": True if nodes > 1 else None,
    }


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
    if "dp" not in command.uses() or any(experts not in each.words for each in told):
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


def name_on_a_hub(model: ModelSpec) -> str | None:
    """The hub id of the repository that the model was read from."""
    found = ON_A_HUB.match(model.source)
    return found and found[1]


def log_of(engine: EngineSpec, asked: Asked) -> tuple[Logged, ...]:
    """The lines of the log with our figures in them; none where the model does not fit, or none are known."""
    if asked.memory.fits is not True or not engine.log:
        return ()
    figures, latents = logged(asked), bool(asked.model.block_sizes("kv_lora_rank"))
    lines = [each for each in engine.log if each.latents in (None, latents)]
    return tuple(Logged(_filled(each.line, figures), _url(engine, each.source)) for each in lines)


def logged(asked: Asked) -> dict[str, Any]:
    """The figures that lines of the log are made of: those of a GPU on the fullest pipeline stage."""
    model, m, w = asked.model, asked.memory, asked.workload
    server = server_of(model, *machine_of(asked.hardware, w), w)
    step = decode_step(server, w, w.context)
    caches = allocation(step.share.layers, w.prompt if w.chunk is None else min(w.prompt, w.chunk))
    caches = caches.scaled(server.stage_share())
    room = m.usable_bytes - m.overhead_bytes - m.weights_bytes - m.activation_bytes
    position = caches.growing + sum(each.position for each in caches.windows)
    block = caches.page * position + caches.states
    tokens = int(room // block * caches.page) if block else 0
    longest = caches.sequence(w.context) + caches.prompt(w.context)
    slots = slots_of(w)
    weights = m.weights_bytes * w.tp * w.pp
    params = count_params(operators(model, server.size, Load(1, 1, 1))).total
    return {
        "weights_gib": m.weights_bytes / GIB,
        "model_gib": weights / GIB,
        "bits_a_weight": weights * BITS / params,
        "room_gib": room / GIB,
        "kv_tokens": tokens,
        "kv_blocks": tokens // int(PAGE.value),
        "kv_gib": tokens * position / GIB,
        "half_gib": tokens * position / 2 / GIB,
        "fitting": room / longest if longest else 0,
        "all_context_mib": w.context * slots * position * w.tp * w.pp / MIB,
        "context": w.context,
        "all_context": w.context * slots,
        "chunk": w.chunk or w.prompt,
        "slots": slots,
    }


def slots_of(w: Workload) -> int:
    """Requests that a rank runs at a time: as many as it may, or as are asked about; a batch alone has to find room."""
    asked = int(ceil((w.concurrency or w.batch) / w.dp))
    if w.max_num_seqs is None or (asked > w.max_num_seqs and not w.is_mix()):
        return asked
    return int(w.max_num_seqs)
