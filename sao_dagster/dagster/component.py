"""A project as a Dagster component: `defs.yaml` in place of Python, and the project read once for all processes."""

# no `from __future__ import annotations` here: Dagster resolves the annotations of components

import glob
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import Field, create_model

from sao_dagster.core.nodes import DataTest, Materialized, Node, Source, is_source
from sao_dagster.core.policy import BuildAfter
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Mode
from sao_dagster.dagster.definitions import definitions
from sao_dagster.dagster.evaluator import build_evaluator_sensor
from sao_dagster.dagster.from_dagster_dbt import as_translator, dbt_properties
from sao_dagster.dagster.jobs import build_job, build_schedule
from sao_dagster.dagster.neighbours import keys_of_neighbours, opened_before
from sao_dagster.dagster.project_view import DagsterProject, Granularity, ReuseEvent
from sao_dagster.dagster.scaffolder import SaoProjectScaffolder
from sao_dagster.dagster.translator import CheckGranularity, SaoTranslator
from sao_dagster.load import load_project, restore_project
from sao_dagster.projects.policies import rule_fields
from sao_dagster.sql_project import SqlProject

ModeName = Literal["state-aware", "force", "full-refresh"]


class PolicySpec(dg.Model, dg.Resolvable):
    """A refresh policy for a selection of models, on top of what the project says of them."""

    select: str = Field(description="Which models, in dbt's selection syntax.", examples=["tag:report", "marts"])


_POLICY_SPEC: type[PolicySpec] = create_model(
    "PolicySpec", __base__=PolicySpec, **rule_fields({BuildAfter: dict[str, Any], timedelta: str})
)


def _policies(context: dg.ResolutionContext, written: Any) -> list[dict[str, Any]]:
    """Return policies as `SqlProject.with_policies` takes them."""
    specs = (_POLICY_SPEC.resolve_from_model(context.at_path(index), each) for index, each in enumerate(written))
    return [spec.model_dump(exclude_none=True) for spec in specs]


class EvaluatorSpec(dg.Model, dg.Resolvable):
    """The sensor that keeps a selection up to date."""

    select: str | None = Field(default=None, description="What it looks after; everything if nothing is said.")
    exclude: str | None = Field(default=None, description="What it leaves out.")
    minimum_interval_seconds: int = Field(default=30, description="The least time between two ticks.")
    running: bool = Field(default=False, description="Whether it runs as soon as it is deployed.")


class ScheduleSpec(dg.Model, dg.Resolvable):
    """A schedule that decides before it launches."""

    name: str
    cron_schedule: str = Field(examples=["0 6 * * *"])
    select: str | None = Field(default=None, description="What it builds, in dbt's selection syntax.")
    exclude: str | None = None
    mode: ModeName = Field(default="state-aware", description="Whether it goes by the state, or builds all it selects.")
    execution_timezone: str | None = None
    running: bool = Field(default=False, description="Whether it runs as soon as it is deployed.")


class JobSpec(dg.Model, dg.Resolvable):
    """A job over a selection."""

    name: str
    select: str | None = Field(default=None, description="What it builds, in dbt's selection syntax.")
    exclude: str | None = None
    mode: ModeName = "state-aware"
    description: str | None = None


def _folder(context: dg.ResolutionContext, value: Any) -> str:
    """Return the project's folder, which may be written relative to the file of the component."""
    return str(context.resolve_source_relative_path(context.resolve_value(value, as_type=str)))


@dg.scaffold_with(SaoProjectScaffolder)
@dataclass
class SaoProjectComponent(dg.StateBackedComponent, dg.Resolvable):
    """A folder of SQL models in dbt's layout as assets that are built only when their result would change.

    The project is read once, when the component's state is refreshed (`dagster dev` does that by itself; elsewhere
    `dg utils refresh-defs-state`, for example while an image is built). Where there is no state, or it is of another
    version, place or environment, the folder is read instead.

        type: sao_dagster.dagster.SaoProjectComponent
        attributes:
          project: "{{ project_root }}/shop"
          schedules:
            - {name: nightly, cron_schedule: "0 2 * * *", select: "tag:report"}
    """

    project: Annotated[
        str,
        dg.Resolver(
            _folder,
            model_field_type=str,
            description="The folder with dbt_project.yml; a relative path starts at this file.",
            examples=["{{ project_root }}/shop"],
        ),
    ]
    target: Annotated[str | None, dg.Resolver.default(description="The target of the profile.")] = None
    policies: Annotated[
        list[dict[str, Any]],
        dg.Resolver(
            _policies,
            model_field_type=list[_POLICY_SPEC.model()],
            description="Refresh policies; a later one wins over an earlier one.",
        ),
    ] = field(default_factory=list)
    evaluator: Annotated[
        EvaluatorSpec | None, dg.Resolver.default(description="The evaluator sensor; null for none.")
    ] = field(default_factory=EvaluatorSpec)
    schedules: Annotated[list[ScheduleSpec], dg.Resolver.default(description="Schedules.")] = field(
        default_factory=list
    )
    jobs: Annotated[list[JobSpec], dg.Resolver.default(description="Jobs.")] = field(default_factory=list)
    check_granularity: Annotated[
        Literal["test", "severity", "model"],
        dg.Resolver.default(description="What one asset check stands for."),
    ] = "test"
    granularity: Annotated[
        Literal["project", "model"],
        dg.Resolver.default(description="What one step of a run is: all models, or one."),
    ] = "project"
    reuse_event: Annotated[
        Literal["observation", "none", "materialization"],
        dg.Resolver.default(description="What a reused model leaves in Dagster's log."),
    ] = "observation"
    virtual_views: Annotated[
        bool, dg.Resolver.default(description="Whether views are virtual assets, where the installed Dagster has them.")
    ] = True
    upstream_assets: Annotated[
        list[str],
        dg.Resolver.default(
            description="Keys of other assets of the code location that produce sources of the project, or patterns of keys.",
            examples=[["raw/orders", "crm/*"]],
        ),
    ] = field(default_factory=list)
    translation: Annotated[
        TranslationFn[Mapping[str, Any]] | None,
        TranslationFnResolver(template_vars_for_translation_fn=lambda node: {"node": node}),
    ] = None
    defs_state: ResolvedDefsStateConfig = field(default_factory=DefsStateConfigArgs.local_filesystem)

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """How the state is kept."""
        name = Path(self.project).name + (f"@{self.target}" if self.target else "")
        return DefsStateConfig.from_args(self.defs_state, default_key=f"SaoProjectComponent[{name}]")

    @property
    def translator(self) -> Any:
        """What makes the specs that the translation changes; override it to have one of your own, or of dagster-dbt's."""
        return SaoTranslator()

    def get_asset_spec(self, base_spec: dg.AssetSpec, node: Node | Source) -> dg.AssetSpec:
        """Return the spec of a model, seed or source after its translation; override it to change what that cannot say."""
        return base_spec

    def write_state_to_path(self, state_path: Path) -> None:
        """Read the folder, and write what was read."""
        (opened_before(self) or load_project(self.project, target=self.target)).save(state_path)

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Path | None) -> dg.Definitions:
        """Return the definitions of the project as it was written, or as it is where nothing usable was."""
        opened = opened_before(self)
        if opened is None and state_path is not None:
            opened = restore_project(state_path, self.project, target=self.target)
        return self._definitions(context, opened or load_project(self.project, target=self.target))

    def _definitions(self, context: dg.ComponentLoadContext, read: SqlProject) -> dg.Definitions:
        opened = read.with_policies(self.policies) if self.policies else read
        parts: list[Callable[[DagsterProject], Any]] = []
        if self.evaluator is not None:
            parts.append(partial(_evaluator, spec=self.evaluator))
        parts += [partial(_schedule, spec=each) for each in self.schedules]
        parts += [partial(_job, spec=each) for each in self.jobs]
        translator = _ComponentTranslator(self, opened)
        project = opened.project
        nodes = [node for node in project.nodes.values() if node.materialized is not Materialized.EPHEMERAL]
        own = {translator.key_of(project, node.name) for node in nodes}
        sources = {translator.key_of(project, name) for name in project.sources}
        beside = keys_of_neighbours(context, self, read, own, SaoProjectComponent)
        if beside is None:
            return dg.Definitions()
        return definitions(
            opened,
            translator=translator,
            reuse_event=ReuseEvent(self.reuse_event),
            check_granularity=CheckGranularity(self.check_granularity),
            granularity=Granularity(self.granularity),
            virtual_views=self.virtual_views,
            upstream_assets=[*self.upstream_assets, *(glob.escape(key.to_user_string()) for key in beside & sources)],
            evaluator=False,
            parts=parts,
        )


def _evaluator(dagster_project: DagsterProject, spec: EvaluatorSpec) -> dg.SensorDefinition:
    return build_evaluator_sensor(
        dagster_project,
        select=spec.select,
        exclude=spec.exclude,
        minimum_interval_seconds=spec.minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if spec.running else dg.DefaultSensorStatus.STOPPED,
    )


def _schedule(dagster_project: DagsterProject, spec: ScheduleSpec) -> dg.ScheduleDefinition:
    return build_schedule(
        dagster_project,
        spec.name,
        spec.cron_schedule,
        select=spec.select,
        exclude=spec.exclude,
        mode=Mode(spec.mode),
        execution_timezone=spec.execution_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if spec.running else dg.DefaultScheduleStatus.STOPPED,
    )


def _job(dagster_project: DagsterProject, spec: JobSpec) -> Any:
    return build_job(
        dagster_project,
        spec.name,
        select=spec.select,
        exclude=spec.exclude,
        mode=Mode(spec.mode),
        description=spec.description,
    )


class _ComponentTranslator(SaoTranslator):
    """Asks the component for specs; a key that its translation changes is changed everywhere."""

    def __init__(self, component: SaoProjectComponent, opened: SqlProject) -> None:
        self._component, self._opened = component, opened
        self._base = as_translator(component.translator, opened)
        self._keys: dict[str, dg.AssetKey] = {}  # a key is asked for by every child, and a translation is a template

    def get_asset_key(self, node: Node | Source) -> dg.AssetKey:
        name = node.id if isinstance(node, Source) else node.name
        if name not in self._keys:
            key = self._base.key_of(self._opened.project, name)
            self._keys[name] = self._translated(dg.AssetSpec(key), node).key
        return self._keys[name]

    def key_of(self, project: Project, name: str) -> dg.AssetKey:
        return self.get_asset_key(project.sources[name] if is_source(name) else project.nodes[name])

    def get_asset_spec(self, project: Project, node: Node | Source) -> dg.AssetSpec:
        base = self._base.get_asset_spec(project, node)
        keys = {self._base.key_of(project, name): self.key_of(project, name) for name in self._reads(project, node)}
        deps = [
            dg.AssetDep(keys.get(each.asset_key, each.asset_key), partition_mapping=each.partition_mapping)
            for each in base.deps
        ]
        return self._translated(base.replace_attributes(deps=deps), node)

    def get_pool(self, project: Project, node: Node) -> str | None:
        return self._base.get_pool(project, node)

    def get_check_name(self, test: DataTest, granularity: CheckGranularity) -> str:
        return self._base.get_check_name(test, granularity)

    def get_check_spec(self, project: Project, test: DataTest) -> dg.AssetCheckSpec:
        return self._base.get_check_spec(project, test)._replace(asset_key=self.key_of(project, test.tested))

    def _reads(self, project: Project, node: Node | Source) -> tuple[str, ...]:
        return () if isinstance(node, Source) else tuple(project.graph.relations_read(node.name))

    def _translated(self, spec: dg.AssetSpec, node: Node | Source) -> dg.AssetSpec:
        translation: Callable[[dg.AssetSpec, Mapping[str, Any]], dg.AssetSpec] | None = self._component.translation
        if translation is not None:
            spec = translation(spec, dbt_properties(self._opened.declared, self._opened.project, node))
        return self._component.get_asset_spec(spec, node)
