"""`profiles.yml`: where to build. Read from `--profiles-dir`, `DBT_PROFILES_DIR`, the project's folder, or `~/.dbt`, as dbt does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sao_dagster.errors import Location, NeedsDbtError, ProjectError, UnsupportedError
from sao_dagster.projects.config import checked
from sao_dagster.projects.yaml_files import load_yaml
from sao_dagster.projects.yaml_jinja import rendered
from sao_dagster.warehouses.described import DescribedWarehouse
from sao_dagster.warehouses.protocol import Warehouse
from sao_dagster.warehouses.registry import GROUP, WarehouseProfile, known, profile_of

OF_DBT_STATE = frozenset({
    "adaptive_metadata_fetch", "allow_clones", "api_client_max_attempts", "api_client_timeout", "cache_mode", "clone_time_travel_limit",
    "defer_to_target", "emit_reused_status", "enable_data_tests", "enable_response_logging", "freshness_tolerance", "log_dir_override",
    "log_file_limit", "log_prefix", "metadata_cache_ttl", "metadata_warehouse", "run_hooks_on_no_op", "tolerate_nondeterminism",
})  # fmt: skip
"""Keys of a target that are dbt State's, and no part of a connection."""


@dataclass(frozen=True)
class Target:
    """A target of a profile.

    Attributes:
        name: Its name.
        warehouse: Where to build.
        file: The file that says so; None where no file does.
        errors: What it sets that only dbt's adapter does.
        is_default: Whether nobody but the profile itself names it.
    """

    name: str
    warehouse: Warehouse
    file: Path | None = None
    errors: tuple[NeedsDbtError, ...] = ()
    is_default: bool = False


def load_profile(
    root: Path,
    profile: str,
    target: str | None,
    variables: Mapping[str, Any],
    folder: Path | None = None,
    schema: str | None = None,
) -> Target:
    """Return the target in use, and the warehouse it is.

    Args:
        root: The project's folder; relative paths of embedded databases start there.
        profile: The profile that `dbt_project.yml` names.
        target: The target to use; None for the profile's own default.
        variables: What `var` gives in the profile.
        folder: Where `profiles.yml` is; None to look for it.
        schema: The schema to build into, in place of that of the target.

    Raises:
        ProjectError: There is no such profile or target, or it is not understood.
    """
    file = find_profiles(root, folder)
    shown = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
    values = load_yaml(file, shown).values or {}
    where = Location(shown)
    if profile not in values:
        known = ", ".join(str(name) for name in values if name != "config") or "none"
        raise ProjectError(
            f"dbt_project.yml asks for the profile {profile!r}, which is not here; there are: {known}", location=where
        )
    outputs = values[profile].get("outputs") or {}
    default = rendered(values[profile].get("target"), shown, variables)
    named = target or os.environ.get("DBT_TARGET")
    name = named or str(default or "default")
    if name not in outputs:
        raise ProjectError(
            f"the profile {profile!r} has no target {name!r}; there are: {', '.join(outputs) or 'none'}", location=where
        )
    # only the target in use: the others may need environment variables that are not set here
    output = rendered(outputs[name], shown, variables)
    if schema is not None and isinstance(output, Mapping):
        output = {**output, "schema": schema}
    try:
        found = _profile(name, output, where)
    except NeedsDbtError as error:  # dbt may have an adapter for it, and then knows what the other keys mean
        return Target(name, DescribedWarehouse(type=str(output["type"]), name=name), file, (error,), not named)
    errors = tuple(NeedsDbtError(f"{uses} in the target {name!r}", location=where) for uses in found.only_in_dbt())
    return Target(name, found.warehouse(name, root), file, errors, not named)


def find_profiles(root: Path, folder: Path | None = None) -> Path:
    """Return the file `profiles.yml` that is used for a project: that of a folder which is named, else the first that is there.

    Raises:
        ProjectError: There is none.
    """
    named = folder or os.environ.get("DBT_PROFILES_DIR")
    folders = [Path(named).resolve()] if named else [root, Path.home() / ".dbt"]
    for folder in folders:
        if (folder / "profiles.yml").is_file():
            return folder / "profiles.yml"
    raise ProjectError(
        f"there is no profiles.yml in {', '.join(map(str, folders))}; write one that says where to build, for example:\n"
        "  my_profile:\n    target: dev\n    outputs:\n      dev: {type: duckdb, path: dev.duckdb}"
    )


def profiles_with_schema(file: Path, profile: str, target: str, schema: str) -> str:
    """Return the text of a `profiles.yml` like another one that was read, with one target, whose schema is another one.

    Args:
        file: The other one.
        profile: The profile in it.
        target: The target of that.
        schema: The schema to build into.
    """
    values = load_yaml(file, file.name).values
    output = {**values[profile]["outputs"][target], "schema": schema}
    config = {"config": values["config"]} if "config" in values else {}
    return yaml.safe_dump({**config, profile: {"target": target, "outputs": {target: output}}}, sort_keys=False)


def _profile(name: str, output: Any, where: Location) -> WarehouseProfile:
    kind = output.get("type") if isinstance(output, Mapping) else None
    if kind is None:
        raise ProjectError(f"it has no type; there are: {', '.join(known())}", name=name, location=where)
    try:
        model = profile_of(str(kind))
    except UnsupportedError as error:
        uses = f"a warehouse of type {str(kind)!r} (there are {', '.join(known())}, and what packages bring in the group {GROUP!r})"
        raise NeedsDbtError(uses, name=name, location=where) from error
    except ProjectError as error:
        raise type(error)(error.message, name=name, location=where) from error
    own = {key: value for key, value in output.items() if key not in OF_DBT_STATE}
    profile: WarehouseProfile = checked(model, own, name, where)
    return profile
