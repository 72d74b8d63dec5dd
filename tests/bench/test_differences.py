"""Two profiles of one GPU."""

from llmcost.specs.profile import profile_text


def test_two_profiles_are_compared_and_a_threshold_missed_is_an_answer(quick, cli, tmp_path):
    profile, path, _ = quick
    times = ("median_us", "p05_us", "p95_us")
    faster = [row._replace(**{name: getattr(row, name) / 2 for name in times}) for row in profile.rows]
    (tmp_path / "old.json").write_text(profile_text(profile._replace(rows=tuple(faster))), "utf-8")
    same = cli("bench", "--show", path, "--compare", path, "--fail-above", "5%")
    assert same.code == 0
    assert "half differ by at most 0.0%, 0 clearly by more than 5.0%" in same.out
    worse = cli("bench", "--show", path, "--compare", tmp_path / "old.json", "--fail-above", "5%")
    assert worse.code == 1
    assert "+100.0%   SLOWER" in worse.out
    assert cli("bench", "--show", path, "--compare", tmp_path / "old.json").code == 0
