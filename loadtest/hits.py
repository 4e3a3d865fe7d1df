"""What came of each request, as vegeta's JSON results: an object a line.

``vegeta report``, ``vegeta plot`` and ``vegeta encode`` read these lines (its JSON encoder,
lib/results.go), and what ``vegeta encode -to json`` writes is read here.
"""

from __future__ import annotations

import base64
import calendar
import json
import re
import time
from dataclasses import dataclass, field

SECOND = 1_000_000_000
"""Nanoseconds."""

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One request and its answer.

    attack: the name of the run. seq: its number in it, from 0. code: HTTP's; 0 when there was
    no answer. timestamp: nanoseconds since 1970 at which it was due (vegeta: sent). latency:
    nanoseconds from then to the answer's last byte. bytes_out, bytes_in: of the bodies.
    error: empty for 200 to 399. body, headers: of the answer, or a part.
    """

    attack: str
    seq: int
    code: int
    timestamp: int
    latency: int
    bytes_out: int = 0
    bytes_in: int = 0
    error: str = ""
    body: bytes = b""
    method: str = ""
    url: str = ""
    headers: dict[str, list[str]] = field(default_factory=dict)

    def line(self) -> str:
        """The hit as vegeta reads it, without the line's end."""
        return json.dumps(
            {
                "attack": self.attack,
                "seq": self.seq,
                "code": self.code,
                "timestamp": _written(self.timestamp),
                "latency": self.latency,
                "bytes_out": self.bytes_out,
                "bytes_in": self.bytes_in,
                "error": self.error,
                "body": base64.b64encode(self.body).decode(),
                "method": self.method,
                "url": self.url,
                "headers": self.headers,
            }
        )

    @classmethod
    def read(cls, line: str) -> Hit:
        """A line of a file.

        Raises:
            ValueError: it is no result.
        """
        known = json.loads(line)
        try:
            return cls(
                **{
                    **known,
                    "timestamp": _moment(known["timestamp"]),
                    "body": base64.b64decode(known.get("body") or ""),
                    "headers": known.get("headers") or {},
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no result of vegeta's: {error}") from None


def _written(moment: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, rest = divmod(moment, SECOND)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def _moment(text: str) -> int:
    """Nanoseconds since 1970."""
    found = _MOMENT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no time")
    day, fraction, sign, hours, minutes = found.groups()
    seconds = calendar.timegm(time.strptime(day, "%Y-%m-%dT%H:%M:%S"))
    if sign:
        offset = 3600 * int(hours) + 60 * int(minutes)
        seconds -= offset if sign == "+" else -offset
    return seconds * SECOND + int((fraction or "").ljust(9, "0"))
