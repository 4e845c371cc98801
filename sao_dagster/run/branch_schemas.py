"""Schemas that are a branch's own: made before it is built, in use for as long as it is, and what in them its runs have made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from sao_dagster.core.data_version import ANY_BUILD, DataVersion
from sao_dagster.core.environment import Branch
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation, RelationKey, folded
from sao_dagster.core.selection import Selection
from sao_dagster.errors import SaoError, StateError, WarehouseError
from sao_dagster.run.elsewhere import Elsewhere
from sao_dagster.run.lease_queue import Granted, LeaseQueue, describe_holder
from sao_dagster.run.runner import Runner
from sao_dagster.run.settings import RunSettings
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Catalog, Session

Schema = tuple[str, str]
"""A database (empty for the one that is connected to), and a schema in it."""

IN_USE = "/sao ci"
"""What stands for a whole branch among leases; no model is called so."""
BUILDING, DROPPING = "sao ci", "sao ci drop"
"""On whose behalf it is leased."""
FORGOTTEN = (
    "the state knows of no build of this branch any more (sao state clear forgets them), and so not what is its own"
)
"""Why a schema is left alone although the state knows that it is the branch's."""
_READ_SECONDS = 3600.0  # for what the tables of one branch hold


@contextmanager
def claimed_schemas(runner: Runner, session: Session, selection: Selection) -> Iterator[None]:
    """Create the schemas that a selection is built into, and let nobody drop them for as long as the context lasts.

    The state keeps that they are this branch's own. Nothing is done where nothing is built.

    Args:
        runner: That of the branch, which defers to the environment that it is compared with.
        session: The warehouse that it works in.
        selection: What is going to be built.

    Raises:
        WarehouseError: One of the schemas is there, and `sao ci` has not made it for this branch; nothing was made.
        StateError: They are being dropped.
        UnsupportedError: SQL does not reach the other environment.
    """
    project, elsewhere, here = runner.project, compared_with(runner), runner.warehouse.schema
    if folded(here) == folded(elsewhere.known.schema):
        raise WarehouseError(f"the schema {here} is that of {elsewhere.name}; name another one with --schema")
    nodes = (project.nodes[name] for name in selection.nodes)
    built = [node.relation for node in nodes if node.materialized is not Materialized.EPHEMERAL]
    kept = [each for name in selection.tests if (each := project.tests[name].store_failures) is not None]
    wanted = list(dict.fromkeys((each.database or "", each.schema) for each in (*built, *kept)))
    shared = [each for each in wanted if folded(here) not in folded(each[1])]
    if shared:
        raise WarehouseError(
            f"what is selected is built into the schema {said(shared[0])}, whatever the schema of the target is: it would not be this branch's "
            f"own. Let generate_schema_name put {here} into it"
        )
    store = runner.open_store()
    found = runner.settled(session, store)
    if not wanted:
        yield
        forget_unused(store, found.key)
        return
    with _refusing(store, found.key):
        elsewhere.check_is_reached(found.database)
    with in_use(store, found.key, BUILDING, runner):
        known, now = store.branch(found.key), store.now()
        branch = known or Branch(environment=found.key, against="", schemas=(), made_at=now, used_at=now)
        branch = replace(branch, against=elsewhere.name, used_at=now, failures=tuple(map(str, kept)))
        with _refusing(store, found.key):
            _make(wanted, branch, session, store, project, here)
        yield


def forget_unused(store: StateStore, environment: str) -> None:
    """Forget an environment in which nothing was ever built, and that is no branch's: that somebody looked at the place is all there is."""
    if store.branch(environment) is None and not store.builds(environment):
        store.forget_environment(environment, is_gone=True)


@contextmanager
def _refusing(store: StateStore, environment: str) -> Iterator[None]:
    """Leave nothing behind of an environment that was looked at alone, where what is asked here is refused."""
    try:
        yield
    except SaoError:
        forget_unused(store, environment)
        raise


def compared_with(runner: Runner) -> Elsewhere:
    """Return the environment that a runner defers to, once it is found."""
    assert runner.deferred is not None  # noqa: S101 - whoever calls has set it
    return runner.deferred


def _make(
    wanted: Collection[Schema], branch: Branch, session: Session, store: StateStore, project: Project, here: str
) -> None:
    """Make schemas that are not there, unless one of those that are there is not the branch's own.

    Raises:
        WarehouseError: One is not; nothing was made.
    """
    there = [each for each in wanted if session.has_schema(*each)]
    if there:
        builds = store.builds(branch.environment)
        own = OwnRelations(there, session, session.catalog(), project, branch, builds, here)
        for each in there:
            if each not in branch.schemas:
                why = "sao ci has not made it for this branch, as far as the state knows"
            elif own.within([each]) and not own.stand_in(each):
                why = (
                    "nothing in it is what runs of this branch have built, so somebody has made it anew"
                    if builds
                    else FORGOTTEN
                )
            else:
                continue
            raise WarehouseError(
                f"the schema {said(each)} is there, and {why}: nothing is built into it. Name another one with --schema, or drop it yourself"
            )
    for each in wanted:
        if each not in there:
            session.make_schema(*each)
            branch = replace(branch, schemas=tuple(dict.fromkeys((*branch.schemas, each))))
            store.keep_branch(branch)
    store.keep_branch(branch)


@dataclass(frozen=True)
class OwnRelations:
    """Tells what in some schemas the runs of a branch have made from what others have put there.

    Attributes:
        schemas: The schemas.
        session: The warehouse, open.
        catalog: What is in it.
        project: The project, as it is now.
        branch: The branch.
        builds: Its last builds, by model.
        schema: The default schema of its environment.
    """

    schemas: Collection[Schema]
    session: Session
    catalog: Catalog
    project: Project
    branch: Branch
    builds: Mapping[str, BuildRecord]
    schema: str

    def within(self, schemas: Collection[Schema]) -> frozenset[RelationKey]:
        """Return the tables and views in some schemas, whoever made them."""
        engine = dialect_named(self.project.dialect)
        places = {engine.relation(database or None, schema, "").key[:2] for database, schema in schemas}
        return frozenset(key for key in self.catalog if key[:2] in places)

    def all(self) -> dict[RelationKey, Relation]:
        """Return what runs of the branch have made and nobody has made anew since. Tables that are known by what they hold are read."""
        recorded = self._recorded(self.schemas)
        holds = self._contents(recorded)
        return {
            **self._failures(self.schemas),
            **{
                key: each
                for key, (each, record) in recorded.items()
                if self._is_as_built(record, each, holds.get(each))
            },
        }

    def stand_in(self, schema: Schema) -> bool:
        """Return whether anything in a schema is such. No more tables are read than it takes to know that, the smallest first."""
        recorded = self._recorded([schema])
        if self._failures([schema]) or any(self._is_as_built(record, each) for each, record in recorded.values()):
            return True
        by_size = sorted(recorded.items(), key=lambda each: each[1][1].rows or 0)
        return any(
            self._is_as_built(record, each, self._contents({key: (each, record)}).get(each))
            for key, (each, record) in by_size
        )

    @cached_property
    def _made(self) -> Mapping[Relation, str | None]:
        """Which build made each relation, where the warehouse keeps that."""
        kept = [each for each, record in self._recorded(self.schemas).values() if record.build_id is not None]
        return self.session.build_ids(kept, self.schema)

    def _failures(self, schemas: Collection[Schema]) -> dict[RelationKey, Relation]:
        """Return where failing rows of data tests are kept: each run makes that anew, and it is told by its name alone."""
        kept, inside = (
            map(dialect_named(self.project.dialect).parsed_relation, self.branch.failures),
            self.within(schemas),
        )
        return {each.key: each for each in kept if each is not None and each.key in inside}

    def _recorded(self, schemas: Collection[Schema]) -> dict[RelationKey, tuple[Relation, BuildRecord]]:
        """Return the relations of builds that are there, with the build."""
        engine, inside = dialect_named(self.project.dialect), self.within(schemas)
        named = ((engine.parsed_relation(record.relation), record) for record in self.builds.values())
        return {each.key: (each, record) for each, record in named if each is not None and each.key in inside}

    def _contents(
        self, recorded: Mapping[RelationKey, tuple[Relation, BuildRecord]]
    ) -> Mapping[Relation, DataVersion | None]:
        """Return what tables hold now whose builds are known by that."""
        nodes = self.project.nodes
        omit = {
            relation: nodes[record.model].volatile_columns if record.model in nodes else ()
            for relation, record in recorded.values()
            if self._is_known_by_content(record, relation)
        }
        return self.session.versions(self.catalog, omit, _READ_SECONDS) if omit else {}

    def _is_as_built(self, record: BuildRecord, relation: Relation, holds: DataVersion | None = None) -> bool:
        """Return whether a relation is known to be what a build has left.

        Args:
            record: The build.
            relation: Its relation.
            holds: The version of what it holds now, where builds are known by that.
        """
        if record.build_id is not None:
            return self._made.get(relation) == record.build_id
        info = self.catalog[relation.key]
        if record.shown_by is not None:
            return info.is_view and str(info.definition_version) == record.shown_by
        if info.is_view and not record.data_version.comparable(ANY_BUILD):
            return info.definition_version == record.data_version
        # the version of what dbt builds on PostgreSQL is the build, of which nothing in the warehouse says that it is the last one
        is_as_read = record.data_version.comparable(ANY_BUILD) or holds == record.data_version
        return info.columns in (None, record.columns) and is_as_read

    def _is_known_by_content(self, record: BuildRecord, relation: Relation) -> bool:
        """Return whether what a table holds says whether it is what was built."""
        is_build = record.build_id is not None or record.data_version.comparable(ANY_BUILD)
        return not is_build and record.shows is None and not self.catalog[relation.key].is_view


@contextmanager
def in_use(store: StateStore, environment: str, purpose: str, settings: RunSettings) -> Iterator[None]:
    """Hold a branch for as long as the context lasts: to build it, which several may do at once, or to drop it, which one does while nobody builds.

    Whoever builds holds the lease or has a place in its queue, and whoever drops needs the lease.

    Args:
        store: The shared state.
        environment: The key of its environment.
        purpose: `BUILDING` or `DROPPING`.
        settings: How long a lease lasts.

    Raises:
        StateError: Somebody else holds it, and not both are building.
    """
    queue = LeaseQueue(store, environment, purpose, settings.lease_seconds, settings.queue_seconds)
    try:
        if not isinstance(queue.acquire(IN_USE), Granted):
            holder = next((each for each in store.leases(environment) if each.model == IN_USE), None)
            if purpose == DROPPING or (holder is not None and holder.run_id == DROPPING):
                who = "another run" if holder is None else f"{holder.run_id}{describe_holder(holder.holder)}"
                raise StateError(f"{environment} is in use by {who}; wait for it, or stop it")
        yield
    finally:
        queue.close()


def said(schema: Schema) -> str:
    """Return a schema as people name it.

    >>> said(("shop", "ci_totals")), said(("", "ci_totals"))
    ('shop.ci_totals', 'ci_totals')
    """
    return ".".join(part for part in schema if part)
