"""`dbt_project.yml`: what it may say, and what it says about one model or test, folder by folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from sao_dagster.core.policy import POLICY_KEYS
from sao_dagster.core.project import Notice
from sao_dagster.errors import Location, SaoError
from sao_dagster.projects.config import Strings, listed
from sao_dagster.projects.declarations import merge_layers
from sao_dagster.projects.templates.template_context import RenderSubject, TemplateContext
from sao_dagster.projects.templates.template_run import real_run
from sao_dagster.projects.templates.texts import doc_alone, has_jinja
from sao_dagster.projects.yaml_files import LoadedYaml, WrittenIn

if TYPE_CHECKING:
    from sao_dagster.projects.templates.render import Render

Paths = Annotated[list[str], BeforeValidator(listed)]
# Keys of a node's configuration that are mappings, so that they are not taken for folders.
_MAPPING_KEYS = frozenset(
    {
        *("meta", "column_types", "docs", "grants", "contract", "persist_docs"),
        *(key.config_key for key in POLICY_KEYS if "." in key.path),
    }
)
_DEFERRED = frozenset({"freshness", "pre-hook", "post-hook", "pre_hook", "post_hook"})


class ProjectFile(BaseModel):
    """`dbt_project.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)

    name: str
    version: Any = None
    config_version: Any = Field(default=None, alias="config-version")
    profile: str | None = None
    model_paths: Paths = Field(default=["models"], validation_alias=AliasChoices("model-paths", "source-paths"))
    seed_paths: Paths = Field(default=["seeds"], validation_alias=AliasChoices("seed-paths", "data-paths"))
    test_paths: Paths = Field(default=["tests"], alias="test-paths")
    macro_paths: Paths = Field(default=["macros"], alias="macro-paths")
    analysis_paths: Any = Field(default=None, alias="analysis-paths")
    snapshot_paths: Paths = Field(default=["snapshots"], alias="snapshot-paths")
    docs_paths: Any = Field(default=None, alias="docs-paths")
    asset_paths: Any = Field(default=None, alias="asset-paths")
    function_paths: Any = Field(default=None, alias="function-paths")
    target_path: str = Field(default="target", alias="target-path")
    log_path: Any = Field(default=None, alias="log-path")
    clean_targets: Any = Field(default=None, alias="clean-targets")
    packages_install_path: str = Field(
        default="dbt_packages", validation_alias=AliasChoices("packages-install-path", "modules-path")
    )
    require_dbt_version: Any = Field(default=None, alias="require-dbt-version")
    flags: Any = None
    query_comment: Any = Field(default=None, alias="query-comment")
    restrict_access: Any = Field(default=None, alias="restrict-access")
    dbt_cloud: Any = Field(default=None, alias="dbt-cloud")
    quoting: dict[str, Any] = {}
    vars: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    seeds: dict[str, Any] | None = None
    sources: dict[str, Any] | None = None
    snapshots: dict[str, Any] | None = None
    tests: dict[str, Any] | None = None
    data_tests: dict[str, Any] | None = None
    unit_tests: Any = Field(default=None, alias="unit-tests")
    exposures: Any = None
    metrics: Any = None
    semantic_models: Any = Field(default=None, alias="semantic-models")
    saved_queries: Any = Field(default=None, alias="saved-queries")
    functions: Any = None
    on_run_start: Strings = Field(default=[], alias="on-run-start")
    on_run_end: Strings = Field(default=[], alias="on-run-end")

    @property
    def written(self) -> tuple[str, ...]:
        """Where dbt writes what it makes, relative to the folder."""
        log = self.log_path if isinstance(self.log_path, str) else "logs"
        return (os.environ.get("DBT_TARGET_PATH") or self.target_path, os.environ.get("DBT_LOG_PATH") or log)

    @property
    def search_order(self) -> dict[str, tuple[str, ...]]:
        """Where `dispatch` looks for the macros of a namespace."""
        return {
            str(entry["macro_namespace"]): tuple(map(str, entry.get("search_order", ()))) for entry in self.dispatch
        }

    @property
    def own_package_first(self) -> bool:
        """Whether `ref` and `source` in a package mean what is in that rather than what the project itself has."""
        flags = self.flags if isinstance(self.flags, Mapping) else {}
        return flags.get("require_ref_searches_node_package_before_root") is True

    @property
    def paths(self) -> tuple[str, ...]:
        """Where something of the project is, and its packages, relative to its folder."""
        given = (
            self.model_paths, self.seed_paths, self.test_paths, self.macro_paths, self.snapshot_paths, self.analysis_paths, self.docs_paths,
            self.function_paths, self.packages_install_path,
        )  # fmt: skip
        return tuple(path for each in given for path in ([each] if isinstance(each, str) else each or ()))

    dispatch: list[dict[str, Any]] = []


@dataclass
class Settings:
    """`dbt_project.yml`, with its Jinja rendered as it is asked for.

    Attributes:
        file: What it says.
        loaded: Where it says it.
        context: What the Jinja in it, and in properties files, sees.
    """

    file: ProjectFile
    loaded: LoadedYaml
    context: TemplateContext
    _used: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = field(
        default_factory=dict
    )  # the keys of each level that was asked for

    @cached_property
    def _expressions(self) -> Render:
        """What renders: Jinja is loaded where there is something to render."""
        from sao_dagster.projects.templates.render import Render

        subject = RenderSubject(name="dbt_project.yml", path="dbt_project.yml", package=self.file.name)
        return Render(self.context, subject, execute=True, run=real_run())

    @property
    def follows_clock(self) -> bool:
        """Whether something that was rendered asked for the time."""
        return "_expressions" in self.__dict__ and self._expressions.trace.asks_time

    def layer(self, kind: str, fqn: tuple[str, ...]) -> dict[str, Any]:
        """Return the configuration of `dbt_project.yml` that applies to a node, broad to specific."""
        level: Any = getattr(self.file, kind) or {}
        layers = []
        for depth in range(len(fqn) + 1):
            if depth:
                level = level.get(fqn[depth - 1])
                if not isinstance(level, Mapping) or fqn[depth - 1].startswith("+"):
                    break
            place = (kind, fqn[:depth])
            if place not in self._used:
                self._used[place] = self._keys(level)
            layers.append(self._used[place])
        return merge_layers(*layers)

    def written(self, kind: str, fqn: tuple[str, ...]) -> WrittenIn:
        """Return where `dbt_project.yml` may configure a node."""
        return WrittenIn(Location(self.loaded.path), tuple((kind, *fqn[:depth]) for depth in range(len(fqn), -1, -1)))

    def check(self) -> None:
        """Render all of the configuration once.

        Raises:
            SaoError: A template fails; with the line of its key.
        """
        for kind in ("models", "seeds", "sources", "snapshots", "tests", "data_tests"):
            for path in _paths(getattr(self.file, kind) or {}):
                level = getattr(self.file, kind) or {}
                for part in path:
                    level = level[part]
                for key in level:
                    try:
                        self._keys({key: level[key]})
                    except SaoError as error:
                        error.location = self.loaded.location(kind, *path, key)
                        raise

    def _keys(self, level: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration keys of one level: those with a plus, and those that can be no folder."""
        found = {
            key.removeprefix("+"): value
            for key, value in level.items()
            if key.startswith("+") or key in _MAPPING_KEYS or not isinstance(value, Mapping)
        }
        return self.rendered({key: value for key, value in found.items() if value is not None or key == "freshness"})

    def test_layer(self, fqn: tuple[str, ...]) -> dict[str, Any]:
        """Return the configuration that applies to a data test."""
        return self.layer("data_tests" if self.file.data_tests is not None else "tests", fqn)

    def unused(self) -> Iterator[Notice]:
        """Point out folders that no file is in: mostly slips of the pen."""
        for kind in ("models", "seeds"):
            for path in _paths(getattr(self.file, kind) or {}):
                if path and (kind, path) not in self._used:
                    message = f"{kind}.{'.'.join(path)} matches no file"
                    yield Notice(message, self.loaded.location(kind, *path), kind="matches no file")

    def text(self, value: Any) -> str:
        """Return a text of a YAML file, rendered.

        Raises:
            SaoError: It fails; where it stands is known to the caller.
        """
        return str(self.value(str(value or "")))

    def rendered(self, values: Mapping[str, Any], keep: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return configuration with its Jinja rendered, except what is rendered later with more at hand."""
        return {
            key: value if key.removeprefix("+") in (*_DEFERRED, *keep) else self.value(value)
            for key, value in values.items()
        }

    def value(self, value: Any) -> Any:
        """Return a value of a YAML file with the texts in it rendered, natively as dbt does: `"{{ 1 + 1 }}"` is a number.

        Raises:
            SaoError: A template fails; where it stands is known to the caller.
        """
        if isinstance(value, Mapping):
            return {key: self.value(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if not isinstance(value, str) or not has_jinja(value):
            return value
        doc = doc_alone(value)  # most of the Jinja there is in descriptions
        if doc is not None and doc in self.context.descriptions:
            return self.context.descriptions[doc]
        try:
            return self._expressions.native(value)
        except SaoError as error:
            error.name = error.location = None
            raise


def _paths(level: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield prefix
    for key, value in level.items():
        if isinstance(value, Mapping) and not key.startswith("+") and key not in _MAPPING_KEYS:
            yield from _paths(value, (*prefix, key))
