"""Asset checks: one for each test or one for several, told apart by where their verdict comes from."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from sao_dagster.dagster import CheckGranularity
from tests.deployment import Deployment, deploy, write_shop
from tests.world import World


@pytest.fixture
def shop(world: World) -> World:
    return write_shop(world)


def evaluations(result: Any) -> dict[str, Any]:
    return {
        f"{each.asset_key.to_user_string()}:{each.check_name}": each for each in result.get_asset_check_evaluations()
    }


def rows(evaluation: Any) -> dict[str, tuple[str, str]]:
    records = [record.data for record in evaluation.metadata["sao/tests"].value.records]
    return {each["test"]: (each["outcome"], each["verdict"]) for each in records}


def test_all_tests_of_a_model_as_one_check(shop: World) -> None:
    deployed = deploy(shop, check_granularity=CheckGranularity.MODEL)
    found = evaluations(deployed.run())
    assert set(found) == {"orders:data_tests", "raw/orders:data_tests"}
    assert found["orders:data_tests"].passed
    assert rows(found["orders:data_tests"]) == {
        "unique_orders_id": ("ran", "pass"),
        "not_null_orders_id": ("ran", "pass"),
    }
    again = evaluations(deployed.run())["orders:data_tests"]
    assert again.metadata["sao/reused"].value == 2
    assert rows(again)["unique_orders_id"] == ("reused", "pass")


def test_a_failure_in_an_aggregated_check_shows_its_rows_and_blocks(shop: World) -> None:
    shop.sql("insert into raw.orders values (1, 1)")
    result = deploy(shop, check_granularity=CheckGranularity.MODEL).run()
    found = evaluations(result)["orders:data_tests"]
    assert not result.success
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert "failed: unique_orders_id" in found.description
    sample = found.metadata["sao/failing_rows: unique_orders_id"].value.records
    assert sample[0].data["unique_field"] == "1"


def test_checks_by_severity_fail_by_themselves(shop: World) -> None:
    deployed = deploy(shop, check_granularity=CheckGranularity.SEVERITY)
    shop.write("models/core/orders.sql", "select 1 as id, 2 as amount union all select null, 1")
    result = deploy(shop, check_granularity=CheckGranularity.SEVERITY).run()
    found = evaluations(result)
    assert result.success
    assert found["orders:data_tests_error"].passed
    assert (found["orders:data_tests_warn"].passed, found["orders:data_tests_warn"].severity.value) == (False, "WARN")
    specs = {key.name: key for key in deployed.repository.asset_graph.asset_check_keys}
    assert {"data_tests_error", "data_tests_warn"} <= set(specs)


def test_the_evaluator_requests_aggregated_checks(shop: World) -> None:
    deployed = deploy(shop, check_granularity=CheckGranularity.MODEL)
    deployed.run()
    shop.sql("insert into raw.orders values (2, 7)")
    (request,) = deployed.tick().run_requests
    assert sorted(key.to_user_string() for key in request.asset_check_keys) == [
        "orders:data_tests",
        "raw/orders:data_tests",
    ]


@pytest.mark.parametrize("granularity", list(CheckGranularity))
def test_nothing_is_green_that_was_not_tested(shop: World, granularity: CheckGranularity) -> None:
    """A test below a failed model is skipped; its check is not reported, neither as passed nor as failed."""
    deployed = deploy(shop, check_granularity=granularity)
    deployed.run()
    shop.write("models/core/orders.sql", "select no_such_column as id from {{ source('raw', 'orders') }}")
    result = deploy(shop, check_granularity=granularity).run()
    assert not result.success
    assert not [name for name in evaluations(result) if name.startswith("orders:")]


def test_where_a_verdict_comes_from_is_told(shop: World) -> None:
    deployed = deploy(shop)
    first = deployed.run()
    ran = evaluations(first)["orders:unique_orders_id"]
    assert ran.metadata["sao/outcome"].value == "ran"
    assert ran.metadata["sao/statement"].value == "orders"
    reused = evaluations(deployed.run())["orders:unique_orders_id"]
    assert reused.metadata["sao/outcome"].value == "reused"
    assert str(reused.description).startswith("Passed: reused, ")
    assert reused.metadata["sao/from_run"].value == first.run_id
    at = datetime.fromtimestamp(reused.metadata["sao/last_run_at"].value, timezone.utc)  # type: ignore[arg-type]
    assert reused.description == f"Passed: reused, nothing it reads changed since it was run at {at:%Y-%m-%d %H:%M} UTC"


def test_a_verdict_of_another_environment_is_requested_and_told(shop: World) -> None:
    result = shop.run(target="other").result
    shop.write("sao.yml", f"state_url: sqlite:///{shop.root / 'state.db'}\nreuse_from: [other]")
    deployed = deploy(shop)
    (request,) = deployed.tick().run_requests
    assert "unique_orders_id" in {key.name for key in request.asset_check_keys}
    found = evaluations(deployed.run())["orders:unique_orders_id"]
    assert found.description.startswith("Passed: reused, it passed in other on the same content at ")
    assert found.metadata["sao/reason"].value == "same_elsewhere"
    assert found.metadata["sao/from_run"].value == result.run_id
    assert found.metadata["sao/from_environment"].value == result.environment
    assert deployed.tick().run_requests == []


def test_a_check_shows_what_was_asked(shop: World) -> None:
    """Its arguments as far as they are not the default, and the SQL: in the description, which is what Dagster shows of a definition."""
    shop.write(
        "models/core/report.yml",
        "models: [{name: report, columns: [{name: amount, data_tests: [{accepted_values: {arguments: {values: [5]}}}, "
        "{not_null: {config: {where: 'amount > 1', severity: warn, warn_if: '>2'}}}]}]}]",
    )
    graph = deploy(shop).repository.asset_graph
    specs = {key.name: graph.get_check_spec(key) for key in graph.asset_check_keys}
    values, nulls = (
        next(s for name, s in specs.items() if name.startswith(p)) for p in ("accepted", "not_null_report")
    )
    assert values.metadata["sao/values"] == "5"
    asked = {name: nulls.metadata[f"sao/{name}"] for name in ("kind", "column", "where", "severity", "warn_if")}
    assert asked == {"kind": "not_null", "column": "amount", "where": "amount > 1", "severity": "warn", "warn_if": ">2"}
    assert nulls.description.startswith("not_null data test\n\n* column: `amount`\n* where: `amount > 1`\n")
    assert "```sql\nselect" in nulls.description


def latest(deployed: Deployment, name: str) -> str:
    from dagster import AssetCheckKey, AssetKey

    key = AssetCheckKey(AssetKey("orders"), name)
    store = deployed.instance.event_log_storage
    record = store.get_latest_asset_check_execution_by_key([key])[key]
    return record.status.value


def test_no_skip_hides_a_pass(shop: World) -> None:
    """A run of everything with nothing to do, and a dry run, leave every check passed."""
    deployed = deploy(shop)
    for mode in ("state-aware", "state-aware", "dry-run"):
        assert deployed.run(**{"sao/mode": mode}).success
        assert latest(deployed, "unique_orders_id") == "SUCCEEDED"
        assert latest(deployed, "not_null_orders_id") == "SUCCEEDED"


def test_a_proof_is_in_the_metadata_of_the_check(shop: World) -> None:
    shop.write("models/core/copy.sql", "select id from {{ ref('orders') }}")
    shop.write("models/core/copy.yml", "models: [{name: copy, columns: [{name: id, data_tests: [unique]}]}]")
    found = evaluations(deploy(shop).run())["copy:unique_copy_id"]
    assert found.passed
    assert found.metadata["sao/outcome"].value == "proven"
    assert "proven from the SQL and" in found.description
    steps = [row.data for row in found.metadata["sao/proof"].value.records]
    assert [each["step"] for each in steps] == list(range(1, len(steps) + 1))
    assert [each["because"] for each in steps if each["what"] == "known"] == ["unique_orders_id"]


def test_a_run_of_exactly_one_model_knows_the_check_that_holds_it_back(shop: World) -> None:
    """It asks no check; what failed in another run stands, and the step says so and how to go on."""
    deployed = deploy(shop)
    deployed.run()
    shop.sql("insert into raw.orders values (1, 7)")
    assert not deployed.run(["orders"]).success
    held = deployed.run(["report"])
    (failure,) = (each for each in held.all_events if each.event_type_value == "STEP_FAILURE")
    said = failure.event_specific_data.error_display_string
    assert "report skipped: orders failed a test: unique_orders_id" in said
    assert "sao/tests: false" in said
    assert not deployed.tick().run_requests[0].asset_selection, "the evaluator asks the check alone"
    assert deployed.run(["report"], **{"sao/tests": "false"}).success
    assert shop.rows("select amount from main.report") == [(12,)]


def test_a_check_says_its_result_first(shop: World) -> None:
    deployed = deploy(shop)
    shop.sql("insert into raw.orders values (1, 7), (1, 8)")
    said = [evaluations(deployed.run())["orders:unique_orders_id"].description for _ in range(2)]
    assert said == ["1 failure: ran, never run here before", "1 failure: ran, its last verdict was a failure"]
    shop.sql("delete from raw.orders where amount > 6")
    assert (
        evaluations(deployed.run())["orders:unique_orders_id"].description
        == "Passed: ran again, since the verdict before was no pass"
    )
