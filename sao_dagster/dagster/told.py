"""What a Dagster instance is told of builds that no run of it has reported, and of views that show something new.

Each instance has a log of its own, so what one was told is kept by instance, beside the state. Losing that costs a look into the
instance's log, and nothing is told twice.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import dagster as dg

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import Existence, Facts
from sao_dagster.core.nodes import Materialized, is_source
from sao_dagster.core.plan import Plan
from sao_dagster.core.records import BuildRecord, Lease
from sao_dagster.dagster.metadata import Columns, record_metadata
from sao_dagster.dagster.project_view import UNFINISHED, DagsterProject, scope_of
from sao_dagster.dagster.sources import news_of_sources
from sao_dagster.errors import words_of
from sao_dagster.run.observe import Observation

SECONDS = 5.0  # of a tick, or of the end of a run, that go into telling
AT_ONCE = 500  # builds that are looked up in Dagster's log at once; more than can be told in that time
BUILT_ELSEWHERE = "Built outside of this Dagster instance."
LEASED = 60.0  # seconds that one process has for telling


@dataclass(frozen=True)
class Untold:
    """A build, or what a view shows, that Dagster may not know.

    Attributes:
        name: The node.
        record: Its last build.
        version: The version that the build gave it, or of what a view shows now; None where it is not known.
        token: What is kept once Dagster knows it.
    """

    name: str
    record: BuildRecord
    version: DataVersion | None
    token: str


@dataclass
class Told:
    """What one Dagster instance knows of the builds of one environment; what is kept of that is read when this is made.

    Attributes:
        dagster_project: The project in Dagster.
        instance: The instance.
        environment: The environment.
        noted: What it was told since this was made, and is not kept yet.
    """

    dagster_project: DagsterProject
    instance: dg.DagsterInstance
    environment: str
    noted: dict[str, str] = field(default_factory=dict)
    _known: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Read what is kept."""
        self._read()

    @cached_property
    def _scope(self) -> str:
        return scope_of(self.instance, "dagster_builds")

    def _read(self) -> None:
        self._known = self.dagster_project.opened.store.shown(self.environment, self._scope)

    def knows(self, name: str, record: BuildRecord, version: DataVersion | None) -> bool:
        """Return whether Dagster was told of a build, or of what a view shows now."""
        return self._knows(name, self._token(name, record, version))

    def _knows(self, name: str, token: str) -> bool:
        return self.noted.get(name, self._known.get(name)) == token

    def note(self, name: str, record: BuildRecord, version: DataVersion | None) -> None:
        """Note that Dagster is told of a build, or of what a view shows now."""
        self.noted[name] = self._token(name, record, version)

    def keep(self) -> None:
        """Keep what was noted, for later runs and ticks."""
        if self.noted:
            self.dagster_project.opened.store.keep_shown(self.environment, self._scope, self.noted)
            self._known = {**self._known, **self.noted}
            self.noted = {}

    def catch_up(self, facts: Facts, columns: Columns, give_up: float) -> int:
        """Report what Dagster does not know as runless materializations; return how many are left for later.

        What runs of this instance build, they report themselves: while they go, that is neither told nor counted. Which runs these
        are is asked before the log is read, so that what a run has logged when it ends is found there. One process tells at a time.

        Args:
            facts: What is known now.
            columns: Of sources and models, for the lineage of columns.
            give_up: When to leave the rest for later, on the monotonic clock.
        """
        self.keep()
        untold = [each for each in self._untold(facts) if not self._knows(each.name, each.token)]
        going = self._going({each.record.run_id for each in untold})
        untold = [each for each in untold if each.record.run_id not in going]
        if not untold:
            return 0
        with self._alone() as alone:
            if not alone:
                return len(untold)
            self._read()  # another process may have told meanwhile
            told = self._tell(untold[:AT_ONCE], facts, columns, give_up)
            self.keep()
        return len(untold) - told

    def _tell(self, untold: Sequence[Untold], facts: Facts, columns: Columns, give_up: float) -> int:
        """Report what is not in Dagster's log; return how many builds need not be told any more."""
        keys = self.dagster_project.keys
        logged = self.instance.get_latest_materialization_events([keys[each.name] for each in untold])
        done = 0
        for each in untold:
            if self._knows(each.name, each.token):
                done += 1
                continue
            if not _is_logged(logged.get(keys[each.name]), each):
                if time.monotonic() > give_up:
                    break
                self.instance.report_runless_asset_event(self.event(each, facts, columns))
            self.noted[each.name] = each.token
            done += 1
        return done

    def event(self, build: Untold, facts: Facts, columns: Columns) -> dg.AssetMaterialization:
        """Return a build, or what a view shows now, as Dagster is told it outside of the step that built it."""
        node = self.dagster_project.project.nodes[build.name]
        is_view = node.materialized is Materialized.VIEW
        tags = _provenance(self.dagster_project, build, facts)
        if build.version is not None:
            tags |= {"dagster/data_version": str(build.version), "dagster/data_version_is_user_provided": "true"}
        how = (
            "Adopted as it was, since somebody said that it is what its code gives."
            if build.record.adopted
            else BUILT_ELSEWHERE
        )
        return dg.AssetMaterialization(
            asset_key=self.dagster_project.keys[build.name],
            description="Shows what its inputs hold now; a view is not built for that."
            if is_view and build.name in self._known
            else how,
            metadata={
                "sao/built_at": dg.MetadataValue.timestamp(build.record.built_at),
                "sao/built_by_run": build.record.run_id,
                **record_metadata(self.dagster_project, build.name, build.record, columns),
            },
            tags=tags,
        )

    def _untold(self, facts: Facts) -> Iterator[Untold]:
        project = self.dagster_project.project
        for name in self.dagster_project.asset_names:
            node, record = project.nodes[name], facts.records.get(name)
            if record is not None and node.materialized.holds_data and self._knows(name, record.build):
                continue  # nearly always, and told at once
            if record is None or record.relation != str(node.relation) or facts.exists.get(name) is Existence.NO:
                continue
            version = record.data_version if node.materialized.holds_data else facts.version(project, name)
            if node.materialized is Materialized.VIEW and version is None:
                reads = project.graph.inputs(name).data
                was_looked_at = all(each in facts.versions or each in project.nodes for each in reads)
                if name in self._known or not was_looked_at:
                    continue
            yield Untold(name, record, version, self._token(name, record, version))

    def _token(self, name: str, record: BuildRecord, version: DataVersion | None) -> str:
        """Return what tells one build from another; for a view, what it shows."""
        is_view = self.dagster_project.project.nodes[name].materialized is Materialized.VIEW
        return str(version) if is_view and version is not None else record.build

    def _going(self, run_ids: set[str]) -> frozenset[str]:
        """Return the runs among these that are not over."""
        ids, statuses = sorted(run_ids), list(UNFINISHED)
        parts = [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
        found = (self.instance.get_runs(dg.RunsFilter(run_ids=part, statuses=statuses)) for part in parts)
        return frozenset(run.run_id for runs in found for run in runs)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Have the right to tell, unless another process tells just now."""
        store, holder = self.dagster_project.opened.store, str(uuid.uuid4())
        lease = store.take_lease(self.environment, self._scope, holder, holder, LEASED)
        try:
            yield isinstance(lease, Lease)
        finally:
            store.leave_queues(self.environment, holder)


def tell(dagster_project: DagsterProject, instance: dg.DagsterInstance, plan: Plan, seen: Observation) -> int:
    """Tell Dagster outside of a run what is new of sources, and of builds that it does not know; return how much is left for later.

    Sources come first, for Dagster takes what is older than what it reads for stale.
    """
    give_up = time.monotonic() + SECONDS
    for event in news_of_sources(dagster_project, instance, plan, seen, give_up):
        instance.report_runless_asset_event(event)
    records = seen.facts.records
    columns = {**seen.columns, **{name: record.columns for name, record in records.items()}}
    return Told(dagster_project, instance, plan.environment).catch_up(seen.facts, columns, give_up)


def try_to_tell(
    dagster_project: DagsterProject,
    instance: dg.DagsterInstance,
    plan: Plan,
    seen: Observation,
    log: logging.Logger,
) -> None:
    """Tell Dagster what `tell` does; what is left for later, or an error, is for the log alone: a tick goes on without."""
    try:
        left = tell(dagster_project, instance, plan, seen)
    except Exception as error:  # noqa: BLE001 - the storage of an instance may raise anything; what is due is requested all the same
        log.warning(f"Dagster is not told of sources and other builds now: {words_of(error)}")
        return
    if left:
        log.info(f"{left} builds of the command line or dbt are told to Dagster with the next ticks")


def _is_logged(entry: dg.EventLogEntry | None, build: Untold) -> bool:
    """Return whether the latest materialization in Dagster's log is of this build, or of what a view shows now."""
    event = None if entry is None else entry.asset_materialization
    if entry is None or event is None:
        return False
    if build.token == str(build.version):
        return (event.tags or {}).get("dagster/data_version") == build.token
    run = event.metadata.get("sao/built_by_run")
    return build.record.run_id in (entry.run_id, run.value if run is not None else None)


def _provenance(dagster_project: DagsterProject, build: Untold, facts: Facts) -> dict[str, str]:
    """Return the tags by which Dagster tells what is stale: the code and the input versions; none where one is not known."""
    project, node = dagster_project.project, dagster_project.project.nodes[build.name]
    reads = project.graph.relations_read(build.name)
    versions = {name: facts.version_read(project, build.name, name) for name in reads}
    if any(version is None for version in versions.values()) or any(
        is_source(name) and name not in dagster_project.own_sources for name in versions
    ):
        return {}
    same = not facts.code_changed(node, build.record)
    tags = {"dagster/code_version": node.code.version if same else build.record.code_version}
    for name, version in versions.items():
        key = dagster_project.keys[name].to_user_string()
        tags[f"dagster/input_data_version/{key}"] = str(version)
        tags[f"dagster/input_event_pointer/{key}"] = "NULL"  # no event of Dagster's was read
    return tags
