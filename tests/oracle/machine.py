"""Random projects with random histories, compared with an oracle after every run.

The oracle knows nothing of versions, records or policies. It asks the warehouse: does this relation hold what its
query gives now? Did anything that this query reads differ from the last time it was built?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sao_dagster import Column, DuckDBWarehouse, SqlProject, select
from sao_dagster.core.decide import Decision
from sao_dagster.core.inputs import is_undeclared
from sao_dagster.core.nodes import Materialized, Model, Node
from sao_dagster.core.policy import age_of
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode, Outcome, Reason
from sao_dagster.core.selection import Selection
from sao_dagster.run.events import Event, ModelResult, Planned
from sao_dagster.run.report import RunResult
from sao_dagster.warehouses.protocol import Warehouse
from tests.oracle.beside import beside_others
from tests.oracle.oracle import Built, Content, Oracle
from tests.oracle.specs import KINDS, SHAPES, SOURCES, Spec

HELD = {Reason.WITHIN_INTERVAL, Reason.WITHIN_TOLERANCE, Reason.WAITING_FOR_INPUTS}
STEPS = 25  # of a history, at most

picks = st.integers(0, 99)
drafts_of_models = st.lists(st.tuples(picks, picks, picks, picks), min_size=2, max_size=6)


class History(RuleBasedStateMachine):
    """One project and what happens to it."""

    oracle_type: ClassVar[Any] = Oracle
    shapes: ClassVar[Mapping[str, str]] = SHAPES
    kinds: ClassVar[tuple[str, ...]] = KINDS

    @initialize(drafts=drafts_of_models)
    def start(self, drafts: list[tuple[int, int, int, int]]) -> None:
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)
        self.warehouse = self.new_warehouse()
        self.oracle = self.oracle_type(self.warehouse)
        self.oracle.execute("create schema raw")
        for number, name in enumerate(SOURCES):
            self.oracle.execute(
                f"create table raw.{name} as select i::int as id, (i % 3)::int as k, (i * {number + 2})::int as v from generate_series(0, 4) t(i)"
            )
        self.prepare()
        self.specs: dict[str, Spec] = {}
        for number, (shape, kind, first, second) in enumerate(drafts):
            known = [*SOURCES, *self.specs]
            parents = (known[first % len(known)], known[second % len(known)])
            self.specs[f"m{number}"] = self.new_spec(f"m{number}", shape, kind, parents)
        self.saved: dict[str, str] = {}
        self.blocking: set[str] = set()
        self.replaced: set[str] = set()  # models in whose place somebody put another table, maybe of the same rows
        self.store = self._project().store

    def new_spec(self, name: str, shape: int, kind: int, parents: tuple[str, ...]) -> Spec:
        """Return a model of one of the shapes and kinds that the machine has."""
        shapes = list(self.shapes)
        chosen = shapes[shape % len(shapes)]
        return Spec(name, chosen, self.shapes[chosen], parents, self.kinds[kind % len(self.kinds)])

    def prepare(self) -> None:
        """Make what is there besides the sources."""

    def new_warehouse(self) -> Warehouse:
        """Return an empty warehouse."""
        return DuckDBWarehouse(path=":memory:", threads=2)

    def beside(self) -> Warehouse:
        """Return the same warehouse with another schema."""
        assert isinstance(self.warehouse, DuckDBWarehouse)
        found = replace(self.warehouse, schema="beside")
        found._memory.update(self.warehouse._memory)
        return found

    def put(self, table: str, query: str) -> None:
        """Put the rows of a query into a table, in place of what is there."""
        self.oracle.execute(f"create or replace table {table} as {query}")

    drop_behaviour = ""
    unknown_at_most = 0
    """How many builds of a history may be needless because an input could not be told to be as it was."""

    def teardown(self) -> None:
        if isinstance(self.warehouse, DuckDBWarehouse):
            self.warehouse._memory.clear()

    def _project(self, warehouse: Warehouse | None = None) -> SqlProject:
        opened = SqlProject("random", warehouse=warehouse or self.warehouse, state_url="sqlite://")
        for name in SOURCES:
            opened.source("raw", name, columns=self.columns())
        self.declare(opened)
        for spec in self.specs.values():
            opened.model(name=spec.name, sql=spec.sql(), columns=self.columns(), **spec.config())
        return opened

    def declare(self, opened: SqlProject) -> None:
        """Declare what the project has besides models and the sources that each has."""

    def columns(self) -> dict[str, Column]:
        """Return the columns that are declared of every model and source, with their data tests."""
        return {}

    def _pick(self, number: int) -> Spec:
        return list(self.specs.values())[number % len(self.specs)]

    # ------------------------------------------------------------------ what happens to sources

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9), value=st.integers(-3, 9))
    def insert(self, source: str, key: int, value: int) -> None:
        self.oracle.execute(f"insert into raw.{source} (id, k, v) values ({key}, {key % 3}, {value})")

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9), value=st.integers(-3, 9))
    def update(self, source: str, key: int, value: int) -> None:
        self.oracle.execute(f"update raw.{source} set v = {value} where id = {key}")

    @rule(source=st.sampled_from(SOURCES), key=st.integers(0, 9))
    def delete(self, source: str, key: int) -> None:
        self.oracle.execute(f"delete from raw.{source} where id = {key}")

    @rule(source=st.sampled_from(SOURCES))
    def save(self, source: str) -> None:
        self.put(f"raw.{source}_saved", f"select * from raw.{source}")
        self.saved[source] = f"raw.{source}_saved"

    @rule(source=st.sampled_from(SOURCES))
    def restore(self, source: str) -> None:
        if source in self.saved:
            self.put(f"raw.{source}", f"select * from {self.saved[source]}")

    @rule(source=st.sampled_from(SOURCES), kind=st.sampled_from(["bigint", "integer"]))
    def retype(self, source: str, kind: str) -> None:
        self.put(f"raw.{source}", f"select id, k, v::{kind} as v from raw.{source}")

    # ------------------------------------------------------------------ what happens to code and policies

    @rule(pick=picks)
    def edit(self, pick: int) -> None:
        self._pick(pick).constant += 1

    @rule(pick=picks)
    def edit_back(self, pick: int) -> None:
        self._pick(pick).constant = 1

    @rule(pick=picks, look=st.integers(0, 8))
    def edit_look(self, pick: int, look: int) -> None:
        self._pick(pick).cosmetic = look

    @rule(pick=picks, kind=picks)
    def rematerialize(self, pick: int, kind: int) -> None:
        self._pick(pick).kind = self.kinds[kind % len(self.kinds)]

    @rule(pick=picks, hours=st.sampled_from([0, 0, 2, 5]), updates_on=st.sampled_from(["any", "any", "all"]))
    def edit_policy(self, pick: int, hours: int, updates_on: str) -> None:
        self._pick(pick).hours = hours
        self._pick(pick).updates_on = updates_on

    @rule(pick=picks, hours=st.sampled_from([0, 3]))
    def edit_tolerance(self, pick: int, hours: int) -> None:
        self._pick(pick).tolerance = hours

    @rule(pick=picks, broken=st.booleans())
    def break_or_mend(self, pick: int, broken: bool) -> None:
        self._pick(pick).broken = broken

    # ------------------------------------------------------------------ what happens to the world

    @rule(pick=picks)
    def drop(self, pick: int) -> None:
        name = self._pick(pick).name
        for kind in ("view", "table"):
            if self.oracle.query(
                f"select 1 from information_schema.tables where table_name = '{name}' and table_schema = '{self.warehouse.schema}' and table_type {'=' if kind == 'view' else '<>'} 'VIEW'"
            ):
                self.oracle.execute(f"drop {kind} {self.warehouse.schema}.{name} {self.drop_behaviour}")

    @rule(pick=picks, change=st.sampled_from(["insert", "update", "delete", "replace"]))
    def change_by_hand(self, pick: int, change: str) -> None:
        """Somebody else changes what a model left behind, which its child may be the only one to read."""
        name = self._pick(pick).name
        if not self.oracle.query(
            f"select 1 from information_schema.tables where table_name = '{name}' and table_schema = '{self.warehouse.schema}' and table_type <> 'VIEW'"
        ):
            return
        if change == "replace":
            self.put_by_hand(name)
            self.replaced.add(name)
            return
        statements = {
            "insert": f"insert into {self.warehouse.schema}.{name} (id, k, v) values (33, 0, 4)",
            "update": f"update {self.warehouse.schema}.{name} set v = v + 1 where id = 1",
            "delete": f"delete from {self.warehouse.schema}.{name} where id = 33",
        }
        self.oracle.execute(statements[change])

    def put_by_hand(self, name: str) -> None:
        """Put another table in the place of a model's, with the rows of the first source."""
        self.oracle.execute(f"create or replace table {self.warehouse.schema}.{name} as select * from raw.{SOURCES[0]}")

    @rule(hours=st.sampled_from([1, 2, 4, 30, -3]))
    def move_clock(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    # ------------------------------------------------------------------ runs

    @rule()
    def run_all(self) -> None:
        self._run(None, Mode.STATE_AWARE)

    @rule()
    def run_all_again(self) -> None:
        self._run(None, Mode.STATE_AWARE)
        self._check_all(self._run(None, Mode.STATE_AWARE))

    @rule(pick=picks, before=st.booleans(), after=st.booleans(), waits=st.booleans())
    def run_some(self, pick: int, before: bool, after: bool, waits: bool) -> None:
        name = self._pick(pick).name
        with beside_others(waits=waits):
            self._run(f"{'+' if before else ''}{name}{'+' if after else ''}", Mode.STATE_AWARE)

    @rule(pick=picks)
    def run_what_reads_a_view_that_waits(self, pick: int) -> None:
        """Somebody has dropped a view, and changed the table behind it; the view waits at its turn, and what reads it is run with it."""
        order = list(self.specs)
        views = [
            (spec.name, [each for each in spec.parents if each in self.specs], below.name)
            for spec in self.specs.values()
            for below in self.specs.values()
            if spec.kind == "view" and spec.name in below.parents and below.kind == "table"
        ]
        if views:
            view, parents, below = views[pick % len(views)]
            self._run(f"+{below}", Mode.STATE_AWARE)
            for name in parents:
                self.change_by_hand(order.index(name), "insert")
            self.drop(order.index(view))
            with beside_others(waits=True):
                self._run(f"{view} {below}", Mode.STATE_AWARE)

    @rule(pick=picks, mode=st.sampled_from([Mode.FORCE, Mode.FULL_REFRESH]))
    def run_forced(self, pick: int, mode: Mode) -> None:
        self._run(self._pick(pick).name, mode)

    def _run(self, include: str | None, mode: Mode) -> RunResult:
        opened = self._project()
        project = opened.project
        assert not project.errors, project.errors
        runner = replace(opened.runner(), open_store=lambda: self.store, clock=lambda: self.now)
        there = {name: self._is_as_built(project, name) for name in project.nodes}
        before = {name: self._inputs(project, name) for name in project.nodes}
        self.before(project)
        self.last_selection = self.select(project, include)
        result = runner.run(self.last_selection, mode, on_event=self.hear)
        self.blocking = {each.test.tested for each in result.tests if each.blocks}
        for each in sorted(result.models, key=lambda each: project.graph.order.index(each.name)):
            self._check(project, each, mode, there=there[each.name], before=before[each.name])
        self.after(result)
        return result

    def hear(self, event: Event) -> None:
        """Note the plan that a run starts from."""
        if isinstance(event, Planned):
            self.planned = event

    def select(self, project: Project, include: str | None) -> Selection:
        """Return what a run is about."""
        return select(project, include)

    def before(self, project: Project) -> None:
        """Look at what is there before a run."""

    def after(self, result: RunResult) -> None:
        """Look at a run that is over."""

    # ------------------------------------------------------------------ the oracle

    def _is_as_built(self, project: Project, name: str) -> bool:
        """Whether a relation is there, and nobody else has changed it."""
        known = self.oracle.built.get(name)
        types = self._types(project, name)
        if known is None or not project.nodes[name].materialized.holds_data:
            return bool(types)
        return types == known.types and self._content(project, name) == known.content

    def _content(self, project: Project, name: str) -> Content | None:
        """What a relation holds now; None where it cannot be read."""
        relation = f"raw.{name.rpartition('.')[2]}" if name.startswith("source:") else str(project.nodes[name].relation)
        try:
            return self.oracle.query(f"select * from {relation}")
        except Exception:  # noqa: BLE001 - whatever the reason, it cannot be read
            return None

    def _types(self, project: Project, name: str) -> Content:
        """Names and types of its columns; none where it is not there."""
        schema = "raw" if name.startswith("source:") else project.nodes[name].relation.schema
        return self._types_of(schema, name.rpartition(".")[2])

    def _types_of(self, schema: str, table: str) -> Content:
        return self.oracle.query(
            f"select column_name, data_type, ordinal_position from information_schema.columns "
            f"where table_schema = '{schema}' and table_name = '{table}'"
        )

    def _inputs(self, project: Project, name: str) -> dict[str, Any]:
        """What the query of a model reads, through views: contents, types, and what the views mean as they were built."""
        inputs = project.graph.inputs(name)
        seen: dict[str, Any] = {}
        if project.nodes[name].materialized is Materialized.VIEW:
            types = {f"{read} types": self._types(project, read) for read in project.graph.relations_read(name)}
            return types | self.read_besides(project, name, only_types=True)
        for read in (each for each in inputs.data if not is_undeclared(each)):
            seen[read] = (self._content(project, read), self._types(project, read))
        for view in inputs.views:
            seen[view] = self.oracle.built[view].meaning if view in self.oracle.built else None
        return seen | self.read_besides(project, name)

    def read_besides(self, project: Project, name: str, *, only_types: bool = False) -> dict[str, Any]:
        """What else a query reads; None for what is not there. Of what a view reads only the types count."""
        return {}

    def looked_through(self, name: str) -> Iterator[Spec]:
        """Yield a model, and the views and ephemerals that its rows come through."""
        yield self.specs[name]
        for parent in self.specs[name].parents:
            if parent in self.specs and self.specs[parent].kind in ("view", "ephemeral"):
                yield from self.looked_through(parent)

    def _meaning(self, project: Project, name: str) -> tuple[Any, ...]:
        """The meaning of a query, with that of the ephemerals that are part of it."""
        own = self.specs[name].meaning()
        parents = [parent for parent in project.graph.parents[name] if parent in self.specs]
        inlined = [self._meaning(project, each) for each in parents if self.specs[each].kind == "ephemeral"]
        return (own, *inlined)

    def _check(self, project: Project, result: ModelResult, mode: Mode, *, there: bool, before: dict[str, Any]) -> None:
        name, decision = result.name, result.decision
        node = project.nodes[name]
        known = self.oracle.built.get(name)
        if decision.outcome in (Outcome.FAILED, Outcome.SKIPPED):
            if (
                there
                and known
                and node.materialized.holds_data
                and self.specs[name].meaning()[2] == known.meaning[0][2]
            ):
                assert self._content(project, name) == known.content, f"{name} failed and changed"
            assert decision.outcome is Outcome.SKIPPED or self._is_broken(project, name), decision
            return
        now = self._content(project, name)
        if decision.outcome is Outcome.REUSED and decision.reason in HELD:
            assert known is not None
            assert now == known.content, f"{name} is held back and differs from what was built"
            return
        assert all(self._content(project, read) is not None for read in project.graph.relations_read(name)), (
            f"{name} is {decision.outcome.value}, and something that it reads is gone"
        )
        fresh = self.fresh(node)
        assert now is not None
        if node.materialized is Materialized.INCREMENTAL and "<<" in self.specs[name].body:
            self.check_increment(project, result, now)
        elif node.materialized is Materialized.INCREMENTAL:
            assert not fresh - now, f"{name} lacks rows: {decision}"
        else:
            assert not self.is_comparable(name) or self.compared(project, name, now) == self.compared(
                project, name, fresh
            ), f"{name} is {decision.outcome.value} for {decision.reason.value}, and differs from a rebuild"
        meaning = self._meaning(project, name)
        inputs = self._inputs(project, name)
        if decision.outcome is Outcome.BUILT:
            if mode is Mode.STATE_AWARE:
                self._check_needed(known, meaning, inputs, decision, there=there)
            self.replaced.discard(name)
            changed = known is None or not there or (known.meaning, known.content) != (meaning, now)
            self.oracle.built[name] = Built(meaning, inputs, now, self._types(project, name), self.now, changed)

    def _check_needed(self, known: Built | None, meaning: Any, inputs: Any, decision: Any, *, there: bool) -> None:
        """Something that a build depends on must have changed since the last one."""
        if known is None or not there:
            return
        expired = decision.reason is Reason.VOLATILE_EXPIRED and self.may_expire(known)
        unsettled = decision.reason is Reason.UNSETTLED and known.changed
        replaced = decision.reason is Reason.RELATION_ALTERED and decision.model in self.replaced
        unknown = self.unknown_at_most > 0 and self.is_unknown(decision)
        self.unknown_at_most -= unknown
        assert known.meaning != meaning or known.inputs != inputs or expired or replaced or unsettled or unknown, (
            f"needless build: {decision}"
        )

    def is_unknown(self, decision: Decision) -> bool:
        """Return whether something was built because it was not known to be as it was."""
        return decision.reason is Reason.INPUT_UNKNOWN

    def may_expire(self, known: Built) -> bool:
        """Return whether what was built then may have stopped being true by itself."""
        return self.now.date() > known.at.date() or age_of(known.at, self.now) is None

    def fresh(self, node: Node) -> Content:
        """Return the rows that building a node now would give."""
        assert isinstance(node, Model)
        return self.oracle.query(node.compiled.sql)

    def is_comparable(self, name: str) -> bool:
        """Return whether asking the query of a model again gives the same."""
        return True

    def compared(self, project: Project, name: str, rows: Content) -> Content:
        """Return what is compared of the rows of a model."""
        return rows

    def check_increment(self, project: Project, result: ModelResult, now: Content) -> None:
        """Look at an incremental model that reads itself, after it was built or reused."""

    def _is_broken(self, project: Project, name: str) -> bool:
        names = {name, *project.graph.ancestors([name])}
        if not self.blocking.isdisjoint({*names, *project.graph.sources_above([name])}):
            return True
        if any(self.specs[each].broken for each in names if each in self.specs):
            return True
        reads = [
            read
            for each in (name, *(parent for parent in names if parent in self.specs))
            for read in project.graph.relations_read(each)
        ]
        if any(self._content(project, read) is None for read in reads):
            return True
        return any(
            each is None for known in names & self.specs.keys() for each in self.read_besides(project, known).values()
        )

    def _check_all(self, result: RunResult) -> None:
        """Where nothing of a run over everything was held back, all of it equals a rebuild from scratch beside it."""
        project = self._project().project
        kept = [node for node in project.nodes.values() if node.materialized is not Materialized.EPHEMERAL]
        plain = all(
            each.decision.outcome is Outcome.BUILT or each.decision.reason is Reason.NO_NEW_DATA
            for each in result.models
        )
        history = any(node.materialized is Materialized.INCREMENTAL for node in kept)
        if len(result.models) < len(kept) or not plain or history:
            return
        fresh = self._project(self.beside())
        models = replace(select(fresh.project), tests=())
        assert fresh.runner().run(models, Mode.FULL_REFRESH).succeeded
        for node in kept:
            rebuilt = self.oracle.query(f"select * from {fresh.project.nodes[node.name].relation}")
            assert self._content(project, node.name) == rebuilt, f"{node.name} differs from a rebuild of everything"
        fresh.store.close()
