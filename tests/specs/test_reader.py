"""YAML with its lines: what is read, and what a spec should not hold."""

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import SpecError
from llmcost.specs import catalog
from llmcost.specs.reader import DEEPEST, Document, parse_yaml
from llmcost.specs.writer import spec_text


def test_every_key_and_item_has_its_line():
    text = "# a comment\nname: a\n\nlist:\n  - x\n  - {inner: 1}\nflow: {one: 1,\n  two: 2}\n"
    assert parse_yaml(text, "f").lines == {
        (): 2,
        ("name",): 2,
        ("list",): 4,
        ("list", 0): 5,
        ("list", 1): 6,
        ("list", 1, "inner"): 6,
        ("flow",): 7,
        ("flow", "one"): 7,
        ("flow", "two"): 8,
    }


def test_an_error_names_the_line_of_the_nearest_parent_that_has_one():
    document = parse_yaml("a: 1\nb:\n  c: 2\n", "f.yaml")
    assert str(document.error(("b", "c", "missing"), "wrong")) == "f.yaml:3: b.c.missing: wrong"
    assert str(document.error(("b", "missing"), "wrong")) == "f.yaml:2: b.missing: wrong"
    assert str(document.error(("missing",), "wrong")) == "f.yaml:1: missing: wrong"
    assert str(document.error((), "wrong")) == "f.yaml:1: wrong"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1.5e+3", 1500.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ("2e-5", 2e-5),  # as Python and YAML 1.2 write it
        ("'2e-5'", "2e-5"),
        ("1e9", "1e9"),  # YAML 1.1 wants a point and a sign
        ("yes", "yes"),  # not True
        ("12:30", "12:30"),  # not 750
        ("0x10", "0x10"),  # not 16
        ("010", 10),  # not 8
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2024-04-18", "2024-04-18"),  # not a date
        ("=", "="),
        ("9" * 41, "9" * 41),
        ("[a, 1]", ["a", 1]),
        ("{b: 1}", {"b": 1}),
    ],
)
def test_a_value_is_what_it_looks_like(written, value):
    read = parse_yaml(f"a: {written}\n", "f").data["a"]
    assert read == value
    assert type(read) is type(value)


def test_a_text_that_looks_like_a_number_is_quoted_where_it_is_written():
    written = spec_text(Document("f", {"a": "2e-5", "b": 2e-5, "c": "2e5"}, {}))
    assert parse_yaml(written, "f").data == {"a": "2e-5", "b": 2e-5, "c": "2e5"}


@pytest.mark.parametrize("start", ["", "\ufeff", "---\n", "%YAML 1.1\n---\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends_make_no_difference(start, end):
    assert parse_yaml(start + f"a: 1{end}b: [x]{end}", "f").data == {"a": 1, "b": ["x"]}


def test_nesting_is_read_to_its_limit_and_refused_beyond_it():
    deepest = "a: " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)  # the mapping itself is one level
    value = parse_yaml(deepest, "f").data["a"]
    for _ in range(DEEPEST - 2):
        (value,) = value
    assert value == []
    with pytest.raises(SpecError, match=f"nested more than {DEEPEST} deep"):
        parse_yaml(deepest.replace("[", "[[", 1).replace("]", "]]", 1), "f")


PLAIN = (
    st.text("abcxyz 0123456789é", min_size=1, max_size=10).filter(str.strip)
    | st.integers(-(10**30), 10**30)
    | st.booleans()
    | st.none()
)


NESTED = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=5), NESTED, min_size=1, max_size=5))
def test_plain_data_is_read_back_as_it_was_written(data):
    assert parse_yaml(yaml.safe_dump(data, allow_unicode=True), "f").data == data


def test_a_shipped_spec_is_read_once_and_again_when_it_has_changed(monkeypatch, tmp_path):
    """In a loop that names a model each time; a copy of the folder stands for the one that we ship."""
    text = (catalog.shipped("models") / "gpt2.yaml").read_text()
    (tmp_path / "gpt2.yaml").write_text(text)
    monkeypatch.setattr(catalog, "shipped", lambda _: tmp_path)
    first = catalog.load_model("gpt2")
    assert catalog.load_model("gpt2") is first
    (tmp_path / "gpt2.yaml").write_text(text.replace("vocab_size: 50257", "vocab_size: 50304"))
    os.utime(tmp_path / "gpt2.yaml", ns=(0, 1))
    assert catalog.load_model("gpt2").vocab_size == 50304
