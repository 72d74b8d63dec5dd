"""How an engine is started, and what its log says then: command lines as data.

An argument names the figure of an answer that it is made of; FIGURES says what each figure is. A line of the log has
figures of LOGGED in angle brackets, with the format in which the engine prints them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from llmcost.specs.reader import Document
from llmcost.specs.schema import FLAG, TEXT, Schema, choice, mapping, record, several

FIGURES = {
    "model": "the model: a hub id, or the place of its weights",
    "tp": "GPUs that a layer is split over",
    "pp": "pipeline stages",
    "dp": "data-parallel ranks",
    "own_ranks": "data-parallel ranks that share no experts",
    "ep": "GPUs that experts are spread over",
    "experts": "experts: whole in a tensor-parallel group, spread (--ep is --tp times --dp), partly, or copied",
    "all2all": "the library that sends tokens to experts on other GPUs",
    "sharing_ranks": "data-parallel ranks that share experts",
    "stage_gpus": "GPUs of a stage: of a layer's, of all ranks that share experts",
    "split": "what GPUs divide: layers, the tensors in them, or both",
    "gpu_layers": "layers in the GPUs' memory, the output's as one more; or all",
    "layers_on_gpus": "layers in the GPUs' memory, the output's as one more",
    "host_experts": "the first layers, whose experts are in the host's memory",
    "all_host_experts": "the experts of all layers are in the host's memory",
    "no_gpu": "all is on the CPU",
    "context": "tokens of a request, at most",
    "decoded": "tokens of a request, at most: those of the decoder, where an encoder reads the prompt",
    "all_context": "tokens of all requests together, at most",
    "all_pages": "tokens of all requests together, at most, in whole pages of the cache",
    "max_num_seqs": "requests that a rank runs at a time, at most",
    "all_sequences": "requests that all ranks that share experts run at a time, at most",
    "slots": "requests that are run at a time",
    "chunk": "tokens of prompts that run at a time, at most",
    "all_chunk": "tokens of prompts that run at a time on all ranks that share experts, at most",
    "pooled": "whole sequences at once: the model gives no tokens",
    "chunked": "prompts run in more than one piece",
    "memory_utilization": "share of the GPU's memory that may be used",
    "free_memory_fraction": "the cache's share of what the model leaves",
    "mem_fraction_static": "share for weights and cache of what the runtime leaves",
    "activations": "data type of activations, where it is not the checkpoint's",
    "kv_dtype": "data type of the KV cache, where it is not that of activations",
    "quantised": "format that weights are brought to while they are loaded",
    "cuda_graphs": "kernels are started by CUDA graphs",
    "kv_tokens": "tokens that the KV cache is held to",
    "kv_blocks": "blocks of tokens that the KV cache is held to",
    "looks": "steps of decode from one look at new requests to the next",
    "prefix_caching": "beginnings of prompts are found in the KV cache",
    "draft": "what guesses tokens",
    "draft_model": "the model that guesses tokens",
    "speculate": "tokens that are guessed in a step",
    "verified": "tokens that a step verifies: the guesses and the next one",
    "gpus": "GPUs of one server",
    "nodes": "nodes of one server",
    "gpus_per_node": "GPUs in a node",
    "node_rank": "this node's number, from 0",
    "head_address": "the address of node 0",
    "other_node": "this is not node 0",
    "role": "what the server does where prompts run apart: prefill or decode",
}
LOGGED = {
    "weights_gib": "weights of one GPU, GiB",
    "weights_mib": "weights of one GPU, MiB",
    "model_gib": "weights of all GPUs and of the host, GiB",
    "bits_a_weight": "bits that a parameter takes on average",
    "all_layers": "all layers, the output's as one more",
    "room_gib": "what is left for the KV cache of one GPU, GiB",
    "kv_tokens": "tokens that the KV cache has room for",
    "kv_blocks": "blocks of tokens that the KV cache has",
    "block_mib": "a block of tokens of the KV cache of one GPU, whole MiB",
    "mem_fraction_static": FIGURES["mem_fraction_static"],
    "kv_gib": "the KV cache of one GPU, in whole blocks, GiB",
    "half_gib": "its keys alone, or its values alone, GiB",
    "fitting": "requests of the longest length that the KV cache has room for",
    "fitting_tokens": "tokens of all the requests of the longest length that the KV cache has room for",
    "all_context_mib": "the KV cache of all requests at their longest, MiB",
    **{name: FIGURES[name] for name in ("layers_on_gpus", "context", "all_context", "chunk", "slots")},
}
BRACKETS = re.compile(r"<([a-z_]+)(?::([^<>]*))?>")
FORMATS = ("", ",", ".2f", ".3f", ".4f")

_ARGUMENT = record(
    required={"figure": choice(*FIGURES), "source": TEXT},
    optional={
        "flag": TEXT,
        "setting": TEXT,
        "value": TEXT,
        "unless": {"type": "union", "choices": [FLAG, {"type": "int", "strict": True}, TEXT]},
        "words": mapping({"type": "union", "choices": [FLAG, TEXT]}),
        "bare": FLAG,
        "note": TEXT,
    },
)
COMMAND: Schema = record(
    required={"version": TEXT, "start": TEXT, "source": TEXT, "arguments": several(_ARGUMENT)},
    optional={
        "across_nodes": record(required={"start": TEXT, "source": TEXT}, optional={"note": TEXT}),
        "file": record(required={"flag": TEXT, "name": TEXT, "source": TEXT}, optional={"note": TEXT}),
        "weights_file": TEXT,
        "router": record(required={"start": TEXT, "source": TEXT}, optional={"note": TEXT}),
        "encoders": record(required={"of": several(choice("text", "sound")), "source": TEXT}, optional={"note": TEXT}),
    },
)
LOG: Schema = several(record(required={"line": TEXT, "source": TEXT}, optional={"note": TEXT, "latents": FLAG}))


class Argument(NamedTuple):
    """One argument of a command line.

    `flag`: "" for what is typed without a name. `setting`: in place of a flag, a key of the file that the engine reads.
    `unless`: the value at which it is left away. `words`: what the engine calls each value of the figure; True: the
    flag alone says it, False: it is left away; a value that is missing cannot be had. `value`: what is typed, with
    figures in angle brackets (None: the figure itself). `bare`: the flag alone.
    """

    figure: str
    source: str
    flag: str = ""
    setting: str = ""
    value: str | None = None
    unless: str = ""
    words: dict[str, str | bool] = {}  # noqa: RUF012 - a shared empty default that nothing writes to
    bare: bool = False

    def uses(self) -> set[str]:
        """The figures that it is made of."""
        texts = (self.value, self.setting, *self.words.values())
        inside = {match[1] for text in texts if isinstance(text, str) for match in BRACKETS.finditer(text)}
        return inside | {self.figure}


class Command(NamedTuple):
    """The command that starts an engine of one version.

    `across_nodes`: what stands before it where it runs on several nodes, "" for nothing. `file`, `file_flag`: the file
    that settings are written to, and the flag that names it. `weights_file`: how files of weights end, for engines that
    read one file and no folder, or folders of what they read, for those that read no checkpoint. `router`: the command
    of what stands before servers of prompts and of decode, with their addresses as variables of the shell, and
    `router_note`: what has to be said of it. `encoders`: what the encoders read of the encoder-decoders that it serves.
    """

    version: str
    start: str
    source: str
    arguments: tuple[Argument, ...]
    across_nodes: str = ""
    file: str = ""
    file_flag: str = ""
    weights_file: str = ""
    router: str = ""
    router_note: str = ""
    encoders: tuple[str, ...] = ()

    def uses(self) -> set[str]:
        """The figures that its arguments are made of."""
        found = {match[1] for match in BRACKETS.finditer(self.across_nodes)}
        return found.union(*(each.uses() for each in self.arguments))


class LogLine(NamedTuple):
    """A line that the engine prints when it starts, with figures in angle brackets, and where its wording is from.

    `latents`: printed of caches that keep latents (MLA), or only of others; None: of all.
    """

    line: str
    source: str
    latents: bool | None = None


def command_from(document: Document, fields: dict[str, Any] | None) -> Command | None:
    """The command that validated fields describe. Raises SpecError for a source or figure that is none."""
    if fields is None:
        return None
    across, file, router, encoders = (fields.get(name, {}) for name in ("across_nodes", "file", "router", "encoders"))
    _check_source(document, ("command",), fields)
    for name, of in (("across_nodes", across), ("file", file), ("router", router), ("encoders", encoders)):
        _check_source(document, ("command", name), of)
    _check_brackets(document, ("command", "across_nodes", "start"), across.get("start", ""), FIGURES)
    return Command(
        *(fields["version"], fields["start"], fields["source"]),
        tuple(_argument(document, at, each, in_file=bool(file)) for at, each in enumerate(fields["arguments"])),
        across_nodes=across.get("start", ""),
        file=file.get("name", ""),
        file_flag=file.get("flag", ""),
        weights_file=fields.get("weights_file", ""),
        router=router.get("start", ""),
        router_note=router.get("note", ""),
        encoders=tuple(encoders.get("of", ())),
    )


def _argument(document: Document, at: int, fields: dict[str, Any], *, in_file: bool) -> Argument:
    """One argument; `in_file`: whether there is a file for settings."""
    path = ("command", "arguments", at)
    _check_source(document, path, fields)
    for name in ("value", "setting"):
        _check_brackets(document, (*path, name), fields.get(name, ""), FIGURES)
    for word, text in fields.get("words", {}).items():
        _check_brackets(document, (*path, "words", word), text, FIGURES)
    if "setting" in fields and not in_file:
        raise document.error((*path, "setting"), "no file is named that it would be written to (command.file)")
    unless = as_word(fields["unless"]) if "unless" in fields else ""
    known = {name: value for name, value in fields.items() if name != "note"}
    return Argument(**known | {"unless": unless})


def log_from(document: Document, lines: list[dict[str, Any]]) -> tuple[LogLine, ...]:
    """The lines of the log that validated fields describe. Raises SpecError for a source or figure that is none."""
    for at, each in enumerate(lines):
        _check_source(document, ("log", at), each)
        _check_brackets(document, ("log", at, "line"), each["line"], LOGGED)
    return tuple(LogLine(each["line"], each["source"], each.get("latents")) for each in lines)


def as_word(value: Any) -> str:
    """A figure as `words` and `unless` name it: 1, true, bf16."""
    return str(value).lower()


def _check_source(document: Document, path: tuple[Any, ...], fields: dict[str, Any]) -> None:
    """Raise SpecError where the source of some fields is not among the file's."""
    source = fields.get("source")
    if source is not None and source not in document.data["sources"]:
        raise document.error((*path, "source"), f"{source!r} is not one of this file's sources")


def _check_brackets(document: Document, path: tuple[Any, ...], text: Any, known: dict[str, str]) -> None:
    """Raise SpecError for a figure in angle brackets that is none, or a format that no figure is printed in."""
    for match in BRACKETS.finditer(text) if isinstance(text, str) else ():
        if match[1] not in known:
            raise document.error(path, f"<{match[1]}> is no figure; there are {', '.join(known)}")
        if (match[2] or "") not in FORMATS:
            raise document.error(path, f"the format {match[2]!r} is none of {', '.join(map(repr, FORMATS))}")
