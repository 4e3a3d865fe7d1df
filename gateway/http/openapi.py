"""The OpenAPI 3.1 document, written by hand; a test holds it against the routes."""

from __future__ import annotations

from gateway.deadline import REQUEST_TIMEOUT
from gateway.errors import MasqueradeError, by_code
from gateway.http import openapi_classify as categories
from gateway.http import openapi_drawings as drawings
from gateway.http import openapi_jobs as jobs
from gateway.http import rendering  # noqa: F401 - its error class belongs into the list
from gateway.http.openapi_objects import (
    BASE64,
    UPLOAD_ID,
    Schema,
    json_answer,
    obj,
    options,
    path,
    ref,
    schemas,
)
from gateway.http.readiness import CHECKS


def document() -> Schema:
    """The whole document as plain values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Masquerade",
            "version": "1",
            "summary": "Blur the faces in photos and videos; bring drawings to life.",
            "description": (
                "Photos and drawings are answered at once; videos become jobs. Every error is"
                " application/problem+json with a stable code and a request id. The header"
                f" {REQUEST_TIMEOUT} (seconds) gives any request a deadline of its own; what is"
                " refused for its load says in Retry-After when to come back. Where the"
                " service asks for API keys, send yours as 'Authorization: Bearer KEY' or"
                " 'X-API-Key: KEY'; RateLimit and RateLimit-Policy then tell what it has left, and"
                " whatever you make is found with your keys only."
            ),
        },
        "security": [{"bearer": []}, {"header": []}, {}],  # the last: where no keys are asked for
        "paths": {
            "/v1/blur": {"post": _blur()},
            "/v1/uploads": {"post": _uploads()},
            "/v1/jobs": {"get": jobs.list_jobs(), "post": jobs.submit()},
            "/v1/jobs/{job_id}/items": {"get": jobs.items()},
            "/v1/jobs/{job_id}/retry": {"post": jobs.retry()},
            "/v1/jobs/{job_id}": {"get": _look(), "delete": _remove()},
            "/v1/jobs/{job_id}/events": {"get": _follow()},
            "/v1/rigs": {"post": drawings.make_rig()},
            "/v1/rigs/{rig_id}": {
                "get": drawings.look_at_rig(),
                "put": drawings.correct_rig(),
                "delete": drawings.delete_rig(),
            },
            "/v1/animate": {"post": drawings.animate()},
            "/v1/classify": {"post": categories.classify()},
            "/v1/motions": {"get": drawings.list_motions(), "post": drawings.bring_motion()},
            "/v1/motions/{motion_id}": {"delete": drawings.delete_motion()},
            **_for_everybody(),
        },
        "components": {
            "schemas": {
                **schemas(),
                **drawings.schemas(),
                **categories.schemas(),
                **jobs.schemas(),
            },
            "responses": {"Problem": _problem()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _for_everybody() -> Schema:
    """What needs no key, wherever keys are asked for."""
    paths: Schema = {
        "/healthz": {"get": _plain("The process answers.", "Liveness", _HEALTH)},
        "/readyz": {"get": _ready()},
        "/metrics": {"get": _plain("Prometheus' text format.", "Metrics", None, "text/plain")},
        "/openapi.json": {"get": _plain("OpenAPI 3.1.", "This document", {"type": "object"})},
        "/docs": {"get": _plain("HTML.", "This document, to read", None, "text/html")},
        "/": {"get": _plain("HTML.", "The web page", None, "text/html")},
        "/page/{name}": {
            "get": {
                "summary": "Files of the web page",
                "parameters": [path("name")],
                "responses": {
                    "200": {
                        "description": "A file.",
                        "content": {"*/*": {"schema": {"type": "string"}}},
                    },
                    "default": ref("Problem", "responses"),
                },
            }
        },
    }
    for item in paths.values():
        item["get"]["security"] = []
    paths["/"]["post"] = drawings.phone()
    return paths


_HEALTH = {"type": "object", "properties": {"status": {"const": "ok"}}}


def _blur() -> Schema:
    form = obj({"file": {"type": "string", "contentMediaType": "*/*"}, **options()})
    by_id = {"upload_id": UPLOAD_ID}
    return {
        "operationId": "blur",
        "summary": "Blur the faces in a photo or a video",
        "description": (
            "Send a file as a form, as base64 in JSON, or the id of an upload."
            " Options may stand in the body or in the query; the body wins."
        ),
        "parameters": [
            {
                "name": "wait",
                "in": "query",
                "description": "seconds to hold the answer of a video until it is done",
                "schema": {"type": "number", "minimum": 0, "default": 0},
            },
            *({"name": k, "in": "query", "schema": v} for k, v in options().items()),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"anyOf": [form, obj({**by_id, **options()})]}},
                "application/x-www-form-urlencoded": {
                    "schema": obj({**by_id, **options()}, ["upload_id"])
                },
                "application/json": {
                    "schema": {
                        "anyOf": [
                            obj({"file": BASE64, **options()}, ["file"]),
                            obj({**by_id, **options()}, ["upload_id"]),
                        ]
                    }
                },
            },
        },
        "responses": {
            "200": json_answer(
                "A photo, or a video that was done within ?wait=.",
                {"anyOf": [ref("Photo"), ref("Job")]},
            ),
            "202": {
                **json_answer("A video was queued.", ref("Job")),
                "headers": {"Location": {"schema": {"type": "string"}}},
            },
            "default": ref("Problem", "responses"),
        },
    }


def _uploads() -> Schema:
    asked = {
        "size": {
            "type": "integer",
            "minimum": 1,
            "description": "bytes; then part of the signature",
        },
        "content_type": {"type": "string", "description": "then to be sent with the PUT"},
    }
    return {
        "operationId": "createUpload",
        "summary": "A place in the bucket for a large file",
        "description": (
            "PUT the file to the URL, with these headers, then send its id where a file is taken."
        ),
        "requestBody": {"content": {"application/json": {"schema": obj(asked)}}},
        "responses": {
            "201": json_answer("A presigned PUT.", ref("Upload")),
            "default": ref("Problem", "responses"),
        },
    }


def _look() -> Schema:
    return {
        "operationId": "getJob",
        "summary": "How a job is doing",
        "parameters": [path("job_id")],
        "responses": {
            "200": json_answer("The job, its URLs signed now.", jobs.any_job()),
            "default": ref("Problem", "responses"),
        },
    }


def _follow() -> Schema:
    return {
        "operationId": "followJob",
        "summary": "A job's progress as server-sent events",
        "description": (
            "Events progress, done, failed and cancelled, each with the job as data: one at"
            " once, one on every change, and a last one. A comment every 15 s keeps it open."
        ),
        "parameters": [path("job_id")],
        "responses": {
            "200": {
                "description": "The stream.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "default": ref("Problem", "responses"),
        },
    }


def _remove() -> Schema:
    return {
        "operationId": "deleteJob",
        "summary": "Cancel a live job, forget a finished one",
        "description": (
            "Cancelling deletes the original. Deleting a job that has ended deletes its"
            " results too, and the job is not known any more. The results of a batch stay where"
            " they were asked for."
        ),
        "parameters": [path("job_id")],
        "responses": {
            "200": json_answer("The job as it now is, or was.", jobs.any_job()),
            "default": ref("Problem", "responses"),
        },
    }


def _ready() -> Schema:
    return {
        "operationId": "readiness",
        "summary": "Readiness",
        "parameters": [
            {
                "name": "exclude",
                "in": "query",
                "description": "checks that are told, but do not decide: exclude=queue&exclude=…",
                "schema": {
                    "type": "array",
                    "items": {"enum": list(CHECKS)},
                    "maxItems": len(CHECKS),
                    "uniqueItems": True,
                },
            }
        ],
        "responses": {
            "200": json_answer("Everything answers.", ref("Readiness")),
            "503": json_answer("Something does not.", ref("Readiness")),
            "default": ref("Problem", "responses"),
        },
    }


def _problem() -> Schema:
    rows = sorted(by_code().values(), key=lambda error: (error.status, error.code))
    known = "; ".join(f"{error.status} {error.code}" for error in rows)
    return {
        "description": f"An error. Codes: {known}.",
        "headers": {
            "Retry-After": {
                "schema": {"type": "integer"},
                "description": f"seconds; with {_statuses_to_retry(rows)}",
            }
        },
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }


def _statuses_to_retry(rows: list[type[MasqueradeError]]) -> str:
    return " and ".join(sorted({str(error.status) for error in rows if error.retry_after}))


def _plain(what: str, summary: str, schema: Schema | None, media: str = "") -> Schema:
    content = {media or "application/json": {"schema": schema or {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": what, "content": content}}}
