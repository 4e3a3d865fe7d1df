"""Handing jobs to workers and taking them back: RQ behind our own records.

A message on the queue is a job id and nothing else, as JSON (nothing is unpickled).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry as ConnectionRetry
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job as Message
from rq.serializers import JSONSerializer

from gateway.errors import NotFound
from gateway.jobs.store import Job, JobStore, redis_errors
from gateway.settings import Settings

log = logging.getLogger(__name__)


def connect(settings: Settings) -> Redis:
    """A Redis client that gives up within seconds; worker processes raise its time-out."""
    return Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=1.5,
        socket_timeout=3.0,
        health_check_interval=30,
        retry=ConnectionRetry(ExponentialBackoff(cap=0.5, base=0.1), 1),
        retry_on_error=[RedisConnectionError],
    )


class _Queue(Queue):
    """RQ's queue, with a maintenance lock that a killed worker does not keep for 15 minutes."""

    def acquire_maintenance_lock(self) -> bool:
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=30))


class JobQueue:
    """Submits, cancels and counts jobs; raises ``QueueUnavailable`` when Redis is away."""

    def __init__(self, settings: Settings, redis: Redis | None = None) -> None:
        self.redis = redis or connect(settings)
        self.store = JobStore(self.redis, settings.job_ttl)
        self._settings = settings
        self.rq = _Queue(settings.queue_name, connection=self.redis, serializer=JSONSerializer)

    def submit(self, original: str, options: Mapping[str, Any], frames: int = 0) -> Job:
        """Queue the blurring of a stored video; ``frames`` is an estimate for its progress.

        Raises:
            Conflict: a live job already works on this original.
        """
        job = self.store.create(original, options, frames)
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
            raise NotFound("no such job; it was deleted, has expired or never was")
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

    def ready(self) -> str | None:
        """None when Redis answers, else why not."""
        try:
            self.redis.ping()
        except RedisError as error:
            return f"Redis does not answer ({type(error).__name__})"
        return None
