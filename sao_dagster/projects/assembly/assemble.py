"""Puts declarations together: configuration settled, references resolved, SQL rendered, fingerprints taken.

Every format ends here, so a model means the same wherever it was written. What is wrong with one model is its own
error (`Node.error`) and the rest goes on; `Project.errors` has what is wrong with all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from sao_dagster.core.nodes import Materialized, NodeError, Source
from sao_dagster.core.policy import soonest
from sao_dagster.core.project import Notice, Project
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import RunTemplate
from sao_dagster.errors import CycleError, Location, NeedsConnectionError, NeedsDbtError, ProjectError, SaoError
from sao_dagster.projects.assembly.access import Referable, access_of, check_group
from sao_dagster.projects.assembly.broken_macros import BrokenMacros
from sao_dagster.projects.assembly.data_tests import TestAssembly
from sao_dagster.projects.assembly.drafts import Draft, Drafts, Template
from sao_dagster.projects.assembly.models import ModelAssembly, plain_config
from sao_dagster.projects.assembly.undeclared import UndeclaredReads
from sao_dagster.projects.config import NodeConfig, is_code, parse_config, unknown_keys, valid_config
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, error_in, merge_layers
from sao_dagster.projects.policies import with_own_keys
from sao_dagster.projects.sao_file import moved_variables
from sao_dagster.projects.templates.context_objects import Namespace
from sao_dagster.projects.templates.deferred import StatementTemplate, TimedExpression
from sao_dagster.projects.templates.jinja import ATTACHING_MACROS, BUILDING_MACROS
from sao_dagster.projects.templates.render import Render
from sao_dagster.projects.templates.template_context import RenderSubject, RenderTrace, TemplateContext
from sao_dagster.projects.templates.template_run import OTHER_RUNS, PINNED, TemplateRun, real_run
from sao_dagster.projects.templates.texts import BUILTINS, builtin_macros
from sao_dagster.sql.hooks import fillings
from sao_dagster.sql.session import session_effects


def put_together(declared: Declarations) -> tuple[Project, dict[str, str | None], bool]:
    """Return the project that the declarations mean, the environment variables that were read with their values, and whether it lasts.

    It does where it is the same at another time.
    """
    assembly = _Assembly(declared)
    project = assembly.project()
    return project, assembly.context.environment_read, not assembly.context.configures_by_time


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
            own_package_first=declared.own_package_first,
            descriptions=declared.descriptions,
            others=declared.others,
        )
        self.drafts = Drafts(declared, self.context)
        self.templates: dict[str, RunTemplate] = {}

    def project(self) -> Project:
        """Return the project: drafts, then references, then SQL, then fingerprints, then data tests; what fails on the way is broken.

        Where a part of it is asked for, the nodes and tests of that are in it.
        """
        if self.declared.native:
            self._refuse_macros_of_dbt()
        for declaration in self.declared.nodes:
            self._draft(declaration)
        self.drafts.register()
        for draft in self.drafts.by_id.values():
            self._resolve(draft)
        broken = BrokenMacros.among(self.context)
        self.drafts.notices += broken.notices()
        self.drafts.take(broken.refuse_calls)
        models = ModelAssembly(self.drafts)
        self.drafts.take(models.compile)
        self.drafts.take(models.defer)
        on_run_start = self._operations(self.declared.on_run_start, "on-run-start")
        self.drafts.effects = tuple(
            effect
            for text in (*on_run_start, *self.declared.effects)
            for effect in session_effects(text, self.declared.dialect)
        )
        self.drafts.fillings = tuple(
            filling for text in on_run_start for filling in fillings(text, self.declared.dialect)
        )
        undeclared = UndeclaredReads(self.drafts)
        self.drafts.take(undeclared.find)
        made = {draft.id: models.node(draft) for draft in self.drafts.in_order() if draft.id not in self.drafts.settled}
        nodes = {name: made[name] for name in self.drafts.by_id if name in made}
        sources = {source.id: self._source(source) for source in self.declared.sources}
        skeleton = Project(
            name=self.declared.name,
            environment=self.declared.environment,
            dialect=self.declared.dialect,
            root=self.declared.root,
            nodes=nodes,
            sources={**sources, **self.drafts.read_elsewhere},
            others=self.declared.others,
            tests={},
            selectors=self.declared.selectors,
        )
        position: dict[str, int] = {}
        try:
            position = {name: index for index, name in enumerate(skeleton.graph.order)}
        except CycleError as error:
            self.drafts.errors.append(error)
        making = TestAssembly(self.drafts, position, undeclared)
        tests = making.tests()
        wrong = [(name, node.error) for name, node in nodes.items()] + [
            (name, test.error) for name, test in tests.items()
        ]
        for name, found in wrong:
            self.declared.note_needs_dbt(name, found)
        project = replace(
            skeleton,
            sources={**sources, **self.drafts.read_elsewhere},
            tests=tests,
            on_run_start=on_run_start,
            on_run_end=self._operations(self.declared.on_run_end, "on-run-end"),
            templates=self.templates,
            notices=(*moved_variables(self.declared.variables), *self.drafts.notices, *undeclared.notices()),
            errors=tuple(self.drafts.errors),
        )
        return project if project.errors else project.following_views()

    def _refuse_macros_of_dbt(self) -> None:
        """Note an error for each macro of the project that takes the place of one by which dbt builds, and which only dbt would call.

        It is a notice where no content of a relation follows from the macro.
        """
        prefixes = ("", "default__", f"{self.context.target.get('type', '')}__")
        building, attaching = (
            {prefix + each for prefix in prefixes for each in names} for names in (BUILDING_MACROS, ATTACHING_MACROS)
        )
        for owner in dict.fromkeys((self.declared.name, *self.declared.search_order.get("dbt", ()))):
            for name, file in self.context.macros.names(owner).items() if owner != BUILTINS else ():
                uses, where = f"the macro {name} in place of the one by which dbt builds", Location(file.path)
                if name in building:
                    error = NeedsDbtError(uses, location=where)
                    self.drafts.errors.append(error)
                    self.declared.note_needs_dbt(None, NodeError.of(error, None))
                elif name in attaching:
                    self.drafts.notices.append(Notice(f"the macro {name} is called by dbt alone", where))
                    self.declared.note_needs_dbt(None, NodeError(uses, where, needs_dbt=uses))

    def _refuse_materialization(self, materialized: str, declaration: NodeDeclaration) -> None:
        """Refuse a node whose materialization is one that the project defines itself.

        Raises:
            NeedsDbtError: It is.
        """
        name = declaration.resource_type if declaration.resource_type != "model" else materialized
        file = self.context.macros.find(self.declared.name, f"materialization_{name}")
        if file is not None:
            raise NeedsDbtError(f"the materialization {name!r} of {file.path}", location=declaration.location)

    def _draft(self, declaration: NodeDeclaration) -> None:
        """Add the draft of a declaration, broken if the reader found it so or it cannot be read."""
        drafts, name = self.drafts, declaration.id
        subject = RenderSubject(
            name=declaration.name,
            path=declaration.location.path,
            package=declaration.package,
            config=merge_layers(*declaration.layers),
            resource_type=declaration.resource_type,
        )
        draft = Draft(
            declared=declaration,
            subject=subject,
            relation=declaration.relation
            or self.context.engine.relation(self.declared.database, self.declared.schema, _alias(declaration)),
            materialized=Materialized.TABLE if declaration.csv is None else Materialized.SEED,
        )
        found = self._read(draft)
        draft.error = declaration.error or found
        if not draft.config.enabled:
            drafts.disabled.add(name)
        elif name in drafts.by_id:
            message = f"there are two models or seeds called {name!r}; the other one is in {drafts.by_id[name].declared.location}"
            drafts.errors.append(ProjectError(message, location=declaration.location))
        else:
            drafts.by_id[name] = draft

    def _read(self, draft: Draft) -> NodeError | None:
        """Read the template of a draft once, for what it asks and configures, and settle its configuration; return what is wrong with it."""
        declaration = draft.declared
        found: NodeError | None = None
        if declaration.sql is not None and declaration.compiled is None:
            reading = Render(self.context, draft.subject, execute=False, run=real_run())
            draft.trace = reading.trace
            found = error_in(reading.note, declaration.sql, location=declaration.location)
        draft.merged = draft.code_config = _merged(declaration, draft.trace)
        if found is None:
            self._pin_configuration(draft)
        if found is not None:
            found = replace(found, is_opaque=True)
        else:
            found = error_in(self._settle, draft, location=declaration.location)
        if found is not None:
            draft.config = valid_config(draft.merged)
        return found

    def _pin_configuration(self, draft: Draft) -> None:
        """Note the configuration that counts for the code version, and when it stops being true by itself.

        What it says of the time is real where it has an effect, and pinned where it counts.
        """
        declaration, trace = draft.declared, draft.trace
        template = declaration.sql or ""
        if not trace.config_by_time and not (trace.asks_time and template.count("config(") > trace.config_calls):
            return
        self.context.configures_by_time = True

        def configuration(run: TemplateRun) -> dict[str, Any]:
            reading = Render(self.context, draft.subject, execute=False, run=run)
            reading.note(template)
            return _merged(declaration, reading.trace)

        draft.code_config = configuration(PINNED)
        others = ((configuration(run), expiry) for run, expiry in OTHER_RUNS)
        counted = _code(draft.code_config)
        draft.config_expiry = soonest(*(expiry for other, expiry in others if _code(other) != counted))

    def _settle(self, draft: Draft) -> None:
        """Settle the configuration of a draft.

        Raises:
            SaoError: A value is impossible, or needs what is not done here; or a macro that names relations fails.
        """
        declaration, name = draft.declared, draft.id
        try:
            config = self._checked_config(draft)
        except ProjectError as error:
            error.location = error.location or self._where_configured(draft, error.message)
            raise
        if not config.enabled:
            draft.config = config
            return
        draft.relation = self._relation(declaration, config)
        draft.config = config
        for message in (
            *unknown_keys(draft.merged),
            *config.without_effect(self.context.engine.attaches, native=self.declared.native),
        ):
            self.drafts.notices.append(Notice(message, self._where_configured(draft, message), name))

    def _checked_config(self, draft: Draft) -> NodeConfig:
        """Return the configuration of a draft, and note how it is kept.

        Raises:
            ProjectError: A value is impossible, or needs what is not done here; in most cases without a place.
        """
        declaration = draft.declared
        config = parse_config(with_own_keys(draft.merged), draft.id)
        if config.enabled:
            if self.declared.native:
                config.refuse_unsupported()
                self._refuse_materialization(config.materialized or "view", declaration)
            draft.materialized = config.materialization(declaration.resource_type, native=self.declared.native)
            if self.declared.native and draft.materialized is Materialized.INCREMENTAL:
                config.strategy()
            if self.declared.native:
                check_group(config.group, self.declared.group_owners)
            if declaration.resource_type == "model":
                draft.access = access_of(config, draft.unique_id, draft.materialized)
        return config

    def _where_configured(self, draft: Draft, message: str) -> Location:
        """Return where the key is written that a message about configuration names first: in the SQL or in a YAML file; else where the node is."""
        declaration = draft.declared
        words = (each.strip(".").split(".") for each in re.findall(r"[\w.]+", message))
        key, *inner = next((each for each in words if each[0] in draft.merged), ("",))
        if not key:
            return declaration.location
        if key in draft.trace.config:
            return _in_template(declaration, key)
        found = (each.location(self.declared.root, key, *inner) for each in declaration.written)
        return next((each for each in found if each is not None), declaration.location)

    def _relation(self, declaration: NodeDeclaration, config: NodeConfig) -> Relation:
        """Return where a node lives, by the project's own naming macros if it has any."""
        if declaration.relation is not None:
            return declaration.relation
        return self.context.engine.without_quotes(self._named(declaration, config), self.declared.quoting)

    def _named(self, declaration: NodeDeclaration, config: NodeConfig) -> Relation:
        """Return the relation whose parts are as configuration and naming macros write them."""
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

    @cached_property
    def _naming_is_custom(self) -> bool:
        own = self.context.macros.names(self.context.project_name)
        return any(
            name.endswith(("generate_schema_name", "generate_alias_name", "generate_database_name")) for name in own
        )

    def _source(self, source: Source) -> Source:
        """Return a source with what says how new it is rendered: that may name `this`, other sources and models, macros, and the time.

        What cannot be rendered is left as it is, so that the check of its age fails; a notice says why.
        """
        subject = RenderSubject(
            name=source.id,
            path=source.location.path if source.location else "",
            package=self.context.project_name,
            this=self.drafts.place_of(source),
            this_text=source.expression,
            resource_type="source",
        )
        rendered: dict[str, Any] = {}
        for name in ("loaded_at_field", "loaded_at_query", "filter"):
            text = getattr(source, name)
            if not isinstance(text, str) or not any(mark in text for mark in ("{{", "{%", "{#")):
                continue
            rendering = Render(self.context, subject, execute=True)
            try:
                plain = rendering.text(text)
            except SaoError as error:
                message = f"the {name} of {source.id}: {error.message}"
                self.drafts.notices.append(Notice(message, source.location))
                continue
            rendered[name] = TimedExpression(self.context, subject, text) if rendering.trace.needs_run else plain
        return replace(source, **rendered) if rendered else source

    def _resolve(self, draft: Draft) -> None:
        """Find out what a draft reads; of a broken one, what is there of it."""
        compiled, declared = draft.declared.compiled, draft.declared
        error = None
        if compiled is None:
            draft.depends_on = self.drafts.found(draft.trace, declared.package)
            template = Template(declared.sql or "", declared.location)
            error = error_in(self.drafts.check, draft.trace, template, draft.referable, location=declared.location)
        else:
            draft.depends_on = self.drafts.there(compiled.depends_on)
            error = error_in(
                self.drafts.known, compiled.depends_on, declared.location, draft.id, location=declared.location
            )
        draft.error = draft.error or error
        draft.depends_on = self.drafts.settled.get(draft.id, draft.depends_on)
        draft.subject = replace(draft.subject, this=draft.relation, config=plain_config(draft.config))
        draft.policy = draft.config.policy(lambda text: TimedExpression(self.context, draft.subject, text))

    def _operations(self, templates: Iterable[str], name: str) -> tuple[str, ...]:
        """Return the statements of a hook as they count for fingerprints; what is wrong with one is wrong with the project.

        Those that need a run, or ask the warehouse, are noted to be rendered in it.
        """
        subject = RenderSubject(
            name=name, path="dbt_project.yml", package=self.context.project_name, resource_type="operation"
        )
        package = self.context.project_name
        reader = Referable(name=name, unique_id=f"operation.{package}.{package}-{name}", package=package)
        found: list[str] = []
        for template in templates:
            rendering = Render(self.context, subject, execute=True)
            text = template.strip()
            try:
                with suppress(NeedsConnectionError):
                    text = rendering.text(template).strip()
                self.drafts.check(rendering.trace, Template(template, Location(subject.path)), reader)
            except SaoError as error:
                self.drafts.errors.append(error)
                continue
            if rendering.trace.needs_run or rendering.trace.needs_connection:
                self.templates[text] = StatementTemplate(self.context, subject, template)
            if text:
                found.append(text)
        return tuple(found)


def _merged(declaration: NodeDeclaration, trace: RenderTrace) -> dict[str, Any]:
    """Return the configuration of a node, with what its template says if that still counts."""
    return merge_layers(*declaration.layers, *(() if declaration.is_settled else (trace.config,)))


def _in_template(declaration: NodeDeclaration, key: str) -> Location:
    """Return where the template of a file of its own says a key of the configuration, as far as that can be seen."""
    place, sql = declaration.location, declaration.sql or ""
    said = re.search(rf"\b{re.escape(key)}\s*=|(['\"]){re.escape(key)}\1\s*:", sql)
    return (
        place if said is None or place.line is not None else Location(place.path, sql.count("\n", 0, said.start()) + 1)
    )


def _code(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if is_code(key)}


def _alias(declaration: NodeDeclaration) -> str:
    """Return the name of a relation whose model has no alias, as dbt makes it."""
    version = f"_v{declaration.version.replace('.', '_')}" if declaration.version is not None else ""
    return declaration.name + version
