"""What a run would do: the warehouse opened, what is there observed, and everything decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.decide import KeptDecisions
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.environment import Environment
from sao_dagster.core.facts import Facts
from sao_dagster.core.messages import Message
from sao_dagster.core.plan import Plan, make_plan
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection
from sao_dagster.errors import SaoError, StateError
from sao_dagster.gc_pause import no_collection
from sao_dagster.run.catalog_inputs import with_catalog, with_first
from sao_dagster.run.defer import DeferringTo, InPlace, deferral_of, known_by_builds, with_missing
from sao_dagster.run.elsewhere import Offers, Reusable
from sao_dagster.run.observe import Observation, observe
from sao_dagster.run.others import check_reached, reaching
from sao_dagster.run.project_hooks import ProjectHooks
from sao_dagster.run.prove import Prover
from sao_dagster.run.settings import RunSettings, utc_now
from sao_dagster.sql.inference.kept import KeptProofs
from sao_dagster.sql.kept_unsettled import KeptUnsettled
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Materializer, Session, ToldWarehouse, VersionsBy, Warehouse
from sao_dagster.warehouses.shared.kept_answers import KeptAnswers, NotKeptError

if TYPE_CHECKING:
    from typing_extensions import Self

NOTHING = Selection((), (), ())
P = TypeVar("P", bound="Planner")


@dataclass(frozen=True, kw_only=True)
class Planner(RunSettings):
    """Plans selections of one project, by settings.

    Attributes:
        project: What there is to build.
        warehouse: Where to build it.
        open_store: Opens the shared state.
        materializer: Who builds; None for the warehouse's own way.
        proofs: What was proven before.
        unsettled: What was found of incremental models before.
        decisions: What its plans have decided before; None where there is only one.
        answers: What the warehouse has told its plans before; likewise.
        assemble: Puts the project together so that nodes are read where a deferral says, for a selection and in a session; None where the
            session has let go of its database for that, so that what is there has to be looked at again.
        find_deferred: Finds another environment, from which is read what this one does not have; None for none.
        deferred: That environment, once it is found.
        find_reusable: Finds the environments from which is taken what they have built; None for none.
        reusable: Those environments, once they are found.
        session: The open warehouse that it works in; None where each plan and each run opens one.
    """

    project: Project
    warehouse: Warehouse
    open_store: Callable[[], StateStore]
    assemble: Callable[[Deferral, Selection, Session], Project | None]
    materializer: Materializer | None = None
    proofs: KeptProofs = field(default_factory=KeptProofs)
    unsettled: KeptUnsettled = field(default_factory=KeptUnsettled)
    decisions: KeptDecisions | None = None
    answers: KeptAnswers | None = None
    find_deferred: Callable[[], DeferringTo] | None = None
    deferred: DeferringTo | None = None
    find_reusable: Callable[[], Reusable] | None = None
    reusable: Reusable = field(default_factory=Reusable)
    session: Session | None = None

    @contextmanager
    def in_session(self, on_message: Callable[[Message], None] | None = None) -> Iterator[tuple[Self, Session]]:
        """Open the warehouse, and lend the session with the runner that does all its work in it.

        Args:
            on_message: Told at once whom it waits for.
        """
        ready = self.reaching()
        with ready.warehouse.session(on_message=on_message) as session:
            yield replace(ready, session=session), session

    def plan(
        self,
        selection: Selection,
        mode: Mode = Mode.STATE_AWARE,
        *,
        wait_seconds: float | None = None,
        on_message: Callable[[Message], None] | None = None,
    ) -> tuple[Plan, Observation]:
        """Return what a run would do now, and what that was decided from. Builds nothing.

        Args:
            selection: What it is about.
            mode: How it decides.
            wait_seconds: How long to wait for a warehouse that is held; None for its own setting.
            on_message: Told at once whom it waits for.

        Raises:
            ProjectErrors: The project as a whole has errors.
            StateError: The state cannot be read.
            WarehouseBusyError: The warehouse is held by another process for longer than `wait_seconds`.
        """
        self.project.check()
        ready, store = self.reaching(), self.open_store()
        with no_collection():
            prepared = ready._prepared_unopened(selection, mode, store)
            if prepared is None:
                opening = ready._opening(read_only=True, wait_seconds=wait_seconds, on_message=on_message)
                with opening as opened:
                    session = opened if self.answers is None else self.answers.keeping(ready.warehouse, opened)
                    prepared = ready._prepared(selection, NOTHING, mode, session, store)
            return prepared.plan, prepared.seen

    def reaching(self) -> Self:
        """Return the runner whose sessions read other projects, and the other environments that it defers to, or takes builds from.

        One that has a session is such a runner.
        """
        if self.session is not None:
            return self
        others, deferred = self.project.others.values(), None
        warehouse = reaching(others, self.warehouse)
        names = {other.place: other.database for other in others if other.place}
        if self.find_deferred is not None:
            warehouse, deferred = self.find_deferred().reached_by(warehouse, names)
        reusable = Reusable() if self.find_reusable is None else self._find(self.find_reusable)
        warehouse, reusable = reusable.reached_by(warehouse, names)
        return replace(self, warehouse=warehouse, deferred=deferred, reusable=reusable)

    def settled(self, session: Session, store: StateStore) -> Environment:
        """Return the environment that an open warehouse turns out to be, and let the state know where it is."""
        where = Environment(name=self.project.environment, schema=self.warehouse.schema, database=self.warehouse.place)
        found = replace(where, database=session.database_id() or where.database)
        store.settle(found, where, {name: str(node.relation) for name, node in self.project.nodes.items()})
        return found

    def observe(
        self, selection: Selection, mode: Mode, session: Session, store: StateStore, now: datetime
    ) -> Observation:
        """Return what is known of a selection now, by the settings of this runner; see `observe.observe`.

        Nothing is looked up of what is broken as it is written.
        """
        seen = observe(
            self.project,
            selection.without(self.project.broken),
            store=store,
            session=session,
            capabilities=self.warehouse.capabilities,
            now=now,
            budget_seconds=self.observe_seconds,
            verify=self.verify and mode is Mode.STATE_AWARE,
            unsettled=self.unsettled,
        )
        if self.deferred is None or not isinstance(self.warehouse, ToldWarehouse):
            return seen
        return known_by_builds(seen, self.project, self.deferred)

    def _opening(
        self,
        *,
        on_message: Callable[[Message], None] | None,
        read_only: bool = False,
        wait_seconds: float | None = None,
    ) -> AbstractContextManager[Session]:
        """Open the warehouse (see `Warehouse.session`), unless a session was lent."""
        if self.session is not None:
            return nullcontext(self.session)
        return self.warehouse.session(read_only=read_only, wait_seconds=wait_seconds, on_message=on_message)

    def _prepared_unopened(self, selection: Selection, mode: Mode, store: StateStore) -> Prepared[Self] | None:
        """Return what a plan starts from where the warehouse has said all of it before, and shows that it would say it again; else None."""
        session = None if self.answers is None or self.session is not None else self.answers.unopened(self.warehouse)
        if session is None:
            return None
        try:
            prepared = self._prepared(selection, NOTHING, mode, session, store)
        except (NotKeptError, SaoError):
            if not session.has_refused:
                raise
            return None
        return None if session.has_refused else prepared  # a template may have made something of the error

    def _find(self, find: Callable[[], Reusable]) -> Reusable:
        try:
            return find()
        except StateError:
            if not self.build_without_state:
                raise
            return Reusable()

    def _prepared(
        self, selection: Selection, within: Selection, mode: Mode, session: Session, store: StateStore
    ) -> Prepared[Self]:
        """Return all that a run starts from; what is read from other environments that have the same is decided then, and is no part of it."""
        runner, selection = self._opened_for(selection, within, session, store)
        while True:
            in_place = self._in_place(runner, selection, mode, session, store)
            if not in_place.offers:
                return Prepared(runner, selection, *runner._plan(selection, mode, session, store), in_place)
            rest = selection.without(in_place.decisions)
            reading = self._opened(rest, session, store, in_place)
            plan, seen = reading._plan(rest, mode, session, store)
            if all(seen.facts.versions.get(name, held) == held for name, held in in_place.versions.items()):
                return Prepared(reading, rest, in_place.added_to(plan), seen, in_place)

    def _opened_for(
        self, selection: Selection, within: Selection, session: Session, store: StateStore
    ) -> tuple[Self, Selection]:
        """Return the runner for an open warehouse, and the selection with what comes before it by the catalog alone; see `with_first`.

        What templates ask is known of what is selected, so what was added is asked, too.
        """
        runner = self._opened(selection, session, store)
        while (wider := with_first(selection, within, self.project, runner.project)) != selection:
            selection = wider
            runner = self._opened(selection, session, store)
        return runner, selection

    def _opened(
        self,
        selection: Selection,
        session: Session,
        store: StateStore,
        in_place: InPlace = InPlace(),  # noqa: B008 - frozen
    ) -> Self:
        """Return the runner for an open warehouse: in the environment that it turns out to be, by the store's time.

        What its catalog says of functions and views is part of the project then. All machines agree on that time; a runner that was given a time of its own keeps it.

        Args:
            selection: What it is about.
            session: The warehouse, open.
            store: The shared state.
            in_place: What is read from other environments that have the same.
        """
        ahead = store.now() - utc_now()
        clock = self.clock if self.clock is not utc_now else lambda: utc_now() + ahead
        found = self.settled(session, store)
        check_reached(self.project.others.values(), found.database)
        selection = selection.without(self.project.broken)
        project = self._reading_elsewhere(selection, session, store, found, in_place)
        project = with_catalog(project, selection, session, clock()).in_environment(found.key)
        return replace(self, project=project, clock=clock, reusable=self.reusable.seen_from(found))

    def _reading_elsewhere(
        self, selection: Selection, session: Session, store: StateStore, here: Environment, in_place: InPlace
    ) -> Project:
        """Return the project in which a selection reads from other environments what this one does not have."""
        elsewhere = None if self.deferred is None or self.deferred.known.key == here.key else self.deferred
        if elsewhere is not None:
            elsewhere.check_is_reached(here.database)
        elif not in_place.offers:
            return self.project
        project = None
        while project is None:
            deferral = Deferral()
            if elsewhere is not None:
                there = session.catalog().keys()
                deferral = deferral_of(self.project, selection, elsewhere, store.builds(here.key), there)
            deferral = deferral.also(in_place.environments, in_place.relations)
            project = self.assemble(deferral, selection, session)
        return replace(project, deferral=deferral)

    def _in_place(
        self, runner: Planner, selection: Selection, mode: Mode, session: Session, store: StateStore
    ) -> InPlace:
        """Return what other environments have of a selection, and of what it reads and this one does not have (`clone: defer`)."""
        reusable, project = runner.reusable, runner.project
        if reusable.clone != "defer" or not reusable.environments:
            return InPlace()
        wider = with_missing(project, selection, store.builds(project.environment), session.catalog().keys())
        asking = runner if wider == selection else self._opened(wider, session, store)
        now = asking.clock()
        seen = asking.observe(wider, Mode.STATE_AWARE, session, store, now)
        offers = asking._offers(seen, session, seen.contents)
        lasting = tuple(
            each for each in offers.environments if not each.known.is_branch
        )  # what a branch has goes with it
        offers = replace(offers, environments=lasting, in_place=True)
        plan = make_plan(asking.project, wider, seen.facts, now, offers=offers.of)
        return InPlace.of(plan, selection, mode, seen.catalog, project)

    def _plan(self, selection: Selection, mode: Mode, session: Session, store: StateStore) -> tuple[Plan, Observation]:
        now = self.clock()
        seen = self.observe(selection, mode, session, store, now)
        prover = self._prover(session, lambda: seen.facts, seen)
        offers = self._offers(seen, session, seen.contents)
        plan = make_plan(
            self.project,
            selection,
            seen.facts,
            now,
            mode,
            prover.prove,
            self.patience,
            offers.of,
            offers.verdicts_of,
            self.decisions,
        )
        self._save()
        return replace(plan, warnings=(*plan.warnings, *self.reusable.warnings, *offers.warnings)), seen

    def _save(self) -> None:
        """Keep what was found out about the SQL of models for the next process."""
        self.proofs.save(self.project.nodes.keys())
        self.unsettled.save(self.project.nodes.keys())

    def _offers(self, seen: Observation, session: Session, contents: Mapping[str, DataVersion]) -> Offers:
        """Return what other environments have of what is to be built; nothing where versions are not read by content.

        Args:
            seen: What was observed.
            session: The warehouse, open.
            contents: What is known to be still in it.
        """
        can = self.warehouse.capabilities
        by_content = can.source_versions is can.model_versions is VersionsBy.CONTENT
        return Offers(
            self.reusable.environments if by_content else (),
            self.project,
            session,
            seen.catalog,
            known=contents,
            seconds=self.observe_seconds,
            by_view=self.reusable.clone != "copy" and can.exclusive and can.views_by_name,
        )

    def _prover(self, session: Session, facts: Callable[[], Facts], seen: Observation) -> Prover:
        exclusive = self.warehouse.capabilities.exclusive
        return Prover(self.project, session, facts, seen.catalog, exclusive=exclusive, kept=self.proofs)


@dataclass(frozen=True)
class Prepared(Generic[P]):
    """All that a run starts from.

    Attributes:
        runner: Its runner, for the open warehouse.
        selection: What it builds and tests.
        plan: What it is going to do, with what is read in place.
        seen: What that was decided from.
        in_place: What is read in other environments that have the same.
    """

    runner: P
    selection: Selection
    plan: Plan
    seen: Observation
    in_place: InPlace

    def tests_after(self, hooks: ProjectHooks) -> bool:
        """Return whether data tests that are foreseen to be run may run only after the start of the run."""
        tests, facts = self.runner.project.tests, self.seen.facts
        return any(hooks.are_before(tests[name], facts) for name in self.plan.to_test)
