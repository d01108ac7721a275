from keras_coda.utils.tables import markdown_table, text_table


def test_text_columns_are_aligned_without_trailing_spaces():
    assert text_table([("a", 1, ""), ("long", 22, "x")]) == "a     1\nlong  22  x"
    assert text_table([("a", 1)], head=("name", "n")) == "name  n\na     1"
    assert text_table([]) == ""


def test_markdown_columns_are_aligned_and_bars_escaped():
    table = markdown_table(("method", "n"), [("a|b", 0.25), ("c", "**1**")], right=[1])
    assert table.splitlines() == [
        "| method | n     |",
        "| ------ | ----: |",
        "| a\\|b   | 0.25  |",
        "| c      | **1** |",
    ]


def test_short_markdown_columns_have_three_dashes():
    assert markdown_table(("T", "n"), [(1, 2)], right=[1]).splitlines() == [
        "| T   | n   |",
        "| --- | --: |",
        "| 1   | 2   |",
    ]
