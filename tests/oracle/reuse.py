"""Histories of three environments of one project: production, one that takes builds from it, and one that takes them from both.

After each run of one that takes builds, each relation that was selected holds what its query gives over what is there, and a second run
at once makes nothing.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from sao_dagster import select
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.projects.sao_file import Clone
from sao_dagster.run.report import RunResult
from tests.oracle.deferral import DONE, DRAFTS, MINE, PRODUCTION, DeferralHistory, picks
from tests.oracle.specs import SOURCES, Spec, read

CI = ("ci", "branch")
TAKES_FROM = {CI: ["prod"], MINE: ["ci", "prod"]}
ENVIRONMENTS = st.sampled_from([MINE, CI])
CHANGES = ("drop table {}", "update {} set v = v + 7", "insert into {} (id, k, v) values (34, 1, 5)")
EVERYWHERE = st.sampled_from([MINE, CI, PRODUCTION])


class ReuseHistory(DeferralHistory):
    """One project in production, on a branch, and in somebody's own schema of the same database."""

    taken = 0

    @rule(
        environment=ENVIRONMENTS,
        chosen=st.sets(picks, max_size=3),
        clone=st.sampled_from(["view", "view", "copy"]),
        mode=st.sampled_from([*[Mode.STATE_AWARE] * 5, Mode.FORCE]),
    )
    def run_mine(self, environment: tuple[str, str], chosen: set[int], clone: Clone, mode: Mode) -> None:
        selection = " ".join(f"{name}+" for name in sorted({self._pick(each).name for each in chosen})) or None
        result = self.run_in(environment, selection, clone, mode)
        again = self.run_in(environment, selection, clone, Mode.STATE_AWARE)
        if not any(each.decision.outcome not in DONE for each in result.models):
            made = {each.name: each.decision for each in again.models if each.decision.makes}
            assert not made, f"made again at once: {made}"

    @initialize(drafts=DRAFTS)
    def start(self, drafts: list[tuple[int, int, int, int]]) -> None:
        super().start(drafts)
        self.run_in(MINE, None, "view", Mode.STATE_AWARE)

    @rule(pick=picks, environment=ENVIRONMENTS, change=st.sampled_from(CHANGES))
    def change_what_is_shown(self, pick: int, environment: tuple[str, str], change: str) -> None:
        """Change a table of production that somebody shows in place of one, who looks at once."""
        tables = [spec.name for spec in self.specs.values() if spec.kind == "table"]
        shown = [each for each in tables if self.kind_of(f"{environment[1]}.{each}") == "view"]
        there = [f"{PRODUCTION[1]}.{each}" for each in shown if self.kind_of(f"{PRODUCTION[1]}.{each}") == "table"]
        if there:
            self.execute(change.format(there[pick % len(there)]))
            self.run_in(environment, None, "view", Mode.STATE_AWARE)

    @rule(pick=picks, environment=EVERYWHERE, value=st.integers(1, 2))
    def change_and_change_back(self, pick: int, environment: tuple[str, str], value: int) -> None:
        relation = f"{environment[1]}.{self._pick(pick).name}"
        if self.kind_of(relation) == "table":
            self.execute(f"update {relation} set v = v + {value}")
            if value == 1:
                self.execute(f"update {relation} set v = v - {value}")

    def run_in(self, environment: tuple[str, str], selection: str | None, clone: Clone, mode: Mode) -> RunResult:
        opened = self.opened(environment, reuse_from=TAKES_FROM[environment], clone=clone)
        result = opened.runner().run(select(opened.project, selection), mode)
        self.schema = environment[1]
        for each in result.models:
            spec = self.specs[each.name]
            if each.decision.outcome in DONE:
                expected = self.query(f"select id, k, v from ({self.sql_here(spec)})")
                found = self.query(f"select id, k, v from {self.schema}.{spec.name}")
                assert found == expected, f"{each.name} of {environment} is wrong: {each.decision}"
            if each.decision.offer is not None:
                type(self).taken += 1
                assert each.decision.outcome is Outcome.REUSED
        return result

    def sql_here(self, spec: Spec) -> str:
        """Return the query of a model over what is there in the environment that was run last."""
        text = spec.sql()
        for parent in spec.parents:
            text = text.replace(read(parent), self.place(parent))
        return text

    def place(self, name: str) -> str:
        if name in SOURCES:
            return f"raw.{name}"
        spec = self.specs[name]
        return f"({self.sql_here(spec)})" if spec.kind == "ephemeral" else f"{self.schema}.{name}"
