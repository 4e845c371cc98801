"""The seam between deciding and building: what is there and in which version (`Session`), and who builds (`Materializer`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeAlias, runtime_checkable

from sao_dagster.core.connection import NO_SETTINGS, ConnectionSettings
from sao_dagster.core.data_version import DataVersion, definition_version
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.messages import Message
from sao_dagster.core.nodes import DataTest, Node
from sao_dagster.core.policy import Expiry
from sao_dagster.core.records import Verdict
from sao_dagster.core.relations import Relation, RelationKey, folded
from sao_dagster.core.templates import CompiledSql
from sao_dagster.errors import UnsupportedError, WarehouseError
from sao_dagster.sql.made_functions import MadeFunctions
from sao_dagster.warehouses.shared.files import ReadPaths
from sao_dagster.warehouses.shared.names import without_quotes


@dataclass(frozen=True)
class RelationInfo:
    """A table or view as the catalog has it.

    Attributes:
        is_view: Whether it is a view.
        columns: Names and types, in order; None where the catalog does not tell those of all relations, and was not asked for these.
        definition: The SQL of a view, as the catalog keeps it.
        build_id: Which build made it, where the warehouse keeps that; None where none of ours did.
    """

    is_view: bool
    columns: tuple[tuple[str, str], ...] | None
    definition: str | None = None
    build_id: str | None = None

    @property
    def kind(self) -> str:
        """What it is, in dbt's words."""
        return "view" if self.is_view else "table"

    @property
    def definition_version(self) -> DataVersion:
        """The version by which a view that someone else replaced is recognised."""
        return definition_version(None if self.definition is None else without_quotes(self.definition))


class VersionsBy(str, Enum):
    """What a warehouse can say of the content of a relation, from the most exact to nothing."""

    CONTENT = "content"
    SNAPSHOT = "snapshot"
    METADATA = "metadata"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a warehouse can do; the defaults are those of the humblest one.

    Attributes:
        exclusive: Nobody else can write to anything that a session sees, for as long as it is open.
        stamp: One token says whether anything in it may have changed (`Session.stamp`).
        build_ids: It keeps itself which build made what, in the transaction of the build (`Session.build_ids`, `Built.read`).
        sizes: It says at once how many bytes relations take (`Session.sizes`).
        transactional_ddl: A build is seen as a whole or not at all, also by those who come after a crash. Where that is not so,
            the record of a relation is forgotten before it is built.
        views_by_name: A view finds what it reads by its name, each time it is read; so it stands in the way of nobody who makes that anew.
        builds_together: What is ready at a time is built in one go (`Session.watch_steps`): as many steps are taken at once as there are.
        source_versions: How the versions of tables that others fill are read; with `NONE`, only `loaded_at_*` tells of news.
        model_versions: How the versions of what is built are read; with `NONE`, a build is a version of its own.
    """

    exclusive: bool = False
    stamp: bool = False
    build_ids: bool = False
    sizes: bool = False
    transactional_ddl: bool = False
    views_by_name: bool = False
    builds_together: bool = False
    source_versions: VersionsBy = VersionsBy.NONE
    model_versions: VersionsBy = VersionsBy.NONE


CHEAP_BYTES = 256 * 2**20
"""How large a table may be to be read for its version although only some rows came to it."""

ReadFiles: TypeAlias = tuple[str | None, ...]
"""Paths and globs of files that are read, as this process finds them; None for one that may be another file for the engine."""

Columns: TypeAlias = tuple[tuple[str, str], ...]
"""Names and types of columns, in order."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What a build is asked for, besides the node.

    Attributes:
        compile: Renders the statements of a model for this run.
        full_refresh: Whether to build an incremental model from the start.
        reads: The relations of other nodes that it reads, with the build of each that was looked at, of those that the warehouse keeps.
        unwatched: What it reads and nothing shows to be written to, with the columns that do not count: a build that has a snapshot says
            which content that has in it (`Built.contents`); elsewhere nobody knows what was read.
        run_id: The run.
        session: The warehouse, open, for whoever builds through it.
    """

    compile: Callable[[], CompiledSql]
    full_refresh: bool
    reads: Mapping[Relation, str | None]
    run_id: str
    session: Session
    unwatched: Mapping[Relation, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build left behind; what is left out is looked up, or not known.

    Attributes:
        data_version: The version of the content, read in the build's own transaction.
        columns: Names and types, in order.
        rows: How many rows; None for a view, and where they were not counted.
        seconds: How long the statements took, without reading the version; None where the whole call is to be timed.
        build_id: The name under which the warehouse itself keeps this build; None where it keeps none.
        changed: False where the warehouse knows that an incremental build wrote no row; None where only the version tells.
        read: By relation that was read, which build of it that was; of those that the warehouse keeps.
        contents: By relation among `BuildRequest.unwatched`, the version of what it holds in the snapshot that the build has read.
        movement: What `Session.movements` gives of it as long as nobody writes to it after its version was read; None where that is to be asked.
        is_counted: Whether `Session.movements`, asked now, shows all that the build has written, where the warehouse keeps no builds.
        is_read_after: Whether its content is to be read now for its version, though what somebody has written to it since counts as built then.
        dropped: Views that are gone: they could not stay over the new relation, or whoever built it drops all that are over the old one.
        adopted: Whether nothing was built, since it was there; see `Session.adopt`.
        shown_by: The version of the definition of a view that was made where a table was to be; None where that is no such view, or is to be looked up.
    """

    data_version: DataVersion | None = None
    columns: Columns | None = None
    rows: int | None = None
    seconds: float | None = None
    build_id: str | None = None
    changed: bool | None = None
    read: Mapping[Relation, str | None] = field(default_factory=dict)
    contents: Mapping[Relation, DataVersion | None] = field(default_factory=dict)
    movement: str | None = None
    is_counted: bool = False
    is_read_after: bool = False
    dropped: tuple[RelationKey, ...] | None = None
    adopted: bool = False
    shown_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodeOutcome:
    """What became of a node or a data test in a run, for whoever builds.

    Attributes:
        name: Its name in the project.
        status: `reused`, `skipped` or `error`; of a data test its verdict, whether it was asked, reused or proven, or `skipped`.
        message: Why, in words.
        failures: Of a data test, how many failing rows there are.
        seconds: How long it took.
    """

    name: str
    status: str
    message: str
    failures: int | None = None
    seconds: float = 0.0


class Materializer(Protocol):
    """Who builds: this package itself (`NativeMaterializer`), or another program."""

    def build(self, node: Node, request: BuildRequest) -> Built:
        """Build a node: a model of any materialization, a seed, a snapshot.

        Several threads call it at once. What it raises as a `SaoError` is the failure of the node. If it fails, or the process
        stops, anything may be left: the record of the node is forgotten before, unless it is the warehouse's own and builds in one
        transaction.

        Raises:
            InputBuiltError: What it reads is another build than the one that was looked at; nothing was built, and it is decided again.
        """


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """What a data test gave that was run by whoever builds.

    Attributes:
        verdict: What its failures mean.
        failures: How many there are; 0 where it passed or could not run.
        seconds: How long it took.
        error: Why it could not run.
    """

    __test__ = False

    verdict: Verdict
    failures: int = 0
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class QueryResult:
    """The answer to a query: names, and rows in order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class FunctionInfo:
    """A function that somebody made, as the catalog has it; all that have one name are one.

    Attributes:
        definition: Differs whenever what it does may differ, but for what it reads.
        queries: The SQL in it, as statements: what they read is read by the function.
        expiry: When its results stop being true by themselves, as far as the catalog says.
        written: Differs whenever it was written, also where what it does is the same as before; nothing where the catalog does not show that.
    """

    definition: str
    queries: tuple[str, ...] = ()
    expiry: Expiry | None = None
    written: str = ""


@dataclass(frozen=True)
class Constraints:
    """What the warehouse itself makes sure of, for every content of a table, and whether its SQL means what it does elsewhere.

    Attributes:
        not_null: Columns, by `Relation.key`.
        unique: Sets of columns, by `Relation.key`; rows with a null in one of them do not count.
        collations: Whether there are texts that are compared otherwise than letter by letter.
        functions: Names of functions, aggregates and macros that users made, in lower case.
        overrides: Whether users made something that takes the place of what is called without its name, or of a function of the
            engine's own: an operator, a cast, a macro of the same name.
    """

    not_null: Mapping[RelationKey, tuple[str, ...]]
    unique: Mapping[RelationKey, tuple[tuple[str, ...], ...]]
    collations: bool
    functions: frozenset[str] = frozenset()
    overrides: bool = False


Catalog = Mapping[RelationKey, RelationInfo]
"""What is in the warehouse, by `Relation.key`."""


@dataclass(frozen=True)
class ContentTokens:
    """What shows that tables hold what they did, without reading them.

    Attributes:
        tokens: By table. One that is taken before the content is read is kept with it.
        are_settled: Whether they show all that was written until now. Only then a table that has the token that was kept holds what was kept.
    """

    tokens: Mapping[Relation, str] = field(default_factory=dict)
    are_settled: bool = False


class Session(Protocol):
    """An open connection: what is there, and asking; may be used by several threads at once.

    Whoever derives from it has the answers of the humblest warehouse for what it does not say itself. All methods raise
    `sao_dagster.errors.WarehouseError` with the warehouse's own words.
    """

    def catalog(self) -> Catalog:
        """Return all tables and views of the databases in use."""

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""

    def columns_of(self, read: Relation | str) -> Columns:
        """Return names and types of the columns of a relation, or of anything else that can stand after `from`."""

    def interrupt(self) -> None:
        """Stop all running statements, from any thread."""

    def materializer(self) -> Materializer:
        """Return what builds natively in this session."""
        raise UnsupportedError("nothing is built natively in this warehouse; give the runner a materializer of its own")

    def begin_builds(self, names: Collection[str], *, full_refresh: bool) -> bool:
        """Make ready to build, once in a run, before its first build and while nothing else is asked; return whether all is to be looked up again.

        Args:
            names: The nodes and data tests of the run.
            full_refresh: Whether incremental models are built from the start.
        """
        return False

    def watch_steps(self, going: Callable[[], int]) -> None:
        """Be told how many steps of a run are being taken; whoever builds several nodes in one go begins when all of these wait for it."""
        return

    def end_builds(self, outcomes: Sequence[NodeOutcome]) -> None:
        """End what `begin_builds` began, given what became of all that was not built here."""
        return

    def adopt(self, node: Node) -> Built:
        """Return what there is of a node that others have made; where the warehouse keeps builds, it counts as one of ours from here on."""
        counted = self.query(f"select count(*) from {node.relation}").rows if node.materialized.holds_data else None
        rows = None if counted is None else int(counted[0][0])
        return Built(columns=self.columns_of(node.relation), rows=rows, seconds=0.0, adopted=True)

    def run_test(self, test: DataTest) -> TestRun | None:
        """Run a data test as whoever builds does it; None where it is asked by its SQL, as by default."""
        return None

    def needs_builds(self, test: DataTest, *, is_known: bool) -> bool:
        """Return whether a data test is run only once builds have begun, as whoever builds runs it or renders it; by default none is.

        Args:
            test: The test.
            is_known: Whether what its template asks is answered as it was when its SQL was made.
        """
        return False

    def database_id(self) -> str | None:
        """Return what the database itself says that tells it from all others, wherever it is and whoever asks; None if it has nothing."""
        return None

    def settings(self) -> ConnectionSettings:
        """Return what is set in each of its connections that may change results; by default nothing."""
        return NO_SETTINGS

    def has_schema(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there; as far as the catalog shows it, by what it holds."""
        place = folded(database or "")
        return any(folded(key[1]) == folded(schema) and place in ("", folded(key[0])) for key in self.catalog())

    def info_of(self, relation: Relation) -> RelationInfo | None:
        """Return what `catalog` says of a relation, for whoever asks of one; None where it is not there."""
        return self.catalog().get(relation.key)

    def kind_of(self, relation: Relation) -> str | None:
        """Return whether a relation is a `table` or a `view`; None where it is not there."""
        info = self.info_of(relation)
        return None if info is None else info.kind

    def relations_at_once(self) -> Catalog | None:
        """Return all that `kind_of` would find, with what `columns_of` would say of it, for whoever asks of many; by default None, so that each is asked."""
        return None

    def time_zone(self) -> str | None:
        """Return the IANA name of the time zone in which SQL knows the date here, as `current_date`; None where that is not known."""
        return None

    def resolved(self, tables: Collection[UndeclaredInput]) -> Mapping[UndeclaredInput, Relation]:
        """Return which relations are meant by names of tables, by the rules of this session; none for what is not there."""
        return {}

    def behind_views(self, relations: Collection[Relation]) -> Mapping[Relation, frozenset[RelationKey]]:
        """Return what the views among some relations read, at any depth: tables and views. By default nobody knows."""
        return {}

    def files_behind(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, ReadFiles]:
        """Return the files that the views among some relations read, at any depth; no entry where there are none. By default there are none."""
        return {}

    def read_paths(self) -> ReadPaths:
        """Return from where relative paths in SQL are taken; by default, from where this process is."""
        return ReadPaths()

    def columns_shown(self, view: Relation, columns: Columns) -> Columns | None:
        """Return the columns that a view has when it is read now, given those that the catalog has of it; None where it cannot be read.

        By default the catalog is right, as where a view that reads a table holds on to it.
        """
        return columns

    def functions(self, names: Collection[str]) -> Mapping[str, FunctionInfo]:
        """Return the functions that somebody made, by their names in lower case; none for those that are not there or not understood.

        Operators, casts, types and what else has a name are among them, by names as `MadeFunctions.called_by` has them.
        """
        return {}

    def made_functions(self) -> MadeFunctions:
        """Return all that somebody made that SQL may call: a call of one of the engine's own functions may mean one of them."""
        return MadeFunctions()

    def make_schema(self, database: str | None, schema: str) -> None:
        """Create a schema; an error where there is one of that name."""
        raise UnsupportedError(f"this warehouse makes no schemas ({schema})")

    def drop_relations(self, tables: Collection[Relation], views: Collection[Relation]) -> None:
        """Drop views, and then tables; an error where something else depends on one of them."""
        raise UnsupportedError("this warehouse drops no tables and views")

    def drop_schema(self, database: str | None, schema: str) -> None:
        """Drop a schema in which there is nothing but what this package keeps there for itself; an error where there is more."""
        raise UnsupportedError(f"this warehouse drops no schemas ({schema})")

    def row_hash(self, columns: Columns) -> str | None:
        """Return an expression for the hash of a row, different wherever a query can tell the rows apart; None where there is none.

        Args:
            columns: Names and types of what counts of the row, at least one.
        """
        return None

    def constraints(self) -> Constraints:
        """Return the constraints that the warehouse enforces; by default none, and texts may be compared in any way."""
        return Constraints({}, {}, collations=True)

    def versions(
        self, catalog: Catalog, omit: Mapping[Relation, Collection[str]], seconds: float
    ) -> Mapping[Relation, DataVersion | None]:
        """Return the data version of each relation; None where it cannot be read within the time.

        Args:
            catalog: What is in the warehouse.
            omit: The relations, with the columns that do not count.
            seconds: The time for all of them.
        """
        return dict.fromkeys(omit)

    def movements(self, catalog: Catalog, relations: Collection[Relation]) -> Mapping[Relation, str]:
        """Return a token by relation that differs whenever it may hold something else than before; no entry where nothing shows that.

        It costs no reading of rows. By default nothing shows it, so that versions are read again where it matters.
        """
        return {}

    def identities(self, relations: Collection[Relation]) -> Mapping[Relation, str]:
        """Return a token by relation that differs once it is made anew, emptied, or has other columns or another definition.

        Rows that are written in place do not show in it. By default nothing shows it.
        """
        return {}

    def content_tokens(self, relations: Collection[Relation]) -> ContentTokens:
        """Return what shows, without reading any rows, that tables hold what they did; by default nothing does."""
        return ContentTokens()

    def stamp(self) -> str | None:
        """Return a token that differs whenever anything in the warehouse may have changed; None if there is none.

        Valid for as long as the session is open, in which nobody else can write. Pending writes are made first.
        """
        return None

    def sizes(self, relations: Collection[Relation]) -> Mapping[Relation, int]:
        """Return how many bytes relations take, with their indexes, as far as that is known without reading them."""
        return {}

    def build_ids(self, relations: Collection[Relation], schema: str | None = None) -> Mapping[Relation, str | None]:
        """Return which build made each relation, as of now; empty where the warehouse does not keep that.

        Args:
            relations: Those.
            schema: The default schema of the environment that they are of; None for that of this session.
        """
        return {}

    def keep_rows(self, relation: Relation, sql: str, *, as_view: bool) -> None:
        """Put the rows of a query into a table or view, in place of what is there; for failing rows of data tests."""
        raise WarehouseError(f"failing rows are not kept in this warehouse ({relation}); remove store_failures")


class Warehouse(Protocol):
    """A place to build into; `sao_dagster.warehouses.registry` says how one is found."""

    @property
    def type(self) -> str:
        """The `type` that a profile names it by."""

    @property
    def name(self) -> str:
        """The name of the target."""

    @property
    def database(self) -> str | None:
        """The database that models are built in if nothing else is said; None where names have two parts only."""

    @property
    def schema(self) -> str:
        """The schema that models are built in if nothing else is said."""

    @property
    def place(self) -> str:
        """Where the database is, without connecting to it: a file by its real path, a server by host, port and database."""

    @property
    def threads(self) -> int:
        """How many models are built at once, at least 1."""

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the SQL dialect."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def target(self) -> Mapping[str, Any]:
        """What Jinja's `target` shows, and nothing else: as with dbt's adapter of that type, without secrets."""

    def session(
        self,
        *,
        read_only: bool = False,
        on_message: Callable[[Message], None] | None = None,
        wait_seconds: float | None = None,
    ) -> AbstractContextManager[Session]:
        """Return an open session, waiting for the warehouse if another process holds it.

        Args:
            read_only: Promise to change nothing.
            on_message: Told of what a person watching should know: once that there is something to wait for, and what another program that
                builds says, from any thread.
            wait_seconds: How long to wait; None for the warehouse's own setting.

        Raises:
            WarehouseBusyError: It did not become free in time.
        """


@runtime_checkable
class AttachingWarehouse(Protocol):
    """A warehouse in whose sessions other databases can be read, too."""

    def attaching(self, place: str, name: str) -> Warehouse:
        """Return the same warehouse, in whose sessions another database can be read under a name.

        Args:
            place: Where that is, as `Warehouse.place` says it.
            name: What SQL calls it.

        Raises:
            WarehouseError: It is not there, or nothing that can be attached.
        """

    def attached_as(self, place: str) -> str | None:
        """Return under which name another database can be read already; None where it cannot."""

    def database_id_at(self, place: str) -> str | None:
        """Return what `Session.database_id` would say of a database, without opening it; None where that is not known."""


@runtime_checkable
class StampedWarehouse(Protocol):
    """A warehouse that shows, without being opened, whether anything in it has changed."""

    def stamp(self) -> str | None:
        """Return what `Session.stamp` would; None where that, and what the profile sets, is not all that its answers follow from."""


@runtime_checkable
class ToldWarehouse(Protocol):
    """A warehouse whose catalog has the relations that it is told of, and no others."""

    def told_of(self, relations: Mapping[str, Relation]) -> Warehouse:
        """Return the same warehouse, whose catalog has relations of another environment, too; what is no table there counts as a view.

        Args:
            relations: By the names of their nodes.
        """

    def reaches(self, place: str) -> bool:
        """Return whether SQL here names what is in another database, given where that is: one of the same server."""


def shown_target(warehouse: Warehouse, **more: Any) -> dict[str, Any]:
    """Return what Jinja's `target` shows of any warehouse, as dbt names it, and what is one warehouse's own."""
    return {
        "type": warehouse.type,
        "name": warehouse.name,
        "target_name": warehouse.name,
        "schema": warehouse.schema,
        "database": warehouse.database,
        "dbname": warehouse.database,
        "threads": warehouse.threads,
        **more,
    }
