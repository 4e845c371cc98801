"""Making dbt's namespaces of macros from one that dbt has made: it sorts all macros of a project into each context anew, several times for each node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbt.clients.jinja import MacroGenerator
from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
from dbt.context.manifest import ManifestContext

Place = tuple[list[str], list[int]]
"""Names of macros in a namespace, and which of all macros they are."""


class Layout:
    """Which macro has which name where, as dbt has found it out once.

    Args:
        made: dbt's namespace.
        macros: The macros that it was made of, by package.
    """

    def __init__(self, made: MacroNamespace, macros: Mapping[str, Mapping[str, Any]]) -> None:
        self.macros_by_package = macros  # kept, so that nothing else can have its identity
        self._macros: list[Any] = []
        self._numbers: dict[str, int] = {}
        self._of_packages: dict[str, dict[str, Place]] = {}
        self._places: dict[str, Place] = {}
        for name, value in vars(made).items():
            if any(isinstance(each, dict) for each in value.values()):
                self._of_packages[name] = {package: self._place(each) for package, each in value.items()}
            else:
                self._places[name] = self._place(value)

    def namespace(self, like: MacroGenerator) -> MacroNamespace:
        """Return the namespace of another context.

        Args:
            like: A generator in that context, of any macro.
        """
        # what all of them have in common is in their type: to make them takes half of the time then
        common = {name: value for name, value in vars(like).items() if name != "macro"}
        bound, generators = type(MacroGenerator.__name__, (MacroGenerator,), common), []
        for macro in self._macros:
            generator: Any = object.__new__(bound)
            generator.macro = macro
            generators.append(generator)

        def laid_out(place: Place) -> dict[str, MacroGenerator]:
            names, numbers = place
            return dict(zip(names, map(generators.__getitem__, numbers)))  # noqa: B905 - dbt 1.8 runs on Python 3.9

        found: MacroNamespace = object.__new__(MacroNamespace)
        for name, place in self._places.items():
            setattr(found, name, laid_out(place))
        for name, places in self._of_packages.items():
            setattr(found, name, {package: laid_out(place) for package, place in places.items()})
        return found

    def _place(self, named: Mapping[str, MacroGenerator]) -> Place:
        return list(named), [self._number(each.macro) for each in named.values()]

    def _number(self, macro: Any) -> int:
        if macro.unique_id not in self._numbers:
            self._numbers[macro.unique_id] = len(self._macros)
            self._macros.append(macro)
        return self._numbers[macro.unique_id]


def lay_out_once() -> None:
    """Let dbt sort its macros once, in this process, whose project does not change any more."""
    original, to_dict = MacroNamespaceBuilder.build_namespace, ManifestContext.to_dict
    layouts: dict[tuple[Any, ...], Layout] = {}

    def build_namespace(builder: Any, macros_by_package: Any, ctx: dict[str, Any]) -> MacroNamespace:
        key = id(macros_by_package), builder.root_package, builder.search_package, *builder.internal_package_names_order
        if key not in layouts:
            made = original(builder, macros_by_package, ctx)
            layouts[key] = Layout(made, macros_by_package)
            return made
        return layouts[key].namespace(MacroGenerator(None, ctx, builder.node, builder.thread_ctx))

    def flattened(context: Any) -> dict[str, Any]:
        if type(context.namespace) is not MacroNamespace:
            found_by_dbt: dict[str, Any] = to_dict(context)
            return found_by_dbt
        found: dict[str, Any] = super(ManifestContext, context).to_dict()
        for namespace in reversed([*context.namespace._search_order()]):  # the first that has a name counts
            found.update(namespace)
        return found

    MacroNamespaceBuilder.build_namespace = build_namespace
    ManifestContext.to_dict = flattened
