"""The JSON shape of a batch or a training: how far, how fast, what failed."""

from __future__ import annotations

import time
from typing import Any

from gateway.errors import MasqueradeError, by_code
from gateway.http.views import when
from gateway.jobs.batches import Batch, BatchStore, span
from gateway.jobs.queue import JobQueue
from gateway.jobs.tree import Tree
from gateway.storage import Storage

MOST_FAILURES = 100
MOST_RUNNING = 100
_MOST_SPANS = 120  # points of the throughput over time
_WINDOW = 60.0  # seconds over which the present speed is told


def batch_view(
    batch: Batch, queue: JobQueue, storage: Storage, launch: dict[str, Any] | None = None
) -> dict[str, Any]:
    """All there is to say of a batch or training. ``launch``: what the launcher says of it."""
    store = queue.batches.store
    running = store.running(batch.id) if batch.live else {}
    view = summary(batch, store, running)
    view["running"] = [
        {name: told[name] for name in ("name", "stage", "fraction", "fps")}
        for told in sorted(running.values(), key=lambda told: str(told["name"]))[:MOST_RUNNING]
    ]
    view["launch"] = launch
    if batch.kind == "training":
        from gateway.training import view as training_view

        state = batch.result or batch.state
        return view | {"training": training_view(state, storage) if state else None}
    view["pace"] = _pace(batch, store)
    failed = store.ended(batch.id, "failed", 0, MOST_FAILURES)
    view["failures"] = [item_view(item, None) for item in failed]
    return view


def summary(
    batch: Batch, store: BatchStore, running: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What a list of jobs shows of each."""
    if running is None:
        running = store.running(batch.id) if batch.live else {}
    view: dict[str, Any] = {
        "id": batch.id,
        "kind": batch.kind,
        "status": batch.status,
        "created_at": when(batch.created_at),
        "started_at": when(batch.started_at),
        "finished_at": when(batch.finished_at),
        **batch.spec.as_dict(),
        "progress": _progress(batch, store, running),
    }
    if batch.kind == "batch":
        view["items"] = _items(batch, running)
    if batch.error is not None:
        view["error"] = _reason(batch.error)
    return view


def item_view(item: dict[str, Any], target: Tree | None) -> dict[str, Any]:
    """An ended item; ``target`` signs the link to its result, where there is one."""
    view = {"name": item["name"], "at": when(item["at"])}
    if "code" in item:
        return view | _reason(item)
    fields = ("output", "kind", "frames", "seconds", "faces")
    view |= {name: item.get(name) for name in fields}
    link = target.link(item["output"]) if target else None
    return view | {"url": link.url if link else None}


def _items(batch: Batch, running: dict[str, dict[str, Any]]) -> dict[str, Any]:
    counted = batch.counters
    ended = counted["done"] + counted["skipped"] + counted["failed"]
    return {
        **{name: counted[name] for name in ("total", "done", "skipped", "failed")},
        "left": max(counted["total"] - ended, 0),
        "workers": len(running),
        "listed": batch.listed,
    }


def _progress(
    batch: Batch, store: BatchStore, running: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The members of a single job's progress, and hours of video and their pace besides."""
    counted = batch.counters
    if batch.kind == "training":
        told = next(iter(running.values()), {})
        fraction = 1.0 if batch.status == "done" else told.get("fraction", 0.0)
        return {
            **{"stage": told.get("stage", batch.status), "fraction": fraction},
            **{"frames_done": 0, "frames_total": 0, "fps": None},
            "eta_seconds": told.get("eta_seconds"),
        }
    over = batch.status in ("done", "failed")
    fraction = 1.0 if over else min(counted["bytes_done"] / max(counted["bytes"], 1), 1.0)
    age = max((batch.finished_at or time.time()) - (batch.started_at or batch.created_at), 0.001)
    seconds = counted["ms"] / 1000
    speed, fps = _speed(batch, store) if batch.live else (seconds / age, counted["frames"] / age)
    eta = age * (1 - fraction) / fraction if batch.listed and fraction > 0.01 else None
    return {
        "stage": "list" if batch.live and not batch.listed else "work",
        "frames_done": counted["frames"],
        "frames_total": round(counted["frames"] / fraction) if fraction > 0.01 else 0,
        "fraction": round(fraction, 4),
        "fps": round(fps, 2),
        "eta_seconds": 0.0 if over else None if eta is None else round(eta, 1),
        "video_seconds_done": round(seconds, 1),
        # Inputs are not opened before their turn: guessed by their bytes.
        "video_seconds_total": round(seconds / fraction, 1) if fraction > 0.01 else None,
        "video_seconds_per_second": round(speed, 3),
        "faces": counted["faces"],
    }


def _speed(batch: Batch, store: BatchStore) -> tuple[float, float]:
    """Seconds of video a second, and frames a second, in the last minute or so."""
    age = time.time() - batch.created_at
    began, milliseconds, frames = age, 0, 0
    for start, done in reversed(store.pace(batch.id).items()):
        if age - start > _WINDOW + span(start)[1]:
            break
        began, milliseconds, frames = start, milliseconds + done["ms"], frames + done["frames"]
    passed = max(min(age, max(age - began, _WINDOW)), 1.0)
    return milliseconds / 1000 / passed, frames / passed


def _pace(batch: Batch, store: BatchStore) -> list[dict[str, float]]:
    """Throughput over time: spans with their begin in s of age, length in s, and what was done
    per second. Neighbours are put together where there are too many.
    """
    spans = [
        (float(start), float(span(start)[1]), done) for start, done in store.pace(batch.id).items()
    ]
    together = -(-len(spans) // _MOST_SPANS) or 1
    points = []
    for n in range(0, len(spans), together):
        group = spans[n : n + together]
        begin, end = group[0][0], group[-1][0] + group[-1][1]
        length = end - begin
        seconds = sum(done["ms"] for *_, done in group) / 1000
        frames = sum(done["frames"] for *_, done in group)
        points.append(
            {
                **{"begin": begin, "length": length},
                "video_seconds_per_second": round(seconds / length, 3),
                "fps": round(frames / length, 2),
            }
        )
    return points


def _reason(error: dict[str, Any]) -> dict[str, Any]:
    kind = by_code().get(error["code"], MasqueradeError)
    return {
        **{"code": kind.code, "title": kind.title, "status": kind.status},
        "detail": error["message"],
    }
