"""dbt's own account of a project: its `manifest.json`, with the SQL that dbt has rendered for fingerprints (`sao_dagster.dbt.prepare`).

Reading it needs no dbt. What it means is https://schemas.getdbt.com/dbt/manifest; versions 12 of it are what dbt 1.8 to 1.12 and dbt 2.x write
(early previews of that called it 20).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import Column, Materialized, NodeError, Source
from sao_dagster.core.relations import Relation, quote
from sao_dagster.errors import Location, NeedsDbtError
from sao_dagster.projects.asked_before import AskedBefore, RenderedInRun
from sao_dagster.projects.config import SourceFreshness, checked
from sao_dagster.projects.dbt_folder.sources import external_location
from sao_dagster.projects.dbt_names import BUILT, ManifestNames, node_id
from sao_dagster.projects.declarations import (
    CompiledDeclaration,
    Declarations,
    NodeDeclaration,
    TestDeclaration,
    file_digest,
)
from sao_dagster.projects.manifest_templates import (
    called_in,
    descriptions,
    macro_files,
    packages_digest,
    text_of,
    unwritten_config,
)
from sao_dagster.sql.dialects import dialect_named


@dataclass(frozen=True)
class PreparedManifest:
    """A manifest with its renderings.

    Attributes:
        manifest: dbt's manifest, as JSON.
        rendered: By unique id, the SQL of models, snapshots and data tests: `sql`, `incremental_sql`, `others` in `OTHER_RUNS`, whether it
            `asks_time`, what it `asked`, and what it was `made_of`; or an `error`, and what it asked before.
        answered: By unique id, what the questions of a template were answered when it was rendered (`AskedBefore.answered`).
        environment: The environment variables that the project reads, with digests of their values then; None where one was not set.
        hooks: By unique id, `pre_hook` and `post_hook` as SQL, with what they execute while they are rendered; or as they are written,
            where they make something of an answer of the warehouse, and then they are in `asking`; and what they were `made_of`.
        profile: What the profile says of the target: `type`, `database`, `schema`, `threads`, the `target` of templates, the `connection`
            without secrets, the adapter's `unique_field`, and digests of the `settings` that it makes in each session.
    """

    manifest: Mapping[str, Any]
    rendered: Mapping[str, Mapping[str, Any]]
    answered: Mapping[str, str | None] = field(default_factory=dict)
    environment: Mapping[str, str | None] = field(default_factory=dict)
    hooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ManifestReader:
    """Makes declarations of a manifest.

    Attributes:
        prepared: The manifest.
        declared: Declarations in which nothing is declared yet.
        native: Whether this package builds what dbt has read.
        renders: Whether its templates are rendered here, but for those for which there is a rendering: dbt has rendered nothing.
    """

    prepared: PreparedManifest
    declared: Declarations
    native: bool = False
    renders: bool = False

    def read(self) -> Declarations:
        """Fill the declarations with all that the manifest has, and return them."""
        manifest, declared = self.prepared.manifest, self.declared
        declared.native = self.native
        if self.renders:
            declared.macro_files = macro_files(manifest, self._of_dbt)
            declared.descriptions = descriptions(manifest)
        for name, source in manifest["sources"].items():
            declared.sources.append(self._source(name, source))
        for name, node in sorted(manifest["nodes"].items()):
            if node["resource_type"] == "operation" and "on-run-start" in node["tags"]:
                declared.effects += ("\n".join([self._text(node) or "?", *sorted(self._reached(node))]),)
            elif node["resource_type"] in BUILT:
                declared.nodes.append(self._node(name, node))
            elif node["resource_type"] == "test":
                declared.tests.append(self._test(name, node))
        for group in manifest["groups"].values():
            declared.group_owners[group["name"]] = tuple(
                _texts(group["owner"].get("email"), group["owner"].get("name"))
            )[:1]
        return declared

    def declared_anew(self, names: Collection[str]) -> tuple[dict[str, NodeDeclaration], dict[str, TestDeclaration]]:
        """Return models and snapshots, and data tests, by their names here.

        Args:
            names: Their unique ids.
        """
        nodes = {name: self.prepared.manifest["nodes"][name] for name in sorted(names)}
        built = [self._node(name, node) for name, node in nodes.items() if node["resource_type"] in BUILT]
        tests = {name: node for name, node in nodes.items() if node["resource_type"] == "test"}
        return (
            {each.id: each for each in built},
            {self.names.tests[name]: self._test(name, test) for name, test in tests.items()},
        )

    @property
    def ids(self) -> dict[str, str]:
        """What dbt calls nodes, sources and data tests, by their names here."""
        return {name: unique_id for unique_id, name in (*self.names.nodes.items(), *self.names.tests.items())}

    @cached_property
    def names(self) -> ManifestNames:
        """What all of it is called here."""
        return ManifestNames.of(self.prepared.manifest, self.declared.name)

    @cached_property
    def _files(self) -> dict[str, str]:
        """How SQL reads the files of sources anywhere, by how dbt writes them."""
        found = {}
        for source in self.prepared.manifest["sources"].values():
            if _is_external(source):
                written = source["relation_name"]
                found[written] = external_location(written, Path(self.declared.root))[1]
        return found

    def _node(self, name: str, node: Mapping[str, Any]) -> NodeDeclaration:
        """Return a model, seed or snapshot."""
        csv = Path(node.get("root_path") or self.declared.root, node["original_file_path"])
        is_seed, version = node["resource_type"] == "seed", node.get("version")
        location = Location(node["original_file_path"])
        compiled, error = self._compiled(name, node, location)
        return NodeDeclaration(
            name=node["name"],
            package=node["package_name"],
            qualifier=self.names.package(name),
            location=location,
            fqn=tuple(node["fqn"]),
            description=node["description"],
            sql=None if is_seed else self._text(node) or "",
            compiled=compiled,
            built_with=self._built_with(name, node),
            relation=self._relation(node, node["alias"]),
            resource_type=node["resource_type"],
            language=node.get("language") or "sql",
            csv=str(csv) if is_seed else None,
            csv_digest=file_digest(csv) if is_seed else "",
            version=None if version is None else str(version),
            is_latest=version == node.get("latest_version"),
            patch_path=(node.get("patch_path") or "").rpartition("://")[2],
            layers=(self._config(node),),
            is_settled=True,
            columns=_columns(node),
            error=error,
        )

    def lacks_text(self, name: str) -> bool:
        """Return whether the template of a model, snapshot or singular test is not known, by its unique id."""
        node = self.prepared.manifest["nodes"][name]
        return node["resource_type"] != "seed" and not node.get("test_metadata") and self._text(node) is None

    def _text(self, node: Mapping[str, Any]) -> str | None:
        """Return the template of a node; None where it is not known."""
        if not self.renders:
            return str(node["raw_code"])
        return text_of(node, self.declared.root, self.declared.name)

    def _built_with(self, name: str, node: Mapping[str, Any]) -> str:
        """Return a digest of what else decides how a node is built; empty for nothing."""
        building = self._building[str(node["config"].get("materialized"))]
        hooks = self.prepared.hooks.get(name, {}).get("asking", ())
        called = self._macros_of_text(" ".join(hooks))
        built_with: list[Any] = [sorted(building.union(called)), self._unit_tests.get(name, [])]
        if self.renders:
            built_with += [each for each in [self._packages] if each]
        return digest(built_with) if any(built_with) else ""

    @cached_property
    def _packages(self) -> str:
        return packages_digest(self.declared.root)

    @property
    def relations(self) -> dict[str, Relation]:
        """The relations of the project, by unique id: what is built, and sources."""
        nodes = self.prepared.manifest["nodes"].items()
        built = {name: self._relation(node, node["alias"]) for name, node in nodes if node["resource_type"] in BUILT}
        sources = self.prepared.manifest["sources"].items()
        return built | {name: self._relation(source, source["identifier"]) for name, source in sources}

    @property
    def read_by_views(self) -> list[str]:
        """Unique ids of the relations that views read, perhaps through ephemerals: a view depends on their columns."""
        nodes, found = self.prepared.manifest["nodes"], dict[str, None]()
        pending = [node for node in nodes.values() if node["config"].get("materialized") == "view"]
        seen = set[str]()
        while pending:
            for name in pending.pop()["depends_on"]["nodes"]:
                if name in seen:
                    continue
                seen.add(name)
                if name in nodes and nodes[name]["config"].get("materialized") == "ephemeral":
                    pending.append(nodes[name])
                else:
                    found[name] = None
        return [*found]

    def _relation(self, node: Mapping[str, Any], identifier: str) -> Relation:
        """Return the relation of a node or source; it is written as dbt writes it."""
        engine = dialect_named(self.declared.dialect)
        return self.written(engine.relation(node["database"], node["schema"], identifier), node.get("relation_name"))

    def written(self, relation: Relation, written: str | None) -> Relation:
        """Return a relation as dbt writes it; None for what is not known of that."""
        if not written or written == str(relation):
            return relation
        engine = dialect_named(self.declared.dialect)
        parts = {"database": relation.database, "schema": relation.schema, "identifier": relation.identifier}
        quoting = {name: quote(part, engine.quotes) in written for name, part in parts.items() if part}
        if relation.database and not written.startswith((relation.database, quote(relation.database, engine.quotes))):
            relation = replace(relation, database=None)
        return replace(engine.without_quotes(relation, quoting), written=written)

    def _config(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration that somebody wrote: `config` has all of dbt's defaults, too, and repeats tags."""
        written = node["unrendered_config"]
        config = {
            key: value for key, value in node["config"].items() if key in written or key.replace("_", "-") in written
        }
        if self.renders:
            config |= unwritten_config(node)
        if config.get("tags"):
            config["tags"] = list(dict.fromkeys(config["tags"]))
        if (node["config"].get("contract") or {}).get("enforced"):  # then the columns decide what is built
            typed = [
                [each["name"], each.get("data_type"), each.get("constraints"), each.get("quote")]
                for each in node["columns"].values()
            ]
            config["contract"] = {**node["config"]["contract"], "columns": [*typed, node.get("constraints")]}
        if node.get("access") not in (None, "protected"):  # before dbt 1.10 it was no configuration
            config["access"] = node["access"]
        return config

    def _compiled(
        self, name: str, node: Mapping[str, Any], location: Location
    ) -> tuple[CompiledDeclaration | None, NodeError | None]:
        """Return the SQL of a node or data test as dbt renders it, or what dbt said where it did not."""
        rendered = self.prepared.rendered.get(name)
        is_template = node["resource_type"] == "seed" or (node.get("language") or "sql") == "sql"
        if self.renders and is_template and rendered is None and name not in self.prepared.hooks:
            return None, None
        depends_on = tuple(map(self.names.node, node["depends_on"].get("nodes", ())))
        said = self.prepared.hooks.get(name, {})
        pre_hooks, post_hooks = (tuple(said.get(key, ())) for key in ("pre_hook", "post_hook"))
        asking_hooks = tuple(said.get("asking", ()))
        called = sorted(self._macros_of_text(" ".join(asking_hooks)))
        compiled = CompiledDeclaration(
            sql=self._text(node) or "",
            depends_on=depends_on,
            pre_hooks=pre_hooks,
            post_hooks=post_hooks,
            asking_hooks=asking_hooks,
            hook_macros=tuple(called),
            unrendered=said.get("error", ""),
            program="its Python" if node.get("language") == "python" else "",
        )
        if rendered is None:  # a seed, or another language
            return compiled, None
        if "error" in rendered and not rendered["asked"]:
            return None, NodeError(rendered["error"], location)
        if self.native and (rendered.get("others") or rendered["asked"] or asking_hooks):
            error = NeedsDbtError(
                "SQL that depends on the run or on the warehouse, which dbt has rendered", location=location
            )
            return None, NodeError.of(error, location)
        asking = self._asking(name, node)
        if asking is not None:
            macros = digest([sorted(self._reached(node)), _args(node)])
            compiled = replace(compiled, macros=macros)
        others = tuple((self._placed(each[0]), self._placed(each[1])) for each in rendered.get("others", ()))
        sql = self._placed(rendered.get("sql"))
        stays = None if others or rendered.get("asks_time") else sql
        return replace(  # what could not be rendered with what is there now is known when it is asked again
            compiled,
            sql=sql or "",
            incremental_sql=self._placed(rendered.get("incremental_sql")),
            others=tuple((full or "", again) for full, again in others),
            asks_time=rendered.get("asks_time", False),
            asking=asking,
            in_run=RenderedInRun(name, stays, node["config"].get("limit")) if others or asking else None,
            unrendered=rendered.get("error", ""),
        ), None

    def asking(self) -> Iterator[tuple[str, AskedBefore]]:
        """Yield all that asked the warehouse while it was rendered, by unique id."""
        for name, node in self.prepared.manifest["nodes"].items():
            found = self._asking(name, node) if node["resource_type"] in (*BUILT, "test") else None
            if found is not None:
                yield name, found

    def _asking(self, name: str, node: Mapping[str, Any]) -> AskedBefore | None:
        rendering = self.prepared.rendered.get(name, {})
        if not rendering.get("asked"):
            return None
        # what an increment is told of itself is another thing after each build; any other query follows from it
        is_increment = node["config"].get("materialized") == Materialized.INCREMENTAL
        this = self._relation(node, node["alias"]) if is_increment else None
        template = AskedBefore(name, (), this, self.declared.dialect)
        return replace(template.rendered(rendering), answered=self.prepared.answered.get(name))

    def _placed(self, sql: str | None) -> str | None:
        """Return SQL in which files are read from anywhere."""
        for written, anywhere in self._files.items() if sql is not None else ():
            sql = (sql or "").replace(written, anywhere)
        return sql

    @cached_property
    def _building(self) -> dict[str, frozenset[str]]:
        """By materialization, the texts of the macros by which such nodes are built, but for dbt's own.

        They are those of a materialization, and those that take the place of one of dbt's or of the adapter's; what names relations shows
        in these.
        """
        macros = self.prepared.manifest["macros"]
        of_dbt = {
            _plain_name(each["name"]) for each in macros.values() if each["package_name"] in self._of_dbt
        } - _NAMING
        users = {name: each["name"] for name, each in macros.items() if each["package_name"] not in self._of_dbt}
        overriding = [unique_id for unique_id, name in users.items() if _plain_name(name) in of_dbt]
        nodes = self.prepared.manifest["nodes"].values()
        found = {}
        for kind in {str(node["config"].get("materialized")) for node in nodes if node["resource_type"] in BUILT}:
            own = [unique_id for unique_id, name in users.items() if name.startswith(f"materialization_{kind}_")]
            found[kind] = frozenset(self._macros([*overriding, *own]))
        return found

    @cached_property
    def _unit_tests(self) -> dict[str, list[list[Any]]]:
        """What unit tests say, by the nodes that they are about."""
        found: dict[str, list[list[Any]]] = {}
        for test in self.prepared.manifest["unit_tests"].values():
            for node in test["depends_on"]["nodes"]:
                said = [test["name"], test.get("given"), test.get("expect"), test.get("overrides")]
                found.setdefault(node, []).append(said)
        return found

    def _macros(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the texts of macros, and of all that they may call, without dbt's own."""
        macros = self.prepared.manifest["macros"]
        pending, seen = [*names], set[str]()
        while pending:
            each = pending.pop()
            if each in seen or each not in macros:
                continue
            seen.add(each)
            pending += macros[each]["depends_on"]["macros"]
            if self.renders:  # dbt 2.x does not always say what macros call
                pending += called_in(macros[each]["macro_sql"], self._macro_names)
            if macros[each]["package_name"] not in self._of_dbt:
                yield macros[each]["macro_sql"]

    def _reached(self, node: Mapping[str, Any]) -> Iterator[str]:
        """Yield the texts of the macros that a node may call."""
        more = called_in(self._text(node) or "", self._macro_names) if self.renders else ()
        return self._macros([*node["depends_on"]["macros"], *more])

    @cached_property
    def _macro_names(self) -> dict[str, list[str]]:
        """The unique ids of macros by name, also by that without the adapter that they are for."""
        found: dict[str, list[str]] = {}
        for unique_id, macro in self.prepared.manifest["macros"].items():
            for name in {macro["name"], _plain_name(macro["name"])}:
                found.setdefault(name, []).append(unique_id)
        return found

    def _macros_of_text(self, text: str) -> Iterator[str]:
        """Yield the texts of the macros that a text may call, by their names."""
        called = set(re.findall(r"(\w+)\s*\(", text))
        macros = self.prepared.manifest["macros"].items()
        return self._macros(name for name, macro in macros if called & {macro["name"], macro["name"].split("__")[-1]})

    @cached_property
    def _of_dbt(self) -> tuple[str, str]:
        return "dbt", f"dbt_{self.prepared.manifest['metadata']['adapter_type']}"

    def _test(self, name: str, test: Mapping[str, Any]) -> TestDeclaration:
        """Return a data test."""
        about = test.get("test_metadata") or {"name": "singular", "kwargs": {}}
        args = dict(about["kwargs"])
        location = Location(test["original_file_path"])
        compiled, error = self._compiled(name, test, location)
        return TestDeclaration(
            kind=".".join(filter(None, (about.get("namespace"), about["name"]))),
            location=location,
            package=test["package_name"],
            tested=self._tested(test, str(args.pop("model", ""))),
            column=args.pop("column_name", None),
            args=args,
            config={**self._config(test), "alias": test["alias"]},
            name=self.names.tests[name],
            shared_name=test["name"] if test["name"] in self.names.shared else None,
            sql=self._text(test) or "",
            compiled=compiled,
            description=test["description"],
            fqn=tuple(test["fqn"]),
            error=error,
        )

    def _tested(self, test: Mapping[str, Any], model: str) -> str | None:
        """Return what a data test belongs to; None for a singular one.

        dbt may say that it is about a model of a package, and resolve `ref` to the project's own of that name: what it reads counts.

        Args:
            test: The test.
            model: Its argument `model`, as dbt writes it.
        """
        source = re.search(r"source\(['\"](.+?)['\"], ['\"](.+?)['\"]\)", model)
        attached, reads = test.get("attached_node"), test["depends_on"].get("nodes", ())
        plain = f"source:{source[1]}.{source[2]}" if source else attached and node_id(attached)
        if not plain:
            return None
        named = [each for each in reads if node_id(each) == plain] or [attached]
        tested = attached if attached in named else named[0]
        return self.names.node(tested) if tested else plain

    def _source(self, name: str, source: Mapping[str, Any]) -> Source:
        """Return a source; of two ways to tell what is new dbt takes the query."""
        relation = self._relation(source, source["identifier"])
        files: tuple[str, ...] = ()
        if _is_external(source):
            files = external_location(source["relation_name"], Path(self.declared.root))[0]
        location = Location(source["original_file_path"])
        config = source.get("config") or {}
        query = source.get("loaded_at_query") or config.get("loaded_at_query")
        limits = {key: each for key, each in (source["freshness"] or {}).items() if key in SourceFreshness.model_fields}
        late: SourceFreshness = checked(
            SourceFreshness, limits, f"source:{source['source_name']}.{source['name']}", location
        )
        return Source(
            source_name=source["source_name"],
            table_name=source["name"],
            qualifier=self.names.package(name),
            relation=None if files else relation,
            expression=self._files.get(source["relation_name"], str(relation)),
            files=files,
            loaded_at_field=None if query else source["loaded_at_field"] or config.get("loaded_at_field"),
            loaded_at_query=query or None,
            filter=late.filter,
            warn_after=late.warn_after.age if late.warn_after else None,
            error_after=late.error_after.age if late.error_after else None,
            fqn=tuple(source["fqn"]),
            location=location,
            description=source["description"],
            columns=_columns(source),
            tags=tuple(source["tags"]),
            meta=source["meta"],
        )


_NAMING = {"generate_schema_name", "generate_alias_name", "generate_database_name"}


def _plain_name(macro: str) -> str:
    """Return the name of a macro without the adapter that it is for.

    >>> _plain_name("duckdb__create_table_as"), _plain_name("create_table_as")
    ('create_table_as', 'create_table_as')
    """
    return macro.partition("__")[2] or macro


def _is_external(source: Mapping[str, Any]) -> bool:
    """Return whether dbt reads a source from something else than the relation of its name (dbt-duckdb's `external_location`)."""
    config = source.get("config") or {}
    return bool(
        {"external_location"} & {*source["meta"], *source.get("source_meta", {}), *(config.get("meta") or {}), *config}
    )


def _args(node: Mapping[str, Any]) -> Any:
    return (node.get("test_metadata") or {}).get("kwargs")


def _texts(*values: Any) -> Iterator[str]:
    return (str(each) for each in values if each)


def _columns(node: Mapping[str, Any]) -> tuple[Column, ...]:
    return tuple(Column(each["name"], each["description"], each["data_type"]) for each in node["columns"].values())
