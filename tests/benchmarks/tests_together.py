"""Data tests one by one (the statement that dbt runs for each) against one statement for all tests of the model.

    python -m tests.benchmarks.tests_together [--rows 10000 1000000 20000000]

For tables of each size, kept by DuckDB and as a Parquet file, with 3, 10 and 30 tests that all pass: seconds one by one and together,
their ratio, and the number of statements. Both are measured in turns in one process; the medians are shown.
A run takes them together up to the size that `tests_alone_from` of `sao_dagster/sql/dialects.py` says, which rests on this table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sao_dagster import DuckDBWarehouse
from sao_dagster.core.nodes import DataTest
from sao_dagster.core.records import Verdict
from sao_dagster.run.data_tests import run_tests
from sao_dagster.warehouses.protocol import Session

MIX = {3: (1, 1, 1), 10: (2, 6, 2), 30: (4, 20, 6)}
"""How many of the tests are `unique`, `not_null` and `accepted_values`."""


def fill(session: Session, rows: int, parquet: Path | None) -> str:
    """Make a table (or a file) with keys, measures and words, and return how SQL reads it."""
    keys = ", ".join(f"(i * {2 * number + 1})::bigint as key_{number}" for number in range(4))
    measures = ", ".join(f"(i % {number + 7})::integer as measure_{number}" for number in range(20))
    words = ", ".join(
        f"(['new', 'open', 'paid', 'sent', 'done'])[1 + (i + {number}) % 5] as word_{number}" for number in range(6)
    )
    query = f"select {keys}, {measures}, {words} from range({rows}) t(i)"
    if parquet is not None:
        session.execute(f"copy ({query}) to '{parquet}' (format parquet)")
        return f"read_parquet('{parquet}')"
    session.execute(f"create or replace table main.tested as {query}")
    return "main.tested"


def tests_of(relation: str, count: int) -> list[DataTest]:
    """Return tests as dbt compiles them."""
    unique, filled, accepted = MIX[count]
    queries = [
        f"select key_{number} as unique_field, count(*) as n_records from {relation} where key_{number} is not null "
        f"group by key_{number} having count(*) > 1"
        for number in range(unique)
    ]
    queries += [f"select * from {relation} where measure_{number} is null" for number in range(filled)]
    queries += [
        f"select * from (select word_{number} as value_field, count(*) as n_records from {relation} group by word_{number}) as all_values "
        f"where value_field not in ('new', 'open', 'paid', 'sent', 'done')"
        for number in range(accepted)
    ]
    return [
        DataTest(name=f"t{number}", kind="k", tested="m", sql=query, reads=("m",), version="")
        for number, query in enumerate(queries)
    ]


def timed(session: Session, tests: list[DataTest]) -> tuple[float, int]:
    """Return the seconds of some tests, and the number of their statements."""
    started = time.perf_counter()
    answers = list(run_tests(session, "m", tests))
    seconds = time.perf_counter() - started
    assert all(each.verdict is Verdict.PASS for each in answers)
    return seconds, len({each.statement for each in answers})


def measure(session: Session, relation: str, count: int, rounds: int) -> tuple[float, float, int]:
    """Return the medians of both ways, and the statements of the second."""
    tests = tests_of(relation, count)
    alone, together, statements = [], [], 0
    for _ in range(rounds):
        alone.append(sum(timed(session, [test])[0] for test in tests))
        seconds, statements = timed(session, tests)
        together.append(seconds)
    return statistics.median(alone), statistics.median(together), statements


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 20_000_000])
    options = parser.parse_args()
    table = Table("rows", "kept as", "tests", "one by one, s", "together, s", "times as fast", "statements")
    for rows in options.rows:
        rounds = 15 if rows <= 100_000 else 5 if rows <= 2_000_000 else 3
        for form in ("DuckDB's tables", "Parquet"):
            with tempfile.TemporaryDirectory() as place:
                warehouse = DuckDBWarehouse(path=str(Path(place) / "t.duckdb"), threads=2)
                with warehouse.session() as session:
                    relation = fill(session, rows, Path(place) / "t.parquet" if form == "Parquet" else None)
                    for count in MIX:
                        alone, together, statements = measure(session, relation, count, rounds)
                        table.add_row(
                            f"{rows:,}", form, str(count), f"{alone:.3f}", f"{together:.3f}", f"{alone / together:.2f}",
                            f"{count} -> {statements}",
                        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
