"""Whole files of every format, small ones, that the damaged are made from."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pillow_heif
import skimage.data
from PIL import Image, ImageCms

from deploy.local import samples as demo
from gateway.drawings import motions
from tests.clips import Clip, Sound, make

pillow_heif.register_heif_opener()

PICTURES = ("jpeg", "png", "apng", "webp", "gif", "heif", "avif")
VIDEOS = ("mp4", "mov", "mkv", "webm", "avi", "ts")
FORMATS = (*PICTURES, *VIDEOS, "drawing", "mask", "bvh")

_MOTIONS = Path(str(motions.__file__)).parent
_SUFFIX = {"jpeg": "jpg", "apng": "png", "heif": "heic", "drawing": "jpg", "mask": "png"}


def suffix(kind: str) -> str:
    """What names of such files end in."""
    return _SUFFIX.get(kind, kind)


@cache
def sample(kind: str) -> bytes:
    """A whole file of one of the ``FORMATS``."""
    if kind in VIDEOS:
        return _video(kind)
    if kind == "bvh":
        return _short_motion()
    if kind == "drawing":
        return _saved(Image.fromarray(demo.drawing(1, 480)), "jpeg", quality=85)
    if kind == "mask":
        return _saved(Image.linear_gradient("L").resize((120, 160)), "png")
    return _picture(kind)


@cache
def motion_configs() -> tuple[bytes, bytes]:
    """Motion and retarget configuration that go with the BVH."""
    return (_MOTIONS / "dab.yaml").read_bytes(), (_MOTIONS / "front.yaml").read_bytes()


def colour_profile() -> bytes:
    """sRGB's."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _short_motion(frames: int = 4) -> bytes:
    text = (_MOTIONS / "dab.bvh").read_text()
    skeleton, _, motion = text.partition("Frames:")
    _, interval, *lines = motion.splitlines()
    return "\n".join([f"{skeleton}Frames: {frames}", interval, *lines[:frames], ""]).encode()


def _picture(kind: str) -> bytes:
    face = Image.fromarray(skimage.data.astronaut()[:240, 120:360]).resize((120, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in ("apng", "gif"):
        views = [face.rotate(angle).quantize(64) for angle in (0, 5, 10)]
        more = {"save_all": True, "append_images": views[1:], "duration": 70, "loop": 2}
        return _saved(views[0], "png" if kind == "apng" else "gif", **more)
    return _saved(face, kind, exif=exif, icc_profile=colour_profile())


def _saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def _video(kind: str) -> bytes:
    codec, sounds = "libx264", [Sound()]
    if kind == "webm":
        codec, sounds = "libvpx-vp9", []
    elif kind == "avi":
        codec, sounds = "mpeg4", [Sound(codec="mp3")]
    container = {"ts": "mpegts", "mkv": "matroska"}.get(kind, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sample.{kind}"
        clip = Clip(codec=codec, frames=8, sounds=sounds, options={"g": "4"})
        return make(path, clip, container=container).read_bytes()
