"""What a template asked the warehouse and got: noted while it is rendered, so that another answer is news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.policy import Expiry, Volatile
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import Answer, Asking
from sao_dagster.errors import NeedsConnectionError, NeedsDbtError, UnsupportedError
from sao_dagster.sql.fingerprint import Names
from sao_dagster.sql.questions import is_plain_query, names_relation
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.volatile import volatility

T = TypeVar("T")


@dataclass
class NotedAnswers(Asking):
    """A warehouse whose answers are noted.

    Attributes:
        asking: The warehouse.
        this: The relation of the model itself, where it is one that adds increments: what is asked of that is another thing after each build.
        dialect: sqlglot's name of the dialect.
        volatile: What to do about questions that are volatile.
        hour: The hour of the decision (UTC), which stands for answers that hold no longer.
        noted: The questions with their answers.
        independent: How many of these were asked before anything was asked of the model's own relation; None for all.
        shows_all: Whether what the template gave follows from what is noted.
        names: Ids of the nodes and sources that it is known to read, by how SQL names them.
        asked: The other tables that it asked, whether they are there or not.
        plain_alone: Whether plain queries alone are asked, as at a decision; for a build all is asked, and noted is what holds for longer.
    """

    asking: Asking
    this: Relation | None
    dialect: str
    volatile: Volatile
    hour: datetime
    noted: list[tuple[str, str]] = field(default_factory=list)
    independent: int | None = None
    shows_all: bool = True
    names: Names = field(default_factory=dict)
    asked: dict[UndeclaredInput, None] = field(default_factory=dict)
    plain_alone: bool = True

    def query(self, sql: str) -> Answer:
        """Return all rows of a query.

        Raises:
            UnsupportedError: It is more than a query, so nobody knows what asking it again does.
        """
        is_plain = is_plain_query(sql, self.dialect)
        if not self.plain_alone and not is_plain:
            return self.asking.query(sql)
        self._is_asked(sql)
        if not is_plain:
            raise UnsupportedError(f"only queries are asked again, to see whether their answers changed: {sql[:100]}")
        self._is_of_this(self.this is not None and names_relation(sql, self.this, self.dialect))
        answer = self.asking.query(sql)
        found = volatility(sql, self.dialect)
        by_hour = Expiry.HOUR in (found.expiry, *(origin.expiry for origin in found.columns.values()))
        if found.is_volatile and not self.plain_alone:
            return answer
        if found.is_volatile and (by_hour or self.volatile is not Volatile.AUTO):
            self.shows_all = False
            self.noted.append((sql, self.hour.isoformat() if self.volatile is Volatile.AUTO else ""))
        else:
            self.noted.append((sql, repr((answer.columns, answer.rows))))
        return answer

    def columns_of(self, read: Relation | str) -> tuple[tuple[str, str], ...]:
        """Return names and types of the columns of something that can be read."""
        return self._noted("columns", read, lambda: self.asking.columns_of(read))

    def kind_of(self, relation: Relation) -> str | None:
        """Return whether a relation is a `table` or a `view`; None where it is not there."""
        return self._noted("kind", relation, lambda: self.asking.kind_of(relation))

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""
        return self._noted("schema", f"{database}.{schema}", lambda: self.asking.has_schema(database, schema))

    def _noted(self, question: str, about: Relation | str, ask: Callable[[], T]) -> T:
        own = isinstance(about, Relation) and self.this is not None and about.key == self.this.key
        own = own or (self.this is not None and str(about) == str(self.this))
        self._is_of_this(own)
        if not own and question != "schema":
            self._is_asked(f"select * from {about}")
        answer = ask()
        self.noted.append((f"{question} {about}", repr(answer)))
        return answer

    def _is_asked(self, sql: str) -> None:
        read = undeclared_reads(sql, self.dialect, self.names)
        self.asked.update(dict.fromkeys(each for each in read if each.kind is InputKind.TABLE))

    def _is_of_this(self, is_of_this: bool) -> None:
        if is_of_this and self.independent is None:
            self.independent = len(self.noted)


@dataclass(frozen=True)
class BeforeBuild(Asking):
    """A warehouse as a hook may ask it that is rendered before its model is built, where dbt renders it afterwards.

    What it asks has the same answer then, unless it is about the model itself; and what it does would happen too early. Such a hook is for dbt.

    Attributes:
        asking: The warehouse; None while the project is read, when whatever may be asked is left for the run.
        this: The relation of the model.
        dialect: sqlglot's name of the dialect.
    """

    asking: Asking | None
    this: Relation | None
    dialect: str

    def query(self, sql: str) -> Answer:
        """Return all rows of a query.

        Raises:
            NeedsDbtError: It is more than a query, or reads the model itself.
            NeedsConnectionError: There is no warehouse yet.
        """
        if not is_plain_query(sql, self.dialect):
            raise NeedsDbtError("a hook that does something while it is rendered, after other statements of the build")
        return self._of(self.this is not None and names_relation(sql, self.this, self.dialect)).query(sql)

    def columns_of(self, read: Relation | str) -> tuple[tuple[str, str], ...]:
        """Return names and types of the columns of something that can be read; raises as `query` does."""
        return self._of(self._is_this(read)).columns_of(read)

    def kind_of(self, relation: Relation) -> str | None:
        """Return whether a relation is a `table` or a `view`, None where it is not there; raises as `query` does."""
        return self._of(self._is_this(relation)).kind_of(relation)

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""
        return self._of(about_this=False).has_schema(database, schema)

    def _is_this(self, about: Relation | str) -> bool:
        if isinstance(about, Relation):
            return self.this is not None and about.key == self.this.key
        return self.this is not None and names_relation(f"select * from {about}", self.this, self.dialect)

    def _of(self, about_this: bool) -> Asking:
        if about_this:
            raise NeedsDbtError("a hook that asks about its own model while it is rendered")
        if self.asking is None:
            raise NeedsConnectionError("this hook asks the warehouse while it is rendered")
        return self.asking


def hour_of(time: datetime) -> datetime:
    """Return the beginning of the hour of a time."""
    return time.replace(minute=0, second=0, microsecond=0)
