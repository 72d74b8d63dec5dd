"""Specs after accidents, and any bytes at all: an answer or one clear message, never a traceback."""

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import CHIP, MODEL, refused

from llmcost.ground.errors import InputError
from llmcost.model.spec import ModelSpec
from llmcost.specs.hardware import HardwareSpec, load_hardware_file
from llmcost.specs.models import load_model_file

JUNK = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**12), max_value=10**12)
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "24 GB",
            "1e9",
            "165 TFLOPS",
            "0 B",
            "rms",
            "-0.0",
            "1 ",
            "9" * 400 + ".1 GB",
            "&a",
            "!!int 3",
            "~",
            "yes",
            "\x1b[31m",
        ]
    )
    | st.dates()
    | st.binary(max_size=5)
)
VALUES = st.recursive(
    JUNK,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
YAML_LIKE = st.text(alphabet="{}[]:-&*!|>'\"%@#\n\t ,?.<=abnexyz019\0\x85\u2028\ufeffé", max_size=60)


def paths_in(data, path=()):
    """The path of every entry of nested mappings and lists."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from paths_in(value, (*path, key))


@st.composite
def mutated(draw, text):
    """A valid spec after one to three accidents: a field dropped, renamed, retyped, added."""
    data = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(paths_in(data))))
        target = data
        for key in parents:
            target = target[key]
        accident = draw(st.sampled_from(["drop", "rename", "retype", "add"]))
        if accident == "retype":
            target[last] = draw(VALUES)
        elif accident == "drop":
            del target[last]
        elif isinstance(target, dict):
            target[draw(st.text(max_size=8) | st.sampled_from(["hiden_size", "peek", "value"]))] = (
                target.pop(last) if accident == "rename" else draw(VALUES)
            )
        if not data:
            break
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False)


def answered_cleanly(cli, path):
    """Loader, `estimate` and `check` take the file or say in one line what is wrong with it, and agree."""
    loaded = {}
    for kind, load in (("model", load_model_file), ("hardware", load_hardware_file)):
        try:
            loaded[kind] = load(path)
        except InputError as error:
            assert str(error).startswith(str(path))
    assert all(isinstance(spec, ModelSpec | HardwareSpec) for spec in loaded.values())

    for kind, arguments in (
        ("model", ("estimate", path, "--hw", "rtx4090")),
        ("hardware", ("estimate", "gpt2", "--hw", path)),
    ):
        answer = cli(*arguments)
        if kind in loaded:
            assert (answer.code, answer.err) == (0, "")
            assert answer.out
        else:
            refused(answer)
    checked = cli("check", path)
    assert (checked.code, checked.err) == ((0, "") if loaded else (1, ""))
    assert checked.out.count("\n") == 1


@settings(deadline=None, max_examples=70)
@given(text=mutated(MODEL) | mutated(CHIP))
def test_a_damaged_spec_gets_a_clean_answer(cli, scratch, text):
    path = scratch / "damaged.yaml"
    path.write_text(text, encoding="utf-8")
    answered_cleanly(cli, path)


@settings(deadline=None, max_examples=70)
@given(data=YAML_LIKE.map(str.encode) | st.text(max_size=50).map(str.encode) | st.binary(max_size=50))
def test_any_bytes_get_a_clean_answer(cli, scratch, data):
    path = scratch / "any.yaml"
    path.write_bytes(data)
    answered_cleanly(cli, path)


@settings(deadline=None, max_examples=40)
@given(document=VALUES.filter(lambda value: not isinstance(value, bytes)))
def test_any_json_gets_a_clean_answer(cli, scratch, document):
    path = scratch / "any.json"
    path.write_text(json.dumps(document, default=str), encoding="utf-8")
    answered_cleanly(cli, path)
