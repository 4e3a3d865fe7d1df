"""Handing a batch's tasks to workers: one RQ message each, in a queue behind the single jobs.

A message is a batch's id and a task's key. Its own id is made of both, so that a task cannot
wait twice, and whoever finds one missing may put it back. Inputs wait their turn; what ends a
video that was begun, or lets a batch begin, goes before them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import WatchError
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job as Message
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from gateway import carry
from gateway.access.owner import NO_SUCH_JOB
from gateway.errors import Conflict, NotFound
from gateway.jobs.batches import LIST, TRAIN, Batch, BatchStore, first_task, item_of
from gateway.jobs.spec import Spec
from gateway.jobs.store import redis_errors
from gateway.settings import Settings

log = logging.getLogger(__name__)

_CHUNK = 500
_GRACE = 120  # seconds between a training's own deadline and ours
_TASK = "gateway.jobs.batch_tasks.work"
# Seconds that RQ's dashboard shows a message that has ended; our records stay. Not 0 for those
# that went well: RQ then reads every attempt's record, and stumbles where a dead worker's is gone.
_SUCCESSES_KEPT, _FAILURES_KEPT = 10, 3600
_NOBODY = "no worker is running (masquerade worker)"
_NOBODY_TRAINS = (
    "no worker that runs can train: one that is started where torch is (make train-rigger sets it"
    " up, MASQUERADE_TRAIN_PYTHON names another place) will"
)
_WAITING = (b"queued", b"started", b"deferred", b"scheduled")


class BatchQueue:
    """Submits, cancels, retries and mends batches; raises ``QueueUnavailable``."""

    def __init__(self, settings: Settings, redis: Redis, rq: Queue, training: Queue) -> None:
        self.redis = redis
        self.rq, self.training = rq, training
        self.store = BatchStore(redis, settings.batch_ttl)
        self._settings = settings

    def submit(self, spec: Spec, owner: str = "") -> tuple[Batch, bool]:
        """Queue a batch, and True; the live one that asks for just the same, and False.

        Raises:
            Conflict: a live batch writes other things to the same output.
        """
        batch, new = self.store.create(spec, self._settings.queue_name, owner)
        # Also for an old one: the first to submit it may have died right before this. A task
        # that is done by now does nothing when its message comes again.
        self.ensure(batch.id, [first_task(spec)])
        return batch, new

    def get(self, batch_id: str) -> Batch:
        """The batch, or ``NotFound``."""
        batch = self.store.get(batch_id)
        if batch is None:
            raise NotFound(NO_SUCH_JOB)
        return batch

    def cancel(self, batch: Batch) -> bool:
        """Stop a live batch: nothing of it begins any more, what runs is killed."""
        if not self.store.cancel(batch.id):
            return False
        for keys in _chunks(self.store.states(batch.id)):
            waiting = [key for key, state in keys if state == "queued"]
            with redis_errors():
                # Their ids stay in the queue's list, where workers pass them over.
                if waiting:
                    self.redis.unlink(*(self._message_key(batch.id, key) for key in waiting))
                for key, state in keys:
                    if state.startswith("running:"):
                        self._stop(batch.id, key)
        return True

    def retry(self, batch: Batch) -> int:
        """Queue the dead letters again; returns how many.

        Raises:
            Conflict: it was cancelled, another one has its output, or nothing has failed.
        """
        again = self.store.retry(batch.id)
        if not again:
            raise Conflict("nothing of this job has failed")
        self.ensure(batch.id, again)
        return len(again)

    def forget(self, batch: Batch) -> None:
        """Remove an ended batch's record; its results stay where they are."""
        self.store.forget(batch)

    def ensure(self, batch_id: str, keys: Iterable[str]) -> None:
        """Queue those of these tasks that are in no queue and in no worker's hands."""
        for chunk in _chunks(keys):
            with redis_errors():
                while not self._put(batch_id, chunk):
                    pass  # somebody put one of them just now

    def _put(self, batch_id: str, keys: Sequence[str]) -> bool:
        """Queue the missing ones, unless anything about them changes meanwhile (False)."""
        with self.redis.pipeline() as put:
            put.watch(*(self._message_key(batch_id, key) for key in keys))
            known = self._known(batch_id, keys)
            missing = [key for key, is_known in zip(keys, known, strict=True) if not is_known]
            if not missing:
                return True
            put.multi()
            put.delete(*(self._message_key(batch_id, key) for key in missing))
            urgent = [key for key in reversed(missing) if is_urgent(key)]
            usual = [key for key in missing if not is_urgent(key)]
            queue = self.training if usual == [TRAIN] else self.rq
            messages = [self._message(batch_id, key) for key in (*urgent, *usual)]
            queue.enqueue_many(messages, pipeline=put)
            try:
                put.execute()
            except WatchError:
                return False
            return True

    def _known(self, batch_id: str, keys: Sequence[str]) -> list[bool]:
        """Which of these tasks are in a queue or in a worker's hands."""
        look = self.redis.pipeline(transaction=False)
        for key in keys:
            look.hget(self._message_key(batch_id, key), "status")
        return [status in _WAITING for status in look.execute()]

    def mend(self, batch: Batch) -> int:
        """Queue again what waits or runs by its record, yet is in no queue and no hands.

        Returns how many tasks that were. Nothing is lost this way when a process dies between
        a record and its message, or Redis has lost its last second.
        """
        lost, cursor = self.mend_part(batch, 0)
        while cursor:
            found, cursor = self.mend_part(batch, cursor)
            lost += found
        return lost

    def mend_part(self, batch: Batch, cursor: int) -> tuple[int, int]:
        """The same for about a thousand of its tasks.

        cursor: 0, then what the last call answered with; when that is 0 it was the last part.
        """
        cursor, states = self.store.some_states(batch.id, cursor)
        return sum(self._mend(batch, chunk) for chunk in _chunks(states)), cursor

    def _mend(self, batch: Batch, states: Sequence[tuple[str, str]]) -> int:
        open_ = [key for key, state in states if state == "queued" or state[:8] == "running:"]
        with redis_errors():
            known = self._known(batch.id, open_) if open_ else []
        lost = [key for key, is_known in zip(open_, known, strict=True) if not is_known]
        for key in lost:
            self.store.release(batch, key)
        self.ensure(batch.id, lost)
        return len(lost)

    def hindrance(self, batch: Batch) -> str | None:
        """Why a batch is not begun where nobody makes workers for it; None when one runs."""
        if batch.status != "queued" or self._settings.launcher != "local":
            return None
        queue = self.training if batch.kind == "training" else self.rq
        with redis_errors():
            listening = get_keys(queue)
            # Those of killed workers stay listed for a while, and have no record any more.
            if listening and self.redis.exists(*listening):
                return None
        return _NOBODY_TRAINS if batch.kind == "training" else _NOBODY

    def idle(self) -> bool:
        """Whether no message of a batch waits or is in a worker's hands."""
        return is_idle(self.redis, [self.rq, self.training])

    def depth(self) -> int:
        """Tasks that wait for a worker."""
        with redis_errors():
            return int(self.redis.llen(self.rq.key)) + int(self.redis.llen(self.training.key))

    def _message(self, batch_id: str, key: str) -> Any:
        retries, urgent = self._settings.job_retries, is_urgent(key)
        return Queue.prepare_data(
            _TASK,
            args=(batch_id, key),
            job_id=message_id(batch_id, key),
            description=f"{key.partition('-')[0]} of a batch",
            timeout=self._settings.train_deadline + _GRACE
            if key == TRAIN
            else self._settings.video_deadline,
            result_ttl=_SUCCESSES_KEPT,
            failure_ttl=_FAILURES_KEPT,
            retry=Retry(max=retries, enqueue_at_front=urgent) if retries else None,
            at_front=urgent,
            meta=carry.meta(),
        )

    def _stop(self, batch_id: str, key: str) -> None:
        try:
            send_stop_job_command(self.redis, message_id(batch_id, key), JSONSerializer)
        except (InvalidJobOperation, NoSuchJobError):
            log.info("a cancelled task ended by itself")

    @staticmethod
    def _message_key(batch_id: str, key: str) -> str:
        return str(Message.key_for(message_id(batch_id, key)))


def message_id(batch_id: str, key: str) -> str:
    """RQ's id of a task."""
    return f"{batch_id}-{key}"


def task_of(message: str) -> tuple[str, str]:
    """The batch and the key of a task, by RQ's id of it."""
    return message[:32], message[33:]


def is_urgent(key: str) -> bool:
    """Whether a task goes before those that wait: what lists, and all of a split video."""
    return key == LIST or bool(item_of(key))


def is_idle(redis: Redis, queues: Iterable[Queue]) -> bool:
    """Whether no message of these queues waits or is in a worker's hands."""
    with redis_errors():
        look = redis.pipeline(transaction=False)
        for queue in queues:
            look.llen(queue.key)
            look.llen(queue.intermediate_queue_key)
            look.zcard(queue.started_job_registry.key)
        return not any(look.execute())


def _chunks(items: Iterable[Any]) -> Iterator[Sequence[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
