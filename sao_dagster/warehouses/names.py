"""Names and values as the SQL of all warehouses here writes them."""

from __future__ import annotations


def quote(name: str) -> str:
    """Return a name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_name(key: tuple[str, str, str]) -> str:
    """Return a catalog key as SQL writes it."""
    return ".".join(quote(part) for part in key if part)


def literal(value: object) -> str:
    """Return a value as a SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + str(value).replace("'", "''") + "'"


def bare(sql: str) -> str:
    """Return a statement that may stand inside another one."""
    return sql.strip().rstrip(";").rstrip()
