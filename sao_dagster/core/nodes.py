"""What a project is: models, seeds, sources and data tests, frozen, and the graph between them.

Every format of a project (`sao_dagster.projects`) ends here, so nothing below this line knows where a
model was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import ClassVar

from sao_dagster.core.attached import NOTHING, Attached
from sao_dagster.core.code_version import CodeVersion
from sao_dagster.core.hashing import JSON
from sao_dagster.core.inputs import UndeclaredInput, answers_id
from sao_dagster.core.policy import AtTime, Expiry, RefreshPolicy
from sao_dagster.core.proofs import Assertion
from sao_dagster.core.relations import Relation
from sao_dagster.core.templates import AskingTemplate, CompiledSql, Compiler, RunTemplate
from sao_dagster.errors import Location, NeedsDbtError, SaoError, words_of


class Materialized(str):
    """How a node is kept in the warehouse: one of dbt's words, or the name of a custom materialization.

    There is one object for each name, so that they are compared with `is`.

    >>> Materialized("view") is Materialized.VIEW, Materialized("materialized_view").is_native
    (True, False)
    """

    TABLE: ClassVar[Materialized]
    VIEW: ClassVar[Materialized]
    INCREMENTAL: ClassVar[Materialized]
    EPHEMERAL: ClassVar[Materialized]
    SEED: ClassVar[Materialized]
    _known: ClassVar[dict[str, Materialized]] = {}

    __slots__ = ()

    def __new__(cls, name: str) -> Materialized:  # noqa: PYI034 - another object of the same class, perhaps
        """Return the one object of a name."""
        return cls._known.setdefault(name, super().__new__(cls, name))

    @property
    def value(self) -> str:
        """The name."""
        return str(self)

    @property
    def is_native(self) -> bool:
        """Whether models of this kind are built by this package itself."""
        return self in NATIVE

    @property
    def holds_data(self) -> bool:
        """Whether there is a table of its own behind it."""
        return self is not Materialized.VIEW and self is not Materialized.EPHEMERAL


Materialized.TABLE = Materialized("table")
Materialized.VIEW = Materialized("view")
Materialized.INCREMENTAL = Materialized("incremental")
Materialized.EPHEMERAL = Materialized("ephemeral")
Materialized.SEED = Materialized("seed")
NATIVE = (Materialized.TABLE, Materialized.VIEW, Materialized.INCREMENTAL, Materialized.EPHEMERAL)
"""The materializations of models that are built natively."""


class IncrementalStrategy(str, Enum):
    """How new rows enter an incremental model; dbt's words."""

    APPEND = "append"
    DELETE_INSERT = "delete+insert"
    MERGE = "merge"


class OnSchemaChange(str, Enum):
    """What an incremental model does when its query gives other columns than the table has; dbt's words."""

    IGNORE = "ignore"
    FAIL = "fail"
    APPEND_NEW_COLUMNS = "append_new_columns"
    SYNC_ALL_COLUMNS = "sync_all_columns"


class Severity(str, Enum):
    """What a failing data test does: stop what is below, or only say so."""

    ERROR = "error"
    WARN = "warn"


class Access(str, Enum):
    """Who may read a model: its group, its project, or all; dbt's words."""

    PRIVATE = "private"
    PROTECTED = "protected"
    PUBLIC = "public"


@dataclass(frozen=True)
class NodeError:
    """What is wrong with one node or data test as it is written: it fails with these words, and the rest of the project goes on.

    Attributes:
        message: What is wrong, and what to do about it.
        location: Where.
        is_opaque: Whether its tags, its configuration or what it reads cannot be known for it.
        needs_dbt: What it uses that only dbt itself does; empty where it is wrong for dbt, too.

    >>> str(NodeError("'total' is undefined", Location("models/orders.sql", 3)))
    "models/orders.sql:3: 'total' is undefined"
    """

    message: str
    location: Location | None = None
    is_opaque: bool = False
    needs_dbt: str = ""

    def __str__(self) -> str:
        """Return the place and the words."""
        return f"{self.location}: {self.message}" if self.location else self.message

    @classmethod
    def of(cls, error: Exception, location: Location | None, *, is_opaque: bool = False) -> NodeError:
        """Return an error that was raised as that of a node; `location` is where the node is written, if the error names no place."""
        place = error.location if isinstance(error, SaoError) else None
        uses = error.uses if isinstance(error, NeedsDbtError) else ""
        return cls(words_of(error).strip(), place or location, is_opaque, uses)


@dataclass(frozen=True)
class Column:
    """A documented column."""

    name: str
    description: str = ""
    data_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """What models and seeds have in common.

    Attributes:
        name: Unique in the project; what `ref` takes, after the package and a dot where a node of another package has that name, too.
        relation: Where it is in the warehouse.
        materialized: How it is kept there.
        code: The fingerprint of its definition.
        depends_on: What it reads directly: names of nodes and ids of sources, in the order of first use.
        policy: When it is built.
        fqn: The folder path and the name, as dbt's selection syntax uses them.
        location: The file it is written in.
        patch_path: The YAML file whose properties speak of it; empty where none does.
        config: All of its configuration, as given, for `config.` selection and for display.
        group: Whose it is.
        access: Who may read it.
        version: The version, for a versioned model.
        is_latest: Whether `ref` without a version means this one.
        resource_type: `model`, `seed` or `snapshot`, as dbt's selection syntax says it.
        volatile_columns: Columns that hold nothing but a volatile value; no part of the data version.
        undeclared: What it reads without saying so.
        error: What is wrong with it as it is written; it is never built, and what else is said of it is as far as it could be read.
        follows_process: Whether settings of the process that builds it, such as its time zone, may be seen in it.
        compiler: Renders it anew in each run, where its SQL or a hook depends on the run or on the warehouse.
        volatile_reads: Models of which it reads such a column, so that their version is for it the id of their build.
        attached: What hangs on its relation beside its content.
        qualifier: The package that its name begins with; empty for a plain name.
        unrendered: Why its template, or that of a hook, cannot be rendered here, so that nobody knows what it is; empty where it can be.
    """

    name: str
    relation: Relation
    materialized: Materialized
    code: CodeVersion
    depends_on: tuple[str, ...] = ()
    policy: RefreshPolicy = field(default_factory=RefreshPolicy)
    fqn: tuple[str, ...] = ()
    location: Location | None = None
    patch_path: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    group: str | None = None
    access: Access = Access.PROTECTED
    version: str | None = None
    is_latest: bool = True
    meta: Mapping[str, JSON] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    resource_type: str = "model"
    volatile_columns: tuple[str, ...] = ()
    undeclared: tuple[UndeclaredInput, ...] = ()
    error: NodeError | None = None
    follows_process: bool = True
    volatile_reads: tuple[str, ...] = ()
    compiler: Compiler | None = None
    attached: Attached = NOTHING
    qualifier: str = ""
    unrendered: str = ""

    @property
    def plain_name(self) -> str:
        """Its name in its package."""
        return self.name.removeprefix(f"{self.qualifier}.") if self.qualifier else self.name

    @property
    def hooks(self) -> tuple[str, ...]:
        """Statements of the user's own that run before and after a build."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Model(Node):
    """One SQL query, or a function in another language, with a materialization.

    Attributes:
        raw_sql: As written.
        compiled: As it runs; for a model with a compiler, as it was rendered for its fingerprint, if it could be.
        expiry: When its result stops being true by itself, as detected in the SQL.
        language: `sql`, or that of the function.
        reads_session: Whether its SQL may ask who runs it, where, or what is set; then it is another result in another environment.
        asks: Whether its template asks the warehouse for what its SQL is made of.
    """

    raw_sql: str
    compiled: CompiledSql
    expiry: Expiry | None = None
    language: str = "sql"
    reads_session: bool = True
    asks: bool = False
    unique_key: tuple[str, ...] = ()
    incremental_strategy: IncrementalStrategy = IncrementalStrategy.DELETE_INSERT
    incremental_predicates: tuple[str, ...] = ()
    merge_update_columns: tuple[str, ...] = ()
    merge_exclude_columns: tuple[str, ...] = ()
    on_schema_change: OnSchemaChange = OnSchemaChange.IGNORE
    full_refresh: bool | None = None

    @property
    def hooks(self) -> tuple[str, ...]:
        """Statements of the user's own that run before and after a build."""
        return (*self.compiled.pre_hooks, *self.compiled.post_hooks)

    @property
    def is_native(self) -> bool:
        """Whether it can be built by this package itself."""
        return self.language == "sql" and self.resource_type == "model" and self.materialized.is_native


@dataclass(frozen=True, kw_only=True)
class Seed(Node):
    """A small table that is kept as a CSV file in the project.

    Attributes:
        path: The file, absolute.
        column_types: SQL types by column, for those that are not to be guessed.
        delimiter: What separates the fields.
        pre_hooks: Statements to run before, in the same transaction.
        post_hooks: Statements to run after, in the same transaction.
    """

    path: str
    resource_type: str = "seed"
    column_types: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    pre_hooks: tuple[str, ...] = ()
    post_hooks: tuple[str, ...] = ()

    @property
    def hooks(self) -> tuple[str, ...]:
        """Statements of the user's own that run before and after a build."""
        return (*self.pre_hooks, *self.post_hooks)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table that something else fills.

    Attributes:
        source_name: The group it belongs to; the first argument of `source`.
        table_name: The second argument of `source`.
        relation: Where it is, if it is a table or view.
        files: Paths and globs, if it is read from files; relative paths start at the project's folder.
        expression: What SQL reads from: the relation, or a table function over the files.
        loaded_at_field: A column or expression whose greatest value is the data version.
        loaded_at_query: A query whose single value is the data version.
        filter: A condition on the rows that `loaded_at_field` looks at. These three are templates until the project is put together, and
            after that where their text depends on the time.
        warn_after: Age (of the greatest `loaded_at` value) from which the source is reported as late.
        error_after: Age from which it fails its check.
        qualifier: What its id begins with where another package has a source of this name: its package; else empty.
        error: What is wrong with it as it is written; what reads it is not built.
    """

    source_name: str
    table_name: str
    relation: Relation | None
    expression: str
    files: tuple[str, ...] = ()
    loaded_at_field: str | AtTime | None = None
    loaded_at_query: str | AtTime | None = None
    filter: str | AtTime | None = None
    warn_after: timedelta | None = None
    error_after: timedelta | None = None
    fqn: tuple[str, ...] = ()
    location: Location | None = None
    description: str = ""
    columns: tuple[Column, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, JSON] = field(default_factory=dict)
    qualifier: str = ""
    error: NodeError | None = None

    @property
    def id(self) -> str:
        """The name by which decisions, records and selections call it.

        >>> source_id("raw", "orders"), source_id("raw", "orders", "lib")
        ('source:raw.orders', 'source:lib.raw.orders')
        """
        return source_id(self.source_name, self.table_name, self.qualifier)

    def loaded_at_sql(self, now: datetime) -> str:
        """Return the query for its newest `loaded_at` value at a time (UTC)."""
        field_, condition, query = self.loaded_at_texts(now)
        where = f" where {condition}" if condition else ""
        return query or f"select max({field_}) from {self.expression}{where}"

    def loaded_at_texts(self, now: datetime) -> tuple[str | None, str | None, str | None]:
        """Return the field, the filter and the query as they are at a time (UTC); None for what there is not."""
        given = (self.loaded_at_field, self.filter, self.loaded_at_query)
        field_, condition, query = (each if each is None or isinstance(each, str) else each(now) for each in given)
        return field_, condition, query

    @property
    def says_loaded_at(self) -> bool:
        """Whether it says how new its data is."""
        return bool(self.loaded_at_field or self.loaded_at_query)

    @property
    def has_age_limit(self) -> bool:
        """Whether its age is checked; one that does not say how new its data is has none."""
        return self.says_loaded_at and (self.warn_after is not None or self.error_after is not None)


def source_id(source_name: str, table_name: str, qualifier: str = "") -> str:
    """Return the id of a source table, after its package where a source of another package has its name, too."""
    return f"source:{qualifier}{'.' * bool(qualifier)}{source_name}.{table_name}"


def project_model_id(project: str, model: str) -> str:
    """Return the id of a model of another project, which is read like a source."""
    return f"project:{project}.{model}"


def is_source(node_id: str) -> bool:
    """Return whether an id names a source, or a model of another project, rather than a model or a seed."""
    return node_id.startswith(("source:", "project:"))


@dataclass(frozen=True, kw_only=True)
class DataTest:
    """A query that returns failing rows.

    Attributes:
        name: Unique in the project; dbt's name for it.
        kind: `unique`, `not_null`, `accepted_values`, `relationships`, `singular`, or the name of a generic test.
        tested: The model, seed or source it belongs to; the last thing it reads, for a singular test.
        column: The column it is about, if it is about one.
        sql: Selects the failing rows; `where` and `limit` are applied.
        template: Renders that anew in each run, where it depends on the run or on the warehouse.
        asks: Says what its template asks of the warehouse; None where it asks for nothing.
        reads: All nodes and sources it reads.
        version: Fingerprint of the SQL and of the settings that turn rows into a verdict, by `CODE_SCHEME`.
        fail_calc: The aggregate over the failing rows that gives the number of failures.
        warn_if: A condition on the number of failures, as SQL writes it after a value: `>10`, `between 5 and 10`.
        error_if: The same for an error.
        shares_statement: Whether it runs in one statement with the others of its model.
        asserts: What it says of the relation it tests when it passes; None where its settings or its SQL are not the usual ones.
        expiry: When a verdict stops standing by itself, because the SQL is volatile.
        follows_process: Whether settings of the process that runs it, such as its time zone, may be seen in the verdict.
        volatile_reads: Models of which it reads a column that holds nothing but a volatile value; see `Node`.
        store_failures: Where failing rows are kept, if they are.
        undeclared: What its SQL reads without saying so.
        reads_session: Whether its SQL may ask who runs it, where, or what is set; then its verdict may be another one in another environment.
        follows_start: Whether anything that `on-run-start` leaves behind may change its verdict.
        needs_start: Whether it is run only after that in the same run: its SQL names something that a statement of it makes, or one leaves behind
            what is gone with the process.
        shared_name: Its name for dbt, where data tests of other relations have that, too; None where that is `name`.
        unrendered: Why its template cannot be rendered here; empty where it can be.
        error: What is wrong with it as it is written: its verdict is an error, without a look at the warehouse.
    """

    name: str
    kind: str
    tested: str
    sql: str
    reads: tuple[str, ...]
    version: str
    template: RunTemplate | None = field(default=None, compare=False)
    asks: AskingTemplate | None = field(default=None, compare=False)
    column: str | None = None
    severity: Severity = Severity.ERROR
    fail_calc: str = "count(*)"
    warn_if: str = "!= 0"
    error_if: str = "!= 0"
    where: str | None = None
    limit: int | None = None
    shares_statement: bool = True
    asserts: Assertion | None = None
    expiry: Expiry | None = None
    follows_process: bool = True
    volatile_reads: tuple[str, ...] = ()
    store_failures: Relation | None = None
    store_failures_as: Materialized = Materialized.TABLE
    location: Location | None = None
    description: str = ""
    tags: tuple[str, ...] = ()
    fqn: tuple[str, ...] = ()
    undeclared: tuple[UndeclaredInput, ...] = ()
    reads_session: bool = True
    follows_start: bool = False
    needs_start: bool = False
    shared_name: str | None = None
    unrendered: str = ""
    error: NodeError | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """All that its verdict depends on: what it reads, what it reads without saying so, and what its template gets when it asks."""
        asked = () if self.asks is None else (self.answers_id,)
        return (*self.reads, *(each.id for each in self.undeclared), *asked)

    @property
    def answers_id(self) -> str:
        """The id of what its template gets when it asks the warehouse."""
        return answers_id(f"test.{self.name}")
