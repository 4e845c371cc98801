"""What a build costs over its bare SQL, and what a run with nothing to do costs.

    python -m tests.benchmarks.build_overhead [--models 300] [--dbt PATH_TO_DBT]

Three tables, each measured in one run of this script: (1) milliseconds per built model over the same statements sent
to DuckDB directly, with one thread, and the part of them that is the content scan; (2) `sao build` of the example in
full and again with nothing changed, as whole processes; (3) the same for `dbt build` on the same models, where a dbt
is named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import duckdb
from rich.console import Console
from rich.table import Table

import sao_dagster
from sao_dagster.core.nodes import Model
from sao_dagster.core.reasons import Mode
from tests.benchmarks.generate import generate

ROOT = Path(__file__).parents[2]


def per_model(models: int) -> Table:
    """Measure the cost of a built model over its bare SQL, in turns, and take the medians."""
    bare, ours, scans = [], [], []
    with tempfile.TemporaryDirectory() as place:
        opened = sao_dagster.load_project(generate(Path(place), models))
        project = opened.project
        runner = replace(opened.runner(), threads=1, verify=False)
        nodes = [node for name in project.graph.order if isinstance(node := project.nodes[name], Model)]
        for _ in range(3):
            started = time.perf_counter()
            runner.run(sao_dagster.select(project), Mode.FORCE)
            ours.append(time.perf_counter() - started)
            with duckdb.connect(str(Path(place) / "big.duckdb")) as connection:
                started = time.perf_counter()
                for node in nodes:
                    connection.execute(f"create or replace table {node.relation} as {node.compiled.sql}")
                bare.append(time.perf_counter() - started)
                started = time.perf_counter()
                for node in nodes:
                    connection.execute(
                        f"select count(*), bit_xor(hash(id, v)), sum(hash(id, v)) from {node.relation}"
                    ).fetchall()
                scans.append(time.perf_counter() - started)
    each = {
        name: 1000 * statistics.median(times) / models
        for name, times in (("bare", bare), ("sao", ours), ("scan", scans))
    }
    table = Table("per model, one thread", "ms", "ratio to bare SQL")
    table.add_row("bare SQL", f"{each['bare']:.1f}", "1.0")
    table.add_row("sao build", f"{each['sao']:.1f}", f"{each['sao'] / each['bare']:.1f}")
    table.add_row("over bare SQL, besides one content scan", f"{each['sao'] - each['bare'] - each['scan']:.1f}", "")
    return table


def whole_processes(dbt: str | None) -> Table:
    """Measure whole processes on the example: a full build, and one with nothing to do."""
    table = Table("the example, whole processes", "full build", "nothing changed", "ratio")
    times: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "example_project"
        ignored = shutil.ignore_patterns("*.duckdb*", ".sao", "target", "__pycache__", "sao_project.py")
        shutil.copytree(ROOT / "example_project", folder, ignore=ignored)
        environment = {**os.environ, "DBT_PROFILES_DIR": str(folder)}
        programs = {"sao build": [sys.executable, "-m", "sao_dagster.cli", "build", "--project-dir", str(folder)]}
        if dbt:
            programs["dbt build"] = [dbt, "build", "--project-dir", str(folder), "--profiles-dir", str(folder)]
        for name, command in programs.items():
            (folder / "shop.duckdb").unlink(missing_ok=True)
            create = [sys.executable, str(folder / "shop_data.py"), "create", "--file", str(folder / "shop.duckdb")]
            subprocess.run(create, check=True, capture_output=True)
            seconds = []
            for _ in range(4):
                started = time.perf_counter()
                subprocess.run(command, check=False, capture_output=True, env=environment, cwd=folder)
                seconds.append(time.perf_counter() - started)
            times[name] = (seconds[0], statistics.median(seconds[1:]))
    for name, (full, nothing) in times.items():
        table.add_row(name, f"{full:.2f} s", f"{nothing:.2f} s", f"{full / nothing:.1f}")
    if "dbt build" in times:
        ratios = [theirs / ours for ours, theirs in zip(times["sao build"], times["dbt build"], strict=True)]
        table.add_row("dbt / sao", *(f"x{ratio:.1f}" for ratio in ratios), "")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--dbt", help="the dbt of an environment with dbt-duckdb")
    given = parser.parse_args()
    console = Console()
    console.print(per_model(given.models))
    console.print(whole_processes(given.dbt))


if __name__ == "__main__":
    main()
