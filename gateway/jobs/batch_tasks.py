"""What a work-horse does with one task of a batch: list inputs, blur one, a piece, or join.

list → every input an item → blurred whole, or split into segments → joined by the last of
them. Whatever way an attempt ends, its result is in the output whole or not at all, and it is
counted once: only the attempt that holds the task's token can end it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import Cancelled, MasqueradeError, StorageUnavailable
from gateway.jobs import attempts, listing, rendering, segments
from gateway.jobs.batch_queue import BatchQueue
from gateway.jobs.batches import LIST, TRAIN, Running
from gateway.jobs.progress import TaskProgress
from gateway.jobs.queue import JobQueue
from gateway.jobs.work import Outcome, Work
from gateway.settings import Settings
from gateway.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    """What a task is done with."""

    settings: Settings
    queue: BatchQueue
    storage: Storage

    @classmethod
    def connect(cls, settings: Settings) -> Tools:
        """New ones; opens no connection yet."""
        return cls(settings, JobQueue(settings).batches, Storage(settings))


inherited: Tools | None = None
"""Made by the worker, which never uses them: they cost each work-horse as much time as all else
around an item. Used ones would have connections that two processes share."""


def work(batch_id: str, key: str) -> None:
    """The task that RQ calls in the work-horse."""
    tools = inherited or Tools.connect(Settings.from_env())
    name, kind = f"batch-{batch_id[:6]}-{key[:8]}", _KINDS.get(key) or _KINDS[key[:2]]
    with attempts.under_way(kind, name, tools.settings) as chances:
        attempt(batch_id, key, tools.settings, tools.queue, tools.storage, chances)


def attempt(
    batch_id: str,
    key: str,
    settings: Settings,
    queue: BatchQueue,
    storage: Storage,
    chances: attempts.Chances,
) -> None:
    """One attempt at a task, to its end.

    Raises:
        TryAgain: it failed for a passing reason, and attempts or patience are left.
    """
    batch = queue.store.get(batch_id)
    if batch is None or not batch.live:
        return
    task = queue.store.begin(batch, key)
    if task is None:
        _open_join(queue, batch_id, key)
        return
    try:
        outcome = _doing(key)(_work(task, settings, queue, storage))
        if outcome is not None and _end(queue, task, outcome):
            with contextlib.suppress(StorageUnavailable):  # the sweep will
                storage.delete(outcome.leftovers)
    except Cancelled:
        log.info("attempt abandoned: the batch was cancelled or the task taken over")
    except attempts.TryAgain:
        raise
    except Exception as error:
        public = attempts.public_error(error, _what(key))
        log.warning("attempt failed: %s", public.code, exc_info=attempts.untold(error))
        again = attempts.try_again(public, chances)
        if again and attempts.surely(lambda: queue.store.end(task, "queued")):
            raise again from error
        _end(queue, task, Outcome("failed", _reason(public)))


def settle(
    queue: BatchQueue, batch_id: str, key: str, retries_left: int, late: bool = False
) -> None:
    """After a work-horse or its worker died: the task waits again, or has failed.

    ``late``: it was killed for its deadline.
    """
    batch = queue.store.get(batch_id)
    if batch is None or not batch.live:
        return
    if retries_left:
        queue.store.release(batch, key)
        return
    error = attempts.public_error(attempts.death(late), _what(key))
    _end(queue, Running(batch, key, ""), Outcome("failed", _reason(error)))


def _doing(key: str) -> Callable[[Work], Outcome | None]:
    return _TASKS.get(key) or _TASKS[key[:2]]


def _train(work: Work) -> Outcome:
    from gateway import training

    task = work.task
    try:
        result = training.run(
            task.batch.id,
            {**task.batch.spec.as_dict(), "user": task.batch.owner},
            work.storage,
            work.progress(task.batch.spec.model),
            note=lambda state: work.queue.store.keep(task.batch.id, state),
            settings=work.settings,
        )
    except training.HandedBack as stop:
        work.queue.store.end(task, "queued")
        raise attempts.TryAgain("told to stop", free=True, first=True) from stop
    return Outcome("done", result)


_TASKS: dict[str, Callable[[Work], Outcome | None]] = {
    LIST: listing.list_inputs,
    TRAIN: _train,
    "i-": rendering.blur,
    "s-": segments.blur_segment,
    "j-": segments.join,
}
_NO_FILE = {LIST: "the listing", TRAIN: "the training"}
_KINDS = {LIST: "list", TRAIN: "training", "i-": "input", "s-": "segment", "j-": "join"}


def _what(key: str) -> str:
    """What a task works on, in messages."""
    return _NO_FILE.get(key, attempts.FILE)


def _work(task: Running, settings: Settings, queue: BatchQueue, storage: Storage) -> Work:
    return Work(
        settings,
        queue,
        storage,
        task,
        progress=lambda name: TaskProgress(queue.store, task, name),
    )


def _end(queue: BatchQueue, task: Running, outcome: Outcome) -> bool:
    """Write the end, even when Redis is away for a minute; queue the join that it may open.

    Returns whether it was ours to end.
    """
    ours = attempts.surely(
        lambda: queue.store.end(task, outcome.ending, outcome.record, outcome.counted)
    )
    _open_join(queue, task.batch.id, task.key)
    return ours


def _open_join(queue: BatchQueue, batch_id: str, key: str) -> None:
    """After a segment, whose end may have been written by an attempt that then died: queue
    the join if it is its turn.
    """
    join = segments.join_of(key) if key.startswith("s-") else ""
    if join and queue.store.state(batch_id, join) == "queued":
        queue.ensure(batch_id, [join])


def _reason(error: MasqueradeError) -> dict[str, object]:
    return {"code": error.code, "message": str(error)}
