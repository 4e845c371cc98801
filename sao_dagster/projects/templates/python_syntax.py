"""Python's own parser, which older Pythons do not keep apart between threads."""

from __future__ import annotations

import ast
from typing import Any, Literal

_ATTEMPTS = 100


def parsed(source: str, mode: Literal["eval", "exec"] = "eval") -> Any:
    """Return the tree of an expression (`ast.Expression`) or a module (`ast.Module`).

    Python 3.11.0 to 3.11.7, 3.12.0 and 3.12.1 count how deep a tree is for all threads together, and raise SystemError where
    another thread parses at the same time (python/cpython#106905). Each call begins to count anew, so it is called again.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It is not Python, or is nested too deeply; as `ast.parse`.

    >>> parsed("f(1)").body.func.id
    'f'
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return ast.parse(source, mode=mode)
        except SystemError:
            continue
    return ast.parse(source, mode=mode)
