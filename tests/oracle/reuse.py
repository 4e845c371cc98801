"""Histories of three environments of one project: production, one that takes builds from it, and one that takes them from both.

After each run of one that takes builds, each relation that was selected holds what its query gives over what is there, and a second run
at once makes nothing, but for what reads something through a view that is not here. Each verdict that was not run for is what running the test gives.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from sao_dagster import SqlProject, select
from sao_dagster.core.decide_test import TestOutcome, TestReason
from sao_dagster.core.elsewhere import Clone
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.run.report import RunResult
from tests.oracle.beside import beside_others
from tests.oracle.deferral import DONE, DRAFTS, MINE, PRODUCTION, DeferralHistory, picks
from tests.oracle.on_postgres import SchemasOnPostgres
from tests.oracle.specs import SOURCES, Spec, over, read

CI = ("ci", "branch")
TAKES_FROM = {CI: ["prod"], MINE: ["ci", "prod"]}
ENVIRONMENTS = st.sampled_from([MINE, CI])
CHANGES = ("drop table {}", "update {} set v = v + 7", "insert into {} (id, k, v) values (34, 1, 5)")
EVERYWHERE = st.sampled_from([MINE, CI, PRODUCTION])


class ReuseHistory(DeferralHistory):
    """One project in production, on a branch, and in somebody's own schema of the same database."""

    taken = 0
    in_place = 0
    verdicts_taken = 0

    @rule(
        environment=ENVIRONMENTS,
        chosen=st.sets(picks, max_size=3),
        clone=st.sampled_from(["view", "view", "defer", "defer", "copy"]),
        mode=st.sampled_from([*[Mode.STATE_AWARE] * 5, Mode.FORCE]),
        waits=st.booleans(),
    )
    def run_mine(self, environment: tuple[str, str], chosen: set[int], clone: Clone, mode: Mode, waits: bool) -> None:
        selection = " ".join(f"{name}+" for name in sorted({self._pick(each).name for each in chosen})) or None
        with beside_others(waits=waits):
            result = self.run_in(environment, selection, clone, mode)
        again = self.run_in(environment, selection, clone, Mode.STATE_AWARE)
        if not any(each.decision.outcome not in DONE for each in result.models):
            made = {
                each.name: each.decision
                for each in again.models
                if each.decision.makes and not self.reads_what_is_not_here(each.decision)
            }
            assert not made, f"made again at once: {made}"
            # a test of an ephemeral reads what may not be there
            ran = {
                each.test.name: each.decision
                for each in again.tests
                if each.decision.outcome is TestOutcome.RAN
                and each.decision.reason is not TestReason.FAILED_BEFORE
                and not self.reads_what_is_not_here(each.decision)
            }
            assert not ran, f"run again at once: {ran}"

    @initialize(drafts=DRAFTS)
    def start(self, drafts: list[tuple[int, int, int, int]]) -> None:
        super().start(drafts)
        self.run_in(MINE, None, "view", Mode.STATE_AWARE)

    @rule(pick=picks, environment=ENVIRONMENTS, change=st.sampled_from(CHANGES))
    def change_what_is_shown(self, pick: int, environment: tuple[str, str], change: str) -> None:
        """Change a table of production that somebody shows in place of one, who looks at once."""
        there = [
            f"{PRODUCTION[1]}.{each}"
            for each in self.shown(environment)
            if self.kind_of(f"{PRODUCTION[1]}.{each}") == "table"
        ]
        if there:
            self.execute(
                change.format(there[pick % len(there)])
                + (f" {self.drop_behaviour}" if change.startswith("drop") else "")
            )
            self.run_in(environment, None, "view", Mode.STATE_AWARE)

    @rule(pick=picks, environment=ENVIRONMENTS, value=st.integers(0, 1))
    def replace_what_shows_another(self, pick: int, environment: tuple[str, str], value: int) -> None:
        """Put a table in the place of a view over what another environment has, with the same rows or others; what reads it is run at once."""
        production = {name: f"{PRODUCTION[1]}.{name}" for name in self.shown(environment)}
        if there := [name for name, relation in production.items() if self.kind_of(relation) == "table"]:
            name = there[pick % len(there)]
            relation = f"{environment[1]}.{name}"
            self.execute(f"create table raw.kept as select id, k, v + {value} as v from {production[name]}")
            self.execute(f"drop view {relation} {self.drop_behaviour}")
            self.execute(f"create table {relation} as select id, k, v from raw.kept")
            self.execute("drop table raw.kept")
            below = [each.name for each in self.specs.values() if name in each.parents and each.kind == "table"]
            if below:
                self.run_in(environment, " ".join(below), "view", Mode.STATE_AWARE)

    @rule(pick=picks, environment=EVERYWHERE, value=st.integers(1, 2))
    def change_and_change_back(self, pick: int, environment: tuple[str, str], value: int) -> None:
        relation = f"{environment[1]}.{self._pick(pick).name}"
        if self.kind_of(relation) == "table":
            self.execute(f"update {relation} set v = v + {value}")
            if value == 1:
                self.execute(f"update {relation} set v = v - {value}")

    def shown(self, environment: tuple[str, str]) -> list[str]:
        """Return the tables that are views in an environment, over what another one has."""
        tables = [spec.name for spec in self.specs.values() if spec.kind == "table"]
        return [each for each in tables if self.kind_of(f"{environment[1]}.{each}") == "view"]

    def run_in(self, environment: tuple[str, str], selection: str | None, clone: Clone, mode: Mode) -> RunResult:
        opened = self.opened(environment, reuse_from=TAKES_FROM[environment], clone=clone)
        result = opened.runner().run(select(opened.project, selection), mode)
        self.schema = environment[1]
        self.read_there = {} if result.deferral is None else result.deferral.relations
        for each in result.models:
            spec = self.specs[each.name]
            if each.decision.outcome in DONE:
                expected = self.query(f"select id, k, v from ({self.sql_here(spec)}) as expected")
                found = self.query(f"select id, k, v from {each.relation}")
                is_here = each.relation.split(".")[-2].strip('"') == self.schema
                assert is_here is not bool(each.decision.evidence.get("in_place")), each
                type(self).in_place += not is_here
                assert found == expected, f"{each.name} of {environment} is wrong: {each.decision}"
            if each.decision.offer is not None:
                type(self).taken += 1
                assert each.decision.outcome is Outcome.REUSED
        self.check_verdicts(result)
        return result

    def check_verdicts(self, result: RunResult) -> None:
        """Run every test whose verdict was reused, here or from elsewhere, or proven."""
        for each in result.tests:
            if each.decision.outcome not in (TestOutcome.REUSED, TestOutcome.PROVEN):
                continue
            failures = sum(self.query(each.test.sql).values())
            assert (each.verdict, each.failures) == (Verdict.WARN if failures else Verdict.PASS, failures), (
                each.decision
            )
            if each.decision.offer is not None:
                type(self).verdicts_taken += 1
                assert each.verdict is Verdict.PASS

    def sql_here(self, spec: Spec) -> str:
        """Return the query of a model over what is read in the environment that was run last; of a view that is nowhere, its query is."""

        def place(name: str) -> str:
            return f"raw.{name}" if name in SOURCES else str(self.read_there.get(name, f"{self.schema}.{name}"))

        def inlined(name: str) -> Spec | None:
            found = self.specs.get(name)
            is_nowhere = found is not None and found.kind == "view" and self.kind_of(place(name)) is None
            return found if found is not None and (found.kind == "ephemeral" or is_nowhere) else None

        return over(spec, place, inlined)

    def opened(self, environment: tuple[str, str], **settings: Any) -> SqlProject:
        opened = super().opened(environment, **settings)
        for name, spec in self.specs.items():
            opened.test(f"small_{name}", f"select id from {read(name)} where v > {spec.constant + 7}", severity="warn")
            source = read(SOURCES[spec.constant % 2])
            both = f"select a.id from {read(name)} a join {source} b on a.id = b.id where a.v < b.v - 3"
            opened.test(f"not_below_{name}", both, severity="warn")
        return opened


class ReuseOnPostgres(SchemasOnPostgres, ReuseHistory):
    """The same on PostgreSQL."""
