"""State-aware orchestration of SQL models for Dagster: build only what would change, and say why.

Importing this package imports nothing else: a name is loaded when it is used, and with it what it needs, such as the driver
of a warehouse. What Dagster needs is in `sao_dagster.dagster`, which imports Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sao_dagster.version import __version__

if TYPE_CHECKING:
    from sao_dagster.core.selection import Selection, select
    from sao_dagster.errors import SaoError
    from sao_dagster.load import load_project
    from sao_dagster.projects.python_models import Column
    from sao_dagster.run.runner import Runner
    from sao_dagster.sql_project import SqlProject
    from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
    from sao_dagster.warehouses.postgres.warehouse import PostgresWarehouse

_HOMES = {
    "Column": "sao_dagster.projects.python_models",
    "DuckDBWarehouse": "sao_dagster.warehouses.duckdb.warehouse",
    "PostgresWarehouse": "sao_dagster.warehouses.postgres.warehouse",
    "Runner": "sao_dagster.run.runner",
    "SaoError": "sao_dagster.errors",
    "Selection": "sao_dagster.core.selection",
    "SqlProject": "sao_dagster.sql_project",
    "load_project": "sao_dagster.load",
    "select": "sao_dagster.core.selection",
}

__all__ = [
    "Column",
    "DuckDBWarehouse",
    "PostgresWarehouse",
    "Runner",
    "SaoError",
    "Selection",
    "SqlProject",
    "__version__",
    "load_project",
    "select",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
