"""What a profile shows, in every format."""

import json

import pytest


def test_the_page_says_what_was_reached_and_that_no_data_sheet_is_known(quick):
    out = quick[2].out
    for words in (
        "GEMM fp32, without a break",
        "attention, decode",
        "memory, triad",
        "whole passes",
        "on shapes held out",
    ):
        assert words in out
    assert "No data sheet is known for this device" in out


def test_other_formats_and_charts(quick, cli, tmp_path):
    pytest.importorskip("matplotlib")
    profile, path, _ = quick
    assert json.loads(cli("bench", "--show", path, "--json").out)["schema"] == "llmcost.profile/1"
    assert len(cli("bench", "--show", path, "--csv").out.splitlines()) == len(profile.rows) + 1
    assert "| gemm | gemm | 1×96×64 |" in cli("bench", "--show", path, "--rows", "--markdown").out
    answer = cli("bench", "--show", path, "--plot", tmp_path / "charts")
    assert answer.code == 0
    assert sorted(file.name.rpartition("-")[2] for file in (tmp_path / "charts").iterdir()) == [
        "bandwidth.svg",
        "gemm.svg",
        "roofline.svg",
    ]
