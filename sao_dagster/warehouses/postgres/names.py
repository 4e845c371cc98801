"""What names mean in a PostgreSQL session: relations by the search path, and functions that somebody made."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.inputs import UndeclaredInput
from sao_dagster.core.relations import Relation
from sao_dagster.warehouses.postgres.made import MADE, extension_of, hidden, named_objects, operators_and_casts
from sao_dagster.warehouses.protocol import FunctionInfo


def resolve(connection: Connection[Any], tables: Collection[UndeclaredInput]) -> dict[UndeclaredInput, Relation]:
    """Return which tables and views are meant by names, as the server looks them up; not its own catalog, nor temporary tables."""
    row = connection.execute("select current_database()").fetchone()
    database = str(row[0]) if row else ""
    here = [each for each in tables if len(each.parts) < 3 or each.parts[0] == database]
    written = [each.written.partition(".")[2] if len(each.parts) == 3 else each.written for each in here]
    rows = connection.execute(
        "select w.place, n.nspname, c.relname from unnest(%s::text[]) with ordinality as w(name, place) "
        "join pg_class c on c.oid = to_regclass(w.name) join pg_namespace n on n.oid = c.relnamespace "
        "where c.relkind in ('r', 'p', 'f', 'm', 'v') and c.relpersistence <> 't' "
        "and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')",
        [written],
    ).fetchall()
    return {here[place - 1]: Relation(database, schema, name, folds=False) for place, schema, name in rows}


def functions(connection: Connection[Any], names: Collection[str]) -> dict[str, FunctionInfo]:
    """Return what the functions of those names do, whatever their schema and their arguments.

    One in SQL is what its text is, and reads what that reads. One in another language has a text that nobody reads here, or none: it is
    known only if it was declared `immutable`. Aggregates are what their functions are.
    """
    rows = connection.execute(
        "select lower(p.proname), l.lanname, p.prokind, p.provolatile, p.prosrc, pg_get_function_sqlbody(p.oid), p.proconfig::text, "
        "pg_get_function_arguments(p.oid) || ' returns ' || coalesce(pg_get_function_result(p.oid), ''), p.proisstrict, p.probin, "
        f"{extension_of('pg_proc', 'p')}, p.oid::text || ' ' || p.xmin::text, {hidden('n.oid')}, "
        "a::text, array(select format('%%I.%%I', sn.nspname, s.proname) from pg_proc s join pg_namespace sn on sn.oid = s.pronamespace "
        "where s.oid in (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggmfinalfn, a.aggminvtransfn) "
        "and sn.nspname <> 'pg_catalog') "
        "from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang "
        "left join pg_aggregate a on a.aggfnoid = p.oid "
        f"where {MADE} and lower(p.proname) = any(%s) order by n.nspname, p.proname, 8".encode(),
        [list(names)],
    ).fetchall()
    known: dict[str, list[JSON]] = {}
    queries: dict[str, list[str]] = {}
    written: dict[str, list[str]] = {}
    opaque = set()
    for name, language, kind, change, source, body, settings, *shape, write, hides, aggregate, parts in rows:
        written.setdefault(name, []).append(write)
        known.setdefault(name, []).append(
            [language, change, source, body, settings, *shape, aggregate, *filter(None, [hides])]
        )
        texts = queries.setdefault(name, [])
        if kind == "a":
            texts += [f"select {part}()" for part in parts]
        elif language == "sql" and "search_path" not in (settings or ""):
            texts.append(body or source)
        elif change != "i":
            opaque.add(name)
    found = {
        name: FunctionInfo(digest(each), tuple(queries[name]), written=" ".join(written[name]))
        for name, each in known.items()
        if name not in opaque
    }
    return {**found, **operators_and_casts(connection, names), **named_objects(connection, names)}
