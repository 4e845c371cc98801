"""Random expressions: conditions, constants, functions, aggregates and windows over the columns of a query."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.proofs.data import Column, RandomTable

LITERALS = {
    "int": ["0", "1", "2", "3", "-1"],
    "big": ["cast(1 as bigint)", "cast(2 as bigint)"],
    "text": ["'a'", "'A'", "''", "'b'", "'1'"],
    "float": ["cast(0.0 as double precision)", "cast(1.0 as double precision)"],
    "date": ["date '2020-01-31'", "date '1970-01-01'"],
    "bool": ["true", "false"],
    "digits": ["'1'", "'01'", "'0'"],
    "huge": ["cast(1 as numeric(38, 0))", "1267650600228229401496703205376"],
    "unsigned": ["1", "1267650600228229401496703205377"],
    "part": ["cast(1 as numeric(38, 0))", "0.1", "0.2"],
}
MIXED = {
    "duckdb": [{"big", "float"}, {"int", "digits"}, {"huge", "unsigned"}],
    "postgres": [{"big", "float"}, {"huge", "unsigned"}],
}
"""Kinds whose values an engine compares so that different ones are equal to one."""
NUMBERS = ("int", "big")
KINDS = {"int": "int", "bigint": "big", "double precision": "float", "text": "text", "date": "date"}
"""The kind of values of a type."""
CASTS = {
    "int": ["bigint", "text", "double precision"], "big": ["double precision", "double precision", "text"], "text": ["text"],
    "digits": ["int", "int", "text"], "float": ["int", "text"], "date": ["text"], "bool": ["int", "text"],
    "huge": ["text", "double precision"], "unsigned": ["text", "double precision"], "part": ["text"],
}  # fmt: skip
"""Types that values of a kind are cast to."""


@dataclass(frozen=True)
class Ref:
    """A column that can be used: how it is written, and what it holds."""

    sql: str
    kind: str

    @property
    def name(self) -> str:
        """The name without the table."""
        return self.sql.rpartition(".")[2]


def under(alias: str, columns: Iterable[Ref | Column]) -> list[Ref]:
    """Return the columns of a relation, as they are used under an alias."""
    return [Ref(f"{alias}.{each.name}", each.kind) for each in columns]


@dataclass
class Made:
    """A query: its text, and its output columns."""

    sql: str
    columns: list[Ref]


@dataclass
class Expressions:
    """Makes random expressions.

    Attributes:
        random: Where chance comes from.
        dialect: `duckdb` or `postgres`.
        tables: What can be read.
        ctes: Common table expressions that can be read.
        number: How many names were given.
    """

    random: random.Random
    dialect: str
    tables: list[RandomTable]
    ctes: list[Made] = field(default_factory=list)
    number: int = 0

    def chance(self, probability: float) -> bool:
        """Return true with a probability."""
        return self.random.random() < probability

    def fresh(self, prefix: str) -> str:
        """Return a new name."""
        self.number += 1
        return f"{prefix}{self.number}"

    # ------------------------------------------------------------------ conditions

    def predicate(self, refs: list[Ref], depth: int, level: int = 2) -> str:
        """Return a condition."""
        if level > 0 and self.chance(0.35):
            word = self.random.choice(["and", "or", "or"])
            return f"({self.predicate(refs, depth, level - 1)} {word} {self.predicate(refs, depth, level - 1)})"
        if level > 0 and self.chance(0.12):
            return f"not ({self.predicate(refs, depth, level - 1)})"
        ref = self.random.choice(refs)
        if depth > 0 and self.chance(0.1):
            return self.subquery_predicate(ref)
        other = self.expression(refs, ref.kind, 1, 0) if level else Ref(self.pick(refs, ref.kind), ref.kind)
        lists = ", ".join(self.literal(ref.kind, nulls=0.08) for _ in range(self.random.randint(1, 3)))
        forms = [
            f"{ref.sql} is not null", f"{ref.sql} is null", f"{ref.sql} = {self.literal(ref.kind)}", f"{ref.sql} = {other.sql}",
            f"{ref.sql} <> {self.literal(ref.kind)}", f"{ref.sql} in ({lists})", f"{ref.sql} not in ({lists})",
            f"{ref.sql} is not distinct from {other.sql}", f"{ref.sql} is distinct from {other.sql}",
        ]  # fmt: skip
        if ref.kind != "bool":
            low, high = self.literal(ref.kind), self.literal(ref.kind)
            forms += [
                f"{ref.sql} > {low}",
                f"{ref.sql} between {low} and {high}",
                f"{ref.sql} not between {low} and {other.sql}",
            ]
            forms += [f"coalesce({ref.sql}, {low}) = {high}", f"coalesce({ref.sql} = {low}, {self.literal('bool')})"]
        else:
            forms += [
                ref.sql,
                f"not {ref.sql}",
                f"{ref.sql} is true",
                f"{ref.sql} is not true",
                f"coalesce({ref.sql}, {self.literal('bool')})",
            ]
        second = self.random.choice(refs)
        pair, values, more = (
            self.random.choice(["({}, {})", "row({}, {})", "(({}, {}))"]).format(*each)
            for each in (
                (ref.sql, second.sql),
                (self.literal(ref.kind, nulls=0.1), self.literal(second.kind, nulls=0.1)),
                (self.literal(ref.kind), self.literal(second.kind, nulls=0.1)),
            )
        )
        forms += [
            f"{pair} < {values}",
            f"{pair} >= {values}",
            f"{values} >= {pair}",
            f"{pair} between {values} and {more}",
        ]
        forms += [f"{pair} = {values}", f"{pair} in ({values}, ({self.literal(ref.kind)}, {second.sql}))"]
        if ref.kind == "text":
            forms += [f"{ref.sql} like 'a%'", f"lower({ref.sql}) = 'a'", f"length({ref.sql}) > 0"]
        if self.chance(0.3):
            forms.append(self.subquery_predicate(ref))
        return self.random.choice(forms)

    def subquery_predicate(self, ref: Ref) -> str:
        """Return a condition with a query in it."""
        table = self.random.choice(self.tables)
        same = [each for each in table.columns if each.kind == ref.kind]
        if not same:
            return f"exists (select 1 from {table.name})"
        column = self.random.choice(same).name
        return self.random.choice(
            [
                f"{ref.sql} in (select i.{column} from {table.name} i where i.{column} is not null)",
                f"{ref.sql} in (select i.{column} from {table.name} i)",
                f"{ref.sql} not in (select i.{column} from {table.name} i)",
                f"exists (select 1 from {table.name} i where i.{column} = {ref.sql})",
                f"not exists (select 1 from {table.name} i where i.{column} = {ref.sql})",
                f"{ref.sql} = (select {'max' if ref.kind != 'bool' else 'bool_or'}(i.{column}) from {table.name} i)",
                f"{ref.sql} = any (select i.{column} from {table.name} i)",
                f"{ref.sql} <> all (select i.{column} from {table.name} i)",
                f"{ref.sql} <> all (select i.{column} from {table.name} i where {self.predicate([Ref(f'i.{column}', ref.kind)], 0, 0)})",
            ]
        )

    # ------------------------------------------------------------------ expressions

    def literal(self, kind: str, nulls: float = 0.0) -> str:
        """Return a constant."""
        return "null" if self.chance(nulls) else self.random.choice(LITERALS[kind])

    def pick(self, refs: list[Ref], kind: str) -> str:
        """Return a column of a kind, or a constant."""
        mine = [each for each in refs if each.kind == kind]
        return self.random.choice(mine).sql if mine and self.chance(0.85) else self.literal(kind)

    def expression(self, refs: list[Ref], kind: str, level: int, depth: int) -> Ref:
        """Return an expression of a kind."""
        if level == 0 or self.chance(0.35):
            return Ref(self.pick(refs, kind), kind)
        inner = self.expression(refs, kind, level - 1, 0).sql
        other = self.expression(refs, kind, level - 1, 0).sql
        condition = self.predicate(refs, 0, 0)
        forms = self.forms(refs, kind, inner, other, condition)
        if depth > 0:
            table = self.random.choice(self.tables)
            same = [each.name for each in table.columns if each.kind == kind]
            if same and kind != "bool":
                forms.append(f"(select max(i.{same[0]}) from {table.name} i)")
            if kind == "int":
                forms.append(f"cast((select count(*) from {table.name} i) as int)")
        return Ref(self.random.choice(forms), kind)

    def forms(self, refs: list[Ref], kind: str, inner: str, other: str, condition: str) -> list[str]:
        """Return expressions of a kind, made of two others."""
        any_ref = self.random.choice(refs)
        forms = [
            f"coalesce({inner}, {self.literal(kind)})", f"coalesce({inner}, {other})", f"nullif({inner}, {self.literal(kind)})",
            f"case when {condition} then {inner} else {other} end", f"case when {condition} then {inner} end",
            f"case when {inner} is null then {self.literal(kind)} else {inner} end", f"nullif({inner}, {other})",
            f"case when {any_ref.sql} is not null then {any_ref.sql} end" if any_ref.kind == kind else inner,
        ]  # fmt: skip
        if kind != "bool":
            forms += [f"greatest({inner}, {other})", f"least({inner}, {self.literal(kind)})"]
        return forms + self._of_kind(refs, kind, inner, other)

    def _of_kind(self, refs: list[Ref], kind: str, inner: str, other: str) -> list[str]:
        text, date, whole, floating = (
            self.pick(refs, "text"),
            self.pick(refs, "date"),
            self.pick(refs, "int"),
            self.pick(refs, "float"),
        )
        if kind in ("huge", "unsigned", "part"):
            return [f"coalesce({inner}, {self.pick(refs, 'int')})", f"nullif({inner}, {self.pick(refs, 'int')})"]
        if kind in NUMBERS:
            tried = ["big", "float", "text"] if self.dialect == "duckdb" else []
            return [
                *(f"cast(try_cast({self.pick(refs, each)} as smallint) as {'int' if kind == 'int' else 'bigint'})" for each in tried),
                f"{inner} + 1", f"1 - {inner}", f"-({inner})", f"{inner} + {other}", f"abs({inner})", f"{inner} % 2", f"length({text})",
                f"cast({whole} as bigint)" if kind == "big" else f"cast(extract(year from {date}) as int)", f"sign({inner})::int", f"cast({floating} as int)", f"extract(year from {date})", f"cast({self.pick(refs, 'digits')} as int)",
            ]  # fmt: skip
        if kind == "text":
            pattern = "substring({0} from '[a-z]')" if self.dialect == "postgres" else "regexp_extract({0}, '[a-z]')"
            return [
                pattern.format(inner), f"regexp_replace({inner}, '[a1]', {other})", f"concat_ws({inner}, {other})", f"substring({inner}, 1, {whole})",
                f"lower({inner})", f"upper({inner})", f"trim({inner})", f"{inner} || 'x'", f"'p' || {inner}", f"{inner} || {other}",
                f"concat({inner}, 'x')", f"concat({inner}, {other})", f"cast({whole} as text)", f"cast({date} as text)", f"substring({inner}, 1, 1)",
                f"cast({whole} as text) || '-' || {inner}", f"replace({inner}, 'a', 'b')", f"md5({inner})", f"cast({floating} as text)",
                f"{inner} || '-' || cast({whole} as text)",
            ]  # fmt: skip
        if kind == "bool":
            return [
                f"({self.predicate(refs, 0, 0)})",
                f"not {inner}",
                f"({inner} and {other})",
                f"({inner} or {other})",
                f"({text} = 'a')",
                f"({inner} and false)",
                f"({inner} or true)",
            ]
        if kind == "digits":
            return [f"cast({whole} as text)", f"trim({inner})", f"{inner} || '1'"]
        if kind == "date":
            return [f"cast(date_trunc('month', {date}) as date)", f"{inner} + 1"]
        return [
            f"{inner} * 2",
            f"cast({whole} as double precision)",
            f"-({inner})",
            f"abs({inner})",
            f"cast({self.pick(refs, 'big')} as double precision)",
        ]

    def aggregate(self, refs: list[Ref], *, numeric: bool = False) -> Ref:
        """Return an aggregate."""
        if numeric or self.chance(0.3):
            ref = self.random.choice(refs)
            return Ref(self.random.choice(["count(*)", f"count({ref.sql})", f"count(distinct {ref.sql})"]), "big")
        ref = self.random.choice([each for each in refs if each.kind != "bool"] or refs)
        if ref.kind == "bool":
            return Ref(f"bool_and({ref.sql})", "bool")
        if self.chance(0.1) and ref.kind != "part":
            return Ref(f"percentile_disc(0.5) within group (order by {ref.sql})", ref.kind)
        functions = ["min", "max", "min", "max"] + (["any_value", "first"] if self.dialect == "duckdb" else [])
        filtered = f" filter (where {self.predicate(refs, 0, 0)})" if self.chance(0.2) else ""
        if ref.kind == "int" and self.chance(0.4):
            return Ref(f"cast(sum({ref.sql}){filtered} as bigint)", "big")
        if ref.kind == "text" and self.chance(0.3):
            return Ref(f"string_agg({ref.sql}, ','){filtered}", "text")
        return Ref(f"{self.random.choice(functions)}({ref.sql}){filtered}", ref.kind)

    def window(self, refs: list[Ref]) -> Ref:
        """Return a window function."""
        ref, other = self.random.choice(refs), self.random.choice(refs)
        partition = f"partition by {other.sql} " if self.chance(0.6) else ""
        order = f"order by {self.random.choice(refs).sql}"
        frame = self.random.choice(["", "", " rows between unbounded preceding and current row", " rows between 1 preceding and 1 preceding", " rows between current row and unbounded following", " rows between unbounded preceding and unbounded following exclude current row"])  # fmt: skip
        choices = [
            (f"row_number() over ({partition}{order})", "big"),
            (f"rank() over ({partition}{order})", "big"),
            (f"dense_rank() over ({partition}{order})", "big"),
            (f"count({ref.sql}) over ({partition}{order}{frame})", "big"),
            (f"lag({ref.sql}) over ({partition}{order})", ref.kind),
            (f"lag({ref.sql}, {self.pick(refs, 'int')}, {self.literal(ref.kind)}) over ({partition}{order})", ref.kind),
            (f"ntile(case when {self.predicate(refs, 0, 0)} then 2 end) over ({partition}{order})", "big"),
            (f"ntile(2) over ({partition}{order})", "big"),
            (f"lead({ref.sql}, 1, {self.literal(ref.kind)}) over ({partition}{order})", ref.kind),
            (f"first_value({ref.sql}) over ({partition}{order}{frame})", ref.kind),
        ]
        if ref.kind != "bool":
            choices.append((f"max({ref.sql}) over ({partition}{order}{frame})", ref.kind))
        sql, kind = self.random.choice(choices)
        return Ref(sql, kind)
