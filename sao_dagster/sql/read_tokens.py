"""What the tokens of a query tell of what it reads, without parsing it: enough for nearly all queries of a project.

The functions that are called are told exactly as far as they matter: none that is called is left out. Of tables it is only told whether there
may be some that are neither nodes nor common table expressions; then the query has to be parsed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot.tokenizer_core import TokenType

from sao_dagster.sql.fingerprint import Nodes
from sao_dagster.sql.lexing import Lexed

_ENDS_FROM = frozenset({
    TokenType.SELECT, TokenType.WHERE, TokenType.GROUP_BY, TokenType.ORDER_BY, TokenType.HAVING, TokenType.QUALIFY, TokenType.LIMIT,
    TokenType.OFFSET, TokenType.WINDOW, TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT, TokenType.SEMICOLON,
})  # fmt: skip
_BY_PARSING = frozenset({
    TokenType.TABLE, TokenType.DESCRIBE, TokenType.SUMMARIZE, TokenType.SHOW, TokenType.COMMAND, TokenType.EXECUTE, TokenType.PIVOT,
    TokenType.UNPIVOT, TokenType.INTO, TokenType.RECURSIVE,
})  # fmt: skip
_VALUES = frozenset({TokenType.STRING, TokenType.NUMBER})
_NAMES = frozenset({TokenType.VAR, TokenType.IDENTIFIER})  # nearly all names; a keyword may be one, too
_SAYS_NOTHING = frozenset({
    TokenType.DOT, TokenType.STAR, TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE, TokenType.PLUS,
    TokenType.DASH, TokenType.SLASH, TokenType.DPIPE, TokenType.DCOLON,
})  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A function that is called.

    Attributes:
        name: In lower case, without its schema.
        makes_rows: Whether it stands where a table may stand.
        texts: The texts that its first argument is or lists; None where that is anything else.
    """

    name: str
    makes_rows: bool
    texts: tuple[str, ...] | None


@dataclass(slots=True)
class _Bracket:
    """Where the scan is inside one pair of brackets."""

    is_call: bool = False  # of a function, until a query begins in it
    in_from: bool = False
    expects: bool = False  # a table comes next


@dataclass
class TokenScan:
    """One pass over the tokens of a query.

    Args:
        tokens: All of them.
        nodes: Where they stand for a node: by the place of the first, how many they are, and its id.
        with_names: Whether names that are no calls are told, too.

    Attributes:
        calls: The functions that are called.
        columns: The last parts of names that are no calls, in lower case; but those after `as`.
        aliases: Those after `as`.
        fields: Names after a dot that are no calls, in lower case: columns, fields, and parts of the names of tables.
        has_tables: Whether there may be tables that are neither nodes nor common table expressions.
    """

    tokens: Lexed
    nodes: Nodes
    with_names: bool = True
    calls: list[Call] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    has_tables: bool = False
    _stack: list[_Bracket] = field(default_factory=lambda: [_Bracket()])
    _ctes: set[str] = field(default_factory=set)  # that are complete, at the top
    _cte: str | None = None  # that is being defined
    _cte_begun: bool = False  # its query comes, or has begun
    _in_with: bool = False

    def __post_init__(self) -> None:
        # with None two places behind the last token, which are two places before the first one, too
        self._kinds: list[TokenType | None] = [*self.tokens.kinds, None, None]
        self._said = self.tokens.texts

    def run(self) -> TokenScan:
        """Look at all tokens, and return itself."""
        place = 0
        kinds, nodes, end = self._kinds, self.nodes, len(self._said)
        while place < end:
            if place in nodes:
                self._stack[-1].expects = False
                place += nodes[place][0]
            elif kinds[place] in _SAYS_NOTHING:
                place += 1
            else:
                place = self._token(place)
        return self

    def _is_word(self, place: int) -> bool:
        """Return whether a token is a name or a keyword; not so where none is, up to two places beside them all."""
        kind = self._kinds[place]
        if kind is TokenType.IDENTIFIER:
            return True
        if kind is None or kind in _VALUES:
            return False
        text = self._said[place]
        return text[:1].isalpha() or text[:1] == "_"

    def _token(self, place: int) -> int:
        """Look at one token, or at those of a name, and return the place of the next one."""
        here, kind = self._stack[-1], self._kinds[place]
        if kind in _NAMES and self._is_word(place):
            return self._name(place, here)
        if kind is TokenType.L_PAREN:
            self._open(place, here)
        elif kind is TokenType.R_PAREN:
            self._close(place)
        elif kind is TokenType.COMMA:
            here.expects = here.in_from
        elif kind is TokenType.WITH:
            self._with(place)
        elif kind is TokenType.FROM:
            self._from(place, here)
        elif kind in (TokenType.JOIN, TokenType.STRAIGHT_JOIN):
            here.in_from = here.expects = True
        elif kind in _ENDS_FROM:
            here.in_from = here.expects = False
            if kind is TokenType.SELECT:
                here.is_call = False
                self._in_with = self._in_with and len(self._stack) > 1
        elif kind in _BY_PARSING:
            self.has_tables = True
        elif kind in _VALUES:
            self.has_tables = self.has_tables or here.expects
            here.expects = False
        elif self._is_word(place):
            return self._name(place, here)
        return place + 1

    def _open(self, place: int, outer: _Bracket) -> None:
        is_call = self._is_word(place - 1) and self._kinds[place - 1] not in (TokenType.IN, TokenType.ALIAS)
        self._stack.append(_Bracket(is_call=is_call, in_from=outer.expects, expects=outer.expects))
        outer.expects = False

    def _close(self, place: int) -> None:
        if len(self._stack) > 1:
            self._stack.pop()
        if len(self._stack) == 1 and self._in_with and self._cte_begun and self._cte is not None:
            self._ctes.add(self._cte)
            self._cte, self._cte_begun = None, False
            self._in_with = self._kinds[place + 1] is TokenType.COMMA

    def _with(self, place: int) -> None:
        following = self._said[place + 1].lower() if place + 1 < len(self._said) else ""
        if following == "ordinality":
            return
        if place == 0:
            self._in_with = True
        else:
            self.has_tables = True  # which names are seen where is a question of scope

    def _from(self, place: int, here: _Bracket) -> None:
        is_first = self._kinds[place - 1] is TokenType.L_PAREN
        compares = self._kinds[place - 1] is TokenType.DISTINCT and self._kinds[place - 2] in (
            TokenType.IS,
            TokenType.NOT,
        )
        if (here.is_call and not is_first) or compares:  # extract(year from x), is distinct from
            return
        here.is_call, here.in_from, here.expects = False, True, True

    def _name(self, place: int, here: _Bracket) -> int:
        """Look at a name, which may have several parts, and return the place after it."""
        last, kinds = place, self._kinds
        while kinds[last + 1] is TokenType.DOT and self._is_word(last + 2):
            last += 2
        is_called, in_list = kinds[last + 1] is TokenType.L_PAREN, self._in_with and len(self._stack) == 1
        if not (is_called or in_list or here.expects or self.with_names):
            return last + 1
        text, before = self._said[last].lower(), kinds[place - 1]
        if self.with_names and not is_called:
            (self.aliases if before is TokenType.ALIAS else self.columns).add(text)
            if before is TokenType.DOT or last > place:
                after_dots = range(place if before is TokenType.DOT else place + 2, last + 1, 2)
                self.fields.update(self._said[each].lower() for each in after_dots)
        if in_list:
            self._in_list_of_ctes(place, text)
        elif is_called:
            if not self._is_alias(place, here) and last not in self.nodes:
                self.calls.append(Call(text, here.expects, self._texts(last + 2)))
            here.expects = here.expects and text in ("lateral", "only")
        elif here.expects:
            if text == "lateral":
                return last + 1
            self.has_tables = self.has_tables or last > place or text not in self._ctes
            here.expects = False
        return last + 1

    def _in_list_of_ctes(self, place: int, text: str) -> None:
        kind, before = self._kinds[place], self._kinds[place - 1]
        if before in (TokenType.WITH, TokenType.COMMA):
            self._cte = text
        elif self._cte is not None and (kind is TokenType.ALIAS or text in ("not", "materialized")):
            self._cte_begun = True

    def _is_alias(self, place: int, here: _Bracket) -> bool:
        """Return whether a name before a bracket is that of a table with names for its columns, or a type."""
        before = self._kinds[place - 1]
        if before in (TokenType.ALIAS, TokenType.DCOLON):
            return True
        named = before in (TokenType.VAR, TokenType.IDENTIFIER, TokenType.R_PAREN)
        return here.in_from and not here.expects and named

    def _texts(self, place: int) -> tuple[str, ...] | None:
        """Return the texts that an argument is or lists."""
        in_list = self._kinds[place] is TokenType.L_BRACKET
        place += in_list
        found = []
        while self._kinds[place] is TokenType.STRING:
            found.append(self._said[place])
            place += 1
            if not in_list or self._kinds[place] is not TokenType.COMMA:
                break
            place += 1
        if in_list and self._kinds[place] is TokenType.R_BRACKET:
            place += 1
        ends = self._kinds[place] in (TokenType.COMMA, TokenType.R_PAREN)
        return tuple(found) if found and ends else None
