"""What the shared state costs for each model, in SQLite and in PostgreSQL.

    python -m tests.benchmarks.state_cost [--postgres URL] [--models 10000]

Prints the milliseconds of taking a lease and of recording a build under it (which gives the lease back), one after the other
and by eight threads at once, and the seconds of reading all records in one go. Without a URL, PostgreSQL is started on loopback
if its programs are there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.records import Lease
from sao_dagster.state.sql_store import SqlStateStore
from tests.postgres import Postgres
from tests.state.test_store import RECORD

ROUNDS = 200


def measure(url: str, models: int) -> dict[str, float]:
    store = SqlStateStore(url)

    def turn(number: int) -> tuple[float, float]:
        model = f"m{number}"
        started = time.perf_counter()
        lease = store.take_lease("e", model, "h", "r", 60)
        taken = time.perf_counter()
        assert isinstance(lease, Lease)
        store.record_build(
            "e",
            replace(RECORD, model=model, sql_id=model, data_version=DataVersion("content", str(started))),
            "select 1",
            lease,
        )
        return taken - started, time.perf_counter() - taken

    turn(0)
    alone = [turn(number) for number in range(ROUNDS)]
    started = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(turn, range(ROUNDS)))
    together = (time.perf_counter() - started) / ROUNDS
    for number in range(ROUNDS, models):
        store.record_build("e", replace(RECORD, model=f"m{number}", sql_id="s"), "")
    started = time.perf_counter()
    assert len(store.builds("e")) == models
    reading = time.perf_counter() - started
    return {
        "lease, ms": 1000 * statistics.median(each[0] for each in alone),
        "record, ms": 1000 * statistics.median(each[1] for each in alone),
        "both, 8 threads, ms for each model": 1000 * together,
        f"reading {models} records, s": reading,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres")
    parser.add_argument("--models", type=int, default=10_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"SQLite": f"sqlite:///{place / 'state.db'}"}
        if options.postgres:
            urls["PostgreSQL"] = options.postgres
        elif Postgres.programs():
            urls["PostgreSQL"] = stack.enter_context(Postgres()).database()
        found = {name: measure(url, options.models) for name, url in urls.items()}
    table = Table("what", *found)
    for row in next(iter(found.values())):
        table.add_row(row, *(f"{each[row]:.2f}" for each in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
