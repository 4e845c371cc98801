"""The functions that dbt gives to every template, wherever it stands: none of them knows the project or the run."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from importlib import import_module
from typing import Any

import yaml

from sao_dagster.errors import NeedsDbtError, RenderError
from sao_dagster.projects.templates.context_objects import Namespace

DBT_VERSION = "1.11.0"
"""The version of dbt whose behaviour templates see here."""


class SteadySet(set[Any]):
    """A set whose elements, and those of what is made of it, come in the same order in each process: by their types and texts.

    Python's own have an order by chance, and so would have the SQL that a template makes of one.

    >>> [*SteadySet("cab") | SteadySet([3, 10])], str(SteadySet("ba")), [*SteadySet("abc").difference("b")]
    ([10, 3, 'a', 'b', 'c'], "{'a', 'b'}", ['a', 'c'])
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=lambda each: (type(each).__name__, str(each))))

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}" if self else "set()"

    def pop(self) -> Any:
        """Remove the first element, and return it."""
        if not self:
            raise KeyError("pop from an empty set")
        first = next(iter(self))
        self.remove(first)
        return first


def _steadily(name: str) -> Callable[..., Any]:
    """Return a method of sets whose result is a set with an order."""
    method = getattr(set, name)

    def act(self: SteadySet, *others: Any) -> Any:
        found = method(self, *others)
        return SteadySet(found) if isinstance(found, set) else found

    return act


for _name in ("copy", "union", "intersection", "difference", "symmetric_difference"):
    setattr(SteadySet, _name, _steadily(_name))
for _name in ("and", "or", "sub", "xor"):
    setattr(SteadySet, f"__{_name}__", _steadily(f"__{_name}__"))
    setattr(SteadySet, f"__r{_name}__", _steadily(f"__r{_name}__"))


def _or_default(action: Callable[..., Any], *errors: type[Exception]) -> Callable[..., Any]:
    """Return a function of one value that gives its second argument for what it cannot take, as dbt's do."""

    def act(value: Any, default: Any = None, **settings: Any) -> Any:
        try:
            return action(value, **settings)
        except errors:
            return default

    return act


def _strictly(action: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function whose argument has to be something that can be iterated over."""

    def act(*values: Any) -> Any:
        try:
            return action(*values)
        except TypeError as error:
            raise RenderError(f"{name}: {error}") from error

    return act


def _zip(*values: Iterable[Any], default: Any = None) -> Any:
    try:
        return zip(*values, strict=False)
    except TypeError:
        return default


def _difference(first: Mapping[str, list[str]], second: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the entries of one dictionary of lists that another one has not, whatever the case of keys and texts."""
    known = {key.casefold(): {text.casefold() for text in texts} for key, texts in second.items()}
    left = {
        key: [text for text in texts if text.casefold() not in known.get(key.casefold(), ())]
        for key, texts in first.items()
    }
    return {key: texts for key, texts in left.items() if texts or key.casefold() not in known}


def _json(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(value, sort_keys=sort_keys)


def _yaml(value: Any, *, sort_keys: bool = False) -> str:
    return str(yaml.safe_dump(value, sort_keys=sort_keys))


def _md5(value: str) -> str:
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def _try_or_error(message: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return action(*args, **kwargs)
    except Exception as error:
        raise RenderError(str(message)) from error


FUNCTIONS: Mapping[str, Any] = {
    "fromjson": _or_default(json.loads, ValueError),
    "tojson": _or_default(_json, ValueError),
    "fromyaml": _or_default(yaml.safe_load, AttributeError, ValueError, yaml.YAMLError),
    "toyaml": _or_default(_yaml, ValueError, yaml.YAMLError),
    "set": _or_default(SteadySet, TypeError),
    "set_strict": _strictly(SteadySet, "set_strict"),
    "zip": _zip,
    "zip_strict": _strictly(lambda *values: zip(*values, strict=False), "zip_strict"),
    "local_md5": _md5,
    "diff_of_two_dicts": _difference,
    "try_or_compiler_error": _try_or_error,
    "dbt_version": DBT_VERSION,
}
"""The functions by name; dbt's own are described at https://docs.getdbt.com/reference/dbt-jinja-functions."""


def modules(clock: Callable[[], datetime]) -> Namespace:
    """Return dbt's `modules`, with a clock that can be pinned.

    Args:
        clock: Returns the present time (UTC) and notes that it was asked.
    """

    class _DateTime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            now = clock()
            return now.astimezone(tz) if tz else now.astimezone(timezone.utc).replace(tzinfo=None)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now()

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    class _Date(date):
        @classmethod
        def today(cls) -> Any:
            return clock().date()

    times = {
        "datetime": _DateTime,
        "date": _Date,
        "time": dt.time,
        "timedelta": dt.timedelta,
        "timezone": timezone,
        "tzinfo": dt.tzinfo,
    }
    patterns = {name: getattr(re, name) for name in re.__all__}  # no way to the modules that it imports
    series = {name: getattr(itertools, name) for name in dir(itertools) if not name.startswith("_")}
    return Namespace(
        "modules",
        {
            "datetime": Namespace("modules.datetime", times),
            "re": Namespace("modules.re", patterns),
            "itertools": Namespace("modules.itertools", series),
            "pytz": _TimeZones(),
        },
    )


class _TimeZones:
    """`modules.pytz`: that package where it is installed, as it is beside dbt."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            zones = import_module("pytz")
        except ImportError as error:
            raise NeedsDbtError("modules.pytz, which is not installed here (pip install pytz)") from error
        if name not in zones.__all__:
            raise AttributeError(name)
        return getattr(zones, name)
