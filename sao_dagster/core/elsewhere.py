"""What another environment has built that a build here would give again: then nothing is built, and its content is taken from there.

This is asked where a model is to be built by a row of the truth table that is marked for it (`Row.elsewhere`). What is not known to be the
same is built, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias

from sao_dagster.core.code_version import ATTACHED, RELATION, CodeVersion
from sao_dagster.core.facts import Facts, Observed
from sao_dagster.core.inputs import InputKind
from sao_dagster.core.nodes import Materialized, Model, Node, Seed
from sao_dagster.core.policy import Expiry
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord
from sao_dagster.core.relations import Relation

Clone: TypeAlias = Literal["view", "defer", "copy"]
"""How what another environment has built is taken from there: shown, read in its place, or copied."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What another environment has of a model.

    Attributes:
        environment: What people call that one: its target, or target and schema.
        key: What its state is kept under.
        record: Its last build of the model.
        views: Its last builds of the views that this has read through, by name.
        relation: Where what was built is, as SQL here names it.
        same_database: Whether that is the database that is built into here.
        is_there: Returns whether it is there now, as a table that holds what the record says, as far as that is asked before it is taken.
        by_view: Whether a view over it is made here; else it is copied.
    """

    environment: str
    key: str
    record: BuildRecord
    views: Mapping[str, BuildRecord]
    relation: Relation
    same_database: bool
    is_there: Callable[[], bool]
    by_view: bool


def may_be_elsewhere(node: Node) -> bool:
    """Return whether a build of a node elsewhere may take the place of one here: whether a full build is all that it ever is.

    An incremental model holds its history, and so does one that reads itself; hooks do more than to build; what a template gets from the
    run is another thing in each; and a view is made faster than it is compared. A seed is what its file says.
    """
    if node.hooks or node.error is not None:
        return False
    if isinstance(node, Seed):
        return True
    return (
        isinstance(node, Model)
        and node.materialized is Materialized.TABLE
        and node.language == "sql"
        and _means_the_same(node)
        and str(node.relation) not in node.compiled.sql
    )


def _means_the_same(node: Model) -> bool:
    """Return whether the SQL of a node is known, and gives the same from the same inputs in any environment, whoever asks.

    What a function of the user's own asks is not known.
    """
    is_known = node.compiler is None and not node.asks and not node.reads_session
    return is_known and all(each.kind is not InputKind.FUNCTION for each in node.undeclared)


def same_elsewhere(
    project: Project,
    node: Node,
    facts: Facts,
    seen: Observed,
    offers: Iterable[Offer],
    *,
    now: datetime,
    expiry: Expiry | None,
) -> Offer | None:
    """Return the first of some offers that is what a build here and now would give; None where none is known to be.

    Args:
        project: The project.
        node: A model that is to be built.
        facts: All that is known here.
        seen: What is seen of the node.
        offers: What other environments have of it, in the order in which they are asked.
        now: The time (UTC).
        expiry: When its result stops being true by itself.
    """
    if not may_be_elsewhere(node) or not _are_known(seen):
        return None
    for offer in offers:
        record = offer.record
        if (
            not record.adopted
            and offer.relation.key != node.relation.key
            and _is_same_code(facts.code(node), record, RELATION)
            and seen.inputs == record.inputs
            and all(offer.same_database or version.is_content for version in record.inputs.values())
            and _are_same_views(project, facts, seen, offer)
            and (expiry is None or expiry.expired_at(record.built_at, now, seen.zone) is None)
            and record.data_version.is_content
            and offer.is_there()
        ):
            return offer
    return None


def record_of_offer(node: Node, facts: Facts, offer: Offer) -> BuildRecord:
    """Return the record of a model whose content is that of a build elsewhere, as if it had been built here from what is here.

    Its times are those of that build: intervals and expiries count from then. What only the warehouse and the run say is that of the
    build there, for whoever made it here to replace.
    """
    record, code = offer.record, facts.code(node)
    return replace(
        record,
        relation=str(node.relation),
        code_version=code.version,
        code_scheme=code.scheme,
        code_parts=dict(code.parts),
        definition=facts.definition_if_built(node),
        definitions={},
        build_id=None,
        run_id="",
        same_as=offer.key,
        same_as_run=record.same_as_run or record.run_id,
        shows=str(offer.relation) if offer.by_view else None,
        shown_by=None,
    )


def _are_known(seen: Observed) -> bool:
    """Return whether all that a build would read is known now, and is not going to be another thing first."""
    known = all(seen.inputs.values()) and None not in seen.definitions.values()
    return known and seen.pending.isdisjoint(seen.inputs)


def _is_same_code(code: CodeVersion, record: BuildRecord, *apart: str) -> bool:
    """Return whether a definition is the one that was built there, apart from some of its parts."""

    def counted(parts: Mapping[str, str]) -> dict[str, str]:
        return {name: part for name, part in parts.items() if name not in apart}

    return code.scheme == record.code_scheme and counted(code.parts) == counted(record.code_parts)


def _are_same_views(project: Project, facts: Facts, seen: Observed, offer: Offer) -> bool:
    """Return whether the views that a build here reads through mean what those meant that the build there has read.

    The definition of a view says where everything is that it reads, so it is another one there. What it means is compared by its code, as
    it is in the warehouse, or is going to be.
    """
    views, read_there = offer.views, offer.record.definitions
    return (
        seen.definitions.keys() == read_there.keys()
        and all(name in views and views[name].definition == read_there[name] for name in read_there)
        and are_same_views(project, facts, seen.definitions, views, seen.pending)
    )


def are_same_views(
    project: Project,
    facts: Facts,
    names: Iterable[str],
    views: Mapping[str, BuildRecord],
    pending: AbstractSet[str] = frozenset(),
) -> bool:
    """Return whether views mean here what they mean in another environment, by their code and apart from where they read.

    Args:
        project: The project.
        facts: All that is known here.
        names: The views.
        views: Their last builds there, by name.
        pending: Those that are going to be built here before they are read.
    """
    for name in names:
        view, there, here = project.nodes[name], views.get(name), facts.records.get(name)
        if not isinstance(view, Model) or not _means_the_same(view) or name in facts.versions or there is None:
            return False
        if name in pending:
            code = facts.code(view)
        elif here is not None:
            code = CodeVersion(here.code_parts, here.code_scheme)
        else:
            return False
        if not _is_same_code(code, there, RELATION, ATTACHED):
            return False
    return True
