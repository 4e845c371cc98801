"""Many questions about relations, answered from one look at the catalog."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.protocol import Columns, Session
from sao_dagster.warehouses.shared.delegated import DelegatingSession


class AskedAtOnce(DelegatingSession):
    """A session as it is when it is first asked of a relation: what others do from then on may not show.

    It answers as the session does, and is made anew for each time at which something is to be known: for an observation, for a decision.

    Attributes:
        session: The session, which is asked for whatever the look does not tell.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._seen = cache(session.relations_at_once)

    def answering(self) -> AbstractContextManager[Session]:
        """Give the session."""
        return nullcontext(self.session)

    def interrupt(self) -> None:
        """Stop all running statements."""
        self.session.interrupt()

    def kind_of(self, relation: Relation) -> str | None:
        """Return whether a relation is a `table` or a `view`; None where it is not there."""
        seen = self._seen()
        if seen is None:
            return self.session.kind_of(relation)
        info = seen.get(relation.key)
        return None if info is None else info.kind

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of a relation, or of anything else that can stand after `from`."""
        seen = self._seen() if isinstance(read, Relation) else None
        info = seen.get(read.key) if isinstance(read, Relation) and seen is not None else None
        return self.session.columns_of(read) if info is None or info.columns is None else info.columns
