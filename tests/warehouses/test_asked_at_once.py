"""Many questions about relations, answered from one look: as each of them by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sao_dagster import DuckDBWarehouse
from sao_dagster.core.relations import Relation
from sao_dagster.errors import WarehouseError
from sao_dagster.warehouses.protocol import Session
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce

MADE = (
    "create schema Core",
    "create table Core.Orders (z int, \"A b\" decimal(18, 2), a struct(x int, y varchar[]), d timestamp with time zone)",
    "create view core.shown as select a, z from Core.orders",
    "create table core.dropped (x int)",
    "create view core.broken as select x, 'a' as y from core.dropped",
    "drop table core.dropped",
    "create table core.altered (x int, y int, w int)",
    "alter table core.altered drop column y",
    "alter table core.altered add column v text",
    "create view core.stale as select * from core.altered",
    "alter table core.altered rename column w to u",
    'create table core."ÄÖ" (x int)',
    "create table core.both (x int)",
    "create table main.both (y text)",
    "create schema other.core",
    "create table other.core.both (z date)",
    "create table other.core.elsewhere (z date)",
    "create temp table passing (t int)",
    "create sequence core.numbers",
)  # fmt: skip
DATABASES = ("shop", "SHOP", "other", "temp", "system", "nowhere", None)
SCHEMAS = ("core", "CORE", "main", "information_schema", "nowhere")
NAMES = (
    "orders", "ORDERS", "shown", "broken", "dropped", "altered", "stale", "ÄÖ", "äö", "both", "elsewhere", "passing", "numbers", "columns",
    "duckdb_tables",
)  # fmt: skip


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    warehouse = DuckDBWarehouse(
        path=str(tmp_path / "shop.duckdb"), attach=({"path": str(tmp_path / "b.duckdb"), "alias": "other"},)
    )
    with warehouse.session() as opened:
        for statement in MADE:
            opened.execute(statement)
        yield opened


def columns(session: Session, read: Relation | str) -> object:
    """Return the columns, or that it cannot be read."""
    try:
        return session.columns_of(read)
    except WarehouseError as error:
        return error.message


@pytest.mark.parametrize("folds", [True, False])
def test_answers_are_those_of_each_question(session: Session, folds: bool) -> None:
    at_once = AskedAtOnce(session)
    asked = [
        Relation(database, schema, name, folds=folds) for database in DATABASES for schema in SCHEMAS for name in NAMES
    ]
    kinds = {each: session.kind_of(each) for each in asked}
    assert {each: at_once.kind_of(each) for each in asked} == kinds
    assert set(kinds.values()) == {"table", "view", None}
    found = {each: columns(session, each) for each in asked}
    assert {each: columns(at_once, each) for each in asked} == found
    assert found[Relation("shop", "core", "altered")] == (("x", "INTEGER"), ("u", "INTEGER"), ("v", "VARCHAR"))
    for written in ("core.orders", "(select 1 as x, 'a' as \"Y\")", "core.broken", "core.nowhere"):
        assert columns(at_once, written) == columns(session, written)
    assert at_once.query("select count(*) from core.orders").rows == [(0,)]


def test_one_look_is_of_one_moment(session: Session) -> None:
    """What is done after the first question shows to the next one who looks."""
    relation, new = Relation("shop", "core", "orders"), Relation("shop", "core", "new")
    before, unasked = AskedAtOnce(session), AskedAtOnce(session)
    assert (before.kind_of(relation), before.kind_of(new)) == ("table", None)
    session.execute("drop view core.shown; drop table core.orders; create table core.new (n int)")
    assert (before.kind_of(relation), before.kind_of(new)) == ("table", None)
    assert (unasked.kind_of(relation), unasked.kind_of(new)) == (None, "table")
    assert unasked.columns_of(new) == (("n", "INTEGER"),)
