"""A folder in dbt's layout: `dbt_project.yml`, SQL with Jinja, properties in YAML, seeds, macros, data tests."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sao_dagster.core.models import Column, Notice, Relation, Source
from sao_dagster.errors import Location, ProjectError, SaoError, UnsupportedError
from sao_dagster.projects.config import SourceFreshness, Strings, _listed, checked
from sao_dagster.projects.data_tests import parse_entry
from sao_dagster.projects.declarations import Declarations, NodeDeclaration, TestDeclaration, file_digest, merge_layers
from sao_dagster.projects.engine import Engine, Render, Subject
from sao_dagster.projects.jinja import MacroFile
from sao_dagster.projects.profiles import load_profile
from sao_dagster.projects.properties import (
    LoadedYaml,
    ModelProperties,
    PropertiesFile,
    SourceProperties,
    TableProperties,
    VersionProperties,
    each,
    load_yaml,
    parse_properties,
)
from sao_dagster.warehouses.base import Warehouse

Paths = Annotated[list[str], BeforeValidator(_listed)]
# Keys of a node's configuration that are mappings, so that they are not taken for folders.
_MAPPING_KEYS = frozenset({"meta", "freshness", "state", "column_types", "docs", "grants", "contract", "persist_docs"})
_DEFERRED = frozenset({"freshness", "pre-hook", "post-hook", "pre_hook", "post_hook"})


class ProjectFile(BaseModel):
    """`dbt_project.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: Any = None
    config_version: Any = Field(default=None, alias="config-version")
    profile: str | None = None
    model_paths: Paths = Field(default=["models"], alias="model-paths")
    seed_paths: Paths = Field(default=["seeds"], alias="seed-paths")
    test_paths: Paths = Field(default=["tests"], alias="test-paths")
    macro_paths: Paths = Field(default=["macros"], alias="macro-paths")
    analysis_paths: Any = Field(default=None, alias="analysis-paths")
    snapshot_paths: Paths = Field(default=["snapshots"], alias="snapshot-paths")
    docs_paths: Any = Field(default=None, alias="docs-paths")
    asset_paths: Any = Field(default=None, alias="asset-paths")
    function_paths: Any = Field(default=None, alias="function-paths")
    target_path: str = Field(default="target", alias="target-path")
    log_path: Any = Field(default=None, alias="log-path")
    clean_targets: Any = Field(default=None, alias="clean-targets")
    packages_install_path: str = Field(default="dbt_packages", alias="packages-install-path")
    require_dbt_version: Any = Field(default=None, alias="require-dbt-version")
    flags: Any = None
    query_comment: Any = Field(default=None, alias="query-comment")
    restrict_access: Any = Field(default=None, alias="restrict-access")
    dbt_cloud: Any = Field(default=None, alias="dbt-cloud")
    quoting: dict[str, Any] = {}
    vars: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    seeds: dict[str, Any] | None = None
    sources: dict[str, Any] | None = None
    snapshots: dict[str, Any] | None = None
    tests: dict[str, Any] | None = None
    data_tests: dict[str, Any] | None = None
    unit_tests: Any = Field(default=None, alias="unit-tests")
    exposures: Any = None
    metrics: Any = None
    semantic_models: Any = Field(default=None, alias="semantic-models")
    saved_queries: Any = Field(default=None, alias="saved-queries")
    functions: Any = None
    on_run_start: Strings = Field(default=[], alias="on-run-start")
    on_run_end: Strings = Field(default=[], alias="on-run-end")
    dispatch: list[dict[str, Any]] = []


def read_folder(
    folder: Path | str, *, target: str | None = None, variables: Mapping[str, Any] | None = None,
    warehouse: Warehouse | None = None,
) -> tuple[Declarations, Warehouse]:  # fmt: skip
    """Return what a folder declares, and the warehouse its profile names.

    Args:
        folder: The folder with `dbt_project.yml`.
        target: The target of the profile; None for its default.
        variables: Values over those of `vars`.
        warehouse: Where to build, instead of what the profile says.

    Raises:
        ProjectError: The folder is no project, or its profile is missing.
    """
    root = Path(folder).resolve()
    file = root / "dbt_project.yml"
    if not file.is_file():
        raise ProjectError(f"there is no dbt_project.yml in {root}; name the project's folder with --project-dir")
    loaded = load_yaml(file, "dbt_project.yml")
    settings: ProjectFile = checked(ProjectFile, loaded.values, None, Location("dbt_project.yml"))
    given = {**(settings.vars or {}), **(variables or {})}
    if warehouse is None:
        if settings.profile is None:
            raise ProjectError(
                "no profile is named; add a line such as 'profile: my_profile'",
                location=Location("dbt_project.yml"),
            )
        name, warehouse = load_profile(root, settings.profile, target, given)
    else:
        name = target or str(warehouse.target["name"])
    declared = Declarations(
        name=settings.name,
        environment=f"{settings.name}.{name}",
        dialect=warehouse.dialect,
        root=str(root),
        target={"profile_name": settings.profile or settings.name, **warehouse.target, "name": name},
        variables=given,
    )
    _Folder(root, settings, loaded, declared).read()
    return declared, warehouse


@dataclass
class _Folder:
    root: Path
    settings: ProjectFile
    loaded: LoadedYaml
    declared: Declarations
    patches: dict[str, tuple[ModelProperties, LoadedYaml, tuple[str | int, ...]]] = field(default_factory=dict)
    test_patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    used_layers: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)

    def read(self) -> None:
        settings, declared = self.settings, self.declared
        declared.macro_files = tuple(self._macro_files())
        declared.search_order = {
            str(entry["macro_namespace"]): tuple(map(str, entry.get("search_order", ()))) for entry in settings.dispatch
        }
        declared.descriptions = dict(self._docs())
        declared.on_run_start = tuple(settings.on_run_start)
        declared.on_run_end = tuple(settings.on_run_end)
        self.expressions = Render(
            Engine(
                project_name=settings.name,
                variables=declared.variables,
                target=declared.target,
                descriptions=declared.descriptions,
            ),
            Subject(name="dbt_project.yml", path="dbt_project.yml", package=settings.name),
            execute=True,
        )
        self._refuse()
        files = [
            *self._files(settings.model_paths, (".yml", ".yaml")),
            *self._files(settings.seed_paths, (".yml", ".yaml")),
        ]
        files += self._files(settings.test_paths, (".yml", ".yaml"))
        properties: list[tuple[LoadedYaml, PropertiesFile]] = []
        for path in dict.fromkeys(files):
            self._noting(self._properties, path, properties)
        for loaded, parsed in properties:
            for kind, table in (("models", parsed.models), ("seeds", parsed.seeds)):
                for index, node in each(table):
                    self._patch(node, loaded, (kind, index))
            for entry in (*(parsed.data_tests or ()), *(parsed.tests or ())):
                self.test_patches[entry.name] = {"config": entry.config, "description": entry.description}
            for _, group in each(parsed.groups):
                owner = group.get("owner") or {}
                declared.group_owners[str(group["name"])] = tuple(
                    str(owner[key]) for key in ("email", "name") if owner.get(key)
                )[:1]
        for path in self._files(settings.model_paths, (".sql",)):
            self._noting(self._model, path)
        for path in self._files(settings.seed_paths, (".csv",)):
            self._noting(self._seed, path)
        for loaded, parsed in properties:
            for index, source in each(parsed.sources):
                self._noting(self._source, source, loaded, index)
        for path in self._files(settings.test_paths, (".sql",)):
            if "generic" not in path.relative_to(self.root).parts:
                self._singular(path)
        self._node_tests()
        self._unused()

    # ------------------------------------------------------------------ files

    def _files(self, folders: Iterable[str], endings: tuple[str, ...]) -> list[Path]:
        found: list[Path] = []
        for folder in folders:
            for place, below, names in os.walk(self.root / folder):
                below.sort()
                found += [Path(place) / name for name in sorted(names) if name.endswith(endings)]
        return found

    def _shown(self, path: Path) -> str:
        """Return a path as the user would write it; with strings, which is what makes many files cheap."""
        text, root = str(path), str(self.root) + os.sep
        return text[len(root) :].replace(os.sep, "/") if text.startswith(root) else text

    def _noting(self, action: Callable[..., object], *args: Any) -> None:
        try:
            action(*args)
        except SaoError as error:
            self.declared.errors.append(error)

    def _macro_files(self) -> Iterator[MacroFile]:
        install = self.root / self.settings.packages_install_path
        for package in sorted(install.glob("*/dbt_project.yml")) if install.is_dir() else []:
            name = str((load_yaml(package, self._shown(package)).values or {}).get("name", package.parent.name))
            for path in sorted((package.parent / "macros").rglob("*.sql")):
                yield MacroFile(name, self._shown(path), path.read_text(encoding="utf-8"))
            if any((package.parent / "models").rglob("*.sql")):
                self.declared.notices.append(
                    Notice(
                        f"the package {name} is used for its macros only; its models are not built",
                        Location(self._shown(package)),
                    )
                )
        own = self._files(self.settings.macro_paths, (".sql",))
        own += [
            path
            for path in self._files(self.settings.test_paths, (".sql",))
            if "generic" in path.relative_to(self.root).parts
        ]
        for path in own:
            yield MacroFile(self.settings.name, self._shown(path), path.read_text(encoding="utf-8"))

    def _docs(self) -> Iterator[tuple[str, str]]:
        for path in self._files(
            [*self.settings.model_paths, *self.settings.macro_paths, *self.settings.seed_paths], (".md",)
        ):
            text = path.read_text(encoding="utf-8")
            for name, body in re.findall(r"\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}", text, re.DOTALL):
                yield name, body.strip()

    def _refuse(self) -> None:
        """Name what is there and not done here, rather than leaving it out silently."""
        for path in self._files(self.settings.model_paths, (".py",)):
            self.declared.errors.append(
                UnsupportedError(
                    "Python models are not supported; make it a Dagster asset of its own, or SQL",
                    location=Location(self._shown(path)),
                )
            )
        for path in self._files(self.settings.snapshot_paths, (".sql", ".yml", ".yaml")):
            self.declared.errors.append(
                UnsupportedError("snapshots are not supported", location=Location(self._shown(path)))
            )
        for name in ("packages.yml", "dependencies.yml"):
            path = self.root / name
            if (
                path.is_file()
                and (load_yaml(path, name).values or {}).get("packages")
                and not (self.root / self.settings.packages_install_path).is_dir()
            ):
                self.declared.notices.append(
                    Notice(
                        "the packages it names are not installed; models that use them cannot be rendered (run 'dbt deps' once)",
                        Location(name),
                    )
                )

    def _properties(self, path: Path, found: list[tuple[LoadedYaml, PropertiesFile]]) -> None:
        loaded = load_yaml(path, self._shown(path))
        parsed = parse_properties(loaded)
        for key, what in (
            ("snapshots", "snapshots are not supported"),
            ("functions", "functions are not supported"),
        ):
            if getattr(parsed, key):
                raise UnsupportedError(what, location=loaded.location(key))
        if parsed.unit_tests:
            self.declared.notices.append(Notice("unit tests are not run here", loaded.location("unit_tests")))
        found.append((loaded, parsed))

    # ------------------------------------------------------------------ models and seeds

    def _patch(self, node: ModelProperties, loaded: LoadedYaml, where: tuple[str | int, ...]) -> None:
        kind = str(where[0])
        if (key := f"{kind}.{node.name}") in self.patches:
            other = self.patches[key]
            self.declared.errors.append(
                ProjectError(
                    f"{node.name} is described twice; the other place is {other[1].location(*other[2])}",
                    location=loaded.location(*where),
                )
            )
            return
        self.patches[key] = (node, loaded, where)

    def _fqn(self, path: Path, folders: Iterable[str]) -> tuple[str, ...]:
        shown = self._shown(path)
        for folder in folders:
            prefix = folder.strip("/") + "/"
            if shown.startswith(prefix):
                *places, _ = shown[len(prefix) :].split("/")
                return (self.settings.name, *places, path.stem)
        return (self.settings.name, path.stem)

    def _model(self, path: Path) -> None:
        stem = path.stem
        for name, (patch, _, _) in self.patches.items():
            if not name.startswith("models.") or not patch.versions:
                continue
            for version in patch.versions:
                named = version.defined_in or f"{patch.name}_v{version.v}"
                if stem == named or (
                    stem == patch.name and str(version.v) == str(_latest(patch)) and not version.defined_in
                ):
                    self._node(path, patch.name, self.settings.model_paths, "models", version)
                    return
        self._node(path, stem, self.settings.model_paths, "models", None)

    def _seed(self, path: Path) -> None:
        self._node(path, path.stem, self.settings.seed_paths, "seeds", None)

    def _node(
        self, path: Path, name: str, folders: Iterable[str], kind: str, version: VersionProperties | None
    ) -> None:
        fqn = self._fqn(path, folders)
        patch, loaded, _ = self.patches.get(f"{kind}.{name}", (None, None, None))
        layers = [self._layer(kind, fqn)]
        columns: tuple[Column, ...] = ()
        description = ""
        if patch is not None and loaded is not None:
            layers.append(self._rendered(_own_config(patch)))
            if version is not None:
                layers.append(self._rendered(version.config))
            columns = tuple(
                Column(column.name, self._text(column.description), column.data_type) for column in patch.columns
            )
            description = self._text(patch.description)
        is_seed = kind == "seeds"
        self.declared.nodes.append(
            NodeDeclaration(
                name=name,
                package=self.settings.name,
                location=Location(self._shown(path)),
                fqn=fqn if version is None else (*fqn[:-1], name, f"v{version.v}"),
                sql=None if is_seed else path.read_text(encoding="utf-8"),
                csv=str(path) if is_seed else None,
                csv_digest=file_digest(path) if is_seed else "",
                version=None if version is None else str(version.v),
                is_latest=version is None or patch is None or str(version.v) == str(_latest(patch)),
                layers=tuple(layers),
                description=description,
                columns=columns,
            )
        )

    def _layer(self, kind: str, fqn: tuple[str, ...]) -> dict[str, Any]:
        """Return the configuration of `dbt_project.yml` that applies to a node, broad to specific."""
        top = getattr(self.settings, kind) or {}
        layers = [self._keys(top)]
        place = top
        for depth, part in enumerate(fqn, 1):
            inner = place.get(part)
            if not isinstance(inner, Mapping) or part.startswith("+"):
                break
            self.used_layers.add((kind, fqn[:depth]))
            layers.append(self._keys(inner))
            place = inner
        return merge_layers(*layers)

    def _keys(self, level: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration keys of one level: those with a plus, and those that can be no folder."""
        found = {
            key.removeprefix("+"): value
            for key, value in level.items()
            if key.startswith("+") or key in _MAPPING_KEYS or not isinstance(value, Mapping)
        }
        return self._rendered({key: value for key, value in found.items() if value is not None or key == "freshness"})

    def _unused(self) -> None:
        """Point out folders of `dbt_project.yml` that no file is in: mostly slips of the pen."""
        for kind in ("models", "seeds"):
            for path in _paths(getattr(self.settings, kind) or {}):
                if path and (kind, path) not in self.used_layers:
                    message = f"{kind}.{'.'.join(path)} matches no file"
                    self.declared.notices.append(Notice(message, self.loaded.location(kind, *path)))
        known = {f"models.{node.name}" for node in self.declared.nodes if node.sql is not None}
        known |= {f"seeds.{node.name}" for node in self.declared.nodes if node.csv is not None}
        for key, (_, loaded, place) in self.patches.items():
            if key not in known:
                self.declared.notices.append(
                    Notice(
                        f"{key.partition('.')[2]} is described, but there is no such file",
                        loaded.location(*place),
                    )
                )

    # ------------------------------------------------------------------ sources

    def _source(self, source: SourceProperties, loaded: LoadedYaml, index: int) -> None:
        for number, table in enumerate(source.tables):
            where = loaded.location("sources", index, "tables", number)
            fqn = (self.settings.name, source.name, table.name)
            layer = self._layer("sources", fqn)
            layered = merge_layers(layer, self._rendered(source.config), self._rendered(table.config))
            if layered.get("enabled") is False:
                continue
            self._noting(self._table, source, table, layered, where, fqn)
            self._tests_of(
                table.all_tests,
                f"source:{source.name}.{table.name}",
                None,
                loaded,
                ("sources", index, "tables", number),
                where,
            )
            for position, column in enumerate(table.columns):
                at = ("sources", index, "tables", number, "columns", position)
                name = f'"{column.name}"' if column.quote else column.name
                self._tests_of(column.all_tests, f"source:{source.name}.{table.name}", name, loaded, at, where)

    def _table(
        self,
        source: SourceProperties,
        table: TableProperties,
        config: Mapping[str, Any],
        where: Location,
        fqn: tuple[str, ...],
    ) -> None:
        def setting(name: str) -> Any:
            own = (
                table.config.get(name),
                getattr(table, name),
                source.config.get(name),
                getattr(source, name),
                config.get(name),
            )
            return next((value for value in own if value is not None), None)

        cancelled = "freshness" in table.model_fields_set and table.freshness is None
        freshness = None if cancelled else setting("freshness")
        if isinstance(freshness, Mapping):
            freshness = checked(SourceFreshness, freshness, f"{source.name}.{table.name}", where)
        field_, query = setting("loaded_at_field"), setting("loaded_at_query")
        if table.loaded_at_field or table.config.get("loaded_at_field"):
            query = table.loaded_at_query or table.config.get("loaded_at_query")
        elif table.loaded_at_query or table.config.get("loaded_at_query"):
            field_ = None
        if field_ and query:
            raise ProjectError(
                f"{source.name}.{table.name} has both loaded_at_field and loaded_at_query; keep one",
                location=where,
            )
        meta = {
            **source.meta,
            **(source.config.get("meta") or {}),
            **table.meta,
            **(table.config.get("meta") or {}),
        }
        external = meta.get("external_location") or config.get("external_location")
        database = self._text(source.database) if source.database else self.declared.target["database"]
        schema = self._text(source.schema_) if source.schema_ else source.name
        identifier = self._text(table.identifier) if table.identifier else table.name
        relation, files = Relation(database, schema, identifier), None
        expression = str(relation)
        if external:
            text = str(external).replace("{name}", table.name).replace("{identifier}", identifier)
            files, expression = _external(text, self.root)
        self.declared.sources.append(
            Source(
                source_name=source.name,
                table_name=table.name,
                relation=None if external else relation,
                expression=expression,
                files=files,
                loaded_at_field=self._text(field_) if field_ else None,
                loaded_at_query=self._text(query) if query else None,
                filter=self._text(freshness.filter) if freshness and freshness.filter else None,
                warn_after=freshness.warn_after.age if freshness and freshness.warn_after else None,
                error_after=freshness.error_after.age if freshness and freshness.error_after else None,
                fqn=fqn,
                location=where,
                description=self._text(table.description or source.description),
                columns=tuple(
                    Column(column.name, self._text(column.description), column.data_type) for column in table.columns
                ),
                tags=tuple(dict.fromkeys([*source.tags, *table.tags, *_listed(config.get("tags"))])),
                meta=meta,
            )
        )

    # ------------------------------------------------------------------ data tests

    def _node_tests(self) -> None:
        for key, (patch, loaded, where) in self.patches.items():
            names = [
                node.id
                for node in self.declared.nodes
                if node.name == patch.name and f"{'seeds' if node.csv else 'models'}.{node.name}" == key
            ]
            at = loaded.location(*where)
            for name in names:
                self._tests_of(patch.all_tests, name, None, loaded, where, at)
                for number, column in enumerate(patch.columns):
                    quoted = f'"{column.name}"' if column.quote else column.name
                    self._tests_of(column.all_tests, name, quoted, loaded, (*where, "columns", number), at)

    def _tests_of(
        self,
        entries: list[Any],
        tested: str,
        column: str | None,
        loaded: LoadedYaml,
        where: tuple[str | int, ...],
        fallback: Location,
    ) -> None:
        for entry in entries:
            location = loaded.location(*where)
            try:
                test = parse_entry(entry, location or fallback)
            except SaoError as error:
                self.declared.errors.append(error)
                continue
            fqn = (self.settings.name, tested.removeprefix("source:").split(".")[0])
            self.declared.tests.append(
                TestDeclaration(
                    kind=test.kind,
                    location=location,
                    package=self.settings.name,
                    tested=tested,
                    column=test.column or column,
                    args=test.args,
                    config=merge_layers(self._test_layer(fqn), self._rendered(test.config, keep=("where",))),
                    name=test.name,
                    description=self._text(test.description),
                    fqn=fqn,
                )
            )

    def _singular(self, path: Path) -> None:
        fqn = self._fqn(path, self.settings.test_paths)
        patch = self.test_patches.get(path.stem, {})
        text = path.read_text(encoding="utf-8")
        location = Location(self._shown(path))
        subject = Subject(name=path.stem, path=location.path, package=self.settings.name, resource_type="test")

        def declare() -> None:
            reading = Render(
                Engine(
                    project_name=self.settings.name,
                    macro_files=self.declared.macro_files,
                    variables=self.declared.variables,
                    target=self.declared.target,
                ),
                subject,
                execute=False,
            )
            own = dict(re_config(reading, text))
            self.declared.tests.append(
                TestDeclaration(
                    kind="singular",
                    location=location,
                    package=self.settings.name,
                    config=merge_layers(self._test_layer(fqn), patch.get("config", {}), own),
                    name=path.stem,
                    sql=text,
                    description=patch.get("description", ""),
                    fqn=fqn,
                )
            )

        self._noting(declare)

    def _test_layer(self, fqn: tuple[str, ...]) -> dict[str, Any]:
        kind = "data_tests" if self.settings.data_tests is not None else "tests"
        return self._layer(kind, fqn)

    # ------------------------------------------------------------------ Jinja in YAML

    def _text(self, value: Any) -> str:
        text = str(value or "")
        return self.expressions.text(text) if "{{" in text else text

    def _rendered(self, values: Mapping[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return configuration with its Jinja rendered, except what is rendered later with more at hand."""
        return {
            key: value if key.removeprefix("+") in (*_DEFERRED, *keep) else self._value(value)
            for key, value in values.items()
        }

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._value(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if not isinstance(value, str) or "{{" not in value:
            return value
        text = self.expressions.text(value)
        plain = {"true": True, "false": False, "none": None, "": None}.get(text.strip().lower(), text)
        return int(text) if isinstance(plain, str) and re.fullmatch(r"-?\d+", text.strip()) else plain


def re_config(reading: Render, text: str) -> Mapping[str, Any]:
    """Return what `config()` says in a template, by reading it once."""
    reading.text(text)
    return reading.noted.config


def _own_config(patch: ModelProperties) -> dict[str, Any]:
    own: dict[str, Any] = {"meta": patch.meta} if patch.meta else {}
    if patch.group is not None:
        own["group"] = patch.group
    if patch.tags:
        own["tags"] = patch.tags
    return merge_layers(own, patch.config)


def _latest(patch: ModelProperties) -> Any:
    if patch.latest_version is not None:
        return patch.latest_version
    return max(
        (version.v for version in patch.versions),
        key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0, str(v)),
    )


def _paths(level: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield prefix
    for key, value in level.items():
        if isinstance(value, Mapping) and not key.startswith("+") and key not in _MAPPING_KEYS:
            yield from _paths(value, (*prefix, key))


def _external(text: str, root: Path) -> tuple[str, str]:
    """Return the files that an `external_location` means, and how SQL reads them."""
    call = re.match(r"\s*\w+\s*\(\s*'([^']+)'", text)
    pattern = call[1] if call else text.strip().strip("'")
    absolute = pattern if "://" in pattern or os.path.isabs(pattern) else str(root / pattern)  # noqa: PTH117 - a glob is no path
    return pattern, text.replace(pattern, absolute) if call else "'" + absolute.replace("'", "''") + "'"
