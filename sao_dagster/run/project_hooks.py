"""What goes around the builds of a run: `on-run-start` and `on-run-end`, statements of the project's own, and whoever builds.

A run begins with them before its first step where something is to be built; else before the first step that turns out to need them, if any does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sao_dagster.core.facts import Facts
from sao_dagster.core.nodes import DataTest
from sao_dagster.core.project import Project
from sao_dagster.core.records import Verdict
from sao_dagster.errors import Location, WarehouseError
from sao_dagster.warehouses.protocol import Session


@dataclass
class ProjectHooks:
    """The hooks of one run.

    Attributes:
        project: Whose hooks they are.
        session: The warehouse, open.
        run_id: The run.
        started_at: When it began by the real clock (UTC).
        have_begun: Whether `on-run-start` has run, and whoever builds is ready.
    """

    project: Project
    session: Session
    run_id: str
    started_at: datetime
    have_begun: bool = field(default=False, init=False)

    @property
    def are_there(self) -> bool:
        """Whether there are statements of the user's own, which may change anything in the warehouse."""
        return bool(self.project.on_run_start or self.project.on_run_end)

    def are_before(self, test: DataTest, facts: Facts) -> bool:
        """Return whether a data test may run only after the start, which has not been.

        That is so where whoever builds runs or renders it, and where `on-run-start` makes what it names, or sets or loads something. Of other statements that
        may change any result nobody knows what they are to the test; but they are a part of its version, so they have been run before the verdict that it has
        with this one.
        """
        if self.have_begun or test.error is not None:
            return False
        record = facts.test_records.get(test.name)
        has_run = (
            record is not None and record.version == facts.test_version(test) and record.verdict is not Verdict.ERROR
        )
        if test.needs_start or (test.follows_start and not has_run):
            return True
        is_known = test.answers_id not in facts.versions or facts.versions[test.answers_id] is not None
        return self.session.needs_builds(test, is_known=is_known)

    def start(self, names: Collection[str], *, full_refresh: bool) -> bool:
        """Run `on-run-start`, and let whoever builds make ready; return whether all that is known is to be looked up again.

        Args:
            names: The nodes and data tests of the run.
            full_refresh: Whether incremental models are built from the start.

        Raises:
            WarehouseError: A statement failed. Nothing may be built, since what it was to prepare is not there; what the statements before it
                did stays, as in dbt.
        """
        self._run("on-run-start", self.project.on_run_start)
        self.have_begun = True
        again = self.session.begin_builds(names, full_refresh=full_refresh)
        return again or bool(self.project.on_run_start)

    def finish(self) -> None:
        """Run `on-run-end`, if the run has begun with `on-run-start`.

        Raises:
            WarehouseError: A statement failed; what was built is recorded by then.
        """
        if self.have_begun:
            self._run("on-run-end", self.project.on_run_end)

    def _run(self, name: str, statements: Iterable[str]) -> None:
        for statement in statements:
            template = self.project.templates.get(statement)
            try:
                text = (
                    statement if template is None else template.compile(self.session, self.run_id, self.started_at).sql
                )
                if text:
                    self.session.execute(text)
            except WarehouseError as error:
                shown = " ".join(statement.split())
                shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
                message = f"{name} failed at {shown!r}: {error.message}"
                raise WarehouseError(message, location=Location("dbt_project.yml")) from error
