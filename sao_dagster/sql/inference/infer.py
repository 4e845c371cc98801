"""What holds for the output of a query, proven from its SQL and from facts about what it reads.

Three things are proven of output columns, those that dbt's built-in tests ask for: never null, unique (nulls ignored), and only
certain values. A proof holds for every content of the tables that agrees with the facts; what is not understood is not proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, count

from sqlglot import exp

from sao_dagster.core.proofs import INFERRED, Fact, FactKind, Proof
from sao_dagster.core.relations import RelationKey
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.dependencies import Domain, RowFacts, follow
from sao_dagster.sql.inference.names import NotUnderstoodError, name_of
from sao_dagster.sql.inference.output import Output
from sao_dagster.sql.inference.proven import Proven, TableFacts, accepted_domain
from sao_dagster.sql.inference.queries import QueryReader
from sao_dagster.sql.inference.refusals import refuse_calls
from sao_dagster.sql.inference.rewrites import rewritten
from sao_dagster.sql.inference.type_names import read_type
from sao_dagster.sql.inference.types import Type
from sao_dagster.sql.parsing import UnreadableSqlError, parse

PAIRED_COLUMNS = 12
"""In queries with more output columns, keys of two columns are not looked for."""


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

    def domain(self, place: int) -> Domain | None:
        """Return the values that a column can have, besides null; None where they are not known."""
        return self.output.rows.domains.get(self.output.ids[place])

    @property
    def proven(self) -> Proven:
        """What of it can be kept."""
        return Proven(self.names, tuple(map(self.type_of, range(len(self.names)))), self.claims)

    @cached_property
    def claims(self) -> tuple[tuple[Fact, Proof], ...]:
        """All that is proven of named columns and, where there are few, of pairs of them; about a relation without a name."""
        found: list[tuple[Fact, Proof]] = []
        named = [place for place, name in enumerate(self.names) if name and self.names.count(name) == 1]
        for place in named:
            column = (self.names[place],)
            if (proof := self.not_null(place)) is not None:
                found.append((Fact(FactKind.NOT_NULL, "", column, INFERRED), proof))
            if (proof := self.unique([place])) is not None:
                found.append((Fact(FactKind.UNIQUE, "", column, INFERRED), proof))
            if (domain := self.domain(place)) is not None:
                values = tuple(sorted(domain.values, key=str))
                found.append((Fact(FactKind.ACCEPTED_VALUES, "", column, INFERRED, values=values), domain.proof))
        alone = {fact.columns[0] for fact, _ in found if fact.kind is FactKind.UNIQUE}
        others = [place for place in named if self.names[place] not in alone]
        for pair in combinations(others, 2) if len(others) <= PAIRED_COLUMNS else ():
            if (proof := self.unique(pair)) is not None:
                columns = tuple(self.names[place] for place in pair)
                found.append((Fact(FactKind.UNIQUE, "", columns, INFERRED), proof))
        return tuple(found)

    def type_of(self, place: int) -> Type:
        """Return the type of a column, as far as it is known."""
        return self.output.rows.type_of(self.output.ids[place])


def infer(
    sql: str,
    dialect: str,
    tables: Mapping[RelationKey, TableFacts],
    *,
    hashes_are_unique: bool = False,
    own_functions: AbstractSet[str] = frozenset(),
    schema: str = "main",
) -> Properties | None:
    """Return what holds for the output of a query; None where it is not understood.

    Args:
        sql: One query.
        dialect: sqlglot's name of its dialect.
        tables: What it reads, by `Relation.key`; nothing is known of other relations.
        hashes_are_unique: Whether hashes (`md5`, `sha256`) of different texts are taken to be different.
        own_functions: Names of functions that users made, in lower case: none of them is the one that is known here by that name.
        schema: Where tables are whose name says no schema; empty where that is not known.

    >>> fact = Fact(FactKind.UNIQUE, "orders", ("id",), "unique_orders_id")
    >>> tables = {("db", "main", "orders"): TableFacts((("id", "INTEGER"), ("city", "VARCHAR")), (fact,))}
    >>> found = infer("select id, city from main.orders where id > 3", "duckdb", tables)
    >>> found.unique([0]).facts == (fact,), found.not_null(0) is not None, found.unique([1])
    (True, True, None)
    """
    try:
        return understand(
            sql, dialect, tables, hashes_are_unique=hashes_are_unique, own_functions=own_functions, schema=schema
        )
    except Exception:  # noqa: BLE001 - sqlglot raises whatever it meets in a tree; then nothing is proven
        return None


def understand(
    sql: str,
    dialect: str,
    tables: Mapping[RelationKey, TableFacts],
    *,
    hashes_are_unique: bool = False,
    own_functions: AbstractSet[str] = frozenset(),
    schema: str = "main",
) -> Properties:
    """Return what `infer` returns, or say why it returns nothing.

    Raises:
        NotUnderstoodError: With what is not understood.
    """
    if not dialect_named(dialect).compares_names:
        raise NotUnderstoodError(f"which names are the same in {dialect!r}")
    try:
        statements = parse(sql, dialect)
    except UnreadableSqlError as error:
        raise NotUnderstoodError("SQL that cannot be parsed") from error
    if len(statements) != 1:
        raise NotUnderstoodError(f"{len(statements)} statements")
    refuse_calls(sql, dialect, statements[0], own_functions)
    try:
        reader = QueryReader(dialect, _Tables(dialect, tables, schema), hashes_are_unique)
        output = reader.read(rewritten(statements[0]))
    except RecursionError as error:
        raise NotUnderstoodError("a query that is nested too deeply") from error
    if output.open:
        raise NotUnderstoodError("a relation whose columns are not known")
    return Properties(output)


@dataclass(frozen=True)
class _Tables:
    """Finds tables, and makes what is known of their rows."""

    dialect: str
    tables: Mapping[RelationKey, TableFacts]
    schema: str

    def __call__(self, node: exp.Table, ids: count[int]) -> Output | None:
        database, schema, name = (name_of(node.args.get(part), self.dialect) for part in ("catalog", "db", "this"))
        found = [
            table
            for key, table in self.tables.items()
            if key[1:] == (schema or self.schema, name) and database in ("", key[0])
        ]
        return self._output(found[0], ids) if len(found) == 1 else None

    def _output(self, table: TableFacts, ids: count[int]) -> Output:
        """Return the columns of a table, with what its facts and what was derived for it say of them."""
        row = next(ids)
        engine = dialect_named(self.dialect)
        columns = {engine.compared(name, quoted=True): next(ids) for name, _ in table.columns}
        rows = RowFacts.numbered(row, columns.values())
        rows.types = {
            columns[engine.compared(name, quoted=True)]: read_type(text, self.dialect) for name, text in table.columns
        }
        for fact, inner in (*((fact, None) for fact in table.facts), *table.derived):
            mine = [columns.get(engine.compared(name, quoted=True)) for name in fact.columns]
            about = [column for column in mine if column is not None]
            if len(about) != len(mine):
                continue
            proof = Proof("fact", () if inner is None else (inner,), fact)
            if fact.kind is FactKind.NOT_NULL:
                rows.not_null[about[0]] = proof
            elif fact.kind is FactKind.UNIQUE:
                rows.add_dependency(about, {row}, proof, about)
            elif fact.kind is FactKind.ACCEPTED_VALUES:
                values = accepted_domain(fact.values, rows.type_of(about[0]))
                if values is not None:
                    rows.narrow(about[0], Domain(values, proof))
        return Output(list(columns), list(columns.values()), rows)
