"""Brings the tables of the state to this version, once, whichever process comes first."""

from __future__ import annotations

from importlib import import_module

from sao_dagster.errors import StateError
from sao_dagster.state.connection import StateConnection
from sao_dagster.state.statements import Transaction

MIGRATIONS = {
    "0001": "v0001_first",
    "0002": "v0002_leases",
    "0003": "v0003_many_writers",
    "0004": "v0004_schemes",
    "0005": "v0005_environments",
    "0006": "v0006_branches",
    "0007": "v0007_elsewhere",
    "0008": "v0008_published",
    "0009": "v0009_verdicts",
    "0010": "v0010_failures",
    "0011": "v0011_large_counts",
    "0012": "v0012_large_ids",
    "0013": "v0013_movements",
}
"""By version, the module of `migrations` that leads to it, in order."""
HEAD = max(MIGRATIONS)
VERSION_TABLE = "sao_alembic_version"  # as Alembic has called it, which made the first versions


def migrate(database: StateConnection) -> None:
    """Bring the tables to `HEAD`. Processes that start at once take turns, and the first does the work.

    Raises:
        StateError: A newer version of this package has written the state.
    """
    with database.transaction() as transaction:
        if _found(transaction) == HEAD:
            return
    with database.transaction(write=True) as transaction:
        database.take_turns(transaction, "sao migrations")
        upgrade(transaction, HEAD)


def upgrade(transaction: Transaction, version: str) -> None:
    """Bring the tables to a version from the one they have, if that is an older one."""
    found = _found(transaction)
    due = [each for each in MIGRATIONS if (found or "") < each <= version]
    for each in due:
        import_module(f"sao_dagster.state.migrations.{MIGRATIONS[each]}").upgrade(transaction)
    if found is None:
        transaction.script(f"create table if not exists {VERSION_TABLE} (version_num varchar(32) not null primary key)")
    if due:
        transaction.execute(f"delete from {VERSION_TABLE}")
        transaction.insert(VERSION_TABLE, [{"version_num": due[-1]}])


def check_version(database: StateConnection) -> None:
    """Refuse tables of another version, where they are not to be changed.

    Raises:
        StateError: They are, or there are none.
    """
    with database.transaction() as transaction:
        found = _found(transaction)
    if found != HEAD:
        what = (
            "no state is there" if found is None else f"the state was written by an older sao_dagster (schema {found})"
        )
        raise StateError(
            f"{what}, and it is only read from here; let its own project run once with this version ({HEAD})"
        )


def _found(transaction: Transaction) -> str | None:
    """Return the version of the tables, None if there are none."""
    if not transaction.has_table(VERSION_TABLE):
        return None
    found: str | None = transaction.value(f"select version_num from {VERSION_TABLE}")
    if found is not None and found not in MIGRATIONS:
        raise StateError(
            f"the state was written by a newer sao_dagster (schema {found}, this one knows {HEAD}); "
            f"upgrade this installation"
        )
    return found
