"""Eight runs at once against one run on the same work, and what a build on PostgreSQL costs over its bare SQL.

    python -m tests.benchmarks.runs_at_once [--models 200] [--runs 8]

PostgreSQL is started on loopback. Each run is a process of its own with four threads; all of them select everything. Ratios are of
one sitting: a machine with few cores has nothing to gain from more processes, so what is measured is what queueing costs.
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.table import Table

from sao_dagster.core.code_version import CodeVersion
from sao_dagster.core.nodes import Materialized, Model
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import CompiledSql
from tests.fleet.fleet import Fleet, Worker
from tests.fleet.project import fleet_project
from tests.postgres import Postgres


def at_once(workers: list[Worker], name: str) -> tuple[float, int]:
    """Return how long it took until all runs had ended, and how many models they built."""
    started = time.perf_counter()
    for place, worker in enumerate(workers):
        worker.start(f"{name}.{place}")
    answers = [worker.answer() for worker in workers]
    seconds = time.perf_counter() - started
    assert all("models" in answer for answer in answers), answers
    return seconds, sum(each["outcome"] == "built" for answer in answers for each in answer["models"].values())


def compare_runs(server: Postgres, models: int, runs: int, out: Console) -> None:
    table = Table("what", "1 run, s", f"{runs} runs at once, s", "ratio", "models built")
    measured: dict[str, list[tuple[float, int]]] = {}
    for count in (1, runs):
        with Fleet(server.database(), server.database(), models) as fleet:
            workers = fleet.hire(count)
            measured.setdefault("everything is built", []).append(at_once(workers, "first"))
            fleet.sql(*(f"update raw.s{number} set v = v + 1" for number in range(3)))
            measured.setdefault("3 of 10 sources have news", []).append(at_once(workers, "news"))
            measured.setdefault("nothing is new", []).append(at_once(workers, "idle"))
            assert fleet.wrong() == []
    for what, ((one, built), (many, built_by_many)) in measured.items():
        table.add_row(what, f"{one:.2f}", f"{many:.2f}", f"{many / one:.1f}", f"{built}, {built_by_many}")
    out.print(table)


def compare_builds(server: Postgres, out: Console) -> None:
    url = server.database()
    warehouse = fleet_project(url, "sqlite://", 0).warehouse
    table = Table("rows", "bare SQL, s", "with content version and swap, s", "ratio")
    with warehouse.session() as session:
        session.execute("create schema main")
        for rows in (1_000, 100_000, 2_000_000):
            sql = f"select i as id, i % 1000 as k, md5(i::text) as h, now() - i * interval '1 second' as at from generate_series(1, {rows}) t(i)"
            name = f"big{rows}"
            model = Model(
                name=name,
                relation=Relation(None, "main", name),
                materialized=Materialized.TABLE,
                code=CodeVersion({"sql": "x"}),
                raw_sql=sql,
                compiled=CompiledSql(sql),
            )
            bare, ours = [], []
            for _ in range(3):
                started = time.perf_counter()
                session.execute(f"drop table if exists bare; create table bare as {sql}")
                bare.append(time.perf_counter() - started)
                started = time.perf_counter()
                session.build_model(model, model.compiled, full_refresh=False)
                ours.append(time.perf_counter() - started)
            table.add_row(f"{rows:,}", f"{min(bare):.3f}", f"{min(ours):.3f}", f"{min(ours) / min(bare):.2f}")
    out.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--runs", type=int, default=8)
    arguments = parser.parse_args()
    out = Console()
    with Postgres() as server:
        compare_runs(server, arguments.models, arguments.runs, out)
        compare_builds(server, out)


if __name__ == "__main__":
    main()
