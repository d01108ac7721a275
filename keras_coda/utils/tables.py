"""Tables of text, Markdown and HTML."""

import html
import re
from collections.abc import Iterable, Sequence


def counted(number: int, one: str, ending: str = "s") -> str:
    """Return a number of things as text, such as ``"1 grid"``; ``ending`` makes the plural."""
    return f"{number} {one}{ending if number != 1 else ''}"


def text_table(rows: Iterable[Sequence], head: Sequence | None = None) -> str:
    """Return rows of equal length as lines of text with aligned columns.

    Args:
        rows: cells of any type, written by ``str``.
        head: names of the columns, or None.

    Example:
        >>> print(text_table([("accuracy", 0.9), ("loss", 1)]))
        accuracy  0.9
        loss      1
    """
    rows = [[str(cell) for cell in row] for row in ([] if head is None else [head]) + list(rows)]
    return "\n".join("  ".join(line).rstrip() for line in _padded(rows))


def markdown_table(head: Sequence, rows: Iterable[Sequence], right: Iterable[int] = ()) -> str:
    """Return a Markdown table, its source aligned too; a ``|`` in a cell is escaped.

    Args:
        head: names of the columns.
        rows: cells of any type, written by ``str``; as many in each row as in ``head``. Line breaks become
            spaces.
        right: indices of the columns that are aligned to the right.

    Example:
        >>> print(markdown_table(("method", "score"), [("GradCAM", 0.5)], right=[1]))
        | method  | score |
        | ------- | ----: |
        | GradCAM | 0.5   |
    """
    lines = [[" ".join(str(cell).replace("|", "\\|").split("\n")) for cell in row] for row in (head, *rows)]
    widths, right = _widths(lines), set(right)
    rule = ["-" * (width - 1) + ":" if i in right else "-" * width for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in _padded([lines[0], rule, *lines[1:]]))


def to_html(text: str) -> str:
    """Return Markdown as HTML, for notebooks: tables of :func:`markdown_table`, ``**bold**``, and paragraphs.

    Args:
        text: tables and paragraphs, with empty lines between them.

    Example:
        >>> to_html("**Mean** of 3.")
        '<p><b>Mean</b> of 3.</p>'
    """
    blocks = [block.strip() for block in text.split("\n\n")]
    return "".join(
        _html_table(block) if block.startswith("|") else f"<p>{_inline(block)}</p>" for block in blocks if block
    )


def _html_table(block):
    head, rule, *rows = (re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in block.splitlines())
    sides = ["right" if cell.strip().endswith(":") else "left" for cell in rule]

    def row(cells, tag):
        shown = (_inline(cell.strip().replace("\\|", "|")) for cell in cells)
        return "".join(
            f'<{tag} style="text-align: {side}">{cell}</{tag}>' for cell, side in zip(shown, sides, strict=True)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<table><thead><tr>{row(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _inline(text):
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))


def _widths(rows):
    return [max(3, *map(len, column)) for column in zip(*rows, strict=True)]  # Markdown needs three dashes


def _padded(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
