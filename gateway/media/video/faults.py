"""libav's errors as the service's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import av.error

from gateway.errors import BadMedia, DiskFull

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Our own mistakes, or the machine's: no upload can cause them.
_NOT_THE_FILE = {errno.ENOENT, errno.EACCES, errno.EMFILE, errno.ENFILE}


def is_disk_full(error: av.error.FFmpegError) -> bool:
    """Whether the output has no room left."""
    return error.errno in _NO_SPACE


@contextmanager
def translated(message: str) -> Iterator[None]:
    """Raise libav errors of the block as ``BadMedia(message)``, or ``DiskFull``."""
    try:
        yield
    except av.error.FFmpegError as error:
        if is_disk_full(error):
            raise DiskFull("no scratch space is left for this video; try again later") from error
        if error.errno in _NOT_THE_FILE:
            raise
        raise BadMedia(message) from error
