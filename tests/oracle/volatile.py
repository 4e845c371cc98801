"""Histories with bare volatile columns: what is made anew at each build is not compared, what is made of it later is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sao_dagster.core.policy import age_of
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome
from sao_dagster.run.events import ModelResult
from sao_dagster.run.report import RunResult
from tests.oracle.machine import HELD, History, picks
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.oracle import Built, Content
from tests.oracle.specs import SOURCES, Spec

MAKES = {
    "chance": "select id, k, {column}, random() as made from {first}",
    "clock": "select id, k, {column}, now() as made from {first}",
}
PASSES = {
    "pass": "select id, k, {column}, made from {first} where v % 3 <> {rest}",
    "rename": "select id, k, v, later as made from (select id, k, {column}, made as later from {first}) renamed",
    "both": "select id, k, {column}, made from {first} union all select id, k, v + {constant}, made from {first}",
}
DECIDES = {
    "compare": "select id, k, case when made > (select min(made) from {first}) then v else 0 end as {column}, made from {first}",
    "first": "select id, k, {column}, made from {first} order by 4, 1, 2, 3 limit 3",
    "numbered": "select id, k, n::int as {column}, made from (select *, row_number() over (order by made, id, k, v) as n from {first}) numbered",
    "distinct": "select distinct on (made) id, k, {column}, made from {first} order by made, id, k, v",
    "greatest": "select k as id, k, sum({column})::int as v, max(made) as made from {first} group by k",
}


class VolatileHistory(History):
    """As `History`, where each model has one more column: made anew at each build, passed on, or deciding something."""

    shapes: ClassVar[Mapping[str, str]] = {**MAKES, **PASSES, **DECIDES}
    kinds: ClassVar[tuple[str, ...]] = ("table", "table", "view", "ephemeral")

    def new_spec(self, name: str, shape: int, kind: int, parents: tuple[str, ...]) -> Spec:
        """What reads a source makes the column; what reads a model has one to read, of its own kind of value."""
        if parents[0] in SOURCES:
            shape %= len(MAKES)
        spec = super().new_spec(name, shape, kind, (parents[0],))
        return replace(spec, settings={"volatile": "auto"})

    def put_by_hand(self, name: str) -> None:
        """Somebody puts other rows there, and leaves the column as it was."""
        self.oracle.execute(f"update main.{name} set v = v + 7")

    @rule(pick=picks, volatile=st.sampled_from(["auto", "auto", "ignore", "hourly", "daily"]))
    def edit_volatile(self, pick: int, volatile: str) -> None:
        spec = self._pick(pick)
        spec.settings = {"volatile": volatile}

    # ------------------------------------------------------------------ the oracle

    def is_bare(self, name: str) -> bool:
        """Whether the column is only made, or passed on, on its way here."""
        spec = self.specs[name]
        return spec.shape in MAKES or (spec.shape in PASSES and self.is_bare(spec.parents[0]))

    def changes_by_itself(self, name: str) -> bool:
        """Whether what the query gives besides the column depends on what is made anew when it is asked."""
        chain = list(self.looked_through(name))
        return any(spec.shape in MAKES for spec in chain) and any(spec.shape in DECIDES for spec in chain)

    def compared(self, project: Project, name: str, rows: Content) -> Content:
        if not self.is_bare(name) and not any(spec.shape in MAKES for spec in self.looked_through(name)):
            return rows
        return Counter(tuple(row[:3]) for row in rows.elements())

    def is_comparable(self, name: str) -> bool:
        return not self.changes_by_itself(name)

    def may_expire(self, known: Built) -> bool:
        age = age_of(known.at, self.now)
        return super().may_expire(known) or age is None or age >= timedelta(hours=1)

    def after(self, result: RunResult) -> None:
        """What has expired was built, where nothing holds it back."""
        for each in result.models:
            known = self.built_before.get(each.name)
            if known is not None and each.decision.outcome is Outcome.REUSED and each.decision.reason not in HELD:
                assert not self._has_expired(each, known), each.decision

    def before(self, project: Project) -> None:
        self.built_before = dict(self.oracle.built)

    def _has_expired(self, result: ModelResult, known: Built) -> bool:
        spec = self.specs[result.name]
        if spec.kind not in ("table", "incremental"):
            return False
        age = age_of(known.at, self.now)
        match spec.settings["volatile"]:
            case "hourly":
                hourly = True
            case "daily":
                return age is None or self.now.date() > known.at.date()
            case "ignore":
                return False
            case _:
                hourly = self.changes_by_itself(spec.name) and all(
                    each.settings["volatile"] in ("auto", "hourly") for each in self.looked_through(spec.name)
                )
        return hourly and (age is None or age >= timedelta(hours=1))

    def _check_all(self, result: RunResult) -> None:
        """What is made anew cannot be compared with a rebuild of everything."""


class VolatileOnPostgres(PostgresHistory, VolatileHistory):
    """The same there."""

    def put_by_hand(self, name: str) -> None:
        VolatileHistory.put_by_hand(self, name)
