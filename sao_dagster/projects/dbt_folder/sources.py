"""Sources as properties files describe them: a table or files, and how to tell whether there is something new."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from sao_dagster.core.nodes import Column, Source
from sao_dagster.errors import Location, NeedsDbtError, ProjectError
from sao_dagster.projects.config import SourceFreshness, checked, listed
from sao_dagster.projects.dbt_folder.project_file import Settings
from sao_dagster.projects.dbt_folder.properties_files import SourceProperties, TableProperties
from sao_dagster.sql.builtin_functions import files_read
from sao_dagster.sql.dialects import Dialect

_LITERAL = r"'((?:[^']|'')*)'"


def read_table(
    settings: Settings,
    source: SourceProperties,
    table: TableProperties,
    config: Mapping[str, Any],
    *,
    root: Path,
    database: str | None,
    engine: Dialect,
    where: Location,
) -> Source:
    """Return one table of a source.

    Args:
        settings: The project's settings, for the Jinja in texts.
        source: The group it belongs to.
        table: What is said of the table itself; it wins over its group.
        config: Configuration from broad to specific, merged.
        root: The project's folder.
        database: The database of sources that name none.
        engine: What the SQL is for, which says how names are quoted.
        where: Its place in the properties file.

    Raises:
        ProjectError: It has two ways to tell what is new, or a wrong value.
    """
    name = f"{source.name}.{table.name}"
    freshness = _freshness(settings, source, table, config, name, where)
    field_, query = _loaded_at(source, table, config)
    if field_ and query:
        raise ProjectError(f"{name} has both loaded_at_field and loaded_at_query; keep one", location=where)
    meta = {
        **source.meta,
        **(source.config.get("meta") or {}),
        **table.meta,
        **(table.config.get("meta") or {}),
    }
    if plugin := meta.get("plugin") or config.get("plugin"):
        raise NeedsDbtError(f"the plugin {plugin!r} of dbt-duckdb for the source {name}", location=where)
    external = meta.get("external_location") or config.get("external_location")
    database = settings.text(source.database) if source.database else database
    schema = settings.text(source.schema_) if source.schema_ else source.name
    identifier = settings.text(table.identifier) if table.identifier else table.name
    quoting = {**settings.file.quoting, **(source.quoting or {}), **(table.quoting or {})}
    relation = engine.without_quotes(engine.relation(database, schema, identifier), settings.value(quoting))
    files: tuple[str, ...] = ()
    expression = str(relation)
    if external:
        known = {"name": table.name, "identifier": identifier, "schema": schema, "database": database, **meta}
        text = filled(settings.text(external), str(meta.get("formatter") or "newstyle"), known, where)
        files, expression = external_location(text, root)
    return Source(
        source_name=source.name,
        table_name=table.name,
        relation=None if external else relation,
        expression=expression,
        files=files,
        loaded_at_field=field_ or None,
        loaded_at_query=query or None,
        filter=(freshness and freshness.filter) or None,
        warn_after=freshness.warn_after.age if freshness and freshness.warn_after else None,
        error_after=freshness.error_after.age if freshness and freshness.error_after else None,
        fqn=(settings.file.name, source.name, table.name),
        location=where,
        description=settings.text(table.description or source.description),
        columns=tuple(
            Column(column.name, settings.text(column.description), column.data_type) for column in table.columns
        ),
        tags=tuple(dict.fromkeys([*source.tags, *table.tags, *listed(config.get("tags"))])),
        meta=meta,
    )


def _freshness(
    settings: Settings,
    source: SourceProperties,
    table: TableProperties,
    config: Mapping[str, Any],
    name: str,
    where: Location,
) -> SourceFreshness | None:
    """Return the limits of a table: its own over its source's over the project's, limit by limit; `null` cancels what is above it.

    As dbt merges them: https://docs.getdbt.com/reference/resource-properties/freshness
    """
    merged: Mapping[str, Any] | None = {}
    for place in (source, table):
        own = place.freshness if "freshness" in place.model_fields_set else {}
        for layer in (own, settings.rendered(place.config).get("freshness", {})):
            if layer is not None and not isinstance(layer, Mapping):
                raise ProjectError(f"the freshness of {name} is a mapping or null, got {layer!r}", location=where)
            merged = None if layer is None else _over(merged or {}, layer)
    if merged == {}:
        merged = config.get("freshness")
    return None if merged is None else checked(SourceFreshness, merged, name, where)


def _over(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits with those of a layer over them: counts and periods one by one."""
    found = {**base, **layer}
    for limit in ("warn_after", "error_after"):
        below, above = base.get(limit), layer.get(limit)
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            found[limit] = {**below, **{key: value for key, value in above.items() if value is not None}}
    return found


def _loaded_at(
    source: SourceProperties, table: TableProperties, config: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    """Return the `loaded_at_field` and the `loaded_at_query` of a table; what it says itself, or its source, takes the place of the rest."""
    for place in (table, source):
        keys = ("loaded_at_field", "loaded_at_query")
        if any(key in place.config or key in place.model_fields_set for key in keys):
            field_, query = (place.config.get(key) or getattr(place, key) for key in keys)
            return field_, query
    return config.get("loaded_at_field"), config.get("loaded_at_query")


def filled(text: str, formatter: str, known: Mapping[str, Any], where: Location) -> str:
    """Return an `external_location` with the names in it replaced, in one of the ways that dbt-duckdb knows.

    >>> filled("in/{name}.csv", "newstyle", {"name": "orders"}, Location("x"))
    'in/orders.csv'
    >>> filled("in/%(name)s.csv", "oldstyle", {"name": "orders"}, Location("x"))
    'in/orders.csv'

    Raises:
        ProjectError: It names what is not known, or the way is not known.
    """
    ways: Mapping[str, Callable[[], str]] = {
        "newstyle": lambda: text.format_map(known),
        "oldstyle": lambda: text % known,
        "template": lambda: Template(text).substitute(known),
    }
    if formatter not in ways:
        raise ProjectError(f"there is no formatter {formatter!r}; there are {', '.join(ways)}", location=where)
    try:
        return ways[formatter]()
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ProjectError(f"the external_location {text!r} cannot be read: {error}", location=where) from error


def external_location(text: str, root: Path) -> tuple[tuple[str, ...], str]:
    """Return the files that an `external_location` means, and how SQL reads them: the first argument of a function is one text or a list of them.

    >>> external_location("read_csv(['a.csv', 'in/*.csv'], header=true)", Path("/shop"))
    (('a.csv', 'in/*.csv'), "read_csv(['/shop/a.csv', '/shop/in/*.csv'], header=true)")
    >>> external_location("delta_scan('lake/orders')", Path("/shop"))
    (('lake/orders/_delta_log/*.json',), "delta_scan('/shop/lake/orders')")
    >>> external_location("in/a.csv", Path("/shop")), external_location("f(x)", Path("/shop"))
    ((('in/a.csv',), "'/shop/in/a.csv'"), ((), 'f(x)'))
    """
    found: list[str] = []
    function = re.match(r"\s*([\w.]+)\s*\(", text)
    name = function[1].lower() if function else ""

    def absolute(literal: re.Match[str]) -> str:
        pattern = literal[1].replace("''", "'")
        found.append(files_read(name, pattern))
        is_whole = "://" in pattern or pattern.startswith("~") or os.path.isabs(pattern)  # noqa: PTH117 - a glob is no path
        return "'" + (pattern if is_whole else str(root / pattern)).replace("'", "''") + "'"

    written = text if function else "'" + text.strip().strip("'").replace("'", "''") + "'"
    argument = re.match(rf"\s*(?:[\w.]+\s*\(\s*)?(\[\s*(?:{_LITERAL}[\s,]*)+\]|{_LITERAL})", written)
    if argument is None:
        return (), written
    start, end = argument.span(1)
    expression = written[:start] + re.sub(_LITERAL, absolute, written[start:end]) + written[end:]
    return tuple(found), expression
