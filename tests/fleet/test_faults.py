"""What goes wrong, at each named point: processes killed and paused, connections cut, a server restarted, a clock that jumps.

After each: no wrong reuse, nothing half-written, no lease held for good, and the work is taken up again by whoever runs next.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sao_dagster.state.sql_store import SqlStateStore
from tests.fleet import faults
from tests.fleet.fleet import Fleet, Worker
from tests.postgres import Postgres

MODELS = 20
LEASE_SECONDS = 2.0
SETTINGS = {"lease_seconds": LEASE_SECONDS, "abandoned_seconds": 2, "strict": False, "threads": 2}


@pytest.fixture
def fleet(postgres: Postgres) -> Iterator[Fleet]:
    with Fleet(postgres.database(), postgres.database(), MODELS, SETTINGS) as found:
        yield found


def news(fleet: Fleet, amount: int) -> None:
    fleet.sql(*(f"update raw.s{number} set v = v + {amount}" for number in range(10)))


def is_whole(fleet: Fleet, worker: Worker) -> None:
    """Everything is right, and nothing is left to do or lying about."""
    assert fleet.wrong() == []
    assert fleet.strangers() == []
    last = worker.run("last")
    assert {each["outcome"] for each in last["models"].values()} == {"reused"}, last
    assert set(last["tests"].values()) == {"pass"}
    store = SqlStateStore(fleet.state_url)
    assert store.leases("fleet.dev") == []
    store.close()


def run_and_recover(fleet: Fleet, worker: Worker) -> dict[str, Any]:
    """Run everything, and return what was done; it must not take much longer than a lease lasts."""
    started = time.monotonic()
    answer = worker.run("recovery")
    assert "error" not in answer, answer
    failed = {name: each for name, each in answer["models"].items() if each["outcome"] not in ("built", "reused")}
    assert not failed
    assert time.monotonic() - started < 15 * LEASE_SECONDS
    return answer


@pytest.mark.parametrize("point", faults.NAMES)
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
    [
        "after lease",
        "after observe",
        "after read",
        "before swap",
        "after swap",
        "after keep",
        "after build",
        "before record",
        "before verdicts",
    ],
)
def test_a_run_that_is_paused_for_longer_than_its_lease(fleet: Fleet, point: str) -> None:
    """Another run takes over, builds from newer data, and the first one goes on as if nothing had been."""
    victim, other = fleet.hire(2)
    victim.run("first")
    news(fleet, 1)
    once = point.split()[1] in ("observe", "verdicts")
    victim.start("second", fault={"point": point, "signal": "SIGSTOP", "count": 1 if once else 3})
    assert victim.answer() == {"fault": "SIGSTOP"}
    time.sleep(LEASE_SECONDS + 0.5)
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
        stop = threading.Event()
        cutter = threading.Thread(target=_cut, args=(fleet, which.rsplit("/", 1)[1], stop))
        cutter.start()
        answer = worker.answer()
        stop.set()
        cutter.join()
        if which == fleet.state_url:
            assert "models" in answer, answer
            assert {each["outcome"] for each in answer["models"].values()} <= {"built", "reused"}
    run_and_recover(fleet, worker)
    is_whole(fleet, worker)


def _cut(fleet: Fleet, database: str, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        fleet.sql(
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}' and pid <> pg_backend_pid() "
            f"and application_name {'=' if fleet.url.endswith(database) else '<>'} 'sao_dagster'"
        )


def test_a_server_that_is_restarted(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        Postgres(tmp_path_factory.mktemp("own")) as server,
        Fleet(server.database(), server.database(), MODELS, SETTINGS) as fleet,
    ):
        (worker,) = fleet.hire()
        worker.run("first")
        news(fleet, 1)
        worker.start("second")
        server.restart(after_seconds=1.0)
        worker.answer()  # with failed models, or an error
        run_and_recover(fleet, worker)
        is_whole(fleet, worker)


def set_clock(file: Path, seconds: int) -> None:
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)


def test_a_clock_that_jumps(postgres: Postgres, tmp_path: Path) -> None:
    """Ahead, and leases end at once; back, and they would last for hours. Neither makes anything wrong or lets anybody hang."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    with Fleet(postgres.database(), postgres.database(), 60, {**SETTINGS, "clock": str(clock)}) as fleet:
        victim, one, other = fleet.hire(3)
        for jump in (3600, -7200, 0):
            news(fleet, 1)
            for worker in (one, other):
                worker.start(f"jump {jump}")
            time.sleep(0.2)
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
