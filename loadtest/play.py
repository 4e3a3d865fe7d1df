"""One scenario against a service that runs: ``python -m loadtest.play photo-720p ramp --top 10``.

Results, and a report as HTML, go to ``--out``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from loadtest import report
from loadtest.attack import AttackError, attack
from loadtest.pace import PACES
from loadtest.report import Section, run_plots, summary
from loadtest.scenarios import gathered
from loadtest.tables import machine


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="play", description=__doc__)
    parser.add_argument("scenario", help="its name, or a file of vegeta's JSON targets")
    parser.add_argument("pace", choices=PACES, nargs="?", default="constant")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--rate", type=float, default=1.0, help="requests a second")
    parser.add_argument("--top", type=float, default=4.0, help="highest rate of ramp and spike")
    parser.add_argument("--seconds", type=float, default=30.0, help="in all; 1800 for a soak")
    parser.add_argument("--media", type=Path, help="folder with real photos and clips")
    parser.add_argument("--drawings", type=Path, help="folder with real drawings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "play")
    args = parser.parse_args(argv)
    steps = PACES[args.pace](args.rate, args.top, args.seconds)
    with tempfile.TemporaryDirectory(prefix="masquerade-play-") as folder:
        targets = Path(args.scenario)
        if not targets.is_file():
            scenarios = gathered(args.url, Path(folder), args.media, args.drawings)
            if args.scenario not in scenarios.names:
                parser.error(f"no scenario {args.scenario}; there are {', '.join(scenarios.names)}")
            targets = scenarios.file(args.scenario, Path(folder))
        try:
            run = attack(targets, steps, args.out, args.pace)
        except AttackError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(summary(run))
    section = Section(f"{args.scenario}, {args.pace}", summary(run), run_plots(run))
    print(f"written: {report.write(args.out, args.scenario, machine(), [], [section])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
