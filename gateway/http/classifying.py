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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, BinaryIO

from gateway import metrics
from gateway.errors import MasqueradeError, NotFound, UnsupportedMedia
from gateway.http.classify_intake import Asked, Image
from gateway.http.flows import Services, delete, dropped_on_failure
from gateway.http.intake import check_size
from gateway.media.sniff import HEAD_BYTES, image_format
from gateway.pipelines.classify_image import ClassifyOptions, highest
from gateway.storage import upload_key

_AT_ONCE = 4  # images of one request
_OURS = (500, 503)  # errors that are not about one image


def classify(services: Services, asked: Asked, options: ClassifyOptions) -> dict[str, Any]:
    """The answer of the contract: of one image, or of several with each one's own error.

    Raises:
        NotFound: this pod has no classifier. Busy: too many ask. MasqueradeError: the one
            image's error, or one that is nobody's image's.
    """
    if services.classifier is None:
        raise NotFound("this service has no classifier")
    with services.gates.classifications.entered(len(asked.images)):
        if not asked.many:
            return _one(services, asked.images[0], options)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # The request's id goes along into the log and to the renderer.
            started = [
                pool.submit(copy_context().run, _one_of_many, services, image, options)
                for image in asked.images
            ]
            views = [future.result() for future in started]
    model = next((view.pop("model") for view in views if "model" in view), None)
    for view in views:
        view.pop("model", None)
    return {"images": views, "model": model}


def _one_of_many(services: Services, image: Image, options: ClassifyOptions) -> dict[str, Any]:
    try:
        return _one(services, image, options)
    except MasqueradeError as error:
        if error.status in _OURS:
            raise
        told = {"code": error.code, "title": error.title, "status": error.status}
        return {"error": {**told, "detail": str(error)}}


def _one(services: Services, image: Image, options: ClassifyOptions) -> dict[str, Any]:
    assert services.classifier is not None
    begun = time.perf_counter()
    with _bytes_of(services, image) as file:
        _check_picture(services, file)
        fetched = time.perf_counter()
        seen = services.renderer.shown(file, file.seek(0, os.SEEK_END))
        services.gates.classifications.took(seen.seconds)
    decoded = time.perf_counter()
    found = services.classifier.classify_packed(seen.frames)
    done = time.perf_counter()
    timings = {
        "fetch_ms": round(1000 * (fetched - begun), 1),
        "decode_ms": round(1000 * (decoded - fetched), 1),
        "model_ms": round(1000 * (done - decoded), 1),
        "total_ms": round(1000 * (done - begun), 1),
    }
    metrics.classified(timings)
    return {
        "categories": options.told(highest(frame.scores for frame in found)),
        "model": found[0].model,
        **seen.meta,
        "timings": timings,
    }


@contextlib.contextmanager
def _bytes_of(services: Services, image: Image) -> Iterator[BinaryIO]:
    """The image's bytes in a file, wherever they were; an upload is deleted after use."""
    if image.file is not None:
        yield image.file
        return
    with tempfile.TemporaryFile() as file:
        if image.url is not None:
            services.fetcher.fetch(image.url, file)
            yield file
            return
        assert image.upload_id is not None
        key = upload_key(image.upload_id)
        with dropped_on_failure(services, key):
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
