"""Where a training's outputs lie in the bucket: ``<user>/<device>/<model>/<timestamp>/``.

In it ``checkpoints/last.pt``, ``logs/`` (TensorBoard's event files, and what the script
printed) and, once it is done, ``result.json``. The timestamp, of the first attempt's start,
ends in a digest of the job's id, by which later attempts find the folder again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.storage import Storage

ANONYMOUS = "anonymous"
CHECKPOINT = "checkpoints/last.pt"
LOG = "logs/train.log"
RESULT = "result.json"

_RESERVED = {"uploads", "results", "rigs", "motions", "work"}
"""First parts of keys that have another meaning, and a sweep of their own."""
_LONGEST_NAME = 40
_TYPES = {".log": "text/plain; charset=utf-8", ".json": "application/json"}


def plain_name(text: str) -> str:
    """A user's name as one part of a key: lower case letters, digits, hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    return f"user-{name}" if name in _RESERVED else name or ANONYMOUS


@dataclass
class Outputs:
    """One training's folder in the bucket. ``prefix`` ends in a slash."""

    storage: Storage
    prefix: str
    _there: set[str] = field(default_factory=set)
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: Storage, user: str, device: str, model: str, job_id: str) -> Outputs:
        """The folder of an earlier attempt of this job, else a new one."""
        above = f"{plain_name(user)}/{device}/{model}/"
        mark = "-" + hashlib.sha256(job_id.encode()).hexdigest()[:8]
        for item in storage.list(above):
            folder = item.key.removeprefix(above).split("/")[0]
            if folder.endswith(mark):
                prefix = f"{above}{folder}/"
                there = {i.key.removeprefix(prefix) for i in storage.list(prefix)}
                return cls(storage, prefix, there)
        return cls(storage, f"{above}{datetime.now(UTC):%Y%m%dT%H%M%SZ}{mark}/")

    def key(self, name: str) -> str | None:
        """The storage key of an output, None while there is none."""
        return self.prefix + name if name in self._there else None

    def logs(self) -> list[str]:
        """The storage keys of all logs."""
        return sorted(self.prefix + name for name in self._there if name.startswith("logs/"))

    def result(self) -> dict[str, Any] | None:
        """What an attempt before this one ended with, None if none came to its end."""
        if RESULT not in self._there:
            return None
        text = io.BytesIO()
        self.storage.fetch(self.prefix + RESULT, text)
        return dict(json.loads(text.getvalue()))

    def finish(self, result: dict[str, Any]) -> None:
        """Store the result: from now on this training is done."""
        text = json.dumps(result, indent=2, ensure_ascii=False).encode()
        self.storage.put(self.prefix + RESULT, io.BytesIO(text), _TYPES[".json"])
        self._there.add(RESULT)

    def restore(self, folder: Path) -> None:
        """Bring what a later attempt goes on with into its folder."""
        for name in (CHECKPOINT, LOG):
            if name in self._there:
                with (folder / Path(name).name).open("wb") as file:
                    self.storage.fetch(self.prefix + name, file)

    def upload(self, folder: Path) -> None:
        """Store each checkpoint and log of the folder that changed since it was stored last."""
        for path in sorted(folder.iterdir()):
            name = _place(path.name)
            if not name:
                continue
            with path.open("rb") as file:  # the file that is renamed over it stays apart
                stat = path.stat()
                version = stat.st_size, stat.st_mtime_ns
                if self._known.get(name) == version:
                    continue
                kind = _TYPES.get(path.suffix, "application/octet-stream")
                self.storage.put(self.prefix + name, file, kind, path.name)
            self._known[name] = version
            self._there.add(name)


def _place(name: str) -> str | None:
    if name == Path(CHECKPOINT).name:
        return CHECKPOINT
    return f"logs/{name}" if name == Path(LOG).name or name.startswith("events.out.") else None
