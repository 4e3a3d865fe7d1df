"""What a crash, a lost message or an abandoned upload leaves behind is removed here.

Run by workers between jobs. Every step is idempotent, so it does no harm when two
workers run it at once; a key in Redis keeps that rare.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rq.job import JobStatus

from gateway.errors import MasqueradeError
from gateway.jobs import tasks
from gateway.jobs.batches import Batch
from gateway.jobs.open_tree import open_tree
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import redis_errors
from gateway.object_names import MOTIONS, RESULTS, RIGS, UPLOADS, WORK
from gateway.settings import Settings
from gateway.storage import Storage, Stored

log = logging.getLogger(__name__)

_SOON, _OFTEN, _SELDOM = 10, 30, 3600  # seconds between two sweeps of a kind, over all workers
_LATE = 300  # seconds in which a write that was given up may still arrive
_MARGIN = timedelta(minutes=15)  # for a request that is just taking an upload in
_ROUND = 10  # thousands of tasks that are looked at in one round while others are at work
_MENDED = "masquerade:mended"  # batch and cursor from which the next round goes on
_BEHIND = "~"  # sorts behind all that ids are made of
_BROKEN_OFF = timedelta(days=1)  # longer than any write takes
_SETTLING = 60  # seconds in which a new record's message may still be on its way
_ENDED = (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED, JobStatus.FINISHED)


def sweep(queue: JobQueue, storage: Storage, settings: Settings) -> None:
    """Do what is due; a store or queue that is away is left for the next time."""
    try:
        if _due(queue, "unwanted", _SOON):
            unwanted(queue, storage)
        if _due(queue, "often", _OFTEN):
            lost_jobs(queue, storage)
            lost_tasks(queue, settings)
            old_uploads(queue, storage, timedelta(seconds=settings.url_ttl) + _MARGIN)
        if _due(queue, "seldom", _SELDOM):
            life = max(settings.result_ttl, settings.job_ttl) if settings.result_ttl else 0
            old_results(storage, timedelta(seconds=life))
            old_drawings(storage, timedelta(seconds=settings.result_ttl))
            old_work(queue, storage)
            broken_off(queue, storage, settings)
    except MasqueradeError as error:
        log.warning("sweep put off: %s", error)


def unwanted(queue: JobQueue, storage: Storage) -> int:
    """Delete what was to be deleted while the store was away; returns how much that was.

    And again for a while: what a request had sent before it gave up may be written after that.
    """
    begun = time.time()
    keys = queue.store.unwanted()
    if keys:
        storage.delete(keys)
        queue.store.gone(begun - _LATE)
    return len(keys)


def lost_jobs(queue: JobQueue, storage: Storage) -> None:
    """Settle records that say "live" while RQ has given their message up."""
    for job_id in queue.store.live_ids():
        job = queue.store.get(job_id)
        if job is None:
            queue.store.drop_live(job_id)
            continue
        with redis_errors():
            message = queue.message(job_id)
            given_up = message is None or message.get_status() in _ENDED
        # A worker writes the record just before RQ's state: look twice before judging.
        job = queue.store.get(job_id)
        settled = job is not None and time.time() - job.created_at > _SETTLING
        if given_up and settled and job is not None and job.live:
            log.warning("a job whose message was lost is failed")
            queue.store.fail(
                job, "renderer-failed", "the process that rendered this video died; try again"
            )
            tasks.clean(queue.store, storage, job, job.places)


def lost_tasks(queue: JobQueue, settings: Settings) -> int:
    """Queue again what batches wait for though nobody has it; returns how many that were.

    All of it while no task is queued or at work, else a part at a time, going round.
    """
    batches = queue.batches
    found = (batches.store.get(batch_id) for batch_id in sorted(batches.store.live_ids()))
    ours = [b for b in found if b is not None and b.live and b.queue == settings.queue_name]
    mended = sum(map(batches.mend, ours)) if batches.idle() else _mend_round(queue, ours)
    if mended:
        log.warning("%d tasks whose messages were lost are queued again", mended)
    return mended


def _mend_round(queue: JobQueue, ours: Sequence[Batch]) -> int:
    """Go on where the last round, whoever's it was, has stopped."""
    with redis_errors():
        place: Any = queue.redis.get(_MENDED)
    at, _, text = (place or b"").decode().partition(" ")
    cursor, mended = int(text or 0), 0
    for _ in range(_ROUND):
        batch = next((batch for batch in ours if batch.id >= at), None)
        if batch is None:
            at = ""
            break
        found, cursor = queue.batches.mend_part(batch, cursor if batch.id == at else 0)
        mended += found
        at = batch.id if cursor else batch.id + _BEHIND
    with redis_errors():
        queue.redis.set(_MENDED, f"{at} {cursor}", ex=_SELDOM)
    return mended


def old_work(queue: JobQueue, storage: Storage) -> int:
    """Delete the parts of long videos whose batch is over; returns how many."""
    before = datetime.now(UTC) - _MARGIN
    stale = [item.key for item in storage.list(WORK) if item.modified < before]
    needed = queue.batches.store.live_ids() if stale else set()
    gone = [key for key in stale if key.split("/")[1] not in needed]
    storage.delete(gone)
    return len(gone)


def broken_off(queue: JobQueue, storage: Storage, settings: Settings) -> int:
    """Delete what killed workers left half-written in outputs of batches; returns how much."""
    before = datetime.now(UTC) - _BROKEN_OFF
    gone = 0
    for place in queue.batches.store.outputs():
        try:
            gone += open_tree(place, settings, storage).tidy(before)
        except MasqueradeError as error:
            log.info("an output of a batch could not be tidied up: %s", error.code)
    # For another day: it may be away now.
    queue.batches.store.forget_outputs((before - _BROKEN_OFF).timestamp())
    return gone


def old_uploads(queue: JobQueue, storage: Storage, age: timedelta) -> int:
    """Delete originals older than ``age`` that no live job needs; returns how many."""
    before = datetime.now(UTC) - age
    stale = [item.key for item in storage.list(UPLOADS) if item.modified < before]
    # Read after the listing, so that a job begun meanwhile is seen.
    needed = queue.store.originals() if stale else {}
    gone = [key for key in stale if key not in needed]
    storage.delete(gone)
    return len(gone)


def old_results(storage: Storage, age: timedelta) -> int:
    """Delete results older than ``age`` (0 keeps them all) and uploads broken off for a day."""
    storage.abort_unfinished(datetime.now(UTC) - _BROKEN_OFF)
    if not age:
        return 0
    before = datetime.now(UTC) - age
    gone = [item.key for item in storage.list(RESULTS) if item.modified < before]
    storage.delete(gone)
    return len(gone)


def old_drawings(storage: Storage, age: timedelta) -> int:
    """Delete motions, and rigs whose last correction is older than ``age`` (0 keeps them all)."""
    if not age:
        return 0
    before = datetime.now(UTC) - age
    gone = [item.key for item in storage.list(MOTIONS) if item.modified < before]
    rigs: dict[str, list[Stored]] = {}
    for item in storage.list(RIGS):
        rigs.setdefault(item.key.split("/")[1], []).append(item)
    for items in rigs.values():
        if max(item.modified for item in items) < before:
            gone += [item.key for item in items]
    storage.delete(gone)
    return len(gone)


def _due(queue: JobQueue, name: str, seconds: int) -> bool:
    with redis_errors():
        return bool(queue.redis.set(f"masquerade:swept:{name}", 1, nx=True, ex=seconds))
