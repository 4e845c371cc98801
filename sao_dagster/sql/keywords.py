"""Words that the grammars of engines know, in lower case; `tests/test_keywords.py` holds them against the engines' own lists.

A word that is missing might be taken for a plain name; one too many is only compared more strictly.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESERVED = _words("""
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check collate collation column
    concurrently constraint create cross default deferrable desc describe distinct do else end except false fetch for foreign freeze from
    full glob group having ilike in initially inner intersect into is isnull join lambda lateral leading left like limit natural not notnull
    null offset on only or order outer overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning right
    select semi show similar some summarize symmetric table tablesample then to trailing true union unique unpack unpivot using variadic
    verbose when where window with
""")
"""Without quotes, these are names only after `as` or a point: the case in which they are written shows in no result."""

KEYWORDS = RESERVED | _words("""
    abort absolute access action add admin after aggregate also alter always approx asensitive assertion assignment atomic attach attribute
    backward before begin between bigint bit boolean breadth cache call called cascade cascaded catalog centuries century chain char
    character characteristics checkpoint class close cluster coalesce columns comment comments commit committed compression configuration
    conflict connect connection constraints content continue conversion copy cost csv cube current current_catalog current_date current_role
    current_schema current_time current_timestamp current_user cursor cycle data database day days deallocate dec decade decades decimal
    declare defaults deferred definer delete delimiter delimiters depends depth destroy detach dictionary disable discard disconnect
    distance document domain double drop each enable encoding encrypted enum error escape event exact exclude excluding exclusive execute
    exists explain export export_state expression extension extensions external extract family filter finalize first float following force
    forward function functions generated global grant granted greatest grouping grouping_id groups handler header hold hour hours identity
    if ignore immediate immutable implicit import include including increment index indexes inherit inherits inline inout input insensitive
    insert install instead int integer interval invoker isolation json key label language large last leakproof least level listen load local
    localtime localtimestamp location lock locked logged macro map mapping match matched materialized maxvalue merge method microsecond
    microseconds millennia millennium millisecond milliseconds minute minutes minvalue mode month months move name names national nchar
    nearest new next nfc nfd nfkc nfkd no none normalize normalized nothing notify nowait nullif nulls numeric object of off oids old
    operator option options ordinality others out over overlay overriding owned owner parallel parameter parser partial partition
    partitioned passing password percent persistent plans policy position pragma preceding precision prepare prepared preserve prior
    privileges procedural procedure procedures program publication quarter quarters quote range read real reassign recheck recursive ref
    referencing refresh register reindex relative release rename repeatable replace replica reset resource resources respect restart
    restrict return returns revoke role rollback rollup routine routines row rows rule sample savepoint schema schemas scope scroll search
    second seconds secret secure security sequence sequences serializable server session session_user set setof sets share similarity simple
    skip smallint snapshot sorted source sql stable standalone start statement statistics stdin stdout storage stored strict strip struct
    subscription substring support sysid system tables tablespace target temp template temporary text ties time timestamp transaction
    transform treat trigger trim truncate trusted try_cast tuple type types uescape unbounded uncommitted unencrypted unknown unlisten
    unlogged until update use user vacuum valid validate validator value values varchar variable varying version view views virtual volatile
    week weeks whitespace within without work wrapper write xml xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces
    xmlparse xmlpi xmlroot xmlserialize xmltable year years yes zone
""")
"""All words of the grammars of DuckDB and PostgreSQL. One in quotes may mean something else than one without."""

TYPES = _words("""
    bigint bool boolean bpchar bytea char date datetime decimal double float float4 float8 hugeint int int1 int2 int4 int8 integer
    interval json jsonb numeric real smallint string text time timestamp timestamptz timetz tinyint ubigint uhugeint uinteger
    usmallint utinyint uuid varchar
""")
"""Names of types in DuckDB and PostgreSQL."""
