"""Photos at what the pod stands and at twice that: what it serves, and how it turns away."""

from __future__ import annotations

from statistics import median

from loadtest.bench import Bench
from loadtest.capacity import P99, PHOTO
from loadtest.goals import Figure
from loadtest.report import Section, run_plots, summary
from loadtest.results import Results

SHARE = 0.95
"""Of what is served at capacity, that is served at twice the rate, at least."""

POLITE = 50.0
"""Milliseconds within which 99 of 100 refusals are told."""


def overload(
    bench: Bench, rate: float, runs: int, seconds: float
) -> tuple[list[Figure], list[Section]]:
    """Runs at ``rate`` and at twice that in turns, ``seconds`` each; medians over ``runs``."""
    at, over = [], []
    for number in range(runs):
        print(f"  run {number + 1}/{runs}", flush=True)
        at.append(bench.constant(PHOTO, rate, seconds, f"capacity-{number}"))
        over.append(bench.constant(PHOTO, 2 * rate, seconds, f"overload-{number}"))
    refused = [run.percentile(99, run.refused) for run in over]
    figures = [
        Figure("photos 1280×720 a second at capacity", median(run.goodput for run in at), "/s"),
        Figure(
            "their p99", median(run.percentile(99) for run in at), "s", "most", P99, _answered(at)
        ),
        Figure(
            "at twice that rate: goodput, of capacity's",
            100 * median(o.goodput / a.goodput for a, o in zip(at, over, strict=True)),
            "%",
            "least",
            100 * SHARE,
            f"p99 of the served {median(run.percentile(99) for run in over):.2f} s",
        ),
        Figure(
            "p99 until a refusal (429, 503) is told",
            1000 * median(refused),
            "ms",
            "most",
            POLITE,
            f"{sum(int(run.refused.sum()) for run in over)} refused",
        ),
        Figure("time-outs and 5xx but 503", sum(run.broken for run in over), "", "most", 0),
    ]
    return figures, [
        Section("Photos at capacity", summary(at[-1]), run_plots(at[-1], P99)),
        Section("Photos at twice the capacity", summary(over[-1]), run_plots(over[-1], P99)),
    ]


def _answered(runs: list[Results]) -> str:
    good, sent = (
        sum(int(part) for part in parts) for parts in zip(*map(_counts, runs), strict=True)
    )
    return f"{good} of {sent} answered"


def _counts(run: Results) -> tuple[int, int]:
    return int(run.good.sum()), len(run)
