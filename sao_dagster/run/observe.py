"""Reads what there is: records from the state, relations and versions from the warehouse. Makes `Facts` of it.

What cannot be read, or not in time, is left out of the facts, and so is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import Facts
from sao_dagster.core.inputs import InputKind, answers_id
from sao_dagster.core.nodes import DataTest, Model, Node
from sao_dagster.core.project import Project
from sao_dagster.core.selection import Selection
from sao_dagster.core.standing import StandingFailures
from sao_dagster.core.templates import AskingTemplate
from sao_dagster.run.altered import built_elsewhere, known_above, nodes_seen
from sao_dagster.run.asked import version_of_answers
from sao_dagster.run.catalog_facts import columns, existence
from sao_dagster.run.contents import CachedContents
from sao_dagster.run.movements import STAMP, KeptSources, movements_of
from sao_dagster.run.reached import Reached
from sao_dagster.run.source_versions import LoadedAt, source_versions
from sao_dagster.run.stored_facts import stored_facts
from sao_dagster.run.to_read import ToRead
from sao_dagster.run.undeclared import UndeclaredVersions
from sao_dagster.run.unsettled import unsettled_models
from sao_dagster.run.view_columns import ColumnsRead, schemas
from sao_dagster.sql.kept_unsettled import KeptUnsettled
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Capabilities, Catalog, Session
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce
from sao_dagster.warehouses.shared.files import DIGESTS

FILES = "files"  # the scope under which digests of files are kept


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Facts, and what was seen beside them.

    Attributes:
        facts: What decisions are taken from.
        sequence: What to ask the state for later changes with.
        contents: Content versions of relations, as far as they are known; see `content_key`.
        looked_at: The nodes that were compared with their records; one that has no version in the facts is as its record says.
        movements: By source and by node, what showed that it was written to (`Session.movements`), before its version was read.
        catalog: What is in the warehouse.
        columns: By relation that is read, and by source, names and types as the warehouse has them.
        loaded_at: By source with a `loaded_at` setting, what that says of its newest data.
        seconds: How long it took to read all this.
    """

    facts: Facts
    contents: Mapping[str, DataVersion] = field(default_factory=dict)
    sequence: int = 0
    looked_at: frozenset[str] = frozenset()
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
    unsettled: KeptUnsettled | None = None,
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
        unsettled: What was found of incremental models before, and is kept.

    Raises:
        StateError: The state cannot be read.
        WarehouseError: The catalog cannot be read.
    """
    started = time.perf_counter()
    give_up = time.monotonic() + budget_seconds
    environment = project.environment
    catalog_now = cache(session.catalog)  # read after the records: what another run makes meanwhile is not missing
    facts, sequence = stored_facts(project, selection, store, catalog_now)
    standing = StandingFailures.of(project, selection, facts).tests
    to_read = ToRead.of(project, selection, facts.records, standing, verify=verify)
    # what was read before, and holds for as long as something has not changed
    if _reads_files(project):
        DIGESTS.know(store.shown(environment, FILES))
    stamp = session.stamp() if capabilities.stamp else None
    kept = store.contents(environment, stamp) if stamp else {}
    kept_contents = store.contents(environment, STAMP) if capabilities.build_ids else {}
    reader = CachedContents(session, catalog_now(), dict(kept), give_up)
    # what shows writes, before what was written is read
    reached = Reached(session, project.dialect)
    tokens = movements_of(project, session, reader.catalog, to_read.written, reached)
    kept_sources = KeptSources.of(to_read.sources, session, reader.catalog)
    reader.know(kept_sources.known(kept_contents))
    # the versions
    versions, loaded_at = source_versions(project, to_read.sources, session, capabilities, reader, now, give_up)
    contents = kept_sources.to_keep(versions)
    undeclared = UndeclaredVersions(
        reached, project.root, lambda relations: reader.read(dict.fromkeys(relations, ())), now
    )
    versions.update(undeclared.of(project.undeclared[name] for name in to_read.undeclared))
    nodes = nodes_seen(project, to_read, facts.records, reader, capabilities, tokens)
    versions.update(nodes.versions)
    above = known_above(project, selection, facts.records, reader) if verify else {}
    versions.update(_answers(project, selection, standing, facts, session, now, give_up))
    # kept for the next time
    if any(kept_contents.get(name) != each for name, each in contents.items()):
        store.keep_contents(environment, STAMP, {**kept_contents, **contents})
    if nodes.unmoved:
        store.keep_movements(environment, nodes.unmoved)
    if fresh := DIGESTS.take():
        store.keep_shown(environment, FILES, fresh)
    lasting = reader.lasting
    if stamp and lasting != kept:
        store.keep_contents(environment, stamp, lasting)
    seen = {name: version for name, version in versions.items() if version and name not in project.nodes}
    store.note_versions(environment, seen, now)
    facts = replace(
        facts,
        settings=session.settings(),
        versions=versions,
        zone=_zone(session),
        exists=existence(project, selection, reader.catalog, facts.records),
        altered={name: known for name, known in {**above, **nodes.altered}.items() if known is not None},
        built_elsewhere=built_elsewhere(project, facts.records, reader.catalog),
        schemas=schemas(project, selection, ColumnsRead(project, reader.catalog, facts.records, undeclared, session)),
        unsettled=unsettled_models(project, selection, facts.records, unsettled or KeptUnsettled()),
        history=_history(project, selection, store),
    )
    return Observation(
        facts=facts,
        contents=lasting,
        sequence=sequence,
        looked_at=frozenset((*to_read.own, *to_read.beside)),
        movements=tokens,
        catalog=reader.catalog,
        columns=columns(project, selection, reader.catalog),
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
    at_once = AskedAtOnce(session)
    return {
        answers: version_of_answers(project, each, template.answers(at_once, now))
        if time.monotonic() < give_up
        else None
        for answers, (each, template) in asking.items()
    }


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
