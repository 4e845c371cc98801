"""Tokens as queries are compared by them and looked through, without parsing: kinds, texts, and what else of the writing counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot.tokenizer_core import TokenType

from sao_dagster.sql.parsing import tokenize
from sao_dagster.sql.plain_lexing import plain_tokens
from sao_dagster.sql.spelling import hints, is_glued, written


@dataclass(frozen=True)
class Lexed:
    """The tokens of a text; all places are theirs.

    Attributes:
        kinds: What each is.
        texts: What each says: names and texts without quotes, and without what escapes a character.
        written: How each is written; a keyword of several words with one space between them.
        glued: Those of which it counts that there is nothing, or a new line, between them and the one before.
        hints: The comments beside a token that an engine may read.
    """

    kinds: Sequence[TokenType]
    texts: Sequence[str]
    written: Sequence[str]
    glued: frozenset[int] = frozenset()
    hints: Mapping[int, Sequence[str]] = field(default_factory=dict)


def lexed(sql: str, dialect: str) -> Lexed:
    """Return the tokens of a text.

    Raises:
        UnreadableSqlError: It cannot be split into tokens, or there is no such dialect.

    >>> lexed("select 'it''s' -- so", "duckdb").texts, lexed("select 'it''s'", "duckdb").written
    (['select', "it's"], ['select', "'it''s'"])
    """
    plain = plain_tokens(sql, dialect)
    if plain is not None:
        return Lexed(*plain)
    tokens = tokenize(sql, dialect)
    return Lexed(
        [token.token_type for token in tokens],
        [token.text for token in tokens],
        written(sql, tokens),
        frozenset(at for at in range(1, len(tokens)) if is_glued(sql, tokens[at - 1], tokens[at])),
        {at: found for at, token in enumerate(tokens) if token.comments and (found := hints(token))},
    )
