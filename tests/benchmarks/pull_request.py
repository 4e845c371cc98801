"""A branch that edits one model of many: `sao ci` beside what dbt does for it.

    python -m tests.benchmarks.pull_request --dbt PATH_TO_DBT [--models 200] [--rounds 3]

Production is built once, by each tool into a DuckDB file of its own. In each round the same model is edited, and built with what is below it into an empty
schema: by `sao ci --against prod`, with its comparison of rows; by `dbt build --select state:modified+ --defer --state DIR`; and by `dbt clone --state DIR`
with `dbt build --select state:modified+` after it. Shown are medians of seconds of wall and of CPU, what of them those of `dbt build --defer` are, and how many
nodes were built or cloned. It is done as in CI, where nothing is kept beside the project but the state or the manifest; and where what each tool keeps of
a parsed project is still there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
from rich.console import Console
from rich.table import Table

from tests.benchmarks.generate import generate, model_sql

PROFILES = """
big:
  target: ci
  outputs:
    prod: {type: duckdb, path: big.duckdb, schema: prod, threads: 2}
    ci: {type: duckdb, path: big.duckdb, schema: ci_branch, threads: 2}
"""


@dataclass(frozen=True)
class Measured:
    """One way to build a branch: seconds of wall and CPU, and how many nodes were built or cloned."""

    wall: float
    cpu: float
    nodes: int


def timed(folder: Path, *commands: list[str]) -> tuple[float, float]:
    """Run commands in a folder, one after the other, and return their seconds of wall and of CPU."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command, whose state is beside the folder."""
    state = f"sqlite:///{folder.parent / 'state.db'}"
    return {**os.environ, "DBT_PROFILES_DIR": str(folder), "SAO_STATE_URL": state, "PYTHONPATH": str(Path.cwd())}


class Sao:
    """`sao ci`."""

    def __init__(self, folder: Path, _: str) -> None:
        self.folder, self.command = folder, [sys.executable, "-m", "sao_dagster.cli"]
        timed(folder, [*self.command, "build", "--target", "prod", "--quiet"])

    def build(self) -> Measured:
        """Build the branch."""
        report = self.folder.parent / "sao_ci.json"
        wall, cpu = timed(
            self.folder,
            [*self.command, "ci", "--against", "prod", "--schema", "ci_branch", "--quiet", "--report", str(report)],
        )
        return Measured(wall, cpu, json.loads(report.read_text())["summary"]["built"])

    def drop(self) -> None:
        """Drop what was built."""
        timed(self.folder, [*self.command, "ci", "drop", "--schema", "ci_branch", "--yes"])


class Defer:
    """`dbt build --defer`."""

    def __init__(self, folder: Path, dbt: str) -> None:
        self.folder, self.dbt, self.state = folder, dbt, folder.parent / "manifest"
        timed(folder, [dbt, "build", "--target", "prod"])
        self.state.mkdir()
        shutil.copy(folder / "target/manifest.json", self.state)

    def build(self) -> Measured:
        """Build the branch."""
        return self._counted([*self._build(), "--defer", "--state", str(self.state)])

    def _build(self) -> list[str]:
        return [self.dbt, "build", "--select", "state:modified+", "--state", str(self.state)]

    def _counted(self, *commands: list[str]) -> Measured:
        nodes = 0
        wall = cpu = 0.0
        for command in commands:
            took = timed(self.folder, command)
            wall, cpu = wall + took[0], cpu + took[1]
            nodes += len(json.loads((self.folder / "target/run_results.json").read_text())["results"])
        return Measured(wall, cpu, nodes)

    def drop(self) -> None:
        """Drop what was built."""
        with duckdb.connect(str(self.folder / "big.duckdb")) as connection:
            connection.execute("drop schema if exists ci_branch cascade")


class Clone(Defer):
    """`dbt clone`, and `dbt build` of what was edited."""

    def build(self) -> Measured:
        """Build the branch."""
        return self._counted([self.dbt, "clone", "--state", str(self.state)], self._build())


WAYS: dict[str, Callable[[Path, str], Sao | Defer]] = {
    "dbt build --select state:modified+ --defer": Defer,
    "dbt clone; dbt build --select state:modified+": Clone,
    "sao ci": Sao,
}


def main() -> None:
    """Measure, and print a table for a project as it is checked out, and one for what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True, help="the dbt of an environment with dbt-duckdb")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    edited = 3 * given.models // 4
    file = f"models/group_{edited // 100}/m{edited}.sql"
    with tempfile.TemporaryDirectory() as place:
        ways = {}
        for number, (name, way) in enumerate(WAYS.items()):
            folder = generate(Path(place) / str(number) / "big", given.models)
            (folder / "profiles.yml").write_text(PROFILES)
            ways[name] = way(folder, given.dbt)
        for title, is_kept in (("as checked out", False), ("with what was kept", True)):
            found: dict[str, list[Measured]] = {name: [] for name in ways}
            for turn in range(given.rounds):
                sql = model_sql(edited, given.models).replace(" as v\n", f" + {turn + 1} as v\n")
                for name, way in ways.items():
                    (way.folder / file).write_text(sql)
                    for kept in () if is_kept else (".sao", "target"):
                        shutil.rmtree(way.folder / kept, ignore_errors=True)
                    found[name].append(way.build())
                    way.drop()
            Console().print(table(f"one of {given.models} models edited, {title}", found))


def table(title: str, found: dict[str, list[Measured]]) -> Table:
    """Return the medians."""
    shown = Table(title, "wall", "", "CPU", "", "nodes")
    first = next(iter(found.values()))
    for name, measured in found.items():
        wall, cpu = median(each.wall for each in measured), median(each.cpu for each in measured)
        of_wall, of_cpu = wall / median(each.wall for each in first), cpu / median(each.cpu for each in first)
        shown.add_row(name, f"{wall:.1f} s", f"{of_wall:.2f}", f"{cpu:.1f} s", f"{of_cpu:.2f}", str(measured[-1].nodes))
    return shown


if __name__ == "__main__":
    main()
