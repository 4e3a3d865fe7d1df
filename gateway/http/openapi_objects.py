"""The objects of the OpenAPI document: what requests and answers are made of."""

from __future__ import annotations

from typing import Any

from gateway.choices import AUDIO, SCALES, SHAPES, STYLES, SUBTITLES, THRESHOLDS
from gateway.errors import by_code
from gateway.http.readiness import CHECKS
from gateway.jobs.store import STATUSES

Schema = dict[str, Any]

INSTANT = {"type": "string", "format": "date-time", "description": "UTC, ending in Z"}
URL = {"type": "string", "format": "uri", "description": "presigned GET; refused once expired"}
TIMINGS = {
    "type": "object",
    "additionalProperties": {"type": "number"},
    "description": "milliseconds per stage",
}
UPLOAD_ID = {"type": "string", "description": "from POST /v1/uploads"}
BASE64 = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "a data: URL's prefix is tolerated",
}
BOX: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
POINT: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


def schemas() -> Schema:
    """Every object of the contract by its name."""
    face = obj(
        {
            "box": {**BOX, "description": "x1, y1, x2, y2 in pixels of the upright picture"},
            "score": {"type": "number"},
            "landmarks": {"type": "array", "items": POINT},
            "frame": {"type": "integer", "description": "only in animated pictures"},
        },
        ["box", "score"],
    )
    whole, number = {"type": "integer"}, {"type": "number"}
    common = {
        "url": URL,
        "report_url": {**URL, "description": "presigned GET of the audit report, JSON"},
        "expires_at": INSTANT,
        "content_type": {"type": "string"},
        "width": whole,
        "height": whole,
        "frames": whole,
        "timings": TIMINGS,
    }
    photo = {
        "id": {"type": "string"},
        "kind": {"const": "image"},
        **common,
        "faces": {"type": "array", "items": face},
    }
    left_bare = {
        **whole,
        "description": "faces below the threshold asked for, not hidden; of still photos, if any",
    }
    result = {
        **common,
        "seconds": number,
        "tracks": {**whole, "description": "people followed"},
        "faces_detected": whole,
        "faces_filled": {**whole, "description": "blurred between and around detections"},
    }
    maybe = {"anyOf": [INSTANT, {"type": "null"}]}
    progress = {
        "stage": {"enum": ["queued", "fetch", "analyse", "render", "store"]},
        "frames_done": {**whole, "description": "of this stage"},
        "frames_total": {**whole, "description": "an estimate at first; 0 while unknown"},
        "fraction": {"type": "number", "minimum": 0, "maximum": 1, "description": "of all stages"},
        "fps": {"type": ["number", "null"], "description": "frames a second of this stage"},
        "eta_seconds": {"type": ["number", "null"]},
    }
    reason = {
        "code": {"enum": sorted(by_code())},
        "title": {"type": "string"},
        "status": whole,
        "detail": {"type": "string"},
    }
    job = {
        "id": {"type": "string"},
        "kind": {"const": "video"},
        "pipeline": {"const": "blur"},
        "status": {"enum": list(STATUSES)},
        "progress": obj(progress, list(progress)),
        "created_at": INSTANT,
        "started_at": maybe,
        "finished_at": maybe,
        "attempts": whole,
        "options": obj(options()),
        "result": {**obj(result, list(result)), "description": "when done"},
        "error": {**obj(reason, list(reason)), "description": "when failed"},
    }
    upload = {
        "upload_id": {"type": "string"},
        "method": {"const": "PUT"},
        "url": {**URL, "description": "presigned PUT"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "expires_at": INSTANT,
        "max_bytes": whole,
    }
    check = obj({"ok": {"type": "boolean"}, "detail": {"type": "string"}}, ["ok", "detail"])
    checks = dict.fromkeys(CHECKS, check)
    return {
        "Photo": obj({**photo, "left_bare": left_bare, "review": ref("Review")}, list(photo)),
        "Job": obj(job, [name for name in job if name not in ("result", "error")]),
        "Upload": obj(upload, list(upload)),
        "Readiness": obj(
            {"ready": {"type": "boolean"}, "checks": obj(checks, list(checks))},
            ["ready", "checks"],
        ),
        "Problem": obj(
            {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": whole,
                "detail": {"type": "string", "description": "what is wrong and what to do"},
                "code": {"type": "string", "description": "stable; see the list of errors"},
                "request_id": {"type": "string"},
            },
            ["type", "title", "status", "detail", "code", "request_id"],
        ),
    }


def options() -> Schema:
    """The options of a blur, as properties of an object."""
    return {
        "style": {"enum": list(STYLES), "default": "gaussian"},
        "shape": {"enum": list(SHAPES), "default": "ellipse"},
        "scale": {
            "type": "number",
            "minimum": SCALES[0],
            "maximum": SCALES[1],
            "default": 1.4,
            "description": "mask size relative to the face",
        },
        "threshold": {
            "type": "number",
            "minimum": THRESHOLDS[0],
            "maximum": THRESHOLDS[1],
            "description": "smallest score that counts as a face",
        },
        "audio": {"enum": list(AUDIO), "default": "keep", "description": "of videos"},
        "subtitles": {"enum": list(SUBTITLES), "default": "keep", "description": "of videos"},
    }


def obj(properties: Schema, required: list[str] | None = None) -> Schema:
    """An object schema."""
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
    }


def json_answer(what: str, schema: Schema) -> Schema:
    """An answer of JSON."""
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def path(name: str) -> Schema:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to one of the components."""
    return {"$ref": f"#/components/{kind}/{name}"}
