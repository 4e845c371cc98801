"""What somebody made in a warehouse that SQL may call without saying so: by a name of the engine's own, by a symbol, or as a column."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sao_dagster.core.inputs import InputKind, UndeclaredInput
from sao_dagster.sql.builtin_functions import builtin_functions

OPERATOR, CAST, OBJECT = "operator ", "cast ", "object "
"""What the names of inputs begin with that are operators, casts, and other objects; a function has the bare name."""

_ASKED_BY_WORDS = {
    "=": ("in", "case", "nullif", "using", "natural", "any", "all", "distinct"),
    "<>": ("in", "distinct"),
    **dict.fromkeys(("<", ">", "<=", ">="), ("between", "greatest", "least", "order", "min", "max", "overlaps")),
    **dict.fromkeys(("~~", "!~~"), ("like",)),
    **dict.fromkeys(("~~*", "!~~*"), ("ilike",)),
    **dict.fromkeys(("~", "!~"), ("similar",)),
    "~~~": ("glob",),
}
"""Operators that are asked without their symbol, with the words of the grammar that do."""
# what brackets, braces, dots and words of the grammar call: `[1, 2]`, `{'a': 1}`, `x[1]`, `x.a`, `extract(day from x)`, `at time zone`
_BY_GRAMMAR = frozenset({
    "list_value", "struct_pack", "row", "map", "array_extract", "list_extract", "array_slice", "list_slice", "struct_extract", "date_part",
    "extract", "timezone", "regexp_full_match", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape", "contains",
    "to_years", "to_months", "to_days", "to_hours", "to_minutes", "to_seconds", "similar_to_escape", "overlay", "position", "normalize",
})  # fmt: skip
_TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
_WORDS = re.compile(r"\w+")
_CAST_TO = re.compile(r"::\s*(?:\"?\w+\"?\s*\.\s*)?\"?(\w+)|\bas\s+(?:\"?\w+\"?\s*\.\s*)?\"?(\w+)\"?\s*\)")


@dataclass(frozen=True)
class MadeFunctions:
    """What somebody made; none of it is the engine's own.

    Attributes:
        functions: Names of functions and macros, in lower case; where the engine's operators are functions, also those of operators.
        of_rows: Those that `t.f` calls where `t` has no column `f`.
        operators: Symbols of operators.
        casts: Casts, as `text as integer`; nothing in SQL has to say so for one to be made.
        objects: Names of types, collations and text search objects, in lower case: they stand anywhere in SQL, in texts too.
        row_types: Names of tables and views, in lower case, which are types where something is cast to them.
    """

    functions: frozenset[str] = frozenset()
    of_rows: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    casts: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    row_types: frozenset[str] = frozenset()

    def called_by(self, sql: str, dialect: str) -> tuple[UndeclaredInput, ...]:
        """Return what some SQL may call of it although it reads as if it called something else; sorted.

        >>> made = MadeFunctions(functions=frozenset({"upper", "vat"}), operators=frozenset({"<~>"}))
        >>> [each.name for each in made.called_by("select vat(x) from t where upper(a <~> b) = 'x'", "postgres")]
        ['operator <~>', 'upper']
        >>> made = MadeFunctions(objects=frozenset({"mood"}), row_types=frozenset({"orders", "people"}))
        >>> [each.name for each in made.called_by("select 'sad'::mood, null::people from orders", "postgres")]
        ['object mood', 'object people']
        """
        from sao_dagster.sql.reads import called_functions, named_fields  # the parser, where there is SQL to look at

        own = (builtin_functions(dialect) or {}).keys()
        found = self.functions & own
        found = found & called_functions(sql, dialect) if found else found
        if self.of_rows:
            found |= self.of_rows & named_fields(sql, dialect)
        found |= self.functions & _BY_GRAMMAR
        text = sql.lower()
        if self.objects:
            found |= {OBJECT + each for each in self.objects.intersection(_WORDS.findall(text))}
        if self.row_types and ("::" in text or "cast" in text):
            targets = {one or other for one, other in _CAST_TO.findall(text)}
            found |= {OBJECT + each for each in self.row_types & targets}
        bare = _TEXTS.sub("''", text)
        words = frozenset(_WORDS.findall(bare))

        def asks(symbol: str) -> bool:
            return symbol in bare or not words.isdisjoint(_ASKED_BY_WORDS.get(symbol, ()))

        found |= {name for name in self.functions if _is_symbol(name) and asks(name)}
        found |= {OPERATOR + symbol for symbol in self.operators if asks(symbol)}
        found |= {CAST + each for each in self.casts}
        return tuple(UndeclaredInput(InputKind.FUNCTION, name) for name in sorted(found))

    def is_hidden(self, dialect: str) -> bool:
        """Return whether there is any that SQL may call without saying so."""
        own = (builtin_functions(dialect) or {}).keys()
        takes_place = self.functions & own | self.functions & _BY_GRAMMAR or any(map(_is_symbol, self.functions))
        return bool(takes_place or self.of_rows or self.operators or self.casts or self.objects or self.row_types)


def _is_symbol(name: str) -> bool:
    return re.search(r"\w", name) is None
