"""What a work-horse does with one video: fetch → blur → store → forget the original.

A work-horse is a process forked for one job, so a decoder that crashes, hangs or
eats memory takes only its own job down. Whatever way an attempt ends, its scratch
files vanish with it (they are unlinked from the start) and the original is deleted
once no further attempt needs it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from redis import Redis
from rq.job import Job as Message

from gateway import traces
from gateway.errors import Cancelled, QueueUnavailable, StorageUnavailable
from gateway.jobs import attempts
from gateway.jobs.attempts import MODEL_PATIENCE, Chances, fd_path
from gateway.jobs.progress import Progress
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import Job, JobStore, leave_to_sweep
from gateway.object_names import RESULTS, new_token
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings
from gateway.storage import Storage

log = logging.getLogger(__name__)

_RESULT_FIELDS = (
    *("width", "height", "frames", "seconds", "tracks"),
    *("faces_detected", "faces_filled", "timings"),
)


def blur_video_job(job_id: str) -> None:
    """The task that RQ calls in the work-horse; the message is the job's id."""
    settings = Settings.from_env()
    with attempts.under_way("video", f"job-{job_id[:6]}", settings) as chances:
        attempt(job_id, settings, JobQueue(settings).store, Storage(settings), chances)


def attempt(
    job_id: str, settings: Settings, store: JobStore, storage: Storage, chances: Chances
) -> None:
    """One attempt at a job, to its end.

    Raises:
        TryAgain: it failed for a passing reason, and attempts or patience are left.
    """
    job = store.get(job_id)
    if job is None:
        return
    token = new_token()
    places = f"{RESULTS}{token}/blurred.mp4", f"{RESULTS}{token}/report.json"
    unwanted: tuple[str, ...] = places
    running = store.begin(job, places)
    if running is None:
        clean(store, storage, job, ())
        return
    try:
        result = _blur(running, places, settings, store, storage)
        if not attempts.surely(lambda: store.finish(running, result)):
            raise Cancelled("the job was cancelled")
        unwanted = ()
    except Cancelled:
        log.info("attempt abandoned: the job was cancelled or taken over")
    except Exception as error:
        public = attempts.public_error(error)
        log.warning("attempt failed: %s", public.code, exc_info=attempts.untold(error))
        again = attempts.try_again(public, chances)
        if again and attempts.surely(lambda: store.requeue(running)):
            raise again from error
        attempts.surely(lambda: store.fail(running, public.code, str(public)))
    finally:
        clean(store, storage, running, unwanted)


def _blur(
    job: Job, places: tuple[str, str], settings: Settings, store: JobStore, storage: Storage
) -> dict[str, Any]:
    from gateway.media.video import VideoLimits
    from gateway.models import PatientDetector
    from gateway.pipelines.blur_video import blur_video

    progress = Progress(store, job)
    progress("fetch", 0, 0)
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        size = storage.size(job.original)
        storage.fetch(job.original, source, lambda done: progress("fetch", done, size))
        fetched = time.perf_counter()
        report = blur_video(
            fd_path(source),
            fd_path(out),
            BlurOptions(**job.options),
            PatientDetector.from_settings(settings, patience=MODEL_PATIENCE),
            VideoLimits(pixels=settings.max_video_pixels, seconds=settings.max_video_seconds),
            progress=progress,
            interval=settings.detect_interval,
            segment_seconds=settings.segment_seconds,
        )
        traces.stages(report["timings"])
        blurred = time.perf_counter()
        progress("store", 0, 1)
        storage.put(places[0], out, "video/mp4", "blurred.mp4")
        text = json.dumps({"id": job.id, "kind": "video", **report}, separators=(",", ":"))
        storage.put(places[1], io.BytesIO(text.encode()), "application/json", "report.json")
    result = {name: report[name] for name in _RESULT_FIELDS}
    result["timings"] = {
        "fetch_ms": round(1000 * (fetched - begun), 1),
        **report["timings"],
        "store_ms": round(1000 * (time.perf_counter() - blurred), 1),
        "total_ms": round(1000 * (time.perf_counter() - begun), 1),
    }
    return {**result, "content_type": "video/mp4", "key": places[0], "report_key": places[1]}


def settle(queue: JobQueue, storage: Storage, job_id: str, retries_left: int, late: bool) -> None:
    """After a work-horse or its worker died: the job waits again, or has failed.

    Called in a living worker's process. ``late``: it was killed for its deadline.
    """
    job = queue.store.get(job_id)
    if job is None or job.status != "running":
        return
    if retries_left and not late:
        queue.store.requeue(job)
        clean(queue.store, storage, job, job.places)
        return
    error = attempts.public_error(attempts.death(late))
    queue.store.fail(job, error.code, str(error))
    clean(queue.store, storage, job, job.places)


def clean_after_stop(message: Message, redis: Redis) -> None:
    """RQ calls this in the worker once the work-horse of a cancelled job is dead.

    Only now is it certain that nothing writes to the result's places any more.
    """
    settings = Settings.from_env()
    store = JobQueue(settings, redis).store
    job = store.get(message.id)
    if job is not None:
        clean(store, Storage(settings), job, job.places)


def clean(store: JobStore, storage: Storage, job: Job, places: Iterable[str]) -> None:
    """Delete half-made results, and the original unless the job still lives."""
    unwanted = list(places)
    with contextlib.suppress(QueueUnavailable):
        now = store.get(job.id)
        if now is None or not now.live:
            unwanted.append(job.original)
    try:
        storage.delete(unwanted)
    except StorageUnavailable:
        leave_to_sweep(store, *unwanted)
