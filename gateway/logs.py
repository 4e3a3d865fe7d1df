"""Structured logs: one JSON object a line, with the request's id.

Neither file names nor media nor capability ids (jobs, uploads, keys) are logged:
requests are logged by their route's pattern, and by the name that their API key has.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
job: ContextVar[str] = ContextVar("job", default="")
"""In a work-horse: the beginning of its job's id."""

_FIELDS = ("method", "route", "status", "ms", "key")


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, request id, job, and the fields of a request line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if ident := request_id.get():
            line["request_id"] = ident
        if work := job.get():
            line["job"] = work
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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
