"""Build a project with dbt and with `sao`, and compare every table and view.

    python -m tests.compare_with_dbt --dbt PATH_TO_DBT [--postgres] PROJECT [PROJECT ...]

Verdicts and failure counts of data tests are compared, too, whether they were run, proven or reused.

PROJECT is a folder in dbt's layout. It is copied, so nothing in it changes. Names, columns with their types, and rows (in any order)
must be the same. Exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.postgres import Postgres

Verdicts = dict[str, tuple[str, int | None]]
Contents = dict[str, tuple[list[str], Counter[tuple[Any, ...]]]]


class InFile:
    """A DuckDB file for each build."""

    def __init__(self, place: Path) -> None:
        self.file = place / "compared.duckdb"

    def output(self, project: Path) -> dict[str, Any]:
        for raw in project.glob("*.duckdb"):  # raw data that the project brings along
            shutil.copy(raw, self.file)
        return {"type": "duckdb", "path": str(self.file), "schema": "main", "threads": 2}

    def contents(self) -> Contents:
        """Return columns with their types, and rows, of all tables and views; nothing where there is no file."""
        if not self.file.exists():
            return {}
        with duckdb.connect(str(self.file), read_only=True) as connection:
            names = connection.execute(
                "select table_schema, table_name from information_schema.tables order by 1, 2"
            ).fetchall()
            found: Contents = {}
            for schema, table in names:
                rows = connection.execute(f'select * from "{self.file.stem}"."{schema}"."{table}"')
                columns = [f"{column[0]} {column[1]}" for column in rows.description or ()]
                found[f"{schema}.{table}"] = (columns, Counter(tuple(map(plain, row)) for row in rows.fetchall()))
            return found


class InServer:
    """A database for each build, on a server that is started for the comparison."""

    def __init__(self, server: Postgres) -> None:
        self.url = server.database()

    def output(self, _: Path) -> dict[str, Any]:
        at = conninfo_to_dict(self.url)
        place = {"host": at["host"], "port": int(str(at["port"])), "user": at["user"], "dbname": at["dbname"]}
        return {"type": "postgres", **place, "password": "", "schema": "main", "threads": 2}

    def contents(self) -> Contents:
        """Return columns with their types, and rows, of all tables and views."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            names = connection.execute(
                "select table_schema, table_name from information_schema.tables "
                "where table_schema not in ('pg_catalog', 'information_schema') and table_name <> 'sao_build_ids' order by 1, 2"
            ).fetchall()
            found: Contents = {}
            for schema, table in names:
                columns = connection.execute(
                    "select column_name || ' ' || data_type from information_schema.columns "
                    "where table_schema = %s and table_name = %s order by ordinal_position",
                    [schema, table],
                ).fetchall()
                rows = connection.execute(f'select * from "{schema}"."{table}"'.encode()).fetchall()
                found[f"{schema}.{table}"] = (
                    [name for (name,) in columns],
                    Counter(tuple(map(plain, row)) for row in rows),
                )
            return found


def prepare(project: Path, place: Path, target: InFile | InServer) -> Path:
    """Copy a project and give it a profile that builds into a place of its own."""
    folder = place / "project"
    shutil.copytree(
        project, folder, symlinks=True, ignore=shutil.ignore_patterns("target", "logs", ".sao", "*.duckdb*")
    )
    name = yaml.safe_load((folder / "dbt_project.yml").read_text())["profile"]
    outputs = {"dev": target.output(project)}
    (folder / "profiles.yml").write_text(yaml.safe_dump({name: {"target": "dev", "outputs": outputs}}))
    return folder


def plain(value: Any) -> Any:
    """Return a value so that 1, 1.0 and Decimal('1.00') are the same."""
    try:
        return round(float(value), 6)
    except (TypeError, ValueError):
        return str(value)


def dbt_verdicts(folder: Path) -> Verdicts:
    """Return status and failures by data test, as dbt's artifacts have them."""
    file = folder / "target" / "run_results.json"
    results = json.loads(file.read_text())["results"] if file.exists() else []
    found = ((re.fullmatch(r"test\.\w+\.(.+?)(\.[0-9a-f]{10})?", each["unique_id"]), each) for each in results)
    return {name[1]: (each["status"], each["failures"]) for name, each in found if name}


def our_verdicts(output: str) -> Verdicts:
    """Return status and failures by data test in dbt's words, reused and proven ones as well."""
    tests = json.loads(output).get("tests", []) if output.strip().startswith("{") else []
    skipped: tuple[str, int | None] = ("skipped", None)
    return {
        each["name"]: (each["verdict"], None if each["error"] else each["failures"]) if each["verdict"] else skipped
        for each in tests
    }


def compare(project: Path, dbt: str, server: Postgres | None) -> list[str]:
    """Return the differences."""
    found: dict[str, Contents] = {}
    problems: list[str] = []
    verdicts: dict[str, Verdicts] = {}
    for tool in ("dbt", "sao"):
        with tempfile.TemporaryDirectory() as place:
            target = InServer(server) if server else InFile(Path(place))
            folder = prepare(project, Path(place), target)
            program = (
                [dbt, "build", "--profiles-dir", str(folder)]
                if tool == "dbt"
                else [sys.executable, "-m", "sao_dagster.cli", "build", "--json"]
            )
            done = subprocess.run([*program, "--project-dir", str(folder)], capture_output=True, text=True, cwd=folder)
            if done.returncode:
                problems.append(f"{tool} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
            found[tool] = target.contents()
            verdicts[tool] = dbt_verdicts(folder) if tool == "dbt" else our_verdicts(done.stdout)
    theirs, ours = found["dbt"], found["sao"]
    problems += [f"{name} is there with dbt alone" for name in theirs.keys() - ours.keys()]
    problems += [f"{name} is there with sao alone" for name in ours.keys() - theirs.keys()]
    for name in sorted(theirs.keys() & ours.keys()):
        if theirs[name][0] != ours[name][0]:
            problems.append(f"{name} has other columns: {theirs[name][0]} with dbt, {ours[name][0]} with sao")
        elif theirs[name][1] != ours[name][1]:
            differing = (theirs[name][1] - ours[name][1]) + (ours[name][1] - theirs[name][1])
            problems.append(f"{name} differs in {differing.total()} rows, for example {next(iter(differing))}")
    problems += [
        f"the data test {name} is there with dbt alone" for name in verdicts["dbt"].keys() - verdicts["sao"].keys()
    ]
    tests = verdicts["dbt"].keys() & verdicts["sao"].keys()
    problems += [
        f"the data test {name} says {verdicts['dbt'][name]} with dbt, {verdicts['sao'][name]} with sao"
        for name in sorted(tests)
        if verdicts["dbt"][name] != verdicts["sao"][name]
    ]
    print(f"{project.name}: {len(tests)} data tests in both, {len(verdicts['dbt'])} with dbt")
    print(f"{project.name}: {len(theirs)} relations with dbt, {len(ours)} with sao, {len(problems)} differences")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True)
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server that is started on loopback")
    given = parser.parse_args()
    with ExitStack() as stack:
        server = None
        if given.postgres:
            server = stack.enter_context(Postgres())
        problems = [each for project in given.projects for each in compare(project.resolve(), given.dbt, server)]
    for problem in problems:
        print(" ", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
