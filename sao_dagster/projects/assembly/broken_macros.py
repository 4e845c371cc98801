"""Macro files that cannot be read: what may call a macro of theirs is broken, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sao_dagster.core.nodes import NodeError
from sao_dagster.core.project import Notice
from sao_dagster.errors import Location, RenderError
from sao_dagster.projects.assembly.drafts import Draft
from sao_dagster.projects.assembly.models import templates_of
from sao_dagster.projects.declarations import error_in
from sao_dagster.projects.templates.jinja import MacroRegistry
from sao_dagster.projects.templates.template_context import TemplateContext


@dataclass(frozen=True)
class BrokenMacros:
    """The macro files of a project that cannot be read.

    Attributes:
        registry: All macros.
        errors: What is wrong, by the path of the file.
    """

    registry: MacroRegistry
    errors: Mapping[str, NodeError]

    @classmethod
    def among(cls, context: TemplateContext) -> BrokenMacros:
        """Return those among the project's own macro files; the files of packages are read when a macro of theirs is called."""
        own = (file for file in context.macro_files if file.package == context.project_name)
        found = {file.path: error_in(MacroRegistry.check, file, location=Location(file.path)) for file in own}
        return cls(context.macros, {path: error for path, error in found.items() if error is not None})

    def notices(self) -> Iterator[Notice]:
        """Yield what to say of each file, whether anything calls its macros or not."""
        for error in self.errors.values():
            yield Notice(f"what calls a macro of this file fails: {error.message}", error.location)

    def refuse_calls(self, draft: Draft) -> None:
        """Refuse a draft that may call a macro of such a file, also where its template did not when it was read.

        Raises:
            RenderError: With what is wrong with the file, and where.
        """
        if not self.errors:
            return
        for file in self.registry.reached(templates_of(draft), draft.trace.macros.values()):
            if file.path in self.errors:
                error = self.errors[file.path]
                raise RenderError(
                    f"it may call a macro of a file that cannot be read: {error.message}", location=error.location
                )
