"""How a project shows in Dagster: the one place to override keys and specs."""

from __future__ import annotations

import inspect
import keyword
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from sao_dagster.core.explain import describe_policy
from sao_dagster.core.hashing import digest
from sao_dagster.core.messages import counted
from sao_dagster.core.nodes import DataTest, Model, Node, Seed, Severity, Source, is_source
from sao_dagster.core.others import ProjectModel
from sao_dagster.core.policy import describe_duration
from sao_dagster.core.project import Project

_SHORTEST = timedelta(seconds=60)  # of a freshness policy in Dagster
SHOWN_SQL = 20_000  # characters of SQL in one event or definition


HAS_VIRTUAL_ASSETS = "is_virtual" in inspect.signature(dg.AssetSpec.replace_attributes).parameters


class CheckGranularity(str, Enum):
    """What one asset check stands for: a data test, a model's tests of one severity, or all of a model's tests."""

    TEST = "test"
    SEVERITY = "severity"
    MODEL = "model"


class SaoTranslator:
    """Makes Dagster's specs of models, seeds, sources and data tests. Subclass it to change any of that.

    Keys, groups and names of checks are those that dagster-dbt gives the same project, so that history and jobs stay what they are. All
    of the package asks the translator for keys, so overriding `get_asset_key` alone renames assets everywhere.
    """

    def get_asset_key(self, node: Node | Source) -> dg.AssetKey:
        """Return the key: `meta.dagster.asset_key`; else source and table of a source, and the name of anything else, below a `schema` of its own.

        A version of a model is called by its alias. A model of another project has the key that it has there by these rules. Dagster makes
        names of Python of keys, so a word that it keeps for itself gets a `_`, and what cannot stand in a name is replaced.
        """
        key = _dagster_meta(node).get("asset_key")
        if key:
            return dg.AssetKey(
                [key_part(str(part)) for part in (key if isinstance(key, list) else str(key).split("/"))]
            )
        if isinstance(node, ProjectModel):
            return _key_of_model(node.table_name, node.alias, node.schema)
        if isinstance(node, Source):
            return dg.AssetKey([key_part(node.source_name), key_part(node.table_name)])
        return _key_of_model(node.plain_name, node.relation.identifier, node.config.get("schema"))

    def get_asset_spec(self, project: Project, node: Node | Source) -> dg.AssetSpec:
        """Return the spec of a model, a seed or a source."""
        if isinstance(node, Source):
            return self._source_spec(project, node)
        return dg.AssetSpec(
            self.key_of(project, node.name),
            deps=self._deps(project, node),
            skippable=True,
            description=_description(node),
            metadata=self._metadata(project, node),
            group_name=_group(node),
            code_version=node.code.version,
            owners=_owners(node, node.owners),
            tags=_tags(node),
            kinds={project.dialect, "dbt" if _is_in_dbts_layout(node) else "sql", node.materialized.value},
            freshness_policy=freshness_policy(None, node.policy.max_age),
        )

    def get_pool(self, project: Project, node: Node) -> str | None:
        """Return Dagster's concurrency pool of a model that is a step of its own: `meta.dagster.pool`, of a model or a folder."""
        pool = _dagster_meta(node).get("pool")
        return None if pool is None else str(pool)

    def get_check_name(self, test: DataTest, granularity: CheckGranularity) -> str:
        """Return the name of the check that reports a data test; tests of one model with one name share the check."""
        if granularity is CheckGranularity.MODEL:
            return "data_tests"
        if granularity is CheckGranularity.SEVERITY:
            return f"data_tests_{test.severity.value}"
        return check_name(test)

    def get_check_spec(self, project: Project, test: DataTest) -> dg.AssetCheckSpec:
        """Return the spec of a data test."""
        return dg.AssetCheckSpec(
            name=check_name(test),
            asset=self.key_of(project, test.tested),
            description=_asked(test),
            # a failing source stops what reads it, not all models, so the step of the models sees to that
            blocking=test.severity is Severity.ERROR and not is_source(test.tested),
            metadata={"sao/kind": test.kind, **{f"sao/{name}": value for name, value in _arguments(test).items()}},
        )

    def get_aggregated_check_spec(self, project: Project, name: str, tests: Sequence[DataTest]) -> dg.AssetCheckSpec:
        """Return the spec of a check that stands for several data tests of one model, seed or source."""
        severe = any(test.severity is Severity.ERROR for test in tests)
        tested = tests[0].tested
        return dg.AssetCheckSpec(
            name=name,
            asset=self.key_of(project, tested),
            description=f"{counted(len(tests), 'data test')} of {tested}",
            blocking=severe and not is_source(tested),
            metadata={"sao/tests": dg.MetadataValue.json([test.name for test in tests])},
        )

    def get_freshness_check_spec(self, project: Project, source: Source, name: str) -> dg.AssetCheckSpec:
        """Return the spec of the check of a source's age."""
        limits = {"warn_after": source.warn_after, "error_after": source.error_after}
        words = ", ".join(f"{key} {describe_duration(age)}" for key, age in limits.items() if age is not None)
        by = source.loaded_at_field if isinstance(source.loaded_at_field, str) else "its query"
        return dg.AssetCheckSpec(
            name=name,
            asset=self.key_of(project, source.id),
            description=f"age of the newest data, by {by}: {words}",
        )

    def key_of(self, project: Project, name: str) -> dg.AssetKey:
        """Return the key of a node or source by its name in the project: the one of `get_asset_key`.

        Where that of another package has the same, it is below its package, if that is not the project itself: for dagster-dbt such a project
        is an error.
        """
        node: Node | Source = project.sources[name] if is_source(name) else project.nodes[name]
        key = self.get_asset_key(node)
        if not node.qualifier or _dagster_meta(node).get("asset_key"):
            return key
        others = (project.sources[each] if is_source(each) else project.nodes[each] for each in project.namesakes(name))
        is_taken = any(self.get_asset_key(each) == key for each in others)
        return dg.AssetKey([key_part(node.qualifier), *key.path]) if is_taken else key

    def _source_spec(self, project: Project, source: Source) -> dg.AssetSpec:
        name = source.relation.plain if source.relation is not None else source.expression
        return dg.AssetSpec(
            self.key_of(project, source.id),
            description=_with_error(source) or None,
            metadata={
                "dagster/table_name": name,
                "dagster/storage_kind": project.dialect,
                **_columns(source),
                **_code_references(project, source),
            },
            group_name=_group(source),
            owners=_owners(source, ()),
            tags=_tags(source),
            kinds={project.dialect, "source"},
            freshness_policy=freshness_policy(source.warn_after, source.error_after),
        )

    def _deps(self, project: Project, node: Node) -> Sequence[dg.AssetKey]:
        """Return the keys of what a node reads; ephemerals have no asset and are looked through."""
        return list(dict.fromkeys(self.key_of(project, name) for name in project.graph.relations_read(node.name)))

    def _metadata(self, project: Project, node: Node) -> dict[str, Any]:
        return {
            "dagster/table_name": node.relation.plain,
            "dagster/storage_kind": project.dialect,
            "sao/environment": project.environment,
            "sao/materialized": node.materialized.value,
            "sao/policy": describe_policy(node.policy, datetime.now(timezone.utc)),
            **({"sao/sql": as_sql(node.raw_sql)} if isinstance(node, Model) and node.raw_sql else {}),
            **_columns(node),
            **_code_references(project, node),
        }


def _key_of_model(model: str, alias: str, schema: object) -> dg.AssetKey:
    """Return the key of a model by its name in its project, the name of its relation, and the schema that is configured."""
    if _VERSION.search(model) and alias and "." not in alias:
        return dg.AssetKey([key_part(alias)])
    name = _VERSION.sub(r"_\1", model)
    if "." in name:  # which is not `a_b`
        name = f"{name.replace('.', '_')}_{digest(model)[:4]}"
    above = [] if schema is None else [key_part(str(schema))]
    return dg.AssetKey([*above, f"{name}_" if name in _RESERVED else key_part(name)])


def as_virtual(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec of a view as a virtual asset, which Dagster looks through; as it is, where Dagster has none (before 1.13)."""
    if not HAS_VIRTUAL_ASSETS:
        return spec
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        changed: Mapping[str, Any] = {"is_virtual": True}
        return spec.replace_attributes(**changed)


def _columns(node: Node | Source) -> dict[str, dg.TableSchema]:
    """Return the columns that are described, with the type `?` where none is declared."""
    columns = [
        dg.TableColumn(each.name, each.data_type or "?", description=each.description or None) for each in node.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)} if columns else {}


def _code_references(project: Project, node: Node | Source) -> dict[str, dg.CodeReferencesMetadataValue]:
    """Return the file that a node or source is written in, if it is in one."""
    if node.location is None or node.location.path.startswith("<"):
        return {}
    path = node.location.path if node.location.path.startswith("/") else f"{project.root}/{node.location.path}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=path, line_number=node.location.line or 1)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _is_in_dbts_layout(node: Node) -> bool:
    """Return whether a node is written in a file of a project of dbt's, and not declared in Python."""
    is_function = isinstance(node, Model) and node.language != "sql"
    return node.location is not None and (is_function or not node.location.path.endswith(".py"))


def freshness_policy(warn_after: timedelta | None, fail_after: timedelta | None) -> dg.FreshnessPolicy | None:
    """Return Dagster's own policy for an age; it has none without a limit that fails, or below a minute."""
    if fail_after is None or fail_after < _SHORTEST:
        return None
    warns = warn_after is not None and _SHORTEST <= warn_after < fail_after
    return dg.FreshnessPolicy.time_window(fail_window=fail_after, warn_window=warn_after if warns else None)


def _dagster_meta(node: Node | Source) -> Mapping[str, Any]:
    """Return `meta.dagster`, where users of dagster-dbt keep what is Dagster's."""
    found = node.meta.get("dagster")
    return found if isinstance(found, Mapping) else {}


def _owners(node: Node | Source, owners: Sequence[str]) -> list[str]:
    listed = _dagster_meta(node).get("owners") or owners
    return [owner for owner in map(str, listed) if _is_owner(owner)]


def check_name(test: DataTest) -> str:
    """Return the name of a check as Dagster takes it: dbt's name of the test, which tests of other models may have, too."""
    return identifier(test.shared_name or test.name)


def identifier(text: str) -> str:
    """Return a text as Dagster takes names: letters, digits and underscores."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def key_part(name: str) -> str:
    """Return a name as a part of an asset key: as it is, but for characters that Dagster cannot take.

    >>> key_part("orders"), key_part("Größe")
    ('orders', 'Gr__e_a150')
    """
    bare = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return bare if bare == name else f"{bare}_{digest(name)[:4]}"  # `a b` is not `a_b`


_VERSION = re.compile(r"\.(v\w+)$")  # of a model with versions: `orders.v2` is in the table `orders_v2`
_RESERVED = frozenset({
    # `DISALLOWED_NAMES` of dagster: what no input and no output may be called, besides the keywords of Python
    *keyword.kwlist, "arg_dict", "bool", "conf", "config", "context", "dict", "float", "input", "input_arg_dict", "int", "meta", "output",
    "output_arg_dict", "str", "type",
})  # fmt: skip


def _tags(node: Node | Source) -> dict[str, str]:
    """Return the tags as Dagster accepts them as keys; one of which nothing is left is left out."""
    return {found: "" for tag in node.tags if (found := _tag(tag))}


@cache
def _tag(text: str) -> str:
    """Return a tag as Dagster accepts it as a key; one that begins with `dagster/` would mean something to Dagster itself."""
    return (
        text
        if not text.startswith("dagster/") and _is_accepted(tags={text: ""})
        else re.sub(r"[^A-Za-z0-9_.\-]", "_", text)[:63]
    )


@cache
def _is_owner(text: str) -> bool:
    return _is_accepted(owners=[text])


def _is_accepted(**attributes: Any) -> bool:
    """Return whether Dagster accepts attributes of an asset; its rules are its own, and change."""
    try:
        dg.AssetSpec("asset", **attributes)
    except dg.DagsterError:
        return False
    return True


def _group(node: Node | Source) -> str | None:
    """Return the group that is configured: `meta.dagster.group`, else dbt's; None for Dagster's own default."""
    own = _dagster_meta(node).get("group") or (None if isinstance(node, Source) else node.group)
    return identifier(str(own)) if own else None


def _with_error(node: Node | Source) -> str:
    """Return the description, below what is wrong with a node or source that is broken."""
    error = f"**It cannot be built.** `{node.error}`\n\n" if node.error is not None else ""
    return error + node.description


def _description(node: Node) -> str | None:
    about = _with_error(node)
    if isinstance(node, Seed) and not about:
        about = f"Seed from `{Path(node.path).name}`."
    return about or None


def as_sql(text: str) -> dg.MarkdownMetadataValue:
    """Return SQL as Dagster shows and copies it, as far as there is room."""
    sql = text.strip()
    shown = sql if len(sql) <= SHOWN_SQL else f"{sql[:SHOWN_SQL]}\n-- ..."
    return dg.MetadataValue.md(f"```sql\n{shown}\n```")


def _asked(test: DataTest) -> str:
    """Return what a data test asks, as Markdown: Dagster shows the description of a check, and not the metadata of its definition."""
    arguments = "\n".join(f"* {name}: `{value}`" for name, value in _arguments(test).items())
    return f"{test.description or f'{test.kind} data test'}\n\n{arguments}\n\n{as_sql(test.sql).value}"


def _arguments(test: DataTest) -> dict[str, str]:
    """Return what was asked by a data test, beside its SQL, as far as it is not the default."""
    said = test.asserts
    asked = {
        "column": test.column,
        "values": ", ".join(map(str, said.values)) if said is not None else None,
        "where": test.where,
        "limit": None if test.limit is None else str(test.limit),
        "fail_calc": test.fail_calc if test.fail_calc != "count(*)" else None,
        "warn_if": test.warn_if if test.warn_if != "!= 0" else None,
        "error_if": test.error_if if test.error_if != "!= 0" else None,
        "severity": test.severity.value,
    }
    return {name: value for name, value in asked.items() if value}
