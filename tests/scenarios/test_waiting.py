"""What is held by another process is waited for, and it is said at once by whom."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sao_dagster.core.messages import Message
from sao_dagster.core.records import QueuePosition
from sao_dagster.core.selection import select
from sao_dagster.errors import WarehouseBusyError
from sao_dagster.run.events import Event
from sao_dagster.run.lease_queue import LeaseQueue
from sao_dagster.state.sql_store import SqlStateStore
from sao_dagster.warehouses.shared.processes import describe_process
from tests.waiting import PATIENCE
from tests.world import World


@contextmanager
def held(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """Let another process hold the DuckDB file until it is killed, or the block ends."""
    code = (
        f"import duckdb, sys; c = duckdb.connect({str(world.root / 'shop.duckdb')!r}); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        holder.stdout.readline()
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stdin.close()


def test_a_file_that_is_held_is_given_up_in_time(world: World) -> None:
    world.model("a", "select 1 as x")
    with held(world) as holder:
        warehouse = world.opened().warehouse
        with (
            pytest.raises(WarehouseBusyError, match=f"held by process {holder.pid}"),
            warehouse.session(wait_seconds=0.3),
        ):
            pass
        holder.kill()
        with warehouse.session(wait_seconds=PATIENCE):
            pass


def test_a_run_says_while_it_waits_who_holds_the_file(world: World) -> None:
    """The file becomes free only after it was said: a run that says it afterwards would wait until the test times out."""
    world.model("a", "select 1 as x")
    said: list[str] = []
    with held(world) as holder:

        def watch(event: Event) -> None:
            if isinstance(event, Message):
                said.append(event.text)
                holder.kill()

        runner = world.runner()
        result = runner.run(select(runner.project), on_event=watch)
    assert result.succeeded
    (text,) = said
    assert "shop.duckdb, which is held by " in text
    assert f"process {holder.pid} on {socket.gethostname()}" in text


def test_a_plan_says_it_too(world: World) -> None:
    world.model("a", "select 1 as x")
    with held(world) as holder:
        runner = world.runner()
        planned, _ = runner.plan(select(runner.project), on_message=lambda _: holder.kill())
    assert list(planned.decisions) == ["a"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_of_a_process_its_program_and_its_start_are_told_and_no_arguments() -> None:
    command = [sys.executable, "-c", "print(flush=True); input()", "--password=hunter2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs; the system knows its command line only then
        told = describe_process(process.pid)
        process.communicate(b"\n")
    assert "python" in told
    assert "since 20" in told
    assert "hunter2" not in told


def test_who_waits_for_a_lease_is_told_the_process_that_has_it(world: World) -> None:
    store = SqlStateStore(f"sqlite:///{world.root / 'state.db'}")
    first, second = (LeaseQueue(store, "shop", run_id, 60.0, 60.0) for run_id in ("first", "second"))
    try:
        first.acquire("orders")
        message = getattr(second.acquire("orders"), "message", None)
        assert message is not None
        assert message.startswith(
            f"waits for run first (process {os.getpid()} on {socket.gethostname()}), at orders since "
        )
        place = store.take_lease("shop", "orders", "third", "third", 60.0)
        assert isinstance(place, QueuePosition)
        assert (place.holder, place.run_id) == (first.holder, "first")
    finally:
        first.close()
        second.close()
