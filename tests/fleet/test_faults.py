"""What goes wrong, at each named point: processes killed and paused, connections cut, a server restarted, a clock that jumps.

After each: no wrong reuse, nothing half-written, no lease held for good, and the work is taken up again by whoever runs next.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sao_dagster import SqlProject, select
from sao_dagster.core.records import Lease
from sao_dagster.state.sql_store import SqlStateStore
from tests.fleet import faults
from tests.fleet.fleet import Fleet, Worker
from tests.postgres import Postgres, execute, fetch, warehouse_at
from tests.waiting import until

MODELS = 20
LEASE_SECONDS = 2.0
SETTINGS = {"lease_seconds": LEASE_SECONDS, "abandoned_seconds": 2, "strict": False, "threads": 2}


@pytest.fixture
def fleet(postgres: Postgres) -> Iterator[Fleet]:
    with Fleet(postgres.database(), postgres.database(), MODELS, SETTINGS) as found:
        yield found


def sooner(points: Iterable[str], *some: str) -> list[Any]:
    """Return points of a run; all but some of them are for the slow suites."""
    return [point if point in some else pytest.param(point, marks=pytest.mark.slow) for point in points]


def news(fleet: Fleet, amount: int) -> None:
    fleet.sql(*(f"update raw.s{number} set v = v + {amount}" for number in range(10)))


def leases_of(fleet: Fleet) -> list[Lease]:
    store = SqlStateStore(fleet.state_url)
    try:
        return store.leases(fleet.environment(store))
    finally:
        store.close()


def is_whole(fleet: Fleet, worker: Worker) -> None:
    """Everything is right, and nothing is left to do or lying about."""
    assert fleet.wrong() == []
    assert fleet.strangers() == []
    last = worker.run("last")
    assert {each["outcome"] for each in last["models"].values()} == {"reused"}, last
    assert set(last["tests"].values()) == {"pass"}
    assert leases_of(fleet) == []


def run_and_recover(fleet: Fleet, worker: Worker) -> dict[str, Any]:
    """Run everything, and return what was done; what waits for good counts as hung."""
    answer = worker.run("recovery")
    assert "error" not in answer, answer
    failed = {name: each for name, each in answer["models"].items() if each["outcome"] not in ("built", "reused")}
    assert not failed
    return answer


@pytest.mark.parametrize("point", sooner(faults.NAMES, "before record"))
def test_a_run_that_is_killed(fleet: Fleet, point: str) -> None:
    victim, other = fleet.hire(2)
    victim.run("first", select="+m3 +m12 +m17")
    news(fleet, 1)
    count = 1 if point.split()[1] in ("observe", "release", "run", "tests", "verdicts") else 4
    victim.start("second", fault={"point": point, "signal": "SIGKILL", "count": count})
    assert victim.answer() == {"fault": "SIGKILL"}
    assert victim.answer() == {}, "it is dead"
    run_and_recover(fleet, other)
    is_whole(fleet, other)


@pytest.mark.parametrize(
    "point",
    sooner(
        (
            "after lease",
            "after observe",
            "after read",
            "before swap",
            "after swap",
            "after keep",
            "after build",
            "before record",
            "before verdicts",
        ),
    ),
)
def test_a_run_that_is_paused_for_longer_than_its_lease(fleet: Fleet, point: str) -> None:
    """Another run takes over, builds from newer data, and the first one goes on as if nothing had been."""
    victim, other = fleet.hire(2)
    victim.run("first")
    news(fleet, 1)
    once = point.split()[1] in ("observe", "verdicts")
    victim.start("second", fault={"point": point, "signal": "SIGSTOP", "count": 1 if once else 3})
    assert victim.answer() == {"fault": "SIGSTOP"}
    until("the end of its leases", lambda: not leases_of(fleet))
    news(fleet, 1)
    run_and_recover(fleet, other)
    victim.signal(signal.SIGCONT)
    assert "models" in victim.answer()
    run_and_recover(fleet, other)  # what the paused run has built without the right to is built again
    is_whole(fleet, other)


def test_connections_that_are_cut(fleet: Fleet, postgres: Postgres) -> None:
    """Those to the state are made anew; those to the warehouse are failures of models, which the next run makes good."""
    (worker,) = fleet.hire()
    for which in (fleet.state_url, fleet.url):
        news(fleet, 1)
        worker.start("cut")
        with cutting(fleet, which.rsplit("/", 1)[1]) as cuts:
            answer = worker.answer()
        assert cuts
        if which == fleet.state_url:
            assert "models" in answer, answer
            assert {each["outcome"] for each in answer["models"].values()} <= {"built", "reused"}
    run_and_recover(fleet, worker)
    is_whole(fleet, worker)


@contextmanager
def cutting(fleet: Fleet, database: str) -> Iterator[list[int]]:
    """Cut all connections of the workers to a database whenever a run has come further, so that none tries in vain for ever.

    Yields:
        How many connections each cut was.
    """
    stop = threading.Event()
    cuts: list[int] = []
    which = "application_name = 'sao_dagster'" if fleet.url.endswith(database) else "application_name = ''"
    terminate = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}' and {which}"

    def go_on() -> None:
        last = -1
        with psycopg.connect(fleet.state_url, autocommit=True, application_name="cutter") as connection:
            while not stop.wait(0.01):
                progress = fleet.progress(connection)
                if progress != last and (cut := len(connection.execute(terminate.encode()).fetchall())):
                    cuts.append(cut)
                    last = progress

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield cuts
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_a_server_that_is_restarted() -> None:
    with (
        Postgres() as server,
        Fleet(server.database(), server.database(), MODELS, SETTINGS) as fleet,
    ):
        (worker,) = fleet.hire()
        worker.run("first")
        news(fleet, 1)
        before = fleet.progress()
        worker.start("second")
        fleet.wait_for_a_step(before)
        server.restart(after_seconds=1.0)
        worker.answer()  # with failed models, or an error
        run_and_recover(fleet, worker)
        is_whole(fleet, worker)


@pytest.mark.slow
def test_counts_that_begin_anew_after_a_crash() -> None:
    """As many rows were written by hand since then as a build had written before."""
    with Postgres() as server:
        url = server.database()
        execute(url, "create schema raw", "create table raw.t as select generate_series(1, 3) as id")

        def run() -> tuple[str, str]:
            shop = SqlProject("shop", warehouse=warehouse_at(url), state_url=server.url("postgres"))
            shop.source("raw", "t")
            shop.model(name="m", sql="select id from {{ source('raw', 't') }}", materialized="table")
            (model,) = shop.runner().run(select(shop.project)).models
            return model.decision.outcome.value, model.decision.reason.value

        run()
        assert run() == ("reused", "no_new_data")
        execute(url, "checkpoint")
        server.crash()
        execute(url, "insert into main.m values (7), (8), (9)")
        assert run() == ("built", "relation_altered")
        assert fetch(url, "select count(*) from main.m") == [(3,)]


def set_clock(file: Path, seconds: int) -> None:
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)


@pytest.mark.slow
def test_a_clock_that_jumps(postgres: Postgres, tmp_path: Path) -> None:
    """Ahead, and leases end at once; back, and they would last for hours. Neither makes anything wrong or lets anybody hang."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    with Fleet(postgres.database(), postgres.database(), 60, {**SETTINGS, "clock": str(clock)}) as fleet:
        victim, one, other = fleet.hire(3)
        for jump in (3600, -7200, 0):
            news(fleet, 1)
            before = fleet.progress()
            for worker in (one, other):
                worker.start(f"jump {jump}")
            fleet.wait_for_a_step(before)
            set_clock(clock, jump)
            for worker in (one, other):
                assert "models" in worker.answer()
        news(fleet, 1)
        set_clock(clock, 7200)
        victim.start("dies", fault={"point": "before record", "signal": "SIGKILL", "count": 3})
        assert victim.answer() == {"fault": "SIGKILL"}
        set_clock(clock, 0)  # its leases last for two hours more, by their own account
        run_and_recover(fleet, one)
        is_whole(fleet, one)
