"""What dbt says of a project, kept from one load to the next: its manifest, and its SQL as fingerprints want it.

dbt is asked again when a file of the project, a variable, the profile, an environment variable that the project reads, or dbt itself has
changed. Files are known by size, times and number, as dbt's own partial parsing knows them.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.messages import Message
from sao_dagster.dbt.process import DbtProcess, Invocation, dbt_process
from sao_dagster.projects.cache import FOLDER, MADE_BY, load, save
from sao_dagster.projects.dbt_manifest import ManifestReader, PreparedManifest
from sao_dagster.projects.templates.template_run import OTHER_RUNS, PINNED
from sao_dagster.warehouses.protocol import Session

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
    seen = {os.path.realpath(root / each) for each in written}
    found: list[JSON] = []
    for file in (
        *_files(root, seen, at_the_root=True),
        *(each for path in paths for each in _files(root / path, seen)),
        *more,
    ):
        stat = file.stat()
        found.append([str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return digest(sorted(found, key=str))


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


def was_prepared(root: Path, target: str) -> bool:
    """Return whether dbt was asked about a project before."""
    return _place(root, target).is_file()


def _place(root: Path, target: str) -> Path:
    return root / FOLDER / f"{quote(target, safe='')}.dbt"


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        key: Digest of all that it follows from, but for environment variables.
        prepared: What dbt said.
    """

    key: str
    prepared: PreparedManifest


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
class Preparation:
    """One project, as dbt is asked about it.

    Attributes:
        invocation: dbt.
        target: The name of the target.
        profile: The file with the profile.
        paths: Where `dbt_project.yml` says that something is.
        written: Folders that dbt writes to.
    """

    invocation: Invocation
    target: str
    profile: Path
    paths: tuple[str, ...] = ()
    written: tuple[str, ...] = ("target", "logs")

    @property
    def files(self) -> str:
        """The state of the project's files."""
        return project_files(self.invocation.root, self.paths, (self.profile,), self.written)

    @property
    def _place(self) -> Path:
        return _place(self.invocation.root, self.target)

    def _key(self, files: str) -> str:
        python = self.invocation.installation.python
        return digest(
            [MADE_BY, files, list(self.invocation.options), str(python), self.invocation.installation.version]
        )

    def kept(self, files: str) -> PreparedManifest | None:
        """Return what dbt said last, if it would say the same of files in this state."""
        kept = self._kept(files)
        return None if kept is None or kept.environment != _values(kept.environment) else kept

    def _kept(self, files: str) -> PreparedManifest | None:
        kept = load(self._place)
        return kept.prepared if isinstance(kept, Kept) and kept.key == self._key(files) else None

    def _keep(self, files: str, prepared: PreparedManifest) -> None:
        save(self._place, Kept(self._key(files), prepared))

    def ask(
        self,
        files: str,
        reader: Callable[[PreparedManifest], ManifestReader],
        session: Callable[[DbtProcess], AbstractContextManager[Session]],
    ) -> tuple[PreparedManifest, WarmDbt]:
        """Ask dbt, keep what it says, and return it, with dbt's process, which has read the project and could build it.

        Args:
            files: The state of the project's files; what is said is kept where they still are in it afterwards.
            reader: Reads a manifest.
            session: Opens the warehouse beside dbt's process.

        Raises:
            DbtError: dbt does not read the project; its words.
        """
        warm = WarmDbt()
        process = warm.stack.enter_context(dbt_process(self.invocation))
        with warm.closed_on_error():
            process.wait_until_parsed()
            said = json.loads(process.ask("prepare", runs=runs()))
            prepared = PreparedManifest(
                said["manifest"], said["rendered"], {}, _values(said["environment"]), said["hooks"]
            )
            asking = dict(reader(prepared).asking())
            if asking:
                with session(process) as opened:
                    now = datetime.now(timezone.utc)
                    answered = {name: each.answered_now(opened, now) for name, each in asking.items()}
                again = json.loads(process.ask("again", nodes=[*asking]))
                same = {name: again[name] == said["rendered"][name] for name in asking}
                prepared = replace(prepared, answered={name: each for name, each in answered.items() if same[name]})
            process.ask("release")
        warm.process = process
        if files == self.files:  # else nobody knows which of them dbt has read
            self._keep(files, prepared)
        return prepared, warm

    def keep_anew(self, files: str, rendered: Mapping[str, tuple[Mapping[str, Any], str | None]]) -> None:
        """Keep what nodes were rendered to since, and what their questions were answered then.

        Args:
            files: The state of the project's files, which is still that of what is kept, or else nothing is.
            rendered: Renderings and answers by unique id.
        """
        before = self._kept(files) if rendered else None
        if before is None:
            return
        prepared = replace(
            before,
            rendered={**before.rendered, **{name: each for name, (each, _) in rendered.items()}},
            answered={**before.answered, **{name: answered for name, (_, answered) in rendered.items()}},
        )
        self._keep(files, prepared)


def runs() -> list[tuple[datetime, str]]:
    """Return the runs that SQL is rendered in: that of fingerprints, and others to compare with."""
    return [(run.started_at, run.run_id) for run in (PINNED, *(run for run, _ in OTHER_RUNS))]


def _values(names: Iterable[str]) -> dict[str, str | None]:
    """Return digests of the values of environment variables, which may be secrets; None for those that are not set."""
    return {name: None if (value := os.environ.get(name)) is None else digest(value) for name in names}
