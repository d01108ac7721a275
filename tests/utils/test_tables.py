from keras_coda.utils.tables import markdown_table, text_table, to_html


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


def test_markdown_becomes_html():
    text = markdown_table(("a", "b"), [("x|<y>", "**1**"), ("two\nlines", "\\\\")], right=[1]) + "\n\nA & **b**."
    page = to_html(text)
    assert page.startswith('<table><thead><tr><th style="text-align: left">a</th><th style="text-align: right">b</th>')
    assert "x|&lt;y&gt;" in page
    assert '<td style="text-align: right"><b>1</b></td>' in page
    assert "two lines" in page
    assert page.endswith("</table><p>A &amp; <b>b</b>.</p>")


def test_short_markdown_columns_have_three_dashes():
    assert markdown_table(("T", "n"), [(1, 2)], right=[1]).splitlines() == [
        "| T   | n   |",
        "| --- | --: |",
        "| 1   | 2   |",
    ]
