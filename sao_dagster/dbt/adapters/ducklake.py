"""Exact versions in a DuckLake, from its own account of what each snapshot did: https://ducklake.select/docs/stable/specification/tables/ducklake_snapshot_changes.

The version of a table is the last snapshot that wrote rows of it, with its columns, which may change without that. Snapshots are numbered
without gaps; where one that may have written is no longer kept, nobody knows the version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import RelationKey, folded, quote
from sao_dagster.warehouses.protocol import QueryResult

SCHEME = "ducklake/1"
_NEWEST = 3  # writes and makings that are looked at; two of one kind since a build began are one too many

_TABLES = r"""
with writes as (
    select snapshot_id, unnest(regexp_extract_all(
        regexp_replace(changes_made, '"(?:[^"]|"")*"', '', 'g'),
        '\b(?:inserted_into_table|deleted_from_table|inlined_insert|inlined_delete):(\d+)', 1
    ))::bigint as table_id
    from {meta}.ducklake_snapshot_changes
), written as (
    select table_id, list_sort(list_distinct(list(snapshot_id)), 'DESC') as ids from writes group by table_id
), columns as (
    select table_id, list(row(column_id, column_order, column_name, column_type, initial_default, parent_column)::varchar order by column_id) as shown
    from {meta}.ducklake_column where end_snapshot is null group by table_id
), made as (
    select schema_id, table_name, list_sort(list(begin_snapshot), 'DESC') as ids from {meta}.ducklake_table group by all
), first as (
    select table_id, min(begin_snapshot) as id from {meta}.ducklake_table group by table_id
), kept as (
    select max(snapshot_id) as newest from {meta}.ducklake_snapshot_changes
), last as (
    select table_id, coalesce(written.ids[1], first.id) as id from first left join written using (table_id)
), missing as (
    select table_id, last.id as id, kept.newest - last.id - (
        select count(*) from {meta}.ducklake_snapshot_changes as later where later.snapshot_id > last.id
    ) as missing
    from last, kept
)
select s.schema_name, t.table_name, t.table_uuid::varchar, m.id, m.missing, columns.shown::varchar,
    coalesce(written.ids[:{newest}], [])::varchar, made.ids[:{newest}]::varchar, kept.newest
from {meta}.ducklake_table as t
join {meta}.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
join missing as m on m.table_id = t.table_id
join made on made.schema_id = t.schema_id and made.table_name = t.table_name
left join columns on columns.table_id = t.table_id
left join written on written.table_id = t.table_id, kept
where t.end_snapshot is null
"""


@dataclass(frozen=True)
class LakeTable:
    """A table of a DuckLake.

    Attributes:
        version: Its version; None where that is not known.
        id: What tells it from another one that had its name.
        writes: The last snapshots that wrote to it, newest first.
        makings: The last snapshots that gave its name to a table, newest first.
    """

    version: DataVersion | None
    id: str
    writes: tuple[int, ...]
    makings: tuple[int, ...]


@dataclass(frozen=True)
class Lakes:
    """All DuckLakes that a session has attached, as they are at one time.

    Attributes:
        tables: By relation.
        newest: The newest snapshot by the name of a DuckLake.
    """

    tables: Mapping[RelationKey, LakeTable]
    newest: Mapping[str, int]

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation."""
        return {key: table.version for key, table in self.tables.items()}

    def built_since(self, before: object, key: RelationKey) -> DataVersion | None:
        """Return the version of a table that was built since; None where somebody else may have written it, too.

        A build writes in one snapshot, and makes a table once, or not.
        """
        now = self.tables.get(key)
        if now is None or not isinstance(before, Lakes):
            return None
        then, began = before.tables.get(key), before.newest.get(key[0], -1)
        is_same = then is not None and then.id == now.id
        writes = [each for each in now.writes if each > began or not is_same]
        makings = [each for each in now.makings if each > began]
        return now.version if len(writes) <= 1 and len(makings) <= 1 else None


def lakes(query: Callable[[str], QueryResult]) -> Lakes:
    """Return the DuckLakes that a session has attached, given what asks a query; one statement for each."""
    tables: dict[RelationKey, LakeTable] = {}
    newest: dict[str, int] = {}
    for (name,) in query("select database_name from duckdb_databases() where type = 'ducklake'").rows:
        meta = quote(f"__ducklake_metadata_{name}")
        for schema, table, uuid, last, missing, columns, writes, makings, number in query(
            _TABLES.format(meta=meta, newest=_NEWEST)
        ).rows:
            version = None if missing else DataVersion(SCHEME, f"{uuid} {int(last)} {digest(columns)[:12]}")
            found = LakeTable(version, str(uuid), _numbers(writes), _numbers(makings))
            tables[folded(str(name)), folded(str(schema)), folded(str(table))] = found
            newest[folded(str(name))] = int(number)
    return Lakes(tables, newest)


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers in the text of a list."""
    return tuple(int(each) for each in text.strip("[]").split(",") if each.strip())
