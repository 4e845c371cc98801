"""Descriptions and indexes of a relation that was just made, as statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import Materialized, Node
from sao_dagster.core.relations import quote
from sao_dagster.warehouses.shared.names import literal


def attach_statements(node: Node, columns: Iterable[str]) -> Iterator[str]:
    """Yield the statements that describe a relation and its columns, and that make its indexes where these are not there.

    A column that is described and not there is left out, as in dbt.

    Args:
        node: The node, whose relation is there.
        columns: Its columns, as the catalog writes them.
    """
    attached, relation = node.attached, node.relation
    is_view = node.materialized is Materialized.VIEW
    if attached.comment is not None:
        yield f"comment on {'view' if is_view else 'table'} {relation} is {literal(attached.comment)}"
    if attached.column_comments:
        there = {**{name.lower(): name for name in columns}, **{name: name for name in columns}}
        for name, text in attached.column_comments:
            column = there.get(name, there.get(name.lower()))
            if column is not None:
                yield f"comment on column {relation}.{quote(column, relation.quotes)} is {literal(text)}"
    for index in () if is_view else attached.indexes:
        name = f"sao_{digest([str(relation), repr(index)])[:24]}"
        using = f" using {index.kind}" if index.kind else ""
        unique = "unique " if index.unique else ""
        yield f"create {unique}index if not exists {quote(name)} on {relation}{using} ({', '.join(index.columns)})"
