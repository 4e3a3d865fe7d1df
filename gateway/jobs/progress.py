"""How far a job is: from stage counts to one fraction, a rate and an ETA."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.errors import Cancelled, QueueUnavailable
from gateway.jobs.batches import BatchStore, Running
from gateway.jobs.store import Job, JobStore

# The part of the whole that each stage takes, as (start, end) of the overall fraction.
_SPANS = {
    "fetch": (0.0, 0.03),
    "analyse": (0.03, 0.55),
    "render": (0.55, 0.97),
    "store": (0.97, 1.0),
}
_WHOLE = (0.0, 1.0)  # of the stages that are a task by themselves
_IN_FRAMES = ("analyse", "render", "join")


class Progress:
    """Called with (stage, done, total) as often as the work likes; writes now and then.

    ``done`` and ``total`` are frames while analysing and rendering, bytes while fetching.

    Raises:
        Cancelled: the job was cancelled, or given to another worker.
    """

    every = 0.25  # seconds

    def __init__(
        self, store: JobStore, job: Job, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begin(lambda view: store.progress(job, view), clock)
        self._frames = int(job.progress.get("frames_total", 0))

    def _begin(self, tell: Callable[[dict[str, Any]], bool], clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._frames = 0
        self._stage = ""
        self._begun = self._stage_begun = self._written = clock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note it, unless the last note is too young."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._stage_begun = stage, now
        elif now - self._written < self.every:
            return
        self._written = now
        try:
            mine = self._tell(self._view(stage, done, total, now))
        except QueueUnavailable:
            return  # Redis is away for a moment: no reason to lose hours of rendering
        if not mine:
            raise Cancelled("the job was cancelled")

    def _view(self, stage: str, done: int, total: int, now: float) -> dict[str, Any]:
        in_frames = stage in _IN_FRAMES
        if in_frames and total:
            self._frames = total
        start, end = _SPANS.get(stage, _WHOLE)
        fraction = start + (end - start) * (min(done / total, 1.0) if total else 0.0)
        spent, worked = now - self._stage_begun, now - self._begun
        eta = worked * (1 - fraction) / fraction if fraction > 0.01 and worked > 1 else None
        return {
            "stage": stage,
            "frames_done": done if in_frames else self._frames if stage == "store" else 0,
            "frames_total": self._frames,
            "fraction": round(fraction, 4),
            "fps": round(done / spent, 2) if in_frames and spent > 0.2 else None,
            "eta_seconds": None if eta is None else round(eta, 1),
        }


class TaskProgress(Progress):
    """The same for a task of a batch; ``name`` is the input it works on."""

    every = 1.0  # there may be hundreds of them

    def __init__(
        self,
        store: BatchStore,
        task: Running,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        begun = time.time()
        self._begin(
            lambda view: store.note(task, {"name": name, "since": round(begun, 1), **view}), clock
        )
