"""Writes a query in one way where there are several that mean the same, so that no rule can be missed by another spelling."""

from __future__ import annotations

from sqlglot import exp

from sao_dagster.sql.inference.names import NotUnderstoodError

_QUANTIFIERS = {"all": exp.All, "any": exp.Any, "some": exp.Any}


def rewritten(tree: exp.Expr) -> exp.Expr:
    """Return a query, changed in place, whose rows and quantifiers are written in one way.

    Raises:
        NotUnderstoodError: A function takes an array for its arguments.

    >>> from sqlglot import parse_one
    >>> rewritten(parse_one("select 1 where row(a, b) = ((1, 2)) and c > all ('{}')", dialect="postgres")).sql("postgres")
    "SELECT 1 WHERE (a, b) = (1, 2) AND c > ALL ('{}')"
    """
    if tree.find(exp.Variadic):
        raise NotUnderstoodError("an array in place of arguments")
    _plain_rows(tree)
    for call in list(tree.find_all(exp.Anonymous)):
        quantifier = _QUANTIFIERS.get(call.name.lower())
        if quantifier is not None and len(call.expressions) == 1:
            call.replace(quantifier(this=exp.Paren(this=call.expressions[0])))
    return tree


def _plain_rows(tree: exp.Expr) -> None:
    """Write a row that is compared as `(a, b)`, be it `row(a, b)` or `((a, b))`; a column of the result may have no other name."""
    for call in list(tree.find_all(exp.Anonymous)):
        if call.name.lower() == "row" and call.expressions and not isinstance(call.parent, exp.Alias | exp.Select):
            call.replace(exp.Tuple(expressions=call.expressions))
    for row in list(tree.find_all(exp.Tuple)):
        while isinstance(row.parent, exp.Paren) and isinstance(
            row.parent.parent, exp.Predicate | exp.Tuple | exp.Paren
        ):
            row.parent.replace(row)
