"""Image categories in the OpenAPI document."""

from __future__ import annotations

from gateway.errors import by_code
from gateway.fetch import faults  # noqa: F401 - its error classes belong into the list
from gateway.http.openapi_objects import (
    BASE64,
    TIMINGS,
    UPLOAD_ID,
    Schema,
    json_answer,
    obj,
    ref,
)
from gateway.pipelines.classify_image import ClassifyOptions

_URL = {
    "type": "string",
    "format": "uri",
    "description": "http or https, on a public address; fetched by the service",
}
_FILE = {"type": "string", "contentMediaType": "image/*"}
_WHOLE = {"type": "integer"}
_NAME = {"type": "string"}


def schemas() -> Schema:
    """The objects of image categories by their names."""
    score = {"type": "number", "minimum": 0, "maximum": 1}
    model = obj({"name": _NAME, "version": _NAME}, ["name", "version"])
    category = obj({"name": _NAME, "score": score}, ["name", "score"])
    image = {
        "categories": {
            "type": "array",
            "items": category,
            "description": "by falling score; of an animated picture, each one's highest",
        },
        "width": _WHOLE,
        "height": _WHOLE,
        "frames": _WHOLE,
        "timings": TIMINGS,
    }
    reason = {
        "code": {"enum": sorted(by_code())},
        "title": _NAME,
        "status": _WHOLE,
        "detail": _NAME,
    }
    error = obj({"error": obj(reason, list(reason))}, ["error"])
    several = {
        "images": {"type": "array", "items": {"anyOf": [obj(image, list(image)), error]}},
        "model": {"anyOf": [model, {"type": "null"}]},
    }
    review = {
        "flagged": {"type": ["boolean", "null"], "description": "null: it could not be told"},
        "categories": {"type": "object", "additionalProperties": score},
        "model": {"anyOf": [model, {"type": "null"}]},
    }
    return {
        "Categories": obj({**image, "model": model}, [*image, "model"]),
        "CategoriesOfSeveral": obj(several, list(several)),
        "Review": {
            **obj(review, list(review)),
            "description": "what the review saw, where the service has one",
        },
    }


def classify() -> Schema:
    """POST /v1/classify."""
    more = options()
    # Without a format: one that is none is told as that image's error.
    url = {"type": "string", "description": _URL["description"]}
    urls = {"type": "array", "items": url, "minItems": 1}
    several = {"type": "array", "items": _FILE, "minItems": 1}
    form = [
        obj({"file": several, "image_url": urls, **more}),
        obj({"upload_id": UPLOAD_ID, **more}, ["upload_id"]),
    ]
    ways: Schema = {
        "file": BASE64,
        "files": {"type": "array", "items": BASE64, "minItems": 1},
        "image_url": _URL,
        "image_urls": urls,
        "upload_id": UPLOAD_ID,
    }
    by_json = [obj({name: item, **more}, [name]) for name, item in ways.items()]
    return {
        "operationId": "classify",
        "summary": "Categories of one or several images",
        "description": (
            "Send files, base64, or URLs that the service fetches. One image is answered with"
            " its categories or its problem; several, or a list, with both by image, in the"
            " order of the request (files before URLs)."
        ),
        "parameters": [{"name": k, "in": "query", "schema": v} for k, v in more.items()],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"anyOf": form}},
                "application/x-www-form-urlencoded": {"schema": {"anyOf": form}},
                "application/json": {"schema": {"anyOf": by_json}},
            },
        },
        "responses": {
            "200": json_answer(
                "The categories.", {"anyOf": [ref("Categories"), ref("CategoriesOfSeveral")]}
            ),
            "default": ref("Problem", "responses"),
        },
    }


def options() -> Schema:
    """The options of a classification, as properties of an object."""
    return {
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "maximum": ClassifyOptions.top_k,
            "description": "at most so many categories",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": ClassifyOptions.threshold,
            "description": "only categories with at least this score",
        },
    }
