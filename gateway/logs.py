"""Structured logs: one JSON object a line, with the request's id.

Neither file names nor media nor capability ids (jobs, uploads, keys) are logged:
requests are logged by their route's pattern, and by the name that their API key has. The words
of exceptions and of libraries' complaints quote such things, so only kinds and places are told.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
job: ContextVar[str] = ContextVar("job", default="")
"""In a work-horse: the beginning of its job's id."""

_FIELDS = ("method", "route", "status", "ms", "key")
_OURS = ("gateway", "__main__")
_UNTOLD = "…"


def without_words(error: BaseException) -> str:
    """An exception and what it came of, the first cause last: types and frames, no messages."""
    parts, seen = [], set[int]()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = traceback.extract_tb(link.__traceback__)
        places = [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        parts.append("\n".join([_name(link), *places]))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nfrom ".join(parts)


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _message(record: logging.LogRecord) -> str:
    """What a line says; of a library's complaint, its own words and numbers only."""
    if record.levelno < logging.WARNING or record.name.split(".", 1)[0] in _OURS:
        return record.getMessage()
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    if not record.args:
        return record.msg.partition(": ")[0]  # what follows was put in before
    given = record.args if isinstance(record.args, tuple) else ()
    try:
        return record.msg % tuple(
            value if isinstance(value, int | float) else _UNTOLD for value in given
        )
    except (TypeError, ValueError):
        return record.msg


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, request id, job, and the fields of a request line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if ident := request_id.get():
            line["request_id"] = ident
        if work := job.get():
            line["job"] = work
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[1]:
            line["exception"] = without_words(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def configuration(level: str = "INFO") -> dict[str, Any]:
    """A ``logging.config`` dictionary: everything to stderr as JSON (gunicorn takes it too)."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "json"}
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            "botocore": {"level": "WARNING"},
            "urllib3": {"level": "ERROR"},
            "flask-limiter": {"level": "WARNING"},  # a refused request has its line already
        },
    }
