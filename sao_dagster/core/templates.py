"""What a node's SQL is made by, where it is not made once and for all: what templates ask of the warehouse, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.relations import Relation


@dataclass(frozen=True)
class CompiledSql:
    """The statements of one model, data test or hook, ready to run.

    Attributes:
        sql: The query of a full build.
        incremental_sql: The query when the table is there already; None where that is no incremental model.
        pre_hooks: Statements to run before, in the same transaction.
        post_hooks: Statements to run after, in the same transaction.
        names: Ids of the nodes and sources that the statements name, by how they are named.
        expects: The version of what the query is known to give; a build that gives anything else is undone.
        got: What the template asked for them, with what it got, as texts; not what holds no longer in a moment.
    """

    sql: str
    incremental_sql: str | None = None
    pre_hooks: tuple[str, ...] = ()
    post_hooks: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    expects: DataVersion | None = None
    got: tuple[tuple[str, str], ...] = ()

    @property
    def statements(self) -> list[str]:
        """All of them: both queries, as far as there are two, and what runs before and after."""
        both = (self.sql,) if self.incremental_sql is None else (self.sql, self.incremental_sql)
        return [*both, *self.pre_hooks, *self.post_hooks]


class Answer(Protocol):
    """The rows that a query gave."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, in order."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """Rows, in order."""


class Asking(Protocol):
    """What a template may ask of the warehouse while it is rendered."""

    def query(self, sql: str) -> Answer:
        """Return all rows of a query."""

    def columns_of(self, read: Relation | str) -> tuple[tuple[str, str], ...]:
        """Return names and types of the columns of a relation, or of anything else that can stand after `from`."""

    def kind_of(self, relation: Relation) -> str | None:
        """Return whether a relation is a `table` or a `view`; None where it is not there."""

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""


@dataclass(frozen=True)
class Answers:
    """What a template asks of the warehouse and gets.

    Attributes:
        version: The version of all of it, and of the SQL that follows from it; None where it cannot be asked again.
        independent: A digest of what was asked before the model's own relation was; a build changes none of that.
        of_itself: Whether a model that adds increments asked its own relation.
        asked: The tables that were asked without being known by `ref` or `source`: their answers have a version, and somebody makes them.
        reads: What the SQL that follows names without being known: it has no version yet, and so there is none of all of it.
        got: What was asked, with what was got, as texts.
    """

    version: DataVersion | None = None
    independent: str = ""
    of_itself: bool = False
    asked: tuple[UndeclaredInput, ...] = ()
    reads: tuple[UndeclaredInput, ...] = ()
    got: Mapping[str, str] = field(default_factory=dict)

    def agree_with(self, got: Iterable[tuple[str, str]]) -> bool:
        """Return whether what was asked at another moment, as far as it was asked here too, got the same answers.

        >>> Answers(got={"select 1": "1"}).agree_with([("select 1", "2")]), Answers().agree_with([("select 1", "2")])
        (False, True)
        """
        return all(self.got.get(question, answer) == answer for question, answer in got)


class AskingTemplate(Protocol):
    """The template of a model or of a data test that asks the warehouse for what its SQL is made of."""

    def answers(self, asking: Asking, now: datetime) -> Answers:
        """Return what the template asks of the warehouse and gets at a time (UTC), so that another answer can be told from it."""

    def knowing(self, reads: Iterable[UndeclaredInput]) -> AskingTemplate:
        """Return the template where more is known of what its SQL reads: these have versions of their own."""


class Compiler(AskingTemplate, Protocol):
    """Renders the SQL of a model that cannot be rendered once and for all when the project is loaded."""

    def knowing(self, reads: Iterable[UndeclaredInput]) -> Compiler:
        """Return the same where more is known of what its SQL reads."""

    def compile(self, asking: Asking, run_id: str, started_at: datetime, *, incremental: bool) -> CompiledSql:
        """Return the statements for this run.

        Args:
            asking: What is asked of the warehouse.
            run_id: The run.
            started_at: When it began (UTC).
            incremental: Whether the query of an incremental build is wanted too, since the table is there.

        Raises:
            RenderError: The template failed.
        """


class RunTemplate(Protocol):
    """Renders one statement anew in each run, since it depends on the run."""

    def compile(self, asking: Asking, run_id: str, started_at: datetime) -> CompiledSql:
        """Return the statement for a run that began at a time (UTC), as its `sql`.

        Raises:
            RenderError: The template failed.
        """
