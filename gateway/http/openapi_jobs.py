"""The part of the OpenAPI document that is about batches and trainings."""

from __future__ import annotations

from typing import Any

from gateway.errors import by_code
from gateway.http.openapi_objects import INSTANT, URL, Schema, json_answer, obj, options, path, ref
from gateway.jobs.spec import DEVICES, MAX_GPUS, MAX_WORKERS
from gateway.jobs.store import STATUSES

_WHOLE, _NUMBER = {"type": "integer"}, {"type": "number"}
_MAYBE = {"type": ["number", "null"]}
_PLACE = {"type": "string", "description": "s3://bucket/prefix/, or a folder that is allowed"}
_LOCATION = {"Location": {"schema": {"type": "string"}}}
_NEXT = {"type": ["string", "null"], "description": "path of the next page"}


def any_job() -> Schema:
    """A single video, a batch or a training."""
    return {"anyOf": [ref("Job"), ref("Batch"), ref("Training")]}


def submit() -> Schema:
    """``POST /v1/jobs``."""
    return {
        "operationId": "createJob",
        "summary": "Blur everything under a prefix or folder, or train a model",
        "description": (
            "Inputs are found recursively and listed lazily; the output mirrors them. Their endings"
            " tell what they are; other files, and hidden ones (their name, or a folder's above"
            " them, begins with a dot), are left out and not counted. A result"
            " that is there already, from the same version of its source and the same options,"
            " is skipped. Asking for just what a live job does answers that job."
        ),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [_blur(), _training()]}}},
        },
        "responses": {
            "202": {
                **json_answer("The job was queued.", _many()),
                "headers": _LOCATION,
            },
            "default": ref("Problem", "responses"),
        },
    }


def list_jobs() -> Schema:
    """``GET /v1/jobs``."""
    page = {"jobs": {"type": "array", "items": _many()}, "next": _NEXT}
    return {
        "operationId": "listJobs",
        "summary": "Batches and trainings, newest first",
        "description": (
            "Single videos are not listed: who knows the id of one may see its result."
            " Members that take much room are left out; ask for the job itself."
        ),
        "parameters": [
            *_paging(),
            {
                "name": "before",
                "in": "query",
                "description": "seconds since the epoch; as the page before gave it",
                "schema": {"type": "number", "minimum": 0},
            },
        ],
        "responses": {
            "200": json_answer("A page of them.", obj(page, list(page))),
            "default": ref("Problem", "responses"),
        },
    }


def items() -> Schema:
    """``GET /v1/jobs/{job_id}/items``."""
    page = {"items": {"type": "array", "items": ref("Item")}, "next": _NEXT}
    return {
        "operationId": "listItems",
        "summary": "What became of a batch's inputs, the latest first",
        "parameters": [
            path("job_id"),
            {"name": "state", "in": "query", "schema": {"enum": ["done", "failed"]}},
            *_paging(),
            {"name": "from", "in": "query", "schema": {"type": "integer", "minimum": 0}},
        ],
        "responses": {
            "200": json_answer("A page of them, links signed now.", obj(page, list(page))),
            "default": ref("Problem", "responses"),
        },
    }


def retry() -> Schema:
    """``POST /v1/jobs/{job_id}/retry``."""
    return {
        "operationId": "retryJob",
        "summary": "Try what has failed again",
        "description": "409 when nothing has, or the job was cancelled.",
        "parameters": [path("job_id")],
        "responses": {
            "202": {
                **json_answer("The job, with ``retried``: how many inputs wait again.", _many()),
                "headers": _LOCATION,
            },
            "default": ref("Problem", "responses"),
        },
    }


def schemas() -> Schema:
    """Every object of jobs by its name."""
    maybe = {"anyOf": [INSTANT, {"type": "null"}]}
    reason: Schema = {
        "code": {"enum": sorted(by_code())},
        "title": {"type": "string"},
        "status": _WHOLE,
        "detail": {"type": "string"},
    }
    progress = {
        "stage": {"type": "string", "description": "list while inputs are still being found"},
        "frames_done": _WHOLE,
        "frames_total": {**_WHOLE, "description": "guessed by bytes; 0 while unknown"},
        "fraction": {"type": "number", "minimum": 0, "maximum": 1, "description": "of all bytes"},
        "fps": {**_MAYBE, "description": "frames a second, of the last minute"},
        "eta_seconds": _MAYBE,
        "video_seconds_done": _NUMBER,
        "video_seconds_total": {**_MAYBE, "description": "guessed by bytes"},
        "video_seconds_per_second": _NUMBER,
        "faces": _WHOLE,
    }
    counted = ("total", "done", "skipped", "failed", "left", "workers")
    numbers: dict[str, Any] = dict.fromkeys(counted, _WHOLE)
    common = {
        "id": {"type": "string"},
        "status": {"enum": list(STATUSES)},
        "created_at": INSTANT,
        "started_at": maybe,
        "finished_at": maybe,
    }
    running = {"name": {"type": "string"}, "stage": {"type": "string"}, "fraction": _NUMBER}
    launch = {
        "type": ["object", "null"],
        "description": "the workers made for it: name, state, active, succeeded, failed, reason;"
        " where none are made, the reason why nobody begins",
    }
    pace = {"begin": _NUMBER, "length": _NUMBER, "video_seconds_per_second": _NUMBER}
    more = {
        "running": {"type": "array", "items": obj({**running, "fps": _MAYBE})},
        "launch": launch,
        "error": {**obj(reason, list(reason)), "description": "when the job itself failed"},
    }
    batch = {
        **common,
        "kind": {"const": "batch"},
        **_blur()["properties"],
        "progress": obj(progress, list(progress)),
        "items": obj({**numbers, "listed": {"type": "boolean"}}, [*numbers, "listed"]),
        **more,
        "pace": {"type": "array", "items": obj({**pace, "fps": _NUMBER})},
        "failures": {
            "type": "array",
            "items": ref("Item"),
            "description": "the latest hundred; the rest by /items?state=failed",
        },
    }
    training = {
        **common,
        "kind": {"const": "training"},
        **_training()["properties"],
        "progress": obj(progress),
        **more,
        "training": {"type": ["object", "null"], "description": "step, metrics, links"},
    }
    item = {
        "name": {"type": "string", "description": "below the input"},
        "at": INSTANT,
        "output": {"type": "string", "description": "below the output"},
        "kind": {"enum": ["image", "video"]},
        "frames": {"type": ["integer", "null"]},
        "seconds": _MAYBE,
        "faces": {"type": ["integer", "null"]},
        "url": {"anyOf": [URL, {"type": "null"}]},
        **{name: {**value, "description": "when failed"} for name, value in reason.items()},
    }
    needed = ("id", "kind", "status", "created_at", "pipeline", "progress")
    return {
        "Batch": obj(batch, [*needed, "items"]),
        "Training": obj(training, list(needed)),
        "Item": obj(item, ["name", "at"]),
    }


def _blur() -> Schema:
    return obj(
        {
            "pipeline": {"const": "blur"},
            "input": _PLACE,
            "output": {**_PLACE, "description": f"{_PLACE['description']}; not the input"},
            **_workers(),
            "options": obj(options()),
            "report": {
                "type": "boolean",
                "default": False,
                "description": "also write NAME.report.json beside each result",
            },
        },
        ["pipeline", "input", "output"],
    )


def _training() -> Schema:
    return obj(
        {
            "pipeline": {"const": "train"},
            "model": {"type": "string"},
            **_workers(),
            "params": {"type": "object", "description": "options of the model's training script"},
        },
        ["pipeline", "model"],
    )


def _workers() -> Schema:
    return {
        "workers": {
            **{"type": "integer", "minimum": 0, "maximum": MAX_WORKERS, "default": 0},
            "description": "to be launched; where none are (MASQUERADE_LAUNCHER=local), whatever"
            " workers run do it",
        },
        "device": {
            **{"enum": list(DEVICES), "default": "cpu"},
            "description": "of their models, where workers are launched; of a training everywhere",
        },
        "gpus": {"type": "integer", "minimum": 1, "maximum": MAX_GPUS, "default": 1},
    }


def _many() -> Schema:
    return {"anyOf": [ref("Batch"), ref("Training")]}


def _paging() -> list[Schema]:
    limit = {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    return [{"name": "limit", "in": "query", "schema": limit}]
