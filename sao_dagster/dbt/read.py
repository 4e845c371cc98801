"""Reading a project with dbt, to be executed by dbt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from sao_dagster.dbt.installation import find_dbt
from sao_dagster.dbt.prepare import Preparation, WarmDbt, are_set_as
from sao_dagster.dbt.process import Invocation
from sao_dagster.dbt.warehouse import DbtWarehouse
from sao_dagster.projects.dbt_folder.folder import OpenedFolder
from sao_dagster.projects.dbt_folder.profiles import find_profiles
from sao_dagster.projects.dbt_manifest import ManifestReader
from sao_dagster.projects.declarations import Declarations, ReadByDbt
from sao_dagster.warehouses.protocol import Warehouse


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
    unprepared = DbtWarehouse(opened.warehouse, preparation, files)
    kept, warm = preparation.kept(files), WarmDbt()
    if kept is None:
        reader = partial(ManifestReader, declared=opened.declarations())
        kept, warm = preparation.ask(files, reader, unprepared.beside)
    read = ManifestReader(kept.prepared, opened.declarations(), native=native)
    declared = read.read()
    declared.dbt = ReadByDbt(kept.prepared.manifest, read.ids, kept.prepared.environment, kept.contents)
    if native:
        return declared, opened.warehouse
    return declared, DbtWarehouse(opened.warehouse, preparation, files, read.ids, warm)


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
    return opened.warehouse if declared.native else DbtWarehouse(opened.warehouse, preparation, files, said.ids)


def _preparation(opened: OpenedFolder, variables: Mapping[str, Any] | None, dbt: str | None) -> Preparation:
    """Return the project as dbt is asked about it."""
    profile = find_profiles(opened.root)
    options = ["--project-dir", str(opened.root), "--profiles-dir", str(profile.parent), "--target", opened.target.name]
    options += ["--no-fail-fast"]  # what fails is known, and holds back what is below
    if variables:
        options += ["--vars", json.dumps(dict(variables))]
    invocation = Invocation(opened.root, find_dbt(dbt, opened.root), tuple(options))
    return Preparation(invocation, opened.target.name, profile, opened.settings.paths, opened.settings.written)
