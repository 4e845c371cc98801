"""Which expressions give another value at another time, or by chance: by the name of a function, or a text that is read as a time."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from functools import lru_cache

from sqlglot import exp

from sao_dagster.core.policy import Expiry
from sao_dagster.sql.composed_times import composed_expiry
from sao_dagster.sql.dialects import Dialect

_DAY = {"current_date", "curdate", "today", "utc_date", "yesterday"}
_TIME = {
    "now", "now64", "current_timestamp", "current_time", "current_datetime", "localtime", "localtimestamp", "current_localtimestamp",
    "current_localtime", "sysdate", "systimestamp", "sysdatetime", "sysutcdatetime", "sysdatetimeoffset", "getdate", "getutcdate",
    "clock_timestamp", "statement_timestamp", "transaction_timestamp", "get_current_timestamp", "get_current_time", "timeofday",
    "utc_timestamp", "utc_time", "curtime", "unix_timestamp",
}  # fmt: skip
_CHANCE = {
    "random", "rand", "randn", "rand32", "rand64", "randomblob", "randstr", "randconstant", "random_normal", "random_zipfian", "uniform", "normal",
    "zipf", "shuffle", "reservoir_quantile", "sample", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "gen_random_bytes", "gen_salt",
    "generate_uuid", "generateuuidv4", "newid", "newsequentialid", "uuid_string", "monotonically_increasing_id",
}  # fmt: skip
_SESSION = {
    "nextval", "currval", "lastval", "setval", "last_insert_id", "last_query_id", "found_rows", "connection_id", "current_connection_id",
    "current_query", "current_query_id", "current_transaction_id", "current_setting", "set_config", "getvariable", "getenv", "current_user", "session_user",
    "system_user", "current_role", "current_account", "current_warehouse", "current_session", "current_statement", "current_transaction",
    "current_region", "version", "stats", "write_log", "sleep_ms", "input_file_name",
}  # fmt: skip
_FAMILIES = r"pg_\w+|inet_(?:client|server)_\w+|txid_\w+|uuid_generate_v\w+|has_\w+_privilege"
_STABLE = {
    "pg_typeof", "pg_size_pretty", "pg_size_bytes", "pg_column_size", "pg_encoding_to_char", "pg_char_to_encoding", "pg_input_is_valid",
}  # fmt: skip
_FAMILY = re.compile(_FAMILIES)
_BRACKETLESS = {
    "sysdate",
    "systimestamp",
    "localtime",
    "localtimestamp",
    "current_time",
    "current_role",
    "session_user",
    "current_user",
}
_WHO = {
    "current_user",
    "session_user",
    "system_user",
    "user",
    "current_role",
    "current_schema",
    "current_schemas",
    "current_catalog",
    "current_database",
}
_OF_DAY = ("CurrentDate", "UtcDate")
_OF_HOUR = [
    "CurrentDatetime",
    "CurrentTime",
    "CurrentTimestamp",
    "CurrentTimestampLTZ",
    "Localtime",
    "Localtimestamp",
    "Systimestamp",
    "UtcTime",
    "UtcTimestamp",
    "Rand",
    "Randn",
    "Randstr",
    "Uniform",
    "Normal",
    "Zipf",
    "Shuffle",
    "Uuid",
    "NextValueFor",
    "CurrentUser",
    "SessionUser",
    "CurrentRole",
    "CurrentAccount",
    "CurrentVersion",
    "CurrentWarehouse",
    "CurrentSession",
    "CurrentStatement",
    "CurrentTransaction",
    "CurrentRegion",
    "CurrentIpAddress",
]
_EXPRESSIONS = {
    kind: expiry
    for names, expiry in ((_OF_DAY, Expiry.DAY), (_OF_HOUR, Expiry.HOUR))
    for name in names
    if (kind := getattr(exp, name, None)) is not None  # sqlglot learns some of them from version to version
}
_TIME_WORD = re.compile(r"\s*(now|today|tomorrow|yesterday)\b|.*\s(now|today|tomorrow|yesterday)\s*$", re.IGNORECASE)
_TIME_WORD_INSIDE = re.compile(  # of an array, a range, a row, a JSON object or XML
    r"""\s*[{\[(<].*?[{}\[\](),":>\s](now|today|tomorrow|yesterday)(?![^{}\[\](),":<\s])|\s*[{\[(](now|today|tomorrow|yesterday)(?![^{}\[\](),":<\s])""",
    re.IGNORECASE | re.DOTALL,
)
_TEXTS = (exp.RawString, exp.ByteString, exp.UnicodeString, exp.National)
_JSON = (exp.DType.JSON, exp.DType.JSONB)
_KEEPS_TEXT = (exp.DPipe, exp.Concat, exp.Like, exp.ILike, exp.RegexpLike, exp.JSONExtract, exp.JSONExtractScalar)

_WHOLE_DAYS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")

_WORDS = re.compile(r"[^\W\d]\w*")
_SIGNS = _DAY | _TIME | _BRACKETLESS | {"tablesample", "sample", "tomorrow", "next", "user"}
_CALLS = _TIME | _CHANCE | _SESSION | {"age"}
_FAMILY_STARTS = ("pg_", "inet_", "txid_", "uuid_generate_v", "has_")
_CALLED = re.compile(r"([^\W\d]\w*)[\"`\]]?\s*(?:\(|/\*|--)")  # or there is a comment in between


def has_signs(sql: str) -> bool:
    """Return whether SQL has words in it that are there wherever something in it is volatile; a good deal else has them too.

    >>> has_signs('select "random" /* again */ () as x'), has_signs("select version, age from t"), has_signs("select current_date")
    (True, False, True)
    """
    text, words = _words_of(sql)
    if not words.isdisjoint(_SIGNS):
        return True
    called = (words & _CALLS) | {word for word in _of_families(text, words) if _FAMILY.fullmatch(word)}
    return bool(called) and not called.isdisjoint(_CALLED.findall(text))


def _of_families(text: str, words: AbstractSet[str]) -> set[str]:
    """Return the words of a text that begin as functions do of which there are many."""
    begun = any(start in text for start in _FAMILY_STARTS)
    return {word for word in words if word.startswith(_FAMILY_STARTS)} if begun else set()


@lru_cache(maxsize=4)
def _words_of(sql: str) -> tuple[str, frozenset[str]]:
    """Return SQL in lower case, and the words in it; kept for the next question about it."""
    text = sql.lower()
    return text, frozenset(_WORDS.findall(text))


def reads_session(sql: str) -> bool:
    """Return whether SQL may ask who runs it, where, or what is set: then somebody else gets another result at the same time.

    >>> reads_session("select * from t where owner = current_user"), reads_session("select current_setting('shop.tenant')")
    (True, True)
    >>> reads_session("select version, stats from t where day = current_date")
    False
    """
    text, words = _words_of(sql)
    called = (words & _SESSION) | (_of_families(text, words) - _STABLE)
    return not words.isdisjoint(_WHO) or (bool(called) and not called.isdisjoint(_CALLED.findall(text)))


def expiry_of(node: exp.Expr) -> Expiry | None:
    """Return when the value of an expression stops being true by itself, looking at its outermost function alone."""
    known = _EXPRESSIONS.get(type(node))
    if known is not None:
        return known
    if isinstance(node, exp.Anonymous):
        return _function_expiry(node.name.lower(), len(node.expressions))
    if isinstance(node, exp.Column) and not node.table and not node.this.args.get("quoted"):
        return Expiry.HOUR if node.name.lower() in _BRACKETLESS else None
    if isinstance(node, exp.TableSample):
        return None if node.args.get("seed") else Expiry.HOUR
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        return None if node.is_type(*exp.DataType.TEXT_TYPES) else _text_expiry(node.this.name)
    return None


def _function_expiry(name: str, arguments: int) -> Expiry | None:
    if name in _DAY or (name == "age" and arguments == 1):  # which counts from the current date
        return Expiry.DAY
    volatile = name in _TIME or name in _CHANCE or name in _SESSION or _FAMILY.fullmatch(name)
    return Expiry.HOUR if volatile and name not in _STABLE else None


def _text_expiry(text: str) -> Expiry | None:
    match = _TIME_WORD.match(text)
    if match is None:
        return None
    return _word_expiry(match[1] or match[2])


def _word_expiry(word: str) -> Expiry:
    return Expiry.HOUR if word.lower() == "now" else Expiry.DAY


def expiry_in(node: exp.Expr, engine: Dialect) -> Expiry | None:
    """Return the same as `expiry_of`, with what is volatile in one engine alone: `where day < 'tomorrow'` in PostgreSQL.

    A text without a type takes that of what it stands beside, which is not known here, so it counts wherever it is not surely text.
    """
    found = expiry_of(node)
    if found is Expiry.HOUR and engine.dates_by_session and _is_dated(node):
        return Expiry.DAY
    if found is not None or not engine.reads_words_as_times:
        return found
    if (
        isinstance(node, exp.Column)
        and not node.table
        and not node.this.args.get("quoted")
        and node.name.lower() == "user"
    ):
        return Expiry.HOUR
    if (composed := composed_expiry(node)) is not None:
        return composed
    if isinstance(node, exp.Cast) and not node.is_type(*exp.DataType.TEXT_TYPES, *_JSON):
        inner = node.this
        while isinstance(inner, exp.Cast | exp.Paren):
            inner = inner.this
        return _any_text_expiry(inner) if _is_text(inner) else None
    if _is_text(node) and not isinstance(node.parent, exp.Cast) and not _stays_text(node):
        return _any_text_expiry(node)
    return None


def _is_dated(node: exp.Expr) -> bool:
    """Return whether of the time of the statement or transaction, as it is, nothing is used but its date in the session's zone, or less."""
    if isinstance(node, exp.Anonymous):
        is_now = node.name.lower() == "now" and not node.expressions
    else:
        is_now = isinstance(node, exp.CurrentTimestamp) and node.this is None  # `current_timestamp(0)` is rounded
    if not is_now:
        return False
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.TimestampTrunc):
        return parent.text("unit").upper() in _WHOLE_DAYS and parent.args.get("zone") is None
    return isinstance(parent, exp.Cast) and bool(parent.is_type(exp.DType.DATE))


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, _TEXTS) or (isinstance(node, exp.Literal) and bool(node.is_string))


def _any_text_expiry(node: exp.Expr) -> Expiry | None:
    """Return when a text stops being true that is read as a time, or as something with times in it."""
    if (inside := _TIME_WORD_INSIDE.match(node.name)) is not None:
        return _word_expiry(inside[1] or inside[2])
    return _text_expiry(node.name)


def _stays_text(node: exp.Expr) -> bool:
    """Return whether a text without a type is surely none that is read as a time."""
    parent = node.parent
    if isinstance(parent, exp.Paren):
        return _stays_text(parent)
    if isinstance(parent, exp.Alias):
        parent = parent.parent
    if isinstance(parent, exp.Select):
        return not isinstance(parent.parent, exp.SetOperation)
    if isinstance(parent, exp.If) and isinstance(parent.parent, exp.Case):
        node, parent = parent, parent.parent
    if isinstance(parent, exp.Case) and node.arg_key in ("ifs", "default"):
        results = [*(branch.args["true"] for branch in parent.args["ifs"]), *filter(None, [parent.args.get("default")])]
        return all(isinstance(each, exp.Literal) and each.is_string for each in results) and _stays_text(parent)
    return isinstance(parent, _KEEPS_TEXT)
