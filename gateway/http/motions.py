"""Routes of motions: the library, and those that users bring."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import IO, Any, BinaryIO

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from gateway.access.owner import own_key
from gateway.drawings.bvh import MAX_BYTES
from gateway.drawings.motions import NAMES, library_motion
from gateway.errors import BadRequest, NotFound, TooLarge
from gateway.http import drawings
from gateway.http.flows import Services
from gateway.http.records import append, record
from gateway.http.views import instant
from gateway.object_names import MOTIONS, is_token
from gateway.pipelines.own_motion import PARTS, measure
from gateway.settings import MIB

_LONGEST_BODY = MAX_BYTES + 2 * MIB


def blueprint(services: Services) -> Blueprint:
    """The routes on these services."""
    routes = Blueprint("motions", __name__)

    @routes.get("/v1/motions")
    def library() -> Response:
        return jsonify({"motions": [_described(name) for name in NAMES]})

    @routes.post("/v1/motions")
    def bring() -> tuple[Response, int]:
        services.gates.drawings.check()
        with tempfile.TemporaryFile() as motion:
            _receive(motion)
            motion_id, length = drawings.keep_motion(services, motion)
        life = services.settings.result_ttl
        end = instant(datetime.now(UTC) + timedelta(seconds=life)) if life else None
        return jsonify({"motion": motion_id, **length, "kept_until": end}), 201

    @routes.delete("/v1/motions/<motion_id>")
    def remove(motion_id: str) -> tuple[str, int]:
        if not is_token(motion_id):
            raise NotFound("no such motion; those of the library cannot be deleted")
        services.storage.delete([own_key(MOTIONS, motion_id)])
        return "", 204

    return routes


@cache
def _described(name: str) -> dict[str, Any]:
    length = measure(library_motion(name))
    return {"motion": name, "frames": length.frames, "seconds": length.seconds}


def _receive(out: IO[bytes]) -> None:
    """Write the form's three parts, files or text fields, as records."""
    request.max_content_length = _LONGEST_BODY
    too_large = TooLarge(f"a motion may have {MAX_BYTES // MIB} MiB, as files; send no long text")
    if (request.content_length or 0) > _LONGEST_BODY:
        raise too_large
    try:
        request.form  # noqa: B018 - reads the whole form
    except RequestEntityTooLarge:
        raise too_large from None
    for name in PARTS:
        if name in request.files:
            file: BinaryIO = request.files[name].stream  # type: ignore[assignment]
            append(out, {"name": name}, file)
        elif name in request.form:
            out.write(record({"name": name}, request.form[name].encode()))
        else:
            raise BadRequest(
                f"send a form with {', '.join(PARTS)}: a BVH file and AnimatedDrawings'"
                f" two YAML files for it; {name} is missing"
            )
