"""What is known: of one node, and of a whole project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone, tzinfo
from enum import Enum
from functools import cached_property

from sao_dagster.core.code_version import CODE_SCHEME, PLACES, RELATION, CodeVersion
from sao_dagster.core.connection import NO_SETTINGS, ConnectionSettings
from sao_dagster.core.data_version import DataVersion, build_version, columns_version, view_version
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import answers_id
from sao_dagster.core.nodes import DataTest, Materialized, Model, Node
from sao_dagster.core.others import FailureElsewhere
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord


class Unsettled(str, Enum):
    """Why one build of an incremental model that reads itself may not be enough."""

    PART = "part"
    NOT_UNDERSTOOD = "not_understood"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known of a project's environment at one time; what is missing is unknown.

    Attributes:
        records: Last builds by model.
        test_records: Last verdicts by test.
        exists: Existence by model.
        dropped_with: Views that went with the table of another model when that was built, by name.
        altered: Models by whether someone else changed them since our build.
        built_elsewhere: Those of them that a run built which has no record here, such as one of another state, where the warehouse keeps who built what.
        versions: Data version by source and undeclared input, and by model that is not as its record says, or shows what is not so any more in
            another environment, as the warehouse itself has it; None where it cannot be read.
        schemas: Version of column names and types by relation (models, sources, undeclared tables); what has none has its version here.
        harmless: By model, the parts of its definition that differ from the recorded ones and change no result: SQL that only looks otherwise, and where
            it reads, where that cannot be told from what it gives.
        unsettled: Incremental models by why one build may not be enough; None where it is.
        zone: The time zone in which SQL knows the date; None where it is not known.
        history: By relation, each data version that was seen, with the time it was first seen, oldest first.
        settings: What is set in the connection that builds.
    """

    records: Mapping[str, BuildRecord] = field(default_factory=dict)
    test_records: Mapping[str, TestRecord] = field(default_factory=dict)
    exists: Mapping[str, Existence] = field(default_factory=dict)
    dropped_with: Mapping[str, str] = field(default_factory=dict)
    altered: Mapping[str, bool] = field(default_factory=dict)
    built_elsewhere: AbstractSet[str] = frozenset()
    versions: Mapping[str, DataVersion | None] = field(default_factory=dict)
    schemas: Mapping[str, DataVersion | None] = field(default_factory=dict)
    harmless: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unsettled: Mapping[str, Unsettled | None] = field(default_factory=dict)
    zone: tzinfo | None = timezone.utc
    history: Mapping[str, tuple[tuple[DataVersion, datetime], ...]] = field(default_factory=dict)
    settings: ConnectionSettings = NO_SETTINGS

    @cached_property
    def altered_by_others(self) -> frozenset[str]:
        """The models that are known to have been changed by someone else since our build."""
        return frozenset(name for name, is_altered in self.altered.items() if is_altered)

    def is_unknown(self, name: str) -> bool:
        """Return whether nobody can tell if someone else changed a model since our build, although its warehouse shows that."""
        record = self.records.get(name)
        is_ours = record is not None and record.shows is None
        return is_ours and name in self.versions and name not in self.altered

    def with_record(self, record: BuildRecord) -> Facts:
        """Return what will be known once a model has another record, and its relation is as that says."""
        name = record.model
        return replace(
            self,
            records={**self.records, name: record},
            exists={**self.exists, name: Existence.YES},
            altered={**self.altered, name: False},
            versions={each: version for each, version in self.versions.items() if each != name},
            schemas={**self.schemas, name: columns_version(record.columns)},
        )

    def code(self, node: Node) -> CodeVersion:
        """Return the code version of a node under the settings of the connection."""
        return node.code.under(self.settings, follows_process=node.follows_process)

    def test_version(self, test: DataTest) -> str:
        """Return the version of a data test under the settings of the connection."""
        return self.settings.part(test.version, follows_process=test.follows_process)

    def version(self, project: Project, name: str, by_build: AbstractSet[str] = frozenset()) -> DataVersion | None:
        """Return the data version of a relation, or None if it is not known.

        A view's is made of its definition and of the versions of what it reads.

        Args:
            project: The project.
            name: The relation.
            by_build: Models whose version is to tell their builds apart, also where these gave the same but for volatile columns.
        """
        node = project.nodes.get(name)
        if name in by_build:
            record, content = self.records.get(name), self.version(project, name)
            return None if record is None or content is None else version_by_build(record, content)
        if node is None or node.materialized.holds_data:
            if name in self.versions:
                return self.versions[name]
            record = self.records.get(name)
            built_here = record is not None and node is not None and record.relation == str(node.relation)
            return record.data_version if record is not None and built_here else None
        definitions = {each: self.definition(project.nodes[each]) for each in (name, *project.graph.inputs(name).views)}
        return self.version_of_view(project, node, definitions, by_build)

    def version_of_view(
        self,
        project: Project,
        node: Node,
        definitions: Mapping[str, str | None],
        by_build: AbstractSet[str] = frozenset(),
    ) -> DataVersion | None:
        """Return the data version that a view or ephemeral has where it, and the views that it reads, are defined in some way; None if it is not known.

        Args:
            project: The project.
            node: The view or ephemeral.
            definitions: By name, how it and the views that it looks through are defined; that of an ephemeral is its own.
            by_build: As of `version`.
        """
        by_build = by_build | project.graph.read_by_build(node.name)
        below = {each: self.version(project, each, by_build) for each in project.graph.inputs(node.name).data}
        return _version_of_view(node, below, definitions)

    def versions_tested(self, project: Project, test: DataTest) -> dict[str, DataVersion | None]:
        """Return the versions of what a data test reads; a verdict that is found now is recorded with them."""
        by_build = project.graph.test_reads_by_build(test)
        return {read: self.version(project, read, by_build) for read in test.inputs}

    def version_read(self, project: Project, reader: str, name: str) -> DataVersion | None:
        """Return the data version of a relation that the last build of a model has read; None where it is not known.

        A view holds no result, so it reads what is there now.
        """
        record, node = self.records.get(reader), project.nodes.get(name)
        if record is None:
            return None
        if project.nodes[reader].materialized is Materialized.VIEW:
            return self.version(project, name)
        if node is None or node.materialized.holds_data:
            return record.inputs.get(name)
        inputs = project.graph.inputs(name)
        below = {each: record.inputs.get(each) for each in inputs.data}
        return _version_of_view(node, below, {each: record.definitions.get(each) for each in (name, *inputs.views)})

    def definition(self, node: Node) -> str | None:
        """Return the definition of a model as it is in the warehouse, or None if it is not known; one that moves is not there yet.

        A view that somebody else has made is defined by what it shows.
        """
        if node.name in self.versions:
            shown = self.versions[node.name]
            return None if shown is None else str(shown)
        record = self.records.get(node.name)
        return record.definition if record is not None and record.relation == str(node.relation) else None

    def definition_if_built(self, node: Node) -> str:
        """Return the definition that a node has once it is built; a cosmetic edit leaves it as it was."""
        record = self.records.get(node.name)
        asked = self.versions.get(answers_id(node.name))
        asks = isinstance(node, Model) and node.asks
        is_same = not asks or (
            record is not None and asked is not None and asked == record.inputs.get(answers_id(node.name))
        )
        if record is not None and is_same and not self.code_changed(node, record):
            return record.definition
        if node.materialized is Materialized.VIEW:
            made = [node.code.version, node.code.parts.get(RELATION)]
            # what it gets when it asks is a part of its text; where that is not known, each build is another one
            return digest([*made, str(asked), record.built_at.isoformat() if record else ""] if asks else made)
        return node.code.version

    def code_changed(self, node: Node, record: BuildRecord) -> bool:
        """Return whether a node means something else than what was built; how its SQL looks does not matter.

        Nor does it matter where a table is; but the SQL of a view, as the warehouse keeps it, says where everything is that it reads.
        """
        changed = set(self.code(node).changed_parts(*record.code))
        if node.materialized is not Materialized.VIEW:
            changed -= {RELATION, PLACES}
        return bool(changed.difference(self.harmless.get(node.name, ())))


def version_by_build(record: BuildRecord, content: DataVersion) -> DataVersion:
    """Return the version of a model for what reads a column that each build makes anew, given that of its content without it."""
    return build_version(digest([str(content), record.run_id, record.built_at.isoformat()]))


def _version_of_view(
    node: Node, below: Mapping[str, DataVersion | None], definitions: Mapping[str, str | None]
) -> DataVersion | None:
    """Return the data version of a view, made of the versions of what it reads and of how it is defined."""
    if node.materialized is Materialized.EPHEMERAL:
        definitions = {**definitions, node.name: node.code.version}
    versions = {name: version for name, version in below.items() if version is not None}
    defined = {name: definition for name, definition in definitions.items() if definition is not None}
    if len(versions) < len(below) or len(defined) < len(definitions):
        return None
    return view_version(defined, versions)


class Existence(str, Enum):
    """Whether a relation is there; `unknown` is not `no`."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """What holds a model back; false where nothing does.

    Attributes:
        failed: The relations it reads that failed or were skipped in this run.
        tested: What the tests below are about.
        tests: The `error` tests above it that failed in this run.
        standing: Those whose failure stands, though they were not asked for in this run.
        projects: The other projects that some of these are of; what is of them is named with their names.
    """

    failed: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()

    def and_elsewhere(self, failures: Iterable[FailureElsewhere]) -> HeldBack:
        """Return this with data tests of other projects whose failure stands."""
        found = tuple(failures)
        if not found:
            return self
        return replace(
            self,
            tested=tuple(dict.fromkeys((*self.tested, *(f"{each.project}.{each.tested}" for each in found)))),
            standing=(*self.standing, *(f"{each.project}.{each.test}" for each in found)),
            projects=tuple(dict.fromkeys(each.project for each in found)),
        )

    def __bool__(self) -> bool:
        """Return whether anything holds it back."""
        return bool(self.failed or self.tests or self.standing)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What is seen of one model at the time of a decision.

    Attributes:
        code: Digest by named part of the definition as it is now.
        code_scheme: The way in which these were made.
        harmless: The parts of the definition that differ from the recorded ones, and change no result.
        zone: The time zone in which SQL knows the date; None where it is not known.
        exists: Whether the relation is there.
        dropped_with: The model with whose table it went, where it is a view that is gone for that; else empty.
        altered: Whether someone else changed it since our build; None where that is not known.
        built_elsewhere: Whether that is known to have been a run that has no record here.
        is_unknown: Whether nobody can tell if someone else changed it, although its warehouse shows that.
        shows_other: Whether it is a view over a relation of another environment that may hold something else than it did.
        inputs: Current version by input; None where it cannot be read.
        definitions: Definition by view looked through, as it is in the warehouse; None where unknown.
        altered_inputs: Inputs and views that someone else changed since our build.
        pending: Inputs and views that are going to be built before this model, in a plan.
        changed_since: When the oldest change of an input that this model has not consumed appeared.
        held: What failed above it.
        unsettled: Why one build may not be enough; None where it is.
        test_failed: Whether the last verdict of one of its `error` tests is a failure.
        unrendered: Why its template cannot be rendered here; see `Node`.
    """

    code: Mapping[str, str]
    code_scheme: int = CODE_SCHEME
    harmless: frozenset[str] = frozenset()
    zone: tzinfo | None = timezone.utc
    exists: Existence = Existence.UNKNOWN
    dropped_with: str = ""
    altered: bool | None = None
    built_elsewhere: bool = False
    is_unknown: bool = False
    shows_other: bool = False
    inputs: Mapping[str, DataVersion | None] = field(default_factory=dict)
    definitions: Mapping[str, str | None] = field(default_factory=dict)
    altered_inputs: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    changed_since: Mapping[str, datetime] = field(default_factory=dict)
    held: HeldBack = HeldBack()
    unsettled: Unsettled | None = None
    test_failed: bool = False
    unrendered: str = ""
