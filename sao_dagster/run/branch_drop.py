"""Dropping what `sao ci` has made for branches: what their runs have built, and the schemas in which nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sao_dagster.core.environment import Branch
from sao_dagster.core.messages import Message
from sao_dagster.core.relations import Relation
from sao_dagster.errors import StateError, WarehouseError
from sao_dagster.run.branch_schemas import DROPPING, FORGOTTEN, IN_USE, OwnRelations, forget_unused, in_use, said
from sao_dagster.run.environments import built_in
from sao_dagster.run.runner import Runner
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Session

Telling = Callable[[Message], None]


@dataclass(frozen=True)
class Dropped:
    """What is dropped of a branch.

    Attributes:
        environment: The key of its environment.
        schemas: The schemas that go, as people name them.
        relations: How many tables and views go.
        left: What stays, by the schema that stays with it: what no run of the branch has built, or is not known to be what was built.
        is_known: Whether the state knows of builds of the branch; they may have been forgotten.
    """

    environment: str
    schemas: tuple[str, ...]
    relations: int
    left: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_known: bool = True

    @property
    def why_left(self) -> str:
        """Why something stays."""
        return "nobody knows that a run of this branch has left it as it is" if self.is_known else FORGOTTEN


def drop_branch(runner: Runner, *, dry_run: bool, on_message: Telling | None = None) -> Dropped | None:
    """Drop what was made for a branch, and forget its environment; None where there is nothing.

    Args:
        runner: That of the branch.
        dry_run: Whether nothing is dropped.
        on_message: Told at once whom it waits for.

    Raises:
        WarehouseError: The schema is there, and `sao ci` has not made it; or a view elsewhere reads what is in it.
        StateError: It is in use.
    """
    with runner.warehouse.session(read_only=dry_run, on_message=on_message) as session:
        store = runner.open_store()
        here = runner.settled(session, store)
        branch = store.branch(here.key)
        if branch is None:
            forget_unused(store, here.key)
            schema = runner.warehouse.schema
            if session.has_schema(runner.warehouse.database, schema):
                raise WarehouseError(
                    f"sao ci has not made the schema {schema}, as far as the state knows, and does not drop it; if it is to go, drop it yourself: "
                    f"drop schema {schema} cascade"
                )
            return None
        return _Drop(runner, session, store, here.database).of(branch, here.schema, dry_run=dry_run)


def drop_expired(
    runner: Runner, days: float, *, dry_run: bool, on_message: Telling | None = None
) -> tuple[Dropped, ...]:
    """Drop what was made for branches of this project that were not used for some days, and forget their environments.

    One that is in another database, or in use, is left alone, and said.

    Args:
        runner: That of the project, in the database whose schemas are dropped.
        days: After how many days without use.
        dry_run: Whether nothing is dropped.
        on_message: Told at once whom it waits for, and what is left.
    """
    found = []
    with runner.warehouse.session(read_only=dry_run, on_message=on_message) as session:
        store = runner.open_store()
        database = runner.settled(session, store).database
        known = {each.key: each for each in store.environments()}
        drop = _Drop(runner, session, store, database)
        for branch in expired(store, runner.project.name, days):
            if known[branch.environment].is_in(database):
                try:
                    found.append(drop.of(branch, known[branch.environment].schema, dry_run=dry_run))
                    continue
                except (WarehouseError, StateError) as error:
                    left = f"{branch.environment} is left: {error.message}"
            else:
                left = f"{branch.environment} is in {', '.join(known[branch.environment].places)}, and is left there"
            if on_message is not None:
                on_message(Message(left))
    return tuple(found)


def expired(store: StateStore, project: str, days: float) -> list[Branch]:
    """Return the environments that were made for branches of a project and were not used for some days."""
    before = store.now() - timedelta(days=days)
    own = {each.key for each in store.environments() if each.name.startswith(f"{project}.")}
    return [each for each in store.branches() if each.used_at < before and each.environment in own]


def forget_expired(store: StateStore, project: str, days: float | None) -> None:
    """Forget what branches that were not used for some days do not need to be dropped: that is their schemas, and what was built in them."""
    for branch in [] if days is None else expired(store, project, days):
        store.forget_environment(branch.environment, is_gone=False)


@dataclass(frozen=True)
class _Drop:
    """Drops what was made for branches that are in one database.

    Attributes:
        runner: That of the project, as it is now.
        session: The database, open.
        store: The shared state.
        database: What tells the database from all others.
    """

    runner: Runner
    session: Session
    store: StateStore
    database: str

    def of(self, branch: Branch, schema: str, *, dry_run: bool) -> Dropped:
        """Drop what runs of a branch have built, and its schemas that are empty then; forget its environment unless something is left.

        Args:
            branch: The branch.
            schema: The default schema of its environment.
            dry_run: Whether nothing is dropped.

        Raises:
            WarehouseError: A view reads what is dropped, and stays; or another environment has built something there.
            StateError: It is in use.
        """
        with in_use(self.store, branch.environment, DROPPING, self.runner):
            held = [each for each in self.store.leases(branch.environment) if each.model != IN_USE]
            if held:
                raise StateError(
                    f"{held[0].model} is being built in {branch.environment} by run {held[0].run_id}; wait for it, or stop it"
                )
            return self._dropped(branch, schema, dry_run=dry_run)

    def _dropped(self, branch: Branch, schema: str, *, dry_run: bool) -> Dropped:
        catalog, builds = self.session.catalog(), self.store.builds(branch.environment)
        relations = OwnRelations(branch.schemas, self.session, catalog, self.runner.project, branch, builds, schema)
        inside = relations.within(branch.schemas)
        theirs = next((each for each in self._built_by_others(branch) if each.key in inside), None)
        if theirs is not None:
            raise WarehouseError(f"another environment has built {theirs.plain}; the schema is not dropped")
        own = relations.all()
        others = [Relation(*key) for key, info in catalog.items() if info.is_view and key not in own]
        reading = [view for view, read in self.session.behind_views(others).items() if not read.isdisjoint(own)]
        if reading:
            raise WarehouseError(
                f"the view {reading[0].plain} reads what is in {said(branch.schemas[0])}; drop it first"
            )
        left = {
            each: [Relation(*key).plain for key in sorted(relations.within([each]) - own.keys())]
            for each in branch.schemas
        }
        if not dry_run:
            views = [relation for key, relation in own.items() if catalog[key].is_view]
            self.session.drop_relations([each for each in own.values() if each not in views], views)
            for each in branch.schemas:
                if not left[each] and self.session.has_schema(*each):
                    try:
                        self.session.drop_schema(*each)
                    except WarehouseError as error:  # a function is in it, for example
                        left[each] = [error.message]
            self.store.forget_environment(branch.environment, is_gone=not any(left.values()))
        return Dropped(
            branch.environment,
            tuple(said(each) for each in branch.schemas if not left[each]),
            len(own),
            {said(each): tuple(names) for each, names in left.items() if names},
            is_known=bool(builds),
        )

    def _built_by_others(self, branch: Branch) -> Iterator[Relation]:
        """Yield what other environments of the database have built."""
        for each in self.store.environments():
            if each.key != branch.environment and each.is_in(self.database):
                yield from built_in(self.store, each, self.runner.project.dialect)
