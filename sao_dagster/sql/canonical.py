"""A query in the form that only cosmetically different ones share.

Two queries are the same where one becomes the other by edits of a few kinds, of each of which it is known for this engine that no
result can tell: names of common table expressions and aliases of what is read; a qualifier where there is one thing to
read; brackets that group nothing; quotes around a plain name; the case of keywords; `as`, `inner`, `outer`. Everything else counts as
it is written. The comparison is one of tokens, since a parser's tree forgets what an engine does not: it takes `.5` for
`0.5`, and binds operators as another engine does.

A name is replaced only if all its uses are certain. One that stands alone anywhere (a whole row used as a value, a column of the same name)
keeps itself, everywhere in the query. Columns keep their names. What names a column of the result, or a field in it, is kept as
it is written, and so is all of an expression without an alias where the engine calls the column by its text.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from sao_dagster.sql.brackets import Brackets
from sao_dagster.sql.dialects import Dialect, dialect_named
from sao_dagster.sql.keywords import KEYWORDS, TYPES
from sao_dagster.sql.lexing import lexed
from sao_dagster.sql.outline import JOIN_WORDS, Block, Item, NoOutlineError, Outline, Source, outline
from sao_dagster.sql.parsing import UnreadableSqlError
from sao_dagster.sql.spelling import is_word, lowered, spelled

_PLAIN = re.compile(r'"[A-Za-z_][A-Za-z0-9_]*"')
_PLAIN_LOWER = re.compile(r'"[a-z_][a-z0-9_]*"')
_WITH_FIELDS = frozenset({"struct", "row", "union", "map", "tuple"})  # types, in whose brackets are names
_NAMED_AFTER = frozenset({":", ":=", "=>", "->", "."})


@lru_cache(maxsize=512)
def canonical_form(sql: str, dialect: str, columns: frozenset[str] | None = frozenset()) -> tuple[str, ...] | None:
    """Return a text that only cosmetically different queries share; None for what is not understood.

    Args:
        sql: The query.
        dialect: Sqlglot's name of its dialect.
        columns: Columns of the tables that it reads, as they are compared; None where they are not known. Where `x.a` may be a field, what
            is called like one of them keeps its name.

    >>> one = canonical_form("with a as (select (x) from t as u) select a.x from a", "duckdb")
    >>> one == canonical_form('with b as (select "x" from t) select b.x from b', "duckdb")
    True
    >>> one == canonical_form("with b as (select y from t) select b.y as x from b", "duckdb")
    False
    """
    try:
        return _Form(sql, dialect_named(dialect), columns).written()
    except (NoOutlineError, UnreadableSqlError):
        return None


_NOT_ORDERED = frozenset(
    {".", ",", "(", "as", "asc", "desc", "first", "last", "nulls", "order by"}
)  # no value ends with them


class _Form:
    """One query on its way to its form; places are those of tokens."""

    def __init__(self, sql: str, engine: Dialect, columns: frozenset[str] | None) -> None:
        tokens = lexed(sql, engine.name)
        texts = spelled(tokens.written, engine.name)
        while texts and texts[-1] == ";":
            texts.pop()
        self._engine = engine
        self._texts = texts
        self._glued, self._hints = tokens.glued, tokens.hints
        self._outline: Outline = outline(texts)
        self._blocks = self._outline.blocks
        self._shown = self._places_of_shown_text()
        self._fields = self._places_of_fields()
        self._aliases = {item.alias for block in self._blocks for item in block.items if item.alias is not None}
        self._pinned = self._like_columns(columns) if engine.fields_by_dot else set()
        self._owners: dict[int, Source] = {}  # by the place of a qualifier
        self._cte_of: dict[int, int] = {}  # numbers, by the places where they are named
        self._dropped: set[int] = set()
        self._instead: dict[int, str] = {}

    def written(self) -> tuple[str, ...]:
        """Return the tokens of the form."""
        self._find_uses()
        self._number_ctes()
        after = self._rename_sources()
        self._drop_qualifiers()
        self._drop_aliases()
        self._drop_noise()
        brackets = Brackets(self._texts, self._outline, self._aliases, self._dropped)
        self._dropped |= brackets.needless(kept=self._shown)
        starts = {item.alias for block in self._blocks for item in block.items if item.alias is not None}
        found: list[str] = []
        for place in range(len(self._texts)):
            if place not in self._dropped:
                if place in starts and self._texts[place - 1].lower() != "as":
                    found.append("as")
                if place in self._glued and place - 1 not in self._dropped:
                    found.append("without a gap:")
                found.append(self._instead.get(place) or self._spelled(place))
            found += self._hints.get(place, ())
            if place in after:
                found += after[place]
        return tuple(found)

    # names

    def _key(self, place: int) -> str:
        """Return a name as the engine compares it."""
        text = self._texts[place]
        if text.startswith('"'):
            name = text[1:-1].replace('""', '"')
            return self._engine.compared(name, quoted=True) if name.isascii() else name
        return self._engine.compared(text, quoted=False) if text.isascii() else text

    def _is_name(self, place: int) -> bool:
        return place < len(self._texts) and (is_word(self._texts[place]) or self._texts[place].startswith('"'))

    def _is(self, place: int, *texts: str) -> bool:
        return 0 <= place < len(self._texts) and self._texts[place] in texts

    def _like_columns(self, columns: frozenset[str] | None) -> set[str]:
        """Return the names of what is read that may be columns, too."""
        named = {
            self._key(source.name) for block in self._blocks for source in block.sources if source.name is not None
        }
        return named if columns is None else named & columns

    def _places_of_shown_text(self) -> set[int]:
        """Return the places of expressions whose text is the name of a column."""
        shown: set[int] = set()
        if self._engine.names_by_text:
            for block in self._blocks:
                for item in block.items:
                    if item.alias is None and self._column(item) is None and not self._is_star(item):
                        shown.update(range(item.start, item.stop))
        return shown

    def _column(self, item: Item) -> int | None:
        """Return the place of the column that an item is, whatever its alias, brackets and qualifier; None for an expression."""
        start = item.start
        stop = item.stop if item.alias is None else item.alias - self._is(item.alias - 1, "as")
        while self._is(start, "(") and self._outline.partner[start] == stop - 1:
            start, stop = start + 1, stop - 1
        if stop - start == 1 and self._is_name(start) and self._texts[start].lower() not in KEYWORDS:
            return start
        if stop - start == 3 and self._is_name(start) and self._is(start + 1, ".") and self._is_name(start + 2):
            return start + 2
        return None

    def _is_star(self, item: Item) -> bool:
        return self._texts[item.start : item.stop][-1:] == ["*"] and item.stop - item.start in (1, 3)

    def _find_uses(self) -> None:
        """Find what each qualifier means; pin the names that have another use."""
        defined = {cte.name for cte in self._outline.ctes} | self._outline.tables
        defined |= {source.name for block in self._blocks for source in block.sources if source.name is not None}
        place = 0
        while place < len(self._texts):
            if self._texts[place].startswith("'"):
                self._pinned.add(self._texts[place][1:-1].lower())  # a text may be a name to `from` and to functions
            if place in defined or not self._is_name(place):
                place += 1
                continue
            end = place
            while self._is(end + 1, ".") and (self._is_name(end + 2) or self._is(end + 2, "*")):
                end += 2
            names_object = self._is(place - 1, "collate", "::", "as")  # a collation or a type
            if end == place + 2 and not self._is(end + 1, "(") and not names_object:
                self._take_qualifier(place)
            else:
                self._pinned.update(self._key(each) for each in range(place, max(end, place + 1), 2))
            place = end + 1
        for block in self._blocks:
            names = Counter(self._key(source.name) for source in block.sources if source.name is not None)
            self._pinned.update(name for name, times in names.items() if times > 1)
            self._pinned.update(self._key(each.name) for each in block.sources if each.opaque and each.name is not None)

    def _take_qualifier(self, place: int) -> None:
        key, block = self._key(place), self._outline.block_of[place]
        here = block
        while block >= 0:
            for source in self._blocks[block].sources:
                if source.name is not None and self._key(source.name) == key:
                    self._owners[place] = source
                    if place in self._shown or (block != here and self._engine.fields_like_columns):
                        self._pinned.add(key)
                    return
            block = self._blocks[block].outer
        self._pinned.add(key)

    def _number_ctes(self) -> None:
        """Give each common table expression a number, where it is certain which tables mean it."""
        by_key: dict[str, list[int]] = {}
        for number, cte in enumerate(self._outline.ctes):
            by_key.setdefault(self._key(cte.name), []).append(number)
        uses: dict[str, list[int]] = {}
        for block in self._blocks:
            for source in block.sources:
                if not source.opaque and self._is_one_name(source):
                    uses.setdefault(self._key(source.last), []).append(source.last)
        for key, (number, *others) in by_key.items():
            cte = self._outline.ctes[number]
            places = uses.get(key, [])
            stop = self._outline.partner.get(cte.around, len(self._texts))
            begin = cte.opening if cte.recursive else cte.closing
            if not others and key not in self._pinned and all(begin < place < stop for place in places):
                self._cte_of.update(dict.fromkeys([cte.name, *places], number))
        self._instead.update({place: f"cte {number}" for place, number in self._cte_of.items()})

    def _is_one_name(self, source: Source) -> bool:
        last = source.last
        return last in self._outline.tables and not self._is(last - 1, ".")

    def _rename_sources(self) -> dict[int, list[str]]:
        """Give each source a number as its alias; return what stands after its last token instead of the alias."""
        numbers: dict[int, str] = {}
        after: dict[int, list[str]] = {}
        sources = [source for block in self._blocks for source in block.sources]
        for source in sorted(sources, key=lambda each: each.last):
            pinned = source.name is not None and self._key(source.name) in self._pinned
            if not source.opaque and not pinned:
                numbers[id(source)] = f"source {len(numbers)}"
                after[source.last] = ["as", numbers[id(source)]]
            elif source.alias and source.name is not None:
                after[source.last] = ["as", self._spelled(source.name)]
            if source.alias and source.name is not None:
                self._dropped.add(source.name)
                if self._is(source.name - 1, "as"):
                    self._dropped.add(source.name - 1)
        for place, source in self._owners.items():
            if id(source) in numbers:
                self._instead[place] = numbers[id(source)]
        return after

    def _drop_qualifiers(self) -> None:
        """Drop qualifiers in blocks that read one thing and see nothing else, where the bare name means the same column."""
        if {"->", "lambda"} & set(self._texts):
            return  # a parameter may have the name of a column
        other_outputs = [self._other_outputs(block) for block in self._blocks]
        free: list[bool] = []
        for block in self._blocks:
            free.append(block.outer < 0 or (block.first and free[block.outer]))
        for place, source in self._owners.items():
            number = self._outline.block_of[place]
            block, column, others = self._blocks[number], place + 2, other_outputs[number]
            if place in self._instead and free[number] and block.sources == [source] and self._is_name(column):
                key = self._key(column)
                kept = KEYWORDS | self._engine.functions_of_rows
                if others is not None and key not in others and kept.isdisjoint(key.split()):  # `order by` is one token
                    self._dropped.update((place, place + 1))

    def _other_outputs(self, block: Block) -> set[str] | None:
        """Return the names that columns of the result may have without being the column of that name; None for any name."""
        found: set[str] = set()
        for item in block.items:
            if self._is_star(item):
                continue
            if item.alias is not None:
                found |= set() if self._repeats(item) else {self._key(item.alias)}
            elif self._column(item) is None:
                if "*" in self._texts[item.start : item.start + 3]:  # `* replace (...)`
                    return None
                found |= {self._key(each) for each in range(item.start, item.stop) if self._is_name(each)}
        return found

    def _repeats(self, item: Item) -> bool:
        """Return whether the alias of an item is the name of the column that it is."""
        column = self._column(item)
        return column is not None and item.alias is not None and self._key(item.alias) == self._key(column)

    def _drop_aliases(self) -> None:
        """Drop aliases that a column has already, unless its name is shown as the table has it."""
        if self._engine.shows_case:
            return
        for block in self._blocks:
            for item in block.items:
                if item.alias is not None and self._repeats(item):
                    self._dropped.update((item.alias, item.alias - self._is(item.alias - 1, "as")))
                    self._aliases.discard(item.alias)

    # other words

    def _drop_noise(self) -> None:
        """Leave out words that say what is so without them: `inner`, `outer`, and `asc` of an `order by` in the same brackets."""
        words, partner = self._texts, self._outline.partner
        orders = [False]  # by bracket that is open: whether there is an `order by` in it
        for place, word in enumerate(words):
            if partner.get(place, place) > place:
                orders.append(False)
            elif place in partner:
                orders.pop()
            orders[-1] |= word.lower() == "order by"
            after = words[place + 1] if place + 1 < len(words) else ""
            before = words[place - 1] if place else ""
            joins = word == "inner" and (before == "natural" or before not in JOIN_WORDS)
            joins |= word == "outer" and before in ("left", "right", "full")
            ascends = word == "asc" and self._engine.ascends and orders[-1] and before not in _NOT_ORDERED
            if place not in self._shown and ((joins and after == "join") or ascends):
                self._dropped.add(place)

    def _spelled(self, place: int) -> str:
        """Return a token as it is compared."""
        text = self._texts[place]
        if text == "!=":
            return "<>"
        if place in self._shown:
            return text
        if text.startswith('"'):
            return text[1:-1] if self._is_plain_in_quotes(place) else text
        return lowered(text) if self._is_grammar(place) else text

    def _is_plain_in_quotes(self, place: int) -> bool:
        """Return whether a name in quotes is the same without them."""
        text, pattern = self._texts[place], _PLAIN if self._engine.shows_case else _PLAIN_LOWER
        after = self._texts[place + 1] if place + 1 < len(self._texts) else ""
        return (
            pattern.fullmatch(text) is not None
            and text[1:-1].lower() not in KEYWORDS
            and after != "("
            and not after.startswith("'")
            and not self._is(place - 1, "::")
        )

    def _is_grammar(self, place: int) -> bool:
        """Return whether a word is a keyword or a type, and names nothing that a result shows."""
        word = self._texts[place].lower()
        if (
            not (word in KEYWORDS or (word in TYPES and self._is_type(place)))
            or place in self._aliases
            or self._outline.clause_of[place] in ("from", "with")
        ):
            return False
        after = self._texts[place + 1] if place + 1 < len(self._texts) else ""
        if after in _NAMED_AFTER or self._is(place - 1, "."):
            return False
        return place not in self._fields

    def _is_type(self, place: int) -> bool:
        """Return whether a word stands where a type does: in a cast, or before a text."""
        after = self._texts[place + 1] if place + 1 < len(self._texts) else ""
        return (
            self._is(place - 1, "::")
            or after.startswith("'")
            or (self._is(place - 1, "as") and after in (")", "(", "["))
        )

    def _places_of_fields(self) -> set[int]:
        """Return the places in the brackets of types with fields."""
        found: set[int] = set()
        for opening, closing in self._outline.partner.items():
            if 0 < opening < closing and opening not in found and self._texts[opening - 1].lower() in _WITH_FIELDS:
                found.update(range(opening, closing))
        return found
