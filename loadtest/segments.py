"""One long video in one piece and in segments over some workers: the same, and how fast.

``python -m loadtest.segments CLIP --minutes 10 --workers 2`` loops the clip to that length
and starts a pod of its own for the detector. Run it alone: it is timed on the machine's cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import ceil, inf, log10
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.optimize import linear_sum_assignment

from gateway.faces.boxes import iou
from gateway.media.video import VideoLimits, probe
from gateway.models import FaceDetector
from gateway.pipelines.blur_video import blur_video
from gateway.pipelines.options import BlurOptions
from gateway.pipelines.segments import Segment, blur_segment, join, plan
from gateway.settings import Settings
from loadtest.goals import Figure, missed, summary
from loadtest.lab import own_pod
from loadtest.media import looped
from loadtest.tables import Table

ANY = VideoLimits(pixels=1 << 26, seconds=1e6)
OPTIONS = BlurOptions()
SAME_BOX = 0.9
SAME = 99.0  # dB, for pixels without any difference
Report = dict[str, Any]


@dataclass(frozen=True)
class Likeness:
    """How two results of one video compare.

    frames: of each. times: whether all timestamps are equal. psnr, worst: decibels over all
    frames and of the worst one. unlike: frames whose faces differ in number or place.
    crossed: faces whose track is not one and the same in both.
    """

    frames: tuple[int, int]
    times: bool
    psnr: float
    worst: float
    unlike: int
    crossed: int


def compare(one: Path, other: Path, reports: tuple[Report, Report]) -> Likeness:
    """Compare two results and their reports."""
    errors, times = [], []
    with av.open(str(one)) as a, av.open(str(other)) as b:
        for x, y in zip(a.decode(video=0), b.decode(video=0), strict=False):
            difference = x.to_ndarray().astype(np.int16) - y.to_ndarray()
            errors.append(float(np.square(difference, dtype=np.int32).mean()))
            times.append(x.pts == y.pts)
    unlike, crossed = _faces(*reports)
    return Likeness(
        frames=(reports[0]["frames"], reports[1]["frames"]),
        times=all(times) and len({len(times), *(r["frames"] for r in reports)}) == 1,
        psnr=_decibels(float(np.mean(errors))),
        worst=_decibels(max(errors)),
        unlike=unlike,
        crossed=crossed,
    )


def _decibels(error: float) -> float:
    return 10 * log10(255**2 / error) if error else inf


def _faces(one: Report, other: Report) -> tuple[int, int]:
    """Frames whose faces differ, and faces whose tracks are not one to one."""
    a, b = ({e["frame"]: e["faces"] for e in report["per_frame"]} for report in (one, other))
    unlike = crossed = 0
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    for frame in a.keys() | b.keys():
        x, y = a.get(frame, []), b.get(frame, [])
        if len(x) != len(y):
            unlike += 1
            continue
        shared = iou(*(np.array([f["box"] for f in side], np.float32) for side in (x, y)))
        pairs = [*zip(*linear_sum_assignment(-shared), strict=True)]
        unlike += min(shared[i, j] for i, j in pairs) < SAME_BOX
        for i, j in pairs:
            mine, yours = x[i]["track"], y[j]["track"]
            crossed += there.setdefault(mine, yours) != yours
            crossed += back.setdefault(yours, mine) != mine
    return unlike, crossed


def figures(found: Likeness, segments: int) -> list[Figure]:
    """What must hold of a video that was blurred in so many segments."""
    name = "in segments against one piece:"
    return [
        Figure("segments of the split video", segments, "", "least", 2),
        Figure(f"{name} frames of difference", abs(found.frames[0] - found.frames[1]), "", "most"),
        Figure(f"{name} timestamps differ (1: yes)", int(not found.times), "", "most"),
        Figure(
            f"{name} PSNR",
            min(found.psnr, SAME),
            "dB",
            "least",
            45,
            "every pixel is the same"
            if found.psnr == inf
            else f"the worst frame {found.worst:.1f}",
        ),
        Figure(f"{name} frames whose faces differ", found.unlike, "", "most"),
        Figure(f"{name} faces whose track differs", found.crossed, "", "most"),
    ]


def measure(
    clip: Path, work: Path, environment: Mapping[str, str], workers: int
) -> tuple[Table, list[Figure]]:
    """Blur ``clip`` both ways and compare."""
    settings = Settings.from_env(environment)
    interval = settings.detect_interval
    detector = FaceDetector.from_settings(settings)
    one, many = work / "one.mp4", work / "many.mp4"
    begun = time.perf_counter()
    whole = blur_video(
        str(clip), str(one), OPTIONS, detector, ANY, progress=_quiet, interval=interval
    )
    in_one = time.perf_counter() - begun

    begun = time.perf_counter()
    segments = plan(str(clip), ANY, interval=interval)
    planned = time.perf_counter() - begun
    parts = [str(work / f"{segment.index}.nut") for segment in segments]
    tasks = [(str(clip), s, p, dict(environment)) for s, p in zip(segments, parts, strict=True)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        reports: Sequence[Report] = [*pool.map(_segment, tasks)]
    before_join = time.perf_counter()
    joined = join(
        str(clip),
        segments,
        parts,
        reports,
        str(many),
        OPTIONS,
        ANY,
        progress=_quiet,
        detector=detector,
        interval=interval,
    )
    done = time.perf_counter()

    found = compare(one, many, (whole, joined))
    stages = ("analyse_ms", "render_ms")
    worked = [
        sum(report["timings"][stage] for stage in stages) / 1000 for report in (whole, joined)
    ]
    table = Table(
        f"One video of {whole['seconds'] / 60:.1f} minutes, {len(segments)} segments",
        ["figure", "one piece", f"{workers} workers"],
        [
            ["seconds", in_one, done - begun],
            ["of them to plan and to join", None, planned + done - before_join],
            ["worker-seconds", worked[0], worked[1]],
            ["looks", sum(whole["looks"].values()), sum(joined["looks"].values())],
            ["frames", *found.frames],
            ["faces hidden", *(r["faces_detected"] + r["faces_filled"] for r in (whole, joined))],
            ["tracks", whole["tracks"], joined["tracks"]],
            ["timestamps equal", None, "yes" if found.times else "NO"],
            ["files equal to the bit", None, "yes" if _equal(one, many) else "no"],
            ["PSNR, all frames / worst (dB)", None, f"{found.psnr:.1f} / {found.worst:.1f}"],
            ["frames whose faces differ", None, found.unlike],
            ["faces whose track differs", None, found.crossed],
        ],
        "Worker-seconds grow where workers share cores, and by what segments watch twice.",
    )
    return table, figures(found, len(segments))


def _segment(task: tuple[str, Segment, str, dict[str, str]]) -> Report:
    source, segment, out, environment = task
    settings = Settings.from_env(environment)
    return blur_segment(
        source,
        segment,
        out,
        OPTIONS,
        FaceDetector.from_settings(settings),
        ANY,
        progress=_quiet,
        interval=settings.detect_interval,
    )


def _equal(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _quiet(_stage: str, _done: int, _total: int) -> None:
    """Nobody waits for news."""


def split(clip: Path, work: Path, minutes: float, workers: int = 2) -> tuple[Table, list[Figure]]:
    """Loop ``clip`` to so many minutes, and blur it both ways beside a pod of its own."""
    long = looped(clip, work / "long.mp4", ceil(60 * minutes / probe(str(clip), ANY).seconds))
    with own_pod(work / "split-pod") as pod:
        return measure(long, work, pod.environment(), workers)


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(argv)
    # Killed politely, it still stops its pod and removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="masquerade-bench-") as folder:
        table, found = split(args.clip, Path(folder), args.minutes, args.workers)
    print(table.markdown())
    print(summary(found).markdown())
    return int(bool(missed(found)))


if __name__ == "__main__":
    raise SystemExit(main())
