"""Reading a project with dbt, to be executed by dbt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from sao_dagster.dbt.adapters.warehouse import AdapterWarehouse
from sao_dagster.dbt.installation import find_dbt
from sao_dagster.dbt.prepare import Preparation, WarmDbt, are_set_as
from sao_dagster.dbt.process import DbtProcess, Invocation
from sao_dagster.dbt.warehouse import DbtWarehouse
from sao_dagster.projects.dbt_folder.folder import OpenedFolder
from sao_dagster.projects.dbt_folder.profiles import find_profiles
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.declarations import Declarations, ReadByDbt
from sao_dagster.warehouses.described import DescribedWarehouse
from sao_dagster.warehouses.protocol import Session, Warehouse


def read_with_dbt(
    opened: OpenedFolder, variables: Mapping[str, Any] | None, dbt: str | None = None, *, native: bool = False
) -> tuple[Declarations, Warehouse]:
    """Return what a folder declares as dbt reads it, and its warehouse, in which dbt builds.

    Args:
        opened: The folder.
        variables: Values over those of `vars`.
        dbt: Where dbt is; None to look for it.
        native: Whether this package builds what dbt has read.

    Raises:
        UnsupportedError: dbt is not there.
        DbtError: dbt does not read the project; its words.
    """
    preparation = _preparation(opened, variables, dbt)
    files = preparation.files
    if not native:  # dbt does what the profile asks for
        opened = replace(opened, target=replace(opened.target, errors=()))
    kept, warm = preparation.kept(files), WarmDbt()
    if kept is None:

        def beside(process: DbtProcess, asked: ManifestReader) -> AbstractContextManager[Session]:
            reached = _reached(opened.warehouse, preparation, asked, warm)
            return DbtWarehouse(reached, preparation, files).beside(process)

        reader = partial(ManifestReader, declared=opened.declarations())
        kept, warm = preparation.ask(files, reader, beside)
    read = ManifestReader(kept.prepared, opened.declarations(), native=native)
    warehouse = opened.warehouse if native else _reached(opened.warehouse, preparation, read, warm)
    if warehouse is not opened.warehouse:
        placed = replace(opened, target=replace(opened.target, warehouse=warehouse))
        read = replace(read, declared=placed.declarations())
    declared, said = read.read(), kept.prepared
    declared.dbt = ReadByDbt(said.manifest, read.ids, said.environment, said.profile, kept.contents)
    return declared, warehouse if native else DbtWarehouse.over(warehouse, preparation, files, read.ids, warm)


def read_before(opened: OpenedFolder, declared: Declarations, said: ReadByDbt, dbt: str | None) -> Warehouse | None:
    """Return where a folder that dbt has read before is built, without starting dbt; None where it might say something else now.

    Args:
        opened: The folder.
        declared: What it declared then.
        said: What dbt said then.
        dbt: Where dbt is; None to look for it.

    Raises:
        UnsupportedError: dbt is not there.
    """
    preparation = _preparation(opened, None, dbt)
    files = preparation.files  # before their contents, so that a change in between is seen when dbt begins to build
    if not said.contents or said.contents != preparation.contents or not are_set_as(said.environment):
        return None
    if declared.native:
        return opened.warehouse
    read, warm = ManifestReader(PreparedManifest(said.manifest, {}, profile=said.profile), declared), WarmDbt()
    warehouse = _reached(opened.warehouse, preparation, read, warm)
    return DbtWarehouse.over(warehouse, preparation, files, said.ids, warm)


def _preparation(opened: OpenedFolder, variables: Mapping[str, Any] | None, dbt: str | None) -> Preparation:
    """Return the project as dbt is asked about it."""
    profile = opened.target.file or find_profiles(opened.root)
    options = ["--project-dir", str(opened.root), "--profiles-dir", str(profile.parent), "--target", opened.target.name]
    options += ["--no-fail-fast"]  # what fails is known, and holds back what is below
    if variables:
        options += ["--vars", json.dumps(dict(variables))]
    invocation = Invocation(opened.root, find_dbt(dbt, opened.root), tuple(options))
    return Preparation(invocation, opened.target.name, profile, opened.settings.paths, opened.settings.written)


def _reached(warehouse: Warehouse, preparation: Preparation, read: ManifestReader, warm: WarmDbt) -> Warehouse:
    """Return the warehouse by a door that there is: our own, or dbt's adapter."""
    if isinstance(warehouse, DescribedWarehouse) or _is_attached(warehouse):
        return AdapterWarehouse.of(warehouse.name, preparation, read, warm)
    return warehouse


def _is_attached(warehouse: Warehouse) -> bool:
    """Return whether a warehouse of DuckDB is what dbt's process has attached: a DuckLake, or what is beside a database in memory."""
    from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse  # it takes its time to import

    if not isinstance(warehouse, DuckDBWarehouse):
        return False
    databases = [{"path": warehouse.path}, *warehouse.attach]
    is_lake = any(str(each["path"]).startswith("ducklake:") or each.get("is_ducklake") for each in databases)
    return is_lake or (warehouse.path == ":memory:" and len(databases) > 1)
