"""Tables as plain text, Markdown and CSV."""

from llmcost.report.tables import Table, to_csv, to_markdown, to_text

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
