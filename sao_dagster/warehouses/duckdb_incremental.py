"""Incremental models in DuckDB: how new rows enter a table, and what becomes of its columns."""

from __future__ import annotations

import re

import duckdb

from sao_dagster.core.models import IncrementalStrategy, Model, OnSchemaChange
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.duckdb_sql import columns_of, quote

_INCOMING = "__sao_incoming"


def add_increment(cursor: duckdb.DuckDBPyConnection, model: Model, sql: str) -> None:
    """Bring the rows of `sql` into a table that is there, in the model's way."""
    target = str(model.relation)
    cursor.execute(f"create or replace temp table {_INCOMING} as {sql}")
    columns = _reconcile_columns(cursor, model)
    names = ", ".join(quote(name) for name in columns)
    keys = [quote(key) if re.fullmatch(r"\w+", key) else key for key in model.unique_key]
    predicates = "".join(f" and ({predicate})" for predicate in model.incremental_predicates)
    if model.incremental_strategy is IncrementalStrategy.MERGE:
        matches = " and ".join(f"DBT_INTERNAL_DEST.{key} = DBT_INTERNAL_SOURCE.{key}" for key in keys)
        updated = [
            name
            for name in columns
            if (not model.merge_update_columns or name in model.merge_update_columns)
            and name not in model.merge_exclude_columns
        ]
        assignments = ", ".join(f"{quote(name)} = DBT_INTERNAL_SOURCE.{quote(name)}" for name in updated)
        cursor.execute(
            f"merge into {target} as DBT_INTERNAL_DEST using {_INCOMING} as DBT_INTERNAL_SOURCE on {matches}{predicates} "
            f"when matched then update set {assignments} "
            f"when not matched then insert ({names}) values "
            f"({', '.join(f'DBT_INTERNAL_SOURCE.{quote(name)}' for name in columns)})"
        )
    else:
        if keys and model.incremental_strategy is IncrementalStrategy.DELETE_INSERT:
            matches = " and ".join(f"DBT_INTERNAL_DEST.{key} = DBT_INTERNAL_SOURCE.{key}" for key in keys)
            cursor.execute(
                f"delete from {target} as DBT_INTERNAL_DEST using {_INCOMING} as DBT_INTERNAL_SOURCE "
                f"where {matches}{predicates}"
            )
        cursor.execute(f"insert into {target} ({names}) select {names} from {_INCOMING}")
    cursor.execute(f"drop table temp.{_INCOMING}")


def _reconcile_columns(cursor: duckdb.DuckDBPyConnection, model: Model) -> list[str]:
    """Apply `on_schema_change`; return the columns to insert."""
    target = columns_of(cursor, str(model.relation))
    incoming = columns_of(cursor, _INCOMING)
    added = {name: kind for name, kind in incoming.items() if name not in target}
    gone = [name for name in target if name not in incoming]
    retyped = {name: kind for name, kind in incoming.items() if name in target and target[name][1] != kind[1]}
    change = model.on_schema_change
    if change is OnSchemaChange.IGNORE:
        return [name for name, _ in target.values()]
    if change is OnSchemaChange.FAIL and (added or gone or retyped):
        raise WarehouseError(
            f"the columns of {model.name} changed (new: {sorted(added) or 'none'}, gone: {gone or 'none'}, "
            f"other type: {sorted(retyped) or 'none'}) and on_schema_change is 'fail'; build it once with --full-refresh"
        )
    for name, kind in added.values():
        cursor.execute(f"alter table {model.relation} add column {quote(name)} {kind}")
    if change is OnSchemaChange.SYNC_ALL_COLUMNS:
        for name in gone:
            cursor.execute(f"alter table {model.relation} drop column {quote(target[name][0])}")
        for name, kind in retyped.values():
            cursor.execute(f"alter table {model.relation} alter column {quote(name)} type {kind}")
    return [name for name, _ in incoming.values()]
