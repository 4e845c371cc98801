"""A query as a canonical tree: what is left when names that nobody outside can see, and brackets, are taken away.

Only names are replaced whose meaning is certain without knowing the tables: aliases of tables and subqueries,
and names of common table expressions. Columns keep their names, so two queries have one form only if they take
the same columns from the same relations. Where a name is ambiguous (a row used as a value, a pivot, a table
function's columns), nothing is replaced, and only the plain trees are compared.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.optimizer.scope import Scope, traverse_scope

from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.parsing import UnreadableSqlError, parse

_AMBIGUOUS = (exp.Pivot, exp.MatchRecognize, exp.Lateral, exp.Unnest, exp.UDTF, exp.Values, exp.Into)


@lru_cache(maxsize=512)
def canonical_form(sql: str, dialect: str) -> str | None:
    """Return a text that only cosmetically different queries share; None for what is not one readable query.

    >>> one = canonical_form("with a as (select (x) from t as u) select a.x from a", "duckdb")
    >>> one == canonical_form('with b as (select "x" from t) select b.x as x from b', "duckdb")
    True
    >>> one == canonical_form("with b as (select y from t) select b.y as x from b", "duckdb")
    False
    """
    try:
        statements = parse(sql, dialect)
    except UnreadableSqlError:
        return None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        return None
    try:
        return _form(statements[0], dialect)
    except Exception:  # noqa: BLE001 - sqlglot raises whatever it meets in a tree; then the query has no form
        return None


def _form(tree: exp.Query, dialect: str) -> str:
    names = [column.output_name for column in tree.selects]
    tree = _without_noise(normalize_identifiers(tree, dialect=dialect))
    if not dialect_named(dialect).shows_case:
        names = [column.output_name for column in tree.selects]
    if tree.find(*_AMBIGUOUS) is None:
        tree = _without_inner_names(tree)
    return repr(names) + repr(tree)


def _without_noise(tree: exp.Query) -> exp.Query:
    """Remove what the grammar allows but the meaning does not need; changes the tree in place."""
    for node in list(tree.walk()):
        node.comments = None
        if isinstance(node, exp.Paren):
            node.replace(node.this)
        elif isinstance(node, exp.Identifier):
            node.set("quoted", None)
        elif isinstance(node, exp.Join):
            if node.args.get("kind") == "INNER" or (node.side and node.args.get("kind") == "OUTER"):
                node.set("kind", None)
        elif isinstance(node, exp.Ordered) and node.args.get("desc") is False:
            node.set("desc", None)
    for alias in list(tree.find_all(exp.Alias)):
        column = alias.this
        if isinstance(column, exp.Column) and column.name == alias.alias and isinstance(alias.parent, exp.Select):
            alias.replace(column)
    return tree


def _without_inner_names(tree: exp.Query) -> exp.Query:
    """Replace aliases and names of common table expressions by numbers; return a copy, or the tree as it was."""
    original = tree.copy()
    try:
        scopes = traverse_scope(tree)
        renamed = _rename(scopes)
    except (SqlglotError, RecursionError, KeyError, ValueError):
        return original
    return tree if renamed else original


def _rename(scopes: list[Scope]) -> bool:
    """Rename in place; return False, with the tree half done, where a name is ambiguous."""
    new_names: dict[int, dict[str, str]] = {}
    number = 0
    for scope in scopes:
        names: dict[str, str] = {}
        for name in scope.selected_sources:
            names[name] = f"_{number}"
            number += 1
        new_names[id(scope)] = names
    aliases = {name for names in new_names.values() for name in names}
    columns: dict[int, tuple[exp.Expr, str | None]] = {}
    for scope in scopes:
        for column in scope.columns:
            if not column.table and column.name in aliases:
                return False  # a whole row used as a value, or a column that only looks like one
            owner = _owner(scope, column.table, new_names) if column.table else None
            columns.setdefault(id(column), (column, owner))
        for star in scope.stars:
            qualifier = star.args.get("table")
            columns.setdefault(id(star), (star, _owner(scope, qualifier.name, new_names) if qualifier else None))
    plain = _single_sources(scopes)
    for node, owner in columns.values():
        if owner is None:
            continue
        if id(node) in plain:
            node.set("table", None)
        else:
            node.set("table", exp.to_identifier(owner))
    _rename_relations(scopes, new_names)
    return True


def _owner(scope: Scope | None, table: str, new_names: dict[int, dict[str, str]]) -> str | None:
    """Return the new name of the source that a column's qualifier means, looking outwards."""
    while scope is not None:
        found = new_names.get(id(scope), {}).get(table)
        if found is not None:
            return found
        scope = scope.parent
    return None


def _single_sources(scopes: list[Scope]) -> set[int]:
    """Return the columns whose qualifier says nothing: there is one source, and no output has that name.

    A column of an outer query inside an inner one belongs to both scopes; its qualifier is what tells it apart.
    """
    scopes_of = Counter(id(column) for scope in scopes for column in scope.columns)
    found: set[int] = set()
    for scope in scopes:
        if len(scope.selected_sources) != 1 or not isinstance(scope.expression, exp.Select):
            continue
        (name,) = scope.selected_sources
        outputs = {each.alias for each in scope.expression.selects if isinstance(each, exp.Alias)}
        found |= {
            id(column)
            for column in scope.columns
            if column.table == name and column.name not in outputs and scopes_of[id(column)] == 1
        }
    return found


def _rename_relations(scopes: list[Scope], new_names: dict[int, dict[str, str]]) -> None:
    """Give each source its new alias, and each common table expression a number."""
    cte_names: dict[int, str] = {}
    for scope in scopes:
        for cte in scope.ctes:
            cte_names.setdefault(id(cte), f"_cte{len(cte_names)}")
    for scope in scopes:
        for name, (node, source) in scope.selected_sources.items():
            alias = exp.to_identifier(new_names[id(scope)][name])
            # the alias of a derived table is on the brackets around its query
            holder = node.parent if isinstance(node, exp.Query) and isinstance(node.parent, exp.Subquery) else node
            table_alias = holder.args.get("alias")
            if isinstance(table_alias, exp.TableAlias):
                table_alias.set("this", alias)
            else:
                holder.set("alias", exp.TableAlias(this=alias))
            if isinstance(node, exp.Table) and isinstance(source, Scope):
                parent = source.expression.parent
                if isinstance(parent, exp.CTE):
                    node.set("this", exp.to_identifier(cte_names[id(parent)]))
    for scope in scopes:
        for cte in scope.ctes:
            cte.args["alias"].set("this", exp.to_identifier(cte_names[id(cte)]))
