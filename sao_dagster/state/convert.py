"""Records as plain data, and back: one way for all of them, for the tables of the state and for exports.

A record is a frozen dataclass. What its fields hold is told from their types; `_CODECS` has those that JSON does not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.records import Verdict

R = TypeVar("R")


@dataclass(frozen=True)
class _Codec:
    """How the values of one type are written as plain data, and read back."""

    plain: Callable[[Any], Any]
    value: Callable[[Any], Any]
    is_nested: bool = False


def _as_it_is(value: Any) -> Any:
    return value


_PLAIN = _Codec(_as_it_is, _as_it_is)
_CODECS: Mapping[object, _Codec] = {
    datetime: _Codec(datetime.isoformat, lambda text: datetime.fromisoformat(text).astimezone(timezone.utc)),
    DataVersion: _Codec(str, lru_cache(maxsize=65536)(DataVersion.parse)),
    Verdict: _Codec(lambda verdict: verdict.value, Verdict),
}
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
    """Return the record that plain data stands for.

    Raises:
        KeyError, TypeError, ValueError: A value is missing or is of another form.
    """
    return kind(**{name: codec.value(values[name]) for name, codec in _codecs(kind)})


def to_row(record: Any) -> dict[str, Any]:
    """Return a record as the values of a row, by the names of its columns; what is nested is JSON text."""
    return {
        _COLUMNS.get(name, name): dump(codec.plain(value)) if codec.is_nested else codec.plain(value)
        for name, codec in _codecs(type(record))
        for value in (getattr(record, name),)
    }


def from_row(kind: type[R], row: Any) -> R:
    """Return the record that a row of its table stands for."""
    values = row._mapping
    return kind(
        **{
            name: codec.value(json.loads(stored) if codec.is_nested else stored)
            for name, codec in _codecs(kind)
            for stored in (values[_COLUMNS.get(name, name)],)
        }
    )


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
    if origin is tuple:  # of any length, since records have no others but pairs inside
        return _Codec(lambda rows: [list(row) for row in rows], lambda rows: tuple(map(tuple, rows)), is_nested=True)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        each = _CODECS.get(inside[1])
        if each is None:
            return _Codec(dict, _as_it_is, is_nested=True)
        write, read = each.plain, each.value
        return _Codec(
            lambda values: {name: write(value) for name, value in values.items()},
            lambda values: {name: read(value) for name, value in values.items()},
            is_nested=True,
        )
    return _PLAIN
