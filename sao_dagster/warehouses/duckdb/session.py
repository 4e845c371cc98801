"""DuckDB: the embedded default.

One process at a time can hold a database file, so a session is opened late, closed early, and waits for a file
that is held. Inside the process every thread has a connection of its own; each build is one transaction.
"""

from __future__ import annotations

import os
import string
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import duckdb

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import Materialized, Model, Seed
from sao_dagster.core.relations import Relation, RelationKey, folded, quote
from sao_dagster.core.templates import CompiledSql
from sao_dagster.errors import WarehouseError
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.sql.text import embeddable
from sao_dagster.warehouses.duckdb.beside import DATABASES, read_contents, read_in_snapshot, tokens_of
from sao_dagster.warehouses.duckdb.content import content_sql, content_version
from sao_dagster.warehouses.duckdb.header import header_of
from sao_dagster.warehouses.duckdb.names import functions, resolve
from sao_dagster.warehouses.duckdb.row_hash import UnknownTypeError, row_hash
from sao_dagster.warehouses.duckdb.stamp import stamp_of
from sao_dagster.warehouses.protocol import (
    Built,
    Catalog,
    Columns,
    Constraints,
    FunctionInfo,
    QueryResult,
    ReadFiles,
    RelationInfo,
    Session,
)
from sao_dagster.warehouses.shared.attachments import attach_statements
from sao_dagster.warehouses.shared.contents import ContentReader, CountedTable, ViewSources
from sao_dagster.warehouses.shared.files import ReadPaths
from sao_dagster.warehouses.shared.incremental import Statements, add_increment, by_name
from sao_dagster.warehouses.shared.names import literal
from sao_dagster.warehouses.shared.native import NativeMaterializer, check_expected
from sao_dagster.warehouses.shared.seed_files import described, seed_query

_NONE: Mapping[Relation, Collection[str]] = {}
_NO_BUILDS: Mapping[Relation, str | None] = {}
_FROM_HERE = ReadPaths()
_ZONE, _UTC = (
    "timezone",
    ("Etc/UTC", "Etc/UCT", "Etc/Zulu", "Etc/Universal", "Etc/GMT", "GMT", "UCT", "Zulu", "Universal"),
)


@dataclass(frozen=True)
class SessionSettings:
    """What the profile sets.

    Attributes:
        of_each_cursor: Statements for each new cursor, which is a connection of its own.
        counted: Names of the settings that may change results.
    """

    of_each_cursor: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()


class DuckDBSession(Session):
    """An open DuckDB database; see `Session`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: tuple[Path, ...] | None,
        settings: SessionSettings = SessionSettings(),
        paths: ReadPaths = _FROM_HERE,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._files = files
        self._paths = paths
        self._guard_schemas = threading.Lock()
        self._schemas: set[tuple[str | None, str]] = set()  # those that are known to be there
        self._kinds: dict[RelationKey, bool] | None = None  # whether a relation is a view
        self._guard = threading.Lock()
        self._running: set[duckdb.DuckDBPyConnection] = set()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._guard:
            cursor = self._connection.cursor()
            self._running.add(cursor)
        try:
            for statement in self._settings.of_each_cursor:
                cursor.execute(statement)
            yield cursor
        except duckdb.Error as error:
            raise WarehouseError(words(error)) from error
        finally:
            with self._guard:
                self._running.discard(cursor)
            cursor.close()

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._cursor() as cursor:
            cursor.begin()
            try:
                yield cursor
                cursor.commit()
            except BaseException:
                _rollback(cursor)
                raise

    def interrupt(self) -> None:
        """Stop all running statements, from any thread."""
        with self._guard:
            for cursor in self._running:
                cursor.interrupt()

    def stamp(self) -> str | None:
        """Return sizes, times and numbers of the database files, which nobody else can write for now; see `stamp_of`."""
        if self._files is None or self._sees_more():
            return None
        with suppress(WarehouseError):  # open for reading only: there is nothing of ours to write
            self.execute("force checkpoint")
        return stamp_of(self._files)

    def _sees_more(self) -> bool:
        """Return whether a database was attached, by a hook perhaps, that is none of the files."""
        known = {os.path.realpath(file) for file in self._files or ()}
        rows = self.query("select type, path from duckdb_databases() where not internal").rows
        return any(kind != "duckdb" or os.path.realpath(path or "") not in known for kind, path in rows)

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""
        with self._cursor() as cursor:
            result = cursor.execute(sql)
            names = tuple(column[0] for column in result.description or ())
            return QueryResult(names, result.fetchall() if names else [])

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""
        with self._cursor() as cursor:
            cursor.execute(sql)

    def database_id(self) -> str | None:
        """Return the id that DuckDB gives a file when it makes it, from 1.4 on; it stays where the file is moved."""
        with self._cursor() as cursor:
            row = cursor.execute(
                "select path from duckdb_databases() where database_name = current_database() and type = 'duckdb'"
            ).fetchone()
        return header_of(row[0]).database_id if row and row[0] else None

    def settings(self) -> ConnectionSettings:
        """Return what the profile sets, as DuckDB says it, and the time zone of the process where the profile sets none."""
        with self._cursor() as cursor:

            def value(name: str) -> str:
                row = cursor.execute(f"select current_setting({literal(name)})::varchar").fetchone()
                return str(row[0]) if row else ""

            given = {name.lower(): value(name) for name in self._settings.counted}
            process = {}
            if _ZONE not in given:
                with suppress(duckdb.Error):  # without the extension that knows zones, there is none
                    process[_ZONE] = value(_ZONE)
        return ConnectionSettings(_normal(given), _normal(process))

    def catalog(self) -> Catalog:
        """Return all tables and views of the attached databases."""
        with self._transaction() as cursor:
            found = _catalog(cursor)
        self._kinds = {key: info.is_view for key, info in found.items()}
        return found

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of a relation, or of anything else that can stand after `from`."""
        with self._cursor() as cursor:
            if not isinstance(read, Relation):
                return described(cursor, f"select * from {read}")
            rows = cursor.execute(
                f"select column_name, data_type from duckdb_columns() where lower(table_name) = lower($3) "  # DuckDB looks up that alone
                f"and ({_folded('database_name')} = $1 or $1 = '') "
                f"and {_folded('schema_name')} = $2 and {_folded('table_name')} = $3 order by column_index",
                list(read.key),
            ).fetchall()
            return tuple((name, kind) for name, kind in rows)

    def info_of(self, relation: Relation) -> RelationInfo | None:
        """Return what the catalog says of a relation, without reading all of it."""
        with self._transaction() as cursor:
            return _catalog(cursor, relation.identifier).get(relation.key)

    def relations_at_once(self) -> Catalog:
        """Return all tables and views: to look at all takes as long as a dozen questions."""
        return self.catalog()

    def time_zone(self) -> str | None:
        """Return the name of the session's time zone."""
        return str(self.query("select current_setting('TimeZone')").rows[0][0])

    def resolved(self, tables: Collection[UndeclaredInput]) -> dict[UndeclaredInput, Relation]:
        """Return which relations are meant by names of tables; see `resolve`."""
        with self._cursor() as cursor:
            return resolve(cursor, tables)

    def behind_views(self, relations: Collection[Relation]) -> dict[Relation, frozenset[RelationKey]]:
        """Return what the views among some relations read; see `behind_view`."""
        rows = self.query("select database_name, schema_name, view_name from duckdb_views() where not internal").rows
        there = {tuple(map(folded, row)) for row in rows}
        views = [each for each in relations if each.key in there]
        if not views:
            return {}
        from sao_dagster.warehouses.duckdb.views import behind_view  # the parser, where there is one

        catalog = self.catalog()
        return {each: behind_view(each, catalog, self.functions) for each in views}

    def files_behind(self, catalog: Catalog, relations: Collection[Relation]) -> dict[Relation, ReadFiles]:
        """Return the files that the views among some relations read; see `view_sources`."""
        shown = self._shown_in(catalog)
        views = (each for each in relations if (info := catalog.get(each.key)) is not None and info.is_view)
        return {each: sources.files for each in views if (sources := shown(each)) and sources.files}

    def read_paths(self) -> ReadPaths:
        """Return from where relative paths in SQL are taken."""
        return self._paths

    def columns_shown(self, view: Relation, columns: Columns) -> Columns | None:
        """Return the columns that a view has when it is read now: DuckDB drops a table that views read, and looks at a view again when that is read."""
        try:
            return self.columns_of(str(view))
        except WarehouseError:
            return None

    def functions(self, names: Collection[str]) -> dict[str, FunctionInfo]:
        """Return the macros of those names, and functions of extensions."""
        with self._cursor() as cursor:
            return functions(cursor, names)

    def made_functions(self) -> MadeFunctions:
        """Return the names of all macros and types, and of functions that Python registered; a macro may be called `+`."""
        functions = self.query("select function_name from duckdb_functions() where not internal").rows
        types = self.query("select type_name from duckdb_types() where not internal").rows
        return MadeFunctions(
            functions=frozenset(name.lower() for (name,) in functions),
            objects=frozenset(name.lower() for (name,) in types),
        )

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""
        with self._cursor() as cursor:
            return any(key[1] == folded(schema) and folded(database or "") in ("", key[0]) for key in _schemas(cursor))

    def constraints(self) -> Constraints:
        """Return the constraints of all tables."""
        with self._cursor() as cursor:
            return _constraints(cursor)

    def _is_view(self, relation: Relation) -> bool | None:
        """Return whether a relation is a view; None if it is not there, as far as this session knows."""
        if self._kinds is None:
            self.catalog()
        return (self._kinds or {}).get(relation.key)

    def ensure_schemas(self, relations: Collection[Relation]) -> None:
        """Create the schemas that the relations live in, where they are not there."""
        wanted = {(each.database, each.schema) for each in relations} - self._schemas
        if not wanted:
            return
        with self._guard_schemas, self._cursor() as cursor:
            there = _schemas(cursor)
            for database, schema in sorted(wanted, key=str):
                if (folded(database or ""), folded(schema)) not in there:
                    cursor.execute(f"create schema if not exists {_schema_name(database, schema)}")
            self._schemas |= wanted

    def make_schema(self, database: str | None, schema: str) -> None:
        """Create a schema; an error where there is one of that name."""
        self.execute(f"create schema {_schema_name(database, schema)}")

    def drop_relations(self, tables: Collection[Relation], views: Collection[Relation]) -> None:
        """Drop views, and then tables."""
        with self._transaction() as cursor:
            for each in views:
                cursor.execute(f"drop view {each}")
            for each in tables:
                cursor.execute(f"drop table {each}")

    def drop_schema(self, database: str | None, schema: str) -> None:
        """Drop a schema in which there is nothing; an error where there is something."""
        self.execute(f"drop schema {_schema_name(database, schema)} restrict")

    def row_hash(self, columns: Columns) -> str | None:
        """Return an expression for the hash of a row; None where one of the types is not known."""
        try:
            return row_hash(columns)
        except UnknownTypeError:
            return None

    def versions(
        self, catalog: Catalog, omit: Mapping[Relation, Collection[str]], seconds: float
    ) -> dict[Relation, DataVersion | None]:
        """Return content versions; views are resolved to the tables they read."""

        def read(tables: Sequence[CountedTable], time_left: float) -> dict[CountedTable, DataVersion]:
            with self._cursor() as cursor:
                timer = threading.Timer(time_left, cursor.interrupt)
                timer.start()
                try:
                    return read_contents(cursor, catalog, tables)
                finally:
                    timer.cancel()

        return ContentReader(catalog, self._shown_in(catalog), read).versions(omit, seconds)

    def _shown_in(self, catalog: Catalog) -> Callable[[Relation], ViewSources | None]:
        """Return what tells what a view shows."""
        made, settings = cache(self.made_functions), cache(self.settings)  # asked for where there is a view

        def shown(view: Relation) -> ViewSources | None:
            from sao_dagster.warehouses.duckdb.views import view_sources

            sources = view_sources(view, catalog, self.functions, made(), self._paths)
            return sources and sources.under(settings())

        return shown

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> dict[Relation, str]:
        """Return what shows that the databases were written to which relations are in, and those that views show; see `tokens_of`."""
        tokens = tokens_of(self.query(DATABASES).rows)
        shown = self._shown_in(catalog)

        def of_view(view: Relation) -> str | None:
            sources = shown(view)
            if sources is None:
                return None
            read = [tokens.get(key[0]) for key in (view.key, *sources.tables)]
            return None if None in read else digest(read)

        found = {}
        for each in relations:
            info = catalog.get(each.key)
            if info is not None:
                is_one = not info.is_view or self._files is not None
                token = tokens.get(each.key[0]) if is_one else of_view(each)
                if token is not None:
                    found[each] = token
        return found

    def keep_rows(self, relation: Relation, sql: str, *, as_view: bool) -> None:
        """Put the rows of a query into a table or view, in place of what is there."""
        self.ensure_schemas([relation])
        self.execute(f"create or replace {'view' if as_view else 'table'} {relation} as {embeddable(sql)}")

    def materializer(self) -> NativeMaterializer:
        """Return what builds natively in this session."""
        return NativeMaterializer(self)

    def build_model(
        self,
        model: Model,
        compiled: CompiledSql,
        *,
        full_refresh: bool,
        reads: Mapping[Relation, str | None] = _NO_BUILDS,
        unwatched: Mapping[Relation, Collection[str]] = _NONE,
    ) -> Built:
        """Build a model in one transaction."""

        def make(cursor: duckdb.DuckDBPyConnection, is_view: bool | None) -> bool:
            sql = embeddable(compiled.sql)
            if model.materialized is Materialized.VIEW:
                cursor.execute(f"create or replace view {model.relation} as {sql}")
                return True
            if model.materialized is Materialized.INCREMENTAL and is_view is not None and not full_refresh:
                statements = Statements(cursor.execute, lambda table: by_name(described(cursor, table)), "duckdb")
                add_increment(statements, model, compiled.incremental_sql or compiled.sql)
            else:
                cursor.execute(f"create or replace table {model.relation} as {sql}")
            return False

        return self._replace(model, compiled, make, unwatched)

    def load_seed(self, seed: Seed) -> Built:
        """Replace a seed's table by its file."""

        def make(cursor: duckdb.DuckDBPyConnection, _: bool | None) -> bool:
            cursor.execute(f"create or replace table {seed.relation} as {seed_query(cursor, seed, seed.column_types)}")
            return False

        hooks = CompiledSql("", pre_hooks=seed.pre_hooks, post_hooks=seed.post_hooks)
        return self._replace(seed, hooks, make)

    def _replace(
        self,
        node: Model | Seed,
        compiled: CompiledSql,
        make: Callable[[duckdb.DuckDBPyConnection, bool | None], bool],
        unwatched: Mapping[Relation, Collection[str]] = _NONE,
    ) -> Built:
        """Make a relation between its hooks, in one transaction; `make` says whether it is a view now."""
        wants_view = node.materialized is Materialized.VIEW
        known = is_view = self._is_view(node.relation)
        started = time.perf_counter()
        try:
            with self._transaction() as cursor:
                for hook in compiled.pre_hooks:
                    cursor.execute(hook)
                if is_view is not None and is_view != wants_view:
                    cursor.execute(f"drop {'view' if is_view else 'table'} {node.relation}")
                    is_view = None
                made_view = make(cursor, is_view)
                contents = {}
                if unwatched:
                    before_reading = time.perf_counter()
                    catalog = _catalog(cursor)
                    contents = read_in_snapshot(cursor, catalog, self._shown_in(catalog), unwatched)
                    started += time.perf_counter() - before_reading
                columns = (
                    [name for name, _ in described(cursor, str(node.relation))] if node.attached.column_comments else ()
                )
                for statement in (*attach_statements(node, columns), *compiled.post_hooks):
                    cursor.execute(statement)
                seconds = time.perf_counter() - started
                built = _describe(cursor, node.relation, node.volatile_columns, is_view=made_view, seconds=seconds)
                built = replace(built, contents=contents)
                check_expected(built, compiled)
        except WarehouseError:
            self._kinds = None  # a hook or a macro may have made or dropped it behind our back
            if self._is_view(node.relation) == known:
                raise
            return self._replace(node, compiled, make, unwatched)
        if self._kinds is not None:
            self._kinds[node.relation.key] = made_view
        if made_view:  # the catalog shows a view to others, and surely to us, once it is committed
            with self._cursor() as cursor:
                built = replace(
                    built, data_version=_view(cursor, node.relation, built.columns or ()).definition_version
                )
        return built


def _normal(values: Mapping[str, str]) -> dict[str, str]:
    """Return settings with one name for the zone that has many."""
    return {name: "UTC" if name == _ZONE and value in _UTC else value for name, value in values.items()}


def _catalog(cursor: duckdb.DuckDBPyConnection, identifier: str = "") -> dict[RelationKey, RelationInfo]:
    """Return all tables and views of all attached databases, with their columns and the SQL of views.

    What has columns and is no view is a table; `duckdb_tables()` would say the same, and takes as long as the rest. So both are read
    in one transaction.

    Args:
        cursor: The transaction.
        identifier: How those that are looked for are called, in whatever case; empty for all.
    """
    columns: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for database, schema, table, column, kind in cursor.execute(
        "select database_name, schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where not internal and ($1 = '' or lower(table_name) = lower($1)) order by column_index",
        [identifier],
    ).fetchall():
        columns.setdefault((database, schema, table), []).append((column, kind))
    views = {
        (database, schema, view): sql
        for database, schema, view, sql in cursor.execute(
            "select database_name, schema_name, view_name, sql from duckdb_views() "
            "where not internal and ($1 = '' or lower(view_name) = lower($1))",
            [identifier],
        ).fetchall()
    }
    fold = cache(folded)  # of databases and schemas there are few
    return {
        (fold(place[0]), fold(place[1]), folded(place[2])): RelationInfo(
            is_view=place in views, columns=tuple(columns.get(place, ())), definition=views.get(place)
        )
        for place in dict.fromkeys((*columns, *views))
    }


def _folded(column: str) -> str:
    """Return an expression for a name as `sao_dagster.core.relations.folded` has it."""
    return f"translate({column}, '{string.ascii_uppercase}', '{string.ascii_lowercase}')"


def _schema_name(database: str | None, schema: str) -> str:
    return f"{quote(database)}.{quote(schema)}" if database else quote(schema)


def _schemas(cursor: duckdb.DuckDBPyConnection) -> set[tuple[str, str]]:
    """Return the schemas of all databases, folded."""
    rows = cursor.execute("select database_name, schema_name from duckdb_schemas()").fetchall()
    return {(folded(database), folded(schema)) for database, schema in rows}


def _constraints(cursor: duckdb.DuckDBPyConnection) -> Constraints:
    not_null: dict[RelationKey, list[str]] = {}
    unique: dict[RelationKey, list[tuple[str, ...]]] = {}
    for database, schema, table, kind, columns in cursor.execute(
        "select database_name, schema_name, table_name, constraint_type, constraint_column_names from duckdb_constraints()"
    ).fetchall():
        key = (folded(database), folded(schema), folded(table))
        if kind == "NOT NULL":
            not_null.setdefault(key, []).extend(columns)
        elif kind in ("UNIQUE", "PRIMARY KEY"):
            unique.setdefault(key, []).append(tuple(columns))
    collations = cursor.execute(
        "select current_setting('default_collation') <> '' or exists (select 1 from duckdb_tables() where sql ilike '%collate%')"
    ).fetchone()
    functions = cursor.execute(
        "select lower(function_name), bool_or(internal) from duckdb_functions() group by 1 having not bool_and(internal)"
    ).fetchall()
    return Constraints(
        {key: tuple(columns) for key, columns in not_null.items()},
        {key: tuple(found) for key, found in unique.items()},
        bool(collations and collations[0]),
        frozenset(name for name, _ in functions),
        any(internal for _, internal in functions),
    )


def _describe(
    cursor: duckdb.DuckDBPyConnection, relation: Relation, omitted: Collection[str], *, is_view: bool, seconds: float
) -> Built:
    """Return what is there now, seen from inside the transaction that made it."""
    columns = described(cursor, str(relation))
    if is_view:
        return Built(columns=columns, seconds=seconds)
    sql = content_sql(str(relation), columns, omitted)
    row = cursor.execute(sql or f"select count(*) from {relation}").fetchone()
    assert row is not None  # noqa: S101 - an aggregate without grouping has one row
    return Built(
        data_version=content_version(row, columns, omitted) if sql else None,
        columns=columns,
        rows=int(row[0]),
        seconds=seconds,
    )


def _view(cursor: duckdb.DuckDBPyConnection, relation: Relation, columns: tuple[tuple[str, str], ...]) -> RelationInfo:
    """Return a view as the catalog has it."""
    database, schema, name = (literal(part) for part in relation.key)
    sql = cursor.execute(
        f"select sql from duckdb_views() where {_folded('view_name')} = {name} and {_folded('schema_name')} = {schema}"
        + (f" and {_folded('database_name')} = {database}" if relation.database else "")
    ).fetchone()
    return RelationInfo(is_view=True, columns=columns, definition=sql[0] if sql else None)


def _rollback(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.rollback()
    except duckdb.Error:  # the transaction ended with the error already
        return


def words(error: Exception) -> str:
    """Return what DuckDB said."""
    return str(error).strip()
