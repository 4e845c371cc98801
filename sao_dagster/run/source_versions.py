"""How new the data of sources is: by what they say of it themselves, by their files, or by their content."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timezone

from sao_dagster.core.data_version import DataVersion, loaded_at_version
from sao_dagster.core.nodes import Source
from sao_dagster.core.project import Project
from sao_dagster.core.relations import Relation
from sao_dagster.errors import WarehouseError
from sao_dagster.run.contents import CachedContents
from sao_dagster.warehouses.protocol import Capabilities, Session, VersionsBy
from sao_dagster.warehouses.shared.files import files_version

_SOME_TIME = datetime(2000, 1, 1, tzinfo=timezone.utc)  # so that what is asked is the same text at any time


@dataclass(frozen=True)
class LoadedAt:
    """What a source says of its newest data.

    Attributes:
        value: As text; None where it could not be read.
        time: As a time (UTC); None where it is none.
        problem: Why its age is not known; empty where it is.
    """

    value: str | None = None
    time: datetime | None = None
    problem: str = ""


def source_versions(
    project: Project,
    sources: Iterable[Source],
    session: Session,
    capabilities: Capabilities,
    reader: CachedContents,
    now: datetime,
    give_up: float,
) -> tuple[dict[str, DataVersion | None], dict[str, LoadedAt]]:
    """Return versions by source, None where one is not read; and what those with a `loaded_at` setting say."""
    versions: dict[str, DataVersion | None] = {}
    loaded_at: dict[str, LoadedAt] = {}
    content: dict[str, Relation] = {}
    for source in sources:
        if source.says_loaded_at:
            in_time = time.monotonic() < give_up
            said = (
                _loaded_at(source, session, now) if in_time else LoadedAt(problem="there was no time left to read it")
            )
            asked = (source.expression, *source.loaded_at_texts(_SOME_TIME))
            versions[source.id] = None if said.value is None else loaded_at_version(said.value, *asked)
            loaded_at[source.id] = said
        elif source.relation is None:
            versions[source.id] = files_version(source, project.root)
        elif capabilities.source_versions is VersionsBy.NONE:
            versions[source.id] = None
        elif source.relation.key in reader.catalog:
            content[source.id] = source.relation
        else:
            versions[source.id] = None
    read = reader.read(dict.fromkeys(content.values(), ()))
    versions.update({name: read[relation] for name, relation in content.items()})
    return versions, loaded_at


def _loaded_at(source: Source, session: Session, now: datetime) -> LoadedAt:
    """Return the newest `loaded_at` value of a source."""
    try:
        rows = session.query(source.loaded_at_sql(now)).rows
    except WarehouseError as error:
        return LoadedAt(problem=str(error))
    value = rows[0][0] if rows else None
    if value is None:
        return LoadedAt(str(value) if rows else None, problem="there are no rows to tell its age by")
    if isinstance(value, datetime) and value.tzinfo is not None:  # a point in time, whatever the zone of the session
        value = value.astimezone(timezone.utc)
    found = _as_time(value)
    return LoadedAt(str(value), found, "" if found else f"{value!r} is not a time; cast it to a timestamp")


def _as_time(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    return None
