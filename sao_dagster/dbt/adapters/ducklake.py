"""Exact versions in a DuckLake, from its own account of what each snapshot did: https://ducklake.select/docs/stable/specification/tables/ducklake_snapshot_changes.

The version of a table is the last snapshot that wrote rows of it, with its columns, which may change without that. Snapshots are numbered
without gaps; where one that may have written is no longer kept, nobody knows the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.relations import Relation, RelationKey, folded, quote
from sao_dagster.warehouses.protocol import QueryResult

SCHEME = "ducklake/1"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_MADE = re.compile(r'\bcreated_table:("(?:[^"]|"")*")\.("(?:[^"]|"")*")')
_WRITTEN = re.compile(
    r"\b(?:inserted_into_table|deleted_from_table|inlined_insert|inlined_delete|altered_table):(\d+)\b"
)

_TABLES = r"""
with writes as (
    select snapshot_id, unnest(regexp_extract_all(
        regexp_replace(changes_made, '"(?:[^"]|"")*"', '', 'g'),
        '\b(?:inserted_into_table|deleted_from_table|inlined_insert|inlined_delete):(\d+)', 1
    ))::bigint as table_id
    from {meta}.ducklake_snapshot_changes
), written as (
    select table_id, max(snapshot_id) as id from writes group by table_id
), columns as (
    select table_id, list(row(column_id, column_order, column_name, column_type, initial_default, parent_column)::varchar order by column_id) as shown
    from {meta}.ducklake_column where end_snapshot is null group by table_id
), first as (
    select table_id, min(begin_snapshot) as id from {meta}.ducklake_table group by table_id
), kept as (
    select max(snapshot_id) as newest from {meta}.ducklake_snapshot_changes
), last as (
    select table_id, coalesce(written.id, first.id) as id from first left join written using (table_id)
), missing as (
    select table_id, last.id as id, kept.newest - last.id - (
        select count(*) from {meta}.ducklake_snapshot_changes as later where later.snapshot_id > last.id
    ) as missing
    from last, kept
)
select s.schema_name, t.table_name, t.table_uuid::varchar, t.table_id, m.id, m.missing, columns.shown::varchar, kept.newest
from {meta}.ducklake_table as t
join {meta}.ducklake_schema as s on s.schema_id = t.schema_id and s.end_snapshot is null
join missing as m on m.table_id = t.table_id
left join columns on columns.table_id = t.table_id, kept
where t.end_snapshot is null
"""


_CHANGES = """
select snapshot_id, changes_made, commit_extra_info from {meta}.ducklake_snapshot_changes where snapshot_id between {first} and {last}
"""


@dataclass(frozen=True)
class LakeTable:
    """A table of a DuckLake.

    Attributes:
        version: Its version; None where that is not known.
        id: Its number there, which no other table gets.
    """

    version: DataVersion | None
    id: int

    def is_changed_by(self, changes: str, key: RelationKey) -> bool:
        """Return whether a snapshot wrote to it, altered it, or gave its name to a table, by what it says of its changes.

        >>> table = LakeTable(None, 12)
        >>> table.is_changed_by("inserted_into_table:12", ("lake", "main", "t")), table.is_changed_by("inserted_into_table:1", ("lake", "main", "t"))
        (True, False)
        >>> table.is_changed_by('created_table:"main"."T"', ("lake", "main", "t"))
        True
        """
        numbers = _WRITTEN.findall(_QUOTED.sub("", changes))
        made = {tuple(folded(each[1:-1].replace('""', '"')) for each in names) for names in _MADE.findall(changes)}
        return str(self.id) in numbers or (folded(key[1]), folded(key[2])) in made


@dataclass(frozen=True)
class Lakes:
    """All DuckLakes that a session has attached, as they are at one time.

    Attributes:
        tables: By relation.
        newest: The newest snapshot by the name of a DuckLake that holds a table.
    """

    tables: Mapping[RelationKey, LakeTable]
    newest: Mapping[str, int]

    @property
    def versions(self) -> Mapping[RelationKey, DataVersion | None]:
        """Versions by relation."""
        return {key: table.version for key, table in self.tables.items()}

    def built_since(
        self, before: object, relation: Relation, signature: str, query: Callable[[str], QueryResult]
    ) -> DataVersion | None:
        """Return the version of a table that was built since; see `Snapshots.built_since`."""
        key = relation.key
        now = self.tables.get(key)
        if now is None or not isinstance(before, Lakes):
            return None
        first, last = before.newest.get(key[0], -1) + 1, self.newest[key[0]]
        asked = _CHANGES.format(meta=quote(f"__ducklake_metadata_{key[0]}"), first=first, last=last)
        snapshots = query(asked).rows
        if len(snapshots) != last - first + 1:  # one is no longer kept
            return None
        authors = {by == signature for _, changes, by in snapshots if now.is_changed_by(changes or "", key)}
        if False not in authors:
            return now.version
        return DataVersion(SCHEME, f"also written by others {last}") if True in authors else None


def lakes(query: Callable[[str], QueryResult], _: Collection[Relation]) -> Lakes:
    """Return the DuckLakes that a session has attached, given what asks a query; one statement for each."""
    tables: dict[RelationKey, LakeTable] = {}
    newest: dict[str, int] = {}
    for (name,) in query("select database_name from duckdb_databases() where type = 'ducklake'").rows:
        meta = quote(f"__ducklake_metadata_{name}")
        for schema, table, uuid, number, last, missing, columns, snapshot in query(_TABLES.format(meta=meta)).rows:
            version = None if missing else DataVersion(SCHEME, f"{uuid} {int(last)} {digest(columns)[:12]}")
            tables[folded(str(name)), folded(str(schema)), folded(str(table))] = LakeTable(version, int(number))
            newest[folded(str(name))] = int(snapshot)
    return Lakes(tables, newest)
