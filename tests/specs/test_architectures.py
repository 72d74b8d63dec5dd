"""specs/architectures: files are read strictly, a mistake is named by file, line and field, a new type is a file."""

import json
import re
import shutil

import pytest

from llmcost.ground.errors import SpecError
from llmcost.specs.importer import architectures, patterns
from llmcost.specs.importer.architectures import HARMLESS_KEYS, all_types, architecture
from llmcost.specs.importer.huggingface import document_of
from llmcost.specs.importer.keys import DEFAULTS, harmless_keys
from llmcost.specs.importer.patterns import picks
from llmcost.specs.importer.values import NotWholeError, evaluate, keys_of
from llmcost.specs.models import model_from

SHIPPED = architectures.FOLDER
CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 160,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in the place of specs/architectures."""
    monkeypatch.setattr(architectures, "FOLDER", tmp_path)
    return tmp_path


def refusal(folder, text, name="mine.yaml"):
    """The message about a file, without the folder."""
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(SpecError) as caught:
        all_types()
    return str(caught.value).removeprefix(f"{folder}/")


def layers_of(config):
    return model_from(document_of(CONFIG | config, "config.json", "x")).layers


# -- the shipped files ------------------------------------------------------------------------------


def test_every_shipped_file_is_sound_and_names_a_reference_for_every_type():
    types = all_types()
    assert len(types) > 180
    assert {path.name for path in SHIPPED.glob("*.yaml")} == {path.name for path in types.values()} | {HARMLESS_KEYS}
    assert [kind for kind in types if not architecture(kind).get("reference")] == []


def test_a_type_is_found_without_reading_the_others(monkeypatch):
    """`llmcost import` needs one type of 188: that of its own name, and those that it is like."""
    parsed = []
    real = architectures.parse_yaml
    monkeypatch.setattr(architectures, "parse_yaml", lambda text, file: parsed.append(text.strip()) or real(text, file))
    assert architecture("granitemoe_swa")["attention_sinks"] is True
    assert [text.split(":")[0] for text in parsed] == ["granitemoe_swa", "granitemoeshared", "granitemoe"]


def test_every_type_has_a_line_of_its_own_in_the_table_of_defaults():
    table = json.loads(DEFAULTS.read_text("utf-8"))
    for kind in table:
        assert DEFAULTS.read_text("utf-8").count(f"\n {json.dumps(kind)}: ") == 1


def test_a_key_is_harmless_for_one_reason():
    words = [
        word
        for line in (SHIPPED / HARMLESS_KEYS).read_text("utf-8").splitlines()
        if line[:2] == "  "
        for word in line.split()
    ]
    assert len(words) == len(set(words)) == len(harmless_keys())
    assert {"rope_theta", "hidden_act", "initializer_range"} <= harmless_keys()
    assert not {"hidden_size", "num_experts", "attention_bias", "sliding_window", "layer_types"} & harmless_keys()


def test_the_page_describes_every_key_of_an_entry_and_every_rule():
    page = (SHIPPED / "README.md").read_text("utf-8")
    fields = {*architectures.FIELDS}
    ours = {*architectures.ARCHITECTURE["fields"], *architectures.OF_A_LAYER, *architectures.KEYS["fields"]} - fields
    rules = {word for required, optional in patterns.BESIDE.values() for word in (*required, *optional)}
    assert [word for word in {*ours, *rules, *patterns.WORDS} if not re.search(rf"[`{{ ]{word}[`: ]", page)] == []


# -- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a:\n  mlp: plain\n  qk_nrom: head\n",
            "mine.yaml:3: a.qk_nrom: not a field that is understood; did you mean qk_norm?",
        ),
        (
            "a:\n  keys: {unsued: [x]}\n",
            "mine.yaml:2: a.keys.unsued: not a field that is understood; did you mean unused?",
        ),
        ("a:\n  mixer: latnt\n", "mine.yaml:2: a.mixer: expected 'attention', 'latent',"),
        (
            "a:\n  qk_norm: {if: use_qk_norm, then: heads, else: none}\n",
            "mine.yaml:2: a.qk_norm.then: expected 'none', 'head',",
        ),
        ("a:\n  mixer: =kind\n", "mine.yaml:2: a.mixer: expected 'attention', 'latent',"),
        ("a:\n  mlp: {if: x, then: plain}\n", "mine.yaml:2: a.mlp: expected 'gated', 'plain',"),
        ("a:\n  keys: {names: {hiden_size: [n]}}\n", "mine.yaml:2: a.keys.names.hiden_size: not a field"),
        ("a:\n  keys: {same: {n: hiden_size}}\n", "mine.yaml:2: a.keys.same.n: must be 'hidden_size',"),
        (
            "a:\n  attention_bias: 1\n",
            "mine.yaml:2: a.attention_bias: expected true or false, or a value that is looked up, got 1",
        ),
        (
            "a:\n  head_dim: true\n",
            "mine.yaml:2: a.head_dim: expected a whole number, or a value that is looked up, got true",
        ),
        (
            "a:\n  intermediate_size: two thirds\n",
            "mine.yaml:2: a.intermediate_size: expected a whole number, 'two-thirds', or a value",
        ),
        ("a:\n  norm: rms\n  norm: layer\n", "mine.yaml:3: a.norm: this key stands twice"),
        ("a: {norm: rms}\n\na: {norm: layer}\n", "mine.yaml:3: a: this key stands twice"),
        ("a:\n  experts: {evry: 2}\n", "mine.yaml:2: a.experts: not a rule that is understood"),
        ("a:\n  experts: some\n", "mine.yaml:2: a.experts: not a rule that is understood: 'some'"),
        (
            "a:\n  experts: {after: first_k, defualt: 1}\n",
            "mine.yaml:2: a.experts.defualt: not a field that is understood; did you mean default?",
        ),
        ("a:\n  experts:\n    period: 2\n", "mine.yaml:2: a.experts.offset: this field is missing"),
        (
            "a:\n  experts: {at: places, without: {every: [1]}}\n",
            "mine.yaml:2: a.experts.without.every: expected a key or a whole number, got a list",
        ),
        ("a:\n  layer_types: {full_attention: all}\n", "mine.yaml:2: a.layer_types: expected `listed`, or two words"),
        (
            "a:\n  layer_types: {full_attention: sometimes, sliding_attention: others}\n",
            "mine.yaml:2: a.layer_types.full_attention: not a rule",
        ),
        (
            "a:\n  layer_types: {full_attention: all, liner: others}\n",
            "mine.yaml:2: a.layer_types.liner: `layers` does not say what",
        ),
        (
            "a:\n  order: {cycle: [full_attention,\n    liner]}\n",
            "mine.yaml:3: a.order.cycle.1: `layers` does not say what",
        ),
        ("a:\n  head_dim: =2**size\n", "mine.yaml:2: a.head_dim: expected =key, or keys and numbers with"),
        ("a:\n  head_dim: {if: size}\n", "mine.yaml:2: a.head_dim: expected a value, {if: key, then: "),
        ("a:\n  head_dim: {either: [=size]}\n", "mine.yaml:2: a.head_dim: expected a value, {if: key, then: "),
        ("a:\n  mamba_d_state: =size\n", "mine.yaml:2: a.mamba_d_state: no block of this type has a use for it"),
        (
            "a:\n  layers:\n    conv:\n      mixer: short-conv\n      qk_norm: head\n",
            "mine.yaml:5: a.layers.conv.qk_norm: no block of this layer",
        ),
        ("a:\n  hc_mixing: true\n", "mine.yaml:2: a.hc_mixing: no block of this type has a use for it"),
        (
            "a:\n  reference: A\n\nb:\n  like: c\n",
            "mine.yaml:5: b.like: 'c' is no type that stands before it in this file",
        ),
        ("a:\n  like: b\nb:\n  like: a\n", "mine.yaml:2: a.like: 'b' is no type that stands before it in this file"),
        ('"a":\n  norm: rms\n', "mine.yaml:1: a: a type stands at the beginning of a line, without quotes"),
        ("a: &x {norm: rms}\nb: *x\n", "mine.yaml:2: b: anchors and aliases are not used in specs"),
        ("a: llama\n", "mine.yaml:1: a: expected a mapping, got the text 'llama'"),
        ("", "mine.yaml: the file is empty"),
    ],
)
def test_a_mistake_is_refused_with_file_line_and_field(folder, text, message):
    assert refusal(folder, text).startswith(message)


def test_a_type_in_two_files_is_refused(folder):
    (folder / "first.yaml").write_text("# one\n\na:\n  norm: rms\n", "utf-8")
    message = refusal(folder, "# another\nb:\n  norm: rms\na:\n  norm: layer\n", "second.yaml")
    assert message == "second.yaml:4: a: this type stands in first.yaml as well"


def test_a_mistake_in_the_type_that_is_imported_is_named_and_one_beside_it_is_not(folder):
    (folder / "mine.yaml").write_text("a:\n  norm: rms\n\nb:\n  nrom: rms\n", "utf-8")
    assert len(layers_of({"model_type": "a"})) == 1
    with pytest.raises(SpecError, match=r"mine\.yaml:5: b\.nrom: not a field"):
        layers_of({"model_type": "b"})


def test_a_reason_that_stands_twice_among_the_harmless_keys_is_refused(tmp_path):
    (tmp_path / HARMLESS_KEYS).write_text("angles: rope_theta\nangles: beta_fast\n", "utf-8")
    with pytest.raises(SpecError, match=rf"{HARMLESS_KEYS}:2: angles: this key stands twice"):
        harmless_keys(tmp_path)


# -- a new type -------------------------------------------------------------------------------------

NEW = """
newest:
  attention_bias: =use_bias
  qk_norm: {if: normalise, then: head, else: none}
  head_dim: =hidden_size/num_attention_heads*2
  experts: {after: dense_layers}
  moe_intermediate_size: =expert_width
  shared_expert_intermediate_size: =shared*expert_width
  layer_types: {full_attention: {every: 2}, conv: others}
  layers:
    conv: {mixer: short-conv, conv_L_cache: =kernel, conv_bias: false}
  keys:
    defaults: {dense_layers: 1}
    unused: [flavour]
"""
NEW_CONFIG = {
    "use_bias": True,
    "normalise": True,
    "expert_width": 32,
    "shared": 2,
    "kernel": 3,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "flavour": "sweet",
}


def test_a_new_type_is_a_file_and_no_code(folder):
    """Beside the shipped ones: convolution, attention, convolution, attention; the first with a dense MLP."""
    for path in SHIPPED.glob("*.yaml"):
        shutil.copy(path, folder)
    (folder / "newest.yaml").write_text(NEW, "utf-8")
    assert "newest" in all_types()
    first, attention, conv = layers_of({"model_type": "newest"} | NEW_CONFIG)
    assert (first.count, attention.count, conv.count) == (1, 2, 1)
    assert (type(first.mixer).__name__, type(first.mlp).__name__) == ("ShortConv", "GatedMlp")
    assert first.mixer.conv_L_cache == 3
    assert first.mlp.intermediate_size == 96
    assert (type(attention.mixer).__name__, type(attention.mlp).__name__) == ("GroupedAttention", "Experts")
    assert (attention.mixer.head_dim, attention.mixer.qk_norm, attention.mixer.attention_bias) == (32, "head", True)
    assert (attention.mlp.moe_intermediate_size, attention.mlp.shared_expert_intermediate_size) == (32, 2 * 32)
    assert (type(conv.mixer).__name__, type(conv.mlp).__name__) == ("ShortConv", "Experts")


@pytest.mark.parametrize("key", ["flavor", "num_shared"])
def test_a_key_that_a_new_type_does_not_look_at_is_refused(folder, key):
    (folder / "newest.yaml").write_text(NEW, "utf-8")
    with pytest.raises(SpecError, match=f"{key}: not understood for newest"):
        layers_of({"model_type": "newest", key: 2} | NEW_CONFIG)


def test_a_type_like_another_joins_its_layers_and_keys_and_takes_back_what_is_null(folder):
    (folder / "kin.yaml").write_text(
        "base:\n  norm: layer\n  qk_norm: head\n  layers: {conv: {mixer: short-conv, conv_L_cache: 3}}\n"
        "  keys: {unused: [a], neutral: {b: 1}}\n"
        "kin:\n  like: base\n  qk_norm: null\n  layers: {conv: {conv_bias: true}}\n  keys: {unused: [c]}\n",
        "utf-8",
    )
    assert architecture("kin") == {
        "like": "base",
        "norm": "layer",
        "layers": {"conv": {"mixer": "short-conv", "conv_L_cache": 3, "conv_bias": True}},
        "keys": {"unused": ["a", "c"], "neutral": {"b": 1}},
    }


def test_layers_whose_weights_are_used_again_need_their_number(folder):
    (folder / "mine.yaml").write_text("a:\n  layers: {full_attention: {reused_after: =blocks}}\n", "utf-8")
    with pytest.raises(SpecError, match="blocks: expected a whole number, got x"):
        layers_of({"model_type": "a", "blocks": "x"})
    own, again = layers_of({"model_type": "a", "blocks": 3})
    assert (own.count, again.count, again.reuses_weights) == (3, 1, True)


# -- values and rules -------------------------------------------------------------------------------

KEYS = {"a": 6, "b": 4, "none": None, "zero": 0, "yes": True, "word": "full", "list": ["x", "y", "x"], "in": {"k": 5}}


def get(key):
    outer, _, inner = key.partition(".")
    return KEYS.get(outer, {}).get(inner) if inner else KEYS.get(key)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("head", "head"),
        (0, 0),
        ("=a", 6),
        ("=in.k", 5),
        ("=missing", None),
        ("=1+a/b", 1 + 6 // 4),
        ("=a-b*2", 6 - 4 * 2),
        ("=2*a/b", 2 * 6 // 4),
        ("=a/b*2", 6 // 4 * 2),
        ({"if": "yes", "then": "=a", "else": 1}, 6),
        ({"if": "zero", "then": "=a", "else": 1}, 1),
        ({"if": "zero", "then": "=a"}, None),
        ({"if": "word", "is": "full", "then": 1, "else": 2}, 1),
        ({"if": "yes", "is": True, "then": 1, "else": 2}, 1),
        ({"if": "word", "is": "half", "then": 1, "else": {"if": "yes", "then": 3}}, 3),
        ({"either": ["=zero", "=none", "=b", 1]}, 4),
        ({"either": ["=none", "=zero"]}, 0),
        ({"distinct": "list"}, 2),
        ({"distinct": "a"}, None),
    ],
)
def test_a_value_comes_to(said, value):
    assert evaluate(said, get) == value


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("=2*none", "none: this key is missing"),
        ("=a/zero", "zero: expected a whole number above 0, got 0"),
        ("=a+word", 'word: expected a whole number, got "full"'),
    ],
)
def test_arithmetic_names_the_key_that_is_no_whole_number(said, message):
    with pytest.raises(NotWholeError) as caught:
        evaluate(said, get)
    assert str(caught.value) == message


def test_the_keys_of_a_value_are_those_it_is_computed_from_and_not_those_that_decide():
    assert keys_of({"if": "a", "then": "=b*2/in.k", "else": {"either": ["=word", 3]}}) == ["b", "in.k", "word"]


CONFIG_OF_RULES = {
    "n": 3,
    "dense": [2],
    "places": [1, 4],
    "cycle": ["r", "attention"],
    "runs": [[["global", "local"], 2], [["local"], 4]],
    "off": False,
    "letters": "LLG",
    "last": -1,
}


@pytest.mark.parametrize(
    ("rule", "picked"),
    [
        ("all", range(8)),
        ("none", []),
        ({"every": "n"}, [2, 5]),
        ({"every": "missing"}, range(8)),
        ({"every": "n", "except": "dense"}, [5]),
        ({"every": "letters"}, [2, 5, 7]),
        ({"every": "n", "if": "off"}, []),
        ({"every": 2, "from": "n", "to": "last"}, [3, 5, 7]),
        ({"every": 2, "from": "n", "to": 5}, [3, 5]),
        ({"period": "n", "offset": 1}, [1, 4, 7]),
        ({"period": "n", "offset": 1, "first": 2}, [0, 1, 4, 7]),
        ({"period": "n", "offset": 0, "begin": [False, True]}, [1, 2, 5]),
        ({"after": "n"}, [3, 4, 5, 6, 7]),
        ({"after": "missing", "default": 6}, [6, 7]),
        ({"before": "n"}, [0, 1, 2]),
        ({"at": "places"}, [1, 4]),
        ({"at": "missing"}, []),
        ({"at": "missing", "without": {"every": 4}}, [3, 7]),
        ({"numbers": "places"}, [0, 3]),
        ({"cycle": "cycle", "word": "attention"}, [1, 3, 5, 7]),
        ({"runs": "runs", "word": "global"}, [0, 2]),
        ({"if": "n"}, range(8)),
    ],
)
def test_a_rule_picks(rule, picked):
    assert [at for at in range(8) if picks(rule, at, 8, CONFIG_OF_RULES.get)] == list(picked)


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("listed", "layer_types"),
        ({"period": "missing", "offset": 0}, "missing"),
        ({"numbers": "absent"}, "absent"),
        ({"every": 2, "from": 0, "to": "absent"}, "absent"),
    ],
)
def test_a_rule_names_the_key_without_which_it_is_open(rule, key):
    with pytest.raises(LookupError, match=key):
        picks(rule, 0, 8, CONFIG_OF_RULES.get)
