"""What another environment has built that a build here would give again: then nothing is built, and its content is taken from there.

This is asked where a model is to be built by a row of the truth table that is marked for it (`Row.elsewhere`). What is not known to be the
same is built, as ever, and what differs is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Literal, TypeAlias

from sao_dagster.core.code_version import ATTACHED, PLACES, RELATION, CodeVersion
from sao_dagster.core.evidence import NotTaken, describe_names
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
        fault: Returns why it is not there now as a table that holds what the record says, as far as that is asked before it is taken; None where it is.
        by_view: Whether a view over it is made here; else it is copied.
    """

    environment: str
    key: str
    record: BuildRecord
    views: Mapping[str, BuildRecord]
    relation: Relation
    same_database: bool
    fault: Callable[[], Difference | None]
    by_view: bool


class Difference(str, Enum):
    """Why what another environment may have of a model is not taken in place of a build here. The values are stored; they are never renamed."""

    KIND = "kind"
    HOOKS = "hooks"
    TEMPLATE = "template"
    SESSION = "session"
    FUNCTION = "function"
    PLACE = "place"
    BUILD_COLUMNS = "build_columns"
    UNKNOWN = "unknown"
    NOT_BUILT = "not_built"
    ADOPTED = "adopted"
    SAME_RELATION = "same_relation"
    CODE = "code"
    INPUTS = "inputs"
    TIMES = "times"
    VIEWS = "views"
    EXPIRED = "expired"
    NO_CONTENT = "no_content"
    ALTERED = "altered"
    UNREADABLE = "unreadable"
    REFUSED = "refused"


_IN_WORDS: Mapping[Difference, str] = {
    Difference.KIND: "only tables that SQL builds as a whole, each time, are taken",
    Difference.HOOKS: "it has hooks, which do more than to build it",
    Difference.TEMPLATE: "its template depends on the run, or asks the warehouse",
    Difference.SESSION: "its SQL asks who runs it, or what is set",
    Difference.FUNCTION: "it calls functions of your own",
    Difference.PLACE: "the name of a column, or the type of a row, may say where it reads",
    Difference.BUILD_COLUMNS: "it has columns that each build makes anew ({names})",
    Difference.UNKNOWN: "the version of {names} is not known",
    Difference.NOT_BUILT: "nothing has built it there",
    Difference.ADOPTED: "it was adopted there, and not built",
    Difference.SAME_RELATION: "it is in the same relation there",
    Difference.CODE: "its definition is another one there ({names})",
    Difference.INPUTS: "it was built there from something else ({names})",
    Difference.TIMES: "that is another database, and {names} is known by a time alone",
    Difference.VIEWS: "views that it reads are not known to mean the same there ({names})",
    Difference.EXPIRED: "its result there has expired",
    Difference.NO_CONTENT: "what it holds there is not known by its content",
    Difference.ALTERED: "its table there is gone, or was changed by someone else",
    Difference.UNREADABLE: "what its table there holds cannot be read, in time or with the rights that there are",
    Difference.REFUSED: "the warehouse refused it ({names})",
}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What is not taken from another environment.

    Attributes:
        environment: What people call that one.
        difference: Why.
        names: The parts of the definition, inputs, views or columns that are meant, or the words of the warehouse.
    """

    environment: str
    difference: Difference
    names: tuple[str, ...] = ()

    def evidence(self) -> NotTaken:
        """Return it as plain data."""
        found: NotTaken = {"environment": self.environment, "difference": self.difference.value}
        return {**found, "names": list(self.names)} if self.names else found


def describe_not_taken(refusals: Iterable[NotTaken]) -> str:
    """Return why a model was not taken from other environments, in words.

    >>> describe_not_taken([{"environment": "prod", "difference": "inputs", "names": ["source:raw.orders"]}])
    'not taken from prod: it was built there from something else (raw.orders)'
    """
    environments: dict[str, list[str]] = {}
    for each in refusals:
        words = _IN_WORDS[Difference(each["difference"])].format(names=describe_names(each.get("names", ())))
        environments.setdefault(words, []).append(each["environment"])
    return "; ".join(f"not taken from {' and '.join(names)}: {words}" for words, names in environments.items())


def never_elsewhere(node: Node) -> Difference | None:
    """Return why a build of a node elsewhere never takes the place of one here; None where a full build is all that it ever is.

    An incremental model holds its history, and so does one that reads itself; hooks do more than to build; what a template gets from the
    run is another thing in each; and a view is made faster than it is compared. A seed is what its file says.
    """
    if node.hooks:
        return Difference.HOOKS
    if isinstance(node, Seed):
        return None
    if not isinstance(node, Model) or node.materialized is not Materialized.TABLE or node.language != "sql":
        return Difference.KIND
    if (difference := _never_the_same(node)) is not None:
        return difference
    return Difference.KIND if str(node.relation) in node.compiled.sql else None


def _never_the_same(node: Model) -> Difference | None:
    """Return why the SQL of a node is not known to give the same from the same inputs in any environment, whoever asks; None where it is.

    What a function of the user's own asks is not known.
    """
    if node.compiler is not None or node.asks:
        return Difference.TEMPLATE
    if node.reads_session:
        return Difference.SESSION
    if any(each.kind is InputKind.FUNCTION for each in node.undeclared):
        return Difference.FUNCTION
    return None


def same_elsewhere(
    project: Project,
    node: Node,
    facts: Facts,
    seen: Observed,
    offers: Iterable[Offer | Refusal],
    *,
    now: datetime,
    expiry: Expiry | None,
) -> Offer | tuple[Refusal, ...]:
    """Return the first of some offers that is what a build here and now would give; where none is known to be, why not.

    Nothing is said of a model below one that is going to be built first: what that gives is not known yet.

    Args:
        project: The project.
        node: A model that is to be built.
        facts: All that is known here.
        seen: What is seen of the node.
        offers: What other environments have of it, or why they have nothing, in the order in which they are asked.
        now: The time (UTC).
        expiry: When its result stops being true by itself.
    """
    if not seen.pending.isdisjoint(seen.inputs):
        return ()
    refusals = []
    for offer in offers:
        if isinstance(offer, Refusal):
            refusals.append(offer)
            continue
        found = next(_differences(project, node, facts, seen, offer, now, expiry), None)
        if found is None:
            return offer
        difference, names = found
        refusals.append(Refusal(environment=offer.environment, difference=difference, names=tuple(names)))
    return tuple(refusals)


def _differences(
    project: Project, node: Node, facts: Facts, seen: Observed, offer: Offer, now: datetime, expiry: Expiry | None
) -> Iterator[tuple[Difference, Iterable[str]]]:
    """Yield each difference between an offer and what a build here and now would give, with the names that it is about.

    Nothing is the same unless all of them were asked for. What takes longest, whether the table is there as it was, comes last.
    """
    record, inputs = offer.record, offer.record.inputs
    if (never := never_elsewhere(node)) is not None:
        yield never, ()
    if unknown := [name for name, known in (*seen.inputs.items(), *seen.definitions.items()) if not known]:
        yield Difference.UNKNOWN, unknown
    if record.adopted:
        yield Difference.ADOPTED, ()
    if offer.relation.key == node.relation.key:
        yield Difference.SAME_RELATION, ()
    if parts := _other_parts(facts.code(node), record, RELATION, PLACES):
        yield Difference.CODE, parts
    # before the inputs: what is read through a view that shows something else may be what was read there
    if views := _other_views(project, facts, seen, offer):
        yield Difference.VIEWS, views
    if others := [name for name in {**seen.inputs, **inputs} if seen.inputs.get(name) != inputs.get(name)]:
        yield Difference.INPUTS, others
    if times := [name for name, version in inputs.items() if not (offer.same_database or version.is_content)]:
        yield Difference.TIMES, times
    if expiry is not None and expiry.expired_at(record.built_at, now, seen.zone) is not None:
        yield Difference.EXPIRED, ()
    if not record.data_version.is_content:
        yield Difference.NO_CONTENT, ()
    if (fault := offer.fault()) is not None:
        yield fault, ()


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


def _other_parts(code: CodeVersion, record: BuildRecord, *apart: str) -> tuple[str, ...]:
    """Return the parts of a definition that are not those which were built there, apart from some; `scheme` where they cannot be compared."""
    if code.scheme != record.code_scheme:
        return ("scheme",)
    parts, there = code.parts, record.code_parts
    return tuple(
        sorted(name for name in {**parts, **there} if name not in apart and parts.get(name) != there.get(name))
    )


def _other_views(project: Project, facts: Facts, seen: Observed, offer: Offer) -> tuple[str, ...]:
    """Return the views that a build here reads through, and that are not known to mean what those meant that the build there has read.

    The definition of a view says where everything is that it reads, so it is another one there. What it means is compared by its code, as
    it is in the warehouse, or is going to be.
    """
    views, here, there = offer.views, seen.definitions, offer.record.definitions
    others = {
        name
        for name in {**here, **there}
        if name not in here or name not in there or name not in views or views[name].definition != there[name]
    }
    rest = [name for name in here if name not in others]
    return (*sorted(others), *other_views(project, facts, rest, views, seen.pending))


def other_views(
    project: Project,
    facts: Facts,
    names: Iterable[str],
    views: Mapping[str, BuildRecord],
    pending: AbstractSet[str] = frozenset(),
) -> tuple[str, ...]:
    """Return those of some views that are not known to mean here what they mean in another environment, by their code and apart from where they read.

    Args:
        project: The project.
        facts: All that is known here.
        names: The views.
        views: Their last builds there, by name.
        pending: Those that are going to be built here before they are read.
    """
    return tuple(name for name in names if not _is_same_view(project, facts, name, views.get(name), name in pending))


def _is_same_view(project: Project, facts: Facts, name: str, there: BuildRecord | None, is_pending: bool) -> bool:
    view, here = project.nodes[name], facts.records.get(name)
    if not isinstance(view, Model) or _never_the_same(view) is not None or name in facts.versions or there is None:
        return False
    if is_pending:
        code = facts.code(view)
    elif here is not None:
        code = CodeVersion(here.code_parts, here.code_scheme)
    else:
        return False
    return not _other_parts(code, there, RELATION, PLACES, ATTACHED)
