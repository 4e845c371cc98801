"""What runs have saved, as a page: one file of HTML that loads nothing, in light and in dark, whose pictures are tables, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from html import escape

from sao_dagster.cli.terminal import time_of
from sao_dagster.run.savings import Savings, SavingsReport

LISTED = 20
"""How many models are listed."""
_WIDTH, _HEIGHT, _LEFT, _BELOW = 860, 220, 64, 28
_PARTS = (("reused", "reused models"), ("cut-off", "cut off early"), ("tests", "data tests"))

_NOTE = """Seconds saved are an estimate: what the reused models and data tests took when they were built or run last. In the totals the time
that deciding took is taken off; a run that saved less than that counts as none."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #57606a; --ground: #ffffff; --line: #d0d7de;
  --reused: #0b6bcb; --cut-off: #9a6700; --tests: #1a7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --dim: #9aa5b1; --ground: #0d1117; --line: #30363d; --reused: #58a6ff; --cut-off: #e3b341; --tests: #3fb950; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 920px; padding: 2rem 1.5rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
p { margin: .25rem 0 0; } .dim { color: var(--dim); font-size: .9rem; overflow-wrap: anywhere; }
.note { margin-top: 2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1rem; margin-top: 1.5rem; padding: 0; list-style: none; }
.cards li { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; }
.cards strong { display: block; font-size: 1.7rem; line-height: 1.2; margin: .25rem 0; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font: 12px system-ui, sans-serif; }
svg line { stroke: var(--line); } .reused { fill: var(--reused); } .cut-off { fill: var(--cut-off); } .tests { fill: var(--tests); }
figcaption { color: var(--dim); font-size: .9rem; display: flex; gap: 1.25rem; flex-wrap: wrap; margin-top: .5rem; }
figcaption svg { width: 12px; height: 12px; display: inline-block; margin-right: .4rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; } thead th { color: var(--dim); font-weight: 600; }
tbody th { font-weight: 400; } details { margin-top: .75rem; } summary { cursor: pointer; color: var(--dim); font-size: .9rem; }
"""


def savings_page(report: SavingsReport, state: str) -> str:
    """Return the page.

    Args:
        report: What was saved.
        state: Where that is known from, without a password.
    """
    days, environment = report.days, report.environment
    cards = "".join(_card(number, each) for number, each in report.periods.items())
    more = len(report.savers) - LISTED
    parts = [
        f"<h1>What was saved</h1><p class=dim>{escape(environment)}, from {escape(state)}</p>",
        f"<ul class=cards>{cards}</ul>",
        f"<h2>Time saved by day, {min(days)} to {max(days)}</h2>",
        _chart(days),
        _table(
            ("", "runs", "built", "reused", "cut off", "tests reused", "tests proven", "run time", "saved"),
            [
                _row(str(day), each)
                for day, each in sorted(days.items(), key=lambda item: item[0], reverse=True)
                if each.runs
            ],
            "By day",
        ).join(("<details><summary>as a table</summary>", "</details>")),
        "<h2>By job</h2>",
        _table(
            ("job", "runs", "built", "reused", "cut off", "tests reused", "tests proven", "run time", "saved"),
            [_row(job or "not named", each) for job, each in report.jobs.items()],
            "By job",
        ),
        "<h2>By model and data test</h2>",
        _table(
            ("name", "built or run", "reused or proven", "time built", "saved"),
            [
                (each.name, f"{each.built:,}", f"{each.reused:,}", time_of(each.seconds), time_of(each.seconds_saved))
                for each in report.savers[:LISTED]
            ],
            "By model and data test",
        ),
        f"<p class=dim>and {more:,} more</p>" if more > 0 else "",
        f"<p class='dim note'>{_NOTE}</p>",
    ]
    title = f"{time_of(report.whole.seconds_saved)} saved: {environment}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _card(days: int, saved: Savings) -> str:
    return (
        f"<li>last {days} days<strong>{time_of(saved.seconds_saved)}</strong>"
        f"<span class=dim>{100 * saved.share:.0f} % of {saved.built + saved.reused:,.0f} models reused, {saved.cut_off:,.0f} of them cut off; "
        f"{saved.tests_reused + saved.tests_proven:,.0f} of {saved.tests_ran + saved.tests_reused + saved.tests_proven:,.0f} data tests not run</span></li>"
    )


def _chart(days: Mapping[date, Savings]) -> str:
    """Return bars by day, in three parts, with a scale."""
    stacks = {day: _stack(each) for day, each in days.items()}
    top = _round_up(max((sum(each) for each in stacks.values()), default=0.0))
    step = (_WIDTH - _LEFT) / max(len(days), 1)
    high = _HEIGHT - _BELOW
    drawn = []
    parts = 4 if top > 1 else 2  # so that a line is at the number that it says
    for number in range(parts + 1):
        y = 8 + (high - 8) * (1 - number / parts)
        drawn.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{time_of(top * number / parts)}</text>')
    each_label = max(1, round(len(days) / 6))
    for number, (day, stack) in enumerate(stacks.items()):
        x, y = _LEFT + number * step, float(high)
        for (kind, words), seconds in zip(_PARTS, stack, strict=True):
            tall = (high - 8) * seconds / top
            if tall > 0:
                y -= tall
                said = escape(f"{day}: {time_of(seconds)} by {words}")
                drawn.append(
                    f'<rect class="{kind}" x="{x + step * 0.12:.1f}" y="{y:.1f}" width="{step * 0.76:.1f}" height="{tall:.1f}"><title>{said}</title></rect>'
                )
        if (len(days) - 1 - number) % each_label == 0:
            is_last = number == len(days) - 1
            at, anchor = (_WIDTH, "end") if is_last else (x + step / 2, "middle")
            drawn.append(f'<text x="{at:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{day:%d %b}</text>')
    legend = "".join(
        f'<span><svg viewBox="0 0 12 12" aria-hidden="true"><rect class="{kind}" width="12" height="12" rx="2"/></svg>{words}</span>'
        for kind, words in _PARTS
    )
    together = time_of(sum(sum(each) for each in stacks.values()))
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Time saved by day, {together} together; the table below has the '
        f'numbers">{"".join(drawn)}</svg><figcaption>{legend}</figcaption></figure>'
    )


def _stack(saved: Savings) -> tuple[float, float, float]:
    """Return what was saved by models, by those of them that were cut off, and by data tests; together what was saved in all."""
    cut_off = min(saved.seconds_saved_by_cut_off, saved.seconds_saved)
    tests = min(saved.seconds_saved_by_tests, saved.seconds_saved - cut_off)
    return saved.seconds_saved - cut_off - tests, cut_off, tests


def _row(name: str, saved: Savings) -> tuple[str, ...]:
    counts = (
        saved.runs, saved.built, saved.reused, saved.cut_off, saved.tests_reused, saved.tests_proven,
    )  # fmt: skip
    return (name, *(f"{each:,.0f}" for each in counts), time_of(saved.seconds), time_of(saved.seconds_saved))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    head = "".join(f"<th scope=col>{escape(each)}</th>" for each in headings)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}</th>{''.join(f'<td>{escape(each)}</td>' for each in rest)}</tr>"
        for name, *rest in rows
    )
    return f'<div class=wide><table aria-label="{escape(caption)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _round_up(seconds: float) -> float:
    """Return the end of a scale: a round number that is not below.

    >>> [_round_up(each) for each in (0, 3.2, 41, 1000)]
    [1.0, 4.0, 60.0, 1200.0]
    """
    steps = (1, 2, 4, 8, 12, 20, 40, 60, 120, 240, 480, 600, 1200, 2400, 3600, 7200, 14400, 28800, 43200, 86400)
    return float(next((each for each in steps if each >= seconds), 86400 * -(-seconds // 86400)))
