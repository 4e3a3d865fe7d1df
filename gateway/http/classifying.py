"""What happens to images that are to be classified: fetch → decode and shrink → score → tell.

Nothing here decodes: pixels are the renderer's business. The model is asked from here, so
that a renderer's process is free again at once and the model server finds several requests
to run together.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from gateway import carry, deadline, metrics
from gateway.errors import MasqueradeError, NotFound, UnsupportedMedia
from gateway.http import hangups
from gateway.http.classify_intake import Asked, Image
from gateway.http.flows import Services, delete, dropped_on_failure
from gateway.http.intake import check_size
from gateway.media.sniff import HEAD_BYTES, image_format
from gateway.object_names import upload_key
from gateway.pipelines.classify_image import ClassifyOptions, highest

_AT_ONCE = 4  # images of one request
_OURS = (429, 499, 500, 503)  # errors that are not about one image

T = TypeVar("T")
U = TypeVar("U")


def classify(services: Services, asked: Asked, options: ClassifyOptions) -> dict[str, Any]:
    """The answer of the contract: of one image, or of several with each one's own error.

    Raises:
        NotFound: this pod has no classifier. Busy: too many ask. MasqueradeError: the one
            image's error, or one that is nobody's image's. DeadlineExceeded: no time is left.
    """
    if services.classifier is None:
        raise NotFound("this service has no classifier")
    with _room(services, asked.images):
        if asked.many:
            return _several(services, asked.images, options)
        with _here(services, asked.images[0]) as here, services.gates.classifications.entered():
            return _one(services, here, options)


def _several(services: Services, images: list[Image], options: ClassifyOptions) -> dict[str, Any]:
    """First all are fetched, then all are classified: who waits for a fetch takes no place."""
    with contextlib.ExitStack() as files, ThreadPoolExecutor(_AT_ONCE) as pool:

        def each(work: Callable[[T], U], items: Iterable[T]) -> list[U | dict[str, Any]]:
            # The request's id goes along into the log and to the renderer.
            started = [pool.submit(carry.along(_or_its_error), work, item) for item in items]
            wait(started, return_when=FIRST_EXCEPTION)
            for future in started:
                future.cancel()  # after a failure: those that wait need not begin
            return [future.result() for future in started]

        found = each(lambda image: files.enter_context(_here(services, image)), images)
        there = [here for here in found if isinstance(here, _Here)]
        if not there:
            return {"images": found, "model": None}
        with services.gates.classifications.entered(len(there)):
            done = iter(each(lambda here: _one(services, here, options), there))
        views = [next(done) if isinstance(here, _Here) else here for here in found]
    model = next((view["model"] for view in views if "model" in view), None)
    for view in views:
        view.pop("model", None)
    return {"images": views, "model": model}


def _or_its_error(work: Callable[[T], U], item: T) -> U | dict[str, Any]:
    """What the work makes of one of several images, or the view of what is wrong with it."""
    try:
        return work(item)
    except MasqueradeError as error:
        if error.status in _OURS:
            raise
        deadline.check(deadline.EARLY)  # the end of the request's time is no image's fault
        told = {"code": error.code, "title": error.title, "status": error.status}
        return {"error": {**told, "detail": str(error)}}


def _one(services: Services, here: _Here, options: ClassifyOptions) -> dict[str, Any]:
    assert services.classifier is not None
    begun = time.perf_counter()
    with services.gates.classifications.at_work() as work:
        seen = services.renderer.shown(here.file, here.file.seek(0, os.SEEK_END))
        work.seconds = seen.seconds
    decoded = time.perf_counter()
    with hangups.giving_up():
        found = services.classifier.classify_packed(seen.frames)
    done = time.perf_counter()
    timings = {
        "fetch_ms": round(1000 * here.seconds, 1),
        "decode_ms": round(1000 * (decoded - begun), 1),
        "model_ms": round(1000 * (done - decoded), 1),
        "total_ms": round(1000 * (here.seconds + done - begun), 1),
    }
    metrics.classified(timings)
    return {
        "categories": options.told(highest(frame.scores for frame in found)),
        "model": found[0].model,
        **seen.meta,
        "timings": timings,
    }


# getting them here


@contextlib.contextmanager
def _room(services: Services, images: Iterable[Image]) -> Iterator[None]:
    """In with all images that come from elsewhere, until the last of their files is gone."""
    count = sum(image.file is None for image in images)
    with services.gates.fetches.entered(count) if count else contextlib.nullcontext():
        yield


@dataclass(frozen=True)
class _Here:
    """An image's bytes, and how long it took to get them (seconds)."""

    file: BinaryIO
    seconds: float


@contextlib.contextmanager
def _here(services: Services, image: Image) -> Iterator[_Here]:
    """An image that was sent, or fetched from where it is; an upload is deleted after use."""
    begun = time.perf_counter()
    with _bytes_of(services, image) as file:
        _check_picture(services, file)
        yield _Here(file, time.perf_counter() - begun)


@contextlib.contextmanager
def _bytes_of(services: Services, image: Image) -> Iterator[BinaryIO]:
    if image.file is not None:
        yield image.file
        return
    with tempfile.TemporaryFile() as file:
        if image.url is not None:
            with hangups.giving_up():
                services.fetcher.fetch(image.url, file)
            yield file
            return
        assert image.upload_id is not None
        key = upload_key(image.upload_id)
        with dropped_on_failure(services, key):
            with hangups.giving_up():
                check_size(services.storage.size(key), "image", services.settings)
                services.storage.fetch(key, file)
            yield file
        delete(services, key)


def _check_picture(services: Services, file: BinaryIO) -> None:
    check_size(file.seek(0, os.SEEK_END), "image", services.settings)
    file.seek(0)
    if image_format(file.read(HEAD_BYTES)) is None:
        raise UnsupportedMedia(
            "this is no picture that we read; JPEG, PNG, WebP, HEIC, AVIF and GIF are"
        )
