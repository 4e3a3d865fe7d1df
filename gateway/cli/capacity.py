"""The command ``masquerade plan``: how many pods a load needs, from rates that were measured.

The rates are those of ``deploy/capacity.toml``, written by ``python -m loadtest.capacity``.
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATES = Path(__file__).resolve().parents[2] / "deploy" / "capacity.toml"
FITS, TOO_LITTLE, USAGE = 0, 1, 2

_EXAMPLES = """\
examples:
  masquerade plan --hours 300 --days 14 --gpus 10     are 10 GPUs enough for 300 h of video?
  masquerade plan --hours 300 --days 14               how many pods without a GPU are?
  masquerade plan --photos 40                         pods for 40 photos a second at peak

Where no GPU was measured, it says what each would have to do.

exit status: 0 it is enough (or no number was given, or no GPU measured), 1 it is not,
2 wrong usage or no rate
"""
_NO_GPU = (
    "No GPU was measured for this. On one, with MODEL_DEVICE=gpu, "
    "`python -m loadtest.capacity --device gpu --out gpu.toml` does, "
    "and --rates gpu.toml then tells whether they are enough."
)


class PlanError(Exception):
    """No plan can be made; ``str`` says why and what to do."""


@dataclass(frozen=True)
class Rates:
    """What was measured.

    photos: a second for one pod, where it gets help, by device. most: a second that it stands,
    by device. frames: a second for one worker with a model server to itself, by device and size.
    measured: on what.
    """

    photos: dict[str, float]
    most: dict[str, float]
    frames: dict[tuple[str, str], float]
    measured: str


@dataclass(frozen=True)
class VideoPlan:
    """``needed`` workers do ``hours`` of video in time; one of them does ``speed`` hours an hour.

    days: how long ``given`` workers take; None where no number was given.
    """

    hours: float
    limit: float
    speed: float
    needed: int
    given: int | None
    days: float | None

    @property
    def fits(self) -> bool:
        """Whether those given are enough."""
        return self.given is None or self.given >= self.needed


def read_rates(path: Path = RATES) -> Rates:
    """The measured rates.

    Raises:
        PlanError: the file is missing or is not one of ours.
    """
    try:
        found = tomllib.loads(path.read_text())
        device = str(found["photo"]["device"])
        most = float(found["photo"]["requests_per_second"])
        helped = float(found["autoscaler"]["requests_per_second"])
        frames = {
            (str(row["device"]), str(row["size"])): float(row["frames_per_second"])
            for row in found["video"]
        }
        machine = str(found["machine"]["machine"])
    except OSError as error:
        raise PlanError(
            f"{path} cannot be read ({error.strerror}); `make bench-capacity` writes it"
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        raise PlanError(f"{path} holds no measured rates ({error}); measure anew") from None
    if min([most, helped, *frames.values()]) <= 0:
        raise PlanError(f"{path} holds a rate of 0; measure anew")
    return Rates({device: helped}, {device: most}, frames, machine)


def plan_video(
    hours: float, days: float, frame_rate: float, frames: float, given: int | None
) -> VideoPlan:
    """How many workers it takes, each doing so many ``frames`` a second all day long."""
    speed = frames / frame_rate
    exact = frames_for(hours, days, frame_rate) / frames
    taken = hours / (24 * speed * given) if given else None
    return VideoPlan(hours, days, speed, math.ceil(exact - 1e-9), given, taken)


def frames_for(hours: float, days: float, frame_rate: float) -> float:
    """Frames a second, all day long, that do so many ``hours`` of video in time."""
    return hours * frame_rate / (24 * days)


def pods_for(photos: float, each: float) -> int:
    """Pods for so many photos a second, at least two, so that one may fail."""
    return max(2, math.ceil(photos / each - 1e-9))


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plan`` to the commands."""
    parser = commands.add_parser(
        "plan",
        help="how many pods or GPUs a load needs",
        description="How many pods or GPUs a load needs, from rates measured on a named machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=_above_zero, metavar="N", help="hours of video in all")
    parser.add_argument("--days", type=_above_zero, metavar="N", help="days it may take")
    parser.add_argument("--size", default="720p", metavar="SIZE", help="of the videos (720p)")
    parser.add_argument(
        "--fps", type=_above_zero, default=30.0, metavar="N", help="the videos' frame rate (30)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpus", type=_count, metavar="N", help="GPUs at hand, a worker on each")
    where.add_argument("--pods", type=_count, metavar="N", help="workers at hand without a GPU")
    parser.add_argument("--photos", type=_above_zero, metavar="N", help="photos a second at peak")
    parser.add_argument(
        "--rates", type=Path, default=RATES, metavar="FILE", help="measured rates (TOML)"
    )
    parser.set_defaults(run=_plan)


def _plan(args: argparse.Namespace) -> int:
    try:
        if (args.hours is None) != (args.days is None):
            raise PlanError("--hours and --days belong together")
        if args.hours is None and args.photos is None:
            raise PlanError("say what is to be done: --hours with --days, or --photos")
        rates = read_rates(args.rates)
        said, enough = [], True
        if args.hours is not None:
            told, enough = _videos(args, rates)
            said += told
        if args.photos is not None:
            said += _photos(args, rates)
    except PlanError as error:
        print(f"masquerade: {error}", file=sys.stderr)
        return USAGE
    print("\n".join(dict.fromkeys([*said, f"Measured on: {rates.measured}."])))
    return FITS if enough else TOO_LITTLE


def _videos(args: argparse.Namespace, rates: Rates) -> tuple[list[str], bool]:
    """What is to be said, and whether those given are enough, as far as was measured."""
    device = "gpu" if args.gpus else "cpu"

    def plan(device: str, given: int | None) -> VideoPlan:
        frames = _rate(rates.frames, (device, args.size))
        return plan_video(args.hours, args.days, args.fps, frames, given)

    if device == "cpu" or (device, args.size) in rates.frames:
        answer = plan(device, args.gpus or args.pods)
        return _video(answer, device), answer.fits
    each = frames_for(args.hours, args.days, args.fps) / args.gpus
    said = [
        f"{args.hours:g} h of video in {args.days:g} days on {_many(args.gpus, 'GPU')}: "
        f"each must do {each:.1f} frames a second."
    ]
    if ("cpu", args.size) in rates.frames:
        said += ["Without a GPU: " + line for line in _video(plan("cpu", None), "cpu")]
    return [*said, _NO_GPU], True


def _photos(args: argparse.Namespace, rates: Rates) -> list[str]:
    device = "gpu" if args.gpus else "cpu"
    if device == "cpu" or device in rates.photos:
        return [_pods(args.photos, _rate(rates.photos, device))]
    said = [
        f"{args.photos:g} photos a second on {_many(args.gpus, 'GPU')}: "
        f"each pod must do {args.photos / args.gpus:.1f} a second."
    ]
    if "cpu" in rates.photos:
        said.append("Without a GPU: " + _pods(args.photos, rates.photos["cpu"]))
    return [*said, _NO_GPU]


def _pods(photos: float, each: float) -> str:
    return (
        f"{photos:g} photos a second need {pods_for(photos, each)} pods; "
        f"one is loaded with {each:g} a second, at which another should come."
    )


def _video(plan: VideoPlan, device: str) -> list[str]:
    unit = "GPU" if device == "gpu" else "pod"
    said = [
        f"{plan.hours:g} h of video in {plan.limit:g} days need {_many(plan.needed, unit)}; "
        f"one does {plan.speed:.2f} h of video an hour."
    ]
    if plan.days is not None and plan.given:
        verdict = "enough" if plan.fits else "not enough"
        took = f"{plan.days:.1f} days" if plan.days >= 2 else f"{24 * plan.days:.1f} hours"
        said.append(f"{_many(plan.given, unit)}: {verdict}; the work takes {took}.")
    return said


def _many(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _rate(rates: dict[Any, float], key: Any) -> float:
    if key in rates:
        return rates[key]
    wanted = " ".join(key) if isinstance(key, tuple) else key
    known = ", ".join(" ".join(k) if isinstance(k, tuple) else k for k in rates)
    raise PlanError(
        f"no rate was measured for {wanted}, only for {known}; run "
        "`python -m loadtest.capacity` there and name its file by --rates"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
