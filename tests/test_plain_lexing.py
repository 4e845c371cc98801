"""What is split by tables alone is what sqlglot makes of it: the same tokens, and nothing else that counts."""

from __future__ import annotations

import random

import pytest
from sqlglot.dialects.dialect import Dialects

from sao_dagster.sql.parsing import UnreadableSqlError, tokenize
from sao_dagster.sql.plain_lexing import plain_tokens
from sao_dagster.sql.spelling import hints, is_glued, written

DIALECTS = [each.value for each in Dialects if each.value]
PIECES = (
    "select", "FROM", "Where", "a", "b1", "_c", "T", "group by", "GROUP  BY", "order\nby", "order", "by", "partition by", "double precision",
    "character", "varying", "user-defined", "user", "similar to", "grouping sets", "set", "show", "rename", "execute", "case", "end", "e", "n", "x",
    "b", "u", "r", "U&", "current_date", "file://a", "0x1f", "0b1", "1", "23", "1.5", "1.", ".5", "1e5", "1_000", "2.5.1", "t.1", "a.b", "a . b",
    "'it''s'", "''", "'x", "'a\\'", "'a\n b'", '"A b"', '"a""b"', '""', '"', "`q`", "$1", "$$x$$", "$", ":p", "@v", "?", "#", "{{ x }}", "{# c #}",
    "-- why\n", "--+ hint\n", "--! x\n", "--", "// no\n", "/* c */", "/*+ h */", "/*! m */", "/* a /* b */ c */", "/**/", "/***/", "/*", "*/", "# c\n",
    "(", ")", "[", "]", "{", "}", ",", ".", ";", ":", "::", ":=", "=>", "->", "->>", "<->", "<<->>", "<=>", "<@", "||", "|/", "||/", "|>", "|", "//",
    "**", "*", "+", "-", "-1", "/", "<", "<=", "<>", "!=", "!", "=", "==", "%", "~", "^", "&", "&&", "(+)", " ", "  ", "\n", "\t", "\r\n", "\f", "é", "ß",
)  # fmt: skip
USUAL = tuple(
    each
    for each in PIECES
    if (each[0].isalnum() and each.isascii() and len(each) > 1 and "\\" not in each) or each in "(),.=+-*/<> '' a b"
)


def checked(sql: str, dialect: str) -> bool:
    """Return whether a text is split by tables, after looking that it is as sqlglot splits it."""
    found = plain_tokens(sql, dialect)
    if found is None:
        return False
    tokens = tokenize(sql, dialect)
    kinds, said, texts = found
    assert kinds == [each.token_type for each in tokens], (dialect, sql)
    assert texts == written(sql, tokens), (dialect, sql)
    phrases = {place for place, text in enumerate(texts) if " " in text and text[0] not in "'\""}
    assert said == [texts[place] if place in phrases else each.text for place, each in enumerate(tokens)], (
        dialect,
        sql,
    )
    glued = [at for at in range(1, len(tokens)) if is_glued(sql, tokens[at - 1], tokens[at])]
    assert not glued, (dialect, sql)
    assert not any(map(hints, tokens)), (dialect, sql)
    return True


@pytest.mark.parametrize("seed", range(3))
def test_any_text_is_split_as_sqlglot_splits_it_or_left_to_it(seed: int) -> None:
    random_, split = random.Random(seed), 0
    for number in range(6000):
        pieces = PIECES if number % 3 else USUAL
        chosen = random_.choices(pieces, k=random_.randint(1, 7))
        sql = "".join(each + random_.choice(("", " ", " ", "\n")) for each in chosen)
        dialect = random_.choice(("duckdb", "postgres", "snowflake", "redshift", random_.choice(DIALECTS)))
        split += checked(sql, dialect)
    assert split > 1000


def test_what_people_write_is_split_by_tables() -> None:
    sql = """
        -- orders that count (each once), until today
        with o as (
            select id, sum(total) * 1.19 as "Total", count(*) filter (where x <> 'it''s') as n, -1 as minus, a - -b
            from "shop"."main"."orders" as t /* all of them */
            where day >= current_date - interval '7 days' and not t.gone and t.name is distinct from 'x'
            group by 1 having sum(total)::decimal(10, 2) > 5 order by 1 desc
        )
        select o.*, row_number() over (partition by id order by n) as r, m['a'] from o limit 10;
    """
    for dialect in ("duckdb", "postgres", "snowflake"):
        assert checked(sql, dialect)


def test_what_nobody_can_split_is_an_error_as_before() -> None:
    assert plain_tokens("select 1", "no such dialect") is plain_tokens("select `a`", "bigquery") is None
    with pytest.raises(UnreadableSqlError):
        tokenize("select 'a", "duckdb")
    assert plain_tokens("select 'a", "duckdb") is None
