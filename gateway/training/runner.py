"""Run one training to its end: restore → train → keep what it makes safe → result.

The script runs as a process group of its own, in a Python that has torch, with an
environment that holds no credentials; it dies with its runner. Told to stop, it writes a
last checkpoint, and a later attempt goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import DeadlineExceeded, StorageUnavailable, TrainingFailed
from gateway.settings import Settings
from gateway.storage import Storage
from gateway.training import arguments, outputs, status
from gateway.training.outputs import Outputs
from gateway.training.process import Trainer, python_with_torch

Progress = Callable[[str, int, int], object]
"""Called about once a second with ``"train"``, steps done and steps in all; it ends the
training by raising (``Cancelled``)."""

Note = Callable[[Mapping[str, Any]], object]
"""Called with the state, which :func:`gateway.training.view` can show, whenever it changes."""

_LOOK = 1.0  # seconds between two looks at whether to go on
_UPLOAD = 60.0  # seconds between two rounds of uploads, of some 50 MB
_GRACE = 6.0  # seconds for a last checkpoint
_FOLDER = "masquerade-train-"


class HandedBack(Exception):
    """The runner was told to stop: what is done is stored, the job is to be queued again."""


@dataclass(frozen=True)
class Order:
    """What is trained. ``gpus`` count only where ``device`` is ``gpu``."""

    model: str
    device: str = "cpu"
    gpus: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    user: str = outputs.ANONYMOUS

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Order:
        """Of a job's record, which may have other members too."""
        return cls(**{name: spec[name] for name in cls.__dataclass_fields__ if spec.get(name)})


def run(
    job_id: str,
    spec: Mapping[str, Any],
    storage: Storage,
    progress: Progress,
    *,
    note: Note | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Train, or go on with it; answers the result, which holds storage keys, never URLs.

    spec: see :meth:`Order.of`. The same ``job_id`` goes on where an attempt before stopped.

    Raises:
        HandedBack: SIGTERM came (noticed where this runs in the main thread).
        TrainingFailed: the script ended with an error; its log is stored.
        BadOption: the script does not take these parameters (any more).
        DeadlineExceeded, StorageUnavailable: as they say; whatever ``progress`` raises.
    """
    settings = settings or Settings.from_env()
    order = Order.of(spec)
    kept = Outputs.of(storage, order.user, order.device, order.model, job_id)
    if done := kept.result():
        return done
    with _told_to_stop() as stop, _folder() as folder:
        kept.restore(folder)
        training = _Training(order, folder, kept, progress, note)
        begun = time.monotonic()
        try:
            training.go(stop, settings)
        finally:
            training.keep()
        checkpoint = folder / Path(outputs.CHECKPOINT).name
        if not checkpoint.exists():
            raise TrainingFailed("the training script ended without a checkpoint")
        kept.upload(folder)  # nothing may be missing from a result
        result = {
            **training.state(),
            "user": outputs.plain_name(order.user),
            "params": dict(order.params),
            "seconds": round(time.monotonic() - begun, 1),
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "result": kept.prefix + outputs.RESULT,
        }
        kept.finish(result)
    return result


class _Training:
    """One attempt: the script, what it says, and what is stored of it meanwhile."""

    def __init__(
        self, order: Order, folder: Path, kept: Outputs, progress: Progress, note: Note | None
    ) -> None:
        self._order, self._folder, self._kept = order, folder, kept
        self._progress, self._note = progress, note
        self._said: dict[str, Any] = {"step": 0, "metrics": {}, "views_per_second": None}
        self._steps = arguments.total_steps(order.model, order.params)
        self._noted: dict[str, Any] = {}

    def go(self, stop: threading.Event, settings: Settings) -> None:
        """Run the script from its start to its end."""
        order = self._order
        command = arguments.command_line(order.model, order.params, order.device, self._folder)
        gpus = order.gpus if order.device == "gpu" else 0
        uploaded = time.monotonic()
        until = uploaded + settings.train_deadline
        with Trainer([python_with_torch(settings), *command], self._folder, gpus) as trainer:
            while trainer.runs():
                self._listen(trainer, _LOOK)
                now = time.monotonic()
                if stop.is_set():
                    trainer.stop(_GRACE)
                    raise HandedBack("told to stop")
                if now > until:
                    trainer.stop(_GRACE)
                    raise DeadlineExceeded("the training took longer than the service allows")
                if now - uploaded > _UPLOAD:
                    self.keep()
                    uploaded = now
            self._listen(trainer, 0)
            fault = trainer.fault()
        if fault:
            raise TrainingFailed(f"the training script {fault}")
        self._said["step"] = self._steps  # also where nothing was left to do

    def _listen(self, trainer: Trainer, patience: float) -> None:
        for line in trainer.lines(patience):
            self._said.update(status.read(line) or {})
        self._progress("train", self._said["step"], self._steps)
        state = self.state()
        if self._note and state != self._noted:
            self._noted = state
            self._note(state)

    def keep(self) -> None:
        """Store what is new; a bucket that is away for a while does not end the training."""
        with contextlib.suppress(StorageUnavailable):
            self._kept.upload(self._folder)

    def state(self) -> dict[str, Any]:
        """How it stands, with storage keys and no URLs."""
        order = self._order
        gpus = order.gpus if order.device == "gpu" else 0
        used = arguments.gpus_used(order.model, gpus)
        return {
            "model": order.model,
            "device": order.device,
            "gpus": gpus,
            **self._said,
            "steps": self._steps,
            "output": self._kept.prefix,
            "checkpoint": self._kept.key(outputs.CHECKPOINT),
            "logs": self._kept.logs(),
            "warnings": [f"the script uses {used} of the {gpus} GPUs"] if used < gpus else [],
        }


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM sets instead of ending this process."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for this attempt; those that killed attempts left behind are removed first."""
    above = Path(tempfile.gettempdir())
    for left in above.glob(f"{_FOLDER}*"):
        pid = left.name.removeprefix(_FOLDER).split("-")[0]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as folder:
        yield Path(folder)
