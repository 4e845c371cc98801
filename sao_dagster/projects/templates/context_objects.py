"""The objects that templates see: relations, query results, and namespaces that say what they lack."""

from __future__ import annotations

import datetime as dt
import itertools
import re as re_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any

import yaml
from jinja2.utils import missing

from sao_dagster.core.relations import Relation, quote
from sao_dagster.errors import NeedsDbtError, RenderError, UnsupportedError


class RelationValue:
    """A relation as dbt's templates know it; written out, it is quoted SQL.

    Attributes:
        relation: The relation.
        text: What is written into SQL, where that is not the relation (an ephemeral model, a file).
    """

    is_cte = False

    def __init__(self, relation: Relation, text: str | None = None, kind: str | None = None) -> None:
        self.relation = relation
        self.type = kind
        self._text = text

    def __str__(self) -> str:
        return self._text if self._text is not None else str(self.relation)

    render = __str__

    @property
    def is_written(self) -> bool:
        """Whether it is written as something else than its name: a common table expression, or a function over files."""
        return self._text is not None and self._text != str(self.relation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelationValue) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def database(self) -> str | None:
        """The database."""
        return self.relation.database

    @property
    def schema(self) -> str:
        """The schema."""
        return self.relation.schema

    @property
    def identifier(self) -> str:
        """The name in the schema."""
        return self.relation.identifier

    name = identifier
    table = identifier

    @property
    def is_view(self) -> bool:
        """Whether it is known to be a view."""
        return self.type == "view"

    @property
    def is_table(self) -> bool:
        """Whether it is known to be a table."""
        return self.type == "table"

    def include(self, *, database: bool = True, schema: bool = True, identifier: bool = True) -> str:
        """Return some of the parts, quoted."""
        parts = [
            part
            for part, wanted in (
                (self.database, database),
                (self.schema, schema),
                (self.identifier, identifier),
            )
            if wanted and part
        ]
        return ".".join(quote(part, self.relation.quotes) for part in parts)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnsupportedError(f"relations have no {name!r} here")


class ColumnValue:
    """A column of a relation."""

    def __init__(self, name: str, data_type: str, *, quotes: str) -> None:
        self.name = self.column = name
        self.data_type = self.dtype = data_type
        self.quoted = quote(name, quotes)

    def is_string(self) -> bool:
        """Whether it holds text."""
        return self.dtype.lower().partition("(")[0] in ("varchar", "text", "character varying", "string")

    def is_numeric(self) -> bool:
        """Whether it holds exact decimals."""
        return self.dtype.lower().startswith(("decimal", "numeric"))

    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.is_numeric() or self.is_integer() or self.is_float()

    def is_integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.lower() in (
            "integer",
            "bigint",
            "smallint",
            "tinyint",
            "hugeint",
            "ubigint",
            "uinteger",
        )

    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.lower() in ("float", "double", "real", "double precision")


class _ResultColumn(Sequence[Any]):
    def __init__(self, name: str, items: list[Any]) -> None:
        self.name = name
        self._items = items

    def values(self) -> list[Any]:
        return self._items

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


class _ResultRow(Sequence[Any]):
    def __init__(self, names: tuple[str, ...], items: tuple[Any, ...]) -> None:
        self._names = names
        self._items = items

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            lowered = [name.lower() for name in self._names]
            if index.lower() not in lowered:
                raise KeyError(index)
            return self._items[lowered.index(index.lower())]
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def values(self) -> tuple[Any, ...]:
        return self._items

    def keys(self) -> tuple[str, ...]:
        return self._names

    def dict(self) -> dict[str, Any]:
        return dict(zip(self._names, self._items, strict=True))


class _ResultColumns(Sequence[_ResultColumn]):
    def __init__(self, columns: list[_ResultColumn]) -> None:
        self._columns = columns

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return next(each for each in self._columns if each.name.lower() == index.lower())
        return self._columns[index]

    def __len__(self) -> int:
        return len(self._columns)

    def keys(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._columns)

    def values(self) -> list[_ResultColumn]:
        return self._columns


class ResultTable:
    """The result of `run_query`, with the parts of an agate table that templates use."""

    def __init__(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        self.column_names = names
        self.rows = [_ResultRow(names, row) for row in rows]
        self.columns = _ResultColumns(
            [_ResultColumn(name, [row[index] for row in rows]) for index, name in enumerate(names)]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[_ResultRow]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.columns[index] if isinstance(index, str) else self.rows[index]


class Namespace:
    """A fixed set of names; anything else is refused by name."""

    def __init__(self, title: str, names: Mapping[str, Any]) -> None:
        self._title = title
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise UnsupportedError(f"{self._title}.{name} is not supported here; there is {known}")
        return self._names[name]

    __getitem__ = __getattr__

    def get(self, name: str, default: Any = None) -> Any:
        """Return a name, or a default, as of a mapping."""
        return self._names.get(name, default)


class OnlyInDbt:
    """A name that templates may mention, and that only dbt can say anything of."""

    def __init__(self, uses: str) -> None:
        self._uses = uses

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsDbtError(self._uses)

    def __getitem__(self, name: Any) -> Any:
        raise NeedsDbtError(self._uses)

    def __iter__(self) -> Iterator[Any]:
        raise NeedsDbtError(self._uses)

    def __str__(self) -> str:
        raise NeedsDbtError(self._uses)


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


def modules(clock: Any) -> Namespace:
    """Return dbt's `modules`, with a clock that can be pinned.

    Args:
        clock: Returns the present time (UTC) and notes that it was asked.
    """

    class _DateTime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            now: datetime = clock()
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
            now: datetime = clock()
            return now.date()

    times = Namespace(
        "modules.datetime",
        {
            "datetime": _DateTime,
            "date": _Date,
            "time": dt.time,
            "timedelta": dt.timedelta,
            "timezone": timezone,
            "tzinfo": dt.tzinfo,
        },
    )
    own = {name: getattr(re_module, name) for name in re_module.__all__}  # no way to the modules that it imports
    series = {name: getattr(itertools, name) for name in dir(itertools) if not name.startswith("_")}
    return Namespace(
        "modules",
        {"datetime": times, "re": Namespace("modules.re", own), "itertools": Namespace("modules.itertools", series)},
    )


def raise_compiler_error(message: str, *_: object) -> str:
    """Stop the rendering, as `exceptions.raise_compiler_error` does."""
    raise RenderError(str(message))


def lenient(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a parser that gives a default for what it cannot read, as dbt's do."""

    def parse_or(text: str, default: Any = None) -> Any:
        try:
            return parse(text)
        except (ValueError, yaml.YAMLError):
            return default

    return parse_or
