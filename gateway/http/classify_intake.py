"""From a request to the images that are to be classified: one or several, sent or linked.

Taken are form parts ``file``, base64 in JSON (``file``, or a list ``files``), ``image_url``
(or a list ``image_urls``; in a form, as often as wanted) and one ``upload_id``.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from flask import Request

from gateway.errors import BadRequest, EmptyUpload, TooLarge, UnsupportedMedia
from gateway.http import base64_body
from gateway.http.intake import NOT_OPTIONS, body_limits, check_size, length_of, mapped_body
from gateway.http.receiving import let_go
from gateway.settings import Settings

_WANTED = "a 'file', an 'image_url' or an 'upload_id'"


@dataclass(frozen=True)
class Image:
    """One image asked about: a spooled ``file``, or where it is."""

    file: BinaryIO | None = None
    url: str | None = None
    upload_id: str | None = None


@dataclass(frozen=True)
class Asked:
    """The images in the order they were sent (files, URLs, upload); ``many`` when as a list."""

    images: list[Image]
    many: bool
    options: dict[str, Any]


@contextlib.contextmanager
def receive_images(request: Request, settings: Settings) -> Iterator[Asked]:
    """Read the body of a request; its files live as long as the ``with`` block.

    Raises:
        UnsupportedMedia, BadRequest, EmptyUpload, TooLarge: what is wrong with it.
    """
    limits = body_limits(settings)
    if request.mimetype not in limits:
        raise UnsupportedMedia(f"send {' or '.join(limits)}, with {_WANTED}")
    limit = limits[request.mimetype]
    request.max_content_length = limit
    query = {name: value for name, value in request.args.items() if name not in NOT_OPTIONS}
    with contextlib.ExitStack() as files:
        files.callback(let_go, request)
        if request.mimetype == "application/json":
            with mapped_body(request, limit) as body:
                asked = _from_json(body, query, files, settings.max_classify_images)
        else:
            asked = _from_form(request, query)
        _check(asked, settings)
        yield asked


def _from_form(request: Request, query: dict[str, Any]) -> Asked:
    options = {**query, **request.form.to_dict()}
    urls = request.form.getlist("image_url") + request.form.getlist("image_urls")
    urls = urls or request.args.getlist("image_url")
    parts = [part.stream for part in request.files.getlist("file")]
    upload = options.get("upload_id")
    return _asked(parts, urls, [upload] if upload else [], options)  # type: ignore[arg-type]


def _from_json(
    body: base64_body.Body, query: dict[str, Any], files: contextlib.ExitStack, most: int
) -> Asked:
    def new_file() -> BinaryIO:
        return files.enter_context(tempfile.TemporaryFile())

    sent, members = base64_body.take_all_apart(body, new_file, most)
    options = {**query, **members}
    urls = _texts(options, "image_url", "image_urls")
    many = {"files", "image_urls"} & set(members)
    return _asked(sent, urls, _texts(options, "upload_id"), options, many=bool(many))


def _asked(
    files: list[BinaryIO],
    urls: list[str],
    uploads: list[str],
    options: dict[str, Any],
    *,
    many: bool = False,
) -> Asked:
    for name in ("files", "image_url", "image_urls", "upload_id", *NOT_OPTIONS):
        options.pop(name, None)
    images = [
        *(Image(file=file) for file in files),
        *(Image(url=url) for url in urls),
        *(Image(upload_id=upload) for upload in uploads),
    ]
    return Asked(images, many or len(images) > 1, options)


def _texts(options: dict[str, Any], one: str, several: str = "") -> list[str]:
    """What is given under either name, as a list."""
    found = [options[one]] if options.get(one) not in (None, "") else []
    more = options.get(several, []) if several else []
    if not isinstance(more, list) or not all(isinstance(text, str) for text in [*found, *more]):
        raise BadRequest(
            f"'{one}' must be text" + (f", '{several}' a list of it" if several else "")
        )
    return [*found, *more]


def _check(asked: Asked, settings: Settings) -> None:
    if not asked.images:
        raise EmptyUpload(f"send {_WANTED}, and not an empty one")
    if len(asked.images) > settings.max_classify_images:
        raise TooLarge(f"send at most {settings.max_classify_images} images at once")
    if sum(image.upload_id is not None for image in asked.images) and len(asked.images) > 1:
        raise BadRequest("an 'upload_id' stands alone")
    if not asked.many and asked.images[0].file is not None:
        check_size(length_of(asked.images[0].file), "image", settings)
