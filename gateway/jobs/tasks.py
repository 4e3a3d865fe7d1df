"""What a work-horse does with one video: fetch → blur → store → forget the original.

A work-horse is a process forked for one job, so a decoder that crashes, hangs or
eats memory takes only its own job down. Whatever way an attempt ends, its scratch
files vanish with it (they are unlinked from the start) and the original is deleted
once no further attempt needs it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from redis import Redis
from rq import get_current_job
from rq.job import Job as Message
from rq.timeouts import JobTimeoutException

from gateway import carry, traces
from gateway.errors import (
    Cancelled,
    DeadlineExceeded,
    DiskFull,
    MasqueradeError,
    ModelFailed,
    ModelUnavailable,
    QueueUnavailable,
    RendererFailed,
    StorageUnavailable,
    TooLarge,
    is_disk_full,
    is_out_of_memory,
)
from gateway.jobs.progress import Progress
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import Job, JobStore, leave_to_sweep
from gateway.object_names import RESULTS, new_token
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings
from gateway.storage import Storage, may_recover

log = logging.getLogger(__name__)

BACKOFF = (2, 10)  # seconds before the second and every later attempt
PAUSES = (2.0, 60.0)  # seconds, the first and the longest, between attempts while something is away
_FINISH_TRIES = 20
WAITED = "waited"  # in a message's meta: seconds for which it has waited for what was away
MODEL_PATIENCE = 30.0  # seconds to wait for a model that is away, before the attempt fails
_RESULT_FIELDS = (
    *("width", "height", "frames", "seconds", "tracks"),
    *("faces_detected", "faces_filled", "timings"),
)


class TryAgain(Exception):
    """Raised out of the task so that RQ queues the job again; the record says "queued"."""


class Paused(TryAgain):
    """The same for what did a part and goes on behind those that wait; it counts as no attempt."""


class Away(TryAgain):
    """The same after ``pause`` seconds, at no attempt's expense: what it needs is away."""

    def __init__(self, code: str, pause: float) -> None:
        super().__init__(code)
        self.pause = pause


@dataclass(frozen=True)
class Chances:
    """What a job has left: attempts after this one, and seconds that it may wait for what is
    away; ``waited`` of them are over.
    """

    retries: int = 0
    patience: float = 0.0
    waited: float = 0.0


def blur_video_job(job_id: str) -> None:
    """The task that RQ calls in the work-horse; the message is the job's id."""
    settings = Settings.from_env()
    with under_way("video", f"job-{job_id[:6]}", settings) as chances:
        attempt(job_id, settings, JobQueue(settings).store, Storage(settings), chances)


@contextlib.contextmanager
def under_way(kind: str, name: str, settings: Settings) -> Iterator[Chances]:
    """Around an attempt in a work-horse: its log line and its span, under the id and in the
    trace of the request that asked for it. Yields what it has left.
    """
    message = get_current_job()
    meta = message.meta if message else {}
    carry.take(meta, name)
    traces.start(settings, "worker")
    begun, status = time.perf_counter(), "ended"
    try:
        with traces.span(f"job {kind}", "consumer", parent=meta):
            retries = (message.retries_left or 0) if message else 0
            yield Chances(retries, settings.job_patience, meta.get(WAITED, 0.0))
    except BaseException:
        status = "broken off"
        raise
    finally:
        seconds = time.perf_counter() - begun
        log.info("attempt %s: %s", status, kind, extra={"ms": round(1000 * seconds, 1)})
        traces.flush()  # this process ends without more ado


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
    if job.attempts:
        time.sleep(BACKOFF[min(job.attempts, len(BACKOFF)) - 1])
    token = new_token()
    places = f"{RESULTS}{token}/blurred.mp4", f"{RESULTS}{token}/report.json"
    unwanted: tuple[str, ...] = places
    running = store.begin(job, places)
    if running is None:
        clean(store, storage, job, ())
        return
    try:
        result = _blur(running, places, settings, store, storage)
        if not surely(lambda: store.finish(running, result)):
            raise Cancelled("the job was cancelled")
        unwanted = ()
    except Cancelled:
        log.info("attempt abandoned: the job was cancelled or taken over")
    except Exception as error:
        public = public_error(error)
        log.warning("attempt failed: %s", public.code, exc_info=untold(error))
        again = try_again(public, chances)
        if again and surely(lambda: store.requeue(running)):
            raise again from error
        surely(lambda: store.fail(running, public.code, str(public)))
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
    error: MasqueradeError = RendererFailed(
        f"the process that rendered this video died, {job.attempts} times; the file may be damaged"
        if job.attempts > 1
        else "the process that rendered this video died; the file may be damaged"
    )
    if late:
        error = DeadlineExceeded("the video took longer than the service allows")
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


def fd_path(file: IO[bytes]) -> str:
    """A path by which this process and others of its container can open an unlinked file."""
    file.flush()
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


def public_error(error: BaseException) -> MasqueradeError:
    """What a client is told of any exception."""
    if isinstance(error, MasqueradeError):
        return error
    if isinstance(error, JobTimeoutException):
        return DeadlineExceeded("the video took longer than the service allows")
    if is_disk_full(error):
        return DiskFull("the server has no scratch space left; try again later")
    if is_out_of_memory(error):
        return TooLarge("the video needs more memory than the service has")
    return MasqueradeError("the video could not be processed; the server's log says why")


def try_again(error: MasqueradeError, chances: Chances) -> TryAgain | None:
    """How to go on after an error that may pass; None when it is the job's end.

    The pauses for what is away grow with what was waited already.
    """
    left = chances.patience - chances.waited
    if _is_away(error) and left > 0:
        shortest, longest = PAUSES
        return Away(error.code, min(max(chances.waited, shortest), longest, left))
    if error.status in (429, 503) and chances.retries:
        return TryAgain(error.code)
    return None


def _is_away(error: MasqueradeError) -> bool:
    """Whether it is no fault of the input or of an attempt: what it needs was not there."""
    if isinstance(error, StorageUnavailable):
        return may_recover(error)
    needed = isinstance(error, (ModelUnavailable, QueueUnavailable))
    return needed and not isinstance(error, ModelFailed)


def untold(error: BaseException) -> BaseException | None:
    """What the public code does not say, for the log: the exception, or what ours came of."""
    return error.__cause__ if isinstance(error, MasqueradeError) else error


def surely(write: Callable[[], bool]) -> bool:
    """Write a final state even when Redis is away for a minute."""
    for left in reversed(range(_FINISH_TRIES)):
        try:
            return write()
        except QueueUnavailable:
            if not left:
                raise
            time.sleep(3)
    raise AssertionError("unreachable")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, so that the job's next
    attempt does not run beside it. Linux only; elsewhere the record's attempt count
    still keeps the older attempt from writing.

    ``parent``: its process id; when it is gone already, so are we.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
