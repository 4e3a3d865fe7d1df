"""Photos and animations through the whole blur, with a detector that sees painted faces."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from faces_fakes import (
    FACE_BOX,
    PaintDetector,
    RealDetector,
    astronaut,
    paint,
    painted_faces,
    wallpaper,
)
from PIL import Image, ImageSequence

from gateway.errors import BadMedia, ModelUnavailable, TooLarge, UnsupportedMedia
from gateway.faces.boxes import Detections, iou
from gateway.faces.views import bgr8, planes
from gateway.media.images import ImageLimits, open_picture
from gateway.pipelines import look
from gateway.pipelines.blur_image import BlurredImage, blur_image
from gateway.pipelines.options import BlurOptions

LIMITS = ImageLimits(bytes=8 << 20, pixels=2_000_000, frames=60)
SOLID = BlurOptions(style="solid")
BOX = (60, 30, 100, 78)
HEIGHT, WIDTH = 120, 168


def scene(box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """A room with one face, (H, W, 3) BGR."""
    return paint(wallpaper(HEIGHT, WIDTH), box)


def save(picture: np.ndarray | Image.Image, kind: str, **settings: Any) -> bytes:
    """A BGR array, or Pillow's own, as a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture[..., ::-1])
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def frames_of(result: BlurredImage) -> list[np.ndarray]:
    return [bgr8(f).copy() for f in open_picture(result.body, LIMITS).frames()]


def blurred(data: bytes, detector: Any = None, options: BlurOptions = SOLID) -> BlurredImage:
    return blur_image(data, options, detector or PaintDetector(), LIMITS)


def heif(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(picture[..., ::-1])).save(out, quality=95)
    return out.getvalue()


KINDS = {
    "jpeg": lambda: save(scene(), "JPEG", quality=95),
    "png": lambda: save(scene(), "PNG"),
    "webp": lambda: save(scene(), "WEBP", quality=95),
    "gif": lambda: save(scene(), "GIF"),
    "avif": lambda: save(scene(), "AVIF", quality=95),
    "heif": lambda: heif(scene()),
    "palette": lambda: save(Image.fromarray(scene()[..., ::-1]).quantize(64), "PNG"),
}


# Stills


@pytest.mark.parametrize("kind", KINDS)
def test_the_face_of_a_photo_of_any_format_is_gone(kind: str) -> None:
    result = blurred(KINDS[kind]())
    (face,) = result.faces
    assert iou(np.float32([face["box"]]), np.float32([BOX]))[0, 0] > 0.8
    assert (result.width, result.height, result.frames) == (WIDTH, HEIGHT, 1)
    (picture,) = frames_of(result)
    assert len(painted_faces(picture)) == 0
    assert np.abs(picture[:, 125:].astype(int) - scene()[:, 125:]).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_faces_are_found_and_hidden_upright_in_any_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(scene()[..., ::-1])
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if orientation > 1:
        stored = stored.transpose(undo[orientation])
    result = blurred(save(stored, kind, exif=exif, quality=95))
    (face,) = result.faces
    assert iou(np.float32([face["box"]]), np.float32([BOX]))[0, 0] > 0.8
    (picture,) = frames_of(result)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert len(painted_faces(picture)) == 0
    assert Image.open(io.BytesIO(result.body)).getexif().get(0x0112, 1) == 1


def test_a_plain_jpeg_goes_to_the_detector_encoded_and_others_as_frames() -> None:
    for data, kind in ((KINDS["jpeg"](), "encoded"), (KINDS["png"](), "frames")):
        detector = PaintDetector()
        blurred(data, detector, BlurOptions(threshold=0.13))
        assert [(k, t) for k, _, t in detector.calls] == [(kind, 0.13)]


def test_a_photo_too_large_to_go_raw_goes_as_a_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "MAX_RAW_PIXELS", 1000)
    detector = PaintDetector()
    result = blurred(KINDS["png"](), detector)
    assert detector.calls[0][0] == "encoded"
    assert len(painted_faces(frames_of(result)[0])) == 0


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_grey_and_transparent_pictures_keep_what_they_are(channels: int, depth: Any) -> None:
    picture = scene().astype(depth) * (257 if depth == np.uint16 else 1)
    if channels == 1:
        picture = picture[..., 1]
    elif channels == 4:
        alpha = np.full((HEIGHT, WIDTH, 1), np.iinfo(depth).max // 2 + 1, depth)
        picture = np.concatenate([picture, alpha], axis=2)

    class Knows(PaintDetector):
        def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
            assert frames.shape == (1, HEIGHT * 3 // 2, WIDTH)
            return [Detections.of([BOX], [0.9], [[[80, 50]] * 5])]

    body = cv2.imencode(".png", picture)[1].tobytes()
    result = blurred(body, Knows())
    (after,) = open_picture(result.body, LIMITS).frames()
    assert after.dtype == depth
    assert after.shape == picture.shape
    face = after[35:73, 65:95]
    assert (face[..., :3] == 0).all() if channels > 1 else (face == 0).all()
    if channels == 4:
        assert (face[..., 3] == np.iinfo(depth).max).all()
    assert np.array_equal(after[:, 125:], picture[:, 125:])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (7, 5)])
def test_pictures_of_a_few_pixels_are_survived(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    for kind in ("PNG", "JPEG", "GIF"):
        result = blurred(save(picture, kind))
        assert (result.height, result.width) == size
        assert result.faces == []


@pytest.mark.parametrize("style", ["gaussian", "pixelate", "solid"])
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize("scale", [1.0, 1.3, 2.0])
def test_every_option_has_its_effect(style: Any, shape: Any, scale: float) -> None:
    options = BlurOptions(style=style, shape=shape, scale=scale)
    result = blurred(KINDS["png"](), None, options)
    before, (after,) = scene(), frames_of(result)
    changed = (before != after).any(axis=2)
    x1, y1, x2, y2 = BOX
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    wide = (x2 - x1) * scale * (1.08 if shape == "ellipse" else 1)
    assert abs(columns[-1] + 1 - columns[0] - wide) < 6
    assert abs(rows[0] + rows[-1] - y1 - y2) < 6
    corner = changed[round((y1 + y2) / 2 - (y2 - y1) * scale * 0.47), columns[0] + 2]
    assert corner == (shape == "box")
    inner = after[45:65, 70:90]
    detail = cv2.Laplacian(inner, cv2.CV_32F).std()
    assert detail < cv2.Laplacian(before[45:65, 70:90], cv2.CV_32F).std() / 3
    assert (inner == 0).all() == (style == "solid")
    assert result.report["options"] == options.as_dict()


def test_the_answer_tells_what_was_done() -> None:
    result = blurred(KINDS["jpeg"]())
    assert set(result.timings) == {"decode_ms", "detect_ms", "blur_ms", "encode_ms"}
    assert all(t >= 0 for t in result.timings.values())
    report = result.report
    assert report["kind"] == "image"
    assert report["faces"] == result.faces
    assert (report["width"], report["height"], report["frames"]) == (WIDTH, HEIGHT, 1)
    assert result.faces[0]["score"] == pytest.approx(0.9)
    assert np.shape(result.faces[0]["landmarks"]) == (5, 2)


def test_a_photo_without_faces_keeps_its_pixels() -> None:
    result = blurred(save(wallpaper(HEIGHT, WIDTH), "PNG"))
    assert result.faces == []
    assert np.array_equal(frames_of(result)[0], wallpaper(HEIGHT, WIDTH))


def test_several_faces_at_all_borders_are_hidden() -> None:
    boxes = [(-20, 10, 22, 60), (140, 60, 190, 112), (70, -22, 112, 24), (60, 90, 100, 140)]
    picture = wallpaper(HEIGHT, WIDTH)
    for box in boxes:
        paint(picture, box)
    for options in (SOLID, BlurOptions(style="solid", shape="box", scale=1.0)):
        result = blurred(save(picture, "PNG"), None, options)
        assert len(result.faces) == 4
        assert len(painted_faces(frames_of(result)[0])) == 0


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_model_that_is_away_is_said_so(kind: str) -> None:
    class Away:
        def detect_encoded(self, data: bytes, threshold: float) -> Detections:
            raise ModelUnavailable("away")

        def detect_frames(self, frames: np.ndarray, threshold: float) -> list[Detections]:
            raise ModelUnavailable("away")

    with pytest.raises(ModelUnavailable):
        blurred(KINDS[kind](), Away())


def test_bad_files_are_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        blurred(b"plain text, nothing else")
    with pytest.raises(BadMedia):
        blurred(KINDS["png"]()[:400])
    with pytest.raises(BadMedia):
        blurred(KINDS["jpeg"]()[:1500])
    with pytest.raises(TooLarge):
        blur_image(KINDS["png"](), SOLID, PaintDetector(), ImageLimits(8 << 20, 1000, 60))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "grey"])
def test_a_real_face_is_found_and_no_longer_is_one(kind: str) -> None:
    if kind == "grey":
        data = save(Image.fromarray(astronaut()[..., 1]), "PNG")
    else:
        data = save(astronaut(), kind)
    result = blurred(data, RealDetector(), BlurOptions())
    (face,) = result.faces
    assert iou(np.float32([face["box"]]), np.float32([FACE_BOX]))[0, 0] > 0.8
    left = RealDetector().detect_encoded(result.body, 0.5)
    assert (iou(np.float32([FACE_BOX]), left.boxes) < 0.3).all()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_high_threshold_says_how_many_faces_it_leaves_bare(kind: str) -> None:
    result = blurred(KINDS[kind](), None, BlurOptions(style="solid", threshold=0.95))
    assert result.faces == []
    assert result.left_bare == result.report["left_bare"] == 1
    assert len(painted_faces(frames_of(result)[0])) == 1
    usual = blurred(KINDS[kind]())
    assert usual.left_bare == 0
    assert "left_bare" not in usual.report


# Animations


def walk(n: int) -> tuple[int, int, int, int]:
    return 20 + 5 * n, 40, 52 + 5 * n, 80


def animation(kind: str = "GIF", frames: int = 10, **settings: Any) -> bytes:
    pictures = [Image.fromarray(scene(walk(n))[..., ::-1]) for n in range(frames)]
    durations = [60 + 20 * (n % 3) for n in range(frames)]
    return save(
        pictures[0],
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        **settings,
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_keeps_its_frames_and_hides_the_face_in_each(kind: str) -> None:
    data = animation(kind)
    result = blurred(data)
    assert result.frames == 10
    pictures = frames_of(result)
    assert len(pictures) == 10
    assert all(len(painted_faces(p)) == 0 for p in pictures)
    assert [f["frame"] for f in result.faces] == list(range(10))
    assert {f["source"] for f in result.faces} == {"detected"}
    before, after = (Image.open(io.BytesIO(d)) for d in (data, result.body))
    durations = [
        [f.info.get("duration") for f in ImageSequence.Iterator(image)] for image in (before, after)
    ]
    assert durations[0] == durations[1]


@pytest.mark.parametrize("missed", [(4,), (3, 4, 5), (0,), (9,), (0, 1, 8, 9)])
def test_frames_the_detector_misses_are_hidden_all_the_same(missed: tuple[int, ...]) -> None:
    """One look a frame, so calls are frames."""

    class Misses(PaintDetector):
        def _find(self, kind: str, picture: np.ndarray, threshold: float) -> Detections:
            found = super()._find(kind, picture, threshold)
            number = round((float(found.boxes[0, 0]) - 20) / 5)
            return Detections.of([], [], []) if number in missed else found

    result = blurred(animation(), Misses())
    assert all(len(painted_faces(p)) == 0 for p in frames_of(result)[1:9])
    sources = {f["frame"]: f["source"] for f in result.faces}
    for n in range(1, 9):
        assert sources[n] == ("filled" if n in missed else "detected")


def test_every_frame_of_a_moving_animation_is_looked_at() -> None:
    detector = PaintDetector()
    blurred(animation(), detector)
    assert len(detector.calls) == 10


def test_an_animation_of_a_few_pixels_is_survived() -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (3, 2, 3), dtype=np.uint8)) for _ in range(8)]
    data = save(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=50)
    assert blurred(data).frames == 8


# Channels


def test_planes_are_those_of_a_full_range_picture() -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    y, u, v = planes(grey)
    assert np.abs(y.astype(int) - grey).max() <= 1
    assert np.abs(np.stack([u, v]).astype(int) - 128).max() <= 1


def test_bgr8_takes_every_kind_of_picture() -> None:
    deep = np.full((2, 3, 4), 0xABCD, np.uint16)
    assert bgr8(deep).shape == (2, 3, 3)
    assert (bgr8(deep) == 0xAB).all()
    assert bgr8(deep[..., 0]).shape == (2, 3, 3)
