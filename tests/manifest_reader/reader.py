"""A reader of dbt's `manifest.json`, without dbt: an example of a format of one's own. `dbt compile` writes the file, for one target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sao_dagster.projects.declarations as door
from sao_dagster.core.nodes import Column, Source
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.config import SourceFreshness
from sao_dagster.projects.dbt_folder.folder import OpenedFolder, open_folder
from sao_dagster.projects.dbt_folder.sources import external_location
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.warehouses.protocol import Warehouse

FILE = "target/manifest.json"


def read(folder: Path, target: str | None, variables: Mapping[str, Any] | None) -> tuple[door.Declarations, Warehouse]:
    """Return what the manifest of a folder declares, and the warehouse of the profile."""
    opened = open_folder(folder, target=target, variables=variables)
    manifest = json.loads((opened.root / FILE).read_text(encoding="utf-8"))
    return ManifestReader(manifest, opened).declarations(), opened.warehouse


MANIFEST = door.Format(name=FILE, is_in=lambda folder: (folder / FILE).is_file(), read=read)


class ManifestReader:
    """Makes declarations of a manifest, in a folder whose profile is known."""

    def __init__(self, manifest: Mapping[str, Any], opened: OpenedFolder) -> None:
        self.manifest, self.opened = manifest, opened
        self.dialect = dialect_named(opened.warehouse.dialect)
        self.files: dict[str, str] = {}  # how SQL reads files, in the project's folder and from anywhere

    def declarations(self) -> door.Declarations:
        """Return all that is declared."""
        if not all(each.get("compiled") for each in self.of_type("model", "test")):
            raise ProjectError("not everything in it is compiled; run `dbt compile`", location=Location(FILE))
        declared = self.opened.declarations()
        theirs = ("dbt", f"dbt_{self.manifest['metadata']['adapter_type']}")
        macros = [each for each in self.manifest["macros"].values() if each["package_name"] not in theirs]
        declared.macro_files = tuple(MacroFile(m["package_name"], m["unique_id"], m["macro_sql"]) for m in macros)
        declared.sources = [self.source(each) for each in self.manifest["sources"].values()]
        declared.nodes = [self.node(each) for each in self.of_type("model", "seed", "snapshot")]
        declared.tests = [self.test(each) for each in self.of_type("test")]
        for each in self.manifest["groups"].values():
            declared.group_owners[each["name"]] = (each["owner"].get("email") or each["owner"]["name"],)
        around = [(each["tags"], each["raw_code"]) for each in self.of_type("operation")]
        declared.on_run_start = tuple(template for tags, template in around if "on-run-start" in tags)
        declared.on_run_end = tuple(template for tags, template in around if "on-run-end" in tags)
        return declared

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """Return the nodes of some types, in the order of their ids."""
        return [each for _, each in sorted(self.manifest["nodes"].items()) if each["resource_type"] in types]

    def node(self, node: Mapping[str, Any]) -> door.NodeDeclaration:
        """Return a model, seed or snapshot; an incremental model as a template, since one of its two renderings is there."""
        config, version, csv = settled(node), node.get("version"), self.opened.root / node["original_file_path"]
        is_seed = node["resource_type"] == "seed"
        return door.NodeDeclaration(
            **said(node),
            sql=None if is_seed else node["raw_code"],
            compiled=None if is_seed or config.get("materialized") == "incremental" else self.compiled(node),
            relation=self.dialect.relation(node["database"], node["schema"], node["alias"]),
            resource_type=node["resource_type"],
            language=node.get("language", "sql"),
            **({"csv": str(csv), "csv_digest": door.file_digest(csv)} if is_seed else {}),
            version=None if version is None else str(version),
            is_latest=version == node.get("latest_version"),
            layers=(config,),
            is_settled=True,
            columns=columns(node),
        )

    def compiled(self, node: Mapping[str, Any]) -> door.CompiledDeclaration:
        """Return the SQL of a node; hooks are no part of it, since the manifest has them as templates."""
        sql = str(node["compiled_code"])
        for written, anywhere in self.files.items():
            sql = sql.replace(written, anywhere)
        return door.CompiledDeclaration(sql=sql, depends_on=tuple(map(node_id, node["depends_on"]["nodes"])))

    def test(self, test: Mapping[str, Any]) -> door.TestDeclaration:
        """Return a data test."""
        about = test.get("test_metadata") or {"name": "singular", "kwargs": {}}
        args, attached = dict(about["kwargs"]), test.get("attached_node")
        source = re.search(r"source\('(.+?)', '(.+?)'\)", args.pop("model", ""))
        return door.TestDeclaration(
            **said(test),
            kind=".".join(filter(None, (about.get("namespace"), about["name"]))),
            tested=f"source:{source[1]}.{source[2]}" if source else attached and node_id(attached),
            column=args.pop("column_name", None),
            args=args,
            config={**settled(test), "alias": test["alias"]},
            compiled=self.compiled(test),
        )

    def source(self, source: Mapping[str, Any]) -> Source:
        """Return a source; of two ways to tell what is new dbt takes the query."""
        relation = self.dialect.relation(source["database"], source["schema"], source["identifier"])
        written, files = source["relation_name"], ()
        if written != str(relation):
            files, self.files[written] = external_location(written, self.opened.root)
        late = SourceFreshness(**(source["freshness"] or {}))
        return Source(
            **{key: source[key] for key in ("source_name", "loaded_at_query", "description", "meta")},
            table_name=source["name"],
            relation=None if files else relation,
            expression=self.files.get(written, written),
            files=files,
            loaded_at_field=None if source["loaded_at_query"] else source["loaded_at_field"],
            filter=late.filter,
            warn_after=late.warn_after and late.warn_after.age,
            error_after=late.error_after and late.error_after.age,
            columns=columns(source),
            tags=tuple(source["tags"]),
            fqn=tuple(source["fqn"]),
            location=Location(source["original_file_path"]),
        )


def said(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest says in the same way of everything."""
    said = {"name": node["name"], "package": node["package_name"], "location": Location(node["original_file_path"])}
    return {**said, "fqn": tuple(node["fqn"]), "description": node["description"]}


def node_id(unique_id: str) -> str:
    """Return what this package calls a node: `model.shop.orders` is `orders`, `source.shop.raw.items` is `source:raw.items`."""
    kind, _, name = unique_id.split(".", 2)
    return f"source:{name}" if kind == "source" else name


def settled(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that somebody wrote: `config` has all of dbt's defaults, too, and repeats tags."""
    config = {key: value for key, value in node["config"].items() if key in node["unrendered_config"]}
    return {**config, **({"tags": list(dict.fromkeys(config["tags"]))} if config.get("tags") else {})}


def columns(node: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the documented columns."""
    return tuple(Column(each["name"], each["description"], each["data_type"]) for each in node["columns"].values())
