"""The video worker: ``python -m gateway.jobs.worker``.

An RQ worker that forks a work-horse for each job. It differs from RQ's own in that a
job whose worker vanished is taken up within about half a minute, that a busy worker
looks after the others' jobs too, and that it sweeps what was left behind.
"""

from __future__ import annotations

import importlib
import logging
import logging.config
import sys
import tempfile
from typing import Any

from redis.exceptions import RedisError
from rq import Worker
from rq.executions import Execution
from rq.job import Job as Message
from rq.serializers import JSONSerializer

from gateway.jobs import tasks
from gateway.jobs.queue import JobQueue
from gateway.jobs.sweep import sweep
from gateway.logs import configuration
from gateway.settings import Settings
from gateway.storage import Storage

log = logging.getLogger(__name__)

_BEAT = 4  # seconds between two signs of life of a running job
_LEASE = 30  # seconds without one until the job counts as abandoned
_IDLE = 20  # seconds; RQ waits this less 15 for a message, then does its maintenance
_PRELOAD = ("cv2", "av", "numpy", "gateway.pipelines.blur_video")


class VideoWorker(Worker):
    """RQ's worker with our leases, hooks and sweep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = JobQueue(settings)
        self._storage = Storage(settings)
        super().__init__(
            [self._jobs.rq],
            connection=self._jobs.redis,
            serializer=JSONSerializer,
            worker_ttl=_IDLE,
            job_monitoring_interval=_BEAT,
            maintenance_interval=_BEAT,
            default_result_ttl=settings.job_ttl,
            log_job_description=False,
            work_horse_killed_handler=self._horse_died,
            exception_handlers=[self._attempt_ended],
        )

    def get_heartbeat_ttl(self, *_: Any, **__: Any) -> int:
        """Seconds of life that one heartbeat gives a running job."""
        return _LEASE

    def maintain_heartbeats(self, job: Message, execution: Execution) -> None:
        """Called every few seconds while the work-horse works."""
        try:
            super().maintain_heartbeats(job, execution)
            super().run_maintenance_tasks()
        except RedisError as error:
            # The work-horse goes on; if Redis stays away the lease ends the attempt.
            log.warning("no heartbeat: %s", type(error).__name__)

    def run_maintenance_tasks(self) -> None:
        """Between jobs: RQ's own registries, then our sweep."""
        super().run_maintenance_tasks()
        sweep(self._jobs, self._storage, self._settings)

    def _horse_died(self, message: Message, *_: Any) -> None:
        late = bool(
            message.started_at
            and message.ended_at
            and (message.ended_at - message.started_at).total_seconds()
            > self._settings.video_deadline
        )
        if late:
            message.retries_left = 0
        tasks.settle(self._jobs, self._storage, message.id, message.retries_left or 0, late)

    def _attempt_ended(self, message: Message, kind: type, *_: Any) -> bool:
        """After an exception, or when another worker's job is found abandoned."""
        if kind is not tasks.TryAgain:  # which has settled its record itself
            tasks.settle(
                self._jobs, self._storage, message.id, message.retries_left or 0, late=False
            )
        return True


def main() -> int:
    """Work until told to stop (SIGTERM lets the running job finish)."""
    logging.config.dictConfig(configuration())
    settings = Settings.from_env()
    tempfile.gettempdir()  # chosen once and for all: Python passes a full folder over
    for name in _PRELOAD:  # once here, instead of in every work-horse
        importlib.import_module(name)
    worker = VideoWorker(settings)
    worker.work(logging_level="WARNING")
    return 0 if worker._stop_requested or worker._shutdown_requested_date else 1


if __name__ == "__main__":
    sys.exit(main())
