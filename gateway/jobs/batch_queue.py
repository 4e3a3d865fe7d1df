"""Handing a batch's tasks to workers: one RQ message each, in a queue behind the single jobs.

A message is a batch's id and a task's key. Its own id is made of both, so that a task cannot
wait twice, and whoever finds one missing may put it back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from redis import Redis
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job as Message
from rq.serializers import JSONSerializer

from gateway import carry
from gateway.access.owner import NO_SUCH_JOB
from gateway.errors import Conflict, NotFound
from gateway.jobs.batches import TRAIN, Batch, BatchStore, first_task
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
_WAITING = (b"queued", b"started", b"deferred", b"scheduled")


class BatchQueue:
    """Submits, cancels, retries and mends batches; raises ``QueueUnavailable``."""

    def __init__(self, settings: Settings, redis: Redis, rq: Queue, training: Queue) -> None:
        self.redis = redis
        self.rq, self.training = rq, training
        self.store = BatchStore(redis, settings.job_ttl)
        self._settings = settings

    def submit(self, spec: Spec, owner: str = "") -> Batch:
        """Queue a batch; the live one that asks for just the same is answered instead.

        Raises:
            Conflict: a live batch writes other things to the same output.
        """
        batch, _ = self.store.create(spec, self._settings.queue_name, owner)
        # Also for an old one: the first to submit it may have died right before this. One
        # that is done by now does nothing when its message comes again.
        self.ensure(batch.id, [first_task(spec)])
        return batch

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
                look = self.redis.pipeline(transaction=False)
                for key in chunk:
                    look.hget(self._message_key(batch_id, key), "status")
                missing = [
                    key
                    for key, status in zip(chunk, look.execute(), strict=True)
                    if status not in _WAITING
                ]
                if not missing:
                    continue
                put = self.redis.pipeline()
                put.delete(*(self._message_key(batch_id, key) for key in missing))
                for queue, keys in (
                    (self.rq, [key for key in missing if key != TRAIN]),
                    (self.training, [key for key in missing if key == TRAIN]),
                ):
                    messages = [self._message(batch_id, key) for key in keys]
                    queue.enqueue_many(messages, pipeline=put)
                put.execute()

    def mend(self, batch: Batch) -> int:
        """Queue again what waits or runs by its record, yet is in no queue and no hands.

        Returns how many tasks that were. Nothing is lost this way when a process dies between
        a record and its message, or Redis has lost its last second.
        """
        mended = 0
        for chunk in _chunks(self.store.states(batch.id)):
            open_ = [key for key, state in chunk if state == "queued" or state[:8] == "running:"]
            with redis_errors():
                look = self.redis.pipeline(transaction=False)
                for key in open_:
                    look.hget(self._message_key(batch.id, key), "status")
                found = look.execute() if open_ else []
            lost = [k for k, status in zip(open_, found, strict=True) if status not in _WAITING]
            for key in lost:
                self.store.release(batch, key)
            self.ensure(batch.id, lost)
            mended += len(lost)
        return mended

    def idle(self) -> bool:
        """Whether no message of a batch waits or is in a worker's hands."""
        return is_idle(self.redis, [self.rq, self.training])

    def depth(self) -> int:
        """Tasks that wait for a worker."""
        with redis_errors():
            return int(self.redis.llen(self.rq.key)) + int(self.redis.llen(self.training.key))

    def _message(self, batch_id: str, key: str) -> Any:
        retries = self._settings.job_retries
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
            retry=Retry(max=retries) if retries else None,
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
