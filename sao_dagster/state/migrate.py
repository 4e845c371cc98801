"""Brings the tables of the state to this version, once, whichever process comes first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sao_dagster.errors import StateError
from sao_dagster.state.connection import StateConnection
from sao_dagster.state.tables import metadata

HEAD = "0006"  # the newest of `migrations/versions`
VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
VERSION_TABLE = "sao_alembic_version"


def migrate(engine: StateConnection) -> None:
    """Bring the tables to `HEAD`. Processes that start at once take turns, and the first does the work.

    Raises:
        StateError: A newer version of this package has written the state.
    """
    with engine.transaction() as connection:
        if _found(connection) == HEAD:
            return
    with engine.transaction(write=True) as connection:
        if engine.is_in_memory:  # it has no past, and is made anew by every test
            metadata.create_all(connection)
            connection.execute(text(f"create table {VERSION_TABLE} as select '{HEAD}' as version_num"))
            return
        engine.take_turns(connection, "sao migrations")
        if _found(connection) != HEAD:
            _upgrade(connection)


def check_version(engine: StateConnection) -> None:
    """Refuse tables of another version, where they are not to be changed.

    Raises:
        StateError: They are, or there are none.
    """
    with engine.transaction() as connection:
        found = _found(connection)
    if found != HEAD:
        what = (
            "no state is there" if found is None else f"the state was written by an older sao_dagster (schema {found})"
        )
        raise StateError(
            f"{what}, and it is only read from here; let its own project run once with this version ({HEAD})"
        )


def _found(connection: Connection) -> str | None:
    """Return the version of the tables, None if there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"select version_num from {VERSION_TABLE}")).scalar()
    if found is not None and found not in VERSIONS:
        raise StateError(
            f"the state was written by a newer sao_dagster (schema {found}, this one knows {HEAD}); "
            f"upgrade this installation"
        )
    return found


def _upgrade(connection: Connection) -> None:
    from alembic import command  # it takes a while, and is needed once in the life of a state
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
