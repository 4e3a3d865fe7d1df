"""``make soak``: mixed traffic at 70 % of the capacity for half an hour. What grows, leaks.

The mix takes as much CPU as 70 % of the photos that the pod stands would; what a request of
either takes is measured first. The capacity is that of ``deploy/capacity.toml``, or ``--rate``.
The exit code is 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.cli.capacity import PlanError
from loadtest import report
from loadtest.bench import PROGRAMS, Bench, own_bench
from loadtest.capacity import HEADROOM, PHOTO, known
from loadtest.goals import Figure, missed
from loadtest.plots import Series, plot
from loadtest.prometheus import loop_figures
from loadtest.report import Section, run_plots, summary
from loadtest.scenarios import MIX
from loadtest.tables import machine
from loadtest.vitals import WINDOW, Life, Vitals

RESULTS = Path(__file__).parent / "results" / "soak"
MINUTES = 30.0
GOALS = {"rss": (1.0, "MB/min"), "descriptors": (0.1, "/min")}
"""By how much any process may grow."""

_WARM = 0.25  # share of the time that is left out: caches and pools fill
_WINDOWS = 10  # of a soak too short for whole minutes
_IDLE = 5.0  # seconds
_ALONE = 0.5  # requests a second that hardly meet


def mixed_rate(bench: Bench, photos: float) -> float:
    """Requests of the mix a second that take as much CPU as ``photos`` photos a second."""
    bench.constant(PHOTO, 1.0, _IDLE, "warm-up")
    before, begun = sum(bench.cpu_seconds().values()), time.monotonic()
    time.sleep(_IDLE)
    idle = (sum(bench.cpu_seconds().values()) - before) / (time.monotonic() - begun)

    def cost(scenario: str, count: int) -> float:
        before, begun = sum(bench.cpu_seconds().values()), time.monotonic()
        bench.constant(scenario, _ALONE, count / _ALONE, f"cost-{scenario}")
        bench.jobs_done()
        taken = sum(bench.cpu_seconds().values()) - before
        return (taken - idle * (time.monotonic() - begun)) / count

    count = sum(MIX.values())
    photo, mixed = cost(PHOTO, count), cost("mixed", count)
    print(f"  CPU seconds: {photo:.2f} a photo, {mixed:.2f} a request of the mix", flush=True)
    return photos * photo / mixed


def soak(bench: Bench, rate: float, seconds: float, every: float) -> tuple[list[Figure], Section]:
    """The mix at ``rate`` for ``seconds``, the processes looked at each ``every`` seconds."""
    failed_before = bench.jobs_done()
    with Vitals(bench.processes, PROGRAMS, every) as vitals:
        run = bench.constant("mixed", rate, seconds, "soak")
    failed = bench.jobs_done() - failed_before
    bad = len(run) - int(run.good.sum())
    memory, descriptors = (_growths(vitals, what, seconds) for what in GOALS)
    told = ", ".join(f"{name} {growth:+.2f}" for name, growth in memory.items())
    figures = [
        Figure(
            "soak, mixed traffic at 70 % of the capacity: answered",
            100 * run.success,
            "%",
            "least",
            100,
            f"{seconds / 60:g} min, {len(run)} requests, {rate:.2f}/s, {bad} bad",
        ),
        Figure("its videos that failed", failed, "", "most", 0),
        _worst("its memory, the worst process", memory, "rss"),
        _worst("its descriptors, the worst process", descriptors, "descriptors"),
    ]
    return figures + loop_figures(bench.samples(), "soak"), Section(
        "Soak", f"{summary(run)} MB a minute: {told}.", [*run_plots(run), *_vital_plots(vitals)]
    )


def _growths(vitals: Vitals, what: str, seconds: float) -> dict[str, float]:
    """By process, of those that lived for half of the time that counts, or longer."""
    window = min(WINDOW, seconds / _WINDOWS)
    warm = _WARM * seconds
    least = round((seconds - warm) / window / 2)
    found = {
        life.name: life.growth(getattr(life, what), warm, window, least) for life in vitals.lives
    }
    return {name: growth for name, growth in found.items() if growth is not None}


def _worst(name: str, growths: dict[str, float], what: str) -> Figure:
    goal, unit = GOALS[what]
    who = max(growths, key=lambda name: growths[name], default="")
    if not who:
        return Figure(name, float("nan"), unit, "under", goal, "no process lived long enough")
    return Figure(name, growths[who], unit, "under", goal, who)


def _vital_plots(vitals: Vitals) -> list[str]:
    views: Sequence[tuple[str, str, Callable[[Life], list[float]]]] = (
        ("resident memory", "MB", lambda life: life.rss),
        ("memory of its own (USS)", "MB", lambda life: life.uss),
        ("descriptors", "", lambda life: life.descriptors),
        ("threads", "", lambda life: life.threads),
    )
    plots = []
    for title, unit, values in views:
        for program, lives in vitals.by_program().items():
            series = [
                Series(life.name, life.at, values(life), f"s{number % 6}")
                for number, life in enumerate(life for life in lives if len(life.at) > 1)
            ]
            plots.append(plot(f"{program}: {title}", series, ("s", unit)))
    return plots


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, help="photos a second that the pod stands")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seconds = 60 * args.minutes
    try:
        capacity = args.rate or known().rate
        with own_bench(args.out) as bench:
            print("what a request takes …", flush=True)
            rate = mixed_rate(bench, HEADROOM * capacity)
            print(f"soak at {rate:.2f} requests a second, {args.minutes:g} minutes …", flush=True)
            figures, section = soak(bench, rate, seconds, min(5.0, seconds / 60))
    except (PlanError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {**machine(), "form": f"soak of {args.minutes:g} minutes"}
    path = report.write(args.out, "Soak", about, figures, [section])
    print(f"{report.told(figures)}\nwritten: {path}")
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
