"""Every function, operator and cast of an engine by its name, over awkward arguments: what is proven of it must hold.

    python -m tests.proofs.by_name [--engine duckdb|postgres]

The functions are those of the engine's own catalog, so that none is forgotten that the proofs take for another one. For each, three
things are asked: is the result never null for arguments that are not, is an argument not null where the result is not, and does
the result of a unique argument have no value twice. Prints how many calls something was claimed of, and each claim that fails.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from sao_dagster.core.proofs import Fact, FactKind
from sao_dagster.sql.inference.infer import TableFacts, infer
from tests.proofs.fuzz import DuckDB, Engine, Postgres

VALUES: dict[str, tuple[str, ...]] = {
    "tinyint": ("0", "1", "-128", "127"),
    "smallint": ("0", "1", "-32768", "32767"),
    "integer": ("0", "1", "2", "-1", "2147483647", "-2147483648"),
    "bigint": ("0", "1", "-1", "9223372036854775807", "9007199254740993", "9007199254740992"),
    "hugeint": ("0", "1", "1267650600228229401496703205376", "1267650600228229401496703205377"),
    "uhugeint": ("0", "1", "1267650600228229401496703205376", "1267650600228229401496703205377"),
    "ubigint": ("0", "1", "18446744073709551615"),
    "numeric": ("0.0", "1.5", "-1", "12345678.9"),
    "real": ("'nan'", "'infinity'", "'-infinity'", "'-0.0'", "0.0", "1.5"),
    "double precision": ("'nan'", "'infinity'", "'-infinity'", "'-0.0'", "0.0", "1.0", "-1.5", "9007199254740992.0"),
    "text": ("''", "' '", "'a'", "'A'", "'1'", "'01'", "'a,b'", "'day'", "'[0-9]'", "'2020-01-31'", "'{\"a\": null}'"),
    "boolean": ("true", "false"),
    "date": ("'2020-01-31'", "'infinity'", "'-infinity'", "'1970-01-01'", "'0044-03-15 BC'"),
    "timestamp": ("'2020-01-31 10:00:00.5'", "'infinity'", "'-infinity'", "'2020-01-31 00:00:00'"),
    "timestamptz": ("'2020-01-31 10:00:00.5+02'", "'infinity'", "'-infinity'", "'2020-01-31 00:00:00+00'"),
    "time": ("'00:00:00'", "'23:59:59.999'"),
    "interval": ("'0 days'", "'1 month'", "'30 days'", "'-1 day'", "'24 hours'"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
    "json": ("'{}'", "'null'", "'[null]'", "'{\"a\": null}'", "'\"x\"'"),
    "bytea": ("''", "'a'"),
    "integer[]": ("'{}'", "'{1,NULL}'", "'{1}'"),
    "text[]": ("'{}'", "'{a,NULL}'", "'{a}'"),
}
"""Values by type, none of them null: ends of ranges, infinities, empty texts, values that are equal in another type."""

_ONLY = {"duckdb": {"tinyint", "hugeint", "uhugeint", "ubigint"}, "postgres": set[str]()}
_WORDS = {
    "duckdb": {
        "varchar": "text", "double": "double precision", "float": "real", "decimal": "numeric", "blob": "bytea",
        "timestamp with time zone": "timestamptz", "any": "integer", "t": "integer", "int[]": "integer[]", "varchar[]": "text[]",
        "any[]": "integer[]", "t[]": "integer[]", "utinyint": "tinyint", "usmallint": "smallint", "uinteger": "integer",
    },
    "postgres": {
        "character varying": "text", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
        "time without time zone": "time", "anyelement": "integer", "anyarray": "integer[]", "anycompatible": "integer",
        "anycompatiblearray": "integer[]", "name": "text", "any": "text", "jsonb": "json", "character": "text", "\"any\"": "text",
    },
}  # fmt: skip
_NAMED = ("all", "any", "some")  # operators that are written otherwise
MOST_ARGUMENTS = 4
MOST_ROWS = 120
_CATALOG = {
    "duckdb": "select function_name, function_type, parameter_types from duckdb_functions() where internal and function_type in "
    "('scalar', 'aggregate', 'macro') union select unnest(['row_number', 'rank', 'dense_rank', 'percent_rank', 'cume_dist']), 'window', []::varchar[] "
    "union select unnest(['ntile', 'lag', 'lead', 'first_value', 'last_value']), 'window', ['integer'] union select "
    "unnest(['lag', 'lead', 'nth_value']), 'window', ['integer', 'integer'] union select unnest(['lag', 'lead']), 'window', "
    "['integer', 'integer', 'integer']",
    "postgres": "select proname, case prokind when 'a' then 'aggregate' when 'w' then 'window' else 'scalar' end, array(select "
    "format_type(unnest(proargtypes::oid[]), null)) from pg_proc where pronamespace = 'pg_catalog'::regnamespace and prokind in ('f', 'a', 'w') "
    "union select oprname, 'scalar', array_remove(array[format_type(nullif(oprleft, 0), null), format_type(oprright, null)], null) "
    "from pg_operator where oprnamespace = 'pg_catalog'::regnamespace",
}
"""Names, kinds and types of arguments of all functions; DuckDB's catalog has no window functions."""


@dataclass(frozen=True)
class Call:
    """A call: how it is written, with `{0}`, `{1}`, … for its arguments, and their types.

    Attributes:
        text: As above.
        types: Of the arguments.
        over: Whether it takes many rows at once, as aggregates and window functions do.
    """

    text: str
    types: tuple[str, ...]
    over: bool = False


@dataclass
class Report:
    """What was found: calls of which something was claimed, claims, and those that fail."""

    calls: int = 0
    claimed: int = 0
    unsound: list[str] = field(default_factory=list)


def calls(engine: Engine) -> Iterator[Call]:
    """Yield all calls of an engine: the functions and operators of its catalog, and what has a grammar of its own."""
    seen: set[Call] = set()
    words = _WORDS[engine.dialect]
    for name, kind, types in engine.rows(0, _CATALOG[engine.dialect]) or ():
        for untyped in ("integer", "text"):  # what a macro takes has no type
            mine = tuple(untyped if each is None else words.get(each.lower(), each.lower()) for each in types)
            if len(mine) > MOST_ARGUMENTS or any(each not in VALUES for each in mine) or name in _NAMED:
                continue
            yield from (each for each in _written(name, kind, mine) if each not in seen)
            seen.update(_written(name, kind, mine))
    for text, types in _GRAMMAR:
        yield Call(text, types)
    for kind in ("integer", "double precision", "numeric", "text", "timestamp", "interval"):
        for name in ("percentile_cont", "percentile_disc"):
            yield Call(f"{name}(0.5) within group (order by {{0}})", (kind,), over=True)
    kinds = [each for each in VALUES if engine.dialect == "duckdb" or each not in _ONLY["duckdb"]]
    for one, other in product(kinds, kinds):
        yield Call(f"cast({{0}} as {other})", (one,))
        yield Call("{0} = {1}", (one, other))
    if engine.dialect == "duckdb":
        for one, other in product(kinds, kinds):
            yield Call(f"try_cast({{0}} as {other})", (one,))


def _written(name: str, kind: str, types: tuple[str, ...]) -> Iterator[Call]:
    places = [f"{{{place}}}" for place in range(len(types))]
    if not name.replace("_", "a").isalnum():
        if len(types) == 2:
            yield Call(f"{{0}} {name} {{1}}", types)
        elif len(types) == 1:
            yield Call(f"{name} {{0}}", types)
        return
    plain_call = f"{name}({', '.join(places)})"
    if kind == "scalar":
        yield Call(plain_call, types)
    if kind == "aggregate" and types:
        yield Call(plain_call, types, over=True)
        yield Call(f"{plain_call} over ()", types, over=True)
        yield Call(f"{plain_call} over (order by {{0}} rows between current row and current row)", types, over=True)
        yield Call(f"{name}(distinct {{0}})", types, over=True)
        if len(types) == 1:
            yield Call(f"{name}({{0}}) within group (order by {{0}})", types, over=True)
    if kind == "window":
        yield Call(f"{plain_call} over (order by {{0}})" if types else f"{plain_call} over ()", types, over=True)


_TIMES = ("date", "timestamp", "timestamptz", "time", "interval")
_FIELDS = (
    "century", "day", "decade", "dow", "doy", "epoch", "hour", "isodow", "isoyear", "julian", "microseconds", "millennium",
    "milliseconds", "minute", "month", "quarter", "second", "timezone", "week", "year",
)  # fmt: skip
_GRAMMAR: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((f"extract({each} from {{0}})", (kind,)) for each in _FIELDS for kind in _TIMES),
    *((f"date_trunc('{each}', {{0}})", (kind,)) for each in _FIELDS for kind in _TIMES),
    *((f"{{0}} + interval '{each}'", (kind,)) for each in ("1 month", "1 day", "1 hour") for kind in _TIMES),
    ("substring({0} from {1})", ("text", "text")),
    ("substring({0} from {1} for {2})", ("text", "text", "text")),
    ("substring({0} similar {1} escape {2})", ("text", "text", "text")),
    ("substring({0} from {1} for {2})", ("text", "integer", "integer")),
    ("overlay({0} placing {1} from {2})", ("text", "text", "integer")),
    ("trim(both {0} from {1})", ("text", "text")),
    ("trim({0} from {1})", ("text", "text")),
    ("position({0} in {1})", ("text", "text")),
    ("{0} like {1} escape 'x'", ("text", "text")),
    ("{0} like any (array[{1}, null])", ("text", "text")),
    ("{0} not like {1}", ("text", "text")),
    ("{0} ilike {1}", ("text", "text")),
    ("{0} similar to {1}", ("text", "text")),
    ("{0} between {1} and {2}", ("integer", "bigint", "numeric")),
    ("{0} between symmetric {1} and {2}", ("integer", "integer", "integer")),
    ("{0} between {1} and {2}", ("text", "text", "text")),
    ("{0} in ({1}, null)", ("integer", "integer")),
    ("{0} not in ({1}, {2})", ("integer", "integer", "integer")),
    ("({0}, {1}) = ({1}, null)", ("integer", "integer")),
    ("({0}, {1}) < ({1}, null)", ("integer", "integer")),
    ("({0}, {1}) in (({1}, 1), ({0}, {0}))", ("integer", "integer")),
    ("({0}, {1}) is null", ("integer", "integer")),
    ("({0}, null) is not null", ("integer",)),
    ("row({0}, {1}, null) = row({0}, {1}, null)", ("integer", "integer")),
    ("(({0}, null)) = (({1}, null))", ("integer", "integer")),
    ("({0}, null) <> row({1}, null)", ("integer", "integer")),
    ("row({0}, row({1}, null)) <= row({0}, row({1}, null))", ("integer", "integer")),
    ("row({0}, null) in (row({1}, null), row({1}, 1))", ("integer", "integer")),
    ("(({0}, {1})) not in (({0}, null))", ("integer", "integer")),
    ("({0}, null) between ({1}, null) and ({0}, 1)", ("integer", "integer")),
    ("row({0}, 1) not between symmetric row({1}, null) and row({0}, 1)", ("integer", "integer")),
    ("case row({0}, null) when row({1}, null) then 1 else 2 end", ("integer", "integer")),
    ("row({0}, null) is null", ("integer",)),
    ("row({0}, null) is distinct from row({1}, null)", ("integer", "integer")),
    ("({0}, null) overlaps ({1}, null)", ("timestamp", "timestamp")),
    ("array[{0}, null] = array[{1}, null]", ("integer", "integer")),
    ("({0}, {1}) <= (1, null)", ("integer", "integer")),
    ("(null, {0}) > ({1}, 1)", ("integer", "integer")),
    ("{0} is distinct from {1}", ("integer", "bigint")),
    ("row({0}, {1})", ("integer", "text")),
    ("array[{0}, {1}]", ("integer", "integer")),
    ("array[{0}, null]", ("integer",)),
    ("(array[{0}, {1}])[{2}]", ("integer", "integer", "integer")),
    ("{{'a': {0}, 'b': null}}", ("integer",)),
    ("{0}[{1}]", ("text", "integer")),
    ("{0}[{1}:{2}]", ("text", "integer", "integer")),
    ("{0} at time zone 'UTC'", ("timestamp",)),
    ("{0} at time zone 'UTC'", ("timestamptz",)),
    ('{0} collate "C"', ("text",)),
    ("coalesce({0}, {1})", ("integer", "bigint")),
    ("coalesce({0}, {1})", ("bigint", "double precision")),
    ("nullif({0}, {1})", ("integer", "integer")),
    ("nullif({0}, {0})", ("integer",)),
    ("greatest({0}, {1})", ("integer", "bigint")),
    ("least({0}, {1})", ("double precision", "bigint")),
    ("case when {0} then {1} end", ("boolean", "integer")),
    ("case {0} when {1} then 1 else 2 end", ("integer", "integer")),
    ("case when {0} then {1} else {2} end", ("boolean", "integer", "bigint")),
    ("{0} is json", ("text",)),
    ("{0} is true", ("boolean",)),
    ("{0} is unknown", ("boolean",)),
    ("{0} and {1}", ("boolean", "boolean")),
    ("{0} or null", ("boolean",)),
    ("not {0}", ("boolean",)),
    ("{0} <> all (array[{1}, null])", ("integer", "integer")),
    ("{0} = any (array[{1}, null])", ("integer", "integer")),
    ("{0} = any ({1})", ("integer", "integer[]")),
    ("concat({0}, {1}, null)", ("text", "integer")),
    ("concat_ws({0}, {1}, null)", ("text", "text")),
    ("concat_ws(',', {0}, null)", ("text",)),
    ("format('%s', {0})", ("text",)),
    ("json_object('a', {0})", ("text",)),
    ("json_object('a': {0})", ("text",)),
    ("json_array({0}, null)", ("text",)),
    ("json_build_object('a', {0})", ("text",)),
    ("to_json({0})", ("text",)),
    ("regexp_replace({0}, {1}, 'X', 'g')", ("text", "text")),
    ("regexp_replace({0}, '[a-z]+', 'X')", ("text",)),
    ("cast({0} as varchar(1))", ("text",)),
    ("cast({0} as char(1))", ("text",)),
    ("cast({0} as numeric(20, 2))", ("numeric",)),
    ("cast({0} as decimal(3, 1))", ("double precision",)),
    ("cast({0} as bit(8))", ("integer",)),
    ("{0} / 2", ("integer",)),
    ("{0} / cast(0.1 as integer)", ("integer",)),
    ("{0} / cast(2 as numeric(5, 2))", ("numeric",)),
    ("{0} // 2", ("bigint",)),
    ("{0} % -1", ("bigint",)),
    ("{0} / 2.0", ("numeric",)),
    ("{0} / 0.5", ("double precision",)),
    ("{0} % 2", ("integer",)),
    ("{0} / 1e-300", ("double precision",)),
    ("{0} || '-' || {1}", ("integer", "text")),
    ("cast({0} as text) || '-' || {1}", ("integer", "text")),
    ("{0} + 1", ("date",)),
    ("{0} - 1", ("integer",)),
    ("interval '1 day' * {0}", ("double precision",)),
)
"""Calls with a grammar of their own, and calls that functions of several arguments alone do not reach."""


def check(engine: Engine, only: str | None = None, part: int = 0, parts: int = 1) -> Report:
    """Return what is claimed of each call of an engine and fails.

    Args:
        engine: Where; it is empty.
        only: What the text of the calls that are looked at matches; None for all.
        part: Which part of them is looked at, from 0.
        parts: In how many parts they are dealt out, one call after the other.
    """
    report = Report()
    tables = {kind: _fill(engine, kind) for kind in VALUES if kind not in _ONLY["duckdb"] or engine.dialect == "duckdb"}
    for call in islice(calls(engine), part, None, parts):
        if (only is None or re.search(only, call.text)) and all(kind in tables for kind in call.types):
            _check(engine, call, tables, report)
    return report


def _fill(engine: Engine, kind: str) -> tuple[str, TableFacts]:
    """Make a table of values: `a` is unique and never null, `n` is the same with nulls, `o` orders them."""
    name = "e_" + "".join(each if each.isalpha() else "_" for each in kind)
    engine.rows(0, f"create table {name} (o integer, a {kind}, n {kind})")
    for place, value in enumerate(VALUES[kind]):
        engine.rows(0, f"insert into {name} values ({place}, cast({value} as {kind}), cast({value} as {kind}))")
    facts = [Fact(FactKind.NOT_NULL, name, ("a",), "given")]
    if kind not in ("real", "double precision", "interval", "json"):
        facts.append(Fact(FactKind.UNIQUE, name, ("a",), "given"))
    engine.rows(0, f"create table {name}_n as select o, n from {name} union all select -1, null")
    columns = (("o", "integer"), ("a", kind), ("n", kind))
    return name, TableFacts(columns, tuple(facts))


@dataclass(frozen=True)
class _Question:
    """A claim about the only column of a query, `select {value} from {source}`, and on which rows."""

    claim: str
    value: str
    source: str
    where: str = ""

    @property
    def sql(self) -> str:
        return f"select {self.value} from {self.source}{self.where}"


def _check(engine: Engine, call: Call, tables: dict[str, tuple[str, TableFacts]], report: Report) -> None:
    known: dict[tuple[str, str, str], TableFacts] = {}
    for name, table in (tables[kind] for kind in call.types):
        known["", "main", name] = table
        known["", "main", f"{name}_n"] = TableFacts((("o", "integer"), table.columns[2]))
    before = report.claimed
    for question in _questions(call, [tables[kind][0] for kind in call.types]):
        found = infer(question.sql, engine.dialect, known)
        if found is None:
            continue
        proof = found.unique([0]) if question.claim == "unique" else found.not_null(0)
        if proof is None:
            continue
        report.claimed += 1
        if not _holds(engine, question, call):
            report.unsound.append(f"{question.claim}: {question.sql}: {', '.join(proof.rules)}")
    report.calls += report.claimed > before


def _holds(engine: Engine, question: _Question, call: Call) -> bool:
    """Return whether a claim holds; where the query fails, on those rows on which it does not."""
    counted = "count(distinct x) = count(x)" if question.claim == "unique" else "count(x) = count(*)"
    inner = (
        question.sql.replace("select ", "select cast(", 1).replace(" from ", " as text) from ", 1)
        if "json" in call.types
        else question.sql
    )
    asked = f"select {counted} from ({{}}) q(x)"
    rows = engine.rows(0, asked.format(inner))
    if rows is not None:
        return bool(rows[0][0])
    if call.over:
        return True
    fine = []
    combinations = list(product(*(range(-1, len(VALUES[kind])) for kind in call.types)))
    for places in combinations[:: len(combinations) // MOST_ROWS + 1]:
        where = " and ".join(f"x{at}.o = {place}" for at, place in enumerate(places))
        alone = (
            f"select {question.value} from {question.source} where {where}{question.where.replace(' where', ' and')}"
        )
        if engine.rows(0, asked.format(alone)) is not None:
            fine.append(f"({where})")
    if not fine:
        return True
    where = f"({' or '.join(fine)}){question.where.replace(' where', ' and')}"
    rows = engine.rows(0, asked.format(f"select {question.value} from {question.source} where {where}"))
    return rows is None or bool(rows[0][0])


def _questions(call: Call, names: Sequence[str]) -> Iterator[_Question]:
    def written(columns: Sequence[str]) -> str:
        return call.text.format(*(f"x{place}.{column}" for place, column in enumerate(columns)))

    def source(columns: Sequence[str]) -> str:
        ends = ["_n" if column == "n" else "" for column in columns]
        parts = [f"{name}{end} x{place}" for place, (name, end) in enumerate(zip(names, ends, strict=True))]
        return " cross join ".join(parts) or "(select 1) x"

    filled, empty = "a" * len(names), "n" * len(names)
    yield _Question("not_null", written(filled), source(filled))
    if call.over:
        for place in range(1, len(names)):  # what any row may give besides the value itself
            columns = ["n" if each == place else "a" for each in range(len(names))]
            yield _Question("not_null", written(columns), source(columns))
        if " over " not in call.text:
            yield _Question("not_null", written(filled), source(filled), " group by x0.o < 3")
            yield _Question("not_null", written(filled), source(filled), " group by x0.o")
        return
    for place in range(len(names)):
        where = f" where ({written(empty)}) is not null"
        yield _Question("not_null", f"x{place}.n", source(empty), where)
    if len(names) == 1:
        yield _Question("unique", written(filled), source(filled))
    for constant in ("0", "1", "''", "'day'") if len(names) == 2 else ():
        yield _Question("unique", call.text.format("x0.a", constant), f"{names[0]} x0")
        yield _Question("unique", call.text.format(constant, "x1.a"), f"{names[1]} x1")


def main() -> int:
    """Check one engine, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", choices=["duckdb", "postgres"], default="duckdb")
    parser.add_argument("--only", help="a regular expression that the text of a call matches")
    arguments = parser.parse_args()
    if arguments.engine == "duckdb":
        report = check(DuckDB(), arguments.only)
    else:
        from tests.postgres import Postgres as Server

        with Server() as server:
            report = check(Postgres(server.database()), arguments.only)
    for claim in report.unsound:
        print(f"UNSOUND {claim}")
    print(f"something was claimed of {report.calls} calls; {report.claimed} claims, {len(report.unsound)} unsound")
    return 1 if report.unsound else 0


if __name__ == "__main__":
    sys.exit(main())
