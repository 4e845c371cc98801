"""Reads what there is: records from the state, relations and versions from the warehouse. Makes `Facts` of it.

What cannot be read, or not in time, is left out of the facts, and so is unknown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import cache
from itertools import filterfalse
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sao_dagster.core.data_version import ANY_BUILD, DataVersion, columns_version
from sao_dagster.core.facts import Existence, Facts, Unsettled
from sao_dagster.core.inputs import InputKind, answers_id, is_answers, is_undeclared
from sao_dagster.core.nodes import AskingTemplate, DataTest, IncrementalStrategy, Materialized, Model, Node, is_source
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.selection import Selection
from sao_dagster.core.standing import StandingFailures
from sao_dagster.run.asked import version_of_answers
from sao_dagster.run.contents import CachedContents, content_key, content_key_of, contents_of
from sao_dagster.run.movements import STAMP, KeptSources, Moved, movements_of
from sao_dagster.run.reached import Reached
from sao_dagster.run.source_versions import LoadedAt, source_versions
from sao_dagster.run.stored_facts import stored_facts
from sao_dagster.run.undeclared import UndeclaredVersions
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import (
    Capabilities,
    Catalog,
    Session,
    VersionsBy,
)
from sao_dagster.warehouses.shared.files import DIGESTS, files_version

FILES = "files"  # the scope under which digests of files are kept


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Facts, and what was seen beside them.

    Attributes:
        facts: What decisions are taken from.
        sequence: What to ask the state for later changes with.
        contents: Content versions of relations, as far as they are known; see `content_key`.
        movements: By source and by node, what showed that it was written to (`Session.movements`), before its version was read.
        catalog: What is in the warehouse.
        columns: By relation that is read, and by source, names and types as the warehouse has them.
        loaded_at: By source with a `loaded_at` setting, what that says of its newest data.
        seconds: How long it took to read all this.
    """

    facts: Facts
    contents: Mapping[str, DataVersion] = field(default_factory=dict)
    sequence: int = 0
    movements: Mapping[str, str] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=dict)
    columns: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    loaded_at: Mapping[str, LoadedAt] = field(default_factory=dict)
    seconds: float = 0.0


def observe(
    project: Project,
    selection: Selection,
    *,
    store: StateStore,
    session: Session,
    capabilities: Capabilities,
    now: datetime,
    budget_seconds: float,
    verify: bool = True,
) -> Observation:
    """Return what is known of a selection now; only what the selection reads directly is looked at.

    That has the versions of the warehouse now, whoever made it. What is as its record says has the version of the record; what is
    not, or has no record here, has that of its content, or none where it cannot be read.

    Args:
        project: The project.
        selection: What is going to be decided.
        store: The shared state; versions that are seen for the first time are noted in it.
        session: The warehouse, open.
        capabilities: What the warehouse can do; what it cannot is not asked.
        now: The time of the observation (UTC).
        budget_seconds: The time for reading data versions; what is not read by then is unknown.
        verify: Whether the content of the selected relations is compared with what was built.

    Raises:
        StateError: The state cannot be read.
        WarehouseError: The catalog cannot be read.
    """
    started = time.perf_counter()
    give_up = time.monotonic() + budget_seconds
    catalog_now = cache(session.catalog)  # read after the records: what another run makes meanwhile is not missing
    facts, sequence = stored_facts(project, selection, store, catalog_now)
    if _reads_files(project):
        DIGESTS.know(store.shown(project.environment, FILES))
    standing = StandingFailures.of(project, selection, facts).tests
    read = _inputs(project, selection, standing)
    stamp = session.stamp() if capabilities.stamp else None
    kept = store.contents(project.environment, stamp) if stamp else {}
    reader = CachedContents(session, catalog_now(), dict(kept), give_up)
    catalog = reader.catalog
    sources = [project.sources[name] for name in sorted(read) if is_source(name)]
    beside = _beside(project, selection, read)
    own = [name for name in selection.nodes if name in facts.records] if verify else []
    holding = [name for name in (*own, *beside) if project.nodes[name].materialized.holds_data]
    reached = Reached(session, project.dialect)
    undeclared_read = sorted(filter(is_undeclared, read))
    tokens = movements_of(
        project, session, catalog, [*(each.id for each in sources), *holding, *undeclared_read], reached
    )
    moved_before = store.contents(project.environment, STAMP) if capabilities.build_ids else {}
    kept_sources = KeptSources.of(sources, session, catalog)
    reader.known.update(
        {content_key(relation, ()): version for relation, version in kept_sources.known(moved_before).items()}
    )
    versions, loaded_at = source_versions(project, sources, session, capabilities, reader, now, give_up)
    undeclared = UndeclaredVersions(
        reached,
        project.root,
        lambda relations: reader.read(dict.fromkeys(relations, ())),
        now,
    )
    versions.update(undeclared.of(project.undeclared[name] for name in undeclared_read))
    kept_builds = [name for name in beside if _is_recorded(project, name, facts.records)]
    foreign = sorted({*beside}.difference(kept_builds))
    by_content = {name: None for name in (*own, *kept_builds) if _is_known_by_content(project, name, facts.records)}
    has_versions = capabilities.model_versions is not VersionsBy.NONE
    found = contents_of(project, [*foreign, *by_content] if has_versions else [], reader)
    above = _known_above(project, selection, facts.records, reader) if verify else {}
    altered = {name: _is_altered(project, name, facts.records[name], found, catalog) for name in (*own, *kept_builds)}
    unaltered = [name for name in holding if altered.get(name) is False] if capabilities.build_ids else []
    moved = Moved.since(facts.records, moved_before, {name: tokens.get(name) for name in unaltered})
    found.update(contents_of(project, moved.to_read, reader))
    altered.update(moved.altered(found))
    same = {name: each for name, each in moved.now.items() if altered[name] is False and name not in moved.silent}
    same.update(kept_sources.to_keep(versions))
    if any(moved_before.get(name) != each for name, each in same.items()):
        store.keep_contents(project.environment, STAMP, {**moved_before, **same})
    altered.update({name: True for name in kept_builds if project.nodes[name].relation.key not in catalog})
    not_known = [name for name in kept_builds if altered[name] is None and (name in by_content or name in moved.now)]
    other = [*foreign, *(name for name, is_other in altered.items() if is_other), *(not_known if has_versions else ())]
    if has_versions:
        found.update(contents_of(project, [name for name in other if name not in found], reader))
    versions.update({name: found.get(name) for name in other})
    versions.update(_answers(project, selection, standing, facts, session, now, give_up))
    if fresh := DIGESTS.take():
        store.keep_shown(project.environment, FILES, fresh)
    if stamp and reader.known != kept:
        store.keep_contents(project.environment, stamp, reader.known)
    store.note_versions(
        project.environment,
        {name: version for name, version in versions.items() if version and name not in project.nodes},
        now,
    )
    facts = replace(
        facts,
        settings=session.settings(),
        versions=versions,
        zone=_zone(session),
        exists=_existence(project, selection, catalog, facts.records),
        altered={name: known for name, known in {**above, **altered}.items() if known is not None},
        built_elsewhere=_built_elsewhere(project, facts.records, catalog),
        schemas=_schemas(project, selection, catalog, undeclared),
        unsettled=_unsettled(project, selection, facts.records),
        history=_history(project, selection, store),
    )
    return Observation(
        facts=facts,
        contents=reader.known,
        sequence=sequence,
        movements=tokens,
        catalog=catalog,
        columns=_columns(project, selection, catalog),
        loaded_at=loaded_at,
        seconds=time.perf_counter() - started,
    )


def _reads_files(project: Project) -> bool:
    sources = any(source.files for source in project.sources.values())
    return sources or any(each.kind is InputKind.FILE for each in project.undeclared.values())


def _zone(session: Session) -> tzinfo | None:
    """Return the time zone in which the warehouse knows the date; None where it does not say, or by a name that is not known here."""
    name = session.time_zone()
    try:
        return None if name is None else ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return None


def _inputs(project: Project, selection: Selection, failed: Iterable[DataTest]) -> set[str]:
    """Return the relations whose versions the decisions of a selection compare, with what tests that failed above it read."""
    found: set[str] = set(selection.sources)
    for name in selection.nodes:
        if project.nodes[name].materialized is Materialized.VIEW:
            found.update(each.id for each in project.nodes[name].undeclared)
        else:
            found.update(project.graph.inputs(name).data)
    for test in (*(project.tests[name] for name in selection.tests), *failed):
        for read in filterfalse(is_answers, test.inputs):
            node = project.nodes.get(read)
            holds = node is None or node.materialized.holds_data
            found.update((read,) if holds else project.graph.inputs(read).data)
    return found


def _beside(project: Project, selection: Selection, read: Collection[str]) -> list[str]:
    """Return the nodes that are not selected and hold what the selection reads, and the views in between."""
    graph = project.graph
    views = {
        view
        for name in selection.nodes
        if project.nodes[name].materialized is not Materialized.VIEW
        for view in graph.inputs(name).views
    }
    tested = {each for test in selection.tests for each in project.tests[test].reads if each in project.nodes}
    views |= {each for name in tested for each in graph.behind(name)}
    return sorted({name for name in {*read, *views} if name in project.nodes} - set(selection.nodes))


def _is_recorded(project: Project, name: str, records: Mapping[str, BuildRecord]) -> bool:
    """Return whether the record of a node speaks of the relation that the node has now."""
    record = records.get(name)
    return record is not None and record.relation == str(project.nodes[name].relation)


def _is_known_by_content(project: Project, name: str, records: Mapping[str, BuildRecord]) -> bool:
    """Return whether its content says whether a node is as its record says."""
    record = records[name]
    is_build = record.build_id is not None or record.data_version.comparable(ANY_BUILD)
    return project.nodes[name].materialized.holds_data and not is_build


def _is_altered(
    project: Project, name: str, record: BuildRecord, found: Mapping[str, DataVersion | None], catalog: Catalog
) -> bool | None:
    """Return whether a relation differs from what was built, or None where that is not known."""
    node = project.nodes[name]
    info = catalog.get(node.relation.key)
    if info is None or record.relation != str(node.relation):
        return None
    if record.build_id is not None:
        return info.build_id != record.build_id or info.columns != record.columns
    if node.materialized is Materialized.VIEW:
        now: DataVersion | None = info.definition_version if info.is_view else None
        was_view = record.rows is None
        if not was_view or (now is not None and not now.comparable(record.data_version)):
            return None
        return now != record.data_version
    if info.is_view:  # which other materializations of dbt may have made
        was_view = record.data_version.comparable(info.definition_version)
        makes_tables = (Materialized.TABLE, Materialized.INCREMENTAL, Materialized.SEED)
        return record.rows is not None or (node.materialized in makes_tables and not was_view)
    now = found.get(name)
    if now is None or not now.comparable(record.data_version):
        return None
    return now != record.data_version


def _built_elsewhere(project: Project, records: Mapping[str, BuildRecord], catalog: Catalog) -> frozenset[str]:
    """Return the models whose relation a run built that this state knows nothing of, where the warehouse keeps who built what."""
    return frozenset(
        name
        for name, record in records.items()
        if name in project.nodes
        and record.build_id is not None
        and (info := catalog.get(project.nodes[name].relation.key)) is not None
        and info.build_id not in (None, record.build_id)
    )


def _answers(
    project: Project,
    selection: Selection,
    standing: Iterable[DataTest],
    facts: Facts,
    session: Session,
    now: datetime,
    give_up: float,
) -> dict[str, DataVersion | None]:
    """Return the versions of what templates ask and get now, of models and data tests that have a record to compare with."""
    nodes = (project.nodes[name] for name in selection.nodes if name in facts.records)
    asking: dict[str, tuple[Node | DataTest, AskingTemplate]] = {
        answers_id(node.name): (node, node.compiler)
        for node in nodes
        if isinstance(node, Model) and node.asks and node.compiler is not None
    }
    for test in (*(project.tests[name] for name in selection.tests), *standing):
        if test.asks is not None and test.name in facts.test_records:
            asking[test.answers_id] = (test, test.asks)
    return {
        answers: version_of_answers(project, each, template.answers(session, now))
        if time.monotonic() < give_up
        else None
        for answers, (each, template) in asking.items()
    }


def _known_above(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord], reader: CachedContents
) -> dict[str, bool | None]:
    """Return by model above a selection whether it was altered, where that costs no reading."""
    tested = {each for test in selection.tests for each in project.tests[test].reads if each in project.nodes}
    read = tested | project.graph.ancestors([*selection.nodes, *tested])
    found = {}
    for name in sorted(read - set(selection.nodes)):
        node, record = project.nodes.get(name), records.get(name)
        if node is None or record is None:
            continue
        known = {name: reader.known.get(content_key_of(node))}
        found[name] = _is_altered(project, name, record, known, reader.catalog)
    return found


def _existence(
    project: Project, selection: Selection, catalog: Catalog, records: Mapping[str, BuildRecord]
) -> dict[str, Existence]:
    """Return whether what was built is there; a relation that has a new name is a change of the code."""
    found = {}
    for name in selection.nodes:
        relation = project.nodes[name].relation
        if name in records and records[name].relation != str(relation):
            continue
        found[name] = Existence.YES if relation.key in catalog else Existence.NO
    return found


def _schemas(
    project: Project, selection: Selection, catalog: Catalog, undeclared: UndeclaredVersions
) -> dict[str, DataVersion | None]:
    """Return the versions of the columns that the selected views were made over."""
    found: dict[str, DataVersion | None] = {}
    for name in selection.nodes:
        if project.nodes[name].materialized is not Materialized.VIEW:
            continue
        for read in project.graph.relations_read(name):
            if is_source(read):
                source = project.sources[read]
                if source.relation is None:
                    found[read] = files_version(source, project.root)
                    continue
                key = source.relation.key
            else:
                key = project.nodes[read].relation.key
            info = catalog.get(key)
            found[read] = columns_version(info.columns) if info and info.columns is not None else None
        for each in project.nodes[name].undeclared:
            relation = undeclared.reached.relations.get(each)
            info = catalog.get(relation.key) if relation is not None else None
            if info is not None and info.columns is not None:
                found[each.id] = columns_version(info.columns)
            else:
                found.update(undeclared.of([each]))
    return found


def _unsettled(
    project: Project, selection: Selection, records: Mapping[str, BuildRecord]
) -> dict[str, Unsettled | None]:
    """Return of the selected incremental models whose last build may have changed something whether one build is enough."""
    found: dict[str, Unsettled | None] = {}
    for name in selection.nodes:
        node, record = project.nodes[name], records.get(name)
        if not isinstance(node, Model) or node.materialized is not Materialized.INCREMENTAL or node.policy.settled:
            continue
        if record is None or record.changed is False:
            continue
        from sao_dagster.sql.hooks import changes_rows  # the parser, where there is something to look at
        from sao_dagster.sql.settled import unsettled

        if any(changes_rows(hook, node.relation, project.dialect) for hook in node.hooks):
            found[name] = Unsettled.NOT_UNDERSTOOD
        elif node.compiler is not None:  # how it asks its own table shows only when it is built
            found[name] = Unsettled.NOT_UNDERSTOOD if re.search(r"\bthis\b", node.raw_sql) else None
        elif node.compiled.incremental_sql is not None:
            found[name] = unsettled(
                node.compiled.sql,
                node.compiled.incremental_sql,
                project.dialect,
                node.relation.key,
                appends=node.incremental_strategy is IncrementalStrategy.APPEND or not node.unique_key,
            )
    return found


def _columns(project: Project, selection: Selection, catalog: Catalog) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the columns of what the selection reads directly, and of the selected sources."""
    wanted = {read for name in selection.nodes for read in project.graph.relations_read(name)}
    found = {}
    for name in {*wanted, *selection.sources}:
        relation = project.relation(name)
        info = catalog.get(relation.key) if relation else None
        if info is not None and info.columns is not None:
            found[name] = info.columns
    return found


def _history(
    project: Project, selection: Selection, store: StateStore
) -> dict[str, tuple[tuple[DataVersion, datetime], ...]]:
    """Return when versions appeared, for the inputs of models that tolerate a lag."""
    wanted = {
        read
        for name in selection.nodes
        if project.nodes[name].policy.lag_tolerance is not None
        for read in project.graph.inputs(name).data
    }
    return store.history(project.environment, wanted) if wanted else {}
