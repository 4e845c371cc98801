"""What templates ask of the warehouse through the adapter, while they are rendered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

PURE = {"quote", "quote_as_configured", "dispatch", "type", "get_column_schema_from_query_type", "quote_seed_column"}
"""Methods of adapters that templates call and that ask nothing."""

MADE_OF_VALUES = (
    *("__str__", "__repr__", "__format__", "__hash__", "__iter__", "__contains__", "__getitem__", "__mod__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__radd__", "__sub__", "__rsub__"),
    *("__getattr__", "__bool__", "__len__", "__call__", "__int__", "__float__"),
)
"""What somebody may make of a value."""


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
        """Note what is asked meanwhile in this thread, in order; each the kind of the question and what it was about.

        What relations are and which columns they have is asked once, as long as nothing else is: a node is rendered several times.
        """
        self._state.found, self._state.answers = found, {}
        try:
            yield
        finally:
            self._state.found = self._state.answers = None

    def _noted(self, name: str, method: Callable[..., Any], found: list[tuple[str, Any]]) -> Callable[..., Any]:
        def asked(*args: Any, **kwargs: Any) -> Any:
            depth = getattr(self._state, "depth", 0)
            self._state.depth = depth + 1
            try:
                return method(*args, **kwargs)
            finally:
                self._state.depth = depth

        def asking(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._state, "depth", 0):  # what a method asks on its way is a part of its answer
                return asked(*args, **kwargs)
            question = _question(name, args, kwargs)
            found.append(question)
            answers, exactly = self._state.answers, (question, repr(args[1:]), repr(kwargs))
            if question[0] not in ("columns", "relation"):  # it may change what is there
                answers.clear()
                return asked(*args, **kwargs)
            if exactly not in answers:
                answers[exactly] = asked(*args, **kwargs)
            answer = answers[exactly]
            return [*answer] if isinstance(answer, list) else answer  # a template may change its list

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


for _name in MADE_OF_VALUES:
    setattr(Unanswered, _name, _unanswered)
