"""What tells the relation of a model here from the one in another environment: columns, and rows by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import DataTest, Model, Node
from sao_dagster.core.proofs import FactKind
from sao_dagster.core.relations import Relation, folded
from sao_dagster.warehouses.protocol import Columns, Session


@dataclass(frozen=True, kw_only=True)
class RowDiff:
    """How rows differ in the columns that both relations have, of one type.

    Attributes:
        here: How many rows there are here.
        there: How many there are in the other environment.
        key: The columns by which rows were told apart; empty where no key is known, or it is none on one of the sides.
        added: Rows that are here only; None where rows cannot be compared, but only counted.
        gone: Rows that are there only.
        changed: Rows of one key that differ; None without a key, where such a row is one that is gone and one that is added.
    """

    here: int
    there: int
    key: tuple[str, ...] = ()
    added: int | None = None
    gone: int | None = None
    changed: int | None = None

    @property
    def are_same(self) -> bool:
        """Whether the rows are known to be the same."""
        return self.added == 0 and self.gone == 0 and not self.changed


@dataclass(frozen=True, kw_only=True)
class RelationDiff:
    """How a relation here differs from the one in another environment.

    Attributes:
        here: The relation here.
        there: The one that it is compared with.
        added: Types of the columns that are here only, by name.
        gone: Types of the columns that are there only.
        retyped: Types there and here of the columns that have another one, by name.
        is_reordered: Whether the columns that both have are in another order.
        left_out: Columns of both that hold nothing but a volatile value, which was not compared.
        rows: How the rows differ.
    """

    here: Relation
    there: Relation
    added: Mapping[str, str] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_reordered: bool = False
    left_out: tuple[str, ...] = ()
    rows: RowDiff

    @property
    def is_same(self) -> bool:
        """Whether both are known to hold the same."""
        return not (self.added or self.gone or self.retyped or self.is_reordered) and self.rows.are_same

    def to_json(self) -> dict[str, JSON]:
        """Return it as a report has it."""
        rows = self.rows
        return {
            "relation": str(self.here),
            "compared_with": str(self.there),
            "same_content": self.is_same,
            "columns": {
                "added": dict(self.added),
                "gone": dict(self.gone),
                "retyped": {name: list(types) for name, types in self.retyped.items()},
                "reordered": self.is_reordered,
                "left_out": list(self.left_out),
            },
            "rows": {
                "here": rows.here,
                "there": rows.there,
                "key": list(rows.key),
                "added": rows.added,
                "gone": rows.gone,
                "changed": rows.changed,
            },
        }


def diff_relations(
    session: Session,
    here: Relation,
    there: Relation,
    keys: Iterable[Sequence[str]] = (),
    left_out: Collection[str] = (),
) -> RelationDiff:
    """Return how two relations differ, in one or two statements that read each of them once.

    Columns are the same where their names are, as the warehouse keeps them: one that is called `"X"` in place of `x` is another one.

    Args:
        session: The warehouse, open; it reads both.
        here: The relation here.
        there: The other one.
        keys: Sets of columns that may tell rows apart, the best first; whether one of them does is looked at on both sides.
        left_out: Columns whose values do not count.

    Raises:
        WarehouseError: One of them cannot be read.
    """
    ours, theirs = dict(session.columns_of(here)), dict(session.columns_of(there))
    uncounted = {_column(name, ours) for name in left_out}
    shared = [name for name, kind in ours.items() if theirs.get(name) == kind]
    counted = tuple((name, ours[name]) for name in shared if name not in uncounted)
    return RelationDiff(
        here=here,
        there=there,
        added={name: kind for name, kind in ours.items() if name not in theirs},
        gone={name: kind for name, kind in theirs.items() if name not in ours},
        retyped={name: (theirs[name], kind) for name, kind in ours.items() if theirs.get(name, kind) != kind},
        is_reordered=[name for name in ours if name in theirs] != [name for name in theirs if name in ours],
        left_out=tuple(name for name in shared if name in uncounted),
        rows=_rows(session, here, there, counted, keys),
    )


def _column(name: str, columns: Collection[str]) -> str | None:
    """Return the column that a name means which may be written in another case; None where there is none, or several.

    >>> _column("ID", ["id", "n"]), _column("Id", ["id", "Id"]), _column("ID", ["id", "Id"])
    ('id', 'Id', None)
    """
    if name in columns:
        return name
    alike = [each for each in columns if folded(each) == folded(name)]
    return alike[0] if len(alike) == 1 else None


def keys_of(node: Node, tests: Iterable[DataTest], enforced: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the sets of columns that may tell the rows of a node apart, the best first.

    That is its `unique_key`, what the warehouse makes sure of (a primary key), and the columns whose `unique` test has passed.

    Args:
        node: The model or seed.
        tests: The data tests that have passed.
        enforced: Sets of columns that the warehouse keeps unique.
    """
    said = [node.unique_key] if isinstance(node, Model) and node.unique_key else []
    tested = [
        (test.asserts.column,)
        for test in tests
        if test.tested == node.name and test.asserts is not None and test.asserts.kind is FactKind.UNIQUE
    ]
    return list(dict.fromkeys((*said, *enforced, *tested)))


def _rows(
    session: Session, here: Relation, there: Relation, columns: Columns, keys: Iterable[Sequence[str]]
) -> RowDiff:
    """Return how rows differ in some columns that both have: by the first key that is one on both sides, else as a multiset."""
    row = session.row_hash(columns) if columns else None
    if row is None:
        counts = session.query(f"select (select count(*) from {here}), (select count(*) from {there})").rows[0]
        return RowDiff(here=int(counts[0]), there=int(counts[1]))
    types = dict(columns)
    for key in keys:
        names = tuple(found for name in key if (found := _column(name, types)) is not None)
        if len(names) < len(key):
            continue
        parts = tuple((name, types[name]) for name in names)
        said = session.query(_by_key(here, there, str(session.row_hash(parts)), row)).rows[0]
        ours, theirs, most, added, gone, changed = (int(value or 0) for value in said)
        if most <= 1:
            return RowDiff(here=ours, there=theirs, key=names, added=added, gone=gone, changed=changed)
    ours, theirs, added, gone = (int(value or 0) for value in session.query(_as_multiset(here, there, row)).rows[0])
    return RowDiff(here=ours, there=theirs, added=added, gone=gone)


def _by_key(here: Relation, there: Relation, key: str, row: str) -> str:
    """Return a query for: rows here, rows there, the most of one key, keys that are added, gone, and whose row is another one."""
    return (
        "select sum(ours), sum(theirs), max(case when ours > theirs then ours else theirs end), "
        "sum(case when theirs = 0 then 1 else 0 end), sum(case when ours = 0 then 1 else 0 end), "
        "sum(case when ours > 0 and theirs > 0 and here <> there then 1 else 0 end) "
        "from (select k, sum(side) as ours, sum(1 - side) as theirs, min(case when side = 1 then h end) as here, "
        "min(case when side = 0 then h end) as there "
        f"from (select 1 as side, {key} as k, {row} as h from {here} union all select 0 as side, {key} as k, {row} as h from {there}) "
        "as both_sides group by k) as by_key"
    )


def _as_multiset(here: Relation, there: Relation, row: str) -> str:
    """Return a query for: rows here, rows there, rows that are here more often, and those that are there more often."""
    return (
        "select sum(ours), sum(theirs), sum(case when ours > theirs then ours - theirs else 0 end), "
        "sum(case when theirs > ours then theirs - ours else 0 end) "
        "from (select h, sum(side) as ours, sum(1 - side) as theirs "
        f"from (select 1 as side, {row} as h from {here} union all select 0 as side, {row} as h from {there}) "
        "as both_sides group by h) as by_row"
    )
