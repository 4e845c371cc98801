"""Random queries, nested, over all operators that the proofs know."""

from __future__ import annotations

from tests.proofs.data import Column, RandomTable
from tests.proofs.expressions import CASTS, KINDS, LITERALS, MIXED, NUMBERS, Made, Ref, under
from tests.proofs.spellings import Spellings


class Grammar(Spellings):
    """Makes random queries."""

    @property
    def keys(self) -> list[tuple[RandomTable, Column]]:
        """All columns that are unique by themselves, with their tables."""
        return [(table, column) for table in self.tables for column in table.columns if (column.name,) in table.unique]

    # ------------------------------------------------------------------ queries

    def query(self, depth: int) -> Made:
        """Return a query of at most a depth."""
        roll = self.random.random()
        if depth > 0 and roll < 0.16:
            return self.set_operation(depth)
        if depth > 0 and roll < 0.24:
            return self.with_cte(depth)
        if depth > 0 and roll < 0.27:
            return self.recursive()
        if roll < 0.30:
            return self.values()
        if roll < 0.38 and (keyed := self.of_key()) is not None:
            return keyed
        if roll < 0.40:
            return self.times()
        if roll < 0.42 and (met := self.by_chance()) is not None:
            return met
        return self.select(depth)

    def times(self) -> Made:
        """Days of times that were truncated and grouped by."""
        alias, name = self.fresh("x"), self.fresh("c")
        table = self.random.choice(self.tables)
        refs = under(alias, table.columns)
        time = f"cast({self.pick(refs, 'date')} as timestamp) + {self.pick(refs, 'int')} * interval '7 hours'"
        unit = self.random.choice(["hour", "day", "month"])
        inner = f"select date_trunc('{unit}', {time}) as m from {table.name} {alias} group by 1"
        return Made(f"select cast(m as date) as {name} from ({inner}) {self.fresh('q')}", [Ref(name, "date")])

    def by_chance(self) -> Made | None:
        """A join on a unique column and on chance, without rows that come twice; None where no table has such a column."""
        pairs = [
            (table, one, other, right)
            for other, right in self.keys
            for table in self.tables
            for one in table.columns
            if one.kind == right.kind
        ]
        if not pairs:
            return None
        table, one, other, key = self.random.choice(pairs)
        names = [self.fresh("c"), self.fresh("c")]
        shown = self.random.choice(other.columns)
        chance = " and random() < 0.5" if self.chance(0.8) else ""
        sql = (
            f"select distinct x.{one.name} as {names[0]}, y.{shown.name} as {names[1]} from {table.name} x "
            f"left join {other.name} y on x.{one.name} = y.{key.name}{chance}"
        )
        return Made(sql, [Ref(names[0], one.kind), Ref(names[1], shown.kind)])

    def of_key(self) -> Made | None:
        """An expression of a column that is unique; None where no table has one."""
        if not self.keys:
            return None
        table, column = self.random.choice(self.keys)
        alias, name = self.fresh("x"), self.fresh("c")
        refs = under(alias, table.columns)
        key = f"{alias}.{column.name}"
        forms = self.forms(refs, column.kind, key, self.pick(refs, column.kind), self.predicate(refs, 0, 0))
        found = [Ref(each, column.kind) for each in self.random.sample([each for each in forms if key in each], 2)]
        target = self.random.choice(CASTS[column.kind])
        found.append(Ref(f"cast({key} as {target})", KINDS[target]))
        short = [each.sql for each in refs if each.kind in ("int", "text", "digits")] or [key]
        for _ in range(2):
            between = self.random.choice(["", "", "'1' || ", "'-' || "])
            first = f"concat({key}, '-')" if self.chance(0.2) else f"cast({key} as text)"
            found.append(Ref(f"{first} || {between}cast({self.random.choice(short)} as text)", "text"))
        where = f" where {self.predicate(refs, 1)}" if self.chance(0.3) else ""
        listed = ", ".join(f"{each.sql} as {name}{place}" for place, each in enumerate(found))
        columns = [Ref(f"{name}{place}", each.kind) for place, each in enumerate(found)]
        return Made(f"select {listed} from {table.name} {alias}{where}", columns)

    def set_operation(self, depth: int) -> Made:
        """Two selects over the same kinds of columns."""
        kinds = [self.random.choice(["int", "int", "text"]) for _ in range(self.random.randint(1, 3))]
        others = [
            "text" if kind == "int" and self.dialect == "duckdb" and self.chance(0.15) else kind for kind in kinds
        ]
        left, right = self.select(depth - 1, kinds), self.select(depth - 1, others)
        if self.chance(0.12):
            right = left
        mixed = [Ref(a.name, b.kind) for a, b in zip(left.columns, right.columns, strict=True)]
        left = Made(left.sql, mixed)
        word = self.random.choice(
            ["union", "union all", "union all", "intersect", "intersect all", "except", "except all"]
        )
        if self.chance(0.3):  # with a column that tells the sides apart, or seems to
            tag, one, other = self.fresh("c"), self.fresh("k"), self.fresh("k")
            left_sql = f"select {self.literal('text')} as {tag}, {one}.* from ({left.sql}) {one}"
            right_sql = f"select {self.literal('text')} as {tag}, {other}.* from ({right.sql}) {other}"
            return Made(f"({left_sql}) {word} ({right_sql})", [Ref(tag, "text"), *left.columns])
        return Made(f"({left.sql}) {word} ({right.sql})", left.columns)

    def with_cte(self, depth: int) -> Made:
        """A common table expression, used (often twice) by a query."""
        inner = self.query(depth - 1)
        name = self.fresh("w")
        kept = self.ctes
        self.ctes = [*kept, Made(name, [Ref(each.name, each.kind) for each in inner.columns])]
        outer = self.select(depth - 1)
        self.ctes = kept
        return Made(f"with {name} as ({inner.sql}) {outer.sql}", outer.columns)

    def recursive(self) -> Made:
        """A recursive query that ends."""
        name = self.fresh("r")
        start = self.random.choice(["1", "null::int", "0"])
        other = self.random.choice(["'a'", "null::text", "'b'"])
        step = self.random.choice(
            [f"x + 1, y from {name}", f"x + 1, nullif(y, 'a') from {name}", f"x + 1, coalesce(y, 'c') from {name}"]
        )
        word = self.random.choice(["union all", "union"])
        sql = f"with recursive {name}(x, y) as (select {start}::int, {other}::text {word} select {step} where x < 3) select x, y from {name}"
        return Made(sql, [Ref("x", "int"), Ref("y", "text")])

    def values(self) -> Made:
        """RowFacts of literals."""
        kinds = [self.random.choice(["int", "text"]) for _ in range(self.random.randint(1, 3))]
        lines = [
            "(" + ", ".join(self.literal(kind, nulls=0.2) for kind in kinds) + ")"
            for _ in range(self.random.randint(1, 3))
        ]
        names = [self.fresh("c") for _ in kinds]
        alias = self.fresh("v")
        casts = ", ".join(
            f"{name}::{'int' if kind == 'int' else 'text'} as {name}" for name, kind in zip(names, kinds, strict=True)
        )
        plain = ", ".join(names)
        wanted = plain if self.chance(0.7) else casts
        sql = f"select {wanted} from (values {', '.join(lines)}) {alias}({plain})"
        return Made(sql, [Ref(name, kind) for name, kind in zip(names, kinds, strict=True)])

    def select(self, depth: int, kinds: list[str] | None = None) -> Made:
        """A select with any of its clauses; with output columns of given kinds, if they are given."""
        text, refs = self.from_(depth)
        where = f" where {self.predicate(refs, depth)}" if self.chance(0.5) else ""
        roll = self.random.random()
        if roll < 0.22:
            return self.grouped(text + where, refs, kinds, depth)
        if roll < 0.27:
            return self.totals(text + where, refs, kinds)
        if roll < 0.37:
            return self.numbered(text + where, refs, kinds)
        items = self.items(refs, kinds, depth, windows=True)
        distinct = ""
        if self.chance(0.15):
            distinct = "distinct "
        elif self.chance(0.08):
            distinct = f"distinct on ({self.random.choice(refs).sql}) "
        star = kinds is None and self.chance(0.12) and not distinct
        sql = f"select {distinct}{', '.join(f'{each.sql} as {name}' for name, each in items)} from {text}{where}"
        columns = [Ref(name, each.kind) for name, each in items]
        if star:
            alias, unique = self.fresh("s"), self.fresh("c")
            inner = f"select {', '.join(f'{each.sql} as {name}' for name, each in items)} from {text}{where}"
            sql = f"select *, {self.literal('int')} as {unique} from ({inner}) {alias}"
            columns = [*columns, Ref(unique, "int")]
        if self.chance(0.06):
            sql += f" limit {self.random.choice([0, 1, 1, 2])}"
        elif kinds is None and self.chance(0.07) and not distinct and not star:
            unnested = self.fresh("c")
            several = self.random.choice(self.returning_rows(self.pick(refs, "int")))
            sql = sql.replace(" from ", f", {several} as {unnested} from ", 1)
            columns = [*columns, Ref(unnested, "int")]
        return Made(sql, columns)

    def returning_rows(self, whole: str) -> list[str]:
        """Return expressions that give several rows."""
        forms = ["unnest(array[1, 2, null])", "unnest(array[1, 1]), unnest(array[1, 2, 3])"]
        if self.dialect == "duckdb":
            return [*forms, "unnest(range(3))", f"cast(unnest(generate_series(0, {whole} % 9)) as text)"]
        return [*forms, f"generate_series(1, {whole} % 9)", "cast(generate_series(1, 2) as text)"]

    def items(
        self, refs: list[Ref], kinds: list[str] | None, depth: int, *, windows: bool = False
    ) -> list[tuple[str, Ref]]:
        """Return output columns: names and expressions."""
        if kinds is None:
            chosen = self.random.sample(refs, min(len(refs), self.random.randint(1, 3)))
            found = [each if self.chance(0.75) else self.expression(refs, each.kind, 2, depth) for each in chosen]
            found += [
                self.expression(refs, self.random.choice(["int", "text", "bool"]), 2, depth)
                for _ in range(self.random.randint(0, 2))
            ]
            if windows and self.chance(0.2):
                found.append(self.window(refs))
        else:
            found = [self.expression(refs, kind, 1, depth) for kind in kinds]
        return [(self.fresh("c"), each) for each in found]

    def grouped(self, text: str, refs: list[Ref], kinds: list[str] | None, depth: int) -> Made:
        """`group by`, plain or with several sets."""
        keys = [
            each if self.chance(0.8) else self.expression(refs, each.kind, 1, 0)
            for each in self.random.sample(refs, min(len(refs), self.random.randint(1, 2)))
        ]
        keys = [each for each in keys if each.sql not in LITERALS.get(each.kind, ())] or keys[:1]
        shown = [each for each in keys if self.chance(0.85)]
        if self.chance(0.15):  # equal values that are written differently
            floats = [each for each in refs if each.kind == "float"]
            key = self.random.choice(floats or refs)
            keys, shown = [key, Ref(f"cast({key.sql} as text)", "text")], [key]
        aggregates = [self.aggregate(refs) for _ in range(self.random.randint(0 if shown else 1, 2))]
        items = [(self.fresh("c"), each) for each in [*shown, *aggregates]]
        form = self.random.random()
        listed = ", ".join(each.sql for each in keys)
        if form < 0.75:
            group = listed
        elif form < 0.77:
            # DuckDB takes two ways to write a column for two columns
            by_place = bool(shown) and shown[0] is keys[0] and self.chance(0.7)
            group = f"{keys[0].sql}, rollup ({1 if by_place else keys[0].sql})"
        elif form < 0.79 and len(keys) == 2:
            group = f"{keys[0].sql}, rollup ({keys[1].sql})"
        elif form < 0.83:
            group = f"rollup ({listed})"
        elif form < 0.9:
            group = f"cube ({listed})"
        else:
            group = f"grouping sets (({listed}), ({keys[0].sql}))"
        having = f" having {self.aggregate(refs, numeric=True).sql} > 0" if self.chance(0.25) else ""
        sql = (
            f"select {', '.join(f'{each.sql} as {name}' for name, each in items)} from {text} group by {group}{having}"
        )
        return self.cast_to(Made(sql, [Ref(name, each.kind) for name, each in items]), kinds)

    def totals(self, text: str, refs: list[Ref], kinds: list[str] | None) -> Made:
        """Aggregates over all rows."""
        items = [(self.fresh("c"), self.aggregate(refs)) for _ in range(self.random.randint(1, 2))]
        having = f" having {self.aggregate(refs, numeric=True).sql} > 1" if self.chance(0.2) else ""
        group = ""
        if self.chance(0.4):
            group = f" group by {self.random.choice(['()', '(())', 'grouping sets (())'])}"
            if self.dialect == "duckdb" and self.chance(0.5):
                group = " group by all"
                items.append((self.fresh("c"), Ref(self.literal("text"), "text")))
        sql = f"select {', '.join(f'{each.sql} as {name}' for name, each in items)} from {text}{group}{having}"
        return self.cast_to(Made(sql, [Ref(name, each.kind) for name, each in items]), kinds)

    def numbered(self, text: str, refs: list[Ref], kinds: list[str] | None) -> Made:
        """The first row of each group, by a row number."""
        chosen = self.random.sample(refs, min(len(refs), self.random.randint(1, 3)))
        parts = self.random.sample(refs, min(len(refs), self.random.randint(0, 2)))
        partition = f"partition by {', '.join(each.sql for each in parts)} " if parts else ""
        function = self.random.choice(["row_number()", "row_number()", "row_number()", "rank()", "dense_rank()"])
        over = f"{function} over ({partition}order by {self.random.choice(refs).sql})"
        items = [(self.fresh("c"), each) for each in chosen]
        number = self.fresh("n")
        condition = self.random.choice(["= 1", "<= 1", "< 2", "<= 2", "in (1)", "between 1 and 1", "> 1"])
        listed = ", ".join(f"{each.sql} as {name}" for name, each in items)
        names = ", ".join(name for name, _ in items)
        if self.dialect == "duckdb" and self.chance(0.4):
            sql = f"select {listed} from {text} qualify {over} {condition}"
        else:
            kept = f", {number}" if self.chance(0.3) else ""
            sql = f"select {names}{kept} from (select {listed}, {over} as {number} from {text}) {self.fresh('q')} where {number} {condition}"
            if kept:
                items.append((number, Ref(number, "int")))
        return self.cast_to(Made(sql, [Ref(name, each.kind) for name, each in items]), kinds)

    def cast_to(self, made: Made, kinds: list[str] | None) -> Made:
        """Return a query over another one, with output columns of given kinds."""
        if kinds is None:
            return made
        alias = self.fresh("k")
        refs = under(alias, made.columns)
        items = [(self.fresh("c"), self.expression(refs, kind, 1, 0)) for kind in kinds]
        sql = f"select {', '.join(f'{each.sql} as {name}' for name, each in items)} from ({made.sql}) {alias}"
        return Made(sql, [Ref(name, each.kind) for name, each in items])

    # ------------------------------------------------------------------ relations

    def relation(self, depth: int) -> tuple[str, list[Ref]]:
        """Return one relation with an alias, and its columns."""
        alias = self.fresh("x")
        if self.ctes and self.chance(0.5):
            cte = self.random.choice(self.ctes)
            return f"{cte.sql} {alias}", under(alias, cte.columns)
        if self.chance(0.03):
            name = self.fresh("c")
            cells = ", ".join(self.literal("int", nulls=0.2) for _ in range(self.random.randint(1, 3)))
            if self.chance(0.5):
                place = self.fresh("c")
                found = [Ref(f"{alias}.{name}", "int"), Ref(f"{alias}.{place}", "big")]
                return f"unnest(array[{cells}]) with ordinality as {alias}({name}, {place})", found
            return f"unnest(array[{cells}]) as {alias}({name})", [Ref(f"{alias}.{name}", "int")]
        if self.dialect == "duckdb" and self.chance(0.06):
            return self.reshaped(alias)
        if self.chance(0.04):
            return self.series(alias)
        if self.chance(0.04):
            name, kind = self.fresh("c"), self.random.choice(["int", "text"])
            cell = "null::int" if self.chance(0.2) and kind == "int" else self.literal(kind)
            return f"(select {cell} as {name}) {alias}", [Ref(f"{alias}.{name}", kind)]
        if depth > 0 and self.chance(0.4):
            made = self.query(depth - 1)
            return f"({made.sql}) {alias}", under(alias, made.columns)
        table = self.random.choice(self.tables)
        return f"{table.name} {alias}", under(alias, table.columns)

    def reshaped(self, alias: str) -> tuple[str, list[Ref]]:
        """Return a table of DuckDB's with columns that became rows, or fields of a record."""
        table = self.random.choice(self.tables)
        if self.chance(0.5):
            kept, fields, inner = self.fresh("c"), [self.fresh("f") for _ in table.columns], self.fresh("x")
            listed = ", ".join(f"'{name}': {each.name}" for name, each in zip(fields, table.columns, strict=True))
            refs = [Ref(f"{alias}.{kept}.{name}", each.kind) for name, each in zip(fields, table.columns, strict=True)]
            return f"(select {{{listed}}} as {kept} from {table.name} {inner}) {alias}", refs
        turned = [each for each in table.columns if each.kind == "int"][:2]
        if not turned:
            return f"{table.name} {alias}", under(alias, table.columns)
        name, value = self.fresh("c"), self.fresh("c")
        nulls = self.random.choice(["", "include nulls "])
        listed = ", ".join(f"{each.name} as '{self.random.choice('xyz')}'" for each in turned)
        refs = under(alias, [each for each in table.columns if each not in turned])
        text = f"{table.name} unpivot {nulls}({value} for {name} in ({listed})) as {alias}"
        return text, [*refs, Ref(f"{alias}.{name}", "text"), Ref(f"{alias}.{value}", "int")]

    def series(self, alias: str) -> tuple[str, list[Ref]]:
        """Return a series of numbers or of days."""
        name = self.fresh("c")
        if self.chance(0.5):
            last = self.random.choice([*LITERALS["int"], f"(select max(i.a) % 9 from {self.tables[0].name} i)"])
            return f"generate_series(0, {last}) {alias}({name})", [Ref(f"{alias}.{name}", "int")]
        step, last = self.random.choice(
            [("1 day", "02-02"), ("1 month", "04-02"), ("12 hours", "01-31"), ("12 hours", "02-01")]
        )
        days = f"generate_series(date '2020-01-30', date '2020-{last}', interval '{step}') {alias}({name})"
        return f"(select cast({name} as date) as {name} from {days}) {alias}", [Ref(f"{alias}.{name}", "date")]

    def from_(self, depth: int) -> tuple[str, list[Ref]]:
        """Return the text of a `from`, and all that can be used of it."""
        if self.chance(0.08) and (keyed := self.joined_keys()) is not None:
            return keyed
        text, refs = self.relation(depth)
        for _ in range(self.random.choice([0, 0, 1, 1, 1, 2])):
            text, refs = self.joined(text, refs, depth)
        return text, refs

    def joined_keys(self) -> tuple[str, list[Ref]] | None:
        """A join of two tables on a key of each (their types may differ), a full one with what has the value of either."""
        mixed = [
            (one, other)
            for one in self.keys
            for other in self.keys
            if {one[1].kind, other[1].kind} in MIXED[self.dialect]
        ]
        pairs = mixed or [(one, other) for one in self.keys for other in self.keys if one[1].kind == other[1].kind]
        if not pairs:
            return None
        (left, one), (right, other) = self.random.choice(pairs)
        a, b = self.fresh("x"), self.fresh("x")
        either = Ref(f"coalesce({a}.{one.name}, {b}.{other.name})", one.kind)
        refs = [*under(a, left.columns), *under(b, right.columns)]
        kind = self.random.choice(["full join", "full join", "left join", "join"])
        text = f"{left.name} {a} {kind} {right.name} {b} on {a}.{one.name} = {b}.{other.name}"
        if self.chance(0.3):
            text += f" and {self.predicate(refs, 0, 0)}"
        if kind != "full join":
            return text, [*refs, Ref(f"{a}.{one.name}", one.kind), Ref(f"{b}.{other.name}", other.kind)]
        return text, [*refs, *([either] * 3 if one.kind == other.kind else [])]

    def joined(self, text: str, refs: list[Ref], depth: int) -> tuple[str, list[Ref]]:
        """Join one more relation."""
        roll = self.random.random()
        if roll < 0.08:
            return self.lateral(text, refs)
        other, more = self.relation(depth)
        shared = sorted({each.name for each in refs} & {each.name for each in more})
        same = [name for name in shared if self._may_merge(name, refs, more)]
        kind = self.random.choice(["join", "join", "left join", "left join", "right join", "full join", "cross join"])
        if kind == "cross join":
            return f"{text} cross join {other}", refs + more
        if same and self.chance(0.3):
            name = self.random.choice(same)
            merged = Ref(name, next(each.kind for each in refs if each.name == name))
            rest = [each for each in refs + more if each.name != name or self.chance(0.5)]
            if self.taken(rest, name):
                return f"{text} {kind} {other} on {self.equality(refs, more)}", refs + more
            return f"{text} {kind} {other} using ({name})", [merged, merged, *rest]
        if self.dialect == "duckdb" and roll > 0.9 and (both := self._ordered(refs, more)) is not None:
            word = self.random.choice(["asof join", "asof left join"])
            return f"{text} {word} {other} on {both}", refs + more
        if kind == "full join" and self.chance(0.5) and (pair := self._same_kind(refs, more)) is not None:
            shared_kind, (left, right) = pair
            either = Ref(f"coalesce({left}, {right})", shared_kind)
            return f"{text} full join {other} on {left} = {right}", [*refs, *more, either, either]
        if self.dialect == "duckdb" and 0.85 < roll <= 0.9:
            word = self.random.choice(["semi join", "anti join"])
            return f"{text} {word} {other} on {self.equality(refs, more)}", refs
        condition = self.equality(refs, more)
        if self.chance(0.3):
            extra = self.predicate(refs + more, 0)
            word = "or" if self.chance(0.3) and kind != "full join" else "and"
            condition = f"{condition} {word} {extra}" if kind != "full join" else condition
        elif self.chance(0.05) and kind != "full join":
            condition += " and random() < 0.5"
        return f"{text} {kind} {other} on {condition}", refs + more

    @staticmethod
    def _may_merge(name: str, refs: list[Ref], more: list[Ref]) -> bool:
        """Return whether `using` may merge the columns of a name."""
        kinds = {each.kind for each in (*refs, *more) if each.name == name}
        once = sum(each.name == name for each in refs) == sum(each.name == name for each in more) == 1
        return once and (len(kinds) == 1 or kinds <= {"int", "big", "float"})

    def _same_kind(self, refs: list[Ref], more: list[Ref]) -> tuple[str, tuple[str, str]] | None:
        pairs = [
            (one, other) for one in refs for other in more if one.kind == other.kind and "(" not in one.sql + other.sql
        ]
        if not pairs:
            return None
        one, other = self.random.choice(pairs)
        return one.kind, (one.sql, other.sql)

    def _ordered(self, refs: list[Ref], more: list[Ref]) -> str | None:
        """Return the condition of an asof join."""
        mine, theirs = ([each for each in side if each.kind in NUMBERS] for side in (refs, more))
        pair, equal = self._same_kind(mine, theirs), self._same_kind(refs, more)
        if pair is None or equal is None:
            return None
        (one, other), (same, too) = pair[1], equal[1]
        return f"{same} = {too} and {one} >= {other}" if self.chance(0.7) else f"{one} >= {other}"

    def taken(self, refs: list[Ref], name: str) -> bool:
        """Return whether a bare name would be ambiguous after another join."""
        return any("." not in each.sql and each.sql == name for each in refs)

    def lateral(self, text: str, refs: list[Ref]) -> tuple[str, list[Ref]]:
        """A relation that depends on the row."""
        alias, name = self.fresh("l"), self.fresh("c")
        whole = [each.sql for each in refs if each.kind == "int"]
        if whole and self.chance(0.2):
            series = f"generate_series(0, {self.random.choice(whole)} % 3)"
            return f"{text} cross join lateral {series} {alias}({name})", [*refs, Ref(f"{alias}.{name}", "int")]
        table = self.random.choice(self.tables)
        column = self.random.choice(table.columns)
        mine = [each for each in refs if each.kind == column.kind]
        condition = f" where i.{column.name} = {self.random.choice(mine).sql}" if mine and self.chance(0.8) else ""
        limit = " limit 1" if self.chance(0.4) else ""
        shown = self.random.choice(
            [f"i.{column.name}", f"max(i.{column.name})" if column.kind != "bool" else "bool_or(true)"]
        )
        join = self.random.choice(["cross join lateral", "left join lateral"])
        on = " on true" if join.startswith("left") else ""
        kind = "bool" if column.kind == "bool" else column.kind
        inner = f"select {shown} as {name} from {table.name} i{condition}{limit}"
        return f"{text} {join} ({inner}) {alias}{on}", [*refs, Ref(f"{alias}.{name}", kind)]

    def equality(self, refs: list[Ref], more: list[Ref]) -> str:
        """Return a join condition."""
        pairs = [
            (one, other)
            for one in refs
            for other in more
            if one.kind == other.kind or {one.kind, other.kind} == set(NUMBERS)
        ]
        pairs += [(one, other) for one in refs for other in more if {one.kind, other.kind} <= {"int", "big", "float"}]
        if not pairs:
            return "true" if self.dialect == "duckdb" else "1 = 1"
        one, other = self.random.choice(pairs)
        if self.chance(0.12) and one.kind == "text":
            return f"lower({one.sql}) = {other.sql}"
        if self.chance(0.1) and one.kind in NUMBERS:
            return f"{one.sql} + 1 = {other.sql}"
        text = f"{one.sql} = {other.sql}"
        if self.chance(0.25):
            one, other = self.random.choice(pairs)
            text += f" and {one.sql} = {other.sql}"
        return text
