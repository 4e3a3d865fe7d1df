"""What objects are called: uploads, results, rigs, motions, work of batches.

Keys of ours are ``uploads/<token>``, ``motions/<token>`` and, under ``results/<token>/``,
``rigs/<token>/`` and ``work/<token>/``, plain names; a token has 192 random bits and no
such key carries a user's file name. Where clients have API keys, the tokens of uploads, motions
and rigs follow their owner's mark (:mod:`gateway.access.owner`). Batches read and write keys of
their owner's choice.
"""

from __future__ import annotations

import re
import secrets

from gateway.access.owner import own_key
from gateway.errors import NotFound

UPLOADS = "uploads/"
RESULTS = "results/"
RIGS = "rigs/"
MOTIONS = "motions/"
WORK = "work/"
OURS = (UPLOADS, RESULTS, RIGS, MOTIONS, WORK)
"""Prefixes that are nobody's input or output."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def new_token() -> str:
    """An unguessable name: 24 random bytes as 32 URL-safe characters."""
    return secrets.token_urlsafe(24)


def is_token(text: str) -> bool:
    """Whether this may be one of :func:`new_token`."""
    return _TOKEN.fullmatch(text) is not None


def upload_key(upload_id: str) -> str:
    """The key behind an upload id of the present owner's.

    Raises:
        NotFound: not an id that we ever gave out, so no look-up is tried.
    """
    if not is_token(upload_id):
        raise NotFound("no such upload; ask POST /v1/uploads for one")
    return own_key(UPLOADS, upload_id)
