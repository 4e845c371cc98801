"""Names and values as the SQL of all warehouses here writes them."""

from __future__ import annotations

import re

from sao_dagster.core.relations import RelationKey, quote

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)\"""")


def sql_name(key: RelationKey) -> str:
    """Return a catalog key as SQL writes it."""
    return ".".join(quote(part) for part in key if part)


def literal(value: object) -> str:
    """Return a value as a SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"


def without_quotes(sql: str) -> str:
    """Return a definition without the quotes around plain words, in which catalogs are not steady.

    DuckDB 1.5 shows a view with `CAST(x AS "DATE")` until the file is opened anew, and with `CAST(x AS DATE)` from then on.

    >>> without_quotes('select cast("x" as "DATE"), "a b" from t')
    'select cast(x as DATE), "a b" from t'
    """

    def bare_word(match: re.Match[str]) -> str:
        return match[1] if match[1] and re.fullmatch(r"\w+", match[1]) else match[0]

    return _QUOTED.sub(bare_word, sql) if '"' in sql else sql
