"""Relations and columns as templates see them, with the parts of dbt's that macros use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sao_dagster.core.relations import Relation, quote
from sao_dagster.errors import NeedsDbtError, RenderError
from sao_dagster.projects.templates.context_objects import ASKED_BY_SANDBOX
from sao_dagster.sql.dialects import Dialect, dialect_named

_PARTS = ("database", "schema", "identifier")


@dataclass(frozen=True)
class RelationParts:
    """A part of a relation's name for each of database, schema and identifier, or whether it is written or quoted.

    >>> RelationParts(None, "main", "orders")["schema"]
    'main'
    """

    database: Any = None
    schema: Any = None
    identifier: Any = None

    def __getitem__(self, name: str) -> Any:
        """Return the part of that name."""
        return getattr(self, name)

    def over(self, given: Mapping[str, Any]) -> RelationParts:
        """Return these with others in their place, where others are given."""
        return replace(self, **{name: given[name] for name in _PARTS if given.get(name) is not None})


_ALL = RelationParts(True, True, True)


class RelationValue(Mapping[str, Any]):
    """A relation as dbt's templates know it; written out, it is quoted SQL.

    It is a mapping whose `metadata` names its class, by which macros tell it from a text. As in dbt, it is always true and has no
    keys that could be listed.

    Attributes:
        relation: The relation.
        type: `table`, `view`, or None where that is not known.
    """

    def __init__(self, relation: Relation, engine: Dialect, text: str | None = None, kind: str | None = None) -> None:
        self.relation = relation
        self.type = kind
        self.include_policy = _ALL
        self.quote_policy = _ALL
        self._engine = engine
        self._text = text

    @cached_property
    def path(self) -> RelationParts:
        """Its parts, without quotes; few that are written into SQL are asked for them."""
        return RelationParts(self.relation.database, self.relation.schema or None, self.relation.identifier or None)

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        if self.include_policy == _ALL == self.quote_policy and None not in (self.path.schema, self.path.identifier):
            return str(self.relation)
        written = (name for name in _PARTS if self.include_policy[name] and self.path[name] is not None)
        return ".".join(
            self.quoted(self.path[name]) if self.quote_policy[name] else str(self.path[name]) for name in written
        )

    render = __str__
    render_limited = __str__

    @property
    def is_written(self) -> bool:
        """Whether it is written as something else than its name: a common table expression, or a function over files."""
        return self._text is not None and self._text != str(self.relation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelationValue) and (str(other), other.type) == (str(self), self.type)

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self, name):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        raise RenderError(f"the relation {self} is used as if it were a dictionary")

    def __len__(self) -> int:
        raise RenderError(f"the relation {self} is used as if it were a dictionary")

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the `metadata` that says what this is."""
        if name == "metadata":
            return {"type": self._engine.dbt_relation}
        return getattr(self, name, default) if name in _PARTS or name == "type" else default

    @property
    def database(self) -> str | None:
        """The database."""
        found: str | None = self.path.database
        return found

    @property
    def schema(self) -> str | None:
        """The schema."""
        found: str | None = self.path.schema
        return found

    @property
    def identifier(self) -> str | None:
        """The name in the schema."""
        found: str | None = self.path.identifier
        return found

    name = identifier
    table = identifier

    @property
    def is_view(self) -> bool:
        """Whether it is known to be a view."""
        return self.type == "view"

    @property
    def is_table(self) -> bool:
        """Whether it is known to be a table."""
        return self.type == "table"

    @property
    def is_cte(self) -> bool:
        """Whether it is a common table expression: an ephemeral model."""
        return self.type == "cte"

    @property
    def is_materialized_view(self) -> bool:
        """Whether it is known to be a materialized view."""
        return self.type == "materialized_view"

    def quoted(self, name: str) -> str:
        """Return a name in quotes."""
        return quote(str(name), self.relation.quotes)

    def include(
        self, database: bool | None = None, schema: bool | None = None, identifier: bool | None = None
    ) -> RelationValue:
        """Return the relation, to be written with some of its parts."""
        return self._changed(
            include_policy=self.include_policy.over({"database": database, "schema": schema, "identifier": identifier})
        )

    def quote(
        self, database: bool | None = None, schema: bool | None = None, identifier: bool | None = None
    ) -> RelationValue:
        """Return the relation, to be written with or without quotes."""
        return self._changed(
            quote_policy=self.quote_policy.over({"database": database, "schema": schema, "identifier": identifier})
        )

    def replace_path(self, **parts: str | None) -> RelationValue:
        """Return a relation with other parts of the name."""
        path = replace(self.path, **parts)
        relation = replace(
            self.relation, database=path.database, schema=path.schema or "", identifier=path.identifier or ""
        )
        return self._changed(relation=relation, path=path, _text=None)

    def incorporate(self, path: Mapping[str, str] | None = None, **more: Any) -> RelationValue:
        """Return a relation with other parts of the name, or of another type."""
        found = self if path is None else self.replace_path(**path)
        if unknown := set(more) - {"type"}:
            raise NeedsDbtError(f"Relation.incorporate({', '.join(sorted(unknown))})")
        return found._changed(**more)

    def without_identifier(self) -> RelationValue:
        """Return its schema."""
        return self.include(identifier=False).replace_path(identifier=None)

    def information_schema(self, view: Any = None) -> RelationValue:
        """Return a view of the information schema of its database."""
        path = RelationParts(self.path.database, "INFORMATION_SCHEMA", view if isinstance(view, str) else None)
        relation = replace(self.relation, schema="INFORMATION_SCHEMA", identifier=path.identifier or "")
        return self._changed(relation=relation, path=path, _text=None, quote_policy=RelationParts(True, False, False))

    def _changed(self, **values: Any) -> RelationValue:
        changed = RelationValue(self.relation, self._engine, self._text, self.type)
        changed.__dict__.update({**self.__dict__, **values})
        if changed.include_policy != self.include_policy or changed.quote_policy != self.quote_policy:
            changed._text = self._text if self.is_written else None
        return changed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NeedsDbtError(f"Relation.{name}")


@dataclass(frozen=True)
class RelationClass:
    """`api.Relation`, and `Relation` of what macros get: makes relations.

    Attributes:
        engine: Whose names they are.
    """

    engine: Dialect

    def create(
        self,
        database: str | None = None,
        schema: str | None = None,
        identifier: str | None = None,
        type: str | None = None,  # noqa: A002 - dbt's name
        quote_policy: Mapping[str, bool] | None = None,
        include_policy: Mapping[str, bool] | None = None,
    ) -> RelationValue:
        """Return a relation; what is not given of its name is not written."""
        relation = self.engine.relation(database, schema or "", identifier or "")
        made = RelationValue(relation, self.engine, kind=type)
        return made.quote(**(quote_policy or {})).include(**(include_policy or {}))

    @property
    def Table(self) -> str:  # noqa: N802 - dbt's name
        """The type of a table."""
        return "table"

    @property
    def View(self) -> str:  # noqa: N802 - dbt's name
        """The type of a view."""
        return "view"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ASKED_BY_SANDBOX:
            raise AttributeError(name)
        raise NeedsDbtError(f"api.Relation.{name}")


_STRINGS = frozenset({"text", "character varying", "character", "varchar"})
_NUMERICS = frozenset({"numeric", "decimal"})
_FLOATS = frozenset({"real", "float4", "float", "double precision", "float8", "double"})


@dataclass
class ColumnValue:
    """A column of a relation; the kinds of its type are those that dbt's adapter for the engine tells apart.

    Attributes:
        column: Its name.
        dtype: Its type, without what is known of its size.
        char_size: How many characters it holds.
        numeric_precision: How many digits it holds.
        numeric_scale: How many of these are after the point.
        engine: What its type is one of.
    """

    column: str
    dtype: str
    char_size: int | None = None
    numeric_precision: int | None = None
    numeric_scale: int | None = None
    engine: Dialect = field(default_factory=lambda: dialect_named(""), repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.column

    @property
    def quoted(self) -> str:
        """Its name in quotes."""
        return quote(self.column, self.engine.quotes)

    @property
    def data_type(self) -> str:
        """Its type as DDL writes it."""
        if self.is_string():
            unsized = self.dtype.lower() == "text" or (
                self.dtype.lower() == "character varying" and self.char_size is None
            )
            if self.engine.dbt_sizes_apart and unsized:
                return self.dtype
            return self.string_type(self.string_size())
        if self.is_numeric():
            return self.numeric_type(self.dtype, self.numeric_precision, self.numeric_scale)
        return self.dtype

    expanded_data_type = data_type

    def is_string(self) -> bool:
        """Whether it holds text."""
        return self.dtype.lower() in _STRINGS

    def is_numeric(self) -> bool:
        """Whether it holds exact decimals."""
        return self.dtype.lower() in _NUMERICS

    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.is_numeric() or self.is_integer() or self.is_float()

    def is_integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.lower() in self.engine.dbt_integers

    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.lower() in _FLOATS

    def string_size(self) -> int:
        """Return how many characters it holds; 256 where that is not known, as in dbt.

        Raises:
            RenderError: It holds no text.
        """
        if not self.is_string():
            raise RenderError(f"string_size() of {self.column}, which holds no text")
        return 256 if self.dtype == "text" or self.char_size is None else self.char_size

    def can_expand_to(self, other: ColumnValue) -> bool:
        """Return whether it and another one hold text, and the other one more of it."""
        return self.is_string() and other.is_string() and other.string_size() > self.string_size()

    def literal(self, value: Any) -> str:
        """Return a value, cast to its type."""
        return f"{value}::{self.data_type}"

    @staticmethod
    def string_type(size: int) -> str:
        """Return a type of text."""
        return f"character varying({size})"

    @staticmethod
    def numeric_type(dtype: str, precision: Any, scale: Any) -> str:
        """Return a type of exact decimals."""
        return dtype if precision is None or scale is None else f"{dtype}({precision},{scale})"

    @staticmethod
    def translate_type(dtype: str) -> str:
        """Return what the engine calls a type."""
        return "TEXT" if dtype.upper() == "STRING" else dtype


@dataclass(frozen=True)
class ColumnClass:
    """`api.Column`: makes columns.

    Attributes:
        engine: What their types are some of.
    """

    engine: Dialect
    translate_type = staticmethod(ColumnValue.translate_type)
    numeric_type = staticmethod(ColumnValue.numeric_type)
    string_type = staticmethod(ColumnValue.string_type)

    def __call__(
        self,
        column: str,
        dtype: str,
        char_size: int | None = None,
        numeric_precision: int | None = None,
        numeric_scale: int | None = None,
    ) -> ColumnValue:
        """Return a column."""
        return ColumnValue(column, dtype, char_size, numeric_precision, numeric_scale, self.engine)

    def create(self, name: str, label_or_dtype: str) -> ColumnValue:
        """Return a column of a type that may be a general name."""
        return self(name, self.translate_type(label_or_dtype))

    def from_description(self, name: str, raw_data_type: str) -> ColumnValue:
        """Return a column of a type with its size.

        >>> ColumnClass(dialect_named("postgres")).from_description("total", "numeric(10,2)").data_type
        'numeric(10,2)'
        """
        found = re.match(r"([^(]+)(?:\(([^)]+)\))?", raw_data_type)
        if found is None:
            raise RenderError(f"no data type can be read from {raw_data_type!r}")
        sizes = found[2].split(",") if found[2] else []
        try:
            numbers = [int(each) for each in sizes]
        except ValueError:
            raise RenderError(f"no data type can be read from {raw_data_type!r}") from None
        if len(numbers) == 1:
            return self(name, found[1], numbers[0])
        return self(name, found[1], None, *numbers[:2])

    def shown(self, name: str, kind: str) -> ColumnValue:
        """Return a column as the catalog of the engine shows it: with the size as a part of its type or beside it."""
        base = kind.partition("(")[0]
        sized = self.engine.dbt_sizes_apart and base in (*_STRINGS, *_NUMERICS) and not kind.endswith("]")
        return self.from_description(name, kind) if sized else self(name, kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ASKED_BY_SANDBOX:
            raise AttributeError(name)
        raise NeedsDbtError(f"api.Column.{name}")
