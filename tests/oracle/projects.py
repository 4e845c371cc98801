"""Histories of two projects, of which one reads public models of the other.

After each run of the one that reads, each of its relations holds what its query gives over what is really there; a second run at once
builds nothing. What it may not read fails, and what a test of the other project has failed for is held back.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sao_dagster import SqlProject, select
from sao_dagster.core.reasons import Mode, Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.run.report import RunResult
from sao_dagster.state.sql_store import SqlStateStore
from tests.oracle.on_postgres import SchemasOnPostgres
from tests.oracle.oracle import Schemas
from tests.oracle.specs import SHAPES, SOURCES, Spec, over, read

KINDS = ("table", "table", "view", "ephemeral")
DONE = (Outcome.BUILT, Outcome.REUSED)
BAD = 5  # a value that no model of `core` may have, as its tests say

picks = st.integers(0, 99)
drafts = st.lists(st.tuples(picks, picks, picks, picks), min_size=2, max_size=4)


class ProjectsHistory(Schemas, RuleBasedStateMachine):
    """`core` and `shop`, in one database and with one state."""

    @initialize(core=drafts, shop=drafts)
    def start(self, core: list[tuple[int, ...]], shop: list[tuple[int, ...]]) -> None:
        self.begin()
        self.execute("create schema raw")
        for number, name in enumerate(SOURCES):
            rows = (
                f"select i::int as id, (i % 3)::int as k, (i * {number + 2})::int as v from generate_series(0, 2) t(i)"
            )
            self.execute(f"create table raw.{name} as {rows}")
        self.core, self.shop = dict[str, Spec](), dict[str, Spec]()
        self.draw("m", core, self.core)
        self.draw("n", shop, self.shop)
        self.hidden: set[str] = set()
        self.store = SqlStateStore("sqlite://")
        self.run_core(picked=set(), force=False, tests=True)

    def draw(self, prefix: str, drawn: list[tuple[int, ...]], specs: dict[str, Spec]) -> None:
        for number, (shape, kind, first, second) in enumerate(drawn):
            known = [*SOURCES, *self.core, *(specs if specs is not self.core else ())]
            # what a view shows of another project has no version where it follows the clock
            shapes = [each for each in SHAPES if each != "day" or specs is not self.core]
            chosen = shapes[shape % len(shapes)]
            parents = (known[-1 - first % len(known)], known[second % len(known)])
            name = f"{prefix}{number}"
            kinds = KINDS[:3] if specs is self.core else KINDS  # of its models most can be read at first
            specs[name] = Spec(name, chosen, SHAPES[chosen], parents, kinds[kind % len(kinds)])

    # ------------------------------------------------------------------ what happens

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9), value=st.sampled_from([1, 2, 3, BAD]))
    def insert(self, source: str, key: int, value: int) -> None:
        self.execute(f"insert into raw.{source} (id, k, v) values ({key}, {key % 3}, {value})")

    @rule(source=st.sampled_from(SOURCES))
    def mend(self, source: str) -> None:
        self.execute(f"delete from raw.{source} where v = {BAD}")

    @rule(pick=picks, constant=st.integers(1, 3), kind=picks)
    def edit(self, pick: int, constant: int, kind: int) -> None:
        spec = self._pick({**self.core, **self.shop}, pick)
        spec.constant, spec.kind = constant, (*KINDS, *KINDS[:3])[kind % 7]

    @rule(pick=picks, hides=st.booleans())
    def hide_or_show(self, pick: int, hides: bool) -> None:
        self.hidden = {self._pick(self.core, pick).name} if hides else set()

    @rule(pick=picks)
    def drop(self, pick: int) -> None:
        name = self._pick(self.core, pick).name
        if (kind := self.kind_of(f"core.{name}")) is not None:
            self.execute(f"drop {kind} core.{name} {self.drop_behaviour}")

    @rule(pick=picks)
    def change_by_hand(self, pick: int) -> None:
        name = self._pick(self.core, pick).name
        if self.kind_of(f"core.{name}") == "table":
            self.execute(f"insert into core.{name} (id, k, v) values (33, 0, 4)")

    @rule(picked=st.sets(picks, max_size=2), force=st.booleans(), tests=st.booleans())
    def run_core(self, picked: set[int], force: bool, tests: bool) -> None:
        opened = self.opened("core")
        names = sorted({self._pick(self.core, each).name for each in picked})
        selection = select(opened.project, " ".join(names) or None)
        selection = selection if tests else selection.without_tests()
        result = opened.runner().run(selection, Mode.FORCE if force else Mode.STATE_AWARE)
        self.public = {name for name, spec in self.core.items() if self.is_public(spec)}
        failed = (each.test.name for each in result.tests if each.verdict is Verdict.FAIL)
        self.failing = {name.removeprefix("good_") for name in failed}
        self.above = {name: set(self.above_in_core(name)) for name in self.core}

    @rule(force=st.booleans())
    def run_shop(self, force: bool) -> None:
        result = self.run(Mode.FORCE if force else Mode.STATE_AWARE)
        self.check(result, held=not force)
        again = self.run()
        self.check(again, held=True)
        if all(each.decision.outcome in DONE for each in result.models):
            built = {each.name for each in again.models if each.decision.outcome is Outcome.BUILT}
            assert not built, f"built again at once: {[(each.name, each.decision) for each in again.models]}"

    # ------------------------------------------------------------------ what is held

    def check(self, result: RunResult, *, held: bool) -> None:
        for each in result.models:
            spec, decision = self.shop[each.name], each.decision
            if any(parent in self.core and parent not in self.public for parent in self.parents(spec)):
                assert decision.outcome is Outcome.FAILED, f"{each.name} reads what it may not: {decision}"
            if decision.outcome in DONE:
                expected = self.query(f"select id, k, v from ({self.sql(spec)}) as expected")
                found = self.query(f"select id, k, v from main.{spec.name}")
                assert found == expected, f"{each.name} is wrong: {decision}"
                standing = self.standing(spec) if held else set()
                assert not standing, f"{each.name} is below {standing}, which failed: {decision}"

    def standing(self, spec: Spec) -> set[str]:
        """Return the models of `core` whose test failed in its last run, and that are above a model of `shop`."""
        return {each for known in self.read_in_core(spec) for each in self.above[known] & self.failing}

    def read_in_core(self, spec: Spec) -> Iterator[str]:
        for parent in self.parents(spec):
            if parent in self.core:
                yield parent
            elif parent in self.shop:
                yield from self.read_in_core(self.shop[parent])

    def above_in_core(self, name: str) -> Iterator[str]:
        yield name
        for parent in self.parents(self.core[name]):
            if parent in self.core:
                yield from self.above_in_core(parent)

    # ------------------------------------------------------------------ how

    @staticmethod
    def parents(spec: Spec) -> tuple[str, ...]:
        """Return what a model really reads: of its two parents both or the first."""
        return tuple(each for each in spec.parents if read(each) in spec.sql())

    def is_public(self, spec: Spec) -> bool:
        return spec.name not in self.hidden and spec.kind != "ephemeral"

    def sql(self, spec: Spec) -> str:
        """Return the query of a model of `shop` over what is there."""

        def place(name: str) -> str:
            return f"raw.{name}" if name in SOURCES else f"core.{name}" if name in self.core else f"main.{name}"

        def inlined(name: str) -> Spec | None:
            return self.shop[name] if name in self.shop and self.shop[name].kind == "ephemeral" else None

        return over(spec, place, inlined)

    @staticmethod
    def _pick(specs: dict[str, Spec], number: int) -> Spec:
        return list(specs.values())[number % len(specs)]

    def opened(self, name: str) -> SqlProject:
        self.go_to("dev", "core" if name == "core" else "main")
        others = {} if name == "core" else {"core": "dev"}
        opened = SqlProject(name, warehouse=self.warehouse, state_url="sqlite://", projects=others)
        opened.__dict__["store"] = self.store
        for source in SOURCES:
            opened.source("raw", source)
        for spec in (self.core if name == "core" else self.shop).values():
            text = spec.sql()
            if name == "core":
                access = "public" if self.is_public(spec) else "protected"
                opened.model(name=spec.name, sql=text, materialized=spec.kind, config={"access": access})
                opened.test(f"good_{spec.name}", f"select * from {read(spec.name)} where v = {BAD}")
                continue
            for each in self.core:
                text = text.replace(read(each), f"{{{{ ref('core', '{each}') }}}}")
            opened.model(name=spec.name, sql=text, materialized=spec.kind)
        return opened

    def run(self, mode: Mode = Mode.STATE_AWARE) -> RunResult:
        opened = self.opened("shop")
        return opened.runner().run(select(opened.project), mode)


class ProjectsOnPostgres(SchemasOnPostgres, ProjectsHistory):
    """The same on PostgreSQL."""
