"""Show, point by point, what the asset pages of one project say with dagster-dbt and with this package.

    python -m tests.compare_with_dagster_dbt PROJECT

Run it in an environment that has dagster-dbt, dbt-duckdb and this package. PROJECT is a folder in dbt's layout; it is
copied. Both build everything once on an instance of their own. Prints a table of points, over all models and seeds, and exits
with 1 where dagster-dbt says something that this package does not.
"""

# no `from __future__ import annotations` here: Dagster reads the annotations of resources as objects

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from tests.compare_with_dbt import prepare

Page = Mapping[str, Any]
"""What the page of one asset says, by point."""

DEFINED = {
    "description": lambda spec: spec.description,
    "group": lambda spec: spec.group_name,
    "owners": lambda spec: spec.owners,
    "tags": lambda spec: [tag for tag in spec.tags if not tag.startswith("dagster/kind")],
    "kinds": lambda spec: spec.kinds,
    "code version": lambda spec: spec.code_version,
    "upstream assets": lambda spec: sorted(dep.asset_key.to_user_string() for dep in spec.deps),
    "code reference": lambda spec: spec.metadata.get("dagster/code_references"),
    "declared columns": lambda spec: spec.metadata.get("dagster/column_schema"),
    "storage kind": lambda spec: spec.metadata.get("dagster/storage_kind"),
    "automation condition": lambda spec: spec.automation_condition,
    "freshness policy": lambda spec: spec.freshness_policy,
}  # fmt: skip
BUILT = {
    "table name": "dagster/table_name",
    "row count": "dagster/row_count",
    "columns with types": "dagster/column_schema",
    "column lineage": "dagster/column_lineage",
    "compiled SQL": "sao/compiled_sql",
    "reason": "sao/reason",
}


def pages(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, Page]:
    """Build everything, and return what the pages say."""
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, raise_on_error=True)
    found: dict[str, dict[str, Any]] = {}
    for spec in defs.resolve_all_asset_specs():
        page = {point: read(spec) for point, read in DEFINED.items()}
        event = instance.get_latest_materialization_event(spec.key)
        if event is None or event.asset_materialization is None or spec.key.path[-1] == "savings":
            continue
        page |= {point: event.asset_materialization.metadata.get(key) for point, key in BUILT.items()}
        page["data version of its own"] = (event.asset_materialization.tags or {}).get(
            "dagster/data_version_is_user_provided"
        )
        found[spec.key.to_user_string()] = page
    for check in result.get_asset_check_evaluations():
        page = found.get(check.asset_key.to_user_string())
        if page is not None:
            page.setdefault("checks", []).append(check.check_name)
            page["check severity"] = check.severity
            page["failures in check"] = [name for name in check.metadata if "fail" in name.lower()]
    return found


def with_dagster_dbt(folder: Path) -> dg.Definitions:
    from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject, dbt_assets

    subprocess.run([str(Path(sys.executable).parent / "dbt"), "parse", "-q"], cwd=folder, check=True)
    project = DbtProject(project_dir=folder)
    settings = DagsterDbtTranslatorSettings(enable_code_references=True)

    @dbt_assets(manifest=project.manifest_path, project=project, dagster_dbt_translator=DagsterDbtTranslator(settings))
    def models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Any:
        yield from dbt.cli(["build"], context=context).stream().fetch_row_counts().fetch_column_metadata()

    return dg.Definitions(assets=[models], resources={"dbt": DbtCliResource(project_dir=str(folder))})


def with_sao(folder: Path) -> dg.Definitions:
    from sao_dagster import load_project
    from sao_dagster.dagster import definitions

    return definitions(load_project(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    options = parser.parse_args()
    found = []
    makers: tuple[Callable[[Path], dg.Definitions], ...] = (with_dagster_dbt, with_sao)
    for make in makers:
        with tempfile.TemporaryDirectory() as place, dg.DagsterInstance.ephemeral() as instance:
            folder, _ = prepare(options.project, Path(place))
            found.append(pages(make(folder), instance))
    theirs, ours = found
    shared = sorted(theirs.keys() & ours.keys())
    table = Table(
        "point", "dagster-dbt", "sao_dagster", title=f"{options.project.name}: assets with it, of {len(shared)}"
    )
    missing = [f"the asset {name}" for name in theirs.keys() - ours.keys()]
    for point in [*DEFINED, *BUILT, "data version of its own", "checks", "check severity", "failures in check"]:
        counts = [sum(bool(each[name].get(point)) for name in shared) for each in (theirs, ours)]
        table.add_row(point, *map(str, counts))
        missing += [f"{point} of {name}" for name in shared if theirs[name].get(point) and not ours[name].get(point)]
    differing = [name for name in shared if theirs[name]["upstream assets"] != ours[name]["upstream assets"]]
    Console(width=100).print(table)
    for each in missing:
        print("missing:", each)
    for name in differing:
        print("upstream assets differ:", name, theirs[name]["upstream assets"], ours[name]["upstream assets"])
    return 1 if missing or differing else 0


if __name__ == "__main__":
    sys.exit(main())
