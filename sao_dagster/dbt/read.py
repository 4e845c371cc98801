"""Reading a project with dbt, to be executed by dbt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from sao_dagster.dbt.installation import find_dbt
from sao_dagster.dbt.prepare import Preparation, WarmDbt
from sao_dagster.dbt.process import Invocation
from sao_dagster.dbt.warehouse import DbtWarehouse
from sao_dagster.projects.dbt_folder.folder import OpenedFolder
from sao_dagster.projects.dbt_folder.profiles import find_profiles
from sao_dagster.projects.dbt_manifest import ManifestReader
from sao_dagster.projects.declarations import Declarations
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
    profile = find_profiles(opened.root)
    options = ["--project-dir", str(opened.root), "--profiles-dir", str(profile.parent), "--target", opened.target.name]
    options += ["--no-fail-fast"]  # what fails is known, and holds back what is below
    if variables:
        options += ["--vars", json.dumps(dict(variables))]
    invocation = Invocation(opened.root, find_dbt(dbt, opened.root), tuple(options))
    preparation = Preparation(invocation, opened.target.name, profile, opened.settings.paths, opened.settings.written)
    files = preparation.files
    unprepared = DbtWarehouse(opened.warehouse, preparation, files)
    prepared, warm = preparation.kept(files), WarmDbt()
    if prepared is None:
        reader = partial(ManifestReader, declared=opened.declarations())
        prepared, warm = preparation.ask(files, reader, unprepared.beside)
    read = ManifestReader(prepared, opened.declarations(), native=native)
    if native:
        return read.read(), opened.warehouse
    return read.read(), DbtWarehouse(opened.warehouse, preparation, files, read.ids, warm)
