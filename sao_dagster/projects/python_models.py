"""Declaring models, sources, seeds and data tests in Python.

shop.source("raw", "orders", loaded_at_field="loaded_at")

@shop.model(materialized="table", columns={"order_id": Column(data_tests=["unique", "not_null"])})
def orders(source):
    return f"select * from {source('raw', 'orders')}"
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from sao_dagster.core import nodes as core
from sao_dagster.core.nodes import Source
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.config import SourceFreshness, checked
from sao_dagster.projects.dbt_folder.sources import external_location
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, TestDeclaration, file_digest
from sao_dagster.projects.policies import BuildAfterConfig, policy_config
from sao_dagster.projects.test_entries import parse_entry
from sao_dagster.sql.dialects import dialect_named

_OWN = str(Path(__file__).parents[1])
SqlFunction = TypeVar("SqlFunction", bound=Callable[..., str])
DataTests = Sequence[str | Mapping[str, Any]]


class Column(BaseModel):
    """A column of a declared model: what it is, and the data tests on it.

    Attributes:
        data_tests: As in YAML: a name, or a mapping of a name to its arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    description: str = ""
    data_type: str | None = None
    data_tests: tuple[str | dict[str, Any], ...] = ()


class PythonModels:
    """What can be declared in Python, added to the declarations of a project.

    Args:
        declared: What is declared already.
    """

    def __init__(self, declared: Declarations) -> None:
        self.declared = declared

    @property
    def root(self) -> Path:
        """The project's folder."""
        return Path(self.declared.root)

    def declaring(self) -> None:
        """Note that something is about to be declared: what was made of the declarations is no longer all."""

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
        inputs: str | Sequence[str] | None = None,
        stable_functions: str | Sequence[str] | None = None,
        settled: bool | None = None,
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
        where = caller()
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
            "inputs": inputs,
            "stable_functions": stable_functions,
            "settled": settled,
            "max_age": max_age,
        }
        settings = {**{key: value for key, value in given.items() if value is not None}, **policy_config(policies)}

        def declare(model: str, text: str, location: Location, about: str) -> None:
            self._declare_node(
                NodeDeclaration(
                    name=model,
                    package=self.declared.name,
                    location=location,
                    fqn=(self.declared.name, model),
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
            text = _call(made_by, model, place)
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
        where = caller()
        title = f"{source_name}.{table_name}"
        if loaded_at_field and loaded_at_query:
            raise ProjectError(f"{title} has both loaded_at_field and loaded_at_query; keep one", location=where)
        limits: SourceFreshness = checked(SourceFreshness, freshness or {}, title, where)
        relation = dialect_named(self.declared.dialect).relation(
            database or self.declared.database, schema or source_name, identifier or table_name
        )
        pattern, expression = external_location(files, self.root) if files else ((), str(relation))
        self.declaring()
        self.declared.sources.append(
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
                fqn=(self.declared.name, source_name, table_name),
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
        where = caller()
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
                package=self.declared.name,
                location=Location(self._shown(str(file))),
                fqn=(self.declared.name, name),
                resource_type="seed",
                csv=str(file),
                csv_digest=file_digest(file),
                layers=({key: value for key, value in given.items() if value},),
                description=description,
            )
        )
        self._declare_tests(name, None, data_tests, where)

    def test(self, name: str, sql: str, **config: Any) -> None:
        """Declare a singular data test: SQL that returns failing rows, with dbt's test configuration."""
        self.declaring()
        self.declared.tests.append(
            TestDeclaration(
                kind="singular",
                location=caller(),
                package=self.declared.name,
                config=config,
                name=name,
                sql=sql,
                fqn=(self.declared.name, name),
            )
        )

    def _declare_node(self, declaration: NodeDeclaration) -> None:
        for layer in declaration.layers if declaration.resource_type == "model" else ():
            if isinstance(group := layer.get("group"), str):
                self.declared.group_owners.setdefault(group, ())
        self.declaring()
        self.declared.nodes.append(declaration)

    def _declare_tests(self, tested: str, column: str | None, entries: DataTests, where: Location) -> None:
        fqn = (self.declared.name, tested.removeprefix("source:"))
        for entry in entries:
            test = parse_entry(entry, where)
            self.declared.tests.append(test.of(tested, column, location=where, package=self.declared.name, fqn=fqn))

    def _shown(self, file: str) -> str:
        path = Path(file)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _call(function: Callable[..., str], name: str, where: Location) -> str:
    """Return the SQL that a function makes; `ref`, `source` and `var` give templates, so all is rendered at once."""
    known: dict[str, Callable[..., str]] = {
        "ref": lambda *args, **kwargs: _template("ref", *args, **kwargs),
        "source": lambda *args: _template("source", *args),
        "var": lambda *args: _template("var", *args),
    }
    wanted = list(inspect.signature(function).parameters)
    if unknown := [each for each in wanted if each not in known]:
        raise ProjectError(
            f"the function of model {name!r} takes {', '.join(unknown)}; it may take ref, source and var",
            location=where,
        )
    text = function(**{each: known[each] for each in wanted})
    if not isinstance(text, str):
        raise ProjectError(f"the function of model {name!r} returns {type(text).__name__}, not SQL", location=where)
    return text


def _template(function: str, *args: Any, **kwargs: Any) -> str:
    parts = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    return "{{ " + f"{function}({', '.join(parts)})" + " }}"


def caller() -> Location:
    """Return the place of the first call from outside of this package."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_OWN) and frame.f_back is not None:
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)
