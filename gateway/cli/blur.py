"""The command ``masquerade blur``: the faces in files, folders and globs."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gateway.cli.common import (
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    add_blur_options,
    add_parser,
    add_url,
    api_key,
    blur_options,
    say,
    unreachable,
)

if TYPE_CHECKING:
    from gateway.cli.run import Outcome, Runner

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


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    blur = add_parser(
        commands,
        "blur",
        "blur the faces in files, folders and globs",
        "Blur every face in photos and videos. Originals are never changed.",
        _EXAMPLES,
    )
    blur.add_argument(
        "inputs",
        nargs="+",
        metavar="FILE|FOLDER|GLOB",
        help="photos, videos, folders (with all below them that is not hidden), or quoted globs, "
        "** included",
    )
    blur.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help="a file name for one input, else a folder, in which folders given as input are "
        "mirrored; without it, name_blurred.ext is written beside each source",
    )
    add_blur_options(blur)

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
    add_url(how)
    how.add_argument(
        "--workers",
        type=_natural,
        default=2,
        metavar="N",
        help="files under way at once (2)",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    blur.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # What speaks HTTP takes a while to load, and not every command needs it.
    from gateway.cli.plan import UsageError, plan
    from gateway.cli.run import Runner
    from gateway.cli.show import Board, table

    try:
        items = plan(args.inputs, args.out, overwrite=args.overwrite, skip=args.skip_existing)
    except UsageError as error:
        say(str(error))
        return USAGE
    # An orderly stop for "kill" and "docker stop" too: jobs cancelled, no partial file.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    board = Board(items, quiet=args.quiet)
    runner = Runner(
        args.url,
        {name: str(value) for name, value in blur_options(args).items()},
        board,
        workers=args.workers,
        report=args.report,
        overwrite=args.overwrite,
        skip=args.skip_existing,
        forget=args.forget,
        key=api_key(args),
    )
    try:
        outcomes = runner.run(items)
    except KeyboardInterrupt:  # before the first job, or a second time while cancelling
        return INTERRUPTED
    finally:
        board.close()
    status = _status(runner, outcomes)
    if runner.photos_kept:
        say("--forget: the pod keeps photos until their links expire")
    if not args.quiet and any(outcome.state != "stopped" for outcome in outcomes):
        print(table(outcomes))
    return status


def _status(runner: Runner, outcomes: Sequence[Outcome]) -> int:
    lost = unreachable(runner.unreachable) if runner.unreachable else OK
    if runner.interrupted:
        return INTERRUPTED
    done = all(outcome.state in ("done", "skipped") for outcome in outcomes)
    return lost or (OK if done else FAILED)


def _natural(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)
