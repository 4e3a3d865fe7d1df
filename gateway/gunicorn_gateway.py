"""gunicorn's configuration for the gateway: ``gunicorn -c python:gateway.gunicorn_gateway``.

gevent workers that do I/O only. The patch comes before any import that might take
an unpatched socket or lock along (boto3, urllib3, redis).
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import shutil  # noqa: E402
from typing import Any  # noqa: E402

from gateway import metrics_folder  # noqa: E402

# Read by prometheus_client when it is first imported, hence before our own modules.
_own_metrics = None
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    _own_metrics = metrics_folder.create()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _own_metrics

from prometheus_client import multiprocess  # noqa: E402

from gateway.http.observe import LARGE_BODY  # noqa: E402
from gateway.logs import configuration  # noqa: E402

wsgi_app = "gateway.app:from_env()"
bind = os.environ.get("GATEWAY_BIND", "127.0.0.1:8000")
worker_class = "gateway.gunicorn_worker.PromptWorker"
worker_connections = 500
workers = int(os.environ.get("WEB_CONCURRENCY", 0)) or len(os.sched_getaffinity(0))
timeout = 60  # a blocked event loop, not a slow request
graceful_timeout = 30
keepalive = 30
backlog = 512
limit_request_line = 4094
limit_request_fields = 50
limit_request_field_size = 8190
accesslog = None  # the application logs requests itself, with their ids
logconfig_dict = configuration()
control_socket_disable = True


def pre_request(_worker: Any, request: Any) -> None:
    """Close the connection after a large body, whether it was read or refused.

    An application cannot ask for that itself: gunicorn drops its Connection header.
    """
    for name, value in request.headers:
        if name == "CONTENT-LENGTH" and value.isdigit() and int(value) > LARGE_BODY:
            request.force_close()


def child_exit(_server: Any, worker: Any) -> None:
    """Take a gone process's gauges out of the metrics."""
    multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: Any) -> None:
    """Leave no metrics behind."""
    if _own_metrics:
        shutil.rmtree(_own_metrics, ignore_errors=True)
