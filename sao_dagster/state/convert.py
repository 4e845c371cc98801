"""Records as plain data, and back: one way for all of them, for the tables of the state and for exports.

A record is a frozen dataclass. What its fields hold is told from their types; `_CODECS` has those that JSON does not know.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache, partial
from types import UnionType
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.records import Verdict
from sao_dagster.state.connection import DAMAGED

R = TypeVar("R")
V = TypeVar("V")
ENVIRONMENTS_HELD = 4  # of which records are held with their rows
_logger = logging.getLogger("sao_dagster.state")


@dataclass(frozen=True)
class _Codec:
    """How the values of one type are written as plain data, and read back."""

    plain: Callable[[Any], Any]
    value: Callable[[Any], Any]
    is_nested: bool = False


def _as_it_is(value: Any) -> Any:
    return value


def _of_type(kinds: tuple[type, ...], value: Any) -> Any:
    """Return a value, if it is of one of some types; a number of seconds may be whole."""
    if type(value) in kinds:  # nearly always, and told faster
        return value
    if not isinstance(value, kinds) and not (float in kinds and isinstance(value, int)):
        raise ValueError(f"{value!r} is none of {', '.join(kind.__name__ for kind in kinds)}")
    return value


def _truth(value: Any) -> bool | None:
    """Return a truth value, which SQLite keeps as a number."""
    if value not in (None, 0, 1):
        raise ValueError(f"{value!r} is neither true nor false")
    return None if value is None else bool(value)


_PLAIN = _Codec(_as_it_is, _as_it_is)
_CODECS: Mapping[object, _Codec] = {
    datetime: _Codec(datetime.isoformat, lambda text: datetime.fromisoformat(text).astimezone(timezone.utc)),
    DataVersion: _Codec(str, lru_cache(maxsize=65536)(DataVersion.parse)),
    Verdict: _Codec(lambda verdict: verdict.value, Verdict),
}
_PLAIN_TYPES = (str, int, float)
_raw_decode = json.JSONDecoder().raw_decode
_Reader: TypeAlias = tuple[str, int, Callable[[Any], Any]]
"""A field of a record, the place of its column in a row, and what reads it from there."""
_COLUMNS = {"rows": "row_count"}  # a word of SQL's own
_known: dict[Any, tuple[tuple[str, _Codec], ...]] = {}


def to_plain(record: Any) -> dict[str, Any]:
    """Return a record as JSON has it, by the names of its fields.

    >>> from sao_dagster.core.records import TestRecord
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    >>> said = {"verdict": Verdict.PASS, "failures": 0, "run_at": noon, "seconds": 0.5, "run_id": "r"}
    >>> record = TestRecord(test="t", version="v", code_scheme=2, inputs={"a": DataVersion("build", "1")}, **said)
    >>> to_plain(record)["inputs"], to_plain(record)["run_at"]
    ({'a': 'build 1'}, '2026-01-01T12:00:00+00:00')
    >>> from_plain(TestRecord, to_plain(record)) == record
    True
    """
    return {name: codec.plain(getattr(record, name)) for name, codec in _codecs(type(record))}


def from_plain(kind: type[R], values: Mapping[str, Any]) -> R:
    """Return the record that plain data stands for; what an older version did not write has its default.

    Raises:
        KeyError, TypeError, ValueError: A value is missing or is of another form.
    """
    known = {name for name, default in _defaults(kind).items() if name in values or default is MISSING}
    return kind(**{name: codec.value(values[name]) for name, codec in _codecs(kind) if name in known})


def to_row(record: Any) -> dict[str, Any]:
    """Return a record as the values of a row, by the names of its columns; what is nested is JSON text."""
    return {
        _COLUMNS.get(name, name): dump(codec.plain(value)) if codec.is_nested else codec.plain(value)
        for name, codec in _codecs(type(record))
        for value in (getattr(record, name),)
    }


def readable(kind: type[R], rows: Iterable[Any]) -> Iterator[R]:
    """Yield the records that rows of their table stand for.

    A damaged one counts as none, which is safe: what it was about is built, or run, as if for the first time. The log says so.
    """
    return (record for _, record in _read(kind, rows, {}))


class RowsRead(Generic[R]):
    """Records of one kind, with the rows that they were read from: a row that is the same in all its columns stands for the same record.

    What a row says follows from nothing but the row, so who has written it, and when, does not matter. What was read last is held, of a
    few environments, and nothing else.

    Args:
        kind: What the rows stand for.
    """

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._known: dict[str, dict[str, tuple[Any, R]]] = {}

    def read(self, environment: str, rows: Iterable[Any]) -> dict[str, R]:
        """Return the records that all rows of an environment stand for, by what they are about; see `readable`."""
        found = {row[1]: (row, record) for row, record in _read(self._kind, rows, self._known.get(environment, {}))}
        others = [each for each in self._known.items() if each[0] != environment]
        self._known = {**dict(others[1 - ENVIRONMENTS_HELD :]), environment: found}
        return {name: record for name, (_, record) in found.items()}


def _read(kind: type[R], rows: Iterable[Any], known: Mapping[str, tuple[Any, R]]) -> Iterator[tuple[Any, R]]:
    """Yield the rows that can be read with what they stand for, some of which is known by what it is about."""
    readers: tuple[_Reader, ...] = ()
    for row in rows:
        same = known.get(row[1])
        if same is not None and same[0] == row:
            yield same
            continue
        readers = readers or _readers(kind, row._fields)
        try:
            record = _from_row(kind, readers, row)
        except DAMAGED as error:
            _tell_damage(f"the record of {row[1]!r} ({kind.__name__})", error)
        else:
            yield row, record


def understood(what: str, read: Callable[..., V], *args: Any) -> V | None:
    """Return what reading something of the state gives; None where it is damaged, which the log says.

    >>> understood("what is kept", json.loads, "[1]")
    [1]
    """
    try:
        return read(*args)
    except DAMAGED as error:
        _tell_damage(what, error)
        return None


def _tell_damage(what: str, error: Exception) -> None:
    _logger.warning("%s in the shared state is damaged and counts as none: %s: %s", what, type(error).__name__, error)


def _from_row(kind: type[R], readers: tuple[_Reader, ...], row: Any) -> R:
    """Return the record that a row of its table stands for.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: The row is damaged.
    """
    record = object.__new__(kind)  # as pickle does: to set the fields of a frozen record one by one takes longer
    record.__dict__.update({name: read(row[place]) for name, place, read in readers})
    return record


def _readers(kind: Any, columns: tuple[str, ...]) -> tuple[_Reader, ...]:
    """Return how each field of a kind of records is read from rows with some columns."""

    def nested(read: Callable[[Any], Any]) -> Callable[[str], Any]:
        return lambda text: read(_parsed(text))

    return tuple(
        (name, columns.index(_COLUMNS.get(name, name)), nested(codec.value) if codec.is_nested else codec.value)
        for name, codec in _codecs(kind)
    )


def _parsed(text: str) -> Any:
    """Return what a JSON text stands for; as `dump` has written it there is nothing around it."""
    value, end = _raw_decode(text)
    return value if end == len(text) else json.loads(text)


def dump(value: object) -> str:
    """Return plain data as JSON text, the same for equal data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def versions_to_plain(versions: Mapping[str, DataVersion]) -> dict[str, str]:
    """Return data versions by name as plain data."""
    return {name: str(version) for name, version in versions.items()}


def versions_from_plain(values: Mapping[str, str]) -> dict[str, DataVersion]:
    """Return the data versions by name that plain data stands for."""
    parse = _CODECS[DataVersion].value
    return {name: parse(text) for name, text in values.items()}


def _defaults(kind: Any) -> dict[str, Any]:
    """Return the default of each field of a kind of records; `MISSING` where it has none."""
    return {field.name: field.default for field in fields(kind)}


def _codecs(kind: Any) -> tuple[tuple[str, _Codec], ...]:
    """Return how each field of a kind of records is written and read, worked out once."""
    if kind not in _known:
        hints = get_type_hints(kind)
        _known[kind] = tuple((field.name, _codec(hints[field.name])) for field in fields(kind))
    return _known[kind]


def _codec(hint: Any) -> _Codec:
    """Return how values of a type are written and read: by the table, or as mappings and rows of what is in the table."""
    if hint in _CODECS:
        return _CODECS[hint]
    origin, inside = get_origin(hint), get_args(hint)
    if hint in _PLAIN_TYPES or (inside and set(inside) <= {*_PLAIN_TYPES, type(None)} and origin is UnionType):
        return _Codec(_as_it_is, partial(_of_type, inside or (hint,)))
    if bool in (hint, *inside):
        return _Codec(_as_it_is, _truth)
    if origin is tuple and inside[0] is str:
        text = partial(_of_type, (str,))
        return _Codec(list, lambda texts: tuple(map(text, texts)), is_nested=True)
    if origin is tuple:  # of any length, since records have no others but pairs inside
        return _Codec(lambda rows: [list(row) for row in rows], lambda rows: tuple(map(tuple, rows)), is_nested=True)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        each = _CODECS.get(inside[1])
        if each is None:
            return _Codec(dict, partial(_of_type, (dict,)), is_nested=True)
        write, read = each.plain, each.value
        return _Codec(
            lambda values: {name: write(value) for name, value in values.items()},
            lambda values: {name: read(value) for name, value in values.items()},
            is_nested=True,
        )
    return _PLAIN
