"""Reading SQL with sqlglot, in one place: whatever it makes of a text, the answer is tokens, trees, or one error.

Sqlglot's parser reports most typing errors as a `ParseError`, but meets some with whatever Python raises, and its compiled
variant (the extra `fast`) with other errors than the one in Python, or with none at all where brackets are nested so deeply
that the stack of the process ends.
"""

from __future__ import annotations

import threading
from functools import cache

import sqlglot
from sqlglot import Tokenizer, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token

_DEEPEST = 500  # brackets in brackets; people nest a few, generators some dozens


class UnreadableSqlError(SqlglotError):
    """A text is not SQL that sqlglot can read."""


def tokenizer_tables(dialect: str) -> type[Tokenizer]:
    """Return what sqlglot knows of the tokens of a dialect, as attributes of a class.

    Raises:
        UnreadableSqlError: There is no such dialect.
    """
    try:
        return Dialect.get_or_raise(dialect).tokenizer_class
    except ValueError as error:
        raise UnreadableSqlError(str(error)) from error


def _tokenizer(dialect: str) -> Tokenizer:
    known = Dialect.get_or_raise(dialect)
    return known.tokenizer_class(dialect=known)


class _Tokenizers(threading.local):
    """Tokenizers by dialect, made once; each thread has its own, since a tokenizer keeps the text that it is at."""

    def __init__(self) -> None:
        self.of = cache(_tokenizer)


_TOKENIZERS = _Tokenizers()


def tokenize(sql: str, dialect: str) -> list[Token]:
    """Return the tokens of a text.

    Raises:
        UnreadableSqlError: It cannot be split into tokens, or there is no such dialect.
    """
    try:
        return _TOKENIZERS.of(dialect).tokenize(sql)
    except Exception as error:
        raise UnreadableSqlError(str(error)) from error


def parse(sql: str, dialect: str) -> list[exp.Expr]:
    """Return the statements of a text, without empty ones.

    Raises:
        UnreadableSqlError: It is not SQL, by the grammar that sqlglot knows.

    >>> [each.sql() for each in parse("select 1; ; select 2;", "duckdb")]
    ['SELECT 1', 'SELECT 2']
    """
    if sql.count("(") > _DEEPEST and _depth(sql) > _DEEPEST:
        raise UnreadableSqlError(f"more than {_DEEPEST} brackets are nested")
    try:
        return [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except Exception as error:
        raise UnreadableSqlError(str(error) or type(error).__name__) from error


def parse_one(sql: str, dialect: str) -> exp.Expr:
    """Return the first statement of a text.

    Raises:
        UnreadableSqlError: It is not SQL, or empty.

    >>> parse_one("select from where", "duckdb")
    Traceback (most recent call last):
    sao_dagster.sql.parsing.UnreadableSqlError: ...
    """
    statements = parse(sql, dialect)
    if not statements:
        raise UnreadableSqlError("there is no statement")
    return statements[0]


def parse_type(text: str, dialect: str) -> exp.DataType:
    """Return a type as it is written in `cast`, and in the catalog of an engine.

    Raises:
        UnreadableSqlError: No type is written so.
    """
    try:
        return exp.DataType.build(text, dialect=dialect)
    except Exception as error:
        raise UnreadableSqlError(str(error)) from error


def _depth(sql: str) -> int:
    """Return how many round brackets are open at most at one place; those in texts and comments count, too."""
    deepest = depth = 0
    for character in sql:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
    return deepest
