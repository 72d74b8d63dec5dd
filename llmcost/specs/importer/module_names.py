"""Names of modules in a checkpoint's config, wildcards and regular expressions: which linear layers they name.

They are matched against the names that modules have in transformers; a pattern that could take for ever is refused.
"""

from __future__ import annotations

import re
from fnmatch import translate
from math import comb
from typing import NamedTuple

from llmcost.specs.importer.keys import Keys
from llmcost.specs.importer.layer_kernels import Linear

# Modules of a layer that a format holds for, and the names that they go by.
PARENTS = {
    "attention": "self_attn attention attn linear_attn mixer mamba conv",
    "mlp": "mlp feed_forward ffn mixer",
    "experts": "mlp.experts.0 block_sparse_moe.experts.0 feed_forward.experts.0 ffn.experts.0 mixer.experts.0 "
    "moe.experts.0",
    "shared_experts": "mlp.shared_expert mlp.shared_experts mlp.shared_mlp feed_forward.shared_expert "
    "ffn.shared_experts mixer.shared_experts block_sparse_moe.shared_experts shared_mlp share_expert",
}
# Norms, routers, embeddings, other models: never in a weight format here. And projections to one number a head or to a
# low rank of Gated DeltaNet and Kimi Delta Attention, which are counted with the larger ones.
NEVER = re.compile(
    r"lm_head|norm|embed|router|(mlp|moe|mixer|block_sparse_moe)\W+gate\b|^gate$|shared_expert_gate|conv1d"
    r"|in_proj_(ba|a|b)\b|\b(b|[fg]_[ab])_proj\b|indexer|index_[qk]_proj|vis|audio|multi_modal"
    r"|merger|modality|mm_proj|patch_merge|mlp1|projector|\bmtp\b|\bnextn\b"
    r"|e_score_correction|eh_proj|weights_proj"
)
OF_LAYER = re.compile(r".*\blayers\.(\d{1,6})(?:\.(.*))?")
OTHER_EXPERT = re.compile(r"\.experts\.[1-9]\d*\b")
# Matching names has bounds, in steps of some 10 ns: of a config 2 seconds, of a pattern a thousandth of that.
MOST_STEPS, A_PATTERN, A_MATCH, A_NAME, LONGEST_NAME = 2 * 10**8, 10_000, 40, 40, 80
PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.", "")


class Pattern(NamedTuple):
    """What names modules, and at most how many steps of some 10 ns it takes to see whether it names one.

    `expression`: None of a plain name. `begins`: with what every module that an expression names begins. `alone`: of a
    plain name, that it takes in nothing that is inside the module.
    """

    name: str
    expression: re.Pattern[str] | None
    steps: int
    begins: str = ""
    alone: bool = False

    def may_name(self, parent: str) -> bool:
        """Whether a module inside this one may be named."""
        return self.begins.startswith(parent) or parent.startswith(self.begins)

    def names(self, module: str) -> bool:
        """Whether this module is named; a plain name may leave out what stands before it."""
        if self.expression is not None:
            return self.expression.fullmatch(module) is not None
        return f".{module}".endswith(f".{self.name}") or (not self.alone and f".{self.name}." in f".{module}.")


class ModuleNames:
    """Module names, wildcards (*) and regular expressions (re:), and what they name.

    Layers are mostly alike: what is matched once, the same patterns against the same names, is kept.
    """

    def __init__(self, keys: Keys, names: list[str], linear: Linear, *, alone: bool = False) -> None:
        """Names in a model with these linear layers; `alone`: a plain name is that of one linear layer or of experts.

        Any other plain name takes in all that is inside the module.
        """
        self.keys = keys
        self.parents = PARENTS | keys.family.get("modules", {})
        self.general: list[Pattern] = []
        self.numbered: list[Pattern] = []  # of the general ones, those with a digit, which may be a layer's position
        self.of_layer: dict[int, dict[str, Pattern]] = {}  # of names inside the layer
        self.linear = linear
        self.known: dict[tuple[str, ...], frozenset[str]] = {}
        pattern_of: dict[str, Pattern] = {}
        for name in names:
            if _is_of_other_expert(name):
                continue
            found = None if name.startswith("re:") else OF_LAYER.fullmatch(name)
            inside = (found[2] or "*") if found else name
            if inside not in pattern_of:
                pattern_of[inside] = _pattern(keys, inside, alone=alone)
            if found:
                self.of_layer.setdefault(int(found[1]), {})[inside] = pattern_of[inside]
            elif any(letter.isdigit() for letter in name):
                self.numbered.append(pattern_of[inside])
            else:
                self.general.append(pattern_of[inside])

    def names(self, module: str) -> bool:
        """Whether one of them is this module or around it."""
        return any(pattern.names(module) for pattern in (*self.general, *self.numbered))

    def named(self, module: str, position: int) -> frozenset[str]:
        """The linear layers in a layer's attention, MLP or experts that are named, by any of the names they go by."""
        parents, own = self.parents[module].split(), self.of_layer.get(position, {})
        inside = (module, "in the layer", *own)
        if inside not in self.known:
            self.known[inside] = self._within(module, parents, list(own.values()))
        found = self.known[inside]
        for patterns, place in ((self.general, "anywhere"), (self.numbered, str(position))):
            if (module, place) not in self.known:
                layers = [f"{prefix}layers.{position}.{parent}" for prefix in PREFIXES for parent in parents]
                self.known[module, place] = self._within(module, layers, patterns)
            found |= self.known[module, place]
        return found

    def _within(self, module: str, parents: list[str], patterns: list[Pattern]) -> frozenset[str]:
        linear = self.linear.get(module, frozenset())
        if not patterns:
            return frozenset()
        _spend(self.keys, sum(pattern.steps for pattern in patterns) * len(parents) * len(linear))
        pairs = [(each.names, parent) for each in patterns for parent in parents if each.may_name(parent)]
        return frozenset(name for name in linear if any(names(f"{parent}.{name}") for names, parent in pairs))


def is_plain(name: str) -> bool:
    """Whether this is a name, neither a wildcard nor a regular expression."""
    return not name.startswith("re:") and "*" not in name


def _is_of_other_expert(name: str) -> bool:
    """Whether this is the name of a module in an expert that is not the first, which stands for all."""
    return is_plain(name) and OTHER_EXPERT.search(name) is not None


def _pattern(keys: Keys, name: str, *, alone: bool = False) -> Pattern:
    """One name as a pattern of whole module names, which takes in all that is inside the module, unless it is `alone`.

    A pattern that could take for ever is refused: with a repeated group, or many repetitions.
    """
    if is_plain(name):
        return Pattern(name, None, A_NAME, alone=alone and not name.endswith("experts"))
    expression = name.startswith("re:")
    steps = _steps(name[3:]) if expression else A_MATCH + LONGEST_NAME * name.count("*")
    if steps > MOST_STEPS // 1000 or (expression and re.search(r"\)\s*[*+{]", name)):
        raise keys.error("quantization_config", f"the pattern {name[:60]!r} is too complicated")
    _spend(keys, A_PATTERN)
    try:
        if expression:
            return Pattern(name, re.compile(f"(?:{name[3:]}).*"), steps)
        return Pattern(name, re.compile(translate(name)), steps, re.split(r"[*?\[]", name)[0])
    except re.error:
        raise keys.error("quantization_config", f"{name[:60]!r} is not a pattern") from None


def _steps(expression: str) -> int:
    """At most about how many steps a regular expression takes on a module's name.

    Each thing that is repeated may end anywhere in the name, or, where two letters follow it, wherever these stand: a
    few times. Digits are few. What may be there or not, and groups of which one has alternatives, try two ways each.
    """
    inside = re.sub(r"\.\*\$?$", "", expression)  # at the end it takes all that is left, in one step
    places, anywhere = 1, 0
    for what, how, after in re.findall(r"(\\.|\[[^\]]*\]|[^(])([*+?]|\{[^}]*\})(?=(\??\w\w)?)", inside):
        if how == "?":
            places *= 2
        elif after or what in (r"\d", "[0-9]"):
            places *= 6
        else:
            anywhere += 1
    if "|" in inside:
        places *= (1 + inside.count("|")) * 2 ** inside.count("(")
    return A_MATCH + places * comb(LONGEST_NAME + anywhere, anywhere)


def _spend(keys: Keys, steps: int) -> None:
    """Refuse a config whose names take too many steps in all: thousands of patterns for thousands of layers."""
    keys.matching += steps
    if keys.matching > MOST_STEPS:
        raise keys.error("quantization_config", "names modules by too many patterns for so many layers")
