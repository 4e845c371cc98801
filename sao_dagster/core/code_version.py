"""The fingerprint of a definition, in named parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sao_dagster.core.connection import ConnectionSettings
from sao_dagster.core.hashing import digest

CODE_SCHEME = 2
"""The number of the way in which definitions are fingerprinted, raised when it changes: then nothing recorded is comparable."""
RELATION = "relation"
"""The part of a code version that says where a node is, and a view where what it reads is; it means nothing in other environments."""
PLACES = "places"
"""The part of a code version that says where all is that a node reads; it counts only where rows or columns may tell, and in one environment."""
SETTINGS = "settings"
"""The part of a code version that says what is set, for a node, by statements of the project and in the connection that builds it."""

ATTACHED = "attached"
"""The part of a code version that says what is described and granted of a node; it changes no content."""


@dataclass(frozen=True)
class CodeVersion:
    """The fingerprint of a definition, in parts that can be named when one of them changes.

    Attributes:
        parts: Digests by the name of the part.
        scheme: The way in which they were made.

    >>> one = CodeVersion({"sql": "a", "config": "b"})
    >>> one.changed_parts(CODE_SCHEME, {"sql": "a", "config": "c", "macros": "d"})
    ('config', 'macros')
    >>> one.changed_parts(CODE_SCHEME - 1, {"sql": "a", "config": "b"})
    ('scheme',)
    """

    parts: Mapping[str, str]
    scheme: int = CODE_SCHEME

    @cached_property
    def version(self) -> str:
        """One digest over all parts that mean the same in every environment, and that can be seen in what is built."""
        seen = {name: part for name, part in self.parts.items() if name not in (RELATION, PLACES, ATTACHED)}
        return digest([self.scheme, seen])

    def under(self, settings: ConnectionSettings, *, follows_process: bool) -> CodeVersion:
        """Return the version that a node has where it is built under some settings.

        >>> CodeVersion({"sql": "a"}).under(ConnectionSettings({"integer_division": "true"}), follows_process=False).parts.keys()
        dict_keys(['sql', 'settings'])
        """
        part = settings.part(self.parts.get(SETTINGS, ""), follows_process=follows_process)
        last: CodeVersion | None = self.__dict__.get("_under")  # connections of one profile set the same
        if last is None or last.parts[SETTINGS] != part:
            last = self.__dict__["_under"] = CodeVersion({**self.parts, SETTINGS: part}, self.scheme)
        return last

    def has_changed(self, part: str, scheme: int, recorded: Mapping[str, str]) -> bool:
        """Return whether a part is one of the `changed_parts`.

        >>> [CodeVersion({"sql": "a"}).has_changed("sql", CODE_SCHEME, recorded) for recorded in ({"sql": "a"}, {"sql": "b"}, {})]
        [False, True, False]
        """
        return scheme == self.scheme and part in recorded and self.parts.get(part) != recorded[part]

    def changed_parts(self, scheme: int, recorded: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the parts in which what was recorded differs, sorted; `scheme` where the two cannot be compared.

        A part that was not recorded counts as unchanged: the version of this package that built did not know it.
        """
        if scheme != self.scheme:
            return ("scheme",)
        changed = [name for name, part in recorded.items() if self.parts.get(name) != part]
        return tuple(sorted(changed)) if changed else ()
