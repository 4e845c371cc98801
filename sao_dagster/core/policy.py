"""Policies: how often a model may be built, and what counts as a reason to build it.

`POLICY_KEYS` is the one table of what can be said: configuration in YAML, SQL and Python, the policies of a Dagster component,
`describe_policy` and the documentation are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any, TypeAlias

from sao_dagster.errors import ProjectError


class Period(str, Enum):
    """The unit of a `build_after` count."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """Return the unit as a duration.

        >>> Period.HOUR.length
        datetime.timedelta(seconds=3600)
        """
        return timedelta(**{f"{self.value}s": 1})


class UpdatesOn(str, Enum):
    """How many inputs must have news before a model is built: one of them, or each."""

    ANY = "any"
    ALL = "all"


class Volatile(str, Enum):
    """What to do about SQL whose result changes by itself (`current_date`, `now()`, `random()`)."""

    AUTO = "auto"
    IGNORE = "ignore"
    ALWAYS = "always"
    HOURLY = "hourly"
    DAILY = "daily"


class Expiry(str, Enum):
    """When the result of volatile SQL stops being true, ordered from the soonest to the latest."""

    ALWAYS = "always"
    HOUR = "hour"
    UTC_DAY = "utc_day"
    DAY = "day"

    def after(self, built_at: datetime, zone: tzinfo | None = timezone.utc) -> datetime:
        """Return the time (UTC) at which a result that was built at `built_at` expires.

        Hours and days end where the clock turns, so that a job at each full hour always finds the hour over. A day is one of the time
        zone in which SQL knows the date; `UTC_DAY` ends with that of UTC too, which is the date of templates.

        Args:
            built_at: The time of the build (UTC).
            zone: The time zone of the warehouse's session; None where it is not known, and then a day may end with any hour.

        >>> built_at = datetime(2026, 3, 1, 22, 30, tzinfo=timezone.utc)
        >>> Expiry.DAY.after(built_at).isoformat(), Expiry.HOUR.after(built_at).isoformat()
        ('2026-03-02T00:00:00+00:00', '2026-03-01T23:00:00+00:00')
        >>> Expiry.DAY.after(built_at, timezone(timedelta(hours=9))).isoformat()
        '2026-03-02T15:00:00+00:00'
        """
        if self is Expiry.ALWAYS:
            return built_at
        if self is Expiry.HOUR or zone is None:
            return built_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        zones = (zone,) if self is Expiry.DAY else (zone, timezone.utc)
        return min(_end_of_day(built_at, each) for each in zones)

    def expired_at(self, built_at: datetime, now: datetime, zone: tzinfo | None = timezone.utc) -> datetime | None:
        """Return when a result has expired, None where it has not; one from the future has expired whenever it is asked for.

        The arguments are those of `after`, and the time of the decision (UTC).
        """
        if self is Expiry.ALWAYS or age_of(built_at, now) is None:
            return min(built_at, now)
        at = self.after(built_at, zone)
        return at if at <= now else None


def _end_of_day(time: datetime, zone: tzinfo) -> datetime:
    """Return when the day of a time ends in a zone (UTC); the clock may be set forward at midnight, which is then one o'clock."""
    day = time.astimezone(zone).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(timezone.utc)


AHEAD = timedelta(minutes=1)
"""How far the clocks of two machines may differ; what was recorded later than that after now is from the future."""


def age_of(then: datetime, now: datetime) -> timedelta | None:
    """Return how old something is; None where it is from the future, since another clock made it: whatever waits for its age waits no longer.

    >>> from datetime import timezone
    >>> noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    >>> age_of(noon - timedelta(hours=1), noon), age_of(noon + AHEAD, noon), age_of(noon + 2 * AHEAD, noon)
    (datetime.timedelta(seconds=3600), datetime.timedelta(0), None)
    """
    return None if then - now > AHEAD else max(timedelta(0), now - then)


def soonest(*expiries: Expiry | None) -> Expiry | None:
    """Return the expiry that comes first, or None where none is given.

    >>> soonest(Expiry.DAY, None, Expiry.HOUR)
    <Expiry.HOUR: 'hour'>
    """
    known = [expiry for expiry in expiries if expiry is not None]
    if len(known) < 2:
        return known[0] if known else None
    return next(each for each in Expiry if each in known)


class OnTestFailure(str, Enum):
    """Whether a model whose data test failed is built again although nothing else changed."""

    KEEP = "keep"
    REBUILD = "rebuild"


AtTime: TypeAlias = Callable[[datetime], str]
"""A text that depends on the time of the decision (a Jinja expression of the project)."""


@dataclass(frozen=True)
class BuildAfter:
    """The least age of a model's last build before it may be built again.

    Attributes:
        count: How many periods; a whole number of at least 0, or an expression that gives one.
        period: The unit, or an expression that gives `minute`, `hour` or `day`.
        inherited_from: The child whose interval this is, where the model has none of its own.
    """

    count: int | AtTime
    period: Period | AtTime
    inherited_from: str | None = None

    def interval(self, now: datetime) -> timedelta:
        """Return the interval that holds at `now`.

        Raises:
            ProjectError: An expression gave something that is no count or no period.

        >>> from datetime import timezone
        >>> BuildAfter(4, Period.HOUR).interval(datetime.now(timezone.utc))
        datetime.timedelta(seconds=14400)
        """
        count = self.count if isinstance(self.count, int) else _count(self.count(now))
        period = self.period if isinstance(self.period, Period) else _period(self.period(now))
        return count * period.length

    def describe(self, now: datetime) -> str:
        """Return the interval in words, as of `now`."""
        text = describe_duration(self.interval(now))
        return f"{text} (from {self.inherited_from})" if self.inherited_from else text


def _count(text: str) -> int:
    if not re.fullmatch(r"\s*\d+\s*", text):
        raise ProjectError(f"build_after.count must give a whole number of at least 0, got {text.strip()!r}")
    return int(text)


def _period(text: str) -> Period:
    try:
        return Period(text.strip())
    except ValueError:
        raise ProjectError(f"build_after.period must give minute, hour or day, got {text.strip()!r}") from None


@dataclass(frozen=True)
class RefreshPolicy:
    """All that a person can say about when a model is built.

    Attributes:
        build_after: Least time between two builds; None lets every piece of news build.
        updates_on: Whether one input with news is enough.
        lag_tolerance: How long news may wait, counted from when the oldest of it appeared.
        volatile: What to do about volatile SQL.
        inherit_from_children: Take the smallest interval of the children when all of them have one.
        on_test_failure: Whether a failed data test makes the model build again.
        inputs: What the model reads besides refs and sources, in place of what is found in its SQL; None for what is found.
        stable_functions: Functions of the user's own that read nothing and do not change.
        settled: Whether one build of an incremental model takes all that is new, however it reads itself.
        max_age: The age from which the model is shown as not fresh; it makes nothing build.
    """

    build_after: BuildAfter | None = None
    updates_on: UpdatesOn = UpdatesOn.ANY
    lag_tolerance: timedelta | None = None
    volatile: Volatile = Volatile.AUTO
    inherit_from_children: bool = False
    on_test_failure: OnTestFailure = OnTestFailure.KEEP
    inputs: tuple[str, ...] | None = None
    stable_functions: tuple[str, ...] = ()
    settled: bool = False
    max_age: timedelta | None = None

    def expiry(self, detected: Expiry | None) -> Expiry | None:
        """Return when a result expires, given what was detected in the SQL.

        >>> RefreshPolicy(volatile=Volatile.IGNORE).expiry(Expiry.DAY) is None
        True
        >>> RefreshPolicy().expiry(Expiry.DAY)
        <Expiry.DAY: 'day'>
        """
        settled = {
            Volatile.AUTO: detected,
            Volatile.IGNORE: None,
            Volatile.ALWAYS: Expiry.ALWAYS,
            Volatile.HOURLY: Expiry.HOUR,
            Volatile.DAILY: Expiry.DAY,
        }
        return settled[self.volatile]


NO_POLICY = RefreshPolicy()
"""That of a node of which nothing is said."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> timedelta:
    """Return a duration written as dbt writes `lag_tolerance`: a whole number and one of `s m h d w`.

    Raises:
        ValueError: The text is not of that form.

    >>> parse_duration("4h"), parse_duration("45m")
    (datetime.timedelta(seconds=14400), datetime.timedelta(seconds=2700))
    """
    match = re.fullmatch(r"\s*(\d+)\s*([smhdw])\s*", text)
    if match is None:
        raise ValueError(f"a duration is a whole number and one of s, m, h, d, w (for example 4h), got {text!r}")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def describe_duration(duration: timedelta) -> str:
    """Return a duration in at most two units, as people say it.

    >>> describe_duration(timedelta(hours=26, minutes=3)), describe_duration(timedelta(seconds=2.4))
    ('1 d 2 h', '2 s')
    """
    seconds = int(duration.total_seconds())
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, seconds = divmod(seconds, length)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2]) or "0 s"


class Place(str, Enum):
    """Where a policy may be written."""

    FOLDER = "dbt_project.yml"
    PROPERTIES = "properties YAML"
    CONFIG = "config() in the SQL"
    PYTHON = "SqlProject.model"
    COMPONENT = "policies of a component"


Words: TypeAlias = Callable[[RefreshPolicy, datetime], str | None]


@dataclass(frozen=True)
class PolicyKey:
    """One thing that a person can say about when a model is built.

    Attributes:
        name: The field of `RefreshPolicy`.
        path: Where it stands in the configuration of a model.
        kind: The type of its value.
        meaning: What it does: one sentence without a full stop.
        words: What a policy says by it at a time (UTC), None for nothing; None for a key that says nothing of builds.
        example: A value other than the default, as it is written.
        within: The key that it is a part of, if it is.
        from_dbt: Whether it is a key of dbt's.
        places: Where it may be written.
    """

    name: str
    path: str
    kind: type
    meaning: str
    words: Words | None
    example: Any
    within: str | None = None
    from_dbt: bool = False
    places: frozenset[Place] = frozenset(Place)

    @property
    def config_key(self) -> str:
        """The key of a model's configuration that it stands in, or is."""
        return self.path.partition(".")[0]

    @property
    def argument(self) -> str:
        """Where it stands in Python and in the policies of a component, which know no blocks.

        >>> [key.argument for key in POLICY_KEYS[:3]]
        ['build_after', 'build_after.updates_on', 'lag_tolerance']
        """
        return f"{self.within}.{self.name}" if self.within else self.name


def _lag(policy: RefreshPolicy, now: datetime) -> str | None:
    return f"news may wait {describe_duration(policy.lag_tolerance)}" if policy.lag_tolerance is not None else None


POLICY_KEYS = (
    PolicyKey(
        "build_after",
        "freshness.build_after",
        BuildAfter,
        "at most one build in this time, by any job; a change of code does not wait, nor does the first build",
        lambda policy, now: f"at most every {policy.build_after.describe(now)}" if policy.build_after else None,
        {"count": 4, "period": "hour"},
        from_dbt=True,
    ),
    PolicyKey(
        "updates_on",
        "freshness.build_after.updates_on",
        UpdatesOn,
        "whether one input with news is enough, or each must have some; news adds up over runs",
        lambda policy, now: "on any news" if policy.updates_on is UpdatesOn.ANY else "when all inputs have news",
        "all",
        within="build_after",
        from_dbt=True,
    ),
    PolicyKey(
        "lag_tolerance",
        "state.lag_tolerance",
        timedelta,
        "how old the oldest news may become before the model is built",
        _lag,
        "45m",
        from_dbt=True,
    ),
    PolicyKey(
        "volatile",
        "volatile",
        Volatile,
        "what to do about SQL that depends on the time or on chance",
        lambda policy, now: f"volatile: {policy.volatile.value}" if policy.volatile is not Volatile.AUTO else None,
        "hourly",
    ),
    PolicyKey(
        "inherit_from_children",
        "inherit_from_children",
        bool,
        "without an interval of its own, take the smallest of the children's if all have one",
        lambda policy, now: "interval inherited from children" if policy.inherit_from_children else None,
        True,
    ),
    PolicyKey(
        "on_test_failure",
        "on_test_failure",
        OnTestFailure,
        "whether a failed `error` test builds the model again although nothing changed",
        lambda policy, now: "again after a failed test" if policy.on_test_failure is OnTestFailure.REBUILD else None,
        "rebuild",
    ),
    PolicyKey(
        "inputs",
        "inputs",
        tuple,
        "what is read besides refs and sources (nodes, sources, tables, files), in place of what is found in the SQL",
        lambda policy, now: None if policy.inputs is None else f"also reads {', '.join(policy.inputs) or 'nothing'}",
        ["raw.rates"],
        places=frozenset(Place) - {Place.COMPONENT},
    ),
    PolicyKey(
        "stable_functions",
        "stable_functions",
        tuple,
        "functions of your own that read nothing and stay as they are",
        lambda policy, now: f"stable: {', '.join(policy.stable_functions)}" if policy.stable_functions else None,
        ["to_euro"],
        places=frozenset(Place) - {Place.COMPONENT},
    ),
    PolicyKey(
        "settled",
        "settled",
        bool,
        "whether one build of an incremental model that reads itself takes all that is new; else it is built until nothing comes any more",
        lambda policy, now: "one build takes all that is new" if policy.settled else None,
        True,
    ),
    PolicyKey(
        "max_age",
        "max_age",
        timedelta,
        "from which age Dagster shows the model as not fresh (a native freshness policy); makes nothing build",
        None,
        "24h",
    ),
)
"""All that can be said; each is a field of `RefreshPolicy`, and none is a part of a model's code version."""
