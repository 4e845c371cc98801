"""What a warehouse does for this package: say what is there and in which version, build, and answer queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sao_dagster.core.hashing import digest
from sao_dagster.core.nodes import CompiledSql, Model, Seed
from sao_dagster.core.relations import Relation, RelationKey
from sao_dagster.warehouses.shared.names import without_quotes


@dataclass(frozen=True)
class RelationInfo:
    """A table or view as the catalog has it.

    Attributes:
        is_view: Whether it is a view.
        columns: Names and types, in order.
        definition: The SQL of a view, as the catalog keeps it.
        build_id: Which build made it, where the warehouse keeps that; None where none of ours did.
    """

    is_view: bool
    columns: tuple[tuple[str, str], ...]
    definition: str | None = None
    build_id: str | None = None


@dataclass(frozen=True)
class Built:
    """What a build left behind.

    Attributes:
        data_version: Token of the content.
        columns: Names and types, in order.
        rows: How many rows; None for a view, and where they were not counted.
        seconds: How long the statements took, without reading the version.
        build_id: The name under which the warehouse itself keeps this build; None where it keeps none.
        read: By relation that was read, which build of it that was; of those that the warehouse keeps.
        dropped: Views that could not stay over the new relation, because they read what it no longer has.
    """

    data_version: str
    columns: tuple[tuple[str, str], ...]
    rows: int | None
    seconds: float
    build_id: str | None = None
    read: Mapping[Relation, str | None] = field(default_factory=dict)
    dropped: tuple[RelationKey, ...] = ()


@dataclass(frozen=True)
class QueryResult:
    """The answer to a query: names, and rows in order."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Constraints:
    """What the warehouse itself makes sure of, for every content of a table.

    Attributes:
        not_null: Columns, by `Relation.key`.
        unique: Sets of columns, by `Relation.key`; rows with a null in one of them do not count.
        collations: Whether there are texts that are compared otherwise than letter by letter.
    """

    not_null: Mapping[RelationKey, tuple[str, ...]]
    unique: Mapping[RelationKey, tuple[tuple[str, ...], ...]]
    collations: bool


Catalog = Mapping[RelationKey, RelationInfo]
"""What is in the warehouse, by `Relation.key`."""


class Session(Protocol):
    """An open connection; may be used by several threads at once.

    All methods raise `sao_dagster.errors.WarehouseError` with the warehouse's own words.
    """

    @property
    def is_alone(self) -> bool:
        """Whether nobody else can write to anything that it sees, for as long as it is open."""

    def catalog(self) -> Catalog:
        """Return all tables and views of the databases in use."""

    def constraints(self) -> Constraints:
        """Return the constraints that the warehouse enforces."""

    def versions(
        self, catalog: Catalog, omit: Mapping[Relation, Collection[str]], seconds: float
    ) -> dict[Relation, str | None]:
        """Return the data version of each relation; None where it cannot be read within the time.

        Args:
            catalog: What is in the warehouse.
            omit: The relations, with the columns that do not count.
            seconds: The time for all of them.
        """

    def stamp(self) -> str | None:
        """Return a token that differs whenever anything in the warehouse may have changed; None if there is none.

        Valid for as long as the session is open, in which nobody else can write. Pending writes are made first.
        """

    def query(self, sql: str) -> QueryResult:
        """Return all rows of a query."""

    def execute(self, sql: str) -> None:
        """Run statements that return nothing."""

    def ensure_schemas(self, relations: Collection[Relation]) -> None:
        """Create the schemas that the relations live in, where they are not there."""

    def build_ids(self, relations: Collection[Relation]) -> dict[Relation, str | None]:
        """Return which build made each relation, as of now; empty where the warehouse does not keep that."""

    def build(
        self, model: Model, compiled: CompiledSql, *, full_refresh: bool, reads: Collection[Relation] = ()
    ) -> Built:
        """Build a model in one transaction: readers and crashes see the old relation or the new one.

        Args:
            model: The model.
            compiled: Its statements.
            full_refresh: Whether to build an incremental model from the start.
            reads: The relations of other models that it reads; `Built.read` says which builds of them were read.
        """

    def keep_rows(self, relation: Relation, sql: str, *, as_view: bool) -> None:
        """Put the rows of a query into a table or view, in place of what is there; for failing rows of data tests."""

    def load_seed(self, seed: Seed) -> Built:
        """Replace a seed's table by its file, in one transaction."""

    def interrupt(self) -> None:
        """Stop all running statements, from any thread."""


class Warehouse(Protocol):
    """A place to build into."""

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the SQL dialect."""

    @property
    def target(self) -> Mapping[str, Any]:
        """What Jinja's `target` shows: type, name, schema, database, threads; no secrets."""

    def session(
        self,
        *,
        read_only: bool = False,
        on_wait: Callable[[str], None] | None = None,
        wait_seconds: float | None = None,
    ) -> AbstractContextManager[Session]:
        """Return an open session, waiting for the warehouse if another process holds it.

        Args:
            read_only: Promise to change nothing.
            on_wait: Told once, in words, when there is something to wait for.
            wait_seconds: How long to wait; None for the warehouse's own setting.

        Raises:
            WarehouseBusyError: It did not become free in time.
        """


def comparable(one: str, other: str) -> bool:
    """Return whether two data versions were made in the same way, so that a difference means other content.

    >>> comparable("content:duckdb-1.4:aa", "content:duckdb-2.0:aa")
    False
    """
    return one.rpartition(":")[0] == other.rpartition(":")[0]


def schema_token(columns: Sequence[tuple[str, str]]) -> str:
    """Return a token of column names and types; equal tokens mean that a view need not be made anew."""
    return f"schema:{digest([list(column) for column in columns])}"


def view_version(info: RelationInfo) -> str:
    """Return the token by which a view that someone else replaced is recognised.

    Where the catalog does not say how the view is defined, the token is comparable with no other.
    """
    if info.definition is None:
        return "definition-unknown:"
    return f"view-definition:{digest(without_quotes(info.definition))}"
