"""Every error the service answers with: status, stable code, public message.

Code below the HTTP layer raises these; one boundary (``gateway.http.problems``)
turns them into ``application/problem+json`` (RFC 9457). The message says what is
wrong and what to do; internal detail goes to the log, never to the client.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class MasqueradeError(Exception):
    """Base of all errors with a public face.

    ``str(error)`` is the public message. ``retry_after`` (seconds) becomes the
    ``Retry-After`` header where the client should come back.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after: int | None = None

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class BadRequest(MasqueradeError):
    """The request itself is malformed: no file, broken JSON or base64."""

    status, code, title = 400, "bad-request", "Bad request"


class EmptyUpload(BadRequest):
    """The uploaded file has no bytes."""

    code, title = "empty-upload", "Empty upload"


class Unauthorized(MasqueradeError):
    """No API key where one is needed, or one that is nobody's."""

    status, code, title = 401, "unauthorized", "API key needed"


class NotFound(MasqueradeError):
    """No such job, upload or route."""

    status, code, title = 404, "not-found", "Not found"


class Forbidden(MasqueradeError):
    """A bucket or folder that the service, or its settings, do not let anybody at."""

    status, code, title = 403, "forbidden", "Forbidden"


class MethodNotAllowed(MasqueradeError):
    """The route exists, but not for this method."""

    status, code, title = 405, "method-not-allowed", "Method not allowed"


class Conflict(MasqueradeError):
    """The thing is in a state that does not allow this."""

    status, code, title = 409, "conflict", "Conflict"


class LengthRequired(MasqueradeError):
    """A body of undeclared length, from a key whose bytes are counted."""

    status, code, title = 411, "length-required", "Length required"


class TooLarge(MasqueradeError):
    """Over a limit: bytes, pixels, frames or seconds."""

    status, code, title = 413, "too-large", "Too large"


class UnsupportedMedia(MasqueradeError):
    """Not a format we read, or a content type we do not take."""

    status, code, title = 415, "unsupported-media", "Unsupported media"


class BadMedia(MasqueradeError):
    """A format we read, but this file is truncated, empty or inconsistent."""

    status, code, title = 422, "bad-media", "Unreadable media"


class BadOption(MasqueradeError):
    """An option has an unknown name or a value out of range."""

    status, code, title = 422, "bad-option", "Bad option"


class EmptyInput(MasqueradeError):
    """A prefix or folder without any photo or video."""

    status, code, title = 422, "empty-input", "Nothing to do"


class BadDrawing(MasqueradeError):
    """A drawing, mask or skeleton that no figure can be made of."""

    status, code, title = 422, "bad-drawing", "Unusable drawing"


class NoFigure(BadDrawing):
    """The picture shows no drawn figure."""

    code, title = "no-figure", "No figure found"


class BadMotion(MasqueradeError):
    """A BVH file or its configuration that no figure can be moved by."""

    status, code, title = 422, "bad-motion", "Unusable motion"


class Busy(MasqueradeError):
    """All places are taken; come back later."""

    status, code, title = 429, "busy", "Busy"
    retry_after = 2


class ClientGone(MasqueradeError):
    """The client has closed its connection; nobody will read this."""

    status, code, title = 499, "client-gone", "Client gone"


class LimitReached(MasqueradeError):
    """An API key has used up its requests or bytes for now."""

    status, code, title = 429, "limit-reached", "Limit reached"
    retry_after = 60


class ModelUnavailable(MasqueradeError):
    """The model server is down, restarting or not answering."""

    status, code, title = 503, "model-unavailable", "Model unavailable"
    retry_after = 5


class ModelFailed(ModelUnavailable):
    """The model is up and fails on what it was asked; clients see no difference."""


class RendererUnavailable(MasqueradeError):
    """No renderer process accepts connections."""

    status, code, title = 503, "renderer-unavailable", "Renderer unavailable"
    retry_after = 2


class StorageUnavailable(MasqueradeError):
    """The object store refuses or does not answer."""

    status, code, title = 503, "storage-unavailable", "Storage unavailable"
    retry_after = 5


class QueueUnavailable(MasqueradeError):
    """Redis refuses or does not answer."""

    status, code, title = 503, "queue-unavailable", "Queue unavailable"
    retry_after = 5


class LauncherUnavailable(MasqueradeError):
    """Kubernetes does not answer, or does not let the gateway start Jobs."""

    status, code, title = 503, "launcher-unavailable", "Launcher unavailable"
    retry_after = 10


class DiskFull(MasqueradeError):
    """No scratch space is left on this machine."""

    status, code, title = 503, "disk-full", "No scratch space"
    retry_after = 30


def is_disk_full(error: BaseException) -> bool:
    """Whether the system reports that no scratch space is left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no room for something; OpenCV says so with an error and code of its own."""
    return isinstance(error, MemoryError) or (
        type(error).__name__ == "error" and getattr(error, "code", None) == -4
    )


class RendererFailed(MasqueradeError):
    """The process that decoded or rendered this file died."""

    status, code, title = 422, "renderer-failed", "Rendering failed"


class TrainingFailed(MasqueradeError):
    """The training script ended with an error."""

    status, code, title = 422, "training-failed", "Training failed"


class DeadlineExceeded(MasqueradeError):
    """The work took longer than its limit."""

    status, code, title = 504, "deadline-exceeded", "Deadline exceeded"


class Cancelled(MasqueradeError):
    """The job was cancelled by its owner."""

    status, code, title = 409, "cancelled", "Cancelled"


class PodUnreachable(Exception):
    """A client found nobody who answers; ``str`` says where. Never an answer itself."""


def by_code() -> dict[str, type[MasqueradeError]]:
    """The error class of each stable code (to revive one from another process)."""
    found: dict[str, type[MasqueradeError]] = {}
    stack: list[type[MasqueradeError]] = [MasqueradeError]
    while stack:
        cls = stack.pop()
        found.setdefault(cls.code, cls)
        stack.extend(cls.__subclasses__())
    return found


def revive(code: str, message: str, retry_after: int | None = None) -> MasqueradeError:
    """Build the error that another process reported by ``code`` and ``message``."""
    return by_code().get(code, MasqueradeError)(message, retry_after=retry_after)
