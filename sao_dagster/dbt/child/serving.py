"""One `dbt build` in this process, in which whoever started it says what is built, node by node.

dbt does all that it does in any `dbt build`: it parses, makes schemas, runs hooks, builds nodes, and writes its artifacts. Only its order of
nodes is not used: `execute_nodes` takes requests instead, each in a thread of its own.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import dbt.task.build as build_module
from dbt.adapters.cache import RelationsCache
from dbt.adapters.factory import get_adapter
from dbt.contracts.results import RunResult, RunStatus, TestStatus
from dbt_common.context import get_invocation_context
from dbt_common.events.contextvars import task_contextvars

from .asking import RELATIONAL, AdapterQuestions
from .batches import Batches
from .counting import Counting
from .cursors import Cursors
from .deferring import Deferring, Places
from .garbage import leave_out_what_is_there
from .namespaces import lay_out_once
from .rendering import Renderer
from .signing import signing
from .wire import Wire

REUSED = getattr(RunStatus, "Reused", None) or getattr(RunStatus, "NoOp", None) or RunStatus.Success
IDLE_SECONDS = 60.0  # for which a process that has read the project waits for more, or as long as it took to read that
SETTING = ("setting", "parameter", "propert", "option", "zone", "sql_mode", "search_path", "role", "init_")
"""Parts of the names of keys of a profile that set something in each session, and so may change what a query gives."""
TOLD_SECONDS = 1.0  # between what is told of how far something is
AT_ONCE = 64  # requests that are answered at once; whoever asks limits those that build


def serving_task(wire: Wire, batches: Batches) -> type:
    """Return a task that takes the place of `BuildTask` for one invocation.

    Args:
        wire: Where it is asked.
        batches: Told what became of the batches of microbatch models.
    """
    began = time.monotonic()

    class ServingTask(build_module.BuildTask):
        def run(self) -> Any:
            """Answer what is asked of the project, and go on with the build when that is asked for."""
            with task_contextvars(project_root=self.config.project_root):
                self._runtime_initialize()
            lay_out_once()
            leave_out_what_is_there()
            wire.tell("parsed", self.config.target_name)
            idle_seconds = max(IDLE_SECONDS, time.monotonic() - began)
            self.deferring = Deferring(self, get_adapter(self.config))
            preparing = Preparing(self, partial(wire.tell, "doing"))
            while True:
                if not wire.wait(idle_seconds if preparing.is_released else None):
                    return self.get_result([], 0.0, _now())
                number, name, arguments = wire.receive()
                if name == "begin":
                    preparing.release()
                    self._only, self._begins = frozenset(arguments["nodes"]), number
                    return super().run()
                if name == "stop":
                    preparing.release()
                    wire.answer(number, None)
                    return self.get_result([], 0.0, _now())
                try:
                    wire.answer(number, preparing.answer(name, arguments))
                except Exception as error:  # noqa: BLE001 - it is told to whoever asked
                    wire.refuse(number, error)

        def _runtime_initialize(self) -> None:
            if self.job_queue is None:
                super()._runtime_initialize()
            only = getattr(self, "_only", None)
            if only is not None:
                self._flattened_nodes = [node for node in _flattened(self) if node.unique_id in only]
                self.num_nodes = len(_flattened(self))

        def before_run(self, adapter: Any, selected_uids: Any) -> Any:
            try:
                adapter.cache.clear()  # others may have built since the project was read
                super().before_run(adapter, selected_uids)
            except BaseException as error:
                wire.refuse(self._begins, error)
                raise
            return RunStatus.Success  # so that `execute_nodes` is asked, and can say why nothing is built

        def defer_to_manifest(self) -> None:
            """Leave it at what was said."""

        def call_runner(self, runner: Any) -> Any:
            result = super().call_runner(runner)
            batches.ran(runner, result)
            return result

        def execute_nodes(self) -> Any:
            failed = [each for each in self.node_results if each.status == RunStatus.Error]
            if failed:  # a hook; dbt 1.8 does not say so otherwise
                wire.refuse(self._begins, RuntimeError("; ".join(str(each.message) for each in failed)))
                return self.node_results
            return Building(self, wire, batches).take(self._begins)

    ServingTask.__name__ = ServingTask.__qualname__ = "BuildTask"
    return ServingTask


class CacheOfThread(threading.local, RelationsCache):
    """What dbt knows of the relations that there are, for each thread its own.

    What others built is known only if it is forgotten; what another thread is about to rename must not be forgotten meanwhile.
    """


class Building:
    """The nodes of one build, as they are asked for."""

    def __init__(self, task: Any, wire: Wire, batches: Batches) -> None:
        self.task, self.wire, self.batches = task, wire, batches
        self.adapter = get_adapter(task.config)
        self.adapter.cache = CacheOfThread(self.adapter.cache.log_cache_events)
        self.cursors = Cursors(self.adapter)
        self.counting = Counting(self.adapter)
        self._lock = threading.Lock()
        self._ran: set[str] = set()
        self._renderer: Any = None
        self._requests: dict[str, Callable[..., Any]] = {
            "build": self._build,
            "compile": self._compile,
            "again": self._again,
            "defer": self._defer,
            "cursor": self.cursors.answer,
            "adapter": AdapterQuestions(task, self.adapter).answer,
            "interrupt": self._interrupt,
            "signature": signing(self.adapter),
        }

    def take(self, begins: int) -> Any:
        """Answer requests until the end is asked for; return dbt's results."""
        context = get_invocation_context()

        def initialize() -> None:
            self.task._pool_thread_initializer(context)

        self.wire.answer(begins, {"has_hooks": self._has_hooks()})
        with ThreadPoolExecutor(AT_ONCE, initializer=initialize) as pool:
            while True:
                number, name, arguments = self.wire.receive()
                if name == "finish":
                    break
                if name == "interrupt":  # at once, and not behind those that it is to stop
                    self._answer(number, name, arguments)
                else:
                    pool.submit(self._answer, number, name, arguments)
        self.cursors.close()
        for each in arguments["results"]:
            if each["node"] not in self._ran:
                self.task.node_results.append(self._told(**each))
        self.wire.answer(number, None)
        return self.task.node_results

    def _answer(self, number: int, name: str, arguments: dict[str, Any]) -> None:
        self.adapter.cache.clear()
        try:
            value = self._requests[name](**arguments)
        except BaseException as error:  # noqa: BLE001 - it is told to whoever asked
            self.wire.refuse(number, error)
        else:
            self.wire.answer(number, value)

    def _build(self, node: str) -> dict[str, Any]:
        """Build a node as dbt does, after its unit tests, or run a data test."""
        found = self.task.manifest.nodes[node]
        for each in self.task.model_to_unit_test_map.get(node, ()):
            result = self._call(self.task.manifest.unit_tests[each])
            if result.status != TestStatus.Pass:
                with self._lock:
                    self.task.node_results.append(RunResult.from_node(found, RunStatus.Skipped, f"{each} failed"))
                return {"status": "error", "message": f"the unit test {each} failed: {result.message}"}
        self.counting.begin()
        result = self._call(found)
        response = {
            key: value for key, value in (result.adapter_response or {}).items() if isinstance(value, (int, str))
        }
        return {
            "status": str(result.status),
            "message": result.message,
            "seconds": result.execution_time,
            "failures": result.failures,
            "response": response,
            "is_counted": self.counting.has_counted,
            "batches": self.batches.of(result),
        }

    def _call(self, node: Any) -> Any:
        with self._lock:  # it counts
            runner = self.task.get_runner(node)
        with ExitStack() as stack:
            if hasattr(runner, "set_pool"):  # of a microbatch model
                runner.set_parent_task(self.task)
                runner.set_pool(stack.enter_context(self._batches()))
            result = self.task.call_runner(runner)
        with self._lock:
            self._ran.add(node.unique_id)
            self.task._handle_result(result)
        return result

    def _batches(self) -> Any:
        from dbt.graph.thread_pool import DbtThreadPool

        initializer = self.task._pool_thread_initializer
        return DbtThreadPool(self.task.config.threads, initializer, [get_invocation_context()])

    def _compile(self, node: str) -> str:
        """Return the SQL of a data test as this run sees it."""
        found = self.task.manifest.nodes[node]
        runner = self.task.get_runner_type(found)(self.task.config, self.adapter, found, 0, 0)
        with self.adapter.connection_named(f"compile_{node}"):
            return str(runner.compiler.compile_node(found, self.task.manifest, {}, write=False).compiled_code)

    def _again(self, node: str, runs: list[tuple[dt.datetime, str]]) -> str:
        """Return what a node is in SQL, and what it asks, as of now; as JSON."""
        with self._lock:
            if self._renderer is None:
                self._renderer = Renderer(self.task.config, self.task.manifest, self.adapter, runs)
        with self.adapter.connection_named(f"again_{node}"):
            return json.dumps(self._renderer.again(node))

    def _defer(self, places: Places) -> None:
        """Read nodes elsewhere from now on; nothing has been built yet."""
        with self._lock:
            self.task.deferring.read(places)
            self._renderer = None

    def _interrupt(self) -> None:
        if self.adapter.is_cancelable():
            self.adapter.cancel_open_connections()
        self.cursors.interrupt()

    def _has_hooks(self) -> bool:
        operations = (each for each in self.task.manifest.nodes.values() if str(each.resource_type) == "operation")
        return any({"on-run-start", "on-run-end"} & set(each.tags) for each in operations)

    def _told(self, node: str, status: str, message: str, failures: int | None, seconds: float) -> Any:
        """Return the result of a node that dbt has not run itself: reused or skipped, or a data test that was asked elsewhere."""
        found = self.task.manifest.nodes[node]
        is_test = str(found.resource_type) == "test"
        known = {"reused": REUSED, "skipped": RunStatus.Skipped}
        chosen = known.get(status) or (TestStatus(status) if is_test else RunStatus(status))
        result = RunResult.from_node(found, chosen, message)
        result.execution_time, result.failures = seconds, failures
        result.adapter_response = {"_message": message}
        return result


class Preparing:
    """What is asked of a project before anything of it is built.

    Args:
        task: dbt's task.
        tell: Told now and then how far it is, in words.
    """

    def __init__(self, task: Any, tell: Callable[[str], None]) -> None:
        self.task, self.tell = task, tell
        self.adapter = get_adapter(task.config)
        self.cursors = Cursors(self.adapter)
        self.questions = AdapterQuestions(task, self.adapter)
        self.renderer: Any = None
        self.is_released = False

    def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a request."""
        if name in ("prepare", "defer"):  # what is asked then is answered from what is there while all is rendered
            self.cursors.hold()
        if name == "prepare":
            return self._prepared(**arguments)
        if name == "release":
            return self.release()
        if name == "again":
            self.renderer.forget()
            return json.dumps(self._rendered(arguments["nodes"]))
        if name == "defer":
            return json.dumps(self._deferred(**arguments))
        if name == "attend":  # somebody is there, and will ask more
            self.is_released = False
            return None
        if name == "adapter":
            return self.questions.answer(**arguments)
        if name == "interrupt":  # nothing goes on beside this
            return None
        return self.cursors.answer(**arguments)

    def release(self) -> None:
        """Close all connections, so that others can have the database."""
        self.is_released = True
        self.cursors.leave()

    def _prepared(
        self, runs: list[tuple[dt.datetime, str]], before: dict[str, dict[str, Any]], environment: list[str]
    ) -> str:
        """Return the manifest, and each SQL of it as fingerprints want it, by unique id, as JSON.

        Args:
            runs: The runs to render for.
            before: What is known from before, `rendered` and `hooks`, was made of, by unique id: where that holds, the names are in `kept`.
            environment: The environment variables that were asked for then.
        """
        nodes = [each for each in self.task.manifest.nodes.items() if each[1].config.enabled]
        manifest = self.task.manifest.writable_manifest().to_dict(omit_none=False)
        manifest["nodes"] = {
            name: manifest["nodes"][name] for name, _ in nodes
        }  # dbt leaves tests of disabled nodes there
        self.renderer = Renderer(self.task.config, self.task.manifest, self.adapter, runs)
        with self.adapter.connection_named("sao_cache"):
            self.task.populate_adapter_cache(self.adapter)
        rendered = [
            name
            for name, node in nodes
            if str(node.resource_type) in ("model", "snapshot", "test") and str(node.language) == "sql"
        ]
        hooked = [name for name, node in nodes if str(node.resource_type) in RELATIONAL]
        kept = {
            kind: [name for name in names if self.renderer.holds(before[kind].get(name))]
            for kind, names in (("rendered", rendered), ("hooks", hooked))
        }
        found = {
            "manifest": manifest,
            "rendered": self._rendered([name for name in rendered if name not in {*kept["rendered"]}]),
            "hooks": {name: self.renderer.hooks(name) for name in hooked if name not in {*kept["hooks"]}},
            "kept": kept,
            "environment": sorted(self._variables().union(environment)),
            "profile": self._profile(),
        }
        return json.dumps(found, default=str)

    def _deferred(
        self,
        places: Places,
        attach: list[tuple[str, str]],
        nodes: list[str],
        runs: list[tuple[dt.datetime, str]],
    ) -> dict[str, Any]:
        """Read nodes elsewhere from now on.

        Args:
            places: Where they are.
            attach: Files of DuckDB in which some are, each with what SQL calls it.
            nodes: Unique ids of what reads them and is wanted.
            runs: The runs to render for.

        Returns:
            By unique id, the `relations` as dbt writes them, what nodes are `rendered` to, and their `hooks`.
        """
        self.task.deferring.attach(attach)
        relations, found = self.task.deferring.read(places), self.task.manifest.nodes
        if nodes:
            self.renderer = Renderer(self.task.config, self.task.manifest, self.adapter, runs)
            with self.adapter.connection_named("sao_cache"):
                self.task.populate_adapter_cache(self.adapter)
        hooked = [name for name in nodes if str(found[name].resource_type) in RELATIONAL]
        return {
            "relations": relations,
            "rendered": self._rendered([name for name in nodes if str(found[name].language) == "sql"]),
            "hooks": {name: self.renderer.hooks(name) for name in hooked},
        }

    def _profile(self) -> dict[str, Any]:
        """Return what the profile says of the target, without secrets, and digests of what it sets in each session."""
        config = self.task.config
        credentials = config.credentials
        keys = credentials.to_dict(omit_none=True).items()
        try:
            unique_field = credentials.unique_field
        except Exception:  # noqa: BLE001 - it is for statistics, and adapters do not try it
            unique_field = None
        return {
            "type": credentials.type,
            "database": credentials.database,
            "schema": credentials.schema,
            "threads": config.threads,
            "target": config.to_target_dict(),
            "connection": dict(credentials.connection_info()),
            "unique_field": unique_field,
            "settings": {name: _digest(value) for name, value in keys if any(part in name for part in SETTING)},
        }

    def _variables(self) -> set[str]:
        """Return the environment variables that were asked for: by nodes, by the project, by packages, and by the profile."""
        config = self.task.config
        asked = [self.task.manifest.env_vars, config.project_env_vars, config.profile_env_vars]
        asked += [getattr(each, "project_env_vars", {}) for each in config.load_dependencies().values()]
        return {name for each in asked for name in each}

    def _rendered(self, names: list[str]) -> dict[str, Any]:
        self.adapter.cache.clear()
        found, told = {}, float("-inf")
        with self.adapter.connection_named("sao_render"):
            for name in names:
                found[name] = dict(self.renderer.rendered(name))
                if time.monotonic() - told >= TOLD_SECONDS:
                    self.tell(f"rendering models and data tests, {len(found)}/{len(names)}")
                    told = time.monotonic()
        return found


def _flattened(task: Any) -> list[Any]:
    """Return the nodes that are selected."""
    return list(task._flattened_nodes or [])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
