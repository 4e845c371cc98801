"""Tokens of SQL in which nothing is special, by one regular expression; sqlglot looks at each character in Python, of which a project has millions.

What is found is what sqlglot finds, since its own tables say it (`Tokenizer.KEYWORDS`, `SINGLE_TOKENS`); whatever is written so that more
than these tables counts is left to sqlglot. `tests/test_plain_lexing.py` holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from sqlglot import Tokenizer
from sqlglot.tokenizer_core import TokenType

from sao_dagster.sql.parsing import UnreadableSqlError, tokenizer_tables

_LONE = "()[],:;"  # signs that make no operator with another one
_SIGNS = f"{_LONE}.+-*/<>=%!|"
_MADE_OF = re.compile(r"[A-Z_ ()\[\],.:;+*/<>=%!|-]+")  # of what a token may begin with, and no more
_END = r"(?![A-Za-z0-9_'\"])"  # of what counts as it is written: what follows it at once is another one
_SPACE = r"[ \t\n]"
_COMMENT = r"--(?![+!])[^\r\n]*|/\*(?![+!])(?:[^*/\r]|\*(?!/)|/(?!\*))*\*/"
_GAP = rf"{_SPACE}*(?:(?:{_COMMENT}){_SPACE}*)*"
_WORD = rf"[A-Za-z_][A-Za-z0-9_]*{_END}"
_NUMBER = rf"[0-9]+(?:\.[0-9]+)?(?!\.){_END}"
_QUOTED = rf"'(?:[^'\\\r]|'')*'{_END}|\"[^\"\\\r\n]*\"{_END}"
_BEFORE_SIGN = r"(?![*/<>=~!@#%^&|`?]|[-+][-+*/<>=~!@#%^&|`?])"
_BEFORE_ANY = r"(?![-+*/<>=~!@#%^&|`?])"


PlainTokens: TypeAlias = tuple[list[TokenType], list[str], list[str]]


@dataclass(frozen=True)
class _PlainLexer:
    """What splits the SQL of one dialect.

    Attributes:
        token: Matches one token.
        pattern: Matches what is between two tokens, and then one; all that is left where none begins there.
        kinds: The kinds of keywords, in lower and in upper case, and of signs.
        commands: The kinds of words after which the rest of a statement may be one text.
    """

    token: re.Pattern[str]
    pattern: re.Pattern[str]
    kinds: dict[str, TokenType]
    commands: frozenset[TokenType]

    def split(self, sql: str) -> PlainTokens | None:
        """Return what `plain_tokens` does."""
        texts: list[str] = self.pattern.findall(sql)
        while texts and not texts[-1]:
            texts.pop()
        if texts and self.token.fullmatch(texts[-1]) is None:
            return None
        kind_of = self.kinds.get
        kinds: list[TokenType] = []
        said = list(texts)
        for place, text in enumerate(texts):
            kind = kind_of(text)
            if kind is None:
                first = text[0]
                if first == '"':
                    kind, said[place] = TokenType.IDENTIFIER, text[1:-1]
                elif first == "'":
                    kind, said[place] = TokenType.STRING, text[1:-1].replace("''", "'")
                elif first.isdigit():
                    kind = TokenType.NUMBER
                elif text.isidentifier():
                    kind = kind_of(text.upper()) or TokenType.VAR
                else:
                    texts[place] = said[place] = phrase = " ".join(text.split())
                    kind = kind_of(phrase.upper())
                    if kind is None:
                        return None
            kinds.append(kind)
        if not self.commands.isdisjoint(kinds):
            return None
        strings = kinds.count(TokenType.STRING)
        if strings > 1 and any(one is other is TokenType.STRING for one, other in pairwise(kinds)):
            return None  # on two lines they are one text
        return kinds, said, texts


def plain_tokens(sql: str, dialect: str) -> PlainTokens | None:
    r"""Return the tokens of a text, or None where that takes more than tables: their kinds, what they say, and how they are written.

    A keyword of several words has one space between them. Comments are left out; where an engine may read one, or where it counts that
    nothing is between two tokens (`spelling.is_glued`), it takes more.

    Args:
        sql: The text.
        dialect: Sqlglot's name of its dialect.

    >>> plain_tokens("select x -- why\nfrom t group\nby 1", "duckdb")[2]
    ['select', 'x', 'from', 't', 'group by', '1']
    >>> plain_tokens("select e'a'", "postgres") is plain_tokens("select /*+ fast */ x", "duckdb") is None
    True
    """
    lexer = _lexer(dialect)
    return None if lexer is None else lexer.split(sql)


@lru_cache(maxsize=64)
def _lexer(dialect: str) -> _PlainLexer | None:
    """Return what splits the SQL of a dialect; None where its texts, names or comments are written in ways of their own."""
    try:
        tables = tokenizer_tables(dialect)
    except UnreadableSqlError:
        return None
    is_usual = (
        tables.QUOTES == ["'"]
        and tables.IDENTIFIERS == ['"']
        and {"--", ("/*", "*/")} <= {*tables.COMMENTS}
        and "'" in tables.STRING_ESCAPES
        and not tables.DASH_COMMENT_REQUIRES_BOUNDARY
        and not tables.COMMENTS_TERMINATE_AT_NEWLINE_ONLY
        and all(tables.SINGLE_TOKENS.get(sign, TokenType.PARAMETER) is not TokenType.PARAMETER for sign in _SIGNS)
    )
    if not is_usual:
        return None
    several = {key.upper(): key in tables.KEYWORDS for key in _of_several(tables)}
    signs = {*_SIGNS, *(key for key, is_keyword in several.items() if is_keyword and set(key) <= set(_SIGNS))}
    phrases = {key for key, is_keyword in several.items() if is_keyword and key.replace(" ", "").isidentifier()}
    others = several.keys() - signs - phrases - {"--", "/*", "'"}
    special = {each for each in (*others, *_overshooting(several)) if _MADE_OF.fullmatch(each)}
    long = sorted(special | phrases, key=len, reverse=True)
    lone = [sign for sign in _LONE if not any(each.startswith(sign) and each != sign for each in signs)]
    firsts = "".join(sorted({each for key in long for each in (key[0], key[0].lower())}))
    token = "|".join((
        *([f"(?=[{re.escape(firsts)}])(?:{'|'.join(_in_any_case(each) + _END * (each in phrases) for each in long)})"] if long else ()),
        *(_WORD, f"[{re.escape(''.join(lone))}]", _NUMBER, _QUOTED),
        *(_apart(each, signs) for each in sorted(signs.difference(lone), key=len, reverse=True)),
    ))  # fmt: skip
    words = {key: kind for key, kind in tables.KEYWORDS.items() if key in phrases or key.isidentifier()}
    kinds = {**words, **{key.lower(): kind for key, kind in words.items() if key.isupper()}}
    kinds |= {key: tables.KEYWORDS.get(key) or tables.SINGLE_TOKENS[key] for key in signs}
    commands = frozenset(tables.COMMANDS)
    return _PlainLexer(re.compile(token), re.compile(rf"{_GAP}({token}|(?s:.+)|)"), kinds, commands)


def _of_several(tables: type[Tokenizer]) -> Iterator[str]:
    """Yield what sqlglot finds by looking at several characters, as `Tokenizer.__init_subclass__` says it: phrases, and what has signs in it."""
    quotes = (
        *tables.BIT_STRINGS,
        *tables.BYTE_STRINGS,
        *tables.HEX_STRINGS,
        *tables.NATIONAL_RAW_STRINGS,
        *tables.RAW_STRINGS,
    )
    begins = (*tables.COMMENTS, *tables.QUOTES, *quotes, *tables.HEREDOC_STRINGS, *tables.UNICODE_STRINGS)
    for key in (*tables.KEYWORDS, *(each if isinstance(each, str) else each[0] for each in begins)):
        if " " in key or any(sign in key for sign in tables.SINGLE_TOKENS):
            yield key


def _overshooting(keys: Iterable[str]) -> Iterator[str]:
    """Yield what begins as one key, goes on as a longer one, and is none: there sqlglot takes more than the first one."""
    known = set(keys)
    for key in known:
        begins = [size for size in range(1, len(key)) if key[:size] in known]
        if begins:
            yield from (key[:size] for size in range(begins[0] + 1, len(key)) if key[:size] not in known)


def _in_any_case(key: str) -> str:
    """Return a pattern for a key in any case, with any white space between its words."""
    written = (
        f"{_SPACE}+" if each == " " else f"[{each}{each.lower()}]" if each.isalpha() else re.escape(each)
        for each in key
    )
    return "".join(written)


def _apart(sign: str, signs: Iterable[str]) -> str:
    """Return a pattern for a sign that begins no longer one, and is no part of an operator which another tokenizer might see; see `is_glued`."""
    longer = "|".join(sorted(re.escape(each[len(sign) :]) for each in signs if each.startswith(sign) and each != sign))
    if sign == ".":
        ending = "(?![0-9])"
    else:
        ending = "" if sign[-1] in _LONE else _BEFORE_ANY if set(sign) & set("%!|") else _BEFORE_SIGN
    return re.escape(sign) + (f"(?!{longer})" if longer else "") + ending
