"""API keys: what they look like, how the service knows them, how they change as it runs.

The service holds SHA-256 hashes only. One pass of a fast hash is right here: a key is 256
random bits, so there is nothing to guess that a slow hash would have to protect, and a slow
one would hold the event loop for every request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.settings import PREFIX, Settings, SettingsError, rates_of

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORM = "NAME:SHA256 [rate=20/second;600/minute] [size=BYTES] [day=BYTES]"
_FRESH = 1.0  # seconds between two looks at the file's date


@dataclass(frozen=True)
class Key:
    """Who has a key, and what it may do. Several keys of one name are the same owner's.

    digest: SHA-256 of the key, hex. rate: requests, ``20/second;600/minute``; empty for no
    limit. size: bytes of one upload, and day: bytes sent in a day; 0 for no limit. None stands
    for the service's default.
    """

    name: str
    digest: str
    rate: str | None = None
    size: int | None = None
    day: int | None = None

    def __str__(self) -> str:
        """As :func:`parse` takes it."""
        given = {"rate": self.rate, "size": self.size, "day": self.day}
        words = [f"{name}={value}" for name, value in given.items() if value is not None]
        return " ".join([f"{self.name}:{self.digest}", *words])


def new_key() -> str:
    """A key: 32 random bytes, with a beginning by which leaked ones can be searched for."""
    return "mq_" + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """What the service keeps of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def parse(text: str) -> tuple[Key, ...]:
    """Entries with commas or line ends between them; ``#`` begins a comment.

    Raises:
        ValueError: an entry is of another form. It is not repeated: it may be a key.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    entries = [entry.strip() for line in lines for entry in line.split(",")]
    keys = tuple(_entry(n, entry) for n, entry in enumerate(filter(None, entries), 1))
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("the same key is there twice")
    return keys


def _entry(number: int, text: str) -> Key:
    head, *words = text.split()
    name, _, digest = head.partition(":")
    try:
        if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
            raise ValueError
        return Key(name, digest, **dict(_limits(words)))
    except (ValueError, TypeError):
        raise ValueError(f"entry {number} is not of the form {_FORM}") from None


def _limits(words: list[str]) -> Iterator[tuple[str, Any]]:
    names = [word.partition("=")[0] for word in words]
    if len(set(names)) < len(names):
        raise ValueError
    for word in words:
        name, _, value = word.partition("=")
        if name == "rate":
            yield name, ";".join(rates_of(value))
        elif name in ("size", "day") and value.isascii() and value.isdigit():
            yield name, int(value)
        else:
            raise ValueError


class KeyRing:
    """The keys that are let in: those of a setting, and those of a file that may change.

    A file that has become unreadable or wrong changes nothing, and the log says so: a slip
    while keys are changed shuts nobody out, and lets nobody in.

    Raises:
        SettingsError: the setting or, at the start, the file is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._fixed = settings.api_keys
        self._file = Path(settings.api_keys_file) if settings.api_keys_file else None
        self._looked = time.monotonic()
        try:
            parse(self._fixed)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}API_KEYS: {error}") from None
        try:
            self._stamp = self._date()
            self._keys = self._read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{PREFIX}API_KEYS_FILE: {error}") from None

    @property
    def asked_for(self) -> bool:
        """Whether a key is needed: there is one, or a file for them, though it be empty."""
        return self._file is not None or bool(self._keys)

    @property
    def names(self) -> list[str]:
        """Whose keys they are."""
        return sorted({key.name for key in self._keys})

    def find(self, presented: str) -> Key | None:
        """The key of this text, None when it is nobody's; takes as long for each."""
        digest, found = digest_of(presented), None
        for key in self._current():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _current(self) -> tuple[Key, ...]:
        if self._file is None or time.monotonic() - self._looked < _FRESH:
            return self._keys
        self._looked = time.monotonic()
        try:
            stamp = self._date()
            if stamp != self._stamp:
                self._stamp = stamp
                self._keys = self._read()
                log.info("API keys were read anew: %d", len(self._keys))
        except (OSError, UnicodeError) as error:
            kind = type(error).__name__
            log.error("the file of API keys cannot be read, the old keys stay: %s", kind)
        except ValueError as error:
            log.error("the file of API keys cannot be used, the old keys stay: %s", error)
        return self._keys

    def _read(self) -> tuple[Key, ...]:
        more = self._file.read_text() if self._file else ""
        return parse(f"{self._fixed}\n{more}")

    def _date(self) -> tuple[int, ...]:
        """Changes with the file, also when another takes its place (as a mounted Secret's does)."""
        if self._file is None:
            return ()
        seen = self._file.stat()
        return seen.st_mtime_ns, seen.st_size, seen.st_ino
