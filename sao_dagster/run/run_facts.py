"""What one run knows while it goes: what was observed when it began, and what it and other runs have built since."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sao_dagster.core.data_version import DataVersion, columns_version
from sao_dagster.core.facts import Existence
from sao_dagster.core.inputs import answers_id
from sao_dagster.core.nodes import DataTest, Materialized, Model, Node
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.core.templates import Answers
from sao_dagster.run.asked import version_of_answers
from sao_dagster.run.contents import SHOWN_BY_VIEW, content_key_of
from sao_dagster.run.observe import Observation
from sao_dagster.run.watch import Watch
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import RelationInfo, Session
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce

K = TypeVar("K")
V = TypeVar("V")

SYNC_SECONDS = 0.2  # how old the state may be that a reuse rests on; a build always looks again
RECORD_SECONDS, RECORD_PAUSE = 3.0, 0.02  # how long, and how often, to look for the record of a build that was read


class RunFacts:
    """The facts of one run. They start as copies of what was observed, and `facts` is a view of them; used by several threads.

    Args:
        project: The project.
        run_id: The run.
        store: The shared state; None for a run without.
        session: The warehouse, open.
        seen: What was observed when the run began.
        observe: Observes a selection anew.
        exclusive: Whether nobody else can write in the warehouse while the run goes on.
    """

    def __init__(
        self,
        project: Project,
        run_id: str,
        store: StateStore | None,
        session: Session,
        seen: Observation,
        observe: Callable[[Selection], Observation],
        *,
        exclusive: bool,
    ) -> None:
        self._project = project
        self._run_id = run_id
        self._store = store
        self._session = session
        self._observe = observe
        self._catalog = dict(seen.catalog)
        self._records = dict(seen.facts.records)
        self._exists = dict(seen.facts.exists)
        self._dropped_with: dict[str, str] = {}
        self._altered = dict(seen.facts.altered)
        self._versions = dict(seen.facts.versions)
        self._schemas = dict(seen.facts.schemas)
        self._unsettled = dict(seen.facts.unsettled)
        self._history = dict(seen.facts.history)
        self._test_records = dict(seen.facts.test_records)
        self._harmless = dict(seen.facts.harmless)
        self.facts = replace(
            seen.facts,
            records=self._records,
            test_records=self._test_records,
            exists=self._exists,
            dropped_with=self._dropped_with,
            altered=self._altered,
            versions=self._versions,
            schemas=self._schemas,
            unsettled=self._unsettled,
            history=self._history,
            harmless=self._harmless,
        )
        self.watch = Watch(project, session, self.facts, self._catalog, observe, exclusive=exclusive)
        self.watch.note(seen.movements)
        self._contents = dict(seen.contents)
        self._sequence = seen.sequence
        self._synced_at = time.monotonic()
        self._learned: list[
            str
        ] = []  # what this run has built, or another one as this run has learned, one after the other
        # what was built since it was observed here, or has other columns since, is shown by these: what is read beside its declaration, and views
        self._stale: set[str] = set()
        self._outdated: set[str] = set()  # what another run has built since it was observed here
        # what was built without the right to: the record of another run does not speak of it, so only a build makes it right
        self._tainted: set[str] = set()
        # whom templates ask, as long as nobody can have written since: one look at the catalog is enough for all of them
        self._unwritten = AskedAtOnce(session) if exclusive else None
        self._lock = threading.Lock()

    @property
    def contents(self) -> Mapping[str, DataVersion]:
        """Content versions of relations, as far as they are known; see `content_key`. What views show may be another thing after a build."""
        if not self._learned:
            return self._contents
        return {key: version for key, version in self._contents.items() if not key.startswith(SHOWN_BY_VIEW)}

    def version(self, name: str) -> DataVersion | None:
        """Return the data version of a relation, None if it is not known."""
        return self.facts.version(self._project, name)

    # ------------------------------------------------------------------ what other runs do

    def sync(self, name: str, *, exact: bool) -> None:
        """Learn what other runs have built meanwhile.

        Args:
            name: The model whose turn it is, or what is tested; when the news of its inputs appeared matters if it tolerates a lag.
            exact: Whether to look even though that was done a moment ago, because a build depends on it.
        """
        if self._store is None:
            return
        with self._lock:
            if exact or time.monotonic() - self._synced_at >= SYNC_SECONDS:
                records, self._sequence = self._store.changes(self._project.environment, self._sequence)
                self._synced_at = time.monotonic()
                for model, record in records.items():
                    if self._records.get(model) != record:
                        self._is_built(model, record)
                        if record.run_id != self._run_id:
                            self._outdated.add(model)
                for tainted in self._tainted:
                    self._records.pop(tainted, None)
        node = self._project.nodes.get(name)
        if node is not None and node.policy.lag_tolerance is not None:
            inputs = self._project.graph.inputs(name).data
            self._history.update(self._store.history(self._project.environment, inputs))

    def builds_looked_at(self, names: Iterable[str]) -> dict[Relation, str | None]:
        """Return the relations of the nodes among some names, with the build of each that is known; None where its record does not say what it is."""
        nodes = [each for each in names if each in self._project.nodes]
        return {
            self._project.nodes[each].relation: None if each in self._versions else self._kept(each) for each in nodes
        }

    def outdate(self, name: str) -> None:
        """Note that what a node reads is to be looked at again."""
        self._outdated.add(name)

    def is_outdated(self, name: str) -> bool:
        """Return whether another run has built a model since it was observed here, perhaps from newer sources."""
        return name in self._outdated

    def refresh(self, name: str) -> None:
        """Observe what a node reads, and its relation.

        Other steps decide meanwhile, without the lock: what is known of an input is one thing or another, and never nothing in between.
        """
        learned = len(self._learned)
        observation = self._observe(Selection((name,), (), ()))
        seen = observation.facts
        nodes = self._project.nodes
        with self._lock:
            built = {*self._learned[learned:]}  # which is newer than what was seen
            keys = {nodes[each].relation.key for each in built if each in nodes}
            _replace(self._catalog, observation.catalog, except_for=keys)
            self.watch.note({each: token for each, token in observation.movements.items() if each not in built})
            _replace(self._versions, seen.versions, observation.looked_at, except_for=built)
            _replace(self._altered, seen.altered, observation.looked_at, except_for=built)
            _replace(self._exists, seen.exists, except_for=built)
            _replace(self._schemas, seen.schemas, except_for=built)
            self._unsettled.update(seen.unsettled)
            self._history.update(seen.history)
            self._outdated.discard(name)

    def refresh_stale(self, readers: Selection) -> None:
        """Observe anew where nodes and data tests read what was built meanwhile by another name, or through a view that may show other columns now."""
        if not self._stale:
            return
        graph, nodes = self._project.graph, self._project.nodes
        tests = (self._project.tests[each] for each in readers.tests)
        named = {*readers.nodes, *(read for test in tests for read in test.inputs)}
        reads = named.union(*(graph.read(each) for each in named if each in nodes)).difference(nodes)
        for name in readers.nodes:  # the columns of a view count for views alone
            reads.update(graph.relations_read(name) if nodes[name].materialized is Materialized.VIEW else ())
        with self._lock:
            stale = self._stale & reads
        if not stale:
            return
        observation = self._observe(readers)
        with self._lock:
            self._catalog.update(observation.catalog)  # what was built here meanwhile is not in it
            for each in stale.difference(nodes):
                self._versions[each] = observation.facts.versions.get(each)
            self.watch.note({each: token for each, token in observation.movements.items() if each in stale})
            self._schemas.update({each: seen for each, seen in observation.facts.schemas.items() if each in stale})
            self._stale -= stale

    # ------------------------------------------------------------------ what this run does

    def ask(self, node: Node, now: datetime) -> Answers:
        """Return what the template of a model gets when it asks the warehouse now (UTC), and know it for decisions."""
        if not isinstance(node, Model) or not node.asks or node.compiler is None:
            return Answers()
        found = node.compiler.answers(self._asking, now)
        found = replace(found, version=version_of_answers(self._project, node, found))
        self._versions[answers_id(node.name)] = found.version
        return found

    def ask_test(self, test: DataTest, now: datetime) -> Answers:
        """Return what the template of a data test gets when it asks the warehouse now (UTC), and know it for decisions."""
        if test.asks is None:
            return Answers()
        found = test.asks.answers(self._asking, now)
        self._versions[test.answers_id] = version_of_answers(self._project, test, found)
        return found

    @property
    def _asking(self) -> Session:
        return self._unwritten or self._session

    def start_writing(self) -> None:
        """Note that this run writes to the warehouse from here on."""
        self._unwritten = None

    def forget_answers(self, node: Node) -> None:
        """Note that nobody knows what the template of a model got."""
        self._versions[answers_id(node.name)] = None

    def start_build(self, node: Node) -> None:
        """Note that a build begins: whatever happens from here on, the content is not known until it is recorded."""
        with self._lock:
            self._contents.pop(content_key_of(node), None)
        self.start_writing()

    def add_build(self, node: Node, record: BuildRecord, dropped: Collection[RelationKey]) -> None:
        """Add a build to the facts that later decisions are taken from."""
        with self._lock:
            self._tainted.discard(node.name)
            self._is_built(node.name, record)
            self._altered[node.name] = False
            for each in self._project.nodes.values() if dropped else ():
                if each.relation.key in dropped:
                    self._exists[each.name] = Existence.NO
                    self._dropped_with[each.name] = node.name
            is_view = node.materialized is Materialized.VIEW or record.shown_by is not None
            if node.materialized.holds_data and not is_view:
                self._contents[content_key_of(node)] = record.data_version

    def add_verdicts(self, records: Iterable[TestRecord]) -> None:
        """Add verdicts of this run to the facts that later proofs are made from."""
        with self._lock:
            self._test_records.update({record.test: record for record in records})

    def taint(self, name: str) -> None:
        """Note that a model was built without the right to."""
        with self._lock:
            self._tainted.add(name)
            self._records.pop(name, None)

    def _is_built(self, name: str, record: BuildRecord) -> None:
        """Note that a model was built, here or by another run; what was seen of its relation before is past. Under the lock."""
        before, self._records[name] = self._records.get(name), record
        if before is None or before.columns != record.columns:
            self._stale.update(self._project.graph.views_over(name) & self._records.keys())
        self._stale.discard(name)
        if (node := self._project.nodes.get(name)) is not None:
            is_view = node.materialized is Materialized.VIEW or record.shown_by is not None
            self._catalog[node.relation.key] = RelationInfo(is_view, record.columns, build_id=record.build_id)
        self._exists[name] = Existence.YES
        self._dropped_with.pop(name, None)
        self._altered.pop(name, None)
        self._versions.pop(name, None)
        self._schemas[name] = columns_version(record.columns)
        self._harmless.pop(name, None)
        self._stale.update(self._project.seen_through.get(name, ()))
        self._learned.append(name)

    # ------------------------------------------------------------------ what was read

    def versions_read(
        self,
        decided_on: Mapping[str, V | None],
        builds: Mapping[Relation, str | None],
        version: Callable[[str, BuildRecord], V],
        stopping: threading.Event,
    ) -> dict[str, V]:
        """Return the versions of what a build has read, without those that nobody knows.

        Where other processes build in the warehouse at the same time, it may have read a later build than it was decided
        on; the run that built that records it in a moment.

        Args:
            decided_on: The versions that the build was decided on, by name.
            builds: By relation that was read, which build of it that was.
            version: Returns what counts of the record of a name.
            stopping: Set when the run ends, so that nothing is waited for any more.
        """
        found = {}
        for name, known in decided_on.items():
            node = self._project.nodes.get(name)
            read = known
            by_record = node is not None and name not in self._versions and self._kept(name) is not None
            if node is not None and by_record and node.relation in builds:
                record = self._record_of(name, builds[node.relation], stopping)
                read = None if record is None else version(name, record)
            if read is not None:
                found[name] = read
        return found

    def is_as_recorded(self, reads: Iterable[str]) -> bool:
        """Return whether what is in the warehouse is what the records speak of, as far as it keeps its builds."""
        behind = {name for read in reads if read in self._project.nodes for name in self._project.graph.behind(read)}
        expected = {
            self._project.nodes[name].relation: build_id
            for name in behind
            if (build_id := self._kept(name)) is not None
        }
        return all(expected[relation] == found for relation, found in self._session.build_ids(expected).items())

    def _kept(self, name: str) -> str | None:
        """Return the name under which the warehouse keeps the build that the record of a model speaks of, if it does, and if that is what is read here."""
        record, node = self._records.get(name), self._project.nodes.get(name)
        is_elsewhere = record is None or (node is not None and record.relation != str(node.relation))
        return None if record is None or is_elsewhere else record.build_id

    def _record_of(self, name: str, build_id: str | None, stopping: threading.Event) -> BuildRecord | None:
        """Return the record of one build of a model; None where nobody records it."""
        give_up = time.monotonic() + RECORD_SECONDS
        while True:
            record = self._records.get(name)
            if record is not None and record.build_id == build_id:
                return record
            if build_id is None or time.monotonic() > give_up or stopping.wait(RECORD_PAUSE):
                return None
            self.sync(name, exact=True)


def _replace(
    known: dict[K, V], found: Mapping[K, V], looked_at: frozenset[K] = frozenset(), *, except_for: Collection[K]
) -> None:
    """Put what was found in the place of what was known.

    Args:
        known: What was known; nothing in it is missing meanwhile that is there before and after.
        found: What was found.
        looked_at: Of which nothing is known any more where nothing was found.
        except_for: Of which something newer is known.
    """
    known.update({each: value for each, value in found.items() if each not in except_for})
    for each in looked_at.difference(found, except_for):
        known.pop(each, None)
