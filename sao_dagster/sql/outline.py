"""The outline of a query, by its tokens: its blocks, their clauses, what they read under which name, and their columns.

A block is one `select` with its clauses. The outline is made in one pass with a stack of open brackets, so that a query may be
long and deep. What is not understood (a pivot, a lateral join, a query that begins with `from`) has no outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sao_dagster.sql.keywords import KEYWORDS
from sao_dagster.sql.spelling import is_word

_SET_OPERATORS = frozenset({"union", "intersect", "except"})
_CLAUSES = frozenset(
    {"where", "group by", "having", "qualify", "window", "order by", "limit", "offset", "fetch", "for"}
)
_AFTER_ALL = frozenset(
    {"order by", "limit", "offset", "fetch", "for"}
)  # after a set operation these are about all of it
JOIN_WORDS = frozenset({"join", "inner", "left", "right", "full", "outer", "cross", "natural", "semi", "anti", "asof", "positional"})  # fmt: skip
_NOT_UNDERSTOOD = frozenset({
    "pivot", "unpivot", "pivot_wider", "pivot_longer", "tablesample", "sample", "lateral", "match_recognize", "into",
    "summarize", "describe", "show",
})  # fmt: skip
_READS_TEXT = frozenset(
    {"query", "query_table", "alias", "columns", "unpack", "current_query"}
)  # functions that see names or text
_CLOSING = {")": "(", "]": "[", "}": "{", "end": "case"}


class NoOutlineError(ValueError):
    """The query has a part whose meaning is not certain from its tokens."""


@dataclass
class Source:
    """What a block reads.

    Attributes:
        name: The place of the token that names it: its alias, or the last part of a table's name; None for a query without alias.
        last: The place of the last token before the alias.
        alias: Whether `name` is an alias.
        opaque: It is a function, a file or `values`, whose alias may name a column.
    """

    last: int
    name: int | None = None
    alias: bool = False
    opaque: bool = False


@dataclass
class Item:
    """A column, or several, of the list after `select`: the places of its first token, of the one behind it, and of its alias."""

    start: int
    stop: int
    alias: int | None = None


@dataclass
class Block:
    """A `select`: the number of the block around it (-1 for none), what it reads, and its columns.

    It is `first` where it sees nothing of the block around it: a common table expression, a branch, or the first query in `from`.
    """

    outer: int
    first: bool
    sources: list[Source] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)


@dataclass
class Cte:
    """A common table expression: the places of its name, of the bracket that it is valid in (-1 for none), and of those around its query."""

    name: int
    around: int
    opening: int = -1
    closing: int = -1
    recursive: bool = False


@dataclass
class Outline:
    """A query.

    Attributes:
        block_of: By place of a token: the number of its block, -1 outside of all.
        clause_of: The clause it is in, of the innermost query.
        direct: Whether it is in no bracket of its query.
        partner: The other bracket of a pair (`case` and `end` are one).
        tables: Places of names of tables, with all their parts.
    """

    block_of: list[int]
    clause_of: list[str]
    direct: list[bool]
    partner: dict[int, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    ctes: list[Cte] = field(default_factory=list)
    tables: set[int] = field(default_factory=set)


@dataclass
class _Frame:
    """An open bracket, or the whole text."""

    opening: int
    is_query: bool
    outer: int
    block: int
    clause: str = ""
    expects: str = ""  # inside `from` and `with`: what comes next
    first: bool = True  # it is the first that its block reads, or no part of `from`
    whole: bool = False  # it has set operations
    recursive: bool = False


def outline(texts: Sequence[str]) -> Outline:
    """Return the outline of a query.

    Args:
        texts: Its tokens as `spelled` returns them.

    Raises:
        NoOutlineError: It has parts that are not understood.

    >>> found = outline(["select", "o", ".", "id", "from", "orders", "as", "o"])
    >>> found.blocks[0].sources
    [Source(last=5, name=7, alias=True, opaque=False)]
    """
    return _Reader(texts).read()


class _Reader:
    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._words = [text.lower() if is_word(text) else text for text in texts]
        size = len(texts)
        self._found = Outline([-1] * size, [""] * size, [False] * size)
        self._frames = [_Frame(-1, True, -1, -1)]
        self._place = 0

    def read(self) -> Outline:
        while self._place < len(self._texts):
            self._step()
        if len(self._frames) != 1 or not self._found.blocks:
            raise NoOutlineError
        self._end_of_items(self._frames[0])
        return self._found

    def _word(self, place: int) -> str:
        return self._words[place] if 0 <= place < len(self._words) else ""

    def _step(self) -> None:
        """Read the token at the present place, and go to the next one."""
        place, frame = self._place, self._frames[-1]
        word = self._words[place]
        if word in _NOT_UNDERSTOOD or (word in _READS_TEXT and self._word(place + 1) == "("):
            raise NoOutlineError
        if word in ("(", "[", "{") or (word == "case" and frame.clause and self._word(place - 1) not in (".", "as")):
            self._open(word)
        elif word in _CLOSING and (word != "end" or self._word(frame.opening) == "case"):
            self._close(word)
        elif frame.is_query:
            self._in_query(frame, word)
        if word in _CLOSING:  # brackets belong to what is around them
            frame = self._frames[-1]
        for each in range(place, self._place + 1):  # a name of several parts is read at once
            self._found.block_of[each] = frame.outer if frame.block < 0 else frame.block
            self._found.clause_of[each] = frame.clause
            self._found.direct[each] = frame.is_query
        self._place += 1

    def _open(self, word: str) -> None:
        frame, place = self._frames[-1], self._place
        inside = self._word(place + 1)
        block = frame.outer if frame.block < 0 else frame.block
        is_query = word == "(" and inside in ("select", "with")
        if word == "(" and inside in ("from", "table"):
            raise NoOutlineError
        first = False  # a query in an expression may see the columns of what is around it
        if frame.is_query and frame.clause == "from":
            first = self._open_in_from(frame, inside, is_query)
        elif frame.is_query and frame.clause in ("", "with"):
            first = frame.first
            if frame.clause:
                self._open_in_with(frame)
        self._frames.append(
            _Frame(place, is_query, block, -1 if is_query else block, "" if is_query else frame.clause, first=first)
        )

    def _open_in_from(self, frame: _Frame, inside: str, is_query: bool) -> bool:
        """Take a bracket in `from`; return whether it is around the first that the block reads."""
        sources = self._found.blocks[frame.block].sources
        if frame.expects == "item":
            if not is_query and inside != "values":
                raise NoOutlineError
            sources.append(Source(self._place, opaque=not is_query))
            frame.expects = "alias"
            return len(sources) == 1
        if frame.expects == "columns":  # of an alias
            frame.expects = "join"
        elif frame.expects not in ("on", "using", "arguments"):
            raise NoOutlineError
        return False

    def _open_in_with(self, frame: _Frame) -> None:
        if frame.expects == "body":
            self._found.ctes[-1].opening = self._place
            frame.expects = "next"
        elif frame.expects == "next":  # the query that the common table expressions are for
            frame.clause = ""
        elif frame.expects != "as":
            raise NoOutlineError

    def _close(self, word: str) -> None:
        frame, place = self._frames.pop(), self._place
        if not self._frames or self._word(frame.opening) != _CLOSING[word]:
            raise NoOutlineError
        self._found.partner.update({place: frame.opening, frame.opening: place})
        if frame.is_query:
            if frame.block < 0 and not frame.whole:
                raise NoOutlineError
            self._end_of_items(frame)
        around = self._frames[-1]
        if around.is_query and around.clause == "with" and self._found.ctes[-1].opening == frame.opening:
            self._found.ctes[-1].closing = place
        if around.is_query and around.clause == "from":
            sources = self._found.blocks[around.block].sources
            if sources and sources[-1].last == frame.opening:
                sources[-1].last = place
            around.expects = {"using": "join", "arguments": "alias"}.get(around.expects, around.expects)

    def _in_query(self, frame: _Frame, word: str) -> None:
        """Take a token that is in no bracket of its query."""
        text = self._texts[self._place]
        if frame.clause == "with":
            self._in_with(frame, word)
        elif word == "with" and not frame.clause and frame.block < 0 and not frame.whole:
            frame.clause, frame.expects = "with", "name"
        elif word == "select":
            self._begin_block(frame)
        elif word in _SET_OPERATORS:
            if self._word(self._place - 1) == "*":
                raise NoOutlineError  # `* except`
            self._end_of_items(frame)
            frame.block, frame.clause, frame.whole = -1, "", True
        elif word == "from" and not self._is_operator():
            if frame.clause != "select":
                raise NoOutlineError
            self._end_of_items(frame)
            frame.clause, frame.expects = "from", "item"
        elif word in _CLAUSES:
            self._end_of_items(frame)
            frame.clause = word
            if frame.whole and word in _AFTER_ALL:
                frame.block = -1
        elif not frame.clause and word not in ("all", "distinct", "by", "name"):
            raise NoOutlineError
        elif frame.clause == "select" and text == ",":
            self._end_item(frame, self._place)
            self._found.blocks[frame.block].items.append(Item(self._place + 1, -1))
        elif frame.clause == "from":
            self._in_from(frame, word)

    def _is_operator(self) -> bool:
        """Return whether `from` is the one of `is distinct from`."""
        place = self._place
        return self._word(place - 1) == "distinct" and self._word(place - 2) in ("is", "not")

    def _begin_block(self, frame: _Frame) -> None:
        if frame.clause or frame.block >= 0:
            raise NoOutlineError
        self._found.blocks.append(Block(frame.outer, frame.first))
        frame.block, frame.clause = len(self._found.blocks) - 1, "select"
        place = self._place
        start = place + 1
        if self._word(start) in ("all", "distinct"):
            start += 1
            if self._word(start) == "on":
                start = self._after_brackets(start + 1)
        self._found.blocks[frame.block].items.append(Item(start, -1))

    def _after_brackets(self, place: int) -> int:
        """Return the place after a pair of brackets."""
        depth = 0
        for at in range(place, len(self._texts)):
            depth += {"(": 1, ")": -1}.get(self._texts[at], 0)
            if depth <= 0:
                return at + 1
        raise NoOutlineError

    def _end_of_items(self, frame: _Frame) -> None:
        if frame.clause == "select" and frame.block >= 0:
            self._end_item(frame, self._place)

    def _end_item(self, frame: _Frame, stop: int) -> None:
        """Complete the present column, and find its alias."""
        item = self._found.blocks[frame.block].items[-1]
        item.stop = stop
        last = stop - 1
        if last - item.start < 1 or not self._is_name(last):
            return
        before = self._words[last - 1]
        if before == "as" or (last - item.start >= 1 and self._is_plain(last) and self._ends_operand(last - 1)):
            item.alias = last

    def _is_name(self, place: int) -> bool:
        text = self._texts[place]
        return is_word(text) or text.startswith('"')

    def _is_plain(self, place: int) -> bool:
        """Return whether a token is a name, and nothing else in any grammar."""
        return self._is_name(place) and self._words[place] not in KEYWORDS

    def _ends_operand(self, place: int) -> bool:
        text = self._texts[place]
        return (
            text in (")", "]", "}")
            or text[:1].isdigit()
            or text[:1] == "'"
            or self._words[place] == "end"
            or self._is_plain(place)
        )

    def _in_with(self, frame: _Frame, word: str) -> None:
        if word == "select" and frame.expects == "next":
            frame.clause = ""
            self._begin_block(frame)
        elif frame.expects == "name" and word == "recursive" and self._word(self._place - 1) == "with":
            frame.recursive = True
        elif frame.expects == "name" and self._is_plain(self._place):
            self._found.ctes.append(Cte(self._place, frame.opening, recursive=frame.recursive))
            frame.expects = "as"
        elif frame.expects == "as" and word == "as":
            frame.expects = "body"
        elif frame.expects == "next" and word == ",":
            frame.expects = "name"
        elif not (frame.expects == "body" and word in ("not", "materialized")):
            raise NoOutlineError

    def _in_from(self, frame: _Frame, word: str) -> None:
        """Take a token of the clause `from` that is in no bracket."""
        place = self._place
        sources = self._found.blocks[frame.block].sources
        is_join = word in JOIN_WORDS and self._word(place + 1) != "("
        if frame.expects == "item":
            if is_join:
                return
            self._take_item(frame, sources)
        elif word == "," or is_join:
            frame.expects = "item" if word in (",", "join") else "join"
        elif word == "on":
            frame.expects = "on"
        elif word == "using" and self._word(place + 1) == "(":
            frame.expects = "using"
        elif frame.expects == "alias" and word == "as" and self._is_name(place + 1):
            frame.expects = "name"
        elif frame.expects == "name" or (frame.expects == "alias" and self._is_plain(place)):
            sources[-1].name, sources[-1].alias = place, True
            frame.expects = "columns"
        elif frame.expects != "on":
            raise NoOutlineError

    def _take_item(self, frame: _Frame, sources: list[Source]) -> None:
        """Take a table, a function or a file in `from`."""
        place = self._place
        text = self._texts[place]
        frame.expects = "alias"
        if text[:1] == "'":
            sources.append(Source(place, opaque=True))
            return
        end = place
        while self._word(end + 1) == ".":
            end += 2
        names = range(place, end + 1, 2)
        if any(name >= len(self._texts) or not self._is_name(name) for name in names):
            raise NoOutlineError
        is_function = self._word(end + 1) == "("
        if not is_function and not self._is_plain(end):
            raise NoOutlineError
        sources.append(Source(end, end, opaque=is_function))
        self._found.tables.update(range(place, end + 1))
        if is_function:
            sources[-1].last = end + 1  # its brackets are opened next
            frame.expects = "arguments"
        self._place = end
