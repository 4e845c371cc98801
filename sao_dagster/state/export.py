"""The state of one environment as JSON, to keep it or to move it to another store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from sao_dagster.core.records import BuildRecord, TestRecord
from sao_dagster.errors import StateError
from sao_dagster.state.convert import from_plain, to_plain
from sao_dagster.state.older import record_values
from sao_dagster.state.protocol import RecordStore

FORMAT = 2


def export_state(store: RecordStore, environment: str) -> dict[str, Any]:
    """Return builds, verdicts and kept SQL of an environment, as plain data."""
    builds = store.builds(environment)
    return {
        "format": FORMAT,
        "environment": environment,
        "exported_at": datetime.now(timezone.utc).isoformat(),
        "builds": [to_plain(record) for _, record in sorted(builds.items())],
        "tests": [to_plain(record) for _, record in sorted(store.tests(environment).items())],
        "sql": store.sql({record.sql_id for record in builds.values()}),
    }


def import_state(store: RecordStore, environment: str, data: Mapping[str, Any]) -> int:
    """Write exported builds and verdicts into an environment, over what it has; return how many.

    Format 1 is that of older versions. What it says is kept, and what cannot be compared any more is built once.

    Raises:
        StateError: The data is not an export; nothing is written.
    """
    if data.get("format") not in (1, FORMAT):
        raise StateError(f"this is not an export of format {FORMAT} or older (format: {data.get('format')!r})")
    try:
        read = record_values if data["format"] == 1 else dict[str, Any]
        builds = [from_plain(BuildRecord, read(values)) for values in data["builds"]]
        tests = [from_plain(TestRecord, read(values)) for values in data["tests"]]
        kept = {record.sql_id: str(data["sql"].get(record.sql_id, "")) for record in builds}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"the export is incomplete: {type(error).__name__}: {error}") from error
    for record in builds:
        store.record_build(environment, record, kept[record.sql_id])
    store.record_tests(environment, tests)
    return len(builds) + len(tests)
