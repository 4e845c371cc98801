"""Calls that mean something else than their name says to the parser; of a query with one of them nothing is proven."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set as AbstractSet

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from sao_dagster.sql.builtin_functions import is_scalar
from sao_dagster.sql.dialects import dialect_named
from sao_dagster.sql.inference.names import NotUnderstoodError
from sao_dagster.sql.parsing import tokenize

_WITH_UNITS = re.compile(r"date_?(trunc|part|diff)", re.IGNORECASE)
"""Functions whose first argument is the name of a unit; the parser takes the name of a column there for one."""


def refuse_calls(sql: str, dialect: str, tree: exp.Expr, own_functions: AbstractSet[str]) -> None:
    """Refuse a query that calls a function of the user's own by a name under which another one is known here, or for a unit in a column.

    Raises:
        NotUnderstoodError: It does.
    """
    if not own_functions and not _WITH_UNITS.search(sql):
        return
    tokens = tokenize(sql, dialect)
    names = [token.text.lower() for token in tokens]
    calls = [place for place, after in enumerate(names[1:]) if after == "("]
    called = Counter(names[place] for place in calls if names[place] in own_functions)
    unknown = Counter(each.name.lower() for each in tree.find_all(exp.Anonymous)) if called else Counter()
    for name in called:
        if is_scalar(name, dialect) or called[name] > unknown[name]:
            raise NotUnderstoodError(f"{name}, a function of the user's own")
    for place in calls if dialect_named(dialect).units_are_texts else ():
        unit = tokens[place + 2 : place + 4]
        written = len(unit) == 2 and unit[0].token_type is TokenType.STRING and unit[1].text == ","
        if _WITH_UNITS.fullmatch(names[place]) and not written:
            raise NotUnderstoodError(f"a unit of {names[place]} that is not written out")
