"""What another project lets others know of it, read off a `manifest.json` of dbt, where the project is not built by this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sao_dagster.core.nodes import Access, Column
from sao_dagster.core.published import Published, PublishedModel
from sao_dagster.errors import ProjectError
from sao_dagster.sql.dialects import dialect_named

_DIALECTS = {"sqlserver": "tsql"}  # those of adapters that sqlglot calls otherwise


def read_published_manifest(file: Path, project: str) -> Published:
    """Return what a manifest says of the models of a project.

    Raises:
        ProjectError: It is not there, or no manifest of that project.
    """
    try:
        stat = file.stat()
        return _read(file, project, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ProjectError(f"the manifest {file} of {project} cannot be read: {error.strerror}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProjectError(f"{file} is no manifest.json of dbt: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=16)
def _read(file: Path, project: str, changed: int, size: int) -> Published:
    """Return it, read once for each state of the file."""
    manifest = json.loads(file.read_text(encoding="utf-8"))
    metadata = manifest["metadata"]
    if metadata.get("project_name") not in (project, None):
        raise ProjectError(f"the manifest {file} is of the project {metadata['project_name']}, and not of {project}")
    dialect = _DIALECTS.get(metadata["adapter_type"], metadata["adapter_type"])
    nodes = manifest["nodes"].items()
    models = [_model(name, node, dialect) for name, node in sorted(nodes) if name.startswith(f"model.{project}.")]
    return Published(project=project, dialect=dialect, models=tuple(models))


def _model(unique_id: str, node: Mapping[str, Any], dialect: str) -> PublishedModel:
    """Return one model of it."""
    config, version = node["config"], node.get("version")
    schema = config.get("schema")
    relation = dialect_named(dialect).relation(node["database"], node["schema"], node["alias"])
    columns = node.get("columns", {}).values()
    return PublishedModel(
        name=node["name"],
        unique_id=unique_id,
        access=Access(node.get("access") or Access.PROTECTED),
        version=None if version is None else str(version),
        is_latest=version == node.get("latest_version"),
        relation=None if config.get("materialized") == "ephemeral" else str(relation),
        group=node.get("group"),
        description=node.get("description") or "",
        columns=tuple(Column(each["name"], each.get("description") or "", each.get("data_type")) for each in columns),
        tags=tuple(node.get("tags", ())),
        meta=node.get("meta") or {},
        schema=None if schema is None else str(schema),
        alias=node["alias"],
    )
