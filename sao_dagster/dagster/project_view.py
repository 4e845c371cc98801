"""What assets, sensor and schedules share: a project, its translator, and the ways between names and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from sao_dagster.core.explain import describe_policy
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.nodes import Materialized, Model, Source, is_source
from sao_dagster.core.others import ProjectModel
from sao_dagster.core.plan import Plan
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.core.selection import Selection, with_broken
from sao_dagster.dagster.automation import with_marker
from sao_dagster.dagster.from_dagster_dbt import as_translator
from sao_dagster.dagster.resources import WarehouseResource
from sao_dagster.dagster.translator import CheckGranularity, SaoTranslator, as_virtual, identifier, key_part
from sao_dagster.errors import ProjectError, SaoError
from sao_dagster.run.events import freshness_test
from sao_dagster.run.runner import Runner
from sao_dagster.sql_project import SqlProject

MODE_TAG = "sao/mode"
DEFER_TAG = "sao/defer"  # the environment from which is read what is neither selected nor here
TESTS_TAG = "sao/tests"  # `false` for a run that asks no data test and is held back by none
PLAN_TAG = ".dagster/sao_plan"  # which the UI hides: it is a digest
CODE_TAG = ".dagster/sao_code"  # another one: of the code that a run went by
EVALUATOR_TAG = "sao/evaluator"
WAREHOUSE_KEY = "sao_warehouse"
DRY_RUN = "dry-run"
FRESHNESS_CHECK = "source_freshness"
UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


class ReuseEvent(str, Enum):
    """What a reused model leaves in Dagster's log.

    An observation by default: a materialization would make other automation think that there is news.
    """

    OBSERVATION = "observation"
    NONE = "none"
    MATERIALIZATION = "materialization"


class Granularity(str, Enum):
    """What one step of a Dagster run is: the models of a project, with threads of their own, or one model."""

    PROJECT = "project"
    MODEL = "model"


@dataclass(frozen=True)
class CheckOfTests:
    """A check that stands for data tests.

    Attributes:
        key: The check.
        name: The same, as Dagster writes it.
        tested: The node or source that it is a check of.
        tests: The data tests.
    """

    key: dg.AssetCheckKey
    name: str
    tested: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class DagsterProject:
    """A project as Dagster sees it.

    Attributes:
        opened: The project.
        translator: Makes keys and specs; a `DagsterDbtTranslator` of dagster-dbt may be given for it.
        reuse_event: What a reused model leaves in the log.
        check_granularity: Whether there is an asset check for each data test, or for several of a model together.
        granularity: Whether a step of a run is the whole project or one model.
        evaluator: Whether an evaluator sensor looks after the assets, so that they are marked as automated.
        virtual_views: Whether views are virtual assets, where the installed Dagster knows them.
        foreign: Keys of sources that other assets of the code location produce.
        upstream_assets: Patterns of such keys, as in `definitions`.
        warehouse_key: The resource that says where runs build.
        in_process: Whether what the evaluator, schedules and jobs launch runs in one process, where the executor can do that.
    """

    opened: SqlProject
    translator: SaoTranslator = field(default_factory=SaoTranslator)
    reuse_event: ReuseEvent = ReuseEvent.OBSERVATION
    check_granularity: CheckGranularity = CheckGranularity.TEST
    granularity: Granularity = Granularity.PROJECT
    evaluator: bool = True
    virtual_views: bool = True
    foreign: frozenset[dg.AssetKey] = frozenset()
    upstream_assets: tuple[str, ...] = ()
    warehouse_key: str = WAREHOUSE_KEY
    in_process: bool = False

    def __post_init__(self) -> None:
        """Ask a translator of dagster-dbt by way of one of this package."""
        object.__setattr__(self, "translator", as_translator(self.translator, self.opened))

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
    def code(self) -> str:
        """A digest of what this process has read of the project, the same in each that has read the same; empty where that says something else at another time."""
        if self.opened.declared.follows_clock or not self.opened.assembled.is_lasting:
            return ""
        then, project = datetime.fromtimestamp(0, timezone.utc), self.project
        nodes: JSON = {
            name: [each.code.version, describe_policy(each.policy, then)] for name, each in project.nodes.items()
        }
        return digest([nodes, {name: each.version for name, each in project.tests.items()}])

    @cached_property
    def sql_files(self) -> Mapping[str, str]:
        """The files of the models that are written in SQL, by name."""
        return {
            name: str(Path(self.project.root, node.location.path))
            for name, node in self.project.nodes.items()
            if isinstance(node, Model) and node.location is not None and node.location.path.endswith(".sql")
        }

    @cached_property
    def own_sources(self) -> tuple[str, ...]:
        """The sources that nothing else produces: what makes several of them is somebody else's asset, too, and so is a model of another project."""
        sources = Counter(self.keys[name] for name in self.project.sources)
        return tuple(
            name
            for name in self.project.sources
            if not isinstance(self.project.sources[name], ProjectModel)
            and not self._is_foreign(self.keys[name])
            and sources[self.keys[name]] == 1
        )

    def _is_foreign(self, key: dg.AssetKey) -> bool:
        return key in self.foreign or any(fnmatchcase(key.to_user_string(), each) for each in self.upstream_assets)

    @cached_property
    def keys(self) -> Mapping[str, dg.AssetKey]:
        """Asset keys by name of node or id of source.

        Dagster makes names of Python of keys: of two that would have one (`a-b` and `a_b`), the second gets some letters of a digest.

        Raises:
            ProjectError: Two have one key, and they are not two sources, which one asset may make.
        """
        return {name: self._renamed.get(key, key) for name, key in self._translated.items()}

    @cached_property
    def _translated(self) -> Mapping[str, dg.AssetKey]:
        """Asset keys as the translator makes them."""
        found: dict[str, dg.AssetKey] = {}
        known: dict[dg.AssetKey, str] = {}
        for name in (*self.asset_names, *self.project.sources):
            found[name] = key = self.translator.key_of(self.project, name)
            other = known.setdefault(key, name)
            if other != name and not (is_source(name) and is_source(other)):
                raise ProjectError(
                    f"{other} and {name} both have the asset key {key.to_user_string()}; give one of them another by meta.dagster.asset_key"
                )
        return found

    @cached_property
    def _renamed(self) -> Mapping[dg.AssetKey, dg.AssetKey]:
        """Keys in place of those that the translator makes, where Dagster would take two for one; never that of another one's asset."""
        found: dict[dg.AssetKey, dg.AssetKey] = {}
        taken: set[str] = set()
        # what another one makes, and what is a name of Python already, keeps its key
        order = sorted(
            set(self._translated.values()),
            key=lambda key: (not self._is_foreign(key), key.to_python_identifier() != "__".join(key.path), key),
        )
        for key in order:
            if key.to_python_identifier() in taken and not self._is_foreign(key):
                *above, last = key.path
                found[key] = dg.AssetKey([*above, f"{last}_{digest(list(key.path))[:4]}"])
            taken.add(found.get(key, key).to_python_identifier())
        return found

    @cached_property
    def names(self) -> Mapping[dg.AssetKey, str]:
        """Names by asset key."""
        return {key: name for name, key in self.keys.items()}

    @cached_property
    def check_keys(self) -> Mapping[str, dg.AssetCheckKey]:
        """Check keys by name of the data test; several tests share one, where they are aggregated."""
        found = {
            name: dg.AssetCheckKey(self.keys[test.tested], self.translator.get_check_name(test, self.check_granularity))
            for name, test in self.project.tests.items()
            if test.tested in self.keys
        }
        sharing = Counter(self.keys[source.id] for source in self._with_limits.values())
        for name, source in self._with_limits.items():
            key = self.keys[source.id]  # one asset may make several sources
            found[name] = dg.AssetCheckKey(key, FRESHNESS_CHECK if sharing[key] == 1 else identifier(name))
        return found

    @cached_property
    def _with_limits(self) -> Mapping[str, Source]:
        """The sources whose age is checked, by the name of that check as a data test."""
        return {freshness_test(each).name: each for each in self.project.sources.values() if each.has_age_limit}

    @cached_property
    def tests(self) -> Mapping[dg.AssetCheckKey, tuple[str, ...]]:
        """Names of data tests by check key."""
        found: dict[dg.AssetCheckKey, list[str]] = {}
        for name, key in self.check_keys.items():
            found.setdefault(key, []).append(name)
        return {key: tuple(names) for key, names in found.items()}

    @cached_property
    def checks_of_tests(self) -> Mapping[dg.AssetCheckKey, CheckOfTests]:
        """The checks that stand for data tests, by key; the ages of sources are none."""
        known = self.project.tests
        return {
            key: CheckOfTests(key, key.to_user_string(), known[names[0]].tested, names)
            for key, names in self.tests.items()
            if names[0] in known
        }

    @property
    def savings_key(self) -> dg.AssetKey:
        """The asset that shows over time what runs have saved."""
        return dg.AssetKey([key_part(self.project.name), "savings"])

    def asset_spec(self, name: str) -> dg.AssetSpec:
        """Return the spec of a model, seed or source, as the translator makes it, marked where it is looked after."""
        if is_source(name):
            return self._with_key(self.translator.get_asset_spec(self.project, self.project.sources[name]))
        node = self.project.nodes[name]
        spec = self._with_key(self.translator.get_asset_spec(self.project, node))
        if self.virtual_views and node.materialized is Materialized.VIEW:
            spec = as_virtual(spec)
        if not self.evaluator:
            return spec
        return with_marker(spec, describe_policy(node.policy, datetime.now(timezone.utc)))

    def _with_key(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """Return a spec of the translator with the keys that its asset, and what it reads, have here."""
        if not self._renamed:
            return spec
        deps = [
            dg.AssetDep(self._renamed.get(each.asset_key, each.asset_key), partition_mapping=each.partition_mapping)
            for each in spec.deps
        ]
        return spec.replace_attributes(key=self._renamed.get(spec.key, spec.key), deps=deps)

    def check_specs(self, *, of_sources: bool) -> list[dg.AssetCheckSpec]:
        """Return the specs of the checks of sources, or of those of models and seeds."""
        specs = []
        for key, names in self.tests.items():
            tests = [self.project.tests[name] for name in names if name in self.project.tests]
            if is_source(self.names[key.asset_key]) is not of_sources:
                continue
            if not tests:
                source = self._with_limits[names[0]]
                specs.append(self.translator.get_freshness_check_spec(self.project, source, key.name))
            elif self.check_granularity is CheckGranularity.TEST:
                specs.append(self.translator.get_check_spec(self.project, tests[0]))
            else:
                specs.append(self.translator.get_aggregated_check_spec(self.project, key.name, tests))
        return [each._replace(asset_key=self._renamed.get(each.asset_key, each.asset_key)) for each in specs]

    def runner(self, resource: WarehouseResource | None = None, defer: str | None = None) -> Runner:
        """Return a runner on the warehouse that a resource says, which reads from another environment where one is named."""
        runner = self.opened.deferring(defer).runner()
        return runner if resource is None else replace(runner, warehouse=resource.warehouse(runner.warehouse))

    def select(self, include: str | None, exclude: str | None = None) -> Selection:
        """Return what a selection in dbt's syntax means; `state:` compares with the environment that is deferred to."""
        return self.opened.selection(include, exclude)

    def selection_of(self, assets: Iterable[dg.AssetKey], checks: Iterable[dg.AssetCheckKey]) -> Selection:
        """Return the selection that asset and check keys mean, in the order of the graph."""
        checks = [key for key in checks if key in self.tests]
        wanted = {self.names[key] for key in (*assets, *(key.asset_key for key in checks)) if key in self.names}
        nodes = {self.names[key] for key in assets if key in self.names}
        tests = {name for key in checks for name in self.tests[key] if name in self.project.tests}
        sources = {name for name in wanted if is_source(name)}
        sources |= {name for test in tests for name in self.project.tests[test].reads if is_source(name)}
        sources |= {
            self._with_limits[name].id for key in checks for name in self.tests[key] if name in self._with_limits
        }
        selection = Selection(
            nodes=tuple(name for name in self.asset_names if name in nodes),
            tests=tuple(name for name in self.project.tests if name in tests),
            sources=tuple(name for name in self.project.sources if name in sources),
        )
        return with_broken(self.project, selection)

    def asset_selection(self, selection: Selection) -> dg.AssetSelection:
        """Return the assets and checks that a selection means, for jobs."""
        assets = dg.AssetSelection.assets(*(self.keys[name] for name in selection.nodes if name in self.keys))
        return assets | dg.AssetSelection.checks(*self.checks_of(selection))

    def checks_of(self, selection: Selection) -> list[dg.AssetCheckKey]:
        """Return the checks that a selection means, each once."""
        checks = [self.check_keys[name] for name in selection.tests if name in self.check_keys]
        return list(dict.fromkeys([*checks, *self._freshness_checks(selection.nodes)]))

    def request(
        self,
        plan: Plan,
        tags: Mapping[str, str],
        leave_out: Collection[str] = (),
        run_config: Mapping[str, Any] | None = None,
    ) -> dg.RunRequest | None:
        """Return a request for exactly what a plan has to do, or None if that is nothing.

        Args:
            plan: The plan.
            tags: Tags of the run.
            leave_out: Models and tests that are not asked for now; tests that read such a model are left out, too.
            run_config: Of the run.
        """
        assets = [self.keys[name] for name in plan.to_make if name not in leave_out]
        checks = dict.fromkeys(
            self.check_keys[name]
            for name in plan.to_record
            if name in self.check_keys
            and name not in self.project.broken
            and name not in leave_out
            and not set(self.project.tests[name].reads).intersection(leave_out)
        )
        if not assets and not checks:
            return None
        checks |= dict.fromkeys(self._freshness_checks(plan.to_make))
        return dg.RunRequest(
            asset_selection=assets, asset_check_keys=list(checks), tags=dict(tags), run_config=run_config or {}
        )

    def _freshness_checks(self, nodes: Iterable[str]) -> list[dg.AssetCheckKey]:
        above = self.project.graph.sources_above(nodes)
        return [self.check_keys[name] for name, source in self._with_limits.items() if source.id in above]


def scope_of(instance: dg.DagsterInstance, what: str) -> str:
    """Return under which scope is kept what a Dagster instance was told."""
    storage: Any = instance.run_storage  # its id is for Dagster's telemetry; there is no public one of an instance
    return f"{what} {storage.get_run_storage_id()}" if hasattr(storage, "get_run_storage_id") else what


def mode_of(tags: Mapping[str, str], config: str | None = None) -> Mode | None:
    """Return the mode of a run, in any case of letters; None for a dry run.

    Args:
        tags: Of the run; state-aware where they say nothing.
        config: What the launchpad says; where that is its default, the tags decide.

    Raises:
        dg.Failure: That is no mode.
    """
    default, said = Mode.STATE_AWARE.value, tags.get(MODE_TAG, Mode.STATE_AWARE.value)
    by_config = config is not None and _as_mode(config) != default
    value = _as_mode(config if config is not None and by_config else said)
    known = {mode.value: mode for mode in (Mode.STATE_AWARE, Mode.FORCE, Mode.FULL_REFRESH)}
    if value == DRY_RUN:
        return None
    if value in known:
        return known[value]
    where = "mode in the launchpad" if by_config else f"run tag {MODE_TAG}"
    raise dg.Failure(
        f"the {where} is {config if by_config else said!r}; it may be {', '.join([*known, DRY_RUN])}",
        allow_retries=False,
    )


def _as_mode(text: str) -> str:
    return text.strip().lower().replace("_", "-")


def selection_by(tags: Mapping[str, str], selection: Selection) -> Selection:
    """Return what a run with these tags is about: its selection, without data tests where they say so.

    Raises:
        dg.Failure: The tag has a value that is neither `true` nor `false`.
    """
    value = tags.get(TESTS_TAG, "true").lower()
    if value not in ("true", "false"):
        raise dg.Failure(f"the run tag {TESTS_TAG} is {value!r}; it may be true or false", allow_retries=False)
    return selection if value == "true" else selection.without_tests()


def checked_project(opened: SqlProject) -> SqlProject:
    """Return the project, if it has no errors as a whole: Dagster shows a code location that cannot be loaded with its error.

    Raises:
        ProjectErrors: All of them.
    """
    opened.project.check()
    return opened


def failure(error: SaoError) -> dg.Failure:
    """Return an error of this package as one that Dagster shows without a stack trace of ours."""
    return dg.Failure(description=str(error), allow_retries=True)
