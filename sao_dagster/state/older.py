"""What older versions of this package wrote, in the form of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OLD_CODE_SCHEME = 1
"""The way of fingerprinting before code versions said theirs: relations were part of the SQL."""
_SCHEMES = {
    "files": "files/1",
    "loaded_at": "loaded_at/1",
    "view": "view/1",
    "schema": "columns/1",
    "build": "build",
    "view-definition": "definition/1",
    "definition-unknown": "definition-unknown",
}


def version_text(text: str) -> str:
    """Return a data version of the form `kind:token` as a scheme and a token; see `DataVersion`.

    >>> version_text("content:duckdb-1.4.0:aa"), version_text("loaded_at:2026-01-01 00:02:00")
    ('duckdb-1.4.0/1 aa', 'loaded_at/1 2026-01-01 00:02:00')
    """
    kind, _, token = text.partition(":")
    if kind == "content" and ":" in token:
        engine, _, token = token.rpartition(":")
        number = 2 if engine.endswith("-rows") else 1
        return f"{engine.removesuffix('-rows')}/{number} {token}"
    return f"{_SCHEMES[kind]} {token}" if kind in _SCHEMES else f"older {text}"


def version_texts(values: Mapping[str, str]) -> dict[str, str]:
    """Return data versions by name in the form of today."""
    return {name: version_text(text) for name, text in values.items()}


def record_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an exported build or verdict of format 1 in the form of today."""
    found = {**values, "inputs": version_texts(values["inputs"]), "code_scheme": OLD_CODE_SCHEME}
    if "data_version" in values:
        found |= {
            "data_version": version_text(values["data_version"]),
            "build_id": values.get("build_id"),
            "changed": None,
        }
    return found
