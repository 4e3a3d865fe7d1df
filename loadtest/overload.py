"""Photos at what the pod stands and at twice that: what it serves, and how it turns away."""

from __future__ import annotations

from statistics import median

from loadtest.bench import Bench
from loadtest.capacity import P99, PHOTO, SUCCESS
from loadtest.goals import Figure
from loadtest.report import Section, run_plots, summary
from loadtest.results import Results, counts, ratio, served

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
    refusals = [run.percentile(99, run.refused) for run in over if run.refused.any()]
    figures = [
        Figure(
            f"photos 1280×720 a second at capacity, answered within {P99:g} s",
            median(run.goodput(P99) for run in at),
            "/s",
        ),
        Figure(
            "their p99, whoever was not served counting as late",
            median(run.served_within(99) for run in at),
            "s",
            "most",
            P99,
            f"of the served {median(run.percentile(99) for run in at):.2f} s",
        ),
        Figure(
            "their share that was served", 100 * served(at), "%", "least", 100 * SUCCESS, counts(at)
        ),
        Figure(
            f"at twice that rate: answered within {P99:g} s, of capacity's",
            _kept(at, over, P99),
            "%",
            "least",
            100 * SHARE,
            f"of all answers {_kept(at, over):.1f} %; "
            f"p99 of the served {median(run.percentile(99) for run in over):.2f} s",
        ),
        Figure(
            "p99 until a refusal (429, 503) is told",
            1000 * median(refusals) if refusals else float("nan"),
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


def _kept(at: list[Results], over: list[Results], within: float = float("inf")) -> float:
    """Goodput at twice the rate, % of that at capacity: median over runs in pairs."""
    pairs = zip(at, over, strict=True)
    return 100 * median(ratio(o.goodput(within), a.goodput(within)) for a, o in pairs)
