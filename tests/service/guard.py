"""Ends a pod whose tests were killed: pytest-xdist leaves its processes ten seconds to end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.pod import ROOT, Pod

DONE = b"done"


@contextlib.contextmanager
def guarded(home: Path, scratch: Path) -> Iterator[None]:
    """A pod of that folder lives no longer than this process, however that ends."""
    command = [sys.executable, "-m", "tests.service.guard", str(home), str(scratch)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    try:
        yield
    finally:
        guard.communicate(DONE)


def main(home: str, scratch: str) -> None:
    """Wait for the input to end; clean up if it did so without a word."""
    if sys.stdin.buffer.read() == DONE:
        return
    Pod(Path(home)).down()
    if Path(scratch).is_mount():
        subprocess.run(["umount", "--lazy", scratch], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
