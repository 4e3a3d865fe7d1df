"""What goes along with a request wherever its work goes: its id, and its trace if there is one.

Over HTTP as headers, with a job's message as its ``meta``, into a pool's threads as the
context they would not have.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from gateway import logs, traces

REQUEST_ID = "X-Request-Id"

P = ParamSpec("P")
T = TypeVar("T")


def headers() -> dict[str, str]:
    """For a request to another process."""
    ident = logs.request_id.get()
    return {**({REQUEST_ID: ident} if ident else {}), **traces.carrier()}


def meta() -> dict[str, str]:
    """For a job's message."""
    ident = logs.request_id.get()
    return {**({"request_id": ident} if ident else {}), **traces.carrier()}


def take(meta: Mapping[str, str], job: str) -> None:
    """In a work-horse: go on under the id of the request that asked for this job.

    ``job``: a short name of the job; the id where its request is not known any more.
    """
    logs.job.set(job)
    logs.request_id.set(meta.get("request_id") or job)


def along(function: Callable[P, T]) -> Callable[P, T]:
    """The function, to be called once by another thread in the context of this one."""
    context = contextvars.copy_context()

    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return called
