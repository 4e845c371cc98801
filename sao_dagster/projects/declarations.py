"""What was declared, before it is put together: the common ground of folders and of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sao_dagster.core.nodes import Column, NodeError, Source
from sao_dagster.core.others import OtherProject
from sao_dagster.core.project import Notice
from sao_dagster.core.relations import Relation
from sao_dagster.core.selectors import Selector
from sao_dagster.core.templates import Compiler, RunTemplate
from sao_dagster.errors import Location, NeedsDbtError, SaoError
from sao_dagster.projects.config import listed
from sao_dagster.projects.templates.texts import MacroFile
from sao_dagster.projects.yaml_files import WrittenIn
from sao_dagster.warehouses.protocol import Warehouse
from sao_dagster.warehouses.shared.files import file_digest as file_digest  # noqa: PLC0414 - readers find here all that they need

ELSEWHERE = "elsewhere"
"""The language of a node that is read from another environment, where it was built of whatever it is there."""


@dataclass(frozen=True, kw_only=True)
class CompiledDeclaration:
    """SQL that a reader has compiled already, in place of a template.

    Attributes:
        sql: A whole query: ephemerals that it reads are in it.
        depends_on: Ids of the nodes and sources that it reads.
        incremental_sql: The query when the table is there already, where that is another one.
        pre_hooks: Statements to run before, in the same transaction; None for those of the configuration, which are templates.
        post_hooks: Statements to run after, likewise.
        others: Query and query of an increment as they are in `OTHER_RUNS`; empty where they are the same in all runs.
        asks_time: Whether the template asks for the time.
        asking: What asks the warehouse again what the template asked it; None where it asked nothing.
        in_run: For a data test, what renders it anew in each run, where it depends on the run or on the warehouse.
        macros: For a template that asks, a digest of the macros that it may reach.
        asking_hooks: Those of the hooks that are templates, since they ask the warehouse.
        hook_macros: The texts of the macros that these may call.
        unrendered: Why the template, or that of a hook, could not be rendered, so that nobody knows what it is; empty where it could be.
        program: What of it is a program that may read anything beside what it depends on, in words; empty for nothing.
    """

    sql: str
    depends_on: tuple[str, ...]
    incremental_sql: str | None = None
    pre_hooks: tuple[str, ...] | None = None
    post_hooks: tuple[str, ...] | None = None
    others: tuple[tuple[str, str | None], ...] = ()
    asks_time: bool = False
    asking: Compiler | None = None
    in_run: RunTemplate | None = None
    macros: str = ""
    asking_hooks: tuple[str, ...] = ()
    hook_macros: tuple[str, ...] = ()
    unrendered: str = ""
    program: str = ""


@dataclass(frozen=True, kw_only=True)
class TestDeclaration:
    """One data test.

    Attributes:
        kind: The generic test, or `singular`.
        tested: The id of a node, or of a source (`source:raw.orders`), as in `NodeDeclaration.id`; None for a singular test.
        column: The column, as SQL writes it.
        args: Arguments of a generic test.
        config: Its own configuration, over what its template says by `config()`.
        defaults: That of the project, below both.
        name: A name given by the user, or by the reader.
        shared_name: Its name for dbt, where other tests have it, too; see `DataTest`.
        sql: The text of a singular test.
        compiled: The compiled query, in place of that text or of the macro of a generic test; kind, column and arguments still say
            what the test is.
        error: What the reader found wrong with it.
    """

    __test__ = False

    kind: str
    location: Location
    package: str
    tested: str | None = None
    column: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    shared_name: str | None = None
    sql: str = ""
    compiled: CompiledDeclaration | None = None
    description: str = ""
    fqn: tuple[str, ...] = ()
    error: NodeError | None = None


@dataclass(frozen=True, kw_only=True)
class NodeDeclaration:
    """A model, a seed or a snapshot.

    Attributes:
        name: What `ref` takes.
        sql: The template of a model; None for a seed. Where there is compiled SQL, the template is only shown.
        compiled: The compiled SQL of a model.
        relation: Where it is, if the reader knows; else configuration and naming macros say.
        resource_type: `model`, `seed` or `snapshot`.
        language: `sql`, or that of a model's function.
        csv: The file of a seed, absolute; None for a model.
        csv_digest: Fingerprint of that file, as `file_digest` gives it: it is compared when the file is loaded.
        version: The version, for a versioned model.
        is_latest: Whether `ref` without a version means this one.
        qualifier: What its id begins with where another package has a node of this name: its package; else empty.
        layers: Configuration from the broadest to the most specific, before what `config()` says in the SQL.
        patch_path: The YAML file whose properties speak of it; empty where none does.
        written: Where YAML files say the layers, from the most specific to the broadest.
        built_with: A digest of what else decides how it is built; it counts with the configuration. Empty for nothing.
        is_settled: Whether the layers are all of it, because the reader has heard `config()` already.
        error: What the reader found wrong with it; what else is said is as far as it could be read.
    """

    name: str
    package: str
    location: Location
    fqn: tuple[str, ...]
    sql: str | None = None
    compiled: CompiledDeclaration | None = None
    relation: Relation | None = None
    resource_type: str = "model"
    language: str = "sql"
    csv: str | None = None
    csv_digest: str = ""
    version: str | None = None
    is_latest: bool = True
    qualifier: str = ""
    layers: tuple[Mapping[str, Any], ...] = ()
    patch_path: str = ""
    written: tuple[WrittenIn, ...] = ()
    built_with: str = ""
    is_settled: bool = False
    description: str = ""
    columns: tuple[Column, ...] = ()
    error: NodeError | None = None

    @property
    def id(self) -> str:
        """The name in the project: versions of a model are told apart, and so are nodes of several packages.

        >>> NodeDeclaration(name="orders", package="lib", location=Location("x"), fqn=(), version="2", qualifier="lib").id
        'lib.orders.v2'
        """
        return f"{self.qualifier}.{self.plain_id}" if self.qualifier else self.plain_id

    @property
    def plain_id(self) -> str:
        """The name in its package."""
        return self.name if self.version is None else f"{self.name}.v{self.version}"


@dataclass(frozen=True)
class NeedsDbt:
    """Something that a project uses and that only dbt itself does: an error says so, or a notice where the rest can be built without it.

    Attributes:
        node: The id of the node, or the name of the data test, that uses it; None for the project as a whole.
        uses: What that is, such as "a Python model".
        location: Where, with the line if it is known.
    """

    node: str | None
    uses: str
    location: Location | None

    @classmethod
    def of(cls, error: NeedsDbtError) -> NeedsDbt:
        """Return what an error says only dbt does."""
        return cls(error.name, error.uses, error.location)

    def __str__(self) -> str:
        """Return who uses what, and where."""
        return f"{self.location}: {self.node or 'the project'} uses {self.uses}"


@dataclass(frozen=True)
class ReadByDbt:
    """What dbt said of a project that it has read.

    Attributes:
        manifest: Its `manifest.json`.
        ids: What dbt calls nodes, sources and data tests, by their names here.
        environment: The environment variables that the project reads, with digests of their values then; None where one was not set.
        profile: What the profile says of the target.
        contents: A digest of all else that it follows from, see `sao_dagster.dbt.prepare`; empty where that is not known.
        selects: Whether dbt is given what is to be built, and said nothing but its manifest.
    """

    manifest: Mapping[str, Any]
    ids: Mapping[str, str]
    environment: Mapping[str, str | None]
    profile: Mapping[str, Any]
    contents: str
    selects: bool = False


@dataclass(frozen=True)
class Part:
    """What of a project is put together, where the rest of it is known already.

    Attributes:
        known: What each node reads that is known: it has its place in names and in the graph, and is neither rendered nor made.
        tests: The data tests that are made.
    """

    known: Mapping[str, tuple[str, ...]]
    tests: tuple[str, ...]


@dataclass(kw_only=True)
class Declarations:
    """Everything that was declared, from any format.

    Attributes:
        name: The project's name.
        environment: The place that is built into.
        root: The project's folder, absolute; for a project without one, that of the file that declares it.
        has_folder: Whether the folder is the project's own, so that something may be kept in it between two loads.
        database: The database of what names none.
        schema: The schema of models, where nothing else is said.
        target: What templates see as `target`.
        native: Whether models are built by this package itself; else any materialization is taken as it is.
        effects: Statements that somebody else runs before a run builds anything: what they set or make counts as with `on_run_start`.
        own_package_first: Whether `ref` and `source` in a package mean what is in that rather than what the project itself has.
        quoting: Which parts of names are in quotes; all, where nothing is said.
        group_owners: Owners by group.
        selectors: Selections that have a name, by it.
        follows_clock: Whether properties and configuration that were rendered when it was read may say something else at another time.
        errors: What is wrong with the project as a whole; what is wrong with one node is in its declaration.
        needs_dbt: What the project uses that only dbt does: what the reader found, and then what rendering showed. It does not say what
            the project means, so it is no part of what an assembled project is kept under.
        projects: The other projects whose models it may read, with where that is said.
        others: What is known of them now, by name.
        deferred: The environment in which some nodes are read rather than here; None where none is.
        part: What is put together of it; None for all.
        dbt: Where dbt has read the project, what it said; likewise, since all of it that counts is in the declarations.
    """

    name: str
    environment: str
    dialect: str
    root: str
    database: str | None
    schema: str
    target: Mapping[str, Any]
    native: bool = True
    has_folder: bool = True
    variables: Mapping[str, Any] = field(default_factory=dict)
    macro_files: tuple[MacroFile, ...] = ()
    search_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_package_first: bool = False
    quoting: Mapping[str, Any] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    nodes: list[NodeDeclaration] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    tests: list[TestDeclaration] = field(default_factory=list)
    group_owners: dict[str, tuple[str, ...]] = field(default_factory=dict)
    on_run_start: tuple[str, ...] = ()
    on_run_end: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    selectors: Mapping[str, Selector] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    follows_clock: bool = False
    errors: list[SaoError] = field(default_factory=list)
    projects: dict[str, Location] = field(default_factory=dict)
    others: Mapping[str, OtherProject] = field(default_factory=dict)
    deferred: str | None = None
    part: Part | None = None
    needs_dbt: list[NeedsDbt] = field(default_factory=list, repr=False, compare=False)
    dbt: ReadByDbt | None = field(default=None, repr=False, compare=False)

    def copy(self) -> Declarations:
        """Return the same declarations, to which more can be added by themselves."""
        return replace(
            self,
            nodes=[*self.nodes],
            sources=[*self.sources],
            tests=[*self.tests],
            notices=[*self.notices],
            errors=[*self.errors],
            needs_dbt=[*self.needs_dbt],
        )

    def deferring(self, environment: str, relations: Mapping[str, Relation], part: Part | None = None) -> Declarations:
        """Return the same declarations, but for nodes that are not built here: they are tables of another environment.

        What is known of such a node is where it is. Nothing is read off its SQL, which may be other SQL there.

        Args:
            environment: What people call that environment.
            relations: Where its nodes are, by id.
            part: What is put together; None for all.
        """
        changed = self.copy()
        changed.deferred, changed.part = environment, part
        changed.nodes = [
            replace(
                node,
                sql=None,
                compiled=CompiledDeclaration(
                    sql=f"select * from {relations[node.id]}", depends_on=(), pre_hooks=(), post_hooks=()
                ),
                relation=relations[node.id],
                resource_type="model",
                language=ELSEWHERE,
                csv=None,
                csv_digest="",
                layers=({"materialized": "table"},),
                is_settled=True,
                error=None,
            )
            if node.id in relations
            else node
            for node in self.nodes
        ]
        return changed

    def notice_needs_dbt(self, uses: str, message: str, location: Location | None, node: str | None = None) -> None:
        """Note something that only dbt does and without which the rest can be built, and say so in a notice."""
        self.notices.append(Notice(message, location))
        self.needs_dbt.append(NeedsDbt(node, uses, location))

    def note_needs_dbt(self, node: str | None, error: NodeError | None) -> None:
        """Note what an error says only dbt does; nothing where that is nothing, or is noted already."""
        if error is not None and error.needs_dbt:
            found = NeedsDbt(node, error.needs_dbt, error.location)
            if found not in self.needs_dbt:
                self.needs_dbt.append(found)

    @classmethod
    def into(
        cls,
        warehouse: Warehouse,
        *,
        name: str,
        root: Path,
        target: str | None = None,
        profile: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Declarations:
        """Return declarations in which nothing is declared yet, for a reader to fill.

        Args:
            warehouse: Where the project is built.
            name: The project's name.
            root: The project's folder.
            target: What the place is called; the name that the warehouse has, if nothing else is said.
            profile: What templates see as `target.profile_name`; the project's name, if nothing else is said.
            variables: What `var` gives.
        """
        target = target or warehouse.name
        return cls(
            name=name,
            environment=f"{name}.{target}",
            dialect=warehouse.dialect,
            root=str(root.resolve()),
            database=warehouse.database,
            schema=warehouse.schema,
            target={"profile_name": profile or name, **warehouse.target, "name": target},
            variables=variables or {},
        )


@dataclass(frozen=True)
class Format:
    """A way in which projects are written.

    Attributes:
        name: What it is called, in messages.
        is_in: Returns whether a folder holds a project of this kind.
        read: Returns what the folder declares, and where that is built, given the folder, the name of the target (None for the default),
            and values for variables.
    """

    name: str
    is_in: Callable[[Path], bool]
    read: Callable[[Path, str | None, Mapping[str, Any] | None], tuple[Declarations, Warehouse]]


def error_in(action: Callable[..., object], *args: Any, location: Location) -> NodeError | None:
    """Return what is wrong with a node, as taking a step with it shows; None where the step goes well.

    Templates and libraries may raise anything: what they raise is an error of that node, and of no other.
    """
    try:
        action(*args)
    except Exception as error:  # noqa: BLE001 - see above
        return NodeError.of(error, location)
    return None


def merge_layers(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return configuration in which later layers win, but for what adds up, as in dbt.

    Tags and hooks add up; `meta` and other mappings are merged; and so are `grants`, where a right with a `+` has more people.

    >>> merge_layers({"tags": ["a"], "schema": "x"}, {"tags": "b", "schema": "y"})
    {'tags': ['a', 'b'], 'schema': 'y'}
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            name = {"pre-hook": "pre_hook", "post-hook": "post_hook"}.get(key, key)
            if name in ("tags", "pre_hook", "post_hook") and merged.get(name) is not None and value is not None:
                merged[name] = [*merged[name], *listed(value)]
            elif name in ("tags", "pre_hook", "post_hook"):
                merged[name] = listed(value)
            elif name in ("meta", "persist_docs", "column_types") and isinstance(value, Mapping):
                merged[name] = {**(merged.get(name) or {}), **value}
            elif name == "grants" and isinstance(value, Mapping):
                merged[name] = _granted(merged.get(name) or {}, value)
            else:
                merged[name] = value
    return merged


def _granted(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, list[Any]]:
    found = {right: listed(who) for right, who in base.items()}
    for right, who in layer.items():
        name = right.removeprefix("+")
        more = found.get(name, []) if right.startswith("+") else []
        found[name] = list(dict.fromkeys([*more, *listed(who)]))
    return found
