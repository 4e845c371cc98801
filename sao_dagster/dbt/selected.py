"""A warehouse in which dbt builds what it is given by name: for those dbt's in which nobody can look over each node (dbt 2.x, an unknown version).

Decisions, leases and records are those of any run. What is ready at a time waits until nothing else goes on, and is then built by one
`dbt build --select`: so each step down the graph is one start of dbt, and what is below is decided once it is known what came out above. A
call is believed as far as `run_results.json` says that a node was built. DuckDB lets one process have a file, so it is given to dbt for
the call, and taken back; where somebody else has had it in between, nothing of the call is recorded, and what it built is built again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.dbt.commands import DbtCommands, Files, Finished
from sao_dagster.dbt.gate import Gate
from sao_dagster.dbt.supervised import marks_of
from sao_dagster.dbt.turns import turn_at
from sao_dagster.dbt.warehouse import DbtMaterializer, DbtWarehouse, as_test_run
from sao_dagster.dbt.waves import Job, Waves
from sao_dagster.errors import DisturbedBuildError, WarehouseError
from sao_dagster.projects.asked_before import AskedBefore, RenderedInRun
from sao_dagster.warehouses.protocol import (
    BuildRequest,
    Built,
    Capabilities,
    Catalog,
    NodeOutcome,
    Session,
    TestRun,
    Warehouse,
)
from sao_dagster.warehouses.shared.delegated import DelegatingSession

VERSION_SECONDS = 600.0  # for reading the versions of what one call has built
WAIT_SECONDS = 3600.0  # for another run that builds in the same file, where nothing else is said
TRIES = 3  # calls in a row in which somebody else may have the database
ARTIFACTS = ("manifest.json", "run_results.json")


@dataclass(frozen=True)
class SelectedWarehouse(DbtWarehouse):
    """A warehouse in which dbt builds what it is given by name.

    Attributes:
        selectors: By unique id, how dbt is given a node or data test, with the unit tests of a model.
        has_hooks: Whether the project, or a package of it, has statements around each call.
        why: Why it is given that.
    """

    selectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_hooks: bool = False
    why: str = ""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: somebody else may come in between."""
        return replace(super().capabilities, exclusive=False, builds_together=True)

    @contextmanager
    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[SelectedSession]:
        """Return an open session; see `Warehouse.session`."""

        def opened() -> AbstractContextManager[Session]:
            return self.native.session(read_only=read_only, on_message=on_message, wait_seconds=wait_seconds)

        tell = on_message or (lambda _: None)
        with ExitStack() as stack:
            for file in files_of(self.native):
                stack.enter_context(turn_at(file, WAIT_SECONDS if wait_seconds is None else wait_seconds, tell))
            session = SelectedSession(self, opened, tell)
            stack.callback(session.close)
            yield session


class SelectedSession(DelegatingSession):
    """A session in which dbt builds what it is given by name; all else is answered by another one, that is opened anew after each call.

    Args:
        warehouse: The warehouse.
        opened: Opens what answers.
        tell: Told what dbt says.
    """

    def __init__(
        self,
        warehouse: SelectedWarehouse,
        opened: Callable[[], AbstractContextManager[Session]],
        tell: Callable[[Message], None],
    ) -> None:
        self._warehouse, self._opened, self._tell = warehouse, opened, tell
        self._stack = ExitStack()
        self._inner = self._stack.enter_context(opened())
        self._gate = Gate(max(1, warehouse.native.threads))
        self._commands: DbtCommands | None = None
        self._full_refresh = self._has_begun = False
        self._waves = Waves(self._call)
        self._disturbed = 0
        self._refused: WarehouseError | None = None  # why nothing more is built
        self._failed: WarehouseError | None = None  # of a hook, after something was built
        self._epoch = 0  # counts the calls in which somebody else may have written anything
        self._built: dict[RelationKey, int] = {}  # counts what was written to a relation here
        self._nodes: dict[str, Node] = {}
        self._versions: dict[str, DataVersion | None] = {}

    # ------------------------------------------------------------------ a run

    def begin_builds(self, names: Collection[str], *, full_refresh: bool) -> bool:
        """Note how to build; dbt is started with the first that is ready. See `Session.begin_builds`."""
        self._full_refresh, self._has_begun = full_refresh, True
        return False

    def watch_steps(self, going: Callable[[], int]) -> None:
        """Be told how many steps of the run are being taken."""
        self._waves.going = going

    def end_builds(self, outcomes: Sequence[NodeOutcome]) -> None:
        """Leave the artifacts of the last call where those of dbt are.

        Raises:
            WarehouseError: A hook failed after what was built.
        """
        if self._commands is not None:
            target = self._warehouse.preparation.invocation.root / self._warehouse.preparation.written[0]
            for name in ARTIFACTS:
                with suppress(OSError):
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(self._commands.artifacts / name, target / name)
        if self._failed is not None:
            raise self._failed

    def interrupt(self) -> None:
        """Stop all running statements, dbt's too; nothing more is built."""
        self._waves.is_stopping = True
        if self._commands is not None:
            self._commands.interrupt()
        self._inner.interrupt()

    def close(self) -> None:
        """Close the warehouse."""
        self._stack.close()
        if self._commands is not None:
            self._commands.close()

    # ------------------------------------------------------------------ what dbt is asked for

    def materializer(self) -> DbtMaterializer:
        """Return what builds with dbt."""
        return DbtMaterializer(self)

    def knows(self, name: str) -> bool:
        """Return whether a node is one of dbt's."""
        return name in self._warehouse.ids

    def native(self) -> _Beside:
        """Return what builds natively beside dbt."""
        return _Beside(self)

    def versioned(self, node: Node) -> Callable[[], DataVersion | None]:
        """Return what tells the version that a build gives a node, if it began after this."""
        self._nodes[node.name] = node
        return lambda: self._versions.pop(node.name, None)

    def build(self, name: str) -> Mapping[str, Any]:
        """Let dbt build a node or run a data test, with what else is ready; return what it says of that.

        Raises:
            DisturbedBuildError: Somebody else has had the database meanwhile.
            WarehouseError: dbt does not say that it was built.
        """
        job = Job(self._warehouse.ids[name], self._nodes.get(name))
        said = self._waves.ask(job)
        self._versions[name] = job.version
        return said

    def run_test(self, test: DataTest) -> TestRun | None:
        """Let dbt run a data test that is not rendered here, or before which its `on-run-start` has to run; see `Session.run_test`.

        That runs with each command. Where a test names what it makes, nobody else knows what that is then; where it may change any result, one
        command of the run is enough.
        """
        is_before_all = self._has_begun and self._commands is None
        if not isinstance(test.template, RenderedInRun) and not (
            test.needs_start or (test.follows_start and is_before_all)
        ):
            return None
        try:
            return as_test_run(self.build(test.name))
        except DisturbedBuildError:
            return self.run_test(test)

    def rendered(self, template: RenderedInRun) -> str:
        """Return no SQL: dbt runs what is not rendered here; see `RendersByDbt`."""
        return ""

    def asked_last(self, template: AskedBefore) -> AskedBefore:
        """Return a template as it is; see `RendersByDbt`."""
        return template

    def asked_anew(self, template: AskedBefore, now: datetime) -> AskedBefore:
        """Return a template as it is; see `RendersByDbt`."""
        return template

    # ------------------------------------------------------------------ a call

    def _call(self, jobs: Sequence[Job]) -> None:
        """Let dbt build some nodes, and note what it says of each.

        Raises:
            DisturbedBuildError: Somebody else has had the database.
            WarehouseError: dbt cannot be started, or the project has changed.
        """
        if self._refused is not None:
            raise self._refused
        with self._gate.alone():
            self._check_files()
            if self._commands is None:
                self._commands = self._warehouse.preparation.commands(self._tell)
            if self._waves.is_stopping:
                raise WarehouseError("the run is stopping, so that dbt is not started")
            selectors = dict.fromkeys(each for job in jobs for each in self._warehouse.selectors[job.unique_id])
            full_refresh = ("--full-refresh",) if self._full_refresh else ()
            arguments = (*full_refresh, "--indirect-selection", "empty", "--select", *selectors)
            commands = self._commands
            is_alone = False
            try:
                finished, is_alone = self._given_away(lambda files: commands.run("build", *arguments, files=files))
            finally:
                self._epoch += not is_alone
                for job in jobs:
                    if job.node is not None:
                        self._wrote(job.node.relation)
            self._check_files()
            if not is_alone:
                self._refuse_disturbed(finished)
            self._refuse_more(jobs, finished)
            self._disturbed = 0
            self._refuse_operations(finished)
            self._note(jobs, finished)

    def _given_away(self, call: Callable[[Files], Finished]) -> tuple[Finished, bool]:
        """Make a call for which dbt has the database; return what came of it, and whether nobody else can have been in between."""
        if not self._warehouse.native.capabilities.exclusive:  # there, what was read and is there shows who wrote it
            return call(()), True
        names = files_of(self._warehouse.native)
        is_settled = self._inner.stamp() is not None  # written, and older than a tick of the clock
        left = [(each, marks_of(each)) for each in names]
        self._stack.close()
        try:
            finished = call(left)
        finally:
            self._inner = self._stack.enter_context(self._opened())
        there = tuple((each, marks_of(each)) for each in names)
        return finished, is_settled and finished.is_alone and there == finished.files

    def _check_files(self) -> None:
        if self._warehouse.preparation.files != self._warehouse.files:
            raise WarehouseError("files of the project have changed since it was loaded; load it again, or run again")

    def _refuse_disturbed(self, finished: Finished) -> None:
        message = "another process may have had the database while dbt built"
        self._disturbed += 1
        if self._disturbed >= TRIES:
            self._disturbed = 0
            raise WarehouseError(
                f"{message}, {TRIES} times in a row; nothing of it is recorded. dbt said: {finished.output}"
            )
        raise DisturbedBuildError(message)

    def _refuse_more(self, jobs: Sequence[Job], finished: Finished) -> None:
        """Refuse what dbt says where it has built more than it was given, for which nobody has a lease."""
        given = {job.unique_id for job in jobs}
        more = [
            name
            for name in sorted(finished.results.keys() - given)
            if name.startswith(("model.", "seed.", "snapshot.")) and _status(finished, name) != "skipped"
        ]
        if more:
            raise WarehouseError(f"dbt has built more than it was given: {', '.join(more)}; nothing of it is recorded")

    def _refuse_operations(self, finished: Finished) -> None:
        """Refuse all that is still to be built where `on-run-start` failed, so that dbt has built nothing; note where `on-run-end` did."""
        results = finished.results.items()
        failed = [each for name, each in results if name.startswith("operation.") and each["status"] != "success"]
        if not failed:
            return
        said = "; ".join(str(each.get("message") or "").strip() for each in failed)
        error = WarehouseError(f"a hook of the project failed: {said}")
        if any(each["status"] == "success" for name, each in results if not name.startswith("operation.")):
            self._failed = error
            return
        self._refused = error
        raise error

    def _note(self, jobs: Sequence[Job], finished: Finished) -> None:
        """Note what dbt says of each that was asked for, and read the versions of what it has built."""
        built = [job for job in jobs if job.node is not None and _status(finished, job.unique_id) == "success"]
        versions = self._versions_of([job.node for job in built if job.node is not None])
        for job in built:
            assert job.node is not None  # noqa: S101 - see above
            job.version = versions.get(job.node.relation)
        for job in jobs:
            found = finished.results.get(job.unique_id)
            place = None if job.node is None else job.node.relation
            error = None if place is None else finished.errors.of(place.schema, place.identifier)
            job.said = (
                _said(found, error)
                if found is not None
                else WarehouseError(
                    f"dbt build does not say that it was built (exit status {finished.status}): {finished.output}"
                )
            )

    def _versions_of(self, nodes: Sequence[Node]) -> Mapping[Relation, DataVersion | None]:
        """Return the versions of what was just built, where nobody else can have written to it since."""
        if not self._warehouse.native.capabilities.exclusive or not nodes:
            return {}
        catalog = self._inner.catalog()
        there = [(node, info) for node in nodes if (info := catalog.get(node.relation.key)) is not None]
        views = {
            node.relation: info.definition_version
            for node, info in there
            if info.is_view and not node.materialized.holds_data
        }
        tables = {node.relation: node.volatile_columns for node, _ in there if node.relation not in views}
        return {**self._inner.versions(catalog, tables, VERSION_SECONDS), **views} if tables else views

    # ------------------------------------------------------------------ what is answered by the other session

    @contextmanager
    def answering(self) -> Iterator[Session]:
        """Give the other session, while dbt does nothing."""
        with self._gate.use():
            yield self._inner

    def stamp(self) -> str | None:
        """Return the token of the database; none once dbt has had it, since others may have had it, too."""
        if self._commands is not None:
            return None
        with self._gate.use():
            return self._inner.stamp()

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, str]:
        """Return a token by relation that differs whenever it may have been written to in this session, by dbt or by somebody else.

        What hooks of the project write shows in the content alone.
        """
        with self._gate.use():
            if not self._warehouse.native.capabilities.exclusive:
                return self._inner.movements(catalog, relations)
            there = [each for each in relations if each.key in catalog]
            found: Mapping[Relation, DataVersion | None] = {}
            if self._warehouse.has_hooks:
                found = self._inner.versions(catalog, dict.fromkeys(there, ()), VERSION_SECONDS)
                there = [each for each in there if found.get(each) is not None]
            written = {each: f"{self._epoch} {self._built.get(each.key, 0)}" for each in there}
            return {each: f"{id(self)} {token} {found.get(each)}" for each, token in written.items()}

    def _wrote(self, relation: Relation) -> None:
        self._built[relation.key] = self._built.get(relation.key, 0) + 1


class _Beside:
    """Builds natively what was declared in Python, while dbt does nothing."""

    def __init__(self, session: SelectedSession) -> None:
        self._session = session

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Build a node; see `Materializer.build`."""
        with self._session._gate.use():
            self._session._wrote(node.relation)
            return self._session._inner.materializer().build(node, request)


def files_of(warehouse: Warehouse) -> list[str]:
    """Return the files of DuckDB that are all of a warehouse; none where there is more to it, or where it is another one."""
    from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse  # it takes its time to import

    if not isinstance(warehouse, DuckDBWarehouse) or warehouse.path == ":memory:":
        return []
    return [str(each) for each in warehouse.files() or ()]


def _status(finished: Finished, unique_id: str) -> str:
    return str(finished.results.get(unique_id, {}).get("status"))


def _said(result: Mapping[str, Any], error: str | None) -> dict[str, Any]:
    """Return what dbt says of a node, in the words of `BuildsByDbt`.

    Args:
        result: What is in `run_results.json`.
        error: Why the first batch of it failed, as dbt printed it.
    """
    response, batches = result.get("adapter_response"), result.get("batch_results")
    return {
        "status": str(result["status"]),
        "message": result.get("message") or "",
        "seconds": float(result.get("execution_time") or 0.0),
        "failures": result.get("failures"),
        "response": response if isinstance(response, Mapping) else {},
        "batches": {**batches, "error": error} if isinstance(batches, Mapping) else None,
    }
