"""Texts that may be templates, as they are read: what is known of them before Jinja is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

BUILTINS = "dbt"
"""The package of the macros that come with dbt."""

_DOC = re.compile(r"""\s*\{\{-?\s*doc\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)\s*-?\}\}\s*""")


@dataclass(frozen=True)
class MacroFile:
    """A file of macros, as it was read."""

    package: str
    path: str
    text: str


def has_jinja(text: str) -> bool:
    """Return whether a text is a template.

    >>> has_jinja("{% if true %}a{% endif %}"), has_jinja("{a}")
    (True, False)
    """
    return any(mark in text for mark in ("{{", "{%", "{#"))


def doc_alone(text: str) -> str | None:
    """Return the docs block that a text of YAML stands for, where that is all it does; None for anything else.

    >>> doc_alone("{{ doc('orders') }}"), doc_alone("see {{ doc('orders') }}"), doc_alone("{{ doc('shop', 'orders') }}")
    ('orders', None, None)
    """
    found = _DOC.fullmatch(text)
    if found is None or text != text.strip():
        return None
    single, double = found.groups()
    return double if single is None else single


@lru_cache(maxsize=1)
def builtin_macros() -> tuple[MacroFile, ...]:
    """Return the macros that come with dbt, which projects may override."""
    folder = Path(__file__).parent / "macros"
    return tuple(
        MacroFile(BUILTINS, f"dbt/{file.name}", file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.sql"))
    )
