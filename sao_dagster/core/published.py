"""What a project lets other projects know of it: who may read which of its models, where these are, and which data tests hold back what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from sao_dagster.core.hashing import JSON
from sao_dagster.core.nodes import Access, Column
from sao_dagster.core.policy import Expiry


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A model, as other projects may know it; of one that is not public no more than that it is there.

    Attributes:
        name: What `ref` takes.
        unique_id: What dbt calls it: `model.core.customers.v2`.
        access: Who may read it.
        version: The version, for a versioned model.
        is_latest: Whether `ref` without a version means this one.
        relation: Where it was built last, as SQL writes it there; where it is going to be, if it never was.
        schema: The schema that its configuration names, if it names one: a part of its key in Dagster.
        alias: The name of its relation.
        above: Those of the relations that `error` tests of the project read which are above it, and itself if it is one of them.
    """

    name: str
    unique_id: str
    access: Access
    version: str | None = None
    is_latest: bool = True
    relation: str | None = None
    group: str | None = None
    description: str = ""
    columns: tuple[Column, ...] = ()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, JSON] = field(default_factory=dict)
    schema: str | None = None
    alias: str = ""
    above: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name in its own project: versions of a model are told apart."""
        return self.name if self.version is None else f"{self.name}.v{self.version}"


@dataclass(frozen=True, kw_only=True)
class PublishedTest:
    """A data test of severity `error`, which holds back what is below all that it reads.

    Attributes:
        name: Its name.
        definition: Fingerprint of it as it is written, as in `TestRecord.definition`.
        tested: What it belongs to.
        reads: What it reads; for views and ephemerals, with what these are made of.
        expiry: When a verdict stops standing by itself.
    """

    name: str
    definition: str
    tested: str
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expiry: Expiry | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What one environment of a project lets others know.

    Attributes:
        project: The project.
        dialect: sqlglot's name of the SQL dialect that relations are written in.
        models: Its models.
        tests: Its `error` tests.
    """

    project: str
    dialect: str
    models: tuple[PublishedModel, ...] = ()
    tests: tuple[PublishedTest, ...] = ()

    def to_plain(self) -> dict[str, JSON]:
        """Return it as JSON has it; what is as it is by default is left out.

        >>> costs = PublishedModel(name="costs", unique_id="model.core.costs", access=Access.PRIVATE, group="money")
        >>> plain = Published(project="core", dialect="duckdb", models=(costs,)).to_plain()
        >>> plain["models"]
        [{'name': 'costs', 'unique_id': 'model.core.costs', 'access': 'private', 'group': 'money'}]
        >>> Published.from_plain(plain).models == (costs,)
        True
        """
        found: dict[str, JSON] = _plain(self)
        return found

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Published:
        """Return what `to_plain` gave; keys that a newer version has added are left aside.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        models = []
        for each in plain.get("models", ()):
            given = _known(PublishedModel, each)
            columns = tuple(Column(**_known(Column, column)) for column in given.pop("columns", ()))
            tags, above = (tuple(given.pop(name, ())) for name in ("tags", "above"))
            access = Access(given.pop("access"))
            models.append(PublishedModel(**given, columns=columns, tags=tags, above=above, access=access))
        tests = []
        for each in plain.get("tests", ()):
            given = _known(PublishedTest, each)
            reads = {read: tuple(behind) for read, behind in given.pop("reads", {}).items()}
            expiry = given.pop("expiry", None)
            tests.append(PublishedTest(**given, reads=reads, expiry=None if expiry is None else Expiry(expiry)))
        return cls(project=plain["project"], dialect=plain["dialect"], models=tuple(models), tests=tuple(tests))


def _plain(value: Any) -> Any:
    if type(value) in (str, bool):  # nearly all that is published
        return value
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        defaults = _defaults(type(value))
        return {name: _plain(of) for name, of in vars(value).items() if of != defaults[name] and of not in ((), {})}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults of a data class by field, in the order of its fields."""
    return {each.name: each.default for each in fields(kind)}


def _known(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {key: value for key, value in given.items() if key in names}
