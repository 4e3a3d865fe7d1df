"""Long videos and busy times: memory that must not grow, health that must answer."""

from __future__ import annotations

import http.client
import threading
import time
from urllib.parse import urlsplit

import numpy as np

from loadtest.lab import Lab
from loadtest.media import LONG_CLIP, SPEED_CLIPS, frame_count, looped
from loadtest.processes import PeakMemory
from loadtest.tables import Cell, Table

LONG_SECONDS = 600
QUICK_SECONDS = 60
SAMPLES = 300
QUICK_SAMPLES = 100
IDLE_SAMPLES = 100
EVERY = 0.05


def memory(lab: Lab) -> list[Table]:
    """The work-horse's memory over a long 1080p video."""
    clip = lab.media.video(LONG_CLIP)
    frames = frame_count(clip)
    seconds = QUICK_SECONDS if lab.quick else LONG_SECONDS
    source = looped(clip, lab.work / f"long-{seconds}s.mp4", -(-seconds * 30 // frames))
    total = frame_count(source)
    print(f"  {total} frames of {source.name}", flush=True)
    # The worker's first process waits for jobs; each job runs in one forked from it.
    with (
        PeakMemory(lambda: lab.processes("worker")[1:], every=0.1) as horse,
        PeakMemory(lambda: lab.processes("worker"), every=0.1) as worker,
    ):
        blurred = lab.blur_video(source)
    source.unlink()
    blurred.out.unlink()
    row: list[Cell] = [
        f"{clip.stem}, looped",
        total,
        total / 30,
        horse.total,
        horse.single,
        worker.total,
        total / blurred.seconds,
    ]
    return [
        Table(
            "A long 1080p video",
            [
                *("clip", "frames", "seconds", "job's processes MB", "its own high mark MB"),
                *("with the waiting worker MB", "fps"),
            ],
            [row],
            "Resident memory at its peak. Goal: under 600 MB at 10 minutes.",
        )
    ]


def health(lab: Lab) -> list[Table]:
    """/healthz on a fresh connection each 50 ms, idle and while videos render."""
    idle = sample_health(lab.pod.url, threading.Event(), IDLE_SAMPLES)
    clip = lab.media.video(SPEED_CLIPS[-1])
    over = threading.Event()
    wanted = QUICK_SAMPLES if lab.quick else SAMPLES
    busy: list[float] = []
    sampler = threading.Thread(
        target=lambda: busy.extend(sample_health(lab.pod.url, over, None)), daemon=True
    )
    began = time.monotonic()
    sampler.start()
    try:
        while time.monotonic() - began < wanted * EVERY:
            lab.blur_video(clip)
    finally:
        over.set()
        sampler.join()
    rows: list[list[Cell]] = [
        [name, len(values), *(float(v) for v in np.percentile(values, [50, 99])), max(values)]
        for name, values in (("idle", idle), ("a video renders", busy))
    ]
    return [
        Table(
            "/healthz",
            ["while", "samples", "p50 ms", "p99 ms", "max ms"],
            rows,
            "One request each 50 ms, each on a new connection; a sample that starts late "
            "because the one before took long is not skipped. Goal: p99 under 50 ms.",
        )
    ]


def sample_health(url: str, over: threading.Event, count: int | None) -> list[float]:
    """Latencies of /healthz in ms, one request each 50 ms, until ``over`` or ``count`` samples."""
    host = urlsplit(url).netloc
    taken: list[float] = []
    due = time.perf_counter()
    while not over.is_set() and (count is None or len(taken) < count):
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        taken.append(1000 * (time.perf_counter() - begun))
        if answer.status != 200:
            raise RuntimeError(f"/healthz answered {answer.status}")
        due += EVERY
        time.sleep(max(0.0, due - time.perf_counter()))
    return taken
