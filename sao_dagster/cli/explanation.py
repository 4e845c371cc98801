"""What `sao explain` shows to people: sentences first, with times by their clock, and then what these rest on, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from sao_dagster.cli.terminal import Terminal, coloured, escaped, named
from sao_dagster.core.messages import counted, local_time
from sao_dagster.core.policy import describe_duration

VERBS = {"built": "build", "reused": "reuse", "skipped": "skip", "failed": "fail on", "ran": "run", "proven": "prove"}
VERSION_END = 16  # characters of a data version that tell it from others


def print_explanation(terminal: Terminal, shown: Mapping[str, Any]) -> None:
    """Print what is known of a model, data test or source."""
    place = f"  [dim]{escaped(str(shown['file']))}[/]" if shown.get("file") else ""
    terminal.say(f"[bold]{escaped(shown['name'])}[/]{place}", "")
    terminal.say(*map(escaped, sentences(shown)))
    if shown.get("error"):
        terminal.say(f"[red]{escaped(shown['error'])}[/]")
    now = shown.get("now")
    _section(terminal, "evidence", list(evidence_rows(now["evidence"])) if now else [])
    _section(terminal, "proof", [(each,) for each in shown.get("proof", ())])
    _section(terminal, "inputs", _input_rows(shown), ("input", "at its last build", "now", ""))
    readers = [
        (each["name"], "has news" if each["news"] else "knows it" if each["recorded"] else "never built")
        for each in shown.get("read_by", ())
    ]
    _section(terminal, "read by", readers)
    _section(terminal, "tests", [(each,) for each in shown.get("tests", ())])
    if shown.get("sql"):
        terminal.say("", "[bold]sql[/]", *(f"  {escaped(line)}" for line in shown["sql"].strip().splitlines()))
    before = [
        (_time(each["at"]), each["outcome"], each["reason"], *([each["error"]] if "error" in each else []))
        for each in shown.get("decided_before", ())
    ]
    _section(terminal, "decided before", before)
    if "diff" in shown:
        same = "it was never built here" if shown.get("last_build") is None else "its SQL is that of its last build"
        told = [_coloured_line(line) for line in shown["diff"]] or [f"[dim]{same}[/]"]
        terminal.say("", "[bold]diff[/]", *told)


def sentences(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said first of a model, data test or source."""
    now = shown.get("now")
    if now is not None:
        yield f"A run now would {VERBS[now['outcome']]} it ({now['reason']}): {now['because']}."
        if shown.get("unrendered") and "unrendered" not in now["evidence"]:
            each_time = "built" if "last_build" in shown else "run"
            yield f"Its template cannot be rendered here, so that it is {each_time} each time: {' '.join(shown['unrendered'].split())}."
    elif shown.get("materialized") == "ephemeral":
        yield "It is ephemeral: it is a part of what reads it, and nothing is decided about it."
    if "last_build" in shown:
        yield from _sentences_of_a_model(shown)
    elif "last_verdict" in shown:
        yield from _sentences_of_a_test(shown)
    else:
        yield from _sentences_of_a_source(shown)


def _sentences_of_a_model(shown: Mapping[str, Any]) -> Iterator[str]:
    last = shown["last_build"]
    if last is not None and last["adopted"]:
        yield f"It was adopted at {_time(last['built_at'])}: somebody said that it holds what its code gave then; no build is recorded here."
    elif last is not None:
        rows = "" if last["rows"] is None else f", with {counted(last['rows'], 'row')}"
        there = f" in {last['same_as']}, and taken from there" if last["same_as"] else ""
        there += f" as a view over {last['shows']}" if last["shows"] else ""
        yield f"It was built at {_time(last['built_at'])} in {last['seconds']:.2f} s{rows}, by run {last['run_id']}{there}."
    elif shown.get("materialized") != "ephemeral":
        yield "There is no record of a build here."
    through = f", through {named(shown['looks_through'])}" if shown["looks_through"] else ""
    reads = f"; it reads {named(shown['inputs'], 5)}{through}" if shown["inputs"] else "; it reads nothing"
    where, now = shown["relation"], shown.get("now")
    if now is not None and now["evidence"].get("in_place"):
        where = f"which is not here: what reads it reads {now['evidence']['relation']}"
    yield f"It is a {shown['materialized']}, {where}{reads}."
    expires = f"; its result expires {shown['expires']}" if shown["expires"] else ""
    yield f"Its policy: {shown['policy']}{expires}."


def _sentences_of_a_test(shown: Mapping[str, Any]) -> Iterator[str]:
    last = shown["last_verdict"]
    if last is not None:
        failures = f", with {counted(last['failures'], 'failure')}" if last["failures"] else ""
        there = f" in {last['same_as']}, and taken from there" if last["same_as"] else ""
        yield f"It was run at {_time(last['run_at'])}: {last['verdict']}{failures}, by run {last['run_id']}{there}."
    else:
        yield "There is no verdict of it here."
    column = f" of the column {shown['column']}" if shown["column"] else ""
    reads = f"; it reads {named(shown['reads'], 5)}" if shown["reads"] else ""
    yield f"It is the data test {shown['kind']}{column}{reads}."


def _sentences_of_a_source(shown: Mapping[str, Any]) -> Iterator[str]:
    news = [each["name"] for each in shown["read_by"] if each["news"]]
    if not shown["read_by"]:
        yield "No model reads it."
    elif news:
        yield f"It has news for {named(news, 5)}."
    else:
        yield f"It has no news for {named([each['name'] for each in shown['read_by']], 5)}."
    where = shown["relation"] or named(shown["files"])
    since = f", seen since {_time(shown['seen_since'])}" if shown["seen_since"] else ""
    yield (
        f"It is {where}; its version is {shown['version']}{since}."
        if shown["version"]
        else f"It is {where}; its version cannot be read."
    )
    if shown["age_seconds"] is not None:
        age = timedelta(seconds=max(0, round(shown["age_seconds"])))
        yield f"Its newest data was loaded at {_time(shown['loaded_at'])}, {describe_duration(age)} ago."
    elif shown["age_unknown"]:
        yield f"How old its data is cannot be told: {shown['age_unknown']}."


def evidence_rows(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the evidence of a decision as key and value, with times by the clock of this machine; each item of a list is a row.

    >>> list(evidence_rows({"parts": ["sql"], "age_seconds": 90.0, "news": [{"input": "orders", "new": "pending"}]}))
    [('parts', 'sql'), ('age_seconds', '90.0'), ('news', 'input orders, new pending')]
    """
    for key, value in evidence.items():
        if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            for each in value:
                yield key, ", ".join(f"{name} {_time(inner)}" for name, inner in each.items())
        elif isinstance(value, list | tuple):
            yield key, ", ".join(map(str, value))
        else:
            yield key, _time(value)


def _input_rows(shown: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            _short(each["recorded"]),
            _short(each["now"]),
            "news" if each["news"] else "",
        )
        for name, each in shown.get("input_versions", {}).items()
    ]


def _section(terminal: Terminal, title: str, rows: list[Any], headings: tuple[str, ...] = ()) -> None:
    if rows:
        terminal.say("", f"[bold]{title}[/]")
        terminal.table(
            [[f"  {escaped(first)}", *map(escaped, rest)] for first, *rest in rows],
            [f"  {each}" if not number else each for number, each in enumerate(headings)],
        )


def _coloured_line(line: str) -> str:
    colour = {"+": "built", "-": "failed", "@": "reused"}.get(line[:1])
    return escaped(line) if colour is None else coloured(line, colour)


def _short(version: str | None) -> str:
    return "not known" if version is None else version if len(version) <= VERSION_END else f"…{version[-VERSION_END:]}"


def _time(value: object) -> str:
    """Return a value as text; a time as the clock of this machine shows it."""
    text = str(value)
    if not isinstance(value, str) or len(text) < len("2026-01-01T00:00") or "T" not in text:
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo is None else local_time(moment)
