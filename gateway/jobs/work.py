"""A task in hand: what it is done with, and what comes of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

from gateway.jobs.batch_queue import BatchQueue
from gateway.jobs.batches import Ending, Running
from gateway.jobs.open_tree import open_tree
from gateway.jobs.tree import Note, Tree
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings
from gateway.storage import Storage

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How a task ended, what to remember of it, and what it adds to the batch's counters.

    leftovers: keys of our bucket that nobody needs once the end is written.
    """

    ending: Ending
    record: Mapping[str, Any] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    leftovers: Sequence[str] = ()


@dataclass(frozen=True)
class Work:
    """A task, and everything that is needed for it. ``progress`` makes one for a name."""

    settings: Settings
    queue: BatchQueue
    storage: Storage
    task: Running
    progress: Callable[[str], Told]

    @cached_property
    def source(self) -> Tree:
        """The batch's input."""
        return open_tree(self.task.batch.spec.input, self.settings, self.storage)

    @cached_property
    def target(self) -> Tree:
        """The batch's output."""
        return open_tree(self.task.batch.spec.output, self.settings, self.storage)

    @property
    def options(self) -> BlurOptions:
        """How faces are to be hidden."""
        return BlurOptions(**self.task.batch.spec.options)

    def note(self, version: str) -> Note:
        """What a result remembers of the version it was made from."""
        return {"masquerade-source": version, "masquerade-options": self.task.batch.spec.digest}

    def has(self, name: str, version: str) -> bool:
        """Whether the output has this result of that version, with its report if it is wanted."""
        wanted = [name, _report_name(name)] if self.task.batch.spec.report else [name]
        return all(self.target.note(each) == self.note(version) for each in wanted)

    def store(
        self, name: str, body: BinaryIO, content_type: str, note: Note, report: Mapping[str, Any]
    ) -> None:
        """Put a result, and before it its report if that is wanted."""
        if self.task.batch.spec.report:
            text = json.dumps(report, separators=(",", ":")).encode()
            self.target.put(_report_name(name), io.BytesIO(text), "application/json", note)
        self.target.put(name, body, content_type, note)


def _report_name(result: str) -> str:
    return f"{result}.report.json"
