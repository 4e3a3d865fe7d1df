"""Routes of batches and trainings: submit, list, what became of each input, retry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request

from gateway.access.owner import own, owner
from gateway.errors import BadOption, BadRequest, MasqueradeError, NotFound
from gateway.http import flows
from gateway.http.batch_views import batch_view, item_view, summary
from gateway.http.intake import read_json
from gateway.jobs import spec as specs
from gateway.jobs.batches import Batch
from gateway.jobs.open_tree import open_tree
from gateway.jobs.queue import training_queue
from gateway.launch import Order, launcher_for
from gateway.settings import Settings

_LARGEST = 64 * 1024  # bytes of a submission
_PAGE, _LARGEST_PAGE = 20, 100


def blueprint(services: flows.Services) -> Blueprint:
    """The routes on these services."""
    launcher_for(services.settings)  # what it lacks is told at the start
    routes = Blueprint("batches", __name__)
    batches, settings, storage = services.queue.batches, services.settings, services.storage

    @routes.post("/v1/jobs")
    def submit() -> tuple[Response, int, dict[str, str]]:
        wanted = read_json(request, _LARGEST, "a job's description")
        if wanted is None:
            raise BadRequest('send a JSON object such as {"pipeline": "blur", "input": …}')
        spec = specs.parse(wanted, settings, storage)
        launcher_for(settings).check(_order(spec, settings))
        batch, new = batches.submit(spec, owner.get())
        _launch(services, batch, new)
        return jsonify(view_of(services, batch)), 202, {"Location": f"/v1/jobs/{batch.id}"}

    @routes.get("/v1/jobs")
    def listed() -> Response:
        """Batches and trainings only: without keys, whoever knows a video's id may see it."""
        limit = _limit()
        found = batches.store.page(_number("before", float("inf")), limit, owner.get())
        more = len(found) == limit
        return jsonify(
            {
                "jobs": [summary(batch, batches.store) for batch in found],
                "next": f"/v1/jobs?limit={limit}&before={found[-1].created_at!r}" if more else None,
            }
        )

    @routes.get("/v1/jobs/<job_id>/items")
    def items(job_id: str) -> Response:
        batch = own(batches.get(job_id))
        if batch.kind != "batch":
            raise NotFound("a training has no items")
        which = request.args.get("state", "done")
        if which not in ("done", "failed"):
            raise BadOption(f"state must be done or failed, not {which[:40]!r}")
        state: Literal["done", "failed"] = "failed" if which == "failed" else "done"
        limit, start = _limit(), int(_number("from", 0))
        found = batches.store.ended(job_id, state, start, limit)
        target = open_tree(batch.spec.output, settings, storage)
        more = f"/v1/jobs/{job_id}/items?state={which}&limit={limit}&from={start + limit}"
        return jsonify(
            {
                "items": [item_view(item, target) for item in found],
                "next": more if len(found) == limit else None,
            }
        )

    @routes.post("/v1/jobs/<job_id>/retry")
    def retry(job_id: str) -> tuple[Response, int, dict[str, str]]:
        batch = own(batches.get(job_id))
        launcher_for(settings).check(_order(batch.spec, settings))
        count = batches.retry(batch)
        batch = batches.get(job_id)
        _launch(services, batch, new=False)
        view = view_of(services, batch) | {"retried": count}
        return jsonify(view), 202, {"Location": f"/v1/jobs/{batch.id}"}

    return routes


def view_of(services: flows.Services, batch: Batch) -> dict[str, Any]:
    """A batch as clients see it."""
    launch: Mapping[str, Any] | None = None
    if batch.live:
        try:
            launch = launcher_for(services.settings).view(batch.id)
        except MasqueradeError as error:  # the job itself is well
            launch = {"state": "unknown", "reason": str(error)}
    if launch is None and (reason := services.queue.batches.hindrance(batch)):
        launch = {"state": "starting", "reason": reason}
    return batch_view(batch, services.queue, services.storage, dict(launch) if launch else None)


def remove(services: flows.Services, batch: Batch) -> None:
    """Cancel a live batch with its workers, forget an ended one; results stay."""
    if not batch.live:
        services.queue.batches.forget(batch)
    elif services.queue.batches.cancel(batch):
        launcher_for(services.settings).cancel(batch.id)


def _launch(services: flows.Services, batch: Batch, new: bool) -> None:
    """Have workers made for it, where that is how things are done here.

    A ``new`` batch that gets none is cancelled: nobody would ever work on it.
    """
    settings = services.settings
    try:
        launcher_for(settings).launch(batch.id, _order(batch.spec, settings))
    except MasqueradeError:
        if new and not _has_workers(services, batch):
            services.queue.batches.cancel(batch)
        raise


def _order(spec: specs.Spec, settings: Settings) -> Order:
    training = spec.pipeline == "train"
    queue = training_queue(settings) if training else ""
    return Order(max(spec.workers, 1), spec.device, spec.gpus, training, queue)


def _has_workers(services: flows.Services, batch: Batch) -> bool:
    """Whether another request, which asked for just the same, has had workers made."""
    try:
        return launcher_for(services.settings).view(batch.id) is not None
    except MasqueradeError:
        return False


def _limit() -> int:
    return max(1, min(int(_number("limit", _PAGE)), _LARGEST_PAGE))


def _number(name: str, default: float) -> float:
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise BadOption(f"{name} must be a number from 0 on, not {text[:40]!r}")
    return value
