"""Finds other projects in the shared state: which of their models are where, and which of their data tests failed and would fail again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sao_dagster.core.environment import KnownEnvironment
from sao_dagster.core.nodes import is_source, project_model_id
from sao_dagster.core.others import FailureElsewhere, OtherProject
from sao_dagster.core.published import Published
from sao_dagster.core.records import TestRecord, Verdict
from sao_dagster.core.relations import Relation
from sao_dagster.errors import SaoError, SelectionError, UnsupportedError
from sao_dagster.run.elsewhere import current_place, find_environment
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import AttachingWarehouse, Warehouse


@dataclass(frozen=True)
class Wanted:
    """Another project that is to be read.

    Attributes:
        name: Its name.
        environment: What its environment is called: its target, or target and schema; or the manifest that it is read off.
        open_store: Opens the state that it shares.
        read_manifest: Reads what a manifest says of it, in place of a state.
    """

    name: str
    environment: str
    open_store: Callable[[], StateStore] | None = None
    read_manifest: Callable[[], Published] | None = None


@dataclass(frozen=True, kw_only=True)
class OthersNow:
    """What is known of other projects now.

    Attributes:
        projects: They, by name.
        failures: Their `error` tests whose failure stands.
    """

    projects: Mapping[str, OtherProject] = field(default_factory=dict)
    failures: tuple[FailureElsewhere, ...] = ()


def others_now(wanted: Iterable[Wanted], warehouse: Warehouse, now: datetime) -> OthersNow:
    """Return what is known of other projects now; one of which nothing is known says why.

    Args:
        wanted: The projects.
        warehouse: Where this project is built.
        now: The time (UTC).
    """
    projects: dict[str, OtherProject] = {}
    failures: list[FailureElsewhere] = []
    for each in wanted:
        other = OtherProject(name=each.name, environment=each.environment)
        try:
            if each.read_manifest is not None:
                other = _placed(other, each.read_manifest(), warehouse)
            elif each.open_store is not None:
                store = each.open_store()
                other, said = _in_state(other, store, warehouse)
                failures += failures_of(other, said, store, now)
        except SaoError as error:
            other = replace(other, problem=error.message)
        projects[each.name] = other
    return OthersNow(projects=projects, failures=tuple(failures))


def _in_state(other: OtherProject, store: StateStore, warehouse: Warehouse) -> tuple[OtherProject, Published]:
    """Return another project as the state knows it, and what it has published.

    Raises:
        SaoError: The state knows no such environment, or has nothing that it has published, or SQL cannot read it; says how to go on.
    """
    name, wanted = other.name, other.environment
    try:
        known = find_environment(store, name, wanted)
    except SelectionError as error:
        how = f"build {name} there, or say under `projects` in sao.yml which environment of {name} is read"
        raise SelectionError(f"{error.message}; {how}") from error
    said = store.published(known.key)
    if said is None:
        raise SelectionError(
            f"{name} has not yet said which of its models in {wanted} others may read; let it run there once"
        )
    return _reached(_placed(other, said, warehouse), known, warehouse), said


def _placed(other: OtherProject, said: Published, warehouse: Warehouse) -> OtherProject:
    """Return another project with what it has published, as SQL of a warehouse reads it.

    Raises:
        UnsupportedError: It is built in another kind of warehouse.
    """
    engine, relations = dialect_named(said.dialect), dict[str, Relation]()
    if engine != dialect_named(warehouse.dialect):
        raise UnsupportedError(
            f"{other.name} is built in {said.dialect}, and this project in {warehouse.dialect}, whose SQL cannot read that; declare what is read "
            f"of it as a source, once it is there"
        )
    for each in said.models:
        found = None if each.relation is None else engine.parsed_relation(each.relation)
        if found is not None:
            relations[each.id] = found
    return replace(other, models=said.models, relations=relations)


def _reached(other: OtherProject, known: KnownEnvironment, warehouse: Warehouse) -> OtherProject:
    """Return another project in a place that SQL reaches from here, as far as that shows before a session is open.

    Raises:
        WarehouseError: It is in a file that is not there.
    """
    other = replace(other, key=known.key, schema=known.schema)
    if warehouse.place in known.places or not known.places or not isinstance(warehouse, AttachingWarehouse):
        return other
    place, database = current_place(known.places), f"sao_project_{other.name}"
    attached = warehouse.attached_as(place)
    if attached is None:
        warehouse.attaching(place, database)
    return other.with_database(attached or database, place)


def reaching(others: Iterable[OtherProject], warehouse: Warehouse) -> Warehouse:
    """Return a warehouse whose sessions read other projects, too.

    Raises:
        WarehouseError: One is in a file that is not there any more.
    """
    for other in others:
        if other.place and isinstance(warehouse, AttachingWarehouse) and warehouse.attached_as(other.place) is None:
            warehouse = warehouse.attaching(other.place, other.database)
    return warehouse


def check_reached(others: Iterable[OtherProject], database: str) -> None:
    """Refuse other projects that SQL does not reach.

    Args:
        others: The projects that are read.
        database: What tells the database that is built into from all others.

    Raises:
        UnsupportedError: One is in another database.
    """
    for other in others:
        if other.key and not other.place:
            name = f"{other.name}.{other.environment.partition('/')[0]}"
            known = KnownEnvironment(key=other.key, name=name, schema=other.schema, places=())
            if not known.is_in(database):
                raise UnsupportedError(
                    f"the project {other.name} is built in another database than this one, and SQL cannot read that from here; "
                    f"build both into one database, or read an environment of {other.name} that is in this one (`projects` in sao.yml)"
                )


def failures_of(other: OtherProject, said: Published, store: StateStore, now: datetime) -> list[FailureElsewhere]:
    """Return the `error` tests of another project that failed and would fail again, as far as its state knows: what they read is as it was then.

    Args:
        other: The project.
        said: What it has published.
        store: Its state.
        now: The time (UTC).
    """
    above = {each.id: frozenset(each.above) for each in said.models if each.above}
    verdicts = store.tests(other.key) if said.tests else {}
    failed = [
        (test, record)
        for test in said.tests
        if (record := verdicts.get(test.name)) is not None
        and record.verdict is Verdict.FAIL
        and record.definition == test.definition
        and (test.expiry is None or test.expiry.expired_at(record.run_at, now) is None)
    ]
    if not failed:
        return []
    builds = store.builds(other.key)
    sources = {
        each for test, _ in failed for read, behind in test.reads.items() for each in (read, *behind) if is_source(each)
    }
    history = store.history(other.key, sources)

    def is_as_it_was(read: str, behind: tuple[str, ...], record: TestRecord) -> bool:
        if behind:  # of what a view shows is known since when it may be another thing
            since = [builds[each].built_at for each in behind if each in builds]
            since += [history[each][-1][1] for each in behind if each in history]
            return all(each <= record.run_at for each in since)
        now_there = builds[read].data_version if read in builds else history[read][-1][0] if read in history else None
        return now_there is None or now_there == record.inputs.get(read)

    return [
        FailureElsewhere(
            project=other.name,
            test=test.name,
            tested=test.tested,
            reads=frozenset(test.reads),
            above={project_model_id(other.name, name): found & frozenset(test.reads) for name, found in above.items()},
        )
        for test, record in failed
        if all(is_as_it_was(read, behind, record) for read, behind in test.reads.items())
    ]
