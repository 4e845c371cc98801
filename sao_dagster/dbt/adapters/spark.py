"""Exact versions of the tables in Spark's own catalog, each by its format, and what all formats share: `show table extended`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey, folded, quote
from sao_dagster.dbt.adapters.delta import AsksForRows, DeltaTables, delta_tables
from sao_dagster.dbt.adapters.iceberg import IcebergTables, iceberg_tables
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import QueryResult

_NAMED = 40  # tables that a statement names; of more in a schema, all are asked for
_IS_DELTA = re.compile(r"^Provider: delta$", re.MULTILINE | re.IGNORECASE)

Query: TypeAlias = Callable[[str], QueryResult]


@dataclass(frozen=True)
class SparkTables:
    """Tables of all formats that have exact versions, as they are at one time.

    Attributes:
        iceberg: Those of Iceberg, which says who wrote them.
        delta: Those of Delta, which does not.
    """

    iceberg: IcebergTables
    delta: DeltaTables

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation."""
        return {**self.iceberg.versions, **self.delta.versions}

    def built_since(self, before: object, relation: Relation, signature: str, query: Query) -> DataVersion | None:
        """Return the version of a table that was built since; see `Snapshots.built_since`."""
        if not isinstance(before, SparkTables):
            return None
        return self.iceberg.built_since(before.iceberg, relation, signature, query)


def spark_tables(query: Query, rows: AsksForRows, relations: Collection[Relation]) -> SparkTables:
    """Return what Spark shows of some relations: a statement for each schema, and two for each Delta table.

    Args:
        query: Asks a query.
        rows: Asks many.
        relations: Tables and views.

    Raises:
        WarehouseError: No schema could be asked.
    """
    shown = _shown(query, relations)
    delta = [each for each in relations if _IS_DELTA.search(shown.get(each.key, ""))]
    return SparkTables(iceberg_tables(query, shown), delta_tables(query, rows, delta))


def _shown(query: Query, relations: Collection[Relation]) -> dict[RelationKey, str]:
    """Return what Spark tells of relations, for those that are there; an error only if no schema could be asked."""
    named: dict[str, dict[str, RelationKey]] = defaultdict(dict)
    for each in relations:
        named[each.schema][folded(each.identifier)] = each.key
    found: dict[RelationKey, str] = {}
    refused: list[WarehouseError] = []
    for schema, keys in named.items():
        is_short = len(keys) <= _NAMED and all(re.fullmatch(r"\w+", each) for each in keys)
        pattern = "|".join(sorted(keys)) if is_short else "*"
        try:
            rows = query(f"show table extended in {quote(schema, '`')} like '{pattern}'").rows
        except WarehouseError as error:  # it is not there
            refused.append(error)
            continue
        found.update({keys[folded(str(name))]: str(text) for _, name, _, text in rows if folded(str(name)) in keys})
    if named and len(refused) == len(named):
        raise refused[0]
    return found
