"""Brackets that group nothing: whatever the precedence of operators in an engine, the query is the same without them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from sao_dagster.sql.keywords import KEYWORDS
from sao_dagster.sql.outline import JOIN_WORDS, Outline
from sao_dagster.sql.spelling import is_word

_COMPARISONS = frozenset({"=", "<>", "!=", "<", ">", "<=", ">="})
_SUMS = frozenset({"+", "-", "/"})
_CLEAR = _COMPARISONS | _SUMS | {"*", ".", "::"}
_BEGIN = frozenset({"where", "having", "qualify", "on", "when", "then", "else"})  # an expression begins after them
_END = frozenset({
    "", ")", ",", "as", "from", "where", "group by", "having", "qualify", "order by", "window", "limit", "offset", "fetch",
    "union", "intersect", "except", "then", "else", "when", "end", *(JOIN_WORDS - {"left", "right"}), "left", "right",
})  # fmt: skip
_BEFORE_COLUMN = (
    _BEGIN | _COMPARISONS | _SUMS | {"and", "or", "not", "case", "group by", "order by", "partition by", "select"}
)
_AFTER_COLUMN = (
    _END | _COMPARISONS | _SUMS | {"*", "and", "or", "is", "in", "like", "ilike", "not", "between", "desc", "asc"}
)
_NO_EXPRESSION = frozenset({"select", "with", "values", "from", "table", "*", ")", "distinct", "all"})
_ENDS_EXPRESSION = frozenset({"null", "true", "false", "unknown", "end"})  # among keywords
_BEFORE_NAME = frozenset({"and", "or", "not", "like", "ilike", "between"})
_ENDS_VALUE = frozenset("_$'\"`)]}")  # the last characters of names, literals and brackets
_NO_PART = frozenset({
    ",", "as", "from", "when", "then", "else", "asc", "desc", "nulls", "where", "group by", "having", "qualify", "order by", "window",
    "limit", "offset", "fetch", "for", "union", "intersect", "except", "using", "on", "distinct", *(JOIN_WORDS - {"left", "right"}),
})  # fmt: skip
"""What no expression has at its own level; `case` and what it contains are a level of their own."""


@dataclass
class _Inside:
    """What stands in a bracket, or between `case` and `end`, at its own level."""

    opening: int
    groups: bool  # it is around an expression, and no list of arguments
    is_list: bool = False  # or has another part that no expression has
    ands: bool = False
    ors: bool = False
    unclear: bool = False  # with an operator that may bind less than `and`, in some engine
    betweens: int = 0

    def take_over(self, inner: _Inside) -> None:
        """Add what stood in brackets that are left out."""
        self.ands |= inner.ands
        self.ors |= inner.ors
        self.unclear |= inner.unclear


class Brackets:
    """The brackets of a query.

    Args:
        texts: Its tokens.
        outline: Its outline.
        aliases: Places of aliases in lists after `select`.
        dropped: Places of tokens that are left out already.
    """

    def __init__(self, texts: list[str], outline: Outline, aliases: Collection[int], dropped: Collection[int]) -> None:
        self._words = [text.lower() if is_word(text) else text for text in texts]
        self._outline = outline
        self._aliases = aliases
        kept = [place for place in range(len(texts)) if place not in dropped]
        self._after = dict(pairwise(kept))
        self._before = {after: before for before, after in self._after.items()}
        self._kept = kept
        self._between_ands: set[int] = set()

    def needless(self, kept: Collection[int]) -> set[int]:
        """Return the places of brackets that can be left out, but for some that are kept as they are written."""
        found: set[int] = set()
        open_: list[_Inside] = [_Inside(-1, groups=False)]
        for place in self._kept:
            word = self._words[place]
            inside = open_[-1]
            if word in ("(", "[", "{") or (word == "case" and place in self._outline.partner):
                open_.append(_Inside(place, groups=word == "(" and self._groups(place, inside)))
            elif place in self._outline.partner:  # it closes
                open_.pop()
                if place not in kept and inside.opening not in kept and self._is_needless(inside, place, open_[-1]):
                    found |= {inside.opening, place}
                    self._unlink(inside.opening, place)
                    open_[-1].take_over(inside)
            else:
                self._take(inside, place, word)
        return found

    def _take(self, inside: _Inside, place: int, word: str) -> None:
        """Take a token that is no bracket."""
        if word in _NO_PART:
            inside.is_list = True
        elif word == "or":
            inside.ors = True
        elif word == "between":
            inside.betweens += 1
        elif word == "and" and inside.betweens:
            inside.betweens -= 1
            self._between_ands.add(place)
        elif word == "and":
            inside.ands = True
        elif word == "lambda" or not (word in _CLEAR or is_word(word) or word[:1].isdigit() or word[:1] in ("'", '"')):
            inside.unclear = True

    def _groups(self, place: int, around: _Inside) -> bool:
        """Return whether a bracket is around an expression, by what stands before it."""
        before = self._before.get(place, -1)
        word = self._word(before)
        if word == "(":
            return around.groups
        if word == ",":
            return self._outline.direct[before] and self._outline.clause_of[before] in (
                "select",
                "group by",
                "order by",
            )
        if word == "on":
            return self._word(self._before.get(before, -1)) != "distinct"
        if word == "*":
            return False
        return word in _BEFORE_COLUMN

    def _is_needless(self, inside: _Inside, place: int, around: _Inside) -> bool:
        """Return whether a pair of brackets, of which all inside is known, can be left out."""
        if not inside.groups or inside.is_list or inside.betweens:
            return False
        first, last = self._after[inside.opening], self._before[place]
        if self._word(first) in _NO_EXPRESSION or not self._ends_expression(first, last):
            return False
        before, after = self._before.get(inside.opening, -1), self._after.get(place, -1)
        return self._is_column(first, last, after) or self._is_whole(inside, before, after, around)

    def _ends_expression(self, first: int, last: int) -> bool:
        """Return whether an expression may end with a token: with a keyword only where that is a value, or a name after an operator.

        A name after anything but an operator may be an alias, as in `a b`, which no brackets can be around.
        """
        if first == last:
            return True
        word, before = self._word(last), self._word(self._before[last])
        if before in _CLEAR or word in _ENDS_EXPRESSION:
            return True
        if word in KEYWORDS:
            return False
        is_name = is_word(word) or word[:1] in ('"', "`")
        ends_value = before[-1:].isalnum() or before[-1:] in _ENDS_VALUE
        return not is_name or before in _BEFORE_NAME or not ends_value

    def _is_column(self, first: int, last: int, after: int) -> bool:
        """Return whether in the brackets is a column, which no operator can tear apart."""
        if self._word(after) not in _AFTER_COLUMN and after not in self._aliases:
            return False
        if first == last:
            return self._is_name(first)
        point = self._after[first]
        return self._word(point) == "." and self._after[point] == last and self._is_name(first) and self._is_name(last)

    def _is_whole(self, inside: _Inside, before: int, after: int, around: _Inside) -> bool:
        """Return whether in the brackets is the whole of an expression, or a condition among others."""
        begin, end = self._word(before), self._word(after)
        in_list = begin == "select" or (begin == "," and self._outline.clause_of[before] == "select")
        begins = begin in _BEGIN or in_list or (begin == "(" and around.groups)
        ends = (end in _END and (begin != "(" or end == ")")) or after in self._aliases
        if begins and ends:
            return True
        joins_before = begin == "or" or (begin == "and" and before not in self._between_ands)
        if (
            in_list
            or not (begins or joins_before)
            or not (ends or end in ("and", "or"))
            or inside.ors
            or inside.unclear
        ):
            return False
        return not (inside.ands and "and" in (begin, end))

    def _is_name(self, place: int) -> bool:
        word = self._word(place)
        return word.startswith('"') or (is_word(word) and word not in KEYWORDS)

    def _word(self, place: int) -> str:
        return self._words[place] if place >= 0 else ""

    def _unlink(self, *places: int) -> None:
        """Leave tokens out of the order."""
        for place in places:
            before, after = self._before.get(place, -1), self._after.get(place, -1)
            if before >= 0:
                self._after[before] = after
            if after >= 0:
                self._before[after] = before
