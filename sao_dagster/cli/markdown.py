"""Markdown as GitHub and GitLab show it: texts and names of others, which may hold anything, and tables of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MEANS_SOMETHING = re.compile(r"([\\`*_\[\]<>&|~$])")


def plain(text: str) -> str:
    r"""Return a text that is shown as it is, on one line, also in a cell of a table.

    >>> print(plain("a | b\nc < d, `e` and f_g"))
    a \| b<br>c \< d, \`e\` and f\_g
    """
    return _MEANS_SOMETHING.sub(r"\\\1", text.strip()).replace("\n", "<br>")


def code(text: str) -> str:
    r"""Return a name that is shown as it is, on one line, also in a cell of a table.

    >>> print(code("orders"), code("a|b"), code("a`b"), code("`"))
    `orders` `a\|b` ``a`b`` `` ` ``
    """
    text = " ".join(text.splitlines()).replace("|", "\\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, whose cells are Markdown."""
    return [_row(headings), _row(["---"] * len(headings)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
