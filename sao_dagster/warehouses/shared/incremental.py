"""Incremental models: how new rows enter a table, and what becomes of its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sao_dagster.core.nodes import IncrementalStrategy, Model, OnSchemaChange
from sao_dagster.core.relations import quote
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.text import embeddable

_INCOMING = "__sao_incoming"
_DEST, _SOURCE = "DBT_INTERNAL_DEST", "DBT_INTERNAL_SOURCE"  # dbt's names, which predicates may use


@dataclass(frozen=True)
class Statements:
    """What a transaction can do.

    Attributes:
        execute: Runs a statement.
        columns: Returns names as written and types of a table, by lower-case name.
        dialect: sqlglot's name of the dialect.
    """

    execute: Callable[[str], object]
    columns: Callable[[str], Mapping[str, tuple[str, str]]]
    dialect: str


def add_increment(run: Statements, model: Model, sql: str) -> None:
    """Bring the rows of `sql` into a table that is there, in the model's way.

    Raises:
        WarehouseError: The statement fails, or a column to update is not there.
    """
    from sao_dagster.sql.qualify import qualified, split  # the parser, where there is an increment

    target = str(model.relation)
    run.execute(f"create temporary table {_INCOMING} as {embeddable(sql)}")
    columns = _reconcile_columns(run, model)
    names = ", ".join(quote(name) for name in columns)
    keys = [key for listed in model.unique_key for key in split(listed, run.dialect)]
    there = {name.lower() for name in columns}

    def of(table: str, expression: str) -> str:
        """Return an expression over one of the two tables."""
        named = _same(expression, columns)
        if named:
            return f"{table}.{quote(named[0])}"
        return qualified(expression, table, there, run.dialect, also=model.relation.identifier)

    matches = " and ".join(f"({of(_DEST, key)}) = ({of(_SOURCE, key)})" for key in keys)
    matches += "".join(f" and ({of(_DEST, predicate)})" for predicate in model.incremental_predicates)
    if model.incremental_strategy is IncrementalStrategy.MERGE:
        assignments = ", ".join(f"{quote(name)} = {_SOURCE}.{quote(name)}" for name in _updated(model, columns))
        update = f"when matched then update set {assignments} " if assignments else ""
        run.execute(
            f"merge into {target} as {_DEST} using {_INCOMING} as {_SOURCE} on {matches} {update}"
            f"when not matched then insert ({names}) values "
            f"({', '.join(f'{_SOURCE}.{quote(name)}' for name in columns)})"
        )
    else:
        if keys and model.incremental_strategy is IncrementalStrategy.DELETE_INSERT:
            run.execute(f"delete from {target} as {_DEST} using {_INCOMING} as {_SOURCE} where {matches}")
        run.execute(f"insert into {target} ({names}) select {names} from {_INCOMING}")
    run.execute(f"drop table {_INCOMING}")


def _updated(model: Model, columns: Sequence[str]) -> list[str]:
    """Return the columns that a merge updates, as the table writes them.

    https://docs.getdbt.com/reference/resource-configs/merge-configs
    """
    chosen = columns
    if model.merge_update_columns:
        unknown = [name for name in model.merge_update_columns if not _same(name, columns)]
        if unknown:
            raise WarehouseError(f"merge_update_columns: {model.name} has no column {', '.join(unknown)}")
        chosen = [column for name in model.merge_update_columns for column in _same(name, columns)]
    excluded = {column for name in model.merge_exclude_columns for column in _same(name, columns)}
    return [name for name in columns if name in chosen and name not in excluded]


def _same(name: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that a name means: the one that is written so, else those that differ in case only.

    >>> _same("MADE", ["id", "made"]), _same('"Made"', ["Made", "made"]), _same("a || b", ["a", "b"])
    (['made'], ['Made'], [])
    """
    bare = name[1:-1] if len(name) > 2 and name[0] == name[-1] and name[0] in '"`' else name
    if bare in columns:
        return [bare]
    return [column for column in columns if column.lower() == bare.lower()]


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
