"""Templates that are rendered when their time has come: a statement in its run, an expression at a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sao_dagster.core.templates import Asking, CompiledSql
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, TemplateContext
from sao_dagster.projects.templates.template_run import TemplateRun


@dataclass(frozen=True)
class StatementTemplate:
    """A statement that is rendered in each run; see `sao_dagster.core.templates.RunTemplate`."""

    context: TemplateContext
    subject: RenderSubject
    template: str

    def compile(self, asking: Asking, run_id: str, started_at: datetime) -> CompiledSql:
        """Return the statement for a run."""
        run = TemplateRun(started_at, run_id)
        rendering = Render(self.context, self.subject, execute=True, asking=asking, run=run)
        return CompiledSql(rendering.text(self.template).strip())


@dataclass(frozen=True)
class TimedExpression:
    """A Jinja text whose value depends on the time of the decision, such as `48 if weekend else 1`."""

    context: TemplateContext
    subject: RenderSubject
    template: str

    def __call__(self, now: datetime) -> str:
        """Return the text as of `now`."""
        return Render(self.context, self.subject, execute=True, run=TemplateRun(now)).text(self.template)
