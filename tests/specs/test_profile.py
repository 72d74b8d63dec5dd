"""Profiles: what is read back, and what is refused."""

import json
import re

import pytest
from bench_setup import SHIPPED

from llmcost.ground.errors import SpecError
from llmcost.specs.profile import load_profile


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d | {"schema": "llmcost.profile/0"}, "measure again"),
        (lambda d: d | {"extra": 1}, "extra: not a field that is understood"),
        (lambda d: d | {"fit": {"gemm": {"bf16": {"compute": "x"}}}}, "fit.gemm.bf16"),
        (lambda d: d | {"rows": [d["rows"][0] | {"sizes": {"m": 1}}]}, "rows.0.sizes.m: not a field"),
        (
            lambda d: d | {"rows": [d["rows"][0] | {"sizes": d["rows"][0]["sizes"] | {"k": 0}}]},
            "rows.0.sizes.k: must be at",
        ),
        (lambda d: d | {"rows": [{**d["rows"][0], "median_us": 0}]}, "rows.0.median_us: expected a number"),
        (lambda d: d | {"rows": [{"suite": "x", "name": "x", "dtype": "bf16", "status": "ok"}]}, "has its three times"),
        (lambda d: d | {"peaks": d["peaks"] | {"flops_per_s": {"bf17": 1}}}, "peaks.flops_per_s.bf17"),
        (lambda d: d | {"name": "\x1b]0;mine\x07"}, "name: this text holds characters that cannot be printed"),
        (lambda d: d | {"environment": {"\x1b[2J": "1"}}, "environment.\\x1b[2J: this text holds"),
        (lambda d: d | {"rows": [d["rows"][0] | {"status": "fine"}]}, "rows.0.status"),
        (lambda _d: [1], "expected an object"),
    ],
    ids=[
        "old",
        "unknown key",
        "text for a number",
        "sizes",
        "size",
        "time",
        "times",
        "peak",
        "escape",
        "key",
        "status",
        "list",
    ],
)
def test_a_profile_that_is_none_is_refused_with_its_field(change, says, cli, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(change(json.loads(SHIPPED[0].read_text("utf-8")))), "utf-8")
    for arguments in (["bench", "--show"], ["estimate", "gpt2", "--hw", "h200", "--profile"]):
        answer = cli(*arguments, tmp_path / "bad.json")
        assert answer.code == 2
        assert says in answer.err
        assert answer.err.count("\n") == 1


def test_a_message_has_the_line_that_a_field_stands_in(tmp_path):
    path, text = tmp_path / "bad.json", SHIPPED[0].read_text("utf-8")
    line = next(number for number, each in enumerate(text.splitlines(), 1) if each.startswith('"steps"')) + 1
    path.write_text(text.replace('"batch": ', '"batch": -', 1), "utf-8")
    with pytest.raises(SpecError, match=f"bad.json:{line}: steps.0.batch: must be above 0"):
        load_profile(path)


@pytest.mark.parametrize(
    "before, after, says",
    [
        ('"scope": ', '"scope": "full",\n"scope": ', "scope: this key stands twice"),
        ('"watts": ', '"watts": NaN, "x": ', "NaN is no number"),
        ('"watts": ', '"watts": 1e999, "old": ', "watts: expected a number from 0 to 1e+09, got inf (and 1 more)"),
    ],
)
def test_what_json_should_not_hold_is_refused(before, after, says, tmp_path):
    (tmp_path / "bad.json").write_text(SHIPPED[0].read_text("utf-8").replace(before, after, 1), "utf-8")
    with pytest.raises(SpecError, match=re.escape(says)):
        load_profile(tmp_path / "bad.json")
