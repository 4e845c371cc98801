"""Data tests as YAML and Python write them: spellings, names, arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sao_dagster.core.nodes import is_source
from sao_dagster.core.records import LONGEST_NAME
from sao_dagster.errors import Location, ProjectError
from sao_dagster.projects.config import TestConfig
from sao_dagster.projects.declarations import TestDeclaration

_CONFIG_KEYS = frozenset(
    {"severity", "warn_if", "error_if", "fail_calc", "where", "limit", "store_failures", "store_failures_as", "aggregate", "tags", "enabled", "meta"}
)  # fmt: skip


@dataclass(frozen=True)
class GenericTest:
    """One entry of a list of data tests.

    Attributes:
        kind: The name of the generic test, with its package where one is given.
        args: Its arguments.
        config: Its configuration.
        name: The name the user gave it.
        description: What it is for.
        column: A column given as an argument, for a test on the model.
    """

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    description: str = ""
    column: str | None = None

    def of(
        self, tested: str, column: str | None, *, location: Location, package: str, fqn: tuple[str, ...]
    ) -> TestDeclaration:
        """Return the test of a node or source, or of a column of it, that the entry declares where it stands."""
        return TestDeclaration(
            kind=self.kind,
            location=location,
            package=package,
            tested=tested,
            column=self.column or column,
            args=self.args,
            config=self.config,
            name=self.name,
            description=self.description,
            fqn=fqn,
        )


def parse_entry(entry: Any, location: Location) -> GenericTest:
    """Return what one entry of `data_tests` (or `tests`) says, in any of dbt's spellings.

    Raises:
        ProjectError: It is not a data test.

    >>> parse_entry({"accepted_values": {"arguments": {"values": ["a"]}, "severity": "warn"}}, Location("x")).args
    {'values': ['a']}
    """
    if isinstance(entry, str):
        return GenericTest(entry)
    if not isinstance(entry, Mapping) or not entry:
        raise ProjectError(f"a data test is a name or a mapping, got {entry!r}", location=location)
    if "test_name" in entry:
        values = dict(entry)
        kind = str(values.pop("test_name"))
    elif len(entry) == 1:
        kind, inner = next(iter(entry.items()))
        values = dict(inner) if isinstance(inner, Mapping) else {}
        if inner is not None and not isinstance(inner, Mapping):
            raise ProjectError(f"the arguments of {kind} are a mapping, got {inner!r}", location=location)
    else:
        kind, inner = next(iter(entry.items()))
        if not isinstance(inner, Mapping):
            raise ProjectError(
                f"a data test is one name with its arguments below it, got the keys {', '.join(map(str, entry))}; "
                f"check the indentation",
                location=location,
            )
        values = {**inner, **{key: value for key, value in entry.items() if key != kind}}
    config = dict(values.pop("config", None) or {})
    for key in [key for key in values if key in _CONFIG_KEYS]:
        config[key] = values.pop(key)
    name = values.pop("name", None)
    description = str(values.pop("description", "") or "")
    args = {**(values.pop("arguments", None) or {}), **values}
    column = args.pop("column_name", None)
    return GenericTest(str(kind), args, config, name, description, None if column is None else str(column))


_LONGEST_ALIAS = 63


def default_names(kind: str, tested: str, column: str | None, args: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name that dbt gives a generic test, and its alias: what a relation with its failures is called.

    Aliases are shortened with a digest where they are long, and so is a name that is too long for the shared state.

    https://docs.getdbt.com/reference/resource-properties/data-tests#alternative-format-for-defining-tests

    >>> default_names("unique", "orders", "order_id", {})
    ('unique_orders_order_id', 'unique_orders_order_id')
    >>> default_names("accepted_values", "orders", "status", {"values": ["placed", "shipped", "completed", "returned"]})[1]
    'accepted_values_orders_8b08a2e3c7880954e0d6e0b54536f6b3'
    """
    package, _, bare = kind.rpartition(".")
    head = f"{package}_{bare}_{tested}" if package else f"{bare}_{tested}"
    flat: list[str] = []
    for key, value in sorted({**args, **({"column_name": column} if column else {})}.items()):
        if key == "model":
            continue
        parts = (
            list(value.values())
            if isinstance(value, Mapping)
            else list(value)
            if isinstance(value, list | tuple)
            else [value]
        )
        flat += [re.sub(r"[^0-9a-zA-Z_]+", "_", str(part)) for part in parts]
    full = f"{head}_{'__'.join(flat)}"
    short = f"{head[:30]}_{hashlib.md5(full.encode(), usedforsecurity=False).hexdigest()}"
    return full if len(full) <= LONGEST_NAME else short, full if len(full) <= _LONGEST_ALIAS else short


def names_of(declared: TestDeclaration) -> tuple[str, str]:
    """Return the name of a test, and what a relation with its failures is called."""
    if declared.name is not None:
        return declared.name, declared.name
    kind, tested = declared.kind, str(declared.tested).removeprefix("source:").replace(".", "_")
    if is_source(str(declared.tested)):
        kind = f"source_{kind}"
    return default_names(kind, tested, declared.column, declared.args)


_BARE_CALL = re.compile(r"^\s*(?:env_var|ref|var|source|doc)\s*\(.+\)\s*$")


def is_expression(value: str) -> bool:
    """Return whether a text among the arguments is code, as in `to: ref('customers')`."""
    return bool(_BARE_CALL.match(value))


def verdict_settings(config: TestConfig) -> list[Any]:
    """Return the settings that turn failing rows into a verdict, for the fingerprint."""
    return [
        config.severity.value, config.warn_if, config.error_if, config.fail_calc, config.where, config.limit,
        config.keeps_failures, config.store_failures_as,
    ]  # fmt: skip
