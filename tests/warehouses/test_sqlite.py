"""A warehouse that a package of somebody else brings: SQLite, from `tests/sqlite_warehouse`. Nothing of this package knows of it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from example_project import shop_data
from sao_dagster import load_project, select
from sao_dagster.core.records import Verdict
from sao_dagster.dagster import definitions, resource_for
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.registry import known
from tests.deployment import Deployment

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests/sqlite_warehouse"
PROFILES = """
shop:
  target: dev
  outputs:
    dev: {type: sqlite, path: shop.db, schemas: {raw: raw.db}, threads: 2}
"""
OF_DUCKDB_ONLY = {  # models of the example whose SQL SQLite cannot run, with what reads them
    "customers": "group by all",
    "customer_recency": "date_diff",
    "big_orders": "now()",
    "customer_tiers": "reads customers",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as pip leaves it: its module, and its entry point beside it."""
    site = tmp_path / "site"
    about = site / "sao_sqlite-0.1.dist-info"
    about.mkdir(parents=True)
    shutil.copy(PACKAGE / "sao_sqlite.py", site)
    declared = (PACKAGE / "pyproject.toml").read_text().partition('[project.entry-points."sao_dagster.warehouses"]')[2]
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sao-sqlite\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[sao_dagster.warehouses]" + declared.replace('"', ""))
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    monkeypatch.delitem(sys.modules, "sao_sqlite", raising=False)


@pytest.fixture
def shop(installed: None, tmp_path: Path) -> Path:
    """The example, as far as SQLite can run it, with its raw data in a file of SQLite."""
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "example_project", folder, ignore=shutil.ignore_patterns("*.duckdb*", ".sao", "*.py"))
    (folder / "profiles.yml").write_text(PROFILES)
    for name in OF_DUCKDB_ONLY:
        for file in folder.glob(f"models/*/{name}.sql"):
            file.unlink()
    project = folder / "dbt_project.yml"  # a view of SQLite cannot read another file
    project.write_text(project.read_text().replace("+materialized: view", "+materialized: table"))
    with duckdb.connect() as source, sqlite3.connect(folder / "raw.db") as target:
        shop_data.create(source)
        for table in ("customers", "products", "orders", "order_items", "payments"):
            answer = source.execute(f"select * from raw.{table}")
            names = [column[0] for column in answer.description]
            rows = [[str(each) if isinstance(each, datetime) else each for each in row] for row in answer.fetchall()]
            target.execute(f"create table {table} ({', '.join(names)})")
            target.executemany(f"insert into {table} values ({', '.join('?' * len(names))})", rows)
    return folder


@pytest.fixture
def run(shop: Path) -> Callable[[], RunResult]:
    def run() -> RunResult:
        project = load_project(shop)
        return project.runner().run(select(project.project))

    return run


def outcomes(result: RunResult) -> dict[str, str]:
    return {each.name: f"{each.decision.outcome.value}: {each.decision.reason.value}" for each in result.models}


def rows(shop: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(shop / "shop.db") as connection:
        return connection.execute(query).fetchall()


def test_the_package_is_found_by_its_entry_point(installed: None) -> None:
    assert "sqlite" in known()


def test_it_builds_what_it_can_run_and_says_what_it_does_not_know(shop: Path, run: Callable[[], RunResult]) -> None:
    first = run()
    assert set(outcomes(first).values()) == {"built: never_built"}
    assert len(first.models) == 14
    with sqlite3.connect(shop / "raw.db") as raw:
        paid = raw.execute("select count(distinct order_id), sum(amount_cents) from payments").fetchall()
    assert rows(shop, "select count(*), sum(paid_cents) from orders") == paid == [(288, paid[0][1])]
    assert rows(shop, "select sum(customers) from customers_by_country") == [(40,)]
    second = outcomes(run())
    assert second["countries"] == "reused: no_new_data"
    assert second["stg_orders"] == second["order_history"] == "reused: no_new_data"  # its source has a loaded_at_field
    assert second["stg_customers"] == "built: input_unknown"  # nothing tells of news in it
    assert second["customer_base"] == "built: new_data"  # a build is a version of its own


def test_an_incremental_model_is_added_to(shop: Path, run: Callable[[], RunResult]) -> None:
    run()
    with sqlite3.connect(shop / "raw.db") as raw:
        raw.execute(
            "insert into orders select 999, customer_id, status, '2027-01-01', '2027-01-01' from orders limit 1"
        )
    with sqlite3.connect(shop / "shop.db") as built:
        built.execute("delete from order_history where order_id = 1")  # an older row, so it does not come back
    assert outcomes(run())["order_history"] == "built: new_data"
    assert rows(shop, "select count(*), max(order_id) from order_history") == [(288, 999)]


def test_no_test_is_proven(run: Callable[[], RunResult]) -> None:
    for result in (run(), run()):
        ran = {each.test.name: each.decision.outcome.value for each in result.tests}
        assert {"unique_orders_order_id", "not_null_orders_order_id", "every_item_has_an_order"} <= set(ran)
        assert set(ran.values()) <= {"ran", "reused"}
        assert {each.verdict for each in result.tests} == {Verdict.PASS}


def test_templates_ask_the_session_and_no_information_schema(shop: Path, run: Callable[[], RunResult]) -> None:
    (shop / "models/core/asking.sql").write_text(
        "{% set columns = adapter.get_columns_in_relation(ref('products')) | map(attribute='name') | join(' ') %}\n"
        "{% set there = adapter.get_relation(none, 'main', 'products') %}\n"
        "{% set missing = adapter.get_relation(none, 'main', 'nowhere') %}\n"
        "{% set schemas = [adapter.check_schema_exists(none, 'raw'), adapter.check_schema_exists(none, 'other')] %}\n"
        "select '{{ columns }}' as a, '{{ there.type if there }}' as b, '{{ missing }}' as c, '{{ schemas }}' as d -- {{ ref('products') }}"
    )
    assert outcomes(run())["asking"] == "built: never_built"
    assert rows(shop, "select * from asking") == [("product_id title category price", "table", "None", "[True, False]")]


@pytest.mark.slow
def test_the_command_line_and_dagster_know_it_too(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "sao_dagster.cli", "build", "--project-dir", str(shop)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.setenv("SHOP_FILE", str(shop.parent / "other.db"))
    resource = resource_for("sqlite")(path=dg.EnvVar("SHOP_FILE"))
    assert Deployment(definitions(load_project(shop), warehouse=resource)).run().success
    with sqlite3.connect(shop.parent / "other.db") as connection:
        assert connection.execute("select count(*) from orders").fetchall() == [(288,)]
