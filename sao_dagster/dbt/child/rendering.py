"""Rendering all SQL of a project as fingerprints want it: with the run's values pinned, both ways of an incremental model, and what was asked."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from .tracing import MadeOf, Traces, telling, told

PURE = {"quote", "quote_as_configured", "dispatch", "type", "get_column_schema_from_query_type", "quote_seed_column"}
"""Methods of adapters that templates call and that ask nothing."""


class Renderer:
    """Renders the nodes of a manifest; a copy of it, since dbt keeps in a node what it has compiled.

    Args:
        config: dbt's runtime configuration.
        manifest: The manifest.
        adapter: The adapter.
        runs: The runs to render for, each a time and an id: the first one is that of fingerprints.
    """

    def __init__(self, config: Any, manifest: Any, adapter: Any, runs: list[tuple[dt.datetime, str]]) -> None:
        from dbt.compilation import Compiler

        self.config, self.adapter, self.runs = config, adapter, runs
        self.original = manifest
        self.manifest = object.__new__(type(manifest))  # its own `deepcopy` fails where something is disabled twice
        self.manifest.__dict__.update(manifest.__dict__)
        self.manifest.nodes = dict(manifest.nodes)
        self._ephemerals = [name for name, node in manifest.nodes.items() if node.is_ephemeral_model]
        for name in self._ephemerals:
            self._forget(name)
        self.traces = Traces(config, self.manifest, manifest)
        self.compiler = Compiler(config)
        self.asked = Asked()
        self._lock = threading.Lock()
        self._rendered: dict[str, dict[str, Any]] = {}
        self._clock = False  # whether the template asked for the time, or for what else differs between runs

    def rendered(self, unique_id: str) -> dict[str, Any]:
        """Return what a model, snapshot or data test is in SQL.

        Returns:
            `sql`; `incremental_sql` of an incremental model; `others`, pairs of both for the other runs, where the template asked for
            something of the run; whether it `asks_time`; `asked`, what it and the ephemerals in it asked the warehouse; and what it was
            `made_of`. Where it cannot be rendered: the `error`, what was `asked` before, and no `others`.
        """
        if unique_id not in self._rendered:
            self._rendered[unique_id] = self._new(unique_id)
        return self._rendered[unique_id]

    def _new(self, unique_id: str) -> dict[str, Any]:
        node = self.manifest.nodes[unique_id]
        below = [self.rendered(each) for each in node.depends_on.nodes if self._is_ephemeral(each)]
        self._clock = any(each.get("asks_time") for each in below)
        asked = [question for each in below for question in each["asked"]]
        found: dict[str, Any] = {"asked": asked, "others": []}
        try:
            with self.traces.noting() as trace:
                with self.asked.noting(asked):
                    first = self._in_run(node, self.runs[0])
                found.update(sql=first[0], incremental_sql=first[1], asks_time=self._clock)
                if self._clock:
                    for run in self.runs[1:]:
                        self._forget_ephemerals()
                        found["others"].append(self._in_run(node, run))
                    self._forget_ephemerals()
            found["made_of"] = self.traces.made_of(unique_id, trace, (each.get("made_of") for each in below))
        except Exception as error:  # noqa: BLE001 - templates may raise anything; it is this node that has the error
            return {"error": str(error), "asked": asked, "others": []}
        if all(each == first for each in found["others"]):
            found["others"] = []
        return found

    def hooks(self, unique_id: str) -> dict[str, Any]:
        """Return the hooks of a node as SQL: what they execute while they are rendered, and what they are rendered to.

        Nothing is executed here. One that makes anything of an answer, or asks in another way, is as it is written, and in `asking`.
        With them, what they were `made_of`.
        """
        node = self.original.nodes[unique_id]
        found: dict[str, Any] = {"asking": []}
        with self.traces.noting() as trace:
            for key in ("pre_hook", "post_hook"):
                templates = [each.sql for each in getattr(node.config, key, None) or ()]
                texts = [self._hook(node, each) for each in templates]
                found["asking"] += [each for each, text in zip(templates, texts) if text is None]  # noqa: B905 - dbt 1.8 runs on Python 3.9
                found[key] = [each if text is None else text for each, text in zip(templates, texts)]  # noqa: B905
        found["made_of"] = self.traces.made_of(unique_id, trace)
        return found

    def holds(self, made_of: MadeOf | None) -> bool:
        """Return whether a text would be rendered as before."""
        return self.traces.holds(made_of)

    def _hook(self, node: Any, template: str) -> str | None:
        if "{" not in template:
            return template
        from dbt.clients import jinja
        from dbt.context.providers import generate_runtime_model_context

        try:
            with self.asked.answering_nothing() as executed:
                context = generate_runtime_model_context(node, self.config, self.manifest)
                context.update(self._context(self.runs[0], incremental=False))
                context.update(store_result=lambda *_, **__: "", load_result=lambda _: Unanswered())
                rendered = str(jinja.get_rendered(template, context, node))
            return ";\n".join(filter(None, (each.strip("; \n") for each in (*executed, rendered))))
        except Exception:  # noqa: BLE001 - what is wrong with it shows when it runs
            return None

    def again(self, unique_id: str) -> dict[str, Any]:
        """Return the same once more, rendered anew; the manifest may have been built since."""
        with self._lock:
            self.forget()
            return self.rendered(unique_id)

    def forget(self) -> None:
        """Render all anew from now on."""
        self._rendered.clear()
        self._forget_ephemerals()

    def _in_run(self, node: Any, run: tuple[dt.datetime, str]) -> tuple[str, str | None]:
        """Return the SQL in a run, and that of an increment; none where there is none."""
        texts: list[str] = []
        is_incremental = str(node.config.materialized) == "incremental"
        for incremental in (False, True) if is_incremental else (False,):
            fresh = type(node).from_dict(node.to_dict())
            done = self.compiler.compile_node(fresh, self.manifest, self._context(run, incremental), write=False)
            texts.append(done.compiled_code or "")
        return texts[0], texts[1] if is_incremental else None

    def _context(self, run: tuple[dt.datetime, str], incremental: bool) -> dict[str, Any]:
        from dbt import selected_resources
        from dbt.context.base import get_context_modules

        def noted() -> None:
            self._clock = True

        modules = get_context_modules()
        clock = _clock(run[0], noted)
        modules["datetime"] = {**modules["datetime"], "datetime": clock, "date": _calendar(run[0], noted)}
        return {
            "run_started_at": _watched(run[0], noted),
            "invocation_id": _watched(run[1], noted),
            "thread_id": _watched(run[1], noted),
            "modules": modules,
            "is_incremental": lambda: incremental,
            "selected_resources": telling([*selected_resources.SELECTED_RESOURCES]),
        }

    def _is_ephemeral(self, unique_id: str) -> bool:
        node = self.manifest.nodes.get(unique_id)
        return node is not None and node.is_ephemeral_model

    def _forget_ephemerals(self) -> None:
        """Let ephemerals be compiled anew: dbt keeps the text of the run that compiled them first."""
        for name in self._ephemerals:
            if self.manifest.nodes[name].compiled:
                self._forget(name)

    def _forget(self, name: str) -> None:
        """Put an ephemeral model in its place that is not compiled; the original one may be, by a build."""
        original = self.original.nodes[name]
        fresh = type(original).from_dict(original.to_dict())
        fresh.compiled, fresh.compiled_code = False, None
        fresh.extra_ctes, fresh.extra_ctes_injected = [], False
        self.manifest.nodes[name] = fresh


class Asked:
    """Notes what templates ask of the warehouse through the adapter."""

    def __init__(self) -> None:
        self._state = threading.local()

        from dbt.context.providers import RuntimeDatabaseWrapper

        original = RuntimeDatabaseWrapper.__getattr__

        def noted(wrapper: Any, name: str) -> Any:
            value = original(wrapper, name)
            found, executed = getattr(self._state, "found", None), getattr(self._state, "executed", None)
            if not callable(value) or name in PURE:
                return value
            if executed is not None:
                if name != "execute":
                    raise PermissionError(f"adapter.{name} is not asked here")
                return partial(_executed, executed)
            return value if found is None else self._noted(name, value, found)

        RuntimeDatabaseWrapper.__getattr__ = noted

    @contextmanager
    def answering_nothing(self) -> Iterator[list[str]]:
        """Collect the statements that are executed meanwhile in this thread, instead of that; whatever else asks fails."""
        self._state.executed = executed = list[str]()
        try:
            yield executed
        finally:
            self._state.executed = None

    @contextmanager
    def noting(self, found: list[tuple[str, Any]]) -> Iterator[None]:
        """Note what is asked meanwhile in this thread, in order; each the kind of the question and what it was about."""
        self._state.found = found
        try:
            yield
        finally:
            self._state.found = None

    def _noted(self, name: str, method: Callable[..., Any], found: list[tuple[str, Any]]) -> Callable[..., Any]:
        def asking(*args: Any, **kwargs: Any) -> Any:
            depth = getattr(self._state, "depth", 0)
            if depth == 0:  # what a method asks on its way is a part of its answer
                found.append(_question(name, args, kwargs))
            self._state.depth = depth + 1
            try:
                return method(*args, **kwargs)
            finally:
                self._state.depth = depth

        return asking


class Unanswered:
    """What a statement gives that is not executed: whoever looks at it fails, but for its parts, which are the same."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("table", "data", "response"):
            return self
        return super().__getattribute__(name)


def _unanswered(*_: Any) -> Any:
    raise PermissionError("no statement is executed here")


def _executed(statements: list[str], sql: Any = None, *_: Any, **given: Any) -> tuple[Unanswered, Unanswered]:
    """Collect a statement in place of an adapter's `execute`."""
    statements.append(str(given["sql"] if sql is None else sql))
    return Unanswered(), Unanswered()


def _question(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a question as it can be asked again: a query, the columns of a relation, what a relation is; else its name."""
    if name == "execute":
        return "query", str(args[0] if args else kwargs.get("sql"))
    if name == "get_columns_in_relation":
        relation: Any = args[0] if args else kwargs.get("relation")
        return "columns", _place(relation.database, relation.schema, relation.identifier)
    if name == "get_relation":
        named = dict(zip(("database", "schema", "identifier"), args))  # noqa: B905 - dbt 1.8 runs on Python 3.9
        named.update(kwargs)
        return "relation", _place(named.get("database"), named.get("schema"), named.get("identifier"))
    return "other", name


def _place(*parts: Any) -> tuple[str | None, ...]:
    return tuple(None if part is None else str(part) for part in parts)


def _clock(at: dt.datetime, noted: Callable[[], None]) -> type:
    """Return a class of times whose clock stands still, and which tells when it is looked at."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            noted()
            return at.astimezone(tz) if tz is not None else at.replace(tzinfo=None)

        @classmethod
        def utcnow(cls) -> dt.datetime:  # type: ignore[override]
            noted()
            return at.replace(tzinfo=None)

        @classmethod
        def today(cls) -> dt.datetime:  # type: ignore[override]
            noted()
            return at.replace(tzinfo=None)

    return Clock


def _calendar(at: dt.datetime, noted: Callable[[], None]) -> type:
    """Return a class of dates whose clock stands still."""

    class Calendar(dt.date):
        @classmethod
        def today(cls) -> dt.date:  # type: ignore[override]
            noted()
            return at.date()

    return Calendar


MADE_OF_VALUES = (
    *("__str__", "__repr__", "__format__", "__hash__", "__iter__", "__contains__", "__getitem__", "__mod__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__radd__", "__sub__", "__rsub__"),
)


for _name in (*MADE_OF_VALUES, "__getattr__", "__bool__", "__len__", "__call__", "__int__", "__float__"):
    setattr(Unanswered, _name, _unanswered)


def _watched(value: Any, noted: Callable[[], None]) -> Any:
    """Return a text or a time that tells when somebody makes anything of it."""
    kind = type(value)
    members = {name: told(getattr(kind, name), noted) for name in MADE_OF_VALUES if hasattr(kind, name)}
    if kind is str:  # what stands before it would else be asked to add it, and would not tell
        members["__radd__"] = told(lambda self, other: other + str.__str__(self), noted)
    members["__getattribute__"] = told(kind.__getattribute__, noted)
    watching = type("Watched", (kind,), members)
    if isinstance(value, dt.datetime):
        return watching(*value.timetuple()[:6], value.microsecond, value.tzinfo)
    return watching(value)
