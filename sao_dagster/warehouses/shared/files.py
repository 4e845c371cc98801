"""Versions of files by what is in them."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.hashing import JSON, digest
from sao_dagster.core.nodes import Source

_READ = 64 * 2**20  # bytes of a file that is read; of larger ones, size and time count
_MAGIC = re.compile(r"[*?\[]")
_SETTLED = 2.0  # seconds after which a file that is written again has another time
_FINE_TICK, _COARSE_TICK = 0.02, 2.0  # seconds; what a file system's clock may take to move on


def files_version(source: Source, root: str) -> DataVersion | None:
    """Return the version of the files of a source, and of how they are read; None where none is there or they are remote.

    Args:
        source: The source; its paths start at `root` where they are not absolute.
        root: The project's folder.
    """
    if not source.files:
        return None
    return version_of_files(patterns_of(source, root), root, source.expression.replace(root, "."))


def patterns_of(source: Source, root: str) -> list[str]:
    """Return the paths and globs of the files of a source, from where this process is."""
    return [each if each.startswith("~") else os.path.join(root, each) for each in source.files]  # noqa: PTH118 - a glob


def are_gone(source: Source, root: str) -> bool:
    """Return whether a file or glob of a source names nothing in a folder that is there; whatever else it may name is taken to be there.

    Args:
        source: The source; its paths start at `root` where they are not absolute.
        root: The project's folder.
    """
    return is_any_gone(patterns_of(source, root))


def is_any_gone(patterns: Iterable[str | None]) -> bool:
    """Return whether one of some paths and globs names nothing in a folder that is there, as for `are_gone`."""
    return any(_is_gone(os.path.expanduser(each)) for each in patterns if each and "://" not in each)  # noqa: PTH111 - a glob


def _is_gone(path: str) -> bool:
    fixed = _MAGIC.split(path, maxsplit=1)[0]
    if not os.access(os.path.dirname(fixed), os.R_OK | os.X_OK):  # noqa: PTH120 - as the rest: a glob is no path
        return False
    return not os.path.exists(path) and not matching_files(path)  # noqa: PTH110


def version_of_files(patterns: Iterable[str | None], root: str, read_by: str = "") -> DataVersion | None:
    """Return the version of files: which there are, and what is in them; None where none is there or they are remote.

    A file of more than 64 MB counts by its size and the time it was written.

    Args:
        patterns: Paths and globs, relative to where this process is, as the engine takes them; `~` is somebody's home. None for one that is not known here.
        root: The folder from which paths are compared, so that a folder that was moved has the same versions.
        read_by: How they are read, if that counts.
    """
    seen: list[JSON] = []
    for pattern in patterns:
        if pattern is None or "://" in pattern:
            return None
        files = matching_files(pattern)
        if not files:
            return None
        for name in files:
            try:
                stat = Path(name).stat()
                is_read = stat.st_size <= _READ
                content: JSON = DIGESTS.of(name, stat) if is_read else [stat.st_size, stat.st_mtime_ns]
            except OSError:
                return None
            seen.append([os.path.relpath(name, root), content])
    return DataVersion("files/3", digest([read_by, seen]))


def stamp_of_files(patterns: Iterable[str | None]) -> str | None:
    """Return a token of files that differs whenever one of them may have been written again; None where nothing tells that.

    They are not read, so that this is cheap, and shows also that a file changed and changed back.

    Args:
        patterns: As for `version_of_files`.
    """
    seen: list[JSON] = []
    for pattern in patterns:
        if pattern is None or "://" in pattern:
            return None
        for name in matching_files(pattern):
            stamp = file_stamp(name)
            if stamp is None:
                return None
            seen.append([name, stamp])
    return digest(seen)


def file_stamp(path: str | Path) -> list[JSON] | None:
    """Return size, times and number of a file; an empty list where it is not there, None where they do not tell that it is written again.

    Two writes in one tick of the file system's clock look alike, so a file that was just written is given the time to grow older than
    a tick, or has no stamp where ticks are long. What is read of it after this is what it holds under the stamp.
    """
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    is_coarse = not (stat.st_mtime_ns % 1_000_000_000 or stat.st_ctime_ns % 1_000_000_000)
    if time.time() - max(stat.st_mtime, stat.st_ctime) < (_COARSE_TICK if is_coarse else _FINE_TICK):
        if is_coarse:
            return None
        time.sleep(_FINE_TICK)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def matching_files(pattern: str) -> list[str]:
    """Return the files that a path or glob of DuckDB names, sorted: `**` is any number of folders, and hidden files count.

    Args:
        pattern: Absolute, or relative to where this process is; `~` is somebody's home.
    """
    path = os.path.expanduser(pattern)  # noqa: PTH111 - a glob is no path
    if not _MAGIC.search(path):
        return [path] if os.path.isfile(path) else []  # noqa: PTH113 - false also where a folder cannot be read
    parts = path.split("/")
    fixed = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    start = "/".join(parts[:fixed]) or ("/" if path.startswith("/") else "")
    return sorted(set(_matching(start, tuple(parts[fixed:]))))


def _matching(folder: str, parts: tuple[str, ...]) -> Iterator[str]:
    first, rest = parts[0], parts[1:]
    if first == "**" and rest:
        yield from _matching(folder, rest)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        name = f"{folder.rstrip('/')}/{entry.name}" if folder else entry.name
        is_folder = entry.is_dir()
        if first == "**" and is_folder:
            yield from _matching(name, parts)
        elif first == "**" and not rest:
            yield name
        elif first != "**" and fnmatch.fnmatchcase(entry.name, first):
            if rest and is_folder:
                yield from _matching(name, rest)
            elif not rest and not is_folder:
                yield name


@dataclass(frozen=True)
class ReadPaths:
    """From where an engine takes relative paths.

    Attributes:
        folder: Where whoever builds is, if that may be somewhere else than this process; what is not found from here is looked up from there.
        searches: Whether the engine looks for them by a rule of somebody's own.
    """

    folder: str | None = None
    searches: bool = False

    def of(self, pattern: str) -> str | None:
        """Return a path or glob as this process finds it; None where that may be another file than the engine's."""
        if os.path.isabs(pattern) or pattern.startswith("~") or "://" in pattern:  # noqa: PTH117 - a glob is no path
            return pattern
        if self.searches:
            return None
        if self.folder is None or os.path.realpath(self.folder) == os.path.realpath(os.curdir):
            return pattern
        there = os.path.join(self.folder, pattern)  # noqa: PTH118 - a glob
        if not matching_files(pattern):
            return there
        return None if matching_files(there) else pattern


def file_digest(path: str | Path, size: int = 12) -> str:
    """Return a fingerprint of a file's content, of some bytes.

    Raises:
        OSError: It cannot be read.
    """
    found = hashlib.blake2b(digest_size=size)
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


@dataclass
class FileDigests:
    """Digests of what is in files, under machine and path, size, times and number: what has not changed by these is read once.

    Attributes:
        known: By a digest of machine and path: size, times (ns), number and the digest of the content, as one text.
        fresh: Those of them that were made since they were last taken to be kept.
    """

    known: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, stat: os.stat_result) -> str:
        """Return the digest of a file; one that was just written is read each time.

        Raises:
            OSError: It cannot be read.
        """
        path = os.path.realpath(name)
        if time.time() - max(stat.st_mtime, stat.st_ctime) <= _SETTLED:
            return file_digest(path, 16)
        # whoever puts back the time of a file changes the other one
        key, times = digest([platform.node(), path]), f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
        state = f"{stat.st_size} {times} {stat.st_ino}"
        before, _, found = self.known.get(key, "").rpartition(" ")
        if before != state:
            found = file_digest(path, 16)
            self.known[key] = self.fresh[key] = f"{state} {found}"
        return found

    def know(self, kept: Mapping[str, str]) -> None:
        """Take over what was kept; what this process has seen itself is newer."""
        self.known = {**kept, **self.known}

    def take(self) -> dict[str, str]:
        """Return what is to be kept, once."""
        taken, self.fresh = self.fresh, {}
        return taken


DIGESTS = FileDigests()
"""Those that this process knows."""
