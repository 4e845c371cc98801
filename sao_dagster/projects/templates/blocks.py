"""The blocks of a file of macros: what dbt takes from it, and all else that stands in it is no template."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_MACROS = ("macro", "test", "data_test")
_OPENING = (*_MACROS, "materialization", "snapshot", "docs")
_OPENED = re.compile(r"\{#|\{\{|\{%[-+]?\s*(\w*)")
_STRINGS = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_REST_OF_TAG = re.compile(rf"(?:{_STRINGS}|[^'\"%]|%(?!\}}))*%\}}", re.DOTALL)
_REST_OF_EXPRESSION = re.compile(rf"(?:{_STRINGS}|[^'\"}}]|\}}(?!\}}))*\}}\}}", re.DOTALL)
_END_OF_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_NAME = re.compile(r"\{%[-+]?\s*\w+\s+([A-Za-z_]\w*)")
_PREFIXES = {"macro": "", "test": "test_", "data_test": "test_", "materialization": "materialization_"}


@dataclass(frozen=True)
class Block:
    """A block of a file that is in no other block.

    Attributes:
        kind: `macro`, `test`, `data_test`, `materialization`, `snapshot` or `docs`.
        name: Its name, without arguments.
        start: Where its text begins.
        end: Where its text ends; for one that is never closed, the end of the file.
    """

    kind: str
    name: str
    start: int
    end: int

    @property
    def macro(self) -> str:
        """The name of the macro that it defines, as macros are looked up.

        >>> Block("test", "above", 0, 0).macro
        'test_above'
        """
        return _PREFIXES.get(self.kind, "") + self.name


@lru_cache(maxsize=5_000)
def blocks(text: str) -> tuple[Block, ...]:
    """Return the blocks of a file, in their order; what stands in comments, strings and `raw` is none.

    >>> [each.name for each in blocks("{# {% macro a() %} #} {{ b }} {% macro c() %}{% endmacro %}")]
    ['c']
    """
    return tuple(_blocks(text))


def macros_only(text: str, name: str | None = None) -> str:
    """Return a file with its macros and tests alone, each on its line: the rest is not rendered by dbt, nor here.

    Args:
        text: The file.
        name: The macro that is wanted; None for all.

    >>> macros_only("{{ now }} {% macro a() %}1{% endmacro %}{% macro b() %}2{% endmacro %}", "b")
    '{% macro b() %}2{% endmacro %}'
    """
    kept, position = [], 0
    for each in blocks(text):
        if each.kind in _MACROS and name in (None, each.macro):
            kept += ["\n" * text.count("\n", position, each.start), text[each.start : each.end]]
            position = each.end
    return "".join(kept)


def _blocks(text: str) -> Iterator[Block]:
    kind, name, start, position = "", "", 0, 0
    while (opened := _OPENED.search(text, position)) is not None:
        word = opened[1]
        if opened[0] == "{#":
            position = _after(text, "#}", opened.end())
            continue
        rest = (_REST_OF_EXPRESSION if opened[0] == "{{" else _REST_OF_TAG).match(text, opened.end())
        position = opened.end() if rest is None else rest.end()
        if word == "raw":
            closing = _END_OF_RAW.search(text, position)
            position = len(text) if closing is None else closing.end()
        elif kind and word == f"end{kind}":
            yield Block(kind, name, start, position)
            kind = ""
        elif not kind and word in _OPENING and (named := _NAME.match(text, opened.start())) is not None:
            kind, name, start = word, named[1], opened.start()
    if kind:
        yield Block(kind, name, start, len(text))


def _after(text: str, closing: str, position: int) -> int:
    found = text.find(closing, position)
    return len(text) if found < 0 else found + len(closing)
