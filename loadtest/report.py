"""A report as one HTML file that needs nothing else: figures with their goals, then plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from loadtest import goals
from loadtest.goals import Figure, Run
from loadtest.plots import Limit, Series, bars, plot
from loadtest.results import Results

_EDGES = (0.0, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, np.inf)
_SHARES = (*np.linspace(0, 90, 46), *np.linspace(90, 99, 19), *np.linspace(99, 100, 21))

_STYLE = """
:root{--paper:#fff;--ink:#1d2530;--dim:#667085;--rule:#e4e7ec;--good:#1a7f5a;--bad:#c2352b;
--refused:#c77700;--s0:#2463b4;--s1:#c2582b;--s2:#1a7f5a;--s3:#8847b8;--s4:#97720c;--s5:#b83280}
@media(prefers-color-scheme:dark){:root{--paper:#14181f;--ink:#e6e9ef;--dim:#98a2b3;
--rule:#2c3440;--good:#4cc38a;--bad:#f2766d;--refused:#f0a63a;--s0:#6ea8f0;--s1:#f09066;
--s2:#4cc38a;--s3:#c08be8;--s4:#d9b23c;--s5:#f07ab8}}
*{box-sizing:border-box}
body{margin:0 auto;padding:32px 20px 64px;max-width:1180px;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 4px}
p{margin:4px 0 12px}.about{color:var(--dim);font-size:13px}
table{border-collapse:collapse;width:100%;margin:16px 0}
th,td{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--rule);
vertical-align:top}
th{font-size:13px;font-weight:600;color:var(--dim)}td.met{color:var(--good)}
td.missed{color:var(--bad);font-weight:600}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:20px}
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto;display:block}
.legend{font-size:13px;min-height:20px}.legend span{margin-right:16px;color:var(--dim)}
.legend span::before{content:"";display:inline-block;width:10px;height:10px;border-radius:2px;
margin-right:6px;background:var(--c)}
.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}
.s5{--c:var(--s5)}.good{--c:var(--good)}.refused{--c:var(--refused)}.bad{--c:var(--bad)}
rect{fill:var(--c)}.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.dots{fill:none;stroke:var(--c);stroke-width:4;stroke-linecap:round;opacity:.6}
.grid{stroke:var(--rule);fill:none}.axis{stroke:var(--dim);fill:none}
.limit{stroke:var(--dim);stroke-dasharray:5 4;fill:none}
.tick,.limit-name,.none{fill:var(--dim);font-size:11.5px}.none{text-anchor:middle}
"""


@dataclass(frozen=True)
class Section:
    """A part of the report: a heading, a paragraph, plots (HTML)."""

    title: str
    text: str
    plots: Sequence[str] = field(default_factory=tuple)


def page(
    title: str, about: dict[str, str], figures: Sequence[Figure], sections: Sequence[Section]
) -> str:
    """The file's text."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="about">{escape(" · ".join(about.values()))}</p>',
        _table(figures) if figures else "",
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>")
        parts.append(f'<div class="plots">{"".join(section.plots)}</div>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def write(
    folder: Path,
    title: str,
    about: dict[str, str],
    figures: Sequence[Figure],
    sections: Sequence[Section],
) -> Path:
    """Write ``report.html``, whose path is returned, and ``figures.json`` for ``publish``."""
    folder.mkdir(parents=True, exist_ok=True)
    goals.save(folder / "figures.json", Run(about, list(figures)))
    path = folder / "report.html"
    path.write_text(page(title, about, figures, sections))
    return path


def told(figures: Sequence[Figure]) -> str:
    """Figures for a terminal, and at the end which goals were missed."""
    lines = ["  ".join(filter(None, figure.row())) for figure in figures]
    if missed := goals.missed(figures):
        lines.append(f"goals missed: {'; '.join(missed)}")
    return "\n".join(lines)


def summary(results: Results) -> str:
    """A run in a sentence."""
    codes = ", ".join(f"{count} × {code or 'no answer'}" for code, count in results.codes().items())
    times = ", ".join(f"p{share:g} {_time(results.percentile(share))}" for share in (50, 95, 99))
    return (
        f"{len(results)} requests in {results.length:g} s: {codes}. Good answers: {times}, "
        f"{results.goodput():.2f} a second."
    )


def run_plots(results: Results, p99: float | None = None) -> list[str]:
    """Latency over time, histogram, percentiles and status codes over time of one run.

    p99: a goal to draw, in seconds.
    """
    kinds = [
        ("good", results.good),
        ("refused", results.refused),
        ("bad", ~results.good & ~results.refused),
    ]
    kinds = [(name, which) for name, which in kinds if which.any()]
    limit = Limit(f"goal for p99: {_time(p99)}", 1000 * p99) if p99 else None
    over_time = [
        Series(name, results.due[which], 1000 * results.seconds[which], name, dots=True)
        for name, which in kinds
    ]
    shares = [
        Series(name, _SHARES, 1000 * np.percentile(results.seconds[which], _SHARES), name)
        for name, which in kinds
    ]
    histogram = [
        (name, name, np.histogram(results.seconds[which], _EDGES)[0].tolist())
        for name, which in kinds
    ]
    names = [_time(edge) for edge in _EDGES[1:-1]] + ["longer"]
    ticks = time_bins(results.length)
    by_code = [
        (
            str(code or "no answer"),
            _style(code),
            _per_second(results.due[results.code == code], ticks),
        )
        for code in results.codes()
    ]
    return [
        plot("Latency over time", over_time, ("s", "ms"), log=True, limit=limit),
        bars("Latencies", names, histogram, ("answered within", "requests")),
        plot("Percentiles", shares, ("% of the requests", "ms"), log=True, limit=limit),
        bars("Status codes", [f"{t:g}" for t in ticks[:-1]], by_code, ("s", "requests/s")),
    ]


def time_bins(length: float) -> list[float]:
    """Edges, in seconds, that divide a run into at most 60 equal parts of whole seconds."""
    width = max(1, int(np.ceil(length / 60)))
    return [float(width * number) for number in range(int(np.ceil(length / width)) + 1)]


def _per_second(due: np.ndarray, ticks: list[float]) -> list[float]:
    counts = np.histogram(due, ticks)[0] / (ticks[1] - ticks[0])
    return [float(count) for count in counts]


def _named(code: int) -> str:
    return str(code or "no answer")


def _style(code: int) -> str:
    if 200 <= code < 300:
        return "good"
    return {429: "refused", 503: "s3"}.get(code, "bad")


def _table(figures: Sequence[Figure]) -> str:
    rows = []
    for figure in figures:
        name, value, goal, met = map(escape, figure.row())
        rows.append(
            f'<tr><td>{name}</td><td>{value}</td><td>{goal}</td><td class="{met}">{met}</td></tr>'
        )
    head = "<tr><th>what</th><th>measured</th><th>goal</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _time(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "–"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
