"""What the commands share: the pod's address, blur's options, how failures are told."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.access import CLIENT_KEY
from gateway.choices import AUDIO, SCALES, SHAPES, STYLES, SUBTITLES, THRESHOLDS
from gateway.errors import (
    BadOption,
    BadRequest,
    EmptyInput,
    Forbidden,
    MasqueradeError,
    PodUnreachable,
)

DEFAULT_URL = "http://127.0.0.1:8000"
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_WRONG = (BadOption, BadRequest, EmptyInput, Forbidden)
_BLUR_OPTIONS = ("style", "shape", "scale", "threshold", "audio", "subtitles")


def add_parser(
    commands: Any, name: str, what: str, description: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A command below an argparse subparsers object; the epilog is printed line by line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_url(parser: argparse._ActionsContainer) -> None:
    """The options that name the pod, with a scheme, and the key to it.

    There is no option for the key itself: everybody on a machine sees its processes' arguments.
    """
    parser.add_argument(
        "--url",
        type=_address,
        default=os.environ.get("POD_URL") or DEFAULT_URL,
        help=f"address of the pod (variable POD_URL, else {DEFAULT_URL})",
    )
    parser.add_argument(
        "--key-file",
        type=_key,
        dest="key",
        metavar="FILE",
        help=f"file with the API key, where the pod wants one (else variable {CLIENT_KEY})",
    )


def api_key(args: argparse.Namespace) -> str:
    """The key to the pod, '' where there is none."""
    return args.key or os.environ.get(CLIENT_KEY, "").strip()


def add_blur_options(parser: argparse.ArgumentParser) -> None:
    """What is done to a face."""
    look = parser.add_argument_group("what is done to a face (unset: the pod's defaults)")
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
    look.add_argument("--subtitles", choices=SUBTITLES, help="the subtitles of videos (keep)")


def blur_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of ``add_blur_options`` that were given."""
    given = {name: getattr(args, name) for name in _BLUR_OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def guarded(run: Callable[[], int]) -> int:
    """Carry a command out; what goes wrong becomes a line on stderr and an exit status."""
    try:
        return run()
    except PodUnreachable as error:
        return unreachable(str(error))
    except (MasqueradeError, OSError) as error:
        say(str(error))
        return USAGE if isinstance(error, _WRONG) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def unreachable(why: str) -> int:
    """Tell that no pod answers; returns the exit status."""
    say(f"{why}; start the pod, or name another by --url or the variable POD_URL")
    return UNREACHABLE


def say(text: str) -> None:
    """A line on stderr."""
    print(f"masquerade: {text}", file=sys.stderr)


def _address(text: str) -> str:
    return text if text.startswith(("http://", "https://")) else f"http://{text}"


def _key(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{path} cannot be read") from None


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
