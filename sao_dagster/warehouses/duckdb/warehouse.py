"""DuckDB as a warehouse: one process at a time can hold a database file, so a session is opened late, closed early, and waits."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from sao_dagster.core.messages import Message
from sao_dagster.core.relations import quote
from sao_dagster.errors import WarehouseBusyError, WarehouseError
from sao_dagster.sql.harmless_settings import is_harmless_setting
from sao_dagster.warehouses.duckdb.attached import alias_of, attach_sql, database_name, is_file, is_own_file
from sao_dagster.warehouses.duckdb.header import header_of
from sao_dagster.warehouses.duckdb.secrets import secret_sql
from sao_dagster.warehouses.duckdb.session import DuckDBSession, SessionSettings, words
from sao_dagster.warehouses.duckdb.stamp import stamp_of
from sao_dagster.warehouses.protocol import Capabilities, VersionsBy, shown_target
from sao_dagster.warehouses.shared.files import ReadPaths
from sao_dagster.warehouses.shared.names import literal
from sao_dagster.warehouses.shared.processes import describe_process

_SEARCH = "file_search_path"


@dataclass(frozen=True, kw_only=True)
class DuckDBWarehouse:
    """A DuckDB database.

    Attributes:
        path: The file, or `:memory:`.
        schema: The default schema of models.
        name: The name of the target.
        threads: How many models are built at once.
        extensions: Extensions to load.
        repositories: Where those of them are installed from that are not DuckDB's own.
        secrets: Secrets to make, as dbt-duckdb writes them: `type`, and what that takes.
        settings: DuckDB settings, made in every connection.
        config_options: DuckDB settings that are made when the database is opened.
        attach: Further databases, as dbt-duckdb writes them: `path`, and optionally `alias`, `type`, `secret`, `options`, `read_only`.
        wait_seconds: How long to wait for a file that another process holds.
        folder: From where relative paths in SQL are looked up that are not found from where this process is, such as the project's folder, where dbt is when it builds.
    """

    path: str
    schema: str = "main"
    name: str = "dev"
    threads: int = 4
    extensions: tuple[str, ...] = ()
    repositories: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    config_options: Mapping[str, Any] = field(default_factory=dict)
    attach: tuple[Mapping[str, Any], ...] = ()
    wait_seconds: float = 300.0
    folder: str | None = None
    type: str = field(default="duckdb", init=False)
    dialect: str = field(default="duckdb", init=False)
    _memory: dict[str, duckdb.DuckDBPyConnection] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def database(self) -> str:
        """The name of the database inside DuckDB, which is made of that of the file."""
        return "memory" if self.path == ":memory:" else database_name(self.path)

    @property
    def place(self) -> str:
        """The real path of the file; what has none is named as it is written."""
        return self.path if ":" in self.path[1:] else str(Path(self.path).resolve())

    def attaching(self, place: str, name: str) -> DuckDBWarehouse:
        """Return the same warehouse, in whose sessions another file is attached, to be read.

        Raises:
            WarehouseError: It is no file, or not there.
        """
        if not is_file(place) or not Path(place).is_file():
            raise WarehouseError(f"{place} is no file that is there, so nothing can be read from it")
        return replace(self, attach=(*self.attach, {"path": place, "alias": name, "read_only": True}))

    def attached_as(self, place: str) -> str | None:
        """Return under which name a file is attached already; None where it is not. One file is attached once."""
        paths = ((str(each["path"]), alias_of(each)) for each in self.attach)
        return next((alias for path, alias in paths if is_file(path) and str(Path(path).resolve()) == place), None)

    def database_id_at(self, place: str) -> str | None:
        """Return the id that DuckDB gave a file; see `Header`."""
        return header_of(place).database_id

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: while a session is open, nobody else can write, unless there is more to it than files."""
        in_memory = self.path == ":memory:"
        in_files = not in_memory and self.files() is not None
        return Capabilities(
            exclusive=in_files or (in_memory and not self.attach),
            stamp=in_files,
            transactional_ddl=True,
            views_by_name=True,
            source_versions=VersionsBy.CONTENT,
            model_versions=VersionsBy.CONTENT,
        )

    @property
    def target(self) -> Mapping[str, Any]:
        """What Jinja's `target` shows."""
        return shown_target(self, path=self.path)

    @contextmanager
    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[DuckDBSession]:
        """Return an open session; see `Warehouse.session`."""
        if self.path == ":memory:":
            if not self._memory:
                self._memory["connection"] = self._configure(self._open(":memory:"), read_only=False)
            yield self._session(self._memory["connection"], files=None)
            return
        limit = self.wait_seconds if wait_seconds is None else wait_seconds
        connection = self._connect(read_only=read_only, on_message=on_message, limit=limit)
        try:
            yield self._session(connection, files=self.files())
        finally:
            connection.close()

    def session_over(self, connection: duckdb.DuckDBPyConnection) -> DuckDBSession:
        """Return a session over a connection that somebody else has opened to the file, and that nobody else can write to for as long."""
        return self._session(connection, files=self.files())

    def _session(self, connection: duckdb.DuckDBPyConnection, files: tuple[Path, ...] | None) -> DuckDBSession:
        """Return a session whose cursors, which are connections of their own, have all that was set."""
        given = {**self.config_options, **self.settings}
        counted = tuple(name for name in given if not is_harmless_setting(name))
        settings = SessionSettings(self._of_each_cursor(connection), counted)
        return DuckDBSession(connection, files, settings, ReadPaths(self.folder, searches=_SEARCH in given))

    def _of_each_cursor(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        """Return the statements that set what a new cursor does not take over from its connection."""

        def value(of: duckdb.DuckDBPyConnection, name: str) -> object:
            return of.execute(f"select current_setting({literal(name)})").fetchall()

        with connection.cursor() as fresh:
            return tuple(
                _set(name, each)
                for name, each in self.settings.items()
                if value(fresh, name) != value(connection, name)
            )

    def files(self) -> tuple[Path, ...] | None:
        """Return the files that hold all that a session sees, or None if there is more to it than files."""
        databases = [(self.path, None), *((str(each["path"]), each.get("type")) for each in self.attach)]
        if not all(is_own_file(path, kind) for path, kind in databases):
            return None
        return tuple(Path(path) for path, _ in databases)

    def stamp(self) -> str | None:
        """Return what the files show without being opened, which nobody may have written to since if it is the same.

        None where extensions are loaded: which version of them is installed is not seen in these files.
        """
        files = self.files() if self.capabilities.stamp and not self.extensions else None
        return None if files is None else stamp_of(files)

    def _connect(
        self, *, read_only: bool, on_message: Callable[[Message], None] | None, limit: float
    ) -> duckdb.DuckDBPyConnection:
        """Return a connection to the file, after waiting for another process that holds it, for `limit` seconds at most."""
        path = Path(self.path)
        if read_only and is_file(self.path) and not path.exists():  # nothing is there, and nothing is to be made
            there = [each for each in self.attach if not is_file(str(each["path"])) or Path(str(each["path"])).exists()]
            return replace(self, attach=tuple(there))._configure(self._open(":memory:"), read_only=True)
        if not path.parent.exists():
            raise WarehouseError(f"the folder of the DuckDB file {self.path} does not exist; create it first")
        give_up = time.monotonic() + limit
        said = False
        while True:
            try:
                return self._configure(self._open(str(path), read_only=read_only), read_only=read_only)
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise WarehouseError(f"the DuckDB file {self.path} cannot be opened: {words(error)}") from error
                holder = re.search(r"PID (\d+)", str(error))
                named = re.search(r'on file "([^"]+)"', str(error))  # which may be one that is attached
                file = named[1] if named else self.path
                by = describe_process(int(holder[1])) if holder else "another process"
                if time.monotonic() >= give_up:
                    raise WarehouseBusyError(
                        f"the DuckDB file {file} is held by {by} and did not become free within {limit:g} s"
                    ) from error
                if on_message is not None and not said:
                    on_message(Message(f"waits for the DuckDB file {file}, which is held by {by}"))
                    said = True
                time.sleep(min(0.2, max(0.01, give_up - time.monotonic())))
            except duckdb.Error as error:
                raise WarehouseError(f"the DuckDB file {self.path} cannot be opened: {words(error)}") from error

    def _open(self, path: str, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        options = dict(self.config_options)
        try:
            return duckdb.connect(path, read_only=read_only, config=options)
        except duckdb.ConnectionException:
            if not read_only:
                raise
            return duckdb.connect(path, config=options)  # this process has it open for writing already

    def _set_up(self, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """Load the extensions, and set what is given."""
        with suppress(duckdb.InvalidInputException):  # where `config_options` lock all settings
            connection.execute("set enable_progress_bar = false")
            if _SEARCH not in {**self.config_options, **self.settings} and self.folder and "," not in self.folder:
                connection.execute(f"set global {_SEARCH} = {literal(self.folder)}")
        for extension in self.extensions:
            if extension in self.repositories:
                connection.execute(f"install {extension} from {self.repositories[extension]}")
            connection.load_extension(extension)
        for number, secret in enumerate(self.secrets):
            connection.execute(secret_sql(secret, number))
        for name, value in self.settings.items():
            connection.execute(_set(name, value))
        return connection

    def _configure(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Return a connection, set up and with the other databases; one that fails is closed, so that it holds no file."""
        try:
            self._set_up(connection)
            attached = {row[0] for row in connection.execute("select database_name from duckdb_databases()").fetchall()}
            for database in self.attach:
                if alias_of(database) not in attached:
                    connection.execute(attach_sql(database, read_only=read_only))
        except BaseException:
            connection.close()
            raise
        return connection


def _set(name: str, value: object) -> str:
    return f"set {quote(name)} = {literal(value)}"
