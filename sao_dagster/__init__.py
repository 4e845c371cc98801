"""State-aware orchestration of SQL models for Dagster: build only what would change, and say why.

Importing this package does not import Dagster; the names of the Dagster dagster_project are loaded when they are used.
"""

from __future__ import annotations

from sao_dagster.core.selection import Selection, select
from sao_dagster.errors import SaoError
from sao_dagster.load import load_project
from sao_dagster.projects.python_models import Column
from sao_dagster.run.runner import Runner
from sao_dagster.sql_project import SqlProject
from sao_dagster.version import __version__
from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse
from sao_dagster.warehouses.postgres.warehouse import PostgresWarehouse

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
