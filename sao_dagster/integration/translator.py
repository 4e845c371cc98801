"""How a project shows in Dagster: the one place to override keys and specs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from sao_dagster.core.explain import describe_policy
from sao_dagster.core.models import DataTest, Model, Node, Project, Severity, Source, is_source

_OWNER = re.compile(r"^(team:.+|[^@\s]+@[^@\s]+\.[^@\s]+)$")
_DESCRIBED_SQL = 4000  # characters of SQL in a description


class SaoTranslator:
    """Turns models, seeds, sources and data tests into Dagster's specs. Subclass it to change any of that.

    All of the package asks the translator for keys, so overriding `get_asset_key` alone renames assets everywhere.
    """

    def get_asset_key(self, node: Node | Source) -> dg.AssetKey:
        """Return the key: the name of a model or seed; source and table name of a source."""
        if isinstance(node, Source):
            return dg.AssetKey([node.source_name, node.table_name])
        return dg.AssetKey([node.name.replace(".", "_")])

    def get_asset_spec(self, project: Project, node: Node | Source) -> dg.AssetSpec:
        """Return the spec of a model, a seed or a source."""
        if isinstance(node, Source):
            return self._source_spec(project, node)
        return dg.AssetSpec(
            self.get_asset_key(node),
            deps=self._deps(project, node),
            skippable=True,
            description=_description(node),
            metadata=self._metadata(project, node),
            group_name=_group(node),
            code_version=node.code.version,
            owners=[owner for owner in node.owners if _OWNER.match(owner)],
            tags={_tag(tag): "" for tag in node.tags},
            kinds={project.dialect, "sql", node.materialized.value},
        )

    def get_check_spec(self, project: Project, test: DataTest) -> dg.AssetCheckSpec:
        """Return the spec of a data test."""
        return dg.AssetCheckSpec(
            name=check_name(test),
            asset=self.key_of(project, test.tested),
            description=test.description or f"{test.kind} data test",
            # a failing source stops what reads it, not all models, so the step of the models sees to that
            blocking=test.severity is Severity.ERROR and not is_source(test.tested),
            metadata={"sao/kind": test.kind, "sao/sql": dg.MetadataValue.md(f"```sql\n{test.sql}\n```")},
        )

    def key_of(self, project: Project, name: str) -> dg.AssetKey:
        """Return the key of a node or source by its name in the project."""
        return self.get_asset_key(project.sources[name] if is_source(name) else project.nodes[name])

    def _source_spec(self, project: Project, source: Source) -> dg.AssetSpec:
        return dg.AssetSpec(
            self.get_asset_key(source),
            description=source.description or None,
            metadata={"dagster/table_name": str(source.relation or source.expression).replace('"', "")},
            group_name=_identifier(source.source_name),
            tags={_tag(tag): "" for tag in source.tags},
            kinds={project.dialect, "source"},
        )

    def _deps(self, project: Project, node: Node) -> Sequence[dg.AssetKey]:
        """Return the keys of what a node reads; ephemerals have no asset and are looked through."""
        return [self.key_of(project, name) for name in project.graph.relations_read(node.name)]

    def _metadata(self, project: Project, node: Node) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "dagster/table_name": str(node.relation).replace('"', ""),
            "dagster/storage_kind": project.dialect,
            "sao/environment": project.environment,
            "sao/materialized": node.materialized.value,
            "sao/policy": describe_policy(node.policy, datetime.now(timezone.utc)),
        }
        if node.columns:
            columns = [
                dg.TableColumn(each.name, each.data_type or "", description=each.description or None)
                for each in node.columns
            ]
            metadata["dagster/column_schema"] = dg.TableSchema(columns)
        if node.location is not None and not node.location.path.startswith("<"):
            path = node.location.path if node.location.path.startswith("/") else f"{project.root}/{node.location.path}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", category=dg.BetaWarning)
                reference = dg.LocalFileCodeReference(file_path=path, line_number=node.location.line or 1)
                metadata["dagster/code_references"] = dg.CodeReferencesMetadataValue(code_references=[reference])
        return metadata


def check_name(test: DataTest) -> str:
    """Return a test's name as Dagster takes it: letters, digits and underscores."""
    return _identifier(test.name)


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text)


def _tag(text: str) -> str:
    """Return a tag that Dagster accepts as a key."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", text)[:63]


def _group(node: Node) -> str:
    """Return the group: the one that is configured, else the folder below the project."""
    folder = node.fqn[1] if len(node.fqn) > 2 else "default"
    return _identifier(node.group or ("seeds" if node.resource_type == "seed" else folder))


def _description(node: Node) -> str:
    sql = ""
    if isinstance(node, Model) and node.raw_sql:
        text = node.raw_sql.strip()
        text = text if len(text) <= _DESCRIBED_SQL else text[:_DESCRIBED_SQL] + "\n-- ..."
        sql = f"\n\n#### SQL\n```sql\n{text}\n```"
    return f"{node.description}{sql}".strip()
