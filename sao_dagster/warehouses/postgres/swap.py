"""Brings a relation that was made beside another one into its place, and keeps the views over it.

PostgreSQL lets no table go that a view reads. dbt drops such views; here they are made again as they were, in the same
transaction, with their owner and rights. Readers see the old table or the new one, and wait only for that moment.

A query may read the table first and a view over it later, so no order of locks keeps it from a deadlock with this. PostgreSQL ends
one of the two then, whoever notices first; so who is in the way of a reader here gives way before anybody looks for deadlocks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import Connection, errors

from sao_dagster.core.relations import Relation, RelationKey, quote
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.postgres.build_ids import BuildIds, one_at_a_time
from sao_dagster.warehouses.shared.names import literal

R = TypeVar("R")

_GIVES_WAY = 5  # times; then it waits as long as it takes, or readers that never end would keep it out for ever
_LOCK_TIMEOUT = "select set_config('lock_timeout', %s, true)"
_BEFORE_DEADLOCKS = "select current_setting('lock_timeout'), greatest(extract(epoch from current_setting('deadlock_timeout')::interval) * 500, 1)::int"  # half of it, in ms
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}


@dataclass(frozen=True)
class _View:
    """A view over the relation, with all that it takes to make it again."""

    relation: Relation
    key: RelationKey
    kind: str
    definition: str
    options: str | None
    owner: str
    comment: str | None
    grants: tuple[tuple[str, str, bool], ...]
    is_plain: bool


class _Keeper(NamedTuple):
    """Where it is kept which build made a view."""

    build_ids: BuildIds
    build_id: str


def put_in_place(
    connection: Connection[Any], made: Relation, target: Relation, build_ids: BuildIds
) -> tuple[RelationKey, ...]:
    """Give a new relation the name of the one it replaces; return views of ours that cannot stand over it.

    Locks are taken in one order by all: build ids, our own first, which readers share until they are done; then the right to make views again;
    then relations, from the outermost view inwards.

    Raises:
        WarehouseError: A view of somebody else cannot, or may not be made again; nothing has changed.
    """
    over = _over(connection, target)
    if over:
        _check_may_drop(connection, target)
    held = _held(connection, build_ids, [target, *over])
    held |= _built_elsewhere(connection, build_ids, [each for each in over if each not in held])
    return _giving_way(connection, lambda: _replace(connection, made, target, build_ids, held))


def _built_elsewhere(
    connection: Connection[Any], build_ids: BuildIds, views: list[Relation]
) -> dict[Relation, _Keeper]:
    """Return which of some views other environments and projects have built, held for change; made again, they are still that."""
    found: dict[Relation, _Keeper] = {}
    for others in BuildIds.beside(connection) if views else ():
        if others.schema != build_ids.schema:
            found |= _held(connection, others, views)
    return found


def _held(connection: Connection[Any], build_ids: BuildIds, relations: list[Relation]) -> dict[Relation, _Keeper]:
    """Return those of some relations whose builds are kept in one place, held for change."""
    held = build_ids.hold_for_change(connection, relations)
    return {relation: _Keeper(build_ids, build_id) for relation, build_id in held.items() if build_id is not None}


def _giving_way(connection: Connection[Any], change: Callable[[], R]) -> R:
    """Return what a change gives that takes nothing but locks.

    Where it has waited for one nearly as long as PostgreSQL waits before it looks for deadlocks, it lets go of those that it has, and begins anew.
    """
    [(timeout, soon)] = connection.execute(_BEFORE_DEADLOCKS.encode()).fetchall()
    for _ in range(_GIVES_WAY):
        try:
            with connection.transaction():
                connection.execute(_LOCK_TIMEOUT, [str(soon)])
                found = change()
                connection.execute(_LOCK_TIMEOUT, [timeout])
                return found
        except errors.LockNotAvailable:
            connection.execute("select pg_sleep(%s)", [random.uniform(0.01, 0.1)])  # noqa: S311 - there, where it can be cancelled
    return change()


def _replace(
    connection: Connection[Any], made: Relation, target: Relation, build_ids: BuildIds, held: Mapping[Relation, _Keeper]
) -> tuple[RelationKey, ...]:
    """Replace what is there, if anything is; return the views that cannot stand over the new relation."""
    row = connection.execute("select relkind::text from pg_class where oid = to_regclass(%s)", [str(target)]).fetchone()
    if row is None:
        _rename(connection, made, target)
        return ()
    views: list[_View] = []
    if _over(connection, target):
        one_at_a_time(connection, "views")
        views = _views_over(connection, target)
        _refuse(target, [view for view in views if not view.is_plain])
        late = [view.relation for view in views if view.relation not in held]  # perhaps made since
        held = {**held, **_held(connection, build_ids, late)}
    for view in reversed(views):
        connection.execute(f"drop view {view.relation}".encode())
    connection.execute(f"drop {_KINDS[row[0]]} {target}".encode())
    _rename(connection, made, target)
    return _again(connection, target, views, build_ids, held)


def _rename(connection: Connection[Any], made: Relation, target: Relation) -> None:
    connection.execute(f"alter table {made} rename to {quote(target.identifier)}".encode())  # views, too


_OVER = """
    with recursive over as (
        select to_regclass(%s)::oid as oid, 0 as depth
        union
        select r.ev_class, over.depth + 1
        from over join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = over.oid
        join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid and r.ev_class <> over.oid
    ), views as (select oid, max(depth) as depth from over where depth > 0 group by oid)
"""


def _over(connection: Connection[Any], target: Relation) -> list[Relation]:
    """Return the views over a relation, without locking any."""
    rows = connection.execute(
        f"{_OVER} select n.nspname, c.relname from views join pg_class c on c.oid = views.oid join pg_namespace n on n.oid = c.relnamespace".encode(),
        [str(target)],
    )
    return [Relation(None, schema, name) for schema, name in rows]


def _views_over(connection: Connection[Any], target: Relation) -> list[_View]:
    """Return the views over a relation with all that makes them, each after those that it reads."""
    rows = connection.execute(
        f"""
        {_OVER}
        select n.nspname, c.relname, array[current_database()::text, n.nspname::text, c.relname::text], c.relkind::text,
            pg_get_viewdef(c.oid), array_to_string(c.reloptions, ', '), c.relowner::regrole::text, obj_description(c.oid, 'pg_class'),
            (select array_agg(array[case g.grantee when 0 then 'public' else g.grantee::regrole::text end, g.privilege_type, g.is_grantable::text])
                from aclexplode(c.relacl) g),
            c.relkind = 'v' and not c.relhastriggers and (select count(*) = 1 from pg_rewrite r where r.ev_class = c.oid)
        from views join pg_class c on c.oid = views.oid join pg_namespace n on n.oid = c.relnamespace
        order by views.depth, c.oid
        """.encode(),
        [str(target)],
    ).fetchall()
    return [
        _View(
            relation=Relation(None, schema, name),
            key=tuple(key),
            kind=kind,
            definition=definition,
            options=options,
            owner=owner,
            comment=comment,
            grants=tuple((who, what, may_grant == "true") for who, what, may_grant in grants or ()),
            is_plain=is_plain,
        )
        for schema, name, key, kind, definition, options, owner, comment, grants, is_plain in rows
    ]


def _refuse(target: Relation, views: list[_View]) -> None:
    if views:
        listed = ", ".join(f"{_KINDS[view.kind]} {view.relation}" for view in views)
        raise WarehouseError(
            f"{target} cannot be replaced while this reads it: {listed}; only plain views are made again. Drop it in a pre_hook of the "
            f"model and make it again in a post_hook, or point it at a view"
        )


def _check_may_drop(connection: Connection[Any], target: Relation) -> None:
    """Refuse to replace a relation under views that somebody else alone may drop, and so make again.

    Raises:
        WarehouseError: There is one.
    """
    row = connection.execute(
        f"""
        {_OVER}
        select format('%%I.%%I', n.nspname, c.relname), c.relowner::regrole::text
        from views join pg_class c on c.oid = views.oid join pg_namespace n on n.oid = c.relnamespace
        where not (pg_has_role(c.relowner, 'usage') and has_schema_privilege(n.oid, 'usage')) order by 1
        """.encode(),
        [str(target)],
    ).fetchone()
    if row is not None:
        view, owner = row
        raise WarehouseError(
            f"{target} cannot be replaced, because the view {view} over it would have to be made again, and belongs to {owner}: drop that view "
            f"first, or make who builds here a member of {owner} who may use its schema"
        )


def _again(
    connection: Connection[Any],
    target: Relation,
    views: list[_View],
    build_ids: BuildIds,
    held: Mapping[Relation, _Keeper],
) -> tuple[RelationKey, ...]:
    """Make views again that went with the old relation; return those of ours that the new one has no columns for."""
    gone = []
    for view in views:
        keeper = held.get(view.relation)
        try:
            with connection.transaction():
                _create(connection, view)
        except psycopg.OperationalError:
            raise  # which says nothing of the view
        except psycopg.Error as error:
            if keeper is None or keeper.build_ids is not build_ids:
                raise WarehouseError(
                    f"{target} cannot be replaced, because the view {view.relation} would not stand over it: {error.diag.message_primary}; "
                    f"change or drop that view first"
                ) from error
            gone.append(view.key)
            continue
        if keeper is not None:
            keeper.build_ids.keep(connection, view.relation, keeper.build_id)
    return tuple(gone)


def _create(connection: Connection[Any], view: _View) -> None:
    name = view.relation
    options = f" with ({view.options})" if view.options else ""
    statements = [f"create view {name}{options} as {view.definition}", f"alter view {name} owner to {view.owner}"]
    for who, what, may_grant in view.grants:
        if who != view.owner:
            statements.append(f"grant {what} on {name} to {who}{' with grant option' if may_grant else ''}")
    if view.comment is not None:
        statements.append(f"comment on view {name} is {literal(view.comment)}")
    for statement in statements:
        connection.execute(statement.encode())
