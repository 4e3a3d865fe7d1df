"""What a file's name says: whether it may be a photo or a video, and what its result is called.

Only a first guess that needs no look into the file; :mod:`gateway.media.sniff` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath, PurePosixPath
from typing import TypeVar

PHOTOS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".heic", ".heif", ".avif"}
VIDEOS = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg"),
    *(".mpeg", ".3gp"),
}
EXTENSIONS = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe"),
    "image/png": (".png",),
    "image/apng": (".png",),
    "image/webp": (".webp",),
    "image/gif": (".gif",),
    "image/heic": (".heic", ".heif"),
    "image/heif": (".heif", ".heic"),
    "image/avif": (".avif",),
    "video/mp4": (".mp4", ".m4v"),
}
P = TypeVar("P", bound=PurePath)


def is_media(path: PurePath) -> bool:
    """Whether a name promises a photo or a video; hidden files do not."""
    return not path.name.startswith(".") and path.suffix.lower() in PHOTOS | VIDEOS


def with_extension(target: P, content_type: str) -> P:
    """The target with the extension that its content calls for."""
    known = EXTENSIONS.get(content_type, ())
    if not known or target.suffix.lower() in known:
        return target
    return target.with_suffix(known[0])


def forecast(suffix: str) -> str:
    """The extension its result will most likely have; the source's own if that fits."""
    if suffix.lower() in VIDEOS and suffix.lower() not in EXTENSIONS["video/mp4"]:
        return ".mp4"
    return ".jpg" if suffix.lower() in (".heic", ".heif", ".avif") else suffix


def result_name(name: str, content_type: str, beside: Callable[[], Iterable[str]]) -> str:
    """What the result of a file is called, so that no two files of a folder share a result.

    Its own name where that fits ``content_type``; else with another ending (``a.mp4`` of
    ``a.mov``); where another file may need that name, with the new ending behind the old
    (``a.mov.mp4``), as often as it takes. ``name`` is without its folder; ``beside`` answers
    the names of that folder that differ from it in what follows its stem.
    """
    path = PurePosixPath(name)
    fitting = with_extension(path, content_type)
    if fitting == path:
        return name
    others = [PurePosixPath(other) for other in beside() if other != name]
    others = [other for other in others if is_media(other)]
    rivals = [other for other in others if other.stem == path.stem]
    expected = {other.stem + forecast(other.suffix) for other in rivals}
    # Nobody foresees the result of a file whose name says what it is not.
    foreseen = forecast(path.suffix) == fitting.suffix
    if not rivals or (foreseen and fitting.name not in expected):
        return fitting.name
    longer = name
    while any(other.stem == longer for other in others):
        longer += fitting.suffix
    return longer + fitting.suffix
