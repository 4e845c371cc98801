"""A branch that edits one model of many: `sao ci` beside what dbt does for it.

    python -m tests.benchmarks.pull_request --dbt PATH_TO_DBT [--models 200] [--rounds 3] [--before FOLDER]
    python -m tests.benchmarks.pull_request --dbt PATH_TO_DBT [--rounds 3] PROJECT --edit models/orders.sql

Production is built once, by each tool into a DuckDB file of its own. In each round the same model is edited (of a project that is given, it gets another
column), and built with what is below it into an empty schema: by `sao ci --against prod`, with its comparison of rows; by `dbt build --select state:modified+
--defer --state DIR`; by `sao ci` where dbt builds; by `dbt clone --state DIR` with `dbt build --select state:modified+` after it; and, so that the schema has all as after that, by `sao build`
of everything with `reuse_from: [prod]`. Shown are medians of seconds of wall and of CPU, what of them those of `dbt build --defer` are, how many nodes were built
or cloned (views are made by `sao build` as ever), how many data tests ran, and what is carried from production to the branch. It is done as in CI, where nothing is
kept beside the project but the state or the manifest; and where what each tool keeps of a parsed project is still there. With `--before`, `sao ci` of another
working copy of this package is measured beside this one's. All modules have byte code, as they are installed.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import duckdb
import yaml
from rich.console import Console
from rich.table import Table

from tests.benchmarks.generate import generate, model_sql

PROFILES = """
{profile}:
  target: ci
  outputs:
    prod: {{type: duckdb, path: big.duckdb, schema: prod, threads: 2}}
    ci: {{type: duckdb, path: big.duckdb, schema: ci_branch, threads: 2}}
"""


@dataclass(frozen=True)
class Measured:
    """One way to build a branch: seconds of wall and CPU, how many nodes were built or cloned, and how many data tests ran."""

    wall: float
    cpu: float
    nodes: int
    tests: int


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
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "DBT_PROFILES_DIR": str(folder), "SAO_STATE_URL": state, "PYTHONPATH": str(Path.cwd())}


class Sao:
    """`sao ci`."""

    def __init__(self, folder: Path, _: str, package: Path | None = None) -> None:
        other = [] if package is None else ["env", f"PYTHONPATH={package}"]
        self.folder, self.command = folder, [*other, sys.executable, "-m", "sao_dagster.cli"]
        timed(folder, [*self.command, "build", "--target", "prod", "--quiet"])

    def build(self) -> Measured:
        """Build the branch."""
        report = self.folder.parent / "sao_ci.json"
        wall, cpu = timed(
            self.folder,
            [*self.command, "ci", "--against", "prod", "--schema", "ci_branch", "--quiet", "--report", str(report)],
        )
        return self._measured(wall, cpu, report.read_text())

    @staticmethod
    def _measured(wall: float, cpu: float, result: str) -> Measured:
        found = json.loads(result)["summary"]
        return Measured(wall, cpu, found["built"], found["tests_ran"])

    @property
    def carried(self) -> str:
        """What is carried from production to the branch."""
        return "nothing: one state"

    def drop(self) -> None:
        """Drop what was built."""
        timed(self.folder, [*self.command, "ci", "drop", "--schema", "ci_branch", "--yes"])


class ByDbt(Sao):
    """`sao ci` where dbt builds."""

    def __init__(self, folder: Path, dbt: str) -> None:
        (folder / "sao.yml").write_text(f"executor: dbt\ndbt: {Path(shutil.which(dbt) or dbt).absolute()}\n")
        super().__init__(folder, dbt)


class Reuse(Sao):
    """`sao build` of everything, with what production has."""

    def __init__(self, folder: Path, _: str) -> None:
        (folder / "sao.yml").write_text("reuse_from: [prod]\n")
        super().__init__(folder, _)

    def build(self) -> Measured:
        """Build the branch."""
        result = self.folder.parent / "result.json"
        build = " ".join([*self.command, "build", "--target", "ci", "--json"])
        wall, cpu = timed(self.folder, ["sh", "-c", f"{build} > {result}"])
        return self._measured(wall, cpu, result.read_text())

    def drop(self) -> None:
        """Drop what was built."""
        drop_schema(self.folder)
        timed(self.folder, [*self.command, "state", "clear", "--target", "ci"])


def drop_schema(folder: Path) -> None:
    """Drop the schema of the branch, as somebody else would."""
    with duckdb.connect(str(folder / "big.duckdb")) as connection:
        connection.execute("drop schema if exists ci_branch cascade")


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
        nodes = tests = 0
        wall = cpu = 0.0
        for command in commands:
            took = timed(self.folder, command)
            wall, cpu = wall + took[0], cpu + took[1]
            results = json.loads((self.folder / "target/run_results.json").read_text())["results"]
            tested = sum(each["unique_id"].startswith("test.") for each in results)
            nodes, tests = nodes + len(results) - tested, tests + tested
        return Measured(wall, cpu, nodes, tests)

    @property
    def carried(self) -> str:
        """What is carried from production to the branch."""
        return f"manifest.json, {(self.state / 'manifest.json').stat().st_size / 1e6:.1f} MB"

    def drop(self) -> None:
        """Drop what was built."""
        drop_schema(self.folder)


class Clone(Defer):
    """`dbt clone`, and `dbt build` of what was edited."""

    def build(self) -> Measured:
        """Build the branch."""
        return self._counted([self.dbt, "clone", "--state", str(self.state)], self._build())


WAYS: dict[str, Callable[[Path, str], Sao | Defer]] = {
    "dbt build --select state:modified+ --defer": Defer,
    "dbt clone; dbt build --select state:modified+": Clone,
    "sao ci": Sao,
    "sao ci, where dbt builds": ByDbt,
    "sao build, with reuse_from": Reuse,
}


def main() -> None:
    """Measure, and print a table for a project as it is checked out, and one for what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True, help="the dbt of an environment with dbt-duckdb")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "project", type=Path, nargs="?", help="a folder with a dbt project in place of one that is made"
    )
    parser.add_argument("--edit", help="the file of a model in it, in which is nothing but a query, that is edited")
    parser.add_argument(
        "--before", type=Path, help="another working copy of this package, whose sao ci is measured, too"
    )
    given = parser.parse_args()
    if (given.project is None) != (given.edit is None):
        parser.error("a project and --edit go together")
    edited = 3 * given.models // 4
    file = given.edit or f"models/group_{edited // 100}/m{edited}.sql"
    before = model_sql(edited, given.models) if given.project is None else (given.project / file).read_text()

    def edit(turn: int) -> str:
        if given.project is None:
            return before.replace(" as v\n", f" + {turn} as v\n")
        return f"select *, {turn} as turn from (\n{before}\n) as edited\n"

    with tempfile.TemporaryDirectory() as place:
        ways = {}
        older = {} if given.before is None else {"sao ci, before": partial(Sao, package=given.before.resolve())}
        for number, (name, way) in enumerate({**WAYS, **older}.items()):
            folder = Path(place) / str(number) / "big"
            if given.project is None:
                generate(folder, given.models)
            else:
                shutil.copytree(given.project, folder, ignore=shutil.ignore_patterns("target", ".sao", "logs", ".git"))
            profile = yaml.safe_load((folder / "dbt_project.yml").read_text())["profile"]
            (folder / "profiles.yml").write_text(PROFILES.format(profile=profile))
            ways[name] = way(folder, given.dbt)
        for title, is_kept in (("as checked out", False), ("with what was kept", True)):
            found: dict[str, list[Measured]] = {name: [] for name in ways}
            for turn in range(given.rounds):
                for name, way in ways.items():
                    (way.folder / file).write_text(edit(turn + 1))
                    for kept in () if is_kept else (".sao", "target"):
                        shutil.rmtree(way.folder / kept, ignore_errors=True)
                    found[name].append(way.build())
                    way.drop()
            of = f"{given.models} models" if given.project is None else f"{given.project.name}, {file},"
            Console(width=160).print(table(f"one of {of} edited, {title}", found, ways))


def table(title: str, found: dict[str, list[Measured]], ways: Mapping[str, Sao | Defer]) -> Table:
    """Return the medians."""
    shown = Table(title, "wall", "", "CPU", "", "nodes", "tests", "carried")
    first = next(iter(found.values()))
    for name, measured in found.items():
        wall, cpu = median(each.wall for each in measured), median(each.cpu for each in measured)
        of_wall, of_cpu = wall / median(each.wall for each in first), cpu / median(each.cpu for each in first)
        last = measured[-1]
        counts = (str(last.nodes), str(last.tests), ways[name].carried)
        shown.add_row(name, f"{wall:.1f} s", f"{of_wall:.2f}", f"{cpu:.1f} s", f"{of_cpu:.2f}", *counts)
    return shown


if __name__ == "__main__":
    main()
