"""`llmcost completion`: what the shell offers behind the tab key.

The script of a shell asks the program itself, with `ASKS` in its environment and the words typed so far as arguments:
it prints what may stand in place of the last one, a line each. Nothing but declarations and names of files is read.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from llmcost.cli.command import ASKS, COMMANDS, Argument, Parameter, function_of, parameters
from llmcost.ground.errors import check_word

SCRIPTS = {
    "bash": f"""_llmcost() {{
    local IFS=$'\\n'
    COMPREPLY=($({ASKS}=1 "${{COMP_WORDS[0]}}" "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
}}
complete -o default -F _llmcost llmcost
""",
    "zsh": f"""#compdef llmcost
_llmcost() {{
    local -a found
    found=("${{(@f)$({ASKS}=1 "$words[1]" "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    if [[ -n "$found" ]]; then compadd -Q -- "${{found[@]}}"; else _files; fi
}}
compdef _llmcost llmcost
""",
    "fish": f"""function __llmcost_words
    set -l typed (commandline -opc)
    env {ASKS}=1 $typed[1] $typed[2..-1] -- (commandline -ct) 2>/dev/null
end
complete -c llmcost -a '(__llmcost_words)'
""",
}
# By the name of a parameter: the folders of the specs that it may name.
SPECS = {
    "model": ("models",),
    "models": ("models",),
    "hw": ("hardware", "hardware/systems"),
    "gpu": ("hardware",),
    "engine": ("hardware/engines", "hardware/engines/training"),
}
NAMES = {"models": "model", "hardware": "hw", "engines": "engine"}  # command -> what its NAME is the name of


def completion(
    shell: Annotated[str, Argument("SHELL", "bash, zsh or fish.")],
) -> None:
    """A script that has the shell complete commands, options, and names of models, GPUs and engines.

    Examples: source <(llmcost completion bash); llmcost completion fish > ~/.config/fish/completions/llmcost.fish
    """
    from llmcost.cli.output import write

    check_word("SHELL", shell, tuple(SCRIPTS))
    write(SCRIPTS[shell])


def offered(typed: Sequence[str]) -> list[str]:
    """What may stand in place of the last of the words typed behind the program's name.

    Nothing, where the shell should offer files. Behind a comma, the next of a list.
    """
    words = [each for each in typed if each not in ("=", "--")] or [""]  # bash takes --hw=h100 as three words
    *before, last = words
    if last.startswith("--") and "=" in last:  # zsh and fish as one
        name, _, value = last.partition("=")
        return [f"{name}={each}" for each in offered([*before, name, value])]
    command = next((each for each in before if each in COMMANDS), None)
    if command is None:
        return _beginning(last, [*COMMANDS, "--help", "--version"])
    known = parameters(function_of(command))
    flags = {flag: each for each in known.values() for flag in _flags(each)}
    option = flags.get(before[-1])
    if option is not None and not isinstance(option.what, Argument) and option.what.read is not None:
        return _in_list(last, _values(command, option))
    if last.startswith("-"):
        return _beginning(last, [*flags, "--help"])
    arguments = [each for each in known.values() if isinstance(each.what, Argument)]
    return _in_list(last, [value for each in arguments for value in _values(command, each)])


def _flags(parameter: Parameter) -> list[str]:
    """How an option is typed: the long form first, of one that may be denied both."""
    what = parameter.what
    return [] if isinstance(what, Argument) else [*what.flag.split("/"), *([what.short] if what.short else [])]


def _values(command: str, parameter: Parameter) -> list[str]:
    """What a parameter may be, where that can be listed."""
    from llmcost.specs.catalog import names
    from llmcost.specs.optimised import OPTIMISED

    what = parameter.what
    name = NAMES.get(command, what.name) if isinstance(what, Argument) else what.name
    if name in SPECS:
        return [*([OPTIMISED] if name == "engine" else ()), *(each for folder in SPECS[name] for each in names(folder))]
    if name == "quantity":
        from llmcost.formulas.quantities import QUANTITIES

        return [*QUANTITIES]
    if name == "shell":
        return [*SCRIPTS]
    return [] if isinstance(what, Argument) else [*getattr(what.check, "keywords", {}).get("known", ())]


def _beginning(typed: str, known: Iterable[str]) -> list[str]:
    return [each for each in known if each.startswith(typed)]


def _in_list(typed: str, known: Iterable[str]) -> list[str]:
    """Those that begin as the last of some words with commas between them, behind the others."""
    head, comma, last = typed.rpartition(",")
    return [f"{head}{comma}{each}" for each in _beginning(last, known)]
