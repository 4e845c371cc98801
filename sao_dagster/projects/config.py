"""Configuration as people write it, checked: one set of models for YAML, `config()` in SQL, and Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sao_dagster.core.decide_test import parse_condition
from sao_dagster.core.nodes import NATIVE, IncrementalStrategy, Materialized, OnSchemaChange, Severity
from sao_dagster.core.policy import (
    AtTime,
    BuildAfter,
    OnTestFailure,
    Period,
    RefreshPolicy,
    UpdatesOn,
    Volatile,
    parse_duration,
)
from sao_dagster.errors import Location, ProjectError, UnsupportedError

# Accepted, and without effect on what is built here; each is named in a notice where it is used.
_NO_EFFECT = frozenset(
    {
        "access", "auto_begin", "batch_size", "begin", "concurrent_batches", "docs", "event_time", "grants", "lookback",
        "on_configuration_change", "persist_docs", "query_tag", "snowflake_warehouse", "static_analysis", "sync",
        "copy_grants", "full_access", "labels", "indexes", "unlogged", "partition_by", "cluster_by", "clustered_by",
        "dist", "sort", "sort_type", "transient", "file_format", "location_root", "buckets", "tblproperties", "format",
        "options", "partitions", "require_partition_filter", "location", "glue_register",
    }
)  # fmt: skip
_HARMLESS = frozenset({"access", "docs", "on_configuration_change", "query_tag", "static_analysis", "labels"})


def listed(value: Any) -> list[Any]:
    """Accept one thing where a list is meant, as dbt does."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


Strings = Annotated[list[str], BeforeValidator(listed)]
Duration = Annotated[
    timedelta, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)
]
"""A duration, written as dbt writes `lag_tolerance`: `4h`."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildAfterConfig(_Strict):
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


class ModelFreshness(_Strict):
    """`freshness` of a model."""

    build_after: BuildAfterConfig | None = None


class Threshold(_Strict):
    """An age: `{count: 12, period: hour}`."""

    count: int = Field(ge=0)
    period: Period

    @property
    def age(self) -> timedelta:
        """The age as a duration."""
        return self.count * self.period.length


class SourceFreshness(_Strict):
    """`freshness` of a source."""

    warn_after: Threshold | None = None
    error_after: Threshold | None = None
    filter: str | None = None

    @field_validator("warn_after", "error_after", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return None if value == {} else value


class StateConfig(_Strict):
    """`state`: dbt State's block, as far as it has a meaning here."""

    lag_tolerance: Duration | None = None


class PolicyRule(_Strict):
    """A policy for a selection of models, on top of what the models say themselves; what is not set stays.

    Attributes:
        select: In dbt's syntax.
        build_after: `{count, period, updates_on}`.
        lag_tolerance: Such as `30m`.
    """

    select: str
    build_after: BuildAfterConfig | None = None
    lag_tolerance: Duration | None = None
    volatile: Volatile | None = None
    on_test_failure: OnTestFailure | None = None
    max_age: Duration | None = None

    def over(self, policy: RefreshPolicy) -> RefreshPolicy:
        """Return a policy with what this one sets in place of its own."""
        found: dict[str, Any] = {
            name: value
            for name in ("lag_tolerance", "volatile", "on_test_failure", "max_age")
            if (value := getattr(self, name)) is not None
        }
        rule = self.build_after
        if rule is not None and rule.count is not None and rule.period is not None:
            if not isinstance(rule.count, int) or "{" in rule.period:
                raise ProjectError("templates in build_after belong into the project, not into a policy of a component")
            found["build_after"] = BuildAfter(rule.count, Period(rule.period)) if rule.count else None
        if rule is not None and rule.updates_on is not None:
            found["updates_on"] = rule.updates_on
        return replace(policy, **found)


class NodeConfig(BaseModel):
    """Configuration of a model or a seed; dbt's keys, and this package's own.

    Unknown keys are kept: they may be meant for people or for other tools. Keys that look like a slip of the pen
    are refused by `parse_config`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    enabled: bool = True
    materialized: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    database: str | None = None
    alias: str | None = None
    tags: Strings = []
    meta: dict[str, Any] = {}
    group: str | None = None
    pre_hook: list[Any] = []
    post_hook: list[Any] = []
    unique_key: Strings = []
    incremental_strategy: str | None = None
    incremental_predicates: Strings = []
    predicates: Strings = []
    merge_update_columns: Strings = []
    merge_exclude_columns: Strings = []
    on_schema_change: OnSchemaChange = OnSchemaChange.IGNORE
    full_refresh: bool | None = None
    freshness: ModelFreshness | None = None
    state: StateConfig | None = None
    volatile: Volatile = Volatile.AUTO
    inherit_from_children: bool = False
    on_test_failure: OnTestFailure = OnTestFailure.KEEP
    max_age: Duration | None = None
    column_types: dict[str, str] = {}
    delimiter: str = ","
    quote_columns: bool | None = None
    contract: dict[str, Any] = {}
    sql_header: str | None = None

    @field_validator("pre_hook", "post_hook", mode="before")
    @classmethod
    def _hooks(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("meta", "contract", "column_types", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def hooks(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The statements before and after, as templates."""
        return tuple(map(_hook, self.pre_hook)), tuple(map(_hook, self.post_hook))

    def materialization(self, resource_type: str, *, native: bool) -> Materialized:
        """Return how the node is kept.

        Args:
            resource_type: `model`, `seed` or `snapshot`.
            native: Whether it is built by this package itself.

        Raises:
            UnsupportedError: It is built here, and the materialization is not known here.
        """
        if resource_type == "seed":
            return Materialized.SEED
        found = Materialized(self.materialized or ("view" if resource_type == "model" else resource_type))
        if native and not found.is_native:
            known = ", ".join(NATIVE)
            raise UnsupportedError(f"materialized: {found.value!r} is not supported; there are {known}")
        return found

    def strategy(self) -> IncrementalStrategy:
        """Return how new rows enter an incremental model: as told, or by its key.

        Raises:
            ProjectError: `merge` or `delete+insert` without a `unique_key`.
            UnsupportedError: A strategy that is not known here.
        """
        if self.incremental_strategy is None:
            return IncrementalStrategy.DELETE_INSERT if self.unique_key else IncrementalStrategy.APPEND
        try:
            strategy = IncrementalStrategy(self.incremental_strategy)
        except ValueError:
            known = ", ".join(each.value for each in IncrementalStrategy)
            raise UnsupportedError(
                f"incremental_strategy: {self.incremental_strategy!r} is not supported; there are {known}"
            ) from None
        if strategy is not IncrementalStrategy.APPEND and not self.unique_key:
            raise ProjectError(f"incremental_strategy {strategy.value!r} needs a unique_key")
        return strategy

    def policy(self, timed: Callable[[str], AtTime]) -> RefreshPolicy:
        """Return the refresh policy.

        Args:
            timed: Makes an expression of a Jinja text, for counts and periods that depend on the time.
        """
        rule = self.freshness.build_after if self.freshness else None
        build_after = None
        if rule is not None and rule.count is not None and rule.period is not None:
            build_after = BuildAfter(
                rule.count if isinstance(rule.count, int) else timed(rule.count),
                timed(rule.period) if "{" in rule.period else Period(rule.period),
            )
            if build_after.count == 0:
                build_after = None
        return RefreshPolicy(
            build_after=build_after,
            updates_on=(rule.updates_on if rule else None) or UpdatesOn.ANY,
            lag_tolerance=self.state.lag_tolerance if self.state else None,
            volatile=self.volatile,
            inherit_from_children=self.inherit_from_children,
            on_test_failure=self.on_test_failure,
            max_age=self.max_age,
        )

    def refuse_unsupported(self) -> None:
        """Refuse what would change the result and is not done here.

        Raises:
            UnsupportedError: Names the key.
        """
        if self.contract.get("enforced"):
            raise UnsupportedError("contract: {enforced: true} is not supported; remove it or test the columns")
        if self.sql_header:
            raise UnsupportedError("sql_header is not supported; use a pre_hook")

    def without_effect(self) -> list[str]:
        """Return the keys that are set and have no effect here."""
        return sorted(key for key in self.model_extra or {} if key in _NO_EFFECT - _HARMLESS)


def _hook(value: Any) -> str:
    if isinstance(value, Mapping):
        if value.get("transaction") is False:
            raise UnsupportedError("hooks outside of the transaction (transaction: false) are not supported")
        return str(value["sql"])
    return str(value)


class TestConfig(_Strict):
    """Configuration of a data test; dbt's keys with dbt's meaning."""

    __test__ = False

    enabled: bool = True
    severity: Severity = Severity.ERROR
    warn_if: str = "!= 0"
    error_if: str = "!= 0"
    fail_calc: str = "count(*)"
    where: str | None = None
    limit: int | None = Field(default=None, ge=1)
    store_failures: bool | None = None
    store_failures_as: Literal["table", "view", "ephemeral"] | None = None
    aggregate: Literal["default", "all"] = "default"
    tags: Strings = []
    meta: dict[str, Any] = {}
    group: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    database: str | None = None
    alias: str | None = None

    @field_validator("severity", mode="before")
    @classmethod
    def _case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("warn_if", "error_if")
    @classmethod
    def _condition(cls, value: str) -> str:
        parse_condition(value)
        return value

    @property
    def is_default(self) -> bool:
        """Whether nothing is set that turns rows into another verdict."""
        plain = TestConfig()
        names = ("severity", "warn_if", "error_if", "fail_calc", "where", "limit")
        return all(getattr(self, name) == getattr(plain, name) for name in names) and not self.keeps_failures

    @property
    def shares_statement(self) -> bool:
        """Whether it runs in one statement with the others of its model.

        As in dbt, only with default settings; with `aggregate: all` also where its verdict is a function of how many failures
        it counts: `severity`, `warn_if`, `error_if`, `where`, `limit`.
        """
        counts = self.fail_calc == TestConfig().fail_calc and not self.keeps_failures
        return self.is_default or (self.aggregate == "all" and counts)

    @property
    def keeps_failures(self) -> bool:
        """Whether failing rows are stored."""
        if self.store_failures_as is not None:
            return self.store_failures_as != "ephemeral"
        return bool(self.store_failures)


def parse_config(values: Mapping[str, Any], name: str, location: Location | None) -> NodeConfig:
    """Return checked configuration of a model or seed.

    Raises:
        ProjectError: A value is wrong, or a key looks like a slip of the pen.
    """
    keyed = {key.replace("-", "_") if key in ("pre-hook", "post-hook") else key: value for key, value in values.items()}
    known = _names(NodeConfig)
    for key in keyed:
        if key not in known and key not in _NO_EFFECT and (close := get_close_matches(key, known, n=1, cutoff=0.8)):
            raise ProjectError(f"unknown config {key!r}; did you mean {close[0]!r}?", name=name, location=location)
    config: NodeConfig = checked(NodeConfig, keyed, name, location)
    return config


def checked(model: type[Any], values: Any, name: str | None, location: Location | None) -> Any:
    """Return pydantic's reading of `values`.

    Raises:
        ProjectError: Says which key is wrong and why, and what is known instead.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(describe_error(model, first, values), name=name, location=location) from error


def describe_error(model: type[BaseModel], error: Any, values: Any) -> str:
    """Return one of pydantic's errors in words, with the names that are known where one is unknown."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = _names(_owner(model, error["loc"][:-1]))
        close = get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
        return f"unknown key {where!r}; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _owner(model: type[BaseModel], path: Iterable[Any]) -> type[BaseModel]:
    """Return the model that a path inside another one leads to."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        for candidate in _classes(field.annotation):
            model = candidate
    return model


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _classes(part)]


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
