"""Brings a relation that was made beside another one into its place, and keeps the views over it.

PostgreSQL lets no table go that a view reads. dbt drops such views; here they are made again as they were, in the same
transaction, with their owner and rights. Readers see the old table or the new one, and wait only for that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from sao_dagster.core.models import Relation
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.base import RelationKey
from sao_dagster.warehouses.names import literal, quote
from sao_dagster.warehouses.postgres_builds import BuildIds

_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}


@dataclass(frozen=True)
class _View:
    """A view over the relation, with all that it takes to make it again."""

    oid: int
    kind: str
    name: str
    key: RelationKey
    definition: str
    options: str | None
    owner: str
    comment: str | None
    grants: tuple[tuple[str, str, bool], ...]
    is_plain: bool


def put_in_place(
    connection: Connection[Any], made: Relation, target: Relation, build_ids: BuildIds
) -> tuple[RelationKey, ...]:
    """Give a new relation the name of the one it replaces; return views of ours that cannot stand over it.

    Raises:
        WarehouseError: A view of somebody else cannot; nothing has changed.
    """
    row = connection.execute(
        "select oid, relkind::text from pg_class where oid = to_regclass(%s)", [str(target)]
    ).fetchone()
    dropped: tuple[RelationKey, ...] = ()
    if row is not None:
        oid, kind = row
        views = _views_over(connection, oid)
        _refuse(target, [view for view in views if not view.is_plain])
        # first the names, then the relations: the order in which builds that read them go
        build_ids.hold_for_change(connection, [oid, *(view.oid for view in views)])
        for view in reversed(views):
            connection.execute(f"lock table {view.name} in access exclusive mode".encode())
        if views:  # as they are now that nobody else can change them
            views = _views_over(connection, oid)
        connection.execute(f"drop {_KINDS[kind]} {target} {'cascade' if views else ''}".encode())
        _rename(connection, made, target)
        dropped = _again(connection, target, views, build_ids)
    else:
        _rename(connection, made, target)
    return dropped


def _rename(connection: Connection[Any], made: Relation, target: Relation) -> None:
    row = connection.execute("select relkind::text from pg_class where oid = %s::regclass", [str(made)]).fetchone()
    assert row is not None  # noqa: S101 - it was made in this transaction
    connection.execute(f"alter {_KINDS[row[0]]} {made} rename to {quote(target.identifier)}".encode())


def _views_over(connection: Connection[Any], oid: int) -> list[_View]:
    """Return the views over a relation, each after those that it reads."""
    rows = connection.execute(
        """
        with recursive over as (
            select %s::oid as oid, 0 as depth
            union
            select r.ev_class, over.depth + 1
            from over join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = over.oid
            join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.ev_class <> over.oid
        )
        select c.oid, c.relkind::text, format('%%I.%%I', n.nspname, c.relname),
            array[lower(current_database()), lower(n.nspname), lower(c.relname)],
            pg_get_viewdef(c.oid), array_to_string(c.reloptions, ', '), c.relowner::regrole::text, obj_description(c.oid, 'pg_class'),
            (select array_agg(array[case g.grantee when 0 then 'public' else g.grantee::regrole::text end, g.privilege_type, g.is_grantable::text])
                from aclexplode(c.relacl) g),
            c.relkind = 'v' and not c.relhastriggers and (select count(*) = 1 from pg_rewrite r where r.ev_class = c.oid)
        from (select oid, max(depth) as depth from over where depth > 0 group by oid) as found
        join pg_class c on c.oid = found.oid join pg_namespace n on n.oid = c.relnamespace
        order by found.depth, c.oid
        """,
        [oid],
    ).fetchall()
    return [
        _View(
            oid=row[0],
            kind=row[1],
            name=row[2],
            key=tuple(row[3]),
            definition=row[4],
            options=row[5],
            owner=row[6],
            comment=row[7],
            grants=tuple((who, what, may_grant == "true") for who, what, may_grant in row[8] or ()),
            is_plain=row[9],
        )
        for row in rows
    ]


def _refuse(target: Relation, views: list[_View]) -> None:
    if views:
        listed = ", ".join(f"{_KINDS[view.kind]} {view.name}" for view in views)
        raise WarehouseError(
            f"{target} cannot be replaced while this reads it: {listed}; only plain views are made again. Drop it in a pre_hook of the "
            f"model and make it again in a post_hook, or point it at a view"
        )


def _again(
    connection: Connection[Any], target: Relation, views: list[_View], build_ids: BuildIds
) -> tuple[RelationKey, ...]:
    """Make views again that went with the old relation; return those of ours that the new one has no columns for."""
    ours = build_ids.ours(connection, [view.oid for view in views])
    gone = []
    for view in views:
        try:
            with connection.transaction():
                _create(connection, view)
        except psycopg.Error as error:
            if view.oid not in ours:
                raise WarehouseError(
                    f"{target} cannot be replaced, because the view {view.name} would not stand over it: {error.diag.message_primary}; "
                    f"change or drop that view first"
                ) from error
            gone.append(view.key)
            continue
        if view.oid in ours:
            build_ids.moved(connection, view.oid, view.name)
    return tuple(gone)


def _create(connection: Connection[Any], view: _View) -> None:
    options = f" with ({view.options})" if view.options else ""
    statements = [
        f"create view {view.name}{options} as {view.definition}",
        f"alter view {view.name} owner to {view.owner}",
    ]
    for who, what, may_grant in view.grants:
        if who != view.owner:
            statements.append(f"grant {what} on {view.name} to {who}{' with grant option' if may_grant else ''}")
    if view.comment is not None:
        statements.append(f"comment on view {view.name} is {literal(view.comment)}")
    for statement in statements:
        connection.execute(statement.encode())
