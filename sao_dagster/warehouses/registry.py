"""Which warehouses there are, by the `type` of a profile: those of this package, and those of other packages that are installed.

A package adds one by an entry point of the group `sao_dagster.warehouses`: its name is the `type`, its value a `WarehouseProfile`.

    [project.entry-points."sao_dagster.warehouses"]
    sqlite = "sao_sqlite:SQLiteProfile"

The types of this package are its own: what others call the same is not looked for. Nothing of a warehouse is imported before a profile asks for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field

from sao_dagster.errors import ProjectError, UnsupportedError
from sao_dagster.warehouses.protocol import Warehouse

GROUP = "sao_dagster.warehouses"
_OWN = {
    "duckdb": "sao_dagster.warehouses.duckdb.profile:DuckDBProfile",
    "postgres": "sao_dagster.warehouses.postgres.profile:PostgresProfile",
}


class WarehouseProfile(BaseModel, ABC):
    """An output of `profiles.yml`: its keys are the fields, and it opens the warehouse that they describe.

    Attributes:
        title: What people call such a warehouse; its `type` if nothing is said.
        deployment: The fields that a resource of Dagster may set otherwise: those that say how the warehouse is reached. What it
            is called is no such field, since SQL is rendered with it.
        type: Which warehouse it is.
        threads: How many models are built at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    title: ClassVar[str] = ""
    deployment: ClassVar[tuple[str, ...]] = ("threads",)

    type: str
    threads: int = Field(default=4, ge=1)

    @abstractmethod
    def warehouse(self, name: str, root: Path) -> Warehouse:
        """Return the warehouse.

        Args:
            name: The name of the target.
            root: The project's folder; relative paths start there.
        """

    def only_in_dbt(self) -> tuple[str, ...]:
        """Return what is set that only dbt's adapter does, such as "the plugin excel"; nothing, unless a warehouse says so."""
        return ()

    @classmethod
    def deployed(cls, warehouse: Warehouse, given: Mapping[str, Any]) -> Warehouse:
        """Return a warehouse with other values for some of the fields in `deployment`.

        As it is here, for warehouses that are dataclasses with fields of these names.
        """
        return cast("Warehouse", replace(cast("Any", warehouse), **given))


def known() -> list[str]:
    """Return the types there are, sorted.

    >>> {"duckdb", "postgres"} <= set(known())
    True
    """
    return sorted(_claims())


def profile_of(kind: str) -> type[WarehouseProfile]:
    """Return how a profile of this type is written.

    Raises:
        UnsupportedError: There is no such type.
        ProjectError: Two packages have it, or the one that has it cannot be imported.
    """
    claims = (
        {"sao-dagster": _OWN[kind]} if kind in _OWN else _claims().get(kind)
    )  # to look through all packages takes time
    if not claims:
        raise UnsupportedError(
            f"there is no warehouse of type {kind!r}; there are: {', '.join(known())}; others come with a package "
            f"that has an entry point {kind!r} in the group {GROUP!r}: pip install it"
        )
    if len(claims) > 1:
        packages = " and ".join(sorted(claims))
        raise ProjectError(f"{packages} have a warehouse of type {kind!r} each; uninstall all but one")
    [(package, value)] = claims.items()
    module, _, name = value.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ProjectError(
            f"the warehouse of type {kind!r} is that of {package}, which cannot be imported: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, WarehouseProfile)):
        raise ProjectError(f"the warehouse of type {kind!r} is that of {package}, and {value} is no WarehouseProfile")
    return found


def _claims() -> dict[str, dict[str, str]]:
    """Return the packages that have a warehouse of each type, with where in them it is."""
    from importlib.metadata import entry_points  # it takes its time to import

    claims = {kind: {"sao-dagster": value} for kind, value in _OWN.items()}
    for entry in entry_points(group=GROUP):
        where = f"{entry.module}:{entry.attr}"
        claims.setdefault(entry.name, {})[entry.dist.name if entry.dist else where] = where
    return claims
