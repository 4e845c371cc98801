"""A folder in dbt's layout: `dbt_project.yml`, SQL with Jinja, properties in YAML, seeds, macros, data tests."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sao_dagster.core.nodes import Column, NodeError, Source
from sao_dagster.core.project import Notice
from sao_dagster.errors import Location, NeedsDbtError, ProjectError, SaoError
from sao_dagster.projects.config import checked, listed
from sao_dagster.projects.dbt_folder.data_tests import DataTestReader
from sao_dagster.projects.dbt_folder.dependencies import project_dependencies
from sao_dagster.projects.dbt_folder.files import ProjectFiles
from sao_dagster.projects.dbt_folder.profiles import Target, load_profile
from sao_dagster.projects.dbt_folder.project_file import ProjectFile, Settings
from sao_dagster.projects.dbt_folder.properties_files import (
    ModelProperties,
    ParsedProperties,
    SourceProperties,
    TableProperties,
    VersionProperties,
    each,
    parse_properties,
)
from sao_dagster.projects.dbt_folder.selectors_file import read_selectors
from sao_dagster.projects.dbt_folder.sources import read_table
from sao_dagster.projects.declarations import (
    Declarations,
    Format,
    NodeDeclaration,
    error_in,
    file_digest,
    merge_layers,
)
from sao_dagster.projects.templates.template_context import TemplateContext
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.projects.yaml_files import LoadedYaml, Place, WrittenIn, load_yaml, read_text
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.warehouses.protocol import Warehouse


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
    return open_folder(folder, target=target, variables=variables, warehouse=warehouse).read()


DBT_FOLDER = Format(
    name="dbt_project.yml",
    is_in=lambda folder: (folder / "dbt_project.yml").is_file(),
    read=lambda folder, target, variables: read_folder(folder, target=target, variables=variables),
)
"""Projects in dbt's layout."""


@dataclass(frozen=True)
class OpenedFolder:
    """What `dbt_project.yml` and the profile say, before any model is read.

    Attributes:
        root: The folder, absolute.
        settings: `dbt_project.yml`.
        loaded: The same, with its lines.
        target: The target in use.
        variables: Values of `var`.
        profiles_dir: The folder of `profiles.yml`; None to look for it.
    """

    root: Path
    settings: ProjectFile
    loaded: LoadedYaml
    target: Target
    variables: dict[str, Any]
    profiles_dir: Path | None = None

    @property
    def warehouse(self) -> Warehouse:
        """Where to build."""
        return self.target.warehouse

    def target_at(self, target: str) -> Warehouse | None:
        """Return what another target of the profile builds into; None where there is none of that name, or it cannot be read here."""
        if self.settings.profile is None:
            return None
        try:
            return load_profile(self.root, self.settings.profile, target, self.variables, self.profiles_dir).warehouse
        except SaoError:  # as where it needs an environment variable that is not set here
            return None

    def declarations(self) -> Declarations:
        """Return declarations in which nothing is declared yet, for a reader to fill."""
        declared = Declarations.into(
            self.warehouse,
            name=self.settings.name,
            root=self.root,
            target=self.target.name,
            profile=self.settings.profile,
            variables=self.variables,
        )
        declared.selectors = read_selectors(self.root, declared.target, self.variables)
        for error in self.target.errors:
            declared.errors.append(error)
            declared.note_needs_dbt(None, NodeError.of(error, None))
        return declared

    def read(self) -> tuple[Declarations, Warehouse]:
        """Return what the folder declares, and where that is built."""
        declared = self.declarations()
        _Folder(self.root, self.settings, self.loaded, declared).read()
        return declared, self.warehouse


def open_folder(
    folder: str | Path,
    *,
    target: str | None = None,
    variables: Mapping[str, Any] | None = None,
    warehouse: Warehouse | None = None,
    profiles_dir: Path | None = None,
    schema: str | None = None,
) -> OpenedFolder:
    """Return what a folder says of itself; see `read_folder`, and for `profiles_dir` and `schema` `load_project`."""
    root = Path(folder).resolve()
    file = root / "dbt_project.yml"
    if not file.is_file():
        raise ProjectError(f"there is no dbt_project.yml in {root}; name the project's folder (--project-dir)")
    loaded = load_yaml(file, "dbt_project.yml")
    settings: ProjectFile = checked(ProjectFile, loaded.values, None, Location("dbt_project.yml"))
    if not re.fullmatch(r"[^\W\d]\w*", settings.name):  # dbt's rule; it is part of names of files
        raise ProjectError(
            f"the name {settings.name!r} of a project has letters, digits and underscores only, and does not begin with a digit",
            location=loaded.location("name"),
        )
    given = {**(settings.vars or {}), **(variables or {})}
    if warehouse is None:
        if settings.profile is None:
            raise ProjectError(
                "no profile is named; add a line such as 'profile: my_profile'",
                location=Location("dbt_project.yml"),
            )
        found = load_profile(root, settings.profile, target, given, profiles_dir, schema)
    else:
        found = Target(target or warehouse.name, warehouse)
    return OpenedFolder(root, settings, loaded, found, given, profiles_dir)


@dataclass
class _Folder:
    root: Path
    file: ProjectFile
    loaded: LoadedYaml
    declared: Declarations
    patches: dict[str, tuple[ModelProperties, LoadedYaml, tuple[str | int, ...]]] = field(
        default_factory=dict
    )  # by name
    test_patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    versioned: dict[str, tuple[str, VersionProperties]] = field(default_factory=dict)
    invalid: dict[str, NodeError] = field(default_factory=dict)  # what properties say wrongly of a model or a seed

    def read(self) -> None:
        """Read all files of the folder into the declarations: macros, docs, properties, models, seeds, sources and data tests, in this order."""
        settings, declared = self.file, self.declared
        declared.macro_files = tuple(self._macro_files())
        declared.search_order = settings.search_order
        declared.descriptions = dict(self._docs())
        declared.quoting = settings.quoting
        declared.on_run_start = tuple(settings.on_run_start)
        declared.on_run_end = tuple(settings.on_run_end)
        self._noting(lambda: declared.projects.update(project_dependencies(self.root)))
        context = TemplateContext(
            project_name=settings.name,
            variables=declared.variables,
            target=declared.target,
            dialect=declared.dialect,
            descriptions=declared.descriptions,
        )
        self.settings = Settings(settings, self.loaded, context)
        self.settings.check()
        self._refuse()
        files = [
            *self._files(settings.model_paths, (".yml", ".yaml")),
            *self._files(settings.seed_paths, (".yml", ".yaml")),
        ]
        files += self._files(settings.test_paths, (".yml", ".yaml"))
        properties: list[tuple[LoadedYaml, ParsedProperties]] = []
        for path in dict.fromkeys(files):
            self._noting(self._properties, path, properties)
        for loaded, found in properties:
            parsed = found.file
            for kind, table in (("models", parsed.models), ("seeds", parsed.seeds)):
                for index, node in each(table):
                    self._patch(node, loaded, (kind, index))
                    if (kind, index) in found.errors:
                        self.invalid.setdefault(node.name, found.errors[kind, index])
            for entry in (*(parsed.data_tests or ()), *(parsed.tests or ())):
                self.test_patches[entry.name] = {"config": entry.config, "description": entry.description}
            for _, group in each(parsed.groups):
                owner = group.get("owner") or {}
                declared.group_owners[str(group["name"])] = tuple(
                    str(owner[key]) for key in ("email", "name") if owner.get(key)
                )[:1]
        for path in self._files(settings.model_paths, (".py",)):
            fqn = self._fqn(path, settings.model_paths)
            self._refuse_node(path.stem, "model", "a Python model", Location(self._shown(path)), fqn)
        for path in self._files(settings.model_paths, (".sql",)):
            self._noting(self._model, path)
        for path in self._files(settings.seed_paths, (".csv",)):
            self._noting(self._seed, path)
        tests = DataTestReader(settings, self.settings, declared)
        for loaded, found in properties:
            for index, source in each(found.file.sources):
                self._source(source, loaded, index, found.errors, tests)
        for path in self._files(settings.test_paths, (".sql",)):
            if "generic" not in path.relative_to(self.root).parts:
                fqn, patch = self._fqn(path, settings.test_paths), self.test_patches.get(path.stem, {})
                tests.singular(path, self._shown(path), fqn, patch)
        self._node_tests(tests)
        self._unused()
        declared.follows_clock = declared.follows_clock or self.settings.follows_clock

    # ------------------------------------------------------------------ files

    @cached_property
    def _found(self) -> ProjectFiles:
        return ProjectFiles(self.root)

    def _files(self, folders: Iterable[str], endings: tuple[str, ...]) -> list[Path]:
        return self._found.find(folders, endings)

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
        install = self.root / self.file.packages_install_path
        for package in sorted(install.glob("*/dbt_project.yml")) if install.is_dir() else []:
            name = str((load_yaml(package, self._shown(package)).values or {}).get("name", package.parent.name))
            files = ProjectFiles(package.parent)
            for path in files.find(["macros"], (".sql",)):
                yield MacroFile(name, self._shown(path), read_text(path, self._shown(path)))
            if files.find(["models"], (".sql", ".py")):
                message = f"the package {name} is used for its macros only; its models are not built"
                where = Location(self._shown(package))
                self.declared.notice_needs_dbt(f"models of the package {name}", message, where)
        own = self._files(self.file.macro_paths, (".sql",))
        own += [
            path
            for path in self._files(self.file.test_paths, (".sql",))
            if "generic" in path.relative_to(self.root).parts
        ]
        for path in own:
            yield MacroFile(self.file.name, self._shown(path), read_text(path, self._shown(path)))

    def _docs(self) -> Iterator[tuple[str, str]]:
        for path in self._files([*self.file.model_paths, *self.file.macro_paths, *self.file.seed_paths], (".md",)):
            text = read_text(path, self._shown(path))
            for name, body in re.findall(r"\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}", text, re.DOTALL):
                yield name, body.strip()

    def _refuse(self) -> None:
        """Declare what is there and not done here as broken, rather than leaving it out silently."""
        for path in self._files(self.file.snapshot_paths, (".sql",)):
            shown = self._shown(path)
            names = re.findall(r"\{%-?\s*snapshot\s+(\w+)", read_text(path, shown)) or [path.stem]
            for name in names:
                self._refuse_node(name, "snapshot", "a snapshot", Location(shown))
        for path in self._files(self.file.snapshot_paths, (".yml", ".yaml")):
            self._refuse_listed(load_yaml(path, self._shown(path)))
        for name in ("packages.yml", "dependencies.yml"):
            path = self.root / name
            if (
                path.is_file()
                and (load_yaml(path, name).values or {}).get("packages")
                and not (self.root / self.file.packages_install_path).is_dir()
            ):
                self.declared.notices.append(
                    Notice(
                        "the packages it names are not installed; models that use them cannot be rendered (run 'dbt deps' once)",
                        Location(name),
                    )
                )

    def _properties(self, path: Path, found: list[tuple[LoadedYaml, ParsedProperties]]) -> None:
        loaded = load_yaml(path, self._shown(path))
        parsed = parse_properties(loaded)
        self.declared.notices += parsed.notices
        self._refuse_listed(loaded)
        if parsed.file.unit_tests:
            where = loaded.location("unit_tests")
            self.declared.notice_needs_dbt("unit tests", "unit tests are not run here", where)
        found.append((loaded, parsed))

    def _refuse_listed(self, loaded: LoadedYaml) -> None:
        """Declare the snapshots and functions that a properties file lists as broken; a snapshot of SQL may be described there, too."""
        values = loaded.values if isinstance(loaded.values, Mapping) else {}
        there = {node.name for node in self.declared.nodes}
        for key in ("snapshots", "functions"):
            for index, entry in enumerate(listed(values.get(key))):
                name = entry.get("name") if isinstance(entry, Mapping) else None
                if str(name) not in there:
                    place = loaded.location(key, index)
                    kind = key.removesuffix("s")
                    self._refuse_node(str(name), kind, f"a {kind}", place)

    def _refuse_node(
        self, name: str, resource_type: str, uses: str, location: Location, fqn: tuple[str, ...] | None = None
    ) -> None:
        """Declare what only dbt builds as broken; not so where it is disabled."""
        fqn = fqn or (self.file.name, name)
        patch = self.patches[name][0] if name in self.patches else None
        layers = [self.settings.layer(f"{resource_type}s", fqn)] if resource_type != "function" else []
        layers += [_own_config(patch, self.settings)] if patch is not None else []
        error = NodeError.of(NeedsDbtError(uses), location)
        if merge_layers(*layers).get("enabled") is not False:
            self.declared.note_needs_dbt(name, error)
        self.declared.nodes.append(
            NodeDeclaration(
                name=name,
                package=self.file.name,
                location=location,
                fqn=fqn,
                resource_type=resource_type,
                layers=tuple(layers),
                error=error,
            )
        )

    # ------------------------------------------------------------------ models and seeds

    def _patch(self, node: ModelProperties, loaded: LoadedYaml, where: tuple[str | int, ...]) -> None:
        if node.name in self.patches:
            other = self.patches[node.name]
            self.declared.errors.append(
                ProjectError(
                    f"{node.name} is described twice; the other place is {other[1].location(*other[2])}",
                    location=loaded.location(*where),
                )
            )
            return
        self.patches[node.name] = (node, loaded, where)
        for version in node.versions:
            self.versioned[version.defined_in or f"{node.name}_v{version.v}"] = (node.name, version)
            if str(version.v) == str(_latest(node)) and not version.defined_in:
                self.versioned.setdefault(node.name, (node.name, version))

    def _fqn(self, path: Path, folders: Iterable[str]) -> tuple[str, ...]:
        shown = self._shown(path)
        for folder in folders:
            prefix = folder.strip("/") + "/"
            if shown.startswith(prefix):
                *places, _ = shown[len(prefix) :].split("/")
                return (self.file.name, *places, path.stem)
        return (self.file.name, path.stem)

    def _model(self, path: Path) -> None:
        name, version = self.versioned.get(stem := path.stem, (stem, None))
        self._node(path, name, self.file.model_paths, "models", version)

    def _seed(self, path: Path) -> None:
        self._node(path, path.stem, self.file.seed_paths, "seeds", None)

    def _node(
        self, path: Path, name: str, folders: Iterable[str], kind: str, version: VersionProperties | None
    ) -> None:
        """Declare the node of a file, once for each of its versions, with what properties files say of it."""
        fqn = self._fqn(path, folders)
        if version is not None:
            fqn = (*fqn[:-1], name, f"v{version.v}")
        patch, loaded, where = self.patches.get(name, (None, None, ()))
        location = Location(self._shown(path))
        place = location if loaded is None else loaded.location(*where)
        properties = [_written(place, where, patch, version)] if patch is not None else []
        if patch is not None and version is not None:
            patch = patch.of_version(version)
        layers = [self.settings.layer(kind, fqn)]
        columns: list[Column] = []
        described: list[str] = []
        texts: list[str] = []

        def describe() -> None:
            """Add what the properties say."""
            if patch is None:
                return
            layers.append(_own_config(patch, self.settings))
            described.append(self.settings.text(patch.description))
            text = self.settings.text
            named = {each.name: each for each in patch.columns}
            columns.extend(Column(each.name, text(each.description), each.data_type) for each in named.values())

        def read() -> None:
            texts.append(file_digest(path) if is_seed else read_text(path, location.path))

        is_seed = kind == "seeds"
        unread = error_in(read, location=location)
        error = replace(unread, is_opaque=True) if unread else None
        error = error or self.invalid.get(name) or error_in(describe, location=place)
        text = "".join(texts)
        self.declared.nodes.append(
            NodeDeclaration(
                name=name,
                package=self.file.name,
                location=location,
                fqn=fqn,
                sql=None if is_seed or not texts else text,
                resource_type="seed" if is_seed else "model",
                csv=str(path) if is_seed else None,
                csv_digest=text if is_seed else "",
                version=None if version is None else str(version.v),
                is_latest=version is None or patch is None or str(version.v) == str(_latest(patch)),
                layers=tuple(layers),
                patch_path="" if loaded is None else loaded.path,
                written=(*properties, self.settings.written(kind, fqn)),
                description="".join(described),
                columns=tuple(columns),
                error=error,
            )
        )

    def _unused(self) -> None:
        """Point out what is configured or described for files that are not there."""
        self.declared.notices += self.settings.unused()
        there = {node.name: node for node in self.declared.nodes}
        for name, (_, loaded, place) in self.patches.items():
            message, alike = f"{name} is described, but there is no such file", "described, no file"
            if (node := there.get(name)) is not None:
                own = "seeds" if node.csv else "models"
                message = f"{name} is described under {place[0]}, and stands under {own}; what is said there counts"
                alike = f"described under {place[0]}"
                if place[0] == own or node.resource_type not in ("model", "seed"):
                    continue
            self.declared.notices.append(Notice(message, loaded.location(*place), kind=alike))

    # ------------------------------------------------------------------ sources

    def _source(
        self,
        source: SourceProperties,
        loaded: LoadedYaml,
        index: int,
        errors: Mapping[Place, NodeError],
        tests: DataTestReader,
    ) -> None:
        """Declare the tables of a source, with their data tests; a table that cannot be read is broken."""
        for number, table in enumerate(source.tables):
            place = ("sources", index, "tables", number)
            where = loaded.location(*place)
            made: Source | None = None
            error = errors.get(place) or errors.get(place[:2])
            try:
                made = self._table(source, table, where)
                if made is None:
                    continue
            except SaoError as raised:
                error = error or NodeError.of(raised, where)
            made = made or self._unread_table(source, table, where)
            self.declared.sources.append(made if error is None else replace(made, error=error))
            self.declared.note_needs_dbt(made.id, error)
            tests.of(table, made.id, loaded, place, where, (*source.tags, *table.tags))

    def _table(self, source: SourceProperties, table: TableProperties, where: Location) -> Source | None:
        """Return a table of a source; None where it is disabled.

        Raises:
            SaoError: A value is wrong, or a template fails.
        """
        layer = self.settings.layer("sources", (self.file.name, source.name, table.name))
        config = merge_layers(layer, self.settings.rendered(source.config), self.settings.rendered(table.config))
        if config.get("enabled") is False:
            return None
        read = read_table(
            self.settings,
            source,
            table,
            config,
            root=self.root,
            database=self.declared.database,
            engine=dialect_named(self.declared.dialect),
            where=where,
        )
        if (read.warn_after or read.error_after) and not read.has_age_limit:
            message = f"the freshness of {source.name}.{table.name} is not checked; give it a loaded_at_field or a loaded_at_query"
            self.declared.notices.append(Notice(message, where))
        return read

    def _unread_table(self, source: SourceProperties, table: TableProperties, where: Location) -> Source:
        """Return a table of a source of which no more is known than its name."""
        relation = dialect_named(self.declared.dialect).relation(self.declared.database, source.name, table.name)
        return Source(
            source_name=source.name,
            table_name=table.name,
            relation=relation,
            expression=str(relation),
            fqn=(self.file.name, source.name, table.name),
            location=where,
        )

    def _node_tests(self, tests: DataTestReader) -> None:
        """Declare the data tests of models and seeds."""
        named: dict[str, list[NodeDeclaration]] = {}
        for node in self.declared.nodes:
            named.setdefault(node.name, []).append(node)
        for patch, loaded, where in self.patches.values():
            versions = {str(each.v): patch.of_version(each) for each in patch.versions}
            for node in named.get(patch.name, ()):
                said = versions.get(node.version or "", patch)
                tests.of(said, node.id, loaded, where, loaded.location(*where))


def _own_config(patch: ModelProperties, settings: Settings) -> dict[str, Any]:
    """Return what properties say of a node's configuration, rendered: its `config` over what stands beside that."""
    beside = {"meta": patch.meta, "group": patch.group, "access": patch.access, "tags": patch.tags}
    said = {key: value for key, value in beside.items() if value}
    return merge_layers(settings.rendered(said), settings.rendered(patch.config))


def _written(at: Location, where: Place, patch: ModelProperties, version: VersionProperties | None) -> WrittenIn:
    """Return where a properties file configures a node, or a version of it."""
    numbers = [number for number, each in enumerate(patch.versions) if version is not None and each.v == version.v]
    return WrittenIn(at, (*((*where, "versions", each, "config") for each in numbers), (*where, "config"), where))


def _latest(patch: ModelProperties) -> Any:
    if patch.latest_version is not None:
        return patch.latest_version
    return max(
        (version.v for version in patch.versions),
        key=lambda v: (not isinstance(v, int | float), v if isinstance(v, int | float) else 0, str(v)),
    )
