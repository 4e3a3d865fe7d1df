"""Photos while long videos, or large photos, are worked on, against photos alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
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
from loadtest.results import Results, counts, ratio, served
from loadtest.targets import Target

VIDEOS = 4
LARGE = 4
"""Clients with large photos, each with its next as soon as it has its answer."""

LARGE_PHOTO = "photo-12mp"
TIMES = 3.0
RATE = 1.0
"""Photos a second: few, so that they wait for other work only."""

_LOOP = 10.0  # seconds of the clip that is repeated
_PATIENCE = 60.0
_PAUSE = 0.5  # seconds after a refusal
_WORK = ("analyse", "render")


def fairness(
    bench: Bench, runs: int, seconds: float, video_seconds: float
) -> tuple[list[Figure], list[Section]]:
    """Photos alone, beside videos and beside large photos in turns, each for ``seconds``;
    medians over ``runs``. The pod has a worker for each video.
    """
    clip = write_video(bench.out / "clip.mp4", _LOOP)
    video = looped(clip, bench.out / "long.mp4", max(1, round(video_seconds / _LOOP)))
    (large,) = bench.scenarios.targets(LARGE_PHOTO)
    alone: list[Results] = []
    videos: list[Results] = []
    larges: list[Results] = []
    for number in range(runs):
        print(f"  run {number + 1}/{runs}", flush=True)
        alone.append(bench.constant(PHOTO, RATE, seconds, f"idle-{number}"))
        with _videos(bench, video):
            videos.append(bench.constant(PHOTO, RATE, seconds, f"videos-{number}"))
        with larger(large):
            larges.append(bench.constant(PHOTO, RATE, seconds, f"large-{number}"))
    clip.unlink()
    video.unlink()
    kinds = {f"{VIDEOS} long videos": videos, f"{LARGE} clients with 12-megapixel photos": larges}
    figures = [figure for what, beside in kinds.items() for figure in compared(what, alone, beside)]
    return figures, [
        Section(f"Photos {title}", summary(run), run_plots(run))
        for title, run in [
            ("alone", alone[-1]),
            *((f"beside {what}", beside[-1]) for what, beside in kinds.items()),
        ]
    ]


def compared(what: str, alone: Sequence[Results], beside: Sequence[Results]) -> list[Figure]:
    """What becomes of photos beside other work. Who was not served has waited for ever."""
    pairs = zip(alone, beside, strict=True)
    idle, busy = (median(run.served_within(95) for run in runs) for runs in (alone, beside))
    return [
        Figure(
            f"photo p95 beside {what}, of its idle value",
            median(ratio(b.served_within(95), a.served_within(95)) for a, b in pairs),
            "×",
            "under",
            TIMES,
            f"{1000 * idle:.0f} ms alone, {1000 * busy:.0f} ms beside them",
        ),
        Figure(
            f"photos served beside {what}", 100 * served(beside), "%", "least", 100, counts(beside)
        ),
    ]


@contextmanager
def larger(target: Target) -> Iterator[None]:
    """Large photos at work, sent by several clients.

    Raises:
        RuntimeError: none of them was served, so that photos were beside nothing.
    """
    over, done = threading.Event(), list[float]()

    def client() -> None:
        headers = {name: ", ".join(values) for name, values in target.header.items()}
        while not over.is_set():
            try:
                answer = requests.request(
                    target.method, target.url, data=target.body, headers=headers, timeout=_PATIENCE
                )
            except requests.RequestException:
                over.wait(_PAUSE)
                continue
            if answer.ok:
                done.append(answer.elapsed.total_seconds())
            else:
                over.wait(_PAUSE)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(LARGE)]
    for one in clients:
        one.start()
    try:
        yield
        if not done:
            raise RuntimeError("no large photo was served meanwhile")
    finally:
        over.set()
        for one in clients:
            one.join()


@contextmanager
def _videos(bench: Bench, video: Path) -> Iterator[None]:
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
