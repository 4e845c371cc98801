"""A warehouse that is reached through dbt's process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sao_dagster.core.connection import NO_SETTINGS, ConnectionSettings
from sao_dagster.core.messages import Message
from sao_dagster.core.relations import Relation
from sao_dagster.dbt.adapters.meanings import versions_by
from sao_dagster.dbt.adapters.session import AdapterSession, ProjectRelations
from sao_dagster.dbt.adapters.table import PLACE, adapter_of
from sao_dagster.dbt.prepare import Preparation, WarmDbt
from sao_dagster.dbt.process import DbtError, DbtProcess, dbt_process
from sao_dagster.projects.dbt_manifest import ManifestReader
from sao_dagster.warehouses.described import DescribedWarehouse
from sao_dagster.warehouses.protocol import Capabilities


@dataclass(frozen=True, kw_only=True)
class AdapterWarehouse(DescribedWarehouse):
    """A warehouse for which there is an adapter of dbt, and no door of our own.

    Attributes:
        preparation: The project, as dbt reads it.
        relations: The relations of the project.
        settings: What the profile sets in each connection.
        warm: A process of dbt that has read the project already.
    """

    preparation: Preparation
    relations: ProjectRelations = field(default_factory=ProjectRelations)
    settings: ConnectionSettings = NO_SETTINGS
    warm: WarmDbt = field(default_factory=WarmDbt, compare=False)

    @classmethod
    def of(cls, name: str, preparation: Preparation, read: ManifestReader, warm: WarmDbt) -> AdapterWarehouse:
        """Return the warehouse that dbt says the profile means.

        Args:
            name: The name of the target.
            preparation: The project, as dbt reads it.
            read: What dbt has said of it.
            warm: The process of dbt that has read it.
        """
        profile = read.prepared.profile
        versions = versions_by(profile["type"])
        return cls(
            type=profile["type"],
            name=name,
            database=profile["database"],
            schema=profile["schema"],
            place=_place(profile, preparation.invocation.root),
            threads=profile["threads"],
            capabilities=Capabilities(source_versions=versions, model_versions=versions),
            target=profile["target"],
            preparation=preparation,
            relations=ProjectRelations(read.relations, tuple(read.read_by_views)),
            settings=ConnectionSettings(profile["settings"]),
            warm=warm,
        )

    def told_of(self, relations: Mapping[str, Relation]) -> AdapterWarehouse:
        """Return the same warehouse, whose catalog has relations of another environment, too, by the unique ids of their nodes."""
        return replace(self, relations=replace(self.relations, elsewhere=relations))

    def reaches(self, place: str) -> bool:
        """Return whether SQL here names what is in another database: one of the same server, where names have three parts."""
        has_three = adapter_of(self.type).across and self.database is not None
        return has_three and place.rpartition(" ")[0] == self.place.removesuffix(f" {self.database}")

    @contextmanager
    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> Iterator[AdapterSession]:
        """Return an open session; see `Warehouse.session`. dbt is started for it, or has been a moment ago."""
        with ExitStack() as stack:
            yield self.session_over(self.started(stack, on_message or (lambda _: None)))

    def session_over(self, process: DbtProcess) -> AdapterSession:
        """Return a session that asks a process of dbt."""
        return AdapterSession(process, self.relations, self.settings, adapter_of(self.type))

    def started(self, stack: ExitStack, tell: Callable[[Message], None]) -> DbtProcess:
        """Return a process of dbt that has read the project, and waits until it is asked; the stack ends it."""
        warm = self.warm.take(stack, tell)
        if warm is not None:
            try:
                warm.ask("attend")
            except DbtError:
                if not warm.has_ended:  # else it has waited long enough
                    raise
            else:
                return warm
        process = stack.enter_context(dbt_process(self.preparation.invocation, tell))
        process.wait_until_parsed()
        return process


def _place(profile: Mapping[str, Any], root: Path) -> str:
    """Return where a database is: what names its server, or its files by their real paths, and its name."""
    adapter, connection = adapter_of(profile["type"]), profile["connection"]
    found = [each for key in adapter.place or PLACE for each in _texts(connection.get(key))]
    if adapter.files:
        found = [each if ":" in each else str((root / each).resolve()) for each in found]
    return " ".join([profile["type"], *(found or _texts(profile["unique_field"])), *_texts(profile["database"])])


def _texts(value: Any) -> list[str]:
    """Return all texts in a value, in order."""
    if isinstance(value, Mapping):
        return [text for _, each in sorted(value.items()) for text in _texts(each)]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts(each)]
    return [] if value is None else [str(value)]
