"""The state of one environment as JSON, to keep it or to move it to another store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.records import BuildRecord, TestRecord, Verdict
from sao_dagster.errors import StateError
from sao_dagster.state.protocol import StateStore

FORMAT = 1


def export_state(store: StateStore, environment: str) -> dict[str, Any]:
    """Return builds, verdicts and kept SQL of an environment, as plain data."""
    builds = store.builds(environment)
    return {
        "format": FORMAT,
        "environment": environment,
        "exported_at": datetime.now(timezone.utc).isoformat(),
        "builds": [_plain(record) for _, record in sorted(builds.items())],
        "tests": [_plain(record) for _, record in sorted(store.tests(environment).items())],
        "sql": store.sql({record.sql_id for record in builds.values()}),
    }


def import_state(store: StateStore, environment: str, data: Mapping[str, Any]) -> int:
    """Write exported builds and verdicts into an environment, over what it has; return how many.

    Raises:
        StateError: The data is not an export of this format; nothing is written.
    """
    if data.get("format") != FORMAT:
        raise StateError(f"this is not an export of format {FORMAT} (format: {data.get('format')!r})")
    try:
        builds = [_build(values) for values in data["builds"]]
        tests = [_test(values) for values in data["tests"]]
        kept = {record.sql_id: str(data["sql"][record.sql_id]) for record in builds}
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"the export is incomplete: {type(error).__name__}: {error}") from error
    for record in builds:
        store.record_build(environment, record, kept[record.sql_id])
    store.record_tests(environment, tests)
    return len(builds) + len(tests)


def _plain(record: BuildRecord | TestRecord) -> dict[str, Any]:
    values = asdict(record)
    values["inputs"] = {name: str(version) for name, version in record.inputs.items()}
    if isinstance(record, BuildRecord):
        values["data_version"] = str(record.data_version)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


def _build(values: Mapping[str, Any]) -> BuildRecord:
    times = {key: datetime.fromisoformat(values[key]) for key in ("observed_at", "built_at")}
    columns = tuple((str(name), str(kind)) for name, kind in values["columns"])
    return BuildRecord(**{**values, **times, "columns": columns, **_versions(values)})


def _test(values: Mapping[str, Any]) -> TestRecord:
    return TestRecord(
        **{
            **values,
            "verdict": Verdict(values["verdict"]),
            "run_at": datetime.fromisoformat(values["run_at"]),
            **_versions(values),
        }
    )


def _versions(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"inputs": {name: DataVersion.parse(text) for name, text in values["inputs"].items()}}
    if "data_version" in values:
        found["data_version"] = DataVersion.parse(values["data_version"])
    return found
