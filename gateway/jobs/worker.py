"""The worker: ``masquerade worker [--burst]``, or ``python -m gateway.jobs.worker``.

An RQ worker that forks a work-horse for each job. It differs from RQ's own in that a
job whose worker vanished is taken up within about half a minute, that one which was only
away for that long leaves its job alone when it is back, that a busy worker looks after the
others' jobs too, that it sweeps what was left behind, and that it hands its job back when
it is told to stop.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import logging.config
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from threading import Timer
from types import FrameType
from typing import Any

from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import AbandonedJobError
from rq.executions import Execution
from rq.job import Job as Message
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from gateway import traces
from gateway.jobs import attempts, batch_tasks, segments, tasks
from gateway.jobs.batch_queue import is_urgent, task_of
from gateway.jobs.batches import TRAIN
from gateway.jobs.leases import is_held, may_judge
from gateway.jobs.queue import JobQueue, ReliableQueue
from gateway.jobs.sweep import lost_tasks, sweep
from gateway.launch.manifest import HANDED_BACK
from gateway.logs import configuration, without_words
from gateway.settings import Settings
from gateway.storage import Storage

log = logging.getLogger(__name__)

_BEAT = 4  # seconds between two signs of life of a running job
_LEASE = 30  # seconds without one until the job counts as abandoned
_HURRY = 5.0  # seconds of silence of the store; its work-horse's signs of life wait for it
_WAITS_LESS = 15  # seconds by which RQ's wait for a message is shorter than its worker's life
_FAREWELL = 8.0  # seconds that a training has for its last words
_PAUSE = 1.0  # seconds between two looks of a burst worker at what the others do
_PRELOAD = (
    *("cv2", "av", "numpy"),
    *("gateway.models", "gateway.pipelines.blur_image", "gateway.pipelines.blur_video"),
    "gateway.pipelines.segments",
)


class JobWorker(Worker):
    """RQ's worker with our queues, leases, hooks and sweep."""

    queue_class = ReliableQueue

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = JobQueue(settings)
        self._storage = Storage(settings, _HURRY)
        batch_tasks.inherited = batch_tasks.Tools.connect(settings)
        self._handing_back = self._trains = False
        self.nothing_left = False
        self._execution: Execution | None = None
        super().__init__(
            self._jobs.queues(),
            connection=self._jobs.redis,
            serializer=JSONSerializer,
            worker_ttl=_BEAT + _WAITS_LESS,
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

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: hand the job back to the queue and leave."""
        self._handing_back = True
        if self.horse_pid and self._trains:
            self.kill_horse(signal.SIGTERM)  # it keeps what it has learnt, and says so
            last = Timer(_FAREWELL, self._kill, [self.horse_pid])
            last.daemon = True
            last.start()
        elif self.horse_pid:
            self.kill_horse()
        super().request_stop(signum, frame)

    def _kill(self, horse: int) -> None:
        """Kill this very work-horse, if it is still there; 0 would be the worker's own group."""
        if horse == self.horse_pid:
            self.kill_horse()

    def prepare_execution(self, job: Message) -> Execution:
        """In the worker, before it forks."""
        self._execution = super().prepare_execution(job)
        return self._execution

    def execute_job(self, job: Message, queue: Queue) -> None:
        """Fork a work-horse and watch it to its end."""
        self._trains = is_training(job)
        task = list(job.args)
        segments.KEPT.turn_to(segments.video_of(*task) if len(task) == 2 else "")
        super().execute_job(job, queue)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Message, Queue] | None:
        """The next job; a burst worker (no ``timeout``) leaves when nobody has any, for a
        job in another's hands may come back or bring more.
        """
        while True:
            found: tuple[Message, Queue] | None = super().dequeue_job_and_maintain_ttl(
                timeout, max_idle_time
            )
            if found or timeout is not None:
                return found
            if self._jobs.idle() and not lost_tasks(self._jobs, self._settings):
                self.nothing_left = True
                return None
            time.sleep(_PAUSE)

    def setup_work_horse_signals(self) -> None:
        """The first thing that a work-horse does."""
        super().setup_work_horse_signals()
        attempts.die_with_parent(self.pid or 0)

    def prepare_job_execution(
        self,
        job: Message,
        remove_from_intermediate_queue: bool = False,  # noqa: ARG002
    ) -> None:
        """In the work-horse, right before the job. ``ReliableQueue`` always leaves a trace."""
        super().prepare_job_execution(job, remove_from_intermediate_queue=True)

    def maintain_heartbeats(self, job: Message, execution: Execution) -> None:
        """Called every few seconds while the work-horse works."""
        try:
            super().maintain_heartbeats(job, execution)
            super().run_maintenance_tasks()
        except RedisError as error:
            # The work-horse goes on; if Redis stays away the lease ends the attempt.
            log.warning("no heartbeat: %s", type(error).__name__)

    def clean_registries(self) -> None:
        """Give others' abandoned jobs to whoever comes next."""
        if may_judge(self.connection, _LEASE):
            super().clean_registries()

    def run_maintenance_tasks(self) -> None:
        """Between jobs: RQ's own registries, then our sweep."""
        if not self.horse_pid:
            segments.KEPT.turn_to("")
        super().run_maintenance_tasks()
        sweep(self._jobs, self._storage, self._settings)

    def handle_job_success(
        self,
        job: Message,
        queue: Queue,
        started_job_registry: StartedJobRegistry,
        execution: Execution,
    ) -> None:
        """The end of an attempt, unless its job is another's by now."""
        if self._still_has(job, execution):
            super().handle_job_success(job, queue, started_job_registry, execution)

    def handle_job_failure(
        self,
        job: Message,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """The same for one that failed. RQ keeps why beside the message: not in words, which
        name the user's files.
        """
        if error := sys.exc_info()[1]:
            exc_string = without_words(error)
        if self._still_has(job, execution):
            super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)

    def _still_has(self, job: Message, execution: Execution | None) -> bool:
        """Whether an attempt that ends still has its job; if not, the job is let go."""
        if is_held(job, execution):
            return True
        log.info("an attempt whose job was given to another has ended")
        self._stopped_job_id = None
        with self.connection.pipeline() as put:
            self.cleanup_execution(job, put, execution)
            if not self.connection.hexists(job.key, "data"):
                put.delete(job.key)  # nothing but the time of this attempt's end
            put.execute()
        return False

    def _horse_died(self, message: Message, *_: Any) -> None:
        if not is_held(message, self._execution):
            return
        late = bool(
            message.started_at
            and message.ended_at
            and message.timeout
            and (message.ended_at - message.started_at).total_seconds() > message.timeout
        )
        if late:
            message.retries_left = 0
        handed_back = self._handing_back and not late
        _put_back(message, free=handed_back, first=handed_back or None)
        self._settle(message, late)

    def _attempt_ended(
        self, message: Message, kind: type, error: BaseException | None = None, *_: Any
    ) -> bool:
        """After an exception, or when another worker's job is found abandoned."""
        mine = not issubclass(kind, AbandonedJobError)
        if mine and not is_held(message, self._execution):
            return True
        if isinstance(error, attempts.TryAgain):  # the record is settled
            # Here, out of the attempt's deadline; who has the fault waits, not who takes over.
            if error.pause:
                time.sleep(error.pause)
                message.meta[attempts.WAITED] = message.meta.get(attempts.WAITED, 0.0) + error.pause
            _put_back(message, error.free, error.first)
        else:
            _put_back(message)
            self._settle(message, late=False)
        return True

    def _settle(self, message: Message, late: bool) -> None:
        left, given = message.retries_left or 0, message.args
        if len(given) == 1:
            tasks.settle(self._jobs, self._storage, given[0], left, late)
        else:
            batch_tasks.settle(self._jobs.batches, given[0], given[1], left, late)


def preload(tracing: bool = False) -> None:
    """Do once what else every work-horse would."""
    tempfile.gettempdir()  # chosen once and for all: Python passes a full folder over
    for name in (*_PRELOAD, *(traces.PACKAGES if tracing else ())):
        importlib.import_module(name)
    gc.freeze()  # a collection in a work-horse would copy all of this memory


def is_training(message: Message) -> bool:
    """Whether this trains a model."""
    return list(message.args)[1:] == [TRAIN]


def _put_back(message: Message, free: bool = False, first: bool | None = None) -> None:
    """RQ is about to try it again, if that is left to it.

    free: not at the job's expense. first: next or last; None: where its kind belongs, for RQ
    would go on with what was said of an earlier attempt.
    """
    if free:
        message.retries_left = (message.retries_left or 0) + 1
    else:
        message.meta[attempts.FAILED] = message.meta.get(attempts.FAILED, 0) + 1
    if first is None:
        first = is_urgent(task_of(message.id)[1])
    message.enqueue_at_front_on_retry = first


def main(argv: Sequence[str] | None = None) -> int:
    """Work until told to stop, or in a burst until nothing is left to do."""
    parser = argparse.ArgumentParser(prog="masquerade worker", description=main.__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv).burst)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--burst", action="store_true", help="leave when no job is left in anybody's hands"
    )


def run(burst: bool = False) -> int:
    """One worker's life; 0 when it ended as it should."""
    logging.config.dictConfig(configuration())
    settings = Settings.from_env()
    preload(bool(settings.traces))
    worker = JobWorker(settings)
    worker.work(burst=burst, logging_level="WARNING")
    told = worker._stop_requested or worker._shutdown_requested_date
    if told:
        return HANDED_BACK if burst else 0
    return 0 if worker.nothing_left else 1


if __name__ == "__main__":
    sys.exit(main())
