"""What assets, sensor and schedules share: a project, its translator, and the ways between names and keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

import dagster as dg

from sao_dagster.core.decide import Mode
from sao_dagster.core.models import Materialized, Project, is_source
from sao_dagster.core.plan import Plan
from sao_dagster.core.selection import Selection, select
from sao_dagster.errors import SaoError
from sao_dagster.integration.resources import WarehouseResource
from sao_dagster.integration.translator import SaoTranslator, check_name
from sao_dagster.projects.python import SqlProject
from sao_dagster.runner import Runner

MODE_TAG = "sao/mode"
PLAN_TAG = "sao/plan"
EVALUATOR_TAG = "sao/evaluator"
WAREHOUSE_KEY = "sao_warehouse"
DRY_RUN = "dry-run"


class ReuseEvent(str, Enum):
    """What a reused model leaves in Dagster's log.

    An observation by default: a materialization would make other automation think that there is news.
    """

    OBSERVATION = "observation"
    NONE = "none"
    MATERIALIZATION = "materialization"


@dataclass(frozen=True)
class Edge:
    """A project as Dagster sees it.

    Attributes:
        opened: The project.
        translator: Makes keys and specs.
        reuse_event: What a reused model leaves in the log.
    """

    opened: SqlProject
    translator: SaoTranslator = field(default_factory=SaoTranslator)
    reuse_event: ReuseEvent = ReuseEvent.OBSERVATION

    @property
    def project(self) -> Project:
        """The project's models, sources and tests."""
        return self.opened.project

    @cached_property
    def asset_names(self) -> tuple[str, ...]:
        """The models and seeds that are assets: all but ephemerals, in the order of the graph."""
        nodes = self.project.nodes
        return tuple(
            name for name in self.project.graph.order if nodes[name].materialized is not Materialized.EPHEMERAL
        )

    @cached_property
    def keys(self) -> Mapping[str, dg.AssetKey]:
        """Asset keys by name of node or id of source."""
        names = (*self.asset_names, *self.project.sources)
        return {name: self.translator.key_of(self.project, name) for name in names}

    @cached_property
    def names(self) -> Mapping[dg.AssetKey, str]:
        """Names by asset key."""
        return {key: name for name, key in self.keys.items()}

    @cached_property
    def check_keys(self) -> Mapping[str, dg.AssetCheckKey]:
        """Check keys by name of the data test."""
        return {
            name: dg.AssetCheckKey(self.keys[test.tested], check_name(test))
            for name, test in self.project.tests.items()
            if test.tested in self.keys
        }

    @cached_property
    def tests(self) -> Mapping[dg.AssetCheckKey, str]:
        """Data tests by check key."""
        return {key: name for name, key in self.check_keys.items()}

    def runner(self, resource: WarehouseResource | None = None) -> Runner:
        """Return a runner on the warehouse that a resource says."""
        runner = self.opened.runner()
        return runner if resource is None else replace(runner, warehouse=resource.warehouse(runner.warehouse))

    def select(self, include: str | None, exclude: str | None = None) -> Selection:
        """Return what a selection in dbt's syntax means."""
        return select(self.project, include, exclude)

    def selection_of(self, assets: Iterable[dg.AssetKey], checks: Iterable[dg.AssetCheckKey]) -> Selection:
        """Return the selection that asset and check keys mean, in the order of the graph."""
        wanted = {self.names[key] for key in assets if key in self.names}
        tests = {self.tests[key] for key in checks if key in self.tests}
        sources = {name for test in tests for name in self.project.tests[test].reads if is_source(name)}
        return Selection(
            nodes=tuple(name for name in self.asset_names if name in wanted),
            tests=tuple(name for name in self.project.tests if name in tests),
            sources=tuple(name for name in self.project.sources if name in sources),
        )

    def request(self, plan: Plan, tags: Mapping[str, str]) -> dg.RunRequest | None:
        """Return a request for exactly what a plan has to do, or None if that is nothing."""
        assets = [self.keys[name] for name in plan.to_build]
        checks = [self.check_keys[name] for name in plan.to_test if name in self.check_keys]
        if not assets and not checks:
            return None
        return dg.RunRequest(asset_selection=assets, asset_check_keys=checks, tags=dict(tags))


def mode_of(tags: Mapping[str, str]) -> Mode | None:
    """Return the mode that a run's tags say: state-aware where they say nothing, None for a dry run.

    Raises:
        dg.Failure: The tag has a value that is no mode.
    """
    value = tags.get(MODE_TAG, Mode.STATE_AWARE.value)
    if value == DRY_RUN:
        return None
    known = (Mode.STATE_AWARE, Mode.FORCE, Mode.FULL_REFRESH)
    for mode in known:
        if value == mode.value:
            return mode
    words = ", ".join([*(mode.value for mode in known), DRY_RUN])
    raise dg.Failure(f"the run tag {MODE_TAG} is {value!r}; it may be {words}", allow_retries=False)


def checked_project(opened: SqlProject) -> SqlProject:
    """Return the project, if it has no errors: Dagster shows a code location that cannot be loaded with its error.

    Raises:
        ProjectErrors: All of them.
    """
    from sao_dagster.errors import ProjectErrors

    if opened.project.errors:
        raise ProjectErrors(opened.project.errors)
    return opened


def failure(error: SaoError) -> dg.Failure:
    """Return an error of this package as one that Dagster shows without a stack trace of ours."""
    return dg.Failure(description=str(error), allow_retries=True)
