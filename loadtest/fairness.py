"""Photos while four long videos are worked on, against photos alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import requests

from deploy.local.samples import write_video
from loadtest.bench import Bench
from loadtest.capacity import PHOTO
from loadtest.goals import Figure
from loadtest.media import looped
from loadtest.report import Section, run_plots, summary

VIDEOS = 4
TIMES = 3.0
RATE = 1.0
"""Photos a second: few, so that they wait for videos only."""

_LOOP = 10.0  # seconds of the clip that is repeated
_PATIENCE = 60.0
_WORK = ("analyse", "render")


def fairness(
    bench: Bench, runs: int, seconds: float, video_seconds: float
) -> tuple[list[Figure], list[Section]]:
    """Photos alone and beside four videos in turns, each for ``seconds``; medians over ``runs``.

    The pod has a worker for each video.
    """
    idle, busy = [], []
    clip = write_video(bench.out / "clip.mp4", _LOOP)
    video = looped(clip, bench.out / "long.mp4", max(1, round(video_seconds / _LOOP)))
    for number in range(runs):
        print(f"  run {number + 1}/{runs}", flush=True)
        idle.append(bench.constant(PHOTO, RATE, seconds, f"idle-{number}"))
        with _running(bench, video):
            busy.append(bench.constant(PHOTO, RATE, seconds, f"videos-{number}"))
    clip.unlink()
    video.unlink()
    alone, beside = (median(run.percentile(95) for run in runs_) for runs_ in (idle, busy))
    figure = Figure(
        f"photo p95 beside {VIDEOS} long videos, of its idle value",
        median(b.percentile(95) / i.percentile(95) for i, b in zip(idle, busy, strict=True)),
        "×",
        "under",
        TIMES,
        f"{1000 * alone:.0f} ms alone, {1000 * beside:.0f} ms beside them",
    )
    return [figure], [
        Section("Photos alone", summary(idle[-1]), run_plots(idle[-1])),
        Section(f"Photos beside {VIDEOS} videos", summary(busy[-1]), run_plots(busy[-1])),
    ]


@contextmanager
def _running(bench: Bench, video: Path) -> Iterator[None]:
    """Videos at work; cancelled at the end.

    Raises:
        TimeoutError: they do not begin.
    """
    jobs: list[str] = []
    try:
        for _ in range(VIDEOS):
            with video.open("rb") as file:
                answer = requests.post(
                    f"{bench.pod.url}/v1/blur", files={"file": file}, timeout=_PATIENCE
                )
            answer.raise_for_status()
            jobs.append(f"{bench.pod.url}/v1/jobs/{answer.json()['id']}")
        until = time.monotonic() + _PATIENCE
        while not all(_works(job) for job in jobs):
            if time.monotonic() > until:
                raise TimeoutError(f"not all of {VIDEOS} videos are at work")
            time.sleep(0.2)
        yield
        if not all(_works(job) for job in jobs):
            raise RuntimeError("a video was done too early: they must be longer")
    finally:
        for job in jobs:
            requests.delete(job, timeout=_PATIENCE)
        bench.jobs_done()


def _works(job: str) -> bool:
    view = requests.get(job, timeout=_PATIENCE).json()
    return view["status"] == "running" and view["progress"]["stage"] in _WORK
