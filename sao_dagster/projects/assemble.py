"""Puts declarations together: configuration settled, references resolved, SQL rendered, fingerprints taken.

Every format ends here, so a model means the same wherever it was written. What is wrong with one model is
noted and the rest goes on; `Project.errors` has it all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from sao_dagster.core.models import DataTest, Materialized, Node, Notice, Project, Relation
from sao_dagster.errors import ProjectError, SaoError
from sao_dagster.projects.assemble_models import ModelAssembly, plain_config
from sao_dagster.projects.assemble_tests import TestAssembly
from sao_dagster.projects.assertions import proof_settings
from sao_dagster.projects.config import NodeConfig, parse_config
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, merge_layers
from sao_dagster.projects.engine import BUILTINS, Engine, Noted, Render, Subject
from sao_dagster.projects.jinja import MacroFile
from sao_dagster.projects.snapshot import Snapshot, cached_assembly
from sao_dagster.projects.values import Namespace
from sao_dagster.projects.workbench import Draft, Workbench


def assemble(declared: Declarations) -> Snapshot:
    """Return the project that the declarations mean; what has not changed since the last time is not done again."""
    return cached_assembly(declared, _assemble, also=repr(_builtin_macros()))


def _assemble(declared: Declarations) -> tuple[Project, dict[str, str | None]]:
    assembly = _Assembly(declared)
    return assembly.project(), assembly.engine.environment_read


class _Assembly:
    def __init__(self, declared: Declarations) -> None:
        self.declared = declared
        self.engine = Engine(
            project_name=declared.name,
            macro_files=(*_builtin_macros(), *declared.macro_files),
            variables=declared.variables,
            target=declared.target,
            search_order=declared.search_order,
            descriptions=declared.descriptions,
        )
        self.bench = Workbench(declared, self.engine)

    def project(self) -> Project:
        for file in self.declared.macro_files:
            if file.package == self.declared.name:
                self.bench.noting(self.engine.macros.check, file)
        for declaration in self.declared.nodes:
            self.bench.noting(self._draft, declaration)
        self.bench.register()
        self.bench.keep_those_that(self._resolve)
        models = ModelAssembly(self.bench)
        self.bench.keep_those_that(models.compile)
        self.bench.leave_out_dependents()
        nodes: dict[str, Node] = {}
        for draft in self.bench.drafts.values():
            self.bench.noting(models.finish, draft, nodes)
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
        if self.bench.noting(lambda: skeleton.graph.order):
            position = {name: index for index, name in enumerate(skeleton.graph.order)}
        tests: dict[str, DataTest] = {}
        making = TestAssembly(self.bench, position)
        for each in self.declared.tests:
            self.bench.noting(making.add, each, tests)
        return replace(
            skeleton,
            tests=tests,
            on_run_start=self._operations(self.declared.on_run_start, "on-run-start"),
            on_run_end=self._operations(self.declared.on_run_end, "on-run-end"),
            proofs=proof_settings(self.declared.variables),
            notices=tuple(self.bench.notices),
            errors=tuple(self.bench.errors),
        )

    def _draft(self, declaration: NodeDeclaration) -> None:
        name, path = declaration.id, declaration.location.path
        subject = Subject(
            name=declaration.name,
            path=path,
            package=declaration.package,
            config=merge_layers(*declaration.layers),
            resource_type="model" if declaration.sql is not None else "seed",
        )
        noted = Noted()
        layers = list(declaration.layers)
        if declaration.sql is not None:
            reading = Render(self.engine, subject, execute=False)
            reading.text(declaration.sql)
            noted = reading.noted
            layers.append(noted.config)
        merged = merge_layers(*layers)
        config = parse_config(merged, name, declaration.location)
        if not config.enabled:
            self.bench.disabled.add(name)
            return
        if name in self.bench.drafts:
            other = self.bench.drafts[name].declared.location
            raise ProjectError(
                f"there are two models or seeds called {name!r}; the other one is in {other}",
                location=declaration.location,
            )
        try:
            config.refuse_unsupported()
            default = Materialized.VIEW if declaration.sql is not None else Materialized.SEED
            materialized = config.materialization(default) if declaration.sql is not None else Materialized.SEED
        except SaoError as error:
            error.name, error.location = name, error.location or declaration.location
            raise
        for key in config.without_effect():
            self.bench.notices.append(Notice(f"{name}: the config {key!r} has no effect here", declaration.location))
        self.bench.drafts[name] = Draft(
            declared=declaration,
            config=config,
            merged=merged,
            noted=noted,
            subject=subject,
            relation=self._relation(declaration, config),
            materialized=materialized,
        )

    def _relation(self, declaration: NodeDeclaration, config: NodeConfig) -> Relation:
        """Return where a node lives, by the project's own naming macros if it has any."""
        target = self.declared.target
        if not self._naming_is_custom:
            schema = str(target["schema"])
            schema = schema if config.schema_ is None else f"{schema}_{config.schema_.strip()}"
            return Relation(
                config.database or target["database"],
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
                "resource_type": "model" if declaration.sql is not None else "seed",
                "path": declaration.location.path,
                "original_file_path": declaration.location.path,
            },
        )
        subject = Subject(name=declaration.id, path=declaration.location.path, package=self.engine.project_name)
        naming = Render(self.engine, subject, execute=True)

        def named(macro: str, value: str | None) -> str:
            return str(naming.call_macro(macro, value, node)).strip()

        return Relation(
            named("generate_database_name", config.database),
            named("generate_schema_name", config.schema_),
            named("generate_alias_name", config.alias),
        )

    @property
    def _naming_is_custom(self) -> bool:
        own = self.engine.macros.names(self.engine.project_name)
        return any(
            name.endswith(("generate_schema_name", "generate_alias_name", "generate_database_name")) for name in own
        )

    def _resolve(self, draft: Draft) -> None:
        draft.depends_on = self.bench.reads(draft.noted, draft.declared.location, draft.id)
        draft.subject = replace(draft.subject, this=draft.relation, config=plain_config(draft.config))

    def _operations(self, templates: Iterable[str], name: str) -> tuple[str, ...]:
        subject = Subject(
            name=name, path="dbt_project.yml", package=self.engine.project_name, resource_type="operation"
        )
        found: list[str] = []
        for template in templates:
            self.bench.noting(
                lambda text: found.append(Render(self.engine, subject, execute=True).text(text).strip()), template
            )
        return tuple(text for text in found if text)


@lru_cache(maxsize=1)
def _builtin_macros() -> tuple[MacroFile, ...]:
    folder = Path(__file__).parent / "macros"
    return tuple(
        MacroFile(BUILTINS, f"dbt/{file.name}", file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.sql"))
    )


def _alias(declaration: NodeDeclaration) -> str:
    """Return the name of a relation whose model has no alias, as dbt makes it."""
    version = f"_v{declaration.version.replace('.', '_')}" if declaration.version is not None else ""
    return declaration.name + version
