"""What users of dagster-dbt have written: their `DagsterDbtTranslator`, and translations in YAML, which see nodes as dbt's manifest has them.

dagster-dbt is not imported, but by whoever gives an object of its.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg

from sao_dagster.core.nodes import DataTest, Model, Node, Source, is_source
from sao_dagster.core.project import Project
from sao_dagster.dagster.translator import CheckGranularity, SaoTranslator, as_virtual
from sao_dagster.errors import UnsupportedError
from sao_dagster.projects.declarations import Declarations, ReadByDbt
from sao_dagster.sql_project import SqlProject


def as_translator(given: Any, opened: SqlProject) -> SaoTranslator:
    """Return a translator of this package: the one that is given, or one that asks a `DagsterDbtTranslator`.

    Raises:
        UnsupportedError: It is neither; or dbt has not read the project, so that there is no manifest to translate.
    """
    if isinstance(given, SaoTranslator):
        return given
    dagster_dbt: Any = sys.modules.get("dagster_dbt")
    if dagster_dbt is None or not isinstance(given, dagster_dbt.DagsterDbtTranslator):
        raise UnsupportedError(
            f"{given!r} is no translator; give a SaoTranslator, or a DagsterDbtTranslator of dagster-dbt"
        )
    said = opened.declared.dbt
    if said is None:
        raise UnsupportedError(
            f"{type(given).__name__} translates nodes of dbt's manifest, and this project is read without dbt; write `reader: manifest` "
            "in sao.yml, beside dbt_project.yml (who builds is another choice: `executor`)"
        )
    return DagsterDbtAdapter(given, dagster_dbt.DbtProject(opened.declared.root), said)


class DagsterDbtAdapter(SaoTranslator):
    """Asks a `DagsterDbtTranslator` for keys, specs and names of checks, and adds what this package knows of a node.

    Args:
        translator: The translator of dagster-dbt.
        dbt_project: Its `DbtProject`.
        said: What dbt said of the project.
    """

    def __init__(self, translator: Any, dbt_project: Any, said: ReadByDbt) -> None:
        self._translator, self._dbt_project, self._said = translator, dbt_project, said

    def get_asset_key(self, node: Node | Source) -> dg.AssetKey:
        """Return the key that the translator gives; see `SaoTranslator.get_asset_key`."""
        spec = self._spec(node)
        return super().get_asset_key(node) if spec is None else spec.key

    def key_of(self, project: Project, name: str) -> dg.AssetKey:
        """Return the key that the translator gives; two of one name are for it to tell apart."""
        return self.get_asset_key(project.sources[name] if is_source(name) else project.nodes[name])

    def get_asset_spec(self, project: Project, node: Node | Source) -> dg.AssetSpec:
        """Return the spec that the translator gives, with the code version, parents and metadata that this package knows.

        Raises:
            UnsupportedError: The translator gives partitions.
        """
        base, spec = super().get_asset_spec(project, node), self._spec(node)
        if spec is None:  # it was declared in Python
            return base
        if spec.partitions_def is not None:
            raise UnsupportedError(
                f"{node.name if isinstance(node, Node) else node.id} has partitions by {type(self._translator).__name__}; a model is built "
                "whole here, and only when something it reads has changed: leave get_partitions_def out"
            )
        known = {each.asset_key for each in spec.deps}
        changed = spec.replace_attributes(
            deps=[
                *(dg.AssetDep(each.asset_key, partition_mapping=each.partition_mapping) for each in spec.deps),
                *(each for each in base.deps if each.asset_key not in known),
            ],
            metadata={**base.metadata, **{key: each for key, each in spec.metadata.items() if each is not None}},
            code_version=base.code_version,
            freshness_policy=spec.freshness_policy or base.freshness_policy,
            skippable=base.skippable,
        )
        return as_virtual(changed) if getattr(spec, "is_virtual", False) else changed

    def get_check_name(self, test: DataTest, granularity: CheckGranularity) -> str:
        """Return the name that the translator gives; see `SaoTranslator.get_check_name`."""
        spec = self._check_spec(test) if granularity is CheckGranularity.TEST else None
        return super().get_check_name(test, granularity) if spec is None else spec.name

    def get_check_spec(self, project: Project, test: DataTest) -> dg.AssetCheckSpec:
        """Return the spec that the translator gives, where it gives one."""
        base, spec = super().get_check_spec(project, test), self._check_spec(test)
        if spec is None:
            return base
        return dg.AssetCheckSpec(
            name=spec.name,
            asset=base.asset_key,
            description=spec.description or base.description,
            blocking=spec.blocking and not is_source(test.tested),
            metadata={**base.metadata, **spec.metadata},
        )

    def _spec(self, node: Node | Source) -> Any:
        """Return what the translator says of a node; None for one that dbt does not know."""
        unique_id = self._said.ids.get(node.id if isinstance(node, Source) else node.name)
        return unique_id and self._translator.get_asset_spec(self._said.manifest, unique_id, self._dbt_project)

    def _check_spec(self, test: DataTest) -> Any:
        """Return what the translator says of a data test; None where it makes no check of it, or dbt does not know it."""
        unique_id, tested = self._said.ids.get(test.name), self._said.ids.get(test.tested)
        if unique_id is None or tested is None:
            return None
        spec = self._translator.get_asset_spec(self._said.manifest, tested, self._dbt_project)
        return self._translator.get_asset_check_spec(spec, self._said.manifest, unique_id, self._dbt_project)


def dbt_properties(declared: Declarations, project: Project, node: Node | Source) -> Mapping[str, Any]:
    """Return a node as a translation of dagster-dbt's component sees it: its part of dbt's manifest.

    Where dbt has not read the project, it has the keys that are known without it.
    """
    said = declared.dbt
    name = node.id if isinstance(node, Source) else node.name
    unique_id = said.ids.get(name) if said is not None else None
    if said is not None and unique_id is not None:
        manifest = said.manifest
        found: Mapping[str, Any] = manifest["sources" if isinstance(node, Source) else "nodes"][unique_id]
        return found
    relation, package = node.relation, node.fqn[0] if node.fqn else project.name
    common = {
        "package_name": package,
        "fqn": list(node.fqn),
        "description": node.description,
        "tags": list(node.tags),
        "meta": dict(node.meta),
        "columns": {
            each.name: {"name": each.name, "description": each.description, "data_type": each.data_type}
            for each in node.columns
        },
        "original_file_path": node.location.path if node.location else None,
        "database": relation and relation.database,
        "schema": relation and relation.schema,
    }
    if isinstance(node, Source):
        return {
            **common,
            "resource_type": "source",
            "unique_id": f"source.{package}.{node.source_name}.{node.table_name}",
            "source_name": node.source_name,
            "name": node.table_name,
            "identifier": relation.identifier if relation else node.table_name,
            "config": {"meta": dict(node.meta), "tags": list(node.tags)},
        }
    return {
        **common,
        "resource_type": node.resource_type,
        "unique_id": f"{node.resource_type}.{package}.{node.plain_name}",
        "name": node.plain_name if node.version is None else node.plain_name.removesuffix(f".v{node.version}"),
        "version": node.version,
        "alias": node.relation.identifier,
        "group": node.group,
        "raw_code": node.raw_sql if isinstance(node, Model) else "",
        "config": {
            **node.config,
            "materialized": node.materialized.value,
            "meta": dict(node.meta),
            "tags": list(node.tags),
        },
    }
