"""Texts that are put together in a query and then read as a time: one that comes out as `today` follows the clock (PostgreSQL).

What is known of such a text are the letters that may be in it: those of the literals that flow into it. A word of the clock needs its
letters from somewhere, and the columns of relations are data: what they hold is taken not to be such a word, as the documentation says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from sao_dagster.core.policy import Expiry, soonest

_WORDS = {"now": Expiry.HOUR, "today": Expiry.DAY, "tomorrow": Expiry.DAY, "yesterday": Expiry.DAY}
_ALL_LETTERS = "".join(_WORDS)
_PLAIN = {
    *exp.DataType.TEXT_TYPES, *exp.DataType.NUMERIC_TYPES, exp.DType.BOOLEAN, exp.DType.UUID, exp.DType.JSON, exp.DType.JSONB,
    exp.DType.INTERVAL, exp.DType.VARBINARY, exp.DType.BINARY, exp.DType.INET,
}  # fmt: skip
"""Types of which no value follows the clock; any other may be a time, or have times in it."""

_BY_NAME = {"date", "time", "timetz", "timestamp", "timestamptz"}  # functions that read a text as `cast` does
_RECORDS = {
    f"{kind}_{what}"
    for kind in ("json", "jsonb")
    for what in ("to_record", "to_recordset", "populate_record", "populate_recordset")
}
_FROM_NUMBERS = {"chr", "convert_from", "decode", "encode", "set_byte", "unistr"}
_FIRST_ALONE = {
    "split_part", "regexp_match", "regexp_matches", "regexp_substr", "regexp_split_to_array", "regexp_split_to_table", "string_to_array", "string_to_table",
    "json_extract_path_text", "jsonb_extract_path_text", "json_extract_path", "jsonb_extract_path", "jsonb_path_query", "jsonb_path_query_first",
    "jsonb_path_query_array", "btrim", "ltrim", "rtrim", "nullif",
}  # fmt: skip
_NO_TEXT = {
    "timezone",
    "date_trunc",
    "date_bin",
    "date_part",
    "to_date",
    "to_timestamp",
    "age",
    "generate_series",
    "extract",
}
_TEXTS = (exp.RawString, exp.ByteString, exp.UnicodeString, exp.National)
_NAMED_TIMES = tuple(kind for name in ("Date", "Time", "Timestamp", "TsOrDsToDate", "TsOrDsToTime", "TsOrDsToTimestamp") if (kind := getattr(exp, name, None)))  # fmt: skip
_NOT_OF_TEXT = tuple(
    kind
    for name in (
        "Predicate", "Interval", "AtTimeZone", "TimestampTrunc", "DateTrunc", "Extract", "StrToDate", "StrToTime", "StrToUnix", "UnixToTime", "GenerateSeries",
        "ExplodingGenerateSeries", "DateBin", "TimeToStr", "Add", "Sub", "Mul", "Div", "Mod", "Boolean", "Null", "Not", "Where", "Having", "Order", "Group", "Join",
        "DataType", "And", "Or",
    )
    if (kind := getattr(exp, name, None)) is not None
)  # fmt: skip
"""What is no text, whatever is in it: a literal there is the name of a unit or a zone, a format, or is compared."""
_FIRST = tuple(kind for name in ("JSONExtract", "JSONExtractScalar", "JSONBExtract", "JSONBExtractScalar", "Nullif", "SplitPart", "Split", "StringToArray", "RegexpExtract", "Trim") if (kind := getattr(exp, name, None)) is not None)  # fmt: skip
_REPLACING = tuple(kind for name in ("Replace", "RegexpReplace") if (kind := getattr(exp, name, None)) is not None)

_LITERAL = re.compile(r"'((?:[^']|'')*)'|\$(\w*)\$(.*?)\$\2\$", re.DOTALL)
_READS_TIMES = re.compile(
    r"::|\bcast\s*\(|\b(?:date|time|timetz|timestamp|timestamptz)\"?\s*\(|\bjsonb?_(?:to|populate)_record"
)


def may_be_composed(sql: str) -> bool:
    """Return whether SQL has casts, and letters in its literals of which a word of the clock can be made; most that has them makes none.

    >>> may_be_composed("select ('to' || 'day')::date"), may_be_composed("select (y || '-01')::date"), may_be_composed("select 'now' || 'x'")
    (True, False, False)
    """
    text = sql.lower()
    if _READS_TIMES.search(text) is None:
        return False
    letters = set().union(*(match[1] or match[3] or "" for match in _LITERAL.finditer(text)))
    return _made_of(letters) is not None or any(f"{name}(" in text for name in _FROM_NUMBERS) or "\\" in letters


def composed_expiry(node: exp.Expr) -> Expiry | None:
    """Return when the value of a node stops being true that reads a text as a time, as far as literals are put together in that text.

    >>> from sqlglot import parse_one
    >>> [composed_expiry(parse_one(sql, dialect="postgres")) for sql in ("cast('to' || 'day' as date)", "cast(y || '-01-01' as date)")]
    [<Expiry.DAY: 'day'>, None]
    """
    if isinstance(node, exp.Cast):
        if node.to.this in _PLAIN or (isinstance(node.this, exp.Literal) and node.this.is_string):
            return None
        read: list[exp.Expr] = [node.this]
    elif (isinstance(node, exp.Anonymous) and node.name.lower() in _BY_NAME | _RECORDS) or isinstance(
        node, _NAMED_TIMES
    ):
        read = list(node.iter_expressions())
    else:
        return None
    letters: set[str] = set()
    for text in _flowing(read):
        letters.update(text)
    return _made_of(letters)


def _made_of(letters: set[str]) -> Expiry | None:
    return soonest(*(expiry for word, expiry in _WORDS.items() if letters.issuperset(word)))


def _flowing(read: list[exp.Expr]) -> Iterator[str]:
    """Yield the literals, in lower case, whose letters may get into texts, also by way of columns of queries inside."""
    pending, columns = list(read), set[str]()
    while pending:
        node = pending.pop()
        if isinstance(node, exp.Literal):
            if node.is_string:
                yield node.name.lower()
        elif isinstance(node, _TEXTS):
            yield _ALL_LETTERS if "\\" in node.name else node.name.lower()
        elif isinstance(node, exp.Column):
            if not isinstance(node.this, exp.Star) and (name := node.name.lower()) not in columns:
                columns.add(name)
                pending += _columns_called(node, name)
        elif isinstance(node, exp.Cast) and node.to.this not in _PLAIN:
            continue  # it is asked for itself
        elif isinstance(node, exp.Func) and node.name.lower() in _FROM_NUMBERS | {"chr"} | _NO_TEXT:
            if node.name.lower() not in _NO_TEXT:
                yield _ALL_LETTERS
        elif isinstance(node, exp.Chr):
            yield _ALL_LETTERS
        elif isinstance(node, exp.Anonymous) and node.name.lower() in _FIRST_ALONE:
            pending += node.expressions[:1]
        elif isinstance(node, exp.If):
            pending += filter(None, (node.args.get("true"), node.args.get("false")))
        elif isinstance(node, exp.Case):
            pending += filter(None, (*node.args["ifs"], node.args.get("default")))
        elif isinstance(node, _FIRST):
            pending.append(node.this)
        elif isinstance(node, _REPLACING):
            pending += filter(None, (node.this, node.args.get("replacement")))
        elif not isinstance(node, _NOT_OF_TEXT):
            pending += node.iter_expressions()


def _columns_called(column: exp.Expr, name: str) -> Iterator[exp.Expr]:
    """Yield what may be meant by the name of a column in the whole query: what is called so in any part of it."""
    root = column.root()
    yield from (alias.this for alias in root.find_all(exp.Alias) if alias.alias.lower() == name)
    for named in root.find_all(exp.TableAlias):
        if named.parent is not None and name in (each.name.lower() for each in named.columns):
            yield from (each for each in named.parent.iter_expressions() if each is not named)
