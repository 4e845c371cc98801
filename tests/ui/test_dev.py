"""`dagster dev` on the example: what the UI asks for is there, and does what it says.

The tests share one server, and may run in any order: each finds the shop built and at rest, and leaves it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.browser import Browser, chromium
from tests.ui.server import DevServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("dev")) as running:
        yield running


@pytest.fixture(scope="module")
def built(server: DevServer) -> DevServer:
    """The shop, built by the evaluator, and at rest."""
    server.start_sensor()
    first = server.until("a run of the evaluator", lambda: [each for each in server.ticks() if each["runIds"]])[-1]
    (run_id,) = first["runIds"]
    server.until("its end", lambda: server.run(run_id)["status"] == "SUCCESS")
    server.rest()
    assert len([each for each in server.ticks() if each["runIds"]]) == 1, "the ticks after it found nothing to do"
    return server


def test_the_evaluator_builds_everything_once(built: DevServer) -> None:
    (run_id,) = [each for each in built.ticks() if each["runIds"]][-1]["runIds"]
    run = built.run(run_id)
    assert run["tags"]["sao/built"] == "18"
    assert run["tags"]["sao/never_built"] == "18"
    assert run["tags"]["dagster/from_automation_condition"] == "true"
    assert built.ticks()[0]["skipReason"].startswith("all 18 models are reused")


def test_a_decision_is_a_tree_linked_to_its_run(built: DevServer) -> None:
    requested = built.evaluations("orders")[-1]
    nodes = {each["uniqueId"]: each for each in requested["evaluationNodes"]}
    root = nodes[requested["rootUniqueId"]]
    assert root["userLabel"] == "built: never built"
    assert (root["numTrue"], root["operatorType"]) == (1, "or")
    assert requested["numRequested"] == 1
    assert len(requested["runIds"]) == 1
    labels = {each["expandedLabel"][0]: (each["numTrue"], each["numCandidates"]) for each in nodes.values()}
    assert labels["never built here before"] == (1, 1)
    assert labels["its definition changed"] == (0, 0), "not asked: never built comes first"
    next_one = built.evaluations("orders")[-2]
    assert next_one["evaluationNodes"][0]["userLabel"] == "reused: no new data"


def test_an_asset_page_has_what_it_is_to_show(built: DevServer) -> None:
    asset = built.asset(
        "orders",
        "description groupName kinds automationCondition{label} staleStatus "
        "metadataEntries{label __typename} dependencyKeys{path} dependedByKeys{path} "
        "assetMaterializations(limit:1){metadataEntries{label __typename "
        "... on TableColumnLineageMetadataEntry{lineage{columnName columnDeps{assetKey{path} columnName}}} "
        "... on TableSchemaMetadataEntry{schema{columns{name type description}}} ... on IntMetadataEntry{intValue}}}",
    )
    assert "Orders with what was paid" in asset["description"]
    assert asset["groupName"] == "default"
    assert set(asset["kinds"]) == {"duckdb", "dbt", "table"}
    assert asset["automationCondition"]["label"] == "state-aware: on any news"
    assert asset["staleStatus"] == "FRESH"
    assert {"/".join(each["path"]) for each in asset["dependencyKeys"]} == {"stg_orders", "stg_payments"}
    assert {"dagster/code_references", "dagster/table_name", "sao/policy"} <= {
        each["label"] for each in asset["metadataEntries"]
    }
    (materialization,) = asset["assetMaterializations"]
    entries = {each["label"]: each for each in materialization["metadataEntries"]}
    assert {"sao/decision", "sao/compiled_sql", "sao/reason", "dagster/table_name"} <= set(entries)
    assert entries["dagster/row_count"]["intValue"] >= 288
    columns = {each["name"]: each for each in entries["dagster/column_schema"]["schema"]["columns"]}
    assert columns["order_id"]["description"] == "The key."
    lineage = {
        each["columnName"]: {("/".join(dep["assetKey"]["path"]), dep["columnName"]) for dep in each["columnDeps"]}
        for each in entries["dagster/column_lineage"]["lineage"]
    }
    assert lineage["customer_id"] == {("stg_orders", "customer_id")}
    assert ("stg_payments", "amount_cents") in lineage["paid_cents"], "through an ephemeral model"


def test_column_lineage_reaches_the_sources(built: DevServer) -> None:
    asset = built.asset(
        "stg_orders",
        "assetMaterializations(limit:1){metadataEntries{label ... on TableColumnLineageMetadataEntry{"
        "lineage{columnName columnDeps{assetKey{path} columnName}}}}}",
    )
    (materialization,) = asset["assetMaterializations"]
    (entry,) = (each for each in materialization["metadataEntries"] if each["label"] == "dagster/column_lineage")
    deps = {each["columnName"]: each["columnDeps"] for each in entry["lineage"]}
    assert deps["order_id"] == [{"assetKey": {"path": ["raw", "orders"]}, "columnName": "order_id"}]


def test_sources_are_observable(built: DevServer) -> None:
    source = built.asset(
        "raw/orders", "isObservable isMaterializable assetObservations(limit:1){description tags{key}}"
    )
    assert source["isObservable"]
    assert not source["isMaterializable"]
    (observation,) = source["assetObservations"]
    assert observation["description"] in ("New data.", "Seen for the first time.")


def test_freshness_is_dagsters_own(built: DevServer) -> None:
    fields = "internalFreshnessPolicy{... on TimeWindowFreshnessPolicy{failWindowSeconds}} freshnessStatusInfo{freshnessStatus}"
    asset = built.asset("daily_revenue", fields)
    assert asset["internalFreshnessPolicy"]["failWindowSeconds"] == 24 * 3600
    built.until(
        "the freshness daemon",
        lambda: built.asset("daily_revenue", fields)["freshnessStatusInfo"]["freshnessStatus"] == "HEALTHY",
    )


def test_checks_and_schedules_are_there(built: DevServer) -> None:
    data = built.ask(
        "query($r:RepositorySelector!){repositoryOrError(repositorySelector:$r){... on Repository{"
        "schedules{name} sensors{name sensorType} jobs{name}}} "
        "}",
        r=built.repository,
    )["repositoryOrError"]
    assert {each["name"] for each in data["schedules"]} == {"hourly", "nightly_reports"}
    assert [each["name"] for each in data["sensors"]] == ["shop_evaluator"], "no default automation sensor"
    assert "rebuild_everything" in {each["name"] for each in data["jobs"]}
    checks = built.asset(
        "orders",
        "assetChecksOrError{... on AssetChecks{checks{name blocking executionForLatestMaterialization{status "
        "evaluation{severity metadataEntries{label}}}}}}",
    )["assetChecksOrError"]["checks"]
    assert len(checks) == 4
    assert {each["executionForLatestMaterialization"]["status"] for each in checks} == {"SUCCEEDED"}


def test_a_click_on_materialize_all_builds_nothing_and_says_why(built: DevServer) -> None:
    run_id = built.launch()
    assert built.run(run_id)["status"] == "SUCCESS"
    events = built.events(run_id)
    built_assets = [key for key in events.get("MaterializationEvent", []) if key != "shop/savings"]
    assert built_assets == []
    assert set(events["ObservationEvent"]) >= {"orders", "customers", "daily_revenue"}
    assert built.run(run_id)["tags"]["sao/reused"] == "18"
    asset = built.asset("orders", "assetObservations(limit:1){description metadataEntries{label}}")
    assert asset["assetObservations"][0]["description"] == "Reused: nothing changed."


def test_new_data_is_requested_exactly_and_once(built: DevServer) -> None:
    before = built.ticks()[0]["tickId"]
    built.shop("add", "--hours", "1")
    tick = built.until(
        "a tick that requests a run",
        lambda: next((each for each in built.ticks() if each["runIds"] and int(each["tickId"]) > int(before)), None),
    )
    (run_id,) = tick["runIds"]
    built.until("its end", lambda: built.run(run_id)["status"] == "SUCCESS")
    selected = built.ask(
        "query($r:ID!){runOrError(runId:$r){... on Run{assetSelection{path} assetCheckSelection{name}}}}", r=run_id
    )["runOrError"]
    assets = {"/".join(each["path"]) for each in selected["assetSelection"]}
    assert {"orders", "order_items", "daily_revenue", "customer_base"} <= assets
    assert not assets & {"customers", "category_margins", "big_orders", "products", "stg_orders", "countries"}
    assert selected["assetCheckSelection"]
    built.rest()
    later = [each for each in built.ticks() if int(each["tickId"]) > int(tick["tickId"])]
    assert not [each for each in later if each["runIds"]]
    root, because = built.evaluations("customers")[0]["evaluationNodes"][:2]
    assert root["userLabel"] == "reused: within interval"
    assert because["expandedLabel"][0].endswith("ago, at most every 4 h; news from orders waits")


def test_what_was_saved_is_plotted(built: DevServer) -> None:
    built.launch()
    savings = built.asset(
        "shop/savings",
        "assetMaterializations(limit:50){metadataEntries{label ... on IntMetadataEntry{intValue}}}",
    )
    runs = [
        {entry["label"]: entry.get("intValue") for entry in each["metadataEntries"]}
        for each in savings["assetMaterializations"]
    ]
    assert any(each["sao/reused"] == 18 for each in runs)
    assert any(each["sao/built"] == 18 for each in runs)


needs_browser = pytest.mark.skipif(chromium() is None, reason="needs Chromium")


@needs_browser
def test_pages_render(built: DevServer, tmp_path: Path) -> None:
    with Browser() as browser:
        browser.open(f"{built.url}/assets/orders", "Row count", "state-aware: on any news", "The key.")
        browser.open(f"{built.url}/assets/customers?view=automation", "Evaluation result", "Requested")
        browser.open(f"{built.url}/assets/orders?view=checks", "unique_orders_order_id")
        browser.open(f"{built.url}/runs", "sao/built")
        browser.picture(tmp_path / "runs.png")
        assert (tmp_path / "runs.png").stat().st_size > 10_000


def test_reexecution_builds_only_what_is_left(built: DevServer) -> None:
    """A run that fails on a bad source and is executed again once that is mended."""
    built.stop_sensor()
    built.until("the end of what the evaluator requested", lambda: not built.going())
    built.shop("add", "--hours", "1")
    built.shop("break")
    failed = built.launch()
    assert built.run(failed)["status"] == "FAILURE"
    assert "orders" not in built.events(failed).get("MaterializationEvent", ())
    built.shop("mend")
    again = built.reexecute(failed)
    assert built.run(again)["status"] == "SUCCESS"
    first, second = (set(built.events(each)["MaterializationEvent"]) for each in (failed, again))
    assert "orders" in second
    told = {"shop/savings", "stg_payments"}  # a view that shows other rows is told of, and not built
    assert not first & second - told, "what the failed run built is not built again"
    built.start_sensor()
    built.rest()
