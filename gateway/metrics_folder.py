"""Where a gateway's processes count together: a folder of mapped files.

In memory where there is such a place: a mapped file that a full disk has no room for
kills the process that counts in it. Free of prometheus_client, which reads its
environment when it is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "masquerade-metrics-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp, for us alone


def create() -> str:
    """A new folder, for as long as this process or a child of its lives."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for old in place.glob(f"{PREFIX}*"):
        _remove_if_abandoned(old)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    # Never closed: the lock ends with the last process that has it.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    return folder


def _remove_if_abandoned(folder: Path) -> None:
    """Remove what a killed gateway has left behind."""
    with contextlib.suppress(OSError):  # somebody else's, or in use, or gone
        lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
