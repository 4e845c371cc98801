"""A project with all that it takes to plan and run it: declarations, warehouse, shared state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from sao_dagster.core.deferral import Deferral
from sao_dagster.core.elsewhere import Clone
from sao_dagster.core.environment import Environment
from sao_dagster.core.indirect_selection import Indirect
from sao_dagster.core.nodes import Node
from sao_dagster.core.project import Project
from sao_dagster.core.selection import Selection, select
from sao_dagster.core.selection_methods import Changes
from sao_dagster.errors import Location, ProjectError, SaoError
from sao_dagster.known_environments import KnownEnvironments
from sao_dagster.projects.assembly.assembled import AssembledProject, assemble
from sao_dagster.projects.cache import MADE_BY, kept_file, load, save
from sao_dagster.projects.config import checked
from sao_dagster.projects.dbt_folder.folder import read_folder
from sao_dagster.projects.declarations import Declarations, NeedsDbt, Part
from sao_dagster.projects.policies import POLICY_RULE, PolicyRule
from sao_dagster.projects.python_models import PythonModels, caller
from sao_dagster.projects.sao_file import OnStateError, Settings, read_settings
from sao_dagster.run.defer import DeferringTo
from sao_dagster.run.elsewhere import Reusable
from sao_dagster.run.others import OthersNow
from sao_dagster.run.runner import Runner
from sao_dagster.run.settings import utc_now
from sao_dagster.sql.inference.kept import KeptProofs
from sao_dagster.sql.kept_unsettled import KeptUnsettled
from sao_dagster.state.location import default_state_url, note_state, state_beside, state_elsewhere
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import Materializer, Session, Warehouse


@dataclass(frozen=True)
class SavedProject:
    """What `SqlProject.save` writes.

    Attributes:
        made_by: Versions of what made it; another one cannot read it.
        declared: What was declared.
        assembled: What it means.
        built_by: Who reads and builds it, as `SqlProject` says it.
        is_whole: Whether that is all of it: a materializer of the project's own is not in the file.
    """

    made_by: str
    declared: Declarations
    assembled: AssembledProject
    built_by: str | None
    is_whole: bool


class SqlProject(PythonModels):
    """A project of SQL models: what Dagster, the command line and Python all work with.

    Args:
        name: The project's name; that of `dbt_project.yml` where there is a folder.
        folder: A folder in dbt's layout to start from.
        warehouse: Where to build; for a folder, what its profile says.
        target: The target of the profile.
        variables: Values for `var`, over those of the folder.
        materializer: Who builds; None for the warehouse's own way.
        state_url: The URL of the shared state (`sqlite:///FILE` or `postgresql://...`); see `state_url` below for the default.
        on_state_error: Whether a run whose state cannot be reached fails, or builds everything.
        retention_days: For how long what happened is kept.
        branch_days: For how many days after its last use an environment is kept that `sao ci` has made; None for ever.
        defer: The environment from which is read what a selection reads, does not select, and this environment does not have: its target,
            or target and schema (`dev/anna`).
        favor_state: Whether that is read there also where this environment has it.
        reuse_from: The environments from which is taken what they have built from the same code and inputs, likewise.
        clone: How: by a `view` over it, where that is possible, or as a `copy`; with `defer`, what is not here is read there.
        projects: Where other projects are read: by name, an environment, or a mapping as in `sao.yml`.
        prove_tests: Whether data tests that are proven to pass are not run.
        verify_proofs: One in so many proven tests is run all the same, by chance.
        hashes_are_unique: Whether hashes of different texts are taken to be different, in proofs.

    Attributes:
        settings: What is set; an argument wins over an environment variable, and that over `sao.yml`.
        built_by: Who reads and builds it, and why, in words; None where nobody else could.
        read_at: When its files were read, in seconds since the epoch, by the clock of this machine.
        is_branch: Whether it is built into a schema of a branch's own, in place of that of the target.
        target_at: Returns what another target of its profile builds into; None where it has none of that name, or was not read from a folder.
        again: Reads it anew, for what its files say by the clock; None where it was not read from a folder.

    Raises:
        ProjectError: The folder is no project, or there is neither a folder nor a warehouse; or a setting means nothing.
    """

    is_branch: bool = False
    again: Callable[[], SqlProject] | None = None

    def __init__(
        self,
        name: str | None = None,
        *,
        folder: str | Path | None = None,
        warehouse: Warehouse | None = None,
        target: str | None = None,
        variables: Mapping[str, Any] | None = None,
        materializer: Materializer | None = None,
        state_url: str | None = None,
        on_state_error: OnStateError | None = None,
        retention_days: float | None = None,
        branch_days: float | None = None,
        defer: str | None = None,
        favor_state: bool | None = None,
        reuse_from: Sequence[str] | None = None,
        clone: Clone | None = None,
        projects: Mapping[str, Any] | None = None,
        prove_tests: bool | None = None,
        verify_proofs: int | None = None,
        hashes_are_unique: bool | None = None,
    ) -> None:
        again = None
        if folder is not None:
            again = partial(
                SqlProject, folder=Path(folder).resolve(), target=target, variables=variables, warehouse=warehouse
            )
            declared, warehouse = read_folder(folder, target=target, variables=variables, warehouse=warehouse)
        elif name is None or warehouse is None:
            raise ProjectError("a project without a folder needs a name and a warehouse")
        else:
            root = Path(caller().path).parent
            declared = Declarations.into(warehouse, name=name, root=root, variables=variables)
            declared.has_folder = False
        given = {
            "state_url": state_url,
            "on_state_error": on_state_error,
            "retention_days": retention_days,
            "branch_days": branch_days,
            "defer": defer,
            "favor_state": favor_state,
            "reuse_from": None if reuse_from is None else list(reuse_from),
            "clone": clone,
            "projects": projects,
            "prove_tests": prove_tests,
            "verify_proofs": verify_proofs,
            "hashes_are_unique": hashes_are_unique,
        }
        self._open(declared, warehouse, materializer, given)
        self.again = again

    def _open(
        self,
        declared: Declarations,
        warehouse: Warehouse,
        materializer: Materializer | None,
        given: Mapping[str, Any],
    ) -> None:
        super().__init__(declared)
        self.built_by: str | None = None
        self.target_at: Callable[[str], Warehouse | None] = lambda target: None
        self.read_at = time.time()
        self._policies: tuple[PolicyRule, ...] = ()
        self.warehouse = warehouse
        self.materializer = materializer
        self.settings: Settings = read_settings(self.root, str(declared.target.get("name", warehouse.name)), given)

    @classmethod
    def of(
        cls, declared: Declarations, warehouse: Warehouse, *, materializer: Materializer | None = None, **settings: Any
    ) -> SqlProject:
        """Return the project that declarations mean, whatever they were read from.

        Args:
            declared: All that is declared; more can be added in Python.
            warehouse: Where to build.
            materializer: Who builds; None for the warehouse's own way.
            settings: As arguments of `SqlProject`: `state_url` and so on.

        Raises:
            ProjectError: A setting is unknown, or means nothing.
        """
        opened = cls.__new__(cls)
        opened._open(declared, warehouse, materializer, settings)
        return opened

    @cached_property
    def project(self) -> Project:
        """What was declared, put together. Declaring more afterwards starts anew."""
        return self._completed(self.assembled.project)

    @property
    def environments(self) -> KnownEnvironments:
        """What the state, and those of others, know of environments and of other projects."""
        target = str(self.declared.target.get("name", self.warehouse.name))
        return KnownEnvironments(
            self.declared.name, target, self.is_branch, self.root, self.settings, lambda: self.store, self.target_at
        )

    def _others(self) -> OthersNow:
        """Return what is known now of the projects whose models are read here."""
        names = (*self.declared.projects, *self.settings.projects) if self.declared.native else ()
        return self.environments.others(dict.fromkeys(names), self.warehouse) if names else OthersNow()

    def _reading(self, others: OthersNow) -> Declarations:
        """Return what was declared, with what is known of other projects."""
        return replace(self.declared, others=others.projects) if others.projects else self.declared

    def _completed(self, project: Project) -> Project:
        """Return an assembled project with what is set for proofs, and with the policies on top."""
        proofs = self.settings.proofs
        if project.proofs != proofs:
            project = replace(project, proofs=proofs)
        for rule in self._policies:
            chosen = {name: project.nodes[name] for name in select(project, rule.select).nodes}
            changed = {name: replace(node, policy=rule.over(node.policy)) for name, node in chosen.items()}
            project = replace(project, nodes={**project.nodes, **changed})
        return project

    @cached_property
    def assembled(self) -> AssembledProject:
        """The project, with what it depends on."""
        return assemble(self._reading(self._others()))

    def save(self, file: Path) -> None:
        """Write the assembled project to a file, from which `restore_project` opens it without reading its models.

        The file is a pickle, as trusted as the code beside it. What the profile says is not in it, and is read
        anew; the values that models take from the environment are.
        """
        is_whole = self.materializer is None
        save(file, SavedProject(MADE_BY, self.declared, self.assembled, self.built_by, is_whole))

    @classmethod
    def restored(cls, saved: SavedProject, warehouse: Warehouse) -> SqlProject:
        """Return the project that was saved, to be built in a warehouse."""
        opened = cls.of(saved.declared, warehouse)
        opened.__dict__["assembled"], opened.built_by = saved.assembled, saved.built_by
        return opened

    def with_policies(self, rules: Sequence[Mapping[str, Any]]) -> SqlProject:
        """Return the project with policies on top of its own; a later rule wins over an earlier one.

        Args:
            rules: Each has `select`, and policies as `model` takes them.

        Raises:
            ProjectError: A rule is wrong, or selects what is not there.
        """
        checked_rules = [(Location(f"policies[{number}]"), rule) for number, rule in enumerate(rules)]
        changed = copy(self)
        changed.declared = self.declared.copy()
        changed._policies = (
            *self._policies,
            *(checked(POLICY_RULE, rule, None, where) for where, rule in checked_rules),
        )
        changed.__dict__.pop("project", None)
        _ = changed.project  # so that a rule that selects nothing is told at once
        return changed

    @property
    def needs_dbt(self) -> tuple[NeedsDbt, ...]:
        """What the project uses and only dbt does; nothing where dbt reads it."""
        if self.declared.native:
            _ = self.assembled  # where some of it shows
        return tuple(self.declared.needs_dbt)

    @property
    def state_url(self) -> str:
        """Where the shared state is.

        What is set; else see `default_state_url`. A project without a folder leaves nothing beside the file that declares it: the folder
        that the process works in takes the place of its own.
        """
        return self.settings.state_url or default_state_url(self.root if self.declared.has_folder else Path.cwd())

    def other_state(self, environment: str) -> str | None:
        """Return what to say where another state has builds of an environment of this project, too; None where none is seen."""
        if not self.declared.has_folder:
            return None
        beside = state_beside(self.root, self.state_url)
        if beside is None:
            other = state_elsewhere(self.root, environment, self.state_url)
            return other and (
                f"since this state was used last, a run with another one has built this environment: {other}; each takes what the other builds "
                f"for changed by someone else. Set state_url in sao.yml, or DAGSTER_HOME, so that all share one"
            )
        return (
            f"runs without DAGSTER_HOME have left another state of this project in {beside}; each takes what the other builds for changed "
            f"by someone else. Set state_url in sao.yml, so that all share one, or remove that file"
        )

    def note_state(self, environment: str) -> None:
        """Note, for runs that use another state, that one with this state has built an environment now."""
        if self.declared.has_folder:
            note_state(self.root, environment, self.state_url, utc_now())

    @cached_property
    def store(self) -> StateStore:
        """The shared state, opened."""
        from sao_dagster.state.sql_store import SqlStateStore  # what only looks at the project needs none

        return SqlStateStore(self.state_url, self.settings.retention)

    @property
    def environment(self) -> str:
        """The key of the environment that the project is built into, as far as the state knows it; see `Environment`.

        Raises:
            StateError: The state cannot be reached or read.
        """
        return self.store.environment_at(self.place)

    @property
    def place(self) -> Environment:
        """The environment as it is told by where its database is, which has the last word once it is there."""
        warehouse = self.warehouse
        return Environment(name=self.declared.environment, schema=warehouse.schema, database=warehouse.place)

    def _project_now(self) -> Project:
        """Return the project as it is now, as long as it has the same nodes and tests, and reads nothing else.

        What is known of other projects may have changed, and templates or YAML files may configure by the clock.
        """
        others = self._others()
        if self.declared.follows_clock and self.again is not None:
            try:
                fresh = self.again()
            except SaoError:  # somebody is editing it
                return replace(self.project, failures=others.failures)
            now = self._completed(assemble(replace(fresh.declared, others=others.projects)).project)
        elif self.assembled.is_lasting and others.projects == self.project.others:
            return replace(self.project, failures=others.failures) if others.failures else self.project
        else:
            now = self._completed(assemble(self._reading(others)).project)
        known = self.project
        is_same = now.nodes.keys() == known.nodes.keys() and now.tests.keys() == known.tests.keys()
        is_same = is_same and all(name in known.sources or each.error is not None for name, each in now.sources.items())
        return replace(now if is_same else known, failures=others.failures)

    def runner(self) -> Runner:
        """Return what plans and runs this project."""
        return Runner(
            project=self._project_now(),
            warehouse=self.warehouse,
            open_store=lambda: self.store,
            materializer=self.materializer,
            build_without_state=self.settings.on_state_error == "build",
            proofs=self._proofs,
            unsettled=self._unsettled,
            assemble=self._deferring,
            find_deferred=None if self.settings.defer is None else self.deferring_to,
            find_reusable=self.reusable if self.settings.reused_from else None,
        )

    @cached_property
    def _proofs(self) -> KeptProofs:
        """What was proven of its models; kept in its folder."""
        return KeptProofs(*self._kept("proofs"))

    @cached_property
    def _unsettled(self) -> KeptUnsettled:
        """Whether one build of its incremental models is enough; kept in its folder."""
        return KeptUnsettled(*self._kept("unsettled"))

    def _kept(self, kind: str) -> tuple[dict[str, Any], Callable[[dict[str, Any]], None] | None]:
        """Return what this version has kept in the project's folder, and what keeps it there; nothing where there is no folder."""
        if not self.declared.has_folder:
            return {}, None
        file = kept_file(self.root, self.declared.environment, kind)
        found = load(file)
        entries = found[1] if isinstance(found, tuple) and found[0] == MADE_BY else {}
        return entries, lambda entries: save(file, (MADE_BY, entries))

    def deferring(self, environment: str | None, *, favor: bool = False) -> SqlProject:
        """Return the same project, which reads from another environment what it does not have.

        Args:
            environment: Its target, or target and schema; None for what is set.
            favor: Whether that is read there also where this environment has it.
        """
        settings = self.settings.deferring(environment, favor=favor)
        if settings == self.settings:
            return self
        _ = self.store  # opened once for both
        changed = copy(self)
        changed.settings = settings
        return changed

    def deferring_to(self) -> DeferringTo:
        """Return the environment that is deferred to.

        Raises:
            ProjectError: None is, or dbt reads the project and this package builds it.
            SelectionError: The state knows none, or several, of that name.
            StateError: The state cannot be reached or read.
        """
        to = self.settings.deferred_to
        if to is None:
            raise ProjectError("no environment is deferred to; see `defer`")
        self._check_defers(f"deferring to {to.environment}")
        store, known = self.environments.find(to)
        return DeferringTo(
            name=to.environment,
            known=known,
            builds=lambda: store.builds(known.key),
            tests=lambda: store.tests(known.key),
            favored=self.settings.favor_state,
        )

    def reusable(self) -> Reusable:
        """Return the environments from which builds are taken (`reuse_from`), with a warning for those that are not known yet.

        An environment that is named itself takes nothing.

        Raises:
            ProjectError: Somebody else builds the project.
            SelectionError: The state knows several of a name.
            StateError: The state cannot be reached or read.
        """
        environments = self.environments
        if environments.are_reused_in(self.warehouse.schema):
            return Reusable()
        if not self.declared.native or self.materializer is not None:
            raise ProjectError(
                "reuse_from is set, and builds are taken from other environments only where this package itself builds; remove it for this "
                "target, or set executor: native"
            )
        if self.settings.clone == "defer":
            self._check_defers("clone: defer")
        return environments.reusable()

    def _check_defers(self, what: str) -> None:
        if self.declared.native and self.declared.dbt is not None:
            raise ProjectError(
                f"{what} is not done where dbt reads the project and this package builds it; let one do both"
            )

    def selection(
        self,
        include: str | None,
        exclude: str | None = None,
        *,
        state: str | None = None,
        changes: Changes | None = None,
        indirect: Indirect = Indirect.EAGER,
    ) -> Selection:
        """Return what a selection in dbt's syntax means, also by what other environments and the last run say.

        Args:
            include: `--select`; None for everything.
            exclude: `--exclude`.
            state: The environment that `state:` compares with, or a folder with dbt's `manifest.json`; None for the one that is deferred to.
            changes: Returns how nodes and data tests differ from that, where somebody has looked already.
            indirect: Which data tests come with what is selected: dbt's `--indirect-selection`.

        Raises:
            SelectionError: It is not understood, selects what is not there, or names an environment that is not known.
            StateError: It asks for the state, which cannot be reached or read.
        """
        environments = self.environments
        return select(
            self.project,
            include,
            exclude,
            changes or cache(lambda: environments.changes(self.project, state)),
            cache(lambda: environments.results(self.environment, state)),
            indirect,
        )

    def _deferring(self, deferral: Deferral, selection: Selection, session: Session) -> Project | None:
        """Return the project in which some nodes are read from another environment; see `Runner.assemble`."""
        if self.declared.native:
            part = _part(self.project, deferral, selection)
            declared = self._reading(self._others()).deferring(deferral.environment, deferral.relations, part)
        else:
            from sao_dagster.dbt.deferral import deferring_in_dbt

            found = deferring_in_dbt(self.declared, deferral, selection, session)
            if found is None:
                return None
            declared = found
        if not deferral.relations:
            return self.project
        project = assemble(declared).project

        def deferring(known: Node) -> Node:
            """Return a node as it is then. What is broken stays so, who reads what it may not, too; and policies: what selects them may be above what is read elsewhere."""
            made = project.nodes.get(known.name, known)
            if known.name in deferral.relations:
                return made
            return known if known.error is not None else replace(made, policy=known.policy)

        tests = {
            name: replace(project.tests[name], shared_name=known.shared_name) if name in project.tests else known
            for name, known in self.project.tests.items()
        }
        whole = replace(
            project,
            nodes={name: deferring(known) for name, known in self.project.nodes.items()},
            sources={**self.project.sources, **project.sources},
            tests=tests,
            proofs=self.project.proofs,
            failures=self._others().failures,
        )
        return whole.following_views()

    def declaring(self) -> None:
        """Note that something is about to be declared: the project is put together anew when it is asked for."""
        self.__dict__.pop("project", None)
        self.__dict__.pop("assembled", None)


def _part(project: Project, deferral: Deferral, selection: Selection) -> Part:
    """Return what is put together anew where some nodes are read elsewhere: what is selected, and what is above that up to those nodes."""
    tests = [name for name in selection.tests if name in project.tests]
    pending = [*selection.nodes, *(read for name in tests for read in project.tests[name].reads)]
    anew = set(deferral.relations)
    while pending:
        name = pending.pop()
        if name not in anew and name in project.nodes:
            anew.add(name)
            pending += project.nodes[name].depends_on
    known = {name: node.depends_on for name, node in project.nodes.items() if name not in anew}
    return Part(known, tuple(sorted(tests)))
