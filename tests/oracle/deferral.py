"""Histories of two environments of one project, of which one reads from the other what it does not have.

After each run of the one that defers, now and then, each relation that was selected holds what its query gives over what is really
read; a second run at once builds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sao_dagster import SqlProject, select
from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision, TestReason
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.run.report import RunResult
from sao_dagster.state.sql_store import SqlStateStore
from tests.oracle.beside import beside_others
from tests.oracle.on_postgres import SchemasOnPostgres
from tests.oracle.oracle import Schemas
from tests.oracle.specs import CALLED, SHAPES, SOURCES, Spec, over

MINE, PRODUCTION = ("dev", "main"), ("prod", "live")
KINDS = ("table", "table", "view", "ephemeral")
DONE = (Outcome.BUILT, Outcome.REUSED)

picks = st.integers(0, 99)
DRAFTS = st.lists(st.tuples(picks, picks, picks, picks), min_size=3, max_size=6)


class DeferralHistory(Schemas, RuleBasedStateMachine):
    """One project in production, and in somebody's own schema of the same database."""

    shapes: ClassVar[Mapping[str, str]] = {**SHAPES, "called": CALLED}
    schema = MINE[1]

    @initialize(drafts=DRAFTS)
    def start(self, drafts: list[tuple[int, int, int, int]]) -> None:
        self.begin()
        self.execute("create schema raw")
        for number, name in enumerate(SOURCES):
            rows = (
                f"select i::int as id, (i % 3)::int as k, (i * {number + 2})::int as v from generate_series(0, 4) t(i)"
            )
            self.execute(f"create table raw.{name} as {rows}")
        self.specs: dict[str, Spec] = {}
        for number, (shape, kind, first, second) in enumerate(drafts):
            known = [*SOURCES, *self.specs]
            parents = (known[first % len(known)], known[second % len(known)])
            chosen, body = [*self.shapes.items()][shape % len(self.shapes)]
            name = f"m{number}"
            self.specs[name] = Spec(name, chosen, body, parents, KINDS[kind % len(KINDS)])
        self.store = SqlStateStore("sqlite://")
        self.run_production()

    # ------------------------------------------------------------------ what happens

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9), value=st.integers(-3, 9))
    def insert(self, source: str, key: int, value: int) -> None:
        self.execute(f"insert into raw.{source} (id, k, v) values ({key}, {key % 3}, {value})")

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9))
    def delete(self, source: str, key: int) -> None:
        self.execute(f"delete from raw.{source} where id = {key}")

    @rule(pick=picks, constant=st.integers(1, 3))
    def edit(self, pick: int, constant: int) -> None:
        self._pick(pick).constant = constant

    @rule(pick=picks, kind=picks)
    def rematerialize(self, pick: int, kind: int) -> None:
        self._pick(pick).kind = KINDS[kind % len(KINDS)]

    @rule(pick=picks, environment=st.sampled_from([MINE, PRODUCTION]))
    def drop(self, pick: int, environment: tuple[str, str]) -> None:
        relation = f"{environment[1]}.{self._pick(pick).name}"
        if (kind := self.kind_of(relation)) is not None:
            self.execute(f"drop {kind} {relation} {self.drop_behaviour}")

    @rule(pick=picks, environment=st.sampled_from([MINE, PRODUCTION]))
    def change_by_hand(self, pick: int, environment: tuple[str, str]) -> None:
        relation = f"{environment[1]}.{self._pick(pick).name}"
        if self.kind_of(relation) == "table":
            self.execute(f"insert into {relation} (id, k, v) values (33, 0, 4)")

    @rule()
    def run_production(self) -> None:
        opened = self.opened(PRODUCTION)
        opened.runner().run(select(opened.project))

    @rule(
        chosen=st.sets(picks, min_size=1, max_size=3),
        below=st.booleans(),
        how=st.sampled_from(["defer", "defer", "favor", "alone"]),
        force=st.booleans(),
        waits=st.booleans(),
    )
    def run_mine(self, chosen: set[int], below: bool, how: str, force: bool, waits: bool) -> None:
        names = sorted({self._pick(each).name for each in chosen})
        selection = " ".join(f"{name}+" if below else name for name in names)
        with beside_others(waits=waits):
            result = self.run(selection, how, Mode.FORCE if force else Mode.STATE_AWARE)
        self.check(result)
        again = self.run(selection, how)
        self.check(again)
        failed = {each.name for each in result.models if each.decision.outcome not in DONE}
        if not failed:
            # a view of another environment that follows the clock has no version here
            timed = any(spec.shape == "day" and spec.kind != "table" for spec in self.specs.values())
            built = {
                each.name
                for each in again.models
                if each.decision.outcome is Outcome.BUILT
                and not (timed and each.decision.reason is Reason.INPUT_UNKNOWN)
                and not self.reads_what_is_not_here(each.decision)
            }
            assert not built, f"built again at once: {[(each.name, each.decision) for each in again.models]}"

    @rule(pick=picks)
    def read_here_what_was_read_there(self, pick: int) -> None:
        """Build what follows how a column is called by where it reads, over what production has, and again once that is here."""
        called = [each for each in self.specs.values() if each.shape == "called" and each.kind == "table"]
        spec = called[pick % len(called)] if called else None
        if spec is not None and (parents := [each for each in spec.parents if each in self.specs]):
            for selection, how in ((spec.name, "favor"), (" ".join(parents), "alone"), (spec.name, "defer")):
                self.check(self.run(selection, how))

    # ------------------------------------------------------------------ what is held

    def check(self, result: RunResult) -> None:
        deferral = result.deferral or Deferral()
        for each in result.models:
            spec = self.specs[each.name]
            if each.decision.outcome in DONE:
                expected = self.query(f"select id, k, v from ({self.sql(spec, deferral)}) as expected")
                found = self.query(f"select id, k, v from main.{spec.name}")
                assert found == expected, f"{each.name} is wrong: {each.decision}, {deferral}"

    def reads_what_is_not_here(self, decision: Decision | TestDecision) -> bool:
        """Return whether what is unknown is, or is seen through a view over, a table that is not in the environment: nobody knows which the view shows."""
        pending, seen = [*decision.evidence.get("unknown", ())], set[str]()
        while pending:
            name = pending.pop()
            if name in seen or name not in self.specs:
                continue
            seen.add(name)
            spec = self.specs[name]
            if spec.kind == "table" and self.kind_of(f"{self.schema}.{name}") is None:
                return decision.reason in (Reason.INPUT_UNKNOWN, TestReason.INPUT_UNKNOWN)
            if spec.kind != "table":
                pending += spec.parents
        return False

    def sql(self, spec: Spec, deferral: Deferral) -> str:
        """Return the query of a model over what is read in a run."""

        def place(name: str) -> str:
            return f"raw.{name}" if name in SOURCES else str(deferral.relations.get(name, f"main.{name}"))

        def inlined(name: str) -> Spec | None:
            found = None if name in deferral.relations else self.specs.get(name)
            return found if found is not None and found.kind == "ephemeral" else None

        return over(spec, place, inlined)

    # ------------------------------------------------------------------ how

    def _pick(self, number: int) -> Spec:
        return list(self.specs.values())[number % len(self.specs)]

    def opened(self, environment: tuple[str, str], **settings: Any) -> SqlProject:
        self.go_to(*environment)
        opened = SqlProject("random", warehouse=self.warehouse, state_url="sqlite://", **settings)
        opened.__dict__["store"] = self.store
        for name in SOURCES:
            opened.source("raw", name)
        for spec in self.specs.values():
            opened.model(name=spec.name, sql=spec.sql(), materialized=spec.kind)
        return opened

    def run(self, selection: str, how: str, mode: Mode = Mode.STATE_AWARE) -> RunResult:
        deferring = {} if how == "alone" else {"defer": "prod", "favor_state": how == "favor"}
        opened = self.opened(MINE, **deferring)
        return opened.runner().run(select(opened.project, selection), mode)


class DeferralOnPostgres(SchemasOnPostgres, DeferralHistory):
    """The same on PostgreSQL, where what a view shows of another environment has no version if it follows the clock."""

    shapes: ClassVar[Mapping[str, str]] = {name: body for name, body in DeferralHistory.shapes.items() if name != "day"}
