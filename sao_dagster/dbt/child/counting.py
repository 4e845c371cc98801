"""What dbt writes to PostgreSQL is counted by the server as soon as a node is built, so that what others write is told from it by the counts."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from .quiet import quietly

FIRST_THAT_CAN = 150000
"""The first version of the server that counts when it is asked to."""


class Counting:
    """Has what each build has written counted at once, where the server can do that.

    Args:
        adapter: dbt's adapter.
    """

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._built = threading.local()
        self._can: bool | None = None if adapter.type() == "postgres" else False
        original = adapter.post_model_hook

        def post_model_hook(config: Any, context: Any) -> None:
            original(config, context)
            with suppress(Exception), quietly():  # it is counted later then, and taken for somebody else's
                self._count()

        adapter.post_model_hook = post_model_hook

    def begin(self) -> None:
        """Note that a build begins in this thread."""
        self._built.is_counted = False

    @property
    def has_counted(self) -> bool:
        """Whether all that this thread has built since is counted."""
        return bool(self._built.is_counted)

    def _count(self) -> None:
        self._built.is_counted = False
        connection = self._adapter.connections.get_if_exists()
        if self._can is False or connection is None or connection.transaction_open:
            return
        if self._can is None:
            _, table = self._adapter.execute("show server_version_num", auto_begin=True, fetch=True)
            self._can = int(table.rows[0][0]) >= FIRST_THAT_CAN
        if self._can:
            self._adapter.execute("select pg_stat_force_next_flush()", auto_begin=True)
            self._built.is_counted = True
        self._adapter.commit_if_has_connection()
