"""Templates that dbt has rendered: what they asked the warehouse then is asked again, to see whether it would answer the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.policy import Volatile
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import Answers, Asking, CompiledSql
from sao_dagster.errors import NeedsDbtError, SaoError, UnsupportedError
from sao_dagster.projects.templates.answers import NotedAnswers
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.text import embeddable, limited
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce

SCHEME = "asked/1"


@dataclass(frozen=True)
class Question:
    """What a template asked.

    Attributes:
        kind: `query`; `columns` or `kind` of a relation; or `other`, which is not asked again.
        about: The query, the relation, or what it was that was asked.
    """

    kind: str
    about: Relation | str

    @classmethod
    def all_of(cls, asked: Iterable[tuple[str, Any]], dialect: str) -> tuple[Question, ...]:
        """Return the questions that dbt's adapter was asked, each once."""
        engine = dialect_named(dialect)
        kinds = {"columns": "columns", "relation": "kind"}
        found = (
            cls(kinds[kind], engine.relation(*about)) if kind in kinds else cls(kind, about) for kind, about in asked
        )
        return tuple(dict.fromkeys(found))


@runtime_checkable
class RendersByDbt(Protocol):
    """A session of the warehouse in which dbt may render."""

    def rendered(self, template: RenderedInRun) -> str:
        """Return the SQL of a data test as this run sees it."""

    def asked_last(self, template: AskedBefore) -> AskedBefore:
        """Return a template as it was last rendered in this run, or else as it is."""

    def asked_anew(self, template: AskedBefore, now: datetime) -> AskedBefore:
        """Return a template rendered as of now (UTC), or else, where dbt does not go or cannot render it, as it is."""


@dataclass(frozen=True)
class AskedBefore:
    """What a template asked while it was rendered; whether another rendering would ask the same follows from the answers.

    As `sao_dagster.core.templates.Compiler` it renders nothing: dbt does that when it builds.

    Attributes:
        unique_id: What dbt calls the node or data test.
        questions: The questions, in order.
        this: The relation of the model itself, where it is one that adds increments.
        dialect: sqlglot's name of the dialect.
        answered: What `answered_now` was when it was rendered. Where it is something else now, nobody knows what would be asked besides.
        gave: A digest of the SQL that it was rendered to: that follows from the answers, and from all else that dbt reads.
    """

    unique_id: str
    questions: tuple[Question, ...]
    this: Relation | None
    dialect: str
    answered: str | None = None
    gave: str = ""

    @property
    def asks_catalog_alone(self) -> bool:
        """Whether what it asked is known to whoever knows all relations; a query may read files and other databases."""
        return all(each.kind in ("columns", "kind") for each in self.questions)

    def answers(self, asking: Asking, now: datetime) -> Answers:
        """Return what the questions are answered now (UTC); see `sao_dagster.core.templates.AskingTemplate`.

        Where the answers are no longer those of the rendering, dbt renders again, if it goes.
        """
        session = asking.session if isinstance(asking, AskedAtOnce) else asking
        if not isinstance(session, RendersByDbt):
            return self._answers(asking, now)
        found = session.asked_last(self)._answers(asking, now)
        return found if found.version is not None else session.asked_anew(self, now)._answers(asking, now)

    def _answers(self, asking: Asking, now: datetime) -> Answers:
        noted, is_known = self._asked(asking, now)
        independent = digest(noted.noted[: noted.independent])
        is_known = is_known and independent == self.answered
        version = DataVersion(SCHEME, digest([noted.noted, self.gave])) if is_known else None
        return Answers(version, independent, noted.independent is not None, tuple(noted.asked))

    def answered_now(self, asking: Asking, now: datetime) -> str | None:
        """Return a digest of the answers up to the first one of the model's own relation; None where they cannot be had."""
        noted, is_known = self._asked(asking, now)
        return digest(noted.noted[: noted.independent]) if is_known else None

    def _asked(self, asking: Asking, now: datetime) -> tuple[NotedAnswers, bool]:
        hour = now.replace(minute=0, second=0, microsecond=0)
        noted = NotedAnswers(asking, self.this, self.dialect, Volatile.AUTO, hour)
        try:
            for each in self.questions:
                _ask(noted, each)
        except SaoError:
            return noted, False
        return noted, True

    def rendered(self, rendering: Mapping[str, Any]) -> AskedBefore:
        """Return the same template after a rendering; see `PreparedManifest.rendered`."""
        questions = Question.all_of(rendering["asked"], self.dialect)
        gave = digest([rendering.get("sql"), rendering.get("incremental_sql"), rendering["others"]])
        return replace(self, questions=questions, gave=gave, answered=None)

    def knowing(self, reads: Iterable[UndeclaredInput]) -> AskedBefore:
        """Return the same: what it reads is known from its rendering."""
        return self

    def compile(self, asking: Asking, run_id: str, started_at: datetime, *, incremental: bool) -> CompiledSql:
        """Refuse; see the class."""
        raise NeedsDbtError("a template that asks the warehouse, and that dbt has rendered")


@dataclass(frozen=True)
class RenderedInRun:
    """The SQL of a data test that dbt renders in the run; see `sao_dagster.core.templates.RunTemplate`.

    Attributes:
        unique_id: What dbt calls it.
        sql: What dbt has rendered it to, and renders it to in any run in which its questions have the answers that they had then; None
            where it follows the run, or where that is not known.
        limit: How many failing rows are looked for.
    """

    unique_id: str
    sql: str | None
    limit: int | None

    def compile(self, asking: Asking, run_id: str, started_at: datetime) -> CompiledSql:
        """Return the SQL for the run that dbt is in, or what is known of it where dbt has not begun."""
        if not isinstance(asking, RendersByDbt):
            raise NeedsDbtError("SQL that depends on the run, and that dbt has rendered")
        return CompiledSql(limited(embeddable(asking.rendered(self)), self.limit))


def _ask(noted: NotedAnswers, question: Question) -> None:
    if question.kind == "query":
        noted.query(str(question.about))
    elif question.kind == "columns":
        noted.columns_of(question.about)
    elif question.kind == "kind" and isinstance(question.about, Relation):
        noted.kind_of(question.about)
    else:
        raise UnsupportedError(f"{question.about} is not asked again")
