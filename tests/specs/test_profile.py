"""Profiles: what is read back, and what is refused."""

import json

import pytest
from bench_setup import SHIPPED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d | {"schema": "llmcost.profile/0"}, "measure again"),
        (lambda d: d | {"extra": 1}, "extra: not a field that is understood"),
        (lambda d: d | {"fit": {"gemm": {"bf16": {"compute": "x"}}}}, "fit.gemm.bf16"),
        (lambda d: d | {"rows": [d["rows"][0] | {"sizes": {"m": 1}}]}, "rows.0.sizes: not the sizes of Gemm"),
        (lambda d: d | {"rows": [d["rows"][0] | {"status": "fine"}]}, "rows.0.status"),
        (lambda _d: [1], "expected an object"),
    ],
    ids=["old", "unknown key", "text for a number", "sizes", "status", "list"],
)
def test_a_profile_that_is_none_is_refused_with_its_field(change, says, cli, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(change(json.loads(SHIPPED[0].read_text("utf-8")))), "utf-8")
    for arguments in (["bench", "--show"], ["estimate", "gpt2", "--hw", "h200", "--profile"]):
        answer = cli(*arguments, tmp_path / "bad.json")
        assert answer.code == 2
        assert says in answer.err
        assert answer.err.count("\n") == 1
