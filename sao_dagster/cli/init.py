"""`sao init`: a project from nothing; or what is found in a folder in dbt's layout, and a `sao.yml` for it."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sao_dagster.cli.common import OK, Request, run_command
from sao_dagster.cli.options import AsJson, ProfilesDir, ProjectDir, StateUrl, Target, Vars
from sao_dagster.cli.terminal import Terminal, escaped, named
from sao_dagster.core.inputs import InputKind
from sao_dagster.core.messages import counted
from sao_dagster.core.nodes import Materialized
from sao_dagster.core.policy import Expiry
from sao_dagster.errors import ProjectError, SaoError
from sao_dagster.run.missing import missing_sources
from sao_dagster.warehouses.protocol import VersionsBy

if TYPE_CHECKING:
    from sao_dagster.core.nodes import Node, Source
    from sao_dagster.core.project import Project
    from sao_dagster.sql_project import SqlProject

app = typer.Typer()

SHOWN = 5
"""How many models of a kind are named; the others are counted."""

SAO_YML = """\
# Settings of sao_dagster that belong to no model; dbt does not read this file.
executor: auto  # who builds: native, dbt, or whoever can
{dbt}
# state_url: postgresql://user@host/database  # for all who build into this target; without it a file in .sao, for this machine alone
# targets:  # settings for single targets of the profile
#   prod:
#     state_url: ...
"""


@dataclass(frozen=True)
class Survey:
    """What is known of a project before anything is built.

    Attributes:
        lines: Title and text of each thing that is known, in the order in which they are shown.
        broken: What cannot be built, with the reason.
        always: What is built in each run, with the reason.
        missing: Sources that are not in the warehouse.
        present: What is in the warehouse already.
    """

    lines: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]
    always: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    present: tuple[str, ...]


@app.command("init")
def init(
    folder: Annotated[Path | None, typer.Argument(help="The folder; the one of --project-dir if nothing is said.")] = None,
    project_dir: ProjectDir = Path(), target: Target = None, as_json: AsJson = False, variables: Vars = None,
    profiles_dir: ProfilesDir = None, state_url: StateUrl = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
) -> None:  # fmt: skip
    """Make a small project in an empty folder; in a dbt project, say what is found there, and offer to write sao.yml.

    Of a dbt project it is said what would be built always, and why.
    """
    terminal = Terminal(as_json)
    request = Request(
        folder or project_dir, target, variables, terminal=terminal, profiles_dir=profiles_dir, state_url=state_url
    )

    def action() -> int:
        root = request.project_dir.resolve()
        if not (root / "dbt_project.yml").is_file():
            return _make(terminal, root, yes=yes)
        found = survey(request.open())
        file = root / "sao.yml"
        if as_json:
            shown = {
                "broken": dict(found.broken),
                "always": dict(found.always),
                "missing": list(found.missing),
                "present": list(found.present),
                "has_sao_yml": file.exists(),
            }
            terminal.json({**dict(found.lines), **shown})
        else:
            _print(terminal, found)
        python = dict(found.lines)["dbt"].rpartition(" in ")[2]
        text = SAO_YML.format(dbt=f"# dbt: {python if Path(python).is_file() else '../dbt-venv  # its environment'}")
        if file.exists():
            terminal.note("sao.yml is there, and stays as it is")
        elif yes or (not as_json and _agrees(terminal, text)):
            file.write_text(text, encoding="utf-8")
            terminal.note("sao.yml is written")
        terminal.note("next: [bold]sao plan[/], and [bold]sao build[/]; nothing has been built")
        return OK

    run_command(request, action)


def _make(terminal: Terminal, root: Path, *, yes: bool) -> int:
    """Write a project to start from, after a yes where the folder has other things in it."""
    if root.exists() and not root.is_dir():
        raise ProjectError(f"{root} is a file; a project is a folder")
    others = [each.name for each in root.iterdir() if not each.name.startswith(".")] if root.is_dir() else []
    asked = f"there is no dbt_project.yml in {root}, and other things are ({named(sorted(others))})"
    if others and not yes:
        if terminal.as_json or not sys.stdin.isatty():
            raise ProjectError(f"{asked}; --yes makes a project beside them")
        terminal.note(f"{asked}.")
        if not typer.confirm("Make a project beside them?", default=False, err=True):
            return OK
    from sao_dagster.projects.starter import write_starter

    written = write_starter(root)
    if terminal.as_json:
        terminal.json({"folder": str(root), "written": list(written)})
    else:
        terminal.say(f"a project is in {root}:", *(f"  {path}" for path in written))
    where = "" if root == Path.cwd() else f" --project-dir {os.path.relpath(root)}"
    terminal.note(f"next: [bold]sao build{where}[/], and [bold]sao ui{where}[/] for Dagster; nothing has been built")
    return OK


def survey(opened: SqlProject) -> Survey:
    """Return what is known of a project from its files and the catalog of its warehouse; nothing is built, read or written there."""
    project, warehouse = opened.project, opened.warehouse
    try:
        with warehouse.session(read_only=True) as session:
            catalog = session.catalog()
        reached = ""
    except SaoError as error:
        catalog, reached = {}, f", which cannot be opened now: {error}"
    kinds = Counter(each.resource_type for each in project.nodes.values())
    kept = Counter(each.materialized.value for each in project.nodes.values() if each.resource_type == "model")
    numbers = [counted(count, kind) for kind, count in kinds.items()]
    if kept:
        numbers[0] += f" ({', '.join(f'{count} {kind}' for kind, count in kept.most_common())})"
    numbers += [counted(len(project.sources), "source"), counted(len(project.tests), "data test")]
    present = tuple(
        name
        for name, node in project.nodes.items()
        if node.relation.key in catalog and node.materialized not in (Materialized.VIEW, Materialized.EPHEMERAL)
    )
    missing = () if reached else tuple(sorted(missing_sources(project, catalog)))
    lines = [
        ("project", f"{project.name}: {', '.join(numbers)}"),
        ("warehouse", f"{warehouse.type}, schema {warehouse.schema} in {warehouse.place}{reached}"),
        ("dbt", _dbt(opened)),
        ("executor", opened.built_by or "this package"),
        ("packages", _packages(project)),
        ("sources", _sources(opened)),
        ("models", _versions(warehouse.capabilities.model_versions)),
        ("volatile", _expiring(project) or "nothing is built again by the clock"),
    ]
    always = tuple(
        (name, reason) for name, node in project.nodes.items() if (reason := _always(opened, node)) is not None
    )
    broken = tuple((name, str(node.error)) for name, node in project.nodes.items() if node.error is not None)
    return Survey(tuple(lines), broken, always, missing, present)


def _print(terminal: Terminal, found: Survey) -> None:
    rows = [*found.lines]
    if found.broken:
        rows += [("broken", _counted(found.broken, "cannot be built")), *_shown(found.broken)]
    always = _counted(found.always, "built in each run") if found.always else "nothing is built in each run"
    rows += [("always", always), *_shown(found.always)]
    if found.missing:
        names = named([each.removeprefix("source:") for each in found.missing], SHOWN)
        rows.append(
            ("missing", f"{counted(len(found.missing), 'source')} not in the warehouse ({names}): what reads one fails")
        )
    if found.present:
        rows.append(
            (
                "present",
                f"{counted(len(found.present), 'table')} there already ({named(found.present, SHOWN)}), built once unless a build is recorded; `sao state adopt` records them as they are",
            )
        )
    terminal.table((f"[bold]{title}[/]", escaped(text)) for title, text in rows)


def _counted(found: tuple[tuple[str, str], ...], words: str) -> str:
    more = f", of which {SHOWN} are" if len(found) > SHOWN else ""
    return f"{len(found)} {words}{more}:"


def _shown(found: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [("", f"{name}: {reason}") for name, reason in found[:SHOWN]]


def _agrees(terminal: Terminal, text: str) -> bool:
    terminal.note(f"\nsao.yml would be:\n\n{escaped(text)}")
    if not sys.stdin.isatty():
        terminal.note("nothing is written; [bold]--yes[/] writes it")
        return False
    return typer.confirm("Write it?", default=True, err=True)


def _dbt(opened: SqlProject) -> str:
    """Return which dbt there is, and where."""
    from sao_dagster.dbt.installation import find_dbt

    try:
        found = find_dbt(opened.settings.dbt, opened.root)
    except SaoError as error:
        return str(error)
    versions = re.findall(
        r"\b(dbt_core|dbt_" + re.escape(opened.warehouse.type) + r")-([\d.]+\w*)\.dist", found.version
    )
    named = ", ".join(f"{name.replace('_', '-')} {version}" for name, version in versions)
    return f"{named or 'dbt'} in {found.python or found.program}"


def _packages(project: Project) -> str:
    """Return the packages that are installed, or that none of those is that the project names."""
    folder = Path(project.root) / "dbt_packages"
    installed = sorted(each.name for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []
    told = [
        str(each)
        for each in project.notices
        if each.location and each.location.path in ("packages.yml", "dependencies.yml")
    ]
    return ", ".join(installed) or "; ".join(told) or "none"


def _sources(opened: SqlProject) -> str:
    """Return how many sources are versioned in which way."""
    content = _versions(opened.warehouse.capabilities.source_versions)

    def way(source: Source) -> str:
        if source.says_loaded_at:
            return "by loaded_at"
        return "by their files" if source.files else content

    ways = Counter(map(way, opened.project.sources.values()))
    return ", ".join(f"{count} {words}" for words, count in ways.most_common()) or "none"


def _versions(by: VersionsBy) -> str:
    return {
        VersionsBy.CONTENT: "by content: what comes out as before builds nothing below",
        VersionsBy.SNAPSHOT: "by what the warehouse keeps of changes (snapshots of DuckLake or Iceberg, commits of Delta, Snowflake's tokens); of what has none of these, only loaded_at_field or loaded_at_query tells news",
        VersionsBy.METADATA: "by the warehouse's own times of change; of what has none that counts, only loaded_at_field or loaded_at_query tells news",
        VersionsBy.NONE: "by the build that made them; of what others fill, only loaded_at_field or loaded_at_query tells news",
    }[by]


def _expiring(project: Project) -> str:
    """Return how many models are built again by the clock, since their SQL asks for the time or for chance."""
    words = {Expiry.HOUR: "each hour", Expiry.DAY: "each day", Expiry.UTC_DAY: "each day"}
    expiries = (project.graph.expiry(name) for name, node in project.nodes.items() if node.materialized.holds_data)
    ways = Counter(words[each] for each in expiries if each in words)
    return ", ".join(f"{counted(count, 'model')} again {way}" for way, count in sorted(ways.items()))


def _always(opened: SqlProject, node: Node) -> str | None:
    """Return why a node is built in each run, as far as that is known from what is written; None where it is not."""
    for each in node.undeclared:
        if each.kind is InputKind.UNKNOWN:
            return f"{each.name} is not known before"
    if opened.project.graph.expiry(node.name) is Expiry.ALWAYS:
        return "its SQL gives something else each time; `volatile: ignore`, or daily, says that this is no news"
    for name in node.depends_on:
        source = opened.project.sources.get(name)
        if (
            source is not None
            and not source.files
            and not source.says_loaded_at
            and opened.warehouse.capabilities.source_versions is VersionsBy.NONE
        ):
            return f"nothing tells news of {name}; give it a loaded_at_field or a loaded_at_query"
    return None
