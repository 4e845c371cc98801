"""What holds for the output of a query, proven from its SQL and from facts about what it reads.

Three things are proven of output columns, those that dbt's built-in tests ask for: never null, unique (nulls ignored), and only
certain values. A proof holds for every content of the tables that agrees with the facts; what is not understood is not proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from sao_dagster.core.models import RelationKey
from sao_dagster.core.proofs import Fact, FactKind, Proof
from sao_dagster.sql.properties.names import NotUnderstoodError, stored_name
from sao_dagster.sql.properties.queries import Output, Reader
from sao_dagster.sql.properties.rows import Domain, Rows, follow
from sao_dagster.sql.properties.types import Type, read_type


@dataclass(frozen=True)
class Table:
    """A relation that a query reads.

    Attributes:
        columns: Names and types, in order, as the warehouse has them.
        facts: What holds for its content.
    """

    columns: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...] = ()


@dataclass
class Properties:
    """What was proven of the output of a query; places are those of output columns, from 0.

    Attributes:
        output: The output, as it was read.
    """

    output: Output

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the output columns, as the dialect compares them; empty where an expression has no name of its own."""
        return tuple(self.output.names)

    def not_null(self, place: int) -> Proof | None:
        """Return why a column is never null; None where that is not proven."""
        return self.output.rows.not_null_proof(self.output.ids[place])

    def unique(self, places: Sequence[int]) -> Proof | None:
        """Return why no two rows without nulls in these columns are equal on them; None where that is not proven."""
        columns = [self.output.ids[place] for place in places]
        for column in columns:
            domain = self.output.rows.domains.get(column)
            if domain is not None and not domain.values:
                return follow("always_null", domain.proof)
        return self.output.rows.key_proof(columns, ignoring_nulls=True)

    def key(self, places: Sequence[int]) -> Proof | None:
        """Return why no two rows are equal on these columns, nulls counted as equal; None where that is not proven."""
        return self.output.rows.key_proof([self.output.ids[place] for place in places], ignoring_nulls=False)

    def keys(self, most: int = 3) -> list[tuple[int, ...]]:
        """Return the smallest sets of at most `most` places that are proven to be keys, nulls counted as equal."""
        found: list[tuple[int, ...]] = []
        places = range(len(self.output.ids))
        for size in range(most + 1):
            for candidate in combinations(places, size):
                if not any(set(each) <= set(candidate) for each in found) and self.key(candidate) is not None:
                    found.append(candidate)
        if not found and self.key(places) is not None:
            found.append(tuple(places))
        return found

    def domain(self, place: int) -> Domain | None:
        """Return the values that a column can have, besides null; None where they are not known."""
        return self.output.rows.domains.get(self.output.ids[place])

    def type_of(self, place: int) -> Type:
        """Return the type of a column, as far as it is known."""
        return self.output.rows.type_of(self.output.ids[place])


def infer(
    sql: str, dialect: str, tables: Mapping[RelationKey, Table], *, hashes_are_unique: bool = False
) -> Properties | None:
    """Return what holds for the output of a query; None where it is not understood.

    Args:
        sql: One query.
        dialect: sqlglot's name of its dialect.
        tables: What it reads, by `Relation.key`; nothing is known of other relations.
        hashes_are_unique: Whether hashes (`md5`, `sha256`) of different texts are taken to be different.

    >>> fact = Fact(FactKind.UNIQUE, "orders", ("id",), "unique_orders_id")
    >>> tables = {("db", "main", "orders"): Table((("id", "INTEGER"), ("city", "VARCHAR")), (fact,))}
    >>> found = infer("select id, city from main.orders where id > 3", "duckdb", tables)
    >>> found.unique([0]).facts == (fact,), found.not_null(0) is not None, found.unique([1])
    (True, True, None)
    """
    try:
        return understand(sql, dialect, tables, hashes_are_unique=hashes_are_unique)
    except Exception:  # noqa: BLE001 - sqlglot raises whatever it meets in a tree; then nothing is proven
        return None


def understand(
    sql: str, dialect: str, tables: Mapping[RelationKey, Table], *, hashes_are_unique: bool = False
) -> Properties:
    """Return what `infer` returns, or say why it returns nothing.

    Raises:
        NotUnderstoodError: With what is not understood.
    """
    try:
        statements = [each for each in parse(sql, read=dialect) if each is not None]
    except (SqlglotError, RecursionError) as error:
        raise NotUnderstoodError("SQL that cannot be parsed") from error
    if len(statements) != 1:
        raise NotUnderstoodError(f"{len(statements)} statements")
    try:
        output = Reader(dialect, _Tables(dialect, tables), hashes_are_unique).read(statements[0])
    except RecursionError as error:
        raise NotUnderstoodError("a query that is nested too deeply") from error
    if output.open:
        raise NotUnderstoodError("a relation whose columns are not known")
    return Properties(output)


@dataclass(frozen=True)
class _Tables:
    """Finds tables, and makes what is known of their rows."""

    dialect: str
    tables: Mapping[RelationKey, Table]

    def __call__(self, node: exp.Table, ids: count[int]) -> Output | None:
        wanted = (node.catalog.lower(), node.db.lower(), node.name.lower())
        found = [
            table
            for key, table in self.tables.items()
            if all(not want or want == have for want, have in zip(wanted, key, strict=True))
        ]
        return self._output(found[0], ids) if len(found) == 1 else None

    def _output(self, table: Table, ids: count[int]) -> Output:
        row = next(ids)
        columns = {stored_name(name, self.dialect): next(ids) for name, _ in table.columns}
        rows = Rows(frozenset({row}), not_null={row: Proof("row")})
        rows.types = {
            columns[stored_name(name, self.dialect)]: read_type(text, self.dialect) for name, text in table.columns
        }
        rows.bind(columns.values(), Proof("row"))
        for fact in table.facts:
            mine = [columns.get(stored_name(name, self.dialect)) for name in fact.columns]
            about = [column for column in mine if column is not None]
            if len(about) != len(mine):
                continue
            proof = Proof("fact", fact=fact)
            if fact.kind is FactKind.NOT_NULL:
                rows.not_null[about[0]] = proof
            elif fact.kind is FactKind.UNIQUE:
                rows.add_dependency(about, {row}, proof, about)
            elif fact.kind is FactKind.ACCEPTED_VALUES:
                rows.domains[about[0]] = Domain(frozenset(fact.values), proof)
        return Output(list(columns), list(columns.values()), rows)
