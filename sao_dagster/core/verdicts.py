"""Verdicts of data tests that another environment has, and that running them here would give again.

This is asked where a data test is to be run by a row of its truth table that is marked for it (`TestRow.elsewhere`). What is not known to be
the same is run, as ever, and nothing but a pass is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sao_dagster.core.code_version import CODE_SCHEME
from sao_dagster.core.data_version import DataVersion
from sao_dagster.core.elsewhere import other_views
from sao_dagster.core.facts import Facts
from sao_dagster.core.inputs import InputKind
from sao_dagster.core.nodes import DataTest, Materialized
from sao_dagster.core.project import Project
from sao_dagster.core.records import BuildRecord, TestRecord, Verdict


@dataclass(frozen=True, kw_only=True)
class VerdictOffer:
    """What another environment has said of a data test.

    Attributes:
        environment: What people call that one: its target, or target and schema.
        key: What its state is kept under.
        record: Its last verdict.
        views: Its last builds of the views that the test reads, or reads through, by name.
    """

    environment: str
    key: str
    record: TestRecord
    views: Mapping[str, BuildRecord]


def may_pass_elsewhere(test: DataTest) -> bool:
    """Return whether the SQL of a data test is known, and says the same of the same rows in any environment, whoever asks.

    One that keeps its failures does more than to ask. What a function of the user's own asks is not known.
    """
    return (
        test.error is None
        and test.template is None
        and test.asks is None
        and test.store_failures is None
        and not test.reads_session
        and all(each.kind is not InputKind.FUNCTION for each in test.undeclared)
    )


def views_read(project: Project, test: DataTest) -> tuple[str, ...]:
    """Return the views that a data test reads, or reads through."""
    found: dict[str, None] = {}
    for name in test.reads:
        node = project.nodes.get(name)
        if node is not None and not node.materialized.holds_data:
            found.update(dict.fromkeys(_views_of(project, name)))
    return tuple(found)


def passed_elsewhere(
    project: Project,
    test: DataTest,
    facts: Facts,
    versions: Mapping[str, DataVersion | None],
    offers: Iterable[VerdictOffer],
    *,
    now: datetime,
) -> VerdictOffer | None:
    """Return the first of some verdicts that is a pass which running the test here and now would give; None where none is known to be.

    Args:
        project: The project.
        test: A data test that is to be run.
        facts: All that is known here.
        versions: The versions of what it reads here; see `Facts.versions_tested`.
        offers: What other environments have said of it, in the order in which they are asked.
        now: The time (UTC).
    """
    # what each build makes anew is no part of a version
    if not may_pass_elsewhere(test) or project.graph.test_reads_by_build(test):
        return None
    version, expiry = facts.test_version(test), project.graph.test_expiry(test)
    for offer in offers:
        record = offer.record
        if (
            record.verdict is Verdict.PASS
            and (record.code_scheme, record.version) == (CODE_SCHEME, version)
            and (expiry is None or expiry.expired_at(record.run_at, now, facts.zone) is None)
            and record.inputs.keys() == set(test.inputs)
            and all(_is_same(project, name, facts, versions.get(name), offer) for name in test.inputs)
        ):
            return offer
    return None


def record_of_verdict(
    test: DataTest, facts: Facts, versions: Mapping[str, DataVersion | None], offer: VerdictOffer, run_id: str
) -> TestRecord:
    """Return the record of a data test whose verdict is that of another environment, as if it had been given here, about what is here.

    Its time is that of the verdict there: it expires when that does.
    """
    return replace(
        offer.record,
        version=facts.test_version(test),
        inputs={name: version for name, version in versions.items() if version is not None},
        run_id=run_id,
        definition=test.version,
        same_as=offer.key,
        same_as_run=offer.record.same_as_run or offer.record.run_id,
    )


def _views_of(project: Project, name: str) -> tuple[str, ...]:
    """Return the views behind a view or an ephemeral, with itself where it is one."""
    itself = (name,) if project.nodes[name].materialized is Materialized.VIEW else ()
    return (*itself, *project.graph.inputs(name).views)


def _is_same(project: Project, name: str, facts: Facts, version: DataVersion | None, offer: VerdictOffer) -> bool:
    """Return whether something that a test reads is known to hold here what the verdict there was about.

    The version of a view says how it is defined, and so where it reads, which is elsewhere there. It is compared as it would be if the
    views were defined as they are there, once these are known to mean the same.
    """
    node, recorded = project.nodes.get(name), offer.record.inputs[name]
    if node is None or node.materialized.holds_data:
        return version is not None and version.is_content and version == recorded
    views = _views_of(project, name)
    below = [facts.version(project, each) for each in project.graph.inputs(name).data]
    return (
        version is not None
        and all(each is not None and each.is_content for each in below)
        and not other_views(project, facts, views, offer.views)
        and facts.version_of_view(project, node, {each: offer.views[each].definition for each in views}) == recorded
    )
