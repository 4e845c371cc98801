"""Take real dbt projects through what `sao` promises of them, and print a table.

    python -m tests.real_projects --dbt PATH_TO_DBT [--steps first,second,...] PROJECT [PROJECT ...]

PROJECT is a folder in dbt's layout with its packages in `dbt_packages`; a `*.duckdb` beside `dbt_project.yml` is its raw data.
It is copied twice, and each copy is given a profile and nothing else. Each step does the same to both, runs `dbt build` in one
and `sao build` in the other, and compares all relations and verdicts, and what was held back.

| step | what is done | what must hold besides |
|---|---|---|
| first | nothing; `sao plan` goes before the build | the plan succeeds |
| second | nothing | what is built all the same is named with its reason |
| comment | a comment in a model and in a macro | no more is built than before |
| row | one row of a seed or of a raw table goes | only what reads something that came out different is built |
| macro | another expression in a macro (`MACRO_EDITS`) | only what calls it, or reads what came out different, is built |
| test | a data test that fails | the same is held back |

Relations that dbt itself gives other contents in its second build (ties of row numbers, times of the run) are named, and not
compared. Exits with 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import yaml
from rich.console import Console
from rich.table import Table

from tests.compare_with_dbt import InFile, prepare

STEPS = ("first", "second", "comment", "row", "macro", "test")
HOLDS_DATA = ("table", "incremental", "seed", "snapshot")

MACRO_EDITS = {
    "jaffle_shop": ("macros/cents_to_dollars.sql", "/ 100)::numeric(16, 2)", "/ 50)::numeric(16, 2)"),
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

Contents = Mapping[str, tuple[tuple[str, ...], Counter[int]]]
"""By relation: the names of the columns, and how many rows have a hash."""

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
    """

    seconds: float
    verdicts: Counter[Verdict]
    nodes: Mapping[str, str]
    built: Mapping[str, str]
    contents: Contents


@dataclass
class Copy:
    """A copy of a project, with a DuckDB file of its own.

    Attributes:
        given: The folder that is copied.
        place: Where the copy is to be.
        dbt: The program.
    """

    given: Path
    place: Path
    dbt: str

    @cached_property
    def file(self) -> InFile:
        self.place.mkdir()
        return InFile(self.place)

    @cached_property
    def folder(self) -> Path:
        return prepare(self.given, self.place, self.file)

    def contents(self) -> Contents:
        """Return what is in all tables and views; 1, 1.0 and '1' are the same, since they are in files of seeds."""
        found: dict[str, tuple[tuple[str, ...], Counter[int]]] = {}
        if not self.file.file.exists():
            return found
        with duckdb.connect(str(self.file.file), read_only=True) as connection:
            for schema, table, columns in connection.execute(
                "select table_schema, table_name, list(column_name order by ordinal_position) "
                "from information_schema.columns where table_catalog = current_database() group by all"
            ).fetchall():
                values = (
                    f"coalesce(round(try_cast({name}::varchar as double), 6)::varchar, {name}::varchar)"
                    for name in ('"' + each.replace('"', '""') + '"' for each in columns)
                )
                rows = connection.execute(
                    f'select hash([{", ".join(values)}]), count(*) from "{schema}"."{table}" group by 1'
                )
                found[f"{schema}.{table}"] = tuple(columns), Counter(dict(rows.fetchall()))
        return found

    def run(self, *command: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        """Run a command in the folder; return seconds, and what it came to."""
        began = time.monotonic()
        environment = {**os.environ, "SAO_DBT": self.dbt, "DBT_PROFILES_DIR": str(self.folder)}
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

    def artifact(self, name: str) -> dict[str, Any]:
        """Return an artifact of dbt."""
        found: dict[str, Any] = json.loads((self.folder / "target" / name).read_text())
        return found

    def by_dbt(self) -> Outcome:
        """Build with dbt."""
        results = self.folder / "target/run_results.json"
        results.unlink(missing_ok=True)
        seconds, done = self.run(self.dbt, "build", "--quiet", "--no-send-anonymous-usage-stats")
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

    def by_sao(self, command: str = "build") -> Outcome:
        """Plan or build with `sao`."""
        seconds, done = self.run(sys.executable, "-m", "sao_dagster.cli", command, "--json")
        if not done.stdout.startswith("{") or "models" not in (report := json.loads(done.stdout)):
            raise SystemExit(f"sao {command} fails in {self.folder}: {(done.stdout + done.stderr)[-3000:]}")
        return Outcome(
            seconds,
            Counter(_verdict(each["name"], each["verdict"] or "skipped", each["failures"]) for each in report["tests"]),
            {
                each["name"]: "success" if each["outcome"] in ("built", "reused") else each["outcome"]
                for each in report["models"]
            },
            {each["name"]: each["reason"] for each in report["models"] if each["outcome"] == "built"},
            self.contents(),
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
        found: set[str] = set()
        waiting = [unique_id]
        while waiting:
            children = set(self.manifest["child_map"].get(waiting.pop(), ())) - found
            found |= children
            waiting += children
        return found

    def _take_from_table(self, source: Mapping[str, Any]) -> bool:
        """Delete a row of a raw table, the latest where it has `loaded_at_field`; return whether there was one."""
        if not self.below(source["unique_id"]) or any(
            node["resource_type"] != "source"
            and (node.get("alias"), node["schema"]) == (source["identifier"], source["schema"])
            for node in self.manifest["nodes"].values()
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


@dataclass
class Journey:
    """A project on its way through the steps.

    Attributes:
        ours: The copy that `sao` builds.
        theirs: The copy that dbt builds.
        problems: What does not hold.
        unstable: Relations that dbt gives other contents each time.
        always: What is built though nothing has changed.
        before: What our last build came to.
    """

    ours: Copy
    theirs: Copy
    problems: list[str] = field(default_factory=list)
    unstable: set[str] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    before: Outcome | None = None

    @cached_property
    def edits(self) -> Edits:
        """What is done to both copies."""
        return Edits((self.theirs, self.ours))

    @property
    def manifest(self) -> dict[str, Any]:
        """What dbt knows of the project after its first build."""
        return self.edits.manifest

    def build(self, step: str, may_build: Callable[[str], bool] | None = None) -> str:
        """Build both copies, compare them, and return what is shown.

        Args:
            step: The step.
            may_build: Whether a node, by its unique id, may be built though what it reads has come out as before. None: any.
        """
        theirs, before = self.theirs.by_dbt(), self.before
        ours = self.before = self.ours.by_sao()
        told = [f"{step}: {each}" for each in _differences(theirs, ours, self.unstable)]
        needless = []
        if may_build is not None and before is not None:
            changed = {
                name
                for name in before.contents.keys() | ours.contents.keys()
                if before.contents.get(name) != ours.contents.get(name)
            }
            needless = sorted(
                f"{name} ({reason})"
                for name, reason in ours.built.items()
                if name not in self.always and not self._is_due(name, changed, may_build)
            )
        if needless:
            told.append(f"{step}: built though nothing it reads is different: {', '.join(needless)}")
        self.problems += told
        ran = f"{len(ours.built)}/{len(ours.nodes)} built, {ours.seconds:.1f} s ({theirs.seconds:.1f} s)"
        return ran + (f", {len(told)} wrong" if told else "")

    def _is_due(self, name: str, changed: set[str], may_build: Callable[[str], bool]) -> bool:
        return any(
            may_build(unique_id) or any(each in changed for each in self._reads(unique_id))
            for unique_id, node in self.manifest["nodes"].items()
            if node["name"] == name and node["resource_type"] in ("model", "seed", "snapshot")
        )

    def _reads(self, unique_id: str) -> Iterator[str]:
        """Yield the relations with data that a node reads, through views and ephemeral models."""
        for parent in self.manifest["parent_map"].get(unique_id, ()):
            node = self.manifest["nodes"].get(parent) or self.manifest["sources"].get(parent)
            if node is None:
                continue
            if node["resource_type"] == "model" and node["config"]["materialized"] not in HOLDS_DATA:
                yield from self._reads(parent)
            yield f"{node['schema']}.{node.get('alias') or node['identifier']}"

    def first(self) -> str:
        """Plan and build into nothing."""
        plan = self.ours.by_sao("plan")
        shown = self.build("first")
        return f"plan {plan.seconds:.1f} s; {shown}"

    def second(self) -> str:
        """Build again; remember what asks to be built always, and what dbt makes different each time."""
        was = self.theirs.contents()
        shown = self.build("second")
        now = self.theirs.contents()
        self.unstable = {name for name in now if now[name] != was.get(name)}
        self.problems = [each for each in self.problems if not any(f" {name} " in f"{each} " for name in self.unstable)]
        assert self.before is not None
        self.always = set(self.before.built)
        reasons = [f"{name}: {reason}" for name, reason in self.before.built.items()]
        if self.unstable:
            reasons.append(f"other contents by dbt each time: {', '.join(sorted(self.unstable))}")
        return "; ".join([shown, *reasons])

    def comment(self) -> str:
        """Write comments; see `Edits.write_comments`."""
        self.edits.write_comments()
        return self.build("comment", lambda _: False)

    def row(self) -> str:
        """Take rows; see `Edits.take_rows`."""
        taken = self.edits.take_rows()
        if not taken:
            return "no raw data"
        return f"{' and '.join(taken)}: {self.build('row', lambda each: each.split('.')[-1] in taken)}"

    def macro(self) -> str:
        """Edit an expression in a macro; see `Edits.edit_macro`."""
        callers = self.edits.edit_macro()
        return "-" if callers is None else self.build("macro", callers.__contains__)

    def test(self) -> str:
        """Add a data test that fails, for the model with rows that has most below it."""
        models = [
            (len(self.edits.below(each["unique_id"])), each["name"])
            for each in self.edits.of("models")
            if self.ours.contents().get(f"{each['schema']}.{each['alias']}", ([], {}))[1]
            and self.manifest["parent_map"][each["unique_id"]]
        ]
        if not models:
            return "-"
        _, name = max(models)
        paths = yaml.safe_load((self.ours.folder / "dbt_project.yml").read_text()).get("test-paths", ["tests"])
        for copy in (self.ours, self.theirs):
            file = copy.folder / paths[0] / "must_not_be.sql"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"select * from {{{{ ref('{name}') }}}}")
        shown = self.build("test")
        assert self.before is not None
        return f"{name}: {sum(each == 'skipped' for each in self.before.nodes.values())} held back; {shown}"


def _differences(theirs: Outcome, ours: Outcome, unstable: set[str]) -> list[str]:
    """Return how a build of ours differs from dbt's, in words that name relations, tests and nodes."""
    found = []
    for name in sorted((theirs.contents.keys() | ours.contents.keys()) - unstable):
        one, other = theirs.contents.get(name), ours.contents.get(name)
        if one is None or other is None:
            found.append(f"{name} is there with {'sao' if one is None else 'dbt'} alone")
        elif one[0] != other[0]:
            found.append(f"{name} has columns {one[0]} with dbt, {other[0]} with sao")
        elif one[1] != other[1]:
            more, less = (other[1] - one[1]).total(), (one[1] - other[1]).total()
            found.append(f"{name} has {more} rows with sao alone, {less} with dbt alone")
    for which, with_dbt, with_sao in (("dbt", theirs, ours), ("sao", ours, theirs)):
        found += [f"{which} says {each}" for each in sorted(with_dbt.verdicts - with_sao.verdicts, key=str)]
    found += [
        f"{name} is {theirs.nodes.get(name)} with dbt, {ours.nodes.get(name)} with sao"
        for name in sorted(theirs.nodes.keys() | ours.nodes.keys())
        if theirs.nodes.get(name) != ours.nodes.get(name)
    ]
    return found


def take(given: Path, dbt: str, steps: Iterable[str], console: Console) -> tuple[list[str], list[str]]:
    """Take a project through steps; return what is shown for each, and what does not hold."""
    with tempfile.TemporaryDirectory(prefix=given.name) as place:
        journey = Journey(Copy(given, Path(place, "sao"), dbt), Copy(given, Path(place, "dbt"), dbt))
        shown = []
        for step in steps:
            shown.append(getattr(journey, step)())
            console.print(f"[dim]{given.name} {step}: {shown[-1]}[/]", soft_wrap=True)
            for each in journey.problems:
                console.print(f"    {each}"[:400], soft_wrap=True, markup=False)
        return shown, journey.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("projects", nargs="+", type=Path)
    given = parser.parse_args()
    steps = given.steps.split(",")
    dbt = shutil.which(given.dbt) or given.dbt
    table = Table("project", *steps, title="built by sao of all, seconds of sao (of dbt)", box=None)
    wrong = False
    for project in given.projects:
        shown, problems = take(project.resolve(), dbt, steps, Console(stderr=True, highlight=False))
        table.add_row(project.name, *shown)
        wrong = wrong or bool(problems)
    Console(width=200).print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
