"""Routes that make drawings move: ``POST /v1/animate``, and ``POST /`` as phone apps call it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from gateway.errors import BadOption
from gateway.http import drawings
from gateway.http.flows import Services, discard
from gateway.http.intake import Incoming, receive
from gateway.http.wishes import Wish

PHONE_MOTIONS = ("dab", "jumping", "zombie")


def blueprint(services: Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("animate", __name__)
    settings = services.settings

    @routes.post("/v1/animate")
    def animate() -> Response:
        services.gates.drawings.check()
        with receive(request, settings, ("upload_id", "rig_id")) as incoming:
            return jsonify(drawings.animate(services, incoming, _wish(services, incoming)))

    @routes.post("/")
    def phone() -> Response:
        services.gates.drawings.check()
        with receive(request, settings) as incoming:
            return jsonify(drawings.animate_only(services, incoming, Wish(PHONE_MOTIONS)))

    return routes


def _wish(services: Services, incoming: Incoming) -> Wish:
    try:
        return Wish.parse(incoming.options)
    except BadOption:
        if incoming.upload_id is not None:
            discard(services, incoming.upload_id)
        raise
