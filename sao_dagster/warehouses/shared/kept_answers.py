"""What a warehouse has said, kept for as long as it shows, without being opened, that it would say the same again.

Kept is what follows from the warehouse's own contents and from what the profile sets. Rows are none of that, since a query may read the
clock, or files of others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.warehouses.protocol import (
    Catalog,
    Columns,
    Constraints,
    ContentTokens,
    FunctionInfo,
    ReadFiles,
    Session,
    StampedWarehouse,
    Warehouse,
)
from sao_dagster.warehouses.shared.delegated import DelegatingSession
from sao_dagster.warehouses.shared.files import ReadPaths

T = TypeVar("T")

_REFUSALS = 2  # after which nobody tries again: what is asked then is perhaps what cannot be kept


class NotKeptError(Exception):
    """Something is asked that was not asked before, so that the warehouse has to be opened."""


@dataclass
class Answers:
    """What was answered while a warehouse had one stamp.

    Attributes:
        of: The warehouse, and its stamp, taken before anything was asked: whatever is written after that gives another one.
        given: By what was asked.
        refusals: In how many sessions that were not open something else was asked.
    """

    of: tuple[Warehouse, str]
    given: dict[tuple[object, ...], Any] = field(default_factory=dict)
    refusals: int = 0


@dataclass
class KeptAnswers:
    """The last answers of a warehouse; None where nothing shows for how long they hold."""

    last: Answers | None = None

    def unopened(self, warehouse: Warehouse) -> KeptSession | None:
        """Return a session that has nothing but the kept answers; None where these do not hold, or were not enough lately."""
        last = self.last
        if last is None or last.refusals >= _REFUSALS or not isinstance(warehouse, StampedWarehouse):
            return None
        return KeptSession(last, None) if last.of == (warehouse, warehouse.stamp()) else None

    def keeping(self, warehouse: Warehouse, session: Session) -> Session:
        """Return an open session whose answers are kept."""
        stamp = session.stamp() if isinstance(warehouse, StampedWarehouse) else None
        if stamp is None:
            self.last = None
            return session
        answers = self.last
        if answers is None or answers.of != (warehouse, stamp):
            answers = self.last = Answers((warehouse, stamp), {("stamp",): stamp})
        return KeptSession(answers, session)


class KeptSession(DelegatingSession):
    """A session whose answers are kept, or that has nothing else.

    Attributes:
        has_refused: Whether something was asked of a session that is not open and has no answer to it.
    """

    def __init__(self, answers: Answers, session: Session | None) -> None:
        self.has_refused = False
        self._answers = answers
        self._session = session

    @contextmanager
    def answering(self) -> Iterator[Session]:
        """Give the open session.

        Raises:
            NotKeptError: There is none.
        """
        if self._session is None:
            self._answers.refusals += not self.has_refused
            self.has_refused = True
            raise NotKeptError
        yield self._session

    def _once(self, question: tuple[object, ...], ask: Callable[[Session], T]) -> T:
        if question not in self._answers.given:
            with self.answering() as session:
                self._answers.given[question] = ask(session)
        found: T = self._answers.given[question]
        return found

    def interrupt(self) -> None:
        """Stop all running statements; there are none where it is not open."""
        if self._session is not None:
            self._session.interrupt()

    def stamp(self) -> str | None:
        """Return the stamp that it has had since it was opened."""
        return self._once(("stamp",), lambda session: session.stamp())

    def catalog(self) -> Catalog:
        """Return all tables and views."""
        return self._once(("catalog",), lambda session: session.catalog())

    def relations_at_once(self) -> Catalog | None:
        """Return what tells at once of all relations what they are."""
        return self._once(("relations_at_once",), lambda session: session.relations_at_once())

    def constraints(self) -> Constraints:
        """Return the constraints that the warehouse enforces."""
        return self._once(("constraints",), lambda session: session.constraints())

    def settings(self) -> ConnectionSettings:
        """Return what is set that may change results."""
        return self._once(("settings",), lambda session: session.settings())

    def time_zone(self) -> str | None:
        """Return the name of the session's time zone."""
        return self._once(("time_zone",), lambda session: session.time_zone())

    def database_id(self) -> str | None:
        """Return what the database says that tells it from all others."""
        return self._once(("database_id",), lambda session: session.database_id())

    def made_functions(self) -> MadeFunctions:
        """Return all that somebody made that SQL may call."""
        return self._once(("made_functions",), lambda session: session.made_functions())

    def functions(self, names: Collection[str]) -> Mapping[str, FunctionInfo]:
        """Return the functions of those names that somebody made."""
        return self._once(("functions", frozenset(names)), lambda session: session.functions(names))

    def resolved(self, tables: Collection[UndeclaredInput]) -> Mapping[UndeclaredInput, Relation]:
        """Return which relations are meant by names of tables."""
        return self._once(("resolved", frozenset(tables)), lambda session: session.resolved(tables))

    def behind_views(self, relations: Collection[Relation]) -> Mapping[Relation, frozenset[RelationKey]]:
        """Return what the views among some relations read."""
        return self._once(("behind_views", frozenset(relations)), lambda session: session.behind_views(relations))

    def files_behind(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, ReadFiles]:
        """Return the files that the views among some relations read."""
        return self._once(
            ("files_behind", frozenset(relations)), lambda session: session.files_behind(catalog, relations)
        )

    def read_paths(self) -> ReadPaths:
        """Return from where relative paths in SQL are taken."""
        return self._once(("read_paths",), lambda session: session.read_paths())

    def columns_shown(self, view: Relation, columns: Columns) -> Columns | None:
        """Return the columns that a view has when it is read now."""
        return self._once(("columns_shown", view), lambda session: session.columns_shown(view, columns))

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, str]:
        """Return a token by relation that differs whenever it may hold something else than before."""
        return self._once(("movements", frozenset(relations)), lambda session: session.movements(catalog, relations))

    def content_tokens(self, relations: Collection[Relation]) -> ContentTokens:
        """Return what shows that tables hold what they did."""
        return self._once(("content_tokens", frozenset(relations)), lambda session: session.content_tokens(relations))
