"""The same histories on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster import PostgresWarehouse
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.protocol import Session, Warehouse
from tests.oracle.machine import History
from tests.oracle.oracle import Content, Oracle, Schemas
from tests.oracle.specs import SOURCES
from tests.postgres import Postgres, warehouse_at

_VIEWS_OVER_TABLES = """
    from information_schema.view_table_usage join information_schema.tables using (table_schema, table_name)
    where view_schema = 'main' and table_type = 'BASE TABLE' and table_name not like '%before%'
"""


@dataclass
class PostgresOracle(Oracle):
    """The warehouse, seen from outside over one connection."""

    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.session: Session = self.stack.enter_context(self.warehouse.session())

    def query(self, sql: str) -> Content:
        return Counter(self.session.query(sql).rows)

    def execute(self, sql: str) -> None:
        self.session.execute(sql)
        self.session.query("select pg_stat_force_next_flush()")  # a connection that stays open counts late


class OnServer:
    """A machine whose histories have a database each, of one server."""

    server: ClassVar[Postgres | None] = None
    drop_behaviour = "cascade"  # views over it go, too

    def new_url(self) -> str:
        """Return the URL of an empty database."""
        assert self.server is not None
        return self.server.database()


class SchemasOnPostgres(OnServer, Schemas):
    """The same as `Schemas` in a database on PostgreSQL, seen from outside over one connection."""

    def begin(self) -> None:
        self.warehouse = warehouse_at(self.new_url())
        self.outside = PostgresOracle(self.warehouse)

    def go_to(self, target: str, schema: str) -> None:
        assert isinstance(self.warehouse, PostgresWarehouse)
        self.warehouse = replace(self.warehouse, name=target, schema=schema)

    def query(self, sql: str) -> Content:
        return self.outside.query(sql)

    def execute(self, sql: str) -> None:
        self.outside.execute(sql)

    def teardown(self) -> None:
        if hasattr(self, "outside"):
            self.outside.stack.close()


class PostgresHistory(OnServer, History):
    """One project in a database of its own, and what happens to it."""

    oracle_type: ClassVar[Any] = PostgresOracle
    renamed = 0
    unknown_at_most = 1  # the server analyzes and vacuums when it likes, and a table counts as moved by that

    def new_warehouse(self) -> Warehouse:
        return warehouse_at(self.new_url())

    def beside(self) -> Warehouse:
        assert isinstance(self.warehouse, PostgresWarehouse)
        return replace(self.warehouse, schema="beside")

    def put(self, table: str, query: str) -> None:
        schema, _, name = table.partition(".")
        self.oracle.execute(f"create table raw.new as {query}")
        self.oracle.execute(
            f"drop table if exists {table} cascade; alter table raw.new set schema {schema}; alter table {schema}.new rename to {name}"
        )

    @rule(pick=st.integers(0, 99))
    def rename_what_views_read(self, pick: int) -> None:
        """Somebody renames a table and puts another one in its place; views over it go on to show the first."""
        self._run(None, Mode.STATE_AWARE)
        tables = f"select quote_ident(table_schema) || '.' || quote_ident(table_name), view_name, table_name {_VIEWS_OVER_TABLES}"
        read = sorted(self.oracle.query(tables))
        if read:
            table, _, name = read[pick % len(read)]
            self.replaced.update((name, *(view for each, view, _ in read if each == table)))
            self.renamed += 1
            self.oracle.execute(f"alter table {table} rename to {name}_before_{self.renamed}")
            self.oracle.execute(f"create table {table} as select id, k, v + 1 as v from {table}_before_{self.renamed}")

    def put_by_hand(self, name: str) -> None:
        self.put(f"main.{name}", f"select * from raw.{SOURCES[0]}")

    def settle(self) -> RunResult:
        """Run while nobody else does, which makes everything right, whatever was read before; return one more run, which builds nothing."""
        self.oracle.built.clear()
        for spec in self.specs.values():
            spec.hours, spec.tolerance, spec.updates_on = 0, 0, "any"
        self._run(None, Mode.STATE_AWARE)
        again = self._run(None, Mode.STATE_AWARE)
        built = [each for each in again.models if each.decision.outcome is Outcome.BUILT]
        assert not built, built
        return again

    def teardown(self) -> None:
        if isinstance(getattr(self, "oracle", None), PostgresOracle):
            self.oracle.stack.close()
