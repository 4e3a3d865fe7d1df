"""``create_app(settings)``: wires routes, errors and metrics; nothing else."""

from __future__ import annotations

import logging.config

from flask import Flask

from gateway import traces
from gateway.http import (
    access,
    animate,
    batches,
    blur,
    classify,
    cors,
    jobs,
    motions,
    observe,
    ops,
    problems,
    rigs,
)
from gateway.http.flows import Services
from gateway.http.intake import SpoolingRequest
from gateway.logs import configuration
from gateway.settings import Settings


def create_app(settings: Settings, services: Services | None = None) -> Flask:
    """The gateway as a WSGI application; ``services`` replaces the real ones in tests."""
    services = services or Services.connect(settings)
    app = Flask(__name__, static_folder=None)
    app.request_class = SpoolingRequest
    app.json.sort_keys = False  # type: ignore[attr-defined]
    observe.register(app, settings, services.receiving)
    problems.register(app, settings)
    cors.register(app, settings)
    access.register(app, settings)
    for routes in (blur, classify, rigs, animate, motions, batches, jobs, ops):
        app.register_blueprint(routes.blueprint(services))
    return app


def from_env() -> Flask:
    """The gateway with its settings from the environment, for gunicorn."""
    logging.config.dictConfig(configuration())
    settings = Settings.from_env()
    traces.start(settings, "gateway")
    return create_app(settings)
