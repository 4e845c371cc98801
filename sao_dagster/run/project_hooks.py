"""`on-run-start` and `on-run-end`: statements of the project's own around a run that builds something."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sao_dagster.core.project import Project
from sao_dagster.errors import Location, WarehouseError
from sao_dagster.warehouses.protocol import Session


@dataclass
class ProjectHooks:
    """The hooks of one run; several threads ask for them at once.

    Attributes:
        project: Whose hooks they are.
        session: The warehouse, open.
        run_id: The run.
        started_at: When it began by the real clock (UTC).
    """

    project: Project
    session: Session
    run_id: str
    started_at: datetime
    _have_begun: bool = field(default=False, init=False)
    _failure: WarehouseError | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def are_there(self) -> bool:
        """Whether there are statements of the user's own, which may change anything in the warehouse."""
        return bool(self.project.on_run_start or self.project.on_run_end)

    def start(self) -> None:
        """Run `on-run-start`, once in a run and before its first build; whoever asks meanwhile waits.

        Raises:
            WarehouseError: A statement failed, now or when it was asked before. Nothing may be built, since what it was to prepare is
                not there; what the statements before it did stays, as in dbt.
        """
        with self._lock:
            if not self._have_begun:
                self._have_begun = True
                try:
                    self._run("on-run-start", self.project.on_run_start)
                except WarehouseError as error:
                    self._failure = error
            if self._failure is not None:
                raise self._failure

    def finish(self) -> None:
        """Run `on-run-end`, if the run has built anything.

        Raises:
            WarehouseError: A statement failed; what was built is recorded by then.
        """
        if self._have_begun:
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
