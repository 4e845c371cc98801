"""One `select` while it is read: its rows, its names, and the numbers of its expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.dependencies import Domain, Implication, RowFacts, follow
from sao_dagster.sql.inference.names import Names, NotUnderstoodError, name_of
from sao_dagster.sql.inference.output import Output
from sao_dagster.sql.inference.types import UNKNOWN, Type
from sao_dagster.sql.volatile_functions import expiry_of


@dataclass(frozen=True)
class ExpressionFacts:
    """What is known of an expression from its parts.

    Attributes:
        type: Its type.
        arguments: The columns it is computed from; None where it is not a function of columns of its row.
        not_null: Why it is never null.
        strict: Whether it is not null where no argument is.
        kept_by: It is not null where one of these is not.
        rejects: Columns that are not null where it is not.
        domain: Its possible values.
        reveals: Columns that it determines.
        when: Columns that must not be null for that.
        partly: Whether it must not be null itself for that.
        rule: The name of the rule by which it is not null.
    """

    type: Type = UNKNOWN
    arguments: tuple[int, ...] | None = None
    not_null: Proof | None = None
    strict: bool = False
    kept_by: tuple[int, ...] = ()
    rejects: tuple[int, ...] = ()
    domain: Domain | None = None
    reveals: tuple[int, ...] = ()
    when: tuple[int, ...] = ()
    partly: bool = False
    rule: str = "function"


@dataclass
class Context:
    """What all parts of one query share.

    Attributes:
        dialect: sqlglot's name of the dialect.
        ids: Gives numbers to columns.
        hashes_are_unique: Whether hashes of different texts are taken to be different.
        query: Reads a query inside another one.
        describe: Says what is known of an expression.
    """

    dialect: str
    ids: count[int]
    hashes_are_unique: bool
    query: Callable[[exp.Expr, QueryBlock | None], Output]
    describe: Callable[[QueryBlock, exp.Expr], ExpressionFacts | int]


@dataclass
class QueryBlock:
    """One `select` while it is read.

    Attributes:
        context: What all parts share.
        rows: What is known so far.
        names: What names mean.
        outer: The `select` around it, whose columns it may use.
        copies: Columns of that which it uses, with their numbers here.
        aliases: Expressions by the alias of an output column.
        before_groups: The same block before it was grouped; what aggregates are computed from.
        filled: Why each group has a row, if it has.
        one_grouping: Whether each row is in one group; not so beside grouping sets.
        coalesced: By the two sides of an equality of a full join, the column that has the value of either.
        windows: Named windows.
        ctes: Common table expressions that can be read.
    """

    context: Context
    rows: RowFacts = field(default_factory=RowFacts)
    names: Names = field(default_factory=Names)
    outer: QueryBlock | None = None
    copies: dict[int, int] = field(default_factory=dict)
    aliases: dict[str, exp.Expr] = field(default_factory=dict)
    before_groups: QueryBlock | None = None
    filled: Proof | None = None
    one_grouping: bool = True
    coalesced: dict[frozenset[int], int] = field(default_factory=dict)
    windows: dict[str, exp.Expr] = field(default_factory=dict)
    ctes: dict[str, Output] = field(default_factory=dict)
    memo: dict[Any, int] = field(default_factory=dict)
    opening: set[str] = field(default_factory=set)  # aliases that are being followed

    @property
    def dialect(self) -> str:
        """Sqlglot's name of the dialect."""
        return self.context.dialect

    def new(self, found: Type = UNKNOWN) -> int:
        """Return the number of a new column."""
        column = next(self.context.ids)
        if found is not UNKNOWN:
            self.rows.types[column] = found
        return column

    # ------------------------------------------------------------------ columns

    def column(self, node: exp.Column) -> int:
        """Return the column that a name means.

        Raises:
            NotUnderstoodError: It means none that is known, or perhaps one of several.
        """
        name, table = name_of(node.this, self.dialect), name_of(node.args.get("table"), self.dialect)
        if node.db and self.names.source(name_of(node.args["db"], self.dialect)) is not None:
            return self.new()  # `t.s.a`: perhaps a field of a column of `t`
        found = self._local(name, table)
        if found is not None:
            return found
        if self.names.may_have(table) or name in dialect_named(self.dialect).hidden_columns:
            raise NotUnderstoodError(f"whether {name} is a column that was given no name, or is hidden")
        if not table and name in self.aliases and name not in self.opening:
            if self.outer is not None:
                raise NotUnderstoodError(f"whether {name} is an alias or a column of the query around")
            self.opening.add(name)
            try:
                return self.intern(self.aliases[name])
            finally:
                self.opening.discard(name)
        if table and self._local(table, "") is not None:  # a field of a column that is a struct
            return self.new()
        if self.outer is not None:
            return self.copy(self.outer.column(node))
        raise NotUnderstoodError(f"what {node.sql(self.dialect)} means")

    def is_own(self, node: exp.Column) -> bool:
        """Return whether a name means a column of the relations here, and is no alias and no column of the query around."""
        name, table, schema = (name_of(node.args.get(part), self.dialect) for part in ("this", "table", "db"))
        field = bool(table) and (self._local(table, "") is not None or self.names.source(schema) is not None)
        return field or self._local(name, table) is not None

    def _local(self, name: str, table: str) -> int | None:
        if table:
            source = self.names.source(table)
            if source is None:
                return None
            found = source.find(name)
            opened = source.open
        else:
            source = next((each for each in self.names.sources if each.open), None)
            found = self.names.find(name)
            opened = source is not None
        if len(found) == 1:
            return next(iter(found))
        if len(found) > 1:
            return self.new()
        if opened and source is not None:
            if name not in source.unknown:
                source.unknown[name] = self.new()
            return source.unknown[name]
        return None

    def copy(self, column: int) -> int:
        """Return the number under which a column of the block around is known here: one value for all rows."""
        if column not in self.copies:
            assert self.outer is not None  # noqa: S101 - the column was found there
            mine = self.new(self.outer.rows.type_of(column))
            self.copies[column] = mine
            proof = Proof("outer_column")
            self.rows.add_dependency((), {mine}, proof)
            reason = self.outer.rows.not_null_proof(column)
            if reason is not None:
                self.rows.not_null[mine] = follow("outer_column", reason)
            domain = self.outer.rows.domains.get(column)
            if domain is not None:
                self.rows.domains[mine] = domain
        return self.copies[column]

    # ------------------------------------------------------------------ expressions

    def intern(self, node: exp.Expr) -> int:
        """Return the column that an expression is; the same for the same expression.

        Raises:
            NotUnderstoodError: A name in it means nothing that is known.
        """
        while isinstance(node, exp.Paren | exp.Alias):
            node = node.this
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            return self.column(node)
        key = self._key(node)
        if key not in self.memo:
            found = self.context.describe(self, node)
            self.memo[key] = found if isinstance(found, int) else self.add(found)
        return self.memo[key]

    def note(self, node: exp.Expr, found: ExpressionFacts) -> int:
        """Return the column that an expression is from now on, of which that is known."""
        self.memo[self._key(node)] = column = self.add(found)
        return column

    def _key(self, node: exp.Expr) -> Any:
        """Return what only the same expression has; one that need not give the same again is only itself."""
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            return self.column(node)
        if is_unpredictable(node) or isinstance(node, exp.Query | exp.Subquery | exp.Lambda):
            return ("only", id(node))
        parts: list[Any] = [type(node).__name__]
        for name, value in node.args.items():
            if isinstance(value, exp.Expr):
                parts.append((name, self._key(value)))
            elif isinstance(value, list):
                inner = (self._key(each) if isinstance(each, exp.Expr) else each for each in value)
                parts.append((name, tuple(inner)))
            elif value not in (None, False):
                parts.append((name, value))
        return tuple(parts)

    def add(self, found: ExpressionFacts) -> int:
        """Give a number to an expression, and note what is known of it."""
        column = self.new(found.type)
        rows = self.rows
        proof = Proof(found.rule)
        if found.not_null is not None:
            rows.not_null[column] = found.not_null
        if found.domain is not None:
            rows.domains[column] = found.domain
        if found.arguments is not None:
            if found.strict:
                if found.arguments:
                    rows.implications.append(Implication(frozenset({column}), proof, all_of=frozenset(found.arguments)))
                else:
                    rows.not_null[column] = proof
            if all(rows.type_of(each).exact for each in found.arguments):
                rows.add_dependency(found.arguments, {column}, Proof("same_function"))
        if found.kept_by:
            rows.implications.append(Implication(frozenset({column}), proof, any_of=frozenset(found.kept_by)))
        if found.rejects:
            rows.implications.append(
                Implication(frozenset(found.rejects), Proof("strict_function"), any_of=frozenset({column}))
            )
        if found.reveals:
            when = {*found.when, column} if found.partly else found.when
            rows.add_dependency({column}, found.reveals, Proof("injective"), when)
        return column


def is_unpredictable(node: exp.Expr) -> bool:
    """Return whether an expression may give something else each time it is computed, by itself or as far as is known."""
    return expiry_of(node) is not None or isinstance(node, exp.Anonymous)
