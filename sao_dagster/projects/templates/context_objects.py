"""The objects that templates see: query results, and namespaces that say what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from jinja2.utils import missing

from sao_dagster.errors import NeedsDbtError, RenderError


class _Mapped(Sequence[Any]):
    """A sequence whose items have names, too, as rows and columns of agate have: it can be read like a dictionary."""

    def __init__(self, names: tuple[str, ...], items: Sequence[Any]) -> None:
        self._names = names
        self._items = tuple(items)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, str):
            return self._items[index]
        found = next((at for at, name in enumerate(self._names) if name.lower() == index.lower()), None)
        if found is None:
            raise KeyError(index)
        return self._items[found]

    def __len__(self) -> int:
        return len(self._items)

    def keys(self) -> tuple[str, ...]:
        return self._names

    def values(self) -> tuple[Any, ...]:
        return self._items

    def items(self) -> list[tuple[str, Any]]:
        return list(zip(self._names, self._items, strict=True))

    def dict(self) -> dict[str, Any]:
        return dict(self.items())

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name.lower() in map(str.lower, self._names) else default


class _ResultColumn(Sequence[Any]):
    def __init__(self, name: str, items: list[Any]) -> None:
        self.name = name
        self._items = tuple(items)

    def values(self) -> tuple[Any, ...]:
        return self._items

    def values_distinct(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(self._items))

    def values_without_nulls(self) -> tuple[Any, ...]:
        return tuple(each for each in self._items if each is not None)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


class ResultTable:
    """The result of `run_query`, with the parts of an agate table that templates use."""

    def __init__(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        self.column_names = names
        self.rows = [_Mapped(names, row) for row in rows]
        self.columns = _Mapped(
            names, [_ResultColumn(name, [row[index] for row in rows]) for index, name in enumerate(names)]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.columns[index] if isinstance(index, str) else self.rows[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NeedsDbtError(f"the method {name} of a table of results")


class Namespace(Mapping[str, Any]):
    """Some names of many; what asks for others, or for all, is refused by name."""

    def __init__(self, title: str, names: Mapping[str, Any]) -> None:
        self._title = title
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise NeedsDbtError(f"{self._title}.{name}")
        return self._names[name]

    def __contains__(self, name: object) -> bool:
        if name in self._names:
            return True
        raise NeedsDbtError(f"{self._title}.{name}")

    def __iter__(self) -> Iterator[str]:
        raise NeedsDbtError(f"all of `{self._title}`")

    def __len__(self) -> int:
        raise NeedsDbtError(f"all of `{self._title}`")

    def __bool__(self) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        """Return a name, as of a mapping; others than those that are known are refused, since dbt may have them."""
        return self[name]


ASKED_BY_SANDBOX = frozenset({"unsafe_callable", "alters_data", "jinja_pass_arg"})
"""What Jinja and its sandbox ask of an object before they call it."""


class OnlyInDbt:
    """A name that templates may mention, and that only dbt can say anything of."""

    def __init__(self, uses: str) -> None:
        self._uses = uses

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse it.

        Raises:
            NeedsDbtError: Always, as all that is done with it.
        """
        raise NeedsDbtError(self._uses)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ASKED_BY_SANDBOX:
            raise AttributeError(name)
        raise NeedsDbtError(self._uses)

    def _refuse(self, *args: Any) -> Any:
        raise NeedsDbtError(self._uses)

    __getitem__ = __iter__ = __len__ = __contains__ = __bool__ = __str__ = __html__ = __eq__ = __lt__ = __gt__ = (
        __add__
    ) = __radd__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class NamesInContext:
    """`context`: all that a template can name, by names that it may make up."""

    def __init__(self, find: Callable[[str], Any]) -> None:
        self._find = find

    def __getitem__(self, name: str) -> Any:
        found = self._find(name)
        if found is missing:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """Return what a name means, or a default."""
        found = self._find(name)
        return default if found is missing else found


class Exceptions:
    """`exceptions`: `warn` says something, and all else that dbt has there stops the rendering.

    Args:
        warn: Says it.
    """

    def __init__(self, warn: Callable[..., str]) -> None:
        self.warn = warn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def stop(*message: Any, **more: Any) -> str:
            raise RenderError(str(message[0]) if message else name)

        return stop


class Flags:
    """`flags`: what dbt is told on the command line; what is not told here is as it is by default.

    Args:
        target: What templates see as `target`.
        full_refresh: Whether all is built anew.
    """

    def __init__(self, target: Mapping[str, Any], *, full_refresh: bool) -> None:
        self._target = target
        self._full_refresh = full_refresh

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        own = {"target": self._target.get("name"), "profile": self._target.get("profile_name")}
        return {**_FLAGS, **own, "full_refresh": self._full_refresh}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name.lower() not in self._values:
            raise AttributeError(name)
        return self._values[name.lower()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a flag, or a default."""
        return self._values.get(name.lower(), default)


_FLAGS: Mapping[str, Any] = {
    "which": "build", "store_failures": False, "fail_fast": False, "empty": False, "debug": False, "quiet": False, "introspect": True,
    "defer": False, "favor_state": False, "use_colors": True, "print": True, "cache_selected_only": False, "populate_cache": True,
    "partial_parse": True, "static_parser": True, "version_check": True, "warn_error": False, "write_json": True,
    "indirect_selection": "eager", "log_format": "default", "log_level": "info", "printer_width": 80, "strict_mode": False,
}  # fmt: skip

ONLY_IN_DBT = frozenset(
    {
        *(
            "graph",
            "selected_resources",
            "metric",
            "function",
            "invocation_args_dict",
            "load_agate_table",
            "load_dataframe",
        ),
        *("submit_python_job", "thread_id"),
    }
)
"""Names of dbt's own that templates may mention here and not use."""
