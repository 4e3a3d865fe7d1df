"""Whose request this is, and whose a thing is.

With API keys everything belongs to the name whose key made it, and nobody else finds it. Jobs
say so in their records; what lies in the bucket lies under a key that holds its owner's mark,
so that an id of somebody else's leads nowhere. Without keys the owner is ''.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from typing import Protocol, TypeVar

from gateway.errors import NotFound

NO_SUCH_JOB = "no such job; it was deleted, has expired or never was"

owner: ContextVar[str] = ContextVar("owner", default="")
"""The name of the key that the present request came with."""


class Owned(Protocol):
    """A job's record."""

    @property
    def owner(self) -> str:
        """Whose it is."""


OwnedT = TypeVar("OwnedT", bound=Owned)


def own(job: OwnedT) -> OwnedT:
    """The job, if it is the present owner's.

    Raises:
        NotFound: it is another's, which is not told from one that never was.
    """
    if job.owner != owner.get():
        raise NotFound(NO_SUCH_JOB)
    return job


def own_key(prefix: str, token: str) -> str:
    """Where the present owner's thing of this id lies in the bucket."""
    return f"{prefix}{_mark(owner.get())}{token}"


def _mark(name: str) -> str:
    """Not the name itself: these keys are seen in links, which are passed on."""
    return hashlib.sha256(name.encode()).hexdigest()[:16] + "." if name else ""
