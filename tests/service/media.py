"""Photos and short clips with one face in a known place, and drawings of people."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import av
import numpy as np
import pillow_heif
import skimage.data
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from deploy.local import samples
from deploy.local.samples import write_video
from loadtest.media import looped
from tests.leaks import PLACE, SECRET

pillow_heif.register_heif_opener()

FORMATS = ("jpeg", "png", "webp", "gif", "heif", "avif")
FACE = np.s_[90:140, 205:245]  # rows and columns well inside the astronaut's face
SUIT = np.s_[400:, :]  # far from it


@cache
def photo(kind: str = "jpeg") -> bytes:
    """The astronaut, 512 × 512, with a camera's name and a place where the format holds them."""
    image = Image.fromarray(skimage.data.astronaut())
    if kind == "gif":
        return encoded(image.quantize(256), "GIF", comment=SECRET.encode())
    return encoded(image, kind, exif=secrets(), quality=92)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def secrets(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = SECRET
    block.get_ifd(0x8825)[1] = "N"
    block.get_ifd(0x8825)[2] = (IFDRational(47), IFDRational(11), IFDRational(8))
    return block


@cache
def animation(frames: int, width: int = 320, height: int = 240) -> bytes:
    """A GIF of the astronaut drifting sideways."""
    whole = Image.fromarray(skimage.data.astronaut()).quantize(128)
    views = [whole.crop((i, 0, i + width, height)) for i in range(frames)]
    more = {"append_images": views[1:], "duration": 80, "comment": SECRET.encode()}
    return encoded(views[0], "GIF", save_all=True, **more)


def pixels(body: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an encoded picture as it is stored, not turned."""
    with Image.open(io.BytesIO(body)) as image:
        return np.asarray(image.convert("RGB"))


def change(before: bytes, after: bytes) -> np.ndarray:
    """(H, W): how much each pixel differs, over the channels."""
    return np.abs(pixels(before).astype(int) - pixels(after)).mean(axis=2)


@cache
def drawing(figures: int = 1, width: int = 1600) -> bytes:
    """A JPEG photo, 4:3, of a sheet of paper with people that somebody has drawn and painted."""
    photo = Image.fromarray(samples.drawing(figures, width))
    return encoded(photo, "jpeg", exif=secrets(), quality=92)


class Clips:
    """Videos of portraits on a wall, with sound, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def short(self) -> bytes:
        """One second: 30 frames."""
        return self._made(1.0)

    def long(self) -> bytes:
        """A few seconds' work for any machine: 90 frames."""
        return self._made(3.0)

    def minute(self) -> bytes:
        """24 s with a key frame each 3 s: the pod of the tests works on it in pieces."""
        self.long()
        path = self._folder / "minute.mp4"
        return looped(self._folder / "3.0.mp4", path, 8).read_bytes()

    def _made(self, seconds: float) -> bytes:
        path = self._folder / f"{seconds}.mp4"
        if not path.exists():
            plain = write_video(path.with_suffix(".plain.mp4"), seconds, (640, 360))
            path.write_bytes(tagged(plain.read_bytes()))
        return path.read_bytes()


def frames(body: bytes) -> list[np.ndarray]:
    """Every frame of a video, (H, W, 3) uint8 RGB."""
    with av.open(io.BytesIO(body)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def sound(body: bytes) -> list[bytes]:
    """The payloads of a video's sound packets."""
    with av.open(io.BytesIO(body)) as file:
        tracks = file.streams.audio
        return [bytes(packet) for packet in file.demux(tracks) if packet.size] if tracks else []


def tagged(body: bytes) -> bytes:
    """A video with a title, a maker and a place written into it, otherwise the same."""
    out = io.BytesIO()
    options = {"movflags": "use_metadata_tags"}
    with (
        av.open(io.BytesIO(body)) as source,
        av.open(out, "w", format="mp4", container_options=options) as target,
    ):
        target.metadata.update({"title": SECRET, "make": SECRET, "location": PLACE + "/"})
        copies = {
            stream.index: target.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    return out.getvalue()
