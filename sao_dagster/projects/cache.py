"""What can be kept from one load of a project to the next, by content: nothing here knows of times or of git.

Three things are kept in the project's `.sao` folder. The assembled project, under a digest of everything it was
assembled from, with the environment variables that its templates read; and the byte code of templates, under a
digest of their text, for when only some of them changed; and what was proven of queries. All are like Python's own `__pycache__`: they may be
deleted at any time, are written whole or not at all, and are as trustworthy as the folder they are in.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any
from urllib.parse import quote

from sao_dagster.version import __version__

FOLDER = ".sao"
_OWN = Path(__file__).parents[1]


def _own_files() -> str:
    """Return what tells this package from another one of the same version: sizes and times of its files."""
    found: list[tuple[str, int, int]] = []
    folders = [os.fspath(_OWN)]
    while folders:
        with os.scandir(folders.pop()) as entries:  # each command does this, and `Path.rglob` takes three times as long
            for each in entries:
                if each.name.endswith((".py", ".sql", ".txt")):
                    stat = each.stat()
                    found.append((each.path, stat.st_size, stat.st_mtime_ns))
                elif "." not in each.name and each.name != "__pycache__" and each.is_dir():
                    folders.append(each.path)
    return hashlib.blake2b(repr(sorted(found)).encode(), digest_size=8).hexdigest()


def _installed(package: str) -> str:
    """Return which version of a package is installed, without importing it: the name of the folder with its metadata has it."""
    found = importlib.util.find_spec(package)
    if found is not None and found.origin:
        beside = (each.name for each in Path(found.origin).parents[1].iterdir())
        said = [each for each in beside if each.lower().startswith(package) and each.endswith("-info")]
        if said:
            return " ".join(sorted(said))
    from importlib.metadata import version  # it takes its time to import

    return version(package)


MADE_BY = f"{__version__} {_own_files()} {_installed('jinja2')} {_installed('sqlglot')} {sys.version}"
"""What what is kept was made by: another one makes it anew."""


class TemplateCodes:
    """Byte code of templates by a digest of their text and path."""

    current: TemplateCodes | None = None

    def __init__(self, file: Path, codes: dict[str, bytes]) -> None:
        self._file = file
        self._codes = codes
        self._used: dict[str, bytes] = {}

    @classmethod
    def open(cls, file: Path) -> TemplateCodes:
        """Read a file of byte code, and let templates be compiled through it from now on."""
        kept = load(file)
        codes = kept[1] if isinstance(kept, tuple) and kept[0] == MADE_BY else {}
        cls.current = cls(file, codes)
        return cls.current

    def code(self, text: str, path: str, mangled: bool, compile_: Callable[[], CodeType]) -> CodeType:
        """Return the code of a template, compiled if it is not known."""
        key = hashlib.blake2b(f"{mangled} {path} {text}".encode(), digest_size=16).hexdigest()
        if key in self._codes:
            self._used[key] = self._codes[key]
            found: CodeType = marshal.loads(self._codes[key])  # noqa: S302 - as __pycache__ does
            return found
        code = compile_()
        self._used[key] = marshal.dumps(code)
        return code

    def save(self) -> None:
        """Keep what was used, if that is not what was read."""
        if self._used.keys() != self._codes.keys():
            save(self._file, (MADE_BY, self._used))
            self._codes = dict(self._used)


def kept_file(root: Path | str, place: str, kind: str) -> Path:
    """Return the file of what is kept of a project for a target or environment, which may be called anything."""
    return Path(root) / FOLDER / f"{quote(place, safe='')}.{kind}"


def load(file: Path) -> Any:
    """Return what was saved in a file; None if that cannot be read."""
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 - see the module's docstring
    except Exception:  # noqa: BLE001 - whatever is wrong with a cache, it is made anew
        return None


def save(file: Path, value: object) -> None:
    """Replace a file at once; a folder that cannot be written has no cache."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as stream:
            pickle.dump(value, stream, protocol=pickle.HIGHEST_PROTOCOL)
        Path(name).replace(file)
    except (OSError, pickle.PicklingError, AttributeError, TypeError):
        Path(name).unlink(missing_ok=True)
