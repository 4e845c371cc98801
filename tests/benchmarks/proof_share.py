"""What becomes of data tests, and how long inference takes.

    python -m tests.benchmarks.proof_share [--models 500]

Two tables: (1) on the example, and on a generated project in layers (views over sources; joins, aggregates, unions, latest rows and
increments above them; on each model the tests that people write), how many tests are proven, reused and run, in how many statements, in the
first run, in one with nothing new, after news from one source, and in one without proofs; (2) milliseconds of inference for a query of
100 lines, the first time and when its text and facts are known, and all the time that proofs took in the runs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table as Shown

from sao_dagster.core.nodes import DataTest
from sao_dagster.core.proofs import Fact, FactKind, Proof
from sao_dagster.core.selection import select
from sao_dagster.load import load_project
from sao_dagster.run.prove import Prover
from sao_dagster.sql.inference.infer import TableFacts, infer
from sao_dagster.sql.inference.kept import KeptProofs, Question

ROOT = Path(__file__).parents[2]
SOURCES = 10
ROWS = 200


def tested_project(folder: Path, models: int) -> Path:
    """Write a project with tests on each model, and its DuckDB file."""
    folder.mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "dbt_project.yml").write_text("name: tested\nprofile: tested\nmodels:\n  +materialized: table\n")
    (folder / "profiles.yml").write_text(
        "tested: {target: dev, outputs: {dev: {type: duckdb, path: t.duckdb, threads: 2}}}\n"
    )
    columns = "columns: [{name: id, data_tests: [unique, not_null]}, {name: kind, data_tests: [{accepted_values: {values: [a, b, c]}}]}]"
    tables = "\n".join(f"      - {{name: s{number}, {columns}}}" for number in range(SOURCES))
    yaml = [f"sources:\n  - name: raw\n    tables:\n{tables}\nmodels:"]
    for number in range(models):
        sql, tests = _model(number)
        (folder / "models" / f"m{number}.sql").write_text(sql)
        yaml.append(f"  - {{name: m{number}, columns: [{', '.join(tests)}]}}")
    (folder / "models" / "tests.yml").write_text("\n".join(yaml) + "\n")
    with duckdb.connect(str(folder / "t.duckdb")) as connection:
        connection.execute("create schema raw")
        for number in range(SOURCES):
            connection.execute(
                f"create table raw.s{number} as select i as id, (i * 7) % {ROWS} as other_id, 'abc'[1 + i % 3] as kind, "
                f"i * {number + 2} as v from range({ROWS}) t(i)"
            )
    return folder


def _model(number: int) -> tuple[str, list[str]]:
    """Return the SQL of a model, and the tests on its columns."""
    key = "{name: id, data_tests: [unique, not_null]}"
    kind = "{name: kind, data_tests: [{accepted_values: {values: [a, b, c]}}]}"
    measure = "{name: v, data_tests: [not_null]}"
    if number < 50:
        sql = f"{{{{ config(materialized='view') }}}}\nselect id, other_id, kind, v from {{{{ source('raw', 's{number % SOURCES}') }}}}\n"
        return sql, [key, kind]
    one, other = f"{{{{ ref('m{number // 3}') }}}}", f"{{{{ ref('m{number // 2}') }}}}"
    foreign = f"{{name: other_id, data_tests: [{{relationships: {{to: ref('m{number // 2}'), field: id}}}}]}}"
    shapes = [
        (f"select a.id, a.other_id, a.kind, coalesce(b.v, 0) as v from {one} a left join {other} b on b.id = a.id", [key, kind, measure]),
        (f"select id, other_id, kind, v + {number} as v from {one} where kind in ('a', 'b')", [key, kind, foreign]),
        (f"select other_id as id, max(other_id) as other_id, max(kind) as kind, sum(v)::bigint as v from {one} group by other_id", [key, kind, measure]),
        (f"select id, other_id, kind, v from {one} union all select id + 1000000, other_id, kind, v from {other}", [key, kind]),
        (f"select id, other_id, kind, v from {one} qualify row_number() over (partition by id order by v) = 1", [key, measure]),
        (f"select a.id, b.other_id, b.kind, a.v from {one} a join {other} b on a.other_id = b.id", [key, kind, measure]),
        (f"{{{{ config(materialized='incremental', unique_key='id') }}}}\nselect id, other_id, kind, v from {one}", [key, measure]),
        (f"select distinct id, other_id, case when v > 10 then 'a' else 'b' end as kind, v from {one}", [key, kind]),
    ]  # fmt: skip
    return shapes[number % len(shapes)]


@dataclass
class Stopwatch:
    """Adds up the time that proofs take."""

    seconds: float = 0.0
    asked: int = 0
    own: Any = field(default=Prover.prove)

    def prove(self, prover: Prover, test: DataTest) -> Proof | None:
        started = time.perf_counter()
        try:
            found: Proof | None = self.own(prover, test)
            return found
        finally:
            self.seconds += time.perf_counter() - started
            self.asked += 1


def run(folder: Path, **settings: Any) -> tuple[dict[str, Any], Stopwatch, float]:
    """Run a project, and return the summary, what proofs took, and the seconds of the run."""
    watch = Stopwatch()

    def timed(prover: Prover, test: DataTest) -> Proof | None:
        return watch.prove(prover, test)

    Prover.prove = timed  # type: ignore[method-assign]
    try:
        opened = load_project(folder)
        settings["state_url"] = f"sqlite:///{folder / 'state.db'}"
        opened.settings = opened.settings.model_copy(update=settings)
        result = opened.runner().run(select(opened.project))
    finally:
        Prover.prove = watch.own  # type: ignore[method-assign]
    return result.summary(), watch, result.seconds


def shares(name: str, folder: Path, news: str, table: Shown) -> None:
    """Add the rows of one project to a table."""
    for step in ("first run", "nothing new", "news from one source"):
        if step.startswith("news"):
            with duckdb.connect(str(next(folder.glob("*.duckdb")))) as connection:
                connection.execute(news)
        _row(table, name, step, *run(folder))
    (folder / "state.db").unlink()
    _row(table, name, "first run, without proofs", *run(folder, prove_tests=False))


def _row(table: Shown, name: str, step: str, summary: dict[str, Any], watch: Stopwatch, seconds: float) -> None:
    ran, proven, reused = (int(summary[f"tests_{each}"]) for each in ("ran", "proven", "reused"))
    total = max(1, ran + proven + reused)
    table.add_row(
        name, step, str(total), f"{proven} ({proven / total:.0%})", f"{reused} ({reused / total:.0%})", f"{ran} ({ran / total:.0%})",
        str(summary["test_statements"]), f"{1000 * watch.seconds / max(1, watch.asked):.2f}", f"{watch.seconds / seconds:.0%}",
    )  # fmt: skip


def long_query(lines: int) -> str:
    """Return a query of about that many lines, of the kind that people write: common table expressions, joins, cases."""
    parts = ["with base as (", "    select", "        id,", "        kind,", "        v", "    from main.t", "),"]
    previous = "base"
    number = 0
    while len(parts) < lines - 12:
        name = f"step_{number}"
        parts += [
            f"{name} as (", "    select", f"        {previous}.id,", f"        {previous}.kind,",
            f"        case when {previous}.v > {number} then {previous}.v else 0 end as v,", f"        coalesce(u.v, 0) + {number} as w_{number}",
            f"    from {previous}", f"    left join main.u on u.id = {previous}.id", f"    where {previous}.v is not null", "),",
        ]  # fmt: skip
        previous, number = name, number + 1
    parts += ["final as (", "    select", "        id,", "        max(kind) as kind,", "        sum(v) as v", f"    from {previous}", "    group by id", ")", "select * from final"]  # fmt: skip
    return "\n".join(parts)


def inference(lines: int) -> tuple[float, float]:
    """Return milliseconds (of the processor) of inference for a long query: the first time (median of many), and again."""
    columns = (("id", "BIGINT"), ("kind", "VARCHAR"), ("v", "BIGINT"))
    facts = (Fact(FactKind.UNIQUE, "t", ("id",), "x"), Fact(FactKind.NOT_NULL, "t", ("id",), "x"))
    tables = {("", "main", name): TableFacts(columns, facts) for name in ("t", "u")}
    query = long_query(lines)
    first = []
    for number in range(15):
        started = time.process_time()
        found = infer(f"{query} -- {number}", "duckdb", tables)
        assert found is not None and found.unique([0]) is not None and found.not_null(0) is not None
        first.append(time.process_time() - started)
    kept = KeptProofs()
    kept.of("final", Question(query, "duckdb", tables))
    started = time.process_time()
    for _ in range(100):
        kept.of("final", Question(query, "duckdb", tables))
    return 1000 * statistics.median(first), 10 * (time.process_time() - started)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=500)
    options = parser.parse_args()
    table = Shown(
        "project",
        "run",
        "tests",
        "proven",
        "reused",
        "run for real",
        "statements",
        "ms for each proof asked",
        "proofs, of the run's time",
    )
    with tempfile.TemporaryDirectory() as place:
        example = Path(place) / "example"
        shutil.copytree(
            ROOT / "example_project",
            example,
            ignore=shutil.ignore_patterns("*.duckdb", ".sao", "state.db", "__pycache__"),
        )

        subprocess.run([sys.executable, "shop_data.py", "create"], cwd=example, check=True, stdout=subprocess.DEVNULL)
        shares(
            "example",
            example,
            "insert into raw.orders select max(order_id) + 1, 1, 'placed', max(ordered_at) + interval 1 hour, max(loaded_at) + interval 1 hour from raw.orders",
            table,
        )
        generated = tested_project(Path(place) / "generated", options.models)
        shares(f"{options.models} models", generated, f"insert into raw.s3 values ({ROWS}, 0, 'a', 1)", table)
    console = Console()
    console.print(table)
    lines = Shown("lines of a query", "ms, first time", "ms, known")
    for count in (20, 100, 300):
        lines.add_row(str(count), *(f"{each:.2f}" for each in inference(count)))
    console.print(lines)


if __name__ == "__main__":
    main()
