"""Models declared in Python, alone or beside a folder in dbt's layout.

shop = SqlProject("shop", warehouse=DuckDBWarehouse(path="shop.duckdb"))
shop.source("raw", "orders", loaded_at_field="loaded_at")

@shop.model(materialized="table", columns={"order_id": Column(data_tests=["unique", "not_null"])})
def orders(source):
    return f"select * from {source('raw', 'orders')}"
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sao_dagster.core import nodes as core
from sao_dagster.core.nodes import Source
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.core.selection import select
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.assembly.assemble import assemble
from sao_dagster.projects.assembly.assembled import AssembledProject
from sao_dagster.projects.cache import MADE_BY, save
from sao_dagster.projects.config import SourceFreshness, checked
from sao_dagster.projects.dbt_folder.folder import read_folder
from sao_dagster.projects.dbt_folder.sources import external_location
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, TestDeclaration, file_digest
from sao_dagster.projects.policies import POLICY_RULE, BuildAfterConfig, PolicyRule, policy_config
from sao_dagster.projects.python_models import Column, DataTests, SqlFunction, call_function
from sao_dagster.projects.sao_file import OnStateError, Settings, read_settings
from sao_dagster.projects.test_entries import parse_entry
from sao_dagster.state.location import default_state_url
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Warehouse

if TYPE_CHECKING:
    from sao_dagster.run.runner import Runner


@dataclass(frozen=True)
class SavedProject:
    """What `SqlProject.save` writes.

    Attributes:
        made_by: Versions of what made it; another one cannot read it.
        declared: What was declared.
        assembled: What it means.
    """

    made_by: str
    declared: Declarations
    assembled: AssembledProject


class SqlProject:
    """A project of SQL models: what Dagster, the command line and Python all work with.

    Args:
        name: The project's name; that of `dbt_project.yml` where there is a folder.
        folder: A folder in dbt's layout to start from.
        warehouse: Where to build; for a folder, what its profile says.
        target: The target of the profile.
        variables: Values for `var`, over those of the folder.
        state_url: An SQLAlchemy URL of the shared state; see `state_url` below for the default.
        on_state_error: Whether a run whose state cannot be reached fails, or builds everything.
        retention_days: For how long runs and their decisions are kept.
        prove_tests: Whether data tests that are proven to pass are not run.
        verify_proofs: One in so many proven tests is run all the same, by chance.
        hashes_are_unique: Whether hashes of different texts are taken to be different, in proofs.

    Attributes:
        settings: What is set; an argument wins over an environment variable, and that over `sao.yml`.

    Raises:
        ProjectError: The folder is no project, or there is neither a folder nor a warehouse; or a setting means nothing.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        folder: str | Path | None = None,
        warehouse: Warehouse | None = None,
        target: str | None = None,
        variables: Mapping[str, Any] | None = None,
        state_url: str | None = None,
        on_state_error: OnStateError | None = None,
        retention_days: float | None = None,
        prove_tests: bool | None = None,
        verify_proofs: int | None = None,
        hashes_are_unique: bool | None = None,
    ) -> None:
        if folder is not None:
            self._declared, self.warehouse = read_folder(
                folder, target=target, variables=variables, warehouse=warehouse
            )
        else:
            if name is None or warehouse is None:
                raise ProjectError("a project without a folder needs a name and a warehouse")
            root = Path(_caller().path).parent.resolve()
            self._declared, self.warehouse = _empty(name, root, warehouse, variables or {}), warehouse
        given = {
            "state_url": state_url,
            "on_state_error": on_state_error,
            "retention_days": retention_days,
            "prove_tests": prove_tests,
            "verify_proofs": verify_proofs,
            "hashes_are_unique": hashes_are_unique,
        }
        self.settings: Settings = read_settings(self.root, str(self._declared.target["name"]), given)

    @cached_property
    def project(self) -> Project:
        """What was declared, put together. Declaring more afterwards starts anew."""
        assembled, proofs = self.assembled.project, self.settings.proofs
        return assembled if assembled.proofs == proofs else replace(assembled, proofs=proofs)

    @cached_property
    def assembled(self) -> AssembledProject:
        """The project, with what it depends on."""
        return assemble(self._declared)

    def save(self, file: Path) -> None:
        """Write the assembled project to a file, from which `restore_project` opens it without reading its models.

        The file is a pickle, as trusted as the code beside it. What the profile says is not in it, and is read
        anew; the values that models take from the environment are.
        """
        save(file, SavedProject(MADE_BY, self._declared, self.assembled))

    @classmethod
    def restored(cls, saved: SavedProject, warehouse: Warehouse) -> SqlProject:
        """Return the project that was saved, to be built in a warehouse."""
        opened = cls.__new__(cls)
        opened._declared, opened.warehouse = saved.declared, warehouse
        opened.settings = read_settings(opened.root, str(saved.declared.target["name"]))
        opened.__dict__["assembled"] = saved.assembled
        return opened

    def with_policies(self, rules: Sequence[Mapping[str, Any]]) -> SqlProject:
        """Return the project with policies on top of its own; a later rule wins over an earlier one.

        Args:
            rules: Each has `select`, and policies as `model` takes them.

        Raises:
            ProjectError: A rule is wrong, or selects what is not there.
        """
        nodes = dict(self.project.nodes)
        for number, each in enumerate(rules):
            where = Location(f"policies[{number}]")
            rule: PolicyRule = checked(POLICY_RULE, each, None, where)
            for name in select(self.project, rule.select).nodes:
                nodes[name] = replace(nodes[name], policy=rule.over(nodes[name].policy))
        changed = copy(self)
        changed.__dict__["project"] = replace(self.project, nodes=nodes)
        return changed

    @property
    def root(self) -> Path:
        """The project's folder."""
        return Path(self._declared.root)

    @property
    def state_url(self) -> str:
        """Where the shared state is.

        What is set; else see `default_state_url`.
        """
        return self.settings.state_url or default_state_url(self.root)

    @cached_property
    def store(self) -> StateStore:
        """The shared state, opened."""
        from sao_dagster.state.sql_store import SqlStateStore

        return SqlStateStore(self.state_url, self.settings.retention)

    def runner(self) -> Runner:
        """Return what plans and runs this project."""
        from sao_dagster.run.runner import Runner

        return Runner(
            project=self.project,
            warehouse=self.warehouse,
            open_store=lambda: self.store,
            build_without_state=self.settings.on_state_error == "build",
        )

    # ------------------------------------------------------------------ declarations

    def model(
        self,
        function: Callable[..., str] | None = None,
        /,
        *,
        name: str | None = None,
        sql: str | None = None,
        materialized: Literal["table", "view", "incremental", "ephemeral"] | None = None,
        schema: str | None = None,
        alias: str | None = None,
        description: str | None = None,
        columns: Mapping[str, Column] | None = None,
        data_tests: DataTests = (),
        tags: Sequence[str] = (),
        group: str | None = None,
        meta: Mapping[str, Any] | None = None,
        build_after: BuildAfterConfig | Mapping[str, Any] | None = None,
        lag_tolerance: str | timedelta | None = None,
        volatile: Literal["auto", "ignore", "always", "hourly", "daily"] | None = None,
        inherit_from_children: bool | None = None,
        on_test_failure: Literal["keep", "rebuild"] | None = None,
        max_age: str | timedelta | None = None,
        unique_key: str | Sequence[str] | None = None,
        incremental_strategy: Literal["append", "delete+insert", "merge"] | None = None,
        on_schema_change: Literal["ignore", "fail", "append_new_columns", "sync_all_columns"] | None = None,
        pre_hook: str | Sequence[str] | None = None,
        post_hook: str | Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Declare a model: by its SQL, or as a decorator of a function that makes it.

        The function may take `ref`, `source` and `var`, and returns SQL; its name and docstring become those of the
        model. Templates work in both ways. The keys mean what they mean in YAML.

        Raises:
            ProjectError: A value is wrong, or the function does not return SQL.
        """
        where = _caller()
        given = {
            "materialized": materialized,
            "schema": schema,
            "alias": alias,
            "tags": list(tags) or None,
            "group": group,
            "meta": dict(meta) if meta else None,
            "unique_key": unique_key,
            "incremental_strategy": incremental_strategy,
            "on_schema_change": on_schema_change,
            "pre_hook": pre_hook,
            "post_hook": post_hook,
            **(config or {}),
        }
        policies = {
            "build_after": None if build_after is None else checked(BuildAfterConfig, build_after, name, where),
            "lag_tolerance": lag_tolerance,
            "volatile": volatile,
            "inherit_from_children": inherit_from_children,
            "on_test_failure": on_test_failure,
            "max_age": max_age,
        }
        settings = {**{key: value for key, value in given.items() if value is not None}, **policy_config(policies)}

        def declare(model: str, text: str, location: Location, about: str) -> None:
            self._declare_node(
                NodeDeclaration(
                    name=model,
                    package=self._declared.name,
                    location=location,
                    fqn=(self._declared.name, model),
                    sql=text,
                    layers=(settings,),
                    description=about,
                    columns=tuple(
                        core.Column(key, each.description, each.data_type) for key, each in (columns or {}).items()
                    ),
                )
            )
            self._declare_tests(model, None, data_tests, location)
            for key, each in (columns or {}).items():
                self._declare_tests(model, key, each.data_tests, location)

        if sql is not None:
            if name is None:
                raise ProjectError("a model that is declared by its SQL needs a name", location=where)
            declare(name, sql, where, description or "")
            return None

        def decorate(made_by: SqlFunction) -> SqlFunction:
            model = name or made_by.__name__
            place = Location(self._shown(inspect.getsourcefile(made_by) or ""), made_by.__code__.co_firstlineno)
            text = call_function(made_by, model, place)
            declare(model, text, place, description or inspect.getdoc(made_by) or "")
            return made_by

        return decorate if function is None else decorate(function)

    def source(
        self,
        source_name: str,
        table_name: str,
        *,
        schema: str | None = None,
        database: str | None = None,
        identifier: str | None = None,
        files: str | None = None,
        loaded_at_field: str | None = None,
        loaded_at_query: str | None = None,
        freshness: SourceFreshness | Mapping[str, Any] | None = None,
        description: str = "",
        columns: Mapping[str, Column] | None = None,
        data_tests: DataTests = (),
        tags: Sequence[str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare a table that something else fills, or files that are read in place.

        Args:
            source_name: The first argument of `source`.
            table_name: The second argument of `source`.
            schema: Where it is; the name of the source if nothing is said.
            database: The database; that of the models if nothing is said.
            identifier: Its name there; the table name if nothing is said.
            files: A path or glob (or a table function such as `read_csv('raw/*.csv')`) in place of a table.
            loaded_at_field: A column or expression whose greatest value is the data version.
            loaded_at_query: A query whose single value is the data version.
            freshness: `warn_after`, `error_after`, `filter`.
            description: What it is.
            columns: Columns with their data tests.
            data_tests: Data tests on the whole table.
            tags: Tags.
            meta: Anything.

        Raises:
            ProjectError: A value is wrong.
        """
        where = _caller()
        title = f"{source_name}.{table_name}"
        if loaded_at_field and loaded_at_query:
            raise ProjectError(f"{title} has both loaded_at_field and loaded_at_query; keep one", location=where)
        limits: SourceFreshness = checked(SourceFreshness, freshness or {}, title, where)
        relation = Relation(
            database or self._declared.target["database"], schema or source_name, identifier or table_name
        )
        pattern, expression = external_location(files, self.root) if files else (None, str(relation))
        self._forget()
        self._declared.sources.append(
            Source(
                source_name=source_name,
                table_name=table_name,
                relation=None if files else relation,
                expression=expression,
                files=pattern,
                loaded_at_field=loaded_at_field,
                loaded_at_query=loaded_at_query,
                filter=limits.filter,
                warn_after=limits.warn_after.age if limits.warn_after else None,
                error_after=limits.error_after.age if limits.error_after else None,
                fqn=(self._declared.name, source_name, table_name),
                location=where,
                description=description,
                columns=tuple(
                    core.Column(key, each.description, each.data_type) for key, each in (columns or {}).items()
                ),
                tags=tuple(tags),
                meta=dict(meta or {}),
            )
        )
        self._declare_tests(f"source:{title}", None, data_tests, where)
        for key, each in (columns or {}).items():
            self._declare_tests(f"source:{title}", key, each.data_tests, where)

    def seed(
        self,
        name: str,
        path: str | Path,
        *,
        column_types: Mapping[str, str] | None = None,
        delimiter: str = ",",
        schema: str | None = None,
        description: str = "",
        data_tests: DataTests = (),
        tags: Sequence[str] = (),
    ) -> None:
        """Declare a small table that is kept as a CSV file; a relative path starts at the project's folder.

        Raises:
            ProjectError: There is no such file.
        """
        where = _caller()
        file = self.root / path
        if not file.is_file():
            raise ProjectError(f"the file of the seed {name!r} is not there: {file}", location=where)
        given = {
            "column_types": dict(column_types or {}),
            "delimiter": delimiter,
            "schema": schema,
            "tags": list(tags),
        }
        self._declare_node(
            NodeDeclaration(
                name=name,
                package=self._declared.name,
                location=Location(self._shown(str(file))),
                fqn=(self._declared.name, name),
                csv=str(file),
                csv_digest=file_digest(file),
                layers=({key: value for key, value in given.items() if value},),
                description=description,
            )
        )
        self._declare_tests(name, None, data_tests, where)

    def test(self, name: str, sql: str, **config: Any) -> None:
        """Declare a singular data test: SQL that returns failing rows, with dbt's test configuration."""
        self._forget()
        self._declared.tests.append(
            TestDeclaration(
                kind="singular",
                location=_caller(),
                package=self._declared.name,
                config=config,
                name=name,
                sql=sql,
                fqn=(self._declared.name, name),
            )
        )

    def _declare_node(self, declaration: NodeDeclaration) -> None:
        self._forget()
        self._declared.nodes.append(declaration)

    def _declare_tests(self, tested: str, column: str | None, entries: DataTests, where: Location) -> None:
        for entry in entries:
            test = parse_entry(entry, where)
            self._declared.tests.append(
                TestDeclaration(
                    kind=test.kind,
                    location=where,
                    package=self._declared.name,
                    tested=tested,
                    column=test.column or column,
                    args=test.args,
                    config=test.config,
                    name=test.name,
                    description=test.description,
                    fqn=(self._declared.name, tested.removeprefix("source:")),
                )
            )

    def _forget(self) -> None:
        self.__dict__.pop("project", None)

    def _shown(self, file: str) -> str:
        path = Path(file)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _empty(name: str, root: Path, warehouse: Warehouse, variables: Mapping[str, Any]) -> Declarations:
    target = warehouse.target
    return Declarations(
        name=name,
        environment=f"{name}.{target['name']}",
        dialect=warehouse.dialect,
        root=str(root),
        target={"profile_name": name, **target},
        variables=variables,
    )


def _caller() -> Location:
    """Return the place of the first call from outside of this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)
