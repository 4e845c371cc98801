"""What a Dagster instance is told of builds that no run of it has reported, and of views that show something new."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.facts import Existence, Facts
from sao_dagster.core.nodes import Materialized, is_source
from sao_dagster.core.records import BuildRecord
from sao_dagster.dagster.metadata import Columns, record_metadata
from sao_dagster.dagster.project_view import DagsterProject
from sao_dagster.dagster.told_before import ToldBefore, unfinished

AT_ONCE = 500  # builds that are looked up in Dagster's log at once; more than can be told in that time
BUILT_ELSEWHERE = "Built outside of this Dagster instance."


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
class ToldBuilds:
    """What one Dagster instance knows of the builds of one environment; what is kept of that is read when this is made.

    Attributes:
        dagster_project: The project in Dagster.
        instance: The instance.
        environment: The environment.
    """

    dagster_project: DagsterProject
    instance: dg.DagsterInstance
    environment: str
    _before: ToldBefore = field(init=False)

    def __post_init__(self) -> None:
        """Read what is kept."""
        store = self.dagster_project.opened.store
        self._before = ToldBefore(store, self.instance, self.environment, "dagster_builds")

    def knows(self, name: str, record: BuildRecord, version: DataVersion | None) -> bool:
        """Return whether Dagster was told of a build, or of what a view shows now."""
        return self._before.knows(name, self._token(name, record, version))

    def last(self, name: str) -> str:
        """Return what tells the build that Dagster was told of last from every other one, or what a view showed; empty for none."""
        return self._before.token(name)

    def note(self, name: str, record: BuildRecord, version: DataVersion | None) -> None:
        """Note that Dagster is told of a build, or of what a view shows now."""
        self._before.note(name, self._token(name, record, version))

    def catch_up(self, facts: Facts, columns: Columns, give_up: float) -> int:
        """Report what Dagster does not know as runless materializations; return how many are left for later.

        What runs of this instance build, they report themselves: while they go, that is neither told nor counted. Which runs these
        are is asked before the log is read, so that what a run has logged when it ends is found there. One process tells at a time.

        Args:
            facts: What is known now.
            columns: Of sources and models, for the lineage of columns.
            give_up: When to leave the rest for later, on the monotonic clock.
        """
        self._before.keep()
        untold = [each for each in self._untold(facts) if not self._before.knows(each.name, each.token)]
        going = unfinished(self.instance, {each.record.run_id for each in untold})
        untold = [each for each in untold if each.record.run_id not in going]
        if not untold:
            return 0
        with self._before.alone() as alone:
            if not alone:
                return len(untold)
            told = self._tell(untold[:AT_ONCE], facts, columns, give_up)
            self._before.keep()
        return len(untold) - told

    def _tell(self, untold: Sequence[Untold], facts: Facts, columns: Columns, give_up: float) -> int:
        """Report what is not in Dagster's log; return how many builds need not be told any more."""
        keys = self.dagster_project.keys
        logged = self.instance.get_latest_materialization_events([keys[each.name] for each in untold])
        done = 0
        for each in untold:
            if self._before.knows(each.name, each.token):
                done += 1
                continue
            if not _is_logged(logged.get(keys[each.name]), each):
                if time.monotonic() > give_up:
                    break
                self.instance.report_runless_asset_event(self.event(each, facts, columns))
            self._before.note(each.name, each.token)
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
            if is_view and build.name in self._before
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
            if record is not None and node.materialized.holds_data and self._before.knows(name, record.build):
                continue  # nearly always, and told at once
            if record is None or record.relation != str(node.relation) or facts.exists.get(name) is Existence.NO:
                continue
            version = record.data_version if node.materialized.holds_data else facts.version(project, name)
            if node.materialized is Materialized.VIEW and version is None:
                reads = project.graph.inputs(name).data
                was_looked_at = all(each in facts.versions or each in project.nodes for each in reads)
                if name in self._before or not was_looked_at:
                    continue
            yield Untold(name, record, version, self._token(name, record, version))

    def _token(self, name: str, record: BuildRecord, version: DataVersion | None) -> str:
        """Return what tells one build from another; for a view, what it shows."""
        is_view = self.dagster_project.project.nodes[name].materialized is Materialized.VIEW
        return str(version) if is_view and version is not None else record.build


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
