"""What a manifest has of templates, for a project whose SQL is rendered here, since the dbt that has read it renders nothing for others.

Of a manifest that dbt 2.x has written less is taken for granted: some versions of it leave out the text of nodes, what macros call, and part of
the configuration as it was written (https://github.com/dbt-labs/dbt-core/issues/15296, https://github.com/dbt-labs/dbt-core/issues/14019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sao_dagster.core.hashing import digest
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.projects.yaml_files import read_text
from sao_dagster.warehouses.shared.files import file_digest

PLACEHOLDER = "--placeholder--"  # what dbt 2.x may say in place of the text of a node
DEFAULTS: Mapping[str, Any] = {
    "access": "protected",
    "docs": {"show": True, "node_color": None},
    "enabled": True,
    "on_configuration_change": "apply",
    "on_schema_change": "ignore",
    "severity": "ERROR",
    "warn_if": "!= 0",
    "error_if": "!= 0",
    "fail_calc": "count(*)",
}
"""What `config` says of nodes and data tests for which nobody says anything else, besides what is empty."""
KINDS = {"model": "view", "seed": "seed", "snapshot": "snapshot", "test": "test"}
"""How nodes are kept for which nobody says anything else."""
TAKEN_OTHERWISE = frozenset({"docs", "contract", "quoting", "static_analysis"})
"""Keys of `config` that are taken in another way, or have no effect on what is built."""


def text_of(node: Mapping[str, Any], root: str, package: str) -> str | None:
    """Return the template of a node: as the manifest has it, or its file; None where nobody knows it.

    Args:
        node: The node.
        root: The project's folder.
        package: The project's own package; where the files of others are is not known.
    """
    text = node.get("raw_code")
    if text is not None and text.strip() != PLACEHOLDER:
        return str(text)
    path = Path(root, node["original_file_path"])
    is_file = node["resource_type"] == "model" or (node["resource_type"] == "test" and not node.get("test_metadata"))
    if not is_file or node["package_name"] != package or not path.is_file():
        return None
    return read_text(path, node["original_file_path"])


def macro_files(manifest: Mapping[str, Any], of_dbt: Iterable[str]) -> tuple[MacroFile, ...]:
    """Return the macros of a manifest, without dbt's own."""
    left_out = set(of_dbt)
    return tuple(
        MacroFile(each["package_name"], f"{each['original_file_path']}#{name}", each["macro_sql"])
        for name, each in sorted(manifest["macros"].items())
        if each["package_name"] not in left_out
    )


def descriptions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the docs blocks of a manifest by name."""
    blocks = (manifest.get("docs") or {}).values()
    return {str(each.get("name")): str(each.get("block_contents") or "") for each in blocks}


def unwritten_config(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is configured of a node by `config` alone: what is neither empty, nor dbt's default, nor written down as such.

    >>> config = {"enabled": True, "unique_key": "id", "tags": [], "materialized": "view", "alias": "b"}
    >>> unwritten_config({"resource_type": "model", "config": config, "unrendered_config": {"alias": "{{ 'b' }}"}})
    {'unique_key': 'id'}
    """
    defaults = {**DEFAULTS, "materialized": KINDS.get(node["resource_type"])}
    written = {key.replace("-", "_") for key in node.get("unrendered_config") or {}}
    return {
        key: value
        for key, value in node["config"].items()
        if key not in written
        and key.replace("-", "_") not in written | TAKEN_OTHERWISE
        and (value is False or value not in (None, "", [], {}, defaults.get(key)))
    }


def called_in(text: str, names: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the unique ids of the macros that a text may call.

    Args:
        text: The text of a macro or template.
        names: The unique ids of macros by name, also by that without the adapter that they are for.
    """
    return [each for word in dict.fromkeys(re.findall(r"\w+", text)) for each in names.get(word, ())]


def packages_digest(root: str) -> str:
    """Return a digest of what the installed packages say of themselves, variables too; empty where there are none."""
    files = sorted(Path(root).glob("*/*/dbt_project.yml"))
    return digest([[str(each.relative_to(root)), file_digest(each)] for each in files]) if files else ""


def not_rendered(why: str) -> dict[str, Any]:
    """Return the rendering of a template that nobody can render here: whatever it may ask is not known, so that it is built each time."""
    return {"error": why, "asked": [("other", "what it is rendered to")], "others": []}
