"""Random queries of forms that a parser reads otherwise than an engine does, or that reach a rule by another way."""

from __future__ import annotations

from tests.proofs.data import Column, RandomTable
from tests.proofs.expressions import Expressions, under

UNKNOWN_AGGREGATES = {"duckdb": ("product", "entropy", "skewness"), "postgres": ("regr_count", "every", "bit_xor")}
"""Aggregates of which sqlglot does not know that they are any, or not by that name."""


class Spellings(Expressions):
    """Makes such queries."""

    def spelled(self) -> str:
        """Return one of them."""
        forms = [
            self.quantified, self.unknown_aggregate, self.aggregate_of_outer_rows, self.rows_elsewhere, self.distinct_on, self.in_brackets,
            self.natural, self.without_name, self.hidden, self.unit, self.forward, self.field, self.chained, self.unbracketed_sets, self.cut,
            self.per_row, self.nearer, self.signed, self.order_of_its_own, self.rejecting, self.separated, self.fewer_names,
        ]  # fmt: skip
        forms += (
            [self.star, self.grouped_by_all, self.asof] if self.dialect == "duckdb" else [self.aliases, self.arrays]
        )
        return self.random.choice(forms)()

    def some(self, kind: str = "int") -> tuple[RandomTable, Column]:
        """Return a table and a column of it, of a kind that all tables have."""
        table = self.random.choice(self.tables)
        return table, self.random.choice([each for each in table.columns if each.kind == kind])

    def listed(self, kind: str, *, empty: bool = True) -> str:
        """Return an array that is written out."""
        values = [self.literal(kind, nulls=0.2) for _ in range(self.random.randint(0 if empty else 1, 2))]
        kinds = {"int": "integer", "text": "text"}
        return f"cast(array[{', '.join(values)}] as {kinds[kind]}[])"

    # ------------------------------------------------------------------ conditions and expressions

    def quantified(self) -> str:
        """A value that is compared with each of an array."""
        kind = "int" if self.dialect == "duckdb" else self.random.choice(["int", "text"])
        table = self.random.choice(self.tables)
        column = self.pick(under("x", table.columns), kind)
        operator = self.random.choice(
            ["=", "<>", ">", "<="] + (["like", "ilike", "~", "not like", "!~~"] if kind == "text" else [])
        )
        condition = f"{column} {operator} {self.random.choice(['any', 'all', 'some'])} ({self.listed(kind)})"
        if self.chance(0.3):
            condition = f"not {condition}"
        if self.chance(0.2):
            condition = self.random.choice([f"({condition}) is true", f"coalesce({condition}, false)"])
        if self.chance(0.2):
            return f"select {column} as a, case when {condition} then {column} else {self.literal(kind)} end as b from {table.name} x"
        return f"select {column} as a, {condition} as b from {table.name} x where {condition}"

    def unit(self) -> str:
        """A unit of time from a column."""
        table = self.random.choice(self.tables)
        day = self.pick(under("x", table.columns), "date")
        name = self.random.choice(["day", "g"])
        call = self.random.choice(
            [f"date_trunc({name}, {day})", f"date_part({name}, {day})", f"date_trunc('day', {day})"]
        )
        return f"select distinct {day} as a, {call} as b from {table.name} x cross join (values ('month'), ('year')) v({name})"

    def separated(self) -> str:
        """Texts with something between them that may be null."""
        table = self.random.choice(self.tables)
        text, other = (self.pick(under("x", table.columns), "text") for _ in range(2))
        over = self.random.choice(["", " over ()"])
        separator = self.random.choice(["null", "','", other if over else "','"])
        return f"select string_agg({text}, {separator}){over} as a from {table.name} x where {text} is not null"

    def signed(self) -> str:
        """Whole numbers with and without a sign, or of several widths, that become one column."""
        table, column = self.some()
        one, other = f"x.{column.name}", f"abs(x.{column.name})"
        if self.dialect == "duckdb":
            kinds = self.random.sample(["integer", "uinteger", "bigint", "utinyint", "smallint"], 2)
            both = self.random.choice(
                ["coalesce({0}, {1})", "case when {0} < 1 then {0} else {1} end", "greatest({0}, {1})"]
            )
            found = both.format(
                f"cast({one if kinds[0][0] != 'u' else other} as {kinds[0]})", f"cast({other} as {kinds[1]})"
            )
            return f"select try_cast({found} as {self.random.choice(kinds)}) as a, x.{column.name} as b from {table.name} x"
        return f"select cast({one} as smallint) + cast({other} as bigint) as a from {table.name} x"

    def order_of_its_own(self) -> str:
        """Window functions whose arguments have an order."""
        table, column = self.some()
        other = self.random.choice(table.columns)
        function = self.random.choice(["rank", "dense_rank", "row_number"])
        inner = f"order by x.{other.name}" if self.dialect == "duckdb" and self.chance(0.7) else ""
        frame = self.random.choice(["", " rows between 1 preceding and current row"])
        return f"select {function}({inner}) over (order by x.{column.name}{frame}) as a, x.{column.name} as b from {table.name} x"

    def rejecting(self) -> str:
        """Conditions of a grammar of their own."""
        table, column = self.some()
        x, text = f"x.{column.name}", self.pick(under("x", table.columns), "text")
        condition = self.random.choice([
            f"{x} between symmetric 2 and {self.literal('int', nulls=0.3)}", f"({x} > 1) is not unknown", f"({x} > 1) is unknown",
            f"{text} collate \"C\" = 'a'", f"{x} in ((select i.{column.name} from {table.name} i))", f"({x}, null) is distinct from ({x}, 1)",
        ])  # fmt: skip
        if self.dialect == "duckdb":
            condition = condition.replace("between symmetric", "between").replace("is not unknown", "is not null")
        return f"select {x} as a, {text} as b from {table.name} x where {condition}"

    # ------------------------------------------------------------------ several rows, and one

    def unknown_aggregate(self) -> str:
        """A query within a query, with an aggregate that has no class of its own."""
        table, column = self.some()
        inner, other = self.some()
        name = self.random.choice(UNKNOWN_AGGREGATES[self.dialect])
        value = f"i.{other.name}" if name != "every" else f"i.{other.name} > 0"
        call = f"{name}({value}, {value})" if name.startswith("regr") else f"{name}({value})"
        met = f"from {inner.name} i where i.{other.name} = x.{column.name}"
        return self.random.choice(
            [
                f"select x.{column.name} as a from {table.name} x where exists (select {call} {met})",
                f"select x.{column.name} as a, l.p from {table.name} x cross join lateral (select {call} as p {met}) l",
                f"select x.{column.name} as a, (select {call} is null {met}) as b from {table.name} x",
                f"select {call} as a, 1 as b from {inner.name} i",
            ]
        )

    def grouped_by_all(self) -> str:
        """`group by all` beside such an aggregate."""
        table, column = self.some()
        name = self.random.choice(UNKNOWN_AGGREGATES["duckdb"])
        also = self.random.choice(["", f", x.{column.name} as c", ", 'a' as c"])
        return f"select {name}(x.{column.name}) as a, max(x.{column.name}) as b{also} from {table.name} x where x.{column.name} > 1 group by all"

    def aggregate_of_outer_rows(self) -> str:
        """An aggregate over columns of the query around."""
        table, column = self.some()
        call = self.random.choice(["max({0})", "count({0})", "sum({0})", "count(*) filter (where {0} > 0)"]).format(
            f"x.{column.name}"
        )
        from_ = self.random.choice(["", f" from {self.random.choice(self.tables).name} i"])
        return f"select (select {call}{from_}) as a, 1 as b from {table.name} x"

    def rows_elsewhere(self) -> str:
        """Functions that return rows, in other places than among the output columns."""
        table, column = self.some()
        rows = (
            self.random.choice(["unnest(array[1, 2])", "generate_series(1, 2)"])
            if self.dialect == "postgres"
            else "unnest([1, 2])"
        )
        return self.random.choice(["select {0} from {1} x order by {2}", "select {0} from {1} x group by {0}, {2}", "select distinct on ({2}) {0} from {1} x", "select distinct on ({0}) {0}, {2} as b from {1} x"]).format(f"x.{column.name}", table.name, rows)  # fmt: skip

    def distinct_on(self) -> str:
        """`distinct on` places, aliases and expressions, in brackets."""
        table, column = self.some()
        other = self.random.choice(table.columns)
        on = self.random.choice(
            ["1", "(1)", "((1))", "((a))", f"(x.{column.name}), ((2))", f"x.{column.name} + 1", "((b))"]
        )
        return f"select distinct on ({on}) x.{column.name} as b, x.{other.name} as a from {table.name} x"

    def arrays(self) -> str:
        """PostgreSQL's arrays in arrays, whose elements are all numbers in them."""
        table, column = self.some()
        inner = f"array[array[x.{column.name}, {self.literal('int', nulls=0.5)}], array[1, 2]]"
        number, place = self.random.choice([("", ""), (" with ordinality", ", u.p")])
        names = "(e, p)" if number else "(e)"
        return f"select x.{column.name} as a, u.e{place} from {table.name} x cross join unnest({inner}){number} as u{names}"

    def cut(self) -> str:
        """Some of the rows."""
        table, column = self.some()
        ends = ["limit 1", "limit 1 offset 1", "limit null", "offset 1", "fetch first row only"]
        ends += (
            ["limit 40%", "limit 100%"] if self.dialect == "duckdb" else ["fetch first 1 rows with ties", "for update"]
        )
        order = f"order by x.{column.name} " if "ties" in (end := self.random.choice(ends)) else ""
        sample = self.random.choice(
            ["", "", " tablesample bernoulli (50)" if self.dialect == "postgres" else " tablesample 50%"]
        )
        return f"select x.{column.name} as a, x.{table.columns[0].name} as b from {table.name} x{sample} {order}{end}"

    def unbracketed_sets(self) -> str:
        """Set operations one after the other."""
        words = [self.random.choice(["union", "union all", "intersect", "except", "except all"]) for _ in range(2)]
        parts = [f"select {column.name} as a from {table.name}" for table, column in (self.some() for _ in range(3))]
        return f"{parts[0]} {words[0]} {parts[1]} {words[1]} {parts[2]}"

    # ------------------------------------------------------------------ names

    def in_brackets(self) -> str:
        """A join in brackets, with other names for its columns."""
        left, right = self.random.choice(self.tables), self.random.choice(self.tables)
        names = self.random.sample("abcdefghijklmnop", len(left.columns) + len(right.columns))
        join = self.random.choice(["cross join {}", "left join {} on true"]).format(f"{right.name} y")
        given = names[: self.random.randint(1, len(names))]
        kept = self.random.sample(given, min(2, len(given)))
        return f"select {', '.join(f'j.{each}' for each in kept)} from ({left.name} x {join}) as j({', '.join(given)})"

    def natural(self) -> str:
        """Natural joins, also after a comma."""
        names = [each.name for each in self.random.choices(self.tables, k=3)]
        side = self.random.choice(["", "", "left ", "full "])
        inner = f"(select {', '.join(self.random.sample('abc', 2))} from {names[1]})"
        if self.chance(0.4):
            return (
                f"select * from (select c as k from {names[0]}) x, {inner} y natural join (select a from {names[2]}) z"
            )
        return f"select * from (select a, b from {names[0]}) x natural {side}join {inner} y"

    def chained(self) -> str:
        """Several joins by `using`."""
        one, other, third = (each.name for each in self.random.choices(self.tables, k=3))
        sides = [self.random.choice(["", "left ", "right ", "full "]) for _ in range(2)]
        shown = self.random.choice(["*", "a", "a, count(*) as n"])
        text = f"(select a, b from {one}) x {sides[0]}join (select a, b as c from {other}) y using (a) {sides[1]}join (select a, b as d from {third}) z using (a)"
        return f"select {shown} from {text}" + (" group by a" if "count" in shown else "")

    def without_name(self) -> str:
        """Columns that have no name but the one that an engine makes up."""
        table, column = self.some()
        inner = f"(select cast(x.{column.name} as bigint), 1 as z from {table.name} x) q"
        other = self.random.choice(self.tables).name
        return self.random.choice(
            [
                f"select 1 as {column.name}, {column.name} as y from {inner}",
                f"select * from {inner} natural join (select {column.name}, 1 as z from {other}) o",
                f"select (select {column.name} from {inner} limit 1) as y from (select 5 as {column.name} from {other}) o",
            ]
        )

    def hidden(self) -> str:
        """Columns that each table has, and an alias of that name."""
        table, _ = self.some()
        name = "rowid" if self.dialect == "duckdb" else self.random.choice(["ctid", "xmin"])
        return f"select 1 as {name}, {name} as y, cast({name} as text) as z from {table.name} x"

    def forward(self) -> str:
        """A common table expression that reads one after it, called like a table."""
        table, column = self.some()
        return f"with recursive r as (select {column.name} as v from {table.name}), {table.name} as (select null::int as {column.name}) select v from r"

    def nearer(self) -> str:
        """A name that is a column of a relation beside the query that uses it, and of the query around."""
        table, column = self.some()
        lateral = self.random.choice(["", "", "cross join lateral"])
        between = lateral or ","
        return f"select (select q.y from (select 5 as {column.name}) b {between} (select {column.name} as y) q) as a from {table.name} x"

    def fewer_names(self) -> str:
        """Written rows with names for some of their columns."""
        second = "column2" if self.dialect == "postgres" else "col1"
        values = ", ".join(f"({self.literal('int')}, {self.literal('int', nulls=0.3)})" for _ in range(2))
        return f"select v.a, v.{second} as b from (values {values}) v(a)"

    def field(self) -> str:
        """A join on a field of a record."""
        table, column = self.some()
        other, found = self.some()
        record = f"{{'f': {column.name}}}" if self.dialect == "duckdb" else f"to_jsonb({column.name})"
        used = "q.r.f" if self.dialect == "duckdb" else "(q.r)::int"
        inner = f"(select {self.literal('int')} as j, {record} as r from {table.name}) q"
        return f"select distinct q.j, y.{found.name} as v from {inner} left join {other.name} y on y.{found.name} = 1 and {used} = y.{found.name} and q.j < 5"

    def per_row(self) -> str:
        """A lateral relation that is met on a condition."""
        table, column = self.some()
        other, found = self.some()
        limit = self.random.choice(["", " limit 1"])
        inner = f"select i.{found.name} as v from {other.name} i where i.{found.name} = x.{column.name}{limit}"
        condition = self.random.choice(["true", "l.v > 1", f"x.{column.name} = 1", f"l.v = x.{column.name}"])
        return f"select x.{column.name} as a, l.v from {table.name} x {self.random.choice(['left ', ''])}join lateral ({inner}) l on {condition}"

    def star(self) -> str:
        """`*` with changes."""
        left, right = self.random.choice(self.tables), self.random.choice(self.tables)
        change = self.random.choice([
            "exclude (x.a)", "exclude (a)", "replace (null as a)", "replace (1 as b)", "rename (a as z)", "rename (b as z)", "exclude (a, b)", "like 'a%'"
        ])  # fmt: skip
        join = self.random.choice(
            [f" join {right.name} y on true", f" join {right.name} y using (a)", "", f" positional join {right.name} y"]
        )
        return f"select {self.random.choice(['', 'x.'])}* {change} from {left.name} x{join}"

    def asof(self) -> str:
        """The nearest row, by `using`."""
        left, right = self.random.choice(self.tables), self.random.choice(self.tables)
        names = self.random.choice(["a", "b", "a, b"])
        return f"select x.a, y.a as b, y.b as c from (select a, b from {left.name}) x asof {self.random.choice(['', 'left '])}join (select a, b from {right.name}) y using ({names})"

    def aliases(self) -> str:
        """Relations of PostgreSQL that are called like a kind of join elsewhere."""
        table, column = self.some()
        other, found = self.some()
        word = self.random.choice(["semi", "anti", "asof", "positional"])
        return f"select v as a from (select {column.name} as v from {table.name}) {word} join (select {found.name} as w from {other.name}) y on v = w"
