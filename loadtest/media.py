"""What is measured on: real clips and photos where there are some, else generated ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

from deploy.local.samples import portrait, wall, write_photo, write_video

U8 = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Reference = dict[int, Boxes]

SPEED_CLIPS = ("v2_woman_720p30", "s1_synth_720p30_10s", "s2_synth_1080p30_10s")
LONG_CLIP = "s2_synth_1080p30_10s"
QUICK_FRAMES = 100

# The face in scikit-image's astronaut, x1 y1 x2 y2, as the detector draws it.
FACE = (182.0, 58.0, 270.0, 178.0)
BIG_SIZE = (4000, 3000)
AROUND = 0.3  # pasted around a face, of its height
# Heights of the faces in the 12-megapixel photo and where their middles are, pixels.
BIG_FACES = (
    (1500, 1100, 1300),
    (700, 2800, 700),
    (300, 2600, 1700),
    (150, 3200, 1600),
    (64, 3500, 500),
    (40, 3600, 1000),
    (24, 3500, 1900),
    (20, 3750, 2300),
)


@dataclass(frozen=True)
class Media:
    """Files to measure on; ``reference``: the faces known to be in them, by frame."""

    photos: list[Path]
    videos: list[Path]
    reference: dict[Path, Reference] = field(default_factory=dict)

    def video(self, name: str) -> Path:
        """The clip of that name."""
        return next(path for path in self.videos if path.stem == name)


def find(folder: Path | None, work: Path, quick: bool) -> Media:
    """The clips and photos of ``folder``, or generated ones; short clips when ``quick``."""
    if folder is None:
        return _generated(work, quick)
    photos = sorted((folder / "images").glob("*.jpg"))
    videos = sorted((folder / "videos").glob("*.mp4"))
    boxes = json.loads((folder / "faces_reference.json").read_text())
    reference = {
        path: {
            entry["frame"]: np.array(entry["boxes"], np.float32).reshape(-1, 4)
            for entry in boxes.get(f"{path.parent.name}/{path.name}", [])
        }
        for path in (*photos, *videos)
    }
    if quick:
        short = {path: trimmed(path, work / path.name) for path in videos}
        for path, new in short.items():
            kept = {n: b for n, b in reference.pop(path).items() if n < QUICK_FRAMES - 4}
            reference[new] = kept
        videos = list(short.values())
    return Media(photos, videos, reference)


def _generated(work: Path, quick: bool) -> Media:
    sizes = ((1280, 720), (1280, 720), (1920, 1080))
    videos = []
    for name, size, seconds in zip(SPEED_CLIPS, sizes, (6.0, 10.0, 10.0), strict=True):
        path = work / f"{name}.mp4"
        write_video(path, QUICK_FRAMES / 30 if quick else seconds, size)
        videos.append(path)
    photo = write_photo(work / "portrait.jpg")
    return Media([photo], videos, {photo: {0: np.array([FACE], np.float32)}})


def trimmed(source: Path, out: Path, frames: int = QUICK_FRAMES) -> Path:
    """The first frames with their sound, by stream copy."""
    return _copied(source, out, frames, 1)


def looped(source: Path, out: Path, times: int) -> Path:
    """The clip several times in a row, by stream copy."""
    return _copied(source, out, 1 << 30, times)


def _copied(source: Path, out: Path, frames: int, times: int) -> Path:
    with av.open(str(out), "w") as target:
        with av.open(str(source)) as first:
            kept = [s for s in first.streams if s.type in ("video", "audio")]
            streams = {s.index: target.add_stream_from_template(s) for s in kept}
        start, last = 0.0, dict[int, int]()
        for _ in range(times):
            with av.open(str(source)) as round_:
                end = 0.0
                left = frames
                for packet in round_.demux([round_.streams[index] for index in streams]):
                    if packet.dts is None or packet.pts is None:
                        continue
                    is_picture = packet.stream.type == "video"
                    left -= is_picture
                    if left < 0:
                        break
                    base = packet.time_base
                    if is_picture:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * base))
                    shift = round(start / base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    # Sound that outlasts its picture would overlap the next round's.
                    if packet.dts <= last.get(packet.stream.index, packet.dts - 1):
                        continue
                    last[packet.stream.index] = packet.dts
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
            start += end
    return out


def frame_count(path: Path) -> int:
    """Pictures stored in a video."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def big_photo(path: Path) -> tuple[Path, Boxes]:
    """A 12-megapixel JPEG (quality 90) with faces of 20 to 1,500 px, and their boxes.

    A wall, the portrait's head pasted in eight sizes, and a sensor's grain over all,
    which gives the file the size that such photos have.
    """
    width, height = BIG_SIZE
    brick = np.asarray(skimage.data.brick(), np.uint8)
    tiled = np.tile(brick, (-(-height // len(brick)), -(-width // len(brick))))
    scene = np.dstack([tiled[:height, :width]] * 3)
    x1, y1, x2, y2 = FACE
    room = AROUND * (y2 - y1)
    cut = np.array([x1 - room, y1 - room, x2 + room, y2 + room]).astype(int)
    head = portrait()[cut[1] : cut[3], cut[0] : cut[2]]
    boxes = []
    for tall, x, y in BIG_FACES:
        zoom = tall / (y2 - y1)
        size = (round(head.shape[1] * zoom), round(head.shape[0] * zoom))
        how = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
        pasted = cv2.resize(head, size, interpolation=how)
        left, top = x - size[0] // 2, y - size[1] // 2
        scene[top : top + size[1], left : left + size[0]] = pasted
        corner = np.array([left, top], np.float32)
        inside = np.array([[x1, y1], [x2, y2]]) - cut[:2]
        boxes.append((inside * zoom + corner).reshape(4))
    grain = np.random.default_rng(12).normal(0, 4, scene.shape).astype(np.float32)
    noisy = np.clip(scene + grain, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path, np.array(boxes, np.float32)


def hd_photo(path: Path) -> Path:
    """A 1280×720 JPEG of portraits on a wall."""
    cv2.imwrite(str(path), wall()[:720, 60:1340, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path
