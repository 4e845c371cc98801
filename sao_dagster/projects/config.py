"""Configuration as people write it, checked: one set of models for YAML, `config()` in SQL, and Python."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo

from sao_dagster.core.attached import Attached, Index
from sao_dagster.core.nodes import NATIVE, Column, IncrementalStrategy, Materialized, OnSchemaChange, Severity
from sao_dagster.core.policy import POLICY_KEYS, AtTime, Period, RefreshPolicy
from sao_dagster.errors import Location, NeedsDbtError, ProjectError
from sao_dagster.projects.policies import StateBlock, Strict, config_fields, policy_of


def listed(value: Any) -> list[Any]:
    """Accept one thing where a list is meant, as dbt does."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


Strings = Annotated[list[str], BeforeValidator(listed)]


class Threshold(Strict):
    """An age: `{count: 12, period: hour}`."""

    count: int = Field(ge=0)
    period: Period

    @property
    def age(self) -> timedelta:
        """The age as a duration."""
        return self.count * self.period.length


class SourceFreshness(Strict):
    """`freshness` of a source."""

    warn_after: Threshold | None = None
    error_after: Threshold | None = None
    filter: str | None = None

    @field_validator("warn_after", "error_after", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        nothing = isinstance(value, Mapping) and all(each is None for each in value.values())
        return None if nothing else value


_MERGE_KEYS = (  # of dbt-duckdb, which change what a merge does
    "merge_clauses", "merge_insert_condition", "merge_on_using_columns", "merge_update_condition", "merge_update_set_expressions",
)  # fmt: skip


_MATERIALIZATIONS_OF_DBT = ("seed", "snapshot", "materialized_view", "external", "table_function")
"""Those of dbt and of its adapters for DuckDB and PostgreSQL that are none here; a project's own ones are found in its macros."""


class IndexConfig(Strict):
    """One of `indexes`."""

    columns: Strings
    unique: bool = False
    type: str | None = None


class NodeConfig(BaseModel):
    """Configuration of a model or a seed; dbt's keys, and this package's own.

    What is read is `NODE_CONFIG`: this, and the policy keys. Unknown keys are kept: they may be meant for people or for other
    tools. Those that look like a slip of the pen are named (`unknown_keys`).
    """

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)

    enabled: bool = True
    materialized: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    database: str | None = None
    alias: str | None = None
    tags: Strings = Field(default_factory=list)
    meta: dict[str, Any] = Field(default_factory=dict)
    group: str | None = None
    access: str | None = None
    pre_hook: list[Any] = Field(default_factory=list)
    post_hook: list[Any] = Field(default_factory=list)
    unique_key: Strings = Field(default_factory=list)
    incremental_strategy: str | None = None
    incremental_predicates: Strings = Field(default_factory=list)
    predicates: Strings = Field(default_factory=list)
    merge_update_columns: Strings = Field(default_factory=list)
    merge_exclude_columns: Strings = Field(default_factory=list)
    on_schema_change: OnSchemaChange = OnSchemaChange.IGNORE
    full_refresh: bool | None = None
    column_types: dict[str, str] = Field(default_factory=dict)
    delimiter: str = ","
    quote_columns: bool | None = None
    contract: dict[str, Any] = Field(default_factory=dict)
    persist_docs: dict[str, bool] = Field(default_factory=dict)
    grants: dict[str, Strings] = Field(default_factory=dict)
    indexes: list[IndexConfig] = Field(default_factory=list)
    sql_header: str | None = None

    @field_validator("pre_hook", "post_hook", mode="before")
    @classmethod
    def _hooks(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("meta", "contract", "column_types", "persist_docs", "grants", mode="before")
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
            ProjectError: It is built here, and the materialization looks like a slip of the pen.
            NeedsDbtError: It is built here, and the materialization may be known to dbt.
        """
        if resource_type == "seed":
            return Materialized.SEED
        found = Materialized(self.materialized or ("view" if resource_type == "model" else resource_type))
        if native and not found.is_native:
            known = ", ".join(NATIVE)
            close = [] if found in _MATERIALIZATIONS_OF_DBT else get_close_matches(found, NATIVE, n=1, cutoff=0.7)
            if close:
                raise ProjectError(
                    f"materialized: {found.value!r} is not known; did you mean {close[0]!r}? There are {known}"
                )
            raise NeedsDbtError(f"materialized: {found.value!r}, where here there are {known}")
        return found

    def strategy(self) -> IncrementalStrategy:
        """Return how new rows enter an incremental model: as told, or by its key; without a key they are added, as in dbt.

        Raises:
            NeedsDbtError: A strategy that is not known here.
        """
        if self.incremental_strategy is None:
            return IncrementalStrategy.DELETE_INSERT if self.unique_key else IncrementalStrategy.APPEND
        try:
            strategy = IncrementalStrategy(self.incremental_strategy)
        except ValueError:
            known = ", ".join(each.value for each in IncrementalStrategy)
            raise NeedsDbtError(
                f"incremental_strategy: {self.incremental_strategy!r}, where here there are {known}"
            ) from None
        return strategy if self.unique_key else IncrementalStrategy.APPEND

    def policy(self, timed: Callable[[str], AtTime]) -> RefreshPolicy:
        """Return the refresh policy.

        Args:
            timed: Makes an expression of a Jinja text, for counts and periods that depend on the time.
        """
        return policy_of(self, timed)

    def refuse_unsupported(self) -> None:
        """Refuse what would change the result and is not done here.

        Raises:
            NeedsDbtError: Names the key.
        """
        if self.contract.get("enforced"):
            raise NeedsDbtError("contract: {enforced: true}")
        for key in _MERGE_KEYS:
            if (self.model_extra or {}).get(key):
                raise NeedsDbtError(f"{key}, where here there are merge_update_columns and merge_exclude_columns")
        if self.merge_update_columns and self.merge_exclude_columns:
            raise ProjectError("there are merge_update_columns and merge_exclude_columns; keep one of them")
        if self.sql_header:
            raise NeedsDbtError("sql_header, where here there are pre_hooks")

    def attached(self, description: str, columns: Iterable[Column]) -> Attached:
        """Return what is to hang on the relation.

        Args:
            description: The description of the node.
            columns: Its columns, as far as they are described.
        """
        keeps = self.persist_docs.get
        return Attached(
            comment=description if keeps("relation") else None,
            column_comments=tuple((each.name, each.description) for each in columns) if keeps("columns") else (),
            grants=tuple((right, tuple(who)) for right, who in sorted(self.grants.items())) if self.grants else None,
            indexes=tuple(Index(tuple(each.columns), each.unique, each.type) for each in self.indexes),
        )

    def without_effect(self, attaches: Collection[str], *, native: bool = True) -> list[str]:
        """Return what to say of the keys that are set and have no effect here.

        Args:
            attaches: The keys of what hangs on a relation that have one.
            native: Whether this package builds; where dbt does, its keys have their effect.
        """
        noticed = {key for key in self.model_extra or {} if key in CONFIG_KEYS and CONFIG_KEYS[key].is_noticed}
        noticed |= {key for key in ("grants", "persist_docs", "indexes") if getattr(self, key) and key not in attaches}
        keys = sorted(noticed) if native else []
        state: StateBlock | None = getattr(self, "state", None)
        return [f"the config {key!r} has no effect here" for key in keys] + (state.notices() if state else [])


NODE_CONFIG: type[NodeConfig] = create_model("NodeConfig", __base__=NodeConfig, **config_fields())
"""`NodeConfig` with the policy keys."""


@cache
def no_config() -> NodeConfig:
    """Return the configuration of what has none yet."""
    return NODE_CONFIG()


class ConfigUse(Enum):
    """What a key of a node's configuration is for, and so whether it is a part of the node's code version."""

    CODE = "it can change the stored result"
    CODE_ELSEWHERE = "it could change the stored result in another warehouse; it counts, and has no effect here"
    NAMING = "it says where the node is, which is a part of the code version by itself"
    POLICY = "it says when the node is built"
    RUN = "it says whether the node is there, or how a run goes about it"
    ACCESS = "it says whose the node is, and who may read it"
    PEOPLE = "it is for people, or for selections"
    NO_EFFECT = "it has no effect here, which one should know"
    ATTACHED = "it says what hangs on the relation, which is a part of the code version by itself"
    HARMLESS = "it has no effect here, and none is missed"

    @property
    def is_code(self) -> bool:
        """Whether another value is another code version."""
        return self in (ConfigUse.CODE, ConfigUse.CODE_ELSEWHERE)

    @property
    def is_noticed(self) -> bool:
        """Whether a notice says that it has no effect."""
        return self in (ConfigUse.CODE_ELSEWHERE, ConfigUse.NO_EFFECT)


KEYS_BY_USE: tuple[tuple[ConfigUse, tuple[str, ...]], ...] = (
    (
        ConfigUse.CODE,
        (
            "materialized", "pre_hook", "post_hook", "unique_key", "incremental_strategy", "incremental_predicates", "predicates",
            "merge_update_columns", "merge_exclude_columns", "on_schema_change", "column_types", "delimiter", "quote_columns",
            "contract", "sql_header", "indexes",
        ),
    ),
    (
        ConfigUse.CODE_ELSEWHERE,
        (
            "auto_begin", "batch_size", "begin", "concurrent_batches", "lookback", "snowflake_warehouse", "sync", "copy_grants",
            "full_access", "unlogged", "partition_by", "cluster_by", "clustered_by", "dist", "sort", "sort_type",
            "transient", "file_format", "location_root", "buckets", "tblproperties", "format", "options", "partitions",
            "require_partition_filter", "location", "glue_register",
        ),
    ),
    (ConfigUse.NAMING, ("schema", "database", "alias")),
    (ConfigUse.POLICY, tuple(dict.fromkeys(key.config_key for key in POLICY_KEYS))),
    (ConfigUse.RUN, ("enabled", "full_refresh")),
    (ConfigUse.ACCESS, ("access", "group")),
    (ConfigUse.PEOPLE, ("tags", "meta", "description")),
    (ConfigUse.NO_EFFECT, ("event_time",)),
    (ConfigUse.ATTACHED, ("grants", "persist_docs")),
    (
        ConfigUse.HARMLESS,
        (
            "docs", "labels", "on_configuration_change", "query_tag", "severity", "static_analysis", "store_failures",
        ),
    ),
)  # fmt: skip
CONFIG_KEYS: Mapping[str, ConfigUse] = {key: use for use, keys in KEYS_BY_USE for key in keys}
"""What is known of a node's configuration, each key once. Another key counts as code: what it means is not known."""


_WITHIN: Mapping[str, tuple[str, ...]] = {
    key.name: tuple(key.path.split(".")) for key in POLICY_KEYS if "." in key.path and key.name not in CONFIG_KEYS
}
"""Where those policy keys stand that are a part of another key."""


def is_code(key: str) -> bool:
    """Return whether a key of a node's configuration is a part of its code version.

    >>> is_code("unique_key"), is_code("lag_tolerance"), is_code("state")
    (True, True, False)
    """
    return CONFIG_KEYS.get(key, ConfigUse.CODE).is_code


def _hook(value: Any) -> str:
    if isinstance(value, Mapping):
        if value.get("transaction") is False:
            raise NeedsDbtError("a hook outside of the transaction (transaction: false)")
        return str(value["sql"])
    return str(value)


class TestConfig(Strict):
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
    tags: Strings = Field(default_factory=list)
    meta: dict[str, Any] = Field(default_factory=dict)
    group: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    database: str | None = None
    alias: str | None = None

    @field_validator("severity", mode="before")
    @classmethod
    def _case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

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


def parse_config(values: Mapping[str, Any], name: str) -> NodeConfig:
    """Return checked configuration of a model or seed, with the keys of `merge_layers`.

    Raises:
        ProjectError: A value is wrong.
    """
    config: NodeConfig = checked(NODE_CONFIG, values, name, None)
    return config


def valid_config(values: Mapping[str, Any]) -> NodeConfig:
    """Return configuration of which some is wrong as far as it is right: with those keys alone whose values are possible.

    >>> config = valid_config({"materialized": 1, "tags": ["daily"]})
    >>> config.tags, config.materialized
    (['daily'], None)
    """
    kept = {key: value for key, value in values.items() if _is_valid({key: value})}
    return NODE_CONFIG.model_validate(kept) if _is_valid(kept) else NODE_CONFIG()


def _is_valid(values: Mapping[str, Any]) -> bool:
    try:
        NODE_CONFIG.model_validate(values)
    except ValidationError:
        return False
    return True


def unknown_keys(values: Mapping[str, Any], model: type[BaseModel] = NODE_CONFIG) -> Iterator[str]:
    """Yield what to say of keys that have no effect and look like a slip of the pen; others may be meant for somebody else, as in dbt.

    Args:
        values: Configuration.
        model: Whose it is.

    >>> list(unknown_keys({"materialised": "table", "owner_of_it": "me"}))
    ["unknown config 'materialised' has no effect; did you mean 'materialized'?"]
    >>> list(unknown_keys({"build_after": {"count": 1, "period": "day"}}))
    ["unknown config 'build_after' has no effect; it belongs under 'freshness': freshness: {build_after: ...}"]
    """
    known = _names(model)
    for key in values:
        if key in _WITHIN and model is NODE_CONFIG:
            *above, last = _WITHIN[key]
            written = f"{': {'.join(above)}: {{{last}: ...{'}' * len(above)}"
            yield f"unknown config {key!r} has no effect; it belongs under {'.'.join(above)!r}: {written}"
        elif key not in (*CONFIG_KEYS, *known) and (close := get_close_matches(str(key), known, n=1, cutoff=0.8)):
            yield f"unknown config {key!r} has no effect; did you mean {close[0]!r}?"


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


@cache
def _names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(_written(name, field) for name, field in model.model_fields.items())


def _written(name: str, field: FieldInfo) -> str:
    """Return what a field is called where people write it; the first of several names."""
    choices = field.validation_alias
    return str(choices.choices[0]) if isinstance(choices, AliasChoices) else field.alias or name
