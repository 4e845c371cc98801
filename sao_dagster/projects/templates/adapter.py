"""`adapter`: what templates ask of the warehouse, by the names that dbt's adapters have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sao_dagster.core.relations import quote
from sao_dagster.core.templates import Asking
from sao_dagster.errors import NeedsDbtError
from sao_dagster.projects.templates.context_objects import Namespace, ResultTable
from sao_dagster.projects.templates.relation_values import ColumnClass, ColumnValue, RelationClass, RelationValue
from sao_dagster.sql.dialects import Dialect


@dataclass(frozen=True)
class Adapter:
    """The part of dbt's adapter that macros use, see https://docs.getdbt.com/reference/dbt-jinja-functions/adapter.

    While a project is read, each question has the answer that dbt gives then: nothing. A method of dbt's adapters that is not here is
    named as something that needs dbt.

    Attributes:
        engine: What the SQL is for.
        kind: The type of the target, such as `duckdb`.
        database: The database of relations that name none.
        ask: Returns the warehouse, or None while the project is read; notes that it was asked.
        dispatch: Finds the macro for the engine.
    """

    engine: Dialect
    kind: str
    database: str | None
    ask: Callable[[], Asking | None]
    dispatch: Callable[..., Any]

    @property
    def Relation(self) -> RelationClass:  # noqa: N802 - dbt's name
        """The class of its relations."""
        return RelationClass(self.engine)

    @property
    def Column(self) -> ColumnClass:  # noqa: N802 - dbt's name
        """The class of its columns."""
        return ColumnClass(self.engine)

    @property
    def behavior(self) -> Namespace:
        """Flags of dbt's adapters: all of them as they are by default."""
        off = Namespace("flag", {"no_warn": False, "setting": False})
        return Namespace("adapter.behavior", {"enable_truthy_nulls_equals_macro": off})

    def type(self) -> str:
        """Return the type of the target."""
        return self.kind

    def quote(self, name: Any) -> str:
        """Return a name in quotes."""
        return quote(str(name), self.engine.quotes)

    def quote_as_configured(self, name: Any, key: str) -> str:
        """Return a name as such parts of a name are written: in quotes."""
        return self.quote(name)

    def quote_seed_column(self, name: Any, configured: bool | None) -> str:
        """Return the name of a seed's column, in quotes unless that is switched off."""
        return str(name) if configured is False else self.quote(name)

    # ------------------------------------------------------------------ questions

    def query(self, sql: str) -> ResultTable | None:
        """Return the rows of a query; None while the project is read."""
        asking = self.ask()
        if asking is None:
            return None
        answer = asking.query(str(sql))
        return ResultTable(answer.columns, answer.rows)

    def execute(
        self, sql: str, auto_begin: bool = False, fetch: bool = False, limit: int | None = None
    ) -> tuple[str, ResultTable]:
        """Return what became of a statement, and its rows if they are wanted."""
        rows = self.query(sql)
        return ("" if rows is None else "OK"), rows if fetch and rows is not None else ResultTable((), [])

    def get_columns_in_relation(self, relation: RelationValue) -> list[ColumnValue]:
        """Return the columns of a relation, in order."""
        asking = self.ask()
        if asking is None:
            return []
        found = asking.columns_of(str(relation) if relation.is_written else relation.relation)
        return [self.Column.shown(name, kind) for name, kind in found]

    def get_columns_in_table(self, schema: str, identifier: str) -> list[ColumnValue]:
        """Return the columns of a table; the old name."""
        return self.get_columns_in_relation(self.Relation.create(self.database, schema, identifier))

    def get_column_schema_from_query(self, sql: str) -> list[ColumnValue]:
        """Return the columns that a query has."""
        asking = self.ask()
        found = () if asking is None else asking.columns_of(f"(\n{sql}\n) as dbt_columns")
        return [self.Column.shown(name, kind) for name, kind in found]

    def get_missing_columns(self, from_relation: RelationValue, to_relation: RelationValue) -> list[ColumnValue]:
        """Return the columns of one relation that another one has not."""
        there = {each.name for each in self.get_columns_in_relation(to_relation)}
        return [each for each in self.get_columns_in_relation(from_relation) if each.name not in there]

    def get_relation(
        self, database: str | None = None, schema: str | None = None, identifier: str | None = None
    ) -> RelationValue | None:
        """Return a relation that is there, with its type; None for one that is not."""
        asking = self.ask()
        place = self.engine.relation(database or self.database, str(schema or ""), str(identifier or ""))
        kind = None if asking is None else asking.kind_of(place)
        return None if kind is None else self.Relation.create(place.database, place.schema, place.identifier, kind)

    def already_exists(self, schema: str, name: str) -> bool:
        """Return whether a relation is there; the old name."""
        return self.get_relation(self.database, schema, name) is not None

    def check_schema_exists(self, database: str | None, schema: str) -> bool:
        """Return whether a schema is there."""
        asking = self.ask()
        return asking is not None and asking.has_schema(database, schema)

    # ------------------------------------------------------------------ statements

    def create_schema(self, relation: RelationValue) -> None:
        """Make the schema of a relation."""
        self.query(f"create schema if not exists {relation.without_identifier()}")

    def drop_schema(self, relation: RelationValue) -> None:
        """Drop the schema of a relation, with all that is in it."""
        self.query(f"drop schema if exists {relation.without_identifier()} cascade")

    def drop_relation(self, relation: RelationValue) -> None:
        """Drop a relation."""
        self.query(f"drop {self._kind_of(relation)} if exists {relation} cascade")

    def truncate_relation(self, relation: RelationValue) -> None:
        """Take all rows out of a table."""
        self.query(f"truncate table {relation}")

    def rename_relation(self, from_relation: RelationValue, to_relation: RelationValue) -> None:
        """Give a relation another name."""
        name = self.quote(to_relation.identifier)
        self.query(f"alter {self._kind_of(from_relation)} {from_relation} rename to {name}")

    def expand_target_column_types(self, from_relation: RelationValue, to_relation: RelationValue) -> None:
        """Make columns of text as long as those of another relation; none has to be made longer by hand on these engines."""
        self.ask()

    def commit(self) -> str:
        """Do nothing: what a template asks is no transaction of its own."""
        return ""

    def verify_database(self, database: Any) -> str:
        """Do nothing, as dbt's adapters do that know other databases."""
        return ""

    def _kind_of(self, relation: RelationValue) -> str:
        asking = self.ask()
        return str(relation.type or (asking and asking.kind_of(relation.relation)) or "table")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NeedsDbtError(f"adapter.{name}")


def result_of(rows: ResultTable) -> Mapping[str, Any]:
    """Return what `load_result` gives for a statement."""
    return {"table": rows, "data": [tuple(row) for row in rows], "response": "OK"}
