"""A project and its package that have nodes, sources and data tests of one name, built by dbt itself."""

from __future__ import annotations

import pytest

from sao_dagster.core.records import Verdict
from tests.dbt.project import LittleProject, outcomes

pytestmark = pytest.mark.slow

PACKAGE = {
    "dbt_project.yml": "name: lib\nversion: '1.0'\nmodels: {+schema: lib, +materialized: table}\nseeds: {+schema: lib}\n",
    "models/all.yml": "sources: [{name: raw, tables: [{name: orders}]}]\nmodels: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]\n",
    "models/orders.sql": "select id + 100 as id from {{ source('raw', 'orders') }}",
    "models/counted.sql": "select count(*) as n from {{ ref('orders') }}",
    "models/lib_counted.sql": "select count(*) as n from {{ ref('lib', 'orders') }}, {{ ref('lib', 'rates') }}",
    "seeds/rates.csv": "id,rate\n1,2\n",
    "tests/no_debts.sql": "select * from {{ ref('lib', 'orders') }} where id < 100",
}
SELECTED = "orders totals rates package:lib"
NEW = dict.fromkeys(("lib.orders", "lib.rates", "counted", "lib_counted"), "never_built")


def test_what_a_package_has_beside_the_project_is_built_as_by_dbt(little: LittleProject) -> None:
    assert outcomes(little.run("+orders totals rates")).keys() == {"stg_orders", "orders", "totals", "rates"}
    little.write("packages.yml", "packages: [{local: dbt_packages/lib}]\n")
    for name, text in PACKAGE.items():
        little.write(f"dbt_packages/lib/{name}", text)
    first = little.run(SELECTED)
    assert outcomes(first) == NEW
    assert {each.test.name.partition(".")[0] for each in first.tests} >= {"unique_orders_id", "no_debts", "lib"}
    assert {each.verdict for each in first.tests} == {Verdict.PASS}
    tables = ("main_lib.orders", "main_lib.counted", "main_lib.lib_counted", "main_lib.rates", "main.orders")
    ours = {table: little.rows(table) for table in tables}
    said = little.run_results()
    assert outcomes(little.run(SELECTED)) == {}
    little.replace("dbt_packages/lib/models/orders.sql", "100", "200")
    assert outcomes(little.run(SELECTED)) == {"lib.orders": "code_changed", "lib_counted": "new_data"}
    little.replace("dbt_packages/lib/models/orders.sql", "200", "100")
    little.dbt("build", "--profiles-dir", ".", "--select", "orders", "totals", "rates", "package:lib")
    assert {table: little.rows(table) for table in tables} == ours
    assert said.keys() >= {"model.lib.orders", "model.little.orders", "seed.lib.rates"}
