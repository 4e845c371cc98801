"""Types as far as proofs need them: which values are compared how, and what a cast keeps apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sao_dagster.sql.dialects import Operation, dialect_named


class Kind(Enum):
    """A family of types whose values are compared in one way."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    INSTANT = "timestamp with time zone"
    UUID = "uuid"
    NUMBER = "a number of some type"
    PLAIN = "a number, time or text of some type"
    NESTED = "array, record or map"
    OTHER = "other"


@dataclass(frozen=True)
class Type:
    """A type.

    Attributes:
        kind: Its family.
        bits: Width of an integer or float, one more for an integer without a sign; None where that is not known.
        digits: Digits of a decimal, all and those after the point; None where there is no limit.
        sized: Whether a text has a greatest length.
        whole_days: Whether each value is the beginning of a day, so that its date tells it.
    """

    kind: Kind
    bits: int | None = None
    digits: tuple[int, int] | None = None
    sized: bool = False
    whole_days: bool = False

    @property
    def exact(self) -> bool:
        """Whether values that are equal are the same value, so that functions of them are equal too.

        Not so for floats (`0.0 = -0.0`) and for decimals of PostgreSQL (`1.0 = 1.00`, written differently).
        """
        return self.kind in _EXACT

    @property
    def certain(self) -> bool:
        """Whether it is known how its values are compared."""
        return self.kind not in (Kind.NUMBER, Kind.PLAIN, Kind.NESTED, Kind.OTHER)


_EXACT = {Kind.INTEGER, Kind.TEXT, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT, Kind.UUID}
UNKNOWN = Type(Kind.OTHER)
NUMBER = Type(Kind.NUMBER)
PLAIN = Type(Kind.PLAIN)
WHOLE_DAYS = Type(Kind.PLAIN, whole_days=True)
INTEGER = Type(Kind.INTEGER)
NESTED = Type(Kind.NESTED)
TEXT = Type(Kind.TEXT)
BOOLEAN = Type(Kind.BOOLEAN)

NUMBER_KINDS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.NUMBER})


def can_be_compared(one: Type, other: Type) -> bool:
    """Return whether `=` between the two types is one equivalence over both, so that equal values stand for each other.

    `1 = '01'` and `9007199254740993 = 9007199254740992.0` hold in many engines; such comparisons are none. Nor are those of
    unsigned integers of 128 bits, which DuckDB compares with others as floats.
    """
    numbers = {Kind.INTEGER, Kind.DECIMAL}
    if one.kind in numbers and other.kind in numbers:
        return True
    if one.kind is Kind.FLOAT:
        return one == other and one.bits is not None
    return one.kind is other.kind and one.certain


def is_kept(one: Type, other: Type) -> bool:
    """Return whether values of a type are the same in the type that it has in common with another one.

    Not so for decimals of different sizes, which may be rounded.

    >>> [is_kept(Type(Kind.DECIMAL, digits=(38, 38)), Type(Kind.DECIMAL, digits=each)) for each in ((38, 38), (38, 0))]
    [True, False]
    """
    return one.kind is other.kind and one.certain and (one.kind is not Kind.DECIMAL or one == other)


def common(one: Type, other: Type) -> Type:
    """Return the type of what may have either type, as in `case` and `union`."""
    if one == other:
        return one
    if one.kind is other.kind and one.kind is Kind.INTEGER:
        bits = (one.bits or 128, other.bits or 128)
        return Type(Kind.INTEGER, max(bits) if bits[0] % 2 == bits[1] % 2 else 128)  # with a sign, and wider than both
    if one.kind is other.kind and one.kind is Kind.TEXT:
        return Type(Kind.TEXT, sized=one.sized or other.sized)
    if {one.kind, other.kind} <= NUMBER_KINDS:
        return NUMBER
    return PLAIN if {one.kind, other.kind} <= {*NUMBER_KINDS, Kind.PLAIN} else UNKNOWN


def holds_all(target: Type, source: Type) -> bool:
    """Return whether each value of one type is a value of another one.

    >>> small, big, unsigned = (Type(Kind.INTEGER, bits) for bits in (32, 64, 65))
    >>> holds_all(big, small), holds_all(small, big), holds_all(unsigned, small)
    (True, False, False)
    """
    if source.kind is Kind.INTEGER and target.kind is Kind.INTEGER:
        if source.bits is None or target.bits is None or source.bits > target.bits:
            return False
        return target.bits % 2 == 0 or source.bits % 2 == 1  # no negative number is unsigned
    return source == target and source.kind in (Kind.TEXT, Kind.BOOLEAN, Kind.DATE, Kind.UUID)


def keeps_apart(source: Type, target: Type, dialect: str) -> bool:
    """Return whether a cast gives different values for different values (or fails).

    >>> keeps_apart(INTEGER, TEXT, "duckdb"), keeps_apart(TEXT, INTEGER, "duckdb")
    (True, False)
    """
    if source.whole_days and target.kind is Kind.DATE:
        return True
    if not source.certain or not target.certain:
        return False
    if target.kind is Kind.TEXT:
        return not target.sized and source.kind in {
            Kind.INTEGER, Kind.TEXT, Kind.DATE, Kind.BOOLEAN, Kind.UUID,
        }  # fmt: skip
    if source.kind is Kind.INTEGER and target.kind is Kind.INTEGER:
        fails = Operation.CONVERSION in dialect_named(dialect).errs  # others wrap, or cut off
        return fails or holds_all(target, source)
    if source.kind is Kind.INTEGER and target.kind is Kind.FLOAT:
        return source.bits is not None and source.bits <= 32 and target.bits == 64
    if source.kind is Kind.TIMESTAMP and target.kind is Kind.TIMESTAMP:
        return False  # precisions differ
    return (source.kind, target.kind) in {
        (Kind.DATE, Kind.DATE),
        (Kind.DATE, Kind.TIMESTAMP),
        (Kind.UUID, Kind.UUID),
        (Kind.BOOLEAN, Kind.BOOLEAN),
    }
