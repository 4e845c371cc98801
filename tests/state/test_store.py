"""The store in each kind of database: records, retention, migrations, and many processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.environment import Branch
from sao_dagster.core.records import BuildRecord, Lease, QueuePosition, TestRecord, Verdict
from sao_dagster.errors import LeaseLostError, StateError
from sao_dagster.state import leases
from sao_dagster.state.connection import StateConnection, StateLostError
from sao_dagster.state.convert import to_row
from sao_dagster.state.migrate import migrate
from sao_dagster.state.migrations import v0001_first
from sao_dagster.state.protocol import DecisionRecord, RunRecord
from sao_dagster.state.sql_store import SqlStateStore
from tests.postgres import Postgres
from tests.waiting import PATIENCE

AT = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
RECORD = BuildRecord(
    model="orders",
    relation='"shop"."main"."orders"',
    code_version="c",
    code_scheme=2,
    code_parts={"sql": "1"},
    definition="c",
    sql_id="s",
    inputs={"source:raw.orders": DataVersion("loaded_at", "2026-01-01 12:00:00")},
    definitions={},
    data_version=DataVersion("content", "1"),
    columns=(("id", "INTEGER"),),
    rows=1,
    observed_at=AT,
    built_at=AT,
    seconds=1.5,
    run_id="run-1",
)
TEST = TestRecord(
    test="t",
    version="v",
    code_scheme=2,
    inputs={"orders": DataVersion("content", "1")},
    verdict=Verdict.WARN,
    failures=3,
    run_at=AT,
    seconds=0.1,
    run_id="r",
)


def test_rows_are_numbered_beyond_two_billion(state_url: str) -> None:
    store = SqlStateStore(state_url)
    run = RunRecord(run_id="r", environment="e", mode="force", started_at=AT, finished_at=AT, summary={})
    decision = DecisionRecord(model="a", outcome="built", reason="forced", decided_at=AT)
    store.record_run(run, [decision])
    if not state_url.startswith("sqlite"):
        with StateConnection(state_url).transaction(write=True) as transaction:
            for table in ("sao_decisions", "sao_versions", "sao_waiters"):
                transaction.value(
                    "select setval(pg_get_serial_sequence(:name, 'id'), :last)", {"name": table, "last": 2**31 - 1}
                )
    store.record_run(run, [replace(decision, model="b")])
    store.note_versions("e", {"s": DataVersion("content", "1")}, AT)
    assert isinstance(store.take_lease("e", "a", "one", "r", 60), Lease)
    assert isinstance(store.take_lease("e", "a", "other", "r", 60), QueuePosition)
    assert [each.model for each in store.run_decisions("r")] == ["a", "b"]
    assert list(store.history("e", ["s"])) == ["s"]


def test_what_shows_writes_is_kept_of_the_last_build_alone(state_url: str) -> None:
    """Whoever looks at a relation learns it a little later, when another run may have built that anew."""
    store = SqlStateStore(state_url)
    one, other = replace(RECORD, build_id="1", movement="a"), replace(RECORD, model="other", build_id="2", movement="b")
    for record in (one, other):
        store.record_build("e", record, "")
    _, sequence = store.changes("e", 0)
    store.keep_movements("e", [replace(one, movement="c")])
    store.keep_movements("e", [replace(one, build_id="0", movement="d"), replace(other, movement="e")])
    builds = store.builds("e")
    assert [(each.build_id, each.movement) for each in (builds["orders"], builds["other"])] == [("1", "c"), ("2", "e")]
    assert builds == {"orders": one, "other": other}, "they are the same builds"
    assert store.changes("e", sequence) == ({}, sequence), "and no news for another run"
    store.record_build("e", replace(one, build_id="3", movement=None), "")
    assert store.builds("e")["orders"].movement is None


def test_records_come_back_as_they_went(state_url: str) -> None:
    store = SqlStateStore(state_url)
    record = replace(RECORD, changed=False, adopted=True, movement="moved")
    store.record_build("shop.dev", record, "select 1")
    assert repr(store.builds("shop.dev")["orders"]) == repr(record)
    large = 2**31 + 5
    store.record_build("shop.dev", replace(RECORD, rows=large), "select 1")
    store.record_tests("shop.dev", [replace(TEST, failures=large)])
    assert (store.builds("shop.dev")["orders"].rows, store.tests("shop.dev")["t"].failures) == (large, large)
    store.record_build("shop.dev", RECORD, "select 1")
    store.record_tests("shop.dev", [TEST])
    assert store.builds("shop.dev") == {"orders": RECORD}
    assert store.builds("shop.prod") == {}
    assert store.tests("shop.dev") == {"t": TEST}
    assert store.sql(["s"]) == {"s": "select 1"}
    assert store.history("shop.dev", ["orders"]) == {"orders": ((DataVersion("content", "1"), AT),)}
    store.keep_contents("shop.dev", "stamp", {"a": DataVersion("content", "1")})
    assert store.contents("shop.dev", "stamp") == {"a": DataVersion("content", "1")}
    assert store.contents("shop.dev", "other") == {}
    store.keep_shown("shop.dev", "shown", {"a": "1", "b": "2"})
    store.keep_shown("shop.dev", "shown", {"b": "3"})
    assert store.shown("shop.dev", "shown") == {"a": "1", "b": "3"}
    run = RunRecord(
        run_id="r",
        environment="shop.dev",
        mode="force",
        started_at=AT,
        finished_at=AT,
        summary={"built": 1, "seconds": 0.5},
    )
    decision = DecisionRecord(model="orders", outcome="built", reason="forced", decided_at=AT)
    store.record_run(run, [decision])
    store.record_run(run, [])
    assert [each.summary for each in store.runs("shop.dev")] == [{"built": 2, "seconds": 1.0}], "of two steps"
    store.record_run(run, [decision])
    assert [each.summary for each in store.runs("shop.dev")] == [{"built": 2, "seconds": 1.0}], "one that is told again"
    later = replace(decision, decided_at=AT + timedelta(seconds=1))
    store.record_run(run, [later])
    assert [each.summary for each in store.runs("shop.dev")] == [{"built": 3, "seconds": 1.5}], (
        "one that was tried again"
    )
    assert store.decisions("shop.dev", "orders", 5) == [later, decision]
    assert store.clear("shop.dev", ["orders"], []) == 1
    assert store.builds("shop.dev") == {}
    assert abs(store.now() - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_changes_are_told_from_a_sequence_on(state_url: str) -> None:
    store = SqlStateStore(state_url)
    store.record_build("e", RECORD, "")
    found, sequence = store.changes("e", 0)
    assert set(found) == {"orders"}
    store.record_build("e", replace(RECORD, model="customers"), "")
    found, later = store.changes("e", sequence)
    assert set(found) == {"customers"}
    assert store.changes("e", later) == ({}, later)


def test_no_change_is_missed_while_many_write(state_url: str) -> None:
    """A reader that always goes on from its last sequence has seen everything in the end."""
    store = SqlStateStore(state_url)
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        sequence = 0
        while True:
            last = done.is_set()
            found, sequence = store.changes("e", sequence)
            seen.update(found)
            if last:
                return
            time.sleep(0.001)  # a memory database has one connection, and whoever never pauses keeps it

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.record_build("e", replace(RECORD, model=f"m{number}"), ""), range(80)))
    done.set()
    reader.join()
    assert seen == {f"m{number}" for number in range(80)}


def test_everything_that_is_history_goes_by_one_retention(state_url: str) -> None:
    store = SqlStateStore(state_url, retention=timedelta(days=1))
    days = [AT + timedelta(days=day) for day in range(4)]
    store.note_versions("e", {"quiet": DataVersion("content", "only")}, AT)
    store.note_versions("e", {"was_loud": DataVersion("content", "0")}, AT)
    store.note_versions("e", {"was_loud": DataVersion("content", "1")}, AT + timedelta(hours=1))
    for number, day in enumerate(days):
        store.note_versions("e", {"loud": DataVersion("content", str(number))}, day)
        store.record_build("e", replace(RECORD, sql_id=f"s{number}", built_at=day), f"select {number}")
        run = RunRecord(run_id=f"r{number}", environment="e", mode="force", started_at=day, finished_at=day, summary={})
        store.record_run(run, [DecisionRecord(model="orders", outcome="built", reason="forced", decided_at=day)])
    kept = store.history("e", ["quiet", "was_loud", "loud"])
    assert {name: [version.token for version, _ in seen] for name, seen in kept.items()} == {
        "quiet": ["only"],  # the latest version is never forgotten
        "was_loud": ["1"],
        "loud": ["2", "3"],
    }
    assert [each.run_id for each in store.runs("e")] == ["r3", "r2"]
    assert [each.decided_at for each in store.decisions("e", "orders", 9)] == [days[3], days[2]]
    assert store.sql([f"s{number}" for number in range(4)]) == {"s3": "select 3"}


def test_a_time_of_the_future_forgets_nothing_and_what_was_told_is_no_history(state_url: str) -> None:
    day = timedelta(days=1)
    store = SqlStateStore(state_url, retention=day)
    store.keep_shown("e", "scope", {"a": "1"})
    now = datetime.now(timezone.utc)
    run = RunRecord(run_id="r", environment="e", mode="force", started_at=now, finished_at=now, summary={})
    store.record_run(run, [])
    store.record_run(replace(run, run_id="tried out", finished_at=now + 1000 * day), [])
    assert store.shown("e", "scope") == {"a": "1"}
    assert len(store.runs("e")) == 2
    SqlStateStore(state_url, retention=-day).record_run(run, [])
    assert store.shown("e", "scope") == {"a": "1"}, "what is forgotten would be told as new"


def test_migrations_give_the_columns_of_the_records(state_url: str) -> None:
    run = RunRecord(run_id="r", environment="e", mode="force", started_at=AT, finished_at=AT, summary={})
    decision = DecisionRecord(model="orders", outcome="built", reason="forced", decided_at=AT)
    database = StateConnection(state_url)
    migrate(database)
    with database.transaction() as transaction:
        for table, record, others in (
            ("sao_builds", RECORD, {"environment", "sequence"}),
            ("sao_tests", TEST, {"environment"}),
            ("sao_runs", run, set()),
            ("sao_decisions", decision, {"environment", "run_id", "id"}),
        ):
            transaction.insert(
                table, [{"environment": "e", **to_row(record), **dict.fromkeys(others - {"environment"}, 1)}]
            )
            row = transaction.row(f"select * from {table}")
            assert row is not None
            assert set(row._fields) == {*to_row(record), *others}, table


def test_processes_that_start_at_once_migrate_once(state_url: str) -> None:
    if state_url == "sqlite://":
        return
    code = (
        f"from sao_dagster.state.sql_store import SqlStateStore; print(len(SqlStateStore({state_url!r}).builds('e')))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in started:
        out, error = each.communicate(timeout=PATIENCE)
        assert (out.strip(), each.returncode) == ("0", 0), error


def test_a_new_file_that_somebody_writes_to_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself refuses at once to change the mode of a file beside a writer, as two commands do that start at once."""
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("create table theirs (x)")
        writer.execute("begin immediate")
        monkeypatch.setattr("sao_dagster.state.connection.time.sleep", lambda seconds: writer.execute("rollback"))
        assert SqlStateStore(f"sqlite:///{file}").leases("e") == []


def test_a_state_without_migrations_is_taken_over(tmp_path: Path) -> None:
    """Development versions made their tables at once, and named a version of their own."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    database = StateConnection(url)
    with database.transaction(write=True) as transaction:
        transaction.script(v0001_first.TABLES)
        transaction.script("drop table sao_marks")
        transaction.insert("sao_sql", [{"id": "s", "text": "select 1"}])
    database.close()
    store = SqlStateStore(url)
    assert store.sql(["s"]) == {"s": "select 1"}
    assert store.leases("e") == []


def test_bad_urls_are_named() -> None:
    for url, message in (
        ("nonsense", "cannot be opened"),
        ("oracle9://x", "cannot be opened"),
        ("sqlite:////proc/no/such/folder/state.db", "cannot be"),
    ):
        with pytest.raises(StateError, match=message):
            SqlStateStore(url)


def test_a_password_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sao_dagster.state.connection.PATIENCE", 0.1)
    with pytest.raises(StateError) as raised:
        SqlStateStore("postgresql://someone:swordfish@127.0.0.1:1/nowhere")
    assert "swordfish" not in str(raised.value)


def test_a_short_outage_is_ridden_out(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sao_dagster.state.connection.PATIENCE", PATIENCE)  # a busy machine starts a server slowly
    store = SqlStateStore(postgres.database())
    store.record_build("e", RECORD, "")
    restart = threading.Thread(target=postgres.restart, args=(1.0,))
    restart.start()
    for number in range(20):
        store.record_build("e", replace(RECORD, model=f"m{number}"), "")
    restart.join()
    assert len(store.builds("e")) == 21


def test_a_long_outage_is_a_clear_failure(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sao_dagster.state.connection.PATIENCE", 0.5)
    store = SqlStateStore(postgres.database())
    postgres.stop()
    try:
        with pytest.raises(StateError, match=r"the state in .* cannot be read or written"):
            store.builds("e")
    finally:
        postgres.start()
    assert store.builds("e") == {}


def test_a_process_that_stops_in_the_middle_of_a_heartbeat_holds_nobody_up(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sao_dagster.state.connection.STOPPED_SECONDS", 1)
    url = postgres.database()
    stopped, other = SqlStateStore(url), SqlStateStore(url)
    assert isinstance(stopped.take_lease("e", "orders", "stopped", "run-1", seconds=0.0), Lease)

    def stop_in_the_middle() -> None:
        with stopped._database.transaction(write=True) as transaction:
            leases.renew(transaction, stopped._database.now(transaction), "e", "stopped", 0.0)
            transaction.put("sao_sql", [{"id": "1", "text": "select 1"}])  # not by a pipeline, which nothing ends
            assert isinstance(other.take_lease("e", "orders", "other", "run-2", seconds=60), Lease), "meanwhile"

    with pytest.raises(StateLostError):
        stop_in_the_middle()


def test_names_cannot_inject(state_url: str) -> None:
    store = SqlStateStore(state_url)
    nasty = "x'; drop table sao_builds; --\"\\%s"
    store.record_build(nasty, replace(RECORD, model=nasty, inputs={nasty: DataVersion("nasty", nasty)}), nasty)
    store.take_lease(nasty, nasty, "h", nasty, 60)
    store.keep_shown(nasty, nasty, {nasty: nasty})
    assert store.builds(nasty)[nasty].inputs == {nasty: DataVersion("nasty", nasty)}
    assert store.history(nasty, [nasty])[nasty]
    assert [each.model for each in store.leases(nasty)] == [nasty]


def test_a_record_whose_answer_was_lost_is_recorded_once(state_url: str) -> None:
    """What is tried again was done, and the lease went with it."""
    store = SqlStateStore(state_url)
    lease = store.take_lease("e", RECORD.model, "h", "run-1", seconds=60)
    assert isinstance(lease, Lease)
    store.record_build("e", RECORD, "select 1", lease)
    before = store.changes("e", 0)
    store.record_build("e", RECORD, "select 1", lease)
    assert store.changes("e", 0) == before
    with pytest.raises(LeaseLostError):
        store.record_build("e", replace(RECORD, run_id="other"), "select 1", lease)


def test_schemas_that_two_runs_make_for_one_branch_are_all_its_own(state_url: str) -> None:
    store = SqlStateStore(state_url)
    at = store.now()
    for name in ("ci_x", "ci_x_marts"):
        store.keep_branch(Branch(environment="e", against="prod", schemas=(("", name),), made_at=at, used_at=at))
    [branch] = store.branches()
    assert branch.schemas == (("", "ci_x"), ("", "ci_x_marts"))


def test_a_record_under_a_lease_that_was_taken_over_is_refused(state_url: str) -> None:
    store = SqlStateStore(state_url)
    slow = store.take_lease("e", "orders", "slow", "run-1", seconds=0.0)
    assert isinstance(slow, Lease)
    quick = store.take_lease("e", "orders", "quick", "run-2", seconds=60)
    assert isinstance(quick, Lease)
    assert quick.fence > slow.fence
    with pytest.raises(LeaseLostError, match="taken over by run run-2"):
        store.record_build("e", RECORD, "", lease=slow)
    assert store.builds("e") == {}
    store.record_build("e", RECORD, "", lease=quick)
    assert set(store.builds("e")) == {"orders"}
    assert store.leases("e") == [], "a lease is given back with the record"


def test_only_one_of_many_processes_has_a_lease(state_url: str, tmp_path: Path) -> None:
    """Four processes take turns on three models; each turn is noted where the others can see it."""
    if state_url == "sqlite://":
        return
    SqlStateStore(state_url).close()
    code = textwrap.dedent(f"""
        import os, sys, time, random
        from pathlib import Path
        from sao_dagster.core.records import Lease
        from sao_dagster.state.sql_store import SqlStateStore
        store, me = SqlStateStore({state_url!r}), sys.argv[1]
        for turn in range(12):
            model = random.Random(f"{{me}}{{turn}}").choice("abc")
            while not isinstance(lease := store.take_lease("e", model, me, me, 60), Lease):
                time.sleep(0.01)
            place = Path({str(tmp_path)!r}) / model
            handle = os.open(place, os.O_CREAT | os.O_EXCL)  # fails if another has it
            time.sleep(0.005)
            os.close(handle); place.unlink()
            store.release_lease("e", lease)
        print("done")
    """)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"p{n}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    for each in started:
        out, error = each.communicate(timeout=PATIENCE)
        assert out.strip() == "done", error


def test_a_build_that_was_forgotten_gives_its_place_to_no_other(state_url: str) -> None:
    """Runs learn what is new by a number that only grows; one that was given twice would hide a build."""
    store = SqlStateStore(state_url)
    store.record_build("e", RECORD, "")
    _, known = store.changes("e", 0)
    store.forget_build("e", RECORD.model)
    assert store.builds("e") == {}
    store.record_build("e", replace(RECORD, run_id="another"), "")
    assert [each.run_id for each in store.changes("e", known)[0].values()] == ["another"]


def test_only_who_has_the_lease_forgets_a_build(state_url: str) -> None:
    store = SqlStateStore(state_url)
    store.record_build("e", RECORD, "")
    lease = store.take_lease("e", RECORD.model, "one", "r1", 0.0)
    assert isinstance(lease, Lease)
    assert isinstance(store.take_lease("e", RECORD.model, "other", "r2", 60), Lease)
    with pytest.raises(LeaseLostError):
        store.forget_build("e", RECORD.model, lease)
    assert list(store.builds("e")) == [RECORD.model]
