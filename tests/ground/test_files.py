"""Files are written whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from heeded import HEEDED

from llmcost.ground.errors import InputError
from llmcost.ground.files import check_place, draft_of, refuse_input, write_file


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


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text("utf-8")), daemon=True)
    reader.start()
    write_file(path, "text")
    reader.join(10)
    assert read == ["text"]
    assert path.is_fifo()


def test_a_device_is_written_to_and_stays_one(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_text("text", "utf-8")
    except OSError:
        pytest.skip("only root may make a device, and not on every file system")
    write_file(path, "text")
    check_place(path)
    assert path.is_char_device()
    assert [each.name for each in tmp_path.iterdir()] == ["null"]


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_any_new_file(tmp_path):
    old, new, any_file = tmp_path / "old", tmp_path / "new", tmp_path / "any"
    old.touch()
    old.chmod(0o640)
    any_file.touch()
    for path in (old, new):
        write_file(path, "text")
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode == any_file.stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_where_a_link_leads_is_written_and_the_link_stays(tmp_path, there):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    if there:
        target.write_text("before", "utf-8")
    link.symlink_to(target)
    write_file(link, "after")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "after"


def test_a_name_as_long_as_the_system_takes_is_written_and_a_longer_one_refused(tmp_path):
    write_file(tmp_path / ("x" * 250), "text")
    with pytest.raises(InputError, match="too long"):
        check_place(tmp_path / ("x" * 256))


def test_drafts_of_two_programs_never_meet(tmp_path):
    with draft_of(tmp_path / "x") as one, draft_of(tmp_path / "x") as other:
        assert one != other
        one.write_text("one", "utf-8")
        other.write_text("other", "utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_is_read_is_not_written_over_by_any_of_its_names(tmp_path):
    path, link = tmp_path / "x.json", tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    for name in (path, link, tmp_path / "." / "x.json"):
        with pytest.raises(InputError, match="is what is read here"):
            refuse_input(name, None, "llama3-8b", str(path))
    refuse_input(tmp_path / "new", str(path))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_program_that_is_ended_leaves_no_draft(tmp_path, ending):
    code = HEEDED + (
        "import os, signal, sys\nfrom pathlib import Path\nfrom llmcost import __main__, cli\n"
        "from llmcost.ground.files import draft_of\n"
        "def run():\n    with draft_of(Path('x')):\n        assert len(os.listdir()) == 1\n"
        f"        os.kill(os.getpid(), {int(ending)})\n        signal.pause()\n"
        "cli.main = run\n__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + ending, "")
    assert list(tmp_path.iterdir()) == []
