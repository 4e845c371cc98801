"""Properties files: YAML of any name that describes models, sources, seeds and data tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sao_dagster.core.nodes import NodeError
from sao_dagster.core.project import Notice
from sao_dagster.errors import ProjectError
from sao_dagster.projects.config import CONFIG_KEYS, Strings, describe_error
from sao_dagster.projects.yaml_files import LoadedYaml, Place


class _Properties(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    description: str = ""
    config: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    docs: Any = None


class _Tested(_Properties):
    tests: list[Any] | None = None
    data_tests: list[Any] | None = None

    @property
    def all_tests(self) -> list[Any]:
        """The data tests, in either spelling."""
        return [*(self.tests or []), *(self.data_tests or [])]


class ColumnProperties(_Tested):
    """One column."""

    name: str
    data_type: str | None = None
    quote: bool | None = None
    tags: Strings = []
    constraints: Any = None
    policy_tags: Any = None
    granularity: Any = None
    dimension: Any = None
    entity: Any = None


class VersionColumn(ColumnProperties):
    """A column that one version has beside those of its model, or, without a name, which of these it has."""

    name: str = ""
    include: list[str] | str = "all"
    exclude: list[str] = []

    def includes(self, column: str) -> bool:
        """Return whether a column of the model is one of the version's."""
        return (self.include in ("all", "*") or column in self.include) and column not in self.exclude


class VersionProperties(_Tested):
    """One version of a model."""

    v: str | int | float
    defined_in: str | None = None
    columns: list[VersionColumn] = []
    access: Any = None
    deprecation_date: Any = None
    constraints: Any = None


class ModelProperties(_Tested):
    """One model or seed."""

    name: str
    columns: list[ColumnProperties] = []
    latest_version: str | int | float | None = None
    versions: list[VersionProperties] = []
    constraints: Any = None
    access: Any = None
    group: str | None = None
    deprecation_date: Any = None
    time_spine: Any = None
    tags: Strings = []

    def of_version(self, version: VersionProperties) -> ModelProperties:
        """Return what is said of one version: its description, configuration and data tests go over those of the model.

        Its columns are those of the model that it includes, and its own, which may have the same names, as in dbt.
        """
        chosen = next((each for each in version.columns if not each.name), VersionColumn())
        own = [each for each in version.columns if each.name]
        tested = version if (version.tests, version.data_tests) != (None, None) else self
        changed = {
            "description": version.description or self.description,
            "config": _over(self.config, {**({"access": version.access} if version.access else {}), **version.config}),
            "columns": [*(each for each in self.columns if chosen.includes(each.name)), *own],
            "tests": tested.tests,
            "data_tests": tested.data_tests,
        }
        return self.model_copy(update=changed)


def _over(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return mappings merged at all levels: of two lists the later comes first, and other values replace those before.

    >>> _over({"tags": ["a"], "meta": {"x": 1}, "alias": "a"}, {"tags": ["b"], "meta": {"y": 2}, "alias": "b"})
    {'tags': ['b', 'a'], 'meta': {'x': 1, 'y': 2}, 'alias': 'b'}
    """
    found = dict(base)
    for key, value in more.items():
        before = found.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            found[key] = _over(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            found[key] = [*value, *before]
        else:
            found[key] = value
    return found


class TableProperties(_Tested):
    """One table of a source."""

    name: str
    identifier: str | None = None
    columns: list[ColumnProperties] = []
    loaded_at_field: str | None = None
    loaded_at_query: str | None = None
    freshness: Any = None  # checked when it is merged with that of other places
    tags: Strings = []
    external: Any = None
    quoting: Any = None
    loader: Any = None


class SourceProperties(_Properties):
    """A source: a group of tables that something else fills."""

    name: str
    schema_: str | None = Field(default=None, alias="schema")
    database: str | None = None
    tables: list[TableProperties] = []
    loaded_at_field: str | None = None
    loaded_at_query: str | None = None
    freshness: Any = None  # checked when it is merged with that of other places
    tags: Strings = []
    loader: Any = None
    quoting: Any = None
    overrides: Any = None
    tests: Any = None


class SingularProperties(_Properties):
    """A singular data test."""

    name: str


class PropertiesFile(BaseModel):
    """A whole file. What has no effect on builds is accepted; what would be missed is refused by the loader."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    version: int | float | str | None = None
    models: list[ModelProperties] | None = None
    seeds: list[ModelProperties] | None = None
    sources: list[SourceProperties] | None = None
    data_tests: list[SingularProperties] | None = None
    tests: list[SingularProperties] | None = None
    snapshots: list[Any] | None = None
    unit_tests: list[Any] | None = None
    macros: Any = None
    analyses: Any = None
    exposures: Any = None
    metrics: Any = None
    semantic_models: Any = None
    saved_queries: Any = None
    groups: list[Any] | None = None
    functions: list[Any] | None = None
    anchors: Any = None


@dataclass(frozen=True)
class ParsedProperties:
    """A properties file, as far as it is right.

    Attributes:
        file: What it says, without what is wrong.
        notices: The keys that are not known, which have no effect.
        errors: What is wrong with single nodes: by the place of a model, a seed, a source, or a table of a source.
    """

    file: PropertiesFile
    notices: tuple[Notice, ...] = ()
    errors: Mapping[Place, NodeError] = field(default_factory=dict)


def parse_properties(loaded: LoadedYaml) -> ParsedProperties:
    """Return a properties file, checked.

    Raises:
        ProjectError: Something is wrong that belongs to no node with a name; names the line.
    """
    values: Any = loaded.values
    if values is None:
        return ParsedProperties(PropertiesFile())
    if not isinstance(values, Mapping):
        message = "a properties file is a mapping with keys such as models and sources"
        raise ProjectError(message, location=loaded.location())
    notices: list[Notice] = []
    errors: dict[Place, NodeError] = {}
    while True:
        try:
            return ParsedProperties(PropertiesFile.model_validate(values), tuple(notices), errors)
        except ValidationError as error:
            wrong = error.errors()
        values = deepcopy(values)
        for each_ in sorted(wrong, key=_backwards):  # so that positions in lists stay what they are
            message, location = describe_error(PropertiesFile, each_, loaded.values), loaded.location(*each_["loc"])
            if each_["loc"][0] in ("models", "seeds") and len(each_["loc"]) == 3 and each_["loc"][2] in CONFIG_KEYS:
                message = f"unknown key {each_['loc'][2]!r}; it belongs under 'config'"
            place = _reached(values, each_["loc"])
            if each_["type"] == "extra_forbidden":
                notices.append(Notice(f"{message}; it has no effect", location))
            elif (owner := _owner_of(place)) is not None:
                errors.setdefault(owner, NodeError(message, location))
            else:
                raise ProjectError(message, location=location)
            _remove(values, place)


def _backwards(error: Any) -> list[tuple[int, str]]:
    return [(-part, "") if isinstance(part, int) else (0, part) for part in error["loc"]]


def _reached(values: Any, place: Place) -> Place:
    """Return the part of a place that is there: all of it, or the mapping in which a key is missing."""
    reached: list[str | int] = []
    for part in place:
        there = part in values if isinstance(values, Mapping) else isinstance(part, int) and isinstance(values, list)
        if not there:
            break
        values = values[part]
        reached.append(part)
    return tuple(reached)


def _owner_of(place: Place) -> Place | None:
    """Return the place of the node that a wrong value inside of it belongs to; None where it belongs to none with a name.

    >>> _owner_of(("models", 0, "columns", 1, "data_type")), _owner_of(("sources", 0, "tables", 2, "freshness"))
    (('models', 0), ('sources', 0, 'tables', 2))
    >>> _owner_of(("models", 0, "name"))
    """
    depth = 4 if place[:1] == ("sources",) and place[2:3] == ("tables",) else 2
    if place[:1] not in (("models",), ("seeds",), ("sources",)) or len(place) <= depth or place[depth:] == ("name",):
        return None
    return place[:depth]


def _remove(values: Any, place: Place) -> None:
    for part in place[:-1]:
        values = values[part]
    del values[place[-1]]


def each(items: list[Any] | None) -> Iterator[tuple[int, Any]]:
    """Return items with their positions; nothing for None."""
    return iter(enumerate(items or []))
