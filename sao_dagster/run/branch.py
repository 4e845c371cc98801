"""What `sao ci` does beside a run: schemas of a branch's own, a comparison with production, and dropping what was made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sao_dagster.core.environment import Branch
from sao_dagster.core.hashing import JSON
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome
from sao_dagster.core.records import Verdict
from sao_dagster.core.relations import Relation, folded
from sao_dagster.core.selection import Selection
from sao_dagster.errors import StateError, WarehouseError
from sao_dagster.run.elsewhere import Elsewhere
from sao_dagster.run.environments import built_in
from sao_dagster.run.relation_diff import RelationDiff, diff_relations, keys_of
from sao_dagster.run.report import RunResult
from sao_dagster.run.runner import Runner
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Session

Telling = Callable[[Message], None]


@dataclass(frozen=True, kw_only=True)
class BranchReport:
    """What a branch changes: what a run of it did, and how its models compare with those of another environment.

    Attributes:
        against: What that one is called.
        schema: Where the branch was built.
        result: The run.
        changes: How nodes and data tests differ from what was built there, by name.
        compared: How the relation of each model that was built, or reused here, differs from the one there.
        new: Models that are not there, or whose relation is gone there.
        gone: Models that are there, and no longer in the project.
    """

    against: str
    schema: str
    result: RunResult
    changes: Mapping[str, Collection[str]]
    compared: Mapping[str, RelationDiff] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the run as the command line prints it, with what is compared."""
        return {
            **self.result.to_json(),
            "against": self.against,
            "schema": self.schema,
            "changes": {name: sorted(each) for name, each in sorted(self.changes.items())},
            "compared": {name: each.to_json() for name, each in self.compared.items()},
            "new": list(self.new),
            "gone": list(self.gone),
        }


def claim_schemas(runner: Runner, selection: Selection, on_message: Telling | None = None) -> Branch | None:
    """Create the schemas that a selection is built into, and note in the state that they are this branch's own; nothing where nothing is built.

    Args:
        runner: That of the branch, which defers to the environment that it is compared with.
        selection: What is going to be built.
        on_message: Told at once whom it waits for.

    Raises:
        WarehouseError: One of the schemas is there, and `sao ci` has not made it for this branch; nothing was made.
        UnsupportedError: SQL does not reach the other environment.
    """
    ready = runner.reaching()
    elsewhere = _elsewhere(ready)
    if folded(ready.warehouse.schema) == folded(elsewhere.known.schema):
        raise WarehouseError(
            f"the schema {ready.warehouse.schema} is that of {elsewhere.name}; name another one with --schema"
        )
    wanted = _schemas(ready.project, selection)
    if not wanted:
        return None
    shared = [each for each in wanted if folded(ready.warehouse.schema) not in folded(each[1])]
    if shared:
        raise WarehouseError(
            f"what is selected is built into the schema {_said(shared[0])}, whatever the schema of the target is: it would not be this branch's "
            f"own. Let generate_schema_name put {ready.warehouse.schema} into it"
        )
    with ready.warehouse.session(on_message=on_message) as session:
        store = ready.open_store()
        found = ready.settled(session, store)
        elsewhere.check_is_reached(found.database)
        known, now = store.branch(found.key), store.now()
        own = () if known is None else known.schemas
        missing = [each for each in wanted if not session.has_schema(*each)]
        foreign = [each for each in wanted if each not in own and each not in missing]
        if foreign:
            raise WarehouseError(
                f"the schema {_said(foreign[0])} is there, and sao ci has not made it for this branch, as far as the state knows: nothing is built "
                "into it. Name another one with --schema, or drop it yourself"
            )
        branch = known or Branch(environment=found.key, against=elsewhere.name, schemas=(), made_at=now, used_at=now)
        branch = replace(branch, against=elsewhere.name, used_at=now)
        for each in missing:
            session.make_schema(*each)
            branch = replace(branch, schemas=tuple(dict.fromkeys((*branch.schemas, each))))
            store.keep_branch(branch)
        store.keep_branch(branch)
    return branch


def compare(
    runner: Runner, result: RunResult, changes: Mapping[str, Collection[str]], on_message: Telling | None = None
) -> BranchReport:
    """Return what a run of a branch did, with how each model that it built or reused compares with the environment that it defers to.

    Args:
        runner: That of the branch.
        result: What the run did.
        changes: How nodes and data tests differ from what was built there.
        on_message: Told at once whom it waits for.
    """
    ready = runner.reaching()
    elsewhere = _elsewhere(ready)
    project = ready.project
    there = elsewhere.relations(project.dialect)
    standing = [each.name for each in result.models if each.decision.outcome in (Outcome.BUILT, Outcome.REUSED)]
    passed = [each.test for each in result.tests if each.verdict is Verdict.PASS]
    compared: dict[str, RelationDiff] = {}
    new = [name for name in standing if name not in there]
    if len(new) < len(standing):
        with ready.warehouse.session(read_only=True, on_message=on_message) as session:
            catalog, enforced = session.catalog(), session.constraints().unique
            for name in standing:
                node, other = project.nodes[name], there.get(name)
                if other is None or other.key not in catalog:
                    new = [*new, name] if name not in new else new
                    continue
                keys = keys_of(node, passed, enforced.get(node.relation.key, ()))
                compared[name] = diff_relations(session, node.relation, other, keys, node.volatile_columns)
    gone = sorted(name for name in there if name not in project.nodes)
    return BranchReport(
        against=elsewhere.name,
        schema=ready.warehouse.schema,
        result=result,
        changes=changes,
        compared=compared,
        new=tuple(name for name in standing if name in new),
        gone=tuple(gone),
    )


@dataclass(frozen=True)
class Dropped:
    """What is dropped of a branch.

    Attributes:
        environment: The key of its environment.
        schemas: The schemas, as people name them.
        relations: How many tables and views are in them.
    """

    environment: str
    schemas: tuple[str, ...]
    relations: int


def drop_branch(runner: Runner, *, dry_run: bool, on_message: Telling | None = None) -> Dropped | None:
    """Drop the schemas that were made for a branch, and forget its environment; None where there is neither.

    Args:
        runner: That of the branch.
        dry_run: Whether nothing is dropped.
        on_message: Told at once whom it waits for.

    Raises:
        WarehouseError: The schema is there, and `sao ci` has not made it; or a view elsewhere reads what is in it.
        StateError: It is being built into.
    """
    with runner.warehouse.session(read_only=dry_run, on_message=on_message) as session:
        store = runner.open_store()
        here = runner.settled(session, store)
        branch = store.branch(here.key)
        if branch is None:
            schema = runner.warehouse.schema
            if session.has_schema(runner.warehouse.database, schema):
                raise WarehouseError(
                    f"sao ci has not made the schema {schema}, as far as the state knows, and does not drop it"
                )
            return None
        return _Drop(runner.project.dialect, session, store, here.database).of(branch, dry_run=dry_run)


def drop_expired(
    runner: Runner, days: float, *, dry_run: bool, on_message: Telling | None = None
) -> tuple[Dropped, ...]:
    """Drop the schemas that were made for branches of this project and were not used for some days, and forget their environments.

    One that is in another database is left alone, and said.

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
        drop = _Drop(runner.project.dialect, session, store, database)
        for branch in expired(store, runner.project.name, days):
            if known[branch.environment].is_in(database):
                try:
                    found.append(drop.of(branch, dry_run=dry_run))
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
    """Forget what was built in branches that were not used for some days; which schemas are theirs is kept, so that they can be dropped."""
    for branch in [] if days is None else expired(store, project, days):
        store.forget_environment(branch.environment, is_gone=False)


@dataclass(frozen=True)
class _Drop:
    """Drops the schemas of branches that are in one database.

    Attributes:
        dialect: sqlglot's name of the SQL dialect.
        session: The database, open.
        store: The shared state.
        database: What tells the database from all others.
    """

    dialect: str
    session: Session
    store: StateStore
    database: str

    def of(self, branch: Branch, *, dry_run: bool) -> Dropped:
        """Drop the schemas of a branch, and forget its environment, unless that would be in the way of others.

        Raises:
            WarehouseError: A view elsewhere reads what is in them, or another environment has built something there.
            StateError: It is being built into.
        """
        held = self.store.leases(branch.environment)
        if held:
            raise StateError(
                f"{held[0].model} is being built in {branch.environment} by run {held[0].run_id}; wait for it, or stop it"
            )
        catalog = self.session.catalog()
        places = {(folded(database), folded(schema)) for database, schema in branch.schemas}
        inside = {key for key in catalog if key[:2] in places}
        theirs = next((each for each in self._built_by_others(branch) if each.key in inside), None)
        if theirs is not None:
            raise WarehouseError(f"another environment has built {theirs.plain}; the schema is not dropped")
        outside = [Relation(*key) for key, info in catalog.items() if info.is_view and key not in inside]
        reading = [view for view, read in self.session.behind_views(outside).items() if read & inside]
        if reading:
            raise WarehouseError(
                f"the view {reading[0].plain} reads what is in {_said(branch.schemas[0])}; drop it first"
            )
        if not dry_run:
            for database, schema in branch.schemas:
                self.session.drop_schema(database, schema)
            self.store.forget_environment(branch.environment, is_gone=True)
        return Dropped(branch.environment, tuple(map(_said, branch.schemas)), len(inside))

    def _built_by_others(self, branch: Branch) -> Iterator[Relation]:
        """Yield what other environments of the database have built."""
        for each in self.store.environments():
            if each.key != branch.environment and each.is_in(self.database):
                yield from built_in(self.store, each, self.dialect)


def _elsewhere(ready: Runner) -> Elsewhere:
    assert ready.deferred is not None  # noqa: S101 - whoever calls has set it
    return ready.deferred


def _schemas(project: Project, selection: Selection) -> list[tuple[str, str]]:
    """Return the schemas that a selection is built into, with their databases, and those in which its tests keep failing rows."""
    nodes = (project.nodes[name] for name in selection.nodes)
    kept = (project.tests[name].store_failures for name in selection.tests)
    relations = [*(node.relation for node in nodes if node.materialized is not Materialized.EPHEMERAL), *kept]
    return list(dict.fromkeys((each.database or "", each.schema) for each in relations if each is not None))


def _said(schema: tuple[str, str]) -> str:
    return ".".join(part for part in schema if part)
