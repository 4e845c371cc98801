"""What became of a run, or would, as people read it: what failed in full, what was built by name, what was reused by its reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sao_dagster.cli.terminal import Terminal, coloured, escaped, named
from sao_dagster.core.decide import Decision
from sao_dagster.core.decide_test import TestDecision, TestOutcome
from sao_dagster.core.deferral import Deferral
from sao_dagster.core.explain import explain, explain_test
from sao_dagster.core.messages import counted
from sao_dagster.core.plan import Plan
from sao_dagster.core.project import Project
from sao_dagster.core.reasons import Outcome, Reason
from sao_dagster.core.truth_table import TRUTH_TABLE
from sao_dagster.run.events import Event, ModelResult, TestResult
from sao_dagster.run.report import RunResult

SHOWN_OUTCOMES = (Outcome.BUILT, Outcome.REUSED, Outcome.SKIPPED, Outcome.FAILED)
BAD = ("warn", "fail", "error")
SHOWN_DEFERRED = 4  # nodes by name; the others are counted


@dataclass
class Failures:
    """What goes wrong in a run, shown when it happens; the same error a second time, and what is more than a screen, is counted.

    Attributes:
        terminal: Where to show it.
        errors: The cause of each error that was shown, with whose it is.
        shown: How many were shown.
        repeated: By whose error was shown, who has the same one.
        more: Who is beyond what is listed.
    """

    terminal: Terminal
    errors: dict[str, str] = field(default_factory=dict)
    shown: int = 0
    repeated: dict[str, list[str]] = field(default_factory=dict)
    more: list[str] = field(default_factory=list)

    def lines(self, event: Event) -> list[str]:
        """Return what to show of an event at once, in rich's markup; nothing for what went well."""
        if isinstance(event, ModelResult) and event.decision.outcome is Outcome.FAILED:
            evidence = event.decision.evidence
            words, place = str(evidence.get("error")), _place(evidence.get("file"))
            if self._counted(event.name, words):
                return []
            return [f"{coloured('failed')}  [bold]{escaped(event.name)}[/]{place}", *_indented(words)]
        if isinstance(event, TestResult) and event.verdict is not None and event.verdict.value in BAD:
            if self._counted(event.test.name, event.error):
                return []
            place = _place(event.test.location)
            reused = " (reused)" if event.decision.outcome is TestOutcome.REUSED else ""
            said = "" if event.error else f": {counted(event.failures or 0, 'failure')}{reused}"
            head = f"{coloured(event.verdict.value)}  [bold]{escaped(event.test.name)}[/]{said}{place}"
            return [head, *_indented(event.error or "")]
        return []

    def closing_lines(self) -> list[str]:
        """Return what was counted rather than shown."""
        lines = [
            f"[dim]the same error as {escaped(first)}: {escaped(named(others))}[/]"
            for first, others in self.repeated.items()
        ]
        if self.more:
            lines.append(f"[dim]and {len(self.more)} more went wrong; --verbose lists them[/]")
        return lines

    def _counted(self, name: str, words: str | None) -> bool:
        """Return whether something is counted, and not shown."""
        first = self.errors.setdefault(_cause_of(words, name), name) if words else name
        if first != name and not self.terminal.verbose:
            self.repeated.setdefault(first, []).append(name)
            return True
        if self.terminal.listed is not None and self.shown >= self.terminal.listed:
            self.more.append(name)
            return True
        self.shown += 1
        return False


_WHERE = re.compile(r"\s*(LINE \d+: .*|\^+|compiled code at .*)")
"""Lines of an error that show where in whose SQL it is."""


def _cause_of(error: str, name: str) -> str:
    r"""Return an error without whose it is and where in its SQL: two of one cause are equal.

    >>> _cause_of("no table x\nLINE 1: select * from x\n                      ^", "a")
    'no table x'
    >>> _cause_of("Runtime Error in model a (models/a.sql)\n  no table x", "a")
    'Runtime Error in model\n  no table x'
    >>> _cause_of("the model shop.a calls what is gone", "a") == _cause_of("the model shop.b calls what is gone", "b")
    True
    """
    kept = (line for line in error.splitlines() if line.strip() and not _WHERE.fullmatch(line))
    named = rf"\b((?:model|seed|snapshot|test) |\w+\.){re.escape(name)}\b( \(\S+\))?"
    return re.sub(named, lambda found: found[1].rstrip(), "\n".join(kept))


def _place(location: object) -> str:
    return f"  [dim]{escaped(str(location))}[/]" if location else ""


def _indented(text: str) -> list[str]:
    return [f"    {escaped(line)}" for line in text.splitlines() if line.strip()]


def rows_of(
    decisions: Iterable[Decision], results: Mapping[str, ModelResult], terminal: Terminal
) -> Iterator[tuple[str, str, str, str]]:
    """Yield rows of outcome, name or count, seconds and reason: what is built by name, what is reused or skipped by its reason.

    Args:
        decisions: In the order of the graph.
        results: What was built; nothing for a plan.
        terminal: How much it lists.
    """
    chosen = list(decisions)
    for outcome in SHOWN_OUTCOMES:
        alike = [each for each in chosen if each.outcome is outcome]
        if outcome is Outcome.FAILED and results and not terminal.verbose:
            continue  # was shown when it happened
        by_name = terminal.listed is None or (
            outcome in (Outcome.BUILT, Outcome.FAILED) and len(alike) <= terminal.listed
        )
        if by_name:
            for each in alike:
                result = results.get(each.model)
                took = f"{result.seconds:.2f} s" if result is not None and outcome is Outcome.BUILT else ""
                yield (
                    coloured(_word(each), outcome.value),
                    escaped(each.model),
                    took,
                    f"[dim]{escaped(explain(each))}[/]",
                )
            continue
        groups: dict[tuple[str, str], list[Decision]] = {}
        for each in alike:
            groups.setdefault((_word(each), _cause(each)), []).append(each)
        for (word, cause), group in groups.items():
            seconds = sum(results[each.model].seconds for each in group if each.model in results)
            sentences = {explain(each) for each in group}
            because = explain(group[0]) if len(sentences) == 1 or outcome is Outcome.FAILED else cause
            names = [each.model for each in group]
            if outcome is not Outcome.REUSED and len(group) > 1:
                because += f": {named(names)}"
            what = names[0] if len(group) == 1 else str(len(group))
            took = f"{seconds:.2f} s" if seconds else ""
            yield coloured(word, outcome.value), escaped(what), took, f"[dim]{escaped(because)}[/]"


def tree_of(project: Project, decisions: Mapping[str, Decision], terminal: Terminal) -> Iterator[str]:
    """Yield a plan as lines of a tree, each model below what it reads; one that reads several stands below the first, and is named below the others.

    What is reused is left out, unless all is listed.
    """
    shown = [name for name, each in decisions.items() if terminal.verbose or each.outcome is not Outcome.REUSED]
    above = {name: [each for each in project.graph.relations_read(name) if each in decisions] for name in shown}
    below: dict[str, list[str]] = {}
    for name in shown:
        for each in above[name]:
            below.setdefault(each, []).append(name)
    told: set[str] = set()
    chosen = set(shown)
    roots = [name for name in shown if not chosen.intersection(above[name])]
    # a stack and no recursion: a chain may be longer than Python's own stack is deep
    waiting = [(name, "", "", "") for name in reversed(roots)]
    while waiting:
        name, indent, branch, beyond = waiting.pop()
        decision = decisions[name]
        line = f"[dim]{indent}{branch}[/]{coloured(_word(decision), decision.outcome.value)} {escaped(name)}"
        if name in told:
            yield f"{line}  [dim]see above[/]"
            continue
        told.add(name)
        yield f"{line}  [dim]{escaped(explain(decision))}[/]"
        children = below.get(name, [])
        for number in range(len(children) - 1, -1, -1):
            is_last = number == len(children) - 1
            waiting.append(
                (children[number], indent + beyond, "└─ " if is_last else "├─ ", "   " if is_last else "│  ")
            )


def _word(decision: Decision) -> str:
    """Return the outcome of a decision, with a question mark where it is only foreseen."""
    return f"{decision.outcome.value}?" if decision.evidence.get("tentative") else decision.outcome.value


def _cause(decision: Decision) -> str:
    """Return what a decision has in common with others of the same reason, in words."""
    evidence = decision.evidence
    if decision.outcome is Outcome.FAILED and evidence.get("error"):
        return _cause_of(str(evidence["error"]), decision.model)
    if decision.outcome is Outcome.SKIPPED:
        return explain(decision) if evidence.get("tests") or evidence.get("standing") else "below what failed"
    if decision.reason is Reason.SAME_ELSEWHERE:
        return f"the same is {'read ' if evidence.get('in_place') else ''}in {evidence['environment']}"
    label = TRUTH_TABLE.by_reason[decision.reason].label
    return label if isinstance(label, str) and label else decision.reason.value.replace("_", " ")


def rows_of_tests(
    decisions: Iterable[TestDecision], results: Mapping[str, TestResult]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield rows as `rows_of` does, one for each data test: its verdict where there is one, and why it was run or not."""
    for each in decisions:
        result = results.get(each.test)
        verdict = result.verdict.value if result is not None and result.verdict is not None else each.outcome.value
        took = f"{result.seconds:.2f} s" if result is not None and result.seconds else ""
        because = explain_test(each) if verdict == each.outcome.value else f"{each.outcome.value}: {explain_test(each)}"
        yield coloured(verdict), escaped(each.test), took, f"[dim]{escaped(because)}[/]"


def summary_of(result: RunResult, state: str) -> Iterator[tuple[str, str]]:
    """Yield the last lines of a run, each with its heading: counts, time, what was saved, and where all that is kept."""
    summary = result.summary()
    if result.models or not result.tests:
        yield "models", _counts({each: int(str(summary[each.value])) for each in Outcome})
    verdicts = Counter(each.verdict.value for each in result.tests if each.verdict)
    bad = ", ".join(coloured(f"{verdicts[each]} {each}", each) for each in BAD if verdicts[each])
    skipped = sum(each.decision.outcome is TestOutcome.SKIPPED for each in result.tests)
    yield (
        "tests",
        (
            f"{summary['tests_ran']} ran in {counted(int(str(summary['test_statements'])), 'statement')}, {summary['tests_proven']} proven, "
            f"{summary['tests_reused']} reused"
            + (f", {skipped} skipped" if skipped else "")
            + (f"; {bad}" if bad else "")
        ),
    )
    saved = float(str(summary["seconds_saved"]))
    yield "time", f"{summary['seconds']} s" + (f", saved about {saved:.1f} s" if saved >= 0.05 else "")
    yield from _deferred(result.deferral)
    yield "state", escaped(state)
    yield "environment", f"{escaped(result.environment)}  [dim]run {result.run_id}[/]"


def plan_summary(plan: Plan, state: str, environment: str) -> Iterator[tuple[str, str]]:
    """Yield the last lines of a plan, each with its heading, with the names of its state and its environment."""
    yield "models", _counts(Counter(each.outcome for each in plan.decisions.values()), foreseen=True)
    counts = Counter(each.outcome for each in plan.tests.values())
    yield (
        "tests",
        (
            f"{counts[TestOutcome.RAN]} to run, {counts[TestOutcome.PROVEN]} proven, {counts[TestOutcome.REUSED]} to reuse"
            + (f", {counts[TestOutcome.SKIPPED]} to skip" if counts[TestOutcome.SKIPPED] else "")
        ),
    )
    yield from _deferred(plan.deferral)
    yield "state", escaped(state)
    yield "environment", escaped(environment)


def _deferred(deferral: Deferral | None) -> Iterator[tuple[str, str]]:
    """Yield what is read from another environment, with its heading; nothing where nothing is."""
    names = [] if deferral is None else [*deferral.relations]
    if deferral is not None and names:
        more = f" and {len(names) - SHOWN_DEFERRED} more" if len(names) > SHOWN_DEFERRED else ""
        yield "deferred", escaped(f"reads {', '.join(names[:SHOWN_DEFERRED])}{more} in {deferral.environment}")


def _counts(counts: Mapping[Outcome, int], *, foreseen: bool = False) -> str:
    """Return how many models have which outcome; those that are built or reused always."""
    words = {
        Outcome.BUILT: "to build",
        Outcome.REUSED: "to reuse",
        Outcome.SKIPPED: "to skip",
        Outcome.FAILED: "to fail",
    }
    return ", ".join(
        coloured(f"{counts.get(each, 0)} {words[each] if foreseen else each.value}", each.value)
        for each in SHOWN_OUTCOMES
        if counts.get(each, 0) or each in (Outcome.BUILT, Outcome.REUSED)
    )
