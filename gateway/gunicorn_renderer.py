"""gunicorn's configuration for the renderer: ``gunicorn -c python:gateway.gunicorn_renderer``.

Sync workers: one request a process, which ends at its deadline and is replaced at once. Where
large work has an address of its own, half of them listen only there, with less priority: two
drawings on two cores hold no photo up.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from gateway import traces
from gateway.logs import configuration
from gateway.renderer import limit_memory
from gateway.settings import Settings, processes

_settings = Settings.from_env()
_urls = [url for url in (_settings.renderer_url, _settings.renderer_large_url) if url]
_LESS = 3  # added to the niceness of those for large work

wsgi_app = "gateway.gunicorn_renderer:build()"
bind = [f"127.0.0.1:{urlsplit(url).port}" for url in _urls]
worker_class = "sync"
workers = processes() * len(bind)
preload_app = True  # a replaced process starts with everything imported
# Requests have deadlines of their own (see ``gateway.renderer``); this is for a stuck process.
timeout = max(_settings.image_deadline, _settings.drawing_deadline)
graceful_timeout = timeout
backlog = 256
max_requests, max_requests_jitter = 2000, 500  # whatever a decoder leaks ends here
accesslog = None
logconfig_dict = configuration()
control_socket_disable = True


def build() -> Any:
    """The application, built once before the workers fork."""
    from gateway.renderer import create_renderer

    return create_renderer(_settings)


def pre_fork(server: Any, worker: Any) -> None:
    """Send the new process to the address that has fewer."""
    lanes = [other.lane for other in server.WORKERS.values()]
    worker.lane = min(range(len(bind)), key=lanes.count)


def post_worker_init(worker: Any) -> None:
    """Listen at one address only; bound its memory, counted from what it starts with."""
    worker.sockets = worker.sockets[worker.lane : worker.lane + 1]
    worker.wait_fds = [*worker.sockets, worker.PIPE[0]]
    if worker.lane:
        os.nice(_LESS)
    traces.start(_settings, "renderer")
    limit_memory(_settings.renderer_memory)
