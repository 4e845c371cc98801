"""Which environments the state knows, and what an environment takes over the first time that it is found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sao_dagster.core.environment import Branch, Environment, EnvironmentUse, KnownEnvironment
from sao_dagster.state.convert import readable, understood
from sao_dagster.state.statements import KEYS, Transaction

_MOVED = (
    "sao_builds",
    "sao_tests",
    "sao_versions",
    "sao_runs",
    "sao_decisions",
    "sao_shown",
    "sao_sequences",
    "sao_published",
)
_OF_WHAT_WAS_SEEN = ("sao_tests", "sao_contents", "sao_versions", "sao_shown", "sao_published")
_OF_WHAT_IS_THERE = ("sao_environments", "sao_branches", "sao_builds")
_LEFT = ("sao_contents", "sao_leases", "sao_waiters")  # of what is over: what is going on is under the new key
_AT = "select environment from sao_environments where place = :place"


def at(transaction: Transaction, where: Environment) -> str:
    """Return the key of the environment that was found at a place the last time; that of the place where none was."""
    return str(transaction.value(_AT, {"place": where.key}) or where.key)


def is_settled(transaction: Transaction, found: Environment, where: Environment) -> bool:
    """Return whether that environment was found at that place the last time."""
    return bool(transaction.value(_AT, {"place": where.key}) == found.key)


def settle(transaction: Transaction, found: Environment, where: Environment, relations: Mapping[str, str]) -> None:
    """Note that an environment was found at a place, and let it take over what is its own; see `EnvironmentStore.settle`."""
    is_new = transaction.row("select 1 from sao_environments where environment = :key", {"key": found.key}) is None
    there = {
        "place": where.key,
        "environment": found.key,
        "name": found.name,
        "schema_name": found.schema,
        "database_place": where.database,
    }
    transaction.put("sao_environments", [there])
    if not is_new or _relations(transaction, found.key):
        return
    if found.key != where.key and _relations(transaction, where.key):
        _take_over(transaction, where.key, found.key)
        return
    older = _relations(transaction, found.name)
    shared = older.keys() & relations.keys()
    if shared and all(older[model] == relations[model] for model in shared):
        _take_over(transaction, found.name, found.key)


def known(transaction: Transaction) -> list[KnownEnvironment]:
    """Return all environments, sorted by key; what is built in them is not looked at."""
    made = {row.environment for row in transaction.rows("select environment from sao_branches")}
    found: dict[str, list[Any]] = {}
    for row in transaction.rows("select * from sao_environments"):
        found.setdefault(row.environment, []).append(row)
    return [
        KnownEnvironment(
            key=key,
            name=rows[0].name,
            schema=rows[0].schema_name,
            places=tuple(sorted(each.database_place for each in rows)),
            is_branch=key in made,
        )
        for key, rows in sorted(found.items())
    ]


def uses(transaction: Transaction) -> dict[str, EnvironmentUse]:
    """Return how much is known of each environment that something is built in, by key."""
    counts = transaction.rows(
        "select environment, count(*) as builds, coalesce(sum(row_count), 0) as row_count, max(built_at) as last_build "
        "from sao_builds group by environment"
    )
    return {
        row.environment: EnvironmentUse(
            builds=int(row.builds),
            rows=int(row.row_count),
            last_build=understood(f"a time of {row.environment!r}", datetime.fromisoformat, row.last_build),
        )
        for row in counts
    }


def branches(transaction: Transaction, key: str | None = None) -> list[Branch]:
    """Return the environments that were made for branches, or the one of a key, sorted by key."""
    which = "" if key is None else "where environment = :key"
    return list(
        readable(Branch, transaction.rows(f"select * from sao_branches {which} order by environment", {"key": key}))
    )


def forget(transaction: Transaction, key: str, *, is_gone: bool) -> int:
    """Forget what is known of an environment; return how many builds and verdicts went. Unless `is_gone`, what says what is there and whose it is stays.

    What was done in it is history, and goes with that; and what only grows stays, so that nobody who saw it takes its successor for it.
    """
    gone = 0
    for table in (*_OF_WHAT_WAS_SEEN, *(_OF_WHAT_IS_THERE if is_gone else ())):
        rows = transaction.execute(f"delete from {table} where environment = :key", {"key": key})
        gone += rows if table in ("sao_builds", "sao_tests") else 0
    return gone


def _relations(transaction: Transaction, key: str) -> dict[str, str]:
    """Return where models were built, by name."""
    rows = transaction.rows("select model, relation from sao_builds where environment = :key", {"key": key})
    return {row.model: row.relation for row in rows}


def _take_over(transaction: Transaction, old: str, new: str) -> None:
    for table in _MOVED:
        if "environment" in KEYS.get(table, ()):
            transaction.execute(f"delete from {table} where environment = :new", {"new": new})
        transaction.execute(f"update {table} set environment = :new where environment = :old", {"old": old, "new": new})
    for table in _LEFT:
        transaction.execute(f"delete from {table} where environment = :old", {"old": old})
