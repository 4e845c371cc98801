"""A session on PostgreSQL: a connection for each statement that goes on at once; each build is one transaction.

Another process may build at any time. So each build leaves its name in the warehouse (`build_ids`), in the transaction that
makes the relation, and holds on to the names of what it reads until it is done. A run knows then which builds it has read.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import psycopg
from psycopg import errors

from sao_dagster.connection_pool import ConnectionPool
from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.data_version import DataVersion, build_version
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.nodes import Materialized, Model, Node, Seed
from sao_dagster.core.relations import Relation, RelationKey, quote
from sao_dagster.core.templates import CompiledSql
from sao_dagster.errors import InputBuiltError, WarehouseError
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.sql.text import embeddable
from sao_dagster.warehouses.postgres.attachments import attach
from sao_dagster.warehouses.postgres.build_ids import BuildIds, ensure_schemas
from sao_dagster.warehouses.postgres.catalog import (
    behind_views,
    columns_of,
    read_catalog,
    read_constraints,
    sizes,
    view_sources,
)
from sao_dagster.warehouses.postgres.content import content_of, read_contents, row_hash
from sao_dagster.warehouses.postgres.made import made_functions
from sao_dagster.warehouses.postgres.movements import (
    content_tokens,
    count_from_here,
    identities,
    movement_left,
    movements,
    show_at_once,
)
from sao_dagster.warehouses.postgres.names import functions, resolve
from sao_dagster.warehouses.postgres.seed import load_file
from sao_dagster.warehouses.postgres.server import Connection, Server, words_of
from sao_dagster.warehouses.postgres.settings import connection_settings
from sao_dagster.warehouses.postgres.snapshot import begin_snapshot, read_in_snapshot
from sao_dagster.warehouses.postgres.swap import put_in_place
from sao_dagster.warehouses.protocol import (
    CHEAP_BYTES,
    Built,
    Catalog,
    Columns,
    Constraints,
    ContentTokens,
    FunctionInfo,
    QueryResult,
    RelationInfo,
    Session,
)
from sao_dagster.warehouses.shared.contents import ContentReader, CountedTable
from sao_dagster.warehouses.shared.incremental import Statements, add_increment, by_name
from sao_dagster.warehouses.shared.names import literal
from sao_dagster.warehouses.shared.native import NativeMaterializer, check_expected

R = TypeVar("R")

_ATTEMPTS = 5  # at a transaction that got into the way of another one
_ABANDONED = "60s"  # after what time the server ends a transaction whose client has stopped
_CLASHES = (errors.DeadlockDetected, errors.SerializationFailure)

_NONE: Mapping[Relation, Collection[str]] = {}
_NO_BUILDS: Mapping[Relation, str | None] = {}
_GONE = ("updated concurrently", "deleted concurrently", "could not open relation", "cache lookup failed")


class PostgresSession(Session):
    """An open PostgreSQL database; see `Session`.

    Args:
        server: Where to connect to.
        schema: The default schema of models.
        threads: How many models are built at once.
    """

    def __init__(self, server: Server, schema: str, threads: int) -> None:
        self._server = server
        self._schema = schema
        self._pool: ConnectionPool[Connection] = ConnectionPool(server.connect, keep=threads + 1)
        self._guard = threading.Lock()
        self._running: set[Connection] = set()
        self._schemas: set[str] = set()  # those that are known to be there
        self._build_ids = BuildIds(schema)
        with self._connection():
            pass  # so that a server that is not there is noticed at once

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def _connection(self, *, is_changed: bool = False) -> Iterator[Connection]:
        """Lend a connection.

        Args:
            is_changed: Whether statements of the user's own may set something on it, or make what lives as long as it: the next one
                to use it is not to find that, as in dbt, where each model has a connection of its own.
        """
        connection = self._pool.take()
        with self._guard:
            self._running.add(connection)
        try:
            yield connection
        except psycopg.Error as error:
            raise WarehouseError(words_of(error)) from error
        finally:
            with self._guard:
                self._running.discard(connection)
            usable = not connection.closed and (not is_changed or self._server.reset(connection))
            self._pool.give_back(connection, usable=usable)

    @contextmanager
    def _transaction(self, *, is_changed: bool = False) -> Iterator[Connection]:
        with self._connection(is_changed=is_changed) as connection, connection.transaction():
            connection.execute(f"set local idle_in_transaction_session_timeout = '{_ABANDONED}'".encode())
            yield connection

    def _attempted(self, work: Callable[[Connection], R], *, changes: bool = True, sets: bool = False) -> R:
        """Return what `work` gives in a transaction, which is begun anew where another one was in its way.

        Work that changes nothing is also done anew on another connection, where the server has ended the first one. Work that
        `sets` something leaves its connection as it was.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._transaction(is_changed=sets) as connection:
                    return work(connection)
            except WarehouseError as error:
                is_lost = not changes and isinstance(error.__cause__, psycopg.OperationalError)
                if attempt == _ATTEMPTS or not (is_lost or _is_clash(error.__cause__)):
                    raise
                if is_lost:
                    self._pool.close()  # the others were ended too, most likely
                time.sleep(random.uniform(0.01, 0.1) * attempt)  # noqa: S311 - so that two do not meet again
        raise AssertionError  # the last attempt returns or raises

    def interrupt(self) -> None:
        """Stop all running statements, from any thread."""
        with self._guard:
            for connection in self._running:
                connection.cancel()

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""
        with self._connection() as connection:
            cursor = connection.execute(sql.encode())
            if cursor.description is None:
                return QueryResult((), [])
            return QueryResult(tuple(column.name for column in cursor.description), cursor.fetchall())

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""
        with self._connection(is_changed=True) as connection:
            connection.execute(sql.encode())
            show_at_once(connection)  # so that what is read from here on is not taken for moved

    def database_id(self) -> str | None:
        """Return the identifier of the server and the name of the database, by whatever address it is reached; None for who may not ask."""
        asked = b"select system_identifier, current_database() from pg_control_system()"
        try:
            row = self._attempted(lambda connection: connection.execute(asked).fetchone(), changes=False)
        except WarehouseError as error:
            if isinstance(error.__cause__, errors.InsufficientPrivilege | errors.UndefinedFunction):
                return None
            raise  # or a connection that is lost would be another environment
        return " ".join(map(str, row)) if row is not None else None

    def settings(self) -> ConnectionSettings:
        """Return what the profile, the role, the database and the server set, and what the environment of this process does."""
        return self._attempted(lambda connection: connection_settings(connection, self._schema), changes=False)

    def catalog(self) -> Catalog:
        """Return all tables and views of the database."""
        return self._attempted(lambda connection: read_catalog(connection, self._build_ids), changes=False)

    def info_of(self, relation: Relation) -> RelationInfo | None:
        """Return what the catalog says of a relation, without reading all of it."""
        found = self._attempted(
            lambda connection: read_catalog(connection, self._build_ids, relation.key), changes=False
        )
        return found.get(relation.key)

    def relations_at_once(self) -> Catalog:
        """Return all tables and views: to look at all takes as long as some questions."""
        return self.catalog()

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of a relation, or of anything else that can stand after `from`."""
        if isinstance(read, Relation):
            return self._attempted(lambda connection: columns_of(connection, str(read)), changes=False)
        with self._connection() as connection:
            described = connection.execute(f"select * from {read} limit 0".encode()).description or ()
            return tuple((column.name, column.type_display) for column in described)

    def time_zone(self) -> str | None:
        """Return the name of the session's time zone."""
        return str(self.query("select current_setting('TimeZone')").rows[0][0])

    def resolved(self, tables: Collection[UndeclaredInput]) -> dict[UndeclaredInput, Relation]:
        """Return which relations are meant by names of tables; see `resolve`."""
        return self._attempted(lambda connection: resolve(connection, tables), changes=False)

    def behind_views(self, relations: Collection[Relation]) -> dict[Relation, frozenset[RelationKey]]:
        """Return what the views among some relations read."""
        keys = [each.key for each in relations]
        found = self._attempted(lambda connection: behind_views(connection, keys), changes=False)
        return {each: frozenset(found[each.key]) for each in relations if each.key in found}

    def functions(self, names: Collection[str]) -> dict[str, FunctionInfo]:
        """Return the functions of those names that are none of the server's own, as far as they are understood."""
        return self._attempted(lambda connection: functions(connection, names), changes=False)

    def made_functions(self) -> MadeFunctions:
        """Return what was made, or replaced, by users and extensions."""
        return self._attempted(made_functions, changes=False)

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""
        return bool(self.query(f"select 1 from pg_namespace where nspname = {literal(schema)}").rows)

    def constraints(self) -> Constraints:
        """Return the constraints of all tables that have no children, whose rows they would not hold for."""
        return self._attempted(read_constraints, changes=False)

    def ensure_schemas(self, relations: Collection[Relation]) -> None:
        """Create the schemas that the relations live in, where they are not there."""
        wanted = {each.schema for each in relations} - self._schemas
        if wanted:
            self._attempted(lambda connection: ensure_schemas(connection, wanted))
            self._schemas |= wanted

    def make_schema(self, database: str | None, schema: str) -> None:
        """Create a schema; an error where there is one of that name."""
        self.execute(f"create schema {quote(schema)}")

    def drop_relations(self, tables: Collection[Relation], views: Collection[Relation]) -> None:
        """Drop views, and then tables; an error where something else depends on one of them."""
        dropped = [
            f"drop {kind} {', '.join(map(str, each))}" for kind, each in (("view", views), ("table", tables)) if each
        ]
        self.execute("; ".join(dropped))

    def drop_schema(self, database: str | None, schema: str) -> None:
        """Drop a schema in which there is nothing but build ids; an error where there is more."""
        ids = BuildIds(schema).table
        self.execute(f"drop table if exists {ids}; drop schema {quote(schema)} restrict")

    def row_hash(self, columns: Columns) -> str | None:
        """Return an expression for the hash of a row."""
        return row_hash(columns)

    def versions(
        self, catalog: Catalog, omit: Mapping[Relation, Collection[str]], seconds: float
    ) -> dict[Relation, DataVersion | None]:
        """Return content versions; views are resolved to the tables they read."""
        give_up = time.monotonic() + seconds
        views = [each.key for each in omit if each.key in catalog and catalog[each.key].is_view]
        below = self._attempted(lambda connection: view_sources(connection, views), changes=False)

        def read(tables: Sequence[CountedTable], time_left: float) -> dict[CountedTable, DataVersion]:
            with self._transaction() as connection:
                connection.execute(f"set local statement_timeout = {max(1, int(time_left * 1000))}".encode())
                return read_contents(connection, catalog, tables)

        reader = ContentReader(catalog, lambda relation: below.get(relation.key), read)
        return reader.versions(omit, give_up - time.monotonic())

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> dict[Relation, str]:
        """Return what shows that a relation was written to or altered; of a view, that of the tables it shows."""

        def work(connection: Connection) -> dict[Relation, str]:
            views = {each.key for each in relations if each.key in catalog and catalog[each.key].is_view}
            shown = {key: (each.definitions, each.tables) for key, each in view_sources(connection, views).items()}
            shown |= {each.key: ((), (each.key,)) for each in relations if each.key not in views}
            tokens = movements(connection, {table for _, tables in shown.values() for table in tables})
            return {
                each: _movement(definitions, [tokens[table] for table in tables])
                for each in relations
                for definitions, tables in [shown.get(each.key, ((), ()))]
                if tables and all(table in tokens for table in tables)
            }

        return self._attempted(work, changes=False)

    def identities(self, relations: Collection[Relation]) -> dict[Relation, str]:
        """Return what tells tables and views from others that take their place; see `movements.identities`."""
        found = self._attempted(
            lambda connection: identities(connection, [each.key for each in relations]), changes=False
        )
        return {each: found[each.key] for each in relations if each.key in found}

    def content_tokens(self, relations: Collection[Relation]) -> ContentTokens:
        """Return what shows that plain tables were not written to; see `movements.content_tokens`."""
        with self._connection() as connection:
            if connection.info.server_version < 150000:  # which may lose counts
                return ContentTokens()
            show_at_once(connection)  # so that this connection has nothing to count either

        def work(connection: Connection) -> ContentTokens:
            tokens, are_settled = content_tokens(connection, [each.key for each in relations])
            return ContentTokens({each: tokens[each.key] for each in relations if each.key in tokens}, are_settled)

        return self._attempted(work, changes=False)

    def sizes(self, relations: Collection[Relation]) -> dict[Relation, int]:
        """Return how many bytes tables take, with their indexes; 0 of views."""
        keys = [each.key for each in relations]
        found = self._attempted(lambda connection: sizes(connection, keys), changes=False)
        return {each: found[each.key] for each in relations if each.key in found}

    def build_ids(self, relations: Collection[Relation], schema: str | None = None) -> dict[Relation, str | None]:
        """Return which build made each relation, as of now."""
        kept = self._build_ids if schema is None else BuildIds(schema)
        return self._attempted(lambda connection: kept.of(connection, relations), changes=False)

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
        may_increment = model.materialized is Materialized.INCREMENTAL and not full_refresh

        def make(connection: Connection, made: Relation) -> bool:
            target, is_view = model.relation, _is_view(connection, model.relation)
            if model.materialized is Materialized.VIEW:
                if is_view:
                    self._build_ids.hold_for_change(connection, [target])
                return _make_view(connection, target, made, embeddable(compiled.sql), changeable=bool(is_view))
            if may_increment and is_view is False:
                statements = Statements(
                    lambda sql: connection.execute(sql.encode()),
                    lambda table: by_name(columns_of(connection, table)),
                    "postgres",
                )
                add_increment(statements, model, compiled.incremental_sql or compiled.sql)
                return False
            connection.execute(f"create table {made} as {embeddable(compiled.sql)}".encode())
            return True

        return self._replace(model, compiled, reads, make, unwatched, may_increment=may_increment)

    def load_seed(self, seed: Seed) -> Built:
        """Replace a seed's table by its file."""

        def make(connection: Connection, made: Relation) -> bool:
            load_file(connection, seed, made)
            return True

        hooks = CompiledSql("", pre_hooks=seed.pre_hooks, post_hooks=seed.post_hooks)
        return self._replace(seed, hooks, _NO_BUILDS, make)

    def keep_rows(self, relation: Relation, sql: str, *, as_view: bool) -> None:
        """Put the rows of a query into a table or view, in place of what is there."""
        self.ensure_schemas([relation])

        def work(connection: Connection) -> None:
            made = _beside(relation)
            connection.execute(f"create {'view' if as_view else 'table'} {made} as {embeddable(sql)}".encode())
            put_in_place(connection, made, relation, self._build_ids)

        self._attempted(work)

    def _replace(
        self,
        node: Model | Seed,
        compiled: CompiledSql,
        reads: Mapping[Relation, str | None],
        make: Callable[[Connection, Relation], bool],
        unwatched: Mapping[Relation, Collection[str]] = _NONE,
        *,
        may_increment: bool = False,
    ) -> Built:
        """Make a relation between its hooks, in one transaction.

        `make` makes it under another name beside the old one, or changes the old one where it stands and returns False. The new one
        takes its place at the very end, so that readers wait for a moment only, unless hooks after it need the place.
        """
        if not self._build_ids.is_there:
            self._attempted(self._build_ids.ensure)
        build_id, before, after = uuid.uuid4().hex, compiled.pre_hooks, compiled.post_hooks

        def work(connection: Connection) -> Built:
            started = time.perf_counter()
            if unwatched:
                begin_snapshot(connection)
            if may_increment:  # before anything of it is read; of a new table all is counted here
                count_from_here(connection, node.relation.key)
            read = self._build_ids.hold(connection, reads)
            for each, looked_at in reads.items():
                if looked_at is not None and read[each] not in (None, looked_at):
                    raise InputBuiltError(f"{each} was built anew just now")
            if may_increment:
                self._build_ids.hold_for_change(connection, [node.relation])
                _keep_others_out(connection, node.relation)
            for hook in before:
                connection.execute(hook.encode())
            made = _beside(node.relation)
            is_beside = make(connection, made)
            seconds = time.perf_counter() - started
            contents = read_in_snapshot(connection, self._build_ids, unwatched) if unwatched else {}
            if not after:  # so that nobody waits for the place while the content is read
                described = _described(
                    connection, node, made if is_beside else node.relation, build_id, is_new=is_beside
                )
            started = time.perf_counter()
            dropped = put_in_place(connection, made, node.relation, self._build_ids) if is_beside else ()
            for statement in (*attach(connection, node), *after):
                connection.execute(statement.encode())
            seconds += time.perf_counter() - started
            if after:
                described = _described(connection, node, node.relation, build_id, is_new=is_beside)
            check_expected(described, compiled)
            self._build_ids.keep(connection, node.relation, build_id)
            show_at_once(connection)
            movement = _left(connection, node.relation) if node.materialized.holds_data else None
            return replace(described, seconds=seconds, read=read, contents=contents, movement=movement, dropped=dropped)

        return self._attempted(work, sets=bool(before or after))

    def adopt(self, node: Node) -> Built:
        """Return what there is of a node that others have made, and keep that it is a build; see `Session.adopt`."""
        if not self._build_ids.is_there:
            self._attempted(self._build_ids.ensure)
        build_id = uuid.uuid4().hex

        def work(connection: Connection) -> Built:
            count_from_here(connection, node.relation.key)
            described = _described(connection, node, node.relation, build_id, is_new=False)
            movement = _left(connection, node.relation)
            self._build_ids.keep(connection, node.relation, build_id)
            show_at_once(connection)
            return replace(described, seconds=0.0, changed=None, movement=movement, adopted=True)

        return self._attempted(work)


def _movement(definitions: Iterable[str], tokens: Iterable[str]) -> str:
    """Return what shows that a relation was written to: of a view its definitions and what shows it of the tables behind it, of a table that alone."""
    return digest([*definitions, *tokens])


def _left(connection: Connection, table: Relation) -> str | None:
    """Return what `Session.movements` gives of a table that this transaction has written, if nobody else writes to it; None where nothing shows that."""
    token = movement_left(connection, table.key)
    return None if token is None else _movement((), [token])


def _keep_others_out(connection: Connection, relation: Relation) -> None:
    """Let whoever else writes to a table wait for the end of this transaction, or it would be taken for a part of what is built here.

    Where the server has no such lock for the relation, or not for this role, others write meanwhile.
    """
    may_lock = connection.execute(
        "select 1 from pg_class c where c.oid = to_regclass(%s) and c.relkind in ('r', 'p') "
        "and has_table_privilege(c.oid, 'update, delete, truncate')",
        [str(relation)],
    ).fetchone()
    if may_lock is not None:
        connection.execute(f"lock table {relation} in share row exclusive mode".encode())


def _is_view(connection: Connection, relation: Relation) -> bool | None:
    """Return whether a relation is a view; None if it is not there."""
    row = connection.execute(
        "select relkind = 'v' from pg_class where oid = to_regclass(%s)", [str(relation)]
    ).fetchone()
    return None if row is None else bool(row[0])


def _make_view(connection: Connection, target: Relation, made: Relation, sql: str, *, changeable: bool) -> bool:
    """Change a view where it stands, so that what reads it stays as it is; or make a new one, where the columns do not allow that."""
    if changeable:
        try:
            with connection.transaction():
                connection.execute(f"create or replace view {target} as {sql}".encode())
        except errors.InvalidTableDefinition:
            pass  # a column went, or has another type
        else:
            return False
    connection.execute(f"create view {made} as {sql}".encode())
    return True


def _described(connection: Connection, node: Node, place: Relation, build_id: str, *, is_new: bool) -> Built:
    """Return what is there now, seen from inside the transaction that made it.

    To read a new table takes a part of the time that making it took. To read a large one for the few rows that came to it does not
    pay, so its version is the build itself, and what is below is built.
    """
    columns = columns_of(connection, str(place))
    if node.materialized is Materialized.VIEW:
        return Built(data_version=build_version(build_id), columns=columns, build_id=build_id)
    if not is_new and _bytes(connection, place) > CHEAP_BYTES:
        return Built(
            data_version=build_version(build_id),
            columns=columns,
            build_id=build_id,
            changed=_has_written(connection, place),
        )
    [(rows, version)] = content_of(connection, [(place.key, columns, node.volatile_columns)])
    return Built(data_version=version, columns=columns, rows=rows, build_id=build_id)


def _bytes(connection: Connection, table: Relation) -> int:
    row = connection.execute("select pg_relation_size(%s::regclass)", [str(table)]).fetchone()
    return int(row[0]) if row else 0


def _has_written(connection: Connection, table: Relation) -> bool:
    """Return whether this transaction has changed rows of a table."""
    row = connection.execute(
        "select pg_stat_get_xact_tuples_inserted(t) + pg_stat_get_xact_tuples_updated(t) + pg_stat_get_xact_tuples_deleted(t) "
        "from (select %s::regclass::oid as t) as named",
        [str(table)],
    ).fetchone()
    return row is None or row[0] > 0


def _beside(relation: Relation) -> Relation:
    """Return a new name in the schema of a relation; it never outlives its transaction."""
    return Relation(relation.database, relation.schema, f"__sao_{uuid.uuid4().hex[:20]}")


def _is_clash(error: BaseException | None) -> bool:
    """Return whether another transaction was in the way, so that it is worth trying again.

    A relation that another one replaces is gone from under a statement that has looked its name up already; and what is made
    `if not exists` is seen too late, where another one has made it a moment ago.
    """
    if isinstance(error, errors.InternalError_):
        return any(words in str(error) for words in _GONE)
    if isinstance(error, errors.UniqueViolation):
        return error.diag.schema_name == "pg_catalog"
    return isinstance(error, _CLASHES)
