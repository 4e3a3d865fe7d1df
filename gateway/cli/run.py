"""Blur the planned files through the pod, several at a time, and account for each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Literal

from gateway.cli.plan import Item
from gateway.cli.show import Board
from gateway.client import Client, Job, Result
from gateway.errors import Cancelled, MasqueradeError, PodUnreachable
from gateway.media.names import with_extension
from gateway.replacing import replacing

# How far along a file is after each of its three parts.
_SENT, _RENDERED = 0.1, 0.9


class Stopped(Exception):
    """The run is being given up; raised in the threads that carry it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file. ``detail`` says why when it is not done."""

    item: Item
    state: Literal["done", "skipped", "failed", "stopped"]
    target: Path
    seconds: float = 0.0
    result: Result | None = None
    detail: str = ""


class Runner:
    """One ``masquerade blur``: its options, its threads and the jobs it has running.

    Public state after ``run``: ``unreachable`` (why, or None), ``interrupted``, and
    ``photos_kept``: this pod did not forget photos before their links expire.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, str],
        board: Board,
        *,
        workers: int = 2,
        report: bool = False,
        overwrite: bool = False,
        skip: bool = False,
        forget: bool = False,
        key: str = "",
    ) -> None:
        self.unreachable: str | None = None
        self.interrupted = False
        self.photos_kept = False
        self._url, self._key = url, key
        self._options, self._board = options, board
        self._workers, self._report, self._forget = workers, report, forget
        self._overwrite, self._skip = overwrite, skip
        self._client = Client(url, key=key, pause=self._pause)
        self._stop = Event()
        self._lock = Lock()
        self._jobs: set[str] = set()
        self._taken: set[Path] = set()

    def run(self, items: Sequence[Item]) -> list[Outcome]:
        """All outcomes, in the order of ``items``. Ctrl-C cancels what is running."""
        try:
            self._client.ping()
        except (MasqueradeError, PodUnreachable) as error:
            self.unreachable = f"no pod found: {error}"
            return [Outcome(item, "stopped", item.target) for item in items]
        with ThreadPoolExecutor(self._workers) as pool:
            work = [pool.submit(self._one, item) for item in items]
            try:
                # In slices, because a wait without end does not hear Ctrl-C everywhere.
                while wait(work, timeout=0.5).not_done:
                    pass
            except KeyboardInterrupt:
                self.interrupted = True
                self._give_up()
            return [future.result() for future in work]

    def _give_up(self) -> None:
        """Stop all threads; cancelled jobs end the event streams they listen to."""
        self._stop.set()
        with self._lock:
            running = list(self._jobs)
        if running:
            self._board.note(f"cancelling {len(running)} running on the pod …")
        for id in running:
            self._cancel(id)

    def _cancel(self, id: str) -> None:
        try:
            Client(self._url, key=self._key, patience=5.0).delete(id)
        except (MasqueradeError, PodUnreachable) as error:
            self._board.error(f"job {id} could not be cancelled: {error}")

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def _one(self, item: Item) -> Outcome:
        begun = time.monotonic()
        outcome = self._attempt(item, begun)
        self._board.finish(outcome)
        return outcome

    def _attempt(self, item: Item, begun: float) -> Outcome:
        if self._stop.is_set():
            return Outcome(item, "stopped", item.target)
        if self._skip and item.target.exists():
            return Outcome(item, "skipped", item.target, detail="exists already")
        try:
            result = self._render(item)
            target = self._claim(with_extension(item.target, result.content_type), item)
            if self._skip and target.exists():
                return Outcome(item, "skipped", target, detail="exists already")
            with replacing(target) as file:
                self._client.download(
                    result.url,
                    file,
                    got=lambda done, total: self._board.update(
                        item, _RENDERED + (1 - _RENDERED) * done / max(total, 1)
                    ),
                )
            if self._report:
                with replacing(target.with_name(target.name + ".report.json")) as file:
                    self._client.download(result.report_url, file)
            if self._forget and not self._client.delete(result.id) and result.kind == "image":
                self.photos_kept = True
        except Stopped:
            return Outcome(item, "stopped", item.target)
        except Cancelled:
            detail = "cancelled on the pod by someone else; run it again"
            state: Literal["stopped", "failed"] = "stopped" if self._stop.is_set() else "failed"
            return Outcome(item, state, item.target, detail=detail)
        except PodUnreachable as error:
            self.unreachable = str(error)
            self._stop.set()
            return Outcome(item, "failed", item.target, detail=str(error))
        except (MasqueradeError, OSError) as error:
            return Outcome(item, "failed", item.target, detail=str(error))
        return Outcome(item, "done", target, time.monotonic() - begun, result)

    def _render(self, item: Item) -> Result:
        """Send the file and stay with its job, if it becomes one, to the end."""
        answer = self._client.blur(
            item.source,
            self._options,
            sent=lambda done, total: self._board.update(item, _SENT * done / max(total, 1)),
        )
        if isinstance(answer, Result):
            return answer
        with self._running(answer.id):
            for job in self._client.watch(answer.id):
                self._board.update(
                    item,
                    _SENT + (_RENDERED - _SENT) * job.fraction,
                    fps=0.0 if job.finished else job.fps,
                    eta=job.eta_seconds,
                )
        return _finished(job)

    @contextmanager
    def _running(self, id: str) -> Iterator[None]:
        with self._lock:
            self._jobs.add(id)
        try:
            if self._stop.is_set():  # given up between the job's start and its registration
                self._cancel(id)
                raise Stopped
            yield
        finally:
            with self._lock:
                self._jobs.discard(id)

    def _claim(self, target: Path, item: Item) -> Path:
        """The final name, unless another input has it or it may not be replaced."""
        with self._lock:
            if target in self._taken:
                raise MasqueradeError(f"another input was already written to {target}")
            if target != item.target and target.exists() and not (self._overwrite or self._skip):
                raise MasqueradeError(f"{target} exists already; add --overwrite to replace it")
            if target.exists() and target.samefile(item.source):
                raise MasqueradeError(f"{target} is the source itself; give another -o")
            self._taken.add(target)
        return target


def _finished(job: Job) -> Result:
    if job.result:
        return job.result
    raise job.error or Cancelled("the job was cancelled")
