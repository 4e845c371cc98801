"""Policies as people write them: in the configuration of a model, in Python, and for a selection. Made from `POLICY_KEYS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from sao_dagster.core.policy import (
    NO_POLICY,
    POLICY_KEYS,
    AtTime,
    BuildAfter,
    Period,
    Place,
    PolicyKey,
    RefreshPolicy,
    UpdatesOn,
    Volatile,
    parse_duration,
)
from sao_dagster.errors import ProjectError


def _duration(value: Any) -> Any:
    """Return a duration of what is written: a text, a mapping of `count` and `period`, or a number of seconds, which pydantic understands."""
    if isinstance(value, bool):
        raise ValueError(f"a duration is a text such as 4h, or a number of seconds, got {str(value).lower()}")
    if isinstance(value, Mapping):
        if value.keys() != {"count", "period"} or value["period"] not in ("second", "minute", "hour", "day"):
            raise ValueError("a duration has a count and a period: second, minute, hour or day")
        value = f"{value['count']}{value['period'][0]}"
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A duration, written as dbt writes `lag_tolerance`: `4h`, a number of seconds, or `{count: 4, period: hour}`."""


class Strict(BaseModel):
    """Something that a person writes, in which an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class BuildAfterConfig(Strict):
    """`build_after`: the least age of the last build, and how many inputs must have news.

    Attributes:
        count: A whole number, or Jinja that gives one when a decision is taken.
        period: `minute`, `hour`, `day`, or Jinja that gives one of them.
        updates_on: `any` or `all`; may stand alone.
    """

    count: int | str | None = None
    period: str | None = None
    updates_on: UpdatesOn | None = None

    @model_validator(mode="after")
    def _complete(self) -> BuildAfterConfig:
        if (self.count is None) != (self.period is None):
            raise ValueError("count and period come together: set both, or neither")
        if isinstance(self.count, int) and self.count < 0:
            raise ValueError(f"count must be at least 0, got {self.count}")
        if isinstance(self.count, str) and "{" not in self.count:
            raise ValueError(f"count must be a whole number or Jinja, got {self.count!r}")
        if self.period is not None and "{" not in self.period and self.period not in list(Period):
            raise ValueError(f"period must be minute, hour or day, got {self.period!r}")
        return self


Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Names; one may stand without a list."""

_WRITTEN: Mapping[type, Any] = {
    BuildAfter: BuildAfterConfig,
    timedelta: Duration,
    tuple: Names,
}  # others are written as they are


def _field(key: PolicyKey) -> Any:
    """Return pydantic's type and default of a key in the configuration of a model."""
    written, default = _WRITTEN.get(key.kind, key.kind), getattr(RefreshPolicy(), key.name)
    return (written | None, None) if default is None else (written, default)


class StateBlock(Strict):
    """The keys of dbt State's block `state` besides policy keys: what there is here under another name, and what has no meaning here.

    Attributes:
        require_fresh_data_from: `updates_on`.
        evaluate_volatile_sql: `volatile`: `auto` for true, `ignore` for false.
    """

    require_fresh_data_from: UpdatesOn | None = None
    evaluate_volatile_sql: bool | None = None
    compare_unrendered_code: bool | None = None
    pre_clone: Literal["never", "if_missing", "always"] | None = None
    execute_hooks_on_any_reuse: bool | None = Field(
        default=None, validation_alias=AliasChoices("execute_hooks_on_any_reuse", "execute_hooks_on_reuse")
    )
    compare_selected_columns: bool | None = None
    ignore_external_modifications: bool | None = None

    def notices(self) -> list[str]:
        """Return what to say of the keys that ask for something else than is done."""
        said = [f"state.{key} has no effect here: {why}" for key, why in _WITHOUT_MEANING.items() if self._asks(key)]
        if self.evaluate_volatile_sql is False:
            said.append(
                "state.evaluate_volatile_sql: false is `volatile: ignore` here; without it volatile SQL expires"
            )
        return said

    def _asks(self, key: str) -> bool:
        return getattr(self, key) not in (None, False, "never")

    def policy(self) -> dict[str, Any]:
        """Return what is said, by the fields of `RefreshPolicy`."""
        found: dict[str, Any] = {}
        if self.require_fresh_data_from is not None:
            found["updates_on"] = self.require_fresh_data_from
        if self.evaluate_volatile_sql is not None:
            found["volatile"] = Volatile.AUTO if self.evaluate_volatile_sql else Volatile.IGNORE
        return found


_WITHOUT_MEANING = {
    "compare_unrendered_code": "code counts by what its SQL means, and values that differ at each rendering do not count",
    "pre_clone": "no clones are made",
    "execute_hooks_on_any_reuse": "hooks run when their model is built, and not when it is reused",
    "compare_selected_columns": "all columns of what is read count",
    "ignore_external_modifications": "a relation that somebody else has changed is built again",
}


def config_fields() -> dict[str, Any]:
    """Return the fields that the table of policy keys makes in the configuration of a model, as `create_model` takes them.

    Keys that stand in a block (`freshness`, `state`) make one field, a model of its own.
    """
    fields: dict[str, Any] = {}
    blocks: dict[str, dict[str, Any]] = {}
    for key in POLICY_KEYS:
        if key.within is None:
            into = fields if key.path == key.name else blocks.setdefault(key.config_key, {})
            into[key.name] = _field(key)
    for name, inner in blocks.items():
        base = StateBlock if name == "state" else Strict
        fields[name] = (create_model(name, __base__=base, **inner) | None, None)
    return fields


def with_own_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return configuration with the keys of this package that stand in `meta.sao`, where every version of dbt lets them pass; those in `config` itself win.

    Raises:
        ProjectError: Something else stands there.

    >>> with_own_keys({"meta": {"sao": {"volatile": "daily", "inputs": []}}, "inputs": ["raw.rates"]})["inputs"]
    ['raw.rates']
    """
    said = (config.get("meta") or {}).get("sao")
    if said is None:
        return dict(config)
    known = {key.name for key in POLICY_KEYS if not key.from_dbt}
    if not isinstance(said, Mapping) or not known.issuperset(said):
        raise ProjectError(f"meta: `sao` takes a mapping of {', '.join(sorted(known))}, got {said!r}")
    return {**said, **config}


def policy_config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments for policies as the configuration of a model; what is None is left out.

    >>> policy_config({"lag_tolerance": "45m", "volatile": None})
    {'state': {'lag_tolerance': '45m'}}
    """
    config: dict[str, Any] = {}
    for key in POLICY_KEYS:
        value = arguments.get(key.argument)
        if value is not None:
            written = value.model_dump(exclude_none=True, mode="json") if isinstance(value, BaseModel) else value
            if key.path == key.name:
                config[key.name] = written
            else:
                config.setdefault(key.config_key, {})[key.name] = written
    return config


def policy_of(config: BaseModel, timed: Callable[[str], AtTime]) -> RefreshPolicy:
    """Return the policy that the configuration of a model says.

    Args:
        config: A model with the fields of `config_fields`.
        timed: Makes an expression of a Jinja text, for counts and periods that depend on the time.
    """
    state: StateBlock | None = getattr(config, "state", None)
    renamed = {} if state is None else state.policy()
    if "volatile" in config.model_fields_set:  # this package's own key says more
        renamed.pop("volatile", None)
    said = {**_said(config, lambda key: key.path, timed), **renamed}
    return RefreshPolicy(**said) if said else NO_POLICY


def _said(config: BaseModel, place: Callable[[PolicyKey], str], timed: Callable[[str], AtTime]) -> dict[str, Any]:
    """Return what is said, by the fields of `RefreshPolicy`; an interval of 0 is said, and is none."""
    found: dict[str, Any] = {}
    for key in POLICY_KEYS:
        value: Any = config
        for part in place(key).split("."):
            value = getattr(value, part, None)
            if value is None:
                break
        if isinstance(value, BuildAfterConfig):
            if value.count is not None and value.period is not None:
                found[key.name] = _build_after(value.count, value.period, timed)
        elif value is not None:
            found[key.name] = value
    return found


def _build_after(count: int | str, period: str, timed: Callable[[str], AtTime]) -> BuildAfter | None:
    if count == 0:
        return None
    return BuildAfter(
        count if isinstance(count, int) else timed(count), timed(period) if "{" in period else Period(period)
    )


class PolicyRule(Strict):
    """A policy for a selection of models, on top of what the models say themselves; what is not set stays.

    What is read is `POLICY_RULE`: this, and the policy keys.

    Attributes:
        select: In dbt's syntax.
    """

    select: str

    def over(self, policy: RefreshPolicy) -> RefreshPolicy:
        """Return a policy with what this one sets in place of its own."""
        return replace(policy, **_said(self, lambda key: key.argument, _no_templates))


def _no_templates(text: str) -> AtTime:
    raise ProjectError("templates in build_after belong into the project, not into a policy of a component")


def rule_fields(kinds: Mapping[type, Any]) -> dict[str, Any]:
    """Return the fields that the table of policy keys makes in a policy for a selection, as `create_model` takes them.

    Args:
        kinds: What is written for a type; other types are written as they are.
    """
    return {
        key.name: (
            kinds.get(key.kind, key.kind) | None,
            Field(default=None, description=key.meaning, examples=[key.example]),
        )
        for key in POLICY_KEYS
        if key.within is None and Place.COMPONENT in key.places
    }


POLICY_RULE: type[PolicyRule] = create_model("PolicyRule", __base__=PolicyRule, **rule_fields(_WRITTEN))
"""`PolicyRule` with the policy keys."""
