"""Finding a batch's inputs, page by page: what a crash interrupts goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from gateway.errors import Cancelled, EmptyInput
from gateway.jobs.attempts import TryAgain
from gateway.jobs.tree import Entry
from gateway.jobs.work import Outcome, Work
from gateway.media.names import is_media

PAGE = 1000
"""Inputs that are noted and queued together."""
MOST_WAITING = 20_000
"""Tasks (3 KB of Redis each) beyond which the listing goes on when those have been done."""


def list_inputs(work: Work) -> Outcome:
    """Note every photo and video of the input and queue it; the cursor follows the queue.

    Raises:
        EmptyInput: there is none. Cancelled: the batch is over. TryAgain: enough wait for now.
    """
    store, batch = work.queue.store, work.task.batch
    tell = work.progress(batch.spec.input)
    found = batch.counters["total"]
    entries = _entries(work)
    while page := list(islice(entries, PAGE)):
        media = [_noted(entry) for entry in page if _is_input(entry)]
        waiting = store.add(batch.id, media)
        if waiting is None:
            raise Cancelled("the batch was cancelled")
        work.queue.ensure(batch.id, waiting)
        store.move_cursor(batch.id, page[-1].name)
        found += len(media)
        tell("list", found, 0)
        if work.queue.depth() > MOST_WAITING:
            store.end(work.task, "queued")
            raise TryAgain("paused", free=True, first=False)
    now = store.get(batch.id)
    if now is not None and not now.counters["total"]:
        raise EmptyInput(f"no photo or video lies under {batch.spec.input}")
    return Outcome("done", {"found": found})


def _entries(work: Work) -> Iterator[Entry]:
    """What lies in the input, but not what this batch writes into a part of it."""
    spec = work.task.batch.spec
    own = spec.output.removeprefix(spec.input) if spec.output.startswith(spec.input) else None
    for entry in work.source.entries(work.task.batch.cursor):
        if own is None or not entry.name.startswith(own):
            yield entry


def _is_input(entry: Entry) -> bool:
    """Whether it is for us to do, or, a folder that cannot be read, to tell."""
    path = PurePosixPath(entry.name)
    ours = is_media(path) or bool(entry.fault and entry.name.endswith("/"))
    return ours and not any(part.startswith(".") for part in path.parts)


def _noted(entry: Entry) -> dict[str, str | int]:
    noted: dict[str, str | int] = {"name": entry.name, "size": entry.size}
    return noted | {"fault": entry.fault} if entry.fault else noted
