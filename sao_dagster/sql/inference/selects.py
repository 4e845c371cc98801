"""What a `select` makes of its rows: filter, groups, windows, output columns, `distinct`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.cardinality import (
    aggregates_in,
    columns_outside,
    filtered,
    returning_rows,
    unknown_in,
)
from sao_dagster.sql.inference.dependencies import RowFacts, follow
from sao_dagster.sql.inference.names import NotUnderstoodError, name_of, read_only
from sao_dagster.sql.inference.predicates import assume, effects
from sao_dagster.sql.inference.query_block import ExpressionFacts, QueryBlock
from sao_dagster.sql.inference.series import series_of

_KNOWN = (
    "with_", "with", "expressions", "from_", "from", "joins", "where", "group", "having", "qualify", "windows", "distinct", "order",
    "limit", "offset", "hint", "laterals",
)  # fmt: skip


@dataclass
class _Grouping:
    """What a `group by` groups by.

    Attributes:
        always: Columns of each grouping.
        sometimes: Columns of some of several groupings, as `rollup`, `cube` and `grouping sets` make them.
        constants: What `group by all` finds and engines leave out, or may take for aggregates, so that one group may be all rows.
        sets: Whether there are several groupings.
    """

    always: list[int] = field(default_factory=list)
    sometimes: list[int] = field(default_factory=list)
    constants: list[exp.Expr] = field(default_factory=list)
    sets: bool = False


@dataclass
class Selecting:
    """Reads one `select` whose relations are joined already.

    Attributes:
        block: The block; its rows become those of the result.
        node: The `select`.
    """

    block: QueryBlock
    node: exp.Select
    grouped: dict[int, int] | None = None  # beside grouping sets: what is grouped by, as it is in the output

    def read(self) -> tuple[list[str], list[int], bool]:
        """Return names and numbers of the output columns, and whether there are others that are not known.

        Raises:
            NotUnderstoodError: Nothing can be said of the result.
        """
        read_only(self.node, *_KNOWN)
        items, opened = self._items()
        block = self.block
        block.aliases = {
            name: each for name, each in items if isinstance(each, exp.Expr) and name and not _is_plain(name, each)
        }
        for window in self.node.args.get("windows") or ():
            block.windows[name_of(window.this, block.dialect)] = window
        self._filter("where")
        self._refuse_outer_aggregates()
        self._multiply("group")
        self._group(items)
        self._filter("having")
        several = {place: nodes for place, (_, each) in enumerate(items) if (nodes := self._returning_rows(each))}
        columns = {place: self._output(each) for place, (_, each) in enumerate(items) if place not in several}
        self._filter("qualify")
        block.rows.bind(columns.values(), Proof("row"))
        if several:
            columns |= self._fan_out(items, several)
        ids = [columns[place] for place in range(len(items))]
        self._multiply("distinct", "order")
        self._distinct(ids)
        return [name for name, _ in items], ids, opened

    # ------------------------------------------------------------------ output columns

    def _items(self) -> tuple[list[tuple[str, exp.Expr | int]], bool]:
        """Return the output columns, with `*` written out."""
        found: list[tuple[str, exp.Expr | int]] = []
        opened = False
        for each in self.node.expressions:
            star = each.this if isinstance(each, exp.Column) else each
            if isinstance(star, exp.Star):
                names, hidden = self._star(each)
                found += names
                opened = opened or hidden
            elif isinstance(each, exp.Aliases) or each.find(exp.Columns):
                raise NotUnderstoodError("several columns made by one expression")
            else:
                found.append((self._name(each), each))
        return found, opened

    def _name(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Alias):
            return name_of(node.args["alias"], self.block.dialect)
        if isinstance(node, exp.Column):
            return name_of(node.this, self.block.dialect)
        return ""

    def _star(self, node: exp.Expr) -> tuple[list[tuple[str, exp.Expr | int]], bool]:
        """Return the columns of `*` or `t.*`, and whether there are more of them."""
        dialect = self.block.dialect
        star = node.this if isinstance(node, exp.Column) else node
        if isinstance(node, exp.Column):
            alias = name_of(node.args.get("table"), dialect)
            source = self.block.names.source(alias)
            outer = self.block.outer
            if source is None and outer is not None and (around := outer.names.source(alias)) is not None:
                source = replace(around, columns=[(name, self.block.copy(each)) for name, each in around.columns])
            if source is None:
                raise NotUnderstoodError(f"what {node.sql(dialect)} means")
            columns, opened = list(source.columns), source.open
        else:
            columns, opened = list(self.block.names.star), self.block.names.open
        read_only(star, "except_", "except", "replace", "rename", "table")
        left_out = {_bare_name(each, dialect) for each in star.args.get("except_") or star.args.get("except") or ()}
        replaced = {name_of(each.args["alias"], dialect): each.this for each in star.args.get("replace") or ()}
        renamed = {
            _bare_name(each.this, dialect): name_of(each.args["alias"], dialect)
            for each in star.args.get("rename") or ()
        }
        names = [name for name, _ in columns]
        certain = left_out <= set(names) and all(names.count(each) == 1 for each in (*replaced, *renamed))
        if not opened and not certain:
            raise NotUnderstoodError("a change of `*` that may be about a column without a name, or about one of two")
        found: list[tuple[str, exp.Expr | int]] = [
            (renamed.get(name, name), replaced.get(name, column)) for name, column in columns if name not in left_out
        ]
        return found, opened

    # ------------------------------------------------------------------ rows

    def _filter(self, clause: str) -> None:
        condition = self.node.args.get(clause)
        block = self.block
        if condition is None:
            return
        if self.grouped is not None:
            block.rows.not_empty = None
            return
        if clause != "where" and any(map(self._is_hidden, condition.find_all(exp.Column))):
            block.rows.not_empty = None  # an alias may hide a column there, or be hidden by it
            return
        assume(block, effects(block, condition.this, holds=True))

    def _is_hidden(self, node: exp.Expr) -> bool:
        """Return whether a name may mean a column or an alias that is something else."""
        if not isinstance(node, exp.Column) or node.table:
            return False
        name = name_of(node.this, self.block.dialect)
        return name in self.block.aliases and bool(self.block.names.find(name))

    def _group(self, items: list[tuple[str, exp.Expr | int]]) -> None:
        """Pass from rows to groups: the columns grouped by are the identity from then on, and everything else is an aggregate."""
        group = self.node.args.get("group")
        block = self.block
        if group is None:
            parts = [each for _, each in items if isinstance(each, exp.Expr)]
            having = self.node.args.get("having")
            if having is not None or any(any(aggregates_in(each)) for each in parts):
                block.before_groups, block.filled = self._snapshot(), block.rows.not_empty
                self._one_group(RowFacts(not_empty=Proof("one_group")))
            elif any(any(unknown_in(each, block.dialect)) for each in parts) and not any(
                isinstance(each, int) or self._uses_rows(each) for _, each in items
            ):
                raise NotUnderstoodError("whether a function is an aggregate")
            return
        found = self._grouping(group, items)
        block.before_groups, block.one_grouping = self._snapshot(), not found.sets
        block.filled = (
            Proof("group") if found.always else block.rows.not_empty
        )  # else one group may be all rows, or none
        if found.sets:
            self._grouping_sets(found)
        elif found.always or found.constants:
            if not found.always:  # nothing that holds for each row holds for a group of none
                self._one_group(RowFacts.numbered(next(block.context.ids)))
            columns = [*found.always, *map(block.intern, found.constants)]
            block.rows.add_dependency(columns, block.rows.identity, Proof("group_by"))
        else:
            self._one_group(RowFacts(not_empty=Proof("one_group")))

    def _one_group(self, rows: RowFacts) -> None:
        """Pass to a group of all rows, which is there also where there are none of them."""
        block = self.block
        block.rows = rows
        block.memo = {}
        for mine in block.copies.values():
            block.rows.add_dependency((), {mine}, Proof("outer_column"))

    def _snapshot(self) -> QueryBlock:
        return replace(self.block, rows=self.block.rows.copy(), memo=dict(self.block.memo), opening=set())

    def _grouping(self, group: exp.Expr, items: list[tuple[str, exp.Expr | int]]) -> _Grouping:
        """Return what is grouped by.

        Raises:
            NotUnderstoodError: It is not certain what is.
        """
        block, found = self.block, _Grouping()
        read_only(group, "expressions", "all", "rollup", "cube", "grouping_sets")
        parts = [(each, False) for each in group.expressions]
        for name in ("rollup", "cube", "grouping_sets"):
            value = group.args.get(name)
            found.sets |= bool(value)
            parts += [(each, True) for each in value] if isinstance(value, list) else []
        if group.args.get("all") and not parts:
            return self._group_by_all(items)
        while parts:
            part, inside = parts.pop(0)
            columns = found.sometimes if inside else found.always
            while isinstance(part, exp.Paren):
                part = part.this
            if isinstance(part, exp.Rollup | exp.Cube | exp.GroupingSets):
                found.sets = True
                parts += [(each, True) for each in part.expressions]
            elif isinstance(part, exp.Tuple):
                parts += [(each, inside) for each in part.expressions]
            elif isinstance(part, exp.Star):
                raise NotUnderstoodError("group by *")
            elif isinstance(part, exp.Literal) and part.is_int:
                place = int(part.name) - 1
                if not 0 <= place < len(items):
                    raise NotUnderstoodError("a place in group by")
                each = items[place][1]
                columns.append(each if isinstance(each, int) else block.intern(each))
            else:
                columns.append(self._group_column(part))
        return found

    def _group_by_all(self, items: list[tuple[str, exp.Expr | int]]) -> _Grouping:
        """Return what `group by all` groups by: all outputs without an aggregate that depend on the row."""
        found = _Grouping()
        for _, each in items:
            if isinstance(each, int):
                found.always.append(each)
            elif not any(aggregates_in(each)):
                if each.find(exp.Window):
                    raise NotUnderstoodError("group by all with a window")
                if self._uses_rows(each):
                    found.always.append(self.block.intern(each))
                else:
                    found.constants.append(each)
        return found

    def _uses_rows(self, node: exp.Expr) -> bool:
        """Return whether an expression uses a column of the rows by itself, as beside aggregates only what is grouped by can."""
        return any(map(self.block.is_own, columns_outside(node, self.block.dialect)))

    def _refuse_outer_aggregates(self) -> None:
        """Refuse aggregates over columns of the query around alone: as the SQL standard has it they make one row of *its* rows.

        Raises:
            NotUnderstoodError: There may be one.
        """
        if self.block.outer is None:
            return
        for part in self.node.iter_expressions():
            for each in (*aggregates_in(part), *unknown_in(part, self.block.dialect)):
                columns = list(filtered(each).find_all(exp.Column))
                if columns and not any(map(self.block.is_own, columns)):
                    raise NotUnderstoodError("an aggregate of the query around")

    def _group_column(self, part: exp.Expr) -> int:
        block = self.block
        if not dialect_named(block.dialect).groups_by_columns and self._is_hidden(part):
            raise NotUnderstoodError("a name in group by that is both a column and an alias")
        return block.intern(part)

    def _grouping_sets(self, found: _Grouping) -> None:
        """Several groupings at once: nulls stand for what is not grouped by in one of them, and nothing is a key.

        DuckDB leaves a column out of one of them even if it is grouped by a second time, always.
        """
        block = self.block
        before = block.rows
        always = set(found.always) - set(found.sometimes)
        block.rows = RowFacts.numbered(next(block.context.ids))
        self.grouped = {column: block.new(before.type_of(column)) for column in (*found.always, *found.sometimes)}
        for old, new in self.grouped.items():
            domain = before.domains.get(old)
            reason = before.not_null_proof(old) if old in always else None
            if reason is not None:
                block.rows.not_null[new] = follow("grouping_sets", reason)
            if domain is not None:
                block.rows.domains[new] = domain.by("grouping_sets")

    def _output(self, item: exp.Expr | int) -> int:
        """Return the column of an output; beside grouping sets only what is grouped by, and aggregates, are known."""
        if self.grouped is None:
            return item if isinstance(item, int) else self.block.intern(item)
        inner = item.unalias() if isinstance(item, exp.Expr) else item
        if isinstance(inner, int):
            return self.grouped.get(inner) or self.block.new()
        if isinstance(inner, exp.AggFunc | exp.Filter):
            return self.block.intern(inner)
        if isinstance(inner, exp.Column) and self.block.before_groups is not None:
            return self.grouped.get(self.block.before_groups.column(inner)) or self.block.new()
        return self.block.new()

    def _returning_rows(self, item: exp.Expr | int) -> list[exp.Expr]:
        return list(returning_rows(item, self.block.dialect)) if isinstance(item, exp.Expr) else []

    def _multiply(self, *clauses: str) -> None:
        """Functions in clauses that may return several rows, with each of which a row comes, as with those in the output."""
        clause = [each for name in clauses if (each := self.node.args.get(name)) is not None]
        if any(map(self._returning_rows, clause)):
            self.block.rows.identity |= {next(self.block.context.ids)}
            self.block.rows.not_empty = None

    def _fan_out(self, items: list[tuple[str, exp.Expr | int]], several: dict[int, list[exp.Expr]]) -> dict[int, int]:
        """Functions in the output that may return several rows: each row comes several times, or not at all.

        Where there is one of them, and it is a series, a row comes once with each of its values. Beside others it may be filled
        up with nulls.
        """
        block, before = self.block, self.block.rows.identity
        row = next(block.context.ids)
        block.rows.identity = before | {row}
        block.rows.not_empty = None
        (place, (node, *others)), *more = several.items()
        item, series = items[place][1], None
        if not others and not more and block.before_groups is None:
            series = series_of(block, node.this if type(node) is exp.Explode else node)
        if series is None or not isinstance(item, exp.Expr):
            return {each: block.new() for each in several}
        value = block.note(node, ExpressionFacts(series.type, not_null=Proof("series")))
        if series.distinct:
            block.rows.add_dependency({value, *before}, {row}, Proof("series"))
        column = block.intern(item)
        block.rows.bind({value, column}, Proof("row"))
        return {place: column}

    def _distinct(self, ids: list[int]) -> None:
        distinct = self.node.args.get("distinct")
        if distinct is None:
            return
        on = distinct.args.get("on")
        if on is None:
            columns = ids
        else:
            parts = [each.unnest() for each in (on.expressions if isinstance(on, exp.Tuple) else [on])]
            if any(isinstance(each, exp.Literal) or self._is_hidden(each) for each in parts):
                return
            columns = [self.block.intern(each) for each in parts]
        self.block.rows.add_dependency(columns, self.block.rows.identity, Proof("distinct"))


def _bare_name(node: exp.Expr, dialect: str) -> str:
    """Return the name of a column that `*` leaves out or renames.

    Raises:
        NotUnderstoodError: It says which relation's.
    """
    if isinstance(node, exp.Column) and node.table:
        raise NotUnderstoodError("a change of `*` for one relation")
    return name_of(node.this if isinstance(node, exp.Column) else node, dialect)


def _is_plain(name: str, node: exp.Expr) -> bool:
    """Return whether an output column is a column under its own name."""
    while isinstance(node, exp.Alias | exp.Paren):
        node = node.this
    return isinstance(node, exp.Column) and node.name.lower() == name.lower()
