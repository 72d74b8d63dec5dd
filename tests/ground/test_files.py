"""Files are written whole or not at all."""

import pytest

from llmcost.ground.errors import InputError
from llmcost.ground.files import draft_of, write_file


def test_a_file_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "answer.txt"
    write_file(path, "one")
    write_file(path, "µ")
    assert path.read_bytes() == b"\xc2\xb5"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_while_it_is_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text("before", "utf-8")
    with pytest.raises(KeyboardInterrupt), draft_of(path) as draft:
        draft.write_text("half", "utf-8")
        raise KeyboardInterrupt
    assert path.read_text("utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path):
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "no" / "where.txt", "cannot be written")):
        with pytest.raises(InputError, match=says), draft_of(path):
            pytest.fail("it went on")
