"""What all attempts share: log line and span, what is left to them, what their failures mean.

An attempt is one try of a work-horse at a video, a task of a batch or a training.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from rq import get_current_job
from rq.exceptions import AbandonedJobError
from rq.timeouts import JobTimeoutException

from gateway import carry, traces
from gateway.errors import (
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
from gateway.settings import Settings
from gateway.storage import may_recover

log = logging.getLogger(__name__)

BACKOFF = (2, 10)  # seconds before the second and every later attempt
PAUSES = (2.0, 60.0)  # seconds, the first and the longest, between attempts while something is away
_FINISH_TRIES = 20
FAILED = "failed"  # in a message's meta: attempts that it has cost
WAITED = "waited"  # in a message's meta: seconds for which it has waited for what was away
FILE = "this file"
"""What most attempts work on, in messages."""
MODEL_PATIENCE = 30.0  # seconds to wait for a model that is away, before the attempt fails


class TryAgain(Exception):
    """Raised out of a task so that RQ queues its message again; the record says "queued".

    free: that costs no attempt. first: before all that wait, or behind them; None: where its
    kind belongs. pause: seconds until then.
    """

    def __init__(
        self, why: str, *, free: bool = False, first: bool | None = None, pause: float = 0.0
    ) -> None:
        super().__init__(why)
        self.free, self.first, self.pause = free, first, pause


@dataclass(frozen=True)
class Chances:
    """What a job has left: attempts after this one, and seconds that it may wait for what is
    away; ``waited`` of them are over. ``failed``: attempts that it has cost so far.
    """

    retries: int = 0
    patience: float = 0.0
    waited: float = 0.0
    failed: int = 0


@contextlib.contextmanager
def under_way(kind: str, name: str, settings: Settings) -> Iterator[Chances]:
    """Around an attempt in a work-horse: its log line and its span, under the id and in the
    trace of the request that asked for it. Yields what it has left, after a pause if one before
    it has failed.
    """
    message = get_current_job()
    meta = message.meta if message else {}
    retries = (message.retries_left or 0) if message else 0
    chances = Chances(retries, settings.job_patience, meta.get(WAITED, 0.0), meta.get(FAILED, 0))
    _back_off(chances.failed)
    carry.take(meta, name)
    traces.start(settings, "worker")
    begun, status = time.perf_counter(), "ended"
    try:
        with traces.span(f"job {kind}", "consumer", parent=meta):
            yield chances
    except BaseException:
        status = "broken off"
        raise
    finally:
        seconds = time.perf_counter() - begun
        log.info("attempt %s: %s", status, kind, extra={"ms": round(1000 * seconds, 1)})
        traces.flush()  # this process ends without more ado


def _back_off(failed: int) -> None:
    """Pause here, since RQ's intervals would need its scheduler process."""
    if failed:
        time.sleep(BACKOFF[min(failed, len(BACKOFF)) - 1])


def public_error(error: BaseException, what: str = FILE) -> MasqueradeError:
    """What a client is told of any exception; ``what`` was worked on."""
    if isinstance(error, MasqueradeError):
        return error
    if isinstance(error, JobTimeoutException):
        return DeadlineExceeded(f"the work on {what} took longer than the service allows")
    if isinstance(error, AbandonedJobError):
        damaged = "; it may be damaged" if what == FILE else ""
        return RendererFailed(f"the process that worked on {what} died{damaged}")
    if is_disk_full(error):
        return DiskFull("the server has no scratch space left; try again later")
    if is_out_of_memory(error):
        return TooLarge(f"the work on {what} needs more memory than the service has")
    return MasqueradeError(f"the work on {what} failed; the server's log says why")


def death(late: bool) -> Exception:
    """What ended an attempt that could not say it; ``late``: it was killed for its deadline."""
    return JobTimeoutException() if late else AbandonedJobError()


def try_again(error: MasqueradeError, chances: Chances) -> TryAgain | None:
    """How to go on after an error that may pass; None when it is the job's end.

    The pauses for what is away grow with what was waited already.
    """
    left = chances.patience - chances.waited
    if _is_away(error) and left > 0:
        shortest, longest = PAUSES
        pause = min(max(chances.waited, shortest), longest, left)
        return TryAgain(error.code, free=True, first=True, pause=pause)
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


def fd_path(file: IO[bytes]) -> str:
    """A path by which this process and others of its container can open an unlinked file."""
    file.flush()
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


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
