"""The command ``masquerade``: blur faces in files and folders, animate drawings."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.choices import AUDIO, SCALES, SHAPES, STYLES, THRESHOLDS
from gateway.cli import animate, jobs, models

if TYPE_CHECKING:
    from gateway.cli.run import Outcome, Runner

DEFAULT_URL = "http://127.0.0.1:8000"

OK, SOME_FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_EXAMPLES = """\
examples:
  masquerade blur party.jpg                   writes party_blurred.jpg beside it
  masquerade blur clip.mov -o safe.mp4        one file to one file
  masquerade blur holiday/ -o holiday_safe/   a folder with its sub-folders
  masquerade blur 'in/**/*.mp4' -o out/ --style pixelate --audio drop

exit status:
  0 all done (or skipped as asked), 1 some files failed, 2 wrong usage or nothing
  matched, 3 the pod cannot be reached, 130 interrupted (running jobs are cancelled)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(argv)
    return int(args.run(args))


def _blur(args: argparse.Namespace) -> int:
    # What speaks HTTP takes a while to load, and not every command needs it.
    from gateway.cli.plan import UsageError, plan
    from gateway.cli.run import Runner
    from gateway.cli.show import Board, table

    try:
        items = plan(args.inputs, args.out, overwrite=args.overwrite, skip=args.skip_existing)
    except UsageError as error:
        print(f"masquerade: {error}", file=sys.stderr)
        return USAGE
    # An orderly stop for "kill" and "docker stop" too: jobs cancelled, no partial file.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ("style", "shape", "scale", "threshold", "audio")
    board = Board(items, quiet=args.quiet)
    runner = Runner(
        args.url,
        {name: str(value) for name in names if (value := getattr(args, name)) is not None},
        board,
        workers=args.workers,
        report=args.report,
        overwrite=args.overwrite,
        skip=args.skip_existing,
        forget=args.forget,
    )
    try:
        outcomes = runner.run(items)
    except KeyboardInterrupt:  # before the first job, or a second time while cancelling
        return INTERRUPTED
    finally:
        board.close()
    if runner.unreachable:
        print(
            f"masquerade: {runner.unreachable}; start the pod, "
            "or name another by --url or the variable POD_URL",
            file=sys.stderr,
        )
    if runner.photos_kept:
        print(
            "masquerade: --forget: the pod keeps photos until their links expire", file=sys.stderr
        )
    if not args.quiet and any(outcome.state != "stopped" for outcome in outcomes):
        print(table(outcomes))
    return _status(runner, outcomes)


def _worker(args: argparse.Namespace) -> int:
    from gateway.jobs.worker import run

    return run(args.burst)


def _status(runner: Runner, outcomes: Sequence[Outcome]) -> int:
    if runner.interrupted:
        return INTERRUPTED
    if runner.unreachable:
        return UNREACHABLE
    return OK if all(o.state in ("done", "skipped") for o in outcomes) else SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="masquerade", description="Blur the faces in photos and videos; animate drawings."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    blur = commands.add_parser(
        "blur",
        help="blur the faces in files, folders and globs",
        description="Blur every face in photos and videos. Originals are never changed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    blur.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE|FOLDER|GLOB",
        help="photos, videos, folders (with all below them), or quoted globs, ** included",
    )
    blur.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help="a file name for one input, else a folder, in which folders given as input are "
        "mirrored; without it, name_blurred.ext is written beside each source",
    )

    look = blur.add_argument_group("what is done to a face (unset: the pod's defaults)")
    look.add_argument("--style", choices=STYLES, help="how it is hidden (gaussian)")
    look.add_argument("--shape", choices=SHAPES, help="outline of the mask (ellipse)")
    look.add_argument(
        "--scale",
        type=_between(*SCALES),
        metavar="N",
        help="mask size relative to the face found, 1.0 to 3.0 (1.4)",
    )
    look.add_argument(
        "--threshold",
        type=_between(*THRESHOLDS),
        metavar="N",
        help="smallest score that counts as a face, 0.05 to 0.95; lower finds more (0.2)",
    )
    look.add_argument("--audio", choices=AUDIO, help="the sound of videos (keep)")

    files = blur.add_argument_group("files")
    there = files.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace results that exist")
    there.add_argument("--skip-existing", action="store_true", help="leave them as they are")
    files.add_argument(
        "--report",
        action="store_true",
        help="also save the JSON report of every box blurred, as NAME.report.json",
    )
    files.add_argument(
        "--forget",
        action="store_true",
        help="delete the pod's copy after the download, not only when its link expires",
    )

    how = blur.add_argument_group("pod and output")
    how.add_argument(
        "--url",
        type=_address,
        default=os.environ.get("POD_URL") or DEFAULT_URL,
        help=f"address of the pod (variable POD_URL, else {DEFAULT_URL})",
    )
    how.add_argument(
        "--workers",
        type=_natural,
        default=2,
        metavar="N",
        help="files under way at once (2)",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    blur.set_defaults(run=_blur)
    animate.add_command(commands)
    jobs.add_command(commands)
    worker = commands.add_parser(
        "worker",
        help="work on the queue's jobs",
        description="Work on jobs until told to stop (SIGTERM hands a job back). Any number of"
        " these, on any machine that reaches Redis, S3 and a TorchServe.",
    )
    worker.add_argument(
        "--burst", action="store_true", help="leave when no job is left in anybody's hands"
    )
    worker.set_defaults(run=_worker)
    models.add_command(commands)
    return parser


def _between(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return value

    return parse


def _address(text: str) -> str:
    return text if text.startswith(("http://", "https://")) else f"http://{text}"


def _natural(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        # Loads much that no other command needs.
        from importlib import metadata

        try:
            print(f"masquerade {metadata.version('masquerade')}")
        except metadata.PackageNotFoundError:
            print("masquerade (not installed)")
        parser.exit()
