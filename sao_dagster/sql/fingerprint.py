"""Code versions of SQL, and whether an edit is cosmetic.

Two comparisons, one cheap and one thorough. `sql_digest` is taken of the token stream each time a project is
loaded: comments, white space and the case of keywords do not count, everything else does. Only where two
digests differ does `equivalent` compare the two queries in a canonical form, in which table aliases, the names
of common table expressions, redundant parentheses and quoting do not count. What is not understood counts as
changed; so does everything that is not known to be harmless, such as another spelling of a number; and on an engine
where nobody held such comparisons against results, every edit of the tokens.

What `ref`, `source` and `this` give counts as the id of the node: where a relation lives is no part of what a query means, so one
model has one code version in every environment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from sqlglot.tokenizer_core import TokenType

from sao_dagster.core.hashing import digest
from sao_dagster.sql.canonical import canonical_form
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.lexing import Lexed, lexed
from sao_dagster.sql.parsing import UnreadableSqlError, tokenize
from sao_dagster.sql.spelling import QUOTED, spelled

Names: TypeAlias = Mapping[str, str]
"""Ids of nodes and sources by what SQL reads them from: a relation as it is written, or a table function over files."""
NO_NAMES: Names = MappingProxyType({})
Nodes: TypeAlias = Mapping[int, tuple[int, str]]
"""Where tokens stand for a node: by the place of the first, how many they are, and the id."""

_RELATION = re.compile(r'"\w+"(?:\."\w+")*')
_PART = re.compile(r'"\w+"|\.')
_NAMES = {TokenType.VAR, TokenType.IDENTIFIER}
_TEXTS = QUOTED - {TokenType.IDENTIFIER}
_QUOTED_NAME = f"{TokenType.IDENTIFIER.name}:"


def sql_digest(sql: str, dialect: str, names: Names = NO_NAMES) -> str:
    r"""Return a digest in which comments, white space, keyword case and a last semicolon do not count.

    Optimizer hints (`/*+ ... */`) are comments to most tokenizers; they count all the same.

    Args:
        sql: A statement.
        dialect: Sqlglot's name of its dialect.
        names: What stands for the id of a node, not for itself. Where the name of a relation is used once more, perhaps to
            say which column is meant, that name counts, too.

    >>> sql_digest("select a from t -- why", "duckdb") == sql_digest("SELECT a\nFROM t;", "duckdb")
    True
    >>> sql_digest("select 'A'", "duckdb") == sql_digest("select 'a'", "duckdb")
    False
    >>> here = sql_digest('select a from "dev"."orders"', "duckdb", {'"dev"."orders"': "orders"})
    >>> here == sql_digest('select a from "prod"."orders"', "duckdb", {'"prod"."orders"': "orders"})
    True
    """
    return _digest(sql, dialect, tuple(names.items()))


@lru_cache(maxsize=16384)
def _digest(sql: str, dialect: str, names: tuple[tuple[str, str], ...]) -> str:
    try:
        tokens, found = lexed_with_nodes(sql, dialect, names)
    except UnreadableSqlError:
        return digest(["text", sql])
    if dialect_named(dialect).counts_text:
        return digest(["text", sql])
    stream = spelled(tokens.written, dialect)
    if found or tokens.glued or tokens.hints:
        stream = _told(stream, tokens, found)
    while stream and stream[-1] == ";":
        stream.pop()
    return digest(stream)


def _told(texts: Sequence[str], tokens: Lexed, found: Nodes) -> list[str]:
    """Return texts with what else counts of them, and with what stands for nodes as their ids."""
    parts = [*sorted(found), len(texts)]
    ends = [0, *(place + found[place][0] for place in parts[:-1])]
    others = {
        tokens.texts[place].lower()
        for begin, end in zip(ends, parts, strict=True)
        for place in range(begin, end)
        if tokens.kinds[place] not in _TEXTS
    }
    stream: list[str] = []
    for begin, end in zip(ends, parts, strict=True):
        stream += _marked(texts, tokens, begin, end)
        if end in found:
            size, name = found[end]
            last = end + size - 1
            stream.append(f"node:{name}")
            if tokens.kinds[last] in _NAMES and tokens.texts[last].lower() in others:
                stream.append(f"known as:{tokens.texts[last]}")
            stream += [hint for each in range(end, end + size) for hint in tokens.hints.get(each, ())]
    return stream


def _marked(texts: Sequence[str], tokens: Lexed, begin: int, end: int) -> Sequence[str]:
    """Return some of the texts, with what else counts of them."""
    if not tokens.glued and not tokens.hints:
        return texts[begin:end]
    stream: list[str] = []
    for place in range(begin, end):
        if place in tokens.glued:
            stream.append("without a gap:")
        stream += (texts[place], *tokens.hints.get(place, ()))
    return stream


def with_ids(sql: str, dialect: str, names: Names) -> str:
    """Return a statement that names nodes by digests of their ids; it is compared with others, and never executed.

    The last part of a relation's name stays, since columns may be qualified by it.

    >>> with_ids('select orders.a from "dev"."orders"', "duckdb", {'"dev"."orders"': "orders"})
    'select orders.a from nf5e9e2cba6806884936ddd42."orders"'
    """
    try:
        tokens = tokenize(sql, dialect)
    except UnreadableSqlError:
        return sql
    found = _named(
        [token.token_type for token in tokens], [token.text for token in tokens], dialect, tuple(names.items())
    )
    written, done = [], 0
    for start, (size, name) in sorted(found.items()):
        last = tokens[start + size - 1]
        kept = f".{sql[last.start : last.end + 1]}" if last.token_type in _NAMES else ""
        written.append(f"{sql[done : tokens[start].start]}n{digest(name)}{kept}")
        done = last.end + 1
    return "".join([*written, sql[done:]])


@lru_cache(maxsize=4)
def lexed_with_nodes(sql: str, dialect: str, names: tuple[tuple[str, str], ...]) -> tuple[Lexed, Nodes]:
    """Return the tokens of a statement, and where they stand for a node; kept for the next question about it.

    Raises:
        UnreadableSqlError: It cannot be split into tokens.
    """
    tokens = lexed(sql, dialect)
    return tokens, _named(tokens.kinds, tokens.texts, dialect, names)


def _named(kinds: Sequence[TokenType], texts: Sequence[str], dialect: str, names: tuple[tuple[str, str], ...]) -> Nodes:
    """Return where tokens stand for a node."""
    patterns: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for text, name in names:
        pattern = _pattern(text, dialect)
        if pattern:
            patterns.setdefault(pattern[0], []).append((pattern, name))
    if not patterns:
        return {}
    for known in patterns.values():
        known.sort(key=lambda each: -len(each[0]))
    found: dict[int, tuple[int, str]] = {}
    done = 0
    for place in _candidates(kinds, texts, patterns.keys()):
        for pattern, name in patterns.get(_key(kinds[place], texts[place]), ()) if place >= done else ():
            end = place + len(pattern)
            keys = tuple(map(_key, kinds[place:end], texts[place:end]))
            if keys == pattern and _is_relation(kinds, place, len(pattern)):
                found[place] = (len(pattern), name)
                done = end
                break
    return found


def _candidates(kinds: Sequence[TokenType], texts: Sequence[str], keys: Collection[str]) -> list[int]:
    """Return the places of the tokens that may have one of some keys."""
    quoted = {key.removeprefix(_QUOTED_NAME) for key in keys if key.startswith(_QUOTED_NAME)}
    if len(quoted) == len(keys):  # nearly always
        return [place for place, text in enumerate(texts) if text in quoted and kinds[place] is TokenType.IDENTIFIER]
    words = {word.upper() for key in keys for word in (key, key.partition(":")[2])}
    return [place for place, text in enumerate(texts) if text.upper() in words]


def _is_relation(kinds: Sequence[TokenType], place: int, size: int) -> bool:
    """Return whether tokens that look like a relation are one: no part of a longer name, and no value."""
    before = kinds[place - 1] if place else None
    if size == 1 and kinds[place] in _TEXTS:
        return before in (TokenType.FROM, TokenType.JOIN)
    return before is not TokenType.DOT


@lru_cache(maxsize=65536)
def _pattern(text: str, dialect: str) -> tuple[str, ...]:
    """Return the tokens of what stands for a node; empty where it has none."""
    engine = dialect_named(dialect)
    if (
        engine.quotes == '"' and engine.compares_names and _RELATION.fullmatch(text)
    ):  # nearly all; no tokenizer is needed
        return tuple(part if part == "." else f"{_QUOTED_NAME}{part[1:-1]}" for part in _PART.findall(text))
    try:
        tokens = lexed(text, dialect)
    except UnreadableSqlError:
        return ()
    return tuple(map(_key, tokens.kinds, tokens.texts))


def _key(kind: TokenType, text: str) -> str:
    """Return what is compared of a token to find relations: their names are made by machine, and stand everywhere alike."""
    if kind is TokenType.VAR:
        return text
    return f"{kind.name}:{text}" if kind in QUOTED else text.upper()


def equivalent(old: str, new: str, dialect: str, columns: frozenset[str] | None = frozenset()) -> bool:
    """Return whether two queries are known to give the same rows under the same column names.

    It is never known on an engine where this was not checked by executing queries (`Dialect.cosmetic_checked`).

    Args:
        old: A query.
        new: Another one.
        dialect: Sqlglot's name of their dialect.
        columns: Columns of the tables that they read; see `canonical_form`.

    >>> equivalent("select o.id from orders as o", "select x.id from orders x", "duckdb")
    True
    >>> equivalent("select id from orders", "select id from customers", "duckdb")
    False
    >>> equivalent("select 1.0 as x", "select 1 as x", "duckdb")
    False
    >>> equivalent("select o.id from orders as o", "select x.id from orders x", "sqlite")
    False
    >>> equivalent("select o.id from orders as o", "select x.id from orders x", "duckdb", frozenset({"o"}))
    False
    """
    if not dialect_named(dialect).cosmetic_checked:
        return False
    if sql_digest(old, dialect) == sql_digest(new, dialect):
        return True
    before = canonical_form(old, dialect, columns)
    return before is not None and before == canonical_form(new, dialect, columns)
