"""What users and extensions made in a PostgreSQL database that SQL may call, or replaced of the server's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from psycopg import Connection

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.sql.made_functions import CAST, OBJECT, OPERATOR, MadeFunctions
from sao_dagster.warehouses.protocol import FunctionInfo

FIRST_OF_USERS = 16384  # smaller object ids are those of the server's own catalog


def of_extension(catalog: str, alias: str) -> str:
    """Return a condition for objects that an extension brought."""
    return f"exists (select from pg_depend d where d.classid = '{catalog}'::regclass and d.objid = {alias}.oid and d.deptype = 'e')"


def extension_of(catalog: str, alias: str) -> str:
    """Return an expression for the extension that brought an object, with its version; null where none did."""
    return (
        "(select e.extname || ' ' || e.extversion from pg_depend d join pg_extension e on e.oid = d.refobjid "
        f"where d.objid = {alias}.oid and d.classid = '{catalog}'::regclass and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')"
    )


def hidden(namespace: str) -> str:
    """Return an expression that says so of a schema in which this role finds nothing by its name alone, wherever it stands in the search path; else null."""
    return f"case when not has_schema_privilege({namespace}, 'usage') then 'hidden' end"


# What `initdb` made last has the greatest transaction of it. One of the server's own objects that was written later is another one, or
# only the rights to it were changed.
LATE = f"{{0}}.xmin::text::bigint > (select max(xmin::text::bigint) from pg_constraint where contype = 'c' and oid < {FIRST_OF_USERS})"
_LATE = f"""(p.oid < {FIRST_OF_USERS} and p.pronamespace = 'pg_catalog'::regnamespace and {LATE.format("p")}
    and not {of_extension("pg_proc", "p")})"""
REPLACED = f"({_LATE} and (p.proacl is null or p.prolang <> (select oid from pg_language where lanname = 'internal')))"
MADE = f"(p.pronamespace <> 'information_schema'::regnamespace and (p.oid >= {FIRST_OF_USERS} or {_LATE}))"
"""Conditions on `pg_proc p`. One of the server's own that somebody was granted may be another one for those who call it by its name; behind
an operator the server calls what it was compiled with. What an extension makes for types of its own is asked for by these types, and takes the place of nothing."""
MADE_OPERATOR = f"""(o.oid >= {FIRST_OF_USERS} and not ({of_extension("pg_operator", "o")}
    and greatest(o.oprleft, o.oprright) >= {FIRST_OF_USERS}))"""
MADE_CAST = f"""(c.oid >= {FIRST_OF_USERS} and not ({of_extension("pg_cast", "c")}
    and greatest(c.castsource, c.casttarget) >= {FIRST_OF_USERS}))"""
_CAST_NAME = "format_type(c.castsource, null) || ' as ' || format_type(c.casttarget, null)"
TEXT_SEARCH = f"""
    select 'pg_ts_config'::regclass as class, f.oid, lower(f.cfgname) as name, concat_ws(' ', 'configuration', f.cfgparser, (select string_agg(
        concat_ws(':', m.maptokentype, m.mapseqno, d.dictname, d.dicttemplate, d.dictinitoption), ',' order by m.maptokentype, m.mapseqno)
        from pg_ts_config_map m join pg_ts_dict d on d.oid = m.mapdict where m.mapcfg = f.oid), {hidden("f.cfgnamespace")}) as definition
    from pg_ts_config f
    union all
    select 'pg_ts_dict'::regclass, d.oid, lower(d.dictname), concat_ws(' ', 'dictionary', d.dicttemplate, d.dictinitoption, {hidden("d.dictnamespace")})
    from pg_ts_dict d
"""
"""Text search configurations and dictionaries, those of the server too."""
TEXT_SEARCH_ALTERED = f"""
    select from pg_ts_dict d where d.oid < {FIRST_OF_USERS} and {LATE.format("d")} union all
    select from pg_ts_config_map m where m.mapcfg < {FIRST_OF_USERS} group by m.mapcfg having count(*) <> 19 or bool_or({LATE.format("m")})
"""
"""A query with rows where one of the server's own was altered: each maps the same 19 kinds of tokens."""
OBJECTS = f"""
    select 'pg_type'::regclass as class, t.oid, lower(t.typname) as name, t.typtype = 'c' and c.relkind <> 'c' as is_row, concat_ws(' ', 'type', t.oid, t.typtype, t.typnotnull,
        t.typdefault, format_type(t.typbasetype, t.typtypmod), t.typcollation, {extension_of("pg_type", "t")},
        (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
        (select string_agg(pg_get_constraintdef(k.oid), ',' order by k.conname) from pg_constraint k where k.contypid = t.oid),
        (select string_agg(concat_ws(':', a.attname, a.atttypid, a.atttypmod), ',' order by a.attnum) from pg_attribute a
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped), {hidden("t.typnamespace")}) as definition
    from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.oid >= {FIRST_OF_USERS} and t.typelem = 0 and t.typtype <> 'p' and t.typnamespace <> 'information_schema'::regnamespace
    union all
    select 'pg_collation'::regclass, l.oid, lower(l.collname), false, concat_ws(' ', 'collation', to_jsonb(l) - 'collowner', {hidden("l.collnamespace")})
    from pg_collation l where l.oid >= {FIRST_OF_USERS} and l.collnamespace <> 'pg_catalog'::regnamespace
    union all
    select class, oid, name, false, definition from ({TEXT_SEARCH}) as searched where oid >= {FIRST_OF_USERS}
"""
"""Types, collations and text search objects that somebody made, and what they are; a type that only a table has `is_row`."""
_TAKES_ROW = """p.prokind <> 'p' and p.pronargs >= 1 and p.pronargs - p.pronargdefaults <= 1 and exists (select from pg_type t
    left join pg_type base on base.oid = t.typbasetype where t.oid = p.proargtypes[0] and 'c' in (t.typtype, base.typtype)
    or t.oid = p.proargtypes[0] and t.typtype = 'p')"""


def made_functions(connection: Connection[Any]) -> MadeFunctions:
    """Return what was made, or replaced, by users and extensions."""
    functions = connection.execute(
        f"select distinct lower(p.proname), {_TAKES_ROW} from pg_proc p where {MADE}".encode()
    ).fetchall()
    operators = connection.execute(f"select distinct o.oprname from pg_operator o where {MADE_OPERATOR}".encode())
    casts = connection.execute(f"select distinct {_CAST_NAME} from pg_cast c where {MADE_CAST}".encode())
    objects = connection.execute(
        f"select name, bool_and(is_row) from ({OBJECTS}) as o group by name".encode()
    ).fetchall()
    return MadeFunctions(
        frozenset(name for name, _ in functions),
        frozenset(name for name, takes_row in functions if takes_row),
        frozenset(name for (name,) in operators),
        frozenset(name for (name,) in casts),
        frozenset(name for name, is_row in objects if not is_row),
        frozenset(name for name, is_row in objects if is_row),
    )


def operators_and_casts(connection: Connection[Any], names: Collection[str]) -> dict[str, FunctionInfo]:
    """Return what operators and casts do, by names as `MadeFunctions.called_by` has them: what their functions do.

    That of an extension is what the version of the extension does, unless it is declared `volatile`.
    """
    if not any(name.startswith((OPERATOR, CAST)) for name in names):
        return {}
    rows = connection.execute(
        f"""
        select x.name, x.shape, x.extension, p.provolatile, format('select %%I.%%I()', n.nspname, p.proname) from (
            select %s || o.oprname as name, o.oprcode as function, o.oid::regoperator::text as shape,
                {extension_of("pg_operator", "o")} as extension
            from pg_operator o where {MADE_OPERATOR}
            union all
            select %s || {_CAST_NAME}, c.castfunc, c.castcontext::text || c.castmethod::text,
                {extension_of("pg_cast", "c")}
            from pg_cast c where {MADE_CAST}
        ) as x left join pg_proc p on p.oid = x.function left join pg_namespace n on n.oid = p.pronamespace
        where x.name = any(%s) order by 1, 2, 5
        """.encode(),
        [OPERATOR, CAST, list(names)],
    ).fetchall()
    known: dict[str, list[JSON]] = {}
    queries: dict[str, list[str]] = {}
    opaque = set()
    for name, shape, extension, change, query in rows:
        known.setdefault(name, []).append([shape, extension, change, query])
        if extension is None and query is not None:
            queries.setdefault(name, []).append(query)
        elif change == "v":
            opaque.add(name)
    return {
        name: FunctionInfo(digest(each), tuple(queries.get(name, ())))
        for name, each in known.items()
        if name not in opaque
    }


def named_objects(connection: Connection[Any], names: Collection[str]) -> dict[str, FunctionInfo]:
    """Return what types, collations and text search objects are, by names as `MadeFunctions.called_by` has them."""
    wanted = [name.removeprefix(OBJECT) for name in names if name.startswith(OBJECT)]
    if not wanted:
        return {}
    rows = connection.execute(
        f"select name, array_agg(definition order by definition) from ({OBJECTS}) as o where name = any(%s) group by name".encode(),
        [wanted],
    ).fetchall()
    return {OBJECT + name: FunctionInfo(digest(definitions)) for name, definitions in rows}
