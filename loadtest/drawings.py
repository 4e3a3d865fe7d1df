"""Drawings through a real pod: one phone's photo, and eight users at once."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from deploy.local.pod import Pod
from deploy.local.samples import write_drawing
from loadtest.processes import PeakMemory, tree
from loadtest.service import sample_health
from loadtest.tables import Cell, Table

THREE = "dab,jumping,zombie"
USERS = 8
PATIENCE = 120


def phone(pod: Pod, work: Path, runs: int) -> Table:
    """A 12-megapixel photo of a drawing to three GIFs with presigned URLs, one after another."""
    photo = write_drawing(work / "drawing.jpg").read_bytes()
    _animate(pod, photo)  # warms caches as any pod's first minute does
    root = pod.pids("renderer")[0]
    taken, answers = [], []
    with PeakMemory(lambda: tree(root), every=0.1) as memory:
        for _ in range(runs):
            begun = time.perf_counter()
            answer = _animate(pod, photo)
            taken.append(time.perf_counter() - begun)
            answer.raise_for_status()
            answers.append(answer.json())
    again = []
    for _ in range(runs):
        begun = time.perf_counter()
        _call(pod, "/v1/animate", json={"rig_id": answers[0]["rig_id"], "motions": THREE})
        again.append(time.perf_counter() - begun)
    stages = ("decode_ms", "rig_ms", "mesh_ms", "animate_ms")
    spent = [statistics.median(a["timings"][s] for a in answers) / 1000 for s in stages]
    row: list[Cell] = [len(taken), statistics.median(taken), max(taken), *spent]
    row += [statistics.median(again), memory.single]
    columns = ["requests", "p50 s", "longest s", "decode s", "model s", "mesh s", "animate s"]
    columns += ["corrected rig, p50 s", "one renderer MB"]
    return Table(
        "A photo of a drawing to three GIFs",
        columns,
        [row],
        f"{THREE}; request to answer with presigned URLs. Goal: p50 at most 3 s, model 0.3 s.",
    )


def crowd(pod: Pod, work: Path) -> Table:
    """Eight users at once, each with such a photo and three motions, while /healthz is asked."""
    photo = write_drawing(work / "drawing.jpg").read_bytes()
    over = threading.Event()
    health: list[float] = []
    sampler = threading.Thread(target=lambda: health.extend(sample_health(pod.url, over, None)))
    sampler.start()
    try:
        with ThreadPoolExecutor(USERS) as pool:
            ends = list(pool.map(lambda _: _timed(pod, photo), range(USERS)))
    finally:
        over.set()
        sampler.join()
    good = [seconds for status, seconds in ends if status == 200]
    row: list[Cell] = [USERS, len(good), statistics.median(good), max(good)]
    row += [float(v) for v in np.percentile(health, [50, 99])]
    return Table(
        "Users at once",
        ["users", "answered", "p50 s", "longest s", "/healthz p50 ms", "/healthz p99 ms"],
        [row],
        f"Each sends a 12-megapixel photo for {THREE}. Goal: all answered, /healthz p99 < 50 ms.",
    )


def _timed(pod: Pod, photo: bytes) -> tuple[int, float]:
    begun = time.perf_counter()
    status = _animate(pod, photo).status_code
    return status, time.perf_counter() - begun


def _animate(pod: Pod, photo: bytes) -> requests.Response:
    files = {"file": ("drawing.jpg", photo)}
    return requests.post(
        f"{pod.url}/v1/animate", data={"motions": THREE}, files=files, timeout=PATIENCE
    )


def _call(pod: Pod, route: str, **request: Any) -> None:
    requests.post(f"{pod.url}{route}", timeout=PATIENCE, **request).raise_for_status()
