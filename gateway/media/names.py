"""What a file's name says: whether it may be a photo or a video, and what its result is called.

Only a first guess that needs no look into the file; :mod:`gateway.media.sniff` decides.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TypeVar

PHOTOS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".heic", ".heif", ".avif"}
VIDEOS = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg"),
    *(".mpeg", ".3gp"),
}
EXTENSIONS = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe"),
    "image/png": (".png",),
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
