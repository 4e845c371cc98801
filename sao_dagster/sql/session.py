"""What of SQL depends on the session that runs it, and which statements change a session or what it finds.

Both err on one side: what is not known to be independent follows the session, and a statement that is not understood counts for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sao_dagster.sql.fingerprint import sql_digest
from sao_dagster.sql.harmless_settings import is_harmless_setting
from sao_dagster.sql.parsing import UnreadableSqlError, parse_one, tokenize

# A value has the zone of the session in it where it is converted: by a cast, a function, or a comparison of two kinds of times. So all
# that is left are columns as they are, arithmetic, comparisons with numbers, and functions of numbers and rows.
_PLAIN = frozenset({
    # functions that convert nothing, and what else may stand before a bracket
    "abs", "any_value", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "ceil", "ceiling", "count", "cume_dist",
    "dense_rank", "exp", "first_value", "floor", "lag", "last_value", "lead", "length", "ln", "log", "lower", "max", "min", "mod",
    "ntile", "percent_rank", "power", "rank", "round", "row_number", "sign", "sqrt", "sum", "trim", "upper", "and", "as", "by",
    "distinct", "exists", "filter", "from", "having", "join", "not", "on", "or", "over", "partition", "qualify", "select", "using",
    "when", "where", "with",
})  # fmt: skip
_CONVERTING = frozenset({
    "at", "between", "case", "cast", "except", "ilike", "in", "intersect", "interval", "like", "natural", "pivot", "similar",
    "try_cast", "union", "unpivot", "values", "date", "datetime", "day", "extract", "hour", "localtime", "localtimestamp", "month",
    "now", "sysdate", "time", "timestamp", "timestamptz", "timetz", "today", "year", "current_date", "current_localtime",
    "current_localtimestamp", "current_time", "current_timestamp", "current_user", "session_user", "user",
})  # fmt: skip
_CALLS, _WORDS = re.compile(r"(\w+)\s*\("), re.compile(r"[a-z_]\w*")
# casts, and comparisons with anything but a number
_OPERATORS = re.compile(r"::|\|\||[=<>](?![=<>]*\s*-?\d+(?:\.\d+)?\s*(?:$|[\s)]))")
# a function of a row that is written as a column, and shows times as texts
_ROW_AS_TEXT = re.compile(
    r"\.\s*\"?(?:row_to_json|to_jsonb?|jsonb?_agg|jsonb?_build_array|concat|quote_literal|quote_nullable|record_out)\b"
)
_TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)  # and comments


def follows_process(statements: Iterable[str]) -> bool:
    """Return whether the time zone (or another habit) of the process that runs some SQL may be seen in the result.

    >>> follows_process(["select id, amount * 2 as twice from orders where amount > 10"]), follows_process(["select day::date from t"])
    (False, True)
    """
    return any(map(_follows, statements))


def _follows(sql: str) -> bool:
    bare = _TEXTS.sub("''", sql).lower()
    return (
        _OPERATORS.search(bare) is not None
        or _ROW_AS_TEXT.search(bare) is not None
        or not _PLAIN.issuperset(_CALLS.findall(bare))
        or not _CONVERTING.isdisjoint(_WORDS.findall(bare))
    )


@dataclass(frozen=True)
class SessionEffect:
    """What a statement leaves behind that a query may depend on.

    Attributes:
        digest: Fingerprint of the statement.
        words: All words in it, in lower case.
        names: What it creates, changes or drops, in lower case; None where it may change the result of any query.
        is_passing: Whether that is gone with the process that ran it, as far as is known.
    """

    digest: str
    words: frozenset[str]
    names: frozenset[str] | None = None
    is_passing: bool = False


_NO_EFFECT = frozenset({
    # rows, which are seen as versions of what is read; rights; what only the server's own bookkeeping knows
    "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY", "GRANT", "REVOKE", "COMMENT", "ANALYZE", "ANALYSE", "VACUUM",
    "CHECKPOINT", "EXPLAIN", "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "LOCK", "LISTEN",
    "NOTIFY", "UNLISTEN", "REINDEX", "CLUSTER", "REFRESH", "INSTALL", "VALUES", "SHOW", "DESCRIBE", "DESC", "SUMMARIZE",
})  # fmt: skip
_BEFORE_KIND = frozenset({
    "OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL", "RECURSIVE", "MATERIALIZED", "PERSISTENT", "EXTERNAL",
    "FOREIGN",
})  # fmt: skip
_NAMED = frozenset({
    "FUNCTION", "MACRO", "PROCEDURE", "ROUTINE", "AGGREGATE", "TABLE", "VIEW", "SEQUENCE", "TYPE", "DOMAIN",
})  # fmt: skip
_UNSEEN = frozenset({
    "SCHEMA", "INDEX", "UNIQUE", "ROLE", "USER", "GROUP", "SECRET", "TRIGGER", "STATISTICS", "TABLESPACE", "PUBLICATION",
    "SUBSCRIPTION",
})  # fmt: skip
_PASSING = frozenset({"SET", "RESET", "PRAGMA", "USE", "LOAD", "ATTACH", "DETACH"})
_SCOPES = frozenset({
    "SESSION", "GLOBAL", "LOCAL", "VARIABLE", "PERSIST",
})  # fmt: skip


def session_effects(sql: str, dialect: str) -> tuple[SessionEffect, ...]:
    """Return what the statements in a text leave behind for the queries after them.

    Args:
        sql: One or more statements.
        dialect: sqlglot's name of their dialect.

    >>> found = session_effects("create macro vat(x) as x * 2; insert into log values (1); set timezone = 'UTC'", "duckdb")
    >>> [each.names for each in found]
    [frozenset({'vat'}), None]
    """
    try:
        tokens = tokenize(sql, dialect)
    except UnreadableSqlError:
        return (SessionEffect(sql_digest(sql, dialect), _words(sql)),)
    found: list[SessionEffect] = []
    for statement in statements_of(tokens):
        text = sql[statement[0].start : statement[-1].end + 1]
        names = _names(statement, text, dialect)
        if names is None or names:
            is_passing = statement[0].text.upper() in _PASSING
            found.append(SessionEffect(sql_digest(text, dialect), _words(text), names, is_passing))
    return tuple(found)


def effects_on(effects: Sequence[SessionEffect], statements: Iterable[str]) -> list[SessionEffect]:
    """Return the effects that count for some SQL, in order: those for all, and those on what it names, also by way of others.

    >>> effects = session_effects("create macro vat(x) as rate() * x; create macro rate() as 2; create macro fee() as 1", "duckdb")
    >>> effects_on(effects, ["select VAT(price) from orders"]) == [effects[0], effects[1]]
    True
    """
    words = set().union(*map(_words, statements))
    counted: set[int] = set()
    while True:
        more = {
            place
            for place, each in enumerate(effects)
            if place not in counted and (each.names is None or not words.isdisjoint(each.names))
        }
        if not more:
            return [effects[place] for place in sorted(counted)]
        counted |= more
        words = words.union(*(effects[place].words for place in more))


def _words(sql: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w$]+", sql.lower()))


def statements_of(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each statement, without the semicolons between them."""
    statement: list[Token] = []
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            statement.append(token)
        elif statement:
            yield statement
            statement = []
    if statement:
        yield statement


def _names(statement: Sequence[Token], text: str, dialect: str) -> frozenset[str] | None:
    """Return what a statement is about; nothing where it has no effect that counts, None where it counts for all."""
    words = [token.text.upper() for token in statement]
    nothing: frozenset[str] = frozenset()
    if words[0] in _NO_EFFECT:
        return nothing
    if words[0] in ("SELECT", "WITH"):
        return None if _calls_unknown(text, dialect) else nothing
    if words[0] in ("SET", "RESET", "PRAGMA"):
        name = next((word for word in words[1:] if word not in _SCOPES), "")
        return nothing if is_harmless_setting(name) else None
    if words[0] == "ATTACH":
        return frozenset({words[words.index("AS") + 1].lower()}) if "AS" in words[:-1] else None
    if words[0] not in ("CREATE", "ALTER", "DROP"):
        return None
    place = next((each for each in range(1, len(words)) if words[each] not in _BEFORE_KIND), 0)
    kind = words[place]
    if kind in _UNSEEN and not (words[0] == "ALTER" and "SET" in words):  # `alter role ... set` changes sessions
        return nothing
    return _created(statement[place + 1 :]) if kind in _NAMED else None


def _created(tokens: Sequence[Token]) -> frozenset[str] | None:
    """Return the last part of the name at the head of some tokens, after `if [not] exists`; None where there is none."""
    rest = [token for token in tokens if token.text.upper() not in ("IF", "NOT", "EXISTS")]
    place = 0
    while place + 2 < len(rest) and rest[place + 1].token_type is TokenType.DOT:
        place += 2
    return frozenset(re.findall(r"[\w$]+", rest[place].text.lower())) or None if rest else None


def _calls_unknown(sql: str, dialect: str) -> bool:
    """Return whether a query calls a function for what it may do, such as `set_config`, and not for what it gives."""
    try:
        tree = parse_one(sql, dialect)
    except UnreadableSqlError:
        return True
    called = {each.name.lower() for each in tree.find_all(exp.Anonymous)}
    return any(not name.startswith("pg_") for name in called)
