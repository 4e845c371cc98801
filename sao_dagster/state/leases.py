"""Leases on models in SQL: who may build which, and who is next.

One row for each model that was ever leased, with a fencing number that only grows, and one for each holder that waits. Every
function is called in a transaction that writes; those about one model follow each other (`StateConnection.take_turns`, and in
SQLite anyhow), so what is read here is true until the transaction ends. All times are the database's.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sao_dagster.core.records import Lease, QueuePosition
from sao_dagster.errors import LeaseLostError
from sao_dagster.state.statements import Transaction

_PLACE = "environment = :environment and model = :model"
_MINE = "environment = :environment and holder = :holder"
_FREE = "holder = null, run_id = null, taken_at = null, expires_at = null, seconds = null"


def take(
    transaction: Transaction, now: float, environment: str, model: str, holder: str, run_id: str, seconds: float
) -> Lease | QueuePosition:
    """Return the lease on a model, or a place in its queue; see `StateStore.take_lease`."""
    row = _row(transaction, environment, model)
    held = row is not None and row.holder is not None and _lives(row, now)
    if row is not None and held and row.holder == holder:
        return _lease(row)
    what = {"environment": environment, "model": model}
    places = transaction.rows(f"select * from sao_waiters where {_PLACE} order by id", what)
    queue = [each for each in places if _lives(each, now)]
    if gone := [each.id for each in places if not _lives(each, now)]:
        transaction.execute("delete from sao_waiters where id in (:gone)", {"gone": gone})
    ahead = [each for each in queue if each.holder != holder]
    mine = next((each for each in queue if each.holder == holder), None)
    if mine is not None:
        ahead = [each for each in ahead if each.id < mine.id]
    asked = {**what, "holder": holder, "run_id": run_id, "expires_at": now + seconds, "seconds": seconds}
    if held or ahead:
        _queue_up(transaction, {**asked, "asked_at": now}, queued=mine is not None)
        first, since = (row, row.taken_at) if row is not None and held else (ahead[0], ahead[0].asked_at)
        return QueuePosition(
            model=model, run_id=first.run_id, holder=first.holder, since=_time(since), ahead=len(ahead) + held
        )
    fence = (
        row.fence + 1 if row is not None and isinstance(row.fence, int) else 1
    )  # a damaged one is of a holder that is told apart
    transaction.put("sao_leases", [{**asked, "taken_at": now, "fence": fence}])
    transaction.execute(f"delete from sao_waiters where {_PLACE} and holder = :holder", {**what, "holder": holder})
    return Lease(model=model, holder=holder, fence=fence, run_id=run_id, expires_at=_time(now + seconds))


def renew(transaction: Transaction, now: float, environment: str, holder: str, seconds: float) -> frozenset[str]:
    """Extend what a holder has; return the models it still holds. A lease that expired is still its own until taken over."""
    whose = {"environment": environment, "holder": holder}
    later = {**whose, "expires_at": now + seconds, "seconds": seconds}
    for table in ("sao_leases", "sao_waiters"):
        transaction.execute(f"update {table} set expires_at = :expires_at, seconds = :seconds where {_MINE}", later)
    return frozenset(row.model for row in transaction.rows(f"select model from sao_leases where {_MINE}", whose))


def release(transaction: Transaction, environment: str, lease: Lease) -> None:
    """Give a lease back, if it is still the one that is held. Its fencing number stays."""
    values = {"environment": environment, "model": lease.model, "fence": lease.fence}
    transaction.execute(f"update sao_leases set {_FREE} where {_PLACE} and fence = :fence", values)


def check(transaction: Transaction, environment: str, lease: Lease) -> None:
    """Make sure that a lease was not taken over.

    Raises:
        LeaseLostError: It was.
    """
    row = _row(transaction, environment, lease.model)
    if row is None or row.fence != lease.fence or row.holder != lease.holder:
        by = f" by run {row.run_id}" if row is not None and row.run_id else ""
        raise LeaseLostError(f"the lease on {lease.model} was taken over{by}, because it was not renewed in time")


def leave(transaction: Transaction, environment: str, holder: str, model: str | None = None) -> None:
    """Give up all that a holder has, or what it has of one model."""
    values = {"environment": environment, "holder": holder, "model": model}
    mine = _MINE if model is None else f"{_MINE} and model = :model"
    transaction.execute(f"update sao_leases set {_FREE} where {mine}", values)
    transaction.execute(f"delete from sao_waiters where {mine}", values)


def held(transaction: Transaction, now: float, environment: str) -> list[Lease]:
    """Return the leases that are held now."""
    query = "select * from sao_leases where environment = :environment and holder is not null order by model"
    return [_lease(row) for row in transaction.rows(query, {"environment": environment}) if _lives(row, now)]


def _queue_up(transaction: Transaction, asked: dict[str, Any], *, queued: bool) -> None:
    """Keep the place that a holder has in the queue for a model, or give it one at the end."""
    if queued:
        later = "update sao_waiters set expires_at = :expires_at, seconds = :seconds"
        transaction.execute(f"{later} where {_PLACE} and holder = :holder", asked)
    else:
        transaction.insert("sao_waiters", [asked])


def _lives(row: Any, now: float) -> bool:
    """Return whether a lease or place has not expired.

    One that lasts for much longer than it was given was written before the clock of the database was set back; nobody knows how
    long ago that was, so it may be taken over. If its holder is alive, it notices when it records.
    """
    if not isinstance(row.expires_at, int | float) or not isinstance(row.seconds, int | float | None):
        return False  # damaged
    return row.expires_at > now and (row.seconds is None or row.expires_at <= now + 2 * row.seconds)


def _row(transaction: Transaction, environment: str, model: str) -> Any | None:
    values = {"environment": environment, "model": model}
    return transaction.row(f"select * from sao_leases where {_PLACE}", values)


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
