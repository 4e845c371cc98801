"""dbt's `selectors.yml`: selections that have a name, as text or as a tree of unions, intersections and exclusions.

https://docs.getdbt.com/reference/node-selection/yaml-selectors
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sao_dagster.core.indirect_selection import Chosen, Indirect, combined
from sao_dagster.errors import Location, SelectionError


@dataclass(frozen=True)
class Selector:
    """A selection that has a name.

    Attributes:
        name: The name.
        definition: What it selects, as it is written.
        is_default: Whether it is what commands select that are told nothing.
        location: Where it is written.
    """

    name: str
    definition: Any
    is_default: bool = False
    location: Location | None = None


@dataclass
class SelectorReader:
    """Finds what selectors select.

    Attributes:
        selectors: All there are, by name.
        term: Returns what one term selects, as it is written on the command line (`2+tag:nightly`), with the tests that are said to come with it.
        text: Returns what a whole text selects: terms, with spaces and commas between them.
    """

    selectors: Mapping[str, Selector]
    term: Callable[[str, Indirect | None], Chosen]
    text: Callable[[str], Chosen]
    _open: tuple[str, ...] = ()

    def selected_by(self, name: str) -> Chosen:
        """Return what a selector selects.

        Raises:
            SelectionError: There is none of that name, or it is not understood; says where it is written.
        """
        selector = self.selectors.get(name)
        if selector is None:
            known = ", ".join(self.selectors) or "none"
            raise SelectionError(f"there is no selector {name!r} in selectors.yml; there are: {known}")
        if name in self._open:
            raise SelectionError(f"the selector {name!r} selects itself", location=selector.location)
        self._open = (*self._open, name)
        try:
            return self._defined(selector.definition)
        except SelectionError as error:
            if error.location is not None:
                raise
            raise SelectionError(f"the selector {name!r}: {error}", location=selector.location) from error
        finally:
            self._open = self._open[:-1]

    def _defined(self, definition: Any) -> Chosen:
        if isinstance(definition, str):
            return self.text(definition)
        if not isinstance(definition, Mapping) or not definition:
            raise SelectionError(f"a definition is a text, or has union, intersection or method; got {definition!r}")
        for word, combine in (("union", set.union), ("intersection", set.intersection)):
            if word in definition:
                if len(definition) > 1:
                    others = ", ".join(str(key) for key in definition if key != word)
                    raise SelectionError(f"beside {word} stands nothing else; got {others}")
                return self._combined(definition[word], combine)
        if "method" in definition:
            return self._full(definition)
        if len(definition) == 1:
            [(method, value)] = definition.items()
            return self._named(str(method), str(value), "{}")
        raise SelectionError(
            f"a definition has union, intersection, method, or one method with its value; got {', '.join(map(str, definition))}"
        )

    def _combined(self, parts: Any, combine: Callable[..., set[str]]) -> Chosen:
        """Return the union or intersection of a list, without what `exclude` in it names."""
        included, excluded = [], []
        for part in _listed(parts):
            if isinstance(part, Mapping) and part.keys() == {"exclude"}:
                excluded += [self._defined(each) for each in _listed(part["exclude"])]
            else:
                included.append(self._defined(part))
        if not included:
            raise SelectionError("a union or an intersection has something beside exclude")
        return combined(included, combine).without(combined([Chosen(), *excluded], set.union))

    def _full(self, definition: Mapping[str, Any]) -> Chosen:
        """Return what a method and a value select, with what is above and below that."""
        unknown = [str(key) for key in definition if key not in _KEYS]
        if unknown or "value" not in definition:
            wrong = f"unknown: {', '.join(unknown)}" if unknown else "value is missing"
            raise SelectionError(f"a method has the keys {', '.join(_KEYS)}; {wrong}")
        said = definition.get("indirect_selection")
        if said is not None and said not in list(Indirect):
            known = ", ".join(each.value for each in Indirect)
            raise SelectionError(f"indirect_selection: {said} is unknown; there are: {known}")
        around = "{}"
        if definition.get("childrens_parents"):
            around = "@{}"
        if definition.get("parents"):
            around = f"{definition.get('parents_depth') or ''}+{around}"
        if definition.get("children"):
            around = f"{around}+{definition.get('children_depth') or ''}"
        indirect = None if said is None else Indirect(said)
        found = self._named(str(definition["method"]), str(definition["value"]), around, indirect)
        excluded = [self._defined(each) for each in _listed(definition.get("exclude", []))]
        return found.without(combined([Chosen(), *excluded], set.union))

    def _named(self, method: str, value: str, around: str, indirect: Indirect | None = None) -> Chosen:
        return self.term(around.format(f"{method}:{value}"), indirect)


_KEYS = ("method", "value", "children", "parents", "childrens_parents", "children_depth", "parents_depth", "indirect_selection", "exclude")  # fmt: skip


def _listed(parts: Any) -> Sequence[Any]:
    if not isinstance(parts, list):
        raise SelectionError(f"union, intersection and exclude are lists; got {parts!r}")
    return parts


def default_of(selectors: Mapping[str, Selector]) -> str | None:
    """Return the name of the selector that commands use which are told nothing; None where none is.

    Raises:
        SelectionError: There are several.
    """
    found = [each.name for each in selectors.values() if each.is_default]
    if len(found) > 1:
        raise SelectionError(f"one selector in selectors.yml may be the default; there are: {', '.join(found)}")
    return found[0] if found else None
