"""Whether this process was told to stop: what only waits and watches then comes to an end."""

from __future__ import annotations

_begun = False


def begin() -> None:
    """The process is stopping."""
    global _begun
    _begun = True


def begun() -> bool:
    """Whether it is."""
    return _begun
