"""Templates that only call `ref`, `source`, `config` and the like with values, rendered without Jinja.

Most models are such templates, and half of the time of a first load would be Jinja's for compiling them. What is made of them here is
what Jinja makes of them, to the character; whatever is not understood is left to Jinja, and so is whatever fails, for the place
that Jinja names. dbt reads such models in a like way (its static parser).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sao_dagster.projects.templates.python_syntax import parsed

_VALUES = {"true": True, "false": False, "none": None}
_FUNCTIONS = frozenset({"ref", "source", "config", "var", "env_var"})
PLAIN_NAMES = (*sorted(_FUNCTIONS), "this")
"""The names that templates use in which nothing is decided."""
_BEGIN = re.compile(r"\{[{%#]")
_COMMENT_END = re.compile(r"\+#\}|-#\}\s*|#\}")
# names, numbers and texts without escapes, which Jinja and Python read alike; a text after a letter has a prefix to Python only
_EXPRESSION = re.compile(
    r"""((?:[ \t\n,()\[\]=]|[A-Za-z_][A-Za-z0-9_]*(?![A-Za-z0-9_'"])|[0-9]+(?![A-Za-z0-9_])|'[^'\\\n]*'|"[^"\\\n]*")*)"""
    r"""(?:-\}\}\s*|\}\})"""
)
_TEXT = r"""('[^'\\\n]*'|"[^"\\\n]*")"""
_OF_TEXTS = re.compile(rf"\s*([a-z_]+)\s*\(\s*{_TEXT}\s*(?:,\s*{_TEXT}\s*)?\)\s*")


@dataclass(frozen=True)
class _Call:
    """A function that is called with values, or a name that stands for itself where `arguments` is None."""

    name: str
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None


@dataclass(frozen=True)
class PlainTemplate:
    """A template in which nothing is decided.

    Attributes:
        pieces: Its text, and calls whose results are written into it.
        names: The names that it uses.
    """

    pieces: tuple[str | _Call, ...]
    names: frozenset[str]

    def text(self, variables: Mapping[str, Any]) -> str:
        """Return it rendered with the values of its names; whatever a function raises is raised."""
        return "".join([each if isinstance(each, str) else str(_value_of(each, variables)) for each in self.pieces])

    def call(self, variables: Mapping[str, Any]) -> None:
        """Call all that it calls, as `text` does, for what that notes."""
        for each in self.pieces:
            if not isinstance(each, str):
                _value_of(each, variables)


def _value_of(call: _Call, variables: Mapping[str, Any]) -> Any:
    value = variables[call.name]
    if call.arguments is None:
        return value
    args, kwargs = call.arguments
    return value(*_copied(args), **_copied(kwargs))


def _copied(values: Any) -> Any:
    """Return values with lists of their own, as each rendering makes them."""
    if isinstance(values, dict):
        return {key: _copied(each) for key, each in values.items()}
    return type(values)(map(_copied, values)) if isinstance(values, list | tuple) else values


@lru_cache(maxsize=20_000)
def plain_template(text: str) -> PlainTemplate | None:
    """Return a template as text and calls, or None where that is not all it is.

    >>> plain_template("select * from {{ ref('orders') }}").text({"ref": lambda name: name.upper()})
    'select * from ORDERS'
    >>> plain_template("{% if execute %} select 1 {% endif %}") is None
    True
    """
    if "\r" in text:
        return None
    text = text.removesuffix("\n")  # as Jinja does
    pieces: list[str | _Call] = []
    done = 0
    while (begin := _BEGIN.search(text, done)) is not None:
        if begin.group() == "{%":
            return None
        before, start = text[done : begin.start()], begin.end()
        sign = text[start : start + 1]
        pieces.append(before.rstrip() if sign == "-" else before)
        start += sign == "-"
        if begin.group() == "{#":
            end = _COMMENT_END.search(text, start)
        else:
            end = _EXPRESSION.match(text, start)
            call = None if end is None else _call(end.group(1))
            if call is None:
                return None
            pieces.append(call)
        if end is None:
            return None
        done = end.end()
    pieces.append(text[done:])
    return PlainTemplate(
        tuple(each for each in pieces if each != ""),
        frozenset(each.name for each in pieces if isinstance(each, _Call)),
    )


@lru_cache(maxsize=20_000)
def _call(expression: str) -> _Call | None:
    """Return a call of a known function with values only, or `this`; None for anything else."""
    if expression.strip() == "this":
        return _Call("this")
    of_texts = _OF_TEXTS.fullmatch(expression)
    if of_texts is not None and of_texts[1] in _FUNCTIONS:  # nearly all; Python's parser is not needed
        return _Call(of_texts[1], (tuple(each[1:-1] for each in of_texts.group(2, 3) if each is not None), {}))
    try:
        tree = parsed(f"({expression})").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id not in _FUNCTIONS:
        return None
    names = [each.arg for each in tree.keywords]
    if len(set(names)) < len(names) or any(name is None or name.startswith("_") for name in names):
        return None
    try:
        args = tuple(map(_value, tree.args))
        return _Call(tree.func.id, (args, {str(each.arg): _value(each.value) for each in tree.keywords}))
    except ValueError:
        return None


def _value(node: ast.expr) -> Any:
    """Return a value that is written as one.

    Raises:
        ValueError: It is none.
    """
    match node:
        case ast.Constant(value=bool() | int() | str() | None as value):
            return value
        case ast.Name(id=name) if name in _VALUES:
            return _VALUES[name]
        case ast.List(elts=items):
            return [_value(each) for each in items]
        case ast.Tuple(elts=items):
            return tuple(_value(each) for each in items)
    raise ValueError(ast.dump(node))
