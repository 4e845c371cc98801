"""Who may read a model: `access` and `group`, as dbt has them, and what is said where somebody else reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sao_dagster.core.nodes import Access
from sao_dagster.sql_project import SqlProject
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from tests.world import World

GROUPS = (
    "groups: [{name: money, owner: {name: Money, email: money@example.com}}, {name: sales, owner: {name: Sales}}]\n"
)


@pytest.fixture
def shop(world: World) -> World:
    """A private model of the group `money`, and one that reads it."""
    world.write("models/groups.yml", GROUPS).model("costs", "select 1 as id")
    world.write("models/costs.yml", "models: [{name: costs, group: money, access: private}]")
    return world.model("margin", "select id\nfrom {{ ref('costs') }}")


def errors(shop: World) -> dict[str, str]:
    return {name: str(error) for name, error in shop.opened().project.broken.items()}


def test_a_private_model_is_read_by_its_group_alone(shop: World) -> None:
    shop.model("below", "select * from {{ ref('margin') }}").model("beside", "select 1 as one")
    said = (
        "Node model.shop.margin attempted to reference node model.shop.costs, which is not allowed because the referenced node is private to "
        "the 'money' group; give margin the group 'money', or make costs protected"
    )
    assert errors(shop) == {"margin": f"models/margin.sql:2: {said}"}
    run = shop.run()
    assert run.outcomes == {
        "costs": "built: never_built",
        "margin": "failed: build_error",
        "below": "skipped: upstream_failed",
        "beside": "built: never_built",
    }
    shop.model("margin", "select id\nfrom {{ ref('costs') }}", group="sales")
    assert errors(shop) == {"margin": f"models/margin.sql:3: {said}"}
    shop.model("margin", "select id\nfrom {{ ref('costs') }}", group="money")
    assert shop.run().built == {"margin", "below"}
    assert {name: node.access for name, node in shop.opened().project.nodes.items()} == {
        "costs": Access.PRIVATE, "margin": Access.PROTECTED, "below": Access.PROTECTED, "beside": Access.PROTECTED,
    }  # fmt: skip


def test_who_may_read_a_model_is_no_part_of_its_code(shop: World) -> None:
    shop.model("margin", "select 1 as id").run()
    shop.write("models/costs.yml", "models: [{name: costs, group: sales, access: public}]")
    assert shop.run().built == set()


@pytest.mark.parametrize(
    "configured",
    [
        {"models/costs.yml": "models: [{name: costs, config: {group: money, access: private}}]"},
        {"models/costs.yml": "", "models/costs.sql": "{{ config(group='money', access='private') }} select 1 as id"},
        {
            "models/costs.yml": "",
            "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {shop: {costs: {+group: money, +access: private}}}\n",
        },
        {
            "models/costs.yml": "models: [{name: costs, access: public, config: {group: money}, versions: [{v: 1, defined_in: costs, access: private}]}]"
        },
    ],
)
def test_it_is_said_where_configuration_is(shop: World, configured: dict[str, str]) -> None:
    for path, text in configured.items():
        shop.write(path, text)
    assert "private to the 'money' group" in errors(shop)["margin"]


def test_data_tests_belong_to_the_group_of_what_they_test(shop: World) -> None:
    shop.model("margin", "select 1 as id").model("open", "select 1 as id")
    shop.write("tests/no_costs.sql", "select * from {{ ref('costs') }} where id is null")
    shop.write("tests/in_group.sql", "{{ config(group='money') }} select * from {{ ref('costs') }} where id is null")
    refers = "data_tests: [{relationships: {arguments: {to: ref('costs'), field: id}}}]"
    shop.write(
        "models/tests.yml",
        f"models: [{{name: margin, config: {{group: money}}, columns: [{{name: id, {refers}}}]}}, {{name: open, columns: [{{name: id, {refers}}}]}}]",
    )
    shop.write(
        "models/costs.yml",
        "models: [{name: costs, group: money, access: private, columns: [{name: id, data_tests: [unique]}]}]",
    )
    found = errors(shop)
    assert found.keys() == {"no_costs", "relationships_open_id__id__ref_costs_"}
    assert found["no_costs"].startswith(
        "tests/no_costs.sql:1: Node test.shop.no_costs attempted to reference node model.shop.costs"
    )


def test_what_is_said_wrongly_is_an_error_of_the_node(shop: World) -> None:
    shop.write("models/costs.yml", "models:\n- name: costs\n  config:\n    access: privat\n")
    shop.model("margin", "select 1 as id", group="monney")
    shop.model("inlined", "select 1 as id", materialized="ephemeral", access="public")
    assert errors(shop) == {
        "costs": "models/costs.yml:4: Node model.shop.costs has an invalid value (privat) for the access field; there are private, protected, public",
        "margin": "models/margin.sql:1: Invalid group 'monney', expected one of ['money', 'sales']; declare it under `groups` in a YAML file",
        "inlined": "models/inlined.sql:1: Node model.shop.inlined with 'ephemeral' materialization has an invalid value (public) for the access "
        "field; other projects can read a table or a view",
    }


def test_hooks_of_the_project_are_in_no_group(shop: World) -> None:
    shop.model("margin", "select 1 as id")
    project = (shop.root / "dbt_project.yml").read_text()
    shop.write("dbt_project.yml", project + "on-run-start: select count(*) from {{ ref('costs') }}\n")
    (error,) = shop.opened().project.errors
    assert "Node operation.shop.shop-on-run-start attempted to reference node model.shop.costs" in str(error)


def test_what_may_not_be_read_may_not_be_read_elsewhere(shop: World) -> None:
    shop.model("margin", "select 1 as id").run(target="other")
    shop.settings["defer"] = "other"
    shop.model("margin", "select * from {{ ref('costs') }}")
    assert shop.run("margin").outcomes == {"margin": "failed: build_error"}


def test_a_group_that_is_named_in_python_is_declared_by_that(tmp_path: Path) -> None:
    project = SqlProject("shop", warehouse=DuckDBWarehouse(path=str(tmp_path / "shop.duckdb")))
    project.model(name="costs", sql="select 1 as id", group="money", config={"access": "private"})
    project.model(name="margin", sql="select * from {{ ref('costs') }}", group="money")
    project.model(name="report", sql="select * from {{ ref('costs') }}")
    assert project.project.broken.keys() == {"report"}
