"""Tokens as they are compared: without comments, white space, and the case of words where no result shows it.

A token counts as it is written, not as sqlglot reads it: `.5` and `0.5`, `'a'` and `e'a'`, `extract` and `date_part` are two.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from sqlglot.tokenizer_core import Token, TokenType

from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.keywords import RESERVED

QUOTED = frozenset(
    {
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
)
_KEYS = frozenset({":", ":=", "=>"})  # after the name of a field or an argument
_SIGNS = frozenset("+-*/<>=~!@#%^&|`?")
_MAKES_OPERATORS = frozenset(
    "~!@#%^&|`?"
)  # with one of these, an operator may end in `+` or `-` (PostgreSQL, Lexical Structure)


def spelled(texts: Sequence[str], dialect: str) -> list[str]:
    """Return tokens as they are compared: in lower case where the case shows in no result.

    Where names are folded and columns are shown as they are folded, that is each word without quotes. Elsewhere it is
    the words that are no names without quotes, and the names of functions.

    Args:
        texts: The tokens as they are written.
        dialect: Sqlglot's name of their dialect.
    """
    engine = dialect_named(dialect)
    folds = engine.unquoted is not None and not engine.shows_case
    if folds:
        return [lowered(text) if is_word(text) else text for text in texts]
    return [
        text if text.islower() or not is_word(text) or not _is_grammar(texts, place) else lowered(text)
        for place, text in enumerate(texts)
    ]


def written(sql: str, tokens: Sequence[Token]) -> list[str]:
    """Return how each token of a text is written."""
    return [_text(sql, token) for token in tokens]


def hints(token: Token) -> list[str]:
    """Return the comments beside a token that an engine may read: optimizer hints, and MySQL's `/*! ... */`."""
    return [comment.strip() for comment in token.comments if comment.startswith(("+", "!"))]


def lowered(text: str) -> str:
    """Return a word in lower case, or as it is where it has other letters than those of ASCII, which engines fold in ways of their own."""
    return text.lower() if text.isascii() else text


def is_glued(sql: str, before: Token, token: Token) -> bool:
    """Return whether it counts that there is nothing, or a new line, between two tokens.

    `0xFF` is a number to one tokenizer, and `0` with the alias `xFF` to another; `!=-` is one operator of PostgreSQL's; texts
    on two lines are one text.
    """
    if before.end + 1 < token.start:
        both_texts = before.token_type is token.token_type is TokenType.STRING
        return both_texts and "\n" in sql[before.end + 1 : token.start]
    last, first = sql[before.end], sql[token.start]
    if last in _SIGNS and first in _SIGNS:
        plus = token.end == token.start and first in "+-"
        return not plus or not _MAKES_OPERATORS.isdisjoint(sql[before.start : before.end + 1])
    if "." in (last, first):
        return TokenType.NUMBER in (before.token_type, token.token_type)
    return _is_wordy(last) and _is_wordy(first)


def _text(sql: str, token: Token) -> str:
    """Return a token as it is written; a keyword of several words with one space between them."""
    text = sql[token.start : token.end + 1]
    is_plain = len(text) == 1 or text.isidentifier() or token.token_type in QUOTED
    return text if is_plain else " ".join(text.split())


def is_word(text: str) -> bool:
    """Return whether a token is a keyword or a name without quotes."""
    return text[:1].isalpha() or text[:1] == "_"


def _is_grammar(texts: Sequence[str], place: int) -> bool:
    """Return whether a word is a part of the grammar, or the name of a function."""
    before = texts[place - 1] if place else ""
    after = texts[place + 1] if place + 1 < len(texts) else ""
    if before == "." or after in _KEYS or before.lower() == "as":
        return False
    word = texts[place].lower()
    return after == "(" or word in RESERVED or word.endswith(" by")


def _is_wordy(character: str) -> bool:
    return character in _WORDY or not character.isascii()


_WORDY = frozenset(string.ascii_letters + string.digits + "_$'\"")
