"""What differs between two runs, as templates see it: values that tell what is made of them, and are known in any other run.

A time or an id that is only written into a text is kept there as what it is in a run, whichever that is (`Printed`). So the text of another run is
put together without rendering anything again. Whatever else is made of such a value (a comparison, a part of it, a number) is noted: then the text
may be another one altogether.
"""

from __future__ import annotations

import datetime as dt
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, cast

from .tracing import told

Run = tuple[dt.datetime, str]
"""When a run started, and its id."""

InRun = Callable[[Run], Any]
"""What something is in a run."""

KEEPING = (
    *("strftime", "isoformat", "ctime", "__str__", "__format__"),
    *("astimezone", "replace", "date", "__add__", "__radd__", "__sub__"),
)
"""Methods of times and days that give a text, or another time or day, which is known in any run."""


class Looked:
    """What was made of the values of a run meanwhile.

    Attributes:
        at: Whether anything.
        into: Whether more than text.
    """

    def __init__(self) -> None:
        self.at = self.into = False


class _Rendering(threading.local):
    run: Run
    looked = Looked()  # outside of any rendering, what nobody asks for


_rendering = _Rendering()


@contextmanager
def looking(run: Run) -> Iterator[Looked]:
    """Be in a run meanwhile, in this thread, and note what is made of its values."""
    _rendering.run, _rendering.looked = run, Looked()
    try:
        yield _rendering.looked
    finally:
        _rendering.looked = Looked()


def values(modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates see of the run that this thread is in.

    Args:
        modules: Those that dbt gives to templates.
    """
    run_id = Printed.of([lambda run: run[1]])
    return {
        "run_started_at": _in_each_run(lambda run: run[0]),
        "invocation_id": run_id,
        "thread_id": run_id,
        "modules": {**modules, "datetime": {**modules["datetime"], "datetime": Clock, "date": Calendar}},
    }


class Printed(str):
    """A text in which values of a run stand; where it becomes a part of a longer text, that is one, too.

    Attributes:
        parts: The pieces of the text, or what they are in a run.
    """

    __slots__ = ("parts",)
    parts: list[str | InRun]

    @classmethod
    def of(cls, parts: list[str | InRun]) -> Printed:
        """Return a text as it is in the run of this thread."""
        made = cls(_joined(parts, _rendering.run))
        made.parts = parts
        return made

    def __str__(self) -> str:
        # a template, which writes it, is in no module; a filter or the like is
        caller = sys._getframe(1).f_globals.get("__name__")
        _rendering.looked.at = True
        _rendering.looked.into |= caller not in (None, __name__)
        return self

    def __add__(self, other: str) -> str:
        return concat([self, other])

    def __radd__(self, other: str) -> str:
        return concat([other, self])


class Clock(dt.datetime):
    """The class of times that templates see, whose clock says when the run has started."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        """Return the time in a zone."""
        return _in_each_run(lambda run: run[0].astimezone(tz) if tz is not None else run[0].replace(tzinfo=None))

    @classmethod
    def utcnow(cls) -> Any:
        """Return the time in UTC."""
        return _in_each_run(lambda run: run[0].replace(tzinfo=None))

    @classmethod
    def today(cls) -> Any:
        """Return the time in UTC."""
        return _in_each_run(lambda run: run[0].replace(tzinfo=None))


class Calendar(dt.date):
    """The class of days that templates see."""

    @classmethod
    def today(cls) -> Any:
        """Return the day in UTC."""
        return _in_each_run(lambda run: run[0].date())


class _OfRun:
    """A time or a day that is another one in another run; a class of its own, so that it is asked first where it is compared with others."""

    _in_run: InRun

    def __getattribute__(self, name: str) -> Any:
        _rendering.looked.at = True
        _rendering.looked.into |= name not in _KEPT
        return super().__getattribute__(name)


class Moment(_OfRun, Clock):
    """A time that is another one in another run."""


class Day(_OfRun, Calendar):
    """A day that is another one in another run."""


def in_run(text: str, run: Run) -> str:
    """Return what a text is in a run."""
    return _joined(text.parts, run) if isinstance(text, Printed) else text


def places_that_differ(text: str, run: Run, other: Run) -> list[int]:
    """Return which parts of a text are not the same in two runs, by number."""
    parts = text.parts if isinstance(text, Printed) else []
    return [place for place, each in enumerate(parts) if not isinstance(each, str) and each(run) != each(other)]


def concat(pieces: Iterable[str]) -> str:
    """Join the pieces of a text, as Jinja does."""
    pieces = list(pieces)
    if Printed not in map(type, pieces):
        return "".join(pieces)
    _rendering.looked.at = True
    parts: list[str | InRun] = []
    for each in pieces:
        parts += each.parts if isinstance(each, Printed) else [each]
    return Printed.of(parts)


def install() -> None:
    """Let Jinja keep values of runs in what it joins, and tell what templates give them to, once in this process and before dbt reads any."""
    import jinja2
    import jinja2.runtime
    from jinja2.sandbox import SandboxedEnvironment

    of_all, of_sandboxes, in_runtime = cast("Any", (jinja2.Environment, SandboxedEnvironment, jinja2.runtime))
    initialize, call, compute = of_all.__init__, of_sandboxes.call, of_sandboxes.call_binop

    def initialized(environment: Any, *args: Any, **kwargs: Any) -> None:
        initialize(environment, *args, **kwargs)
        environment.filters, environment.tests = _Telling(environment.filters), _Telling(environment.tests)

    def called(environment: Any, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not _keeps(function):
            _given((*args, *kwargs.values()))
        return call(environment, context, function, *args, **kwargs)

    def computed(environment: Any, context: Any, operator: str, left: Any, right: Any) -> Any:
        _given((left, right))
        return compute(environment, context, operator, left, right)

    of_all.__init__, of_sandboxes.call = initialized, called
    of_all.concat, in_runtime.concat = staticmethod(concat), concat
    of_sandboxes.call_binop, of_sandboxes.intercepted_binops = computed, frozenset({"%"})
    _install_searched()


def _install_searched() -> None:
    """Let what Jinja compiles tell where it looks for something in a text: a text asks nothing of that."""
    import jinja2
    from jinja2.compiler import CodeGenerator, operators

    of_all, of_code = cast("Any", (jinja2.Environment, CodeGenerator))
    write = of_code.visit_Operand

    def written(generator: Any, node: Any, frame: Any) -> None:
        if node.op not in ("in", "notin"):
            write(generator, node, frame)
            return
        generator.write(f" {operators[node.op]} environment.searched(")
        generator.visit(node.expr, frame)
        generator.write(")")

    of_all.searched, of_code.visit_Operand = staticmethod(_searched), written


_GIVING_BACK = ("default", "d", "string")
"""Filters that give back what they are given."""


class _Telling(dict[str, Callable[..., Any]]):
    """Filters or tests of Jinja, which tell where they are given values of runs."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function = super().__getitem__(name)
        return function if name in _GIVING_BACK else _telling(function)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - this is what it does


class _Searched(str):
    """A text that tells whether a value of a run is looked for in it."""

    __slots__ = ()

    def __contains__(self, part: Any) -> bool:
        _given((part,))
        return super().__contains__(part)


def _searched(container: Any) -> Any:
    return _Searched(container) if type(container) is str else container


@cache
def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        _given((*args, *kwargs.values()))
        return function(*args, **kwargs)

    return told


def _given(values: tuple[Any, ...]) -> None:
    """Note that something is given some values; what it makes of them is not known."""
    if any(map(_is_of_run, values)):
        _look_into()


def _is_of_run(value: Any) -> bool:
    """Return whether a value is one of a run, or a list or dictionary with one; not deeper, since dbt's context is in itself."""
    kind = type(value)
    parts = value.values() if kind is dict else value if kind in (list, tuple) else (value,)
    return not _OF_RUNS.isdisjoint(map(type, parts))


def _keeps(function: Any) -> bool:
    """Return whether something that a template calls is told of by itself, or passes on what it is given: a macro, and dbt's `return`."""
    kind = type(function)
    return (
        kind.__name__ == "Macro" or "MacroGenerator" in kind.__name__ or getattr(function, "__name__", "") == "_return"
    )


def _joined(parts: Iterable[str | InRun], run: Run) -> str:
    return "".join([each if isinstance(each, str) else each(run) for each in parts])


def _in_each_run(found: InRun) -> Any:
    """Return a value that is another one in another run: a time, a day, or a text; of anything else no more is known."""
    value = found(_rendering.run)
    if isinstance(value, str):
        _rendering.looked.at = True
        return Printed.of([found])
    if isinstance(value, dt.datetime):
        made: Any = Moment.combine(value.date(), value.timetz())
    elif isinstance(value, dt.date):
        made = Day.fromordinal(value.toordinal())
    else:
        _look_into()
        return value
    object.__setattr__(made, "_in_run", found)
    return made


def _keeping(name: str) -> Callable[..., Any]:
    """Return a method of times and days whose result is known in other runs as well."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = self._in_run
        return _in_each_run(lambda run: getattr(found(run), name)(*args, **kwargs))

    return method


def _look_into() -> None:
    """Note that more is made of a value than text."""
    _rendering.looked.at = _rendering.looked.into = True


_OF_RUNS = frozenset({Printed, Moment, Day})
_KEPT = frozenset({*KEEPING, "_in_run", "__class__"})
_COMPARING = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"}
_OF_OBJECTS = frozenset(dir(object)) - {*_COMPARING, "__repr__", "__format__"}
"""What is asked of any object, and tells nothing of what it is."""


def _fill(kind: type, base: type, keeping: Iterable[str]) -> None:
    """Give a class of values of runs methods that tell, in place of those of what it is made from."""
    for name, method in inspect.getmembers(
        base, inspect.ismethoddescriptor
    ):  # not those of the class, which are given no value
        if name not in _OF_OBJECTS and name not in vars(kind):
            setattr(kind, name, told(method, _look_into))
    for name in keeping:
        if hasattr(base, name):
            setattr(kind, name, _keeping(name))


_fill(Printed, str, ())
_fill(Moment, dt.datetime, KEEPING)
_fill(Day, dt.date, KEEPING)
