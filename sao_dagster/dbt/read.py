"""Reading a project with dbt, to be executed by dbt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sao_dagster.core.nodes import Materialized, Node, NodeError
from sao_dagster.dbt.adapters.warehouse import AdapterWarehouse
from sao_dagster.dbt.installation import DbtInstallation, find_dbt
from sao_dagster.dbt.prepare import Beside, Kept, Preparation, WarmDbt, are_set_as
from sao_dagster.dbt.process import DbtProcess, Invocation, UnexpectedDbtError
from sao_dagster.dbt.selected import SelectedWarehouse, files_of
from sao_dagster.dbt.selectors import selectors
from sao_dagster.dbt.supervised import LOCKS_ARE_SEEN
from sao_dagster.dbt.warehouse import DbtWarehouse
from sao_dagster.errors import UnsupportedError
from sao_dagster.projects.assembly.assemble import put_together
from sao_dagster.projects.dbt_folder.folder import OpenedFolder
from sao_dagster.projects.dbt_folder.profiles import find_profiles, profiles_with_schema
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.declarations import Declarations, ReadByDbt
from sao_dagster.projects.manifest_templates import not_rendered
from sao_dagster.projects.sao_file import DbtExecution, Settings
from sao_dagster.warehouses.described import DescribedWarehouse
from sao_dagster.warehouses.protocol import Warehouse


def read_with_dbt(
    opened: OpenedFolder,
    variables: Mapping[str, Any] | None,
    dbt: str | None = None,
    *,
    native: bool = False,
    execution: DbtExecution = "auto",
    schema: str | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> tuple[Declarations, Warehouse]:
    """Return what a folder declares as dbt reads it, and its warehouse, in which dbt builds.

    Args:
        opened: The folder.
        variables: Values over those of `vars`.
        dbt: Where dbt is; None to look for it.
        native: Whether this package builds what dbt has read.
        execution: How dbt builds.
        schema: The schema of a branch, into which the folder was opened to be built.
        doing: Told what dbt is doing where that takes its time, in words.

    Raises:
        UnsupportedError: dbt is not there, or cannot build so.
        DbtError: dbt does not read the project; its words.
    """
    installation = find_dbt(dbt, opened.root)
    if schema is not None:
        _check_builds_branches(opened.warehouse, installation, execution)
    inside, selected = (
        replace(_preparation(opened, variables, installation, schema, selects=each), doing=doing)
        for each in (False, True)
    )
    files = inside.files
    if native or execution == "inside":
        if not installation.is_python:
            raise UnsupportedError(
                f"this dbt is {_NOT_PYTHON}; leave out {'reader: manifest' if native else 'dbt_execution: inside'}"
            )
        return _read_inside(opened, inside, files, inside.kept(files), native=native)
    if execution == "selection":
        return _read_selected(opened, selected, "sao.yml says so", is_set=True)
    if not installation.is_python:
        return _read_selected(opened, selected, f"this dbt is {_NOT_PYTHON}")
    kept = inside.kept(files)
    before = selected.kept(files) if kept is None else None  # dbt would have to be started to find out why again
    if before is not None and before.why:
        return _read_selected(opened, selected, before.why)
    try:
        return _read_inside(opened, inside, files, kept)
    except UnexpectedDbtError as error:
        if schema is not None:
            raise
        why = f"this dbt is another one inside than those that are known ({error.found})"
        return _read_selected(opened, selected, why)


def read_before(opened: OpenedFolder, declared: Declarations, said: ReadByDbt, settings: Settings) -> Warehouse | None:
    """Return where a folder that dbt has read before is built, without starting dbt; None where it might say something else now.

    Args:
        opened: The folder.
        declared: What it declared then.
        said: What dbt said then.
        settings: Where dbt is, and how it builds.

    Raises:
        UnsupportedError: dbt is not there.
    """
    preparation = _preparation(opened, None, find_dbt(settings.dbt, opened.root), selects=said.selects)
    files = preparation.files  # before their contents, so that a change in between is seen when dbt begins to build
    if not said.contents or said.contents != preparation.contents or not are_set_as(said.environment):
        return None
    if settings.dbt_execution not in ("auto", "selection" if said.selects else "inside"):
        return None
    if declared.native:
        return opened.warehouse
    if said.selects:
        return _selected_warehouse(opened, preparation, files, said.manifest, said.ids, "it was before")
    read, warm = ManifestReader(PreparedManifest(said.manifest, {}, profile=said.profile), declared), WarmDbt()
    warehouse = _reached(opened.warehouse, preparation, read, warm)
    return DbtWarehouse.over(warehouse, preparation, files, said.ids, warm)


def why_selected(warehouse: Warehouse) -> str:
    """Return in words that dbt is given what is to be built, and why; nothing where it is not."""
    if not isinstance(warehouse, SelectedWarehouse):
        return ""
    return f"; it is given exactly what is to be built, by one command for each step down the graph: {warehouse.why}"


_NOT_PYTHON = "a program without Python (dbt 2.x), so that nobody can decide inside of it"


def _read_inside(
    opened: OpenedFolder, preparation: Preparation, files: str, kept: Kept | None, *, native: bool = False
) -> tuple[Declarations, Warehouse]:
    """Return the same where dbt renders, and builds node by node inside one `dbt build`.

    Args:
        opened: The folder.
        preparation: The project, as dbt is asked about it.
        files: The state of its files.
        kept: What dbt said last, if it would say the same of them.
        native: Whether this package builds what dbt has read.
    """
    if not native:  # dbt does what the profile asks for
        opened = replace(opened, target=replace(opened.target, errors=()))
    warm = WarmDbt()
    if kept is None:

        def beside(process: DbtProcess, asked: ManifestReader) -> Beside:
            warehouse = DbtWarehouse(_reached(opened.warehouse, preparation, asked, warm), preparation, files)
            return Beside(partial(warehouse.beside, process), warehouse.native.capabilities.exclusive)

        reader = partial(ManifestReader, declared=opened.declarations())
        kept, warm = preparation.ask(files, reader, beside)
    read = ManifestReader(kept.prepared, opened.declarations(), native=native)
    warehouse = opened.warehouse if native else _reached(opened.warehouse, preparation, read, warm)
    if warehouse is not opened.warehouse:
        placed = replace(opened, target=replace(opened.target, warehouse=warehouse))
        read = replace(read, declared=placed.declarations())
    declared, said = read.read(), kept.prepared
    declared.dbt = ReadByDbt(said.manifest, read.ids, said.environment, said.profile, kept.contents)
    return declared, warehouse if native else DbtWarehouse.over(warehouse, preparation, files, read.ids, warm)


def _read_selected(
    opened: OpenedFolder, preparation: Preparation, why: str, *, is_set: bool = False
) -> tuple[Declarations, Warehouse]:
    """Return the same where dbt says nothing but its manifest, and is given what is to be built.

    Args:
        opened: The folder.
        preparation: The project, as dbt is asked about it.
        why: Why that is so.
        is_set: Whether a setting says so, and nothing of this dbt.
    """
    files = preparation.files
    opened = replace(opened, target=replace(opened.target, errors=()))
    kept = preparation.kept(files)
    if kept is None:
        _check_reached(opened.warehouse, why)  # before dbt is started
        if not preparation.invocation.installation.is_python:
            why = f"{preparation.invocation.installation.check_program()} is {_NOT_PYTHON}"
        kept = preparation.ask_by_command(files, partial(_opaque, opened), "" if is_set else why)
    read = _reader(opened, kept.prepared)
    declared, said = read.read(), kept.prepared
    declared.dbt = ReadByDbt(said.manifest, read.ids, said.environment, said.profile, kept.contents, selects=True)
    return declared, _selected_warehouse(opened, preparation, files, said.manifest, read.ids, kept.why or why)


def _reader(opened: OpenedFolder, prepared: PreparedManifest) -> ManifestReader:
    """Return what reads a manifest whose templates are rendered here."""
    declared = opened.declarations()
    declared.search_order = opened.settings.search_order
    declared.own_package_first = opened.settings.own_package_first
    return ManifestReader(prepared, declared, renders=True)


def _opaque(opened: OpenedFolder, prepared: PreparedManifest) -> PreparedManifest:
    """Return a manifest with those of its templates that cannot be rendered here.

    Nobody knows what they are, so that they are built each time. So are those that read an ephemeral model which is one of them, and those
    that read less here than dbt says.
    """
    read = _reader(opened, prepared)
    project, _, _ = put_together(read.read())
    nodes, ids = prepared.manifest["nodes"], read.ids
    reads = {
        name: {read.names.node(each) for each in nodes[ids[name]]["depends_on"].get("nodes") or ()}
        for name in ids
        if ids[name] in nodes
    }
    why: dict[str, str] = {}
    for name, expected in reads.items():
        found = project.nodes.get(name) or project.tests.get(name)
        known = () if found is None else found.depends_on if isinstance(found, Node) else found.reads
        if found is not None and found.error is not None:
            why[name] = _words(found.error)
        elif read.lacks_text(ids[name]):
            why[name] = "the manifest does not have its text"
        elif found is not None and not expected <= {*known}:
            why[name] = f"dbt says that it reads {', '.join(sorted(expected - {*known}))}"
    ephemeral = {name for name, node in project.nodes.items() if node.materialized is Materialized.EPHEMERAL}
    below = [name for name in reads if name not in why]
    while more := [name for name in below if name not in why and any(each in why for each in reads[name] & ephemeral)]:
        why |= dict.fromkeys(more, "it reads an ephemeral model that cannot be rendered here")
    hooks, rendered = {}, {}
    for name, text in why.items():
        node = nodes[ids[name]]
        if node["resource_type"] == "seed":
            texts = {
                key: [
                    each["sql"] if isinstance(each, Mapping) else each
                    for each in node["config"].get(key.replace("_", "-")) or ()
                ]
                for key in ("pre_hook", "post_hook")
            }
            hooks[ids[name]] = {**texts, "asking": [each for key in texts for each in texts[key]], "error": text}
        else:
            rendered[ids[name]] = not_rendered(text)
    return replace(prepared, rendered=rendered, hooks=hooks)


def _words(error: NodeError) -> str:
    """Return why a template cannot be rendered here; where dbt has to do that, it does, and needs not be asked for."""
    return str(replace(error, message=f"{error.needs_dbt}, which dbt alone has") if error.needs_dbt else error)


def _check_reached(warehouse: Warehouse, why: str) -> None:
    """Refuse a warehouse that only dbt's adapter reaches, or that cannot be given to dbt and taken back.

    Raises:
        UnsupportedError: It is one.
    """
    from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse  # it takes its time to import

    is_in_files = not isinstance(warehouse, DuckDBWarehouse) or bool(files_of(warehouse))
    if isinstance(warehouse, DescribedWarehouse) or not is_in_files:
        raise UnsupportedError(
            f"{why}; and what is in {warehouse.type} is seen through dbt's adapter alone, by dbt 1.8 to 1.12. Without these, dbt builds into files of "
            f"DuckDB and into PostgreSQL: install dbt-core 1.8 to 1.12"
        )
    if isinstance(warehouse, DuckDBWarehouse) and not LOCKS_ARE_SEEN:
        raise UnsupportedError(
            f"{why}; and this system does not say who has a file of DuckDB, which is given to dbt and taken back (it needs POSIX locks, as Linux "
            f"and macOS have them): install dbt-core 1.8 to 1.12"
        )


def _selected_warehouse(
    opened: OpenedFolder,
    preparation: Preparation,
    files: str,
    manifest: Mapping[str, Any],
    ids: Mapping[str, str],
    why: str,
) -> SelectedWarehouse:
    """Return the warehouse in which dbt builds what it is given."""
    _check_reached(opened.warehouse, why)
    return SelectedWarehouse(
        opened.warehouse,
        preparation,
        files,
        ids,
        selectors=selectors(manifest),
        has_hooks=any(each["resource_type"] == "operation" for each in manifest["nodes"].values()),
        why=why,
    )


def _preparation(
    opened: OpenedFolder,
    variables: Mapping[str, Any] | None,
    installation: DbtInstallation,
    schema: str | None = None,
    *,
    selects: bool,
) -> Preparation:
    """Return the project as dbt is asked about it, in the schema of a branch where there is one."""
    profile = opened.target.file or find_profiles(opened.root)
    options = ["--project-dir", str(opened.root), "--profiles-dir", str(profile.parent)]
    if installation.is_python:  # dbt 2.x knows no such option
        options += ["--no-fail-fast"]  # what fails is known, and holds back what is below
    if variables:
        options += ["--vars", json.dumps(dict(variables))]
    profiles = (
        None
        if schema is None
        else profiles_with_schema(profile, str(opened.settings.profile), opened.target.name, schema)
    )
    target = opened.target
    invocation = Invocation(opened.root, installation, tuple(options), target.name, target.is_default, profiles)
    return Preparation(
        invocation, target.name, profile, opened.settings.paths, opened.settings.written, selects=selects
    )


def _check_builds_branches(warehouse: Warehouse, installation: DbtInstallation, execution: DbtExecution) -> None:
    """Refuse to let dbt build into a schema of a branch's own, and read the rest elsewhere, where that cannot be done.

    Raises:
        UnsupportedError: The warehouse is seen through dbt's adapter alone, or dbt is given what is to be built.
    """
    if _is_by_adapter(warehouse):
        why = (
            f"what is in {warehouse.type} is seen through dbt's adapter alone, and schemas are made, compared and dropped on DuckDB and PostgreSQL; "
            f"give a target a schema of its own in profiles.yml, and run sao build --select state:modified+ --defer"
        )
    elif execution == "selection":
        why = "dbt is given exactly what is to be built, as sao.yml says (dbt_execution: selection), and its `ref` gives what is in this environment alone"
    elif not installation.is_python:
        why = f"this dbt is {_NOT_PYTHON}; it can be built with dbt 1.8 to 1.12"
    else:
        return
    raise UnsupportedError(f"a branch is not built into a schema of its own here: {why}")


def _reached(warehouse: Warehouse, preparation: Preparation, read: ManifestReader, warm: WarmDbt) -> Warehouse:
    """Return the warehouse by a door that there is: our own, or dbt's adapter."""
    return AdapterWarehouse.of(warehouse.name, preparation, read, warm) if _is_by_adapter(warehouse) else warehouse


def _is_by_adapter(warehouse: Warehouse) -> bool:
    """Return whether dbt's adapter alone reaches a warehouse.

    That is one that no session of ours knows; and what dbt's process has attached on DuckDB: a DuckLake, or what is beside a database in memory.
    """
    if isinstance(warehouse, DescribedWarehouse):
        return True
    from sao_dagster.warehouses.duckdb.warehouse import DuckDBWarehouse  # it takes its time to import

    if not isinstance(warehouse, DuckDBWarehouse):
        return False
    databases = [{"path": warehouse.path}, *warehouse.attach]
    is_lake = any(str(each["path"]).startswith("ducklake:") or each.get("is_ducklake") for each in databases)
    return is_lake or (warehouse.path == ":memory:" and len(databases) > 1)
