"""Random queries, and edits of them: most are traps, so that whatever is called cosmetic is so for a reason.

A query comes from a small grammar that has the constructs in which a result shows more than rows: names that an engine makes
up, keys in structs and JSON, literals, operators that engines bind in ways of their own. Its names are as confusing as possible.
An edit works on tokens, anywhere in the query: it renames, qualifies, quotes, brackets, changes case or spelling, takes away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

ALIASES = ("x", "y", "t", "a", "q", "Date")
COMMON: dict[str, tuple[str, ...]] = {
    "query": ("{select}", "{select}", "{select}", "with {cte} {select}", "with {cte}, {alias} as ({select}) {select}", "{select} union all {select}", "select {items} from t union select {items} from u order by {order}"),
    "cte": ("{alias} as ({inner})", "{alias} as ({inner})", "{alias}(a, b) as (select a, b from t)"),
    "inner": ("select a, b from t", "select x.a, x.b, s from t as x", "select a as B, b as a from u", "select t.a + 1 as a, b as Date from t"),
    "select": ("select {items} from {from}", "select {items} from {from} where {bool}", "select {items} from {from} where {bool} order by {order}", "select {items} from {from} order by {order} limit 2", "select {expr} as k, count(*) from {from} group by {group}", "select distinct {items} from {from}", "select {items}"),
    "items": ("{item}", "{item}, {item}", "{item}, {item}, {item}", "*", "{alias}.*, {item}"),
    "item": ("{col}", "{col}", "{expr} as {name}", "{expr} {name}", "{expr}", "{col} as {name}", "{expr} as {name}"),
    "name": ("r", "a", "b", "R", '"r"', '"A"', "Date", "x", "s"),
    "from": ("t", "t as {alias}", "u {alias}", "({inner}) as {alias}", "({inner}) {alias}", "t as {alias} join u as {alias} on {bool}", "t inner join u on t.a = u.a", "t as {alias} left outer join u as {alias} on {bool}", "t {alias}, u {alias}", "t join u using (a)", "{alias}", "generate_series(1, 3) as {alias}", "(values (1, 2), (3, 4)) as {alias}(a, b)"),
    "col": ("a", "b", "s", "{alias}.a", "{alias}.b", "{alias}.s", "A", '"a"', '{alias}."b"', "(a)", "({alias}.b)"),
    "num": ("1", "2", "0.5", ".5", "1.0", "1e0", "1.50"),
    "expr": ("{col}", "{col}", "{num}", "{expr} + {expr}", "{expr} - {num}", "({expr})", "({expr} * {col})", "-{col}", "+ {col}", "cast({col} as int)", "{col}::int", "{col}::numeric", "coalesce({expr}, {num})", "abs({expr})", "case when {bool} then {expr} else {expr} end", "count(*) over (partition by {col} order by {col})", "(select max({alias}.a) from u as {alias} where {bool})", "(select count(*) from u where u.b = {col})", "date_part('year', d)", "extract(year from d)", "{str}", "s || {str}", "to_json({alias})"),
    "str": ("'a'", "'A'", "e'a'", "'x.y'", "'a''b'"),
    "bool": ("{expr} > {num}", "{col} = {col}", "{col} != {num}", "{bool} and {bool}", "{bool} or {bool}", "({bool})", "not {bool}", "not ({bool})", "{col} between {num} and {num}", "{col} between {num} and {num} and ({bool})", "{col} is not null", "{col} in ({num}, {num})", "exists (select 1 from u as {alias} where {bool})", "{col} is distinct from {num}", "s like 'a%'"),
    "order": ("{col}", "{col} asc", "{col} desc", "1", "{expr}", "{col} asc nulls last", "+ (1)", "{name}"),
    "group": ("k", "1", "{expr}", "({col})", "a, b"),
    "alias": ALIASES,
}  # fmt: skip
EXTRA: dict[str, dict[str, tuple[str, ...]]] = {
    "duckdb": {
        "items": ("* exclude ({col})", "* replace (-b as b)", "{alias}.* replace (-b as b), {item}"),
        "from": ("range(3) as {alias}", "range(3) {alias}", "(select {{'k': a, 'Date': b}} as x, a, b, s from t) {alias}"),
        "expr": ("{{Date: {expr}, k: {expr}}}", "{{'k': {expr}}}", "struct_pack(k := {expr}, Date := {expr})", "struct_pack({col})", "to_json({{Date: a}})", "list_transform([1, 2], lambda x: x + a)", "j -> '$.x'", "j ->> 'x.y'", "(j -> 'x') ->> 'y'", "~ a + 1", "(~ a) + 1", "@a", "5 // 2", "a ** 2", "2 ^ a", "s ^@ 'a'", "{alias}", "{expr}::date", "row(a, b)", "{{'a': b}}.a", "[a, b][1]", "x.k", "typeof({expr})", "alias({expr})", "current_date - current_date", "date '2020-01-01'", "CAST(a AS BIGINT)"),
        "order": ("all", "a + 1"),
        "group": ("all",),
    },
    "postgres": {
        "from": ("generate_series(1, 2) {alias}", "unnest(array[1, 2]) with ordinality as {alias}(a, b)", "t as {alias} cross join lateral (select {alias}.a) as {alias}"),
        "expr": ("j -> 'x'", "j ->> 'x.y'", "j #>> '{{x,y}}'", "~ a + 1", "(~ a) + 1", "@ a", "!! a", "2 ^ a", "a % 2", "row(a, b)", "array[a, b]", "({alias}).a", "to_jsonb({alias})", "pg_typeof({expr})", "s collate \"C\"", "a::text", "{alias}", "a << 1 + 1", "timestamp '2020-01-01' at time zone 'UTC'", "x'1F'", "b'01'", "'a'::name"),
        "order": ("a using <", 's collate "C"'),
        "group": ("()", "a, (b)", "grouping sets ((a), (b))", "rollup (a)"),
    },
}  # fmt: skip
SPELLINGS = (
    ("!=", "<>"), ("<>", "!="), ("=", "=="), ("0.5", ".5"), (".5", "0.5"), ("1", "1.0"), ("1", "+1"), ("1.0", "1.00"), ("1.50", "1.5"), ("'a'", "e'a'"), ("'a'", "'A'"), ("'a'", "$$a$$"),
    ("->", "->>"), ("->>", "->"), ("||", "+"), ("int", "integer"), ("int", "bigint"), ("numeric", "float"), ("'x.y'", "'$.x.y'"), ("'x'", "'X'"), ("all", "distinct"), ("'year'", "'YEAR'"), ("left", "full"), ("union", "union all"),
    ("as", ""), ("inner", ""), ("outer", ""), ("asc", ""), ("desc", "asc"), ("not", ""), ("distinct", ""), ("//", "/"), ("**", "^"), (":=", "="), ("range", "generate_series"), ("coalesce", "COALESCE"), ("(", ""), ("1", "(1)"),
)  # fmt: skip
_TOKEN = re.compile(
    r"""\s+|e?'(?:[^']|'')*'|"[^"]*"|\$\$.*?\$\$|[A-Za-z_]\w*|\d*\.?\d+(?:e\d+)?|::|:=|!=|<>|<=|>=|->>|->|#>>|//|\*\*|\|\||\^@|."""
)
_NAME = re.compile(r'[A-Za-z_]\w*|"[^"]*"')


def query(chance: random.Random, dialect: str) -> str:
    """Return a random query; more than half of them are valid."""
    extra = EXTRA[dialect]

    def fill(symbol: str, depth: int) -> str:
        options = (*COMMON[symbol], *extra.get(symbol, ()))
        if depth > 5:
            options = options[:2]
        text = chance.choice(options)
        made = re.sub(r"(?<!\{)\{(\w+)\}", lambda found: fill(found[1], depth + 1), text)
        return made.replace("{{", "{").replace("}}", "}") if depth == 0 else made

    return fill("query", 0)


def tokens(sql: str) -> list[str]:
    """Return the words, texts and signs of a query, without white space."""
    return [each for each in _TOKEN.findall(sql) if not each.isspace()]


def edited(sql: str, chance: random.Random) -> str:
    """Return a query after one to three edits."""
    words = tokens(sql)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        words = chance.choice(EDITS)(words, chance)
    return _joined(words, chance)


def _joined(words: list[str], chance: random.Random) -> str:
    gaps = (" ", " ", " ", "\n", " /* why */ ", " -- why\n") if chance.random() < 0.2 else (" ",)
    return "".join(word + ("" if word in (".", "::") else chance.choice(gaps)) for word in words)


def _case(words: list[str], chance: random.Random) -> list[str]:
    """Change the case of a word."""
    return _at_a_name(words, chance, lambda word: chance.choice((word.capitalize(), word.upper(), word.lower())))


def _upper_keywords(words: list[str], chance: random.Random) -> list[str]:
    """Write some keywords in capitals, as a formatter does."""
    some = {"select", "from", "as", "where", "and", "or", "join", "left", "order", "by", "group", "over", "partition", "cast", "case", "end", "count", "int"}  # fmt: skip
    return [word.upper() if word in some and chance.random() < 0.9 else word for word in words]


def _quotes(words: list[str], chance: random.Random) -> list[str]:
    """Quote a name, or take its quotes away."""
    return _at_a_name(words, chance, lambda word: word[1:-1] if word.startswith('"') else f'"{word}"')


def _at_a_name(words: list[str], chance: random.Random, change: Callable[[str], str]) -> list[str]:
    places = [place for place, word in enumerate(words) if _NAME.fullmatch(word)]
    place = chance.choice(places)
    return [*words[:place], change(words[place]), *words[place + 1 :]]


def _brackets(words: list[str], chance: random.Random) -> list[str]:
    """Put brackets around a few tokens."""
    start = chance.randrange(len(words))
    stop = min(len(words), start + chance.choice((1, 1, 3, 3, 5)))
    return [*words[:start], "(", *words[start:stop], ")", *words[stop:]]


def _no_brackets(words: list[str], chance: random.Random) -> list[str]:
    """Take a pair of brackets away."""
    opening = [place for place, word in enumerate(words) if word == "("]
    if not opening:
        return words
    start, depth = chance.choice(opening), 0
    for place in range(start, len(words)):
        depth += {"(": 1, ")": -1}.get(words[place], 0)
        if depth == 0:
            return [*words[:start], *words[start + 1 : place], *words[place + 1 :]]
    return words


def _qualifier(words: list[str], chance: random.Random) -> list[str]:
    """Qualify a name."""
    return _spliced(
        words, chance, lambda word: _NAME.fullmatch(word) is not None, lambda word: [chance.choice(ALIASES), ".", word]
    )


def _no_qualifier(words: list[str], chance: random.Random) -> list[str]:
    """Take qualifiers away: one, or all of a name."""
    places = [place for place, word in enumerate(words) if word == "." and place]
    if not places:
        return words
    chosen = chance.choice(places)
    gone = {chosen} if chance.random() < 0.5 else {each for each in places if words[each - 1] == words[chosen - 1]}
    return [word for place, word in enumerate(words) if place not in gone and place + 1 not in gone]


def _rename(words: list[str], chance: random.Random) -> list[str]:
    """Rename something, everywhere or nearly so."""
    one, other = chance.choice(ALIASES), chance.choice((*ALIASES, "zz"))
    sure = chance.choice((1.0, 1.0, 0.7))
    return [other if word == one and chance.random() < sure else word for word in words]


def _rename_qualifier(words: list[str], chance: random.Random) -> list[str]:
    """Rename what looks like an alias, where it is named and where it qualifies."""
    one, other = chance.choice(ALIASES), chance.choice(("zz", "yy", *ALIASES))
    return [
        other
        if word == one and (words[place + 1 : place + 2] == ["."] or words[place - 1] in ("as", ")", "t", "u"))
        else word
        for place, word in enumerate(words)
    ]


def _spelling(words: list[str], chance: random.Random) -> list[str]:
    """Write something in another way."""
    usable = [(one, other) for one, other in SPELLINGS if one in words]
    if not usable:
        return words
    one, other = chance.choice(usable)
    return _spliced(words, chance, lambda word: word == one, lambda _: other.split())


def _as(words: list[str], chance: random.Random) -> list[str]:
    """Put an `as` somewhere."""
    return _spliced(words, chance, lambda word: _NAME.fullmatch(word) is not None, lambda word: ["as", word])


def _again(words: list[str], chance: random.Random) -> list[str]:
    """Give a name itself as its alias."""
    return _spliced(words, chance, lambda word: _NAME.fullmatch(word) is not None, lambda word: [word, "as", word])


def _none(words: list[str], _: random.Random) -> list[str]:
    return words


def _spliced(
    words: list[str], chance: random.Random, wanted: Callable[[str], bool], change: Callable[[str], list[str]]
) -> list[str]:
    places = [place for place, word in enumerate(words) if wanted(word)]
    place = chance.choice(places)
    return [*words[:place], *change(words[place]), *words[place + 1 :]]


EDITS = (_case, _upper_keywords, _quotes, _brackets, _no_brackets, _qualifier, _no_qualifier, _rename, _rename_qualifier, _spelling, _spelling, _as, _again, _none)  # fmt: skip
