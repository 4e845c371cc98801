"""Building one node in a run: with the lease in hand, by whoever builds, versioned and recorded.

The versions of the inputs are those that were read *before* the build, as far as nothing shows that they have changed until its
end; else they are unknown. A crash before the record leaves the old record, or none, so the node is built again at worst.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NoReturn

from sao_dagster.core.data_version import ANY_BUILD, DataVersion, build_version, columns_version
from sao_dagster.core.elsewhere import Offer, record_of_offer
from sao_dagster.core.facts import Existence, Facts, Observed, version_by_build
from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import answers_id, is_answers
from sao_dagster.core.nodes import Materialized, Model, Node, Seed
from sao_dagster.core.plan import node_facts
from sao_dagster.core.reasons import Mode
from sao_dagster.core.records import BuildRecord, Lease
from sao_dagster.core.relations import RelationKey
from sao_dagster.core.selection import Selection
from sao_dagster.core.templates import Answers, CompiledSql
from sao_dagster.errors import LeaseLostError, ProjectError, StateError, WarehouseError
from sao_dagster.run.context import RunContext
from sao_dagster.run.elsewhere import Taker
from sao_dagster.run.movements import IDENTITY
from sao_dagster.run.stored_facts import kept_sql
from sao_dagster.run.unwatched import UnwatchedInputs
from sao_dagster.warehouses.protocol import CHEAP_BYTES, BuildRequest, Built, RelationInfo, VersionsBy
from sao_dagster.warehouses.shared.files import file_digest, file_stamp
from sao_dagster.warehouses.shared.native import NativeMaterializer

VERSION_SECONDS = 600.0  # for reading the version of one relation that was just built
_MAKE_TABLES = (Materialized.TABLE, Materialized.SEED)  # all of which is new with each build


@dataclass
class NodeBuilds:
    """The builds of one run; several threads build at once.

    Attributes:
        run: The run.
        side_effects: Whether statements of the user's own may have changed anything in the warehouse.
    """

    run: RunContext
    side_effects: bool = field(init=False)

    def __post_init__(self) -> None:
        self.side_effects = self.run.hooks.are_there

    def build(self, name: str, facts: Facts, lease: Lease | None, offer: Offer | None = None) -> BuildRecord:
        """Build a node, or take it from another environment, and return its record, which is in the shared state by then, if there is one.

        Args:
            name: The node.
            facts: What its decision was taken from: the record says that it was built from these versions.
            lease: The right to build it; given back with the record. None for a run without state.
            offer: What is taken from another environment in place of a build.

        Raises:
            LeaseLostError: Another run has taken the lease over; nothing was recorded.
            InputBuiltError: Another run has built what it reads since it was decided about; nothing was built.
            SaoError: The template or the warehouse refused.
        """
        run = self.run
        node = run.project.nodes[name]
        code = facts.code(node)
        asked = run.run_facts.ask(node, run.now())
        before = node_facts(run.project, name, facts)
        last = facts.records.get(name) if facts.altered.get(name) is not True else None
        # what is taken from elsewhere is recorded with the versions that the build there has read
        is_watched = node.materialized.holds_data and offer is None and run.store is not None
        inputs = [each for each in (*before.inputs, *before.definitions) if not is_answers(each)] if is_watched else []
        watch = run.run_facts.watch
        unwatched = watch.unwatched(inputs)
        run.run_facts.start_build(node)
        observed_at = run.now()
        if run.store is not None and not run.capabilities.transactional_ddl:  # a crash may leave half a relation
            run.store.forget_build(run.project.environment, name, lease)
        got: list[tuple[str, str]] = []
        built = self._materialize(node, before, unwatched, offer, got)
        inside = None if built.adopted else unwatched.versions(built.contents, observed_at)
        unproven = watch.unproven(inputs, Selection((name,), (), ()), inside)
        read = {each: version for each, version in before.inputs.items() if each not in unproven}
        kept = kept_sql(node.compiled if isinstance(node, Model) else CompiledSql(""), run.project.dialect)
        version = built.data_version or build_version(uuid.uuid4().hex)
        if last is not None and self._is_as_it_was(built, last):  # what reads it has no news
            version = last.data_version
        read.update(self._answers(node, asked, got))
        by_build = run.project.graph.read_by_build(name)

        def counted(read: str, built: BuildRecord) -> DataVersion:
            if not node.materialized.holds_data:  # a view depends on the columns alone
                return columns_version(built.columns)
            return version_by_build(built, built.data_version) if read in by_build else built.data_version

        record = BuildRecord(
            model=name,
            relation=str(node.relation),
            code_version=code.version,
            code_scheme=code.scheme,
            code_parts=dict(code.parts),
            definition=facts.definition_if_built(node),
            sql_id=digest(kept),
            inputs=run.run_facts.versions_read(read, built.read, counted, run.stopping),
            definitions=run.run_facts.versions_read(
                {each: known for each, known in before.definitions.items() if each not in unproven},
                built.read,
                lambda _, each: each.definition,
                run.stopping,
            ),
            data_version=version,
            columns=built.columns or (),
            rows=built.rows,
            observed_at=observed_at,
            built_at=run.now(),
            seconds=built.seconds or 0.0,
            run_id=run.run_id,
            build_id=built.build_id,
            changed=None if built.adopted else self._has_changed(node, before, version, last),
            adopted=built.adopted,
            movement=self._movement(node, built, version),
            shown_by=built.shown_by,
        )
        if node.materialized.holds_data:
            self._check_in_place({each: record.inputs.get(each) for each in before.inputs})
        if offer is not None:
            record = _taken(record, record_of_offer(node, facts, offer), last)
        if run.store is not None:
            try:
                run.store.record_build(run.project.environment, record, kept, lease)
            except LeaseLostError:
                raise
            except StateError as error:
                message = f"it was built, and this could not be recorded, so that it is built again next time: {error}"
                raise StateError(message) from error
            if run.leases is not None and lease is not None:
                run.leases.released(lease)
        run.run_facts.add_build(node, record, built.dropped or ())
        watch.note_build(name, built.movement)
        if node.compiler is not None or node.hooks:
            self.side_effects = True
        return record

    def _movement(self, node: Node, built: Built, version: DataVersion) -> str | None:
        """Return what shows from now on that somebody else has written to a node, or made it anew; see `BuildRecord.movement`."""
        is_build = version.comparable(ANY_BUILD)
        # should what was written be counted late, the content tells
        is_told = built.is_counted or (self._is_read_after(built) and not is_build)
        if built.build_id is not None or (built.movement is not None and is_told):
            return built.movement
        if self.run.capabilities.exclusive or not (is_build or built.shown_by is not None):
            return None
        identity = self.run.session.identities([node.relation]).get(node.relation)
        return None if identity is None else IDENTITY + identity

    def _is_as_it_was(self, built: Built, last: BuildRecord) -> bool:
        """Return whether a build has written nothing, and nobody else has since the last one, so that what is there is what that has left."""
        is_shown = built.movement is not None and built.movement == last.movement
        if built.is_counted:
            return is_shown
        return built.changed is False and (is_shown or self.run.capabilities.exclusive)

    def _has_changed(self, node: Node, before: Observed, version: DataVersion, last: BuildRecord | None) -> bool | None:
        """Return whether a build has changed what was there; one from nothing that gives the same says no more of that than the last build."""
        if last is None or last.relation != str(node.relation) or last.data_version != version:
            return True
        is_from_nothing = before.exists is Existence.NO or self.run.mode is Mode.FULL_REFRESH
        return last.changed if is_from_nothing else False

    def _check_in_place(self, read: Mapping[str, DataVersion | None]) -> None:
        """Refuse a build that may have read something else, in place of what is the same elsewhere, than was decided about.

        Args:
            read: What was read, by node or source, with its version; None where it may have changed meanwhile.

        Raises:
            WarehouseError: Another environment has built that again meanwhile, or somebody has written to it.
        """
        for name, version in self.run.in_place.items():
            if name in read and read[name] != version:
                where = self.run.project.nodes[name].relation
                raise WarehouseError(
                    f"{where}, which is read in place of {name}, was the same when the run began, and may be another one now; run it again"
                )

    def _answers(self, node: Node, before: Answers, got: Iterable[tuple[str, str]]) -> dict[str, DataVersion | None]:
        """Return the version of what the template of a model asked for its build, and got then; None where somebody may have changed that meanwhile.

        What an increment asks of its own relation is another thing after each build, and is told as it is then.
        """
        if not isinstance(node, Model) or not node.asks:
            return {}
        after = self.run.run_facts.ask(node, self.run.now())
        unmoved = before.independent == after.independent and before.agree_with(got)
        unmoved = unmoved and (self.run.capabilities.exclusive or not after.of_itself)
        if not unmoved:
            self.run.run_facts.forget_answers(node)
        return {answers_id(node.name): after.version if unmoved else None}

    def _materialize(
        self,
        node: Node,
        before: Observed,
        unwatched: UnwatchedInputs,
        offer: Offer | None,
        got: list[tuple[str, str]],
    ) -> Built:
        """Let the node be built, look up what whoever built it does not say, and note what its template got for that.

        The version of the content is read afterwards only where nobody else can have changed it meanwhile, or whoever built it says to do so;
        else the build is a version of its own.
        """
        run = self.run

        def compile_() -> CompiledSql:
            if node.compiler is None:
                return node.compiled if isinstance(node, Model) else CompiledSql("")
            incremental = not full_refresh and run.session.kind_of(node.relation) is not None
            compiled = node.compiler.compile(run.session, run.run_id, run.started_at, incremental=incremental)
            got.extend(compiled.got)
            return compiled

        fixed = node.full_refresh if isinstance(node, Model) else None
        full_refresh = run.mode is Mode.FULL_REFRESH if fixed is None else fixed
        if isinstance(node, Seed) and node.compiler is not None:
            hooks = compile_()
            node = replace(node, pre_hooks=hooks.pre_hooks, post_hooks=hooks.post_hooks)
        request = BuildRequest(
            compile=compile_,
            full_refresh=full_refresh,
            reads=run.run_facts.builds_looked_at((*before.inputs, *before.definitions))
            if run.capabilities.build_ids
            else {},
            unwatched=unwatched.relations,
            run_id=run.run_id,
            session=run.session,
        )
        started = time.perf_counter()
        with _unchanged_file(node):
            materializer = run.materializer if offer is None else Taker(run.materializer, offer)
            built = materializer.build(node, request)
        if built.seconds is None:
            built = replace(built, seconds=time.perf_counter() - started)
        if built.columns is None:
            built = replace(built, columns=run.session.columns_of(node.relation))
        if built.movement is None and node.materialized.holds_data and not run.capabilities.exclusive:
            info = RelationInfo(is_view=offer is not None and offer.by_view, columns=built.columns)
            shown = run.session.movements({node.relation.key: info}, [node.relation])
            built = replace(built, movement=shown.get(node.relation))
        look_up = lru_cache(partial(run.session.info_of, node.relation))
        if not isinstance(materializer, (NativeMaterializer, Taker)):
            built = replace(built, shown_by=self._shown_by(node, look_up))
        if built.data_version is None and (run.capabilities.exclusive or built.adopted):
            built = replace(built, data_version=self._version_now(node, built, look_up()))
        elif built.data_version is None and self._is_read_after(built):
            is_new = full_refresh or before.exists is Existence.NO or node.materialized in _MAKE_TABLES
            built = replace(built, data_version=self._version_left(node, built, is_new=is_new))
        if built.dropped is None:
            built = replace(built, dropped=self._dropped_with(node))
        return built

    def _dropped_with(self, node: Node) -> tuple[RelationKey, ...]:
        """Return what is gone of what was over the relation that was there before: dbt drops a table on PostgreSQL with all views over it."""
        run = self.run
        if run.capabilities.views_by_name:
            return ()
        graph, nodes, exists = run.project.graph, run.project.nodes, run.run_facts.facts.exists
        pending, over = [*graph.children[node.name]], dict[str, None]()
        while pending:
            name = pending.pop()
            kind = nodes[name].materialized
            if name not in over and (not kind.holds_data or not kind.is_native):  # a materialized view is over it, too
                over[name] = None
                pending += graph.children[name]
        there = [nodes[name].relation for name in over if exists.get(name) is Existence.YES]
        return tuple(each.key for each in there if run.session.kind_of(each) is None)

    def _shown_by(self, node: Node, look_up: Callable[[], RelationInfo | None]) -> str | None:
        """Return the version of the definition of a view that there is in place of a table, as some materializations make; None where there is none."""
        if not node.materialized.holds_data or self.run.capabilities.model_versions is not VersionsBy.CONTENT:
            return None
        info = look_up()
        return str(info.definition_version) if info is not None and info.is_view else None

    def _version_now(self, node: Node, built: Built, info: RelationInfo | None) -> DataVersion | None:
        """Return the version of what is there now; None where that cannot be told."""
        session, relation = self.run.session, node.relation
        if info is None or self.run.capabilities.model_versions is VersionsBy.NONE:
            return None
        if info.is_view:
            return info.definition_version if built.shown_by is None else self._version_shown(node)
        return session.versions({relation.key: info}, {relation: node.volatile_columns}, VERSION_SECONDS).get(relation)

    def _version_shown(self, node: Node) -> DataVersion | None:
        """Return the version of what a view shows that is there in place of a table; None where that cannot be told, such as of files."""
        session, relation = self.run.session, node.relation
        return session.versions(session.catalog(), {relation: node.volatile_columns}, VERSION_SECONDS).get(relation)

    def _is_read_after(self, built: Built) -> bool:
        """Return whether what was built is known by its content, which is read after the build."""
        return built.is_read_after and self.run.capabilities.model_versions is VersionsBy.CONTENT

    def _version_left(self, node: Node, built: Built, *, is_new: bool) -> DataVersion | None:
        """Return the version of what another program has just built; None where something was seen to be written to it since.

        As natively, a large table is not read for the few rows that came to it. What nothing shows to be a table may be a view, where it is not known what builds it.
        """
        session, relation = self.run.session, node.relation
        if built.shown_by is not None:
            return self._version_shown(node)
        is_table = node.materialized.holds_data and (node.materialized.is_native or built.movement is not None)
        if not is_table or (not is_new and session.sizes([relation]).get(relation, 0) > CHEAP_BYTES):
            return None
        catalog = {relation.key: RelationInfo(is_view=False, columns=built.columns)}
        found = session.versions(catalog, {relation: node.volatile_columns}, VERSION_SECONDS).get(relation)
        return found if session.movements(catalog, [relation]).get(relation) == built.movement else None

    def finish(self, *, anything_done: bool) -> None:
        """Run `on-run-end`, if anything was built; keep what is known of contents for the next observation.

        That is kept under the stamp that the warehouse has now, and not where statements of the user's own may have changed anything.
        """
        run = self.run
        run.hooks.finish()
        if run.store is None or (self.side_effects and anything_done):
            return
        stamp = run.session.stamp() if run.capabilities.stamp else None
        if stamp is not None:
            run.store.keep_contents(run.project.environment, stamp, run.run_facts.contents)


def _taken(made: BuildRecord, offered: BuildRecord, last: BuildRecord | None) -> BuildRecord:
    """Return the record of what was taken from another environment.

    Args:
        made: What would be recorded of it, had it been built here.
        offered: What is known of the build there.
        last: The last build here.
    """
    shown_by = None if offered.shows is None else str(made.data_version)
    changed = last is None or last.relation != made.relation or last.data_version != offered.data_version
    return replace(
        offered,
        sql_id=made.sql_id,
        definitions=made.definitions,
        columns=made.columns,
        run_id=made.run_id,
        build_id=made.build_id,
        movement=made.movement,
        changed=changed,
        shown_by=shown_by,
    )


@contextmanager
def _unchanged_file(node: Node) -> Iterator[None]:
    """Make sure that the file of a seed is and stays the one that its code version was made of.

    Raises:
        ProjectError: It is another one, so that nobody knows what was loaded.
    """
    if not isinstance(node, Seed):
        yield
        return

    def refuse(when: str) -> NoReturn:
        raise ProjectError(f"its file {Path(node.path).name} has changed {when}; run again", location=node.location)

    def is_as_read() -> bool:
        return Path(node.path).is_file() and file_digest(node.path) == node.code.parts["sql"]

    stamp = file_stamp(node.path)
    if not is_as_read():
        refuse("since the project was read")
    yield
    if file_stamp(node.path) != stamp or (stamp is None and not is_as_read()):
        refuse("while it was loaded")
