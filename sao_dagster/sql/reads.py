"""What a query reads that is neither a node, nor a declared source, nor made by the query itself: by the engine's own rules of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from sqlglot import exp

from sao_dagster.core.hashing import digest
from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.sql.builtin_functions import Reach, files_read, reach_of
from sao_dagster.sql.dialects import Dialect, dialect_named
from sao_dagster.sql.fingerprint import NO_NAMES, Names, lexed_with_nodes, with_ids
from sao_dagster.sql.parsing import UnreadableSqlError, parse
from sao_dagster.sql.read_tokens import Call, TokenScan

NOT_UNDERSTOOD = UndeclaredInput(InputKind.UNKNOWN, "a query that is not understood")


def undeclared_reads(sql: str, dialect: str, names: Names = NO_NAMES) -> tuple[UndeclaredInput, ...]:
    """Return what statements read without saying so by `ref` or `source`, in the order of their ids.

    Tables and files that are read by their name, files that a table function reads, and functions that the engine does not have of its
    own. What cannot be followed (the engine's catalog, a sequence, SQL that is a text, where rows are stored) is `unknown`.

    Args:
        sql: Statements; one query, most of the time.
        dialect: Sqlglot's name of their dialect.
        names: Ids of the nodes and sources that they name, by how they are named.

    >>> [each.id for each in undeclared_reads("with o as (select * from o) select plus_vat(x) from o, 'a.csv'", "duckdb")]
    ['file:a.csv', 'function:plus_vat', 'table:o']
    >>> undeclared_reads("with o as (select 1 as x) select upper(x) from o", "duckdb")
    ()
    """
    try:
        tokens, nodes = lexed_with_nodes(sql, dialect, tuple(names.items()))
    except UnreadableSqlError:
        return (NOT_UNDERSTOOD,)
    text, hidden = sql.lower(), dialect_named(dialect).hidden_columns
    scan = TokenScan(tokens, nodes, with_names=any(name in text for name in hidden)).run()
    found = set(_of_calls(scan.calls, dialect))
    hidden = hidden & scan.columns - scan.aliases
    found.update(UndeclaredInput(InputKind.UNKNOWN, f"where rows are stored ({each})") for each in hidden)
    if scan.has_tables:
        found.update(
            _tables(with_ids(sql, dialect, names), dialect, frozenset(f"n{digest(each)}" for each in names.values()))
        )
    return tuple(sorted(found))


def names_text(sql: str, dialect: str, text: str) -> bool:
    """Return whether statements name a relation as some text writes it, other than in a comment or a string; True where they cannot be read.

    >>> [names_text(f"select 1 {each}", "duckdb", '"s"."t"') for each in ('from "s"."t"', '-- "s"."t"', 'from "t"')]
    [True, False, False]
    """
    try:
        return text in sql and bool(lexed_with_nodes(sql, dialect, ((text, text),))[1])
    except UnreadableSqlError:
        return True


@lru_cache(maxsize=8192)
def called_functions(sql: str, dialect: str) -> frozenset[str]:
    """Return the names of all functions that statements call, the engine's own too, in lower case; none where they cannot be read.

    >>> sorted(called_functions("select upper(x) from range(3)", "duckdb"))
    ['range', 'upper']
    """
    try:
        return frozenset(call.name for call in TokenScan(*lexed_with_nodes(sql, dialect, ())).run().calls)
    except UnreadableSqlError:
        return frozenset()


@lru_cache(maxsize=8192)
def named_fields(sql: str, dialect: str) -> frozenset[str]:
    """Return the names that stand after a dot and are no calls, in lower case; none where the SQL cannot be read.

    >>> sorted(named_fields("select o.id, (o).total, upper(o.name) from orders as o", "postgres") - {"o"})
    ['id', 'name', 'total']
    """
    try:
        return frozenset(TokenScan(*lexed_with_nodes(sql, dialect, ())).run().fields)
    except UnreadableSqlError:
        return frozenset()


def _of_calls(calls: Iterable[Call], dialect: str) -> Iterator[UndeclaredInput]:
    for call in calls:
        reach = reach_of(call.name, dialect, makes_rows=call.makes_rows)
        if reach is None:
            yield UndeclaredInput(InputKind.FUNCTION, call.name)
        elif reach is Reach.CATALOG or (reach is Reach.FILES and call.texts is None):
            yield UndeclaredInput(InputKind.UNKNOWN, f"what {call.name}() reads")
        elif reach is Reach.FILES:
            yield from (UndeclaredInput(InputKind.FILE, files_read(call.name, text)) for text in call.texts or ())


@lru_cache(maxsize=1024)
def _tables(sql: str, dialect: str, nodes: frozenset[str]) -> tuple[UndeclaredInput, ...]:
    """Return the tables, and the files that stand for tables, that statements name; those whose first part is in `nodes` are known."""
    try:
        trees = parse(sql, dialect)
    except UnreadableSqlError:
        return (NOT_UNDERSTOOD,)
    engine = dialect_named(dialect)
    found: dict[UndeclaredInput, None] = {}
    made: set[tuple[str, ...]] = set()  # by a statement before
    for tree in trees:
        for table in _tables_read(tree, engine):
            if not isinstance(table, exp.Table):
                found[NOT_UNDERSTOOD] = None
                continue
            parts = _parts(table, engine)
            if parts[0] not in nodes and parts not in made:
                found[_named(table, parts, engine)] = None
        if isinstance(tree, exp.Create) and (target := tree.find(exp.Table)) is not None:
            made.add(_parts(target, engine))
    return tuple(found)


def _tables_read(tree: exp.Expr, engine: Dialect) -> Iterator[exp.Expr]:
    """Yield the tables that a statement reads and that are no common table expression where they stand, and what is not understood.

    A name means a common table expression after its definition, inside the query that has the `with`; inside its own definition only
    where that is recursive.
    """
    pending: list[tuple[exp.Expr, frozenset[str]]] = [(tree, frozenset())]
    while pending:
        node, visible = pending.pop()
        clause = node.args.get("with_")
        if isinstance(clause, exp.With):
            own = {cte: _compared(cte.args["alias"].this, engine) for cte in clause.expressions}
            if clause.args.get("recursive"):
                recursive = {name for cte, name in own.items() if isinstance(cte.this, exp.SetOperation)}
                visible |= recursive
            for cte, name in own.items():
                pending.append((cte.this, visible))
                visible |= {name}
        if isinstance(node, exp.Command | exp.Copy):
            yield node
        if isinstance(node, exp.Table) and _is_read(node, visible, engine):
            yield node
        written = isinstance(node, exp.Create | exp.Insert | exp.Drop | exp.Alter)
        for key, value in node.args.items():
            if value is clause or (written and key == "this"):
                continue
            for child in value if isinstance(value, list) else (value,):
                pending += [(child, visible)] if isinstance(child, exp.Expr) else []


def _is_read(table: exp.Table, visible: frozenset[str], engine: Dialect) -> bool:
    """Return whether a table is one, and no function nor a common table expression of those that are visible."""
    name = table.this
    return isinstance(name, exp.Identifier) and (len(table.parts) > 1 or _compared(name, engine) not in visible)


def _compared(name: exp.Expr, engine: Dialect) -> str:
    text = engine.compared(name.name, quoted=bool(name.args.get("quoted")))
    return text if engine.compares_names else text.lower()


def _parts(table: exp.Table, engine: Dialect) -> tuple[str, ...]:
    return tuple(_compared(part, engine) for part in table.parts)


def _named(table: exp.Table, parts: tuple[str, ...], engine: Dialect) -> UndeclaredInput:
    if len(parts) == 1 and table.this.args.get("quoted") and engine.is_file(table.this.name):
        return UndeclaredInput(InputKind.FILE, table.this.name)
    written = ".".join(part.sql(dialect=engine.name) for part in table.parts)
    return UndeclaredInput(InputKind.TABLE, ".".join(parts), written, parts)
