"""Dagster's own deployment: PostgreSQL, webserver, daemon, several run workers; schedules, sensor, termination, re-execution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sao_dagster.state.sql_store import SqlStateStore
from tests.fleet.deployment import Deployment
from tests.fleet.fleet import Fleet
from tests.postgres import Postgres

pytest.importorskip("dagster_postgres")
pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Fleet]:
    with Fleet(postgres.database(), postgres.database(), request.param) as found:
        found.sql("create table raw.fragile as select 0 as v")
        yield found


@pytest.fixture
def store(fleet: Fleet) -> Iterator[SqlStateStore]:
    found = SqlStateStore(fleet.state_url)
    yield found
    found.close()


@pytest.mark.parametrize("fleet", [30], indirect=True)
def test_schedules_and_the_evaluator_at_once(fleet: Fleet, store: SqlStateStore, tmp_path: Path) -> None:
    with Deployment(tmp_path, "jobs_at_once", fleet.state_url, fleet.url) as deployed:
        deployed.until("the first builds", lambda: len(fleet.builds()) >= 30 and not deployed.going())
        assert set(fleet.builds().values()) == {1}

        # there is always news, until a schedule and the evaluator have both fired; builds of one model at once would fail
        def both() -> bool:
            fleet.sql("update raw.s5 set v = v + 1")
            return {"one", "fleet_evaluator"} <= set(deployed.origins().values())

        deployed.until("runs of a schedule and of the evaluator", both)
        deployed.until("their end", lambda: fleet.wrong() == [] and not deployed.going())
        assert deployed.failures() == []

        before = fleet.last_build()
        fleet.sql("update raw.s3 set v = v + 1; update raw.s5 set v = v + 1")  # at once
        runs = len(deployed.origins())
        deployed.until("what follows from news", lambda: len(deployed.origins()) > runs and not deployed.going())
        deployed.until("all of it", lambda: fleet.wrong() == [] and not deployed.going())
        assert set(fleet.builds(before).values()) == {1}

        # termination in the middle of a build frees the lease, and the statement ends
        sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(3600)%' and state = 'active' and pid <> pg_backend_pid()"
        slow = deployed.start("slow_job")
        deployed.until("the statement", lambda: fleet.rows(sleeping) == [(1,)])
        assert [each.model for each in store.leases(fleet.environment(store))] == ["slow"]
        deployed.terminate(slow)
        deployed.until("the freed lease", lambda: not store.leases(fleet.environment(store)))
        deployed.until("the end of the statement", lambda: fleet.rows(sleeping) == [(0,)])

        # re-execution from failure builds what is left, and nothing else
        failed = deployed.launch("fragile_job")
        assert deployed.run(failed)["status"] == "FAILURE"
        fleet.sql("update raw.fragile set v = 4")
        again = deployed.reexecute(failed)
        assert deployed.run(again)["status"] == "SUCCESS"
        assert set(deployed.events(again)["MaterializationEvent"]) == {"fragile", "below", "fleet/savings"}
        assert fleet.rows("select v from main.below") == [(3,)]


@pytest.mark.parametrize("fleet", [5], indirect=True)
def test_a_step_for_each_model(fleet: Fleet, store: SqlStateStore, tmp_path: Path) -> None:
    with Deployment(tmp_path, "steps_of_their_own", fleet.state_url, fleet.url) as deployed:
        models = set(fleet.drafts)
        first = deployed.launch("all_job")
        assert deployed.run(first)["status"] == "FAILURE"
        assert set(deployed.events(first)["MaterializationEvent"]) == models
        assert set(fleet.builds().values()) == {1}
        assert fleet.wrong() == []
        fleet.sql("update raw.fragile set v = 4")
        again = deployed.reexecute(first)
        assert deployed.run(again)["status"] == "SUCCESS"
        assert set(deployed.events(again)["MaterializationEvent"]) == {"fragile", "below"}
        second = deployed.launch("all_job")
        assert deployed.run(second)["status"] == "SUCCESS"
        assert set(fleet.builds().values()) == {1}, "nothing was built again"
        assert store.leases(fleet.environment(store)) == []
        summary = next(each.summary for each in store.runs(fleet.environment(store)) if each.run_id == second)
        assert summary["reused"] == len(models) + 2
