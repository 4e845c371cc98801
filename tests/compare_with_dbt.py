"""Build a project with dbt and with `sao`, and compare every table and view.

    python -m tests.compare_with_dbt --dbt PATH_TO_DBT PROJECT [PROJECT ...]

PROJECT is a folder in dbt's layout with a DuckDB profile. It is copied, so nothing in it changes. Names, columns and
rows (in any order) must be the same; column types are compared by what values they hold, since dbt and DuckDB guess
the types of seeds differently. Exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import yaml

Contents = dict[str, tuple[list[str], Counter[tuple[Any, ...]]]]


def prepare(project: Path, place: Path) -> tuple[Path, Path]:
    """Copy a project and give it a profile that builds into a file of the copy."""
    folder = place / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("target", ".sao", "*.duckdb*", "dbt_packages"))
    name = yaml.safe_load((folder / "dbt_project.yml").read_text())["profile"]
    file = place / "compared.duckdb"
    output = {"type": "duckdb", "path": str(file), "schema": "main", "threads": 2}
    (folder / "profiles.yml").write_text(yaml.safe_dump({name: {"target": "dev", "outputs": {"dev": output}}}))
    for raw in project.glob("*.duckdb"):  # raw data that the project brings along
        shutil.copy(raw, file)
    return folder, file


def contents(file: Path) -> Contents:
    """Return column names and rows of all tables and views, as text; nothing where there is no file."""
    if not file.exists():
        return {}
    with duckdb.connect(str(file), read_only=True) as connection:
        names = connection.execute(
            "select table_schema, table_name from information_schema.tables order by 1, 2"
        ).fetchall()
        found: Contents = {}
        for schema, table in names:
            rows = connection.execute(f'select * from "{file.stem}"."{schema}"."{table}"')
            columns = [column[0] for column in rows.description or ()]
            found[f"{schema}.{table}"] = (columns, Counter(tuple(map(plain, row)) for row in rows.fetchall()))
        return found


def plain(value: Any) -> Any:
    """Return a value so that 1, 1.0 and Decimal('1.00') are the same."""
    try:
        return round(float(value), 6)
    except (TypeError, ValueError):
        return str(value)


def compare(project: Path, dbt: str) -> list[str]:
    """Return the differences."""
    found: dict[str, Contents] = {}
    problems: list[str] = []
    for tool in ("dbt", "sao"):
        with tempfile.TemporaryDirectory() as place:
            folder, file = prepare(project, Path(place))
            program = (
                [dbt, "build", "--profiles-dir", str(folder)]
                if tool == "dbt"
                else [sys.executable, "-m", "sao_dagster.cli", "build"]
            )
            done = subprocess.run([*program, "--project-dir", str(folder)], capture_output=True, text=True, cwd=folder)
            if done.returncode:
                problems.append(f"{tool} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
            found[tool] = contents(file)
    theirs, ours = found["dbt"], found["sao"]
    problems += [f"{name} is there with dbt alone" for name in theirs.keys() - ours.keys()]
    problems += [f"{name} is there with sao alone" for name in ours.keys() - theirs.keys()]
    for name in sorted(theirs.keys() & ours.keys()):
        if theirs[name][0] != ours[name][0]:
            problems.append(f"{name} has other columns: {theirs[name][0]} with dbt, {ours[name][0]} with sao")
        elif theirs[name][1] != ours[name][1]:
            differing = (theirs[name][1] - ours[name][1]) + (ours[name][1] - theirs[name][1])
            problems.append(f"{name} differs in {differing.total()} rows, for example {next(iter(differing))}")
    print(f"{project.name}: {len(theirs)} relations with dbt, {len(ours)} with sao, {len(problems)} differences")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True)
    parser.add_argument("projects", nargs="+", type=Path)
    given = parser.parse_args()
    problems = [problem for project in given.projects for problem in compare(project.resolve(), given.dbt)]
    for problem in problems:
        print(" ", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
