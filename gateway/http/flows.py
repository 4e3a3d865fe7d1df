"""What happens to a file once it is in: the steps of a photo and of a video to be blurred.

Nothing here decodes: pixels are the renderer's and the workers' business.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from gateway import admission, carry, deadline, metrics
from gateway.access.owner import owner
from gateway.admission import Admission, Board, Gate
from gateway.errors import (
    ClientGone,
    DeadlineExceeded,
    MasqueradeError,
    StorageUnavailable,
    UnsupportedMedia,
    is_disk_full,
)
from gateway.fetch.fetcher import Fetcher
from gateway.http import hangups
from gateway.http.intake import HEAD, Incoming, check_size
from gateway.http.receiving import Receiving
from gateway.http.rendering import Rendered, Renderer
from gateway.http.views import photo_view
from gateway.jobs.queue import JobQueue
from gateway.jobs.store import Job, leave_to_sweep
from gateway.media.sniff import sniff
from gateway.object_names import RESULTS, new_token, upload_key
from gateway.pipelines.options import BlurOptions
from gateway.settings import Settings
from gateway.storage import Storage

if TYPE_CHECKING:
    from gateway.models import Classifier

log = logging.getLogger(__name__)

_PASSING = (404, 409, 429, 499, 503)


@dataclass
class Services:
    """Everything behind the routes. Of ``models`` each needs ``name`` and ``ready()`` only."""

    settings: Settings
    storage: Storage
    queue: JobQueue
    renderer: Renderer
    models: Sequence[Any]
    classifier: Classifier | None = None
    board: Board = field(default_factory=Board)
    fetcher: Fetcher = field(init=False)
    gates: Admission = field(init=False)
    receiving: Receiving = field(init=False)

    def __post_init__(self) -> None:
        self.gates = Admission(self.settings, self.board)
        self.receiving = Receiving(self.settings, self.board)
        self.fetcher = Fetcher.from_settings(self.settings)

    @classmethod
    def connect(cls, settings: Settings) -> Services:
        """The real ones; opens no connection yet."""
        from gateway.models import Classifier, FaceDetector, PatientDetector, Rigger

        classifier = Classifier.from_settings(settings) if settings.classifier else None
        return cls(
            settings,
            Storage(settings, settings.s3_timeout),
            JobQueue(settings),
            Renderer(settings),
            [
                FaceDetector.from_settings(settings),
                PatientDetector.from_settings(settings),
                Rigger.from_settings(settings),
                *([classifier] if classifier else []),
            ],
            classifier,
            admission.SHARED,
        )


def blur_sent(services: Services, incoming: Incoming, options: BlurOptions) -> dict[str, Any] | Job:
    """A file that came with the request: a finished photo's view, or a queued job."""
    file = incoming.file
    assert file is not None
    head = incoming.head()
    if _kind(head, incoming.size, services.settings) == "image":
        gate = services.gates.of_photo(head, incoming.size)
        with gate.entered():
            return _blur_photo(services, gate, file, incoming.size, options)
    probes = services.gates.probes
    with probes.entered(), probes.at_work() as work:
        probed = services.renderer.probe(file)
        work.seconds = probed.seconds
    key = upload_key(new_token())
    try:
        with hangups.giving_up():
            services.storage.put(key, file, "application/octet-stream")
        return services.queue.submit(
            key, options.as_dict(), int(probed.meta.get("frames") or 0), owner.get()
        )
    except BaseException as error:
        undo(services, error, key)
        raise


def blur_uploaded(services: Services, upload_id: str, options: BlurOptions) -> dict[str, Any] | Job:
    """A file that was put into the bucket: as above.

    The original is deleted whatever happens, except when asking again can succeed
    (busy, something down or full) or another job works on it.
    """
    key = upload_key(upload_id)
    storage, settings = services.storage, services.settings
    with dropped_on_failure(services, key):
        size = storage.size(key)
        check_size(size, None, settings)
        head = storage.head(key, min(HEAD, size))
        if _kind(head, size, settings) == "video":
            return services.queue.submit(key, options.as_dict(), owner=owner.get())
        gate = services.gates.of_photo(head, size)
        with gate.entered(), tempfile.TemporaryFile() as file:
            with hangups.giving_up():
                storage.fetch(key, file)
            view = _blur_photo(services, gate, file, size, options)
    delete(services, key)
    return view


@contextlib.contextmanager
def dropped_on_failure(services: Services, key: str) -> Iterator[None]:
    """Delete an upload when the block fails, unless asking again can succeed."""
    try:
        yield
    except BaseException as error:
        if not _is_passing(error):
            delete(services, key)
        raise


def discard(services: Services, upload_id: str) -> None:
    """Delete an upload whose request was refused, unless a job works on it."""
    with contextlib.suppress(MasqueradeError):
        key = upload_key(upload_id)
        if key not in services.queue.store.originals():
            delete(services, key)


def cancel(services: Services, job: Job) -> None:
    """Stop a live job and delete its original and whatever it has written."""
    if services.queue.cancel(job):
        now = services.queue.store.get(job.id) or job
        delete(services, job.original, *now.places)


def forget(services: Services, job: Job) -> None:
    """Delete a finished job with its results."""
    services.storage.delete([*job.places, job.original])
    services.queue.forget(job)


def _kind(head: bytes, size: int, settings: Settings) -> str:
    kind = sniff(head)
    if kind is None:
        raise UnsupportedMedia(
            "this is no photo or video that we read; JPEG, PNG, WebP, HEIC, AVIF, GIF,"
            " MP4, MOV, MKV, WebM, AVI and MPEG-TS are"
        )
    check_size(size, kind, settings)
    return kind


def _blur_photo(
    services: Services, gate: Gate, file: BinaryIO, size: int, options: BlurOptions
) -> dict[str, Any]:
    begun = time.perf_counter()
    with gate.at_work() as work:
        large = gate is services.gates.large_photos
        rendered = services.renderer.image(file, size, options, large=large)
        work.seconds = rendered.seconds
    with rendered.body:
        drawn = time.perf_counter()
        deadline.check()
        token = new_token()
        keys = _store_photo(services, token, rendered)
    done = time.perf_counter()
    meta = rendered.meta
    meta["timings"] = {
        **meta["timings"],
        "store_ms": round(1000 * (done - drawn), 1),
        "total_ms": round(1000 * (done - begun), 1),
    }
    metrics.photo(len(meta["faces"]), meta["timings"])
    links = [services.storage.link(key) for key in keys]
    return photo_view(token, meta, *links)


def _store_photo(services: Services, token: str, rendered: Rendered) -> tuple[str, str]:
    storage, meta = services.storage, rendered.meta
    key = f"{RESULTS}{token}/blurred.{meta['extension']}"
    report_key = f"{RESULTS}{token}/report.json"
    report = {"id": token, "kind": "image", **meta["report"]}
    text = io.BytesIO(json.dumps(report, separators=(",", ":")).encode())
    name = f"blurred.{meta['extension']}"
    try:
        with hangups.giving_up(), ThreadPoolExecutor(1) as beside:
            second = beside.submit(
                carry.along(storage.put), report_key, text, "application/json", "report.json"
            )
            storage.put(key, rendered.body, meta["content_type"], name)  # type: ignore[arg-type]
            second.result()
    except BaseException as error:
        undo(services, error, key, report_key)
        raise
    return key, report_key


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, MasqueradeError):
        return error.status in _PASSING or deadline.left() <= deadline.EARLY  # more time may do
    return is_disk_full(error)


def delete(services: Services, *keys: str) -> None:
    """Delete objects; what the store does not delete now, the workers' sweep will."""
    try:
        services.storage.delete(keys)
    except MasqueradeError:
        leave_to_sweep(services.queue.store, *keys)


def undo(services: Services, error: BaseException, *keys: str) -> None:
    """Delete what a request wrote that failed; without waiting once more for a store that
    was just waited for in vain. What was being sent when it was given up may still arrive."""
    if not isinstance(error, StorageUnavailable):
        delete(services, *keys)
    if isinstance(error, StorageUnavailable | ClientGone | DeadlineExceeded):
        leave_to_sweep(services.queue.store, *keys)
