"""The rule that PostgreSQL keeps of a view. It reads relations by their ids, whatever they are called since.

So a view goes on to show a table that somebody has renamed, or moved to another schema, where the same query would now read the one that
took its place.
"""

from __future__ import annotations

READ_NOW = """(select md5(string_agg(quote_ident(n.nspname) || '.' || quote_ident(c.relname), ' ' order by c.oid)) from (
    select distinct d.refobjid as oid from pg_depend d where d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class) as read
    join pg_class c on c.oid = read.oid join pg_namespace n on n.oid = c.relnamespace)"""
"""An expression for what the relations are called now that a rule `w` reads, of its own depth; null where it reads none."""

OF_VIEW = "w.ev_class = c.oid and w.rulename = '_RETURN'"
"""A condition for the rule `w` of a view, or of a materialized view, `c`."""
