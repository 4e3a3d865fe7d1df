"""Handing jobs to workers and taking them back: RQ behind our own records.

A message on the queue is a job id and, as its ``meta``, which request asked for it, in JSON
(nothing is unpickled).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry as ConnectionRetry
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import DequeueTimeout, InvalidJobOperation, NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as Message
from rq.serializers import JSONSerializer

from gateway import carry
from gateway.access.owner import NO_SUCH_JOB
from gateway.errors import NotFound
from gateway.jobs.batch_queue import BatchQueue, is_idle, is_urgent, task_of
from gateway.jobs.store import Job, JobStore, redis_errors
from gateway.settings import Settings
from gateway.training.process import can_train

log = logging.getLogger(__name__)

_ON_THE_WAY = 10  # seconds from the queue to a work-horse, at the very most
_DRIVER = DriverInfo()  # reads the package's metadata: once, not in every work-horse
_FRONT = 200  # messages of a queue among which the one that waits longest is looked for
_GLANCE = 1  # seconds between two looks at the queues that are not the first


def connect(settings: Settings) -> Redis:
    """A Redis client that gives up within seconds; worker processes raise its time-out."""
    return Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=1.5,
        socket_timeout=3.0,
        health_check_interval=30,
        retry=ConnectionRetry(ExponentialBackoff(cap=0.5, base=0.1), 1),
        retry_on_error=[RedisConnectionError],
        driver_info=_DRIVER,
    )


@dataclass(frozen=True)
class Load:
    """Of one queue: messages that wait, tasks at work, and the age in s of the oldest to wait."""

    waiting: int
    running: int
    oldest: float


class _Hands(IntermediateQueue):
    """Messages on their way to a work-horse. One whose worker died just then goes back to the
    front of the queue after a few seconds; RQ would call it a failure after a minute.
    """

    def cleanup(self, worker: Any, queue: Queue) -> None:  # noqa: ARG002
        """Put back what has been on its way for too long."""
        for message in self.get_job_ids():
            if message in queue.started_job_registry:
                continue
            seen = self.get_first_seen_key(message)
            if self.connection.set(seen, 1, nx=True, ex=2 * _ON_THE_WAY):
                continue
            if int(self.connection.ttl(seen)) > _ON_THE_WAY:
                continue
            found = queue.fetch_job(message)
            with self.connection.pipeline() as put:
                put.lrem(self.key, 1, message)
                put.delete(seen)
                if found is not None and found.is_queued:
                    put.lpush(queue.key, message)
                put.execute()


class ReliableQueue(Queue):
    """RQ's queue, whose messages are at no moment in a dead worker's memory only.

    RQ sees to that for workers of one queue; this does so for several, the first of them
    first. Its maintenance lock is not kept for 15 minutes by a worker that was killed.
    """

    def acquire_maintenance_lock(self) -> bool:
        """Whether this worker is the one that tidies up now."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=30))

    @property
    def intermediate_queue(self) -> IntermediateQueue:
        """What a worker has taken and not yet begun."""
        return _Hands(self.key, connection=self.connection)

    @classmethod
    def dequeue_any(  # type: ignore[override]
        cls, queues: Iterable[Queue], timeout: int | None, connection: Redis, **how: Any
    ) -> tuple[Message, Queue] | None:
        """The next message of the first queue that has one.

        Raises:
            DequeueTimeout: none came within ``timeout`` seconds (None: does not wait).
        """
        queues = list(queues)
        until = time.monotonic() + (timeout or 0)
        while True:
            for queue in queues:
                if found := cls._take(queue, connection.lmove(*_ends(queue)), connection, how):
                    return found
            if timeout is None:
                return None
            if time.monotonic() >= until:
                raise DequeueTimeout(timeout, [queue.key for queue in queues])
            first = queues[0]
            message = connection.blmove(*_ends(first), timeout=_GLANCE)
            if found := cls._take(first, message, connection, how):
                return found

    @classmethod
    def _take(
        cls, queue: Queue, message: Any, connection: Redis, how: Mapping[str, Any]
    ) -> tuple[Message, Queue] | None:
        while message is not None:
            found = cls._fetch_dequeued_job(connection, queue.key, message.decode(), **how)
            if found is not None:
                return found
            # Its task was cancelled: on to the next.
            connection.lrem(queue.intermediate_queue_key, 1, message)
            message = connection.lmove(*_ends(queue))
        return None


def training_queue(settings: Settings) -> str:
    """The queue that training jobs wait in."""
    return f"{settings.queue_name}-train"


def _ends(queue: Queue) -> tuple[str, str]:
    return queue.key, queue.intermediate_queue_key


class JobQueue:
    """Submits, cancels and counts jobs; raises ``QueueUnavailable`` when Redis is away."""

    def __init__(self, settings: Settings, redis: Redis | None = None) -> None:
        self.redis = redis or connect(settings)
        self.store = JobStore(self.redis, settings.job_ttl)
        self._settings = settings
        self.rq = self._named(settings.queue_name)
        self.batches = BatchQueue(
            settings,
            self.redis,
            self._named(f"{settings.queue_name}-batch"),
            self._named(training_queue(settings)),
        )

    def submit(
        self, original: str, options: Mapping[str, Any], frames: int = 0, owner: str = ""
    ) -> Job:
        """Queue the blurring of a stored video; ``frames`` is an estimate for its progress.

        Raises:
            Conflict: a live job already works on this original.
        """
        job = self.store.create(original, options, frames, owner)
        settings = self._settings
        try:
            with redis_errors():
                self.rq.enqueue_call(
                    "gateway.jobs.tasks.blur_video_job",
                    args=(job.id,),
                    job_id=job.id,
                    description="blur a video",
                    timeout=settings.video_deadline,
                    result_ttl=settings.job_ttl,
                    failure_ttl=settings.job_ttl,
                    # At once: RQ's intervals would need its scheduler process. The task
                    # itself pauses before it tries again.
                    retry=Retry(max=settings.job_retries) if settings.job_retries else None,
                    on_stopped=Callback("gateway.jobs.tasks.clean_after_stop"),
                    meta=carry.meta(),
                )
        except Exception:
            with contextlib.suppress(Exception):
                self.store.fail(job, "queue-unavailable", "the job could not be queued")
            raise
        return job

    def get(self, job_id: str) -> Job:
        """The job, or ``NotFound``."""
        job = self.store.get(job_id)
        if job is None:
            raise NotFound(NO_SUCH_JOB)
        return job

    def cancel(self, job: Job) -> bool:
        """Stop a live job: out of the queue, or its work-horse killed, even a hung one."""
        if not self.store.cancel(job.id):
            return False
        with redis_errors():
            try:
                message = self.message(job.id)
                if message is None:
                    return True
                if message.is_started:
                    send_stop_job_command(self.redis, job.id, JSONSerializer)
                else:
                    message.delete()
            except (InvalidJobOperation, NoSuchJobError):
                log.info("a cancelled job ended by itself")
        return True

    def forget(self, job: Job) -> None:
        """Remove a finished job's record and its message."""
        self.store.forget(job)
        with redis_errors():
            message = self.message(job.id)
            if message is not None and not message.is_started:
                message.delete()

    def message(self, job_id: str) -> Message | None:
        """RQ's side of a job, None when RQ does not know it (any more)."""
        try:
            return Message.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def depth(self) -> int:
        """Jobs that wait for a worker."""
        with redis_errors():
            return int(self.redis.llen(self.rq.key))

    def _named(self, name: str) -> ReliableQueue:
        return ReliableQueue(name, connection=self.redis, serializer=JSONSerializer)

    def load(self) -> dict[str, Load]:
        """How much there is to do, by kind of job."""
        kinds = {"video": self.rq, "batch": self.batches.rq, "training": self.batches.training}
        with redis_errors():
            look = self.redis.pipeline(transaction=False)
            for queue in kinds.values():
                look.llen(queue.key)
                look.zcard(queue.started_job_registry.key)
                look.lrange(queue.key, 0, _FRONT - 1)
            rows = look.execute()
            loads = {}
            for n, name in enumerate(kinds):
                waiting, running, front = rows[3 * n : 3 * n + 3]
                loads[name] = Load(waiting, running, self._oldest(front))
        return loads

    def _oldest(self, front: Sequence[bytes]) -> float:
        """Seconds that the longest of these, which are next, has been waiting.

        Either the very first has, or the first of those that were not put before others.
        """
        usual = (each for each in front if not is_urgent(task_of(each.decode())[1]))
        return max(map(self._age, {*front[:1], *islice(usual, 1)}), default=0.0)

    def _age(self, message: bytes) -> float:
        since: Any = self.redis.hget(Message.key_for(message.decode()), "enqueued_at")
        if since is None:
            return 0.0
        begun = datetime.fromisoformat(since.decode())
        return max((datetime.now(UTC) - begun).total_seconds(), 0.0)

    def idle(self) -> bool:
        """Whether no message waits or is in a worker's hands."""
        return is_idle(self.redis, self.queues())

    def queues(self) -> list[Queue]:
        """What a worker listens to, the first one first.

        Not to trainings where there is no torch, nor where a launcher makes workers for them,
        whose ``queue_name`` is :func:`training_queue`.
        """
        trains = self._settings.launcher == "local" and can_train(self._settings)
        return [self.rq, self.batches.rq, *([self.batches.training] if trains else [])]

    def ready(self) -> str | None:
        """None when Redis answers, else why not."""
        try:
            self.redis.ping()
        except RedisError as error:
            return f"Redis does not answer ({type(error).__name__})"
        return None
