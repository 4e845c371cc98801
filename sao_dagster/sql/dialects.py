"""What is known of each engine by name: how it writes and compares names, what fails and what gives null, and what was checked on it.

Nothing else in the package asks for an engine by name. What is said here is a list of what is allowed: for an engine that is not in
`DIALECTS`, and in each field that an entry leaves out, the humblest is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from sao_dagster.core.relations import Relation


class Case(Enum):
    """How a name is compared."""

    LOWER = "in lower case"
    UPPER = "in upper case"
    KEPT = "as it is written"


class Operation(Enum):
    """What goes wrong in one engine with an error and in another one with a null."""

    CONVERSION = "casts, and those that comparisons make by themselves"
    ARITHMETIC = "sums, differences, products, rounding and bits of numbers, and aggregates that add up"
    DIVISION = "divisions by zero"
    ROOT = "roots, logarithms and powers"
    DATE = "times that are moved or truncated"
    DATE_PART = "parts of times, infinite ones too"
    TEXT = "functions of texts"


class TextSize(Enum):
    """When a type of text cuts values off, or refuses them."""

    NEVER = "a length is ignored"
    WRITTEN = "where a length is written"
    ALWAYS = "a length is there even if none is written"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """An engine. The defaults are those of an engine of which nothing is known.

    Attributes:
        name: sqlglot's name of its dialect.
        quotes: The character around a quoted name, or the opening and the closing one.
        unquoted: How a name without quotes is compared; None where that is not known, and then no query is understood.
        quoted: How a quoted name is compared, and one that a catalog gives; None likewise.
        shows_case: Whether the case of an output column can be seen in the result, so that changing it is no cosmetic edit.
        names_by_text: Whether a column without an alias is called by the text of its expression, with names as they are written.
        fields_like_columns: Whether `x.a` may be the field `a` of a column `x`, in a query inside a query nearer than a table `x`.
        fields_by_dot: Whether `x.a` may be the field `a` of a column `x` of what is called `x`, too.
        functions_of_rows: Functions of the engine's own that `t.f` calls with a row of `t`, where that has no column `f`.
        ascends: Whether `order by a` is always `order by a asc`, whatever is set.
        errs: Operations that give a value or an error, and never null, for arguments that are not null.
        hides_no_nulls: Whether no value that is not null becomes one when it is cast by itself for a function or a comparison, as
            JSON does in DuckDB that is `null`, and whether arrays and records with nulls in them never compare as null.
        skips_nulls_in_greatest: Whether `greatest` and `least` are null only if all arguments are.
        skips_nulls_in_concat: Whether `concat` takes nulls for empty texts.
        merges_first: Whether `*` gives the columns of a `using` first, as the SQL standard has it, or in the place of the left one;
            None where that is not known, and then no `using` is understood.
        values_columns: What the columns of `values` are called, and the number of the first; None where they have no known names.
        semi_joins: Whether `semi`, `anti` and `asof` before `join` are kinds of it, and not a name of the relation before it.
        groups_by_columns: Whether a name in `group by` that is a column and the alias of something else means the column.
        default_schema: The schema of names that say none; None where a search path says it.
        file_endings: Endings of names that are read as files where no table is called so; none where files are not read by their name.
        hidden_columns: Columns that each table has and `*` does not give, which say where or since when a row is stored.
        implicit_lateral: Whether each query in a `from` may use the relations before it, without `lateral`.
        units_are_texts: Whether the unit of `date_trunc` and the like is a text, so that a word in its place is a column.
        adds_days: Whether a date and a whole number are a date that many days later.
        one_midnight: Whether there is one beginning of a day on each date; not so where times have zones of their own.
        sized_integers: Whether `smallint`, `integer` and `bigint` have 16, 32 and 64 bits.
        float_bits: The width of `float`; None where that is not known.
        unlimited_decimals: Whether a decimal whose size is not written keeps all digits.
        longest_name: How many bytes (in UTF-8) of a name the engine keeps, the rest being cut off without an error; None where it keeps all,
            or refuses longer ones itself.
        text_size: When a type of text has a greatest length.
        dates_by_session: Whether `now()` as a date, and truncated to days or more, is that of the session's zone, as `current_date` is.
        reads_words_as_times: Whether a text such as 'tomorrow' is a time where one is compared with it, and `user` is who is connected.
        proofs_fuzzed: Whether proofs were held against its results by random queries (`tests/proofs/fuzz.py`), each rule at least once
            in the way that the other fields say. Data tests are proven on no other engine.
        cosmetic_checked: Whether queries that are called the same were executed on it and gave the same (`tests/test_equivalent.py`).
            On other engines each edit of the text counts, but for comments and white space.
        shares_test_statements: Whether several data tests were run there as branches of one `union all`, with the verdicts that they
            have alone (`tests/test_aggregation.py`). A `union all` of counts is standard SQL, but engines differ in whether a
            branch may begin with `with` or end in `order by`, in how many branches they take, in the type of a column whose
            branches are counts and sums, and in what else stops when one branch fails. On other engines each test runs alone.
        tests_alone_from: From how many rows of a table on each of its tests has a statement of its own, since there sharing one wins
            nothing and may lose (`tests/benchmarks/tests_together.py`); None where that was not measured.
        attaches: The configuration of what hangs on a relation that is carried out there (`core/attached.py`).
        counts_text: Whether the text of a query counts as it is, with its comments, because nobody knows how it is split into tokens.
        dbt_relation: What dbt's adapter calls its relations, by which macros of dbt's packages know them.
        dbt_integers: The types that dbt's adapter takes for whole numbers.
        dbt_sizes_apart: Whether dbt's adapter knows the size of a type apart from the type, and leaves text without one as it is.

    >>> dialect_named("duckdb").proofs_fuzzed, dialect_named("snowflake").proofs_fuzzed, dialect_named("brand new").errs
    (True, False, frozenset())
    """

    name: str
    quotes: str = '"'
    unquoted: Case | None = None
    quoted: Case | None = None
    shows_case: bool = True
    names_by_text: bool = True
    fields_like_columns: bool = True
    fields_by_dot: bool = True
    functions_of_rows: frozenset[str] = frozenset()
    ascends: bool = False
    errs: frozenset[Operation] = frozenset()
    hides_no_nulls: bool = False
    skips_nulls_in_greatest: bool = False
    skips_nulls_in_concat: bool = False
    merges_first: bool | None = None
    values_columns: tuple[str, int] | None = None
    semi_joins: bool = False
    groups_by_columns: bool = False
    default_schema: str | None = None
    file_endings: tuple[str, ...] = ()
    hidden_columns: frozenset[str] = frozenset()
    implicit_lateral: bool = False
    units_are_texts: bool = False
    adds_days: bool = False
    one_midnight: bool = False
    sized_integers: bool = False
    float_bits: int | None = None
    unlimited_decimals: bool = False
    longest_name: int | None = None
    text_size: TextSize = TextSize.ALWAYS
    dates_by_session: bool = False
    reads_words_as_times: bool = False
    proofs_fuzzed: bool = False
    cosmetic_checked: bool = False
    shares_test_statements: bool = False
    tests_alone_from: int | None = None
    attaches: frozenset[str] = frozenset()
    counts_text: bool = False
    dbt_relation: str = "BaseRelation"
    dbt_integers: frozenset[str] = frozenset(
        {
            *("smallint", "integer", "bigint", "smallserial", "serial", "bigserial"),
            *("int2", "int4", "int8", "serial2", "serial4", "serial8"),
        }
    )
    dbt_sizes_apart: bool = False

    @property
    def compares_names(self) -> bool:
        """Whether it is known which names are the same."""
        return self.unquoted is not None and self.quoted is not None

    def compared(self, name: str, *, quoted: bool) -> str:
        """Return a name as it is compared; as it is written where nothing is known.

        >>> [dialect_named("postgres").compared("Id", quoted=quoted) for quoted in (False, True)]
        ['id', 'Id']
        """
        case = self.quoted if quoted else self.unquoted
        return name if case is None else _FOLDS[case](name)

    def is_file(self, name: str) -> bool:
        """Return whether a name that is no table's is that of files.

        >>> dialect_named("duckdb").is_file("land/*.csv.gz"), dialect_named("postgres").is_file("a.csv")
        (True, False)
        """
        lowered = name.lower().removesuffix(".gz").removesuffix(".zst")
        return bool(self.file_endings) and ("://" in name or lowered.endswith(self.file_endings))

    def relation(self, database: str | None, schema: str, identifier: str) -> Relation:
        """Return a table or view, written as the engine quotes names.

        >>> str(dialect_named("bigquery").relation("shop", "main", "orders"))
        '`shop`.`main`.`orders`'
        """
        return Relation(database, schema, identifier, self.quotes, folds=self.quoted is not Case.KEPT)

    def parsed_relation(self, written: str) -> Relation | None:
        """Return the table or view that SQL names by two or three parts, in quotes or plain; None where it is named otherwise.

        >>> dialect_named("duckdb").parsed_relation('"shop"."main"."5"" pipes"')
        Relation(database='shop', schema='main', identifier='5" pipes')
        >>> dialect_named("snowflake").parsed_relation('shop."main".orders')
        Relation(database='SHOP', schema='main', identifier='ORDERS')
        >>> dialect_named("duckdb").parsed_relation("read_csv('a.csv')")
        """
        opening, closing = re.escape(self.quotes[0]), re.escape(self.quotes[-1])
        part = rf"(?:{opening}((?:[^{closing}]|{closing}{closing})*){closing}|([^\W\d]\w*))"
        found = re.fullmatch(rf"(?:{part}\.)?{part}\.{part}", written)
        if found is None:
            return None
        names = ("database", "schema", "identifier")
        quoted = dict(zip(names, found.groups()[0::2], strict=True))
        plain = dict(zip(names, found.groups()[1::2], strict=True))
        database, schema, identifier = (
            plain[name] or ((each := quoted[name]) and each.replace(self.quotes[-1] * 2, self.quotes[-1]))
            for name in names
        )
        relation = self.relation(database, schema or "", identifier or "")
        return self.without_quotes(relation, {name: plain[name] is None for name in names})

    def without_quotes(self, relation: Relation, quoting: Mapping[str, Any]) -> Relation:
        """Return the relation that is meant where some parts of its name are written without quotes.

        Args:
            relation: The relation, with its parts as they are written.
            quoting: Whether `database`, `schema` and `identifier` are in quotes, which they are if nothing is said.

        >>> str(dialect_named("postgres").without_quotes(Relation(None, "Shop", "Orders"), {"identifier": False}))
        '"Shop"."orders"'
        """
        if self.quoted is not Case.KEPT:
            return relation

        def meant(part: str | None, name: str) -> str | None:
            return self.compared(part, quoted=False) if part and quoting.get(name) is False else part

        return replace(
            relation,
            database=meant(relation.database, "database"),
            schema=meant(relation.schema, "schema") or "",
            identifier=meant(relation.identifier, "identifier") or "",
        )

    def cut_off(self, relation: Relation) -> str | None:
        """Return the first part of a relation's name that the engine would cut off, so that it may be the name of another one; or None.

        >>> dialect_named("postgres").cut_off(Relation("shop", "main", "x" * 63)) is None
        True
        >>> dialect_named("postgres").cut_off(Relation("shop", "main", "x" * 64)) is None
        False
        """
        parts = (relation.database, relation.schema, relation.identifier)
        longest = self.longest_name
        return next((each for each in parts if each and longest and len(each.encode()) > longest), None)


_FOLDS: dict[Case, Callable[[str], str]] = {Case.LOWER: str.lower, Case.UPPER: str.upper, Case.KEPT: str}

_DUCKDB = Dialect(
    name="duckdb",
    unquoted=Case.LOWER,
    quoted=Case.LOWER,
    errs=frozenset(Operation) - {Operation.DIVISION, Operation.DATE_PART},
    skips_nulls_in_greatest=True,
    skips_nulls_in_concat=True,
    merges_first=False,
    values_columns=("col", 0),
    semi_joins=True,
    groups_by_columns=True,
    default_schema="main",
    file_endings=(
        ".csv",
        ".tsv",
        ".txt",
        ".parquet",
        ".json",
        ".jsonl",
        ".ndjson",
        ".db",
        ".duckdb",
        ".avro",
        ".xlsx",
        ".arrow",
        ".shp",
        ".geojson",
        ".gpkg",
        ".parq",
    ),
    hidden_columns=frozenset({"rowid"}),
    implicit_lateral=True,
    units_are_texts=True,
    adds_days=True,
    one_midnight=True,
    sized_integers=True,
    float_bits=32,
    text_size=TextSize.NEVER,
    dates_by_session=True,
    proofs_fuzzed=True,
    cosmetic_checked=True,
    shares_test_statements=True,
    tests_alone_from=1_000_000,
    attaches=frozenset({"persist_docs", "indexes"}),
    dbt_relation="DuckDBRelation",
    dbt_integers=frozenset(
        {
            *("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
            *("int1", "int2", "int4", "int8", "short", "int", "signed", "long"),
        }
    ),
)
_POSTGRES = Dialect(
    name="postgres",
    attaches=frozenset({"persist_docs", "grants", "indexes"}),
    dbt_relation="PostgresRelation",
    dbt_sizes_apart=True,
    fields_by_dot=False,
    # select proname from pg_proc where pronargs - pronargdefaults <= 1 and proargtypes[0]::regtype::text in ('record', '"any"', 'anyelement', ...)
    functions_of_rows=frozenset(
        {
            "any_value",
            "array_agg",
            "concat",
            "count",
            "json_agg",
            "json_build_array",
            "json_build_object",
            "json_scalar",
            "jsonb_agg",
            "jsonb_build_array",
            "jsonb_build_object",
            "mode",
            "num_nonnulls",
            "num_nulls",
            "pg_collation_for",
            "pg_column_compression",
            "pg_column_size",
            "pg_typeof",
            "quote_literal",
            "quote_nullable",
            "record_out",
            "record_send",
            "row_to_json",
            "to_json",
            "to_jsonb",
        }
    ),
    unquoted=Case.LOWER,
    quoted=Case.KEPT,
    shows_case=False,
    names_by_text=False,
    fields_like_columns=False,
    ascends=True,
    errs=frozenset(Operation) - {Operation.DATE_PART},
    hides_no_nulls=True,
    skips_nulls_in_greatest=True,
    skips_nulls_in_concat=True,
    merges_first=True,
    values_columns=("column", 1),
    groups_by_columns=True,
    hidden_columns=frozenset({"ctid", "cmax", "cmin", "tableoid", "xmax", "xmin"}),
    units_are_texts=True,
    adds_days=True,
    one_midnight=True,
    sized_integers=True,
    float_bits=64,
    unlimited_decimals=True,
    longest_name=63,
    text_size=TextSize.WRITTEN,
    proofs_fuzzed=True,
    cosmetic_checked=True,
    shares_test_statements=True,
    dates_by_session=True,
    reads_words_as_times=True,
)
# What follows is from the engines' manuals, and was not held against the engines: proofs are made on none of them.
_REDSHIFT = Dialect(
    name="redshift",
    unquoted=Case.LOWER,
    quoted=Case.KEPT,
    shows_case=False,
    errs=frozenset(Operation) - {Operation.DATE_PART},
    skips_nulls_in_greatest=True,
    merges_first=True,
    one_midnight=True,
    sized_integers=True,
    reads_words_as_times=True,
)
_SNOWFLAKE = Dialect(
    name="snowflake",
    unquoted=Case.UPPER,
    quoted=Case.KEPT,
    shows_case=False,
    errs=frozenset(Operation),
    merges_first=True,
    values_columns=("COLUMN", 1),
    float_bits=64,
    text_size=TextSize.WRITTEN,
)
_BIGQUERY = Dialect(
    name="bigquery",
    quotes="`",
    unquoted=Case.LOWER,
    quoted=Case.LOWER,
    errs=frozenset(Operation),
    merges_first=True,
    one_midnight=True,
    float_bits=64,
    text_size=TextSize.WRITTEN,
)
_SPARK = Dialect(
    name="spark",
    quotes="`",
    unquoted=Case.LOWER,
    quoted=Case.LOWER,
    errs=frozenset({Operation.TEXT}),  # whether others fail is a setting (`spark.sql.ansi.enabled`)
    merges_first=True,
    values_columns=("col", 1),
    one_midnight=True,
    sized_integers=True,
    float_bits=32,
    text_size=TextSize.WRITTEN,
)
_DATABRICKS = replace(_SPARK, name="databricks")

GENERIC = ""
"""Sqlglot's name of SQL as such: for an engine whose dialect it does not know."""

DIALECTS = {
    each.name: each
    for each in (
        _DUCKDB,
        _POSTGRES,
        _REDSHIFT,
        _SNOWFLAKE,
        _BIGQUERY,
        _SPARK,
        _DATABRICKS,
        Dialect(name=GENERIC, counts_text=True),
        Dialect(name="mysql", quotes="`"),
        Dialect(name="tsql", quotes="[]"),
    )
}
"""The engines of which something is known, by sqlglot's name."""


_OF_ADAPTERS = {
    "fabricspark": "spark",
    "glue": "spark",
    "impala": "hive",
    "sail": "spark",
    "sqlserver": "tsql",
    "synapse": "tsql",
}
"""Sqlglot's names of the dialects that adapters of dbt write, where they have another name than the adapter."""


def dialect_of_adapter(kind: str) -> str:
    """Return the dialect that an adapter of dbt writes, by the `type` of its profiles; `GENERIC` where sqlglot knows none.

    >>> dialect_of_adapter("sqlserver"), dialect_of_adapter("snowflake"), dialect_of_adapter("brand_new") == GENERIC
    ('tsql', 'snowflake', True)
    """
    from sqlglot import Dialects  # it takes its time to import

    name = _OF_ADAPTERS.get(kind, kind)
    return name if any(each.value == name for each in Dialects) else GENERIC


def dialect_named(name: str) -> Dialect:
    """Return what is known of an engine; of one that is not in the table, nothing.

    >>> dialect_named("brand new") == Dialect(name="brand new")
    True
    """
    return DIALECTS.get(name) or Dialect(name=name)
