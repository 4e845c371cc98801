"""What the rows of the truth table ask about one model: each fact is worked out once, when it is first asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from sao_dagster.core.code_version import CodeVersion
from sao_dagster.core.evidence import Evidence, InputNews, InputSchemes
from sao_dagster.core.facts import Observed, Unsettled
from sao_dagster.core.inputs import is_answers, is_made_here
from sao_dagster.core.policy import BuildAfter, Expiry, RefreshPolicy, UpdatesOn, age_of, describe_duration
from sao_dagster.core.reasons import Mode, Reason
from sao_dagster.core.records import BuildRecord


@dataclass(frozen=True, kw_only=True)
class ResolvedPolicy:
    """What holds for one model at the time of the decision: its policy, resolved.

    Attributes:
        configured: The policy as configured.
        build_after: Its interval, own or inherited.
        expiry: When its result stops being true by itself.
        patience: How long it is left alone after a build that changed it, where its use of itself is not understood.
    """

    configured: RefreshPolicy = field(default_factory=RefreshPolicy)
    build_after: BuildAfter | None = None
    expiry: Expiry | None = None
    patience: timedelta = timedelta(0)


@dataclass(frozen=True)
class Situation:
    """One model at the time of a decision.

    Attributes:
        time: The time of the decision (UTC); rows ask for `now`.
        policy: What holds for the model.
        record: Its last successful build in this environment.
        seen: What is there now.
        mode: Whether the run goes by the state at all.
        signs: What may be new, by the reason to build for it; each returns its evidence, or None if there is none.
    """

    time: datetime
    policy: ResolvedPolicy
    record: BuildRecord | None
    seen: Observed
    mode: Mode
    signs: Mapping[Reason, Callable[[Situation], Evidence | None]]

    @property
    def now(self) -> datetime:
        """The time of the decision (UTC); what is decided after it was asked for is decided for that time alone."""
        self.__dict__["_asked_for_time"] = True  # as `cached_property` writes down what it has found
        return self.time

    @property
    def holds_at_any_time(self) -> bool:
        """Whether nothing has asked for the time yet: then it has no part in what was found."""
        return "_asked_for_time" not in self.__dict__

    @property
    def built(self) -> BuildRecord:
        """The last build; asked only below the row for a model that was never built."""
        if self.record is None:
            raise AssertionError("there is no build to compare with")
        return self.record

    @cached_property
    def new(self) -> Mapping[Reason, Evidence]:
        """All that asks for a build as far as nothing holds it back, with its evidence."""
        found = {}
        for reason, sign in self.signs.items():
            evidence = sign(self)
            if evidence is not None:
                found[reason] = evidence
        return found

    @property
    def findings(self) -> Evidence:
        """What was found when the model was compared with its last build: the evidence of all that is new."""
        found: Evidence = {"cosmetic": True} if "sql" in self.seen.harmless else {}
        for evidence in self.new.values():
            found = {**found, **evidence}
        return found

    # ------------------------------------------------------------------ the definition

    @property
    def code(self) -> Evidence:
        """Which parts of the definition changed, empty if none did; `scheme` where it was recorded in a way that cannot be compared.

        The definition of a view that is looked through is part of the query that reads it.
        """
        seen, built = self.seen, self.built
        if seen.code_scheme != built.code_scheme:
            return {"parts": ["scheme"]}
        if seen.code == built.code_parts and not seen.definitions:
            return {}
        parts = set(CodeVersion(seen.code, seen.code_scheme).changed_parts(*built.code))
        parts -= seen.harmless
        views = sorted(
            view
            for view, version in seen.definitions.items()
            if version is not None and version != built.definitions.get(view)
        )
        found: Evidence = {}
        if parts or views:
            found["parts"] = [*sorted(parts), *(["views"] if views else [])]
        if views:
            found["views"] = views
            if altered := seen.altered_inputs.difference(seen.pending).intersection(views):
                found["altered"] = sorted(altered)
            if not parts and seen.pending.issuperset(views):
                found["tentative"] = True
        return found

    # ------------------------------------------------------------------ the inputs, against what the last build saw

    @cached_property
    def inputs_are_as_recorded(self) -> bool:
        """Whether all inputs are known, each is what the last build saw, and none is going to be built first: the common case, told at once."""
        inputs, definitions = self.seen.inputs, self.seen.definitions
        is_known = all(inputs.values()) and None not in definitions.values() and not self.seen.is_unknown
        return is_known and not self.seen.pending and inputs == self.built.inputs

    @cached_property
    def schemes(self) -> list[InputSchemes]:
        """The inputs whose version was recorded in another way than it is read now."""
        known, found = self.built.inputs, list[InputSchemes]()
        for name, version in self.seen.inputs.items():
            recorded = known.get(name)
            if version is not None and recorded is not None and not version.comparable(recorded):
                found.append({"input": name, "old": recorded.scheme, "new": version.scheme})
        return found

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """The inputs whose version cannot be read, was not known to the last build, or cannot be compared with what that saw.

        One that is going to be built first is not among them; the model itself is, where nobody can tell whether it is as it was built.
        """
        known, pending = self.built.inputs, self.seen.pending
        other = {each["input"] for each in self.schemes}
        read = self.seen.inputs.items()
        unknown = [name for name, version in read if version is None or name not in known or name in other]
        unknown += [view for view, definition in self.seen.definitions.items() if definition is None]
        itself = (self.built.model,) if self.seen.is_unknown else ()
        return (*itself, *(name for name in unknown if name not in pending))

    @property
    def not_known(self) -> Evidence | None:
        """The inputs of which nobody knows whether they have news as evidence, or None if there are none."""
        if self.inputs_are_as_recorded or not self.unknown:
            return None
        found: Evidence = {"unknown": list(self.unknown)}
        if self.seen.is_unknown:
            found["itself"] = self.built.model
        if altered := self.seen.altered_inputs.intersection(self.unknown):
            found["altered"] = sorted(altered)
        known, inputs = self.built.inputs, self.seen.inputs
        unread = [name for name in self.unknown if inputs.get(name) is not None and name not in known]
        if unread:
            found["unrecorded"] = unread
        if self.seen.unrendered and any(is_made_here(name) for name in self.unknown):
            found["unrendered"] = self.seen.unrendered
        schemes = [each for each in self.schemes if each["input"] in self.unknown]
        return {**found, "schemes": schemes} if schemes else found

    @cached_property
    def changed(self) -> Mapping[str, str]:
        """The inputs with news, by their version now; `pending` for those that are going to be built first."""
        known, pending = self.built.inputs, self.seen.pending
        found = {}
        for name, version in self.seen.inputs.items():
            if name in pending:
                found[name] = "pending"
            elif version != known.get(name) and name not in self.unknown:
                found[name] = str(version)
        return found

    @property
    def unchanged(self) -> tuple[str, ...]:
        """The inputs without news."""
        inputs = [name for name in self.seen.inputs if not is_answers(name)]
        return tuple([name for name in inputs if name not in self.changed and name not in self.unknown])

    @property
    def news(self) -> Evidence | None:
        """The inputs with news as evidence, or None if there are none."""
        if self.inputs_are_as_recorded or not self.changed:
            return None
        items = []
        for name, new in self.changed.items():
            old = self.built.inputs.get(name)
            item: InputNews = {"input": name, "old": None if old is None else str(old), "new": new}
            if name in self.seen.altered_inputs and name not in self.seen.pending:
                item["altered"] = True
            if name in self.seen.changed_since:
                item["since"] = self.seen.changed_since[name].isoformat()
            items.append(item)
        found: Evidence = {"news": items}
        if self.seen.pending.issuperset(self.changed):
            found["tentative"] = True
        return found

    @property
    def is_incomplete(self) -> bool:
        """Whether all inputs must have news, and some have none."""
        return self.policy.configured.updates_on is UpdatesOn.ALL and bool(self.unchanged)

    @property
    def inputs_suffice(self) -> bool:
        """Whether the news of inputs would build the model for itself."""
        return bool(self.changed) and not self.is_incomplete

    @property
    def only_inputs_are_new(self) -> bool:
        """Whether nothing asks for a build but the news of inputs, which is all that may wait for more of it."""
        return list(self.new) == [Reason.NEW_DATA]

    @cached_property
    def tolerated(self) -> Evidence | None:
        """The evidence that all news is younger than `lag_tolerance`, or None.

        News that is only foreseen counts as appearing now. News of which nobody knows when it appeared is not tolerated.
        """
        seen, tolerance = self.seen, self.policy.configured.lag_tolerance
        appeared = [self.now if name in seen.pending else seen.changed_since.get(name) for name in self.changed]
        known = [when for when in appeared if when is not None]
        if tolerance is None or not known or len(known) < len(appeared):
            return None
        ages = [age for when in known if (age := age_of(when, self.now)) is not None]
        if len(ages) < len(known) or (lag := max(ages)) >= tolerance:
            return None
        return {
            "lag_seconds": lag.total_seconds(),
            "tolerance_seconds": tolerance.total_seconds(),
            "tolerance": describe_duration(tolerance),
            "builds_at": (min(known) + tolerance).isoformat(),
        }

    @property
    def unsettled(self) -> Evidence | None:
        """The evidence that it reads itself and its last build changed it, so that another one may take more; or None."""
        why = self.seen.unsettled
        if why is None or self.policy.configured.settled or self.built.changed is False:
            return None
        if why is Unsettled.NOT_UNDERSTOOD:
            age = age_of(self.built.built_at, self.now)
            if age is not None and age < self.policy.patience:
                return None
        return {"takes": why.value}

    # ------------------------------------------------------------------ the time

    @cached_property
    def held_by_interval(self) -> Evidence | None:
        """The evidence that its last build is younger than its interval, or None."""
        if self.policy.build_after is None:
            return None
        age = age_of(self.built.built_at, self.now)
        window = self.policy.build_after.interval(self.now)
        if age is None or age >= window:
            return None
        return {
            "age_seconds": age.total_seconds(),
            "window_seconds": window.total_seconds(),
            "window": self.policy.build_after.describe(self.now),
            "next_build_at": (self.built.built_at + window).isoformat(),
        }

    @property
    def expired(self) -> Evidence | None:
        """The evidence that its last result is no longer true, since its SQL depends on the time; or None."""
        expiry = self.policy.expiry
        if expiry is None:
            return None
        at = expiry.expired_at(self.built.built_at, self.now, self.seen.zone)
        return None if at is None else {"expiry": expiry.value, "expired_at": at.isoformat()}

    @property
    def interval_elapsed(self) -> Evidence | None:
        """The evidence that its interval has elapsed, if nothing else says when to build it: it reads nothing; or None."""
        build_after = self.policy.build_after
        if build_after is None or self.seen.inputs or self.seen.definitions or self.expired is not None:
            return None
        age = age_of(self.built.built_at, self.now)
        elapsed = age is None or age >= build_after.interval(self.now)
        return {"window": build_after.describe(self.now)} if elapsed else None
