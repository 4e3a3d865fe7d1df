"""``make loadtest``: what a pod stands, and what it does beyond that and when parts of it fail.

A pod of its own; minutes, alone on the machine. Writes ``results/load/report.html``. The exit
code is 1 when a goal is missed, or a topic could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.pod import PodError
from gateway.cli.capacity import PlanError
from loadtest import capacity, goals, report
from loadtest.bench import Bench, own_bench
from loadtest.capacity import PHOTO, NothingStood, known
from loadtest.fairness import VIDEOS, fairness
from loadtest.goals import Figure
from loadtest.overload import overload
from loadtest.pace import ramp, spike
from loadtest.prometheus import loop_figures
from loadtest.recovery import recovery
from loadtest.report import Section, run_plots, summary
from loadtest.tables import machine

RESULTS = Path(__file__).parent / "results" / "load"
TOPICS = ("scenarios", "paces", "overload", "fairness", "recovery")
RATES = {
    "photo-640": 2.0,
    "photo-720p": 2.0,
    "photo-720p-base64": 2.0,
    "photo-1080p": 1.0,
    "photo-12mp": 0.2,
    "video": 0.2,
    "drawing": 0.2,
    "drawing-phone": 0.1,
    "classify": 5.0,
    "mixed": 0.5,
}
"""Requests a second that any pod stands; for the scenarios of real media, DEFAULT_RATE."""

DEFAULT_RATE = 0.5
WORKERS = {"WORKERS": str(VIDEOS)}
"""One for each of the videos that run at once."""


@dataclass(frozen=True)
class Form:
    """How long: runs of each kind, seconds of one; seconds of a rate in the search, how close it
    gets, and requests that prove what it found; seconds of the long videos, and of the run in
    which the model server is killed.
    """

    name: str
    runs: int
    seconds: float
    search: float
    close: float
    proof: int
    video_seconds: float
    outage: float


FULL = Form("full", 3, 30.0, 20.0, capacity.CLOSE, capacity.PROOF, 300.0, 75.0)
QUICK = Form("quick, too short to be relied on", 1, 5.0, 6.0, 1.5, 20, 60.0, 40.0)


def scenarios(bench: Bench, form: Form) -> list[Section]:
    """Each kind of request by itself, at a rate that is no burden."""
    sections = []
    for name in bench.scenarios.names:
        print(f"  {name}", flush=True)
        rate = RATES.get(name, DEFAULT_RATE)
        run = bench.constant(name, rate, max(form.seconds / 2, 2 / rate), name)
        bench.jobs_done()
        sections.append(Section(f"{name}, {rate:g} a second", summary(run), run_plots(run)))
    return sections


def paces(bench: Bench, rate: float, form: Form) -> list[Section]:
    """A ramp and a spike of photos from half of what the pod stands to twice that."""
    sections = []
    for name, steps in (
        ("ramp", ramp(0.5 * rate, 2 * rate, 2 * form.seconds)),
        ("spike", spike(0.5 * rate, 2 * rate, 2 * form.seconds)),
    ):
        print(f"  {name}", flush=True)
        run = bench.play(PHOTO, steps, name)
        title = f"A {name} of photos, {steps[0].rate:.2g} to {2 * rate:.2g} a second"
        sections.append(Section(title, summary(run), run_plots(run, capacity.P99)))
    return sections


@dataclass
class Found:
    """What was measured; ``failed``: the topics that could not be."""

    figures: list[Figure] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def measure(bench: Bench, form: Form, topics: Sequence[str], rate: float | None) -> Found:
    """The topics, one after the other; where one fails the others are still measured.

    rate: photos a second that the pod stands, searched when None.

    Raises:
        NothingStood: it stands none.
    """
    if rate is None:
        print("capacity …", flush=True)
        rate = capacity.photos(bench, form.search, form.proof, form.close)[0].rate
    ways: dict[str, Callable[[], tuple[list[Figure], list[Section]]]] = {
        "scenarios": lambda: ([], scenarios(bench, form)),
        "paces": lambda: ([], paces(bench, rate, form)),
        "overload": lambda: overload(bench, rate, form.runs, form.seconds),
        "fairness": lambda: fairness(bench, form.runs, form.seconds, form.video_seconds),
        "recovery": lambda: recovery(bench, 0.5 * rate, form.outage),
    }
    found = Found()
    for topic in topics:
        print(f"{topic} …", flush=True)
        try:
            figures, sections = ways[topic]()
        except (RuntimeError, OSError) as error:
            print(f"  failed: {error}", file=sys.stderr, flush=True)
            found.failed.append(topic)
            sections, figures = [Section(topic, f"Not measured: {error}")], []
        found.figures += figures
        found.sections += sections
    found.figures += loop_figures(bench.samples(), "load")
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, for trying")
    parser.add_argument("--only", choices=TOPICS, action="append", help="one topic; repeatable")
    parser.add_argument("--rate", type=float, help="photos a second that the pod stands")
    parser.add_argument("--search", action="store_true", help="find that rate anew")
    parser.add_argument("--media", type=Path, help="folder with real photos and clips")
    parser.add_argument("--drawings", type=Path, help="folder with real drawings")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    form = QUICK if args.quick else FULL
    try:
        rate = args.rate or (None if args.search else known().rate_here)
        with own_bench(args.out, args.media, args.drawings, WORKERS) as bench:
            found = measure(bench, form, args.only or TOPICS, rate)
    except (PlanError, PodError, NothingStood) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {**machine(), "form": form.name}
    path = report.write(args.out, "Under load", about, found.figures, found.sections)
    print(f"{report.told(found.figures)}\nwritten: {path}")
    missed = [] if args.quick else goals.missed(found.figures)
    return 1 if found.failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
