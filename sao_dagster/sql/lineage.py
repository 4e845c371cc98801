"""Column lineage: from which columns of the relations it reads does each column of a query take its values.

Conditions (`where`, `join ... on`, `group by`) choose rows and are no lineage, as in dbt's and Dagster's pictures of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, find_all_in_scope
from sqlglot.schema import MappingSchema

from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.parsing import parse_one

Origin: TypeAlias = tuple[RelationKey, str]
"""A column of a relation: `Relation.key` and the column's name in lower case."""


def column_lineage(sql: str, dialect: str, tables: Mapping[Relation, Sequence[str]]) -> dict[str, tuple[Origin, ...]]:
    """Return by output column (in lower case) the columns of tables that it is made of; empty for what is not understood.

    Args:
        sql: A query.
        dialect: sqlglot's name of its dialect.
        tables: Column names of the relations that it reads; a column of any other relation is left out.

    >>> orders = Relation("db", "main", "orders")
    >>> column_lineage("with o as (select * from main.orders) select id, a + b as c from o", "duckdb",
    ...                {orders: ["id", "a", "b"]})
    {'id': ((('db', 'main', 'orders'), 'id'),), 'c': ((('db', 'main', 'orders'), 'a'), (('db', 'main', 'orders'), 'b'))}
    """
    schema: dict[str, Any] = {}
    for relation, columns in tables.items():
        database, schema_name, identifier = relation.key
        by_schema = schema.setdefault(database or "_", {}).setdefault(schema_name, {})
        by_schema[identifier] = dict.fromkeys((_compared(name, True, dialect) for name in columns), "unknown")
    by_name = {relation.key: relation.key for relation in tables}
    by_name.update({("", *relation.key[1:]): relation.key for relation in tables})
    try:
        query = parse_one(sql, dialect)
        _name_databases(query, by_name, dialect)
        qualified = qualify(
            query,
            schema=MappingSchema(schema, dialect=dialect, normalize=False),
            dialect=dialect,
            validate_qualify_columns=False,
            quote_identifiers=False,
            identify=False,
        )
        scope = build_scope(qualified)
        if scope is None or not isinstance(qualified, exp.Query):
            return {}
        walk = _Walk(by_name)
        return {
            name.lower(): tuple(sorted(walk.origins(scope, position)))
            for position, name in enumerate(qualified.named_selects)
            if name != "*"
        }
    except (
        SqlglotError,
        RecursionError,
        ValueError,
        KeyError,
    ):  # lineage is for display; what cannot be told is left out
        return {}


def _name_databases(query: exp.Expr, by_name: Mapping[RelationKey, RelationKey], dialect: str) -> None:
    """Write every name as the dialect compares it, and known tables with their database, as the schema has them."""
    known = [(table, by_name[_key(table)]) for table in query.find_all(exp.Table) if _key(table) in by_name]
    for identifier in query.find_all(exp.Identifier):
        identifier.set("this", _compared(identifier.this, bool(identifier.args.get("quoted")), dialect))
        identifier.set("quoted", True)
    for table, (database, schema, name) in known:
        table.set("catalog", exp.to_identifier(database or "_", quoted=True))
        table.set("db", exp.to_identifier(schema, quoted=True))
        table.set("this", exp.to_identifier(name, quoted=True))


def _compared(name: str, quoted: bool, dialect: str) -> str:
    """Return a name as the dialect compares it; where that is not known, case does not count, since lineage is for display."""
    known = dialect_named(dialect)
    return known.compared(name, quoted=quoted) if known.compares_names else name.lower()


def _key(table: exp.Table) -> RelationKey:
    return (table.catalog.lower(), table.db.lower(), table.name.lower())


def _branches(scope: Scope) -> Sequence[Scope]:
    """Return the two sides of a set operation; sqlglot gave them another name in the course of version 30."""
    branches: Any = getattr(scope, "set_operation_scopes", None) or getattr(scope, "union_scopes", ())
    return tuple(branches)


class _Walk:
    """Follows columns down the scopes of one query, each of them once."""

    def __init__(self, known: Mapping[RelationKey, RelationKey]) -> None:
        self._known = known
        self._found: dict[tuple[int, int], frozenset[Origin]] = {}

    def origins(self, scope: Scope, position: int) -> frozenset[Origin]:
        """Return where the column at a position of a scope comes from."""
        at = (id(scope), position)
        if at not in self._found:
            self._found[at] = frozenset()  # a recursive query meets itself here
            self._found[at] = frozenset(self._follow(scope, position))
        return self._found[at]

    def _follow(self, scope: Scope, position: int) -> Iterable[Origin]:
        branches = _branches(scope)
        if branches:
            for branch in branches:
                yield from self.origins(branch, position)
            return
        selects = scope.expression.selects if isinstance(scope.expression, exp.Query) else []
        if position >= len(selects):
            return
        projection = selects[position]
        for column in find_all_in_scope(projection, exp.Column):
            yield from self._column(scope, column)
        inner = {id(each.expression): each for each in scope.subquery_scopes}
        queries: list[exp.Query] = [*find_all_in_scope(projection, exp.Select)]
        queries += find_all_in_scope(projection, exp.SetOperation)
        for query in queries:
            if id(query) in inner:
                for number in range(len(query.named_selects)):
                    yield from self.origins(inner[id(query)], number)

    def _column(self, scope: Scope, column: exp.Column) -> Iterable[Origin]:
        source = scope.sources.get(column.table)
        if isinstance(source, exp.Table):
            key = self._known.get(_key(source)) or self._known.get(("", *_key(source)[1:]))
            if key is not None:
                yield key, column.name.lower()
        elif isinstance(source, Scope) and isinstance(source.expression, exp.Query):
            names = source.expression.named_selects
            if column.name in names:
                yield from self.origins(source, names.index(column.name))
