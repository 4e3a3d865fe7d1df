"""Whether the gateway was told to stop.

First it drains: it says that it is not ready and goes on serving, until nobody sends it
anything any more. Then it stops: what only waits and watches comes to an end.
"""

from __future__ import annotations

import mmap

_begun = False
# One byte that the master shares with every worker that it forks.
_draining = mmap.mmap(-1, 1)


def drain() -> None:
    """The gateway drains, in all its processes."""
    _draining[0] = 1


def draining() -> bool:
    """Whether it does."""
    return bool(_draining[0])


def begin() -> None:
    """This process is stopping."""
    global _begun
    _begun = True


def begun() -> bool:
    """Whether it is."""
    return _begun
