"""Tables as plain text, Markdown and CSV."""

import shlex

from llmcost.report.tables import Table, to_csv, to_markdown, to_text
from llmcost.report.wrapping import fill, wide

TABLE = Table("Title", ("what", "B"), "lr", [("all", "12"), ("  a | b", "3\n4")], ("a note", "  goes on"))


def test_columns_of_plain_text_are_as_wide_as_their_widest_line():
    assert to_text([TABLE]) == "Title\nwhat       B\nall       12\n  a | b    3\n           4\na note\n  goes on\n"


def test_tables_are_apart_and_one_of_notes_alone_has_no_grid():
    notes = Table("", ("",), "l", (), ("one",))
    assert to_text([notes, notes]) == "one\n\none\n"


def test_markdown_keeps_indents_and_escapes_what_would_end_a_cell():
    assert to_markdown([TABLE]).split("\n") == [
        "**Title**",
        "",
        "| what | B |",
        "|---|---:|",
        "| all | 12 |",
        "| &nbsp;&nbsp;a \\| b | 3<br>4 |",
        "",
        "a note",
        "goes on",
        "",
    ]


def test_what_is_not_known_is_an_empty_field():
    assert to_csv(("a", "b"), [(1, None), ("x,y", 0)]) == 'a,b\n1,\n"x,y",0\n'


def test_a_command_that_is_broken_can_be_pasted():
    """A shell joins what a backslash ends with what stands below; before the command, words are broken as ever."""
    command = "llmcost simulate llama3-8b --hw h100 --prompt 1538 --output 462 --rate 20 --requests 1000"
    for before in ("Other percentiles of the same requests: ", "其他百分位："):
        lines = fill(before + command, 48, "  ")
        assert max(map(wide, lines)) <= 48
        pasted = "\n".join(lines).replace("\\\n", "")
        assert shlex.split(pasted[pasted.index("llmcost") :]) == command.split()
        assert not lines[-1].endswith("\\")
