"""What a render is given, and what it notes: the project, what is rendered, and what that asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sao_dagster.core.others import OtherProject
from sao_dagster.core.relations import Relation
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.sql.dialects import Dialect, dialect_named

if TYPE_CHECKING:
    from sao_dagster.projects.templates.jinja import MacroRegistry


@dataclass(frozen=True)
class Resolved:
    """What a `ref` or `source` leads to.

    Attributes:
        id: The name of the node, or the id of the source.
        relation: Where it is.
        text: What is written into SQL; for ephemerals the name of the common table expression.
    """

    id: str
    relation: Relation
    text: str


@dataclass
class RenderTrace:
    """What a template asked for while it was rendered.

    Attributes:
        refs: Arguments of `ref`: package, name, version.
        sources: Arguments of `source`.
        config: Keyword arguments of `config`, later ones over earlier ones.
        asks_time: Whether it asked for the start of the run, or for the time.
        asks_run_id: Whether it asked for the id of the run.
        config_by_time: Whether it configured something after it had asked for the time.
        config_calls: How often it configured something.
        needs_connection: Whether it asked the warehouse for something.
        macros: Macro files it used, by package and macro name.
        settings: Variables and environment variables it read, with their values.
    """

    refs: dict[tuple[str | None, str, str | None], None] = field(default_factory=dict)
    sources: dict[tuple[str, str], None] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    asks_time: bool = False
    asks_run_id: bool = False
    config_by_time: bool = False
    config_calls: int = 0
    needs_connection: bool = False
    macros: dict[tuple[str, str], MacroFile] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_run(self) -> bool:
        """Whether its text may depend on the run."""
        return self.asks_time or self.asks_run_id


@dataclass(frozen=True, kw_only=True)
class RenderSubject:
    """The model, test or hook that is being rendered.

    Attributes:
        name: Its name.
        path: Its file, for messages.
        package: Where macros are looked up first.
        this: Its relation, where it has one.
        this_text: What is written into SQL for it, where that is not the relation.
        config: Its settled configuration, for `config.get`.
        resource_type: `model`, `test`, `seed` or `operation`.
    """

    name: str
    path: str
    package: str
    this: Relation | None = None
    this_text: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    resource_type: str = "model"


@dataclass
class TemplateContext:
    """All that templates of one project can see.

    Attributes:
        project_name: The root package.
        macro_files: Macros of the project, of installed packages, and of `dbt`.
        variables: `vars` of the project, global ones and those of packages.
        target: What `target` shows.
        database: The database of relations that name none.
        dialect: sqlglot's name of the SQL dialect, which says how names are quoted.
        search_order: `dispatch` of the project: where macros of a namespace are looked for.
        own_package_first: Whether a package looks for what it reads in itself, and then in the project; dbt's
            `require_ref_searches_node_package_before_root`.
        refs: What `ref` leads to, by package, name and version (None: the latest); by None the one of any package, where one alone has it.
        sources: What `source` leads to, by package, source and table; by None that of any package.
        packages: The packages that have a node, by its name and version.
        others: Other projects, whose models `ref` with two arguments leads to.
        descriptions: `docs` blocks by name.
        environment_read: Environment variables that templates asked for, with what they found.
        configures_by_time: Whether the configuration of a node depends on the time.
    """

    project_name: str
    macro_files: tuple[MacroFile, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    database: str | None = None
    dialect: str = ""
    search_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_package_first: bool = False
    refs: dict[tuple[str | None, str, str | None], Resolved] = field(default_factory=dict)
    sources: dict[tuple[str | None, str, str], Resolved] = field(default_factory=dict)
    packages: dict[tuple[str, str | None], list[str]] = field(default_factory=dict)
    others: Mapping[str, OtherProject] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    environment_read: dict[str, str | None] = field(default_factory=dict)
    configures_by_time: bool = False

    @cached_property
    def macros(self) -> MacroRegistry:
        """The macros by name."""
        from sao_dagster.projects.templates.jinja import MacroRegistry  # Jinja, where something is rendered

        return MacroRegistry(self.macro_files)

    @cached_property
    def warned(self) -> set[str]:
        """What templates have warned of: a template is rendered several times, and each warning is told once."""
        return set()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("macros", "warned")}

    @property
    def engine(self) -> Dialect:
        """What is known of the engine that the SQL is for."""
        return dialect_named(self.dialect)

    def add_ref(self, package: str, name: str, version: str | None, leads_to: Resolved) -> None:
        """Note what a `ref` to a package leads to."""
        packages = self.packages.setdefault((name, version), [])
        packages += [package] if package not in packages else []
        self.refs[package, name, version] = leads_to
        if len(packages) == 1:
            self.refs[None, name, version] = leads_to
        else:
            self.refs.pop((None, name, version), None)

    def add_source(self, package: str, source_name: str, table_name: str, leads_to: Resolved) -> None:
        """Note what a `source` of a package leads to."""
        self.sources[package, source_name, table_name] = leads_to
        self.sources.setdefault((None, source_name, table_name), leads_to)

    def resolve_ref(self, package: str | None, name: str, version: str | None, reader: str) -> Resolved | None:
        """Return what a `ref` leads to, or None.

        Args:
            package: The package or project that it names.
            name: The name of the node.
            version: The version that it names.
            reader: The package of what reads it.
        """
        if package is not None and package in self.others:
            read = self.others[package].input(name, version)
            return None if read is None or read.relation is None else Resolved(read.id, read.relation, read.expression)
        looked_in = self._looked_in(reader) if package is None else (package,)
        return next((found for each in looked_in if (found := self.refs.get((each, name, version)))), None)

    def resolve_source(self, source_name: str, table_name: str, reader: str) -> Resolved | None:
        """Return what a `source` leads to, or None; `reader` is the package of what reads it."""
        looked_in = self._looked_in(reader)
        return next((found for each in looked_in if (found := self.sources.get((each, source_name, table_name)))), None)

    def _looked_in(self, reader: str) -> tuple[str | None, ...]:
        """Return where names are looked for, as `_packages_to_search` of dbt-core has it: in the project itself, in the reader's package, in any."""
        return (reader, self.project_name, None) if self.own_package_first else (self.project_name, reader, None)
