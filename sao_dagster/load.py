"""Opening a project from its folder, with the models that its `sao_project.py` declares in Python."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from sao_dagster.dbt.installation import is_installed
from sao_dagster.dbt.kept import was_prepared
from sao_dagster.errors import Location, ProjectError, SaoError
from sao_dagster.gc_pause import no_collection
from sao_dagster.projects.cache import MADE_BY, load
from sao_dagster.projects.dbt_folder.dependencies import project_dependencies
from sao_dagster.projects.dbt_folder.folder import DBT_FOLDER, OpenedFolder, open_folder
from sao_dagster.projects.declarations import Format, NeedsDbt
from sao_dagster.projects.sao_file import FILE, Settings, read_settings
from sao_dagster.sql_project import SavedProject, SqlProject
from sao_dagster.warehouses.protocol import Warehouse

PYTHON_FILE = "sao_project.py"


FORMATS: tuple[Format, ...] = (DBT_FOLDER,)
"""The formats that are known, in the order in which they are asked."""


def load_project(
    folder: str | Path,
    *,
    target: str | None = None,
    variables: Mapping[str, Any] | None = None,
    formats: Sequence[Format] = FORMATS,
    profiles_dir: Path | None = None,
    state_url: str | None = None,
    schema: str | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> SqlProject:
    """Return the project of a folder, in the first of the formats that is in it.

    A file `sao_project.py` in it may declare more: it has a function `declare(project)` that takes the
    `SqlProject` of the folder; or, where there is no project of any format, a `SqlProject` called `project`.

    Args:
        folder: The folder.
        target: The target of the profile; None for its default.
        variables: Values over those of `vars`.
        formats: How the project may be written.
        profiles_dir: The folder of `profiles.yml`; None for `DBT_PROFILES_DIR`, the project's folder or `~/.dbt`, as with dbt.
        state_url: The URL of the shared state (`sqlite:///FILE` or `postgresql://...`), over what is set elsewhere.
        schema: The schema of a branch to build into, in place of that of the target; dbt is told so, where it builds.
        doing: Told what dbt is doing where it reads the project and that takes its time, in words.

    Raises:
        ProjectError: There is no project in the folder, or its Python fails.
    """
    began = time.time()  # what is edited while it is read is newer
    again = partial(_load, Path(folder).resolve(), target, variables, formats, profiles_dir, schema, state_url)
    with no_collection():
        opened = again(doing=doing)
    opened.read_at, opened.again, opened.is_branch = began, again, schema is not None
    return opened


def restore_project(file: Path, folder: str | Path, *, target: str | None = None) -> SqlProject | None:
    """Return the project of a folder as `SqlProject.save` wrote it, or None where that is no longer true of here.

    It is not where another version wrote it, for another place or target, or under other environment variables, nor where
    the project has a materializer of its own, or its files say something by the clock. Whether the files have changed since is not looked at: that is what it is for. But what
    dbt builds it reads again then, so where dbt has read the project, it is not either where the files have other contents, or dbt is another one.
    """
    opening = open_folder(folder, target=target)
    with no_collection():
        saved = load(file)
    if not isinstance(saved, SavedProject) or saved.made_by != MADE_BY or not saved.assembled.holds:
        return None
    if not saved.is_whole or saved.declared.follows_clock:
        return None
    declared, settings = saved.declared, read_settings(opening.root, opening.target.name)
    environment = f"{opening.settings.name}.{opening.target.name}"
    if (declared.root, declared.environment) != (str(opening.root), environment):
        return None
    said = declared.dbt
    if settings.executor not in ("auto", "native" if declared.native else "dbt"):
        return None
    if settings.reader not in ("auto", "folder" if said is None else "manifest"):
        return None
    if said is None:
        warehouse: Warehouse | None = opening.warehouse
    else:
        from sao_dagster.dbt.read import read_before

        warehouse = read_before(opening, declared, said, settings)
    if warehouse is None:
        return None
    opened = SqlProject.restored(saved, warehouse)
    opened.read_at, opened.target_at = file.stat().st_mtime, cache(opening.target_at)
    return opened


def _load(
    root: Path,
    target: str | None,
    variables: Mapping[str, Any] | None,
    formats: Sequence[Format],
    profiles_dir: Path | None,
    schema: str | None,
    state_url: str | None,
    doing: Callable[[str], None] = lambda _: None,
) -> SqlProject:
    """Return the project of the first format that is in a folder, with what its `sao_project.py` declares on top."""
    file = root / PYTHON_FILE
    found = next((each for each in formats if each.is_in(root)), None)
    if schema is not None and found is not None and found is not DBT_FOLDER:
        raise ProjectError(
            f"a project of {found.name} says itself which schema it is built into; it cannot be {schema}"
        )
    if found is None and file.is_file():
        if target is not None or variables or profiles_dir or schema:
            raise ProjectError(
                "it declares its target, variables and schema itself; --target, --vars, --profiles-dir and a schema are for folders with dbt_project.yml",
                location=Location(PYTHON_FILE),
            )
        project = getattr(_module(file), "project", None)
        if not isinstance(project, SqlProject):
            raise ProjectError("it has no SqlProject called 'project'", location=Location(PYTHON_FILE))
        if state_url is not None:
            project.settings = project.settings.model_copy(update={"state_url": state_url})
        return project
    if found is None:
        if not root.is_dir():
            raise ProjectError(f"the folder {root} does not exist; say where dbt_project.yml is")
        looked_for = ", ".join(each.name for each in formats)
        raise ProjectError(f"there is no {looked_for} in {root}; name the project's folder (--project-dir)")
    opened = (
        _opened(root, target, variables, profiles_dir, schema, state_url, doing)
        if found is DBT_FOLDER
        else SqlProject.of(*found.read(root, target, variables), state_url=state_url)
    )
    if file.is_file():
        declare = getattr(_module(file), "declare", None)
        if declare is None:
            raise ProjectError("it has no function 'declare(project)'", location=Location(PYTHON_FILE))
        declare(opened)
    return opened


def _opened(
    root: Path,
    target: str | None,
    variables: Mapping[str, Any] | None,
    profiles_dir: Path | None,
    schema: str | None,
    state_url: str | None,
    doing: Callable[[str], None],
) -> SqlProject:
    """Return the project of a folder in dbt's layout, read and built by whom `sao.yml` says.

    Raises:
        UnsupportedError: The project needs dbt, and there is none.
    """
    folder = open_folder(root, target=target, variables=variables, profiles_dir=profiles_dir, schema=schema)
    settings = read_settings(folder.root, folder.target.name)
    executor, reader = settings.executor, settings.reader
    if executor == "dbt" and reader == "folder":
        raise ProjectError(
            "reader: folder goes with executor: native; what dbt builds, dbt reads", location=Location(FILE)
        )
    if executor == "native" or reader == "folder":
        by_dbt, why = reader == "manifest", "sao.yml says so"
    elif executor == "dbt" or reader == "manifest":
        by_dbt, why = True, "sao.yml says so"
    elif folder.target.errors and is_installed(settings.dbt, folder.root):
        by_dbt, why = True, str(NeedsDbt.of(folder.target.errors[0]))
    else:
        by_dbt, why = _stays_with_dbt(folder, settings.dbt), "it was before"
    if not by_dbt:
        opened = SqlProject.of(*folder.read(), state_url=state_url)
        opened.target_at = cache(folder.target_at)
        needed = opened.needs_dbt if executor == "auto" and reader == "auto" else ()
        if not needed or not is_installed(settings.dbt, folder.root):
            opened.built_by = f"read and built by this package: {_why_native(settings, needed)}"
            return opened
        why = str(needed[0])
    for name, location in project_dependencies(folder.root).items():
        raise ProjectError(
            f"models of the project {name} are read, which dbt does not do, and dbt reads this project ({why}); take out what needs dbt, or "
            f"declare what is read of {name} as a source",
            location=location,
        )
    from sao_dagster.dbt.read import read_with_dbt, why_selected  # loaded where dbt reads

    native = executor == "native"
    declared, warehouse = read_with_dbt(
        folder, variables, settings.dbt, native=native, execution=settings.dbt_execution, schema=schema, doing=doing
    )
    opened = SqlProject.of(declared, warehouse, state_url=state_url)
    opened.target_at = cache(folder.target_at)
    opened.built_by = f"{'read' if native else 'read and built'} by dbt: {why}{why_selected(warehouse)}"
    return opened


def _why_native(settings: Settings, needed: Sequence[NeedsDbt]) -> str:
    """Return why dbt neither reads nor builds a project."""
    if settings.executor == "native" or settings.reader == "folder":
        return "sao.yml says so"
    return "some of it needs dbt, which is not there" if needed else "nothing is used that only dbt does"


def _stays_with_dbt(folder: OpenedFolder, dbt: str | None) -> bool:
    """Return whether dbt has read a project before, and still can."""
    return was_prepared(folder.root, folder.target.name) and is_installed(dbt, folder.root)


def _module(file: Path) -> Any:
    name = f"_sao_project_{abs(hash(str(file)))}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ProjectError("it cannot be loaded", location=Location(str(file)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SaoError:
        raise
    except Exception as error:
        raise ProjectError(f"it fails with {type(error).__name__}: {error}", location=Location(file.name)) from error
    return module
