"""Inputs that nobody declared: tables, files and functions that SQL names without `ref` or `source`, and what a template asked.

They have an id and a data version like any input. Decisions, records and evidence know them by the id, and need no rule of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class InputKind(str, Enum):
    """What an undeclared input is; the first part of its id."""

    TABLE = "table"
    FILE = "file"
    FUNCTION = "function"
    ANSWER = "answer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class UndeclaredInput:
    """Something that is read and was not declared.

    Attributes:
        kind: What it is.
        name: A table or a function as it is compared, its parts joined by dots; a path or glob as it is written; of what
            cannot be followed, what it is in words.
        written: A table as the SQL writes it; else empty.
        parts: The parts of a table's name, as they are compared.

    >>> UndeclaredInput(InputKind.TABLE, "raw.orders", "raw.Orders", ("raw", "orders")).id
    'table:raw.orders'
    """

    kind: InputKind
    name: str
    written: str = ""
    parts: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name by which decisions and records call it."""
        return f"{self.kind.value}:{self.name}"


def is_function(input_id: str) -> bool:
    """Return whether an id names a function that is none of the engine's own."""
    return input_id.startswith(_FUNCTION)


_FUNCTION = f"{InputKind.FUNCTION.value}:"
_PREFIXES = tuple(f"{kind.value}:" for kind in InputKind)


def is_undeclared(input_id: str) -> bool:
    """Return whether an id names an undeclared input.

    >>> is_undeclared("file:prices.csv"), is_undeclared("source:raw.orders"), is_undeclared("orders")
    (True, False, False)
    """
    return input_id.startswith(_PREFIXES)


def answers_id(name: str) -> str:
    """Return the id of what the template of a model gets when it asks the warehouse.

    >>> answers_id("orders"), is_answers(answers_id("orders")), is_answers("orders")
    ('answer:orders', True, False)
    """
    return f"{InputKind.ANSWER.value}:{name}"


def is_made_here(input_id: str) -> bool:
    """Return whether an id names what nobody makes but what reads it: what its template gets, or what its statements do.

    >>> is_made_here("answer:orders"), is_made_here("unknown:what call refresh() does"), is_made_here("orders")
    (True, True, False)
    """
    return input_id.startswith((answers_id(""), f"{InputKind.UNKNOWN.value}:"))


def is_answers(input_id: str) -> bool:
    """Return whether an id names what a template gets."""
    return input_id.startswith(answers_id(""))
