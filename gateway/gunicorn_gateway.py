"""gunicorn's configuration for the gateway: ``gunicorn -c python:gateway.gunicorn_gateway``.

gevent workers that do I/O only. The patch comes before any import that might take
an unpatched socket or lock along (boto3, urllib3, redis).
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402
import itertools  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
from typing import Any  # noqa: E402

from gateway import metrics_folder  # noqa: E402

# Read by prometheus_client when it is first imported, hence before our own modules.
_own_metrics = None
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    _own_metrics = metrics_folder.create()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _own_metrics

from prometheus_client import multiprocess  # noqa: E402

from gateway import admission, loop_lag, stopping  # noqa: E402
from gateway.http import access  # noqa: E402
from gateway.http.observe import LARGE_BODY  # noqa: E402
from gateway.logs import configuration  # noqa: E402
from gateway.settings import Settings, processes  # noqa: E402

_settings = Settings.from_env()

wsgi_app = "gateway.app:from_env()"
bind = os.environ.get("GATEWAY_BIND", "127.0.0.1:8000")
worker_class = "gateway.gunicorn_worker.PromptWorker"
worker_connections = 500
workers = processes()
timeout = 60  # a blocked event loop, not a slow request
# What is in flight may end: only uploads take longer than a deadline, as videos are jobs.
graceful_timeout = max(
    _settings.image_deadline + 5, _settings.drawing_deadline + 5, _settings.grace
)
keepalive = 30
backlog = 512
limit_request_line = 4094
limit_request_fields = 50
limit_request_field_size = 8190
accesslog = None  # the application logs requests itself, with their ids
logconfig_dict = configuration()
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Say who may come in, once for all processes."""
    access.announce(_settings)


def when_ready(server: Any) -> None:
    """Have SIGTERM drain first, for as long as the settings say; a second one does not wait."""

    def stop(signum: int, frame: Any) -> None:
        if not _settings.drain or stopping.draining():
            server.signal(signum, frame)
            return
        stopping.drain()
        signal.setitimer(signal.ITIMER_REAL, _settings.drain)

    signal.signal(signal.SIGALRM, lambda _, frame: server.signal(signal.SIGTERM, frame))
    signal.signal(signal.SIGTERM, stop)


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new process a row of its own on the board of what is in."""
    taken = {other.row for other in server.WORKERS.values()}
    worker.row = next(row for row in itertools.count() if row not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Have it write that one."""
    admission.SHARED.sit(worker.row)


def post_worker_init(_worker: Any) -> None:
    """Watch the event loop, and keep the garbage collector from stopping it for 0.1 s."""
    gc.collect()
    gc.freeze()  # what the start has made stays for good, and is not looked at again
    loop_lag.start()


def pre_request(_worker: Any, request: Any) -> None:
    """Close the connection after a large body, whether it was read or refused, and while the
    gateway drains, so that a proxy takes its next request elsewhere.

    An application cannot ask for that itself: gunicorn drops its Connection header.
    """
    if stopping.draining():
        request.force_close()
    for name, value in request.headers:
        if name == "CONTENT-LENGTH" and value.isdigit() and int(value) > LARGE_BODY:
            request.force_close()


def child_exit(_server: Any, worker: Any) -> None:
    """Take a gone process's gauges out of the metrics, and what it had in off the board."""
    admission.SHARED.wipe(worker.row)
    multiprocess.mark_process_dead(worker.pid)


def on_exit(_server: Any) -> None:
    """Leave no metrics behind."""
    if _own_metrics:
        shutil.rmtree(_own_metrics, ignore_errors=True)
