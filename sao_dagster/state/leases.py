"""Leases on models in SQL: who may build which, and who is next.

One row for each model that was ever leased, with a fencing number that only grows, and one for each holder that waits. Every
function is called in a transaction that writes; those about one model follow each other (`StateConnection.take_turns`, and in
SQLite anyhow), so what is read here is true until the transaction ends. All times are the database's.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, update

from sao_dagster.core.records import Lease, QueuePosition
from sao_dagster.errors import LeaseLostError
from sao_dagster.state import tables

_leases, _waiters = tables.leases, tables.waiters
_FREE = {"holder": None, "run_id": None, "taken_at": None, "expires_at": None, "seconds": None}


def take(
    connection: Connection, now: float, environment: str, model: str, holder: str, run_id: str, seconds: float
) -> Lease | QueuePosition:
    """Return the lease on a model, or a place in its queue; see `StateStore.take_lease`."""
    place = (_waiters.c.environment == environment, _waiters.c.model == model)
    row = connection.execute(_row(environment, model)).one_or_none()
    held = row is not None and row.holder is not None and _lives(row, now)
    if row is not None and held and row.holder == holder:
        return _lease(row)
    places = connection.execute(select(_waiters).where(*place).order_by(_waiters.c.id)).all()
    queue = [each for each in places if _lives(each, now)]
    if gone := [each.id for each in places if not _lives(each, now)]:
        connection.execute(delete(_waiters).where(_waiters.c.id.in_(gone)))
    ahead = [each for each in queue if each.holder != holder]
    mine = next((each for each in queue if each.holder == holder), None)
    if mine is not None:
        ahead = [each for each in ahead if each.id < mine.id]
    if held or ahead:
        _queue_up(connection, environment, model, holder, run_id, now, seconds, queued=mine is not None)
        first, since = (row, row.taken_at) if row is not None and held else (ahead[0], ahead[0].asked_at)
        return QueuePosition(
            model=model, run_id=first.run_id, holder=first.holder, since=_time(since), ahead=len(ahead) + held
        )
    values = {"holder": holder, "run_id": run_id, "taken_at": now, "expires_at": now + seconds, "seconds": seconds}
    fence = (
        row.fence + 1 if row is not None and isinstance(row.fence, int) else 1
    )  # a damaged one is of a holder that is told apart
    if row is None:
        connection.execute(insert(_leases).values(environment=environment, model=model, fence=fence, **values))
    else:
        connection.execute(update(_leases).where(*_key(environment, model)).values(fence=fence, **values))
    connection.execute(delete(_waiters).where(*place, _waiters.c.holder == holder))
    return Lease(model=model, holder=holder, fence=fence, run_id=run_id, expires_at=_time(now + seconds))


def renew(connection: Connection, now: float, environment: str, holder: str, seconds: float) -> frozenset[str]:
    """Extend what a holder has; return the models it still holds. A lease that expired is still its own until taken over."""
    for table in (_leases, _waiters):
        mine = _of(table, environment, holder)
        connection.execute(update(table).where(*mine).values(expires_at=now + seconds, seconds=seconds))
    return frozenset(connection.execute(select(_leases.c.model).where(*_of(_leases, environment, holder))).scalars())


def release(connection: Connection, environment: str, lease: Lease) -> None:
    """Give a lease back, if it is still the one that is held. Its fencing number stays."""
    connection.execute(
        update(_leases).where(*_key(environment, lease.model), _leases.c.fence == lease.fence).values(_FREE)
    )


def check(connection: Connection, environment: str, lease: Lease) -> None:
    """Make sure that a lease was not taken over.

    Raises:
        LeaseLostError: It was.
    """
    row = connection.execute(_row(environment, lease.model)).one_or_none()
    if row is None or row.fence != lease.fence or row.holder != lease.holder:
        by = f" by run {row.run_id}" if row is not None and row.run_id else ""
        raise LeaseLostError(f"the lease on {lease.model} was taken over{by}, because it was not renewed in time")


def leave(connection: Connection, environment: str, holder: str, model: str | None = None) -> None:
    """Give up all that a holder has, or what it has of one model."""
    connection.execute(update(_leases).where(*_of(_leases, environment, holder, model)).values(_FREE))
    connection.execute(delete(_waiters).where(*_of(_waiters, environment, holder, model)))


def held(connection: Connection, now: float, environment: str) -> list[Lease]:
    """Return the leases that are held now."""
    query = select(_leases).where(_leases.c.environment == environment, _leases.c.holder.is_not(None))
    return [_lease(row) for row in connection.execute(query.order_by(_leases.c.model)) if _lives(row, now)]


def _queue_up(
    connection: Connection,
    environment: str,
    model: str,
    holder: str,
    run_id: str,
    now: float,
    seconds: float,
    *,
    queued: bool,
) -> None:
    """Keep the place that a holder has in the queue for a model, or give it one at the end."""
    if queued:
        connection.execute(
            update(_waiters)
            .where(_waiters.c.environment == environment, _waiters.c.model == model, _waiters.c.holder == holder)
            .values(expires_at=now + seconds, seconds=seconds)
        )
        return
    connection.execute(
        insert(_waiters).values(
            environment=environment,
            model=model,
            holder=holder,
            run_id=run_id,
            asked_at=now,
            expires_at=now + seconds,
            seconds=seconds,
        )
    )


def _lives(row: Any, now: float) -> bool:
    """Return whether a lease or place has not expired.

    One that lasts for much longer than it was given was written before the clock of the database was set back; nobody knows how
    long ago that was, so it may be taken over. If its holder is alive, it notices when it records.
    """
    if not isinstance(row.expires_at, int | float) or not isinstance(row.seconds, int | float | None):
        return False  # damaged
    return row.expires_at > now and (row.seconds is None or row.expires_at <= now + 2 * row.seconds)


def _of(table: Table, environment: str, holder: str, model: str | None = None) -> list[Any]:
    """Return the conditions for what a holder has, of one model or of all."""
    found = [table.c.environment == environment, table.c.holder == holder]
    return found if model is None else [*found, table.c.model == model]


def _key(environment: str, model: str) -> tuple[Any, Any]:
    return _leases.c.environment == environment, _leases.c.model == model


def _row(environment: str, model: str) -> Any:
    return select(_leases).where(*_key(environment, model))


def _lease(row: Any) -> Lease:
    return Lease(
        model=row.model,
        holder=row.holder,
        fence=row.fence,
        run_id=row.run_id,
        expires_at=_time(row.expires_at),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
