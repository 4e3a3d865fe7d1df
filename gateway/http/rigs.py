"""Routes of rigs: find the figures of a drawing, look, correct, delete."""

from __future__ import annotations

import binascii
from typing import Any

from flask import Blueprint, Response, jsonify, request

from gateway.drawings.motion_config import is_number
from gateway.errors import BadOption, BadRequest
from gateway.http import drawings, rig_store
from gateway.http.flows import Services
from gateway.http.intake import read_json, receive
from gateway.http.rig_store import Rig
from gateway.pipelines.rig_drawing import MAX_FIGURES
from gateway.settings import MIB

_LONGEST_CORRECTION = 8 * MIB  # bytes of JSON, most of it a mask


def blueprint(services: Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("rigs", __name__)
    storage = services.storage

    @routes.post("/v1/rigs")
    def make() -> tuple[Response, int, dict[str, str]]:
        services.gates.drawings.check()
        with receive(request, services.settings) as incoming:
            if incoming.options:
                raise BadOption(f"unknown option '{min(incoming.options)[:40]}'; there is none")
            rig = drawings.rig(services, incoming, MAX_FIGURES)
        return jsonify(rig_store.view(storage, rig)), 201, {"Location": f"/v1/rigs/{rig.id}"}

    @routes.get("/v1/rigs/<rig_id>")
    def look(rig_id: str) -> Response:
        return jsonify(rig_store.view(storage, rig_store.load(storage, rig_id)))

    @routes.put("/v1/rigs/<rig_id>")
    def correct(rig_id: str) -> Response:
        services.gates.drawings.check()
        asked = _correction()
        rig = rig_store.load(storage, rig_id)
        index = _index(asked, rig)
        joints = _joints(asked.get("joints", {}), rig.figures[index])
        rig = drawings.correct(services, rig, index, joints, _mask(asked))
        return jsonify(rig_store.view(storage, rig))

    @routes.delete("/v1/rigs/<rig_id>")
    def remove(rig_id: str) -> tuple[str, int]:
        rig_store.remove(storage, rig_store.load(storage, rig_id))
        return "", 204

    return routes


def _correction() -> dict[str, Any]:
    asked = read_json(request, _LONGEST_CORRECTION, "a correction")
    known = ("figure", "joints", "mask")
    if not isinstance(asked, dict) or not {"joints", "mask"} & set(asked):
        raise BadRequest('send a JSON object such as {"joints": {"left_hand": [120, 80]}}')
    if set(asked) - set(known):
        unknown = min(set(asked) - set(known))
        raise BadRequest(f"unknown member '{unknown[:40]}'; known are {', '.join(known)}")
    return asked


def _index(asked: dict[str, Any], rig: Rig) -> int:
    index = asked.get("figure", 0)
    count = len(rig.figures)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise BadOption(f"figure must be a whole number from 0 to {count - 1}")
    return index


def _joints(asked: Any, figure: dict[str, Any]) -> dict[str, list[float]]:
    """All of a figure's joints, those that were given at their new places."""
    if not isinstance(asked, dict):
        raise BadOption('joints must be an object such as {"left_hand": [120, 80]}')
    known: dict[str, list[float]] = figure["joints"]
    unknown = sorted(set(asked) - set(known))
    if unknown:
        names = ", ".join(name[:40] for name in unknown[:5])
        raise BadOption(f"unknown joints: {names}; known are {', '.join(known)}")
    return {**known, **{name: _place(name, at, figure["size"]) for name, at in asked.items()}}


def _place(name: str, at: Any, size: list[int]) -> list[float]:
    numbers = isinstance(at, list) and len(at) == 2 and all(is_number(v) for v in at)
    if not numbers or not (0 <= at[0] <= size[0] and 0 <= at[1] <= size[1]):
        raise BadOption(
            f"joint {name} must be [x, y] inside this figure's {size[0]}×{size[1]} pixels"
        )
    return [round(float(v), 1) for v in at]


def _mask(asked: dict[str, Any]) -> bytes | None:
    text = asked.get("mask")
    if text is None:
        return None
    try:
        return binascii.a2b_base64(text.rpartition("base64,")[2], strict_mode=True)
    except (AttributeError, ValueError):
        raise BadRequest("mask must be a picture as base64 text") from None
