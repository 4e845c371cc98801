"""The report of `sao ci` as people read it: rows for a terminal, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sao_dagster.cli.markdown import code, plain, table
from sao_dagster.cli.results import BAD
from sao_dagster.cli.terminal import escaped, named, time_of
from sao_dagster.core.decide_test import TestOutcome
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.messages import counted
from sao_dagster.core.reasons import Outcome
from sao_dagster.run.branch import BranchReport
from sao_dagster.run.relation_diff import RelationDiff, RowDiff

MARK = "<!-- sao ci -->"
"""The first line of the report, by which a comment is found that is to be replaced."""
LISTED = 60
"""How many rows a table of the report has at most: a comment on GitHub takes 65,536 characters."""


def comparison_rows(report: BranchReport) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row in rich's markup for each model that is compared: its name, its columns, its rows, and whether it is the same."""
    for each in _compared(report):
        yield escaped(each.name), escaped(each.columns), escaped(each.rows), escaped(each.said)


def markdown(report: BranchReport) -> str:
    """Return the report as Markdown, fit for a comment on a pull request."""
    result = report.result
    lines = [MARK, f"## {'✅' if result.succeeded else '❌'} {code(report.schema)} against {code(report.against)}", ""]
    lines += [*_summary(report), ""]
    lines += _section("Failed", ("what", "", "why"), _failed(report))
    compared = ((code(each.name), *map(plain, (each.edited, each.columns, each.rows, each.said))) for each in _compared(report))  # fmt: skip
    lines += _section(f"Compared with {plain(report.against)}", ("model", "edited", "columns", "rows", ""), compared)
    models = [
        (code(each.name), each.decision.outcome.value, plain(explain(each.decision)), time_of(round(each.seconds, 2)))
        for each in result.models
    ]
    lines += _section("Models", ("model", "outcome", "why", "time"), models, folded=True)
    tests = [
        (code(each.test.name), each.verdict.value if each.verdict else "", each.decision.outcome.value, plain(explain_test(each.decision)))
        for each in result.tests
    ]  # fmt: skip
    lines += _section("Tests", ("test", "verdict", "outcome", "why"), tests, folded=True)
    return "\n".join(lines).rstrip() + "\n"


class _Compared(NamedTuple):
    """What is said of a model that is compared: in what it was edited, its columns, its rows, and whether it is the same."""

    name: str
    edited: str = ""
    columns: str = ""
    rows: str = ""
    said: str = ""


def _compared(report: BranchReport) -> Iterator[_Compared]:
    """Yield what is said of each model that is compared, could not be, is new, or is gone."""
    edited = {name: ", ".join(sorted(each)) for name, each in report.changes.items()}
    for name, diff in report.compared.items():
        said = _said(diff, is_edited=name in edited)
        yield _Compared(name, edited.get(name, ""), _columns(diff), _rows(diff.rows), said)
    for name, why in report.unread.items():
        yield _Compared(name, edited.get(name, ""), said=f"it could not be compared: {why}")
    for name in report.new:
        yield _Compared(name, "new", said="it is new")
    for name in report.gone:
        yield _Compared(name, "gone", said="it is no longer in the project")


def _summary(report: BranchReport) -> Iterator[str]:
    """Yield what happened in a few sentences."""
    result, summary = report.result, report.result.summary()
    if report.is_empty:
        yield f"Nothing of this branch differs from what {code(report.against)} was built from."
        return
    models = ", ".join(f"{summary[each.value]} {each.value}" for each in Outcome if summary[each.value])
    tests = ", ".join(
        f"{summary[f'tests_{each.value}']} {each.value}"
        for each in (TestOutcome.RAN, TestOutcome.PROVEN, TestOutcome.REUSED)
        if summary[f"tests_{each.value}"]
    )
    yield f"Models: {models or 'none'}. Tests: {tests or 'none'}. It took {time_of(round(result.seconds, 1))}."
    read = [] if result.deferral is None else [*map(code, result.deferral.relations)]
    if read:
        yield f"Read in {code(report.against)}: {named(read, 8)}."


def _failed(report: BranchReport) -> Iterator[tuple[str, str, str]]:
    for source in report.result.broken_sources:
        yield "source", "", plain(source)
    for model in report.result.models:
        if model.decision.outcome in (Outcome.FAILED, Outcome.SKIPPED):
            error = model.decision.evidence.get("error")
            yield code(model.name), model.decision.outcome.value, plain(str(error or explain(model.decision)))
    for test in report.result.tests:
        if test.verdict is not None and test.verdict.value in BAD:
            why = test.error or counted(test.failures or 0, "failure")
            yield code(test.test.name), test.verdict.value, plain(why)


def _said(diff: RelationDiff, *, is_edited: bool) -> str:
    """Return whether a model holds the same, and what of it was not compared."""
    said = []
    if diff.is_same:
        said.append("the same content in spite of the edit" if is_edited else "the same content")
    if diff.is_reordered:
        said.append("columns in another order")
    if diff.left_out:
        said.append(f"without {', '.join(diff.left_out)}, which change with each build")
    return "; ".join(said)


def _columns(diff: RelationDiff) -> str:
    """Return which columns are added, gone and of another type."""
    said = [f"+ {name} ({kind})" for name, kind in diff.added.items()]
    said += [f"- {name} ({kind})" for name, kind in diff.gone.items()]
    said += [f"{name}: {before} → {now}" for name, (before, now) in diff.retyped.items()]
    return ", ".join(said)


def _rows(rows: RowDiff) -> str:
    """Return how rows differ.

    >>> _rows(RowDiff(here=12, there=10, key=("id",), added=2, gone=0, changed=3))
    '10 → 12 rows: 2 added, 3 changed (told apart by id)'
    >>> _rows(RowDiff(here=10, there=10, added=1, gone=1)), _rows(RowDiff(here=10, there=10, added=0, gone=0))
    ('10 rows: 1 added, 1 gone', '10 rows')
    """
    now = counted(rows.here, "row")
    counts = now if rows.here == rows.there else f"{rows.there:,} → {now}"
    said = [f"{count:,} {word}" for count, word in ((rows.added, "added"), (rows.gone, "gone"), (rows.changed, "changed")) if count]  # fmt: skip
    by = f" (told apart by {', '.join(rows.key)})" if rows.key and said else ""
    return f"{counts}: {', '.join(said)}{by}" if said else counts


def _section(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, folded: bool = False) -> list[str]:
    """Return a table under its title, folded away where it is long to read; nothing where it has no rows."""
    listed = list(rows)
    if not listed:
        return []
    lines = table(headings, listed[:LISTED])
    if len(listed) > LISTED:
        lines.append(f"\n… and {len(listed) - LISTED:,} more")
    if folded:
        return [f"<details><summary>{title} ({len(listed):,})</summary>", "", *lines, "", "</details>", ""]
    return [f"### {title}", "", *lines, ""]
