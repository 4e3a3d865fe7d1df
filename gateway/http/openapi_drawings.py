"""Drawings in the OpenAPI document: rigs, animations, motions."""

from __future__ import annotations

from gateway.choices import FIGURES, FORMATS, SIZES
from gateway.drawings.character import PARENTS
from gateway.http.openapi_objects import (
    BASE64,
    BOX,
    INSTANT,
    POINT,
    TIMINGS,
    UPLOAD_ID,
    URL,
    Schema,
    json_answer,
    obj,
    path,
    ref,
)
from gateway.http.wishes import MAX_MOTIONS
from gateway.pipelines.options import AnimateOptions
from gateway.pipelines.own_motion import PARTS

_PROBLEM = ref("Problem", "responses")
_FILE = {"type": "string", "contentMediaType": "image/*"}
_WHOLE = {"type": "integer"}
_NUMBER = {"type": "number"}
_NAME = {"type": "string"}


def schemas() -> Schema:
    """The objects of drawings by their names."""
    joints = {
        "type": "object",
        "additionalProperties": POINT,
        "description": f"x, y in pixels of texture_url: {', '.join(PARENTS)}",
    }
    size = {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}
    pictures = {
        "texture_url": {**URL, "description": "PNG: the figure as cut out of the photo"},
        "mask_url": {**URL, "description": "PNG, grey: white where the figure is"},
        "overlay_url": {**URL, "description": "PNG: the figure with its skeleton, to look at"},
    }
    figure = {
        "box": {**BOX, "description": "x1, y1, x2, y2 in pixels of the upright photo"},
        "score": _NUMBER,
        "joints": joints,
        "size": {**size, "description": "width and height of texture_url"},
        **pictures,
    }
    rig = {
        "rig_id": _NAME,
        "width": {**_WHOLE, "description": "of the photo, upright, pixels"},
        "height": _WHOLE,
        "figures": {"type": "array", "items": obj(figure, list(figure)), "minItems": 1},
        **{name: {**item, "description": "the best figure's"} for name, item in pictures.items()},
        "expires_at": {**INSTANT, "description": "of the URLs; GET signs new ones"},
    }
    correction = {
        "figure": {**_WHOLE, "minimum": 0, "default": 0, "description": "which one"},
        "joints": {**joints, "description": "those that move, in pixels of texture_url"},
        "mask": {**BASE64, "description": "a picture of texture_url's size, bright is figure"},
    }
    animation = {
        "url": URL,
        "frames": _WHOLE,
        "width": _WHOLE,
        "height": _WHOLE,
        "seconds": {**_NUMBER, "description": "of one round"},
        "content_type": _NAME,
    }
    animations = {
        "id": _NAME,
        "rig_id": {**_NAME, "description": "to animate it again without looking for it again"},
        "animations": {
            "type": "object",
            "additionalProperties": obj(animation, list(animation)),
            "description": "by motion",
        },
        "expires_at": INSTANT,
        "timings": TIMINGS,
    }
    length = {"motion": _NAME, "frames": _WHOLE, "seconds": _NUMBER}
    end = {"anyOf": [INSTANT, {"type": "null"}], "description": "when it is deleted, if ever"}
    return {
        "Rig": obj({**rig, "review": ref("Review")}, list(rig)),
        "Correction": obj(correction),
        "Animations": obj({**animations, "review": ref("Review")}, list(animations)),
        "Motion": obj({**length, "kept_until": {**end, "description": "only of your own"}}),
        "Motions": obj({"motions": {"type": "array", "items": ref("Motion")}}, ["motions"]),
    }


def make_rig() -> Schema:
    """POST /v1/rigs."""
    return {
        "operationId": "makeRig",
        "summary": "Find the drawn figures in a picture, with joints and mask",
        "description": "The picture itself is not kept; what is cut out of it is.",
        "requestBody": _drawing({}),
        "responses": {
            "201": {
                **json_answer("The figures, best first.", ref("Rig")),
                "headers": {"Location": {"schema": {"type": "string"}}},
            },
            "default": _PROBLEM,
        },
    }


def look_at_rig() -> Schema:
    """GET /v1/rigs/{rig_id}."""
    return {
        "operationId": "getRig",
        "summary": "A rig",
        "parameters": [path("rig_id")],
        "responses": {
            "200": json_answer("The rig, its URLs signed now.", ref("Rig")),
            "default": _PROBLEM,
        },
    }


def correct_rig() -> Schema:
    """PUT /v1/rigs/{rig_id}."""
    correction = schemas()["Correction"]
    return {
        "operationId": "correctRig",
        "summary": "Correct a figure's joints or mask",
        "description": "Joints that are not named stay. Calls no model.",
        "parameters": [path("rig_id")],
        "requestBody": {"required": True, "content": {"application/json": {"schema": correction}}},
        "responses": {
            "200": json_answer("The rig as it is now.", ref("Rig")),
            "default": _PROBLEM,
        },
    }


def delete_rig() -> Schema:
    """DELETE /v1/rigs/{rig_id}."""
    return {
        "operationId": "deleteRig",
        "summary": "Delete a rig and its pictures",
        "parameters": [path("rig_id")],
        "responses": {"204": {"description": "It is gone."}, "default": _PROBLEM},
    }


def animate() -> Schema:
    """POST /v1/animate."""
    return {
        "operationId": "animate",
        "summary": "Make the figure of a drawing move",
        "description": (
            "Send a picture, the id of an upload, or a rig_id, which needs no model call."
            " Options may stand in the body or in the query; the body wins."
        ),
        "parameters": [{"name": k, "in": "query", "schema": v} for k, v in options().items()],
        "requestBody": _drawing(options(), rigs=True),
        "responses": {
            "200": json_answer("One animation per motion.", ref("Animations")),
            "default": _PROBLEM,
        },
    }


def phone() -> Schema:
    """POST /."""
    urls = obj(dict.fromkeys(("dab", "jumping", "zombie"), URL), ["dab", "jumping", "zombie"])
    return {
        "operationId": "animateForPhone",
        "summary": "Three GIFs of a drawing, as phone apps ask for them",
        "requestBody": _drawing({}),
        "responses": {"200": json_answer("URL by motion.", urls), "default": _PROBLEM},
    }


def list_motions() -> Schema:
    """GET /v1/motions."""
    return {
        "operationId": "listMotions",
        "summary": "The motion library",
        "responses": {"200": json_answer("Every motion.", ref("Motions"))},
    }


def bring_motion() -> Schema:
    """POST /v1/motions."""
    meanings = (
        "BVH, any skeleton",
        "YAML: how the BVH stands in its file, as AnimatedDrawings has it",
        "YAML: what of it moves what of the figure, as AnimatedDrawings has it",
    )
    parts = {
        name: {"type": "string", "contentMediaType": "text/plain", "description": meaning}
        for name, meaning in zip(PARTS, meanings, strict=True)
    }
    return {
        "operationId": "bringMotion",
        "summary": "A motion of your own",
        "description": "Its id is taken in 'motions' wherever a name of the library is.",
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": obj(parts, list(parts))}},
        },
        "responses": {"201": json_answer("Tried and kept.", ref("Motion")), "default": _PROBLEM},
    }


def delete_motion() -> Schema:
    """DELETE /v1/motions/{motion_id}."""
    return {
        "operationId": "deleteMotion",
        "summary": "Delete a motion of your own",
        "parameters": [path("motion_id")],
        "responses": {"204": {"description": "It is gone."}, "default": _PROBLEM},
    }


def options() -> Schema:
    """The options of an animation, as properties of an object."""
    return {
        "motions": {
            "type": "string",
            "default": "dab",
            "description": f"names or ids, at most {MAX_MOTIONS}, with commas between them",
        },
        "format": {"enum": list(FORMATS), "default": AnimateOptions.format},
        "background": {
            "type": "string",
            "default": AnimateOptions.background,
            "description": "paper, transparent (white in MP4) or #rrggbb",
        },
        "size": {
            "type": ["integer", "string"],
            "default": AnimateOptions.size,
            "description": (
                f"longer side in pixels, {SIZES[0]} to {SIZES[1]}, or both such as 500x400"
            ),
        },
        "figures": {
            "enum": list(FIGURES),
            "default": FIGURES[0],
            "description": "the best figure alone, or all of the drawing's together",
        },
    }


def _drawing(more: Schema, *, rigs: bool = False) -> Schema:
    """A request body with a picture, or with an id that stands for one."""
    ids = {"upload_id": UPLOAD_ID}
    if rigs:
        ids["rig_id"] = {"type": "string", "description": "from POST /v1/rigs"}
    by_id = [obj({name: item, **more}, [name]) for name, item in ids.items()]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"anyOf": [obj({"file": _FILE, **more}), *by_id]}},
            "application/json": {"schema": {"anyOf": [obj({"file": BASE64, **more}), *by_id]}},
        },
    }
