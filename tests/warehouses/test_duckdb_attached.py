"""Databases beside the DuckDB file: what is no file of DuckDB's own is never taken for one that only we can write."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sao_dagster import DuckDBWarehouse
from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.duckdb.beside import read_in_snapshot, tokens_of
from sao_dagster.warehouses.registry import profile_of


@pytest.mark.parametrize(
    "database",
    [
        {"path": "ducklake:meta.ducklake"},
        {"path": "ducklake:postgres:dbname=lake"},
        {"path": "quack:warehouse.example.com"},
        {"path": "sqlite:crm.db"},
        {"path": "crm.db", "type": "sqlite"},
        {"path": "postgres:dbname=crm"},
        {"path": "dbname=crm", "type": "postgres"},
        {"path": "md:shop"},
        {"path": "s3://bucket/shop.duckdb"},
    ],
)
def test_what_is_behind_a_server_or_a_catalog_is_not_ours(database: dict[str, Any], tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(path=str(tmp_path / "shop.duckdb"), attach=(database,))
    assert not warehouse.capabilities.exclusive
    assert not warehouse.capabilities.stamp


def test_a_session_keeps_other_processes_out_whatever_it_asks(tmp_path: Path) -> None:
    """POSIX takes the locks of a process on a file away where it closes that file once, also one that it has only read."""
    main, beside = tmp_path / "shop.duckdb", tmp_path / "beside.duckdb"
    duckdb.connect(beside).close()
    warehouse = DuckDBWarehouse(path=str(main), attach=({"path": str(beside)},))
    with warehouse.session() as session:
        session.execute("create table t as select 1 as id")
        assert session.database_id() is not None
        session.versions(session.catalog(), {Relation("shop", "main", "t"): ()}, 10.0)
        assert session.stamp() is not None or not warehouse.capabilities.stamp
        for file in (main, beside):
            program = f"import duckdb; duckdb.connect({str(file)!r})"
            refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            assert "Could not set lock" in refused.stderr, file


def test_a_file_of_another_format_is_not_ours(tmp_path: Path) -> None:
    """DuckDB looks into a file whose type is not given."""
    with sqlite3.connect(tmp_path / "crm.db") as connection:
        connection.execute("create table people (id int)")
    own, other = tmp_path / "shop.duckdb", {"path": str(tmp_path / "crm.db")}
    assert not DuckDBWarehouse(path=str(own), attach=(other,)).capabilities.exclusive
    assert DuckDBWarehouse(path=str(own), attach=({"path": str(tmp_path / "second.duckdb")},)).capabilities.exclusive


def test_a_database_that_a_statement_attaches_has_no_stamp(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(path=str(tmp_path / "shop.duckdb"))
    with warehouse.session() as session:
        session.execute("create table t (id int)")
        assert session.stamp() is not None
        session.execute(f"attach '{tmp_path / 'other.duckdb'}' as other")
        assert session.stamp() is None


def test_attached_databases_stand_in_the_profile_as_dbt_writes_them(tmp_path: Path) -> None:
    output = {
        "type": "duckdb",
        "path": "shop.duckdb",
        "attach": [
            {"path": "crm.duckdb", "alias": "crm", "options": {"block_size": 16384}},
            {"path": "ducklake:meta.db"},
        ],
    }
    warehouse = profile_of("duckdb").model_validate(output).warehouse("dev", tmp_path)
    assert isinstance(warehouse, DuckDBWarehouse)
    assert [each["path"] for each in warehouse.attach] == [
        str(tmp_path / "crm.duckdb"),
        f"ducklake:{tmp_path}/meta.db",
    ]
    assert not warehouse.capabilities.exclusive


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_that_a_file_of_sqlite_was_written_to_shows_also_where_it_holds_the_same_again(
    tmp_path: Path, mode: str
) -> None:
    place = str(tmp_path / "crm.db")
    databases = [
        ("Shop", "duckdb", None),
        ("crm", "sqlite", place),
        ("far", "postgres", "dbname=crm"),
        ("x", "mysql", ""),
    ]
    with sqlite3.connect(place, isolation_level=None) as connection:
        connection.execute(f"pragma journal_mode={mode}")
        connection.execute("create table people as select 1 as id")
        before = tokens_of(databases)
        assert before.keys() == {"shop", "crm"}
        connection.execute("select * from people").fetchall()
        assert tokens_of(databases) == before
        connection.execute("update people set id = 2")
        connection.execute("update people set id = 1")
        assert tokens_of(databases)["crm"] != before["crm"]


def test_a_build_says_what_it_has_read_of_databases_that_have_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Relation("beside", "main", "t")
    warehouse = DuckDBWarehouse(
        path=str(tmp_path / "shop.duckdb"), attach=({"path": str(tmp_path / "b.duckdb"), "alias": "beside"},)
    )
    with warehouse.session() as session, session._transaction() as cursor:  # type: ignore[attr-defined]
        session.execute("create table beside.main.t as select 1 as id")
        catalog = session.catalog()
        cursor.execute("select * from beside.main.t").fetchall()
        seen = session.versions(catalog, {read: ()}, 10.0)
        session.execute("update beside.main.t set id = 2")
        found = read_in_snapshot(cursor, catalog, lambda _: None, {read: ()})
        assert found == seen != session.versions(catalog, {read: ()}, 10.0)
        monkeypatch.setattr("sao_dagster.warehouses.duckdb.beside._WITH_SNAPSHOTS", ())
        assert read_in_snapshot(cursor, catalog, lambda _: None, {read: ()}) == {read: None}
