"""gunicorn's configuration for the renderer: ``gunicorn -c python:gateway.gunicorn_renderer``.

Sync workers: one request a process, which ends at its deadline and is replaced at once.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from gateway import traces
from gateway.logs import configuration
from gateway.renderer import limit_memory
from gateway.settings import Settings, processes

_settings = Settings.from_env()
_address = urlsplit(_settings.renderer_url)

wsgi_app = "gateway.gunicorn_renderer:build()"
bind = f"127.0.0.1:{_address.port}"
worker_class = "sync"
workers = processes()
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


def post_worker_init(_worker: Any) -> None:
    """Bound the new process's memory, counted from what it starts with."""
    traces.start(_settings, "renderer")
    limit_memory(_settings.renderer_memory)
