"""``make bench-capacity``: what one pod stands, and what gives out first.

Photos come at a constant rate (open loop) to a pod of its own; the highest rate at which 99 % of
all requests are served within a second and 99.9 % are served at all is its capacity, once a run of
a thousand requests has proven it. Meanwhile the busy shares of the cores, of the renderer processes
and of the face detector's worker are taken: the largest says what to add. Videos are timed one by
one. What is found goes to ``deploy/capacity.toml``, from which the autoscaler's targets and
``masquerade plan`` come.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.capacity import RATES, read_rates
from gateway.settings import cores
from loadtest.bench import Bench
from loadtest.busy import Shares, Watch
from loadtest.lab import Lab
from loadtest.media import SPEED_CLIPS, find, frame_count
from loadtest.scenarios import Scenarios
from loadtest.tables import machine

RESULTS = Path(__file__).parent / "results" / "capacity"
PHOTO = "photo-720p"
P99, SUCCESS = 1.0, 0.999  # seconds; share
CLOSE = 1.05  # the search ends when the rate that failed is at most so far above
WARM = 5.0  # seconds
HEADROOM = 0.7  # of its capacity, at which a pod gets help: a new one takes a minute to start
OWN = ("gateway", "renderer", "torchserve")
SECONDS, QUICK_SECONDS = 60.0, 8.0
PROOF, QUICK_PROOF = 1000, 50
"""Requests of the run that proves a rate: of fewer than a thousand none might fail."""
START = 2.0  # requests a second with which the search begins
LEAST = START / 64
VIDEOS = {"720p": SPEED_CLIPS[1], "1080p": SPEED_CLIPS[2]}


class NothingStood(RuntimeError):
    """No rate was low enough."""


@dataclass(frozen=True)
class Stood:
    """A run that the pod stood: requests a second for so many seconds, p99 of all in s, share
    that was served.
    """

    rate: float
    seconds: float
    p99: float
    success: float


def highest(stands: Callable[[float], bool], start: float, close: float = CLOSE) -> float:
    """The highest rate that the service stands: by doubling, then by halving the interval.

    ``stands`` is asked with a rate above 0; 0 is answered when none above ``start`` / 64 passes.
    """
    low, high = 0.0, start
    while not low and high > start / 64:
        if stands(high):
            low = high
        else:
            high /= 2
    if not low:
        return 0.0
    if low == start:
        while stands(high := 2 * low):
            low = high
    else:
        high = 2 * low
    while high / low > close:
        middle = (low * high) ** 0.5
        if stands(middle):
            low = middle
        else:
            high = middle
    return low


def proven(stands: Callable[[float], bool], rate: float, step: float = CLOSE) -> float:
    """The rate, or the first below it in steps, that the service stands in a longer run, too: a
    short one may be lucky. 0 when none is.
    """
    while rate > LEAST:
        if stands(rate):
            return rate
        rate /= step
    return 0.0


def photos(bench: Bench, seconds: float, proof: int, close: float = CLOSE) -> tuple[Stood, Shares]:
    """The run of ``proof`` requests at the highest rate that the pod stands in it, and what was
    busy meanwhile. It was found by runs of ``seconds``.

    Raises:
        NothingStood: it stands none.
    """
    passed: dict[float, tuple[Stood, Shares]] = {}

    def stands(rate: float, seconds: float, name: str) -> bool:
        with Watch(bench) as watch:
            tried = bench.constant(PHOTO, rate, seconds, f"{name}-{rate:.2f}")
        p99 = tried.served_within(99)
        fits = p99 <= P99 and tried.success >= SUCCESS
        print(
            f"  {rate:.2f}/s for {seconds:.0f} s: p99 {p99:.2f} s, {tried.success:.2%} served; "
            f"busy: cpu {watch.shares.cpu:.0%}, renderers {watch.shares.renderer:.0%}, "
            f"model {watch.shares.model:.0%}{'' if fits else ' – too much'}",
            flush=True,
        )
        if fits:
            passed[rate] = Stood(rate, seconds, p99, tried.success), watch.shares
        return fits

    bench.constant(PHOTO, 1.0, WARM, "warm-up")
    found = highest(lambda rate: stands(rate, seconds, "search"), START, close)
    print("  and for longer", flush=True)
    found = proven(lambda rate: stands(rate, max(seconds, proof / rate), "proof"), found, close)
    if not found:
        raise NothingStood("the pod stands no rate at all: run this on a machine that is idle")
    return passed[found]


@dataclass(frozen=True)
class Known:
    """Photos a second that a pod stands, and the machine on which that was measured."""

    rate: float
    machine: str

    @property
    def rate_here(self) -> float | None:
        """The rate, if that machine was one like this."""
        return self.rate if self.machine == machine()["machine"] else None

    def __str__(self) -> str:
        told = f"capacity: {self.rate:g} photos a second, measured on {self.machine}"
        return told if self.rate_here else f"{told}: not this machine"


def known(path: Path = RATES) -> Known:
    """What ``make bench-capacity`` has measured; prints it.

    Raises:
        PlanError: the file is missing or is not one of ours.
    """
    rates = read_rates(path)
    (rate,) = rates.most.values()
    found = Known(rate, rates.measured)
    print(found, flush=True)
    return found


def videos(lab: Lab) -> dict[str, float]:
    """Frames a second of one worker alone, by size."""
    found = {}
    for size, name in VIDEOS.items():
        clip = lab.media.video(name)
        lab.blur_video(clip)
        done = lab.blur_video(clip)
        found[size] = frame_count(clip) / done.seconds
        print(f"  {size}: {found[size]:.1f} frames/s", flush=True)
    return found


def text(photo: Stood, shares: Shares, frames: dict[str, float], device: str) -> str:
    """The file: TOML."""
    out = io.StringIO()
    out.write(
        "# Written by `make bench-capacity`; read by `masquerade plan` and by the test that\n"
    )
    out.write("# holds the autoscaler's targets to it. What it means: docs/capacity.md.\n\n")
    out.write("[machine]\n")
    for name, value in machine().items():
        out.write(f'{name} = "{value}"\n')
    out.write(f"cores = {cores()}\n\n")
    out.write("# 1280x720 JPEG, one face, at a constant rate, one pod\n[photo]\n")
    out.write(f'device = "{device}"\n')
    out.write(f"requests_per_second = {photo.rate:.2f}\n")
    out.write(f"run_seconds = {photo.seconds:.0f}\np99_seconds = {photo.p99:.3f}\n")
    out.write(f"success = {photo.success:.5f}\n")
    out.write(f'saturates_first = "{shares.first}"\n')
    out.write(f"busy_cpu = {shares.cpu}\nbusy_renderer = {shares.renderer}\n")
    out.write(f"busy_model = {shares.model}\n")
    out.write("\n# cores that each program used at that rate\n[photo.cores_used]\n")
    for name, value in shares.used.items():
        out.write(f"{name} = {value}\n")
    own = sum(shares.used[name] for name in OWN)
    out.write(f"\n# at {HEADROOM:.0%} of that: where a pod gets help\n[autoscaler]\n")
    out.write(f"requests_per_second = {photo.rate * HEADROOM:.2f}\n")
    out.write(f"cpu_cores = {own * HEADROOM:.2f}\n")
    out.write("\n# frames a second of one worker with a model server to itself\n")
    for size, rate in frames.items():
        out.write(f'[[video]]\ndevice = "{device}"\nsize = "{size}"\n')
        out.write(f"frames_per_second = {rate:.1f}\n")
    return out.getvalue()


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__)
    parser.add_argument("--out", type=Path, default=RATES, help="the file to write")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of this pod")
    parser.add_argument("--media", type=Path, help="folder with real clips (loadtest/README.md)")
    parser.add_argument("--quick", action="store_true", help="short runs, for trying")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seconds, proof = (QUICK_SECONDS, QUICK_PROOF) if args.quick else (SECONDS, PROOF)
    with tempfile.TemporaryDirectory(prefix="masquerade-capacity-") as folder:
        work = Path(folder)
        media = find(args.media, work, args.quick)
        print("starting a pod …", flush=True)
        try:
            with Lab(media, work, work, 1, args.quick) as lab:
                print("photos …", flush=True)
                bench = Bench(lab.pod, Scenarios(lab.pod.url, work), RESULTS)
                photo, shares = photos(bench, seconds, proof)
                print("videos …", flush=True)
                frames = videos(lab)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    args.out.write_text(text(photo, shares, frames, args.device))
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
