"""The evidence of decisions: each key once, with its type, what it means, and whether its value moves with the clock.

Times are ISO 8601 in UTC, spans are seconds. The keys are stored and shown (`--json`, `sao/evidence`), so they are
not renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict, cast, get_type_hints

from sao_dagster.core.hashing import JSON


@dataclass(frozen=True)
class Key:
    """What is to be known of a key of evidence.

    Attributes:
        meaning: For people; the reference in `docs/reasons.md` is made from it.
        moves_with_the_clock: Whether its value may differ between two looks at the same work, only because time has
            passed or somebody has built the same again. Such values make no plan another one.
    """

    meaning: str
    moves_with_the_clock: bool = False


class InputNews(TypedDict, total=False):
    """An input that differs from what the last build saw."""

    input: Annotated[str, Key("The input that has news.")]
    old: Annotated[str | None, Key("Its version that the last build saw, if that is known.")]
    new: Annotated[str, Key("Its version now; `pending` where it is going to be built first.")]
    altered: Annotated[bool, Key("Someone else changed it since it was built.")]
    since: Annotated[str, Key("When the oldest change that was not consumed appeared.", moves_with_the_clock=True)]


class InputSchemes(TypedDict):
    """An input whose version was made in another way than the one that was recorded, so that the two cannot be compared."""

    input: Annotated[str, Key("The input that cannot be compared.")]
    old: Annotated[str, Key("How the version was made that was recorded.")]
    new: Annotated[str, Key("How its version is made now.")]


class ProvenFact(TypedDict):
    """A fact that a proof rests on."""

    fact: Annotated[str, Key("What holds, such as `unique(customers.id)`.")]
    because: Annotated[str, Key("Why: the data test that passed, or where else it was read.")]
    version: Annotated[str | None, Key("The data version that it was found for.")]


class NotTaken(TypedDict, total=False):
    """Another environment whose build was not taken in place of one here."""

    environment: Annotated[str, Key("The environment that was asked.")]
    difference: Annotated[str, Key("Why: what differs there, or why nothing of this kind is taken.")]
    names: Annotated[Sequence[str], Key("The parts of the definition, inputs, views or columns that are meant.")]


class Evidence(TypedDict, total=False):
    """The facts behind a decision about a model or a data test, as plain data."""

    inputs: Annotated[
        Sequence[str], Key("What failed above it, or failed a test; of a data test, the relations with news.")
    ]
    tests: Annotated[Sequence[str], Key("The data tests above it that failed in this run.")]
    standing: Annotated[
        Sequence[str], Key("Those that failed before, whose verdict stands since nothing they read has changed.")
    ]
    projects: Annotated[Sequence[str], Key("The other projects that some of these are tests of.")]
    relation: Annotated[
        str,
        Key(
            "The relation that is gone, or was changed by someone else; or that of another environment which holds the same."
        ),
    ]
    dropped_with: Annotated[
        str,
        Key(
            "The model with whose table it went when that was built in this run, as dbt drops a table with the views over it."
        ),
    ]
    parts: Annotated[
        Sequence[str],
        Key(
            "The parts of its definition that changed; `scheme` where it was recorded in a way that cannot be compared."
        ),
    ]
    views: Annotated[Sequence[str], Key("The views it reads through whose definition changed.")]
    cosmetic: Annotated[bool, Key("Its SQL was edited in a way that no result can show.")]
    tentative: Annotated[bool, Key("Foreseen: what is above it is going to be built, and may give nothing new.")]
    news: Annotated[Sequence[InputNews], Key("The inputs with news.")]
    unknown: Annotated[
        Sequence[str],
        Key(
            "The inputs whose version cannot be read, or not be compared; itself, where nobody can tell whether it is as it was built."
        ),
    ]
    itself: Annotated[str, Key("The model, where it is among these.")]
    unrendered: Annotated[
        str, Key("Why its template, or that of a hook, cannot be rendered here, so that nobody knows what it is.")
    ]
    altered: Annotated[
        Sequence[str], Key("The inputs that cannot be read, or views, that someone else changed or removed.")
    ]
    unrecorded: Annotated[Sequence[str], Key("Those of them whose version the last build did not know.")]
    schemes: Annotated[Sequence[InputSchemes], Key("Those of them that cannot be compared.")]
    waiting_for: Annotated[Sequence[str], Key("The inputs that have no news yet.")]
    built_at: Annotated[
        str, Key("When it was built last, here or where the same was built.", moves_with_the_clock=True)
    ]
    age_seconds: Annotated[float, Key("The age of its last build, or of a source.", moves_with_the_clock=True)]
    window: Annotated[str, Key("Its interval, in words.")]
    window_seconds: Annotated[float, Key("Its interval.")]
    next_build_at: Annotated[str, Key("When its interval is over.", moves_with_the_clock=True)]
    lag_seconds: Annotated[float, Key("The age of the oldest news.", moves_with_the_clock=True)]
    tolerance: Annotated[str, Key("Its `lag_tolerance`, in words.")]
    tolerance_seconds: Annotated[float, Key("Its `lag_tolerance`.")]
    builds_at: Annotated[str, Key("When the news is no longer tolerated.", moves_with_the_clock=True)]
    expiry: Annotated[
        str, Key("How its result expires: `always`, `hour`, `day`, or `utc_day` for the date of a template.")
    ]
    expired_at: Annotated[str, Key("When its last result, or verdict, expired.", moves_with_the_clock=True)]
    takes: Annotated[
        str,
        Key("How an incremental model reads itself: `part` where its SQL takes a part at a time, or `not_understood`."),
    ]
    error: Annotated[str, Key("What the warehouse or the template said.")]
    file: Annotated[str | None, Key("The file that the error is about.")]
    because: Annotated[str, Key("Why the build that failed was tried.")]
    run_id: Annotated[str, Key("The run that gave the verdict, or has built the same elsewhere.")]
    run_at: Annotated[str, Key("When the verdict was given.", moves_with_the_clock=True)]
    verdict: Annotated[str, Key("The last verdict.")]
    failures: Annotated[int, Key("How many failures the last verdict counted.")]
    loaded_at: Annotated[str, Key("The newest row of a source.", moves_with_the_clock=True)]
    facts: Annotated[Sequence[ProvenFact], Key("What a proof rests on.")]
    through: Annotated[Sequence[str], Key("What was inferred on the way of a proof.")]
    rules: Annotated[Sequence[str], Key("The rules that a proof uses.")]
    instead_of: Annotated[
        str,
        Key(
            "Why the test would be run if it were not proven, or the model be built or the test be run if that were not taken from elsewhere."
        ),
    ]
    environment: Annotated[str, Key("The environment that has built, or tested, the same.")]
    in_place: Annotated[bool, Key("It is read there, and nothing is made of it here.")]
    not_taken: Annotated[
        Sequence[NotTaken],
        Key("Why it was not taken from the environments of `reuse_from`.", moves_with_the_clock=True),
    ]
    refuted: Annotated[bool, Key("The test failed although it was proven to pass.")]


def _keys_of(kind: type, within: str = "") -> dict[str, Key]:
    hints = get_type_hints(kind, include_extras=True)
    return {within + name: key for name, hint in hints.items() for key in hint.__metadata__ if isinstance(key, Key)}


KEYS: Mapping[str, Key] = {
    **_keys_of(Evidence),
    **_keys_of(InputNews, "news."),
    **_keys_of(InputSchemes, "schemes."),
    **_keys_of(ProvenFact, "facts."),
    **_keys_of(NotTaken, "not_taken."),
}
"""All keys, in order; those of what stands in a list are named with the list's key (`news.since`)."""
_MOVING = frozenset(name for name, key in KEYS.items() if key.moves_with_the_clock)


def as_json(evidence: Evidence) -> dict[str, JSON]:
    """Return evidence as plain data, for what stores or prints it."""
    return cast(dict[str, JSON], dict(evidence))


def keys_in(evidence: Evidence) -> Iterator[str]:
    """Yield the keys that are in some evidence, named as in `KEYS`.

    >>> list(keys_in({"news": [{"input": "a"}], "tentative": True}))
    ['news', 'news.input', 'tentative']
    """
    for name, value in evidence.items():
        yield name
        if isinstance(value, list | tuple):
            yield from (f"{name}.{inner}" for each in value if isinstance(each, Mapping) for inner in each)


def timeless(evidence: Evidence) -> dict[str, JSON]:
    """Return evidence without what moves with the clock: equal for as long as there is the same to do, and why.

    >>> timeless({"news": [{"input": "a", "old": "1", "new": "2", "since": "2026-01-01"}], "age_seconds": 60.0})
    {'news': [{'input': 'a', 'old': '1', 'new': '2'}]}
    """
    return _timeless(as_json(evidence), "")


def _timeless(values: Mapping[str, JSON], within: str) -> dict[str, JSON]:
    kept: dict[str, JSON] = {}
    for name, value in values.items():
        if within + name in _MOVING:
            continue
        if isinstance(value, list | tuple):
            kept[name] = [_timeless(each, f"{name}.") if isinstance(each, Mapping) else each for each in value]
        else:
            kept[name] = value
    return kept


_SHOWN = 3  # names in a sentence; the evidence has them all


def describe_names(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are.

    >>> describe_names(["source:raw.a", "b", "c", "d"])
    'raw.a, b, c and 1 more'
    """
    shown = [name.removeprefix("source:") for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


OTHER_SCHEME = "this version of sao_dagster compares definitions in another way than the one that recorded it"
"""What is said where the recorded version of a definition has another scheme, which happens once after an update."""


def describe_unknown(evidence: Evidence) -> str:
    """Return which versions cannot be read, which were not known before, and which cannot be compared because they are made in another way.

    >>> describe_unknown({"unknown": ["a", "b"], "schemes": [{"input": "b", "old": "files/1", "new": "files/2"}]})
    'the version of a cannot be read, that of b cannot be compared (files/1, now files/2)'
    >>> describe_unknown({"unknown": ["a"], "unrecorded": ["a"]})
    'the version of a that the last build read is not known'
    >>> describe_unknown({"unknown": ["m", "a"], "itself": "m"})
    'nobody can tell whether it is as it was built; the version of a cannot be read'
    >>> describe_unknown({"unknown": ["answer:a"], "unrendered": "m.sql:1: it uses graph"})
    'its template cannot be rendered here (m.sql:1: it uses graph), so that nobody knows what it is'
    """
    if "unrendered" in evidence:
        words = " ".join(evidence["unrendered"].split())
        return f"its template cannot be rendered here ({words}), so that nobody knows what it is"
    other = {each["input"]: f"{each['old']}, now {each['new']}" for each in evidence.get("schemes", ())}
    before = evidence.get("unrecorded", ())
    unread = [
        name + " (changed or removed by someone else)" * (name in evidence.get("altered", ()))
        for name in evidence.get("unknown", ())
        if name not in other and name not in before and name != evidence.get("itself")
    ]
    said = []
    if unread or not (other or before or "itself" in evidence):
        said.append(f"{describe_names(unread)} cannot be read")
    if before:
        said.append(f"{describe_names(before)} that the last build read is not known")
    if other:
        said.append(f"{describe_names(list(other))} cannot be compared ({next(iter(other.values()))})")
    itself = "nobody can tell whether it is as it was built" if "itself" in evidence else ""
    versions = f"the version of {', that of '.join(said)}" if said else ""
    return "; ".join(filter(None, (itself, versions)))


_BY_HAND = " (changed by someone else)"


def describe_news(evidence: Evidence) -> str:
    """Return the inputs with news, and those that cannot be read, in words; empty if there are none.

    >>> describe_news({"news": [{"input": "orders", "altered": True}], "unknown": ["source:raw.rates"]})
    'orders (changed by someone else), raw.rates (unknown)'
    """
    names = [each["input"] + _BY_HAND * bool(each.get("altered")) for each in evidence.get("news", ())]
    unknown = [f"{name} (unknown)" for name in evidence.get("unknown", ())]
    return describe_names([*names, *unknown])
