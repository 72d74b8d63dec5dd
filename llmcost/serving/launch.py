"""The command that starts an engine so that it serves what was estimated, and the lines that its log has then.

Both are data of the engine's file (specs/engine_command.py), made of figures of the answer (launch_figures.py).
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, NamedTuple

from llmcost.ground.algebra import present
from llmcost.ground.errors import InputError
from llmcost.ground.html import html_table
from llmcost.serving.launch_figures import ALL, FILL_IN, Asked, figures_of, logged, pools_asked
from llmcost.serving.turns import longest_request
from llmcost.specs.engine import EngineSpec
from llmcost.specs.engine_command import BRACKETS, FIGURES, Argument, Command, as_word

SCHEMA = "llmcost.launch/1"
# Figures that must reach the engine where they are not these values, by any of the figures named.
REACHED_BY: dict[str, tuple[str, ...]] = {
    "tp": ("tp", "stage_gpus", "split"),
    "pp": ("pp", "split"),
    "sharing_ranks": ("dp", "stage_gpus"),
    "ep": ("experts", "ep"),
    "all2all": ("all2all",),
    "kv_dtype": ("kv_dtype",),
    "draft": ("draft",),
    "pooled": ("pooled",),
    "kv_tokens": ("kv_tokens", "kv_blocks"),
    "prefix_caching": ("prefix_caching",),
    "free_memory_fraction": ("free_memory_fraction",),
    "cuda_graphs": ("cuda_graphs",),
    "nodes": ("nodes",),
    "gpu_layers": ("gpu_layers", "layers_on_gpus"),
    "host_experts": ("host_experts",),
    "all_host_experts": ("all_host_experts",),
    "role": ("role",),
}


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


def launch_of(engine: EngineSpec, asked: Asked) -> Launch:
    """The command that starts the engine; where there is none, why. `command`: where prompts run apart, that of decode.

    `lines` then start the servers that run prompts, those that decode, and what stands before them. The engine is told
    the longest request that is known.
    """
    w = asked.workload
    if asked.model.encoder is None:
        longest = longest_request(w, int(asked.model.max_position_embeddings))
        asked = asked._replace(workload=w._replace(context=longest))
    if w.prefill_gpus is not None:
        return _launch_apart(engine, pools_asked(asked))
    version = engine.version if engine.command is None else engine.command.version
    found = Launch(asked.model.name, asked.hardware.name, engine.name, version, log=log_of(engine, asked))
    try:
        return _with_command(found, engine, asked)
    except InputError as error:
        return found._replace(missing=str(error))


def _launch_apart(engine: EngineSpec, pools: list[Asked]) -> Launch:
    """The commands of both pools, and that of the router."""
    found = [launch_of(engine, each) for each in pools]
    prompts, decode = found
    missing = prompts.missing or decode.missing
    if missing is not None or engine.command is None:
        return decode._replace(missing=missing, command=None, arguments=(), lines=())
    router = [f"# The router: {engine.command.router_note}.", engine.command.router]
    lines = ["# Prompts:", *prompts.lines, "# Decode:", *decode.lines, *router]
    return decode._replace(arguments=(*prompts.arguments, *decode.arguments), lines=tuple(lines))


def _with_command(found: Launch, engine: EngineSpec, asked: Asked) -> Launch:
    """The same with the command. Raises InputError where there is none, or it cannot say what was asked."""
    command = engine.command
    if command is None:
        why = f": {engine.no_server}" if engine.no_server else ""
        raise InputError(f"of {engine.name} no command is known that starts a server{why}")
    if asked.memory.fits is not True:
        raise InputError(f"{asked.model.name} does not fit on {asked.hardware.title} in this layout")
    if (encoder := asked.model.encoder) is not None:
        read = "sound" if present(encoder.mel_bins) else "text"
        if read not in command.encoders:
            raise InputError(
                f"of {engine.title} {command.version} it is not known that it serves an encoder of {read} and a decoder"
            )
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
        last = figures["nodes"] - 1
        others = "the other node, NODE_RANK being 1" if last == 1 else f"every other node, NODE_RANK being 1 to {last}"
        lines += [f"# On {others}:", *_wrapped(start, flags)]
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
    without = asked.model.num_hidden_layers - asked.model.expert_layers()
    if figures["host_experts"] and without:
        remarks.append(
            f"{figures['host_experts']} layers with experts, counted from the first layer: add those before them that "
            f"have none, of {without} such layers."
        )
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
        "gpu_layers": ALL,
    }
    used = command.uses()
    for name, ways in REACHED_BY.items():
        if figures[name] in (None, plain.get(name)) or used & set(ways) or (name == "nodes" and command.across_nodes):
            continue
        value = "" if figures[name] is True else f" ({figures[name]})"
        raise InputError(f"the command of {engine.title} {command.version} cannot say: {FIGURES[name]}{value}")


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
        if value is None:
            raise InputError(f"the engine's command has to say: {FIGURES[match[1]]}")
        quoted = isinstance(value, str) and f'"{match[0]}"' in text
        return json.dumps(value, ensure_ascii=False)[1:-1] if quoted else format(value, match[2] or "")

    return BRACKETS.sub(figure, text)


def log_of(engine: EngineSpec, asked: Asked) -> tuple[Logged, ...]:
    """The lines of the log with our figures in them; none where the model does not fit, or none are known."""
    if asked.memory.fits is not True or not engine.log:
        return ()
    figures, latents = logged(asked), bool(asked.model.block_sizes("kv_lora_rank"))
    lines = [each for each in engine.log if each.latents in (None, latents) and _is_printed(each.line, figures)]
    return tuple(Logged(_filled(each.line, figures), _url(engine, each.source)) for each in lines)


def _is_printed(line: str, figures: dict[str, Any]) -> bool:
    """Whether a line has all its figures: without a GPU, none says what is on it."""
    return all(figures[match[1]] is not None for match in BRACKETS.finditer(line))
