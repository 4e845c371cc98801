"""Incremental models: how new rows enter a table, and what becomes of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sao_dagster.core.nodes import IncrementalStrategy, Model, OnSchemaChange
from sao_dagster.core.relations import quote
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.text import embeddable

_INCOMING = "__sao_incoming"


@dataclass(frozen=True)
class Statements:
    """What a transaction can do.

    Attributes:
        execute: Runs a statement.
        columns: Returns names as written and types of a table, by lower-case name.
    """

    execute: Callable[[str], object]
    columns: Callable[[str], Mapping[str, tuple[str, str]]]


def add_increment(run: Statements, model: Model, sql: str) -> None:
    """Bring the rows of `sql` into a table that is there, in the model's way."""
    target = str(model.relation)
    run.execute(f"create temporary table {_INCOMING} as {embeddable(sql)}")
    columns = _reconcile_columns(run, model)
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
        run.execute(
            f"merge into {target} as DBT_INTERNAL_DEST using {_INCOMING} as DBT_INTERNAL_SOURCE on {matches}{predicates} "
            f"when matched then update set {assignments} "
            f"when not matched then insert ({names}) values "
            f"({', '.join(f'DBT_INTERNAL_SOURCE.{quote(name)}' for name in columns)})"
        )
    else:
        if keys and model.incremental_strategy is IncrementalStrategy.DELETE_INSERT:
            matches = " and ".join(f"DBT_INTERNAL_DEST.{key} = DBT_INTERNAL_SOURCE.{key}" for key in keys)
            run.execute(
                f"delete from {target} as DBT_INTERNAL_DEST using {_INCOMING} as DBT_INTERNAL_SOURCE "
                f"where {matches}{predicates}"
            )
        run.execute(f"insert into {target} ({names}) select {names} from {_INCOMING}")
    run.execute(f"drop table {_INCOMING}")


def _reconcile_columns(run: Statements, model: Model) -> list[str]:
    """Apply `on_schema_change`; return the columns to insert."""
    target = run.columns(str(model.relation))
    incoming = run.columns(_INCOMING)
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
        run.execute(f"alter table {model.relation} add column {quote(name)} {kind}")
    if change is OnSchemaChange.SYNC_ALL_COLUMNS:
        for name in gone:
            run.execute(f"alter table {model.relation} drop column {quote(target[name][0])}")
        for name, kind in retyped.values():
            run.execute(f"alter table {model.relation} alter column {quote(name)} type {kind}")
    return [name for name, _ in incoming.values()]


def by_name(columns: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return columns by lower-case name."""
    return {name.lower(): (name, kind) for name, kind in columns}
