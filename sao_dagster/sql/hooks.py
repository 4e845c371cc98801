"""What statements before and after a build do to what is built: whether they change its rows, or what names in its query mean."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.relations import Relation
from sao_dagster.sql.parsing import UnreadableSqlError, parse, tokenize
from sao_dagster.sql.questions import is_named
from sao_dagster.sql.reads import undeclared_reads
from sao_dagster.sql.session import statements_of

_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable)
_MAY_WRITE = re.compile(r"\b(insert|update|delete|merge|truncate|copy|create|rename)\b", re.IGNORECASE)
_BEGINS_WRITING = re.compile(r"\s*(insert|update|delete|merge|truncate|copy|with)\b", re.IGNORECASE)
_RUNS_CODE = frozenset(("call", "do", "exec", "execute"))
_ASKS = frozenset(("select", "with", "values", "("))
_RENAMES = re.compile(
    r"^\s*use\b|\bset\s+((local|session)\s+)?(search_path|schema|role|authorization)\b"
    r"|\bset_config\s*\(\s*'(search_path|role)'|\breset\s+(search_path|schema|role|session|all)\b",
    re.IGNORECASE | re.MULTILINE,
)


def may_write(sql: str) -> bool:
    """Return whether statements have a verb that writes, or makes anything."""
    return _MAY_WRITE.search(sql) is not None


def changes_rows(sql: str, relation: Relation, dialect: str, *, unread: bool | None = None) -> bool:
    """Return whether statements may write, change or delete rows of a relation, or put another one in its place.

    Args:
        sql: The statements.
        relation: The relation.
        dialect: sqlglot's name of the dialect.
        unread: What is returned where they cannot be read; None for whether they begin with a verb that writes.

    >>> orders = Relation("shop", "main", "orders")
    >>> changes_rows("delete from main.orders where id is null", orders, "duckdb")
    True
    >>> changes_rows("insert into main.log select count(*) from main.orders", orders, "duckdb")
    False
    """
    if not may_write(sql):  # sqlglot warns of what it cannot read of rights and the like
        return False
    try:
        trees = parse(sql, dialect)
    except UnreadableSqlError:
        return _BEGINS_WRITING.match(sql) is not None if unread is None else unread
    for tree in trees:
        if isinstance(tree, exp.Command) and (unread or _BEGINS_WRITING.match(sql)):
            return True
        if isinstance(tree, exp.Create):  # of a table or view, or of an index or the like upon one
            target = tree.this.find(exp.Table) if tree.this else None
            if (
                target is not None
                and str(tree.args.get("kind")).upper() in ("TABLE", "VIEW")
                and is_named(target, relation)
            ):
                return True
        if isinstance(tree, exp.Alter) and any(is_named(each, relation) for each in tree.find_all(exp.Table)):
            return True
        for node in filter(_writes_rows, tree.find_all(*_WRITES, exp.Copy)):
            targets = node.expressions if isinstance(node, exp.TruncateTable) else [node.this]
            tables = (each.find(exp.Table) for each in targets)
            if any(table is None or is_named(table, relation) for table in tables):
                return True
    return False


def _writes_rows(node: exp.Expr) -> bool:
    """Return whether a statement writes rows of a table; `copy` may also write a file."""
    return isinstance(node, _WRITES) or (isinstance(node, exp.Copy) and bool(node.args.get("kind")))


def calls(sql: str, dialect: str) -> tuple[UndeclaredInput, ...]:
    """Return what statements call for what it does, which may be anything: procedures, code, and functions that the engine does not have of its own.

    >>> [each.id for each in calls("select fill(1); call refresh(); select pg_notify('a', 'b'); insert into log select id(x)", "postgres")]
    ['function:fill', 'unknown:what call refresh() does']
    """
    try:
        tokens = tokenize(sql, dialect)
    except UnreadableSqlError:
        return ()
    found: dict[UndeclaredInput, None] = {}
    for statement in statements_of(tokens):
        first = statement[0].text.lower()
        text = sql[statement[0].start : statement[-1].end + 1]
        if first in _RUNS_CODE:
            found[UndeclaredInput(InputKind.UNKNOWN, f"what {textwrap.shorten(text, 60)} does")] = None
        elif first in _ASKS:
            reads = undeclared_reads(text, dialect)
            found.update(dict.fromkeys(each for each in reads if each.kind is InputKind.FUNCTION))
    return tuple(found)


@dataclass(frozen=True)
class Filling:
    """What a statement of `on-run-start` puts into a table.

    Attributes:
        table: The parts of the table's name, as far as it says them, in lower case.
        reads: What the statement reads besides.
    """

    table: tuple[str, ...]
    reads: tuple[UndeclaredInput, ...]

    def is_read(self, tables: Iterable[tuple[str, ...]]) -> bool:
        """Return whether the table may be one of some tables, by the parts that both names say."""
        return any(self.table[-len(each) :] == each[-len(self.table) :] for each in tables)


def tables_in(sql: str, dialect: str) -> set[tuple[str, ...]]:
    """Return the tables that statements name, as their parts in lower case; none where they cannot be read.

    >>> tables_in('select * from "Shop".orders, t', "duckdb") == {("shop", "orders"), ("t",)}
    True
    """
    try:
        trees = parse(sql, dialect)
    except UnreadableSqlError:
        return set()
    return {_parts(table) for tree in trees for table in tree.find_all(exp.Table)}


def _parts(table: exp.Table) -> tuple[str, ...]:
    return tuple(part.name.lower() for part in table.parts)


def fillings(sql: str, dialect: str) -> tuple[Filling, ...]:
    """Return what statements put into tables; nothing where they cannot be read.

    >>> [(each.table, [read.id for read in each.reads]) for each in fillings("insert into stage select id from raw.t", "duckdb")]
    [(('stage',), ['table:raw.t'])]
    """
    if not may_write(sql):
        return ()
    try:
        trees = parse(sql, dialect)
    except UnreadableSqlError:
        return ()
    found = []
    for tree in trees:
        makes_table = isinstance(tree, exp.Create) and str(tree.args.get("kind")).upper() == "TABLE"
        if not makes_table and not _writes_rows(tree):
            continue
        target = (tree.this or tree).find(exp.Table)
        if target is not None:
            parts = _parts(target)
            reads = undeclared_reads(tree.sql(dialect=dialect), dialect)
            others = (each for each in reads if each.parts != parts and not is_head(each, parts[-1]))
            found.append(Filling(parts, tuple(others)))
    return tuple(found)


def is_head(read: UndeclaredInput, name: str) -> bool:
    """Return whether what seems to be a call is the head of a statement about a table of that name: `insert into t (id)`."""
    return read.kind is InputKind.FUNCTION and read.name == name


def renames(sql: str) -> bool:
    """Return whether a statement changes what names mean that do not say all: the search path, the schema, the role.

    >>> renames("set local search_path = other"), renames("set timezone = 'UTC'")
    (True, False)
    """
    return _RENAMES.search(sql) is not None
