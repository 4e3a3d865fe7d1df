"""Files that appear whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PART = ".*.part"
"""What the name of a file that is not whole yet looks like."""


@contextmanager
def replacing(target: Path, parts: Path | None = None) -> Iterator[BinaryIO]:
    """A file that takes the target's place at once when the block succeeds, or never was.

    A process that is killed leaves ``.<hex>.part`` in the folder ``parts``; beside the target
    where none is given, or it is on another file system.
    """
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    if parts is not None:
        parts.mkdir(parents=True, exist_ok=True)
        if parts.stat().st_dev == folder.stat().st_dev:
            folder = parts
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        with part.open("xb") as file:
            yield file
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
