"""What dbt says of a project, kept from one load to the next: its manifest, and its SQL as fingerprints want it.

dbt is asked again when a file of the project, a variable, the profile, an environment variable that the project reads, or dbt itself has
changed. Files are known by size, times and number, as dbt's own partial parsing knows them; where these differ, as they do where a
project was copied to where it runs, by their contents.
"""

from __future__ import annotations

import json
import os
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.messages import Message
from sao_dagster.dbt.commands import DbtCommands
from sao_dagster.dbt.kept import place_of
from sao_dagster.dbt.process import DbtProcess, Invocation, dbt_process
from sao_dagster.projects.cache import MADE_BY, kept_file, load, save
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.declarations import file_digest
from sao_dagster.projects.templates.template_run import DIFFERENT, OTHER_RUNS, PINNED
from sao_dagster.warehouses.protocol import Session
from sao_dagster.warehouses.shared.asked_at_once import AskedAtOnce

READ = (".sql", ".yml", ".yaml", ".md", ".csv", ".py", ".json", ".toml", ".env", ".dbtignore")
AT_THE_ROOT = {
    "venv",
    "env",
    "node_modules",
}  # folders there that dbt reads only where a path of the project names them


def project_files(
    root: Path, paths: Iterable[str] = (), more: Iterable[Path] = (), written: Iterable[str] = ("target", "logs")
) -> str:
    """Return a digest of the state of all files that dbt may read in a project, with its packages.

    In the project's folder itself, folders that begin with a dot and those that tools fill are left out, unless they are among the
    paths; and everywhere the environments of Python.

    Args:
        root: The project's folder.
        paths: Where `dbt_project.yml` says that something is, relative to the folder, and perhaps outside of it.
        more: Single files.
        written: Folders that dbt writes to, relative to the project's.
    """
    found: list[JSON] = []
    for file in (*_all_files(root, paths, written), *more):
        stat = file.stat()
        found.append([str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return digest(sorted(found, key=str))


def project_contents(
    root: Path, paths: Iterable[str] = (), more: Iterable[Path] = (), written: Iterable[str] = ("target", "logs")
) -> str:
    """Return a digest of the contents of the files that `project_files` looks at."""
    files = (*_all_files(root, paths, written), *more)
    return digest(sorted([str(file), file_digest(file)] for file in files))


def _all_files(root: Path, paths: Iterable[str], written: Iterable[str]) -> Iterator[Path]:
    seen = {os.path.realpath(root / each) for each in written}
    yield from _files(root, seen, at_the_root=True)
    for path in paths:
        yield from _files(root / path, seen)


def _files(folder: Path, seen: set[str], *, at_the_root: bool = False) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen or not folder.is_dir() or (folder / "pyvenv.cfg").exists():
        return
    seen.add(real)
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.is_dir():
            if not at_the_root or not (entry.name.startswith(".") or entry.name in AT_THE_ROOT):
                yield from _files(Path(entry.path), seen)
        elif entry.name.endswith(READ):
            yield Path(entry.path)


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        key: Digest of all that it follows from, but for environment variables.
        prepared: What dbt said.
        contents: The same with the contents of files in place of their state; empty where nobody knows which dbt has read.
        dbt: Digest of the same without the files.
        why: Why dbt is given what is to be built, where it was found out that it cannot be otherwise.
    """

    key: str
    prepared: PreparedManifest
    contents: str = ""
    dbt: str = ""
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether the environment variables still are what they were."""
        return are_set_as(self.prepared.environment)


PARSING = "dbt is parsing it"
_RENDERED = (".sql", ".yml", ".yaml")
_ENV_VAR = re.compile(r"""\benv_var\(\s*\\?['"]([^'"\\]+)\\?['"]""")
"""A call that names its environment variable, also within quotes of YAML."""


class WarmDbt:
    """A process of dbt that has read the project, for the first one that builds; it ends by itself where nobody comes.

    Attributes:
        stack: Ends it.
        process: The process; None once it is taken.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.process: DbtProcess | None = None
        weakref.finalize(self, self.stack.close)

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """End the process where something fails meanwhile."""
        try:
            yield
        except BaseException:
            self.stack.close()
            raise

    def keep(self, process: DbtProcess, stack: ExitStack) -> None:
        """Keep a process that waits again; what has ended it until now does not any more."""
        self.stack.push(stack.pop_all())
        self.process = process

    def take(self, stack: ExitStack, tell: Callable[[Message], None]) -> DbtProcess | None:
        """Return the process, which another stack ends from now on; None where there is none that goes on."""
        process, self.process = self.process, None
        if process is None or process.has_ended:
            self.stack.close()
            return None
        process.on_message = tell
        stack.push(self.stack.pop_all())
        return process


@dataclass(frozen=True)
class Beside:
    """The warehouse, beside a process of dbt that has read the project.

    Attributes:
        session: Opens it.
        is_exclusive: Whether nobody else can write to it as long as that process has it.
    """

    session: Callable[[], AbstractContextManager[Session]]
    is_exclusive: bool


@dataclass(frozen=True)
class Preparation:
    """One project, as dbt is asked about it.

    Attributes:
        invocation: dbt.
        target: The name of the target.
        profile: The file with the profile.
        paths: Where `dbt_project.yml` says that something is.
        written: Folders that dbt writes to.
        selects: Whether dbt is given what is to be built, and says nothing but its manifest.
        doing: Told what dbt is doing where that takes its time, in words; nothing where it does no more.
    """

    invocation: Invocation
    target: str
    profile: Path
    paths: tuple[str, ...] = ()
    written: tuple[str, ...] = ("target", "logs")
    selects: bool = False
    doing: Callable[[str], None] = field(default=lambda _: None, compare=False)

    @property
    def files(self) -> str:
        """The state of the project's files."""
        return project_files(self.invocation.root, self.paths, (self.profile,), self.written)

    @property
    def contents(self) -> str:
        """All that dbt's account follows from, but for environment variables, with the contents of files: the same where these were copied."""
        return self._key(project_contents(self.invocation.root, self.paths, (self.profile,), self.written))

    @property
    def _place(self) -> Path:
        return place_of(self.invocation.root, self.target)

    def _key(self, files: str) -> str:
        return digest([files, self._dbt])

    @property
    def _dbt(self) -> str:
        """All that dbt's account follows from, but for files and environment variables."""
        installation, how = self.invocation.installation, ["selection"] if self.selects else []
        if self.invocation.profiles is not None:
            how.append(digest(self.invocation.profiles))
        return digest(
            [MADE_BY, list(self.invocation.options_with_target), str(installation.python), installation.version, *how]
        )

    def commands(self, tell: Callable[[Message], None] = lambda _: None) -> DbtCommands:
        """Return what gives commands to dbt; see `DbtCommands`."""
        return DbtCommands(self.invocation, kept_file(self.invocation.root, self.target, "parsed"), tell)

    def ask_by_command(
        self, files: str, rendered: Callable[[PreparedManifest], PreparedManifest], why: str = ""
    ) -> Kept:
        """Ask dbt for its manifest, keep it, and return it.

        Args:
            files: The state of the project's files; what is said is kept where they still are in it afterwards, and where it is known which
                environment variables they read.
            rendered: Adds to a manifest what is known of its templates.
            why: See `Kept.why`.

        Raises:
            DbtError: dbt does not read the project; its words.
        """
        commands, names = self.commands(), self._variables_read()
        self.doing(PARSING)
        try:
            manifest = commands.manifest()
        finally:
            commands.close()
        self.doing("")
        prepared = rendered(PreparedManifest(manifest, {}, environment=_values(names or ())))
        contents = self.contents
        found = Kept(self._key(files), prepared, contents if files == self.files else "", self._dbt, why)
        if names is not None:
            self._keep(files, found)
        return found

    def _variables_read(self) -> frozenset[str] | None:
        """Return the environment variables that the files of the project name; None where one of them is not written out."""
        found, calls = set[str](), 0
        for file in (*_all_files(self.invocation.root, self.paths, self.written), self.profile):
            text = file.read_text(encoding="utf-8", errors="replace") if file.name.endswith(_RENDERED) else ""
            named = _ENV_VAR.findall(text) if "env_var" in text else []
            found.update(named)
            calls += text.count("env_var") - len(named)
        return None if calls else frozenset(found)

    def kept(self, files: str) -> Kept | None:
        """Return what dbt said last, if it would say the same of files in this state."""
        kept = load(self._place)
        if not isinstance(kept, Kept) or kept.dbt != self._dbt or not kept.holds:
            return None
        if kept.key != self._key(files):
            if kept.contents != self.contents:
                return None
            kept = replace(kept, key=self._key(files))
            self._keep(files, kept)
        return kept

    def _keep(self, files: str, kept: Kept) -> None:
        """Keep what dbt said, where files are still in the state in which it has read them."""
        if files == self.files:
            save(self._place, kept)

    def ask(
        self,
        files: str,
        reader: Callable[[PreparedManifest], ManifestReader],
        beside: Callable[[DbtProcess, ManifestReader], Beside],
    ) -> tuple[Kept, WarmDbt]:
        """Ask dbt, keep what it says, and return it, with dbt's process, which has read the project and could build it.

        What it has rendered before is rendered again only where it may be different now (`child/tracing.py`).

        Args:
            files: The state of the project's files; what is said is kept where they still are in it afterwards.
            reader: Reads a manifest.
            beside: Reaches the warehouse beside dbt's process, which has read the manifest.

        Raises:
            DbtError: dbt does not read the project; its words.
        """
        warm = WarmDbt()
        process = warm.stack.enter_context(dbt_process(self.invocation))
        with warm.closed_on_error():
            self.doing(PARSING)
            process.on_doing = lambda what: self.doing(f"dbt is {what}")
            process.wait_until_parsed()
            before = self._before()
            made_of = {
                "rendered": {name: each.get("made_of") for name, each in before.rendered.items()},
                "hooks": {name: each.get("made_of") for name, each in before.hooks.items()},
            }
            said = json.loads(process.ask("prepare", runs=runs(), before=made_of, environment=[*before.environment]))
            kept = said["kept"]
            prepared = PreparedManifest(
                manifest=said["manifest"],
                rendered={**{name: before.rendered[name] for name in kept["rendered"]}, **said["rendered"]},
                answered={name: before.answered[name] for name in kept["rendered"] if name in before.answered},
                environment=_values(said["environment"]),
                hooks={**{name: before.hooks[name] for name in kept["hooks"]}, **said["hooks"]},
                profile=said["profile"],
            )
            read = reader(prepared)
            answered = _answered(process, read, said["rendered"], beside(process, read))
            prepared = replace(prepared, answered={**prepared.answered, **answered})
            process.ask("release")
        self.doing("")
        warm.process = process
        contents = self.contents
        found = Kept(self._key(files), prepared, contents if files == self.files else "", self._dbt)
        self._keep(files, found)
        return found, warm

    def rendered_elsewhere(
        self,
        process: DbtProcess,
        places: Mapping[str, tuple[str | None, str, str]],
        nodes: Sequence[str],
        reader: Callable[[PreparedManifest], ManifestReader],
        beside: Beside,
        *,
        attach: Sequence[tuple[str, str]] = (),
    ) -> tuple[PreparedManifest, Mapping[str, str]]:
        """Let dbt read some nodes elsewhere, and render what reads them.

        Args:
            process: dbt's process, which has read the project and has built nothing.
            places: Where they are: database, schema, identifier, by unique id.
            nodes: Unique ids of what reads them.
            reader: Reads a manifest.
            beside: The warehouse, beside dbt's process.
            attach: Files of DuckDB to be read besides, each with what SQL calls it.

        Returns:
            The renderings alone; and how dbt writes what is elsewhere, by unique id.

        Raises:
            DbtError: dbt's words.
        """
        said = json.loads(process.ask("defer", places=dict(places), attach=[*attach], nodes=[*nodes], runs=runs()))
        prepared = PreparedManifest({}, said["rendered"], hooks=said["hooks"])
        answered = _answered(process, reader(prepared), said["rendered"], beside)
        return replace(prepared, answered=answered), said["relations"]

    def made_of(self, files: str, environment: Mapping[str, str | None]) -> str:
        """Return a digest of all that dbt's account follows from, with the state of files, and the values of environment variables."""
        return digest([self._key(files), sorted(environment.items())])

    def _before(self) -> PreparedManifest:
        """Return what the same dbt said last of the project, whatever its files were; nothing where environment variables were others."""
        kept = load(self._place)
        if isinstance(kept, Kept) and kept.dbt == self._dbt and kept.holds:
            return kept.prepared
        return PreparedManifest({}, {})

    def keep_anew(self, files: str, rendered: Mapping[str, tuple[Mapping[str, Any], str | None]]) -> None:
        """Keep what nodes were rendered to since, and what their questions were answered then.

        Args:
            files: The state of the project's files, which is still that of what is kept, or else nothing is.
            rendered: Renderings and answers by unique id.
        """
        kept = load(self._place) if rendered else None
        if not isinstance(kept, Kept) or kept.key != self._key(files):
            return
        before = kept.prepared
        prepared = replace(
            before,
            rendered={**before.rendered, **{name: each for name, (each, _) in rendered.items()}},
            answered={**before.answered, **{name: answered for name, (_, answered) in rendered.items()}},
        )
        self._keep(files, replace(kept, prepared=prepared))


def _answered(
    process: DbtProcess, read: ManifestReader, rendered: Mapping[str, Any], beside: Beside
) -> dict[str, str | None]:
    """Return what questions of templates are answered, by unique id, where that is what they were answered when these were rendered.

    That is so where nobody can have changed what is there in between, or where another rendering, after they were asked, is the same.
    """
    asking = {name: each for name, each in read.asking() if name in rendered}
    if not asking:
        return {}
    with beside.session() as opened:
        asking_now, now = AskedAtOnce(opened), datetime.now(timezone.utc)
        answered = {name: each.answered_now(asking_now, now) for name, each in asking.items()}
    doubtful = [name for name, each in asking.items() if not (beside.is_exclusive and each.asks_catalog_alone)]
    again = json.loads(process.ask("again", nodes=doubtful)) if doubtful else {}
    return {name: each for name, each in answered.items() if name not in again or again[name] == rendered[name]}


def runs() -> list[tuple[datetime, str]]:
    """Return the runs that SQL is rendered in: that of fingerprints, one in which all is different, and others to compare with."""
    return [(run.started_at, run.run_id) for run in (PINNED, DIFFERENT, *(run for run, _ in OTHER_RUNS))]


def are_set_as(environment: Mapping[str, str | None]) -> bool:
    """Return whether environment variables are what they were, by digests of their values."""
    return environment == _values(environment)


def _values(names: Iterable[str]) -> dict[str, str | None]:
    """Return digests of the values of environment variables, which may be secrets; None for those that are not set."""
    return {name: None if (value := os.environ.get(name)) is None else digest(value) for name in names}
