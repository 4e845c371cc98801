"""What it costs that the source of some models is large: its content is read to know its version, where it may have changed.

    python -m tests.benchmarks.large_source [--rows 10000000] [--models 10]

On a PostgreSQL server of its own. Each line is one run, beside the statements of the models alone: the first build, a run with nothing
to do, and the build after one row of the source has changed.
"""

from __future__ import annotations

import argparse
import time

import psycopg
from rich.console import Console
from rich.table import Table

from sao_dagster import SqlProject, select
from sao_dagster.core.reasons import Outcome
from tests.postgres import Postgres, execute, warehouse_at

QUERY = "select k, count(*) as n, sum(v) as v from {source} where id % {models} = {number} group by k"


def measured(url: str, rows: int, models: int) -> Table:
    """Return the table of one source and its models."""
    execute(
        url,
        "create schema raw",
        f"create table raw.big as select i as id, i % 1000 as k, i % 97 as v, 'row ' || i as said from generate_series(1, {rows}) as i",
        "analyze raw.big",
    )
    opened = SqlProject("large", warehouse=warehouse_at(url), state_url="sqlite://")
    opened.source("raw", "big")
    for number in range(models):
        sql = QUERY.format(source="{{ source('raw', 'big') }}", models=models, number=number)
        opened.model(name=f"m{number}", sql=sql, materialized="table")
    runner = opened.runner()

    started = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema bare")
        for number in range(models):
            sql = QUERY.format(source="raw.big", models=models, number=number)
            connection.execute(f"create table bare.m{number} as {sql}".encode())
    bare = time.perf_counter() - started

    table = Table(f"{models} models over {rows} rows", "built", "seconds", "ratio to their SQL")
    table.add_row("their SQL, one after the other", str(models), f"{bare:.1f}", "1.0")
    for title, change in (
        ("first build", None),
        ("nothing changed", None),
        ("one row changed", "update raw.big set v = v + 1 where id = 1"),
    ):
        if change:
            execute(url, change)
        started = time.perf_counter()
        result = runner.run(select(opened.project))
        seconds = time.perf_counter() - started
        built = sum(each.decision.outcome is Outcome.BUILT for each in result.models)
        table.add_row(title, str(built), f"{seconds:.1f}", f"{seconds / bare:.2f}")
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What it costs that the source of some models is large.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--models", type=int, default=10)
    arguments = parser.parse_args()
    with Postgres() as server:
        Console().print(measured(server.database(), arguments.rows, arguments.models))


if __name__ == "__main__":
    main()
