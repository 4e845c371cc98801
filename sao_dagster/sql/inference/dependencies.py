"""What is known of the rows of a relation, and the two questions asked of it: is a column never null, is it a key.

Columns are numbers. A relation has an *identity*: columns on which no two of its rows are equal (nulls counted as equal), at first
the invisible number of a row in a table; that of a join is made of both. Everything about uniqueness is then a *dependency*
towards an identity, and a key is what an identity follows from. So columns that are not selected keep their use, the fan-out of a
join shows as the identity that does not follow, and `distinct` and `group by` (which pick one row of each group) only add to
what is known.

The algebra of keys and dependencies under nulls is that of G. N. Paulley, "Exploiting Functional Dependence in Query
Optimization" (Waterloo, 2000), chapter 3, in another notation: a dependency says itself which columns must not be null for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import count

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference.types import UNKNOWN, Type, common

Ids = frozenset[int]
Value = str | int

GIVEN = Proof("given")


@dataclass(frozen=True)
class Dependency:
    """Two rows that are equal on `determines` are equal on `determined`, if all of `when` are not null in both.

    Equal means that nulls are equal, too.
    """

    determines: Ids
    determined: Ids
    proof: Proof
    when: Ids = frozenset()


@dataclass(frozen=True)
class Equality:
    """In each row the two columns are equal, or both null."""

    one: int
    other: int
    proof: Proof


@dataclass(frozen=True)
class Implication:
    """In each row, where one of `any_of` (or all of `all_of`) is not null, all of `then` are not null."""

    then: Ids
    proof: Proof
    any_of: Ids = frozenset()
    all_of: Ids = frozenset()


@dataclass(frozen=True)
class Domain:
    """All values that a column can have, except null."""

    values: frozenset[Value]
    proof: Proof

    def by(self, rule: str, *premises: Proof) -> Domain:
        """Return the same values, as they follow by a rule."""
        return Domain(self.values, follow(rule, *premises, self.proof))

    def both(self, other: Domain) -> Domain:
        """Return the values that are in both."""
        return Domain(self.values & other.values, follow("both_domains", self.proof, other.proof))


Found = dict[int, Proof]


@dataclass
class RowFacts:
    """What is known of the rows of a relation; grows while a query is read.

    Attributes:
        identity: No two rows are equal on these; none for at most one row.
        dependencies: Between columns.
        equalities: Between columns.
        implications: Between columns that are not null.
        not_null: Columns without nulls.
        domains: Possible values by column.
        types: By column.
        not_empty: Why there is at least one row, if there is.
        numbers: Columns that are row numbers, which begin at 1.
    """

    identity: Ids = frozenset()
    dependencies: list[Dependency] = field(default_factory=list)
    equalities: list[Equality] = field(default_factory=list)
    implications: list[Implication] = field(default_factory=list)
    not_null: Found = field(default_factory=dict)
    domains: dict[int, Domain] = field(default_factory=dict)
    types: dict[int, Type] = field(default_factory=dict)
    not_empty: Proof | None = None
    numbers: frozenset[int] = frozenset()
    _without_nulls: tuple[tuple[int, int, int], Found] | None = field(default=None, init=False, repr=False)

    @classmethod
    def numbered(cls, row: int, columns: Collection[int] = ()) -> RowFacts:
        """Return rows of which only this is known: each has a number, and its columns with it."""
        rows = cls(frozenset({row}), not_null={row: Proof("row")})
        if columns:
            rows.bind(columns, Proof("row"))
        return rows

    def copy(self) -> RowFacts:
        """Return the same, which can grow by itself."""
        return RowFacts(
            self.identity,
            list(self.dependencies),
            list(self.equalities),
            list(self.implications),
            dict(self.not_null),
            dict(self.domains),
            dict(self.types),
            self.not_empty,
            self.numbers,
        )

    def type_of(self, column: int) -> Type:
        """Return the type of a column."""
        return self.types.get(column, UNKNOWN)

    def is_bare_null(self, column: int) -> bool:
        """Return whether a column is `null` without a type."""
        domain = self.domains.get(column)
        return domain is not None and not domain.values and self.type_of(column) is UNKNOWN

    # ------------------------------------------------------------------ what follows

    def without_nulls(self, given: Iterable[int] = ()) -> Found:
        """Return the columns that are not null, each with the reason, where those that are given are not null."""
        version = (len(self.not_null), len(self.equalities), len(self.implications))  # they only grow
        if self._without_nulls is None or self._without_nulls[0] != version:
            self._without_nulls = version, self._with_what_follows(dict(self.not_null))
        known = self._without_nulls[1]
        assumed = dict.fromkeys(given, GIVEN)
        if not assumed:
            return known
        found = {**known, **assumed}
        return found if assumed.keys() <= known.keys() else self._with_what_follows(found)

    def _with_what_follows(self, found: Found) -> Found:
        """Add the columns that are not null because those in `found` are not."""
        grown = True
        while grown:
            grown = self._add_equal(found)
            for rule in self.implications:
                if rule.then <= found.keys():
                    continue
                premises = self._premises(rule, found)
                if premises is not None:
                    proof = follow("not_null_follows", rule.proof, *premises)
                    for column in rule.then - found.keys():
                        found[column] = proof
                    grown = True
        return found

    def _add_equal(self, found: Found) -> bool:
        """Add the columns that are equal to one in `found`; return whether there were any."""
        grown = False
        for each in self.equalities:
            for one, other in ((each.one, each.other), (each.other, each.one)):
                if one in found and other not in found:
                    found[other] = follow("equal", each.proof, found[one])
                    grown = True
        return grown

    @staticmethod
    def _premises(rule: Implication, found: Found) -> list[Proof] | None:
        for column in rule.any_of:
            if column in found:
                return [found[column]]
        if rule.all_of <= found.keys() and (rule.all_of or not rule.any_of):
            return [found[column] for column in rule.all_of]
        return None

    def closure(self, start: Iterable[int], given: Iterable[int] = (), goal: Ids | None = None) -> Found:
        """Return the columns on which two rows are equal that are equal on `start`, each with the reason.

        Args:
            start: On these, the two rows are equal.
            given: These are not null in either row.
            goal: What is asked for, so that there is no need to go on once it is found.
        """
        found: Found = dict.fromkeys(start, GIVEN)
        present = self.without_nulls(given)
        grown = True
        while grown and not (goal is not None and goal <= found.keys()):
            grown = self._add_equal(found)
            for rule in self.dependencies:
                if rule.determined <= found.keys() or not rule.determines <= found.keys():
                    continue
                if not rule.when <= present.keys():
                    continue
                used = [found[column] for column in rule.determines] + [present[column] for column in rule.when]
                proof = follow("determined", rule.proof, *used)
                for column in rule.determined - found.keys():
                    found[column] = proof
                grown = True
        return found

    def key_proof(self, columns: Iterable[int], *, ignoring_nulls: bool) -> Proof | None:
        """Return why no two rows are equal on the columns; None where that is not known.

        Args:
            columns: The columns.
            ignoring_nulls: Whether rows with a null in one of them do not count, as with dbt's `unique`.
        """
        start = tuple(columns)
        found = self.closure(start, start if ignoring_nulls else (), self.identity)
        if not self.identity <= found.keys():
            return None
        return follow("key", *(found[column] for column in self.identity))

    def not_null_proof(self, column: int) -> Proof | None:
        """Return why a column is never null; None where that is not known."""
        return self.without_nulls().get(column)

    # ------------------------------------------------------------------ what is added

    def add_dependency(
        self, determines: Iterable[int], determined: Iterable[int], proof: Proof, when: Iterable[int] = ()
    ) -> None:
        """Note a dependency."""
        self.dependencies.append(Dependency(frozenset(determines), frozenset(determined), proof, frozenset(when)))

    def add_equality(self, one: int, other: int, proof: Proof) -> None:
        """Note that two columns are equal or both null, and so have one domain."""
        if one == other:
            return
        self.equalities.append(Equality(one, other, proof))
        for column, source in ((one, other), (other, one)):
            domain = self.domains.get(source)
            if domain is not None and self.type_of(one) == self.type_of(other):
                self.narrow(column, domain.by("equal", proof))

    def narrow(self, column: int, domain: Domain) -> None:
        """Note that a column has no values but those of a domain."""
        known = self.domains.get(column)
        if known is None or not known.values <= domain.values:
            self._has_domain(column, domain if known is None else known.both(domain))
        values = self.domains[column]
        if not values.values and column in self.not_null:
            self.at_most_one(follow("no_rows", values.proof, self.not_null[column]))

    def _has_domain(self, column: int, domain: Domain) -> None:
        self.domains[column] = domain
        if len(domain.values) == 1:
            self.add_dependency((), {column}, follow("one_value", domain.proof), {column})

    def at_most_one(self, proof: Proof) -> None:
        """Note that there is at most one row."""
        self.add_dependency((), self.identity, proof)

    def bind(self, columns: Iterable[int], proof: Proof) -> None:
        """Note that the columns are values of a row, so that the row determines them."""
        self.add_dependency(self.identity, columns, proof)

    def recast(self, column: int, ids: count[int], proof: Proof) -> int:
        """Return a column that holds the values of another one in some other type: null where that is, and no more is known."""
        found = next(ids)
        self.bind({found}, proof)
        self.implications.append(Implication(frozenset({found}), proof, any_of=frozenset({column})))
        return found

    # ------------------------------------------------------------------ choices

    def choose(self, column: int, parts: Sequence[tuple[RowFacts, int]], rule: str) -> None:
        """Note what holds for a column whose values come from one of several, of the same relation or of others."""
        reasons = [rows.not_null_proof(part) for rows, part in parts]
        if None not in reasons:
            self.not_null[column] = follow(rule, *reasons)
        self.types[column] = common_type(parts)
        domain = any_domain(parts, rule)
        if domain is not None:
            self._has_domain(column, domain)

    # ------------------------------------------------------------------ two relations

    def beside(self, other: RowFacts) -> RowFacts:
        """Return what is known of pairs of rows of the two."""
        filled = None
        if self.not_empty is not None and other.not_empty is not None:
            filled = follow("cross_join", self.not_empty, other.not_empty)
        return RowFacts(
            self.identity | other.identity,
            self.dependencies + other.dependencies,
            self.equalities + other.equalities,
            self.implications + other.implications,
            {**self.not_null, **other.not_null},
            {**self.domains, **other.domains},
            {**self.types, **other.types},
            filled,
            self.numbers | other.numbers,
        )

    def _live(self, outputs: Iterable[int]) -> set[int]:
        """Return the columns that say something of outputs, or of the identity."""
        live = {*outputs, *self.identity}
        grown = True
        while grown:
            before = len(live)
            for rule in self.dependencies:
                if not rule.determined.isdisjoint(live):
                    live |= rule.determines
                    live |= rule.when
            for each in self.equalities:
                if each.one in live or each.other in live:
                    live |= {each.one, each.other}
            for implied in self.implications:
                if not implied.then.isdisjoint(live):
                    live |= implied.all_of
                    live |= implied.any_of
            grown = len(live) > before
        return live

    def pruned(self, outputs: Iterable[int]) -> RowFacts:
        """Return the same without what says nothing of outputs, nor of the identity."""
        live = self._live(outputs)
        return replace(
            self,
            dependencies=[
                each if each.determined <= live else replace(each, determined=each.determined & live)
                for each in self.dependencies
                if not each.determined.isdisjoint(live)
            ],
            equalities=[each for each in self.equalities if each.one in live],
            implications=[
                each if each.then <= live else replace(each, then=each.then & live)
                for each in self.implications
                if not each.then.isdisjoint(live)
            ],
            not_null={column: proof for column, proof in self.not_null.items() if column in live},
            domains={column: domain for column, domain in self.domains.items() if column in live},
            types={column: found for column, found in self.types.items() if column in live},
        )

    def without_keys(self, row: int, columns: Collection[int]) -> RowFacts:
        """Return what is known of nulls, values and types of columns, and nothing of keys; rows get a number."""
        rows, present = RowFacts.numbered(row, columns), self.without_nulls()
        rows.not_null |= {column: present[column] for column in columns if column in present}
        rows.domains = {column: self.domains[column] for column in columns if column in self.domains}
        rows.types = {column: self.type_of(column) for column in columns}
        return rows

    def renamed(self, ids: count[int], columns: Iterable[int]) -> tuple[RowFacts, dict[int, int]]:
        """Return the same with numbers of its own, for another use of a relation, and the new numbers by the old."""
        names: dict[int, int] = {}

        def new(column: int) -> int:
            if column not in names:
                names[column] = next(ids)
            return names[column]

        def all_new(found: Iterable[int]) -> Ids:
            return frozenset(map(new, found))

        for column in columns:
            new(column)
        rows = RowFacts(
            all_new(self.identity),
            [
                Dependency(all_new(each.determines), all_new(each.determined), each.proof, all_new(each.when))
                for each in self.dependencies
            ],
            [Equality(new(each.one), new(each.other), each.proof) for each in self.equalities],
            [
                replace(each, then=all_new(each.then), any_of=all_new(each.any_of), all_of=all_new(each.all_of))
                for each in self.implications
            ],
            {new(column): proof for column, proof in self.not_null.items()},
            {new(column): domain for column, domain in self.domains.items()},
            {new(column): found for column, found in self.types.items()},
            self.not_empty,
            all_new(self.numbers),
        )
        return rows, names

    def padded(self, ids: count[int], columns: Iterable[int], proof: Proof) -> tuple[RowFacts, int]:
        """Return what is known of the rows of one side of an outer join, with rows of nulls among them, and a marker.

        The marker is a column that is null in just those rows of nulls. In them all columns of the side are null, so
        what was certain of a column is certain only where something of the side is not null.

        Args:
            ids: Gives new numbers.
            columns: All columns of the side that can be used above the join.
            proof: The join.
        """
        marker = next(ids)
        present = self.without_nulls()
        mine = frozenset({*columns, *self.not_null, *self.types, *self.identity})
        dependencies = [_among_nulls(each, present, marker) for each in self.dependencies]
        dependencies.append(Dependency(frozenset(), frozenset({marker}), proof, frozenset({marker})))
        implications = [each for each in self.implications if each.any_of or each.all_of]
        implications.append(Implication(frozenset({*present, marker}), proof, any_of=mine | {marker}))
        return (
            replace(
                self,
                identity=self.identity or frozenset({marker}),
                dependencies=dependencies,
                equalities=list(self.equalities),
                implications=implications,
                not_null={},
                domains=dict(self.domains),
                types=dict(self.types),
                not_empty=None,
            ),
            marker,
        )


def common_type(parts: Sequence[tuple[RowFacts, int]]) -> Type:
    """Return the type of what comes from one of several columns; a bare null has any type."""
    kinds = [rows.type_of(part) for rows, part in parts if not rows.is_bare_null(part)]
    return reduce(common, kinds) if kinds else UNKNOWN


def any_domain(parts: Sequence[tuple[RowFacts, int]], rule: str) -> Domain | None:
    """Return the values of what comes from one of several columns; None where they are not known, or may be cast."""
    domains = [rows.domains[part] for rows, part in parts if part in rows.domains]
    cast = not common_type(parts).certain and not all(rows.is_bare_null(part) for rows, part in parts)
    if cast or len(domains) < len(parts):
        return None
    values: frozenset[Value] = frozenset().union(*(domain.values for domain in domains))
    return Domain(values, follow(rule, *(domain.proof for domain in domains)))


def _among_nulls(each: Dependency, present: Found, marker: int) -> Dependency:
    """Return a dependency as it holds when rows of nulls join its rows; `present` was not null before."""
    when = each.when - present.keys()
    reasons = [present[column] for column in each.when & present.keys()]
    proof = follow("determined", each.proof, *reasons) if reasons else each.proof
    if when:
        return replace(each, when=when, proof=proof)
    known = each.determines & present.keys()  # tells a row of nulls from the others
    if known:
        return replace(each, when=when, proof=follow("determined", proof, *(present[column] for column in known)))
    return replace(each, determines=each.determines | {marker}, when=when, proof=proof)


def follow(rule: str, *premises: Proof | None) -> Proof:
    """Return a proof by a rule, without the premises that say nothing."""
    return Proof(rule, tuple(each for each in premises if each is not None and each.rule != GIVEN.rule))
