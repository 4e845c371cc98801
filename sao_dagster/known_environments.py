"""The environments that states know, and the other projects in them: to be read from, to be compared with, to be taken from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from sao_dagster.core.environment import KnownEnvironment
from sao_dagster.core.project import Project
from sao_dagster.errors import SelectionError
from sao_dagster.projects.published_manifest import read_published_manifest
from sao_dagster.projects.sao_file import DeferTo, Settings, url_from
from sao_dagster.run.comparison import PROVEN, changes, results
from sao_dagster.run.elsewhere import Elsewhere, Reusable, environments_called, find_environment
from sao_dagster.run.others import OthersNow, Wanted, others_now
from sao_dagster.run.settings import utc_now
from sao_dagster.state.protocol import StateStore
from sao_dagster.warehouses.protocol import AttachingWarehouse, Warehouse


@dataclass(frozen=True)
class KnownEnvironments:
    """What the states that a project names know, by what people call an environment: its target, or target and schema.

    Attributes:
        project: The name of the project.
        target: The target that it is built into.
        is_branch: Whether that is into a schema of a branch's own, and not into that of the target.
        root: Its folder.
        settings: What is set, of states of others, too.
        open_store: Opens its own state.
        target_at: Returns what another target of its profile builds into; None where it has none of that name, or nobody can tell.
    """

    project: str
    target: str
    is_branch: bool
    root: Path
    settings: Settings
    open_store: Callable[[], StateStore]
    target_at: Callable[[str], Warehouse | None] = lambda target: None

    def find(self, to: DeferTo) -> tuple[StateStore, KnownEnvironment]:
        """Return an environment of the project, and the state that knows it.

        Raises:
            SelectionError: The state knows none, or several, of that name.
            StateError: The state cannot be reached or read.
        """
        store = self._store(to.state_url)
        return store, self._placed(find_environment(store, self.project, to.environment), to.environment)

    def called(self, name: str) -> KnownEnvironment:
        """Return the environment of a name in the project's own state; errors as those of `find`."""
        return self.find(DeferTo(environment=name))[1]

    def changes(self, project: Project, environment: str | None) -> dict[str, frozenset[str]]:
        """Return how nodes and data tests differ from those of another environment, by name, for `state:` of a selection.

        Args:
            project: The project, as it is here.
            environment: The other one, or a folder with dbt's `manifest.json`; None for the one that is deferred to.

        Raises:
            SelectionError: As those of `find`; or none is named; or the manifest is not understood.
            StateError: The state cannot be reached or read.
        """
        if environment is not None and _has_manifest(environment):
            from sao_dagster.projects.manifest_changes import manifest_changes  # with all that reads dbt's manifests

            return manifest_changes(project, Path(environment))
        to = self._deferred_to(environment)
        if to is None:
            raise SelectionError(
                "state: compares with another environment; name it with --state or --defer, or as defer in sao.yml"
            )
        store, known = self.find(to)
        return changes(project, store.builds(known.key), store.tests(known.key), store.shown(known.key, PROVEN))

    def results(self, here: str, environment: str | None) -> dict[str, frozenset[str]]:
        """Return what became of nodes and data tests in the last run of an environment, by name, for `result:` of a selection.

        Args:
            here: The key of the environment that is built into.
            environment: Another one; None for this one, as for a folder with a manifest.

        Raises:
            SelectionError: As those of `find`; or no run of it is known.
            StateError: The state cannot be reached or read.
        """
        store, key = self.open_store(), here
        if environment is not None and not _has_manifest(environment):
            store, known = self.find(self._deferred_to(environment) or DeferTo(environment=environment))
            key = known.key
        runs = store.runs(key, limit=1)
        if not runs:
            raise SelectionError(f"result: asks for the last run, and the state knows none of {key}")
        return results(store.run_decisions(runs[0].run_id))

    def are_reused_in(self, schema: str) -> bool:
        """Return whether the environment that is built into is one of those from which builds are taken: then it takes none."""
        here = {f"{self.target}/{schema}"} | (set() if self.is_branch else {self.target})
        return any(to.environment in here for to in self.settings.reused_from)

    def reusable(self) -> Reusable:
        """Return the environments from which builds are taken (`reuse_from`), with a warning for those that are not known yet.

        Raises:
            SelectionError: The state knows several of a name.
            StateError: The state cannot be reached or read.
        """
        found, warnings = list[Elsewhere](), list[str]()
        for to in self.settings.reused_from:
            store = self._store(to.state_url)
            if not environments_called(store, self.project, to.environment):
                warnings.append(f"nothing is reused from {to.environment}, which the state does not know")
                continue
            one = self._placed(find_environment(store, self.project, to.environment), to.environment)
            builds, tests = partial(store.builds, one.key), partial(store.tests, one.key)
            found.append(Elsewhere(name=to.environment, known=one, builds=builds, tests=tests))
        return Reusable(tuple(found), self.settings.clone, tuple(warnings))

    def others(self, names: Iterable[str], warehouse: Warehouse) -> OthersNow:
        """Return what is known now of other projects.

        Args:
            names: Theirs.
            warehouse: Where this project is built.
        """
        wanted = []
        for name in names:
            where = self.settings.read_from(name)
            if where.manifest is None:
                url = where.state_url and url_from(self.root, where.state_url)
                wanted.append(Wanted(name, where.environment or self.target, open_store=partial(self._store, url)))
            else:
                read = partial(read_published_manifest, self.root / where.manifest, name)
                wanted.append(Wanted(name, where.manifest, read_manifest=read))
        return others_now(wanted, warehouse, utc_now())

    def _placed(self, known: KnownEnvironment, name: str) -> KnownEnvironment:
        """Return an environment as it is in the file that the profile of the project says, if that is the same database.

        It may have been found elsewhere: in what a folder was copied from, with its file and its state.
        """
        warehouse = self.target_at(name.partition("/")[0])
        if (
            warehouse is None
            or known.places in ((), (warehouse.place,))
            or not isinstance(warehouse, AttachingWarehouse)
        ):
            return known
        database = warehouse.database_id_at(warehouse.place)
        is_there = database is not None and known.is_in(database)
        return replace(known, places=(warehouse.place,)) if is_there else known

    def _deferred_to(self, environment: str | None) -> DeferTo | None:
        return self.settings.deferring(environment, favor=False).deferred_to

    def _store(self, url: str | None) -> StateStore:
        """Return the state at a URL; the project's own where there is none."""
        return _store_of_others(url) if url else self.open_store()


def _has_manifest(name: str) -> bool:
    """Return whether what is compared with is a folder with dbt's manifest, rather than an environment."""
    return (Path(name) / "manifest.json").is_file()


@cache
def _store_of_others(url: str) -> StateStore:
    """Return a state that is only read, opened once in a process: each tick of a sensor asks for it."""
    from sao_dagster.state.sql_store import SqlStateStore  # what only looks at the project needs none

    return SqlStateStore(url, read_only=True)
