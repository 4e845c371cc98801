"""Sessions that answer by another one whatever they do not answer themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.protocol import Catalog, Columns, QueryResult, Session


class DelegatingSession(Session):
    """A session that asks another one. Each method of `Session` that a kind of it has not itself is that of the other one."""

    @abstractmethod
    def answering(self) -> AbstractContextManager[Session]:
        """Give the other session, for as long as it is asked."""

    def __init_subclass__(cls) -> None:
        for name in vars(Session):
            if not name.startswith("_") and name not in {*vars(cls), *vars(DelegatingSession)}:
                setattr(cls, name, _delegated(name))

    def catalog(self) -> Catalog:
        """Return all tables and views."""
        with self.answering() as session:
            return session.catalog()

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""
        with self.answering() as session:
            return session.query(sql)

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""
        with self.answering() as session:
            session.execute(sql)

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of what can stand after `from`."""
        with self.answering() as session:
            return session.columns_of(read)


def _delegated(name: str) -> Callable[..., Any]:
    def method(self: DelegatingSession, *args: Any, **kwargs: Any) -> Any:
        with self.answering() as session:
            return getattr(session, name)(*args, **kwargs)

    method.__name__, method.__doc__ = name, getattr(Session, name).__doc__
    return method
