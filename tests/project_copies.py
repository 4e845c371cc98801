"""Copies of a real dbt project, built by dbt and by `sao`, and what is changed in all of them alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import yaml

from tests.compare_with_dbt import InFile, prepare

HOLDS_DATA = ("table", "incremental", "seed", "snapshot")
"""Materializations that hold data; what reads one of others reads what these do."""

MACRO_EDITS = {
    "jaffle_shop": ("macros/cents_to_dollars.sql", "/ 100)::numeric(16, 2)", "/ 50)::numeric(16, 2)"),
    "dbt_date_integration_tests": (
        "dbt_packages/dbt_date/macros/calendar_date/day_name.sql",
        "substr(dayname({{ date }}), 1, 3)",
        "substr(dayname({{ date }}), 1, 2)",
    ),
    "dbt_expectations_integration_tests": (
        "dbt_packages/dbt_date/macros/get_base_dates.sql",
        "-1 * n_dateparts",
        "-2 * n_dateparts",
    ),
    "dbt_utils_integration_tests": (
        "dbt_packages/dbt_utils/macros/sql/haversine_distance.sql",
        "2 * 3961 * asin",
        "2 * 3962 * asin",
    ),
    "dbt_project_evaluator_integration_tests": (
        "dbt_packages/dbt_project_evaluator/macros/recursive_dag.sql",
        "0 as distance",
        "1 as distance",
    ),
    "synthea_omop_etl": ("macros/safe_hash.sql", ", '')", ", '-')"),
    "stripe_integration_tests": (
        "dbt_packages/stripe/macros/date_timezone.sql",
        "date_trunc('day'",
        "date_trunc('month'",
    ),
    "integration_tests": (
        "dbt_packages/the_tuva_project/macros/cross_database_utils/substring.sql",
        "substring({{ string }}, {{ start }}, {{ length }})",
        "lower(substring({{ string }}, {{ start }}, {{ length }}))",
    ),
}
"""By name of the project: a file, an expression of one of its macros, and another one."""

Contents = Mapping[str, tuple[tuple[str, ...], int, str]]
"""By relation: the names of the columns, how many rows it has, and a hash of all of them in whatever order."""

Verdict = tuple[str, str, int | None]
"""The name of a data test, its status in dbt's words, and its failures where it failed."""


@dataclass(frozen=True)
class Outcome:
    """What a build came to.

    Attributes:
        seconds: How long it took.
        verdicts: Of all data tests, without those of units.
        nodes: What became of all models, seeds and snapshots, by name: `success`, `failed` or `skipped`.
        built: Why what was built was built, by name; nothing for dbt, which builds all.
        contents: Columns and rows of all relations.
        executor: Who built it, and why, in the words of `sao`.
    """

    seconds: float
    verdicts: Counter[Verdict]
    nodes: Mapping[str, str]
    built: Mapping[str, str]
    contents: Contents
    executor: str = ""


@dataclass
class Copy:
    """A copy of a project, with a DuckDB file of its own.

    Attributes:
        given: The folder that is copied.
        place: Where the copy is to be.
        dbt: The program.
        exclude: What neither of both builds, in dbt's selection syntax.
        without: Columns that are not compared, by name, such as one that has the time of the run in all tables.
    """

    given: Path
    place: Path
    dbt: str
    exclude: Sequence[str] = ()
    without: Sequence[str] = ()

    @cached_property
    def file(self) -> InFile:
        self.place.mkdir()
        return InFile(self.place)

    @cached_property
    def folder(self) -> Path:
        return prepare(self.given, self.place, self.file)

    def contents(self) -> Contents:
        """Return what is in all tables and views; 1, 1.0 and '1' are the same, since they are in files of seeds."""
        found: dict[str, tuple[tuple[str, ...], int, str]] = {}
        if not self.file.file.exists():
            return found
        with duckdb.connect(str(self.file.file), read_only=True) as connection:
            for schema, table, columns in connection.execute(
                "select table_schema, table_name, list(column_name order by ordinal_position) "
                "from information_schema.columns where table_catalog = current_database() group by all"
            ).fetchall():
                values = (
                    f"coalesce(round(try_cast({name}::varchar as double), 6)::varchar, {name}::varchar)"
                    for name in ('"' + each.replace('"', '""') + '"' for each in columns if each not in self.without)
                )
                rows = connection.execute(
                    "select count(*), sum(row_hash)::varchar || ' ' || bit_xor(row_hash) "
                    f'from (select hash([{", ".join(values)}]) as row_hash from "{schema}"."{table}")'
                ).fetchone()
                assert rows is not None
                found[f"{schema}.{table}"] = tuple(columns), rows[0], str(rows[1])
        return found

    def run(self, *command: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        """Run a command in the folder; return seconds, and what it came to."""
        began = time.monotonic()
        steady = {"PYTHONHASHSEED": "0"}  # so that dbt, too, goes over a set in one order each time
        environment = {**os.environ, **steady, "SAO_DBT": self.dbt, "DBT_PROFILES_DIR": str(self.folder)}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return time.monotonic() - began, done

    @property
    def _excluding(self) -> list[str]:
        return [word for each in self.exclude for word in ("--exclude", each)]

    def artifact(self, name: str) -> dict[str, Any]:
        """Return an artifact of dbt."""
        found: dict[str, Any] = json.loads((self.folder / "target" / name).read_text())
        return found

    def by_dbt(self) -> Outcome:
        """Build with dbt."""
        results = self.folder / "target/run_results.json"
        results.unlink(missing_ok=True)
        seconds, done = self.run(self.dbt, "build", "--quiet", "--no-send-anonymous-usage-stats", *self._excluding)
        if not results.exists():
            raise SystemExit(f"dbt build fails in {self.folder}: {(done.stdout + done.stderr)[-3000:]}")
        nodes = self.artifact("manifest.json")["nodes"]
        named = [
            (each, nodes[each["unique_id"]])
            for each in self.artifact("run_results.json")["results"]
            if each["unique_id"] in nodes
        ]
        return Outcome(
            seconds,
            Counter(
                _verdict(node["name"], each["status"], each["failures"])
                for each, node in named
                if node["resource_type"] == "test"
            ),
            {
                node["name"]: {"error": "failed"}.get(each["status"], each["status"])
                for each, node in named
                if node["resource_type"] in ("model", "seed", "snapshot")
            },
            {},
            self.contents(),
        )

    def seed(self) -> None:
        """Load all seeds with dbt."""
        self.run(self.dbt, "seed", "--quiet", "--no-send-anonymous-usage-stats", *self._excluding)

    def by_sao(self, command: str = "build") -> Outcome:
        """Plan or build with `sao`."""
        seconds, done = self.run(sys.executable, "-m", "sao_dagster.cli", command, "--json", *self._excluding)
        if not done.stdout.startswith("{") or "models" not in (report := json.loads(done.stdout)):
            raise SystemExit(f"sao {command} fails in {self.folder}: {(done.stdout + done.stderr)[-3000:]}")
        return Outcome(
            seconds,
            Counter(
                _verdict(each["name"], each["verdict"] or "skipped", each["failures"])
                for each in report["tests"]
                if each["kind"] != "source_freshness"  # which `dbt build` does not look at
            ),
            {
                each["name"]: "success" if each["outcome"] in ("built", "reused") else each["outcome"]
                for each in report["models"]
            },
            {each["name"]: each["reason"] for each in report["models"] if each["outcome"] == "built"},
            self.contents() if command == "build" else {},
            next((line for line in done.stderr.splitlines() if " by dbt: " in line), "native"),
        )


def _verdict(name: str, status: str, failures: int | None) -> Verdict:
    return name, status, failures if status in ("fail", "warn") else None


@dataclass
class Edits:
    """What is done to copies of one project, to all in the same way.

    Attributes:
        copies: The copies; dbt has built the first one before anything is done.
    """

    copies: Sequence[Copy]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What dbt knows of the project after its first build."""
        return self.copies[0].artifact("manifest.json")

    @property
    def name(self) -> str:
        name: str = yaml.safe_load((self.copies[0].folder / "dbt_project.yml").read_text())["name"]
        return name

    def write_comments(self) -> None:
        """Write a comment into a model and a macro of the project itself."""
        for copy in self.copies:
            for kind, words in (("models", "\n-- a comment\n"), ("macros", "\n{# a comment #}\n")):
                own = (
                    copy.folder / each["original_file_path"]
                    for each in self.of(kind)
                    if each["package_name"] == self.name and each["original_file_path"].endswith(".sql")
                )
                for file in sorted(own)[:1]:
                    file.write_text(file.read_text() + words)

    def take_rows(self) -> list[str]:
        """Take one row from the seed and from the raw table with most below them; return their names."""
        taken = []
        for kind in ("sources", "nodes"):
            found = sorted(self.manifest[kind].items(), key=lambda each: (-len(self.below(each[0])), each[0]))
            for _, node in found:
                take = {"source": self._take_from_table, "seed": self._take_from_seed}.get(node["resource_type"])
                if take is not None and take(node):
                    taken.append(node["name"])
                    break
        return taken

    def edit_macro(self) -> set[str] | None:
        """Edit an expression in a macro; return the nodes that call it, or None where there is none to edit."""
        name, old, new = MACRO_EDITS.get(self.name, ("", "", ""))
        if not (self.copies[0].folder / name).is_file():
            return None
        for copy in self.copies:
            text = (copy.folder / name).read_text()
            assert old in text, f"{name} has no {old}"
            (copy.folder / name).write_text(text.replace(old, new))
        return self._callers(name)

    def of(self, kind: str) -> Iterable[Mapping[str, Any]]:
        if kind == "macros":
            return list(self.manifest["macros"].values())
        return [each for each in self.manifest["nodes"].values() if each["resource_type"] == "model"]

    def below(self, unique_id: str) -> set[str]:
        """Return what is below a node, also where the relation that it makes is read as a source."""
        found: set[str] = set()
        waiting = [unique_id]
        while waiting:
            name = waiting.pop()
            children = set(self.manifest["child_map"].get(name, ())) | self._as_sources.get(name, set())
            waiting += children - found
            found |= children
        return found

    @cached_property
    def _as_sources(self) -> dict[str, set[str]]:
        """By node, the sources that are its relation."""
        named: dict[tuple[str, str], set[str]] = {}
        for name, source in self.manifest["sources"].items():
            named.setdefault((source["schema"], source["identifier"]), set()).add(name)
        return {
            name: named.get((node["schema"], node.get("alias") or ""), set())
            for name, node in self.manifest["nodes"].items()
            if node["resource_type"] in ("model", "seed", "snapshot")
        }

    def _take_from_table(self, source: Mapping[str, Any]) -> bool:
        """Delete a row of a raw table, the latest where it has `loaded_at_field`; return whether there was one."""
        if not self.below(source["unique_id"]) or any(
            source["unique_id"] in each for each in self._as_sources.values()
        ):
            return False
        latest = source["loaded_at_field"] or "rowid"
        for copy in self.copies:
            with duckdb.connect(str(copy.file.file)) as connection:
                table = f'"{source["schema"]}"."{source["identifier"]}"'
                try:
                    row = connection.execute(
                        f"delete from {table} where {latest} = (select max({latest}) from {table}) returning 1"
                    ).fetchone()
                except duckdb.Error:
                    return False
                if row is None:
                    return False
        return True

    def _take_from_seed(self, seed: Mapping[str, Any]) -> bool:
        """Remove the last row of a seed; return whether there was one."""
        if not self.below(seed["unique_id"]):
            return False
        for copy in self.copies:
            packages = copy.folder / "dbt_packages" / seed["package_name"]
            file = (copy.folder if seed["package_name"] == self.name else packages) / seed["original_file_path"]
            lines = file.read_text().rstrip("\n").split("\n")
            if len(lines) < 3:
                return False
            file.write_text("\n".join(lines[:-1]) + "\n")
        return True

    def _callers(self, file: str) -> set[str]:
        """Return the nodes that call a macro of a file, through others and through views and ephemeral models."""
        macros = {
            name
            for name, each in self.manifest["macros"].items()
            if file in (each["original_file_path"], f"dbt_packages/{each['package_name']}/{each['original_file_path']}")
        }
        count = 0
        while count != len(macros):
            count = len(macros)
            macros |= {
                name for name, each in self.manifest["macros"].items() if macros & set(each["depends_on"]["macros"])
            }
        nodes = self.manifest["nodes"]
        found = {name for name, each in nodes.items() if macros & set(each["depends_on"].get("macros", ()))}
        through = [name for name in found if nodes[name]["config"]["materialized"] not in HOLDS_DATA]
        while through:
            children = set(self.manifest["child_map"].get(through.pop(), ())) - found
            found |= children
            through += [
                each for each in children if each in nodes and nodes[each]["config"]["materialized"] not in HOLDS_DATA
            ]
        return found
