"""Exact versions of tables in Snowflake: the token that moves with each change of a table's rows, and when the table was made and altered.

The token is that of https://docs.snowflake.com/en/sql-reference/functions/system_last_change_commit_time, which names it an indicator of
changes and no time; the rest is in https://docs.snowflake.com/en/sql-reference/info-schema/tables. Both were read, and not run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.relations import Relation, RelationKey, folded, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import QueryResult
from sao_dagster.warehouses.shared.names import literal

SCHEME = "snowflake/1"
_BATCH = 100  # tables by statement
# rows of other kinds (external, dynamic, hybrid and Iceberg tables, views) come and go without a statement that writes to them
_TABLES = """
select table_schema, table_name, iff(table_type = 'BASE TABLE' and is_iceberg = 'NO' and is_dynamic = 'NO' and is_hybrid = 'NO',
    'at ' || date_part(epoch_nanosecond, created) || ' ' || date_part(epoch_nanosecond, last_ddl), null)
from {database}.information_schema.tables where lower(table_schema) in ({schemas})
"""
_NO_TOKEN = (None, "at 0", "at -1")


@dataclass(frozen=True)
class SnowflakeTables:
    """Tables of Snowflake, as they are at one time. A token does not say whose change it was, so models count by their builds.

    Attributes:
        versions: By relation; none for what has no token.
    """

    versions: Mapping[RelationKey, DataVersion | None]


def snowflake_tables(query: Callable[[str], QueryResult], relations: Collection[Relation]) -> SnowflakeTables:
    """Return the versions of some tables, given what asks a query: a statement for each database, and one for each hundred tables.

    Raises:
        WarehouseError: Nothing of it was answered.
    """
    made = _made(query, relations)
    known = [each for each in relations if each.key in made]
    found: dict[RelationKey, DataVersion | None] = {}
    refused: list[WarehouseError] = []
    batches = list(_batches(known))
    for batch in batches:
        names = ", ".join(f"'at ' || system$last_change_commit_time({literal(str(each))})" for each in batch)
        try:
            [tokens] = query(f"select {names}").rows
        except WarehouseError as error:  # such as for the want of a right to one of them
            refused.append(error)
            continue
        for each, token in zip(batch, tokens, strict=True):
            if token not in _NO_TOKEN:
                found[each.key] = DataVersion(SCHEME, f"{token} {made[each.key]}")
    if batches and len(refused) == len(batches):
        raise refused[0]
    return SnowflakeTables(found)


def _batches(relations: Sequence[Relation]) -> Iterator[Sequence[Relation]]:
    for start in range(0, len(relations), _BATCH):
        yield relations[start : start + _BATCH]


def _made(query: Callable[[str], QueryResult], relations: Collection[Relation]) -> dict[RelationKey, str]:
    """Return when tables were made and last altered, by relation; none for those whose names differ in case alone, and of which that is not known."""
    places = {
        each.key: (_database(each), folded(each.schema), folded(each.identifier)) for each in relations if each.database
    }
    schemas: dict[str, set[str]] = defaultdict(set)
    for database, schema, _ in places.values():
        schemas[database].add(literal(schema))
    shown: dict[tuple[str, str, str], str | None] = {}
    for database, named in schemas.items():
        for schema, name, made in query(_TABLES.format(database=database, schemas=", ".join(sorted(named)))).rows:
            place = (database, folded(str(schema)), folded(str(name)))
            shown[place] = None if place in shown else made
    return {key: made for key, place in places.items() if (made := shown.get(place)) is not None}


def _database(relation: Relation) -> str:
    """Return the database of a relation as SQL names it: in quotes where dbt quotes it.

    >>> print(_database(Relation("raw", "s", "t", written="raw.s.t")), _database(Relation("raw", "s", "t", written='"raw".s.t')))
    raw "raw"
    """
    name = relation.database or ""
    return quote(name) if str(relation).startswith('"') else name
