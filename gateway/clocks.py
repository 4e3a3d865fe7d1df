"""How far this machine's clock is from the object store's, as seen in its answers.

What is signed carries our time and is judged by the store's. boto3 corrects nothing: with a
clock that is ten minutes slow, a link dies ten minutes early, and one of five minutes is born
dead; beyond a quarter of an hour S3 refuses everything.
"""

from __future__ import annotations

import email.utils
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

log = logging.getLogger(__name__)

TOLERATED = timedelta(seconds=30)  # an answer may have been under way for some of it
_NONE = timedelta()


class StoreClock:
    """The store's time. Safe to share between threads."""

    def __init__(self) -> None:
        self.ahead = _NONE
        """The store's clock less ours; zero where they agree well enough."""

    def now(self) -> datetime:
        """The store's time (UTC, whole seconds), as well as we know it."""
        return (datetime.now(UTC) + self.ahead).replace(microsecond=0)

    def fault(self) -> str | None:
        """What is wrong with our clock, None while nothing is."""
        if not self.ahead:
            return None
        seconds = round(self.ahead.total_seconds())
        side = "behind" if seconds > 0 else "ahead of"
        return f"this machine's clock is {abs(seconds)} s {side} the object store's; set it right"

    def look(self, http_response: Any, **_: Any) -> None:
        """Learn from an answer of the store (botocore's event ``after-call``)."""
        date = http_response.headers.get("date")
        try:
            told = email.utils.parsedate_to_datetime(date)
        except (TypeError, ValueError):  # none, or none that we read
            return
        if told.tzinfo is None:
            return
        ahead = told - datetime.now(UTC)
        if abs(ahead) <= TOLERATED:
            self.ahead = _NONE
        elif abs(ahead - self.ahead) > TOLERATED:
            self.ahead = ahead
            log.warning("%s", self.fault())
