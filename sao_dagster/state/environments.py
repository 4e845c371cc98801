"""Which environments the state knows, and what an environment takes over the first time that it is found."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, select, update

from sao_dagster.core.environment import Branch, Environment, KnownEnvironment
from sao_dagster.state import tables
from sao_dagster.state.convert import readable

_environments, _builds, _branches = tables.environments, tables.builds, tables.branches
_MOVED = (tables.builds, tables.tests, tables.versions, tables.runs, tables.decisions, tables.shown, tables.sequences)
_OF_WHAT_IS_THERE = (
    tables.builds,
    tables.tests,
    tables.contents,
    tables.versions,
    tables.shown,
    tables.environments,
    tables.branches,
)
_LEFT = (tables.contents, tables.leases, tables.waiters)  # of what is over: what is going on is under the new key


def at(connection: Connection, where: Environment) -> str:
    """Return the key of the environment that was found at a place the last time; that of the place where none was."""
    found = connection.execute(select(_environments.c.environment).where(_environments.c.place == where.key)).scalar()
    return where.key if found is None else str(found)


def is_settled(connection: Connection, found: Environment, where: Environment) -> bool:
    """Return whether that environment was found at that place the last time."""
    query = select(_environments.c.environment).where(_environments.c.place == where.key)
    return connection.execute(query).scalar() == found.key


def settle(connection: Connection, found: Environment, where: Environment, relations: Mapping[str, str]) -> None:
    """Note that an environment was found at a place, and let it take over what is its own; see `EnvironmentStore.settle`."""
    is_new = connection.execute(select(func.count()).where(_environments.c.environment == found.key)).scalar() == 0
    connection.execute(delete(_environments).where(_environments.c.place == where.key))
    connection.execute(
        _environments.insert().values(
            place=where.key,
            environment=found.key,
            name=found.name,
            schema_name=found.schema,
            database_place=where.database,
        )
    )
    if not is_new or _relations(connection, found.key):
        return
    if found.key != where.key and _relations(connection, where.key):
        _take_over(connection, where.key, found.key)
        return
    older = _relations(connection, found.name)
    shared = older.keys() & relations.keys()
    if shared and all(older[model] == relations[model] for model in shared):
        _take_over(connection, found.name, found.key)


def known(connection: Connection) -> list[KnownEnvironment]:
    """Return all environments, sorted by key."""
    counts = select(_builds.c.environment, func.count()).group_by(_builds.c.environment)
    builds = {row[0]: int(row[1]) for row in connection.execute(counts)}
    places: dict[str, list[str]] = {}
    named: dict[str, tuple[str, str]] = {}
    for row in connection.execute(select(_environments)):
        places.setdefault(row.environment, []).append(row.database_place)
        named[row.environment] = (row.name, row.schema_name)
    made = set(connection.execute(select(_branches.c.environment)).scalars())
    return [
        KnownEnvironment(
            key=key,
            name=named.get(key, (key, ""))[0],
            schema=named.get(key, (key, ""))[1],
            places=tuple(sorted(places.get(key, ()))),
            builds=builds.get(key, 0),
            is_branch=key in made,
        )
        for key in sorted({*named, *builds})
    ]


def branches(connection: Connection, key: str | None = None) -> list[Branch]:
    """Return the environments that were made for branches, or the one of a key, sorted by key."""
    query = select(_branches).order_by(_branches.c.environment)
    return list(
        readable(Branch, connection.execute(query if key is None else query.where(_branches.c.environment == key)))
    )


def forget(connection: Connection, key: str) -> int:
    """Forget an environment that is gone; return how many builds and verdicts went.

    What was done in it is history, and goes with that; and what only grows stays, so that nobody who saw it takes its successor for it.
    """
    gone = 0
    for table in _OF_WHAT_IS_THERE:
        rows = connection.execute(delete(table).where(table.c.environment == key)).rowcount
        gone += rows if table in (tables.builds, tables.tests) else 0
    return gone


def _relations(connection: Connection, key: str) -> dict[str, str]:
    """Return where models were built, by name."""
    return {row.model: row.relation for row in connection.execute(select(_builds).where(_builds.c.environment == key))}


def _take_over(connection: Connection, old: str, new: str) -> None:
    for table in _MOVED:
        if "environment" in table.primary_key.columns:
            connection.execute(delete(table).where(table.c.environment == new))
        connection.execute(update(table).where(table.c.environment == old).values(environment=new))
    for table in _LEFT:
        connection.execute(delete(table).where(table.c.environment == old))
