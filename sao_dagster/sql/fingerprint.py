"""Code versions of SQL, and whether an edit is cosmetic.

Two comparisons, one cheap and one thorough. `sql_digest` is taken of the token stream each time a project is
loaded: comments, white space and the case of keywords do not count, everything else does. Only where two
digests differ does `equivalent` compare the two queries as canonical trees, in which table aliases, the names
of common table expressions, redundant parentheses and quoting do not count. What cannot be parsed counts as
changed; so does everything that is not known to be harmless, such as constant folding, whose rules are the
engine's and not sqlglot's; and on an engine where nobody held such comparisons against results, every edit of the tokens.
"""

from __future__ import annotations

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from sao_dagster.core.hashing import digest
from sao_dagster.sql.canonical import canonical_form
from sao_dagster.sql.dialects import dialect_named

_UNQUOTED = {TokenType.VAR}
_LITERALS = {
    TokenType.STRING,
    TokenType.IDENTIFIER,
    TokenType.RAW_STRING,
    TokenType.HEREDOC_STRING,
    TokenType.NATIONAL_STRING,
    TokenType.BYTE_STRING,
    TokenType.UNICODE_STRING,
    TokenType.HEX_STRING,
    TokenType.BIT_STRING,
}


def sql_digest(sql: str, dialect: str) -> str:
    r"""Return a digest in which comments, white space, keyword case and a last semicolon do not count.

    Optimizer hints (`/*+ ... */`) are comments to most tokenizers; they count all the same.

    >>> sql_digest("select a from t -- why", "duckdb") == sql_digest("SELECT a\nFROM t;", "duckdb")
    True
    >>> sql_digest("select 'A'", "duckdb") == sql_digest("select 'a'", "duckdb")
    False
    """
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
    except SqlglotError:
        return digest(["text", sql])
    stream = [part for token in tokens for part in _parts(token)]
    while stream and stream[-1] == TokenType.SEMICOLON.name:
        stream.pop()
    return digest(stream)


def _hints(sql: str, dialect: str) -> list[str]:
    """Return the optimizer hints of a query, which trees do not keep in all dialects."""
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
    except SqlglotError:
        return []
    return [comment.strip() for token in tokens for comment in token.comments if comment.startswith("+")]


def _parts(token: Token) -> list[str]:
    hints = [f"hint:{comment.strip()}" for comment in token.comments if comment.startswith("+")]
    if token.token_type in _LITERALS:
        return [f"{token.token_type.name}:{token.text}", *hints]
    if token.token_type in _UNQUOTED:
        return [token.text, *hints]
    if token.token_type is TokenType.SEMICOLON:
        return [TokenType.SEMICOLON.name, *hints]
    return [token.text.upper(), *hints]


def equivalent(old: str, new: str, dialect: str) -> bool:
    """Return whether two queries are known to give the same rows under the same column names.

    It is never known on an engine where this was not checked by executing queries (`Dialect.cosmetic_checked`).

    >>> equivalent("select o.id from orders as o", "select x.id from orders x", "duckdb")
    True
    >>> equivalent("select id from orders", "select id from customers", "duckdb")
    False
    >>> equivalent("select 1.0 as x", "select 1 as x", "duckdb")
    False
    >>> equivalent("select o.id from orders as o", "select x.id from orders x", "sqlite")
    False
    """
    if not dialect_named(dialect).cosmetic_checked:
        return False
    if sql_digest(old, dialect) == sql_digest(new, dialect):
        return True
    if _hints(old, dialect) != _hints(new, dialect):
        return False
    before = canonical_form(old, dialect)
    return before is not None and before == canonical_form(new, dialect)
