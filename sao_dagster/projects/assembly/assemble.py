"""Puts declarations together: configuration settled, references resolved, SQL rendered, fingerprints taken.

Every format ends here, so a model means the same wherever it was written. What is wrong with one model is
noted and the rest goes on; `Project.errors` has it all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.project import Notice, Project
from sao_dagster.core.relations import Relation
from sao_dagster.errors import ProjectError, SaoError
from sao_dagster.projects.assembly.assembled import AssembledProject, cached_assembly
from sao_dagster.projects.assembly.data_tests import TestAssembly
from sao_dagster.projects.assembly.drafts import Draft, Drafts
from sao_dagster.projects.assembly.models import ModelAssembly, plain_config
from sao_dagster.projects.assembly.undeclared import UndeclaredReads
from sao_dagster.projects.config import NodeConfig, parse_config
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, merge_layers
from sao_dagster.projects.sao_file import moved_variables
from sao_dagster.projects.templates.context_objects import Namespace
from sao_dagster.projects.templates.jinja import builtin_macros
from sao_dagster.projects.templates.render import Render, RenderSubject, RenderTrace, TemplateContext


def assemble(declared: Declarations) -> AssembledProject:
    """Return the project that the declarations mean; what has not changed since the last time is not done again."""
    return cached_assembly(declared, _assemble, also=repr(builtin_macros()))


def _assemble(declared: Declarations) -> tuple[Project, dict[str, str | None]]:
    assembly = _Assembly(declared)
    return assembly.project(), assembly.context.environment_read


class _Assembly:
    def __init__(self, declared: Declarations) -> None:
        self.declared = declared
        self.context = TemplateContext(
            project_name=declared.name,
            macro_files=(*builtin_macros(), *declared.macro_files),
            variables=declared.variables,
            target=declared.target,
            database=declared.database,
            dialect=declared.dialect,
            search_order=declared.search_order,
            descriptions=declared.descriptions,
        )
        self.drafts = Drafts(declared, self.context)

    def project(self) -> Project:
        """Return the project: drafts, then references, then SQL, then fingerprints, then data tests; what fails on the way is noted."""
        for file in self.declared.macro_files:
            if file.package == self.declared.name:
                self.drafts.attempt(self.context.macros.check, file)
        for declaration in self.declared.nodes:
            self.drafts.attempt(self._draft, declaration)
        self.drafts.register()
        self.drafts.keep_those_that(self._resolve)
        models = ModelAssembly(self.drafts)
        self.drafts.keep_those_that(models.compile)
        undeclared = UndeclaredReads(self.drafts)
        self.drafts.keep_those_that(undeclared.find)
        self.drafts.leave_out_dependents()
        nodes: dict[str, Node] = {}
        for draft in self.drafts.by_id.values():
            self.drafts.attempt(models.finish, draft, nodes)
        sources = {source.id: source for source in self.declared.sources}
        skeleton = Project(
            name=self.declared.name,
            environment=self.declared.environment,
            dialect=self.declared.dialect,
            root=self.declared.root,
            nodes=nodes,
            sources=sources,
            tests={},
        )
        position: dict[str, int] = {}
        if self.drafts.attempt(lambda: skeleton.graph.order):
            position = {name: index for index, name in enumerate(skeleton.graph.order)}
        tests: dict[str, DataTest] = {}
        making = TestAssembly(self.drafts, position, undeclared)
        for each in self.declared.tests:
            self.drafts.attempt(making.add, each, tests)
        return replace(
            skeleton,
            tests=tests,
            on_run_start=self._operations(self.declared.on_run_start, "on-run-start"),
            on_run_end=self._operations(self.declared.on_run_end, "on-run-end"),
            notices=(*moved_variables(self.declared.variables), *self.drafts.notices, *undeclared.notices()),
            errors=tuple(self.drafts.errors),
        )

    def _draft(self, declaration: NodeDeclaration) -> None:
        """Add the draft of a declaration: its template is read once for what it asks and configures, and its configuration is settled."""
        name, path = declaration.id, declaration.location.path
        subject = RenderSubject(
            name=declaration.name,
            path=path,
            package=declaration.package,
            config=merge_layers(*declaration.layers),
            resource_type=declaration.resource_type,
        )
        trace = RenderTrace()
        layers = list(declaration.layers)
        if declaration.sql is not None and declaration.compiled is None:
            reading = Render(self.context, subject, execute=False)
            reading.text(declaration.sql)
            trace = reading.trace
            if not declaration.is_settled:
                layers.append(trace.config)
        merged = merge_layers(*layers)
        config = parse_config(merged, name, declaration.location)
        if not config.enabled:
            self.drafts.disabled.add(name)
            return
        if name in self.drafts.by_id:
            other = self.drafts.by_id[name].declared.location
            raise ProjectError(
                f"there are two models or seeds called {name!r}; the other one is in {other}",
                location=declaration.location,
            )
        try:
            if self.declared.native:
                config.refuse_unsupported()
            materialized = config.materialization(declaration.resource_type, native=self.declared.native)
        except SaoError as error:
            error.name, error.location = name, error.location or declaration.location
            raise
        for key in config.without_effect():
            self.drafts.notices.append(Notice(f"{name}: the config {key!r} has no effect here", declaration.location))
        self.drafts.by_id[name] = Draft(
            declared=declaration,
            config=config,
            merged=merged,
            trace=trace,
            subject=subject,
            relation=self._relation(declaration, config),
            materialized=materialized,
        )

    def _relation(self, declaration: NodeDeclaration, config: NodeConfig) -> Relation:
        """Return where a node lives, by the project's own naming macros if it has any."""
        if declaration.relation is not None:
            return declaration.relation
        if not self._naming_is_custom:
            schema = self.declared.schema
            schema = schema if config.schema_ is None else f"{schema}_{config.schema_.strip()}"
            return self.context.engine.relation(
                config.database or self.declared.database,
                schema,
                config.alias or _alias(declaration),
            )
        node = Namespace(
            "node",
            {
                "name": declaration.name,
                "version": declaration.version,
                "package_name": declaration.package,
                "fqn": list(declaration.fqn),
                "config": config.model_dump(by_alias=True, mode="json"),
                "resource_type": declaration.resource_type,
                "path": declaration.location.path,
                "original_file_path": declaration.location.path,
            },
        )
        subject = RenderSubject(name=declaration.id, path=declaration.location.path, package=self.context.project_name)
        naming = Render(self.context, subject, execute=True)

        def named(macro: str, value: str | None) -> str:
            return str(naming.call_macro(macro, value, node)).strip()

        return self.context.engine.relation(
            named("generate_database_name", config.database),
            named("generate_schema_name", config.schema_),
            named("generate_alias_name", config.alias),
        )

    @property
    def _naming_is_custom(self) -> bool:
        own = self.context.macros.names(self.context.project_name)
        return any(
            name.endswith(("generate_schema_name", "generate_alias_name", "generate_database_name")) for name in own
        )

    def _resolve(self, draft: Draft) -> None:
        compiled = draft.declared.compiled
        if compiled is None:
            draft.depends_on = self.drafts.reads(draft.trace, draft.declared.location, draft.id)
        else:
            draft.depends_on = self.drafts.known(compiled.depends_on, draft.declared.location, draft.id)
        draft.subject = replace(draft.subject, this=draft.relation, config=plain_config(draft.config))

    def _operations(self, templates: Iterable[str], name: str) -> tuple[str, ...]:
        subject = RenderSubject(
            name=name, path="dbt_project.yml", package=self.context.project_name, resource_type="operation"
        )
        found: list[str] = []
        for template in templates:
            self.drafts.attempt(
                lambda text: found.append(Render(self.context, subject, execute=True).text(text).strip()), template
            )
        return tuple(text for text in found if text)


def _alias(declaration: NodeDeclaration) -> str:
    """Return the name of a relation whose model has no alias, as dbt makes it."""
    version = f"_v{declaration.version.replace('.', '_')}" if declaration.version is not None else ""
    return declaration.name + version
