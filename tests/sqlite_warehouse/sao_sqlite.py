"""SQLite as a warehouse: an example of a package that brings one. Schemas other than `main` are files of their own, which are attached."""

from __future__ import annotations

import csv
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sao_dagster.core.nodes import IncrementalStrategy, Materialized, Model, Seed
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import CompiledSql
from sao_dagster.errors import UnsupportedError, WarehouseError
from sao_dagster.warehouses.protocol import Built, Capabilities, Catalog, Columns, QueryResult, RelationInfo, Session
from sao_dagster.warehouses.registry import WarehouseProfile
from sao_dagster.warehouses.shared.native import NativeMaterializer


class SQLiteProfile(WarehouseProfile):
    """An output of `type: sqlite`; `schemas` are the files of schemas other than `main`."""

    title: ClassVar[str] = "SQLite"
    deployment: ClassVar[tuple[str, ...]] = ("path", "threads")

    path: str
    schemas: dict[str, str] = Field(default_factory=dict)

    def warehouse(self, name: str, root: Path) -> SQLiteWarehouse:
        schemas = {schema: str(root / file) for schema, file in self.schemas.items()}
        return SQLiteWarehouse(path=str(root / self.path), schemas=schemas, name=name, threads=self.threads)


@dataclass(frozen=True, kw_only=True)
class SQLiteWarehouse:
    """A file of SQLite, with others attached."""

    path: str
    schemas: Mapping[str, str] = field(default_factory=dict)
    name: str = "dev"
    threads: int = 1
    type: str = field(default="sqlite", init=False)
    dialect: str = field(default="sqlite", init=False)
    schema: str = field(default="main", init=False)
    database: None = field(default=None, init=False)
    capabilities: Capabilities = field(default=Capabilities(transactional_ddl=True), init=False)

    @property
    def place(self) -> str:
        return str(Path(self.path).resolve())

    @property
    def target(self) -> Mapping[str, Any]:
        return {"type": self.type, "name": self.name, "schema": self.schema, "database": None, "threads": self.threads}

    @contextmanager
    def session(self, *, read_only: bool = False, **_: Any) -> Iterator[SQLiteSession]:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60)
        try:
            for schema, file in self.schemas.items():
                connection.execute("attach ? as ?", [file, schema])
            yield SQLiteSession(connection)
        finally:
            connection.close()


class SQLiteSession(Session):
    """One connection, which takes one statement at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @contextmanager
    def _at_work(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise WarehouseError(str(error)) from error

    # ------------------------------------------------------------------ what is there, and asking

    def catalog(self) -> Catalog:
        found = {}
        for (schema,) in self.query("select name from pragma_database_list where name <> 'temp'").rows:
            for kind, name, sql in self.query(
                f"select type, name, sql from \"{schema}\".sqlite_master where type in ('table', 'view')"
            ).rows:
                relation = Relation(None, schema, name)
                is_view = kind == "view"
                found[relation.key] = RelationInfo(is_view, self.columns_of(relation), sql if is_view else None)
        return found

    def query(self, sql: str) -> QueryResult:
        with self._at_work() as connection:
            cursor = connection.execute(sql)
            return QueryResult(tuple(column[0] for column in cursor.description or ()), cursor.fetchall())

    def execute(self, sql: str) -> None:
        with self._at_work() as connection:
            connection.execute(sql)

    def columns_of(self, read: Relation | str) -> Columns:
        if isinstance(read, str):
            return tuple((name, "") for name in self.query(f"select * from {read} limit 0").columns)
        with self._at_work() as connection:
            rows = connection.execute(
                "select name, type from pragma_table_info(?, ?)", [read.identifier, read.schema]
            ).fetchall()
            return tuple((name, kind) for name, kind in rows)

    def time_zone(self) -> str:
        """Return the zone of SQLite's `date('now')`."""
        return "UTC"

    def interrupt(self) -> None:
        self._connection.interrupt()

    # ------------------------------------------------------------------ building

    def materializer(self) -> NativeMaterializer:
        return NativeMaterializer(self)

    def ensure_schemas(self, relations: Collection[Relation]) -> None:
        there = {row[0] for row in self.query("select name from pragma_database_list").rows}
        for schema in {each.schema for each in relations} - there:
            raise WarehouseError(f"the schema {schema!r} has no file; name one in `schemas` of the profile")

    def build_model(
        self,
        model: Model,
        compiled: CompiledSql,
        *,
        full_refresh: bool,
        reads: Mapping[Relation, str | None],
        unwatched: Mapping[Relation, Collection[str]],
    ) -> Built:
        kind = self.kind_of(model.relation)
        with self._transaction() as connection:
            for hook in compiled.pre_hooks:
                connection.execute(hook)
            if model.materialized is Materialized.INCREMENTAL and kind == "table" and not full_refresh:
                self._add(connection, model, compiled.incremental_sql or compiled.sql)
            else:
                wanted = "view" if model.materialized is Materialized.VIEW else "table"
                if kind is not None:
                    connection.execute(f"drop {kind} {model.relation}")
                connection.execute(f"create {wanted} {model.relation} as {compiled.sql.strip().rstrip(';')}")
            for hook in compiled.post_hooks:
                connection.execute(hook)
        return Built()

    def load_seed(self, seed: Seed) -> Built:
        kind = self.kind_of(seed.relation)
        with Path(seed.path).open(newline="", encoding="utf-8") as file, self._transaction() as connection:
            names, *rows = csv.reader(file, delimiter=seed.delimiter)
            if kind is not None:
                connection.execute(f"drop {kind} {seed.relation}")
            columns = ", ".join(f'"{name}" {seed.column_types.get(name, "numeric")}' for name in names)
            connection.execute(f"create table {seed.relation} ({columns})")
            marks = ", ".join("?" * len(names))
            connection.executemany(
                f"insert into {seed.relation} values ({marks})", [[value or None for value in row] for row in rows]
            )
        return Built(rows=len(rows))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._at_work() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                connection.execute("rollback")
                raise

    @staticmethod
    def _add(connection: sqlite3.Connection, model: Model, sql: str) -> None:
        if model.incremental_strategy is IncrementalStrategy.MERGE:
            raise UnsupportedError("SQLite has no merge; use delete+insert", name=model.name, location=model.location)
        connection.execute(f"create temporary table incoming as {sql.strip().rstrip(';')}")
        if model.unique_key:
            keys = ", ".join(model.unique_key)
            connection.execute(f"delete from {model.relation} where ({keys}) in (select {keys} from incoming)")
        connection.execute(f"insert into {model.relation} select * from incoming")
        connection.execute("drop table incoming")
