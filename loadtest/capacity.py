"""``make bench-capacity``: what one pod stands, and what gives out first.

Photos come at a constant rate (open loop) to a pod of its own; the highest rate with
99 % of them answered within a second and 99.9 % answered at all is its capacity. Meanwhile
the busy shares of the cores, of the renderer processes and of the face detector's worker are
taken: the largest says what to add. Videos are timed one by one. What is found goes to
``deploy/capacity.toml``, from which the autoscaler's targets and ``masquerade plan`` come.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.pod import ROOT, PodError
from gateway.settings import cores
from loadtest.lab import Lab
from loadtest.media import SPEED_CLIPS, find, frame_count, hd_photo
from loadtest.open_loop import Run, highest, run
from loadtest.tables import machine

OUT = ROOT / "deploy" / "capacity.toml"
P99, SUCCESS = 1.0, 0.999  # seconds; share
HEADROOM = 0.7  # of its capacity, at which a pod gets help: a new one takes a minute to start
FULL = 0.85  # busy share from which on no more can be had
PROGRAMS = ("gateway", "renderer", "torchserve", "worker", "s3", "redis")
OWN = ("gateway", "renderer", "torchserve")
SECONDS, QUICK_SECONDS = 60.0, 8.0
VIDEOS = {"720p": SPEED_CLIPS[1], "1080p": SPEED_CLIPS[2]}


class NothingStood(RuntimeError):
    """No rate was low enough."""


@dataclass(frozen=True)
class Shares:
    """How busy things were, 0 to 1; ``used``: cores that each program used."""

    cpu: float
    renderer: float
    model: float
    used: dict[str, float]

    @property
    def first(self) -> str:
        """What gives out first. Who waits for it seems to be busy, too: everybody for a core,
        a renderer for the model.
        """
        for name in ("cpu", "model"):
            if getattr(self, name) >= FULL:
                return name
        return max(("cpu", "renderer", "model"), key=lambda name: float(getattr(self, name)))


class Watch:
    """Takes the shares over the time in which it is entered."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._processes = 1.0
        self.shares = Shares(0, 0, 0, {})

    def __enter__(self) -> Watch:
        self._begun = time.monotonic()
        self._cpu = self._used()
        self._at = self._counted()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self._begun
        after = self._counted()
        used = {
            name: round((value - self._cpu[name]) / seconds, 2)
            for name, value in self._used().items()
        }
        renderer, model = ((after[n] - self._at[n]) / seconds for n in ("renderer", "model"))
        self.shares = Shares(
            round(sum(used.values()) / cores(), 2),
            round(renderer / after["processes"], 2),
            round(model, 2),
            used,
        )

    def _used(self) -> dict[str, float]:
        """CPU seconds of each program so far, and of this one."""
        found = {"client": sum(psutil.Process().cpu_times()[:2])}
        for program in PROGRAMS:
            times = (process.cpu_times() for process in self._lab.processes(program))
            found[program] = sum(t.user + t.system for t in times)
        return found

    def _counted(self) -> dict[str, float]:
        """Busy seconds so far of the renderer's processes and of the face detector's worker."""
        text = requests.get(f"{self._lab.pod.url}/metrics", timeout=10).text
        found = {"renderer": 0.0, "model": 0.0, "processes": 1.0}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                stage = sample.labels.get("stage")
                if sample.name == "masquerade_photo_stage_seconds_sum" and stage in _PIXEL_WORK:
                    found["renderer"] += sample.value
                elif sample.name == "masquerade_model_seconds_sum":
                    if sample.labels["model"] == "face_detector":
                        found["model"] += sample.value
                elif sample.name == "masquerade_renderer_processes":
                    found["processes"] = sample.value
        return found


_PIXEL_WORK = ("decode", "detect", "blur", "encode")


def photos(lab: Lab, seconds: float) -> tuple[Run, Shares]:
    """The run at the highest rate that the pod stands, and what was busy in it."""
    photo = hd_photo(lab.work / "photo-720p.jpg").read_bytes()
    body, kind = urllib3.encode_multipart_formdata({"file": ("photo.jpg", photo)})
    passed: dict[float, tuple[Run, Shares]] = {}

    def stands(rate: float) -> bool:
        with Watch(lab) as watch:
            tried = run(f"{lab.pod.url}/v1/blur", body, kind, rate, seconds)
        fits = tried.p99 <= P99 and tried.success >= SUCCESS
        print(
            f"  {rate:.2f}/s: p99 {tried.p99:.2f} s, {tried.success:.2%} answered; busy: "
            f"cpu {watch.shares.cpu:.0%}, renderers {watch.shares.renderer:.0%}, "
            f"model {watch.shares.model:.0%}{'' if fits else ' – too much'}",
            flush=True,
        )
        if fits:
            passed[rate] = tried, watch.shares
        return fits

    run(f"{lab.pod.url}/v1/blur", body, kind, 1.0, 5.0)  # warms everything up
    found = highest(stands, start=2.0)
    if not found:
        raise NothingStood("the pod stands no rate at all: run this on a machine that is idle")
    return passed[found]


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


def text(photo: Run, shares: Shares, frames: dict[str, float], device: str) -> str:
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
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of this pod")
    parser.add_argument("--media", type=Path, help="folder with real clips (loadtest/README.md)")
    parser.add_argument("--quick", action="store_true", help="short runs, for trying")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seconds = QUICK_SECONDS if args.quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="masquerade-capacity-") as folder:
        work = Path(folder)
        media = find(args.media, work, args.quick)
        print("starting a pod …", flush=True)
        try:
            with Lab(media, work, work, 1, args.quick) as lab:
                print("photos …", flush=True)
                photo, shares = photos(lab, seconds)
                print("videos …", flush=True)
                frames = videos(lab)
        except (PodError, NothingStood) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    args.out.write_text(text(photo, shares, frames, args.device))
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
