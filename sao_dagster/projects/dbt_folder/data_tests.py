"""Data tests of a folder: those that properties files list, and those of SQL files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sao_dagster.core.nodes import NodeError
from sao_dagster.core.relations import quote
from sao_dagster.errors import Location, SaoError
from sao_dagster.projects.config import listed
from sao_dagster.projects.dbt_folder.project_file import ProjectFile, Settings
from sao_dagster.projects.dbt_folder.properties_files import ModelProperties, TableProperties
from sao_dagster.projects.declarations import Declarations, TestDeclaration, error_in, merge_layers
from sao_dagster.projects.templates.plain import plain_template
from sao_dagster.projects.templates.template_context import RenderSubject, TemplateContext
from sao_dagster.projects.templates.template_run import real_run
from sao_dagster.projects.templates.texts import builtin_macros
from sao_dagster.projects.test_entries import GenericTest, names_of, parse_entry
from sao_dagster.projects.yaml_files import LoadedYaml, Place, read_text
from sao_dagster.sql.dialects import dialect_named

_REPLACES_NAMES = re.compile(r"\bmacro\s+(ref|source)\b")  # which then may configure something


@dataclass(frozen=True)
class DataTestReader:
    """Reads data tests into declarations.

    Attributes:
        file: `dbt_project.yml`.
        settings: The same, with its Jinja rendered.
        declared: What they are added to.
    """

    file: ProjectFile
    settings: Settings
    declared: Declarations

    def of(
        self,
        described: ModelProperties | TableProperties,
        tested: str,
        loaded: LoadedYaml,
        place: Place,
        at: Location,
        tags: Iterable[str] = (),
    ) -> None:
        """Declare the data tests that properties list for a model, seed or source, and for its columns.

        Args:
            described: What is said of it.
            tested: Its id.
            loaded: The file that says it.
            place: Where in the file.
            at: The same, as a line.
            tags: Tags of all data tests, beside those of a column and their own.
        """
        folders = self._folders(loaded.path)
        self._list(described.all_tests, tested, None, loaded.location(*place) or at, folders, tags)
        engine = dialect_named(self.declared.dialect)
        for number, column in enumerate(described.columns):
            written = quote(column.name, engine.quotes) if column.quote else column.name
            its_tags = (*tags, *column.tags, *listed(column.config.get("tags")))
            self._list(
                column.all_tests, tested, written, loaded.location(*place, "columns", number) or at, folders, its_tags
            )

    def _folders(self, path: str) -> tuple[str, ...]:
        """Return the folders that a properties file is in, below one that the project names."""
        for folder in (*self.file.model_paths, *self.file.seed_paths, *self.file.test_paths):
            if path.startswith(prefix := folder.strip("/") + "/"):
                return tuple(path[len(prefix) :].split("/")[:-1])
        return ()

    def _list(
        self,
        entries: list[Any],
        tested: str,
        column: str | None,
        location: Location,
        folders: tuple[str, ...],
        tags: Iterable[str],
    ) -> None:
        for number, entry in enumerate(entries, 1):
            try:
                test = parse_entry(entry, location)
            except SaoError as raised:
                test = GenericTest("unreadable", name=f"{tested}_{column or ''}_data_test_{number}")
                error: NodeError | None = NodeError.of(raised, location)
            else:
                error = None
            declared = test.of(tested, column, location=location, package=self.file.name, fqn=())
            fqn = (self.file.name, *folders, names_of(declared)[0])
            try:
                declared = replace(
                    declared,
                    fqn=fqn,
                    config=self.settings.rendered(test.config, keep=("where",)),
                    defaults=merge_layers(self.settings.test_layer(fqn), {"tags": [*tags]}),
                    description=self.settings.text(test.description),
                )
            except SaoError as raised:
                error = NodeError.of(raised, location)
            self.declared.tests.append(replace(declared, error=error))

    def singular(self, path: Path, shown: str, fqn: tuple[str, ...], patch: Mapping[str, Any]) -> None:
        """Declare the data test of a SQL file, with the `config()` and the properties that it has."""
        location = Location(shown)
        texts: list[str] = []
        error = error_in(lambda: texts.append(read_text(path, location.path)), location=location)
        config: Mapping[str, Any] = {}
        if texts and not self._configures_nothing(texts[0]):
            config, error = self._configured(texts[0], path.stem, location)
        self.declared.tests.append(
            TestDeclaration(
                kind="singular",
                location=location,
                package=self.file.name,
                config=merge_layers(self.settings.test_layer(fqn), patch.get("config", {}), config),
                name=path.stem,
                sql="".join(texts),
                description=patch.get("description", ""),
                fqn=fqn,
                error=error,
            )
        )

    def _configures_nothing(self, text: str) -> bool:
        """Return whether a template does nothing but name what it reads, so that Jinja need not be asked what it configures."""
        plain = plain_template(text)
        if plain is None or not plain.names <= {"ref", "source"}:
            return False
        return not any(_REPLACES_NAMES.search(file.text) for file in self.declared.macro_files)

    def _configured(self, text: str, name: str, location: Location) -> tuple[Mapping[str, Any], NodeError | None]:
        """Return what the template of a data test says in `config()`, and its error, if it cannot be rendered."""
        from sao_dagster.projects.templates.render import Render

        subject = RenderSubject(name=name, path=location.path, package=self.file.name, resource_type="test")
        context = TemplateContext(
            project_name=self.file.name,
            macro_files=(*builtin_macros(), *self.declared.macro_files),
            variables=self.declared.variables,
            target=self.declared.target,
            dialect=self.declared.dialect,
        )
        reading = Render(context, subject, execute=False, run=real_run())
        error = error_in(lambda: reading.note(text), location=location)
        self.declared.follows_clock = self.declared.follows_clock or reading.trace.config_by_time
        return reading.trace.config, error
