"""A warehouse in which dbt builds: what is there is read as ever, until dbt has the database to itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol, cast

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.messages import Level, Message
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.records import Verdict
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.session import AdapterSession
from sao_dagster.dbt.adapters.warehouse import AdapterWarehouse
from sao_dagster.dbt.batches import not_built
from sao_dagster.dbt.deferral import KeptElsewhere, Places
from sao_dagster.dbt.prepare import Beside, Preparation, WarmDbt, runs
from sao_dagster.dbt.process import DbtError, DbtProcess, dbt_process
from sao_dagster.errors import UnsupportedError, WarehouseError
from sao_dagster.projects.asked_before import AskedBefore, RenderedInRun
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.warehouses.protocol import (
    AttachingWarehouse,
    BuildRequest,
    Built,
    Capabilities,
    Materializer,
    NodeOutcome,
    Session,
    TestRun,
    Warehouse,
)
from sao_dagster.warehouses.shared.delegated import DelegatingSession


@dataclass(frozen=True)
class DbtWarehouse:
    """A warehouse whose models dbt builds.

    Attributes:
        native: The warehouse itself, as this package reads it.
        preparation: The project, as dbt reads it.
        files: The state of the project's files when they were read.
        ids: What dbt calls nodes, sources and data tests, by their names here.
        warm: A process of dbt that has read the project already.
        attached: Files of DuckDB that dbt reads besides, each with what SQL calls it.
    """

    native: Warehouse
    preparation: Preparation
    files: str
    ids: Mapping[str, str] = field(default_factory=dict)
    warm: WarmDbt = field(default_factory=WarmDbt, compare=False)
    attached: tuple[tuple[str, str], ...] = ()

    @classmethod
    def over(
        cls, native: Warehouse, preparation: Preparation, files: str, ids: Mapping[str, str], warm: WarmDbt
    ) -> DbtWarehouse:
        """Return the warehouse in which dbt builds; what is read of another database, too, where it can be."""
        kind = cls
        if isinstance(native, AttachingWarehouse):
            kind = AttachingDbtWarehouse
        elif isinstance(native, AdapterWarehouse):
            kind = DbtWarehouseByAdapter
        return kind(native, preparation, files, ids, warm)

    @property
    def type(self) -> str:
        """The `type` that a profile names it by."""
        return self.native.type

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.native.name

    @property
    def database(self) -> str | None:
        """The database that models are built in if nothing else is said."""
        return self.native.database

    @property
    def schema(self) -> str:
        """The schema that models are built in if nothing else is said."""
        return self.native.schema

    @property
    def place(self) -> str:
        """Where the database is."""
        return self.native.place

    @property
    def threads(self) -> int:
        """How many models are built at once."""
        return self.native.threads

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the SQL dialect."""
        return self.native.dialect

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; what dbt builds is in no transaction that is known of."""
        return replace(self.native.capabilities, transactional_ddl=False)

    @property
    def target(self) -> Mapping[str, Any]:
        """What Jinja's `target` shows."""
        return self.native.target

    @contextmanager
    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[Session]:
        """Return an open session; see `Warehouse.session`. dbt is started when builds begin."""

        def opened() -> AbstractContextManager[Session]:
            return self.native.session(read_only=read_only, on_message=on_message, wait_seconds=wait_seconds)

        with ExitStack() as stack:
            yield DbtSession(self, opened, stack, on_message or (lambda _: None))

    def beside(self, process: DbtProcess) -> AbstractContextManager[Session]:
        """Return a session for the time in which dbt's process has the database: through it, where nobody else can open that."""
        if isinstance(self.native, AdapterWarehouse):
            return nullcontext(self.native.session_over(process))
        if not self.native.capabilities.exclusive:
            return self.native.session()
        from sao_dagster.dbt.cursors import ChildConnection
        from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse

        if not isinstance(self.native, DuckDBWarehouse) or self.native.path == ":memory:":
            raise UnsupportedError(f"dbt builds into another process's database only, and not into {self.place}")
        return nullcontext(self.native.session_over(cast("Any", ChildConnection(process))))


@dataclass(frozen=True)
class AttachingDbtWarehouse(DbtWarehouse):
    """The same where other databases can be attached."""

    def attaching(self, place: str, name: str) -> AttachingDbtWarehouse:
        """Return the same warehouse, in whose sessions, and by dbt, another database can be read; see `AttachingWarehouse`."""
        native = cast("AttachingWarehouse", self.native).attaching(place, name)
        return replace(self, native=native, attached=(*self.attached, (place, name)))

    def attached_as(self, place: str) -> str | None:
        """Return under which name another database can be read already; None where it cannot."""
        return cast("AttachingWarehouse", self.native).attached_as(place)

    def database_id_at(self, place: str) -> str | None:
        """Return what tells a database from all others, without opening it; None where that is not known."""
        return cast("AttachingWarehouse", self.native).database_id_at(place)


@dataclass(frozen=True)
class DbtWarehouseByAdapter(DbtWarehouse):
    """The same where dbt's adapter is the only door."""

    def told_of(self, relations: Mapping[str, Relation]) -> DbtWarehouseByAdapter:
        """Return the same warehouse, whose catalog has relations of another environment, too; see `ToldWarehouse`."""
        known = {self.ids[name]: each for name, each in relations.items() if name in self.ids}
        return replace(self, native=cast("AdapterWarehouse", self.native).told_of(known))

    def reaches(self, place: str) -> bool:
        """Return whether SQL here names what is in another database; see `ToldWarehouse`."""
        return cast("AdapterWarehouse", self.native).reaches(place)


class DbtSession(DelegatingSession):
    """A session in which dbt builds; what is asked of the warehouse is answered by another one, and that may be replaced.

    Args:
        warehouse: The warehouse.
        opened: Opens what answers until builds begin.
        stack: Closes it.
        tell: Told what dbt says.

    Attributes:
        elsewhere: What was rendered for what is read elsewhere; None as long as nothing is.
    """

    elsewhere: KeptElsewhere | None = None

    def __init__(
        self,
        warehouse: DbtWarehouse,
        opened: Callable[[], AbstractContextManager[Session]],
        stack: ExitStack,
        tell: Callable[[Message], None],
    ) -> None:
        self._warehouse, self._opened, self._stack, self._tell = warehouse, opened, stack, tell
        self._inner = stack.enter_context(opened())
        self._process: DbtProcess | None = None
        self._places: Places = {}
        self._has_hooks = self._is_over = False
        self._anew: dict[str, tuple[AskedBefore, dict[str, Any]]] = {}

    def begin_builds(self, names: Collection[str], *, full_refresh: bool) -> bool:
        """Start dbt, which runs `on-run-start`; see `Session.begin_builds`."""
        if self._process is not None:
            return False
        ids = self._warehouse.ids
        nodes = [ids[name] for name in names if name in ids]
        if not nodes:  # all of it was declared in Python
            return False
        exclusive, by_adapter = self._warehouse.native.capabilities.exclusive, isinstance(self._inner, AdapterSession)
        # only one process can have the file; or the one that was asked would not refresh
        if exclusive or (by_adapter and full_refresh):
            self._stack.pop_all().close()
        while self._process is None:
            ready = None if full_refresh else self._ready()
            process = ready or self._started(full_refresh=full_refresh)
            process.wait_until_parsed()
            if self._warehouse.preparation.files != self._warehouse.files:
                raise WarehouseError(
                    "files of the project have changed since it was loaded; load it again, or run again"
                )
            try:
                attach = self._warehouse.attached
                process.ask("defer", places=dict(self._places), attach=attach, nodes=[], runs=[])
                self._has_hooks = process.ask("begin", nodes=nodes)["has_hooks"]
            except DbtError as error:
                if ready is not None and ready.has_ended:  # it has waited long enough
                    continue
                self._stack.pop_all().close()
                self._wait(error)
                continue
            self._process = process
        if exclusive or by_adapter:
            self._inner = self._stack.enter_context(self._warehouse.beside(process))
        return exclusive or self._has_hooks

    def _wait(self, error: DbtError) -> None:
        """Wait for whoever has the database to itself, or raise the error if that is not what it is about."""
        if not self._warehouse.native.capabilities.exclusive or "Could not set lock on file" not in error.message:
            raise error
        with self._warehouse.native.session(on_message=self._tell):
            pass

    def made_of(self, environment: Mapping[str, str | None]) -> str:
        """Return a digest of all that dbt's account of the project follows from; see `RendersElsewhere`."""
        return self._warehouse.preparation.made_of(self._warehouse.files, environment)

    def read_elsewhere(self, places: Places) -> None:
        """Let dbt read nodes elsewhere in what it builds; see `RendersElsewhere`."""
        if self._process is not None and places != self._places:
            self._process.ask("defer", places=dict(places))
        self._places = places

    def rendered_elsewhere(
        self, places: Places, nodes: Sequence[str], reader: Callable[[PreparedManifest], ManifestReader]
    ) -> tuple[PreparedManifest, Mapping[str, str]]:
        """Return what dbt renders where nodes are read elsewhere; see `RendersElsewhere`."""
        warehouse, inner = self._warehouse, self._inner
        if self._process is not None:
            raise WarehouseError("what is read elsewhere has changed while dbt was started; run again")
        render = partial(warehouse.preparation.rendered_elsewhere, attach=warehouse.attached)
        if isinstance(inner, AdapterSession):
            return render(inner.process, places, nodes, reader, Beside(lambda: nullcontext(inner), is_exclusive=False))
        exclusive = warehouse.native.capabilities.exclusive
        if exclusive:
            self._stack.pop_all().close()
        while True:
            with ExitStack() as stack:
                warm = warehouse.warm.take(stack, self._tell)
                process = warm or stack.enter_context(dbt_process(warehouse.preparation.invocation, self._tell))
                process.wait_until_parsed()
                beside = partial(warehouse.beside, process) if exclusive else lambda: nullcontext(inner)
                try:
                    found = render(process, places, nodes, reader, Beside(beside, exclusive))
                    process.ask("release")
                except DbtError as error:
                    if warm is None or not warm.has_ended:  # else it has waited long enough
                        stack.close()
                        self._wait(error)
                    continue
                warehouse.warm.keep(process, stack)
            if exclusive:
                self._inner = self._stack.enter_context(self._opened())
            return found

    def _ready(self) -> DbtProcess | None:
        """Return a process that has read the project already: the one that is asked, or one that waits; None where there is none."""
        if isinstance(self._inner, AdapterSession) and not self._inner.process.has_ended:
            return self._inner.process
        return self._warehouse.warm.take(self._stack, self._tell)

    def _started(self, *, full_refresh: bool) -> DbtProcess:
        invocation, options = self._warehouse.preparation.invocation, ("--full-refresh",) if full_refresh else ()
        return self._stack.enter_context(dbt_process(invocation, self._tell, options))

    def end_builds(self, outcomes: Sequence[NodeOutcome]) -> None:
        """Tell dbt what became of the rest, let it run `on-run-end` and write its artifacts; see `Session.end_builds`."""
        if self._process is None:
            return
        if self._process.has_ended:  # each node that it should have built has failed for that
            self._is_over = True
            self._tell(
                Message("dbt ended before its end: its artifacts are those of an earlier invocation", Level.WARNING)
            )
            return
        ids = self._warehouse.ids
        results = [
            {
                "node": ids[each.name],
                "status": each.status,
                "message": each.message,
                "failures": each.failures,
                "seconds": each.seconds,
            }
            for each in outcomes
            if each.name in ids
        ]
        self._process.ask("finish", results=results)
        how = self._process.end()
        self._is_over = True
        if not self._places:  # else it is not what the project gives by itself
            anew = {name: (rendered, asked.answered) for name, (asked, rendered) in self._anew.items()}
            self._warehouse.preparation.keep_anew(self._warehouse.files, anew)
        if how["error"]:
            raise WarehouseError(f"dbt: {how['error']}")

    def answering(self) -> AbstractContextManager[Session]:
        """Give what answers now: where dbt had the database to itself, and has ended, that is opened again."""
        if self._is_over and self._warehouse.native.capabilities.exclusive:
            self._stack.pop_all().close()
            self._inner, self._is_over = self._stack.enter_context(self._opened()), False
        return nullcontext(self._inner)

    def materializer(self) -> DbtMaterializer:
        """Return what builds with dbt."""
        return DbtMaterializer(self)

    def interrupt(self) -> None:
        """Stop all running statements, dbt's too."""
        if self._process is not None:
            self._process.asking("interrupt")
        if self._process is None or not self._warehouse.native.capabilities.exclusive:
            self._inner.interrupt()

    def stamp(self) -> str | None:
        """Return the token of the database; none where hooks of dbt's may change it at the end."""
        has_ended = self._process is not None and self._process.has_ended
        return None if self._has_hooks or has_ended else self._inner.stamp()

    def rendered(self, template: RenderedInRun) -> str:
        """Return the SQL of a data test as this run sees it; see `RendersByDbt`."""
        if self._process is None and template.sql is not None:
            return template.sql
        anew = self._anew[template.unique_id][1] if template.unique_id in self._anew else {}
        if anew.get("asks_time") is False:  # with the answers that count for its verdict
            return str(anew["sql"])
        return str(self._asked("compile", node=template.unique_id))

    def needs_builds(self, test: DataTest, *, is_known: bool) -> bool:
        """Return whether dbt runs a data test, or has to render it; see `Session.needs_builds`."""
        if isinstance(self._inner, AdapterSession):
            return self.knows(test.name)
        template = test.template
        return isinstance(template, RenderedInRun) and (template.sql is None or not is_known)

    def asked_last(self, template: AskedBefore) -> AskedBefore:
        """Return a template as it was last rendered in this run; see `RendersByDbt`."""
        return self._anew[template.unique_id][0] if template.unique_id in self._anew else template

    def asked_anew(self, template: AskedBefore, now: datetime) -> AskedBefore:
        """Return a template rendered as of now; see `RendersByDbt`.

        Its answers are those of the rendering where another one, after they were asked, is the same.
        """
        if self._process is None:
            return template
        first = self._again(template.unique_id)
        found = template.rendered(first)
        found = replace(found, answered=found.answered_now(self._inner, now))
        is_certain = self._warehouse.native.capabilities.exclusive and found.asks_catalog_alone
        if not is_certain and self._again(template.unique_id) != first:
            found = replace(found, answered=None)
        self._anew[template.unique_id] = found, first
        return found

    def _again(self, unique_id: str) -> dict[str, Any]:
        rendered: dict[str, Any] = json.loads(self._asked("again", node=unique_id, runs=runs()))
        return rendered

    def run_test(self, test: DataTest) -> TestRun | None:
        """Let dbt run a data test where its adapter is the only door; see `Session.run_test`."""
        if not isinstance(self._inner, AdapterSession) or not self.knows(test.name):
            return None
        return as_test_run(self.build(test.name))

    def versioned(self, node: Node) -> Callable[[], DataVersion | None]:
        """Return what tells the exact version that a build gives a node, if it began after this; None where there is none, or nobody knows it."""
        session = self._inner
        if not isinstance(session, AdapterSession) or not node.materialized.holds_data:
            return lambda: None
        before = session.before_build(node.relation)
        unique_id = self._warehouse.ids[node.name]
        return lambda: None if before is None else session.built_since(before, node.relation, unique_id)

    def knows(self, name: str) -> bool:
        """Return whether a node is one of dbt's."""
        return name in self._warehouse.ids

    def native(self) -> Materializer:
        """Return what builds natively beside dbt."""
        return self._inner.materializer()

    def build(self, name: str) -> Mapping[str, Any]:
        """Let dbt build a node or run a data test, and return what it says of that."""
        built: Mapping[str, Any] = self._asked("build", node=self._warehouse.ids[name])
        return built

    def _asked(self, request: str, **arguments: Any) -> Any:
        if self._process is None:
            raise AssertionError(f"dbt has not begun, and is asked for: {request}")
        return self._process.ask(request, **arguments)


def as_test_run(said: Mapping[str, Any]) -> TestRun:
    """Return what a data test gave, as dbt says it."""
    if said["status"] not in ("pass", "warn", "fail"):
        return TestRun(verdict=Verdict.ERROR, seconds=said["seconds"], error=str(said["message"]).strip())
    verdict = Verdict(said["status"])
    failures = 0 if verdict is Verdict.PASS else said["failures"] or 0
    return TestRun(verdict=verdict, failures=failures, seconds=said["seconds"])


class BuildsByDbt(Protocol):
    """A session in which dbt builds."""

    def knows(self, name: str) -> bool:
        """Return whether a node is one of dbt's."""

    def native(self) -> Materializer:
        """Return what builds natively beside dbt."""

    def versioned(self, node: Node) -> Callable[[], DataVersion | None]:
        """Return what tells the version that a build gives a node, if it began after this; None where nobody knows it."""

    def build(self, name: str) -> Mapping[str, Any]:
        """Let dbt build a node or run a data test, and return what it says of that: `status`, `message`, `seconds`, `failures`, `response`, `batches`, and perhaps `is_counted`.

        See `not_built` for the batches, and `Built` for the last.
        """


@dataclass(frozen=True)
class DbtMaterializer:
    """Builds with dbt, in a session."""

    session: BuildsByDbt

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Build a node; see `Materializer.build`. What dbt does not know was declared in Python, and is built natively."""
        if not self.session.knows(node.name):
            return self.session.native().build(node, request)
        version = self.session.versioned(node)
        said = self.session.build(node.name)
        missing = not_built(said.get("batches"), node.config.get("batch_size"))
        if missing or said["status"] != "success":
            raise WarehouseError(missing or str(said["message"]).strip() or f"dbt says {said['status']}")
        rows = said["response"].get("rows_affected")
        return Built(
            data_version=version(),
            rows=rows if isinstance(rows, int) and rows >= 0 else None,
            seconds=said["seconds"],
            is_counted=bool(said.get("is_counted")),
            is_read_after=True,
        )
