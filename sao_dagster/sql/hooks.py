"""What statements before and after a build do to what is built: whether they change its rows, or what names in its query mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.core.relations import Relation
from sao_dagster.sql.parsing import UnreadableSqlError, parse
from sao_dagster.sql.questions import is_named
from sao_dagster.sql.reads import undeclared_reads

_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable)
_BEGINS_WRITING = re.compile(r"\s*(insert|update|delete|merge|truncate|copy|with)\b", re.IGNORECASE)
_RENAMES = re.compile(
    r"^\s*use\b|\bset\s+((local|session)\s+)?(search_path|schema|role|authorization)\b"
    r"|\bset_config\s*\(\s*'(search_path|role)'|\breset\s+(search_path|schema|role|session|all)\b",
    re.IGNORECASE | re.MULTILINE,
)


def changes_rows(sql: str, relation: Relation, dialect: str) -> bool:
    """Return whether statements may write, change or delete rows of a relation.

    >>> orders = Relation("shop", "main", "orders")
    >>> changes_rows("delete from main.orders where id is null", orders, "duckdb")
    True
    >>> changes_rows("insert into main.log select count(*) from main.orders", orders, "duckdb")
    False
    """
    try:
        trees = parse(sql, dialect)
    except UnreadableSqlError:
        return _BEGINS_WRITING.match(sql) is not None
    for tree in trees:
        if isinstance(tree, exp.Command) and _BEGINS_WRITING.match(sql):
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


@dataclass(frozen=True)
class Filling:
    """What a statement of `on-run-start` puts into a table.

    Attributes:
        table: The last part of the table's name, in lower case.
        reads: What the statement reads besides.
    """

    table: str
    reads: tuple[UndeclaredInput, ...]


def fillings(sql: str, dialect: str) -> tuple[Filling, ...]:
    """Return what statements put into tables; nothing where they cannot be read.

    >>> [(each.table, [read.id for read in each.reads]) for each in fillings("insert into stage select id from raw.t", "duckdb")]
    [('stage', ['table:raw.t'])]
    """
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
            parts = tuple(part.name.lower() for part in target.parts)
            reads = undeclared_reads(tree.sql(dialect=dialect), dialect)
            others = (each for each in reads if each.parts != parts and not is_head(each, parts[-1]))
            found.append(Filling(parts[-1], tuple(others)))
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
