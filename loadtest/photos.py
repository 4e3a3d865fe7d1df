"""Photos: latency, memory, the smallest and the largest face, and the gateway's share."""

from __future__ import annotations

import io
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import requests

from deploy.local.samples import write_photo
from loadtest.coverage import ENOUGH, shares, size_of
from loadtest.lab import Lab
from loadtest.media import big_photo, hd_photo
from loadtest.peer import BACKENDS
from loadtest.processes import PeakMemory
from loadtest.tables import Cell, Table

REQUESTS = 30
PAIRS = 100
QUICK = 6
PIXEL_WORK = ("decode_ms", "detect_ms", "blur_ms", "encode_ms")


def photo(lab: Lab) -> list[Table]:
    """Sequential requests; renderer and model worker sampled meanwhile."""
    big, boxes = big_photo(lab.work / "photo-12mp.jpg")
    small = hd_photo(lab.work / "photo-720p.jpg")
    return [
        Table(
            "Photos",
            [
                *("photo", "file MB", "requests", "p50 ms", "p95 ms", "with download p50 ms"),
                *("renderer peak MB", "one renderer MB", "model worker MB", "deface s"),
                *("deface MB",),
            ],
            [_latency(lab, "1280×720", small), _latency(lab, "4000×3000", big)],
            "p50, p95: POST /v1/blur to its answer (result stored, links signed). renderer "
            "peak: sum over its processes, shared pages counted in each; one renderer: the "
            "largest process's own high mark; model worker: TorchServe's Python process, likewise "
            "(each since the pod's start). deface: its command, default settings, faster backend. "
            "Goals at 12 megapixels: p50 under 700 ms, under 500 MB.",
        ),
        _sizes(lab, big, boxes),
        _overhead(lab),
    ]


def _latency(lab: Lab, name: str, path: Path) -> list[Cell]:
    lab.client.blur(path, {})
    count = QUICK if lab.quick else REQUESTS
    answered, downloaded = [], []
    print(f"  {count} × {name}", flush=True)
    with (
        PeakMemory(lambda: lab.processes("renderer"), every=0.02) as renderer,
        PeakMemory(lambda: _model_worker(lab), every=0.1) as model,
    ):
        for _ in range(count):
            begun = time.perf_counter()
            result = lab.client.blur(path, {})
            answered.append(1000 * (time.perf_counter() - begun))
            lab.client.download(result.url, io.BytesIO())  # type: ignore[union-attr]
            downloaded.append(1000 * (time.perf_counter() - begun))
    runs = {
        backend: [
            lab.peer.blur(path, lab.work / f"deface-{path.name}", backend) for _ in range(lab.runs)
        ]
        for backend in BACKENDS
    }
    deface = min(runs.values(), key=lambda ran: median(r.seconds for r in ran))
    return [
        name,
        path.stat().st_size / 1e6,
        count,
        *(float(v) for v in np.percentile(answered, [50, 95])),
        median(downloaded),
        renderer.total,
        renderer.single,
        model.single,
        median(r.seconds for r in deface),
        max(r.peak_mb for r in deface),
    ]


def _model_worker(lab: Lab) -> list[psutil.Process]:
    found = []
    for process in lab.processes("torchserve"):
        try:
            if "model_service_worker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _sizes(lab: Lab, path: Path, boxes: Any) -> Table:
    found = []
    for tool in ("ours", "deface"):
        hidden = getattr(lab, tool)(path)
        found.append(shares(hidden.output, hidden.baseline, {0: boxes}, size_of(path))[0])
    rows: list[list[Cell]] = []
    for number, box in enumerate(boxes):
        mine, theirs = (float(f[number]) for f in found)
        verdicts = ["yes" if share >= ENOUGH else "NO" for share in (mine, theirs)]
        rows.append([round(float(box[3] - box[1])), 100 * mine, 100 * theirs, *verdicts])
    return Table(
        "Faces in the 12-megapixel photo",
        ["face px", "ours changed %", "deface changed %", "ours hidden", "deface hidden"],
        rows,
        "Share of the face's box that was changed (loadtest/coverage.py).",
    )


def _overhead(lab: Lab) -> Table:
    """Gateway and model server asked in turn about the same small photo."""
    path = write_photo(lab.work / "photo-small.jpg")
    data = path.read_bytes()
    session = requests.Session()
    parts: dict[str, list[float]] = {name: [] for name in _PARTS}
    count = QUICK if lab.quick else PAIRS
    print(f"  {count} pairs of gateway and bare model call", flush=True)
    for number in range(count + 2):
        begun = time.perf_counter()
        answer = session.post(
            f"{lab.pod.url}/v1/blur", files={"file": ("photo.jpg", data)}, timeout=30
        )
        gateway = 1000 * (time.perf_counter() - begun)
        answer.raise_for_status()
        begun = time.perf_counter()
        lab.detector.detect_encoded(data, 0.2)
        bare = 1000 * (time.perf_counter() - begun)
        if number < 2:
            continue  # both open their connections
        timings = answer.json()["timings"]
        work = sum(timings[stage] for stage in PIXEL_WORK)
        store = timings["store_ms"]
        values = (gateway, bare, gateway - bare, work - bare, store, gateway - work - store)
        for name, value in zip(_PARTS, values, strict=True):
            parts[name].append(value)
    rows: list[list[Cell]] = [
        [name, *(float(v) for v in np.percentile(values, [50, 95]))]
        for name, values in parts.items()
    ]
    return Table(
        f"The gateway over a bare TorchServe call, {count} pairs, 512×512 JPEG",
        ["part", "p50 ms", "p95 ms"],
        rows,
        "difference = pixel work + store + rest, pair by pair. pixel work: decode, detect, "
        "blur and encode as the answer reports them, less the bare call (which the detect "
        "stage holds). rest: HTTP, form, routing, the hop to the renderer, signing. Goal for "
        "what is not pixel work: under 10 ms.",
    )


_PARTS = (
    "gateway, whole answer",
    "bare TorchServe call",
    "difference",
    "– pixel work",
    "– store result and report",
    "– rest",
)
