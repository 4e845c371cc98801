"""Makes the manifests beside this file with dbt: `python -m tests.manifest_reader.make --dbt DBT`.

DBT is dbt-core 1.8 or newer with dbt-duckdb, in an environment of its own (`pip install dbt-core dbt-duckdb`). Of what `dbt compile` writes
stays what the reader asks for, which has no path of the machine in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECTS = {"shop": HERE.parents[1] / "example_project", "corners": HERE / "corners"}
NOT_COPIED = shutil.ignore_patterns("*.duckdb*", ".sao", "target", "logs", "__pycache__")
NODE = (
    "name", "resource_type", "package_name", "original_file_path", "fqn", "description", "database", "schema", "alias", "relation_name",
    "raw_code", "compiled", "compiled_code", "language", "version", "latest_version", "config", "unrendered_config", "columns", "tags",
    "test_metadata", "attached_node", "checksum",
)  # fmt: skip
SOURCE = (
    "name", "source_name", "original_file_path", "package_name", "fqn", "description", "database", "schema", "identifier", "relation_name",
    "loaded_at_field", "loaded_at_query", "freshness", "columns", "tags", "meta",
)  # fmt: skip
MACRO = ("unique_id", "package_name", "macro_sql", "original_file_path", "depends_on")


def trimmed(manifest: dict[str, Any], project: str) -> dict[str, Any]:
    """Return what the reader asks for."""

    def only(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        kept = {name: entry[name] for name in names if name in entry}
        if "columns" in kept:
            shown = ("name", "description", "data_type")
            kept["columns"] = {name: only(column, shown) for name, column in kept["columns"].items()}
        return kept

    return {
        "metadata": only(manifest["metadata"], ("dbt_schema_version", "dbt_version", "adapter_type", "project_name")),
        "nodes": {
            name: {**only(node, NODE), "depends_on": only(node["depends_on"], ("nodes", "macros"))}
            for name, node in sorted(manifest["nodes"].items())
        },
        "sources": {name: only(source, SOURCE) for name, source in sorted(manifest["sources"].items())},
        "macros": {
            name: only(macro, MACRO)
            for name, macro in sorted(manifest["macros"].items())
            if macro["package_name"] == project
        },
        "groups": {name: only(group, ("name", "owner")) for name, group in sorted(manifest["groups"].items())},
    }


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dbt", type=Path, required=True, help="the program")
    dbt = parser.parse_args().dbt.resolve()
    for name, project in PROJECTS.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            shutil.copytree(project, folder, ignore=NOT_COPIED)
            subprocess.run([dbt, "compile", "--no-send-anonymous-usage-stats"], cwd=folder, check=True)
            manifest = json.loads((folder / "target/manifest.json").read_text())
        text = json.dumps(trimmed(manifest, name), indent=1, ensure_ascii=False)
        assert place not in text
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
