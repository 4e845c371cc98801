"""Take real dbt projects through what `sao` promises of them, and print a table.

    python -m tests.real_projects --dbt PATH_TO_DBT [--steps first,second,...] [--keep FOLDER]
        [--exclude SELECTION] [--without COLUMN] [--seeds-first] PROJECT [PROJECT ...]

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
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from tests.project_copies import HOLDS_DATA, Copy, Edits, Outcome, Verdict

STEPS = ("first", "second", "comment", "row", "macro", "test")


@dataclass
class Journey:
    """A project on its way through the steps.

    Attributes:
        ours: The copy that `sao` builds.
        theirs: The copy that dbt builds.
        seeds_first: Whether dbt loads seeds that are other ones before it builds: models read them as sources, and dbt knows no order of these.
        problems: What does not hold.
        unstable: Relations that dbt gives other contents each time, and data tests that read one.
        always: What is built though nothing has changed.
        before: What our last build came to.
        before_by_dbt: What dbt's last build came to.
    """

    ours: Copy
    theirs: Copy
    seeds_first: bool = False
    problems: list[str] = field(default_factory=list)
    unstable: set[str] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    before: Outcome | None = None
    before_by_dbt: Outcome | None = None

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
        ours = self.ours.by_sao()
        if step == "second":
            self._set_apart(theirs)
        self.before, self.before_by_dbt = ours, theirs
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
        failed = sum(each == "failed" for each in ours.nodes.values())
        ran = f"{len(ours.built)}/{len(ours.nodes)} built, "
        ran += f"{failed} failed, " if failed else ""
        return ran + f"{ours.seconds:.1f} s ({theirs.seconds:.1f} s)" + (f", {len(told)} wrong" if told else "")

    def _set_apart(self, again: Outcome) -> None:
        """Find what comes out otherwise each time that dbt builds it, and what tests that; the first build is compared without it.

        Args:
            again: What the second build of dbt came to, of the same files and the same raw data.
        """
        assert self.before is not None
        assert self.before_by_dbt is not None
        first = self.before_by_dbt.contents
        self.unstable = {name for name, each in again.contents.items() if each != first.get(name)}
        self.unstable |= {
            node["name"]
            for unique_id, node in self.manifest["nodes"].items()
            if node["resource_type"] == "test" and not self.unstable.isdisjoint(self._reads(unique_id))
        }
        self.problems = [f"first: {each}" for each in _differences(self.before_by_dbt, self.before, self.unstable)]

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
        self._seed()
        shown = self.build("first")
        return f"{plan.executor}; plan {plan.seconds:.1f} s; {shown}"

    def _seed(self) -> None:
        if self.seeds_first:
            self.theirs.seed()

    def second(self) -> str:
        """Build again; remember what asks to be built always, and what dbt makes different each time."""
        shown = self.build("second")
        assert self.before is not None
        self.always = set(self.before.built)
        reasons = [f"{name}: {reason}" for name, reason in self.before.built.items()]
        relations = sorted(self.unstable & self.before.contents.keys())
        if relations:
            reasons.append(f"other contents by dbt each time: {', '.join(relations)}")
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
        self._seed()
        return f"{' and '.join(taken)}: {self.build('row', lambda each: each.split('.')[-1] in taken)}"

    def macro(self) -> str:
        """Edit an expression in a macro; see `Edits.edit_macro`."""
        callers = self.edits.edit_macro()
        return "-" if callers is None else self.build("macro", callers.__contains__)

    def test(self) -> str:
        """Add a data test that fails, for the model with rows that has most below it."""
        contents = self.ours.contents()
        models = [
            (len(self.edits.below(each["unique_id"])), each["name"])
            for each in self.edits.of("models")
            if contents.get(f"{each['schema']}.{each['alias']}", ([], 0))[1]
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
        elif one[1:] != other[1:]:
            found.append(f"{name} has {one[1]} rows with dbt, {other[1]} with sao, and they are not the same")
    verdicts = _named_as(ours.verdicts, {name for name, _, _ in theirs.verdicts})
    for which, only in (("dbt", theirs.verdicts - verdicts), ("sao", verdicts - theirs.verdicts)):
        found += [f"{which} says {each}" for each in sorted(only, key=str) if each[0] not in unstable]
    found += [
        f"{name} is {theirs.nodes.get(name)} with dbt, {ours.nodes.get(name)} with sao"
        for name in sorted(theirs.nodes.keys() | ours.nodes.keys())
        if theirs.nodes.get(name) != ours.nodes.get(name)
    ]
    return found


def _named_as(verdicts: Counter[Verdict], names: set[str]) -> Counter[Verdict]:
    """Return verdicts under dbt's names, which are the same for two tests whose arguments differ in signs alone."""
    found: Counter[Verdict] = Counter()
    for (name, status, failures), count in verdicts.items():
        short = re.sub("[._][0-9a-f]{10}$", "", name)
        found[short if name not in names and short in names else name, status, failures] += count
    return found


def take(journey: Journey, steps: Iterable[str], console: Console) -> tuple[list[str], list[str]]:
    """Take copies of a project through steps; return what is shown for each, and what does not hold."""
    name = journey.ours.given.name
    shown = []
    for step in steps:
        shown.append(getattr(journey, step)())
        console.print(f"{name} {step}: {shown[-1]}", soft_wrap=True, markup=False)
        for each in journey.problems:
            console.print(f"    {each}"[:400], soft_wrap=True, markup=False)
    return shown, journey.problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", required=True)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--keep", type=Path, help="the folder in which the copies are made, and stay")
    parser.add_argument("--exclude", action="append", default=[], help="what both leave out, in dbt's selection syntax")
    parser.add_argument("--without", action="append", default=[], help="a column that is not compared in any relation")
    parser.add_argument(
        "--seeds-first", action="store_true", help="dbt loads seeds that are other ones before it builds"
    )
    parser.add_argument("projects", nargs="+", type=Path)
    given = parser.parse_args()
    steps = given.steps.split(",")
    dbt = shutil.which(given.dbt) or given.dbt
    table = Table("project", *steps, title="built by sao of all, seconds of sao (of dbt)", box=None)
    wrong = False
    for project in given.projects:
        with tempfile.TemporaryDirectory(prefix=project.name) as gone:
            place = (given.keep or Path(gone)) / project.name
            place.mkdir(parents=True)
            ours, theirs = (
                Copy(project.resolve(), place / tool, dbt, given.exclude, given.without) for tool in ("sao", "dbt")
            )
            shown, problems = take(
                Journey(ours, theirs, given.seeds_first), steps, Console(stderr=True, highlight=False)
            )
        table.add_row(project.name, *shown)
        wrong = wrong or bool(problems)
    Console(width=200).print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
