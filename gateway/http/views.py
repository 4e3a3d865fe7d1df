"""The JSON shapes of the contract: a photo's answer, a job's view, a problem."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.errors import by_code
from gateway.jobs.store import Job
from gateway.storage import Link, Storage

_PROGRESS = {
    "stage": "queued",
    "frames_done": 0,
    "frames_total": 0,
    "fraction": 0.0,
    "fps": None,
    "eta_seconds": None,
}


def instant(moment: datetime) -> str:
    """ISO 8601 in UTC with seconds, ending in Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def photo_view(ident: str, meta: dict[str, Any], link: Link, report: Link) -> dict[str, Any]:
    """The 200 answer for a photo; ``meta`` as in ``rendering.Rendered``."""
    return {
        "id": ident,
        "kind": "image",
        "url": link.url,
        "report_url": report.url,
        "expires_at": instant(min(link.expires_at, report.expires_at)),
        "content_type": meta["content_type"],
        "width": meta["width"],
        "height": meta["height"],
        "frames": meta["frames"],
        "faces": meta["faces"],
        **({"left_bare": meta["left_bare"]} if meta.get("left_bare") else {}),
        **({"review": meta["review"]} if meta.get("review") else {}),
        "timings": meta["timings"],
    }


def job_view(job: Job, storage: Storage) -> dict[str, Any]:
    """A job as clients see it, with URLs signed now."""
    view: dict[str, Any] = {
        "id": job.id,
        "kind": "video",
        "pipeline": "blur",
        "status": job.status,
        "progress": _progress(job),
        "created_at": when(job.created_at),
        "started_at": when(job.started_at),
        "finished_at": when(job.finished_at),
        "attempts": job.attempts,
        "options": job.options,
    }
    if job.result is not None:
        result = dict(job.result)
        link, report = storage.link(result.pop("key")), storage.link(result.pop("report_key"))
        view["result"] = {
            "url": link.url,
            "report_url": report.url,
            "expires_at": instant(min(link.expires_at, report.expires_at)),
            **result,
        }
    if job.error is not None:
        error = by_code()[job.error["code"]]
        view["error"] = {
            "code": error.code,
            "title": error.title,
            "status": error.status,
            "detail": job.error["message"],
        }
    return view


def problem(status: int, code: str, title: str, detail: str, request_id: str) -> dict[str, Any]:
    """An RFC 9457 problem with our stable code."""
    return {
        "type": f"about:blank#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def _progress(job: Job) -> dict[str, Any]:
    progress = {**_PROGRESS, **job.progress}
    if job.status == "done" and job.result is not None:
        frames = job.result["frames"]
        progress |= {"stage": "store", "frames_done": frames, "frames_total": frames}
        progress |= {"fraction": 1.0, "eta_seconds": 0.0}
    elif job.status == "running" and progress["stage"] == "queued":
        progress["stage"] = "fetch"
    return progress


def when(seconds: float | None) -> str | None:
    """Seconds since the epoch as :func:`instant`."""
    return None if seconds is None else instant(datetime.fromtimestamp(seconds, UTC))
