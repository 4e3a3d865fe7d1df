"""The blur of a photo or animated picture: open → look → hide → encode."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from gateway import carry
from gateway.faces.blur import Pixels, hide
from gateway.faces.boxes import Detections
from gateway.faces.timeline import stacked, together
from gateway.faces.views import COLOURS, U8, planes, views
from gateway.media.image_base import on_white
from gateway.media.images import ImageLimits, Picture, encode, open_picture
from gateway.pipelines.analyse import Analysis, Detector
from gateway.pipelines.classify_image import sampled, shrunk
from gateway.pipelines.look import detect, look
from gateway.pipelines.options import THRESHOLD, BlurOptions
from gateway.pipelines.review import Review

ANIMATION_RATE = 12.5


@dataclass(frozen=True)
class BlurredImage:
    """The file to hand out, and what was done to it.

    left_bare: faces of a still that score below the threshold asked for.
    """

    body: bytes
    content_type: str
    extension: str
    width: int
    height: int
    frames: int
    faces: list[dict[str, Any]]
    report: dict[str, Any]
    timings: dict[str, float]
    left_bare: int = 0
    review: dict[str, Any] | None = None


def blur_image(
    data: bytes,
    options: BlurOptions,
    detector: Detector,
    limits: ImageLimits,
    review: Review | None = None,
    check: Callable[[], None] = lambda: None,
) -> BlurredImage:
    """Hide every face of an encoded picture. ``check`` is called often and may raise to stop.

    Raises:
        EmptyUpload, UnsupportedMedia, BadMedia, TooLarge, ModelUnavailable, ContentRejected.
    """
    clock = _Clock(check)
    picture = open_picture(data, limits)
    if picture.frame_count == 1:
        faces, left_bare, frames, reviewed = _still(picture, options, detector, review, clock)
    else:
        reviewed = _review_animation(picture, review, clock)
        faces, frames = _animation(picture, options, detector, clock)
        left_bare = 0
    encoded = encode(picture, frames)
    timings = clock.finish("encode_ms")
    report = {
        "kind": "image",
        "width": picture.width,
        "height": picture.height,
        "frames": picture.frame_count,
        "options": options.as_dict(),
        "faces": faces,
        **({"left_bare": left_bare} if left_bare else {}),
        **({"review": reviewed} if reviewed else {}),
        "timings": timings,
    }
    return BlurredImage(
        encoded.body,
        encoded.content_type,
        encoded.extension,
        picture.width,
        picture.height,
        picture.frame_count,
        faces,
        report,
        timings,
        left_bare,
        reviewed,
    )


class _Clock:
    """Wall time by stage, in milliseconds; what no stage claims goes to the last.

    Between two stages, and two frames, ``check`` may end it all.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self._begun = self._last = time.perf_counter()
        self._spent: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        self.check()
        now = time.perf_counter()
        self._spent[stage] = self._spent.get(stage, 0.0) + 1000 * (now - self._last)
        self._last = now

    def finish(self, stage: str) -> dict[str, float]:
        self.lap(stage)
        return {name: round(spent, 1) for name, spent in self._spent.items()}


def _still(
    picture: Picture,
    options: BlurOptions,
    detector: Detector,
    review: Review | None,
    clock: _Clock,
) -> tuple[list[dict[str, Any]], int, Iterator[Pixels], dict[str, Any] | None]:
    # A threshold above the usual leaves faces bare: that is to be told.
    threshold = min(options.threshold, THRESHOLD)
    with ThreadPoolExecutor(1) as pool:
        asked: Future[Detections] | None = None
        if picture.detector_bytes is not None:
            # The model server decodes the same bytes while this process does.
            ask = carry.along(detector.detect_encoded)
            asked = pool.submit(ask, picture.detector_bytes, threshold)
        frame = next(iter(picture.frames()))
        clock.lap("decode_ms")
        reviewed = _review(review, clock, frame)

        def first(colours: U8) -> Detections:
            return asked.result() if asked else detect(detector, colours, threshold)

        found = look(detector, frame, threshold, first, clock.check)
    clock.lap("detect_ms")
    wanted = found.above(options.threshold)
    _hide(frame, wanted.boxes, options)
    clock.lap("blur_ms")
    faces = [_face(wanted, i) for i in range(len(wanted))]
    return faces, len(found) - len(wanted), iter([frame]), reviewed


def _review(review: Review | None, clock: _Clock, *frames: Pixels) -> dict[str, Any] | None:
    if review is None:
        return None
    found = review.look(*frames)
    clock.lap("review_ms")
    return found


def _review_animation(
    picture: Picture, review: Review | None, clock: _Clock
) -> dict[str, Any] | None:
    """A pass of its own, before anything else is done: what is refused costs no detection."""
    if review is None:
        return None
    wanted = sampled(picture.frame_count)
    frames = [
        shrunk(on_white(frame), review.side)
        for index, frame in enumerate(picture.frames())
        if index in wanted
    ]
    return _review(review, clock, *frames)


def _animation(
    picture: Picture, options: BlurOptions, detector: Detector, clock: _Clock
) -> tuple[list[dict[str, Any]], Iterator[Pixels]]:
    """Every frame is looked at, and faces are tracked: an animation flickers like a video.

    Each view is watched by itself, from the first frame that has it to the end.
    """
    with ExitStack() as stack:
        watched: dict[str, Analysis] = {}
        for index, frame in enumerate(picture.frames()):
            clock.check()
            seen = dict(views(frame))
            for name in seen.keys() - watched.keys():
                watched[name] = stack.enter_context(_analysis(detector, options))
            for name, analysis in watched.items():
                analysis.feed(index, planes(seen.get(name, seen[COLOURS])), index / ANIMATION_RATE)
        timelines = [analysis.finish() for analysis in watched.values()]
    clock.lap("detect_ms")
    faces = [
        {"frame": n, "box": _rounded(s.box), "source": "detected" if s.detected else "filled"}
        for n, spots in zip(range(picture.frame_count), together(timelines), strict=False)
        for s in spots
    ]

    def edited() -> Iterator[Pixels]:
        for frame, spots in zip(picture.frames(), together(timelines), strict=False):
            clock.check()
            _hide(frame, stacked(spots), options)
            yield frame

    return faces, edited()


def _analysis(detector: Detector, options: BlurOptions) -> Analysis:
    rate = ANIMATION_RATE
    return Analysis(detector, threshold=options.threshold, rate=rate, interval=1 / rate)


def _hide(frame: Pixels, boxes: Any, options: BlurOptions) -> None:
    hide(frame, boxes, style=options.style, shape=options.shape, scale=options.scale)


def _face(found: Detections, i: int) -> dict[str, Any]:
    return {
        "box": _rounded(found.boxes[i]),
        "score": round(float(found.scores[i]), 4),
        "landmarks": [_rounded(point) for point in found.landmarks[i]],
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(v), 1) for v in values]
